"""Turn the packages' raw texts into clean chapters. Pure functions: text in, chapters out."""

from __future__ import annotations

import re

from lmcourse.data import Chapter

_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


def parse_novel(work: str, text: str) -> list[Chapter]:
    """Parse a novel whose chapters start with ``Chapter 1`` or ``CHAPTER I`` on a line of its own.

    What stands before the first chapter (title page) is dropped, and so is what follows a line
    ``THE END`` or ``FINIS``. Volume headings become part of the chapter titles.
    """
    chapters: list[tuple[str, list[str]]] = []
    volume = ""
    for block in _blocks(text):
        heading = " ".join(line.strip() for line in block)
        if heading.upper() in {"THE END", "FINIS"}:
            break
        if found := re.fullmatch(r"volume ([ivxlc]+|\d+)", heading, re.IGNORECASE):
            volume = f"Volume {number(found[1])}, "
        elif found := re.fullmatch(r"chapter ([ivxlc]+|\d+)\.?( .*)?", heading, re.IGNORECASE):
            chapters.append((f"{volume}Chapter {number(found[1])}{_subtitle(found[2])}", []))
        elif chapters:
            chapters[-1][1].append(paragraph(block))
    return [Chapter(work, title, "\n\n".join(body)) for title, body in chapters]


def number(numeral: str) -> int:
    """Read a Roman or decimal number."""
    if numeral.isdecimal():
        return int(numeral)
    values = [_ROMAN[letter] for letter in numeral.upper()]
    following = [*values[1:], 0]
    return sum(-v if v < after else v for v, after in zip(values, following, strict=True))


def paragraph(lines: list[str]) -> str:
    """Return a block of source lines as one clean paragraph.

    Wrapped prose becomes a single line. Verse keeps its lines: an indented block in which the
    indentation varies or every line starts with a capital letter.
    """
    indents = [len(line) - len(line.lstrip()) for line in lines]
    stripped = [clean_line(line) for line in lines]
    if re.fullmatch(r"[* ]+", " ".join(stripped)):
        return "* * *"
    capitals = all(re.match(r"\W*[A-Z]", line) for line in stripped)
    if len(lines) > 1 and min(indents) > 0 and (len(set(indents)) > 1 or capitals):
        return "\n".join(stripped)
    return unwrap(stripped)


def unwrap(lines: list[str]) -> str:
    """Join wrapped lines into one; no space after a hyphen or dash that ends a line."""
    text = lines[0]
    for line in lines[1:]:
        text += line if text.endswith("-") else f" {line}"
    return text


def clean_line(line: str) -> str:
    """Return a line without italics marks, doubled spaces and dashes of irregular length."""
    line = line.replace("_", "")
    line = re.sub(r"-{3,}", "----", line)
    line = re.sub(r"([.,;:!?'\"])-- ", r"\1--", line)
    return " ".join(line.split())


def _blocks(text: str) -> list[list[str]]:
    """Split at blank lines."""
    return [block.split("\n") for block in re.split(r"\n(?:[ \t]*\n)+", text.strip("\n"))]


def _subtitle(text: str | None) -> str:
    return f". {text.strip().rstrip('.')}" if text else ""
