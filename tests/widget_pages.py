"""Widgets where readers meet them: in a small built book, and in JupyterLab with a kernel."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nbformat import NotebookNode, v4

from lmcourse.widgets._widget import Widget
from tests.chromium import OfflinePage
from tests.notebooks import ROOT, code, markdown, notebook

BIN = Path(sys.executable).parent
LANGUAGE = {
    "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
PHONE = {"viewport": {"width": 390, "height": 844}}
QUIET_LAB = {"fetchNews": "false", "checkForUpdates": False}


# --- A built book, without a kernel -----------------------------------------------------------


def stored_output(view: Widget) -> NotebookNode:
    """Return what an executed chapter stores of a widget."""
    data, _ = view._repr_mimebundle_()
    return v4.new_output(
        "execute_result",
        data={kind: data[kind] for kind in ("text/plain", "text/html")},
        execution_count=1,
    )


def stored_output_of_a_new_process(expressions: list[str], imports: str, *, hash_seed: int) -> str:
    """Return what widgets store when another process makes them."""
    program = (
        f"{imports}\n"
        f"for view in ({', '.join(expressions)},):\n"
        "    data, metadata = view._repr_mimebundle_()\n"
        "    del data['application/vnd.jupyter.widget-view+json']\n"
        "    print(ascii((sorted(data.items()), metadata)))"
    )
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout


def build_book(folder: Path, pages: dict[str, list[Widget]]) -> Path:
    """Build a book with the real settings; return the folder of its pages.

    Beside ``pages``, each with the widgets of its own, it has ``plain.html`` with none.
    """
    (folder / "_config.yml").write_bytes((ROOT / "_config.yml").read_bytes())
    (folder / "references.bib").write_text("", encoding="utf-8")
    (folder / "plain.md").write_text("# A page without a widget\n\nWords.\n", "utf-8")
    chapters = ", ".join(f"{{file: {name}}}" for name in pages)
    toc = f"format: jb-book\nroot: plain\nchapters: [{chapters}]\n"
    (folder / "_toc.yml").write_text(toc, encoding="utf-8")
    for name, views in pages.items():
        cells = [code("view", outputs=[stored_output(view)]) for view in views]
        prose = markdown(f"# {name.capitalize()}\n\nIn $p(x)$ the $x$ is a token.")
        page = notebook(prose, *cells)
        page.metadata.update(LANGUAGE)
        (folder / f"{name}.ipynb").write_text(json.dumps(page), encoding="utf-8")
    subprocess.run(
        [BIN / "jupyter-book", "build", folder, "-n", "-W", "--keep-going"],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder / "_build" / "html"


@contextmanager
def opened(browser, path: Path, **options) -> Iterator:
    """Open a page from disk; nothing may leave the machine, nothing may be complained of."""
    with OfflinePage(browser, **options) as offline:
        offline.page.goto(path.as_uri())
        offline.page.wait_for_load_state("load")
        yield offline.page
        assert offline.refused == []
        assert offline.errors == []


class WidgetInPage:
    """One widget in a page, used as a reader does.

    A subclass names the class of its root, as a CSS selector.

    Args:
        page: of the browser.
        index: which of the page's widgets of this kind.
    """

    selector: str

    def __init__(self, page, index: int = 0):
        self.page = page
        self.root = page.locator(self.selector).nth(index)

    def slider(self, label: str):
        return self.root.get_by_label(label, exact=True)

    def slide(self, label: str, position: int) -> None:
        self.slider(label).fill(str(position))

    def press(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def saved(self, name: str) -> Path:
        """The file that a button saves."""
        with self.page.expect_download() as download:
            self.press(name)
        return download.value.path()

    def saved_rows(self) -> list[dict[str, str]]:
        """The rows of the saved CSV."""
        with self.saved("Save CSV").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


def evaluate_in_module(browser, widget: type[Widget], function: str, argument):
    """Call a JavaScript function that sees every name of the module that Jupyter runs."""
    source = widget._esm.replace("export default { render };", f"return ({function})(argument);")
    with OfflinePage(browser) as offline:
        return offline.page.evaluate(
            "([source, argument]) => new Function('argument', source)(argument)", [source, argument]
        )


# --- JupyterLab, with a kernel ----------------------------------------------------------------


@contextmanager
def jupyterlab(home: Path, cells: tuple[str, ...]) -> Iterator[str]:
    """Run JupyterLab in the folder ``home`` with a notebook; give the notebook's address."""
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(QUIET_LAB), "utf-8")
    page = notebook(*cells)
    page.metadata.update(LANGUAGE)
    for cell in page.cells:
        cell.execution_count = None
    (home / "view.ipynb").write_text(json.dumps(page), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {
        "HOME": home,
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "PYTHONPATH": ROOT,
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": home,
        "IdentityProvider.token": "widget",
        "LabApp.expose_app_in_browser": True,
        "LabApp.extension_manager": "readonly",
    }
    log = home / "log.txt"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            env={**os.environ, **{name: str(path) for name, path in folders.items()}},
            cwd=home,
            stdout=output,
            stderr=output,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for_server(f"{address}/api/status?token=widget", server, log)
        yield f"{address}/lab/tree/view.ipynb?token=widget"
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for_server(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.25)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text(encoding='utf-8')}")


class Lab:
    """A notebook open in JupyterLab; its first cell shows a widget.

    Args:
        page: of the browser.
        address: of the notebook.
        view: makes the page object of the widget.
    """

    def __init__(self, page, address: str, view: type[WidgetInPage]):
        self.page = page
        page.goto(address)
        self.wait_until_idle()
        self.command("notebook:run-all-cells")
        self.view = view(page)
        self.view.root.wait_for(timeout=60_000)
        page.wait_for_function("document.querySelector('.jp-OutputArea-output pre')")

    def wait_until_idle(self) -> None:
        context = "window.jupyterapp?.shell?.currentWidget?.sessionContext"
        idle = f"{context}?.isReady && {context}.session?.kernel?.status === 'idle'"
        self.page.wait_for_function(idle, timeout=60_000)

    def command(self, name: str, **arguments) -> None:
        # Without waiting for its promise, which some commands settle late or never.
        call = "([name, args]) => { window.jupyterapp.commands.execute(name, args); }"
        self.page.evaluate(call, [name, arguments])

    def run(self, index: int) -> None:
        """Run one cell and wait until the kernel has done so."""
        cell = self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)
        prompt = cell.locator(".jp-InputPrompt")
        before = prompt.text_content()
        cell.locator(".jp-InputArea-editor").click()
        self.command("notebook:run-cell")
        self.page.wait_for_function(
            "([prompt, before]) => ![before, '[*]:'].includes(prompt.textContent)",
            arg=[prompt.element_handle(), before],
        )
        self.wait_until_idle()

    def kernel_state(self) -> dict:
        """What the notebook's second cell prints of the view, as JSON."""
        self.run(1)
        printed = self.page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea-output pre")
        return json.loads(printed.last.text_content())

    def go_dark(self) -> None:
        self.command("apputils:change-theme", theme="JupyterLab Dark")
        self.page.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
