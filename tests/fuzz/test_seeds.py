"""Every input that ever mattered, again: what reached new code, and what broke something once."""

import ast
from pathlib import Path
from typing import Final

import pytest
from tests.fuzz.targets import TARGETS
from tests.guards.tree import SOURCE, parse

SEEDS: Final = Path(__file__).parent / "seeds"
PARSERS: Final = {
    node.name
    for package in ("wire", "identity")
    for path in (SOURCE / "ntvl" / package).rglob("*.py")
    for node in parse(path).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith(("parse_", "verify_"))
}
NOT_FROM_THE_WIRE: Final = {
    "parse_key": "typed by a person: raises UsageError",
    "parse_supernode_url": "typed by a person: raises UsageError",
    "parse_turn_uri": "typed by a person: raises UsageError",
}


@pytest.mark.parametrize("target", TARGETS)
def test_no_seed_breaks_its_target(target: str) -> None:
    seeds = sorted((SEEDS / target).iterdir())
    assert seeds, "a target starts from something"
    for seed in seeds:
        try:
            TARGETS[target](seed.read_bytes())
        except Exception as error:
            raise AssertionError(f"{target} breaks on {seed.name}: {seed.read_bytes().hex()}") from error


def test_every_parser_is_fuzzed() -> None:
    tree = parse(Path(__file__).parent / "targets.py")
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert PARSERS - used == set(NOT_FROM_THE_WIRE)


def test_seeds_have_a_target() -> None:
    assert {path.name for path in SEEDS.iterdir()} == set(TARGETS)
