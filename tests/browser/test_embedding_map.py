"""The embedding map in a real page: thumbnails by pixel, lasso, keys, a busy kernel, none at all, many maps."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from cnnviz_widgets.render.map_still import class_colors

# 60 points in a spiral, far enough apart to be hit one by one; each thumbnail is of a color of its own.
SETUP = """
import numpy as np
from cnnviz_widgets.views.embedding_map import EmbeddingMap
turn = np.arange(60) * 2.4
points = (np.sqrt(np.arange(60) + 0.5) * np.stack([np.cos(turn), np.sin(turn)])).T
colors = np.stack([np.arange(60) * 4, 255 - np.arange(60) * 4, np.arange(60) * 37 % 256], 1).astype(np.uint8)
pictures = np.broadcast_to(colors[:, None, None], (60, 9, 13, 3)).copy()
labels = ["<b>cat</b>" if i % 3 else "dog" for i in range(60)]
told = ["dog" if i % 5 else "<b>cat</b>" for i in range(60)]
chart = EmbeddingMap(points, thumbnails=pictures, labels=labels, predictions=told, values=np.arange(60.0))
"""
turn = np.arange(60) * 2.4
points = (np.sqrt(np.arange(60) + 0.5) * np.stack([np.cos(turn), np.sin(turn)])).T
colors = np.stack([np.arange(60) * 4, 255 - np.arange(60) * 4, np.arange(60) * 37 % 256], 1)

NO_WEBGL = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind.startsWith("webgl") ? null : original.call(this, kind, ...rest);
};
"""
COUNT_CONTEXTS = """
window.contexts = [];
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    const context = original.call(this, kind, ...rest);
    if (kind.startsWith("webgl") && context && !contexts.includes(context)) contexts.push(context);
    return context;
};
"""


class Map:
    """The map's view in the output of a cell."""

    def __init__(self, nb, index=0, painter="webgl"):
        self.nb = nb
        self.root = nb.output(index).locator(".cvz-map")
        self.plot = self.root.get_by_role("application")
        self.card = self.root.get_by_role("tooltip")
        expect(self.root).to_have_attribute("data-painter", painter, timeout=20_000)
        expect(self.root).to_have_attribute("data-drawn", "0", timeout=20_000)

    def place(self, index, where=points):
        """Where a point is in the window, from what the page says of its scale."""
        self.plot.scroll_into_view_if_needed()
        x, y, unit, camera_x, camera_y, scale = map(float, self.root.get_attribute("data-place").split())
        box = self.plot.bounding_box()
        right = ((where[index][0] - x) / unit - camera_x) * scale
        up = ((where[index][1] - y) / unit - camera_y) * scale
        return box["x"] + box["width"] / 2 + right, box["y"] + box["height"] / 2 - up

    def hover(self, index):
        self.nb.page.mouse.move(*self.place(index))
        expect(self.card).to_have_attribute("data-index", str(index))
        return self.card.inner_text()

    def card_color(self):
        """The color in the middle of the card's thumbnail."""
        return self.card.locator("canvas").evaluate(
            """node => [...node.getContext("2d").getImageData(
                Math.floor(node.width / 2), Math.floor(node.height / 2), 1, 1).data].slice(0, 3)"""
        )

    def point_color(self, index, layer=0):
        """The color on a canvas of the map at a point: the points, or what is drawn over them."""
        x, y = self.place(index)
        box = self.plot.bounding_box()
        return (
            self.plot.locator("> canvas")
            .nth(layer)
            .evaluate(
                """(node, [x, y]) => {
                const ratio = node.width / node.clientWidth;
                return [...node.getContext("2d").getImageData(
                    Math.floor(x * ratio), Math.floor(y * ratio), 1, 1).data];
            }""",
                [x - box["x"] - 1, y - box["y"] - 1],
            )
        )

    def lasso(self, *corners):
        """Draw a lasso with Shift and the mouse through corners given in the points' coordinates."""
        page = self.nb.page
        page.keyboard.down("Shift")
        page.mouse.move(*self.place(0, corners))
        page.mouse.down()
        for corner in range(1, len(corners)):
            page.mouse.move(*self.place(corner, corners), steps=6)
        page.mouse.up()
        page.keyboard.up("Shift")


