"""What the evidence allows to be said of a kernel: smooth, mixed, noisy, zero, or nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.roughness import ShuffleTest

Verdict: TypeAlias = Literal["smooth", "mixed", "noisy", "zero", "cannot tell"]
LayerVerdict: TypeAlias = Literal["structured", "like noise", "cannot tell"]

VERDICTS: tuple[Verdict, ...] = ("smooth", "mixed", "noisy", "zero", "cannot tell")
"""All verdicts on a kernel."""


@dataclass(frozen=True)
class Thresholds:
    """Where one verdict ends and the next begins.

    Attributes
    ----------
    smooth_percentile
        A smooth or mixed kernel stands at this percentile of its shuffles or below.
    noisy_percentile
        A noisy kernel stands above this one.
    smooth_ratio
        A smooth kernel has at most this times the high-frequency share of its shuffles.
    min_entries
        A kernel of fewer entries can be shown to be smooth, but not to be noise.
    zero_below
        A kernel is all but zero whose norm is at most this times the largest norm of the layer.
    layer_level
        A layer is structured if noise is as smooth with at most this probability.
    min_layer_entries
        Layers of fewer entries can be shown to be structured, but not to be noise.
    flat_share
        Nothing can be said of a kernel with more than this share of its energy in its mean, unless it is
        smooth: such a kernel is flat in any order.
    """

    smooth_percentile: float = 2.0
    noisy_percentile: float = 10.0
    smooth_ratio: float = 0.9
    min_entries: int = 25
    zero_below: float = 0.01
    layer_level: float = 0.01
    min_layer_entries: int = 100
    flat_share: float = 0.9

    def check(self, shuffles: int) -> None:
        """Raise `ValueError` where thresholds contradict each other or are finer than so many shuffles."""
        for field in fields(self):
            value = getattr(self, field.name)
            number = isinstance(value, int | float | np.integer | np.floating)
            if isinstance(value, bool) or not number or not 0 <= value < np.inf:
                raise ValueError(f"{field.name} must be a number from 0, got {value!r}")
        if not 0 < self.smooth_percentile <= self.noisy_percentile < 100:
            raise ValueError(
                "percentiles must be in the order 0 < smooth_percentile <= noisy_percentile < 100, "
                f"got {self.smooth_percentile!r} and {self.noisy_percentile!r}"
            )
        if not 0 < self.layer_level < 1:
            raise ValueError(f"layer_level must lie between 0 and 1, got {self.layer_level!r}")
        finest = min(self.smooth_percentile, 100 * self.layer_level)
        # A hair less, since 100 * 0.29 is a hair less than 29.
        needed = math.ceil(100 / finest - 1e-9) - 1
        if shuffles < needed:
            raise ValueError(
                f"{shuffles} shuffles tell percentiles in steps of {100 / (shuffles + 1):.3g}, so nothing could "
                f"ever be at {finest:.3g} or below; give shuffles={needed} or more, or a higher "
                "smooth_percentile or layer_level"
            )


def all_but_zero(weights: NDArray[np.float32], zero_below: float) -> NDArray[np.bool_]:
    """Return which kernels [O, I, kH, kW] are all but zero: by their norms, beside the layer's largest."""
    norms = np.sqrt(np.square(weights.astype(np.float64)).sum(axis=(1, 2, 3)))
    zero: NDArray[np.bool_] = norms <= zero_below * norms.max(initial=0.0)
    return zero


def judge_kernels(
    weights: NDArray[np.float32], test: ShuffleTest, zero: NDArray[np.bool_], thresholds: Thresholds
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Return a verdict on each kernel [O, I, kH, kW], and a sentence with its evidence."""
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    energy = np.square(flat).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        in_mean = flat.shape[1] * np.square(flat.mean(axis=1)) / energy
    judged = [
        _judge_one(index, weights.shape, test, bool(zero[index]), float(in_mean[index]), thresholds)
        for index in range(len(weights))
    ]
    return tuple(verdict for verdict, _ in judged), tuple(reason for _, reason in judged)


def _judge_one(
    index: int,
    shape: tuple[int, ...],
    test: ShuffleTest,
    zero: bool,
    in_mean: float,
    thresholds: Thresholds,
) -> tuple[Verdict, str]:
    if zero:
        return "zero", f"its norm is at most {thresholds.zero_below:g} times the largest of the layer"
    if shape[2:] == (1, 1):
        return "cannot tell", "a 1x1 kernel has no neighboring entries"
    entries = shape[1] * shape[2] * shape[3]
    percentile = float(test.percentile[index])
    ratio = test.frequency_ratio[index]
    evidence = (
        f"roughness {test.roughness[index]:.3f} at percentile {percentile:.3g} of its shuffles "
        f"(their mean {test.shuffled[:, index].mean():.3f}), {entries} entries"
    )
    if percentile <= thresholds.smooth_percentile:
        fine = f"high-frequency share {ratio:.2f} times theirs"
        if ratio <= thresholds.smooth_ratio:
            return "smooth", f"{evidence}; {fine}, {thresholds.smooth_ratio:g} or less is smooth"
        return "mixed", f"{evidence}; ordered, but {fine}, above {thresholds.smooth_ratio:g}"
    if in_mean > thresholds.flat_share:
        return "cannot tell", f"{in_mean:.0%} of its energy lies in its mean: it is flat in any order"
    if entries < thresholds.min_entries:
        return "cannot tell", f"{evidence}, fewer than the {thresholds.min_entries} that it takes to tell"
    if percentile > thresholds.noisy_percentile:
        return "noisy", f"{evidence}; above {thresholds.noisy_percentile:g} is noisy"
    between = f"{thresholds.smooth_percentile:g} and {thresholds.noisy_percentile:g}"
    return "mixed", f"{evidence}; between {between}"


def judge_layer(
    shape: tuple[int, ...], test: ShuffleTest, zero: NDArray[np.bool_], thresholds: Thresholds
) -> tuple[LayerVerdict, float, str]:
    """Return the verdict on a whole layer, its p-value (NaN if there is none) and a sentence."""
    p_value = test.layer_p_value(~zero & ~np.isnan(test.roughness))
    if np.isnan(p_value):
        return "cannot tell", p_value, _why_no_test(shape, zero)
    counted = int((~zero).sum())
    entries = counted * shape[1] * shape[2] * shape[3]
    evidence = f"p = {p_value:.3g} in a shuffle test over {counted} kernels together"
    if p_value <= thresholds.layer_level:
        return "structured", p_value, f"{evidence}; {thresholds.layer_level:g} or less is structured"
    if entries < thresholds.min_layer_entries:
        needed = thresholds.min_layer_entries
        return "cannot tell", p_value, f"{evidence}, {entries} entries, fewer than the {needed} that it takes"
    return "like noise", p_value, f"{evidence}; above {thresholds.layer_level:g} is like noise"


def _why_no_test(shape: tuple[int, ...], zero: NDArray[np.bool_]) -> str:
    if zero.all():
        return "all kernels are zero"
    if shape[2:] == (1, 1):
        return "1x1 kernels have no neighboring entries"
    return "the entries of each kernel are all alike, so their order means nothing"
