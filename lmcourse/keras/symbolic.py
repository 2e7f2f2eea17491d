"""Tensors that are only promised: calling layers on them writes down a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Shape = tuple[int | None, ...]


class KerasTensor:
    """A tensor without numbers: what a layer will return once it is given some.

    Its arguments are attributes too.

    Args:
        shape: sizes; ``None`` where any size will do.
        dtype: name of its numbers' type, such as ``"float32"``.
        name: that of the layer that makes it.
        node: the call that makes it.
    """

    def __init__(self, shape: Sequence[int | None], dtype: str, name: str, node: Node):
        self.shape: Shape = tuple(shape)
        self.dtype = dtype
        self.name = name
        self.node = node

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __repr__(self):
        return f"<KerasTensor shape={self.shape}, dtype={self.dtype}, name={self.name}>"

    def __bool__(self):
        raise TypeError("a symbolic tensor holds no numbers yet, so it is neither true nor false")

    def __array__(self, *_, **__):
        raise TypeError("a symbolic tensor holds no numbers yet: call a Model on numbers instead")


@dataclass(eq=False)
class Node:
    """One call of a layer on symbolic tensors.

    Attributes:
        layer: what was called.
        inputs: a tensor, or a list, tuple or dict of tensors; ``None`` for an input layer.
        keywords: further arguments: symbolic ones such as ``initial_state``, and ``training``.
        outputs: what came out: a tensor, or a list of tensors.
    """

    layer: Any
    inputs: Any
    keywords: dict[str, Any]
    outputs: Any = None

    @property
    def parents(self) -> list[KerasTensor]:
        """The tensors that it needs."""
        leaves = flatten([self.inputs, self.keywords])
        return [leaf for leaf in leaves if isinstance(leaf, KerasTensor)]


def flatten(structure: Any) -> list[Any]:
    """Return the leaves of ``structure`` (lists, tuples and dicts) in order, without ``None``."""
    if structure is None:
        return []
    if isinstance(structure, dict):
        return [leaf for part in structure.values() for leaf in flatten(part)]
    if isinstance(structure, list | tuple):
        return [leaf for part in structure for leaf in flatten(part)]
    return [structure]


def map_structure(function: Callable[[Any], Any], structure: Any) -> Any:
    """Return ``structure`` with ``function`` applied to every leaf of it; ``None`` stays."""
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {key: map_structure(function, part) for key, part in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(map_structure(function, part) for part in structure)
    return function(structure)


def is_symbolic(*structures: Any) -> bool:
    """Return whether any leaf of ``structures`` is a symbolic tensor."""
    return any(isinstance(leaf, KerasTensor) for s in structures for leaf in flatten(s))


def nodes_between(inputs: Sequence[KerasTensor], outputs: Sequence[KerasTensor]) -> list[Node]:
    """Return the calls that lead from ``inputs`` to ``outputs``, each after those it needs.

    Raises:
        ValueError: an output needs an input that is not among ``inputs``.
    """
    given = {id(tensor) for tensor in inputs}
    ordered: list[Node] = []
    seen: set[int] = set()

    def visit(tensor: KerasTensor) -> None:
        if id(tensor) in given:
            return
        if tensor.node.inputs is None:
            raise ValueError(
                f"inputs must hold everything that outputs need, but {tensor.name!r} "
                f"of shape {tensor.shape} is missing (the graph is disconnected)"
            )
        if id(tensor.node) in seen:
            return
        seen.add(id(tensor.node))
        for parent in tensor.node.parents:
            visit(parent)
        ordered.append(tensor.node)

    for output in outputs:
        visit(output)
    return ordered
