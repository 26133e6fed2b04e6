"""Training with a recorder attached, against the same training without."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from statistics import median

import torch
from torch.nn import functional

import cnnviz_widgets as cv
from benchmarks._page import open_page
from benchmarks._timing import Row, pairs, races, timed

STEPS, BATCH = 300, 50
LIVE_STEPS = 2000  # under a minute on two cores


def recorder() -> Row:
    """The lesson's training of fashion_cnn, recorded with the default settings and 16 images."""
    images, labels = cv.samples.fashion_mnist("train")
    x = cv.samples.fashion_input().prepare(images)
    y = torch.from_numpy(labels)
    attached: list[float] = []

    def train(*, recorded: bool) -> Iterator[None]:
        module = cv.samples.fashion_cnn_module().train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
        watching = None
        if recorded:
            start = time.perf_counter()
            net = cv.Network(module, input=cv.samples.fashion_input())
            watching = cv.TrainingRecorder(net, optimizer, images=images[:16])
            attached.append(time.perf_counter() - start)
        for step in range(STEPS):
            first = step * BATCH % len(x)
            some = slice(first, first + BATCH)
            loss = functional.cross_entropy(module(x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()
            if watching is not None:
                watching.note_loss(loss)
            optimizer.step()
            if step % 10 == 9:
                yield
        if watching is not None:
            watching.close()
            if len(watching.history) != STEPS // 50 + 1:
                raise RuntimeError(f"not all was recorded: {watching.history}")

    times = races(partial(train, recorded=True), partial(train, recorded=False), rounds=9)
    once = median(attached[1:])  # the first one of a process loads modules
    note = (
        f"default settings, 16 images; {STEPS} steps of {BATCH} images, attaching included, which takes "
        f"{once * 1000:.0f} ms once; both trainings go on in turn, 10 steps of each"
    )
    return Row("training of fashion_cnn with a recorder", "without", *times, target=0.97, note=note)


# A page that holds the timeline of a training to come, as the lesson has it: shown first, then trained.
CELLS = f"""
import time
import ipywidgets, torch, cnnviz_widgets as cv
images, labels = cv.samples.fashion_mnist("train")
x, y = cv.samples.fashion_input().prepare(images), torch.from_numpy(labels)
box = ipywidgets.VBox()
module = optimizer = recorder = timeline = None

def show(timeline_there, shown):
    global module, optimizer, recorder, timeline
    module = cv.samples.fashion_cnn_module().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    net = cv.Network(module, input=cv.samples.fashion_input())
    recorder = cv.TrainingRecorder(net, optimizer, images=images[:16], every=10)
    timeline = cv.TrainingTimeline(recorder) if timeline_there else None
    box.children = [timeline] if shown else []

def train():
    start = time.perf_counter()
    for step in range({LIVE_STEPS}):
        first = step * {BATCH} % len(x)
        some = slice(first, first + {BATCH})
        loss = torch.nn.functional.cross_entropy(module(x[some]), y[some])
        optimizer.zero_grad()
        loss.backward()
        recorder.note_loss(loss)
        optimizer.step()
    taken = time.perf_counter() - start
    drawn = None if timeline is None else len(timeline.history)
    recorder.close()
    if timeline is not None:
        if len(recorder.history) != {LIVE_STEPS} // 10 + 1 or drawn < 2:
            raise RuntimeError("not all was recorded, or nothing was drawn meanwhile")
        timeline.wait(60)
        timeline.close()
    return taken

box
"""


def live_timeline(*, shown: bool) -> Row:
    """The lesson's training of fashion_cnn, recorded, with a live timeline and without."""
    with open_page(CELLS) as page:

        def run(there: bool) -> float:
            page.kernel.value(f"show({there}, {there and shown})", timeout=60)
            page.settle()
            seconds: float = page.kernel.value("train()", timeout=300)
            page.settle()
            return seconds

        times = pairs(lambda: run(True), lambda: run(False), rounds=3)
    if shown:
        what, note = "recorded training of fashion_cnn watched live", "the browser on the same two cores; "
    else:
        what = "recorded training of fashion_cnn with a live timeline that the page does not show"
        note = "what the kernel pays: drawing and sending; "
    note += f"{LIVE_STEPS} steps; 0.97x is what is taken for not measurable"
    return Row(what, "without a timeline", *times, target=0.97, note=note)


def statistics() -> Row:
    """Dead units, zeros, means, deviations and histograms of all rectifiers over 1,000 images."""
    images, _ = cv.samples.fashion_mnist("test")
    net = cv.samples.fashion_cnn()

    def bare() -> None:
        for start in range(0, len(images), 64):
            net(net.prepare(images[start : start + 64]))

    times = pairs(timed(lambda: cv.activation_statistics(net, images)), timed(bare), rounds=9)
    return Row("activation statistics of 1,000 images", "only running them", *times, target=0.4)


ROWS = {
    "training-recorder": recorder,
    "live-timeline": partial(live_timeline, shown=True),
    "live-timeline-kernel": partial(live_timeline, shown=False),
    "activation-statistics": statistics,
}
