"""The occlusion explorer as a person uses it: the map that grows, the window and the brush moved by hand."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.test_image_stage import drawn

SOURCE = """
import torch
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
explorer = cv.OcclusionExplorer(net, cv.samples.photo("coffee"), stride=32)
explorer
"""
# What the network says to the photo with the cover, in the plain way.
PLAIN = """
def plain():
    x = net.prepare(explorer.image) * torch.from_numpy(~explorer.mask)
    return f'{float(net.scores(x).softmax(1)[0, net.labels.index("espresso")]):.1%}'
"""
MEAN_COLOR = (124, 116, 104)  # what 0.0 looks like: ImageNet's mean


def drag(nb, target, *places, size=224):
    """Press at the first place (row, column) of a square of so many pixels, move over the others, and let go."""
    box = target.bounding_box()
    points = [
        (box["x"] + (x + 0.5) / size * box["width"], box["y"] + (y + 0.5) / size * box["height"])
        for y, x in places
    ]
    nb.page.mouse.move(*points[0])
    nb.page.mouse.down()
    for point in points[1:]:
        nb.page.mouse.move(*point, steps=10)
    nb.page.mouse.up()


def shown_when(nb, frame, is_right):
    """Wait until the photo's pixels on the screen [448, 448, 3] are right, and return them."""
    for _ in range(50):
        nb.next_frame()
        picture = Image.open(io.BytesIO(frame.screenshot())).convert("RGB")
        shown = np.asarray(picture.resize((448, 448)), float)
        if is_right(shown):
            return shown
    raise AssertionError("the photo's pixels are still others")


def expect_cover(nb, frame, *places):
    """Wait until the photo shows the mean color at these places."""
    shown_when(
        nb, frame, lambda shown: all(np.abs(shown[2 * y, 2 * x] - MEAN_COLOR).max() < 12 for y, x in places)
    )


