"""Grad-CAM against its formula in slow loops, and against Captum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

import cnnviz_widgets as cv
from tests.small_networks import Function, small
from tests.untouched import untouched

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def slow(maps: Tensor, gradients: Tensor) -> np.ndarray:
    """The weighted sum of channels [h, w], one position after the other."""
    channels, height, width = maps.shape
    result = np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            for channel in range(channels):
                weight = sum(float(each) for each in gradients[channel].flatten()) / (height * width)
                result[row, column] += weight * float(maps[channel, row, column])
    return result


def functional_network(overwrites: bool) -> cv.Network:
    torch.manual_seed(0)

    def forward(module: Function, x: Tensor) -> Tensor:
        y = functional.relu(module.conv(x), inplace=overwrites)
        y = module.more(y)
        y = y.relu_() if overwrites else functional.relu(y)
        return module.last(y.flatten(1))

    return small(
        Function(forward, conv=nn.Conv2d(3, 5, 3), more=nn.Conv2d(5, 4, 3, stride=2), last=nn.Linear(16, 3))
    )


@pytest.mark.parametrize("overwrites", [False, True])
@pytest.mark.parametrize("layer", ["conv", "more", ("relu()", 0), ("relu()", 1)])
def test_against_the_formula(layer: object, overwrites: bool) -> None:
    net = functional_network(overwrites)
    core = net.core
    x = net.prepare(IMAGE)
    stages = [core.conv, functional.relu, core.more, functional.relu]
    place = ["conv", ("relu()", 0), "more", ("relu()", 1)].index(layer)
    maps = x
    for each in stages[: place + 1]:
        maps = each(maps).detach()
    maps.requires_grad_()
    y = maps
    for each in stages[place + 1 :]:
        y = each(y)
    value = core.last(y.flatten(1))[0, 2]
    (gradients,) = torch.autograd.grad(value, maps)
    expected = slow(maps[0].detach(), gradients[0])
    for _ in range(2):  # the second pass knows what is overwritten
        with untouched(net.module):
            found = cv.grad_cam(net, IMAGE, 2, layer)
        np.testing.assert_allclose(found.signed_map, expected, atol=1e-6)
        np.testing.assert_allclose(found.map, np.maximum(expected, 0), atol=1e-6)
        np.testing.assert_allclose(found.weights, gradients[0].mean(dim=(1, 2)), atol=1e-6)
        assert found.value == pytest.approx(float(value.detach()), rel=1e-5)
    signed = cv.grad_cam(net, IMAGE, 2, layer, signed=True)
    np.testing.assert_allclose(signed.map, expected, atol=1e-6)
    stretched = functional.interpolate(
        torch.from_numpy(expected)[None, None], (8, 8), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(signed.heatmap, stretched[0, 0], atol=1e-6)


@pytest.mark.parametrize(("name", "layer"), [("resnet18", "layer3"), ("mnasnet0_5", "layers.10")])
def test_against_captum(name: str, layer: str) -> None:
    import captum.attr

    torch.manual_seed(0)
    module = models.get_model(name, weights=None).eval()
    net = cv.Network(module, input=cv.InputSpec(size=64, mean=0.4, std=0.25))
    image = cv.samples.photo("chelsea")
    method = captum.attr.LayerGradCam(module, module.get_submodule(layer))
    expected = method.attribute(net.prepare(image), target=7, attr_dim_summation=True)[0, 0].detach().numpy()
    scale = np.abs(expected).max()
    found = cv.grad_cam(net, image, 7, layer)
    np.testing.assert_allclose(found.signed_map / scale, expected / scale, atol=1e-5)


def test_other_targets() -> None:
    net = functional_network(False)
    target = cv.Target(layer="more", channel=1, position=(0, 1))
    found = cv.grad_cam(net, IMAGE, target, "conv")
    maps = net.core.conv(net.prepare(IMAGE)).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(net.core.more(maps.relu())[0, 1, 0, 1], maps)
    np.testing.assert_allclose(found.signed_map, slow(maps[0].detach(), gradients[0]), atol=1e-6)
    assert found.target == repr(target)
    with pytest.raises(cv.errors.ZeroGradientError, match=r"does not depend on layer \('relu\(\)', 1\)"):
        cv.grad_cam(net, IMAGE, target, ("relu()", 1))


def test_nothing_speaks_for_it() -> None:
    module = nn.Sequential(nn.Conv2d(3, 1, 1), nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.fill_(0.5)
        module[2].weight.fill_(-1.0)
    found = cv.grad_cam(small(module), IMAGE, 0, "0")
    assert not found.heatmap.any()
    assert "0% speaks for it. So the heat map is zero everywhere: signed=True" in found.message
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "One number" not in found.message


def test_a_map_of_one_number_does_not_tell_where() -> None:
    net = small(nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    found = cv.grad_cam(net, IMAGE, 0, "1", signed=True)
    assert "a map of 1 x 1, of which" in found.message
    assert "One number does not tell where: take an earlier layer." in found.message


def test_a_layer_that_the_target_does_not_depend_on_is_told() -> None:
    net = cv.samples.fashion_cnn()
    image = cv.samples.fashion_mnist("test")[0][0]
    with pytest.raises(
        cv.errors.ZeroGradientError,
        match=r"does not depend on layer 'conv2'.*take a layer on the way .* in front",
    ):
        cv.grad_cam(net, image, cv.Target(layer="conv1", channel=1), "conv2")
    assert cv.grad_cam(net, image, cv.Target(layer="fc1", channel=1), "conv2").signed_map.any()


def test_what_is_refused() -> None:
    net = cv.samples.fashion_cnn()
    image = cv.samples.fashion_mnist("test")[0][0]
    with pytest.raises(ValueError, match=r"layer 'fc1' returns .*; Grad-CAM needs maps"):
        cv.grad_cam(net, image, 1, "fc1")
    with pytest.raises(LookupError, match="'conv22' not found; did you mean 'conv2'"):
        cv.grad_cam(net, image, 1, "conv22")
    with pytest.raises(LookupError, match="did you mean 'Sneaker'"):
        cv.grad_cam(net, image, "sneaker", "conv2")


def test_saved_and_shown(tmp_path: Path) -> None:
    found = cv.grad_cam(functional_network(False), IMAGE, 1, ("relu()", 0), signed=True)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "signed" in repr(found)
