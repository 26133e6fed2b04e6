"""What is filled in is told from what is chosen, also where both happen at once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.widgets._controls import Filling
from tests.widgets.test_patch_explorer import IMAGES, Small
from tests.widgets.test_saliency_explorer import FEW, LABELS, PHOTOS, Classifier

SOON = 20.0


def test_filling_ends_with_the_outermost_context_and_after_an_error() -> None:
    filling = Filling(threading.RLock())
    with filling:
        with filling:
            assert filling
        assert filling
    assert not filling
    with pytest.raises(KeyError), filling:
        raise KeyError
    assert not filling


def chosen_while_filled_in(widget: Any, choose: Any) -> None:
    """Let a page choose on one thread while a job's thread is filling in on another."""
    begun, go = threading.Event(), threading.Event()

    def fill() -> None:
        with widget.filling:
            begun.set()
            assert go.wait(SOON)

    job, page = threading.Thread(target=fill), threading.Thread(target=choose)
    job.start()
    assert begun.wait(SOON)
    page.start()
    # The choice is on its way: it waits, and is not lost.
    page.join(0.05)
    go.set()
    for each in (job, page):
        each.join(SOON)
        assert not each.is_alive()


def test_what_a_person_chooses_while_a_job_draws_is_not_lost() -> None:
    spec = cv.InputSpec(size=12, mean=0.4, std=0.2)
    saliency = cv.SaliencyExplorer(
        cv.Network(Classifier(), input=spec, labels=LABELS), PHOTOS[0], "dog", **FEW
    )
    deconv = cv.DeconvExplorer(cv.Network(Small(), input=spec), IMAGES[0])
    occlusion = cv.OcclusionExplorer(saliency.net, PHOTOS[0], "dog", window=6, stride=6)
    browser = cv.LayerBrowser(saliency.net, PHOTOS[0], layer="first")
    patches = cv.PatchExplorer(cv.top_patches(deconv.net, IMAGES, "second", k=3))
    widgets = (saliency, deconv, occlusion, browser, patches)
    for widget in widgets:
        assert widget.wait(SOON)
    chosen_while_filled_in(saliency, lambda: saliency.parts.grid.set_trait("selected", 3))
    assert saliency.map == "guided"
    chosen_while_filled_in(saliency, lambda: saliency.parts.layers.set_trait("value", "first"))
    assert saliency.layer == "first"
    chosen_while_filled_in(deconv, lambda: deconv.parts.layers.set_trait("value", "second"))
    assert deconv.layer == "second"
    chosen_while_filled_in(occlusion, lambda: occlusion.parts.window.set_trait("value", 4))
    assert (occlusion.window, occlusion.stride) == (4, 4)
    chosen_while_filled_in(browser, lambda: browser.parts.grid.set_trait("selected", 2))
    assert browser.channel == 2
    chosen_while_filled_in(patches, lambda: patches.parts.grid.set_trait("selected", 1))
    assert patches.rank == 1
    for widget in widgets:
        assert widget.wait(SOON)
        assert 'role="alert"' not in widget.status.value
        widget.close()
