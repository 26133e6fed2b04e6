"""The tile grid in a real page: colors and values against the arrays, mouse, keys, saved and busy states."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import ImageColor
from playwright.sync_api import expect

from cnnviz_widgets.render.colormaps import apply, table
from cnnviz_widgets.render.normalize import symmetric_range

SETUP = """
import numpy as np
from cnnviz_widgets.views.tile_grid import TileGrid
maps = np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32) * np.arange(1, 41)[:, None, None]
maps[3] = 0
maps[5, 2, 3] = np.nan
grid = TileGrid(maps, unit="weight", noun="filter", badges={3: "dead"})
grid
"""

maps = np.random.default_rng(0).normal(size=(40, 6, 8)).astype(np.float32) * np.arange(1, 41)[:, None, None]
maps[3] = 0


class Tiles:
    """The grid's view in the output of a cell."""

    def __init__(self, nb, index=0):
        self.nb = nb
        self.root = nb.output(index).locator(".cvz-tiles")
        self.area = self.root.get_by_role("grid")
        self.wait_painted(0)

    def wait_painted(self, serial):
        expect(self.root).to_have_attribute("data-painted", str(serial))

    def _number(self, name):
        return float(self.root.get_attribute(f"data-{name}"))

    def place(self, slot, row=0, column=0, rows=6, columns=8):
        """Center of a value on the page, scrolled into view; `slot` counts the tiles on show."""
        across = int(self._number("across"))
        y = self._number("inset") + slot // across * self._number("pitch-y")
        x = self._number("inset") + slot % across * self._number("pitch-x")
        y += (row + 0.5) / rows * self._number("tile-height")
        x += (column + 0.5) / columns * self._number("tile-width")
        self.area.evaluate("(node, top) => { node.scrollTop = top; }", max(0, y - 100))
        top = self.area.evaluate("node => node.scrollTop")
        frame = self.area.bounding_box()
        return frame["x"] + 1 + x, frame["y"] + 1 + y - top

    def pixels_per_value(self, rows=6):
        return self._number("tile-height") / rows

    def hover(self, slot, row=0, column=0, **shape):
        self.nb.page.mouse.move(*self.place(slot, row, column, **shape))
        tooltip = self.root.get_by_role("tooltip")
        expect(tooltip).to_be_visible()
        return tooltip.inner_text()

    def color(self, slot, row, column):
        """The color on the screen at the center of a value."""
        return self.nb.color(*self.place(slot, row, column))


def number_in(text):
    """The value in a hover text, written with a real minus and powers of ten."""
    found = re.search(r"(\u2212?[\d.]+)(?:\u00d710([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))? weight", text)
    power = (found[2] or "").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) or "0"
    return float(found[1].replace("\u2212", "-") + "e" + power)


PLACES = [(0, 0, 0), (1, 5, 7), (4, 2, 6), (17, 3, 1), (39, 5, 0)]


@pytest.fixture
def tiles(open_notebook):
    nb = open_notebook([SETUP])
    nb.run_all()
    return Tiles(nb)


def check_hover(tiles):
    for tile, row, column in PLACES:
        text = tiles.hover(tile, row, column)
        assert f"filter {tile}" in text
        assert f"row {row}, column {column}" in text
        value = maps[tile, row, column]
        unit = 10.0 ** (np.floor(np.log10(abs(value))) - 3)
        error = np.ptp(maps[tile]) / 65531 if "≈" in text else 0
        assert abs(number_in(text) - value) <= 1.01 * unit + error


def check_colors(tiles, colors, range_of):
    for tile, row, column in PLACES:
        expected = apply(maps[tile, row, column], table(colors), *range_of(tile))
        # a value on the edge of two colors may fall on either side, by what 16 bits change
        assert np.abs(np.subtract(tiles.color(tile, row, column), expected, dtype=int)).max() <= 6


def ends(values):
    return float(np.nanmin(values)), float(np.nanmax(values))


