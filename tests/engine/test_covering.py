"""Answers to a covered image, against the network's own answer to an image that was covered by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.covering import Covering, check_target
from tests.small_networks import chain, images, small

DISK = np.hypot(*np.mgrid[-12:16, -9:19]) < 6


@pytest.mark.parametrize(
    ("target", "fill"),
    [
        (cv.Target("Sneaker", of="probability"), 0.0),
        (cv.Target(7), "noise"),
        (cv.Target(layer="conv2", channel=3, position=(4, 5)), "black"),
    ],
)
def test_value_and_probabilities(target: cv.Target, fill: float | str) -> None:
    net = cv.samples.fashion_cnn()
    x = net.prepare(np.asarray(cv.samples.fashion_mnist("test")[0][9]))
    covering = Covering(net, x, target, fill, seed=3)
    covered = torch.where(torch.from_numpy(DISK), covering.instead, x)
    for found, image in ((covering.answer(DISK), covered), (covering.clean, x)):
        assert found.value == pytest.approx(float(target.scores(net, image)[0]), rel=1e-4)
        expected = torch.softmax(net.scores(image), 1)[0].numpy()
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4, atol=1e-6)
    assert abs(covering.clean.value - covering.answer(DISK).value) > 1e-3


def test_a_network_need_not_be_a_classifier() -> None:
    net, x = small(chain()), images(1)
    target = cv.Target(layer="more", channel=2)
    covering = Covering(net, x, target, 0.0)
    mask = np.arange(64).reshape(8, 8) % 3 == 0
    found = covering.answer(mask)
    assert found.probabilities is None
    expected = target.scores(net, torch.where(torch.from_numpy(mask), 0.0, x))
    assert found.value == pytest.approx(float(expected[0]), rel=1e-5)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (cv.Target(layer="more", channel=4), "channels 0 to 3, got 4"),
        (cv.Target(layer="more", channel=3, position=(8, 0)), "8 rows and 8 columns"),
        (cv.Target("dog"), "'dog' not found; did you mean 'dot'"),
        (cv.Target(2), "class 2 does not exist; classes are 0 to 1"),
        (cv.Target(lambda scores: scores), "one number for each image"),
    ],
)
@pytest.mark.parametrize("size", [8, None])
def test_a_target_that_is_not_there(target: cv.Target, text: str, size: int | None) -> None:
    module = chain(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(), head=nn.Linear(4, 2))
    net = cv.Network(module, input=cv.InputSpec(size=size), labels=["cat", "dot"])
    with pytest.raises((ValueError, LookupError), match=text):
        check_target(net, images(1), target, 2)
    check_target(net, images(1), cv.Target("dot"), 2)
    check_target(net, images(1), cv.Target(layer="more", channel=3, position=(7, 7)), 2)
