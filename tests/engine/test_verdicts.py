"""Verdicts: each line of the rules, on numbers made up for it."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz_widgets.engine.roughness import ShuffleTest
from cnnviz_widgets.engine.verdicts import Thresholds, all_but_zero, judge_kernels, judge_layer

SHUFFLES = 199


def made_up(percentile: float, ratio: float = 0.5) -> ShuffleTest:
    """Return a test in which one kernel stands at that percentile, with that high-frequency ratio."""
    below = round(percentile / 100 * (SHUFFLES + 1)) - 1
    shuffled = np.where(np.arange(SHUFFLES) < below, 0.2, 0.6)[:, None]
    return ShuffleTest(np.array([0.4]), np.array([ratio * 0.5]), np.array([0.1]), shuffled, np.array([0.5]))


def kernel(entries: int, mean: float = 0.0) -> np.ndarray:
    values = np.resize([1.0, -1.0], entries) + mean
    return values.reshape(1, 1, 1, entries).astype(np.float32)


@pytest.mark.parametrize(
    ("percentile", "ratio", "entries", "mean", "verdict", "reason"),
    [
        (
            0.5,
            0.5,
            49,
            0,
            "smooth",
            "at percentile 0.5 of its shuffles (their mean 0.600), 49 entries; high-f",
        ),
        (2, 0.9, 49, 0, "smooth", "share 0.90 times theirs, 0.9 or less is smooth"),
        (2, 0.91, 49, 0, "mixed", "ordered, but high-frequency share 0.91 times theirs, above 0.9"),
        (2.5, 0.5, 49, 0, "mixed", "between 2 and 10"),
        (10, 0.5, 49, 0, "mixed", "between 2 and 10"),
        (10.5, 0.5, 49, 0, "noisy", "at percentile 10.5 of its shuffles"),
        (100, 1.5, 25, 0, "noisy", "above 10 is noisy"),
        (50, 1, 24, 0, "cannot tell", "24 entries, fewer than the 25 that it takes"),
        (2.5, 1, 24, 0, "cannot tell", "24 entries"),
        (2, 0.5, 24, 0, "smooth", "24 entries"),
        (50, 1, 50, 4, "cannot tell", "94% of its energy lies in its mean"),
        (50, 1, 50, 2.5, "noisy", "above 10"),
        (2, 0.5, 50, 4, "smooth", "0.9 or less is smooth"),
    ],
)
def test_each_rule(
    percentile: float, ratio: float, entries: int, mean: float, verdict: str, reason: str
) -> None:
    test = made_up(percentile, ratio)
    assert test.percentile[0] == percentile
    found, reasons = judge_kernels(kernel(entries, mean), test, np.array([False]), Thresholds())
    assert found == (verdict,)
    assert reason in reasons[0]


def test_zero_and_1x1_come_before_all_else() -> None:
    weights = np.ones((2, 30, 1, 1), np.float32)
    nothing = np.full(2, np.nan)
    test = ShuffleTest(nothing, nothing, nothing, np.full((SHUFFLES, 2), np.nan), nothing)
    verdicts, reasons = judge_kernels(weights, test, np.array([True, False]), Thresholds())
    assert verdicts == ("zero", "cannot tell")
    assert "0.01 times the largest" in reasons[0]
    assert "1x1" in reasons[1]


def test_other_thresholds_move_the_borders() -> None:
    test, weights, zero = made_up(20), kernel(49), np.array([False])
    assert judge_kernels(weights, test, zero, Thresholds())[0] == ("noisy",)
    assert judge_kernels(weights, test, zero, Thresholds(noisy_percentile=20))[0] == ("mixed",)
    more = Thresholds(smooth_percentile=20, noisy_percentile=20)
    assert judge_kernels(weights, test, zero, more)[0] == ("smooth",)
    assert judge_kernels(weights, test, zero, Thresholds(min_entries=50))[0] == ("cannot tell",)


def test_zero_is_measured_by_the_largest_norm() -> None:
    norms = np.array([5.0, 0.051, 0.05, 1e-9, 0.0])
    weights = np.zeros((5, 1, 2, 2), np.float32)
    weights[:, 0, 0, 0], weights[:, 0, 1, 1] = 0.6 * norms, -0.8 * norms
    assert all_but_zero(weights, 0.0100001).tolist() == [False, False, True, True, True]
    assert all_but_zero(weights, 0.0).tolist() == [False, False, False, False, True]
    assert all_but_zero(np.zeros((2, 1, 2, 2), np.float32), 0.01).all()


@pytest.mark.parametrize(
    ("below", "shape", "verdict", "p_value"),
    [
        (0, (1, 1, 10, 10), "structured", 0.005),
        (1, (1, 1, 1, 7), "structured", 0.01),
        (2, (1, 1, 10, 10), "like noise", 0.015),
        (2, (1, 1, 9, 11), "cannot tell", 0.015),
        (150, (1, 4, 5, 5), "like noise", 0.755),
    ],
)
def test_layers(below: int, shape: tuple[int, ...], verdict: str, p_value: float) -> None:
    test = made_up((below + 1) / 2)
    found = judge_layer(shape, test, np.array([False]), Thresholds())
    assert found[0] == verdict
    assert found[1] == pytest.approx(p_value)
    assert f"p = {p_value:.3g}" in found[2]


def test_layers_without_evidence_say_why() -> None:
    flat = ShuffleTest(np.zeros(1), np.zeros(1), np.zeros(1), np.zeros((SHUFFLES, 1)), np.zeros(1))
    nothing = np.array([False])
    assert judge_layer((1, 1, 5, 5), flat, nothing, Thresholds())[2].endswith("their order means nothing")
    assert "1x1" in judge_layer((1, 1, 1, 1), flat, nothing, Thresholds())[2]
    verdict, p_value, reason = judge_layer((1, 1, 5, 5), made_up(1), np.array([True]), Thresholds())
    assert (verdict, reason) == ("cannot tell", "all kernels are zero")
    assert np.isnan(p_value)


@pytest.mark.parametrize(
    ("thresholds", "shuffles", "message"),
    [
        (
            Thresholds(smooth_percentile=20),
            199,
            "0 < smooth_percentile <= noisy_percentile < 100, got 20 and 10",
        ),
        (Thresholds(smooth_percentile=0), 199, "got 0 and 10"),
        (Thresholds(noisy_percentile=100), 199, "got 2.0 and 100"),
        (Thresholds(smooth_ratio=-1), 199, "smooth_ratio must be a number from 0, got -1"),
        (Thresholds(zero_below=float("nan")), 199, "zero_below must be a number from 0, got nan"),
        (Thresholds(min_entries="many"), 199, "min_entries must be a number from 0, got 'many'"),  # type: ignore[arg-type]
        (Thresholds(layer_level=0), 199, "layer_level must lie between 0 and 1, got 0"),
        (Thresholds(), 98, "98 shuffles .* at 1 or below; give shuffles=99 or more"),
        (
            Thresholds(layer_level=0.29, smooth_percentile=7, noisy_percentile=50),
            13,
            "give shuffles=14 or more",
        ),
    ],
)
def test_contradictions_are_refused(thresholds: Thresholds, shuffles: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        thresholds.check(shuffles)


def test_the_fewest_shuffles_that_do() -> None:
    Thresholds().check(99)
    Thresholds(layer_level=0.29, smooth_percentile=29, noisy_percentile=50).check(3)
    Thresholds(smooth_ratio=np.float32(0.5), min_entries=np.int64(9)).check(199)  # type: ignore[arg-type]
