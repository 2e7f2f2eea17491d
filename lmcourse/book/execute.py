"""Execute notebooks in place, so that two runs store identical files.

::

    python -m lmcourse.book.execute chapters/*.ipynb

Each notebook runs from its own folder in a fresh kernel with a fixed environment. What is stored
depends on the sources alone: timing metadata, interpreter versions and the live half of widgets are
dropped (the ``text/html`` half stays, and a widget without one is refused), and a stream that the
kernel happened to send in pieces is joined.

Measured times and whatever else varies from run to run belong in a cell tagged
``nbval-ignore-output``. Its stored output stays as long as neither its source nor that of any code
cell before it has changed; ``--refresh`` measures anew.

A cell that fails or runs too long stops everything, and the notebook on disk stays as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from lmcourse._arguments import number
from lmcourse._files import write_text

# One thread: floating-point sums depend on how they are split, and machines differ in their cores.
ENVIRONMENT = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
VARIES = "nbval-ignore-output"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
TIMING_METADATA = ("execution", "ExecuteTime")
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
MEMORY_SAMPLING_SECONDS = 0.05


class NotebookError(Exception):
    """A notebook that cannot be executed or stored; the message names the notebook and the cell."""


class Run(NamedTuple):
    """What an execution gave.

    Attributes:
        notebook: the executed notebook, not yet in the form that is stored.
        seconds: wall-clock time, kernel start included.
        peak_memory: largest resident memory of the kernel and its children, in bytes.
    """

    notebook: NotebookNode
    seconds: float
    peak_memory: int


def execute(path: Path, *, cell_timeout: float = 300, timeout: float = 900) -> Run:
    """Execute a notebook in a fresh kernel; the file is only read.

    Args:
        path: the notebook; its folder becomes the working directory.
        cell_timeout: seconds that one cell may take.
        timeout: seconds that all cells together may take.

    Returns:
        The executed notebook, the time it took and the memory it needed.

    Raises:
        TypeError: a timeout is not a number.
        ValueError: a timeout is not above 0.
        NotebookError: the file is not a notebook, a cell raised or took too long, or the kernel
            died. The message holds the cell's source and the traceback.
    """
    cell_timeout = number("cell_timeout", cell_timeout, above=0)
    timeout = number("timeout", timeout, above=0)
    notebook = _read(path)
    memory = _PeakMemory()
    deadline, current_index = 0.0, 0

    def kernel_started(notebook: NotebookNode) -> None:
        nonlocal deadline
        deadline = time.monotonic() + timeout
        memory.watch(client.km.provisioner.pid)

    def cell_started(cell: NotebookNode, cell_index: int) -> None:
        nonlocal current_index
        current_index = cell_index

    client = NotebookClient(
        notebook,
        kernel_name="python3",
        record_timing=False,
        shutdown_kernel="immediate",
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(path.parent)}},
        # nbclient takes a timeout of 0 for none at all.
        timeout_func=lambda cell: max(min(cell_timeout, deadline - time.monotonic()), 0.001),
        on_notebook_start=kernel_started,
        on_cell_start=cell_started,
    )
    environment = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    start = time.monotonic()
    try:
        client.execute(env=environment | ENVIRONMENT)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        where = f"{path}, {_cell_name(notebook, current_index)}"
        raise NotebookError(f"{where}: {_without_colours(str(error)).strip()}") from error
    return Run(notebook, time.monotonic() - start, memory.peak)


def stored_form(notebook: NotebookNode) -> NotebookNode:
    """Return a copy of a notebook without what varies by run, machine or Python version.

    Args:
        notebook: an executed notebook.

    Returns:
        The notebook as the book stores it.

    Raises:
        NotebookError: a widget has no ``text/html``, so that a page without a kernel would show
            nothing. The message names the cell.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.kernelspec = nbformat.from_dict(KERNELSPEC)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for index, cell in enumerate(notebook.cells):
        for key in TIMING_METADATA:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = _joined_streams(cell.outputs)
            for output in cell.outputs:
                _drop_live_widget(output, _cell_name(notebook, index))
    return notebook


