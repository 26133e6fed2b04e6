"""Occlusion maps against a slow loop: one forward pass of the network for each window."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.fills import filled
from tests.untouched import untouched

NET = cv.samples.fashion_cnn()
CLOTHES, LABELS = cv.samples.fashion_mnist("test")
IMAGE = np.asarray(CLOTHES[0])


def covered(net: cv.Network, image: Any, found: cv.OcclusionMap, seed: int = 0) -> torch.Tensor:
    """Return the prepared image with the window at each place, one after the other."""
    x = net.prepare(image)
    instead = filled(net, x, found.fill, seed=seed)
    images = []
    for top in found.tops:
        for left in found.lefts:
            y = x.clone()
            there = (..., slice(top, top + found.window[0]), slice(left, left + found.window[1]))
            y[there] = instead[there]
            images.append(y)
    return torch.cat(images)


def near(found: np.ndarray, expected: torch.Tensor) -> None:
    numbers = expected.numpy().reshape(found.shape)
    np.testing.assert_allclose(found, numbers, rtol=0, atol=1e-5 * np.abs(numbers).max())


@pytest.mark.parametrize("fill", [0.0, -1.5, "black", "gray", "blur", "noise"])
def test_the_logit_of_a_class(fill: float | str) -> None:
    found = cv.occlusion(NET, IMAGE, 3, window=(9, 6), stride=(5, 4), fill=fill, seed=4)
    assert found.tops.tolist() == [0, 5, 10, 15, 19]
    assert found.lefts.tolist() == [0, 4, 8, 12, 16, 20, 22]
    near(found.scores, NET.scores(covered(NET, IMAGE, found, seed=4))[:, 3])
    assert found.baseline == pytest.approx(float(NET.scores(NET.prepare(IMAGE))[0, 3]), rel=1e-6)
    np.testing.assert_array_equal(found.drops, np.float32(found.baseline) - found.scores)
    assert found.way.startswith("incremental")


def test_probability_most_probable_class_and_total_of_a_feature_map() -> None:
    target = cv.Target(int(LABELS[0]), of="probability")
    channel = cv.Target(layer="conv2", channel=5)
    found = cv.occlusion(
        NET, IMAGE, target, window=10, stride=6, fill="gray", most_probable=True, feature_map=channel
    )
    images = covered(NET, IMAGE, found)
    scores = NET.scores(images)
    near(found.scores, torch.softmax(scores, 1)[:, int(LABELS[0])])
    assert found.classes.tolist() == scores.argmax(1).reshape(found.classes.shape).tolist()
    assert len(np.unique(found.classes)) > 1
    assert found.baseline_class == int(NET.predict(IMAGE, k=1).indices[0])
    with cv.capture(NET, ["conv2"]) as seen:
        NET(images)
    near(found.activations, seen["conv2"][:, 5].sum((1, 2)))
    with cv.capture(NET, ["conv2"]) as seen:
        NET(NET.prepare(IMAGE))
    assert found.baseline_activation == pytest.approx(float(seen["conv2"][0, 5].sum()), rel=1e-5)


@pytest.mark.parametrize("position", [None, (3, 4)])
def test_a_channel_and_a_unit(position: tuple[int, int] | None) -> None:
    target = cv.Target(layer="conv2", channel=2, position=position)
    found = cv.occlusion(NET, IMAGE, target, window=5, stride=5)
    with cv.capture(NET, ["conv2"]) as seen:
        NET(covered(NET, IMAGE, found))
    maps = seen["conv2"][:, 2]
    near(found.scores, maps.mean((1, 2)) if position is None else maps[:, 3, 4])
    assert found.classes is None
    assert found.activations is None


def test_a_function_of_the_output() -> None:
    found = cv.occlusion(NET, IMAGE, lambda scores: scores[:, 1] - scores[:, 2], window=14, stride=7)
    scores = NET.scores(covered(NET, IMAGE, found))
    near(found.scores, scores[:, 1] - scores[:, 2])


def test_one_score_is_the_logit_of_class_1() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    net = cv.Network(module, input=cv.InputSpec(size=12, channels=1), labels=["no", "yes"])
    image = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    yes = cv.occlusion(net, image, "yes", window=4, stride=4, most_probable=True)
    scores = net.scores(covered(net, image, yes))
    near(yes.scores, scores[:, 0])
    assert yes.classes.tolist() == (scores[:, 0] > 0).long().reshape(3, 3).tolist()
    near(cv.occlusion(net, image, "no", window=4, stride=4).scores, -scores[:, 0])


def test_class_scores_that_are_nan_are_no_most_probable_class() -> None:
    class Breaks(nn.Module):
        """Its layer is always finite, and its class scores are not once the corner is black."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).mean((2, 3)) + (x[:, :, 0, 0] - 0.25).sqrt()

    net = cv.Network(Breaks(), input=cv.InputSpec(size=8, channels=1))
    target, image = cv.Target(layer="conv", channel=0), np.full((8, 8), 255, np.uint8)
    assert np.isfinite(cv.occlusion(net, image, target, window=4, stride=4, fill="black").scores).all()
    with pytest.raises(OutputError, match="class scores are NaN or infinite where the window covers"):
        cv.occlusion(net, image, target, window=4, stride=4, fill="black", most_probable=True)


