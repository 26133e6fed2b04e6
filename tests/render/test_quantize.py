"""Rounding tiles to 8 and 16 bits: the error bound, what is exact, and NaN and infinities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnnviz_widgets.render.quantize import QuantizedTiles, code_levels, quantize

shapes = array_shapes(min_dims=3, max_dims=3, max_side=5)
finite_maps = arrays(np.float32, shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
any_maps = arrays(np.float32, shapes, elements=st.floats(width=32))
both_widths = pytest.mark.parametrize("bits", [8, 16])


@both_widths
@given(maps=finite_maps)
def test_restored_values_lie_within_the_stated_error(bits, maps):
    tiles = quantize(maps, bits)
    away = np.abs(tiles.restore().astype(np.float64) - maps)
    assert (away <= tiles.errors[:, None, None]).all()


@both_widths
@given(maps=finite_maps)
def test_the_stated_error_is_about_half_a_step(bits, maps):
    tiles = quantize(maps, bits)
    width = np.ptp(maps.astype(np.float64), axis=(1, 2))
    half_step = width / (2**bits - 5) / 2
    rounding = 1.3e-7 * np.abs(maps.astype(np.float64)).max(axis=(1, 2))
    assert (tiles.errors <= 1.05 * half_step + rounding).all()


@both_widths
@given(maps=any_maps)
def test_nan_and_infinities_come_back_as_they_were(bits, maps):
    tiles = quantize(maps, bits)
    restored = tiles.restore()
    special = ~np.isfinite(maps)
    np.testing.assert_array_equal(restored[special], maps[special])
    assert np.isfinite(restored[~special]).all()
    bound = np.broadcast_to(tiles.errors[:, None, None], maps.shape)[~special]
    assert (np.abs(restored[~special].astype(np.float64) - maps[~special]) <= bound).all()


@both_widths
@given(maps=finite_maps)
def test_the_ends_of_each_tile_are_exact(bits, maps):
    restored = quantize(maps, bits).restore()
    np.testing.assert_array_equal(restored.min(axis=(1, 2)), maps.min(axis=(1, 2)))
    np.testing.assert_array_equal(restored.max(axis=(1, 2)), maps.max(axis=(1, 2)))


@both_widths
def test_order_is_kept(bits):
    ramp = np.sort(np.random.default_rng(0).normal(size=(3, 1, 400)).astype(np.float32), axis=2)
    assert (np.diff(quantize(ramp, bits).restore(), axis=2) >= 0).all()


@both_widths
def test_codes_are_the_nearest_of_all(bits):
    maps = np.random.default_rng(1).normal(size=(2, 4, 5)).astype(np.float32)
    tiles = quantize(maps, bits)
    for index, tile in enumerate(maps.astype(np.float64)):
        low, high = tile.min(), tile.max()
        grid = low + np.arange(2**bits - 4) * (high - low) / (2**bits - 5)
        nearest = np.abs(tile[..., None] - grid).argmin(axis=-1)
        np.testing.assert_array_equal(tiles.codes[index], nearest)


@both_widths
def test_a_constant_tile_is_exact_and_so_is_its_bound(bits):
    tiles = quantize(np.full((2, 3, 3), 0.1, np.float32), bits)
    np.testing.assert_array_equal(tiles.restore(), np.full((2, 3, 3), 0.1, np.float32))
    assert (tiles.errors == 0).all()


@both_widths
def test_zero_is_exact_and_nothing_else_gets_its_code(bits):
    maps = np.random.default_rng(2).normal(size=(4, 9, 9)).astype(np.float32)
    maps[maps < -0.5] = 0
    maps[2] = np.maximum(maps[2], 0)
    maps[3, 0, 0] = np.nan
    maps[1, 4, 4] = 1e-12  # not zero, though it may be restored as zero
    maps[1, 5, 5] = -0.0
    tiles = quantize(maps, bits)
    np.testing.assert_array_equal(tiles.codes == 2**bits - 4, maps == 0)
    assert (tiles.restore()[maps == 0] == 0).all()


def test_double_precision_beyond_single_counts_as_infinite():
    restored = quantize(np.array([[[1e300, -1e300, 1.0]]])).restore()
    assert restored.tolist() == [[[np.inf, -np.inf, 1.0]]]


def test_one_tile_can_be_restored_alone():
    maps = np.random.default_rng(3).normal(size=(5, 3, 3))
    tiles = quantize(maps)
    np.testing.assert_array_equal(tiles.restore(3), tiles.restore()[3])
    np.testing.assert_array_equal(tiles.restore([4, 1]), tiles.restore()[[4, 1]])


def test_nothing_is_quantized_to_nothing():
    assert quantize(np.zeros((0, 3, 3), np.float32)).restore().shape == (0, 3, 3)


def test_only_two_widths_exist():
    assert (code_levels(8), code_levels(16)) == (251, 65531)
    with pytest.raises(ValueError, match="8 or 16 bits; got 12"):
        quantize(np.zeros((1, 1, 1)), 12)


def test_the_width_is_read_off_the_codes():
    assert QuantizedTiles(np.zeros((1, 1, 1), np.uint8), np.zeros((1, 2), np.float32)).bits == 8
    assert quantize(np.zeros((1, 1, 1))).bits == 16
