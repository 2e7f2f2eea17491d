"""Writing files so that a reader meets the old content or the new one, never half of it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path``, then move it there.

    Raises:
        OSError: the folder is missing or not writable.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 in the same way, its line ends as they are.

    Raises:
        OSError: the folder is missing or not writable.
    """
    write_bytes(path, text.encode("utf-8"))