def check_hover(chart):
    for index in (0, 7, 31, 59):
        text = chart.hover(index)
        assert ("<b>cat</b>" if index % 3 else "dog") in text.splitlines()[0]
        assert ("predicted dog" if index % 5 else "predicted <b>cat</b>") in text
        assert f"#{index}" in text
        assert f"value {index}" in text
        assert chart.card_color() == colors[index].tolist()


@pytest.mark.parametrize("front_end", ["lab"])
def test_hover_lasso_keys_and_moving_points(open_notebook):
    link = "from cnnviz_widgets.views.linked_map import LinkedMap\nlinked = LinkedMap(chart, -points)\nlinked"
    nb = open_notebook([SETUP + "chart", link])
    nb.run_all()
    chart = Map(nb)
    release = nb.server.root / f"{nb.path.stem}-go"
    wait = f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.05)"
    busy = nb.kernel.start(f"chart.query = 'dog'\n{wait}\nprint(chart.selected)")
    expect(chart.root.get_by_role("searchbox")).to_have_value("dog")  # the kernel has begun
    check_hover(chart)
    inside = [i for i in range(60) if abs(points[i][0]) < 3.03 and -5.02 < points[i][1] < 1.01]
    chart.lasso((-3.03, -5.02), (3.03, -5.02), (3.03, 1.01), (-3.03, 1.01), (-3.03, -5.02))
    expect(chart.root).to_have_attribute("data-selected", str(len(inside)))
    release.touch()
    assert nb.kernel.finish(busy).strip() == "[]"  # nothing had reached it until then
    nb.kernel.wait_for(f"chart.selected == {inside}")

    # The arrow keys go where a loop over the points goes; Enter selects, Escape clears.
    nb.page.mouse.move(1, 1)
    nb.kernel.run("chart.query = ''; chart.selected = [0]")
    expect(chart.root).to_have_attribute("data-selected", "1")
    chart.plot.focus()
    offsets = points - points[0]
    right = [i for i in range(60) if offsets[i][0] > 0 and abs(offsets[i][1]) <= offsets[i][0]]
    nearest = min(right, key=lambda i: np.hypot(*offsets[i]))
    nb.page.keyboard.press("ArrowRight")
    expect(chart.card).to_have_attribute("data-index", str(nearest))
    nb.page.keyboard.press("Enter")
    nb.kernel.wait_for(f"chart.selected == [{nearest}] and chart.current == {nearest}")
    nb.page.keyboard.press("Escape")
    nb.kernel.wait_for("chart.selected == []")
    # Who is about to search wants no card in the way.
    nb.page.keyboard.press("ArrowRight")
    expect(chart.card).to_be_visible()
    chart.root.get_by_role("searchbox").focus()
    expect(chart.card).to_be_hidden()
    assert len(nb.cells()) == 2  # the notebook heard none of the keys

    # A frame of a running t-SNE: points move, and their thumbnails with them.
    nb.kernel.run("chart.set_points(points[::-1])")
    expect(chart.root).to_have_attribute("data-drawn", "1")
    nb.kernel.wait_for("chart._drawn == 1")
    nb.page.mouse.move(*chart.place(59 - 31))
    expect(chart.card).to_have_attribute("data-index", "31")
    assert chart.card_color() == colors[31].tolist()

    nb.page.mouse.move(1, 1)
    chart.root.get_by_title("Highlight dog").click()
    expect(chart.root.get_by_role("searchbox")).to_have_value('"dog"')
    chart.root.get_by_role("button", name="Select 20").click()
    nb.kernel.wait_for("chart.selected == list(range(0, 60, 3))")
    nb.screenshot("light")
    nb.set_theme("dark")
    expect(chart.root).to_have_attribute("data-theme", "dark")
    nb.screenshot("dark")

    # Other points than the linked map has places of: it shows none of them until it is given theirs.
    linked = Map(nb, 1)
    expect(linked.root).to_have_attribute("data-selected", "20")
    nb.kernel.run("chart.set_data(points[:5], labels=list('abcde'), selected=[4])")
    expect(linked.root).to_contain_text("no places here yet")
    nb.screenshot("unplaced")
    nb.kernel.run("linked.set_points(-2 * points[:5])")
    expect(linked.root).to_have_attribute("data-drawn", "1")
    expect(linked.root).not_to_contain_text("no places")
    nb.page.mouse.move(*linked.place(3, -2 * points[:5]))
    expect(linked.card).to_have_attribute("data-index", "3")
    expect(linked.card).to_contain_text("d")
    nb.kernel.wait_for("chart.current == 3")