def test_the_object_is_where_the_target_drops_most() -> None:
    # The network counts bright pixels: of a dark image with one bright patch nothing else matters.
    net = cv.Network(
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), input=cv.InputSpec(size=20, channels=1)
    )
    image = np.zeros((20, 20), np.uint8)
    image[12:16, 4:8] = 255
    found = cv.occlusion(net, image, lambda mean: mean[:, 0], window=4, stride=2)
    assert found.strongest == cv.Box(12, 4, 16, 8)
    assert found.drops[6, 2] == pytest.approx(16 / 400)
    assert found.baseline - found.scores[0, 0] == 0
    # A pixel in the middle of the patch lies in 2 x 2 windows, that cover 1, 1/2, 1/2 and 1/4 of it.
    assert found.heatmap[13, 5] == pytest.approx((1 + 0.5 + 0.5 + 0.25) / 4 * 16 / 400)


def test_coarse_to_fine_and_stopped_half_way() -> None:
    options: dict[str, Any] = {"window": 4, "stride": 1}
    whole = cv.occlusion(NET, IMAGE, 3, **options)
    with untouched(NET.module):
        steps = cv.occlusion.steps(NET, IMAGE, 3, **options)
        done, coarse = [], None
        for step in steps:
            done.append(step.index + 1)
            assert step.total == 625
            assert np.isfinite(step.values["scores"]).sum() == step.index + 1
            if step.index + 1 <= 625 / 8:
                coarse = step.values["heatmap"]
            elif step.index + 1 > 625 / 2:
                break
        part = cv.occlusion.finish(steps)
    assert 0.4 < part.measured < 1
    known = np.isfinite(part.scores)
    np.testing.assert_allclose(part.scores[known], whole.scores[known], rtol=1e-4, atol=1e-5)
    assert "% of them measured" in repr(part)
    # What an eighth of the work gives is the map already, but for details.
    assert coarse is not None
    assert np.corrcoef(coarse.ravel(), whole.heatmap.ravel())[0, 1] > 0.9
    assert done == sorted(set(done))


def test_a_budget_ends_it_early(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"window": 4, "stride": 1, "memory_limit": 2**20}
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    steps = cv.occlusion.steps(NET, IMAGE, 3, budget=10.0, **options)
    taken = 0
    try:
        while True:
            next(steps)
            taken += 1
            now[0] += 3.0  # each batch takes three seconds by this clock, and a fourth would end at 12
    except StopIteration as end:
        part = end.value
    assert taken == 3
    assert 0 < part.measured < 1
    assert np.isfinite(part.heatmap).all()
    known = np.isfinite(part.scores)
    assert known.sum() < 625 / 8  # so early, and yet there are places in each of nine parts of the image
    assert all(known[row : row + 9, column : column + 9].any() for row in (0, 8, 16) for column in (0, 8, 16))
    assert cv.occlusion(NET, IMAGE, 3, budget=1e9, **options).measured == 1


def test_a_number_that_is_none_is_said() -> None:
    class Roots(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.log(x.mean((2, 3)))

    net = cv.Network(Roots(), input=cv.InputSpec(size=8, channels=1))
    with pytest.raises(cv.errors.OutputError, match="NaN or infinite where the window"):
        cv.occlusion(
            net, np.full((8, 8), 200, np.uint8), lambda out: out[:, 0], window=8, stride=1, fill=-1.0
        )
