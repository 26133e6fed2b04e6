"""The training timeline as a person uses it: a training is watched, scrubbed, compared, and found again."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

TRAINING = """
import torch, cnnviz_widgets as cv
module = cv.samples.fashion_cnn_module(seed=0).train()
net = cv.Network(module, input=cv.samples.fashion_input())
images, labels = cv.samples.fashion_mnist("train")
optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
recorder = cv.TrainingRecorder(net, optimizer, every=2, images=images[:6])
torch.manual_seed(0)
inputs, targets = net.prepare(list(images[:640])), torch.from_numpy(labels[:640])

def train(steps):
    for step in range(steps):
        rows = torch.arange(32) + 32 * (step % 20)
        loss = torch.nn.functional.cross_entropy(module(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        recorder.note_loss(loss)
        optimizer.step()

timeline = cv.TrainingTimeline(recorder)
timeline
"""
# The kernel's main thread belongs to the training, as in a cell that trains, until the file is there.
BUSY = """
import pathlib, time
stop = pathlib.Path({!r})
while not stop.exists():
    train(1)
    time.sleep(0.15)
"""
ZEROS = 1  # the chart of zeros: of checkpoints there is no loss
WIDE = {"viewport": {"width": 1300, "height": 1500}}


class Shown:
    """The widget in the output of the first cell."""

    def __init__(self, nb):
        self.nb = nb
        self.root = nb.output(0)
        self.slider = self.root.get_by_role("slider").first
        self.grids = self.root.locator(".cvz-tiles")

    def records(self):
        text = self.slider.get_attribute("aria-valuetext")
        return int(re.search(r"of ([\d,]+)", text)[1].replace(",", ""))

    def wait_records(self, least):
        self.nb.page.wait_for_function(
            """([node, least]) => Number(/of (\\d+)/.exec(node.getAttribute("aria-valuetext"))?.[1]) >= least""",
            arg=[self.slider.element_handle(), least],
        )

    def picture(self, grid=0):
        """The tiles on the screen, after what was asked for is painted."""
        self.nb.next_frame()
        pixels = self.grids.nth(grid).locator("canvas").first.screenshot()
        return np.asarray(Image.open(io.BytesIO(pixels)).convert("RGB"), dtype=int)

    def marker(self, chart=0, index=0):
        """Where the marker stands, as a share of the chart's width between its first and its last step."""
        self.nb.next_frame()
        share = (
            self.root.locator(".bqplot")
            .nth(chart)
            .evaluate(
                """(node, index) => {
                const area = node.querySelector(".plotarea_background").getBoundingClientRect();
                const marks = [...node.querySelectorAll("path.line")].map(each => each.getBoundingClientRect());
                const upright = marks.filter(box => box.width < 3 && box.height > 0.9 * area.height);
                return ((upright[index].left + upright[index].right) / 2 - area.left) / area.width;
            }""",
                index,
            )
        )
        return (share - 0.02) / 0.96


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_training_is_watched_and_scrubbed_while_it_runs_and_found_again(open_notebook, tmp_path):
    nb = open_notebook([TRAINING], **WIDE)
    nb.run_all()
    widget = Shown(nb)
    expect(widget.root).to_contain_text("1 record, step 0, recording")
    start = widget.picture()
    stop = tmp_path / "stop"
    training = nb.kernel.start(BUSY.format(str(stop)))
    # New records come by themselves, and the picture follows the latest.
    widget.wait_records(8)
    nb.page.wait_for_function(
        "node => Number(node.dataset.step) > 10", arg=widget.grids.first.element_handle()
    )
    latest = widget.picture()
    assert latest.shape == start.shape
    assert (np.abs(latest - start).max(axis=2) > 20).mean() > 0.05
    nb.screenshot("live")

    # The slider goes back in the page, though the kernel trains, and stays there while more is recorded.
    widget.slider.focus()
    widget.slider.press("Home")
    expect(widget.grids.first).to_have_attribute("data-step", "0")
    assert widget.marker() == pytest.approx(0, abs=0.01)
    before = widget.records()
    widget.wait_records(before + 5)
    expect(widget.grids.first).to_have_attribute("data-step", "0")
    expect(widget.slider).to_have_value("0")
    nb.screenshot("scrubbed-back")

    # Back to the end: it follows again.
    widget.slider.press("End")
    before = widget.records()
    widget.wait_records(before + 3)
    assert int(widget.slider.input_value()) >= before + 2

    stop.touch()
    nb.kernel.finish(training)
    nb.kernel.run("recorder.close()")
    expect(widget.root).to_contain_text("recording ended")
    steps = nb.kernel.value("recorder.history.steps.tolist()")
    expect(widget.slider).to_have_attribute(
        "aria-valuetext", f"step {steps[-1]}, record {len(steps)} of {len(steps)}"
    )
    assert nb.kernel.value("timeline.step") is None

    # What Python sets shows on the page, and the other way round.
    nb.kernel.run(f"timeline.step = {steps[3]}; timeline.layer = 'relu2'; timeline.image = 2")
    expect(widget.root).to_contain_text("Activations of relu2 for image 2")
    expect(widget.slider).to_have_value("3")
    expect(widget.grids.nth(2)).to_have_attribute("data-step", str(steps[3]))
    assert widget.marker() == pytest.approx((steps[3] - steps[0]) / (steps[-1] - steps[0]), abs=0.01)
    widget.slider.press("ArrowRight")
    nb.kernel.wait_for(f"timeline.step == {steps[4]}")

    # Two steps side by side: the picture of the start, beside one that differs, on one scale.
    widget.root.get_by_label("Compare two steps").check()
    nb.kernel.wait_for(f"timeline.compare == {steps[0]}")
    expect(widget.grids.nth(1)).to_have_attribute("data-step", str(steps[0]))
    assert widget.marker(index=1) == pytest.approx(0, abs=0.01)
    now, then = widget.picture(0), widget.picture(1)
    assert now.shape == then.shape
    assert (np.abs(now - then).max(axis=2) > 20).mean() > 0.02
    widget.root.get_by_role("slider").nth(1).focus()
    nb.page.keyboard.press("End")
    nb.kernel.wait_for(f"timeline.compare == {steps[-1]}")
    expect(widget.grids.nth(1)).to_have_attribute("data-step", str(steps[-1]))
    assert (np.abs(widget.picture(1) - then).max(axis=2) > 20).mean() > 0.02
    nb.screenshot("compare")

    # Closed and opened again, all is found.
    nb.save()
    nb.reopen()
    widget = Shown(nb)
    expect(widget.slider).to_have_value("4")
    expect(widget.root).to_contain_text("Activations of relu2 for image 2")
    expect(widget.root.get_by_label("Compare two steps")).to_be_checked()
    expect(widget.grids.first).to_have_attribute("data-step", str(steps[4]))
    expect(widget.grids.nth(1)).to_have_attribute("data-step", str(steps[-1]))
    widget.slider.press("Home")
    expect(widget.grids.first).to_have_attribute("data-step", str(steps[0]))
    nb.screenshot("reloaded")


# Notes in `names` what the button is called in turn.
WATCH_NAMES = """button => {
    window.names = [];
    const note = () => {
        const name = button.getAttribute("aria-label");
        if (name !== (window.names.at(-1) ?? "Play")) window.names.push(name);
    };
    new MutationObserver(note).observe(button, { attributes: true, attributeFilter: ["aria-label"] });
}"""
CHECKPOINTS = """
import cnnviz_widgets as cv
checkpoints = cv.samples.fashion_cnn_checkpoints()[:6]
timeline = cv.TrainingTimeline(
    cv.history_from_checkpoints(
        cv.samples.fashion_cnn,
        [checkpoint.path for checkpoint in checkpoints],
        steps=[checkpoint.step for checkpoint in checkpoints],
        images=list(cv.samples.fashion_mnist("test")[0][:3]),
    )
)
timeline
"""


@pytest.mark.parametrize("front_end", ["lab"])
def test_the_saved_notebook_scrubs_and_plays_without_a_kernel(open_notebook):
    nb = open_notebook([CHECKPOINTS], save_widget_state=True, **WIDE)
    nb.run_all()
    expect(Shown(nb).slider).to_have_value("5")
    steps = nb.kernel.value("timeline.history.steps.tolist()")
    nb.save()
    nb.reopen_without_kernel()
    widget = Shown(nb)
    end = widget.picture()
    widget.slider.focus()
    widget.slider.press("Home")
    for grid in (0, 2):
        expect(widget.grids.nth(grid)).to_have_attribute("data-step", str(steps[0]))
    assert (np.abs(widget.picture() - end).max(axis=2) > 20).mean() > 0.02
    assert widget.marker(ZEROS) == pytest.approx(0, abs=0.01)
    widget.slider.press("ArrowRight")
    assert widget.marker(ZEROS) == pytest.approx((steps[1] - steps[0]) / (steps[-1] - steps[0]), abs=0.01)
    # Played to the end, where it stops.
    play = widget.root.get_by_role("button", name="Play")
    play.evaluate(WATCH_NAMES)  # it plays for less than a second: too short to be found by asking
    play.click()
    nb.page.wait_for_function("() => window.names.join() === 'Pause,Play'")
    expect(widget.grids.first).to_have_attribute("data-step", str(steps[-1]))
    np.testing.assert_array_equal(widget.picture(), end)
    nb.screenshot("without-kernel")
