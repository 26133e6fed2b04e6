"""Color tables are what they claim: even in lightness, neutral at zero; and applying them hits the ends."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, apply, table
from cnnviz_widgets.render.normalize import symmetric_range


def lightness(colors):
    """CIE L* of sRGB colors [N, 3], from the definition of sRGB and CIE 1976."""
    share = np.asarray(colors) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    return np.where(luminance <= (6 / 29) ** 3, (29 / 3) ** 3 * luminance, 116 * np.cbrt(luminance) - 16)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_lightness_grows_evenly_along_sequential_tables(name):
    steps = np.diff(lightness(table(name))[::15])
    assert (steps > 0).all()
    assert steps.max() < 2.1 * steps.mean()


@pytest.mark.parametrize("name", DIVERGING)
def test_lightness_of_diverging_tables_is_symmetric_about_a_neutral_middle(name):
    light = lightness(table(name))
    steps = np.diff(light[:128:8])
    assert (steps > 0).all() or (steps < 0).all()
    assert np.abs(light - light[::-1]).max() < 12
    middle = table(name)[127:129].astype(int)
    assert np.ptp(middle) <= 16


def test_viridis_is_the_published_one():
    # matplotlib's _cm_listed.py: first, 65th and last entry
    assert table("viridis")[[0, 64, 255]].tolist() == [[68, 1, 84], [59, 82, 139], [253, 231, 37]]


def test_tables_are_shared_and_can_not_be_changed():
    assert table("vik") is table("vik")
    with pytest.raises(ValueError, match="read-only"):
        table("vik")[0] = 0


@pytest.mark.parametrize("name", ["virdis", "", "no such map", None])
def test_an_unknown_table_is_refused(name):
    with pytest.raises(ValueError, match=f"no color map is called {name!r}"):
        table(name)


def test_a_slip_gets_a_hint():
    with pytest.raises(ValueError, match="did you mean 'viridis'"):
        table("virdis")


def test_any_map_of_the_catalog_works():
    assert table("crameri:batlow").shape == (256, 3)


@given(arrays(np.float64, 20, elements=st.floats(-10, 10)), st.floats(-5, 0), st.floats(0.01, 5))
def test_apply_agrees_with_a_plain_loop(values, low, high):
    colors = table("viridis")
    picture = apply(values.astype(np.float32), colors, low, high)
    for value, color in zip(values.astype(np.float32).tolist(), picture, strict=True):
        place = min(255.0, max(0.0, 255 * (value - low) / (high - low))) + 0.5
        # where rounding could go either way, either neighbor is right
        allowed = {math.floor(place - 1e-3), math.floor(place + 1e-3)}
        assert color.tolist() in [colors[min(index, 255)].tolist() for index in allowed]


@pytest.mark.parametrize("name", SEQUENTIAL + DIVERGING)
def test_apply_hits_both_ends(name):
    picture = apply([-2.0, 7.0, -99.0, 99.0, -np.inf, np.inf], table(name), -2.0, 7.0)
    first, last = table(name)[0].tolist(), table(name)[255].tolist()
    assert picture.tolist() == [first, last] * 3


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
@example(0.0, 210409.0)
@example(0.0, 5e-324)
def test_zero_gets_the_middle_of_a_diverging_table(one, other):
    low, high = symmetric_range(min(one, other), max(one, other))
    assert apply([0.0], table("vik"), low, high)[0].tolist() == table("vik")[128].tolist()


def test_nan_gets_its_own_color():
    picture = apply([[np.nan, 0.0]], table("gray"), 0, 1, missing=(1, 2, 3))
    assert picture.tolist() == [[[1, 2, 3], [0, 0, 0]]]


def test_a_constant_map_gets_the_lowest_color():
    assert (apply(np.full((3, 3), 4.0), table("gray"), 4.0, 4.0) == 0).all()


def test_the_input_is_left_alone():
    values = np.array([1.0, 2.0], np.float32)
    apply(values, table("gray"), 0, 1)
    assert values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("colors", [np.zeros((255, 3), np.uint8), np.zeros((256, 3))])
def test_what_is_no_table_is_refused(colors):
    with pytest.raises(ValueError, match=r"uint8 array \[256, 3\]"):
        apply([0.0], colors, 0, 1)