def expect_box(nb, frame, box, color):
    """Wait until all four sides of a box are drawn around its pixels, in its color."""
    top, left, bottom, right = (
        4 * each for each in box
    )  # the canvas has four pixels for one of the network's
    middle = ((top + bottom) // 2, (left + right) // 2)
    for _ in range(50):
        nb.next_frame()
        canvas = drawn(frame)[:, :, :3]
        sides = (top, middle[1]), (bottom, middle[1]), (middle[0], left), (middle[0], right)
        around = [canvas[max(y - 3, 0) : y + 4, max(x - 3, 0) : x + 4] for y, x in sides]
        if all((np.abs(each - color).max(axis=2) < 10).any() for each in around):
            return
    raise AssertionError(f"no box {box} in {color}")


def slider_of(output, name):
    return output.locator(".widget-hslider").filter(has_text=name).get_by_role("slider")


def in_cells(pixels):
    """The mean colors of 7 x 7 parts of a square."""
    side = len(pixels) // 7
    return np.reshape(pixels, (7, side, 7, side, 3)).mean(axis=(1, 3))


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_covers_parts_of_a_photo(open_notebook):
    nb = open_notebook([SOURCE], viewport={"width": 1280, "height": 1100})
    nb.run_all()
    nb.kernel.run(PLAIN)
    output = nb.output(0)
    frame = output.locator(".cvz-frame")
    expect(output).to_contain_text("all 49 places measured", timeout=30_000)
    top, left, bottom, right = nb.kernel.value("[*vars(explorer.result.strongest).values()]")
    expect(output).to_contain_text(f"rows {top} to {bottom - 1}, columns {left} to {right - 1}")
    expect(output).to_contain_text("Drag over the photo to cover a part of it.")
    nb.screenshot("map")

    # The window follows the pointer, and what stands there is what the network says in the plain way.
    drag(nb, frame, (200, 30), (88, 130))
    nb.kernel.wait_for("bool(explorer.mask[72:104, 114:146].all() and explorer.mask.sum() == 32 * 32)")
    expect(output).to_contain_text(f"probability of espresso: 97.7% \u2192 {nb.kernel.value('plain()')}")
    expect_cover(nb, frame, (82, 120), (86, 140))
    expect(output.get_by_label("pixel row")).to_have_value("88")
    nb.screenshot("dragged")

    # A painted shape joins it; by keyboard the window is at another place.
    output.get_by_role("button", name="paint").click()
    drag(nb, frame, (60, 60), (60, 160), (150, 160))
    nb.kernel.wait_for("bool(explorer.mask[60, 60:160].all() and explorer.mask[60:150, 160].all())")
    nb.kernel.run("explorer.wait_for_answer()")
    told = nb.kernel.value("plain()")
    expect(output).to_contain_text(f"97.7% \u2192 {told}")
    expect(output.locator(".cvz-chart")).to_contain_text(told)
    expect_cover(nb, frame, (60, 80), (118, 166), (82, 120))
    nb.screenshot("painted")
    output.get_by_role("button", name="Clear").click()
    expect(output).to_contain_text("Drag over the photo to cover a part of it.")
    assert nb.kernel.value("bool(explorer.mask.any())") is False

    # The slider begins another map; stopped, it leaves what it has.
    drag(nb, slider_of(output, "Stride"), (0, 0), (0, -30), size=1)
    expect(output).to_contain_text(re.compile(r"\d+ of 37,249 places, .* left"))
    output.get_by_role("button", name="Stop").click()
    expect(output).to_contain_text(re.compile(r"stopped after [\d,]+ of 37,249 places"))
    assert nb.kernel.value("explorer.stride") == 1
    assert 0 < nb.kernel.value("explorer.result.measured") < 0.5
    expect(output.locator(".cvz-stage-legend")).to_contain_text("drop")
    assert frame.locator("img:visible").count() == 2  # the photo and its heat map
    nb.screenshot("stopped")

    # Another window by keyboard, and another class by its name: the marks are where that result says.
    nb.kernel.run("explorer.stride = 32")
    slider_of(output, "Window").press("PageUp")
    nb.kernel.wait_for("explorer.window == 37")
    expect(output.locator(".widget-hslider").filter(has_text="Window")).to_contain_text("37")
    field = output.get_by_label("Class", exact=True)
    field.fill("consomme")
    field.press("Enter")
    nb.kernel.wait_for("net.label(explorer.target.what) == 'consomme' and explorer.result is not None")
    expect(output).to_contain_text("probability of consomme")
    scores, tops, lefts = nb.kernel.value(
        "[getattr(explorer.result, name).tolist() for name in ('scores', 'tops', 'lefts')]"
    )
    for name, color, place in (
        ("strongest", (255, 176, 0), np.argmin(scores)),
        ("weakest", (86, 180, 233), np.argmax(scores)),
    ):
        row, column = np.unravel_index(place, np.shape(scores))
        top, left = tops[row], lefts[column]
        where = f"rows {top} to {top + 36}, columns {left} to {left + 36}"
        expect(output.locator("p").filter(has_text=name)).to_contain_text(where)
        expect_box(nb, frame, (top, left, top + 37, left + 37), color)
    nb.screenshot("boxes")

    # The heat map fades: without it the photo is there, and halfway the mean of both ends.
    photo = in_cells(nb.kernel.value("explorer.parts.stage.image.tolist()"))
    half = shown_when(nb, frame, lambda shown: True)
    slider_of(output, "Opacity").press("End")
    nb.kernel.wait_for("explorer.opacity == 1")
    full = shown_when(nb, frame, lambda shown: np.abs(shown - half).mean() > 5)
    slider_of(output, "Opacity").press("Home")
    nb.kernel.wait_for("explorer.opacity == 0")
    # The marks stay, which are a part of few cells.
    none = shown_when(nb, frame, lambda shown: np.median(np.abs(in_cells(shown) - photo)) < 2)
    np.testing.assert_allclose(in_cells(half), in_cells((none + full) / 2), atol=1)
    nb.screenshot("faded")

    # A unit; a wrong one is said, and the fields return to what is on show.
    output.get_by_role("button", name="a unit").click()
    expect(output).to_contain_text("mean of channel 0 of features.0")
    position = output.get_by_label("Row, column")
    position.fill("3, 400")
    position.press("Enter")
    expect(output.get_by_role("alert")).to_contain_text("111 rows and 111 columns")
    expect(position).to_have_value("")
    nb.screenshot("error")
    position.fill("40, 50")
    position.press("Enter")
    nb.kernel.wait_for("explorer.target.position == (40, 50)")
    expect(output).to_contain_text("all 49 places measured", timeout=30_000)
    nb.set_theme("dark")
    nb.screenshot("dark")
    nb.page.set_viewport_size({"width": 640, "height": 1400})
    expect(nb.output(0).get_by_role("button", name="a class")).to_be_in_viewport()
    nb.screenshot("narrow")
