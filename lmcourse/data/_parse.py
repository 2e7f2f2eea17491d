"""Turn the packages' raw texts into clean chapters. Pure functions: text in, chapters out.

The sources are typed in ASCII by many hands. What comes out follows one convention: one space
between words, straight quotes, ``--`` for a dash and ``----`` for a name left blank, no marks of
italics, a blank line between paragraphs, speeches and stanzas, prose unwrapped, verse line by line.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping

from lmcourse.data import Chapter

_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_ORDINALS = ("FIRST", "SECOND", "THIRD", "FOURTH", "FIFTH")
_NUMERAL = rf"[IVXLC]+|\d+|{'|'.join(_ORDINALS)}"

_BEFORE_APOSTROPHE = "(?i:I|we|he|she|they|that|there|here|where|what|who|let|all)"

# A line of verse rarely has as many characters as this, a wrapped line of prose rarely as few.
_LONG_FOR_VERSE = 57
_SHORT_FOR_PROSE = 52


def parse_novel(work: str, text: str, *, titles: Mapping[str, str] | None = None) -> list[Chapter]:
    """Parse a novel whose chapters have headings such as ``Chapter 1`` or ``CHAPTER I``.

    The heading may go on with the chapter's title. Volume headings become part of the chapters'
    titles. What stands before the first chapter is dropped, and so is what follows ``THE END``.

    Args:
        work: the novel's title.
        text: the source.
        titles: other headings that start a chapter, and the chapters' titles.
    """
    titles = titles or {}
    chapters: list[tuple[str, list[str]]] = []
    volume = ""
    for block in _blocks(text):
        heading = " ".join(line.strip() for line in block)
        if heading.upper() in {"THE END", "FINIS"}:
            break
        if found := re.fullmatch(rf"(?:VOLUME|Volume) ({_NUMERAL})", heading):
            volume = f"Volume {number(found[1])}, "
        elif found := re.fullmatch(rf"(?:CHAPTER|Chapter) ({_NUMERAL})(\. .*)?", heading):
            title = (found[2] or "").rstrip(".")
            chapters.append((f"{volume}Chapter {number(found[1])}{title}", []))
        elif heading in titles:
            chapters.append((titles[heading], []))
        elif chapters:
            chapters[-1][1].append(paragraph(block))
    return _chapters(work, chapters)


def parse_play(
    work: str, text: str, *, abbreviations: Mapping[str, str] | None = None
) -> list[Chapter]:
    """Parse a play, one chapter per scene.

    A speech is the speaker's name in capitals and a full stop on a line of its own, then the lines
    that are spoken; stage directions stand in brackets. What comes before the first act, prologue
    or induction (the list of persons) is dropped. Scenes are counted, because the sources misnumber
    some.

    Args:
        work: the play's title.
        text: the source.
        abbreviations: words of the speakers' names as the source has them, and in full.
    """
    chapters: list[tuple[str, list[str]]] = []
    blocks = _blocks(_tidy_play(text))
    speakers = _speakers(blocks)
    part, scenes = "", 0
    for block in _speeches(blocks, speakers):
        act, place, framing, block = _play_heading(block)
        if act and part != f"Act {act}":
            part, scenes = f"Act {act}", 0
            chapters.append((part, []))
        if framing == "Prologue" and part:
            chapters.append((f"{part}, Prologue", []))
        elif framing:
            part, scenes = framing, 0
            chapters.append((part, []))
        if place is not None:
            scenes += 1
            chapters.append((f"{part}, Scene {scenes}{place and '. '}{place}", []))
        if block and chapters:
            chapters[-1][1].append(speech(block, speakers, abbreviations or {}))
    return _chapters(work, chapters)


def parse_poems(work: str, text: str) -> list[Chapter]:
    """Parse a poem, or poems under Roman numerals, from below its title and author's name."""
    chapters: list[tuple[str, list[str]]] = [(work, [])]
    for block in _blocks(re.split(r"^by William Shakespeare$", text, flags=re.MULTILINE)[1]):
        if len(block) == 1 and (found := re.fullmatch(r"([IVXLC]+)\.?", block[0].strip())):
            chapters.append((str(number(found[1])), []))
        else:
            chapters[-1][1].append("\n".join(reflow(block)))
    return _chapters(work, chapters)


def mend(text: str, faults: Mapping[str, str]) -> str:
    """Replace known faults of a source.

    Raises:
        ValueError: a fault does not stand in the text exactly once, so this is another version.
    """
    for fault, replacement in faults.items():
        if text.count(fault) != 1:
            raise ValueError(f"expected {fault!r} once in the source, found {text.count(fault)}")
        text = text.replace(fault, replacement)
    return text


