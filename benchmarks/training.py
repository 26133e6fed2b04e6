"""Training with a recorder attached, against the same training without."""

from __future__ import annotations

import torch
from torch.nn import functional

import cnnviz_widgets as cv
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


ROWS = {"training-recorder": recorder}
