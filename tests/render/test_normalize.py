"""Ranges and normalization, against slow loops and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnnviz_widgets.render.normalize import (
    ValueRange,
    normalize,
    real_array,
    shared_range,
    symmetric_range,
    tile_ranges,
    value_range,
)

any_float32 = st.floats(width=32, allow_nan=True, allow_infinity=True)
maps_of_floats = arrays(np.float32, array_shapes(min_dims=3, max_dims=3, max_side=5), elements=any_float32)


def slow_range(values):
    """Smallest, largest, NaN count, infinity count by a plain loop."""
    low, high, missing, infinite = math.inf, -math.inf, 0, 0
    for value in np.asarray(values).ravel().tolist():
        if math.isnan(value):
            missing += 1
        elif math.isinf(value):
            infinite += 1
        else:
            low, high = min(low, value), max(high, value)
    return (low, high, missing, infinite) if low <= high else (math.nan, math.nan, missing, infinite)


@given(maps_of_floats)
def test_value_range_agrees_with_a_plain_loop(maps):
    found = value_range(maps)
    np.testing.assert_array_equal((found.low, found.high, found.missing, found.infinite), slow_range(maps))


@given(maps_of_floats)
def test_tile_ranges_agree_with_a_plain_loop(maps):
    np.testing.assert_array_equal(tile_ranges(maps), [slow_range(tile)[:2] for tile in maps])


@given(maps_of_floats)
def test_the_shared_range_is_the_range_of_everything(maps):
    np.testing.assert_array_equal(shared_range(tile_ranges(maps)), slow_range(maps)[:2])


def test_percentiles_leave_outliers_outside_the_scale():
    values = np.concatenate([np.linspace(0, 1, 1001), [1e6]])
    found = value_range(values, percentile=1)
    assert found.low == pytest.approx(0.01, abs=2e-3)
    assert found.high == pytest.approx(0.99, abs=2e-3)


@pytest.mark.parametrize("percentile", [-1, 50, float("nan")])
def test_an_impossible_percentile_is_refused(percentile):
    with pytest.raises(ValueError, match=r"\[0, 50\)"):
        value_range([1.0], percentile=percentile)


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([1.0, 2.0], ""),
        ([3.0, 3.0], "constant at 3"),
        ([np.nan, 1.0, 2.0], "1 NaN"),
        ([np.inf, -np.inf, 0.0], "constant at 0, 2 infinite"),
        ([np.nan, np.inf], "no finite value, 1 NaN, 1 infinite"),
        ([], "no finite value"),
    ],
)
def test_what_a_legend_must_say_is_said(values, note):
    assert value_range(values).note == note


def test_symmetric_range_puts_zero_in_the_middle():
    assert symmetric_range(-1.0, 3.0) == (-3.0, 3.0)
    assert symmetric_range(-5.0, -2.0) == (-5.0, 5.0)
    assert symmetric_range(0.0, 0.0) == (-1.0, 1.0)


@given(
    arrays(np.float32, 7, elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
)
def test_normalize_is_linear_and_clipped(values, low, width):
    expected = [min(1.0, max(0.0, (value - low) / width)) for value in values.tolist()]
    tolerance = 1e-5 + 4e-7 * abs(low) / width  # float32 rounding of values near a far away low end
    np.testing.assert_allclose(normalize(values, low, low + width), expected, atol=tolerance)


def test_normalize_keeps_nan_and_clips_infinities():
    np.testing.assert_array_equal(normalize([np.nan, np.inf, -np.inf], -1, 1), [np.nan, 1, 0])


def test_normalize_of_a_range_without_width():
    np.testing.assert_array_equal(normalize([1.0, 2.0, 3.0, np.nan], 2, 2), [0, 0, 1, np.nan])


def test_normalize_survives_the_widest_and_the_narrowest_ranges():
    largest = float(np.finfo(np.float32).max)
    np.testing.assert_allclose(normalize(np.float32([-largest, 0, largest]), -largest, largest), [0, 0.5, 1])
    np.testing.assert_allclose(normalize(np.float32([0, 5e-41, 1e-40]), 0, 1e-40), [0, 0.5, 1], rtol=1e-4)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (math.nan, 1), (0, math.inf), (-1e308, 1e308)])
def test_impossible_ends_are_refused(low, high):
    with pytest.raises(ValueError, match="color scale"):
        normalize([0.0], low, high)


@pytest.mark.parametrize("values", [["a"], [1j], [object()]])
def test_what_is_no_real_number_is_refused(values):
    with pytest.raises(TypeError, match="real numbers"):
        value_range(values)


def test_tiles_must_have_three_axes():
    with pytest.raises(ValueError, match=r"\[N, H, W\].*\(2, 2\)"):
        tile_ranges(np.zeros((2, 2)))


def test_tiles_without_pixels_have_no_range():
    assert np.isnan(tile_ranges(np.zeros((2, 0, 3), np.float32))).all()
    assert tile_ranges(np.zeros((0, 2, 2), np.float32)).shape == (0, 2)


def test_integers_and_halves_become_float32_doubles_stay():
    assert real_array(np.float16([1.5])).dtype == np.float32
    assert real_array([True, False]).dtype == np.float32
    assert real_array(np.float64([1.5])).dtype == np.float64


def test_a_range_knows_whether_it_is_empty_or_constant():
    assert ValueRange(math.nan, math.nan).empty
    assert not ValueRange(math.nan, math.nan).constant
    assert ValueRange(2.0, 2.0).constant
