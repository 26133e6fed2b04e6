"""Gradient maps against Captum where it is right, and against a chain that is written out where it is not."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

import cnnviz_widgets as cv
from tests.small_networks import Function, small
from tests.untouched import untouched
from tests.written_out import NETWORKS, STYLES, Written, backward, forward

RULES = ("plain", "guided", "deconvnet")
CAPTUM = {"plain": "Saliency", "guided": "GuidedBackprop", "deconvnet": "Deconvolution"}


def without_in_place(module: nn.Module) -> nn.Module:
    """A copy with rectifiers that Captum's hooks can hold on to."""
    module = copy.deepcopy(module).eval()
    for each in module.modules():
        if isinstance(each, nn.ReLU):
            each.inplace = False
    return module


def zoo(name: str) -> cv.Network:
    if name == "fashion_cnn":
        return cv.samples.fashion_cnn()
    if name == "squeezenet":
        return cv.samples.squeezenet()
    torch.manual_seed(0)
    return cv.Network(models.get_model(name, weights=None), input=cv.InputSpec(size=64, mean=0.4, std=0.25))


def picture(net: cv.Network) -> Any:
    if net.input.channels == 1:
        return cv.samples.fashion_mnist("test")[0][0]
    return cv.samples.photo("chelsea")


def by_captum(net: cv.Network, x: Tensor, rule: str, target: int) -> Tensor:
    import captum.attr  # and with it Matplotlib, which only the worker that needs it loads

    method = getattr(captum.attr, CAPTUM[rule])(without_in_place(net.core))
    options = {"abs": False} if rule == "plain" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its hooks
        return method.attribute(x.clone().requires_grad_(), target=target, **options).detach()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["fashion_cnn", "squeezenet", "resnet18", "mnasnet0_5"])
def test_against_captum(name: str, rule: str) -> None:
    net = zoo(name)
    image = picture(net)
    expected = by_captum(net, net.prepare(image), rule, 3)[0].numpy()
    with untouched(net.module):
        found = cv.gradient_map(net, image, 3, rule=rule)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.attributions / scale, expected / scale, atol=1e-5)
    np.testing.assert_array_equal(found.heatmap, np.abs(found.attributions).max(axis=0))
    assert found.value == pytest.approx(float(net.scores(net.prepare(image))[0, 3]), rel=1e-4)
    assert (found.rectifiers > 0) == (rule != "plain")


