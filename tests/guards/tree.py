"""The package as its guards see it: modules, their syntax trees, what they import."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
SOURCE: Final = ROOT / "src"
TESTS: Final = ROOT / "tests"


def modules() -> dict[str, Path]:
    """Returns the path of every module of ntvl under its dotted name."""
    return {_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yields the dotted name and line of everything that a module imports, wherever in the file it does.

    `from package import name` yields "package.name", so that a submodule is seen; its parents are prefixes of it.
    Imports that only a type checker sees count too: an arrow is an arrow.
    """
    package = _name(path).split(".")
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                yield ".".join([*base, *([node.module] if node.module else []), alias.name]), node.lineno


def _name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
