"""Docstrings of public functions say what goes in, what comes out, in which shapes, and what fails.

Google style: ``Args:``, ``Returns:`` (or ``Yields:``), ``Raises:``, ``Attributes:``. A short
docstring needs no sections: "Return the texts of ``ids``." names its argument and its result.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator

import pytest

from tests.public_api import (
    Definition,
    Function,
    decorators,
    definitions_in,
    last_name,
    public_definitions,
    public_modules,
)

SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes):[ \t]*\n", re.MULTILINE)
ARRAYS = {"ndarray", "Tensor", "NDArray", "ArrayLike"}
ARGUMENT_CHECKS = "lmcourse._arguments"
PROPERTIES = {"property", "cached_property"}
# The right answers of exercises are described by the chapter's tasks, and commands by their help.
DESCRIBED_ELSEWHERE = re.compile(r"lmcourse\.(exercises\.\w+|data\.build|book\.\w+)\.\w+$")


def complaints_about(definition: Definition) -> Iterator[str]:
    if not definition.doc:
        yield "has no docstring"
        return
    if isinstance(definition.node, ast.ClassDef):
        yield from complaints_about_class(definition)
    elif not _only_needs_a_summary(definition):
        yield from complaints_about_function(definition, definition.node)


def complaints_about_class(definition: Definition) -> Iterator[str]:
    node = definition.node
    if "dataclass" in decorators(node) or _inherits(node, "NamedTuple"):
        documented = _entries(definition.doc, "Attributes") + _entries(definition.doc, "Args")
        yield from _compare_names("field", _fields(node), documented, definition.doc)
    for method in node.body:
        if isinstance(method, Function) and method.name == "__init__":
            constructor = Definition(definition.name, method, definition.module, node)
            constructor.doc = f"{definition.doc}\n\n{ast.get_docstring(method) or ''}"
            yield from complaints_about_function(constructor, method)


def complaints_about_function(definition: Definition, node: Function) -> Iterator[str]:
    doc = definition.doc
    yield from _compare_names("argument", _parameters(definition), _entries(doc, "Args"), doc)
    if _gives_something(definition) and not re.search(r"\b[Rr]eturns?\b|^Yields:", doc, re.M):
        yield "does not say what it returns"
    raised = _directly_raised(node)
    documented = _entries(doc, "Raises")
    if not documented and _raises(node, definition):
        yield "can raise, but has no section Raises"
    elif documented:
        yield from (f"raises {name}, which Raises leaves out" for name in raised - set(documented))
    for name, annotation in _annotations(node):
        if _array_without_shape(annotation):
            yield f"gives no shape for {name}: {ast.unparse(annotation)}"


def _only_needs_a_summary(definition: Definition) -> bool:
    of_protocol = definition.owner is not None and _inherits(definition.owner, "Protocol")
    return of_protocol or bool(PROPERTIES & decorators(definition.node))


def _compare_names(kind: str, names: list[str], documented: list[str], doc: str) -> Iterator[str]:
    for name in names:
        if name not in documented and not re.search(rf"``\W*{name}\b", doc):
            yield f"leaves out the {kind} {name}"
    yield from (f"documents {name}, which is no {kind}" for name in documented if name not in names)


def _entries(doc: str, section: str) -> list[str]:
    """Return the names that a section explains: of ``x: …``, ``*x: …``, ``x, y: …``."""
    pieces = SECTION.split(doc)
    bodies = [
        body for name, body in zip(pieces[1::2], pieces[2::2], strict=True) if name == section
    ]
    entries = []
    for body in bodies:
        indented = re.match(r"(?:    .*\n?|\s*\n)*", body)[0]
        for match in re.finditer(
            r"^ {4}(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:", indented, re.M
        ):
            entries += [name.strip(" *") for name in match[1].split(",")]
    return entries


def _parameters(definition: Definition) -> list[str]:
    arguments = definition.node.args
    names = [a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    names += [a.arg for a in (arguments.vararg, arguments.kwarg) if a]
    bound = definition.owner is not None and "staticmethod" not in decorators(definition.node)
    return names[1:] if bound else names


def _fields(node: ast.ClassDef) -> list[str]:
    targets = [child.target for child in node.body if isinstance(child, ast.AnnAssign)]
    return [target.id for target in targets if not target.id.startswith("_")]


def _gives_something(definition: Definition) -> bool:
    """Tell whether a result must be described; that of another way to construct need not be."""
    nothing = {"None", "NoReturn"}
    if "classmethod" in decorators(definition.node):
        nothing |= {definition.owner.name, "Self"}
    returns = definition.node.returns
    return returns is not None and ast.unparse(returns) not in nothing


def _directly_raised(node: Function) -> set[str]:
    """Return the names of the exception classes in the function's own raise statements."""
    names = set()
    for statement in ast.walk(node):
        if isinstance(statement, ast.Raise) and statement.exc is not None:
            exception = statement.exc
            name = last_name(exception.func if isinstance(exception, ast.Call) else exception)
            if name[:1].isupper():
                names.add(name)
    return names - {"NotImplementedError"}


def _raises(node: Function, definition: Definition, seen: frozenset[str] = frozenset()) -> bool:
    """Tell whether a function raises, checks arguments, or calls a private helper that does."""
    if _directly_raised(node):
        return True
    helpers = _private_helpers(definition)
    checks = _argument_checks(definition.module)
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            if ast.unparse(call.func) in checks:
                return True
            name = last_name(call.func)
            calls_helper = name in helpers and name not in seen
            if calls_helper and _raises(helpers[name], definition, seen | {name}):
                return True
    return False


