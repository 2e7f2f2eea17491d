import json
import time

import nbformat
import pytest

from lmcourse.book.execute import (
    ENVIRONMENT,
    NotebookError,
    execute,
    execute_in_place,
    main,
    stored_form,
)
from tests.notebooks import ROOT, code, markdown, notebook, write

PIECES = """import time
for piece in ("one ", "two ", "three"):
    print(piece, end="", flush=True)
    time.sleep(0.3)"""
BUNDLE = """from IPython.display import display
display({"text/plain": "sampler", "text/html": "<p>bars</p>",
         "application/vnd.jupyter.widget-view+json": {"model_id": "1"}}, raw=True)"""
CLOCK = "import time\nprint(time.perf_counter_ns())"


def outputs(path, cell):
    return nbformat.read(path, as_version=4).cells[cell].outputs


def text(path, cell):
    return outputs(path, cell)[0].text


def test_two_runs_store_the_same_bytes_and_nothing_that_varies(tmp_path):
    slider = "from ipywidgets import IntSlider\nslider = IntSlider()"
    path = write(
        tmp_path / "chapter.ipynb",
        markdown("# Title"),
        code(PIECES, mystnb={"image": {"alt": "words"}}, execution={"iopub.status.busy": "now"}),
        BUNDLE,
        slider,
        "{word for word in 'these are in an order set by the hash seed'.split()}",
    )
    line = execute_in_place(path)
    first = path.read_bytes()
    assert line.endswith(", changed")
    assert execute_in_place(path).endswith(", unchanged")
    assert path.read_bytes() == first

    stored = json.loads(first)
    assert [cell["id"] for cell in stored["cells"]] == ["1", "2", "3", "4", "5"]
    assert stored["cells"][1]["metadata"] == {"mystnb": {"image": {"alt": "words"}}}
    assert "".join(stored["cells"][1]["outputs"][0]["text"]) == "one two three"
    assert len(stored["cells"][1]["outputs"]) == 1
    assert stored["cells"][2]["outputs"][0]["data"] == {
        "text/html": ["<p>bars</p>"],
        "text/plain": ["sampler"],
    }
    assert [cell.get("execution_count") for cell in stored["cells"]] == [None, 1, 2, 3, 4]
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    assert "version" not in stored["metadata"]["language_info"]
    assert list(tmp_path.iterdir()) == [path]


def test_streams_are_joined_only_where_nothing_lies_between():
    stream = {"output_type": "stream", "name": "stdout", "text": "a"}
    picture = {"output_type": "display_data", "data": {"text/plain": "P"}, "metadata": {}}
    cell = code("", outputs=[stream, stream, picture, stream, {**stream, "name": "stderr"}])
    joined = stored_form(notebook(cell)).cells[0].outputs
    assert [output.get("text", "P") for output in joined] == ["aa", "P", "a", "a"]


def test_the_kernel_runs_in_the_notebooks_folder_with_the_fixed_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    monkeypatch.setenv("MPLBACKEND", "agg")
    names = [*ENVIRONMENT, "MPLBACKEND"]
    path = write(
        tmp_path / "chapter.ipynb",
        "import os, pathlib",
        "print(pathlib.Path.cwd().name)",
        f"print([os.environ.get(name) for name in {names}])",
    )
    execute_in_place(path)
    assert text(path, 1).strip() == tmp_path.name
    inline = "module://matplotlib_inline.backend_inline"
    assert text(path, 2).strip() == str([*ENVIRONMENT.values(), inline])


def test_make_gives_nbval_the_same_environment():
    makefile = (ROOT / "Makefile").read_text()
    for name, value in ENVIRONMENT.items():
        assert f"export {name} = {value}\n" in makefile
    assert "unexport MPLBACKEND\n" in makefile


def test_a_widget_without_html_is_refused_by_cell(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "1", "from ipywidgets import IntSlider\nIntSlider()")
    before = path.read_bytes()
    with pytest.raises(NotebookError, match=r"chapter\.ipynb, cell 2 \(id 2\): .*no text/html"):
        execute_in_place(path)
    assert path.read_bytes() == before


