"""A map of 50,000 points with thumbnails in a page, and t-SNE of 5,000 vectors against scikit-learn's."""

from __future__ import annotations

import statistics
import time

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

import cnnviz_widgets as cv
from benchmarks._page import open_page
from benchmarks._timing import Row, pairs, timed
from tests.browser._jupyter import NotebookPage

COUNT, WIDTH, CLASSES = 5000, 50, 10
ITERATIONS = 1000  # scikit-learn's default; both exaggerate the first 250
_SAMPLE = slice(0, 2000)


def tsne() -> Row:
    """Both with perplexity 30, as many iterations, a start from the PCA, and the angle 0.5."""
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(CLASSES, WIDTH)) * 2
    vectors = (centers[np.arange(COUNT) % CLASSES] + draw.normal(size=(COUNT, WIDTH))).astype(np.float32)
    maps: dict[str, np.ndarray] = {}

    def ours() -> None:
        maps["ours"] = cv.embed(vectors, method="tsne", perplexity=30, iterations=ITERATIONS).points

    def theirs() -> None:
        made = TSNE(perplexity=30, max_iter=ITERATIONS, init="pca", random_state=0, n_jobs=-1)
        maps["theirs"] = made.fit_transform(vectors)

    # One map takes most of a minute, so there are few rounds, and the first of them is not wasted.
    times = pairs(timed(ours), timed(theirs), rounds=1)
    sample = vectors[_SAMPLE].astype(np.float64)
    trust = {name: trustworthiness(sample, points[_SAMPLE]) for name, points in maps.items()}
    return Row(
        "t-SNE of 5,000 x 50, 1,000 iterations, trustworthiness included",
        "scikit-learn's TSNE",
        *times,
        target=1,
        note=f"trustworthiness {trust['ours']:.3f} against {trust['theirs']:.3f}",
    )


# Ten clouds of points, and pictures of noise, each of which is another.
MAP = """
import numpy as np
from cnnviz_widgets.views.embedding_map import EmbeddingMap
draw = np.random.default_rng(0)
labels = np.arange(50_000) % 10
points = draw.normal(size=(10, 2))[labels] * 4 + draw.normal(size=(50_000, 2))
thumbnails = draw.integers(0, 256, (50_000, 28, 28), dtype=np.uint8)
EmbeddingMap(points, thumbnails=thumbnails, labels=labels)
"""

# From the moment the browser heard of the pointer to the frame that shows the card of another point.
TIME_HOVERS = """
() => {
    window.hovers = [];
    const plot = document.querySelector('.cvz-map-plot');
    const card = plot.querySelector('[role=tooltip]');
    let moved = 0;
    plot.addEventListener('pointermove', event => { moved = event.timeStamp; }, { capture: true });
    let shown = card.dataset.index;
    new MutationObserver(() => {
        if (card.dataset.index === shown) return;
        shown = card.dataset.index;
        const start = moved;
        requestAnimationFrame(() => window.hovers.push((performance.now() - start) / 1000));
    }).observe(card, { attributes: true, attributeFilter: ['data-index'] });
}
"""

COUNT_FRAMES = """
() => {
    window.frames_drawn = [];
    const root = document.querySelector('.cvz-map');
    new MutationObserver(() => window.frames_drawn.push(performance.now() / 1000))
        .observe(root, { attributes: true, attributeFilter: ['data-place'] });
}
"""


def _places(page: NotebookPage, count: int) -> list[tuple[float, float]]:
    """Return places inside the map, in pixels of the window."""
    plot = page.output(0).locator(".cvz-map-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    if box is None:
        raise RuntimeError("the map is not on the page")
    draw = np.random.default_rng(1)
    across, down = draw.uniform(0.3, 0.7, (2, count))
    return [
        (box["x"] + x * box["width"], box["y"] + y * box["height"])
        for x, y in zip(across.tolist(), down.tolist(), strict=True)
    ]


def _opened(page: NotebookPage) -> None:
    page.page.wait_for_selector(".cvz-map[data-drawn='0'][data-painter='webgl']", timeout=60_000)


def hover() -> Row:
    """Move the pointer over the map while the kernel computes without pause."""
    with open_page(MAP) as page:
        _opened(page)
        busy = page.kernel.start("import time\nend = time.time() + 10\nwhile time.time() < end: pass")
        page.page.evaluate(TIME_HOVERS)
        for place in _places(page, 100):
            page.page.mouse.move(*place)
            page.page.evaluate("() => new Promise(requestAnimationFrame)")
        found = page.page.evaluate("hovers")
        page.kernel.finish(busy)
    if len(found) < 50:
        raise RuntimeError(f"only {len(found)} of 100 moves of the pointer showed a thumbnail")
    middle = statistics.median(found)
    return Row(
        "map of 50,000 points with thumbnails: hover to thumbnail in the page, the kernel busy",
        "the 50 ms asked for",
        middle,
        0.05,
        0.05 / middle,
        target=1,
        note=f"slowest of {len(found)}: {max(found) * 1000:.0f} ms",
    )


def pan() -> Row:
    """Drag the map to and fro for three seconds, and count the frames that show it elsewhere."""
    with open_page(MAP) as page:
        _opened(page)
        mouse = page.page.mouse
        (x, y), *_ = _places(page, 1)
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + 10, y)
        page.page.evaluate(COUNT_FRAMES)
        end, step = time.perf_counter() + 3, 0
        while time.perf_counter() < end:
            step += 1
            mouse.move(x + 60 * np.sin(step / 9), y + 40 * np.cos(step / 7))
        drawn = page.page.evaluate("frames_drawn")
        mouse.up()
    apart = np.diff(drawn)
    if len(apart) < 10:
        raise RuntimeError(f"only {len(drawn)} frames were drawn in three seconds of panning")
    mean = float(apart.mean())
    return Row(
        "the same map: one frame while panning",
        "30 frames a second",
        mean,
        1 / 30,
        1 / 30 / mean,
        target=1,
        note=f"{1 / mean:.0f} frames a second; slowest frame {apart.max() * 1000:.0f} ms; WebGL on the processor",
    )


ROWS = {"map-hover": hover, "map-pan": pan, "tsne": tsne}
