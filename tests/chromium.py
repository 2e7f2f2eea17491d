"""Chromium for the tests: find it, install it, and open pages with the network cut off.

``python -m tests.chromium`` makes sure that a Chromium is there, and installs one if none is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The first three let Chromium run inside containers; the others keep it from phoning home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LOCAL = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:", "ws://127.0.0.1:")
APT_PACKAGES = ("chromium", "fonts-dejavu-core")


def find_chromium() -> str | None:
    """Return the path of a Chromium or Chrome, or ``None`` if this machine has none."""
    for command in COMMANDS:
        if path := shutil.which(command):
            return path
    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
    return bundled if Path(bundled).exists() else None


def install_chromium() -> None:
    """Install Chromium: Debian's where that is allowed, Playwright's own otherwise.

    Raises:
        subprocess.CalledProcessError: the installer failed; its own words are on the terminal.
    """
    if os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends"]
        subprocess.run(["apt-get", "update", "--quiet"], check=True, env=quiet)
        subprocess.run([*install, *APT_PACKAGES], check=True, env=quiet)
    else:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True)


@contextmanager
def launch() -> Iterator[Browser]:
    """Start a headless Chromium with a fresh profile; it ends with the ``with`` block.

    Raises:
        RuntimeError: this machine has no Chromium.
    """
    path = find_chromium()
    if path is None:
        raise RuntimeError("no Chromium was found; install one with: python -m tests.chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class OfflinePage:
    """A page whose requests to other machines are refused and written down."""

    def __init__(self, browser: Browser, **context_options):
        self.context: BrowserContext = browser.new_context(**context_options)
        self.refused: list[str] = []
        self.errors: list[str] = []
        self.context.route("**/*", self._local_only)
        self.page: Page = self.context.new_page()
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _local_only(self, route: Route) -> None:
        if route.request.url.startswith(LOCAL):
            route.continue_()
        else:
            self.refused.append(route.request.url)
            route.abort()

    def _console(self, message) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"console {message.type}: {message.text}")

    def __enter__(self) -> OfflinePage:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


def accessibility_violations(
    page: Page, element: str | None = None, *, colours: bool = True
) -> list[str]:
    """Return what axe-core finds wrong, one line for each element.

    `element` is a CSS selector. Contrasts are slow to compute on long pages: `colours=False` leaves
    them out.
    """
    options = {
        "preload": False,  # would fetch style sheets, which a page opened from disk may not do
        "resultTypes": ["violations"],
        "rules": {"color-contrast": {"enabled": colours}},
    }
    results = Axe().run(page, context=element, options=options).response
    return [
        f"{violation['id']}: {violation['help']}: {node['target']} {node['html'][:120]}"
        for violation in results["violations"]
        for node in violation["nodes"]
    ]


def main() -> int:
    """Make sure that a Chromium is there; return the exit status."""
    if find_chromium() is None:
        print("No Chromium found; installing one for the browser tests.", flush=True)
        try:
            install_chromium()
        except subprocess.CalledProcessError as error:
            print(f"{' '.join(error.cmd)} failed (exit status {error.returncode}).")
    path = find_chromium()
    if path is None:
        print("The browser tests need Chromium, and it could not be installed. Install it with")
        print("your system's package manager, or run: python -m playwright install chromium")
        return 1
    print(f"Chromium: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
