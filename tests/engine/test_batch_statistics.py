"""Networks that normalize by their batch: a picture goes as it would alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attacks import checked_plan, gradient_step, push
from cnnviz_widgets.engine.batch_statistics import together
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.deepfool import deepfool
from cnnviz_widgets.engine.norm_balls import network_numbers
from tests.untouched import untouched


def network() -> cv.Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Softplus(),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    return cv.Network(module, input=cv.InputSpec(size=6, channels=3, mean=0.5, std=0.25))


PIXELS = torch.rand(3, 3, 6, 6, generator=torch.Generator().manual_seed(1))
PHOTOS = [(each.permute(1, 2, 0).numpy() * 255).astype(np.uint8) for each in PIXELS]


def end_of(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_pictures_of_one_batch_are_maximized_as_each_alone() -> None:
    net = network()
    targets = [cv.Target(1), cv.Target(layer="1", channel=2, position=(1, 1)), 3]
    with untouched(net.module):
        found = cv.maximize(net, targets, start=PHOTOS, steps=3, transforms=[])
    for index, target in enumerate(targets):
        alone = cv.maximize(net, target, start=PHOTOS[index], steps=3, transforms=[])
        np.testing.assert_allclose(found.inputs[index], alone.inputs[0], atol=1e-5)
        np.testing.assert_allclose(found.values[index], alone.values[0], rtol=1e-4)


def test_copies_are_inverted_as_one_alone() -> None:
    net = network()
    found = cv.invert(net, PHOTOS[0], "2", start=PHOTOS[1:], copies=2, steps=3)
    alone = cv.invert(net, PHOTOS[0], "2", start=PHOTOS[1], steps=3)
    np.testing.assert_allclose(found.inputs[0], alone.inputs[0], atol=1e-5)
    np.testing.assert_allclose(found.errors[0], alone.errors[0], rtol=1e-4)


def test_pictures_of_one_batch_are_attacked_as_each_alone() -> None:
    net, classes = network(), torch.tensor([0, 1, 2])
    plan = checked_plan("ifgsm", 0.1, "2", steps=2)
    pushed = end_of(push(net, PIXELS, PIXELS, classes, plan)).pixels
    steps = gradient_step(net, PIXELS, classes, "2")
    answers = class_probabilities(net, network_numbers(net, PIXELS))
    for index in range(3):
        one, own = PIXELS[index : index + 1], classes[index : index + 1]
        x = network_numbers(net, one).requires_grad_()
        scores = net.module(x)
        torch.testing.assert_close(answers[index], scores.detach().softmax(1)[0])
        (slope,) = torch.autograd.grad(nn.functional.cross_entropy(scores, own), x)
        torch.testing.assert_close(steps[index], (slope / slope.norm())[0], atol=1e-5, rtol=1e-4)
        alone = end_of(push(net, one, one, own, plan)).pixels
        torch.testing.assert_close(pushed[index], alone[0], atol=1e-6, rtol=1e-5)


def test_deepfool_follows_the_gradients_of_the_picture_alone() -> None:
    net = network()
    one = PIXELS[:1]
    x = network_numbers(net, one).requires_grad_()
    scores = net.module(x)[0]
    current = int(scores.argmax())
    slopes = [torch.autograd.grad(each, x, retain_graph=True)[0] / 0.25 for each in scores]
    away = [
        float((scores[current] - scores[other]).detach() / (slopes[other] - slopes[current]).norm())
        if other != current
        else np.inf
        for other in range(5)
    ]
    found = end_of(deepfool(net, one, one, current, checked_plan("deepfool", None, "2", steps=1)))
    assert float(found.curves["distance"][0, 0]) == pytest.approx(min(away), rel=1e-4)


def test_nests_are_put_together() -> None:
    parts: list[dict[str, Any]] = [
        {"a": [torch.full((1, 2), float(k)), torch.tensor(k)], "b": k} for k in (3, 4)
    ]
    found = together(parts)
    assert found["b"] == 3
    assert found["a"][0].tolist() == [[3.0, 3.0], [4.0, 4.0]]
    assert isinstance(found["a"][1], Tensor)
    assert int(found["a"][1]) == 3
