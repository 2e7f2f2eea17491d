"""The notebooks keep to the rules of `hygiene`; and the rules, and nbval, catch offenders."""

import json
import os
import re
import shlex
import subprocess
import sys

import nbformat
import pytest

from lmcourse.book.execute import ENVIRONMENT, execute_in_place
from lmcourse.exercises import exercises
from tests import hygiene
from tests.notebooks import CHAPTERS, ROOT, code, markdown, notebook, write

SOLUTIONS = "_solutions"
PNG = {"output_type": "display_data", "data": {"image/png": "iVBORw0="}, "metadata": {}}
WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/html": "<p>x</p>"}
ERROR = {"output_type": "error", "ename": "KeyError", "evalue": "'x'", "traceback": []}
ALT = "Bars: the letter e is the most frequent"
STUB = "def double(values):\n    raise NotImplementedError"


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def display(**data):
    return {"output_type": "display_data", "data": data, "metadata": {}}


def html(content):
    return display(**{"text/html": content})


def rule(check):
    return check.__name__


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.parametrize("check", hygiene.CHECKS, ids=rule)
def test_chapter(path, check):
    complaints = list(check(nbformat.read(path, as_version=4)))
    assert not complaints, "\n".join([path.name, *complaints])


@pytest.mark.parametrize(
    "path", [path for path in CHAPTERS if not path.stem.endswith(SOLUTIONS)], ids=lambda p: p.stem
)
def test_exercises_of_chapter(path):
    known = {name for name, exercise in exercises().items() if exercise.chapter == path.stem}
    page = path.with_stem(path.stem + SOLUTIONS)
    solutions = nbformat.read(page, as_version=4) if page.exists() else None
    chapter = nbformat.read(path, as_version=4)
    complaints = list(hygiene.exercises_are_complete(chapter, solutions, known))
    assert not complaints, "\n".join([path.name, *complaints])


# A notebook that no rule objects to, with what comes near to an offence.
INNOCENT = notebook(
    markdown(f"# Title\n\n![{ALT}](letters.png) and <img src='x.png' alt='{ALT}'>"),
    markdown(f":::{{figure}} letters.png\n:name: letters\n:alt: {ALT}\n\nCaption.\n:::"),
    markdown("See https://example.org/home/tmp/x, and the set $C:\\mathbb{R}$.\n\n```python\n```"),
    code("\n\n".join(["x = 1"] * 15), outputs=[stream("0.1234 at 0x1\n")]),
    code("y = 1\n" * 16, lmcourse={"long": "the training loop, whole"}),
    code(
        "#" * 72,
        outputs=[PNG, html(f'<img src="x.png" alt="{ALT}">')],
        mystnb={"image": {"alt": ALT}},
    ),
    code("import time", tags=["nbval-ignore-output"], outputs=[html("<p>widget</p>")]),
)


@pytest.mark.parametrize("check", hygiene.CHECKS, ids=rule)
def test_rules_let_the_innocent_pass(check):
    assert list(check(INNOCENT)) == []


def old_format():
    offender = notebook("1")
    offender.nbformat_minor = 4
    return offender


def same_ids():
    offender = notebook("1", "2")
    offender.cells[1].id = offender.cells[0].id
    return offender


def unknown_field():
    offender = notebook("1")
    offender.cells[0].author = "me"
    return offender


def executed(*counts):
    offender = notebook(*["1" for _ in counts])
    for cell, count in zip(offender.cells, counts, strict=True):
        cell.execution_count = count
    return offender


def with_metadata(**metadata):
    offender = notebook("1")
    offender.metadata.update(nbformat.from_dict(metadata))
    return offender


