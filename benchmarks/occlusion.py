"""Occlusion maps, against Captum's."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from captum.attr import Occlusion

import cnnviz_widgets as cv
from benchmarks._page import open_page
from benchmarks._timing import Row, pairs, timed
from cnnviz_widgets.engine.incremental_approximate import LEAST_CORRELATION
from cnnviz_widgets.engine.map_similarity import rank_correlation

WINDOW, STRIDE, CLASS = 16, 8, 281
EXACT = 1e-4
_TRIED = (1, 2, 4, 8, 16)


def occlusion(name: str, target: float) -> Row:
    """An exact map of 729 places, 224 x 224 pixels, the logit of one class."""
    net = (
        cv.samples.squeezenet()
        if name == "squeezenet1_1"
        else cv.Network.from_torchvision(name, weights=None)
    )
    photo = cv.samples.photo("chelsea")
    x = net.prepare(photo)
    module = net.module.eval()
    peer = Occlusion(module)
    found: list[cv.OcclusionMap] = []

    def ours() -> None:
        found.append(cv.occlusion(net, photo, CLASS, window=WINDOW, stride=STRIDE))

    def theirs(stride: int = STRIDE, together: int = 1) -> torch.Tensor:
        with torch.no_grad():
            return peer.attribute(
                x,
                sliding_window_shapes=(x.shape[1], max(WINDOW, stride), max(WINDOW, stride)),
                strides=(x.shape[1], stride, stride),
                target=CLASS,
                perturbations_per_eval=together,
            )

    # Which batch is best for Captum is tried with fewer places (and larger windows: it allows no gaps).
    best = min(_TRIED, key=lambda each: timed(partial(theirs, 4 * STRIDE, each))())
    ours()  # the first one plans; Captum's has run before
    times = pairs(timed(ours), timed(partial(theirs, STRIDE, best)), rounds=1, warm_up=False)
    error = _error(net, x, found[-1])
    if error > EXACT:
        raise RuntimeError(f"the map is off by {error:.1e} of the largest logit")
    return Row(
        f"occlusion map, {name}, 729 places",
        f"Captum's Occlusion, perturbations_per_eval={best}",
        *times,
        target=target,
        note=f"exact to {error:.0e} of the largest logit; {found[-1].way}",
    )


def _error(net: cv.Network, x: torch.Tensor, found: cv.OcclusionMap) -> float:
    """Return the largest error of some places, against a pass for each of them, as a share of the largest logit."""
    errors = []
    for row in range(0, len(found.tops), 5):
        for column in range(0, len(found.lefts), 5):
            box = found.box(row, column)
            covered = x.clone()
            covered[:, :, box.top : box.bottom, box.left : box.right] = 0.0
            scores = net.scores(covered)[0]
            errors.append(abs(float(scores[CLASS]) - found.scores[row, column]) / float(scores.abs().max()))
    return float(np.max(errors))


def approximate(name: str) -> Row:
    """The same map with ``exact=False`` against the exact one.

    Whole maps in turn: between two batches either one's threads would work on, in the other's time.
    """
    net = (
        cv.samples.squeezenet()
        if name == "squeezenet1_1"
        else cv.Network.from_torchvision(name, weights=None)
    )
    photo = cv.samples.photo("chelsea")
    maps: dict[bool, cv.OcclusionMap] = {}

    def whole(exact: bool) -> None:
        maps[exact] = cv.occlusion(net, photo, CLASS, window=WINDOW, stride=STRIDE, exact=exact)

    times = pairs(*(timed(partial(whole, exact)) for exact in (False, True)), rounds=3)
    correlation = rank_correlation(maps[False].scores, maps[True].scores)
    if correlation < LEAST_CORRELATION:
        raise RuntimeError(f"the rank correlation with the exact map is {correlation:.3f}")
    return Row(
        f"occlusion map, {name}, 729 places, exact=False",
        "the exact map",
        *times,
        target=2,
        note=f"rank correlation {correlation:.4f}; {maps[False].way}",
    )


DRAG = """
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
explorer = cv.OcclusionExplorer(net, cv.samples.photo("coffee"), stride=32)
explorer
"""

# From the moment the page hears of the pointer to the first frame with another answer.
TIME_ANSWERS = """
() => {
    window.answers = [];
    let moved = 0, waiting = false, text = '';
    document.addEventListener('pointermove', () => {
        if (!waiting) { moved = performance.now(); waiting = true; }
    }, { capture: true });
    const root = document.querySelector('.cnnviz-occlusion');
    const look = () => {
        const now = root.textContent.match(/→ [0-9.]+%/g)?.join() ?? '';
        if (now === text) return;
        text = now;
        if (waiting) {
            waiting = false;
            requestAnimationFrame(() => window.answers.push((performance.now() - moved) / 1000));
        }
    };
    // Not at every frame: to look costs the page a while, too.
    new MutationObserver(look).observe(root, { subtree: true, childList: true, characterData: true });
    look();
}
"""


def drag() -> Row:
    """Drag the cover of the explorer over a photo, and wait for the class's probability at each place."""
    with open_page(DRAG) as page:
        page.page.get_by_text("all 49 places measured").first.wait_for(timeout=60_000)
        frame = page.output(0).locator(".cvz-frame")
        frame.scroll_into_view_if_needed()
        box = frame.bounding_box()
        if box is None:
            raise RuntimeError("the photo is not on the page")
        page.settle()
        page.page.evaluate(TIME_ANSWERS)
        mouse, draw = page.page.mouse, np.random.default_rng(0)
        mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        mouse.down()
        for x, y in draw.uniform(0.25, 0.75, (40, 2)).tolist():
            mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
            page.page.wait_for_timeout(400)  # at some places the answer is the same
        mouse.up()
        found = page.page.evaluate("answers")
    if len(found) < 20:
        raise RuntimeError(f"only {len(found)} of 40 moves changed the answer")
    middle = float(np.median(found))
    return Row(
        "OcclusionExplorer, SqueezeNet: from a move of the cover to the answer in the page",
        "the 100 ms asked for",
        middle,
        0.1,
        0.1 / middle,
        target=1,
        note=f"slowest of {len(found)}: {max(found) * 1000:.0f} ms; the browser on the same two cores",
    )


ROWS = {
    "occlusion-drag": drag,
    "occlusion-approximate": partial(approximate, "squeezenet1_1"),
    "occlusion-approximate-resnet18": partial(approximate, "resnet18"),
    "occlusion-squeezenet": partial(occlusion, "squeezenet1_1", 8),
    "occlusion-resnet18": partial(occlusion, "resnet18", 4),
    "occlusion-vgg16": partial(occlusion, "vgg16", 8),
}
