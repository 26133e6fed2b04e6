"""Training with a recorder attached, against the same training without."""

from __future__ import annotations

import torch
from torch.nn import functional

import cnnviz_widgets as cv
from benchmarks._page import open_page
from benchmarks._timing import Row, pairs, timed

BATCH = 25
STEPS = 200  # one pass over the 5,000 images


def recorder() -> Row:
    """A pass of fashion_cnn over its images, recorded with the default settings and 16 images."""
    images, labels = cv.samples.fashion_mnist("train")
    x = cv.samples.fashion_input().prepare(images)
    y = torch.from_numpy(labels)

    def train(*, recorded: bool) -> None:
        module = cv.samples.fashion_cnn_module().train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
        watching = None
        if recorded:
            net = cv.Network(module, input=cv.samples.fashion_input())
            watching = cv.TrainingRecorder(net, optimizer, images=images[:16])
        for step in range(STEPS):
            some = slice(step * BATCH, (step + 1) * BATCH)
            loss = functional.cross_entropy(module(x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()
            if watching is not None:
                watching.note_loss(loss)
            optimizer.step()
        if watching is not None:
            watching.close()
            if len(watching.history) != STEPS // 50 + 1:
                raise RuntimeError(f"not all was recorded: {watching.history}")

    times = pairs(timed(lambda: train(recorded=True)), timed(lambda: train(recorded=False)), rounds=7)
    note = "default settings, 16 images; one pass over the training images, the attaching included"
    return Row("training of fashion_cnn with a recorder", "without", *times, target=0.97, note=note)


# A page that holds the timeline of each run while it lasts.
CELLS = """
import time
import ipywidgets, torch, cnnviz_widgets as cv
images, labels = cv.samples.fashion_mnist("train")
x, y = cv.samples.fashion_input().prepare(images), torch.from_numpy(labels)
box = ipywidgets.VBox()

def train(watched):
    module = cv.samples.fashion_cnn_module().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    net = cv.Network(module, input=cv.samples.fashion_input())
    with cv.TrainingRecorder(net, optimizer, images=images[:16], every=20) as recorder:
        timeline = cv.TrainingTimeline(recorder) if watched else None
        box.children = [timeline] if watched else []
        start = time.perf_counter()
        for step in range(400):
            some = slice(step % 200 * 25, step % 200 * 25 + 25)
            loss = torch.nn.functional.cross_entropy(module(x[some]), y[some])
            optimizer.zero_grad()
            loss.backward()
            recorder.note_loss(loss)
            optimizer.step()
        taken = time.perf_counter() - start
    if timeline is not None:
        if len(recorder.history) != 21:
            raise RuntimeError("not all was recorded")
        timeline.wait(60)
        timeline.close()
    return taken

box
"""


def live_timeline() -> Row:
    """Two passes of fashion_cnn over its images, recorded, while a page shows them, and while none does."""
    with open_page(CELLS) as page:

        def run(watched: bool) -> float:
            seconds: float = page.kernel.value(f"train({watched})", timeout=300)
            return seconds

        times = pairs(lambda: run(True), lambda: run(False), rounds=7)
    note = (
        "in a notebook's kernel, the browser on the same two cores; 0.97x is what is taken for not measurable"
    )
    return Row("recorded training of fashion_cnn watched live", "not watched", *times, target=0.97, note=note)


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
    "live-timeline": live_timeline,
    "activation-statistics": statistics,
}
