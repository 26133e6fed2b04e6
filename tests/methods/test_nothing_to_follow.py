"""Pictures that lead nowhere: what the methods do, and what they say of it."""

from __future__ import annotations

import html
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import ZeroGradientError

SPEC = cv.InputSpec(size=8, channels=3, mean=0.5, std=0.25)


def bright() -> cv.Network:
    """A rectifier that only answers to what is nearly white."""
    torch.manual_seed(0)
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), input=SPEC)
    with torch.no_grad():
        net.module[0].weight.abs_()
        net.module[0].bias.copy_(-1.5 * net.module[0].weight.sum((1, 2, 3)))
    return net


def white(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(235, 256, (8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_penalties_do_not_hide_that_nothing_can_be_done(weight: float) -> None:
    net, gray = bright(), np.full((8, 8, 3), 99, np.uint8)
    with pytest.raises(ZeroGradientError, match="feature error"):
        cv.invert(net, white(), "1", steps=5, alpha_norm=weight, total_variation=weight)
    with pytest.raises(ZeroGradientError, match="the losses are not"):
        cv.transfer_style(
            net,
            white(),
            white(1),
            start=gray,
            style_layers="1",
            content_layers="1",
            variation_weight=weight,
            steps=5,
        )
    with torch.no_grad():
        net.module[0].weight.zero_()
    with pytest.raises(ZeroGradientError, match=r"gradient of Target"):
        cv.maximize(net, cv.Target(layer="1", channel=0), steps=5, transforms=[], total_variation=weight)


def test_the_target_that_nothing_led_to_is_named() -> None:
    net = bright()
    with torch.no_grad():
        net.module[0].bias[0] = 0
        net.module[0].weight[1] = 0
    live, dead = (cv.Target(layer="1", channel=channel) for channel in (0, 1))
    with pytest.warns(UserWarning, match=r"nothing led to Target\(layer='1', channel=1\): the gradient"):
        found = cv.maximize(net, [live, dead], steps=4, transforms=[])
    assert found.values[0] > found.values[1] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cv.maximize(net, [live, live], steps=4, transforms=[])


def test_it_is_said_which_targets_relaxed_rectifiers_have_helped() -> None:
    net = bright()
    with torch.no_grad():
        net.module[0].bias[1] = 0
    woken, live = (cv.Target(layer="1", channel=channel) for channel in (0, 1))
    options = {"steps": 12, "transforms": [], "parameterization": "pixels", "rate": 0.2}
    found = cv.maximize(net, [woken, live], **options)
    assert 0 < found.relaxed[0] < 12
    said = f"the first 16 steps): {woken!r} in {found.relaxed[0]}"
    assert found.help_text.endswith(said)
    assert said in repr(found)
    assert html.escape(said, quote=False) in html.unescape(str(found._repr_html_()))
    assert cv.maximize(net, live, **options).help_text == ""


class Cliff(nn.Module):
    """Maps that are NaN from some brightness on."""

    def forward(self, x: Tensor) -> Tensor:
        return (1.0 - x).sqrt() + 10 * x


def told(net: cv.Network, image: np.ndarray) -> list[Any]:
    cliff: Any = cv.Target(layer="0", channel=0)
    options: Any = {"steps": 9, "transforms": [], "parameterization": "pixels", "optimizer": "sign"}
    return [
        lambda: cv.maximize(net, cliff, rate=0.2, start=image, **options),
        lambda: cv.deepdream(net, image, "0", steps=9, octaves=1, rate=0.2),
        lambda: cv.attack(net, image, epsilon=1 / 999),
    ]


@pytest.mark.parametrize("index", range(3))
def test_a_warning_points_to_the_line_that_called(index: int) -> None:
    """So that one from another line is not taken for the same, and shown as well."""
    net = cv.Network(nn.Sequential(Cliff(), nn.Flatten(), nn.Linear(192, 2)), input=SPEC)
    with pytest.warns(UserWarning, match="NaN|less than one level") as seen:
        told(net, np.full((8, 8, 3), 130, np.uint8))[index]()
    assert [each.filename for each in seen] == [__file__]


def test_pixels_begin_in_gray_where_a_network_scales_nothing() -> None:
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 3)), input=cv.InputSpec(size=32, channels=3))
    target = cv.Target(layer="0", channel=0)
    found = cv.maximize(net, target, parameterization="pixels", steps=1, rate=1e-9, transforms=[])
    # A quarter of the way to white, with a deviation of 0.1.
    assert found.images.mean() == pytest.approx(0.25 * 255, abs=1)
    assert found.images.std() == pytest.approx(0.1 * 255, rel=0.05)


def test_a_first_step_into_nan_is_undone_and_said() -> None:
    """That is another thing than a gradient of zero, and no error."""
    net = cv.Network(nn.Sequential(Cliff(), nn.Flatten(), nn.Linear(192, 2)), input=SPEC)
    image = np.full((8, 8, 3), 130, np.uint8)
    found = cv.attack(net, image, epsilon=0.5)
    assert (found.steps, found.success) == (0, False)
    assert "NaN" in found.ended
    assert np.array_equal(found.adversarial, image)
