"""Backward rules of rectifiers against the derivative that a slow difference gives, and the rules as written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import cnnviz_widgets as cv
from cnnviz_widgets.engine.input_gradients import input_gradients
from cnnviz_widgets.engine.relu_rules import ruled
from cnnviz_widgets.engine.targets import Target
from tests.engine.test_rectifiers import CALLS, NO_RECTIFIERS
from tests.small_networks import Function, images, small

X = torch.tensor([-9.0, -2.3, -0.7, 0.3, 0.8, 2.1, 7.4])
G = torch.tensor([1.5, -0.5, 2.0, -1.0, 0.25, 3.0, 0.5])


def sent_back(rectify: Callable[[Tensor], Tensor], rule: str) -> tuple[Tensor, int]:
    x = X.double().clone().requires_grad_()
    with ruled(rule) as calls:
        (rectify(x * 1.0) * G.double()).sum().backward()
    return x.grad, calls.changed


@pytest.mark.parametrize("way", CALLS)
def test_every_spelling_obeys(way: str) -> None:
    _, rectify = CALLS[way]
    step = 1e-6
    x = X.double()
    slope = (rectify(x + step) - rectify(x - step)) / (2 * step)
    expected = {
        "plain": slope * G,
        "guided": (slope * G).clamp(min=0),
        "deconvnet": G.double().clamp(min=0),
    }
    for rule, gradient in expected.items():
        found, changed = sent_back(rectify, rule)
        torch.testing.assert_close(found, gradient.double(), rtol=1e-6, atol=1e-6)
        assert changed == (rule != "plain")


@pytest.mark.parametrize("way", NO_RECTIFIERS)
def test_other_functions_keep_their_derivative(way: str) -> None:
    plain, _ = sent_back(NO_RECTIFIERS[way], "plain")
    for rule in ("guided", "deconvnet"):
        found, changed = sent_back(NO_RECTIFIERS[way], rule)
        assert torch.equal(found, plain)
        assert changed == 0


def test_values_going_up_are_the_same() -> None:
    for module in (
        nn.ReLU6(True),
        nn.PReLU(),
        nn.GELU(),
        nn.RReLU().eval(),
        nn.Hardswish(True),
        nn.Threshold(0.5, 0),
    ):
        expected = module(X.clone()).detach()
        for rule in ("guided", "deconvnet"):
            with ruled(rule):
                assert torch.equal(module(X.clone().requires_grad_() * 1.0), expected)


def test_calls_count_where_gradients_come_back() -> None:
    def forward(module: object, x: Tensor) -> Tensor:
        unused = functional.relu(x - 1)
        assert unused.shape == x.shape
        with torch.no_grad():
            mask = functional.relu(x)
        return (x.relu() * mask).relu_().sum((2, 3))

    net = small(Function(forward))
    found = input_gradients(net, images(), Target(0), "guided")
    assert found.rectifiers == 2


def test_modules_that_checkpoint_run_again_with_the_rule_and_in_evaluation_mode() -> None:
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU())

    def through_checkpoint(module: Function, x: Tensor) -> Tensor:
        return checkpoint(module.part, x, use_reentrant=False).sum((2, 3))

    def direct(module: Function, x: Tensor) -> Tensor:
        return module.part(x).sum((2, 3))

    for rule in ("guided", "deconvnet"):
        found, expected = (
            input_gradients(small(Function(forward, part=part).train()), images(), Target(1), rule)
            for forward in (through_checkpoint, direct)
        )
        torch.testing.assert_close(found.gradients, expected.gradients)
        assert found.rectifiers == expected.rectifiers == 2
        assert part.training


def test_a_capture_that_is_open_sees_nothing_of_it() -> None:
    net = small(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten()))
    with cv.capture(net, ["1"], stop=False) as seen:
        net(images())
        before = seen["1"].clone()
        input_gradients(net, images() * 2, Target(0), "guided")
        assert torch.equal(seen["1"], before)


def test_what_is_no_rule() -> None:
    with pytest.raises(ValueError, match="'plain', 'guided' or 'deconvnet', got 'relu'"), ruled("relu"):
        pass
