"""Integrated gradients against closed forms, Captum, and the completeness that they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

import cnnviz_widgets as cv
from tests.small_networks import small
from tests.untouched import untouched

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def linear() -> cv.Network:
    torch.manual_seed(0)
    return small(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))


@pytest.mark.parametrize("steps", [1, 4])
def test_closed_form_of_a_linear_network(steps: int) -> None:
    net = linear()
    x = net.prepare(IMAGE)[0]
    weight = net.core[1].weight[2].detach().reshape(3, 8, 8)
    found = cv.integrated_gradients(net, IMAGE, 2, baseline=0.25, steps=steps)
    np.testing.assert_allclose(found.attributions, weight * (x - 0.25), atol=1e-6)
    np.testing.assert_allclose(found.heatmap, (weight * (x - 0.25)).sum(dim=0), atol=1e-6)
    assert found.completeness_gap == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("power", [2, 3])
def test_closed_form_of_a_polynomial(power: int) -> None:
    # The target is the sum of w x^p, so the attribution of a number is w (x^p - b^p).
    net = linear()
    weight = net.core[1].weight[0].detach().reshape(3, 8, 8)
    module = nn.Sequential(_Power(power), *net.core)
    x = net.prepare(IMAGE)[0]
    found = cv.integrated_gradients(small(module), IMAGE, 0, baseline=-0.5, steps=2)
    np.testing.assert_allclose(found.attributions, weight * (x**power - (-0.5) ** power), atol=1e-6)


class _Power(nn.Module):
    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**self.power


@pytest.mark.parametrize("name", ["fashion_cnn", "resnet18", "mnasnet0_5"])
def test_against_captum(name: str) -> None:
    import captum.attr

    torch.manual_seed(0)
    if name == "fashion_cnn":
        net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    else:
        net = cv.Network(
            models.get_model(name, weights=None), input=cv.InputSpec(size=48, mean=0.4, std=0.25)
        )
        image = cv.samples.photo("chelsea")
    x = net.prepare(image)
    with untouched(net.module):
        found = cv.integrated_gradients(net, image, 3, steps=10, baseline="black", batch_size=4)
    net.core.eval()
    black = -torch.tensor(net.input.mean) / torch.tensor(net.input.std)
    method = captum.attr.IntegratedGradients(net.core)
    begin = black[:, None, None].expand_as(x).contiguous()
    expected, delta = method.attribute(x, begin, target=3, n_steps=10, return_convergence_delta=True)
    expected = expected[0].detach().numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.attributions / scale, expected / scale, atol=1e-5)
    assert found.completeness_gap == pytest.approx(float(delta), abs=1e-4 * max(1, abs(found.value)))


def test_the_gap_closes_with_more_steps_and_is_told() -> None:
    net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    few, many = (
        cv.integrated_gradients(net, image, "Ankle boot", baseline="black", steps=n) for n in (2, 200)
    )
    x = net.prepare(image)
    black = (0 - net.input.mean[0]) / net.input.std[0]
    with torch.no_grad():
        value, begin = net.core(x)[0, 9], net.core(torch.full_like(x, black))[0, 9]
    for each in (few, many):
        assert (each.value, each.baseline_value) == pytest.approx((float(value), float(begin)), rel=1e-4)
        total = each.attributions.astype(float).sum()
        assert each.completeness_gap == pytest.approx(total - float(value - begin), abs=1e-3)
    assert (
        abs(many.completeness_gap) < 0.01 * abs(many.value - many.baseline_value) < abs(few.completeness_gap)
    )
    assert "take more than 2 steps" in few.message
    assert "more than" not in many.message


def test_baselines() -> None:
    net = linear()
    x = net.prepare(IMAGE)[0]
    weight = net.core[1].weight[1].detach().reshape(3, 8, 8)
    other = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    found = cv.integrated_gradients(net, IMAGE, 1, baseline=other, steps=1)
    np.testing.assert_allclose(found.attributions, weight * (x - net.prepare(other)[0]), atol=1e-6)
    assert found.baseline == "image"
    for name in ("black", "gray", "blur", "noise"):
        assert cv.integrated_gradients(net, IMAGE, 1, baseline=name, steps=1).baseline == name
    free = cv.Network(nn.Sequential(nn.Conv2d(3, 1, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    with pytest.raises(ValueError, match="the baseline is 4 x 4 pixels, the image 8 x 8"):
        cv.integrated_gradients(free, IMAGE, 1, baseline=other[:4, :4])


def test_it_comes_batch_by_batch_and_the_last_map_is_the_result_s() -> None:
    net = linear()
    taken = list(cv.integrated_gradients.steps(net, IMAGE, 2, steps=7, batch_size=3))
    assert [(each.index, each.total) for each in taken] == [(0, 3), (1, 3), (2, 3)]
    found = cv.integrated_gradients(net, IMAGE, 2, steps=7, batch_size=3)
    np.testing.assert_allclose(taken[-1].values["heatmap"], found.heatmap, atol=1e-6)
    # Of a linear network the gradient is the same all the way, which the weights of three nodes add up to.
    share = np.polynomial.legendre.leggauss(7)[1][:3].sum() / 2
    np.testing.assert_allclose(taken[0].values["heatmap"], share * found.heatmap, atol=1e-6)


def test_an_image_that_is_its_own_baseline_is_told() -> None:
    net, image = linear(), np.full((8, 8, 3), 90, np.uint8)
    with pytest.raises(
        ValueError, match=r"equal to its baseline, the one that was given: .*another baseline"
    ):
        cv.integrated_gradients(net, image, 0, baseline=image)
    with pytest.raises(ValueError, match="equal to its baseline, 'black'"):
        cv.integrated_gradients(net, 0 * image, 0, baseline="black")


def test_saved_and_shown(tmp_path: Path) -> None:
    found = cv.integrated_gradients(linear(), IMAGE, 1, steps=2)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert found._repr_png_().startswith(b"\x89PNG")
    assert str(found) == found.message