def test_an_error_shows_source_and_traceback_and_leaves_the_file_alone(tmp_path, capsys):
    path = write(tmp_path / "chapter.ipynb", "x = 0", markdown("text"), "y = 1 / x", "3")
    before = path.read_bytes()
    assert main([str(path)]) == 1
    message = capsys.readouterr().err
    assert "chapter.ipynb, cell 3 (id 3)" in message
    assert "y = 1 / x" in message
    assert "ZeroDivisionError: division by zero" in message
    assert "\x1b" not in message
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("limit", ["cell_timeout", "timeout"])
def test_a_cell_that_takes_too_long_is_stopped(tmp_path, limit):
    path = write(tmp_path / "chapter.ipynb", "import time", "time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(NotebookError, match=r"cell 2 \(id 2\): A cell timed out"):
        execute_in_place(path, **{limit: 2})
    assert time.monotonic() - start < 50, "the limit did not stop the cell"


def test_a_kernel_that_dies_is_reported(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "import os", "os._exit(1)")
    with pytest.raises(NotebookError, match=r"cell 2 \(id 2\): Kernel died"):
        execute_in_place(path)


def test_varying_outputs_stay_until_code_before_them_changes(tmp_path):
    path = tmp_path / "chapter.ipynb"
    varying = code(CLOCK, tags=["nbval-ignore-output"])
    write(path, "a = 1", markdown("one"), varying, "a = 3")
    execute_in_place(path)
    first = text(path, 2)

    def rerun_with(old, new):
        path.write_text(path.read_text().replace(old, new))
        execute_in_place(path)
        return text(path, 2)

    assert rerun_with("nothing", "nothing") == first
    assert rerun_with("one", "two") == first, "prose does not count"
    assert rerun_with("a = 3", "a = 4") == first, "neither does code further down"
    second = rerun_with("a = 1", "a = 2")
    assert second != first
    assert main(["--refresh", str(path)]) == 0
    third = text(path, 2)
    assert third != second
    assert rerun_with("nothing", "nothing") == third


def test_an_output_without_the_tag_is_always_renewed(tmp_path):
    path = write(tmp_path / "chapter.ipynb", CLOCK)
    execute_in_place(path)
    first = text(path, 0)
    execute_in_place(path)
    assert text(path, 0) != first


def test_peak_memory_covers_the_kernel_and_its_children(tmp_path):
    small = write(tmp_path / "small.ipynb", "1")
    child = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', {}])"
    hungry = "import time; x = b'1' * 300_000_000; time.sleep(0.5)"
    large = write(tmp_path / "large.ipynb", child.format(repr(hungry)))
    base = execute(small).peak_memory
    assert 10e6 < base < 300e6
    assert 250e6 < execute(large).peak_memory - base < 450e6


def test_the_command_line_reports_each_notebook(tmp_path, capsys):
    paths = [write(tmp_path / name, "1") for name in ("a.ipynb", "b.ipynb")]
    assert main([str(path) for path in paths]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(path) for path in paths]
    assert all(" s, peak memory " in line and " MiB, changed" in line for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such notebook"), ("{", "not a notebook"), ("{}", "not a notebook")],
)
def test_what_is_not_a_notebook_is_named(tmp_path, capsys, content, message):
    path = tmp_path / "chapter.ipynb"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 1
    error = capsys.readouterr().err
    assert str(path) in error
    assert message in error


@pytest.mark.wrong_input
def test_timeouts_must_be_positive(tmp_path):
    path = write(tmp_path / "chapter.ipynb", "1")
    with pytest.raises(ValueError, match="cell_timeout must be a finite number > 0, got 0"):
        execute(path, cell_timeout=0)
    with pytest.raises(TypeError, match="timeout must be a number, got str 'long'"):
        execute(path, timeout="long")
