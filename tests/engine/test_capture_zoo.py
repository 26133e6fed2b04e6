"""Captured values and layer lists on the architectures people use, with random weights and small images."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models import vision_transformer
from torchvision.models.segmentation import fcn_resnet50
from torchvision.models.swin_transformer import SwinTransformer

import cnnviz_widgets as cv
from tests.random_networks import assert_same, slow_values


def _transformer() -> nn.Module:
    return vision_transformer.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


def _swin() -> nn.Module:
    return SwinTransformer([4, 4], 16, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4], num_classes=10)


def _encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), _Swap(), nn.TransformerEncoder(layer, 2))


class _Swap(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


ZOO: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vgg": (lambda: models.vgg.make_layers([8, "M", 8, 16, "M", 16, 16], batch_norm=True), 32),
    "resnet18": (lambda: models.resnet18(num_classes=10), 64),
    "resnet50": (lambda: models.ResNet(models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=10), 64),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=10), 64),
    "googlenet": (lambda: models.googlenet(init_weights=False, num_classes=10), 64),
    "inception": (lambda: models.inception_v3(init_weights=False, num_classes=10), 96),
    "densenet": (lambda: models.DenseNet(8, (2, 3, 2), 16, memory_efficient=True, num_classes=10), 64),
    "mobilenet": (lambda: models.mobilenet_v3_small(num_classes=10), 64),
    "shufflenet": (lambda: models.shufflenet_v2_x0_5(num_classes=10), 64),
    "efficientnet": (lambda: timm.create_model("efficientnet_lite0", num_classes=10), 64),
    "convnext": (lambda: timm.create_model("convnext_atto", num_classes=10), 64),
    "nfnet": (lambda: timm.create_model("test_nfnet", num_classes=10), 64),
    "segmentation": (lambda: fcn_resnet50(weights=None, weights_backbone=None, num_classes=3), 64),
    "transformer": (_transformer, 32),
    "swin": (_swin, 32),
    "encoder": (_encoder, 32),
}


@pytest.mark.parametrize("name", ZOO)
def test_every_layer_of_the_zoo(name: str) -> None:
    build, size = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build()
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    # Fused attention, which the oracle may take, rounds in another way.
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if name in ("transformer", "encoder") else {}
    expected = slow_values(module, x)
    net = cv.Network(module, input=cv.InputSpec(size=size))
    with cv.capture(net) as seen:
        net(x)
    assert len(seen) == len(expected) >= 5
    for key, value in expected.items():
        assert_same(seen[key], value, key, **tolerance)
    draw = random.Random(name)
    for keys in [draw.sample(sorted(expected), 3) for _ in range(2)]:
        with cv.capture(net, keys) as some:
            net(x)
        for key in keys:
            assert_same(some[key], seen[key], key)
    assert net.survey.predictable, "or passes would never stop early"
    _check_layers(net, expected)


def _check_layers(net: cv.Network, expected: dict[tuple[str, int], Any]) -> None:
    named = dict(net.core.named_modules())
    assert [layer.name for layer in net.layers] == [name for name in named if name]
    for layer in net.layers:
        module = named[layer.name]
        assert layer.kind == module.__class__.__name__
        assert layer.parameters == sum(each.numel() for each in dict.fromkeys(module.parameters()))
        values = [value for (name, _), value in expected.items() if name == layer.name]
        assert layer.calls == len(values)
        shapes = [tuple(value.shape[1:]) if isinstance(value, torch.Tensor) else None for value in values]
        for ours, theirs in zip(layer.output_shapes, shapes, strict=True):
            assert theirs is None or ours == theirs, layer.name


@pytest.mark.parametrize("name", ["resnet18", "squeezenet", "densenet", "googlenet"])
def test_gradients_of_the_zoo(name: str) -> None:
    """Compare the gradient at the first layer with that of the module cut in two there."""
    build, size = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = build().double().eval()
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = next(name for name, each in module.named_modules() if isinstance(each, nn.Conv2d))
    net = cv.Network(module, input=cv.InputSpec(size=size))
    with cv.capture(net, gradients=True) as seen:
        net(x)[0, 3].backward()
    value = seen[first].detach().clone().requires_grad_()
    module.get_submodule(first).register_forward_hook(lambda each, given, output: value * 1)
    (expected,) = torch.autograd.grad(module(x)[0, 3], value)
    torch.testing.assert_close(seen.gradients[first], expected)
