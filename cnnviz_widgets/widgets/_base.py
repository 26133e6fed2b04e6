"""What all widgets share: one job at a time, errors shown where they happen, a picture for viewers without widgets."""

from __future__ import annotations

import base64
import functools
import html
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator
from typing import Any, Concatenate, ParamSpec, TypeVar

import ipywidgets
import traitlets

from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.views._closing import close_parts
from cnnviz_widgets.widgets._controls import Filling
from cnnviz_widgets.widgets._job import Job

P = ParamSpec("P")
V = TypeVar("V", bound="Viewer")

_STYLE = """<style>
.cnnviz-viewer { font-family: var(--jp-ui-font-family, sans-serif); }
/* ipywidgets draws the arrow of its lists dark in any theme; this gray stands out on light and dark (3 to 1). */
.cnnviz-viewer .widget-dropdown > select { background-image: url("data:image/svg+xml,\
<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 18 18'>\
<path fill='gray' d='M5.2 6.5 9 10.2l3.8-3.7L14 7.7 9 12.6 4 7.7Z'/></svg>"); }
.cnnviz-error { border-left: 3px solid var(--jp-error-color1, #d32f2f); padding: 4px 8px; }
.cnnviz-wrong input { border: 1px solid var(--jp-error-color1, #d32f2f) !important; }
.cnnviz-error pre { white-space: pre-wrap; font-size: 11px; }
</style>"""


def shown(method: Callable[Concatenate[V, P], None]) -> Callable[Concatenate[V, P], None]:
    """Make a page's event handler show its errors in the widget: a log is no place that a person looks at."""

    def guarded(self: V, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.show_error(error)

    return functools.update_wrapper(guarded, method)


class Viewer(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """Base of the widgets: the viewer of a method's call, run by one job at a time.

    A new job ends the one before, and what that one still returns is dropped. Closing the widget, or running
    its cell again, ends the job as well.
    """

    net: Network
    lock: threading.RLock
    filling: Filling
    _job: Job[Any] | None

    busy = traitlets.Bool(False, help="Whether a job is running.")

    def __new__(cls, *arguments: Any, **options: Any) -> Viewer:
        """Prepare what `close` needs: Python closes a widget also whose making failed half way."""
        self: Viewer = super().__new__(cls, *arguments, **options)
        self.lock = threading.RLock()
        self.filling = Filling(self.lock)
        self._job = None
        # Before anything can be wrong with what it is made of.
        _end_jobs_of_former_run()
        return self

    def __init__(self, **options: Any) -> None:
        self.status = ipywidgets.HTML(_STYLE)
        super().__init__(**options)
        self.add_class("cnnviz-viewer")
        _note_cell(self)

    def _take_network(self, net: Network) -> None:
        """Look at this network; raises where it is none."""
        check_network(net, type(self).__name__)
        self.net = net

    def start_job(
        self,
        generator: Generator[Step, None, Any],
        *,
        on_result: Callable[[Any], None],
        on_step: Callable[[Step], None] | None = None,
        on_failure: Callable[[], None] | None = None,
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        """Run a method's steps on a worker; ``on_result`` gets what it returns, unless it was superseded.

        ``on_pause`` is called when a paused job begins to wait. After a failure ``on_failure`` is called, to take away
        what no longer holds; the error is shown.
        """

        def ended(job: Job[Any]) -> None:
            with self.lock:
                if job is not self._job:
                    return
                try:
                    if job.state == "done":
                        on_result(job.result)
                        # What a person did wrong meanwhile is not mended by it.
                        if self.status.value == said:
                            self.clear_error()
                    elif on_failure is not None and job.state == "failed":
                        on_failure()
                except Exception as error:
                    self.show_error(error)
                if job.error is not None:
                    self.show_error(job.error)
                # The result may have called for another job.
                self.busy = job is not self._job

        def stepped(step: Step) -> None:
            with self.lock:
                if job is self._job and on_step is not None:
                    on_step(step)

        said = self.status.value
        job: Job[Any] = Job(generator, on_step=stepped, on_end=ended, on_pause=on_pause)
        with self.lock:
            self.stop_job()
            self._job = job
            self.busy = True
        job.start()

    def stop_job(self) -> None:
        """End the running job before its next step."""
        with self.lock:
            job, self._job = self._job, None
            self.busy = False
        if job is not None:
            job.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is running any more; return whether that came within ``timeout`` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        job = self._job
        while job is not None:
            if not job.wait(None if end is None else max(0.0, end - time.monotonic())):
                return False
            job = self._job if job is not self._job else None
        return True

    def show_error(self, error: BaseException) -> None:
        """Show an error's message in the widget, with its traceback folded."""
        trace = "".join(traceback.format_exception(error))
        self.status.value = (
            f'{_STYLE}<div class="cnnviz-error" role="alert"><b>{html.escape(type(error).__name__)}</b>: '
            f"{html.escape(str(error))}<details><summary>Traceback</summary>"
            f"<pre>{html.escape(trace)}</pre></details></div>"
        )

    def clear_error(self) -> None:
        """Take the error away."""
        self.status.value = _STYLE

    def let_go(self) -> None:
        """End the job, as the page shows the widget no longer; widgets that hold much memory give it back, too."""
        self.stop_job()

    def close(self) -> None:
        """End the job and take the widget off the page."""
        self.let_go()
        close_parts(self)
        super().close()

    def to_png(self) -> bytes | None:
        """Return the picture for viewers that run no widgets; ``None`` where there is nothing to show."""
        return None

    def to_text(self) -> str:
        """Return the text for viewers that show no pictures."""
        return type(self).__name__

    def __repr__(self) -> str:
        # ipywidgets' own writes out all children, with their pictures. Those not made yet have nothing to tell.
        said = self.to_text().partition("\n")[0] if self.children else type(self).__name__
        return f"<{said}>"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        bundle["text/plain"] = self.to_text()
        picture = self.to_png()
        if picture is not None:
            bundle["image/png"] = base64.b64encode(picture).decode()
        return bundle


_by_cell: dict[str, tuple[str, weakref.WeakSet[Viewer]]] = {}


def _end_jobs_of_former_run() -> None:
    """End the jobs of the widgets that an earlier run of this notebook cell made: they show it no longer."""
    cell, run = _running_cell()
    if cell is not None and _by_cell.get(cell, (run,))[0] != run:
        for former in _by_cell.pop(cell)[1]:
            former.let_go()


def _note_cell(viewer: Viewer) -> None:
    """Note which run of which notebook cell made a widget."""
    cell, run = _running_cell()
    if cell is not None:
        _by_cell.setdefault(cell, (run, weakref.WeakSet()))[1].add(viewer)


def _running_cell() -> tuple[str | None, str]:
    """Return the id of the notebook cell that runs now and of this run of it; no cell outside a notebook."""
    import IPython

    shell = IPython.get_ipython()  # type: ignore[no-untyped-call, unused-ignore]
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    cell = parent.get("metadata", {}).get("cellId")
    return cell, str(parent.get("header", {}).get("msg_id"))