def number(numeral: str) -> int:
    """Read a decimal number, a Roman one, or an ordinal in words.

    >>> number("7"), number("XLIV"), number("THIRD")
    (7, 44, 3)
    """
    if numeral.isdecimal():
        return int(numeral)
    if numeral in _ORDINALS:
        return _ORDINALS.index(numeral) + 1
    values = [_ROMAN[letter] for letter in numeral]
    following = [*values[1:], 0]
    return sum(-v if v < after else v for v, after in zip(values, following, strict=True))


def paragraph(lines: list[str]) -> str:
    """Return a novel's paragraph as a single line, or its verse line by line.

    Verse is indented throughout, and either its indentation varies or all its lines after the
    first start with a capital.
    """
    indents = [len(line) - len(line.lstrip()) for line in lines]
    lines = [clean_line(line) for line in lines]
    if re.fullmatch(r"[* ]+", "".join(lines)):
        return "* * *"
    capitals = all(re.match(r"\W*[A-Z]", line) for line in lines[1:])
    verse = min(indents) > 0 and (len(set(indents)) > 1 or capitals)
    return "\n".join(_unwrap(lines, lambda _, line: not verse or line[0].islower()))


def speech(
    lines: list[str], speakers: Container[str] = (), abbreviations: Mapping[str, str] | None = None
) -> str:
    """Return a block of a play, on its first line the speaker's name if it has one."""
    name, lines = _split_speaker(lines, speakers)
    if not name:
        return direction("\n".join(reflow(lines)))
    full = {"1": "first", "2": "second", "3": "third"} | dict(abbreviations or {})
    name = re.sub(r"(\w+)\.?", lambda word: full.get(word[1], word[0]), name)
    return "\n".join([f"{name.upper()}.", *reflow(lines)])


def direction(text: str) -> str:
    """Return a stage direction with its brackets in order; other text comes back as it is.

    >>> direction("[Exeunt [all but Boy.]")
    '[Exeunt all but Boy.]'
    """
    in_order = re.sub(r"[^][]", "", text) == "[]" * text.count("[")
    if not text.startswith("[") or "\n" in text or in_order:
        return text
    return "[" + re.sub(r"[][]", "", text) + "]"


def reflow(lines: list[str]) -> list[str]:
    """Unwrap what is prose in a speech or poem and keep what is verse line by line.

    Verse starts its lines with capitals. So a line that starts with a small letter goes on from the
    one before; where that is common, or all lines are long, the text is prose, and lines that
    happen to start with a capital go on too. So do the lines of a stage direction.
    """
    lines = [clean_line(line) for line in lines]
    small = sum(line[0].islower() for line in lines[1:])
    prose = 4 * small >= len(lines) - 1 > 0 and small > 0
    prose |= len(lines) > 1 and min(map(len, lines[:-1])) >= _LONG_FOR_VERSE
    open_brackets = 0

    def goes_on(before: str, line: str) -> bool:
        nonlocal open_brackets
        open_brackets += before.count("[") - before.count("]")
        wrapped = prose and len(before) >= _SHORT_FOR_PROSE
        return wrapped or open_brackets > 0 or line[0].islower()

    return _unwrap(lines, goes_on)


def clean_line(line: str) -> str:
    """Return a line with single spaces, without italics marks, its dashes of regular length."""
    line = line.replace("_", "").replace("`", "'")
    line = re.sub(r"-{3,}", "----", line)
    line = re.sub(r"([.,;:!?'\"])-- ", r"\1--", line)
    return " ".join(line.split())


def _unwrap(lines: list[str], goes_on: Callable[[str, str], bool]) -> list[str]:
    """Join each line to the one before wherever ``goes_on(before, line)`` says so.

    No space follows a hyphen or dash at a line's end, nor comes before a dash at a line's start
    unless a quotation's end is before it (then the dash leads to the source quoted).
    """
    joined = lines[:1]
    for before, line in itertools.pairwise(lines):
        if not goes_on(before, line):
            joined.append(line)
        elif before.endswith("-") or (line.startswith("--") and not before.endswith('"')):
            joined[-1] += line
        else:
            joined[-1] += f" {line}"
    return joined


