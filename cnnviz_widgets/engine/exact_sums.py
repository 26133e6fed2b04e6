"""Sums of floats that do not depend on the order of adding: kept as whole numbers.

A float64 is a whole number times a power of two. Here it is cut into digits of 32 bits, and each digit is added
to an int64 of its own, in an array [DIGITS, ...]. Adding whole numbers is exact, so two such sums of parts,
added as arrays, are the sum of the whole, bit for bit, in whichever order. (Carries are left where they are; there
is room for 2**29 additions.) The same idea, for fewer digits, as in Kulisch's long accumulator.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

DIGITS = 24
# The lowest bit: 2**-352 is below every square of a float32, and 2**316 above the sum of 2**59 of them.
_LOWEST = -352
_MASK = np.int64(2**32 - 1)


def no_sum(channels: int) -> NDArray[np.int64]:
    """Return the sum of nothing, for each channel: int64 [DIGITS, channels]."""
    return np.zeros((DIGITS, channels), dtype=np.int64)


def add_exactly(digits: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Add values [N, C] to the sums of their channels, in place and without rounding.

    Values must be finite, below 2**316, and multiples of 2**-352, as sums of squares of float32 are.

    >>> sums = no_sum(1)
    >>> add_exactly(sums, np.array([[1e30], [1.0], [-1e30]]))
    >>> exact_total(sums)
    [Fraction(1, 1)]
    """
    fraction, exponent = np.frexp(values)
    mantissa = np.ldexp(fraction, 53).astype(np.int64)
    lowest = exponent.astype(np.int64) - 53 - _LOWEST
    # Small whole multiples have zeros at the end, which may lie below the lowest bit.
    mantissa, lowest = mantissa >> np.maximum(-lowest, 0), np.maximum(lowest, 0)
    place, shift = lowest >> 5, lowest & 31
    low = (mantissa & _MASK).astype(np.uint64) << shift.astype(np.uint64)
    high = (mantissa >> 32) << shift
    carried = (low >> np.uint64(32)).astype(np.int64)
    channel = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    np.add.at(digits, (place, channel), low.astype(np.int64) & _MASK)
    np.add.at(digits, (place + 1, channel), carried + (high & _MASK))
    np.add.at(digits, (place + 2, channel), high >> 32)


def exact_total(digits: NDArray[np.int64]) -> list[Fraction]:
    """Return the sum of each channel, exactly."""
    totals = [0] * digits.shape[1]
    for place, row in enumerate(digits.tolist()):
        totals = [total + (digit << 32 * place) for total, digit in zip(totals, row, strict=True)]
    return [Fraction(total, 2**-_LOWEST) for total in totals]


def mean_and_deviation(
    counts: NDArray[np.int64], sums: NDArray[np.int64], squares: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation (of the population) for each channel [C]; NaN where nothing counts.

    Worked out in whole numbers and rounded once, so that nothing cancels.
    """
    means = np.full(len(counts), np.nan)
    deviations = np.full(len(counts), np.nan)
    totals = zip(counts.tolist(), exact_total(sums), exact_total(squares), strict=True)
    for channel, (count, total, square) in enumerate(totals):
        if count:
            mean = total / count
            means[channel] = float(mean)
            # Sums of squares were rounded before they came here.
            deviations[channel] = float(max(square / count - mean * mean, Fraction(0))) ** 0.5
    return means, deviations
