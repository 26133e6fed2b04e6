"""Inversion, where the answer is known; and its options."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import TargetError, ZeroGradientError
from cnnviz_widgets.engine.feature_code import relative_depth
from tests.small_networks import Function, chain, small

SPEC = cv.InputSpec(size=8, channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
FREE: dict[str, Any] = {"alpha_norm": 0, "total_variation": 0}


def photo(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def network() -> cv.Network:
    return cv.Network(chain(), input=SPEC)


def rotation() -> cv.Network:
    """One convolution of 1 x 1 pixels with an orthogonal matrix: features are colors, turned."""
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    module = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False))
    module[0].weight.data = turned[:, :, None, None].contiguous()
    return cv.Network(module, input=SPEC)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"steps": 400, "rate": 0.1}, 1),
        ({"optimizer": "adam", "steps": 300}, 1),
        ({"optimizer": "lbfgs", "steps": 20}, 0),
    ],
)
def test_what_can_be_inverted_is(options: dict[str, Any], tolerance: int) -> None:
    found = cv.invert(rotation(), photo(), "0", **FREE, **options)
    assert np.abs(found.images[0].astype(int) - photo()).max() <= tolerance
    assert found.errors[0] < 1e-4
    assert found.distances[0] < 0.5 / 255 + tolerance / 255


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"optimizer": "lbfgs"}])
def test_begun_at_the_image_it_stays_there_and_that_is_no_error(options: dict[str, Any]) -> None:
    found = cv.invert(network(), photo(), "more", start=photo(), steps=5, **FREE, **options)
    assert np.array_equal(found.images[0], photo())
    assert np.array_equal(found.inputs, SPEC.prepare(photo()).numpy())
    assert found.errors[0] == 0
    assert found.distances[0] == 0
    assert found.steps == 0
    assert found.curves["feature error"].shape == (0, 1)
    assert found.ended.startswith("the gradient is zero")
    assert found.steps == 0


def test_what_is_minimized_is_the_formula() -> None:
    net, start = network(), photo(1)
    found = cv.invert(
        net,
        photo(),
        "more",
        start=start,
        steps=1,
        alpha_norm=0.3,
        alpha=4,
        total_variation=0.7,
        beta=1.5,
    )
    with torch.no_grad():
        target, here = (net.module(SPEC.prepare(each)).double().numpy() for each in (photo(), start))
    error = ((here - target) ** 2).sum() / (target**2).sum()
    pixels = start / 255.0 - np.array(SPEC.mean)
    b = 80 / 127.5 * (0.6 + 0.5 + 0.6) / 3
    alpha = 0.3 * (np.abs(pixels) ** 4).sum() / (8 * 8 * b**4)
    variation = 0.0
    for i in range(8):
        for j in range(8):
            for c in range(3):
                across = pixels[i, j + 1, c] - pixels[i, j, c] if j < 7 else 0.0
                down = pixels[i + 1, j, c] - pixels[i, j, c] if i < 7 else 0.0
                variation += (across**2 + down**2) ** (1.5 / 2)
    variation *= 0.7 / (8 * 8 * (b / 6.5) ** 1.5)
    first = {name: curve[0, 0] for name, curve in found.curves.items()}
    assert first == pytest.approx(
        {"feature error": error, "alpha norm": alpha, "total variation": variation}, rel=1e-4
    )


def test_the_momentum_goes_by_the_schedule() -> None:
    """Written out, in gray levels of the paper: G = 0.9 G + g^2, v = 0.9 v + g / (1 / rate + sqrt(G)), x = x - v.

    Six steps of seven go at the rate, the seventh at a tenth, from rest; all within black and white.
    """
    net, x0 = rotation(), SPEC.prepare(photo())
    found = cv.invert(net, photo(), "0", start=photo(1), steps=7, **FREE)
    low, high = SPEC.prepare(np.zeros((8, 8, 3), np.uint8)), SPEC.prepare(np.full((8, 8, 3), 255, np.uint8))
    x = SPEC.prepare(photo(1))
    bound = 80 / 127.5 * (0.6 + 0.5 + 0.6) / 3
    level = bound / 80 / torch.tensor([0.2, 0.25, 0.3])[:, None, None]
    speed, squares = torch.zeros_like(x), torch.zeros_like(x)
    for index in range(7):
        # An orthogonal matrix keeps distances: the feature error is that of the numbers themselves.
        gradient = 2 * (x - x0) / x0.square().sum() * level
        squares = 0.9 * squares + gradient**2
        rate = 0.05 / 6 * 64 * 80**2 * (1.0 if index < 6 else 0.1)
        speed = 0.9 * speed * (index != 6) + gradient / (1 / rate + squares.sqrt())
        x = (x - speed * level).clamp(low, high)
    np.testing.assert_allclose(found.inputs, x.numpy(), atol=1e-4)


def test_the_error_is_that_of_the_picture_shown() -> None:
    net = network()
    found = cv.invert(net, photo(), "relu", steps=10, copies=3)
    with cv.capture(net, ["relu"]) as seen:
        net(net.prepare([photo(), *found.images]))
    code = seen["relu"].double()
    errors = (code[1:] - code[0]).square().sum((1, 2, 3)) / code[0].square().sum()
    np.testing.assert_allclose(found.errors, errors, rtol=1e-4)
    away = (found.images / 255.0 - photo() / 255.0) ** 2
    np.testing.assert_allclose(found.distances, np.sqrt(away.mean((1, 2, 3))), rtol=1e-4)
    assert not np.array_equal(found.images[0], found.images[1])
    assert found.curves["feature error"].shape == (10, 3)


def test_the_deeper_the_layer_the_larger_the_error() -> None:
    net = cv.samples.squeezenet()
    layers = ["features.0", "features.5", "features.12"]
    found = cv.invert_layers(net, cv.samples.photo("chelsea"), layers, steps=40, size=96)
    assert found.errors[0] < 0.1
    assert list(found.errors) == sorted(found.errors)
    assert list(found.distances) == sorted(found.distances)
    assert found.images.shape == (3, 96, 96, 3)
    # By default the rougher weight is for what leaves more open.
    weights = [each.total_variation for each in found.inversions]
    assert weights[0] == pytest.approx(0.01)
    assert weights == sorted(weights)


def test_the_defaults_fit_each_layer_of_a_network() -> None:
    """Its rectifiers are nearly all dead for faint noise, and the gradients of its layers differ a hundredfold."""
    net, garment = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    bounds = {"conv1": 0.03, "relu1": 0.15, "pool1": 0.1, "conv2": 0.1, "relu2": 0.15, "fc2": 0.15}
    found = cv.invert_layers(net, garment, list(bounds), steps=90)
    assert {
        layer: error for layer, error in zip(bounds, found.errors, strict=True) if error > bounds[layer]
    } == {}
    assert set(net(net.prepare(found.images)).argmax(1).tolist()) == {9}


def test_several_layers_are_each_layer_alone() -> None:
    net = network()
    both = cv.invert_layers(net, photo(), ["conv", "more"], steps=4)
    for layer, one in zip(["conv", "more"], both.inversions, strict=True):
        assert one == cv.invert(net, photo(), layer, steps=4)
    assert both.layers == ("conv", "more")
    captions = re.findall("<figcaption[^>]*>(.*?)</figcaption>", both._repr_html_())
    errors = [
        f"{layer}<br>feature error {one:.3g}" for layer, one in zip(both.layers, both.errors, strict=True)
    ]
    assert captions == ["the image", *errors]
    assert [*captions[:1], errors[0]] == re.findall(
        "<figcaption[^>]*>(.*?)</fig", both.inversions[0]._repr_html_()
    )
    steps = list(cv.invert_layers.steps(net, photo(), ["conv", "more"], steps=4))
    assert [(each.index, each.total) for each in steps] == [(index, 8) for index in range(8)]
    assert steps[-1].image.shape == steps[0].image.shape
    assert np.array_equal(steps[0].image[:8, :8], photo())
    assert steps[4].values["feature error"] == both.inversions[1].curves["feature error"][0, 0]


def test_stopped_half_way_there_are_the_layers_so_far() -> None:
    steps = cv.invert_layers.steps(network(), photo(), ["conv", "relu", "more"], steps=4)
    for _ in range(6):
        next(steps)
    found = cv.invert_layers.finish(steps)
    assert found.layers == ("conv", "relu")
    assert [each.steps for each in found.inversions] == [4, 2]


def test_a_run_that_was_stopped_can_be_made_again() -> None:
    def stopped(**options: Any) -> Any:
        steps = cv.invert.steps(network(), photo(), "conv", **options)
        for _ in range(3):
            next(steps)
        return cv.invert.finish(steps)

    found = stopped(steps=30)
    assert (found.steps, found.planned_steps, found.start) == (3, 30, "noise")
    names = (
        "alpha_norm",
        "alpha",
        "total_variation",
        "beta",
        "parameterization",
        "optimizer",
        "rate",
        "seed",
    )
    again = stopped(
        steps=found.planned_steps, size=found.size, **{name: getattr(found, name) for name in names}
    )
    assert again == found
    assert stopped(steps=30, start=photo(1)).start == "picture"


def test_a_spectrum_comes_to_the_image_as_well() -> None:
    found = cv.invert(
        rotation(), photo(), "0", parameterization="fourier", optimizer="lbfgs", steps=60, **FREE
    )
    assert found.errors[0] < 0.02
    assert found.optimizer == "lbfgs"


def test_a_rectifier_called_as_a_function_is_inverted_as_a_module_is() -> None:
    def forward(module: Any, x: torch.Tensor) -> Any:
        y = module.more(module.conv(x).relu()).relu()
        return module.last(y).relu().mean((2, 3))

    parts = {name: nn.Conv2d(count, 4, 3) for name, count in (("conv", 3), ("more", 4), ("last", 4))}
    functions = small(Function(forward, **parts))
    modules = small(
        nn.Sequential(
            *(each for part in parts.values() for each in (part, nn.ReLU())), nn.AdaptiveAvgPool2d(1)
        )
    )
    for call, name in enumerate(("1", "3", "5")):
        layer = ("relu()", call)
        assert functions.layer(layer).output_shape == modules.layer(name).output_shape
        found, expected = (
            cv.invert(net, photo(), each, steps=3, total_variation=0.1)
            for net, each in ((functions, layer), (modules, name))
        )
        assert np.array_equal(found.inputs, expected.inputs)
        # The first stands where the first module does; the others are spread up to the last.
        assert relative_depth(functions, layer) == pytest.approx((0, 1 / 3, 2 / 3)[call])
    target = cv.Target(layer=("relu()", 1), channel=2)
    assert cv.maximize(functions, target, steps=2).values.shape == (1,)
    with pytest.raises(LookupError, match=r"never calls a rectifier 'silu\(\)'.*calls 1 as functions"):
        cv.invert(functions, photo(), "silu()")
    single = small(Function(lambda module, x: module.more(module.conv(x).relu()), **parts))
    assert relative_depth(single, "relu()") == 0
    info = single.layer("relu()")
    assert (info.name, info.kind, info.calls, info.parameters) == ("relu()", "function", 1, 0)


def test_what_is_nothing_but_zeros_can_not_be_inverted() -> None:
    net = network()
    net.module.get_parameter("conv.bias").data -= 100
    with pytest.raises(TargetError, match=r"'relu' returns nothing but zeros for this image"):
        cv.invert(net, photo(), "relu")


def test_a_start_that_leads_nowhere_is_an_error() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    nn.init.constant_(module.get_parameter("0.weight"), 1.0)
    nn.init.constant_(module.get_parameter("0.bias"), -0.5)
    net = cv.Network(module, input=replace(SPEC, mean=0.5, std=0.25))
    white, black = np.full((8, 8, 3), 255, np.uint8), np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ZeroGradientError, match="'1' is zero everywhere"):
        cv.invert(net, white, "1", start=black, **FREE)


def test_other_channels_make_no_picture_but_a_result() -> None:
    net = cv.Network(nn.Sequential(nn.Conv2d(5, 4, 3)), input=cv.InputSpec(size=8, channels=5))
    image = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0))
    found = cv.invert(net, image, "0", steps=3)
    assert found.images.shape == (1, 0, 0, 3)
    assert found.inputs.shape == (1, 5, 8, 8)
    assert found._repr_png_() is None
    both = cv.invert_layers(net, image, ["0"], steps=3)
    assert both._repr_png_() is None
    assert found._repr_html_() is both._repr_html_() is None


def test_a_size_that_the_network_does_not_take() -> None:
    with pytest.raises(ValueError, match="fails for a picture of 32 x 32 pixels"):
        cv.invert(cv.samples.fashion_cnn(), np.zeros((28, 28), np.uint8), "fc1", size=32)
