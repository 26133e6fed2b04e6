"""Where maps have their channels: as in Swin and ConvNeXt, written out small, and what methods read then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

import cnnviz_widgets as cv
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.objectives import TargetObjective
from cnnviz_widgets.widgets._deconv_sources import ImageSource
from tests.small_networks import Function, small

IMAGE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def swin() -> cv.Network:
    torch.manual_seed(0)
    module = SwinTransformer([2, 2], 12, [1, 1], [1, 2], [4, 4], num_classes=3, stochastic_depth_prob=0.0)
    return cv.Network(module, input=cv.InputSpec(size=16))


def test_swin_has_them_at_the_end_between_its_permutations(swin: cv.Network) -> None:
    shapes = {layer.name: layer.map_shape for layer in swin.layers}
    # Every one of these has 12 or 24 channels, or four times as many within a block, and a square map.
    for name, shape in shapes.items():
        if shape is not None and len(shape) == 3:
            assert (shape[1], shape[0] % 12) == (shape[2], 0), name
    assert (shapes["features.0.0"], shapes["features.1.0.attn"], shapes["features.3"]) == (
        (12, 8, 8),
        (12, 8, 8),
        (24, 4, 4),
    )
    x = swin.prepare(IMAGE)
    with cv.capture(swin, ["features.1.0", "permute"]) as seen:
        swin(x)
    raw = seen["features.1.0"]
    assert raw.shape == (1, 8, 8, 12)  # a capture hands out what the layer returned
    found = cv.activations(swin, IMAGE, "features.1.0")
    np.testing.assert_array_equal(found.maps, raw[0].permute(2, 0, 1))
    np.testing.assert_array_equal(cv.activations(swin, IMAGE, "permute").maps, seen["permute"][0])


def test_units_and_grad_cam_of_swin(swin: cv.Network) -> None:
    x = swin.prepare(IMAGE)
    with cv.capture(swin, ["features.3"], gradients=True) as seen:
        scores = swin(x)
    scores[0, 1].backward()
    maps, gradients = seen["features.3"][0].detach(), seen.gradients["features.3"][0]
    weights = gradients.mean((0, 1))
    expected = (maps * weights).sum(-1)
    found = cv.grad_cam(swin, IMAGE, 1, "features.3", signed=True)
    np.testing.assert_allclose(found.signed_map, expected, rtol=1e-4, atol=1e-7)
    unit = cv.Target(layer="features.3", channel=20, position=(1, 2))
    assert float(unit.scores(swin, x)) == pytest.approx(float(maps[1, 2, 20]), rel=1e-5)
    occluded = cv.occlusion(swin, IMAGE, unit, window=8, stride=8)
    assert occluded.baseline == pytest.approx(float(maps[1, 2, 20]), rel=1e-4)
    covered = x.clone()
    covered[..., :8, :8] = 0
    assert occluded.scores[0, 0] == pytest.approx(float(unit.scores(swin, covered)), rel=1e-4)
    statistics = cv.activation_statistics(swin, [IMAGE], ["features.3"])
    np.testing.assert_allclose(statistics.mean["features.3"], maps.mean((0, 1)), rtol=1e-4, atol=1e-6)
    value = judged(swin, TargetObjective(unit), x)
    assert float(value[0]) == pytest.approx(float(maps[1, 2, 20]), rel=1e-5)
    for method in (
        lambda: cv.receptive_field(swin, "features.3"),
        lambda: cv.deconvnet(swin, IMAGE, "features.3", 1),
    ):
        with pytest.raises(
            cv.errors.OutputError, match=r"channels at the end.*1x4x4x24.*take a layer that puts them"
        ):
            method()


def test_convnext_has_them_at_the_end_within_its_blocks() -> None:
    net = cv.Network(
        ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=3),
        input=cv.InputSpec(size=32),
    )
    last = {
        net.core.get_submodule(f"features.{stage}.0.block.{each}") for stage in (1, 3) for each in range(1, 6)
    }
    assert {place for place, _ in net.survey.channels_last} == last
    assert cv.receptive_field(net, "features.1.0.block.0").size == (28, 28)
    # All rectifiers are within the blocks, where no unit has a place that is known.
    assert ImageSource(net, IMAGE.repeat(2, 0).repeat(2, 1)).first_layer == "features.0.0"


def _mixer(module: Any, x: Tensor) -> Tensor:
    """Mix the columns of maps that have their channels in front."""
    return module.columns(module.first(x)).mean((2, 3))


def _patches(module: Any, x: Tensor) -> Tensor:
    """Cut patches without a convolution: what tells is the linear layer, and the norm after a sum."""
    y = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3)
    y = module.cut(y)
    z = module.first(y)
    return module.norm(z + y).mean((1, 2))


def test_what_tells_and_what_does_not() -> None:
    torch.manual_seed(0)
    net = small(Function(_mixer, first=nn.Conv2d(3, 4, 3), columns=nn.Linear(6, 5)))
    assert not net.survey.channels_last
    assert net.layer("columns").map_shape == (4, 6, 5)
    net = small(Function(_patches, cut=nn.Identity(), first=nn.Linear(48, 48), norm=nn.LayerNorm(48)))
    assert [net.layer(name).map_shape for name in ("cut", "first", "norm")] == [(48, 2, 2)] * 3
    whole = small(Function(lambda module, x: module.norm(x).mean((2, 3)), norm=nn.LayerNorm([3, 8, 8])))
    assert not whole.survey.channels_last
