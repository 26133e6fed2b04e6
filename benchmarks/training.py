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
from benchmarks._timing import Row, pairs, races, timed, timed_parts

STEPS, BATCH = 300, 50
LIVE_STEPS, LIVE_PART = 2000, 500  # under a minute on two cores


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

    with_it, without = (timed_parts(partial(train, recorded=each)) for each in (True, False))
    times = races(with_it, without, rounds=9)
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

class Training:
    def __init__(self, watched, shown):
        self.module = cv.samples.fashion_cnn_module().train()
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.02, momentum=0.9)
        net = cv.Network(self.module, input=cv.samples.fashion_input())
        self.recorder = cv.TrainingRecorder(net, self.optimizer, images=images[:16], every=10)
        self.timeline, self.step = None, 0
        if watched:
            self.timeline = cv.TrainingTimeline(self.recorder)
            # The training stands still while the other one goes on: this is not its end, after which all is drawn.
            self.timeline._drawer._settle = 1e9
        if shown:
            box.children = [self.timeline]

    def go_on(self):
        start = time.perf_counter()
        for _ in range({LIVE_PART}):
            first = self.step * {BATCH} % len(x)
            some = slice(first, first + {BATCH})
            loss = torch.nn.functional.cross_entropy(self.module(x[some]), y[some])
            self.optimizer.zero_grad()
            loss.backward()
            self.recorder.note_loss(loss)
            self.optimizer.step()
            self.step += 1
        return time.perf_counter() - start

    def end(self):
        drawn = None if self.timeline is None else len(self.timeline.history)
        self.recorder.close()
        if self.timeline is not None:
            if len(self.recorder.history) != {LIVE_STEPS} // 10 + 1 or drawn < {LIVE_STEPS} // 20:
                raise RuntimeError("not all was recorded, or too little was drawn meanwhile")
            self.timeline.close()

trainings = {{}}
box
"""


def live_timeline(*, shown: bool) -> Row:
    """The lesson's training of fashion_cnn, recorded, with a live timeline and without."""
    with open_page(CELLS) as page:

        def run(watched: bool) -> Iterator[float]:
            page.kernel.value(
                f"trainings.__setitem__({watched}, Training({watched}, {watched and shown}))", timeout=60
            )
            for _ in range(LIVE_STEPS // LIVE_PART):
                page.settle()
                yield page.kernel.value(f"trainings[{watched}].go_on()", timeout=300)
            page.kernel.value(f"trainings[{watched}].end()")
            page.settle()

        times = races(partial(run, True), partial(run, False), rounds=3)
    if shown:
        what, note = "recorded training of fashion_cnn watched live", "the browser on the same two cores; "
    else:
        what = "recorded training of fashion_cnn with a live timeline that the page does not show"
        note = "what the kernel pays: drawing and sending; "
    note += (
        f"{LIVE_STEPS} steps, {LIVE_PART} of each training in turn; 0.97x is what is taken for not measurable"
    )
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
