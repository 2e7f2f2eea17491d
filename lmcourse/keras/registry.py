"""Finding things by the names that Keras gives them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def look_up(kind: str, name: Any, table: Mapping[str, T]) -> T:
    """Return what ``table`` holds under ``name``.

    Args:
        kind: what is looked for, for the message: ``"activation"``.
        name: a name.
        table: what there is.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: there is nothing of that name; the message says which names come near.
    """
    if not isinstance(name, str):
        raise TypeError(f"{kind} must be a name or an object, got {type(name).__name__}")
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=3) or difflib.get_close_matches(
        name.lower(), table, n=3
    )
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else ""
    known = f"known are {', '.join(sorted(table))}"
    raise ValueError(f"unknown {kind} {name!r}: {hint or known}")


def snake_case(name: str) -> str:
    """Return a class's ``name`` as Keras writes it: time_distributed for TimeDistributed."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
