"""The files that ship with the package, each compared with its checksum whenever it is read."""

from __future__ import annotations

import hashlib
import json
import lzma
from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the shipped files lie."""

_MEND = "Reinstall lmcourse, or in a checkout run `make data`."


class DataFileError(Exception):
    """A data file is missing or damaged; the message says which and how to mend it."""


def read_content(file: str, folder: Path) -> bytes:
    """Return the decompressed content of ``file`` in ``folder`` after comparing the checksum.

    Raises:
        DataFileError: the file or ``checksums.json`` is missing or damaged.
    """
    path, sums = folder / file, folder / "checksums.json"
    try:
        packed = path.read_bytes()
        expected = json.loads(sums.read_text("utf-8"))[name_of(file)]["sha256"]
    except FileNotFoundError as error:
        raise DataFileError(f"{error.filename} is missing. {_MEND}") from None
    except (ValueError, KeyError, TypeError):
        raise DataFileError(f"{sums} is damaged: no checksum of {file}. {_MEND}") from None
    found = hashlib.sha256(packed).hexdigest()
    if found != expected:
        raise DataFileError(f"{path} is damaged: expected sha256 {expected}, got {found}. {_MEND}")
    return lzma.decompress(packed)


def name_of(file: str) -> str:
    """Return the name under which ``checksums.json`` lists a file: ``alice`` of alice.jsonl.xz."""
    return file.partition(".")[0]
