"""An object planted at a known place: the map of its class is strongest there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import cnnviz_widgets as cv

SIZE, SIDE, CASES = 26, 7, 200
_AXIS = np.abs(np.arange(SIDE) - SIDE // 2)
DOWN, ALONG = np.meshgrid(_AXIS, _AXIS, indexing="ij")
# A plus, a cross and a ring: as bright as each other, so that it is the shape that decides.
SHAPES = [np.minimum(DOWN, ALONG) == 0, DOWN == ALONG, np.maximum(DOWN, ALONG) == 2]


def planted(
    count: int, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return images of noise with a shape in each, its class, and its first row and column."""
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 160, (count, SIZE, SIZE), dtype=np.uint8)
    classes = draw.integers(0, len(SHAPES), count)
    tops, lefts = draw.integers(0, SIZE - SIDE + 1, (2, count))
    for image, which, top, left in zip(images, classes, tops, lefts, strict=True):
        image[top : top + SIDE, left : left + SIDE][SHAPES[which]] = 255
    return images, classes, tops, lefts


def prepared(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(images)[:, None] / 255


@pytest.fixture(scope="module")
def net() -> cv.Network:
    """A small network that has learned to tell the shapes, in two seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(1, 12, SIDE),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(12, len(SHAPES)),
        )
        optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
        for step in range(110):
            images, classes, _, _ = planted(40, 1000 + step)
            loss = nn.functional.cross_entropy(module(prepared(images)), torch.from_numpy(classes))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return cv.Network(module, input=cv.InputSpec(size=SIZE, channels=1), labels=["plus", "cross", "ring"])


def test_the_strongest_place_lies_in_the_object_in_95_of_100_cases(net: cv.Network) -> None:
    images, classes, tops, lefts = planted(CASES, 0)
    with torch.no_grad():
        known = net.module(prepared(images)).argmax(1).numpy() == classes
    assert known.mean() > 0.95  # otherwise there is nothing to find
    inside = 0
    for image, which, top, left in zip(images, classes, tops, lefts, strict=True):
        found = cv.occlusion(net, image, int(which), window=6, stride=5, fill=0.3).strongest
        row, column = (found.top + found.bottom) / 2, (found.left + found.right) / 2
        inside += top <= row <= top + SIDE and left <= column <= left + SIDE
    # By chance it would be one in ten.
    assert inside >= 0.95 * CASES
