"""A real notebook in a real browser, to time what a person waits for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser._jupyter import NotebookPage, Profile, launch_chromium
from tests.browser._server import JupyterServer


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
