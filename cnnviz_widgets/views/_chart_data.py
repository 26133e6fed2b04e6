"""What the charts compute before bqplot draws: outlines, axis ticks, names."""

from __future__ import annotations

from collections.abc import Sequence

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
