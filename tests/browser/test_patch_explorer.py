"""The patch explorer as a person uses it, against what Python knows."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_filter_grid import click, grid_of

SOURCE = """
import cnnviz_widgets as cv
net = cv.samples.fashion_cnn()
images, _ = cv.samples.fashion_mnist("test")
found = cv.top_patches(net, images[:300], ["conv1", "conv2"])
browser = cv.LayerBrowser(net, images[0], layer="conv1")
explorer = cv.PatchExplorer(found, browser=browser)
explorer
"""
WIDE = {"viewport": {"width": 1400, "height": 1100}}


@pytest.fixture(scope="module")
def found():
    images, _ = cv.samples.fashion_mnist("test")
    return cv.top_patches(cv.samples.fashion_cnn(), images[:300], ["conv1", "conv2"])


def expect_box(nb, output, box):
    """Wait until all four sides of the box are on the image, in the color of boxes, #ffb000."""
    frame = output.locator(".cvz-frame")
    frame.scroll_into_view_if_needed()
    top, left, bottom, right = box.tolist()
    middle = ((top + bottom) / 2, (left + right) / 2)
    for row, column in ((top, middle[1]), (bottom, middle[1]), (middle[0], left), (middle[0], right)):
        for _ in range(40):
            place = frame.bounding_box()
            x, y = place["x"] + column / 28 * place["width"], place["y"] + row / 28 * place["height"]
            colors = np.array(nb.colors_around(x, y, reach=3), float)
            if (np.abs(colors - (255, 176, 0)).max(axis=2) < 40).any():
                break
            nb.page.wait_for_timeout(50)
        else:
            raise AssertionError(f"no side of {box} at row {row}, column {column}")


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_looks_at_what_excites_channels(open_notebook, found):
    nb = open_notebook([SOURCE], **WIDE)
    nb.run_all()
    output = nb.output(0)
    expect(output).to_contain_text("Channel 0: the 9 strongest answers in 300 images.")
    expect(output.get_by_role("button", name="Previous")).to_be_disabled()
    nb.screenshot("first")

    # To another layer, and to a channel by typing; a tile has the colors of its patch.
    conv2 = found["conv2"]
    output.get_by_label("Layer", exact=True).select_option("conv2")
    nb.kernel.wait_for("explorer.layer == 'conv2' and browser.layer == 'conv2'")
    field = output.get_by_label("Channel", exact=True)
    field.fill("7")
    field.press("Enter")
    nb.kernel.wait_for("explorer.channel == 7 and browser.channel == 7")
    expect(output).to_contain_text("Channel 7: the 9 strongest answers")
    tiles, shape = grid_of(nb), {"rows": 16, "columns": 16}
    row, column = conv2.positions[7, 0]
    assert f"image {conv2.image_indices[7, 0]} ({row}, {column})" in tiles.hover(0, 5, 5, **shape)
    colors = np.array(nb.colors_around(*tiles.place(0, 5, 5, **shape), reach=3), float)
    np.testing.assert_allclose(colors[3, 3], conv2.patches[7][0][5, 5], atol=3)
    expect_box(nb, output, conv2.boxes[7, 0])

    # A click on a tile: the image that it is from, its box, and the words for it.
    click(tiles, 3, **shape)
    nb.kernel.wait_for("explorer.rank == 3")
    top, left, bottom, right = conv2.boxes[7, 3]
    told = f"sees rows {top} to {bottom - 1}, columns {left} to {right - 1}"
    expect(output).to_contain_text(f"in image {conv2.image_indices[7, 3]}, unit")
    expect(output).to_contain_text(told)
    expect_box(nb, output, conv2.boxes[7, 3])
    nb.screenshot("rank")

    # Channels by the arrow keys of the field, and by the buttons, also with the keyboard.
    field.press("ArrowUp")
    nb.kernel.wait_for("explorer.channel == 8 and explorer.rank == 0")
    output.get_by_role("button", name="Next").press("Enter")
    nb.kernel.wait_for("explorer.channel == 9 and browser.channel == 9")
    output.get_by_role("button", name="Previous").click()
    nb.kernel.wait_for("explorer.channel == 8")
    expect(field).to_have_value("8")

    # The browser leads; dark and narrow, nothing is lost.
    nb.set_theme("dark")
    nb.kernel.run("browser.channel = 20")
    expect(output).to_contain_text("Channel 20: the 9 strongest answers")
    expect_box(nb, output, conv2.boxes[20, 0])
    nb.screenshot("dark")
    nb.page.set_viewport_size({"width": 640, "height": 1100})
    expect(output.get_by_role("button", name="Next")).to_be_in_viewport()
    expect_box(nb, nb.output(0), conv2.boxes[20, 0])
    nb.screenshot("narrow")
