"""Tests mirror the source, and unit tests never wait for a clock."""

import ast
from typing import Final

import pytest
from tests.guards.tree import ROOT, SOURCE, TESTS, parse

MIRRORED: Final = ("wire", "identity", "proto")
ELSEWHERE: Final[dict[str, str]] = {}
"""Modules, as "proto/machine.py", that have no test file of their name, and where they are tested instead."""

WITHOUT_SLEEP: Final = ("wire", "identity", "proto", "scenarios", "sim", "guards")


@pytest.mark.parametrize("package", MIRRORED)
def test_every_pure_module_has_its_test_file(package: str) -> None:
    modules = {path.relative_to(SOURCE / "ntvl") for path in (SOURCE / "ntvl" / package).rglob("*.py")}
    untested = {
        str(module)
        for module in modules
        if module.name != "__init__.py" and not (TESTS / module.parent / f"test_{module.name}").exists()
    }
    expected = {module for module in ELSEWHERE if module.startswith(f"{package}/")}
    assert untested == expected, "add the tests, or say in ELSEWHERE where they are"


def test_what_is_tested_elsewhere_is() -> None:
    for module, place in ELSEWHERE.items():
        assert (ROOT / place).exists(), f"{module}: no {place}"


@pytest.mark.parametrize("directory", WITHOUT_SLEEP)
def test_unit_tests_wait_for_no_clock(directory: str) -> None:
    for path in sorted((TESTS / directory).rglob("*.py")):
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep":
                raise AssertionError(f"{path}:{node.lineno}: sleeps; hand in a later `now`")
