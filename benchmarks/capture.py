"""Capturing layers, against the bare forward pass."""

from __future__ import annotations

import torch

import cnnviz_widgets as cv
from benchmarks._timing import Row, pairs, timed


def all_layers() -> Row:
    """All layers of ResNet-18 for a batch of 16, against running the module."""
    net = cv.Network.from_torchvision("resnet18", weights=None)
    x = torch.rand(16, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def ours() -> None:
        with cv.capture(net) as seen:
            net(x)
        if len(seen) < len(net.layers):
            raise RuntimeError("not every layer was captured")

    times = pairs(timed(ours), timed(lambda: _bare(net, x)), rounds=9)
    return Row("capture of all layers, ResNet-18, batch 16", "bare forward pass", *times, target=0.95)


def early_stop() -> Row:
    """The first layer of VGG-16, against running the whole module."""
    net = cv.Network.from_torchvision("vgg16", weights=None)
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def ours() -> None:
        with cv.capture(net, ["features.0"]) as seen:
            net(x)
        if seen["features.0"].shape != (1, 64, 224, 224):
            raise RuntimeError("the layer was not captured")

    times = pairs(timed(ours), timed(lambda: _bare(net, x)), rounds=15)
    return Row("capture of VGG-16 features.0", "bare full forward pass", *times, target=15)


def _bare(net: cv.Network, x: torch.Tensor) -> None:
    with torch.no_grad():
        net.module(x)


ROWS = {"capture-all-layers": all_layers, "early-stop": early_stop}
