"""What the charts compute before bqplot draws: outlines, axis ticks, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def outline_of_bars(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the corners (x, y) of one line around a bar for each value, resting on zero.

    >>> x, y = outline_of_bars(np.array([2.0], dtype=np.float32))
    >>> y.tolist()
    [0.0, 2.0, 2.0, 0.0]
    """
    half = np.float32(0.42)
    centers = np.arange(len(values), dtype=np.float32)
    x = np.stack([centers - half, centers - half, centers + half, centers + half], axis=1)
    zeros = np.zeros_like(values)
    y = np.stack([zeros, values, values, zeros], axis=1)
    return x.ravel(), y.ravel()


def round_ticks(low: float, high: float, about: int) -> NDArray[np.float64]:
    """Return multiples of 1, 2 or 5 times a power of ten that lie in [low, high], nearly `about` of them.

    >>> round_ticks(-1.3, 1.3, 4).tolist()
    [-1.0, 0.0, 1.0]
    """
    rough = (high - low) / max(about, 1)
    if not rough > 0:
        return np.array([low])
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if rough <= factor * power * 1.000001)
    first, last = np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9)
    ticks: NDArray[np.float64] = np.arange(first, last + 1) * step
    return ticks


def unique_names(names: Sequence[str]) -> list[str]:
    """Return the names with a number where one occurs again, as bqplot knows a bar by its name."""
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, count = name, 1
        while candidate in taken:
            count += 1
            candidate = f"{name} ({count})"
        taken.add(candidate)
        unique.append(candidate)
    return unique


STEP_MARGIN = 0.02
"""The share of a chart's width that is left free before the first step and after the last."""


def step_limits(steps: NDArray[np.floating]) -> tuple[float, float]:
    """Return the ends of a chart's axis over ascending steps.

    >>> step_limits(np.array([0.0, 96.0]))
    (-2.0, 98.0)
    """
    first, last = (float(steps[0]), float(steps[-1])) if len(steps) else (0.0, 0.0)
    if first == last:
        return first - 1.0, first + 1.0
    margin = STEP_MARGIN * (last - first) / (1 - 2 * STEP_MARGIN)
    return first - margin, last + margin


def log_ticks(low: float, high: float) -> NDArray[np.float64]:
    """Return powers of ten in [low, high], at most about six; where there are few, 2 and 5 times them, too.

    >>> log_ticks(0.02, 20).tolist()
    [0.1, 1.0, 10.0]
    """
    powers = np.arange(np.ceil(np.log10(low) - 1e-9), np.floor(np.log10(high) + 1e-9) + 1)
    if len(powers) > 2:
        return np.asarray(10.0 ** powers[:: int(np.ceil(len(powers) / 6))])
    first = np.floor(np.log10(low))
    ticks = np.concatenate([np.array([1, 2, 5]) * 10.0**power for power in (first, first + 1, first + 2)])
    return np.asarray(ticks[(ticks >= low * 0.999999) & (ticks <= high * 1.000001)])


def log_tick_labels(values: NDArray[np.float64]) -> dict[str, str]:
    """Return how to write the values of ticks that stand at their common logarithms.

    The keys are the logarithms as JavaScript writes them: without a ".0".

    >>> log_tick_labels(np.array([1e-7, 0.001, 20, 1e6]))
    {'-7': '1e-7', '-3': '0.001', '1.3010299956639813': '20', '6': '1e6'}
    """
    return {
        repr(float(np.log10(value))).removesuffix(".0"): f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
        for value in values
    }


def spans_decades(values: NDArray[np.floating], decades: float = 3.0) -> bool:
    """Return whether all finite values are above zero and the largest is more than a thousand times the smallest.

    >>> spans_decades(np.array([0.5, np.nan, 4e6])), spans_decades(np.array([0.0, 4e6]))
    (True, False)
    """
    finite = values[np.isfinite(values)].astype(np.float64)
    return len(finite) > 0 and bool(finite.min() > 0 and finite.max() > 10.0**decades * finite.min())


def value_limits(values: NDArray[np.floating], *, log: bool) -> tuple[float, float]:
    """Return ends that hold all finite values with some room; zero is one of them where it is near.

    >>> value_limits(np.array([0.5, 2.0]), log=False)
    (0.0, 2.1)
    """
    finite = values[np.isfinite(values) & ((values > 0) | (not log))]
    if len(finite) == 0:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = float(finite.min()), float(finite.max())
    if log:
        room = max((high / low) ** 0.05, 1.1)
        return low / room, high * room
    if low >= 0 and low < 0.5 * high:
        return 0.0, 1.05 * high
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def all_values(lines: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the values of all lines in one row."""
    return np.concatenate([np.zeros(0, np.float32), *lines.values()])


def lone_values(row: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the indices of values that have no neighbor to draw a line to."""
    known = np.concatenate([[False], np.isfinite(row), [False]])
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
