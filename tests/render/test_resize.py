"""Resizing against torch's interpolation, plain loops and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnnviz_widgets.render.resize import block_mean, enlarge, resize_map


@st.composite
def resizing(draw):
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    cells = draw(arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    return cells, draw(st.integers(1, 23)), draw(st.integers(1, 23))


@given(resizing())
def test_bilinear_is_torch_without_aligned_corners(case):
    cells, height, width = case
    expected = torch.nn.functional.interpolate(
        torch.tensor(cells)[None, None].double(), (height, width), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(resize_map(cells, height, width), expected[0, 0].numpy(), atol=1e-4)


@given(resizing())
@example((np.arange(6, dtype=np.float32)[:, None], 17, 1))
@example((np.arange(6, dtype=np.float32)[None], 1, 17))
def test_nearest_takes_the_cell_a_pixel_center_lies_in(case):
    cells, height, width = case
    resized = resize_map(cells, height, width, interpolation="nearest")
    for y in range(height):
        for x in range(width):
            # whole-number arithmetic: the center (2 y + 1) / (2 height) of the picture, in cells
            row = (2 * y + 1) * cells.shape[0] // (2 * height)
            column = (2 * x + 1) * cells.shape[1] // (2 * width)
            assert resized[y, x] == cells[row, column]


def test_stride_and_center_place_each_cell():
    # a map whose value is the position of its own cell comes out as the position of each pixel
    stride, center = (4.0, 3.0), (5.5, 2.0)
    rows = center[0] + stride[0] * np.arange(5)
    columns = center[1] + stride[1] * np.arange(6)
    resized = resize_map(rows[:, None] + 1000 * columns, 24, 18, stride=stride, center=center)
    y = np.clip(np.arange(24) + 0.5, rows[0], rows[-1])
    x = np.clip(np.arange(18) + 0.5, columns[0], columns[-1])
    np.testing.assert_allclose(resized, y[:, None] + 1000 * x, rtol=1e-6)


def test_nan_stays_where_it_counts():
    resized = resize_map([[1.0, np.nan, 3.0]], 1, 3)
    np.testing.assert_array_equal(resized, [[1.0, np.nan, 3.0]])


@given(arrays(np.float32, (2, 7, 5), elements=st.floats(-100, 100, width=32)), st.integers(1, 9))
def test_block_means_agree_with_a_plain_loop(tiles, factor):
    reduced = block_mean(tiles, factor)
    assert reduced.shape == (2, -(-7 // factor), -(-5 // factor))
    for n, row, column in np.ndindex(reduced.shape):
        block = tiles[n, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        assert reduced[n, row, column] == pytest.approx(block.astype(np.float64).mean(), abs=1e-4)


def test_block_means_of_pictures_are_rounded():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 7, 5, 3), np.uint8)
    reduced = block_mean(pictures, 2)
    assert reduced.dtype == np.uint8
    for n, row, column, band in np.ndindex(reduced.shape):
        block = pictures[n, row * 2 : row * 2 + 2, column * 2 : column * 2 + 2, band]
        assert reduced[n, row, column, band] == int(block.astype(np.float64).mean() + 0.5)


def test_a_block_with_nan_is_nan():
    tiles = np.zeros((1, 4, 4), np.float32)
    tiles[0, 0, 0] = np.nan
    np.testing.assert_array_equal(np.isnan(block_mean(tiles, 2)), [[[True, False], [False, False]]])


def test_factor_one_changes_nothing():
    tiles = np.zeros((1, 2, 2), np.float32)
    assert block_mean(tiles, 1) is tiles
    assert enlarge(tiles, 1) is tiles


def test_enlarge_is_a_kronecker_product():
    tiles = np.random.default_rng(0).normal(size=(2, 3, 4))
    np.testing.assert_array_equal(enlarge(tiles, 3), [np.kron(tile, np.ones((3, 3))) for tile in tiles])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 3, 3), "one cell"),
        ((np.zeros((0, 2)), 3, 3), "one cell"),
        (([[1.0]], 0, 3), "positive"),
    ],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        resize_map(*arguments)


@pytest.mark.parametrize("options", [{"interpolation": "cubic"}, {"stride": (0, 1)}, {"stride": (np.nan, 1)}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match=r"cubic|strides"):
        resize_map([[1.0]], 2, 2, **options)


@pytest.mark.parametrize("resize", [block_mean, enlarge])
def test_factors_start_at_one(resize):
    with pytest.raises(ValueError, match="1 or more; got 0"):
        resize(np.zeros((1, 2, 2)), 0)
