"""How to write a browser test: a notebook in a real JupyterLab 4 and a real Notebook 7, in headless Chromium.

    def test_slider(open_notebook):                      # runs twice: in "lab" and in "notebook"
        nb = open_notebook(["import ipywidgets as w; s = w.IntSlider(3); s"])
        nb.run_all()                                     # waits; raises what a cell raised
        handle = nb.output(0).get_by_role("slider")      # a Playwright locator, as all else on the page
        handle.press("ArrowRight")
        nb.kernel.wait_for("s.value == 4")               # Python in the same kernel, beside the page
        assert nb.kernel.value("s.value") == 4
        nb.screenshot("after")                           # only with CNNVIZ_SCREENSHOTS=folder

`open_notebook(source)` takes a list of cells' code, or the path of a notebook of the repository (a copy is
opened). Give `save_widget_state=True` to have the page write the widgets into the file, as a person does
with Settings > Save Widget State Automatically; `viewport={"width": 1600, "height": 1000}` sizes the page.
`nb.page` is Playwright's page.

All pages of a worker share one profile of the browser (`Profile`), whose cookies and storage are deleted after
every test. To load JupyterLab is most of what a page costs, so a test in Lab opens its notebook in the page of
the one before it, whose notebook is closed by then, as people open one notebook after another. After a test that
failed all begins anew. Where a test changes the page itself, or counts what is in it, ask for a page of its own:
`open_notebook(source, own_page=True)`; each notebook in Notebook 7 has one in any case.

To test in one front end only, put ``@pytest.mark.parametrize("front_end", ["lab"])`` on the test. To load a page
takes seconds: the layer browser, which is made of most views, is used in both front ends, by mouse and by keys, and
found again when Notebook 7's page is loaded anew; a saved notebook without a kernel is proved there once; all else
in Lab.

The state tests:
    nb.save(); nb.reopen()             the notebook is closed and opened again, the kernel goes on
    nb.save(); nb.reload()             the whole page is loaded anew; it costs five times as much
    nb.shut_down_kernel()              the kernel ends, the page stays
    nb.save(); nb.reopen_without_kernel()      the saved notebook opened anew, and no kernel runs
    nb.stored()                        the notebook file as a dict, as the page saved it
    nb.set_theme("dark")               and back with "light"
    nb.kernel.start("import time; time.sleep(5)")      to prove that something works while the kernel is busy

Waiting: Playwright's locators and `expect` wait by themselves; `nb.kernel.wait_for` waits for Python. What Python
set is not on the page yet: `nb.settle()` waits until it is, before a value, a place or a color is read there
that `expect` can't wait for; `nb.next_frame()` does so for what the page itself changed. Never sleep. A test
fails at its end on any uncaught error in the page and on any request to another host.

Keys: while a cell is selected in command mode (as after `run_all`), Notebook 7 and Lab take arrow keys,
Enter and letters for themselves, unless the focused element or one around it has the attribute
`data-lm-suppress-shortcuts="true"`. Views of ours must set it; ipywidgets' own slider does not.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    FloatRect,
    Locator,
    Page,
    Playwright,
    ViewportSize,
    sync_playwright,
)

from tests.browser._server import JupyterServer, Kernel

FrontEnd = Literal["lab", "notebook"]
SAVE_STATE_COMMAND = "@jupyter-widgets/jupyterlab-manager:saveWidgetState"  # on, and off again
OPEN_TIMEOUT = 60_000  # milliseconds, the first page of a run included
VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
STORED = "cookies,local_storage,indexeddb,websql,service_workers,cache_storage"  # all but the cache of files
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_OPTIONS = (
    "--no-sandbox",  # the tests may run as root in a container; every page is our own server's
    "--disable-gpu",
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),  # WebGL, computed on the processor
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-quic",
    "--process-per-site",  # the pages share what they have compiled
    "--disable-sync",
    # The address bar's suggestions are a page of their own, loaded with each window: a second of processor time.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxFullPopup,WebUIOmniboxAimPopup",
    "--no-first-run",
)
# Uncaught errors that the front ends throw at any start, with any notebook: not ours to answer for.
KNOWN_ERRORS = (
    "Cannot read properties of undefined (reading 'schema')",  # Notebook 7.6, a setting without schema
    "Command 'filebrowser:open-path' not registered.",  # Notebook 7.6, no file browser there
)
# The notebook panel in front, and a promise that gives up: a page that hangs must fail its test, not the run.
RUN_IN_PAGE = """async ([body, argument, milliseconds]) => {
    const action = new Function("app", "panel", "argument", `return (async () => {${body}})();`);
    const app = window.jupyterapp;
    const late = new Promise((_, reject) => {
        setTimeout(() => reject(new Error(`not done after ${milliseconds} ms: ${body}`)), milliseconds);
    });
    return await Promise.race([action(app, app.shell.currentWidget, argument), late]);
}"""


class CellError(AssertionError):
    """A cell of the notebook raised; the message is its traceback."""


def find_chromium(playwright: Playwright) -> str:
    """Return the path of Debian's or Google's Chromium if there is one, otherwise of Playwright's own."""
    found = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), playwright.chromium.executable_path)
    if not Path(found).exists():
        raise RuntimeError(
            "No Chromium for the browser tests. `make test` installs one; by hand, install your system's "
            "`chromium` package or run `.venv/bin/playwright install chromium`."
        )
    return found


