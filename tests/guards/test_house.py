"""The files around the code: what CI runs, what the Makefile offers, what packages programs need."""

import re
import subprocess
import tomllib
from typing import Final

import pytest
from tests.guards.tree import ROOT, SOURCE, TESTS, parse

from ntvl import __version__

PACKAGES: Final = [
    line.split(maxsplit=2)
    for line in (ROOT / "scripts" / "packages.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


def test_ci_runs_the_readmes_test_command() -> None:
    commands = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[-1] == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text()


def test_the_makefile_offers_what_the_documentation_names() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    offered = set(re.findall(r"^ +make (\w+)", listed, re.MULTILINE))
    assert offered >= {"setup", "demo", "check", "test", "sim", "lab", "bench", "fuzz"}
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    for document in documents:
        named = set(re.findall(r"`make (\w+)", document.read_text())) | set(
            re.findall(r"^ *(?:sudo )?make (\w+)", document.read_text(), re.MULTILINE)
        )
        assert named <= offered | {"help"}, document


def test_every_program_that_a_test_needs_has_its_package() -> None:
    known = {program for program, *_ in PACKAGES}
    for path in sorted(TESTS.rglob("test_*.py")):
        for names in re.findall(r"needs_program\(([^)]*)\)", path.read_text()):
            for name in re.findall(r"[\"']([^\"']+)[\"']", names):
                assert name in known, f"{path}: {name!r} is not in scripts/packages.txt"


def test_the_package_names_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_runtime_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=;\[ ]", requirement)[0].replace("-", "_") for requirement in project["dependencies"]}
    source = "\n".join(path.read_text() for path in SOURCE.rglob("*.py"))
    unused = {name for name in names if not re.search(rf"^\s*(?:import|from) {name}\b", source, re.MULTILINE)}
    assert not unused


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"])
def test_the_house_has_its_papers(name: str) -> None:
    assert (ROOT / name).read_text().strip()


def test_no_module_is_left_half_done() -> None:
    for path in sorted(SOURCE.rglob("*.py")):
        assert "NotImplementedError" not in path.read_text(), path
        assert not re.search(r"\b(TODO|FIXME|XXX)\b", path.read_text()), path
        parse(path)


def test_host_and_port_are_joined_by_one_function_which_knows_of_brackets() -> None:
    by_hand = re.compile(r"\{[^{}]*host\}:\{")
    allowed = {"wire/address.py", "wire/connect.py"}
    found = {
        str(path.relative_to(SOURCE / "ntvl")) for path in SOURCE.rglob("*.py") if by_hand.search(path.read_text())
    }
    assert found <= allowed
