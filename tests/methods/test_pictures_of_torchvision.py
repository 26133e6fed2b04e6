"""The seven ways to optimize a picture, on torchvision's ResNet and GoogLeNet with random weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision import models

import cnnviz_widgets as cv
from tests.untouched import untouched

SIZE = 64
PHOTO, OTHER = (
    np.asarray(cv.samples.photo(name).convert("RGB").resize((SIZE, SIZE))) for name in ("coffee", "gravel")
)
LAYERS = {"resnet18": "layer2", "googlenet": "inception3a"}


@pytest.fixture(scope="module", params=LAYERS)
def named(request: pytest.FixtureRequest) -> tuple[cv.Network, str]:
    # GoogLeNet's own weights take seconds to draw; what is drawn in their place leaves signals as strong as they were.
    options = {"init_weights": False} if request.param == "googlenet" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = models.get_model(request.param, weights=None, num_classes=10, **options)
        for each in module.modules():
            if isinstance(each, nn.Conv2d):
                nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
    spec = cv.InputSpec(size=SIZE, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return cv.Network(module, input=spec), LAYERS[request.param]


# What is shown, what it began with, and what was to fall, before each step.
Made = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]]


def inversion(net: cv.Network, layer: str) -> Made:
    found = cv.invert(net, PHOTO, layer, start=OTHER, steps=2)
    return found.images[0], OTHER, sum(found.curves.values())[:, 0]


def channel_image(net: cv.Network, layer: str) -> Made:
    target = cv.Target(layer=layer, channel=1)
    # Shown another part at each step, the network says nothing yet of two steps.
    found = cv.maximize(net, target, start=PHOTO, transforms=[], steps=2)
    return found.images[0], PHOTO, -found.curves["target"][:, 0]


def class_image(net: cv.Network, layer: str) -> Made:
    found = cv.maximize(net, 3, start=PHOTO, transforms=[], steps=2)
    return found.images[0], PHOTO, -found.curves["target"][:, 0]


def adversarial(net: cv.Network, layer: str) -> Made:
    found = cv.attack(net, PHOTO, method="ifgsm", epsilon=4 / 255, steps=2)
    assert found.norm_inf <= 4 / 255 + 1e-9
    return found.adversarial, PHOTO, -found.curves["loss"][:, 0]


def dream(net: cv.Network, layer: str) -> Made:
    found = cv.deepdream(net, PHOTO, layer, octaves=1, steps=2)
    return found.image, PHOTO, -found.values


def texture(net: cv.Network, layer: str) -> Made:
    found = cv.synthesize_texture(net, PHOTO, start=OTHER, steps=2)
    return found.image, OTHER, found.loss


def style(net: cv.Network, layer: str) -> Made:
    found = cv.transfer_style(net, PHOTO, OTHER, steps=2)
    return found.image, PHOTO, found.loss


@pytest.mark.parametrize(
    "method", [inversion, channel_image, class_image, adversarial, dream, texture, style]
)
def test_pictures_come_of_it(named: tuple[cv.Network, str], method: Callable[..., Made]) -> None:
    net, layer = named
    with untouched(net.module):
        image, before, falling = method(net, layer)
    assert image.shape == (SIZE, SIZE, 3)
    assert np.abs(image.astype(int) - before).max() > 1
    assert falling.shape == (2,)
    assert np.isfinite(falling).all()
    assert falling[1] < falling[0]
