"""A drop reason is in one list, and every one in the list is used."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.guards.tree import modules, parse

from ntvl.errors import REASONS

UNUSED: Final[dict[str, str]] = {}
"""Reasons that nothing gives yet, and what will."""

MODULES: Final = modules()


def raised(path: Path) -> Iterator[tuple[str, int]]:
    """Yields the literal reasons of every `PeerError(...)` in a file."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PeerError"):
            reasons = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
            for reason in reasons:
                for part in [reason.body, reason.orelse] if isinstance(reason, ast.IfExp) else [reason]:
                    if isinstance(part, ast.Constant):
                        yield part.value, node.lineno


def literals(path: Path) -> set[str]:
    """Returns all string literals in a file: a reason may be counted or sent as well as raised."""
    constants = (node.value for node in ast.walk(parse(path)) if isinstance(node, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


@pytest.mark.parametrize("module", MODULES)
def test_a_raised_reason_is_in_the_list(module: str) -> None:
    for reason, line in raised(MODULES[module]):
        assert reason in REASONS, f"{MODULES[module]}:{line}: {reason!r} is not in ntvl.errors.REASONS"


def test_every_reason_is_used() -> None:
    used = set().union(*(literals(path) for module, path in MODULES.items() if module != "ntvl.errors"))
    assert set(REASONS) - used == set(UNUSED)


def test_reasons_are_short_words_with_a_meaning() -> None:
    for reason, meaning in REASONS.items():
        assert reason == reason.lower()
        assert reason.replace("-", "").isalnum()
        assert len(reason) <= 40
        assert meaning
