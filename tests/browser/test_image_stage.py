"""The image stage: what is drawn, where the pointer is, a reload, keyboard, no kernel."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

SETUP = """
import numpy as np
from cnnviz_widgets.views.image_stage import ImageStage, StageBox
photo = np.full((100, 200, 3), 60, np.uint8)
photo[:50, :100] = (200, 40, 40)
stage = ImageStage(photo, width=400)
"""
SHOW = """
stage.set_heat(np.linspace(0, 8, 8).reshape(2, 4), name="score", unit="<i>units</i>", opacity=0.0)
stage.set_boxes([StageBox(20, 30, 60, 90, color="#00ff00", label="<b>box</b>")])
stage
"""
# The boxes' canvas as the page has it: its pixels as PNG.
DRAWN = "canvas => canvas.toDataURL('image/png').split(',')[1]"


def drawn(frame):
    data = frame.locator("canvas.cvz-boxes").evaluate(DRAWN)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")).astype(int)


def is_green(pixel):
    return pixel[1] > 200 and pixel[0] < 80 and pixel[2] < 80 and pixel[3] > 200


def wait_until_drawn(nb, color=(0, 255, 0)):
    nb.page.wait_for_function(
        """color => {
            const canvas = document.querySelector("canvas.cvz-boxes");
            if (!canvas) return false;
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            for (let i = 0; i < data.length; i += 4)
                if (data[i + 3] > 250 && color.every((part, k) => Math.abs(data[i + k] - part) < 8))
                    return true;
            return false;
        }""",
        arg=list(color),
    )


def open_stage(open_notebook, **options):
    nb = open_notebook([SETUP, SHOW], **options)
    nb.run_all()
    frame = nb.output(1).locator(".cvz-frame")
    wait_until_drawn(nb)
    return nb, frame


def check_drawing(frame):
    """The box is drawn around its pixels: two CSS pixels each, four canvas pixels."""
    canvas = drawn(frame)
    assert canvas.shape[:2] == (400, 800)
    for row, column in [(80, 200), (240, 200), (160, 120), (160, 360)]:
        assert is_green(canvas[row, column]), (row, column, canvas[row, column])
    assert canvas[160, 200, 3] == 0


@pytest.mark.parametrize("front_end", ["lab"])
def test_the_stage_shows_photo_heat_map_boxes_and_legend(open_notebook):
    nb, frame = open_stage(open_notebook)
    check_drawing(frame)
    box = frame.bounding_box()
    assert (box["width"], box["height"]) == (400, 200)
    for layer in frame.locator("img:visible, canvas").all():
        assert layer.bounding_box() == box
    legend = nb.output(1).locator(".cvz-stage-legend")
    expect(legend).to_contain_text("score")
    expect(legend).to_contain_text("8 <i>units</i>")
    shown = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("RGB")).astype(int)
    np.testing.assert_allclose(shown[10, 10], [200, 40, 40], atol=2)
    np.testing.assert_allclose(shown[150, 350], [60, 60, 60], atol=2)
    nb.kernel.run("stage.opacity = 1.0")
    # All of the photo is hidden now; viridis begins and ends with these colors.
    expect_color(frame, (3, 3), (68, 1, 84))
    expect_color(frame, (196, 396), (253, 231, 37))
    nb.screenshot("stage")
    nb.set_theme("dark")
    nb.screenshot("stage-dark")


def expect_color(frame, place, color):
    """Wait until the frame shows that color at (row, column)."""
    for _ in range(50):
        shown = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("RGB")).astype(int)
        if np.abs(shown[place] - color).max() <= 4:
            return
    raise AssertionError(f"{place} shows {shown[place]}, not {color}")


@pytest.mark.parametrize("front_end", ["lab"])
def test_pointer_and_clicks_come_in_image_pixels(open_notebook):
    nb, frame = open_stage(open_notebook)
    frame.hover(position={"x": 101, "y": 61})
    nb.kernel.wait_for("stage.pointer == (30, 50)")
    reading = nb.output(1).get_by_text("pixel (30, 50)")
    expect(reading).to_contain_text("score")
    frame.click(position={"x": 301, "y": 181})
    nb.kernel.wait_for("stage.clicked == (90, 150)")
    expect(nb.output(1).get_by_label("pixel row")).to_have_value("90")
    nb.page.mouse.move(2, 2)
    nb.kernel.wait_for("stage.pointer is None")
    assert nb.kernel.value("stage.pressed") is False


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_box_follows_the_pointer_and_ends_where_it_ends(open_notebook):
    nb, frame = open_stage(open_notebook)
    nb.kernel.run(
        "follow = lambda p: stage.set_boxes([(p[0], p[1], p[0] + 10, p[1] + 10)] if p else [])\n"
        "stage.on_pointer(follow)"
    )
    place = frame.bounding_box()
    nb.page.mouse.move(place["x"] + 10, place["y"] + 10)
    nb.page.mouse.move(place["x"] + 201, place["y"] + 101, steps=60)
    nb.kernel.wait_for("stage.pointer == (50, 100)")
    nb.page.wait_for_function(
        """() => {
            const canvas = document.querySelector("canvas.cvz-boxes");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let top = canvas.height, left = canvas.width;
            for (let y = 0; y < canvas.height; y += 1)
                for (let x = 0; x < canvas.width; x += 1)
                    if (data[4 * (y * canvas.width + x) + 3] > 250) {
                        top = Math.min(top, y);
                        left = Math.min(left, x);
                    }
            return Math.abs(top - 200) <= 5 && Math.abs(left - 400) <= 5;
        }"""
    )


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_reload_shows_all_of_it_again(open_notebook):
    nb, frame = open_stage(open_notebook)
    nb.kernel.run("stage.clicked = (90, 150)")
    nb.save()
    nb.reload()
    frame = nb.output(1).locator(".cvz-frame")
    wait_until_drawn(nb)
    check_drawing(frame)
    # Moving a box still works: an early command to no canvas would have broken ipycanvas's page for good.
    nb.kernel.run("stage.set_boxes([StageBox(70, 120, 90, 180, color='#ff00ff')])")
    wait_until_drawn(nb, color=(255, 0, 255))
    frame.hover(position={"x": 101, "y": 61})
    nb.kernel.wait_for("stage.pointer == (30, 50)")
    expect(nb.output(1).get_by_text("pixel (30, 50)")).to_contain_text("score")
    expect(nb.output(1).get_by_label("pixel column")).to_have_value("150")
    frame.click(position={"x": 301, "y": 141})
    nb.kernel.wait_for("stage.clicked == (70, 150)")
    expect(nb.output(1).get_by_label("pixel row")).to_have_value("70")
    nb.page.mouse.move(2, 2)
    nb.kernel.wait_for("stage.pointer is None")


@pytest.mark.parametrize("front_end", ["lab"])
def test_the_keyboard_passes_by_the_canvases_and_enters_a_position(open_notebook):
    nb, frame = open_stage(open_notebook)
    frame.click(position={"x": 101, "y": 61})
    nb.kernel.wait_for("stage.clicked == (30, 50)")
    # ipycanvas gives a pressed canvas the focus; it must not keep it, or every key were lost.
    nb.page.wait_for_function("() => document.activeElement.tagName !== 'CANVAS'")
    row = nb.output(1).get_by_label("pixel row")
    row.focus()
    row.press("ArrowUp")
    nb.kernel.wait_for("stage.clicked == (31, 50)")
    row.press("Tab")
    expect(nb.output(1).get_by_label("pixel column")).to_be_focused()
    # Backwards past the picture, too: whatever gets the focus, no canvas keeps it.
    for _ in range(4):
        nb.page.keyboard.press("Shift+Tab")
        nb.page.wait_for_function("() => document.activeElement.tagName !== 'CANVAS'")
    assert nb.page.evaluate("() => !document.querySelector('.cvz-stage').contains(document.activeElement)")


@pytest.mark.parametrize("front_end", ["lab"])
def test_without_a_kernel_photo_and_heat_map_stay(open_notebook):
    nb, frame = open_stage(open_notebook, save_widget_state=True)
    nb.kernel.run("stage.opacity = 1.0")
    expect_color(frame, (3, 3), (68, 1, 84))
    nb.save()
    nb.reopen_without_kernel()
    frame = nb.output(1).locator(".cvz-frame")
    expect(frame).to_be_visible()
    expect_color(frame, (3, 3), (68, 1, 84))
    expect(nb.output(1).locator(".cvz-stage-legend")).to_contain_text("score")


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_narrow_place_shrinks_the_stage_and_keeps_positions_right(open_notebook):
    nb = open_notebook([SETUP, "import ipywidgets; ipywidgets.Box([stage], layout={'width': '230px'})"])
    nb.run_all()
    frame = nb.output(1).locator(".cvz-frame")
    nb.settle()
    picture = frame.locator("img").first
    expect(picture).to_be_visible()
    nb.page.wait_for_function("node => node.complete && node.naturalWidth", arg=picture.element_handle())
    box = frame.bounding_box()
    assert box["width"] < 232
    assert abs(box["width"] / box["height"] - 2) < 0.02
    frame.hover(position={"x": box["width"] * 0.7525, "y": box["height"] * 0.905})
    nb.kernel.wait_for("stage.pointer == (90, 150)")
    nb.screenshot("narrow")