@pytest.mark.parametrize(
    ("check", "offender", "words"),
    [
        (hygiene.is_valid, old_format(), "format 4.4 has no cell ids"),
        (hygiene.is_valid, same_ids(), "2 cells have the id '1'"),
        (hygiene.is_valid, unknown_field(), "'author' was unexpected"),
        (hygiene.is_executed_in_order, executed(1, None), "number 2, but has None"),
        (hygiene.is_executed_in_order, executed(2), "number 1, but has 2"),
        (hygiene.is_executed_in_order, executed(None, None), "it was never executed"),
        (hygiene.is_executed_in_order, notebook(""), "cell 1 ('') is empty"),
        (hygiene.has_no_errors, notebook(code("d['x']", outputs=[ERROR])), "raised KeyError: 'x'"),
        (
            hygiene.has_no_errors,
            notebook(code("w()", outputs=[stream("a\n"), stream("Warning\n", "stderr")])),
            "cell 1 ('w()') wrote to stderr: 'Warning'",
        ),
        (hygiene.has_short_cells, notebook("x = 1\n" * 16), "cell 1 ('x = 1') has 16 lines"),
        (
            hygiene.has_short_cells,
            notebook(code("x = 1\n" * 16, lmcourse={"long": "because"})),
            "gives no reason",
        ),
        (hygiene.has_narrow_code, notebook("#" * 73), "a line of 73 characters"),
        (hygiene.has_alt_texts, notebook(code("plot()", outputs=[PNG])), "the alt text ''"),
        (
            hygiene.has_alt_texts,
            notebook(code("plot()", outputs=[PNG], mystnb={"image": {"alt": "A figure"}})),
            "the alt text 'A figure'",
        ),
        (
            hygiene.has_alt_texts,
            notebook(code("f()", outputs=[display(**{"image/svg+xml": "<svg/>"})])),
            "the alt text ''",
        ),
        (
            hygiene.has_alt_texts,
            notebook(code("f()", outputs=[html("<IMG src=x.png>")])),
            "shows an <img> with the alt text ''",
        ),
        (hygiene.has_alt_texts, notebook(markdown("![](a.png)")), "an image with the alt text ''"),
        (
            hygiene.has_alt_texts,
            notebook(markdown(f"![{ALT}](a.png) <img src='b.png' alt='b'>")),
            "alt text 'b'",
        ),
        (
            hygiene.has_alt_texts,
            notebook(markdown(f":::{{figure}} a.png\nCaption.\n:::\n\n:alt: {ALT}")),
            "an image with the alt text ''",
        ),
        (
            hygiene.has_no_timing_metadata,
            notebook(code("1", execution={"iopub.status.busy": "2026"})),
            "has 'execution' metadata",
        ),
        (
            hygiene.has_no_timing_metadata,
            notebook(markdown("a", ExecuteTime={"end_time": "2026"})),
            "has 'ExecuteTime' metadata",
        ),
        (
            hygiene.has_no_timing_metadata,
            with_metadata(language_info={"name": "python", "version": "3.11.9"}),
            "holds the Python version",
        ),
        (hygiene.has_no_live_widgets, with_metadata(widgets={}), "holds widget state"),
        (
            hygiene.has_no_live_widgets,
            notebook(code("w", outputs=[display(**WIDGET)])),
            "cell 1 ('w') stores a live widget",
        ),
        (hygiene.has_no_machine_paths, notebook("open('/home/me/x')"), "path '/home/me/x'"),
        (
            hygiene.has_no_machine_paths,
            notebook(code("p", outputs=[stream("<module from file:///tmp/x.py>")])),
            "path '/tmp/x.py'",
        ),
        (
            hygiene.has_no_machine_paths,
            notebook(code("p", outputs=[html(r"<p>C:\Users\me\x</p>")])),
            r"path 'C:\\Users\\me\\x'",
        ),
        (hygiene.has_no_machine_paths, notebook(markdown("In /Users/me, …")), "path '/Users/me,'"),
        (
            hygiene.has_no_machine_paths,
            notebook(code("f", outputs=[stream("<function f at 0x7f3a5c0d>")])),
            "prints the memory address",
        ),
        (
            hygiene.has_readable_directives,
            notebook(markdown("Text\n\n```{note}\nx\n```")),
            "has '```{note}'",
        ),
        (hygiene.has_no_filler, notebook(markdown("In this section, we will see")), "In this sec"),
        (hygiene.is_compared_by_nbval, notebook(code("1", tags=["nbval-skip"])), "'nbval-skip'"),
        (
            hygiene.is_compared_by_nbval,
            notebook(code("x = 1\n# NBVAL_IGNORE_OUTPUT")),
            "the comment '# NBVAL_IGNORE_OUTPUT'",
        ),
    ],
)
def test_rules_catch_offenders(check, offender, words):
    (complaint,) = check(offender)
    assert words in complaint


