"""What a curve says of images that an attack could not go on with, or has not finished with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attack_goals import Aim
from cnnviz_widgets.engine.attack_outcome import worth


class Brightness(nn.Module):
    """One score is a function of the mean of the pixels, the other one 0."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x.flatten(1).mean(1))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def network(score: Callable[[Tensor], Tensor]) -> cv.Network:
    return cv.Network(Brightness(score), input=cv.InputSpec(size=2, channels=1))


def gray(*levels: int) -> list[NDArray[np.uint8]]:
    return [np.full((2, 2), level, np.uint8) for level in levels]


class Elsewhere(Tensor):
    """On a device that has no float64, until it is moved to the CPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.double:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        found = super().__torch_function__(func, types, args, kwargs or {})
        return found.as_subclass(Tensor) if func is Tensor.cpu else found


@pytest.mark.parametrize(("reach", "expected"), [(True, [0.25, 2.75]), (False, [1.75, -0.75])])
def test_what_attacks_have_come_to_is_told_of_devices_without_float64(
    reach: bool, expected: list[float]
) -> None:
    said = torch.tensor([[0.75, 0.25], [0.25, 0.75]]).as_subclass(Elsewhere)
    with pytest.raises(TypeError, match="float64"):
        said.double()
    found = worth(said, Aim(np.array([1, 1]), reach))
    assert (found.dtype, found.tolist()) == (np.float64, expected)


@pytest.mark.parametrize("method", ["fgsm", "ifgsm"])
def test_images_without_a_gradient_are_told_from_those_that_can_go_no_further(method: Any) -> None:
    # Black takes no darkening: it stays where it is, though it has a gradient. Above 100 there is none.
    net = network(lambda mean: (mean - 100 / 255).clamp(max=0.0) + 0.5)
    with pytest.warns(UserWarning, match="zero for 1 of 3 images"):
        found = cv.attack_curve(net, gray(0, 60, 200), [0.1], method=method)
    assert found.unmoved.tolist() == [False, False, True]
    assert found.ended == ""


def test_an_attack_that_ends_early_is_said() -> None:
    net = network(lambda mean: (mean - 0.3).sqrt())
    with pytest.warns(UserWarning, match="ended early, .*became NaN or infinite after step 2"):
        found = cv.attack_curve(net, gray(102), [0.2], method="ifgsm", steps=10, quantize=False)
    assert "NaN or infinite after step 2" in found.ended
    assert found.answers.tolist() == [[0]]


def test_a_curve_that_is_stopped_between_restarts_leaves_the_batch_open() -> None:
    # From 128 on class 0 is right. Restarts begin anywhere around the image, and do not move far.
    net = network(lambda mean: mean - 100 / 255)
    steps = cv.attack_curve.steps(
        net, gray(130, 140, 250), [0.0, 0.1], method="pgd", steps=1, restarts=2, batch_size=2
    )
    for _ in range(4):  # both restarts with 0, the first one with 0.1, and a part of the second
        next(steps)
    found = cv.attack_curve.finish(steps)
    assert found.answers.tolist() == [[0, 0, -1], [-1, -1, -1]]
    assert found.accuracy[0] == 1
    assert np.isnan(found.accuracy[1])
