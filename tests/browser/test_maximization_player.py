"""The maximization player as a person uses it: watched, paused, changed, branched, downloaded, found again."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

SOURCE = """
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
player = cv.MaximizationPlayer(net, cv.Target(layer="features.3", channel=5), size=64, steps=5000)
player
"""
# The pixels of a picture on the page: of this size they are sent without loss.
PIXELS = """canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return [canvas.height, canvas.width, ...data];
}"""

# What could be scrolled sideways, with a bar where the browser draws them: nothing should.
SCROLLABLE = """output => [...output.querySelectorAll("*")].filter(
    each => each.scrollWidth > each.clientWidth && /auto|scroll/.test(getComputedStyle(each).overflowX)
        && each.clientWidth > 0
).map(each => each.className)"""


class Shown:
    """The player in the output of the first cell."""

    def __init__(self, nb):
        self.nb = nb
        self.output = nb.output(0)
        self.pictures = self.output.locator(".cvz-player figure")
        self.slider = self.output.locator(".cvz-player").get_by_role("slider")

    def press(self, name):
        self.output.get_by_role("button", name=name, exact=True).click()

    def step(self):
        self.nb.next_frame()
        return int(self.pictures.first.get_attribute("data-step"))

    def wait_for_step_after(self, step):
        self.nb.page.wait_for_function(
            "([figure, step]) => Number(figure.dataset.step) > step",
            arg=[self.pictures.first.element_handle(), step],
        )

    def pixels(self, picture=0):
        height, width, *values = self.pictures.nth(picture).locator("canvas").evaluate(PIXELS)
        return np.array(values, np.uint8).reshape(height, width, 4)[:, :, :3]

    def check_picture(self, step, run, picture=0):
        """On the screen is the picture that Python has kept of that step."""
        expect(self.pictures.nth(picture)).to_have_attribute("data-step", str(step))
        kept = self.nb.kernel.value(f"player.view.frame({run}, {step}).image.tolist()")
        np.testing.assert_array_equal(self.pixels(picture), kept)


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_watches_a_channel_s_picture_grow_and_goes_other_ways(open_notebook):
    nb = open_notebook([SOURCE], viewport={"width": 1280, "height": 1000})
    nb.run_all()
    widget, kernel = Shown(nb), nb.kernel
    expect(widget.output).to_contain_text("Press Start")
    nb.screenshot("ready")
    widget.press("Start")
    expect(widget.pictures.first).not_to_have_attribute("data-step", "-1")
    early, step = widget.pixels(), widget.step()
    widget.wait_for_step_after(step + 15)
    assert np.abs(widget.pixels().astype(int) - early).mean() > 1
    nb.screenshot("running")

    # Paused, with another rate: Resume goes on from this picture, as another run.
    widget.press("Pause")
    kernel.wait_for("player.state == 'paused'")
    nb.settle()
    paused = kernel.value("player.view.frame(1, -1).step")
    widget.check_picture(paused, 1)
    assert widget.output.evaluate(SCROLLABLE) == []
    rate = widget.output.get_by_label("Rate")
    rate.fill("0.2")
    rate.press("Enter")
    expect(widget.output).to_contain_text("Resume begins a new run from this picture: rate 0.2")
    nb.screenshot("changed")
    widget.press("Resume")
    kernel.wait_for("player.view.run == 2")
    assert kernel.value("player.results[1].steps") == paused
    assert kernel.value("(player.params['rate'], player.params['steps'])") == [0.2, 5000 - paused]
    widget.press("Stop")
    kernel.wait_for("player.state == 'stopped'")

    # Back to where it began, and on from there, to the end: what Python gets is the call's result.
    widget.slider.focus()
    widget.slider.press("Home")
    widget.check_picture(paused, 2)
    steps = widget.output.get_by_label("Steps")
    steps.fill(str(paused + 20))
    steps.press("Enter")
    kernel.wait_for(f"player.options['steps'] == {paused + 20}")
    widget.press("Branch from here")
    kernel.wait_for("player.state == 'done' and player.view.run == 3")
    assert kernel.value("player.result == cv.maximize(net, **player.params)")
    assert kernel.value("player.result.steps") == 20
    widget.check_picture(paused + 20, 3)
    widget.output.get_by_label("Compare with").select_option("run 1")
    widget.check_picture(kernel.value(f"player.view.frame(1, {paused + 20}).step"), 1, picture=1)
    expect(widget.output.locator(".cvz-line-legend")).to_contain_text("target, run 1")
    nb.screenshot("comparing")
    widget.output.locator(".cvz-player summary").click()
    with nb.page.expect_download() as download:
        widget.press("PNG")
    assert download.value.suggested_filename == "maximize-run-3.png"
    file = np.asarray(Image.open(io.BytesIO(download.value.path().read_bytes())))
    np.testing.assert_array_equal(file, kernel.value("player.result.images[0].tolist()"))

    # A grid of channels; in the middle of the run the page is loaded anew, and finds it again.
    widget.output.get_by_role("button", name="several channels").click()
    kernel.wait_for("len(player.options['target']) == 6")
    kernel.run("player.set(steps=5000)")
    widget.press("Start")
    kernel.wait_for("player.view.run == 4")
    nb.save()
    nb.reload()
    widget = Shown(nb)
    expect(widget.pictures.first).not_to_have_attribute("data-step", "-1")
    widget.wait_for_step_after(widget.step())
    assert kernel.value("(player.state, player.view.run)") == ["running", 4]
    widget.press("Pause")
    kernel.wait_for("player.state == 'paused'")
    step = kernel.value("player.view.frame(4, -1).step")
    expect(widget.pictures.first).to_have_attribute("data-step", str(step))
    widget.press("Resume")
    widget.wait_for_step_after(step)
    expect(widget.output).to_contain_text("features.3, channels 0-5")
    nb.screenshot("grid")
    widget.press("Stop")
    kernel.wait_for("player.state == 'stopped' and len(player.result.images) == 6")

    # What the method refuses is said at once, and not chosen.
    rate = widget.output.get_by_label("Rate")
    rate.fill("-1")
    rate.press("Enter")
    expect(widget.output.get_by_role("alert")).to_contain_text("rate must be a number above 0, got -1.0")
    expect(rate).to_have_value("0.2")
    assert kernel.value("(player.options['rate'], player.view.runs)") == [0.2, [1, 2, 3, 4]]
    nb.screenshot("error")
    nb.set_theme("dark")
    nb.screenshot("dark")
    nb.page.set_viewport_size({"width": 640, "height": 1400})
    expect(widget.output.get_by_role("button", name="Start", exact=True)).to_be_in_viewport()
    nb.screenshot("narrow")
