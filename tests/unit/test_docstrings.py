"""Everything public says in one sentence what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import emofair

PACKAGE = Path(emofair.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
DEFINITIONS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def undocumented(tree: ast.Module, name: str) -> Iterator[str]:
    """Names of the public module, classes, functions and methods without a docstring."""
    if ast.get_docstring(tree) is None:
        yield name
    yield from _undocumented_in(tree, "")


def _undocumented_in(node: ast.AST, prefix: str) -> Iterator[str]:
    for each in ast.iter_child_nodes(node):
        if not isinstance(each, DEFINITIONS) or each.name.startswith("_"):
            continue
        if ast.get_docstring(each) is None:
            yield f"{prefix}{each.name}"
        if isinstance(each, ast.ClassDef):
            yield from _undocumented_in(each, f"{prefix}{each.name}.")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_public_names_are_documented(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(undocumented(tree, path.stem)) == []


def test_what_counts_as_public():
    source = '''
def documented():
    """Yes."""
    def inner(): pass
def bare(): pass
def _private(): pass
class Bare:
    def method(self): pass
    def __len__(self): pass
    @property
    def value(self):
        """Yes."""
class _Private:
    def method(self): pass
'''
    assert list(undocumented(ast.parse(source), "module")) == ["module", "bare", "Bare", "Bare.method"]
