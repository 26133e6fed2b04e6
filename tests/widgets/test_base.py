"""What every widget does with jobs, errors and the page."""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import ipywidgets
import pytest
from ipywidgets.embed import dependency_state

from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.widgets import _base
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._job import once

SOON = 60.0


def test_a_result_arrives_and_busy_tells_the_time_before() -> None:
    viewer, go, results = Viewer(), threading.Event(), []
    viewer.start_job(once(lambda: go.wait(SOON)), on_result=results.append)
    assert viewer.busy
    assert not viewer.wait(0.05)
    go.set()
    assert viewer.wait(SOON)
    assert results == [True]
    assert not viewer.busy


def test_a_new_job_supersedes_the_old_one_whose_result_is_dropped() -> None:
    viewer, first_go, results = Viewer(), threading.Event(), []
    viewer.start_job(once(lambda: first_go.wait(SOON) and "first"), on_result=results.append)
    old = viewer._job
    viewer.start_job(once(lambda: "second"), on_result=results.append)
    assert viewer.wait(SOON)
    first_go.set()
    assert old is not None
    assert old.wait(SOON)
    assert results == ["second"]


def test_a_result_may_start_another_job_and_wait_waits_for_both() -> None:
    viewer, results = Viewer(), []
    go = threading.Event()

    def go_on(value: Any) -> None:
        results.append(value)
        viewer.start_job(once(lambda: go.wait(SOON) and "second"), on_result=results.append)

    viewer.start_job(once(lambda: "first"), on_result=go_on)
    assert not viewer.wait(0.2)
    assert viewer.busy
    go.set()
    assert viewer.wait(SOON)
    assert results == ["first", "second"]
    assert not viewer.busy


def _raise(error: Exception) -> Any:
    raise error


def test_an_error_is_shown_as_text_and_the_next_result_takes_it_away() -> None:
    viewer = Viewer()
    viewer.start_job(once(lambda: _raise(ValueError("<img src=x onerror=alert(1)>"))), on_result=print)
    assert viewer.wait(SOON)
    assert "ValueError" in viewer.status.value
    assert "<img" not in viewer.status.value
    assert "&lt;img src=x" in viewer.status.value
    assert "<details><summary>Traceback" in viewer.status.value
    assert not viewer.busy
    viewer.start_job(once(lambda: 1), on_result=lambda value: None)
    assert viewer.wait(SOON)
    assert "ValueError" not in viewer.status.value


def test_an_error_shown_meanwhile_outlives_the_job() -> None:
    viewer, go = Viewer(), threading.Event()
    viewer.start_job(once(lambda: go.wait(SOON)), on_result=lambda value: None)
    viewer.show_error(ValueError("no such class"))
    go.set()
    assert viewer.wait(SOON)
    assert "no such class" in viewer.status.value


def test_an_error_while_showing_a_result_is_shown() -> None:
    viewer = Viewer()
    viewer.start_job(once(lambda: 1), on_result=lambda value: _raise(LookupError("no tile")))
    assert viewer.wait(SOON)
    assert "no tile" in viewer.status.value


def test_an_error_of_an_event_handler_is_shown() -> None:
    class Clickable(Viewer):
        @shown
        def click(self, name: str) -> None:
            raise LookupError(f"no layer {name}")

    viewer = Clickable()
    viewer.click("features.99")
    assert "no layer features.99" in viewer.status.value


def test_closing_ends_the_job_and_its_generator() -> None:
    closed, stepped = threading.Event(), threading.Event()

    def steps() -> Generator[Step, None, None]:
        try:
            for index in range(10**9):
                yield Step(index, None)
        finally:
            closed.set()

    viewer = Viewer()
    viewer.start_job(steps(), on_result=print, on_step=lambda step: stepped.set())
    assert stepped.wait(SOON)
    viewer.close()
    assert closed.wait(SOON)


@pytest.mark.parametrize("again", [True, False])
def test_running_a_cell_again_ends_the_job_of_its_former_run(
    again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {"metadata": {"cellId": "cell-1"}, "header": {"msg_id": "run-1"}}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(get_parent=lambda: run))
    monkeypatch.setattr(_base, "_by_cell", {})
    go = threading.Event()
    first, let_go = Viewer(), []
    monkeypatch.setattr(first, "let_go", lambda: let_go.append(Viewer.let_go(first)))
    first.start_job(once(lambda: go.wait(SOON)), on_result=print)
    # Two widgets of one run are two widgets; the same cell run anew takes the place of both.
    if again:
        run = {"metadata": {"cellId": "cell-1"}, "header": {"msg_id": "run-2"}}
    Viewer()
    assert first.busy is not again
    assert len(let_go) == again
    go.set()


def test_the_output_carries_a_text_and_a_picture_beside_the_widget() -> None:
    class Pictured(Viewer):
        def to_png(self) -> bytes:
            return b"\x89PNG"

        def to_text(self) -> str:
            return "a viewer"

    bundle = Pictured()._repr_mimebundle_()
    assert bundle["text/plain"] == "a viewer"
    assert base64.b64decode(bundle["image/png"]) == b"\x89PNG"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "image/png" not in Viewer()._repr_mimebundle_()


def test_closing_closes_the_links_between_parts_and_leaves_those_of_others() -> None:
    one, other, elsewhere = ipywidgets.IntText(), ipywidgets.IntText(), ipywidgets.IntText()
    viewer = Viewer(children=[one, other])
    within = ipywidgets.jslink((one, "value"), (other, "value"))
    out = ipywidgets.jsdlink((one, "value"), (elsewhere, "value"))
    apart = ipywidgets.jslink((elsewhere, "value"), (ipywidgets.IntText(), "value"))
    viewer.close()
    assert (within.comm, out.comm) == (None, None)
    assert apart.comm is not None
    dependency_state([elsewhere])  # what a notebook is saved with: it asks every link for both its ends
