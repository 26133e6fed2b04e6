"""The filter grid as a person uses it, against what Python knows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_tile_grid import Tiles

SQUEEZENET = """
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
filters = cv.FilterGrid(net)
filters
"""
WIDE = {"viewport": {"width": 1500, "height": 1500}}
COLORS = {"smooth": (0x00, 0x61, 0xA3), "mixed": (0x8A, 0x61, 0x00), "noisy": (0xB3, 0x26, 0x1E)}


@pytest.fixture(scope="module")
def first() -> cv.Kernels:
    return cv.kernels(cv.samples.squeezenet(), "features.0")


def grid_of(nb, index=0):
    """One of the grids in the widget: the kernels, the chosen one's input channels, the near-duplicates."""
    tiles = object.__new__(Tiles)
    tiles.nb = nb
    tiles.root = nb.output(0).locator(".cvz-tiles").nth(index)
    tiles.area = tiles.root.get_by_role("grid")
    expect(tiles.root).to_have_attribute("data-painted", re.compile(r"\d"))
    nb.settle()
    return tiles


def top_grid_of(nb, index=0):
    """One of the grids, scrolled to the top of the page, where the widget is higher than that."""
    tiles = grid_of(nb, index)
    tiles.area.evaluate("node => node.scrollIntoView({ block: 'start' })")
    nb.next_frame()
    return tiles


def pixel(tiles, slot, x, y):
    """The color on the screen at a point given from the top left of a tile, in CSS pixels."""
    left, top = tiles.place(slot, -0.5, -0.5, rows=3, columns=3)
    return tiles.nb.color(left + x, top + y)


def badge_color(tiles, slot):
    """The color at the left edge of the badge below a tile."""
    width, height = (float(tiles.root.get_attribute(f"data-tile-{side}")) for side in ("width", "height"))
    # The caption takes 15 pixels, the badge is 13 high; "noisy", the shortest, is some 35 wide.
    return pixel(tiles, slot, width / 2 - 15, height + 15 + 2.5)


def click(tiles, slot, **shape):
    tiles.nb.page.mouse.click(*tiles.place(slot, 1, 1, **shape))


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_looks_through_the_kernels_of_a_network(open_notebook, first):
    nb = open_notebook([SQUEEZENET], **WIDE)
    nb.run_all()
    output = nb.output(0)
    expect(output).to_contain_text("64 kernels of 3 × 3 × 3: 42 smooth, 20 mixed, 2 noisy")
    expect(output).to_contain_text(f"structured p = {first.layer_p_value:.3g} in a shuffle test")
    nb.screenshot("first")

    # Badges in the page, as text and in color, are the verdicts that Python found.
    tiles = grid_of(nb)
    for kernel in (0, 7, 9):
        text = tiles.hover(kernel, 1, 2, rows=3, columns=3)
        assert f"kernel {kernel}" in text
        assert first.verdicts[kernel] in text
        weights = first.weights[kernel, :, 1, 2]
        told = re.search(r"red (\S+), green (\S+), blue (\S+) weight", text.replace("\u2009", ""))
        values = [float(each.replace("\u2212", "-").replace("\u2248", "")) for each in told.groups()]
        np.testing.assert_allclose(values, weights, rtol=2e-3, atol=2e-2)
        np.testing.assert_allclose(badge_color(tiles, kernel), COLORS[first.verdicts[kernel]], atol=3)
    # ... and a tile has the color of its weights, where gray is zero.
    expected = first.colors()[6, 1, 1]
    np.testing.assert_allclose(tiles.color(6, 3, 4), expected, atol=2)  # the middle of 6 x 8

    # A click shows the numbers and the reason.
    click(tiles, 9, rows=3, columns=3)
    nb.kernel.wait_for("filters.kernel == 9")
    expect(output).to_contain_text(first.reasons[9])
    expect(output.get_by_role("row", name="roughness ").first).to_contain_text(f"{first.roughness[9]:.4g}")
    # ... and the kernel's near-duplicate beside it, with how it is turned.
    (group,) = [each for each in first.duplicates if 9 in each.members]
    assert str(group) == "9 = 50 (negated identity, 0.993)"
    expect(output).to_contain_text(str(group))
    text = grid_of(nb, 2).hover(1, 1, 1, rows=3, columns=3)
    assert "kernel 50 · cosine 0.993" in text
    assert "negated identity" in text
    click(grid_of(nb, 2), 1, rows=3, columns=3)
    nb.kernel.wait_for("filters.kernel == 50")

    # Filter, then sort.
    output.get_by_label("Verdict").select_option("mixed")
    expect(output).to_contain_text("20 of 64 kernels")
    output.get_by_label("Sort by").select_option("roughness percentile")
    nb.kernel.wait_for("filters.sort == 'roughness percentile'")
    mixed = [index for index in range(64) if first.verdicts[index] == "mixed"]
    mixed.sort(key=lambda index: (first.percentile[index], index))

    click(grid_of(nb), 19, rows=3, columns=3)
    nb.kernel.wait_for(f"filters.kernel == {mixed[19]}")
    nb.screenshot("mixed")

    # Another layer by keyboard: in the tree, the next one with kernels is of 1x1.
    output.get_by_role("treeitem", selected=True).focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        nb.page.locator(":focus").press(key)
    nb.kernel.wait_for("filters.layer == 'features.3.squeeze' and not filters.busy")
    expect(output).to_contain_text("16 kernels of 64 × 1 × 1: 16 cannot tell")
    expect(output).to_contain_text("a 1x1 kernel has no neighboring entries")
    nb.screenshot("matrix")
    # The matrix is enlarged; arrow keys read its weights, and Enter chooses a row.
    matrix = output.get_by_role("application")
    matrix.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        matrix.press(key)
    readout = output.locator(".cvz-readout").filter(visible=True)
    expect(readout).to_have_text(re.compile(r"kernel [1-9]\d*, input channel \d+: \S+ weight"))
    kernel, channel, told = re.match(
        r"kernel (\d+), input channel (\d+): (\S+)", readout.inner_text()
    ).groups()
    nb.kernel.wait_for(f"filters.kernel == {kernel}")
    weight = cv.kernels(cv.samples.squeezenet(), "features.3.squeeze").matrix[int(kernel), int(channel)]
    told = float(told.replace("\u2212", "-"))
    assert told == pytest.approx(weight, rel=2e-3, abs=1e-3)

    # In the dark and on a narrow page, nothing is lost.
    nb.set_theme("dark")
    nb.page.set_viewport_size({"width": 700, "height": 1500})
    nb.kernel.run("filters.layer = 'features.0'; filters.verdict = 'noisy'")
    expect(nb.output(0)).to_contain_text("2 of 64 kernels")
    nb.screenshot("narrow")