def _private_helpers(definition: Definition) -> dict[str, Function]:
    bodies = [definition.module.body, definition.owner.body if definition.owner else []]
    functions = [node for body in bodies for node in body if isinstance(node, Function)]
    return {node.name: node for node in functions if re.match(r"_[a-z]", node.name)}


def _argument_checks(module: ast.Module) -> set[str]:
    """Return the argument checks by the names under which the module calls them."""
    names = set()
    parent, _, stem = ARGUMENT_CHECKS.rpartition(".")
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and node.module == ARGUMENT_CHECKS:
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == parent:
            imported = [alias.asname or stem for alias in node.names if alias.name == stem]
            names |= {
                ast.unparse(call.func)
                for call in ast.walk(module)
                if isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and ast.unparse(call.func.value) in imported
            }
    return names


def _annotations(node: Function) -> Iterator[tuple[str, ast.expr]]:
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            yield argument.arg, argument.annotation
    if node.returns is not None:
        yield "what it returns", node.returns


def _array_without_shape(annotation: ast.expr) -> bool:
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        of = last_name(annotation.value)
        first, *rest = annotation.slice.elts
        if len(rest) == 1 and isinstance(getattr(rest[0], "value", None), str):
            return False  # Float[np.ndarray, "batch vocab"]
        if of == "dict" and last_name(first) == "str" and last_name(rest[0]) in ARRAYS:
            return False  # named arrays: each has a shape of its own
    if last_name(annotation) in ARRAYS:
        return True
    return any(_array_without_shape(child) for child in ast.iter_child_nodes(annotation))


def _inherits(node: ast.ClassDef, base: str) -> bool:
    return any(last_name(b) == base for b in node.bases)


@pytest.mark.parametrize(
    "definition",
    [d for d in public_definitions() if not DESCRIBED_ELSEWHERE.match(d.name)],
    ids=lambda definition: definition.name,
)
def test_docstring(definition):
    complaints = [f"{definition.name} {complaint}" for complaint in complaints_about(definition)]
    assert not complaints, "\n".join(complaints)


def test_examples_in_docstrings_run():
    for name, path in public_modules().items():
        if ">>>" in path.read_text(encoding="utf-8"):
            result = doctest.testmod(importlib.import_module(name))
            assert result.failed == 0, f"{name}: the examples in its docstrings fail"


GOOD = '''
from lmcourse import _arguments
from lmcourse._arguments import number as checked


def f(
    x: Float[np.ndarray, "*batch vocab"], *rest: int, scale: float = 1
) -> Float[np.ndarray, " vocab"]:
    """Scale it.

    Args:
        x: numbers:
            many of them.
        *rest: more.
        scale (float): a factor.

    Returns:
        The product.

    Raises:
        ValueError: it is not finite.
    """
    _arguments.number("scale", scale)
    raise ValueError("no")


def g(
    named: dict[str, np.ndarray], some: list[Float[np.ndarray, "..."]] | None = None
) -> float:
    """Find a number for ``named`` arrays, and return it; ``some=None`` changes nothing."""


class C:
    """A counter.

    Args:
        start, step: numbers.

    Raises:
        TypeError: they are not.
    """

    def __init__(self, start, step):
        self._check(start)

    def _check(self, start):
        checked("start", start)

    @property
    def value(self) -> Float[np.ndarray, ""]:
        """The count so far."""

    @classmethod
    def zero(cls) -> C:
        """Start to count."""

    @classmethod
    def limit(cls) -> int:
        """Return the largest count."""

    @staticmethod
    def add(a, b) -> None:
        """Add.

        Args:
            a, b: numbers.
        """

    def _private(self):
        pass


@dataclass
class D:
    """A record.

    Attributes:
        x: a number.
    """

    x: int
    _y: int = 0


class P(Protocol):
    """What is asked for."""

    def f(self, x: int) -> int:
        """Return something."""


def _private(x):
    raise ValueError
'''


def test_rules_let_good_docstrings_pass():
    found = list(definitions_in(GOOD))
    assert len(found) == 10
    assert [(d.name, c) for d in found for c in complaints_about(d)] == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('    """Start to count."""', "    pass", "C.zero has no docstring"),
        ("Return the largest", "Find the largest", "C.limit does not say what it returns"),
        ("        scale (float): a factor.\n", "", "f leaves out the argument scale"),
        ("        scale (float): a", "        scales: a", "f documents scales, which is no arg"),
        ("        *rest: more.\n", "", "f leaves out the argument rest"),
        ("    Returns:\n        The product.\n", "", "f does not say what it returns"),
        ("        ValueError: it is", "        KeyError: it is", "f raises ValueError, which Rai"),
        ("    Raises:\n        ValueError", "    Note:\n        ValueError", "f can raise, but"),
        (
            "    Raises:\n        TypeError",
            "    Note:\n        TypeError",
            "C can raise, but has no",
        ),
        ('Float[np.ndarray, "*batch vocab"]', "np.ndarray", "f gives no shape for x: np.ndarray"),
        ('Float[np.ndarray, " vocab"]', "torch.Tensor", "f gives no shape for what it returns"),
        ('Float[np.ndarray, "..."]', "np.ndarray", "g gives no shape for some: list[np.nd"),
        ("``named`` arrays", "named arrays", "g leaves out the argument named"),
        ("and return it", "and more", "g does not say what it returns"),
        ("        x: a number.", "        y: a number.", "D leaves out the field x"),
        (
            "        start, step: numbers.",
            "        start: a number.",
            "C leaves out the argument st",
        ),
    ],
)
def test_rules_catch_bad_docstrings(old, new, words):
    assert GOOD.count(old) == 1
    found = definitions_in(GOOD.replace(old, new))
    complaints = [f"{d.name} {complaint}" for d in found for complaint in complaints_about(d)]
    assert any(words in complaint for complaint in complaints), complaints
