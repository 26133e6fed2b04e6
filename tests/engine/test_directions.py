"""Caricatures: of maps wherever a layer has its channels, and of what there is something of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.errors import InputError, OutputError, TargetError
from tests.small_networks import Function, images, small

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.mark.parametrize("channels", [5, 8])
def test_channels_at_the_end_are_channels(channels: int) -> None:
    """Also where there are as many rows and columns, so that nothing else would tell."""
    torch.manual_seed(0)
    net = small(
        Function(
            lambda module, x: module.last(module.first(x).permute(0, 2, 3, 1)).mean((1, 2)),
            first=nn.Conv2d(3, channels, 3, padding=1),
            last=nn.Linear(channels, channels),
        )
    )
    x = images(2)
    with torch.no_grad():
        own, reference = (
            net.module.last(net.module.first(each).permute(0, 2, 3, 1)) for each in (x, net.prepare(IMAGE))
        )
    along = (own * reference).sum(3)
    alike = along / (own.norm(dim=3) * reference.norm(dim=3))
    expected = (along * alike.clamp(min=0.1)).mean((1, 2))
    bound = cv.Caricature("last", IMAGE).bound(net, (8, 8))
    np.testing.assert_allclose(judged(net, bound, x), expected, rtol=1e-4)
    assert cv.maximize(net, cv.Caricature("last", IMAGE), steps=2, size=8).values.shape == (1,)


def test_there_must_be_something_to_exaggerate() -> None:
    dead = nn.Conv2d(3, 2, 3)
    bias = torch.full((2,), -1.0)
    dead.weight, dead.bias = nn.Parameter(torch.zeros(2, 3, 3, 3)), nn.Parameter(bias)
    net = small(nn.Sequential(dead, nn.ReLU()))
    with pytest.raises(TargetError, match=r"Caricature\('1'\): .*nothing but zeros for the image"):
        cv.Caricature("1", IMAGE).bound(net, (8, 8))
    bias.fill_(torch.nan)
    with pytest.raises(OutputError, match=r"Caricature\('0'\): .*NaN or infinity"):
        cv.Caricature("0", IMAGE).bound(net, (8, 8))
    with pytest.raises(InputError, match="of one image, got 2"):
        cv.Caricature("0", [IMAGE, IMAGE]).bound(net, (8, 8))
