"""What `lmcourse` offers, read from its source: public functions, classes and their methods."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests.notebooks import ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Definition:
    """A public function, class or method.

    Attributes:
        name: dotted, from the package down: ``lmcourse.tokenizers.BPETokenizer.train``.
        node: its syntax tree.
        module: the syntax tree of its module.
        owner: the class that it is a method of.
    """

    name: str
    node: Function | ast.ClassDef
    module: ast.Module = field(repr=False)
    owner: ast.ClassDef | None = field(default=None, repr=False)

    @cached_property
    def doc(self) -> str:
        """The docstring without its indentation; empty if there is none."""
        return ast.get_docstring(self.node) or ""


def public_modules() -> dict[str, Path]:
    """Return the files of lmcourse's public modules by dotted name."""
    modules = {}
    for path in sorted((ROOT / "lmcourse").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            modules[".".join(parts)] = path
    return modules


def definitions_in(source: str, module: str = "module") -> Iterator[Definition]:
    """Yield the public definitions in the source of a module."""
    tree = ast.parse(source)
    for node in _public(tree.body):
        yield Definition(f"{module}.{node.name}", node, tree)
        if isinstance(node, ast.ClassDef):
            for method in _public(node.body):
                if not isinstance(method, ast.ClassDef):
                    yield Definition(f"{module}.{node.name}.{method.name}", method, tree, node)


def public_definitions() -> list[Definition]:
    """Return every public definition of lmcourse."""
    return [
        definition
        for module, path in public_modules().items()
        for definition in definitions_in(path.read_text(encoding="utf-8"), module)
    ]


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """Return the last parts of the names of a definition's decorators: ``{"dataclass"}``."""
    functions = [d.func if isinstance(d, ast.Call) else d for d in node.decorator_list]
    return {last_name(function) for function in functions}


def last_name(node: ast.expr) -> str:
    """Return ``c`` for the expressions ``c`` and ``a.b.c``, and nothing for others."""
    return getattr(node, "attr", None) or getattr(node, "id", "")


def _public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
