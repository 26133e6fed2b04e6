"""A recorder beside trainings of other kinds: scaled, in groups, accumulated, with a closure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import RecorderError
from tests.training_loops import OPTIMIZERS, batch, everything, network, pictures, take_step

Note = Callable[[Any], None]
Told = list[tuple[float, float, float]]
"""Of each step its loss, and the norms of the gradient and of the update of the first convolution."""
Loop = Callable[[cv.Network, Callable[[torch.optim.Optimizer], Note]], tuple[torch.optim.Optimizer, Told]]


def length(values: Tensor) -> float:
    return float(np.sqrt((values.detach().numpy().astype(float) ** 2).sum()))


def loss_of(net: cv.Network, step: int) -> Tensor:
    x, y = batch(step)
    return functional.cross_entropy(net.module(x), y)


def scaled(
    make: Callable[[Any], torch.optim.Optimizer], net: cv.Network, watch: Any
) -> tuple[torch.optim.Optimizer, Told]:
    """Train with scaled gradients; of four steps the second and third are skipped."""
    optimizer = make(net.module.parameters())
    note, told, weight = watch(optimizer), [], net.module.conv.weight
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for step in range(4):
        overflow = step in (1, 2)
        loss = loss_of(net, step) * (float("inf") if overflow else 1.0)
        note(loss)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        before, gradient = weight.detach().clone(), length(weight.grad) / scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if not overflow:
            told.append((loss.item(), gradient, length(weight - before)))
    assert scaler.get_scale() == 2.0
    return optimizer, told


def grouped(net: cv.Network, watch: Any) -> tuple[torch.optim.Optimizer, Told]:
    """Train some of the parameters in two groups, and one that is not of this network."""
    stranger = nn.Parameter(torch.ones(()))
    groups = [
        {"params": [net.module.conv.weight, stranger]},
        {"params": net.module.last.parameters(), "lr": 0.5},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    note, told, weight = watch(optimizer), [], net.module.conv.weight
    for step in range(3):
        loss = take_step(net, optimizer, step)
        note(loss)
        before = weight.detach().clone()
        optimizer.step()
        told.append((loss.item(), length(weight.grad), length(weight - before)))
    return optimizer, told


def accumulated(net: cv.Network, watch: Any) -> tuple[torch.optim.Optimizer, Told]:
    """Train on gradients of two batches a step; what is noted last is the loss of both."""
    optimizer = OPTIMIZERS["adam"](net.module.parameters())
    note, told, weight = watch(optimizer), [], net.module.conv.weight
    for step in range(3):
        optimizer.zero_grad()
        total = 0.0
        for part in range(2):
            loss = loss_of(net, 2 * step + part) / 2
            loss.backward()
            total += loss.item()
            note(total)
        before = weight.detach().clone()
        optimizer.step()
        told.append((total, length(weight.grad), length(weight - before)))
    return optimizer, told


def closed(net: cv.Network, watch: Any) -> tuple[torch.optim.Optimizer, Told]:
    """Train with an optimizer that asks for the loss several times a step."""
    optimizer = torch.optim.LBFGS(net.module.parameters(), max_iter=3)
    note, told, weight = watch(optimizer), [], net.module.conv.weight
    asked: list[float] = []

    def closure(step: int) -> Tensor:
        loss = take_step(net, optimizer, step)
        note(loss)
        asked.append(loss.item())
        return loss

    for step in range(3):
        before = weight.detach().clone()
        optimizer.step(partial(closure, step))
        told.append((asked[-1], length(weight.grad), length(weight - before)))
    assert len(asked) > 2 * 3
    return optimizer, told


LOOPS: dict[str, Loop] = {
    "scaled": partial(scaled, OPTIMIZERS["momentum"]),
    "scaled fused": partial(scaled, lambda each: torch.optim.SGD(each, lr=0.1, momentum=0.9, fused=True)),
    "scaled fused adam": partial(scaled, lambda each: torch.optim.Adam(each, lr=0.02, fused=True)),
    "grouped": grouped,
    "accumulated": accumulated,
    "closed": closed,
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_training_of_any_kind_is_recorded_and_not_changed(name: str) -> None:
    net = network()
    optimizer, _ = LOOPS[name](net, lambda optimizer: lambda loss: None)
    alone = everything(net, optimizer)
    net = network()
    recorders = []

    def watch(optimizer: torch.optim.Optimizer) -> Note:
        recorders.append(cv.TrainingRecorder(net, optimizer, every=1, images=pictures()))
        return recorders[0].note_loss

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer, told = LOOPS[name](net, watch)
    assert everything(net, optimizer) == alone
    history = recorders[0].history
    assert history.steps.tolist() == list(range(len(told) + 1))
    found = [history.loss, history.gradient_norms["conv.weight"], history.update_norms["conv.weight"]]
    assert all(np.isnan(each[0]) for each in found)
    np.testing.assert_allclose(np.stack(found, axis=1)[1:], told, rtol=1e-5)
    still = history.update_norms["more.weight"]
    assert np.isnan(still[1:]).all() == (name == "grouped")


def test_a_loss_that_is_noted_after_its_step_is_refused() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=1)
    loss = take_step(net, optimizer, 0)
    optimizer.step()
    with pytest.raises(RecorderError, match=r"before the step that the optimizer has just taken.* closure"):
        recorder.note_loss(loss)
    loss = take_step(net, optimizer, 1)
    recorder.note_loss(loss)
    optimizer.step()
    np.testing.assert_equal(recorder.history.loss, [np.nan, np.nan, loss.item()])


def test_of_a_number_that_is_noted_after_the_first_step_there_is_a_warning() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=1)
    for step in range(3):
        loss = take_step(net, optimizer, step)
        optimizer.step()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            recorder.note_loss(loss.item())
        assert len(caught) == (step == 0)
        assert not caught or "before optimizer.step()" in str(caught[0].message)
        assert not caught or caught[0].filename == __file__


def test_what_is_recorded_between_has_the_loss_of_its_step() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=10)
    for step in range(4):
        take_step(net, optimizer, step)
        recorder.note_loss(float(step))
        if step == 2:
            recorder.record()
        optimizer.step()
    recorder.close()
    assert recorder.history.steps.tolist() == [0, 2, 4]
    np.testing.assert_equal(recorder.history.loss, [np.nan, 1.0, 3.0])