def check_theme(tiles, theme):
    """The marks drawn on the canvas wear the host's colors."""
    tiles.nb.kernel.run("grid.selected = 0")
    tiles.nb.settle()
    expect(tiles.root).to_have_attribute("data-theme", theme)
    accent = tiles.root.evaluate(
        "node => getComputedStyle(node).getPropertyValue('--jp-brand-color1').trim()"
    )
    # a row of screen pixels above the tile's first value crosses its outline
    step = tiles.pixels_per_value()
    outline = {tiles.color(0, -0.5 - distance / step, 2) for distance in (1.5, 2.5, 3.5)}
    assert ImageColor.getrgb(accent) in outline


@pytest.mark.parametrize("front_end", ["lab"])
def test_values_and_colors_are_those_of_the_arrays(tiles):
    check_hover(tiles)
    assert "0 weight" in tiles.hover(3, 1, 1)
    assert "dead" in tiles.hover(3, 1, 1)
    assert "NaN weight" in tiles.hover(5, 2, 3)
    tiles.nb.kernel.wait_for("grid.pointer == [5, 2, 3]")
    check_colors(tiles, "vik", lambda tile: symmetric_range(*ends(maps)))
    tiles.root.get_by_text("Each its own").click()
    check_colors(tiles, "vik", lambda tile: symmetric_range(*ends(maps[tile])))
    tiles.root.get_by_label("Zero-centered").click()
    check_colors(tiles, "viridis", lambda tile: ends(maps[tile]))
    tiles.root.get_by_label("Colors").select_option("gray")
    check_colors(tiles, "gray", lambda tile: ends(maps[tile]))
    tiles.root.get_by_text("One scale for all").click()
    check_colors(tiles, "gray", lambda tile: ends(maps))
    state = "(grid.scale, grid.zero_centered, grid.sequential)"
    tiles.nb.kernel.wait_for(f"{state} == ('shared', False, 'gray')")


@pytest.mark.parametrize("front_end", ["lab"])
def test_mouse_and_keys_select_and_enlarge(tiles):
    kernel, page = tiles.nb.kernel, tiles.nb.page
    page.mouse.click(*tiles.place(1, 4, 6))
    kernel.wait_for("(grid.selected, grid.position) == (1, [4, 6])")
    across = int(tiles.root.get_attribute("data-across"))
    for key, selected in [
        ("ArrowRight", 2),
        ("ArrowDown", 2 + across),
        ("ArrowLeft", 1 + across),
        ("Control+End", 39),
        ("Control+Home", 0),
        ("End", across - 1),
        ("Home", 0),
    ]:
        page.keyboard.press(key)
        kernel.wait_for(f"grid.selected == {selected}")
    expect(tiles.area.get_by_role("gridcell", selected=True)).to_have_text(re.compile("^filter 0 · "))
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(tiles.area.get_by_role("gridcell")).to_contain_text("filter 3 · dead · constant at 0")
    page.keyboard.press("Enter")
    kernel.wait_for("grid.enlarged == 3")
    page.keyboard.press("PageDown")
    kernel.wait_for("(grid.enlarged, grid.selected) == (4, 4)")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    readout = tiles.root.locator(".cvz-readout")
    expect(readout).to_contain_text("row 1, column 1")
    assert number_in(readout.inner_text()) == pytest.approx(maps[4, 1, 1], rel=1e-3)
    kernel.wait_for("grid.position == [1, 1]")
    tiles.nb.screenshot("enlarged")
    page.keyboard.press("Escape")
    kernel.wait_for("grid.enlarged == -1")
    expect(tiles.area).to_be_focused()
    assert tiles.nb.kernel.value("grid.selected") == 4


@pytest.mark.parametrize("front_end", ["lab"])
def test_python_swaps_filters_and_selects(tiles):
    kernel = tiles.nb.kernel
    check_theme(tiles, "light")
    tiles.nb.set_theme("dark")
    check_theme(tiles, "dark")
    tiles.nb.set_theme("light")
    kernel.run("grid.order = [7, 39, 2]; grid.selected = 39")
    expect(tiles.root).to_contain_text("3 of 40 filters")
    assert "filter 39" in tiles.hover(1)
    tiles.nb.page.mouse.click(*tiles.place(2))
    kernel.wait_for("grid.selected == 2")
    kernel.run("grid.order = []")
    expect(tiles.root).to_contain_text("The filter leaves none of the 40 filters")
    kernel.run("grid.set_maps(maps[:4, :3, :3] + 100, labels=['<b>one</b>', 'two', 'three', 'four'])")
    tiles.wait_painted(1)
    assert "<b>one</b>" in tiles.hover(0, rows=3, columns=3)
    expect(tiles.root.locator("b")).to_have_count(0)
    kernel.run("grid.set_maps(maps[:0])")
    tiles.wait_painted(2)
    expect(tiles.root).to_contain_text("No filters to show")


