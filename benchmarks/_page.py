"""A real notebook in a real browser, to time what a person waits for."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

from tests.browser._jupyter import (
    CHROMIUM_OPTIONS,
    VIEWPORT,
    NotebookPage,
    Profile,
    find_chromium,
    launch_chromium,
)
from tests.browser._server import JupyterServer

START_TIMEOUT = 60.0  # seconds


@contextmanager
def open_page(cell: str) -> Iterator[NotebookPage]:
    """Open a notebook of one cell in JupyterLab and run it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        JupyterServer(Path(folder)) as server,
        launch_chromium() as chromium,
    ):
        page = NotebookPage(Profile(server, chromium), "benchmark", [cell], front_end="lab")
        page.run_all()
        try:
            yield page
        finally:
            page.close()


def run_unattended(cell: str, begin: Callable[[NotebookPage], None], result: str, timeout: float) -> str:
    """Open a notebook of one cell in JupyterLab, run it, let go of the browser, and wait for a file.

    A driver of a browser has it send a copy of each message of the page, and so takes processor time that no
    person's browser takes: as much as all the rest of what a player streams. So, once it has begun, the page is alone.

    Parameters
    ----------
    cell
        Python, of which something writes the file some time after ``begin`` has returned.
    begin
        Is called with the page; what it starts goes on without it.
    result
        The name of the file, beside the notebook; it must come into being with all that it holds.
    timeout
        In seconds.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        JupyterServer(Path(folder)) as server,
        _chromium_alone(Path(folder) / "profile") as address,
    ):
        with sync_playwright() as playwright:
            profile = _StayingProfile(server, playwright.chromium.connect_over_cdp(address))
            page = NotebookPage(profile, "benchmark", [cell], front_end="lab", own_page=True)
            page.run_all()
            begin(page)
        found, until = server.root / result, time.monotonic() + timeout
        while not found.exists():
            if time.monotonic() > until:
                raise RuntimeError(f"{result} is not there after {timeout:g} s")
            time.sleep(1.0)
        return found.read_text("utf-8")


class _StayingProfile(Profile):
    """The profile that the browser has by itself: others end when nobody drives it any more."""

    def _new_context(self) -> BrowserContext:
        return self._browser.contexts[0]


@contextmanager
def _chromium_alone(profile: Path) -> Iterator[str]:
    """Run headless Chromium, which nobody drives; yields the address to drive it by."""
    with sync_playwright() as playwright:
        path = find_chromium(playwright)
    command = [
        *(path, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *(f"--window-size={VIEWPORT['width']},{VIEWPORT['height']}", *CHROMIUM_OPTIONS, "about:blank"),
    ]
    chromium = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port, until = profile / "DevToolsActivePort", time.monotonic() + START_TIMEOUT
        while not (port.exists() and port.read_text("utf-8").count("\n")):
            if chromium.poll() is not None or time.monotonic() > until:
                raise RuntimeError("Chromium does not start")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port.read_text('utf-8').splitlines()[0]}"
    finally:
        chromium.kill()
        chromium.wait()