def group(name, *, stub=STUB, call="check"):
    tags = [f"exercise:{name}"]
    cells = (
        markdown(f":::{{exercise}}\n{name}\n:::", tags=tags),
        code(stub, tags=tags),
        code(f'{call}("{name}", double)', tags=tags),
    )
    return list(cells)


def solution(name):
    return [markdown("Why", tags=[f"solution:{name}"]), code(STUB, tags=[f"solution:{name}"])]


def complaints_about(chapter, solutions, known):
    page = None if solutions is None else notebook(*solutions)
    return list(hygiene.exercises_are_complete(notebook(*chapter), page, known))


def test_complete_exercises_pass():
    chapter = [markdown("# T"), *group("a"), markdown("text"), *group("b")]
    assert complaints_about(chapter, [*solution("a"), *solution("b")], {"a", "b"}) == []
    assert complaints_about([markdown("# No exercises")], None, set()) == []


@pytest.mark.parametrize(
    ("chapter", "solutions", "known", "words"),
    [
        (group("a"), solution("a"), {"a", "b"}, "no cell is tagged exercise:b"),
        (group("a"), solution("a"), set(), "exercise:a is not known"),
        (group("a"), None, {"a"}, "has no code cell tagged solution:a"),
        (group("a"), solution("a")[:1], {"a"}, "has no code cell tagged solution:a"),
        (group("a"), solution("a") + solution("b"), {"a"}, "solves b, which is no exercise"),
        (group("a") + solution("a"), solution("a"), {"a"}, "the chapter holds the solution of a"),
        (group("a"), solution("a") + group("a"), {"a"}, "the solutions page holds the exercise a"),
        (group("a")[:2], solution("a"), {"a"}, "got ['markdown', 'code']"),
        (
            [*group("a")[:1], markdown("hint"), *group("a")[1:]],
            solution("a"),
            {"a"},
            "the cells of exercise:a do not follow each other",
        ),
        (group("a", call="print"), solution("a"), {"a"}, 'does not call check("a", …)'),
    ],
)
def test_incomplete_exercises_are_named(chapter, solutions, known, words):
    (complaint,) = complaints_about(chapter, solutions, known)
    assert words in complaint


def nbval(*paths):
    """Run nbval as `make test` does and return its exit status and what it said."""
    line = re.search(r"-m pytest (.*--nbval .*) chapters$", (ROOT / "Makefile").read_text(), re.M)
    options = re.sub(r"-n \S+ --dist \S+", "--color=no -p no:cacheprovider", line[1])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *shlex.split(options), *paths],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return run.returncode, run.stdout


def test_nbval_fails_if_a_stored_number_is_changed_by_hand(tmp_path):
    good = write(
        tmp_path / "good.ipynb",
        "import math",
        "print(f'{math.pi:.4f}')",
        "f'{math.e:.4f}'",
        'from IPython.display import HTML\nHTML("<b>0.5772</b>")',
        code("import time\nprint(time.time())", tags=["nbval-ignore-output"]),
        "print(f'{-1e-9:.4f}')",
    )
    execute_in_place(good)
    text = good.read_text()
    good.write_text(text.replace('"-0.0000\\n"', '"0.0000\\n"'))
    assert good.read_text() != text
    status, words = nbval(good)
    assert status == 0, words
    assert "6 passed" in words

    bad = good.with_name("bad.ipynb")
    stored = json.loads(text)
    for cell, old, new in [(1, "3.1416", "3.1417"), (2, "2.7183", "-2.7183"), (3, "0.57", "0.58")]:
        outputs = json.dumps(stored["cells"][cell]["outputs"])
        assert old in outputs
        stored["cells"][cell]["outputs"] = json.loads(outputs.replace(old, new))
    bad.write_text(json.dumps(stored))
    status, words = nbval(bad)
    assert status == 1
    assert "3 failed, 3 passed" in words
    for cell in (1, 2, 3):
        assert f"Cell {cell}: Cell outputs differ" in words
