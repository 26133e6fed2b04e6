"""Fixtures of the browser tests; `_jupyter.py` says how to use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.browser._jupyter import FrontEnd, NotebookPage, Profile, launch_chromium
from tests.browser._server import JupyterServer

OPENED = pytest.StashKey[list[NotebookPage]]()
FAILED = pytest.StashKey[bool]()

# Playwright keeps an event loop running in this thread while it lives, which other tests must not find:
# so the two costly fixtures end with this folder's last test, not with the session.


@pytest.fixture(scope="package")
def jupyter_server(
    tmp_path_factory: pytest.TempPathFactory, jupyter_path: Path | None
) -> Iterator[JupyterServer]:
    """One Jupyter server for all browser tests."""
    with JupyterServer(tmp_path_factory.mktemp("jupyter"), jupyter_path) as server:
        yield server


@pytest.fixture(scope="package")
def profile(jupyter_server: JupyterServer) -> Iterator[Profile]:
    """One headless Chromium for all browser tests, and in it one profile."""
    with launch_chromium() as browser:
        yield Profile(jupyter_server, browser)


@pytest.fixture(params=["lab", "notebook"])
def front_end(request: pytest.FixtureRequest) -> FrontEnd:
    """The front end to open notebooks in: each test runs in both."""
    return request.param


@pytest.fixture
def open_notebook(
    request: pytest.FixtureRequest, profile: Profile, front_end: FrontEnd
) -> Iterator[Callable[..., NotebookPage]]:
    """A function that opens a notebook; what it opened is closed, and checked, when the test ends."""
    opened = request.node.stash[OPENED] = []

    def open_one(
        source: Sequence[str] | Path, *, save_widget_state: bool = False, **options: Any
    ) -> NotebookPage:
        name = f"{request.node.originalname}-{len(opened)}"
        page = NotebookPage(
            profile,
            name,
            source,
            front_end=front_end,
            save_widget_state=save_widget_state,
            **options,
        )
        opened.append(page)
        return page

    yield open_one
    failed = request.node.stash.get(FAILED, False)
    for page in opened:
        page.close(failed=failed)
    if failed:
        profile.renew()
    profile.forget()
    profile.server.reset_settings()
    problems = [problem for page in opened for problem in page.problems()]
    assert not problems, "\n\n".join(problems)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """When a test fails, take a last picture of its pages and report what they wrote to the console."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
        for page in item.stash.get(OPENED, []):
            page.screenshot("failed")
            report.sections.append((f"console of {page.name}", "\n".join(page.errors + page.console)))
    return report