@pytest.mark.parametrize("front_end", ["lab"])
def test_state_survives_closing_and_lives_on_without_a_kernel(open_notebook):
    nb = open_notebook([SETUP], save_widget_state=True)
    nb.run_all()
    tiles = Tiles(nb)
    tiles.root.get_by_text("Each its own").click()
    nb.page.mouse.click(*tiles.place(17, 3, 1))
    nb.kernel.wait_for("grid.selected == 17")
    nb.save()
    nb.reopen()
    tiles = Tiles(nb)
    expect(tiles.root).to_contain_text("filter 17 · ")
    expect(tiles.root.get_by_role("radio", name="Each its own")).to_be_checked()
    nb.save()
    nb.reopen_without_kernel()
    tiles = Tiles(nb)
    check_hover(tiles)
    tiles.root.get_by_text("One scale for all").click()
    check_colors(tiles, "vik", lambda tile: symmetric_range(*ends(maps)))
    expect(tiles.root).to_contain_text("filter 17 · ")
    nb.page.mouse.click(*tiles.place(4))
    nb.page.keyboard.press("Enter")
    expect(tiles.root.get_by_role("application")).to_be_visible()
    output = nb.stored()["cells"][0]["outputs"][0]["data"]
    assert {"image/png", "text/plain"} <= output.keys()


@pytest.mark.parametrize("front_end", ["lab"])
def test_everything_goes_on_while_the_kernel_is_busy(tiles):
    nb = tiles.nb
    release = nb.server.root / f"{nb.path.stem}-go"
    wait = f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.05)"
    busy = nb.kernel.start(f"grid.selected = 1\n{wait}\nprint(grid.selected, grid.scale)")
    expect(tiles.root).to_contain_text("filter 1 · ")  # the kernel has begun
    check_hover(tiles)
    tiles.root.get_by_text("Each its own").click()
    check_colors(tiles, "vik", lambda tile: symmetric_range(*ends(maps[tile])))
    nb.page.mouse.click(*tiles.place(4, 2, 6))
    expect(tiles.root).to_contain_text("filter 4 · ")
    release.touch()
    assert nb.kernel.finish(busy).split() == ["1", "shared"]  # nothing had reached it until then
    nb.kernel.wait_for("(grid.selected, grid.scale) == (4, 'each')")


@pytest.mark.parametrize("front_end", ["lab"])
def test_two_thousand_tiles_draw_only_what_is_seen(open_notebook):
    nb = open_notebook([SETUP.replace("40, 6, 8", "2048, 7, 7").replace("1, 41", "1, 2049")])
    nb.run_all()
    tiles = Tiles(nb)
    shape = {"rows": 7, "columns": 7}
    height, content = tiles.area.evaluate("node => [node.clientHeight, node.scrollHeight]")
    assert content > 20 * height
    assert tiles.area.locator("canvas").evaluate("node => node.clientHeight") <= height
    nb.page.evaluate(
        """() => {
            window.drawn = [];
            const prototype = CanvasRenderingContext2D.prototype;
            const draw = prototype.drawImage;
            prototype.drawImage = function (...args) {
                window.drawn.push(args[0]);
                return draw.apply(this, args);
            };
            window.endCounting = () => {
                prototype.drawImage = draw;
            };
        }"""
    )
    assert "filter 2047" in tiles.hover(2047, 6, 6, **shape)
    assert 0 < nb.page.evaluate("new Set(drawn).size") < 250
    nb.page.evaluate("endCounting(); delete window.drawn")  # the page is the next test's, too
    nb.screenshot("scrolled")
