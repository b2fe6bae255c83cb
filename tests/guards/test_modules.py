"""Every module opens with its design, says what it offers, and stays one noun long."""

import ast
import importlib
from typing import Final

import pytest
from tests.guards.tree import ROOT, modules, parse

LINES_MAX: Final = 500
TEST_LINES_MAX: Final = 800
"""Tests mirror the modules one to one, and may be longer than what they test."""
MODULES: Final = modules()
PYTHON_FILES: Final = sorted(
    str(path.relative_to(ROOT)) for top in ("src", "tests", "scripts", "bench") for path in (ROOT / top).rglob("*.py")
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_a_docstring(module: str) -> None:
    assert ast.get_docstring(parse(MODULES[module])), f"{MODULES[module]}:1"


@pytest.mark.parametrize("module", [module for module in MODULES if module != "ntvl.__main__"])
def test_a_module_lists_what_it_offers(module: str) -> None:
    loaded = importlib.import_module(module)
    tree = parse(MODULES[module])
    is_bare_package = MODULES[module].name == "__init__.py" and len(tree.body) == 1
    if is_bare_package:
        return
    names = getattr(loaded, "__all__", None)
    assert names is not None, f"{MODULES[module]}: no __all__"
    assert len(set(names)) == len(names), f"{MODULES[module]}: a name twice in __all__"
    missing = [name for name in names if not hasattr(loaded, name)]
    assert not missing, f"{MODULES[module]}: __all__ names what is not there: {missing}"
    own = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    assert own <= set(names), f"{MODULES[module]}: neither private nor in __all__: {sorted(own - set(names))}"


@pytest.mark.parametrize("path", PYTHON_FILES)
def test_no_file_grows_without_end(path: str) -> None:
    lines = len((ROOT / path).read_text().splitlines())
    limit = TEST_LINES_MAX if path.startswith("tests/") else LINES_MAX
    assert lines <= limit, f"{path} has {lines} lines: is there a second noun in it?"