def _tidy_play(text: str) -> str:
    """Mend what the typists of the plays did not do alike."""
    text = html.unescape(text).translate(str.maketrans("{}", "[]"))
    text = re.sub(r"^(@+| *-|THE END)$", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\S) *(?:--| - ) *", "--", text)
    text = re.sub(r"([.,;:!?])-(?=\s)", r"\1--", text)
    text = re.sub(r"(?<=\w) +(?=[,;:!?])", "", text)
    text = re.sub(r"([a-z])([,;:!?])(?=[A-Za-z])", r"\1\2 ", text)
    text = re.sub(rf"\b({_BEFORE_APOSTROPHE}) '(ll|s)\b", r"\1'\2", text)
    return text.replace("& c.", "&c.").replace(",,", ",").replace("..]", ".]")


def _play_heading(block: list[str]) -> tuple[int | None, str | None, str, list[str]]:
    """Split a block of a play into act, place of the scene, framing part, and the other lines.

    The act is None and the place is None where the block does not start an act or a scene.
    """
    end = next((i for i, line in enumerate(block) if line.strip().startswith("[")), len(block))
    text = " ".join(" ".join(block[:end]).split())
    act = re.match(rf"(?:ACT|Act) ({_NUMERAL})\b\.?", text)
    scene = text[act.end() :].strip() if act else text
    place = re.match(rf"(?:SCENE|Scene) ?({_NUMERAL})\b\W*(.*?)[\W]*$", scene)
    framing = re.fullmatch(r"(?:THE )?(PROLOGUE|EPILOGUE|INDUCTION)\.?", text)
    if not (act or place or framing):
        return None, None, "", block
    return (
        number(act[1]) if act else None,
        clean_line(place[2]) if place else None,
        framing[1].capitalize() if framing else "",
        block[end:],
    )


def _speakers(blocks: list[list[str]]) -> set[str]:
    """Find the speakers' names at the tops of blocks.

    Most plays have them in capitals. Where few are, short lines that end in a full stop are names.
    """
    tops = [" ".join(block[0].split()) for block in blocks if len(block) > 1]
    capitals = [top for top in tops if _in_capitals(top)]
    short = [top for top in tops if re.fullmatch(r"[A-Z\d][\w. ]{,23}\.", top)]
    return {top.rstrip(".") for top in (capitals if len(capitals) >= len(short) / 2 else short)}


def _in_capitals(line: str) -> bool:
    """Whether most letters of a line are capitals, as the names in most plays are."""
    letters = [letter for letter in line if letter.isalpha()]
    capitals = sum(map(str.isupper, letters))
    named = re.fullmatch(r"[\w' ,&.-]+\.|[A-Z ]+", line)
    return len(letters) > 2 and 2 * capitals > len(letters) and named is not None


def _speeches(blocks: Iterable[list[str]], speakers: Container[str]) -> list[list[str]]:
    """Put right where blocks end: a name in capitals starts one, and never ends one.

    A line that starts with a small letter goes on from a block that ends in mid-sentence.
    """
    speeches: list[list[str]] = []
    for block in blocks:
        for i, line in enumerate(block):
            last = speeches[-1][-1].strip() if speeches else ""
            goes_on = line.lstrip()[0].islower() and last[-1:] not in set(".!?:-]")
            follows = i > 0 or goes_on or _is_name(last, speakers)
            if follows and speeches and not _is_name(line, speakers):
                speeches[-1].append(line)
            else:
                speeches.append([line])
    return speeches


def _is_name(line: str, speakers: Container[str]) -> bool:
    """Whether a line is a speaker's name in capitals and nothing else."""
    line = " ".join(line.split())
    return line.isupper() and line.endswith(".") and line.rstrip(".") in speakers


def _split_speaker(lines: list[str], speakers: Container[str]) -> tuple[str, list[str]]:
    """Split a block into the speaker's name, if it starts with one, and the lines spoken."""
    first = " ".join(lines[0].split())
    if first.rstrip(".") in speakers and len(lines) > 1:
        return first.rstrip("."), lines[1:]
    name, stop, rest = first.partition(". ")
    if stop and name in speakers:
        return name, [rest, *lines[1:]]
    return "", lines


def _blocks(text: str) -> list[list[str]]:
    """Split at blank lines, and each block into its lines."""
    blocks = re.split(r"\n(?:[ \t]*\n)+", text.strip())
    return [block.split("\n") for block in blocks]


def _chapters(work: str, chapters: list[tuple[str, list[str]]]) -> list[Chapter]:
    """Join each chapter's paragraphs; leave out chapters that have none."""
    return [
        Chapter(work, title, unicodedata.normalize("NFC", "\n\n".join(paragraphs)))
        for title, paragraphs in chapters
        if paragraphs
    ]