@pytest.mark.parametrize("front_end", ["notebook"])
def test_a_saved_map_without_a_kernel_and_without_webgl(open_notebook):
    link = "import ipywidgets\nother = EmbeddingMap(points * [-1, 1], labels=labels)\n"
    link += "ipywidgets.jslink((chart, 'selected'), (other, 'selected'))"
    nb = open_notebook([SETUP + link + "\nchart", "other"], save_widget_state=True)
    nb.page.add_init_script(NO_WEBGL)
    nb.run_all()
    Map(nb)
    nb.save()
    output = nb.stored()["cells"][0]["outputs"][0]["data"]
    assert {"image/png", "text/plain"} <= output.keys()
    nb.reopen_without_kernel()
    # The page was loaded anew, so the script above has taken WebGL away by now.
    chart = Map(nb, painter="canvas")
    expect(chart.root.get_by_role("note")).to_contain_text("no WebGL")
    check_hover(chart)
    chart.root.get_by_label("Thumbnails").uncheck()
    expect(chart.root).to_have_attribute("data-thumbnails", "0")
    nb.page.mouse.move(1, 1)
    for index in (8, 9):  # "<b>cat</b>" has the first of the class colors, "dog" the second
        drawn = np.array(chart.point_color(index))
        assert drawn[3] > 200
        assert np.abs(drawn[:3] - class_colors()[int(index % 3 == 0)]).max() <= 2  # not quite opaque
    inside = [i for i in range(60) if points[i][0] > 0.021]
    chart.lasso((0.021, -8.1), (8.1, -8.1), (8.1, 8.1), (0.021, 8.1))
    expect(chart.root).to_have_attribute("data-selected", str(len(inside)))
    expect(Map(nb, 1, painter="canvas").root).to_have_attribute("data-selected", str(len(inside)))


@pytest.mark.parametrize("front_end", ["lab"])
def test_twenty_maps_share_one_context_and_survive_its_loss(open_notebook):
    many = "import ipywidgets\nmaps = [EmbeddingMap(points * (1 + i), labels=labels, height=120) for i in range(20)]\n"
    many += "ipywidgets.GridBox(maps, layout={'grid_template_columns': 'repeat(7, 260px)'})"
    nb = open_notebook([SETUP + many], own_page=True, viewport={"width": 2100, "height": 1250})
    nb.page.evaluate(f"() => {{{COUNT_CONTEXTS}}}")
    nb.run_all()
    roots = nb.output(0).locator(".cvz-map")
    expect(roots).to_have_count(20)
    drawn = nb.output(0).locator(".cvz-map[data-painter='webgl'][data-drawn='0']")
    expect(drawn).to_have_count(20, timeout=60_000)
    assert nb.page.evaluate("contexts.length") == 1
    # Each shows its own points: no canvas is empty.
    inked = """nodes => nodes.map(node => node.getContext("2d").getImageData(0, 0, node.width, node.height)
        .data.filter((value, place) => place % 4 === 3 && value > 100).length)"""
    canvases = nb.output(0).locator(".cvz-map-plot > canvas:first-child")
    assert min(canvases.evaluate_all(inked)) > 300
    nb.screenshot("twenty")
    nb.page.evaluate("contexts[0].getExtension('WEBGL_lose_context').loseContext()")
    fallen = nb.output(0).locator(".cvz-map[data-painter='canvas']")
    expect(fallen).to_have_count(20, timeout=30_000)
    expect(roots.first.get_by_role("note")).to_contain_text("took its WebGL back")
    assert min(canvases.evaluate_all(inked)) > 300
    roots.first.get_by_role("button", name="Try again").click()
    roots.first.get_by_role("application").scroll_into_view_if_needed()
    expect(roots.first).to_have_attribute("data-painter", "webgl", timeout=30_000)
    assert nb.page.evaluate("contexts.filter(context => !context.isContextLost()).length") == 1
