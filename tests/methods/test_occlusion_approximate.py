"""Approximate occlusion maps: near the exact ones, with errors as told, and exact where nothing is to be gained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine import incremental_approximate
from cnnviz_widgets.engine.incremental import Question
from cnnviz_widgets.engine.incremental_approximate import ApproximatePasses
from cnnviz_widgets.engine.low_precision import faster_than_float32
from tests.untouched import untouched

SIZE, OPTIONS = 40, {"window": 5, "stride": 2}
CHANNELS = (3, 6, 8, 8, 8)


def network(*, rectified: bool = True, deep: int = 4) -> cv.Network:
    """A network whose windows grow: two convolutions, a pool, and more of them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for index in range(deep):
            layers.append(nn.Conv2d(CHANNELS[index], CHANNELS[index + 1], 3, padding=1))
            layers += [nn.BatchNorm2d(CHANNELS[index + 1]), nn.ReLU()] if rectified else []
            layers += [nn.AvgPool2d(2)] if index == 1 else []
        module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS[deep], 4))
        for layer in module:
            if isinstance(layer, nn.Conv2d):
                # So that a window's effect reaches the end.
                nn.init.kaiming_normal_(layer.weight)
    return cv.Network(module, input=cv.InputSpec(size=SIZE))


def image() -> np.ndarray[Any, Any]:
    """Blobs, so that places differ."""
    draw = np.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return draw.repeat(5, 0).repeat(5, 1)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of so few layers would never reach the usual share."""
    monkeypatch.setattr(incremental_approximate, "SHARES", (0.3,))
    monkeypatch.setattr(incremental_approximate, "faster_than_float32", lambda: None)


@pytest.mark.usefixtures("narrow")
def test_the_error_on_the_sample_is_the_true_one(tmp_path: Path) -> None:
    net = network()
    with untouched(net.module):
        found = cv.occlusion(net, image(), 1, exact=False, **OPTIONS)
    exact = cv.occlusion(net, image(), 1, **OPTIONS)
    assert found.way == "incremental, within 30% of each map's side, to first order beyond"
    assert found.sample.shape == (16, 2)
    at = tuple(found.sample.T)
    np.testing.assert_allclose(found.sample_scores, exact.scores[at], rtol=0, atol=1e-6)
    wrong = np.abs(found.scores - exact.scores)
    assert wrong.max() > 5e-5  # it is approximate
    assert spearmanr(found.scores.ravel(), exact.scores.ravel()).statistic > 0.99
    error = found.error
    assert error.places == 16
    assert error.largest == pytest.approx(wrong[at].max(), abs=1e-6)
    assert error.root_mean_square == pytest.approx(np.sqrt(np.mean(wrong[at] ** 2)), abs=1e-6)
    expected = spearmanr(found.scores[at], exact.scores[at]).statistic
    assert error.rank_correlation == pytest.approx(expected, abs=1e-6)
    assert exact.error is None
    assert exact.sample is None
    assert cv.load_result(found.save(tmp_path / "map.npz")) == found


@pytest.mark.parametrize("shares", [(0.3,), (1.0,)])
def test_convolutions_multiply_in_bfloat16_where_the_processor_does(
    monkeypatch: pytest.MonkeyPatch, shares: tuple[float, ...]
) -> None:
    net = network()
    monkeypatch.setattr(incremental_approximate, "SHARES", shares)
    monkeypatch.setattr(incremental_approximate, "faster_than_float32", lambda: None)
    wide = cv.occlusion(net, image(), 1, exact=False, **OPTIONS)
    monkeypatch.setattr(incremental_approximate, "faster_than_float32", lambda: torch.bfloat16)
    found = cv.occlusion(net, image(), 1, exact=False, **OPTIONS)
    exact = cv.occlusion(net, image(), 1, **OPTIONS)
    assert found.way.endswith(", in bfloat16")
    assert ("30%" in found.way) == (shares == (0.3,))
    # Eight bits of a number: more than rounding of float32, little beside what differs from place to place.
    rounded = np.abs(found.scores - wide.scores).max()
    assert 1e-5 < rounded < 0.2 * exact.scores.std()
    wrong = np.abs(found.scores - exact.scores)
    at = tuple(found.sample.T)
    assert found.error.largest == pytest.approx(wrong[at].max(), abs=1e-6)
    assert spearmanr(found.scores.ravel(), exact.scores.ravel()).statistic > 0.99


def test_bfloat16_is_not_taken_where_its_error_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_approximate, "SHARES", (1.0,))
    monkeypatch.setattr(incremental_approximate, "faster_than_float32", lambda: torch.bfloat16)
    monkeypatch.setattr(incremental_approximate, "MOST_ERROR", 1e-6)
    found = cv.occlusion(network(), image(), 1, exact=False, **OPTIONS)
    assert found.way == "incremental, exact: nothing quicker was near enough on a sample of places"
    assert found.error is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"avx512_bf16": False}, None), ({}, None)],
)
def test_a_processor_tells_whether_it_has_bfloat16(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, bool], expected: torch.dtype | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert faster_than_float32.__wrapped__() is expected


@pytest.mark.parametrize("share", [0.1, 0.25])
def test_without_rectifiers_nothing_is_lost_by_the_cut(share: float) -> None:
    # All is linear then, and what is made up for to first order is all that was cut off.
    net = network(rectified=False)
    x = net.prepare(image())
    made = ApproximatePasses(
        net,
        x,
        torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) * 2,
        [Question()],
        score=lambda answers: answers[0][:, 2],
    )
    starts = np.array([0, 3, 17, 30, 34])
    expected = made.answers(starts, starts, (6, 6))[0][:, 2]
    made.share = share
    answers, lost = made.answers(starts, starts, (6, 6))
    assert (answers[:, 2] - expected).abs().max() > 1e-3
    torch.testing.assert_close(answers[:, 2] + lost, expected, rtol=0, atol=1e-5)


def test_what_is_not_near_enough_is_computed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental_approximate, "SHARES", (0.05, 0.1))
    monkeypatch.setattr(incremental_approximate, "MOST_ERROR", 1e-9)
    net = network()
    found = cv.occlusion(net, image(), 1, exact=False, **OPTIONS)
    assert found.way == "incremental, exact: nothing quicker was near enough on a sample of places"
    assert found.error is None
    exact = cv.occlusion(net, image(), 1, **OPTIONS)
    np.testing.assert_allclose(found.scores, exact.scores, rtol=0, atol=1e-6)


def test_few_places_and_whole_images_are_exact() -> None:
    found = cv.occlusion(network(), image(), 1, exact=False, window=10, stride=5)
    assert found.way.startswith("incremental, exact: a sample of so few places would cost what it saves")
    exact = cv.occlusion(network(), image(), 1, window=10, stride=5)
    assert found == replace(exact, way=found.way)


def test_what_does_not_go_with_it() -> None:
    with pytest.raises(ValueError, match="leave out most_probable and feature_map"):
        cv.occlusion(network(), image(), 1, exact=False, most_probable=True)
    with pytest.raises(TypeError, match=r"exact is True or False, got 0\.9"):
        cv.occlusion(network(), image(), 1, exact=0.9)