@contextmanager
def launch_chromium() -> Iterator[Browser]:
    """Start headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(playwright), args=list(CHROMIUM_OPTIONS)
        )
        try:
            yield browser
        finally:
            browser.close()


class Profile:
    """What all pages of one server share in the browser: its cache, and the process that compiles its scripts."""

    def __init__(self, server: JupyterServer, browser: Browser) -> None:
        self.server = server
        self._browser = browser
        self._open()

    def _open(self) -> None:
        self._idle_lab: Page | None = None
        self._context = self._new_context()
        # A page that stays: the process, and what it has compiled, would end with the last page.
        self._keeper = self._context.new_page()
        self._keeper.goto(f"{self.server.url}/api", timeout=OPEN_TIMEOUT)
        self._control = self._context.new_cdp_session(self._keeper)

    def _new_context(self) -> BrowserContext:
        return self._browser.new_context()

    def new_page(self) -> Page:
        """Open an empty page."""
        return self._context.new_page()

    def take_lab(self) -> Page | None:
        """Return a page with JupyterLab in which no notebook is open, if there is one."""
        page, self._idle_lab = self._idle_lab, None
        return page

    def give_back(self, page: Page) -> None:
        """Keep a page with JupyterLab, in which no notebook is open, for another notebook."""
        if self._idle_lab is None:
            self._idle_lab = page
        else:
            page.close()

    def forget(self) -> None:
        """Delete all that pages have stored, so that the next test finds none of it; scripts stay in the cache."""
        self._control.send("Storage.clearDataForOrigin", {"origin": self.server.url, "storageTypes": STORED})

    def renew(self) -> None:
        """End the process of all pages, whatever state it is in, and begin with another."""
        self._context.close()
        self._open()


class NotebookPage:
    """One notebook, open in one page of one front end."""

    def __init__(
        self,
        profile: Profile,
        name: str,
        source: Sequence[str] | Path,
        *,
        front_end: FrontEnd,
        save_widget_state: bool = False,
        own_page: bool = False,
        viewport: ViewportSize = VIEWPORT,
    ) -> None:
        self.server = server = profile.server
        self._profile = profile
        self._shares_page = front_end == "lab" and not own_page
        self._saves_state = save_widget_state
        self._themed = False
        self.front_end = front_end
        self.name = re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{name}-{front_end}") + ".ipynb"
        self.path = server.root / self.name
        self.errors: list[str] = []  # uncaught errors of the page
        self.console: list[str] = []  # what it wrote to the console as an error
        self.foreign_requests: list[str] = []
        self._kernel: Kernel | None = None
        write_notebook(self.path, source)
        lab = profile.take_lab() if self._shares_page else None
        self.page = profile.new_page() if lab is None else lab
        self.page.set_viewport_size(viewport)
        self._handlers = {
            "pageerror": self._on_error,
            "console": self._on_console,
            "request": self._on_request,
        }
        for event, handler in self._handlers.items():
            self.page.on(event, handler)
        if lab is None:
            self._open()
        else:
            self.page.mouse.move(0, 0)
            self._open_beside()
        if save_widget_state:
            self.command(SAVE_STATE_COMMAND)

    def _open_beside(self) -> None:
        self.command("docmanager:open", {"path": self.name, "factory": "Notebook"})
        self._wait_for_panel()

    def _on_error(self, error: Any) -> None:
        if error.message not in KNOWN_ERRORS:
            self.errors.append(f"{error.message}\n{error.stack}")

    def _on_console(self, message: Any) -> None:
        if message.type == "error":
            self.console.append(message.text)

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith(
            (self.server.url, "blob:", "data:", self.server.url.replace("http", "ws"))
        ):
            self.foreign_requests.append(request.url)

    def _open(self) -> None:
        folder = "lab/tree" if self.front_end == "lab" else "notebooks"
        query = f"token={self.server.token}" + ("&reset" if self.front_end == "lab" else "")
        self.page.goto(f"{self.server.url}/{folder}/{self.name}?{query}", timeout=OPEN_TIMEOUT)
        self._wait_for_panel()

    def _wait_for_panel(self) -> None:
        # Both front ends show a splash or an empty shell first: the notebook is the current widget when open.
        self.page.wait_for_function(
            "name => window.jupyterapp?.shell?.currentWidget?.context?.path === name",
            arg=self.name,
            timeout=OPEN_TIMEOUT,
        )
        self.in_page("await app.restored; await panel.revealed; await panel.sessionContext.ready")
        self.wait_until_idle()

    def in_page(self, body: str, argument: Any = None, timeout: float = 60.0) -> Any:
        """Run a function body in the page, over `app`, `panel` (this notebook) and `argument`."""
        return self.page.evaluate(RUN_IN_PAGE, [body, argument, timeout * 1000])

    def command(self, name: str, arguments: dict[str, Any] | None = None, timeout: float = 60.0) -> None:
        """Execute a command of the front end by its id, and wait until it is done."""
        self.in_page("await app.commands.execute(...argument)", [name, arguments or {}], timeout)

    def run_all(self, timeout: float = 120.0) -> None:
        """Run every cell and wait until the kernel is idle; raise the first error a cell shows."""
        self.command("notebook:run-all-cells", timeout=timeout)
        self.wait_until_idle()
        for index, cell in enumerate(self.cells()):
            for output in cell.get("outputs", []):
                if output["output_type"] == "error":
                    traceback = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(output["traceback"]))
                    raise CellError(f"cell {index} of {self.name}:\n{traceback}")

    def wait_until_idle(self, timeout: float = 60.0) -> None:
        """Wait until the page sees its kernel idle."""
        self.page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'",
            timeout=timeout * 1000,
        )

    def settle(self) -> None:
        """Wait until the page has taken in, and drawn, all that the kernel has sent it; the kernel must be idle."""
        # The page handles a kernel's messages one by one: the answer to this one comes after all before it.
        self.in_page(
            "await panel.sessionContext.session.kernel.requestExecute({code: '', store_history: false}).done"
        )
        self.next_frame()

    def next_frame(self) -> None:
        """Wait until what the page has changed by now is on the screen."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def cells(self) -> list[dict[str, Any]]:
        """Return the cells as the page holds them now, outputs included."""
        return self.in_page("return panel.content.model.toJSON().cells")

    def cell(self, index: int) -> Locator:
        """Return the cell of that index, scrolled into view (cells far away are not on the page at all)."""
        self.in_page("await panel.content.scrollToItem(argument)", index)
        return self.page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{index}']")

    def output(self, index: int) -> Locator:
        """Return the output area of the cell of that index."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    @property
    def kernel(self) -> Kernel:
        """The notebook's kernel, to run Python beside the page."""
        if self._kernel is None:
            self._kernel = self.server.kernel_of(self.name)
        return self._kernel

    def save(self) -> None:
        """Save the notebook and wait until the file is written."""
        self.command("docmanager:save")

    def stored(self) -> dict[str, Any]:
        """Return the notebook file as it lies on disk."""
        return json.loads(self.path.read_text("utf-8"))

    def reload(self) -> None:
        """Load the page anew, as the browser's reload does; the kernel goes on. Its widgets are on the page then."""
        self._load_anew()
        self._reload_until_widgets_show()

    def reopen(self) -> None:
        """Close the notebook and open it again, in Notebook 7 by loading its page; the kernel goes on."""
        if self._shares_page:
            self._dispose_of_panel()
            self._open_beside()
        else:
            self._load_anew()
        self._reload_until_widgets_show()

    def _load_anew(self) -> None:
        self.page.reload(timeout=OPEN_TIMEOUT)
        self._wait_for_panel()

    def shut_down_kernel(self) -> None:
        """End the kernel from the page, as Kernel > Shut Down Kernel does; the page stays as it is."""
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None
        self.in_page("await panel.sessionContext.shutdown()")

    def reopen_without_kernel(self) -> None:
        """End the kernel and open the saved notebook anew, so that only the file can show its widgets.

        Both front ends restore widgets from a file only once a kernel has started ("No Kernel" in the
        dialog that asks for one leaves every widget at "Loading widget..."). So a fresh kernel, which has
        never heard of the widgets, starts with the page as it does for a person, and is shut down once
        they are shown. A page that the test shares with others stays, and the notebook is opened in it anew.
        """
        self.shut_down_kernel()
        if self._shares_page:
            self._dispose_of_panel()
            self._open_beside()
        else:
            self.page.goto("about:blank")
            self._open()
        self._reload_until_widgets_show()
        self.shut_down_kernel()

    def _reload_until_widgets_show(self) -> None:
        for _ in range(3):
            if self._wait_for_widgets() == "shown":
                return
            # A race inside ipywidgets: the kernel's "connected" came before the file was read. People reload.
            self._load_anew()
        raise AssertionError(f"ipywidgets finds no models for the widgets of {self.name}")

    def _wait_for_widgets(self) -> Literal["shown", "lost"]:
        """Wait until each saved widget is on the page, or ipywidgets has given one of them up."""
        return self.page.wait_for_function(
            """type => {
                const notebook = document.querySelector(".jp-Notebook");
                if (notebook.textContent.includes("Error displaying widget: model not found")) return "lost";
                const cells = window.jupyterapp.shell.currentWidget.content.model.toJSON().cells;
                const saved = cells.flatMap(cell => cell.outputs ?? []).filter(output => output.data?.[type]);
                const views = document.querySelectorAll(".jp-OutputArea-output.lm-Panel > .lm-Widget");
                return views.length >= saved.length && "shown";
            }""",
            arg="application/vnd.jupyter.widget-view+json",
            timeout=OPEN_TIMEOUT,
        ).json_value()

    def set_theme(self, theme: Literal["light", "dark"]) -> None:
        """Switch the front end's theme and wait until the page wears it."""
        self._themed = theme != "light"
        name = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}[theme]
        self.command("apputils:change-theme", {"theme": name})
        self.page.wait_for_function(
            # Lab covers the page meanwhile, and errs over the cover when the next switch comes before it is gone.
            """light => document.body.dataset.jpThemeLight === light
                && !document.getElementById("jupyterlab-splash")""",
            arg=str(theme == "light").lower(),
        )

    def screenshot(self, name: str) -> Path | None:
        """Keep a picture of the page in the folder CNNVIZ_SCREENSHOTS names; without it do nothing."""
        folder = os.environ.get("CNNVIZ_SCREENSHOTS")
        if not folder:
            return None
        path = Path(folder) / f"{self.path.stem}-{name}.png"
        self.page.screenshot(path=path)
        return path

    def colors_around(self, x: float, y: float, reach: int = 0) -> Image.Image:
        """Return the colors on the screen up to so many pixels around a point of the page, the pointer elsewhere."""
        self.page.mouse.move(1, 1)
        self.next_frame()
        side = 2 * reach + 1
        clip: FloatRect = {"x": round(x) - reach, "y": round(y) - reach, "width": side, "height": side}
        return Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB")

    def color(self, x: float, y: float) -> Any:
        """Return the color (red, green, blue) on the screen at a point of the page, the pointer elsewhere."""
        return self.colors_around(x, y).getpixel((0, 0))

    def problems(self) -> list[str]:
        """Return what no test may leave behind: uncaught errors and requests to other hosts."""
        return self.errors + [f"the page asked another host: {url}" for url in self.foreign_requests]

    def close(self, *, failed: bool = False) -> None:
        """Close the notebook and end its kernel; after a failure the page is in an unknown state and goes, too."""
        if self._kernel is not None:
            self._kernel.close()
        if self._shares_page and not failed:
            self._close_notebook()
            self._profile.give_back(self.page)
        else:
            self.page.close()
        self.server.shut_down_kernel(self.name)

    def _close_notebook(self) -> None:
        if self._themed:
            self.set_theme("light")
        if self._saves_state:
            self.command(SAVE_STATE_COMMAND)
        self.in_page("await panel.sessionContext.shutdown()")
        self._dispose_of_panel()
        for event, handler in self._handlers.items():
            self.page.remove_listener(event, handler)

    def _dispose_of_panel(self) -> None:
        # Disposed of, not closed: for the close of a notebook that is not saved Lab asks the person.
        self.in_page("panel.dispose()")
        self.page.wait_for_function(
            """() => !document.querySelector(".jp-Notebook") && !document.querySelector(".jp-Dialog")
                && [...window.jupyterapp.shell.widgets("main")].every(widget => !widget.context)"""
        )


def write_notebook(path: Path, source: Sequence[str] | Path) -> None:
    """Write a notebook of these code cells, or a copy of the notebook at that path without its outputs."""
    if isinstance(source, Path):
        notebook = json.loads(source.read_text("utf-8"))
    else:
        cells = [
            {"cell_type": "code", "id": f"cell-{index}", "metadata": {}, "source": code}
            for index, code in enumerate(source)
        ]
        notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook["metadata"] = {"kernelspec": kernel}
    path.write_text(json.dumps(notebook), "utf-8")
