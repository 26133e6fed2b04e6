"""Exact sums against Python's fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnviz_widgets.engine.exact_sums import add_exactly, exact_total, mean_and_deviation, no_sum


def wild(count: int = 60, channels: int = 5, seed: int = 0) -> np.ndarray:
    """Numbers of all sizes that sums of float32 and of their squares have, with zeros of both signs."""
    draw = np.random.default_rng(seed)
    values = draw.standard_normal((count, channels)) * 2.0 ** draw.integers(-230, 250, (count, channels))
    return np.where(draw.random(values.shape) < 0.1, draw.choice([0.0, -0.0], values.shape), values)


def test_sums_are_exact_and_the_same_in_any_order() -> None:
    values = wild()
    whole = no_sum(5)
    add_exactly(whole, values)
    assert exact_total(whole) == [sum(map(Fraction, column)) for column in values.T.tolist()]
    turned = no_sum(5)
    for part in np.array_split(values[::-1], 7):
        add_exactly(turned, part)
    assert turned.tobytes() == whole.tobytes()


@given(st.lists(st.floats(-(2.0**126), 2.0**126, width=32), min_size=1, max_size=20))
def test_squares_of_any_float32_fit(numbers: list[float]) -> None:
    squares = np.array(numbers, dtype=np.float64)[:, None] ** 2
    digits = no_sum(1)
    add_exactly(digits, squares)
    assert exact_total(digits) == [sum(map(Fraction, squares[:, 0].tolist()))]


def test_the_smallest_and_the_largest() -> None:
    for number in (2.0**-298, -(2.0**-149), 2.0**315, -1.75 * 2.0**315):
        digits = no_sum(1)
        add_exactly(digits, np.array([[number]]))
        assert exact_total(digits) == [Fraction(number)]


def test_nothing_cancels_in_a_deviation() -> None:
    # In floats the mean of the squares less the square of the mean has no digit right here.
    values = np.array([[2.0**23 - 1], [2.0**23 + 1], [2.0**23]])
    sums, squares = no_sum(1), no_sum(1)
    add_exactly(sums, values)
    add_exactly(squares, values**2)
    mean, deviation = mean_and_deviation(np.array([3]), sums, squares)
    assert mean[0] == 2**23
    assert deviation[0] == pytest.approx((2 / 3) ** 0.5, rel=1e-12)


def test_nothing_has_no_mean() -> None:
    mean, deviation = mean_and_deviation(np.array([0, 2]), no_sum(2), no_sum(2))
    assert np.isnan([mean[0], deviation[0]]).all()
    assert (mean[1], deviation[1]) == (0, 0)
