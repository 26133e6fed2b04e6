"""Occlusion of networks that are no chain of convolutions: group and layer norms, attention; against whole images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

import cnnviz_widgets as cv
from cnnviz_widgets.engine.fills import filled

SIZE = 32


class GroupNorms(nn.Module):
    """Two convolutions with group norms, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.GroupNorm(4, 8)
        self.second, self.again = nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(1, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.first(x)))
        return self.head(torch.relu(self.again(self.second(y)) + y).mean((2, 3)))


def _convnext() -> nn.Module:
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)]
    return ConvNeXt(blocks, layer_scale=1.0, num_classes=5)


def _vision_transformer() -> nn.Module:
    sizes = {"image_size": SIZE, "patch_size": 8, "hidden_dim": 16, "mlp_dim": 32}
    return VisionTransformer(num_layers=2, num_heads=2, num_classes=5, **sizes)


def _swin() -> nn.Module:
    return SwinTransformer([4, 4], 12, [2, 2], [2, 4], [2, 2], num_classes=5)


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (GroupNorms, "incremental"),
        (_convnext, "mixes the images of a batch"),
        (_vision_transformer, "mixes the images of a batch"),
        (_swin, "no rule for the operation"),
    ],
)
def test_norms_and_attention_give_the_numbers_of_whole_images(
    make: Callable[[], nn.Module], way: str
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make().eval()
        # Some begin with zeros, which would hide everything.
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.3)
    net = cv.Network(module, input=cv.InputSpec(size=SIZE))
    image = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    found = cv.occlusion(net, image, 2, window=(9, 6), stride=(9, 5), fill="noise")
    assert way in found.way
    x = net.prepare(image)
    instead, answers = filled(net, x, "noise"), []
    for top in found.tops:
        for left in found.lefts:
            covered = x.clone()
            there = (..., slice(top, top + 9), slice(left, left + 6))
            covered[there] = instead[there]
            with torch.no_grad():
                answers.append(float(module(covered)[0, 2]))
    expected = np.reshape(answers, found.scores.shape)
    assert np.ptp(expected) > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