def settle_varying_outputs(
    notebook: NotebookNode, stored: NotebookNode, *, refresh: bool = False
) -> None:
    """Put the stored outputs of cells tagged ``nbval-ignore-output`` back, where they still hold.

    They hold as long as no code up to and including the cell has changed since they were made.
    The cell's metadata remembers that code by a digest, under ``lmcourse.outputs_of``.

    Args:
        notebook: the executed notebook; changed in place.
        stored: the same notebook as it was on disk.
        refresh: keep the new outputs of those cells too.
    """
    stored_cells = {cell.id: cell for cell in stored.cells if "id" in cell}
    for cell, digest in _code_with_digests(notebook):
        if VARIES not in cell.metadata.get("tags", []):
            continue
        before = stored_cells.get(cell.get("id"), cell)
        if not refresh and before.metadata.get("lmcourse", {}).get("outputs_of") == digest:
            cell.outputs = before.outputs
        cell.metadata.setdefault("lmcourse", NotebookNode()).outputs_of = digest


def execute_in_place(
    path: Path, *, refresh: bool = False, cell_timeout: float = 300, timeout: float = 900
) -> str:
    """Execute a notebook and store it, if anything in it changed.

    Args:
        path: the notebook.
        refresh: renew the outputs of cells tagged ``nbval-ignore-output`` too.
        cell_timeout: seconds that one cell may take.
        timeout: seconds that all cells together may take.

    Returns:
        One line: the notebook, its run time, its peak memory, and whether the file changed.

    Raises:
        TypeError: as in :func:`execute`.
        ValueError: as in :func:`execute`.
        NotebookError: as in :func:`execute` and :func:`stored_form`. The file is untouched.
    """
    stored = _read(path)
    run = execute(path, cell_timeout=cell_timeout, timeout=timeout)
    try:
        notebook = stored_form(run.notebook)
    except NotebookError as error:
        raise NotebookError(f"{path}, {error}") from None
    settle_varying_outputs(notebook, stored, refresh=refresh)
    text = nbformat.writes(notebook) + "\n"
    changed = text != path.read_text(encoding="utf-8")
    if changed:
        write_text(path, text)
    return (
        f"{path}: {run.seconds:.1f} s, peak memory {run.peak_memory / 2**20:.0f} MiB, "
        f"{'changed' if changed else 'unchanged'}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands after the program's name; by default that of this process.

    Returns:
        The exit status: 0, or 1 if a notebook failed.
    """
    parser = argparse.ArgumentParser(
        prog="python -m lmcourse.book.execute",
        description=__doc__.partition("\n")[0],
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument(
        "--refresh", action="store_true", help=f"renew the outputs of cells tagged {VARIES} too"
    )
    parser.add_argument("--cell-timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument("--timeout", type=float, default=900, metavar="SECONDS")
    options = parser.parse_args(arguments)
    for path in options.notebooks:
        try:
            line = execute_in_place(
                path,
                refresh=options.refresh,
                cell_timeout=options.cell_timeout,
                timeout=options.timeout,
            )
        except NotebookError as error:
            print(error, file=sys.stderr)
            return 1
        print(line, flush=True)
    return 0


class _PeakMemory:
    """The largest resident memory seen of a process and its children, until the process ends."""

    def __init__(self) -> None:
        self.peak = 0

    def watch(self, pid: int) -> None:
        threading.Thread(target=self._sample, args=(psutil.Process(pid),), daemon=True).start()

    def _sample(self, process: psutil.Process) -> None:
        while process.is_running():
            try:
                family = [process, *process.children(recursive=True)]
                self.peak = max(self.peak, sum(member.memory_info().rss for member in family))
            except psutil.Error:
                pass  # one of them has just ended
            time.sleep(MEMORY_SAMPLING_SECONDS)


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise NotebookError(f"{path}: there is no such notebook") from None
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        raise NotebookError(f"{path}: not a notebook ({error})") from error


def _cell_name(notebook: NotebookNode, index: int) -> str:
    return f"cell {index + 1} (id {notebook.cells[index].get('id')})"


def _without_colours(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _joined_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    joined: list[NotebookNode] = []
    for output in outputs:
        previous = joined[-1] if joined else None
        if (
            previous is not None
            and output.output_type == previous.output_type == "stream"
            and output.name == previous.name
        ):
            previous.text += output.text
        else:
            joined.append(output)
    return joined


def _drop_live_widget(output: NotebookNode, cell_name: str) -> None:
    data = output.get("data", {})
    if data.pop(WIDGET_VIEW, None) is not None and "text/html" not in data:
        raise NotebookError(
            f"{cell_name}: its widget has no text/html, so a page without a kernel would show "
            "nothing; use a widget of lmcourse.widgets"
        )


def _code_with_digests(notebook: NotebookNode) -> Iterator[tuple[NotebookNode, str]]:
    """Yield each code cell with a digest of the code up to and including it."""
    sources = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            sources.append(cell.source)
            yield cell, hashlib.sha256(json.dumps(sources).encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
