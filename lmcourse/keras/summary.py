"""The table of a model's layers, as Keras 3 prints it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np

from lmcourse.keras.layers.base import Layer
from lmcourse.keras.symbolic import flatten

UNITS = ("B", "KB", "MB", "GB", "TB", "PB")


def summary(
    model: Any,
    line_length: int | None = None,
    print_fn: Callable[[str], Any] | None = None,
) -> None:
    """Print a table of a model's layers: names, output shapes, weights, and for a graph the edges.

    Args:
        model: the model.
        line_length: characters in a line; at most 88, or 108 with edges, and what the terminal has.
        print_fn: called once with the whole text instead of ``print``.

    Raises:
        ValueError: ``line_length`` is too small for the columns.
    """
    text = "".join(f"{line}\n" for line in _lines(model, line_length))
    if print_fn is None:
        print(text, end="")
    else:
        print_fn(text)


def _lines(model: Any, line_length: int | None) -> list[str]:
    graph = _is_graph(model)
    positions = (0.3, 0.56, 0.74, 1.0) if graph else (0.45, 0.80, 1.0)
    terminal = shutil.get_terminal_size().columns
    widths = _widths(line_length or min(108 if graph else 88, terminal - 4), positions)
    header = ["Layer (type)", "Output Shape", "Param #", "Connected to"][: len(widths)]
    layers = model.layers
    if not _is_sequential(model):
        layers = [*(layer for layer in _input_layers(model) if layer not in layers), *layers]
    rows = [_row(model, layer)[: len(widths)] for layer in layers]
    return [
        *_wrapped(f'Model: "{model.name}"', terminal),
        *_table(header, rows, widths),
        *_counts(model),
    ]


def _is_sequential(model: Any) -> bool:
    from lmcourse.keras.models import Sequential

    return isinstance(model, Sequential)


def _input_layers(model: Any) -> list[Any]:
    return [tensor.node.layer for tensor in model.inputs]


def _nodes(model: Any) -> list[Any]:
    """Return the calls that make the model up, those of its inputs first."""
    return [tensor.node for tensor in model.inputs] + list(model._graph)


def _is_graph(model: Any) -> bool:
    """Tell whether the layers do anything but follow one another."""
    if _is_sequential(model):
        return False
    nodes = _nodes(model)
    layers = [id(node.layer) for node in nodes]
    consumers: dict[int, int] = {}
    for node in nodes:
        for parent in node.parents:
            consumers[id(parent.node)] = consumers.get(id(parent.node), 0) + 1
    return (
        len(set(layers)) < len(layers)
        or len(model.inputs) > 1
        or any(len(node.parents) > 1 for node in nodes)
        or any(count > 1 for count in consumers.values())
    )


def _row(model: Any, layer: Any) -> list[str]:
    parameters = "0 (unbuilt)"
    if layer.built:
        parameters = f"{layer.count_params():,}"
    elif type(layer).build is Layer.build:  # it has nothing to build
        parameters = "0"
    return [
        f"{layer.name} ({type(layer).__name__})",
        "?" if layer.output_shape is None else _shapes(layer.output_shape),
        parameters,
        _connections(model, layer) if model.built else "-",
    ]


def _shapes(shape: Any) -> str:
    if isinstance(shape, list):
        return f"[{', '.join(map(_shapes, shape))}]"
    return f"({', '.join(map(str, shape))})"


def _connections(model: Any, layer: Any) -> str:
    nodes = _nodes(model)
    found = []
    for node in nodes:
        if node.layer is layer:
            for tensor in node.parents:
                made_by = tensor.node
                output = [id(t) for t in flatten(made_by.outputs)].index(id(tensor))
                found.append(f"{made_by.layer.name}[{_place(made_by)}][{output}]")
    return ", ".join(found) or "-"


def _place(node: Any) -> int:
    return [id(other) for other in node.layer.nodes].index(id(node))


def _counts(model: Any) -> list[str]:
    trainable = sum(weight.numel() for weight in model.trainable_weights)
    frozen = sum(weight.numel() for weight in model.non_trainable_weights)
    kept = None
    if model.compiled and model.optimizer.built:
        # The number of steps and the learning rate are numbers that it keeps, too.
        kept = 2 + sum(tensor.numel() for tensor in model.optimizer.variables())
    counts = {
        "Total": trainable + frozen + (kept or 0),
        "Trainable": trainable,
        "Non-trainable": frozen,
    }
    if kept is not None:
        counts["Optimizer"] = kept
    return [f" {name} params: {count:,} ({_memory(4 * count)})" for name, count in counts.items()]


def _memory(size: float) -> str:
    unit = 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.2f} {UNITS[unit]}"


def _widths(line_length: int, positions: tuple[float, ...]) -> list[int]:
    """Share a line out among columns, borders and a space at either side taken off."""
    ends = [int(position * line_length) for position in positions]
    widths = [int(width) for width in np.diff([0, *ends])]
    if min(widths) < 4:
        raise ValueError(f"line_length must leave every column 4 characters, got {line_length}")
    excess = 3 * len(widths) + 1  # rich, which draws Keras's tables, spreads it in this way
    for i in range(len(widths)):
        taken = round(excess / (len(widths) - i))
        widths[i] -= taken - 2
        excess -= taken
    return [width - 2 for width in widths]


def _table(header: list[str], rows: list[list[str]], widths: list[int]) -> list[str]:
    lines = [
        _rule("┏━┳┓", widths),
        *_cells(header, widths, "┃", to_the_bottom=True),
        _rule("┡━╇┩", widths),
    ]
    for i, row in enumerate(rows):
        if i:
            lines.append(_rule("├─┼┤", widths))
        lines += _cells(row, widths, "│")
    return [*lines, _rule("└─┴┘", widths)]


def _rule(characters: str, widths: list[int]) -> str:
    left, line, middle, right = characters
    return left + middle.join(line * (width + 2) for width in widths) + right


def _cells(
    row: list[str], widths: list[int], border: str, *, to_the_bottom: bool = False
) -> list[str]:
    columns = [_wrapped(text, width) for text, width in zip(row, widths, strict=True)]
    height = max(map(len, columns))
    for column in columns:
        blank = [""] * (height - len(column))
        column[:] = blank + column if to_the_bottom else column + blank
    lines = []
    for texts in zip(*columns, strict=True):
        aligned = [
            text.rjust(width) if n == 2 else text.ljust(width)  # the counts stand to the right
            for n, (text, width) in enumerate(zip(texts, widths, strict=True))
        ]
        lines.append(f"{border} " + f" {border} ".join(aligned) + f" {border}")
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines between words; a word that is too long ends in an ellipsis."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [line if len(line) <= width else f"{line[: width - 1]}…" for line in lines]
