"""The embedding explorer as a person uses it: a t-SNE watched, paused and stopped, hover, lasso, no kernel at all."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_embedding_map import Map
from tests.browser.test_tile_grid import Tiles

SETUP = """
import cnnviz_widgets as cv
images, labels = cv.samples.fashion_mnist("test")
net = cv.samples.fashion_cnn()
table = cv.extract_features(net, (images[:300], labels[:300]), "fc1", predictions=True)
"""
SHAPE = {"rows": 28, "columns": 28}


@pytest.fixture(scope="module")
def table() -> cv.FeatureTable:
    images, labels = cv.samples.fashion_mnist("test")
    net = cv.samples.fashion_cnn()
    return cv.extract_features(net, (images[:300], labels[:300]), "fc1", predictions=True)


class OneMap(Map):
    """One of the maps: the PCA is the first."""

    def __init__(self, nb, which, points, painter="webgl"):
        self.nb = nb
        self.points = np.array(points)
        self.root = nb.output(1).locator(".cvz-map").nth(which)
        self.plot = self.root.get_by_role("application")
        self.card = self.root.get_by_role("tooltip")
        expect(self.root).to_have_attribute("data-painter", painter, timeout=20_000)

    def place(self, index, where=None):
        return super().place(index, self.points if where is None else where)

    def lone(self, count):
        """The points that stand most apart: nothing else is under the pointer there."""
        apart = np.linalg.norm(self.points[:, None] - self.points, axis=2)
        np.fill_diagonal(apart, np.inf)
        return apart.min(axis=1).argsort()[::-1][:count].tolist()

    def picture(self):
        """The thumbnail on the card, a value for each of its pixels."""
        return np.array(
            self.card.locator("canvas").evaluate(
                """node => {
                    const [wide, high] = [node.width, node.height];
                    const data = node.getContext("2d").getImageData(0, 0, wide, high).data;
                    const at = (row, column) => data[4 * ((row + 0.5) * high / 28 * wide
                        + (column + 0.5) * wide / 28)];
                    return [...Array(28).keys()].map(row => [...Array(28).keys()].map(column => at(row, column)));
                }"""
            )
        )

    def corners_of_the_right(self):
        """A rectangle around what lies right of the widest gap near the middle, and the points in it."""
        x = np.sort(self.points[:, 0])
        middle = slice(len(x) // 3, 2 * len(x) // 3)
        gap = x[middle][np.diff(x[middle]).argmax() :][:2].mean()
        low, high = self.points.min(axis=0), self.points.max(axis=0)
        margin = 0.01 * (high - low).max()
        left, right, top, bottom = gap, high[0] + margin, high[1] + margin, low[1] - margin
        outline = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
        return np.array(outline), np.flatnonzero(self.points[:, 0] > gap).tolist()


def check_hover(chart, table):
    """The card of some points shows the thumbnail, the label and the prediction that the table holds."""
    for row in chart.lone(3):
        text = chart.hover(row)
        assert text.splitlines()[0] == cv.samples.FASHION_LABELS[table.labels[row]]
        assert f"predicted {table.predicted_texts[row]}" in text
        assert f"#{row}" in text
        assert "confidence" in text
        np.testing.assert_array_equal(chart.picture(), table.thumbnails[row, :, :, 0])
    chart.nb.page.mouse.move(1, 1)


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_tsne_is_watched_paused_and_stopped(open_notebook, table):
    # Long enough that it can't come to its end before it is stopped; paused until the page is there.
    run = "explorer = cv.EmbeddingExplorer(table, iterations=100_000)\nexplorer.pause()"
    nb = open_notebook([SETUP + run, "explorer"], viewport={"width": 1280, "height": 1150})
    nb.run_all()
    output = nb.output(1)
    pause = output.get_by_role("button", name=re.compile("Pause|Resume"))
    expect(pause).to_have_text("Resume")
    drawn = output.locator(".cvz-map").nth(1)
    expect(drawn).to_have_attribute("data-painter", "webgl", timeout=20_000)
    # By keyboard: goes on, and new points keep coming.
    pause.focus()
    nb.page.keyboard.press("Enter")
    expect(pause).to_have_text("Pause")
    expect(output).to_contain_text(re.compile(r"iteration [\d,]+ of 100,000, .*leftKL divergence [\d.]+"))
    expect(drawn).to_have_attribute("data-drawn", re.compile(r"[3-9]|\d\d"), timeout=30_000)
    nb.screenshot("running")
    pause.click()
    nb.kernel.wait_for("explorer.state == 'paused'")
    expect(output).to_contain_text("paused: Resume goes on")
    job = "explorer._job._state"
    assert nb.kernel.value(job) == "paused"
    before = nb.kernel.value("explorer.parts.linked.points.tolist()")
    nb.screenshot("paused")
    pause.click()
    nb.kernel.wait_for(f"explorer.parts.linked.points.tolist() != {before!r}")
    output.get_by_role("button", name="Stop").click()
    nb.kernel.wait_for("explorer.state == 'stopped'")
    expect(output).to_contain_text(re.compile(r"stopped after [\d,]+ of 100,000 iterations"))
    serial = nb.kernel.value("explorer.parts.linked._serial")
    expect(drawn).to_have_attribute("data-drawn", str(serial))

    # Hover and lasso while the kernel is busy.
    left = OneMap(nb, 0, nb.kernel.value("explorer.pca.points.tolist()"))
    right = OneMap(nb, 1, nb.kernel.value("explorer.result.points.tolist()"))
    right.root.get_by_label("Thumbnails").uncheck()
    expect(left.root).to_have_attribute("data-thumbnails", "0")
    release = nb.server.root / f"{nb.path.stem}-go"
    wait = f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.05)"
    busy = nb.kernel.start(f"explorer.parts.map.query = 'boot'\n{wait}")
    expect(left.root.get_by_role("searchbox")).to_have_value("boot")  # the kernel has begun
    check_hover(left, table)
    check_hover(right, table)
    outline, inside = right.corners_of_the_right()
    right.lasso(*outline)
    for chart in (right, left):
        expect(chart.root).to_have_attribute("data-selected", str(len(inside)))
    release.touch()
    nb.kernel.finish(busy)  # what was chosen may have come before, by a sub-shell
    nb.kernel.wait_for(f"sorted(explorer.selected) == {inside}")
    selected = nb.kernel.value("explorer.selected")
    expect(output).to_contain_text(f"{len(selected)} selected")

    # The grid shows the chosen; a tile marks its image on the maps.
    tiles = object.__new__(Tiles)
    tiles.nb, tiles.root = nb, output.locator(".cvz-tiles")
    tiles.area = tiles.root.get_by_role("grid")
    expect(tiles.root).to_have_attribute("data-painted", re.compile(r"[1-9]"))
    tiles.area.scroll_into_view_if_needed()
    shown = np.linspace(0, len(selected) - 1, min(96, len(selected))).round().astype(int)
    for slot in (0, 5):
        row = selected[shown[slot]]
        text = tiles.hover(slot, 14, 14, **SHAPE)
        assert cv.samples.FASHION_LABELS[table.labels[row]] in text
        assert ("right" if table.labels[row] == table.predicted[row] else "wrong") in text
    nb.page.mouse.click(*tiles.place(5, 14, 14, **SHAPE))
    nb.kernel.wait_for(f"explorer.current == {selected[shown[5]]}")
    nb.page.keyboard.press("Escape")
    nb.screenshot("chosen")

    # Again, with another perplexity; a wrong one can't be typed.
    box = output.get_by_label("Perplexity")
    box.fill("500")
    box.press("Enter")
    nb.kernel.wait_for("abs(explorer.perplexity - 299 / 3) < 1e-3")
    nb.kernel.run("explorer.iterations = 20")
    output.get_by_role("button", name="Run again").click()
    nb.kernel.wait_for("explorer.state == 'done'")
    expect(output).to_contain_text("20 iterations")
    nb.kernel.run("explorer.parts.map.query, explorer.parts.map.color_by = '', 'correct'")
    nb.set_theme("dark")
    nb.screenshot("dark")
    nb.page.set_viewport_size({"width": 640, "height": 1700})
    box, frame = output.bounding_box(), output.locator(".cnnviz-embedding").bounding_box()
    assert frame["x"] + frame["width"] <= box["x"] + box["width"] + 1
    nb.screenshot("narrow")


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_saved_explorer_without_a_kernel(open_notebook, table):
    run = "explorer = cv.EmbeddingExplorer(table, iterations=150)\nexplorer.parts.map.thumbnails_shown = False\n"
    run += "explorer.wait()"
    nb = open_notebook(
        [SETUP + run, "explorer"], save_widget_state=True, viewport={"width": 1280, "height": 1100}
    )
    nb.run_all()
    places = [nb.kernel.value(f"explorer.{name}.points.tolist()") for name in ("pca", "result")]
    for which in (0, 1):
        OneMap(nb, which, places[which])
    nb.save()
    stored = nb.stored()["cells"][1]["outputs"][0]["data"]
    assert {"image/png", "text/plain"} <= stored.keys()
    nb.reopen_without_kernel()
    maps = [OneMap(nb, which, places[which]) for which in (0, 1)]
    for chart in maps:
        check_hover(chart, table)
    outline, inside = maps[0].corners_of_the_right()
    maps[0].lasso(*outline)
    for chart in maps:
        expect(chart.root).to_have_attribute("data-selected", str(len(inside)))
    nb.screenshot("without-kernel")
