"""What is added up of numbers in half precision: sums beyond 65,504, the largest of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.dreaming import Excitation, Likeness
from cnnviz_widgets.engine.objectives import Objective, Seen
from cnnviz_widgets.engine.parameterizations import Pixels
from cnnviz_widgets.engine.regularizers import AlphaNorm, TotalVariation

SPEC = cv.InputSpec(size=64, channels=3, mean=0.5, std=0.5)


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Excitation("0"), 0.5 * 400**2),
        (Likeness("0", torch.full((1, 2, 1, 1), 400.0).half()), 2 * 400**2 / 2),
        # Pixels of 1 and -1 in turns.
        (AlphaNorm(8.0, alpha=2), 8 * 3 * 64 * 64),
        (TotalVariation(8.0), 8 * 3 * (2**2 * 64 * 63)),
    ],
)
def test_sums_are_those_of_larger_numbers(objective: Objective, expected: float) -> None:
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 1)).half(), input=SPEC)
    stripes = torch.ones(1, 3, 64, 64).half() * 2
    stripes[..., ::2] *= -1
    found = objective.values(Seen(net, stripes, {"0": torch.full((1, 2, 4, 4), 400.0).half()}))
    assert found.tolist() == [expected]


def test_pixels_are_kept_exactly_and_shown_as_the_network_takes_them() -> None:
    image = Pixels(SPEC, torch.zeros(1, 3, 4, 4).half())
    image.leaf += 1e-9
    assert image.leaf.dtype == torch.float32
    assert image.leaf.min() > 0
    assert image.picture(image.leaf).dtype == torch.float16
    assert Pixels(SPEC, torch.zeros(1, 3, 4, 4).double()).leaf.dtype == torch.float64
