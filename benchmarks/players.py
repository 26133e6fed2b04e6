"""What it costs a run that it is watched."""

from __future__ import annotations

import time
from functools import partial

from benchmarks._page import open_page
from benchmarks._timing import Row, pairs

LAYER, CHANNEL, STEPS = "features.5", 3, 240
FRAMES_A_SECOND = 10

# Both runs take their steps on a thread of their own, so that the kernel hears the page meanwhile.
CELL = f"""
import threading, time
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
target = cv.Target(layer="{LAYER}", channel={CHANNEL})
player = cv.MaximizationPlayer(net, target, steps={STEPS})
sent, took = [], []
send = player.view.send

def counted(content, *more):
    if content.get("kind") == "live":
        sent.append(content["serial"])
    send(content, *more)

player.view.send = counted

def begin(watched):
    took.clear(), sent.clear()

    def run():
        start = time.perf_counter()
        if watched:
            player.start()
            player.wait()
        else:
            for step in cv.maximize.steps(net, target, steps={STEPS}):
                pass
        took.append(time.perf_counter() - start)

    threading.Thread(target=run).start()

def end(watched):
    if watched:
        player.remove(player.view.runs[-1])

player
"""


def streaming() -> Row:
    """A run of maximization that a page shows, and the same steps with nobody to watch them."""
    rates: list[float] = []
    with open_page(CELL) as page:
        page.output(0).locator(".cvz-player canvas").first.scroll_into_view_if_needed()

        def run(*, watched: bool) -> float:
            page.settle()
            page.kernel.value(f"begin({watched})")
            seconds = None
            while seconds is None:
                time.sleep(0.5)
                seconds = page.kernel.value("took[0] if took else None")
            frames = page.kernel.value("len(sent)")
            page.kernel.value(f"end({watched})")
            if watched:
                # The page gets the next frame when it has painted the last one.
                rates.append(frames / seconds)
            return float(seconds)

        times = pairs(partial(run, watched=True), partial(run, watched=False), rounds=4)
    slowest = min(rates)
    return Row(
        f"maximization of SqueezeNet's {LAYER}, 224 pixels, streaming to a page",
        "the same without",
        *times,
        target=0.95,
        note=f"{STEPS} steps, {slowest:.1f} frames a second or more of the {FRAMES_A_SECOND} asked for; "
        "the browser on the same two cores",
    )


ROWS = {"player-streaming": streaming}