class Head(nn.Module):
    """Class scores from the maps of a network."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).mean((2, 3))


# Torch itself refuses to differentiate a write through a view, so no plain gradient of it can be wanted.
CALLS = [(style, rule) for style in STYLES for rule in RULES if (style, rule) != ("view", "plain")]


@pytest.mark.parametrize(("style", "rule"), CALLS)
@pytest.mark.parametrize("name", ["residual sum", "batch norm"])
def test_against_the_chain_however_rectifiers_are_called(name: str, style: str, rule: str) -> None:
    layers = NETWORKS[name]
    net = cv.Network(Head(Written(layers, style)).eval(), input=cv.InputSpec(size=(19, 22)))
    image = torch.rand(3, 19, 22, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        value, trail = forward(layers, image[None])
        seed = torch.zeros_like(value)
        seed[:, 2] = 1 / value[0, 0].numel()
        expected = backward(layers, trail, seed, rule)[0].numpy()
    found = cv.gradient_map(net, image, 2, rule=rule)
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found.attributions / scale, expected / scale, atol=1e-5)


def test_captum_does_not_see_functions() -> None:
    # Why there is no comparison with it for these: it returns the plain gradient without a word.
    net = cv.Network(
        Head(Written(NETWORKS["residual sum"], "function")).eval(), input=cv.InputSpec(size=(19, 22))
    )
    x = torch.rand(1, 3, 19, 22, generator=torch.Generator().manual_seed(1))
    assert torch.equal(by_captum(net, x, "guided", 2), by_captum(net, x, "plain", 2))


def test_times_input() -> None:
    import captum.attr

    net = zoo("resnet18")
    image = picture(net)
    x = net.prepare(image)
    expected = captum.attr.InputXGradient(without_in_place(net.core)).attribute(x.requires_grad_(), target=5)
    found = cv.gradient_map(net, image, 5, times_input=True)
    scale = float(expected.detach().abs().max())
    np.testing.assert_allclose(found.attributions / scale, expected[0].detach().numpy() / scale, atol=1e-5)
    np.testing.assert_allclose(found.heatmap, found.attributions.sum(axis=0))


def test_smoothgrad_is_the_mean_over_noisy_images() -> None:
    net = zoo("fashion_cnn")
    image = picture(net)
    x = net.prepare(image)
    noise = torch.randn(5, *x.shape[1:], generator=torch.Generator().manual_seed(7))
    noisy = x + 0.2 * (x.max() - x.min()) * noise
    expected = np.mean([by_captum(net, each[None], "plain", 9)[0].numpy() for each in noisy], axis=0)
    for batch_size in (1, 2, 8):
        found = cv.gradient_map(net, image, 9, samples=5, noise=0.2, seed=7, batch_size=batch_size)
        np.testing.assert_allclose(found.attributions, expected, atol=1e-5 * np.abs(expected).max())
    assert found.value == pytest.approx(float(net.scores(x)[0, 9]), rel=1e-5)
    other = cv.gradient_map(net, image, 9, samples=5, noise=0.2, seed=8)
    assert not np.allclose(found.attributions, other.attributions)


def test_smoothgrad_comes_batch_by_batch_and_stopped_it_is_the_mean_so_far() -> None:
    net = zoo("fashion_cnn")
    image = picture(net)
    taken = cv.gradient_map.steps(net, image, 3, samples=7, batch_size=3)
    step = next(taken)
    assert (step.index, step.total) == (0, 3)
    few = cv.gradient_map(net, image, 3, samples=3, batch_size=3)
    np.testing.assert_array_equal(step.values["heatmap"], few.heatmap)
    assert cv.gradient_map.finish(taken) == few
    assert [each.index for each in cv.gradient_map.steps(net, image, 3, samples=7, batch_size=3)] == [0, 1, 2]


def test_any_target() -> None:
    net = zoo("fashion_cnn")
    image = picture(net)
    x = net.prepare(image).requires_grad_()
    targets = {
        "Ankle boot": lambda: net.core(x)[0, 9],
        cv.Target("Ankle boot", of="probability"): lambda: net.core(x).softmax(1)[0, 9],
        cv.Target(layer="conv2", channel=3, position=(4, 5)): lambda: net.core.conv2(_until_conv2(net, x))[
            0, 3, 4, 5
        ],
        (lambda scores: scores[:, 1] - scores[:, 2]): lambda: net.core(x)[0, 1] - net.core(x)[0, 2],
    }
    for target, value in targets.items():
        (expected,) = torch.autograd.grad(value(), x)
        found = cv.gradient_map(net, image, target)
        np.testing.assert_allclose(found.attributions, expected[0], atol=1e-5 * float(expected.abs().max()))
    assert found.target == "Target(<lambda>)"


def _until_conv2(net: cv.Network, x: Tensor) -> Tensor:
    return net.core.pool1(net.core.conv1(x).relu())


def test_a_zero_gradient_is_said_with_what_to_do() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].bias.fill_(-50)
    net, image = small(module), np.full((8, 8, 3), 90, np.uint8)
    for rule in RULES:
        if rule != "deconvnet":  # which does not ask whether the rectifier let anything pass
            with pytest.raises(
                cv.errors.ZeroGradientError, match=r"value is 0; .*before the last rectifier.*layer="
            ):
                cv.gradient_map(net, image, 1, rule=rule)
    with pytest.raises(cv.errors.ZeroGradientError, match="before the last rectifier"):
        cv.integrated_gradients(net, image, 1)
    with pytest.raises(cv.errors.ZeroGradientError, match="with respect to layer '0' is zero everywhere"):
        cv.grad_cam(net, image, 1, "0")
    assert cv.gradient_map(net, image, cv.Target(layer="0", channel=1)).heatmap.any()
    with torch.no_grad():
        module[0].bias.copy_(torch.tensor([500.0, -50.0]))
    with pytest.raises(
        cv.errors.ZeroGradientError, match=r"the probability is 1, where a softmax is flat.*of='logit'"
    ):
        cv.gradient_map(net, image, cv.Target(0, of="probability"))


@pytest.mark.parametrize(
    "rectify",
    [
        lambda y: y * (y > 0),
        lambda y: torch.maximum(y, torch.zeros_like(y)),
        lambda y: torch.where(y > 0, y, 0),
    ],
)
def test_a_rectifier_elsewhere_does_not_hide_that_those_on_the_way_are_unknown(rectify: Any) -> None:
    def forward(module: Function, x: Tensor) -> Tensor:
        y = rectify(module.first(2 * x - 0.1))
        unused = module.second(y).relu()  # recognized, but the first class does not come by it
        return torch.stack([y.mean((1, 2, 3)), unused.mean((1, 2, 3))], 1)

    torch.manual_seed(0)
    net = small(Function(forward, first=nn.Conv2d(3, 4, 3), second=nn.Conv2d(4, 4, 3)))
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with pytest.raises(
        TypeError, match=r"none that is recognized on the way .*1 elsewhere.*0 calls were changed"
    ):
        cv.gradient_map(net, image, 0, rule="guided")
    with pytest.raises(TypeError, match="none that is recognized on the way"):
        cv.deconvnet(net, image, "second", 1)
    assert cv.gradient_map(net, image, 1, rule="guided").rectifiers == 1
    # In front of all rectifiers there is nothing that the rule could miss.
    assert cv.deconvnet(net, image, "first", 1).rectifiers == 0


def test_what_is_refused() -> None:
    net = zoo("fashion_cnn")
    image = picture(net)
    with pytest.raises(LookupError, match="'ankle boots' not found; did you mean 'Ankle boot'"):
        cv.gradient_map(net, image, "ankle boots")
    with pytest.raises(ValueError, match=r"map has \d+ rows and \d+ columns, counted from 0"):
        cv.gradient_map(net, image, cv.Target(layer="conv2", channel=0, position=(99, 0)))
    with pytest.raises(TypeError, match=r"'guided' is one for rectifiers.*0 calls were changed"):
        cv.gradient_map(
            small(nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())), torch.rand(3, 8, 8), 0, rule="guided"
        )
    module = nn.Sequential(nn.Conv2d(3, 2, 8), nn.Flatten())
    with torch.no_grad():
        module[0].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        cv.gradient_map(
            small(module), torch.rand(3, 8, 8), cv.Target(lambda scores: scores.nan_to_num()[:, 0])
        )


def test_saved_and_shown(tmp_path: Path) -> None:
    net = zoo("fashion_cnn")
    found = cv.gradient_map(net, picture(net), "Ankle boot", rule="guided", samples=2)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert "Ankle boot" in repr(found)
    assert found._repr_png_().startswith(b"\x89PNG")
