"""Who may import whom, and that the parts that decide read no clock, open no socket and roll no dice."""

import ast
from pathlib import Path
from typing import Final

import pytest
from tests.guards.tree import imports, modules, parse

LEAVES: Final = frozenset({"errors", "aead", "replay", "nat", "kind", "matrix"})
"""Modules that import nothing of ntvl but other leaves, and that all may import."""

ARROWS: Final[dict[str, frozenset[str]]] = {
    "wire": frozenset(),
    "identity": frozenset({"wire"}),
    "registry": frozenset({"wire", "identity"}),
    "proto": frozenset({"wire", "identity", "registry", "dataplane"}),
    "dataplane": frozenset({"wire"}),
    "config": frozenset({"wire", "identity", "proto"}),
    "runtime": frozenset({"wire", "identity", "registry", "proto", "dataplane", "config"}),
    "sim": frozenset({"wire", "identity", "registry", "proto", "dataplane"}),
    "lab": frozenset({"wire"}),
    "cli": frozenset({"wire", "identity", "registry", "proto", "dataplane", "config", "runtime", "lab", "sim"}),
    "__main__": frozenset({"cli"}),
}
"""For each part of ntvl the parts that it may import beside itself, the leaves and the package's version.

`proto` sees of `dataplane` the interface alone and of `registry` the protocol alone: see `NARROW`.
"""

NARROW: Final[dict[tuple[str, str], frozenset[str]]] = {
    ("proto", "dataplane"): frozenset({"ntvl.dataplane.interface"}),
    ("proto", "registry"): frozenset({"ntvl.registry.base"}),
}

PURE_PACKAGES: Final = ("ntvl.wire", "ntvl.identity", "ntvl.proto")
IMPURE_ENGINE_MODULES: Final = frozenset(
    f"ntvl.dataplane.{name}"
    for name in ("channel", "choice", "engine", "mover", "pump", "rehearsal", "tap", "udp", "worker")
)
"""The part of the Python engine that does input and output; all else in `dataplane` is pure, the forwarder first."""

FORBIDDEN: Final = frozenset(
    {"asyncio", "socket", "select", "selectors", "time", "datetime", "random", "secrets", "threading", "subprocess"}
)
FORBIDDEN_NAMES: Final = frozenset({"urandom", "getrandom", "uuid1", "uuid4", "token_bytes", "generate_key"})

MODULES: Final = modules()


def part(module: str) -> str | None:
    """Returns what of ntvl a dotted name is in: "wire", "errors" ..., "" for the package, None for other code."""
    names = module.split(".")
    if names[0] != "ntvl":
        return None
    return names[1] if len(names) > 1 and not names[1].startswith("__version") else ""


def is_pure(module: str) -> bool:
    if module.startswith("ntvl.dataplane"):
        return module not in IMPURE_ENGINE_MODULES
    return part(module) in LEAVES or module.startswith(PURE_PACKAGES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    here = part(module)
    assert here is not None
    if here == "":
        allowed = frozenset[str]()
    elif here in LEAVES:
        allowed = LEAVES
    else:
        assert here in ARROWS, f"a new part {here!r}: say in ARROWS what it may import"
        allowed = ARROWS[here] | LEAVES | {here}
    for name, line in imports(MODULES[module]):
        there = part(name)
        if there in (None, ""):
            continue
        assert there in allowed, f"{MODULES[module]}:{line}: {here} must not import {name}"
        narrow = NARROW.get((here, there))
        assert narrow is None or any(f"{name}.".startswith(f"{n}.") for n in narrow), (
            f"{MODULES[module]}:{line}: {here} may import {', '.join(narrow or ())} only, not {name}"
        )


@pytest.mark.parametrize("module", [module for module in MODULES if is_pure(module)])
def test_time_and_chance_arrive_as_arguments(module: str) -> None:
    path = MODULES[module]
    for name, line in imports(path):
        assert name.split(".")[0] not in FORBIDDEN, f"{path}:{line}: imports {name}"
    for line, call in impure_calls(path):
        raise AssertionError(f"{path}:{line}: calls {call}")


def impure_calls(path: Path) -> list[tuple[int, str]]:
    """Returns calls, by line, that reach for chance through what may be imported: os.urandom, a key's generate()."""
    calls = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name in FORBIDDEN_NAMES:
                calls.append((node.lineno, name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".generate") and not node.args:
            calls.append((node.lineno, f"{ast.unparse(node.func)} without chance as an argument"))
    return calls


def test_every_impure_module_of_the_engine_exists() -> None:
    assert set(MODULES) >= IMPURE_ENGINE_MODULES


def test_arrows_make_no_circle() -> None:
    seen: list[str] = []

    def walk(name: str) -> None:
        assert name not in seen, f"{' -> '.join([*seen, name])}"
        seen.append(name)
        for target in ARROWS[name]:
            walk(target)
        seen.pop()

    for name in ARROWS:
        walk(name)
