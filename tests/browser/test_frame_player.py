"""The frame player as a person uses it: a run streams, is paused, scrubbed, compared, and found again."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from tests.browser._jupyter import SAVE_STATE_COMMAND

# A run without a network: the picture's left half tells the step, its right half the run.
SETUP = """
import threading, time
import numpy as np
from cnnviz_widgets.views.frame_player import FramePlayer
player = FramePlayer()
go, acts = threading.Event(), []

def picture(run, step):
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, :64] = (step % 250, 60, 120)
    image[:, 64:] = (40, 90 * run % 256, 30)
    return image

def work(number, first, total):
    step = first
    while step < total and number == player.runs[-1]:
        if not go.is_set():
            player.finish("paused", picture(number, step))
            go.wait()
            continue
        step += 1
        player.show(step, {"loss": 100 / step, "variation": step * 0.001}, lambda: picture(number, step))
        time.sleep(0.01)
    if step == total:
        player.finish("done", picture(number, step))

def begin(total, first=0, parent=None):
    number = player.begin(total=total, first=first, parent=parent, text="layer <b>features.5</b>")
    go.set()
    threading.Thread(target=work, args=(number, first, total), daemon=True).start()

def slowly(change):
    time.sleep(0.5)

@player.on_act
def act(name, details):
    acts.append((name, details))
    if name == "start":
        begin(6000)
    elif name == "pause":
        go.clear()
    elif name == "resume":
        player.state = "running"
        go.set()
    elif name == "branch":
        begin(details["step"] + 60, details["step"], details["run"])
    elif name == "export":
        player.offer("frame.png", b"the file", "image/png", page=details["page"])
player
"""


class Shown:
    """The player in the output of the first cell."""

    def __init__(self, nb):
        self.nb = nb
        self.root = nb.output(0).locator(".cvz-player")
        self.pictures = self.root.locator("figure")
        self.slider = self.root.get_by_role("slider")

    def button(self, name):
        return self.root.get_by_role("button", name=name)

    def depth(self, name):
        """How far below the widget's top a button is."""
        return self.button(name).bounding_box()["y"] - self.root.bounding_box()["y"]

    def step(self, picture=0):
        """The step whose picture is painted."""
        self.nb.next_frame()
        return int(self.pictures.nth(picture).get_attribute("data-step"))

    def wait_for_step(self, step, picture=0):
        expect(self.pictures.nth(picture)).to_have_attribute("data-step", str(step))

    def check_colors(self, step, run, picture=0):
        """The pixels on the screen are those of that step of that run."""
        box = self.pictures.nth(picture).locator("canvas").bounding_box()
        y = box["y"] + box["height"] / 2
        left = self.nb.color(box["x"] + box["width"] / 4, y)
        right = self.nb.color(box["x"] + 3 * box["width"] / 4, y)
        assert left == pytest.approx((step % 250, 60, 120), abs=4)
        assert right == pytest.approx((40, 90 * run % 256, 30), abs=4)


# True once the picture has changed so many times within a second.
STREAMS = """([figure, least]) => {
    if (!window.changes) {
        window.changes = [];
        new MutationObserver(() => window.changes.push(performance.now()))
            .observe(figure, { attributes: true, attributeFilter: ["data-step"] });
    }
    const times = window.changes;
    return times.some((time, index) => times[index + least]  - time <= 1000);
}"""
HIDE = """hidden => {
    if (hidden) Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
    else delete document.hidden;
    document.dispatchEvent(new Event("visibilitychange"));
}"""
SENT = "player._link.gate._serial"


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_run_streams_is_scrubbed_branched_and_found_again(open_notebook, tmp_path):
    nb = open_notebook([SETUP])
    nb.run_all()
    widget = Shown(nb)
    expect(widget.root).to_contain_text("Press Start")
    nb.screenshot("empty")
    widget.button("Start").click()

    # Ten frames a second and more, none of them out of its place; beside other tests it may take a while until then.
    nb.page.wait_for_function(STREAMS, arg=[widget.pictures.first.element_handle(), 10], timeout=50_000)
    expect(widget.root).to_contain_text("steps a second")
    depth = widget.depth("Pause")
    nb.screenshot("running")

    # A hidden page costs no live frames, and gets them again.
    nb.page.evaluate(HIDE, True)
    nb.kernel.wait_for("not player._link.gate._painted")
    sent, step = nb.kernel.value(SENT), nb.kernel.value("player._current.latest")
    nb.kernel.wait_for(f"player._current.latest > {step} + 50")
    assert nb.kernel.value(SENT) == sent
    nb.page.evaluate(HIDE, False)
    nb.kernel.wait_for(f"{SENT} > {sent} + 2")

    # With the kernel busy the page goes back alone, while the run goes on.
    stop = tmp_path / "stop"
    busy = nb.kernel.start(
        f"import pathlib\nwhile not pathlib.Path({str(stop)!r}).exists(): time.sleep(0.02)"
    )
    widget.slider.focus()
    widget.slider.press("Home")
    widget.wait_for_step(1)
    widget.check_colors(1, 1)
    widget.slider.press("ArrowRight")
    widget.wait_for_step(94)
    widget.check_colors(94, 1)
    stop.touch()
    nb.kernel.finish(busy)
    nb.kernel.wait_for("player.step == 94")

    # The page is reloaded in the middle, finds the run where it was, and streams again.
    nb.save()
    nb.reload()
    widget = Shown(nb)
    widget.wait_for_step(94)
    widget.button("Latest").click()
    sent = nb.kernel.value(SENT)
    nb.kernel.wait_for(f"{SENT} > {sent} + 2")
    assert widget.step() > 94
    widget.button("Pause").click()
    nb.kernel.wait_for("player.state == 'paused'")
    nb.settle()
    paused = nb.kernel.value("player._current.latest")
    assert widget.step() == paused
    widget.check_colors(paused, 1)
    assert widget.depth("Resume") == pytest.approx(depth, abs=0.5)

    # From an earlier frame another run, which is compared with the first. Where the kernel is slow, the page tells of
    # the slider's last step only after the branch has begun.
    nb.kernel.value("player.observe(slowly, 'step')")
    widget.slider.focus()
    widget.slider.press("Home")
    widget.slider.press("ArrowRight")
    widget.button("Branch from here").click()
    nb.kernel.wait_for("player.state == 'done'")
    nb.settle()
    nb.kernel.wait_for("player.step == -1")
    nb.kernel.value("player.unobserve(slowly, 'step')")
    name, details = nb.kernel.value("acts[-1]")
    assert (name, details["run"], details["step"]) == ("branch", 1, 94)
    expect(widget.root).to_contain_text("from run 1 at step 94")
    widget.wait_for_step(154)
    widget.check_colors(154, 2)
    widget.root.get_by_label("Compare with").select_option("run 1")
    nearest = nb.kernel.value("player.frame(1, 154).step")
    widget.wait_for_step(nearest, 1)
    widget.check_colors(nearest, 1, 1)
    nb.screenshot("comparing")
    widget.root.locator("summary").click()
    with nb.page.expect_download() as download:
        widget.button("PNG").click()
    assert download.value.suggested_filename == "frame.png"
    assert download.value.path().read_bytes() == b"the file"

    # The saved notebook scrubs and compares without a kernel. (Saved before, the reload might have found it there.)
    nb.command(SAVE_STATE_COMMAND)
    nb.save()
    nb.command(SAVE_STATE_COMMAND)
    state = nb.stored()["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert 10_000 < len(json.dumps(state)) < 4_000_000
    nb.reopen_without_kernel()
    widget = Shown(nb)
    widget.wait_for_step(154)
    widget.slider.focus()
    widget.slider.press("Home")
    widget.wait_for_step(94)
    widget.wait_for_step(94, 1)
    widget.check_colors(94, 1)  # the branch begins with the picture it was branched from
    widget.check_colors(94, 1, 1)
    expect(widget.button("Branch from here")).to_be_disabled()
    expect(widget.button("Start")).to_be_disabled()
    nb.screenshot("without-kernel")
