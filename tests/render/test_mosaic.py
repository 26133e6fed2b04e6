"""Tiles as one picture: every pixel where it belongs, and files that stay within their limit."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnnviz_widgets.render.colormaps import table
from cnnviz_widgets.render.mosaic import color_tiles, fit_tiles, mosaic, mosaic_columns, mosaic_png, pad_alike

random = np.random.default_rng(0)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 12), st.integers(0, 3))
def test_every_pixel_is_where_a_plain_loop_puts_it(count, height, width, columns, gap):
    tiles = random.integers(0, 256, (count, height, width, 3), np.uint8)
    across = min(columns, count)
    rows = -(-count // across)
    expected = np.empty((rows * (height + gap) - gap, across * (width + gap) - gap, 3), np.uint8)
    expected[...] = (1, 2, 3)
    for index in range(count):
        top, left = index // across * (height + gap), index % across * (width + gap)
        expected[top : top + height, left : left + width] = tiles[index]
    np.testing.assert_array_equal(mosaic(tiles, columns=columns, gap=gap, background=(1, 2, 3)), expected)


def test_the_default_is_wider_than_high():
    assert mosaic_columns(96, 10, 10) == 12
    assert mosaic_columns(1, 10, 10) == 1
    height, width = mosaic(np.zeros((96, 10, 10, 3), np.uint8)).shape[:2]
    assert 1.2 < width / height < 1.8


def test_one_scale_for_all_uses_the_range_of_all():
    maps = np.array([[[0.0, 1.0]], [[2.0, 4.0]]])
    gray = color_tiles(maps, colormap="gray")[..., 0]
    assert gray.tolist() == [[[0, 64]], [[128, 255]]]


def test_a_scale_each_uses_the_range_of_each():
    maps = np.array([[[0.0, 1.0]], [[2.0, 4.0]]])
    assert color_tiles(maps, colormap="gray", scale="each")[..., 0].tolist() == [[[0, 255]], [[0, 255]]]


def test_signed_maps_are_zero_centered_by_themselves():
    maps = np.array([[[-1.0, 0.0, 3.0]]])
    vik = table("vik")
    assert color_tiles(maps)[0, 0].tolist() == [vik[85].tolist(), vik[128].tolist(), vik[255].tolist()]


def test_nan_is_gray_and_tiles_of_nothing_else_do_not_stop_the_rest():
    maps = np.array([[[np.nan, np.nan]], [[0.0, 1.0]]])
    for scale in ("shared", "each"):
        picture = color_tiles(maps, scale=scale, colormap="viridis")
        assert (picture[0] == 128).all()
        assert picture[1, 0].tolist() == [table("viridis")[0].tolist(), table("viridis")[255].tolist()]


def test_tiles_come_to_a_readable_size():
    assert fit_tiles(np.zeros((512, 7, 7, 3), np.uint8)).shape[1:3] == (49, 49)
    assert fit_tiles(np.zeros((4, 28, 28, 3), np.uint8)).shape[1:3] == (168, 168)
    assert fit_tiles(np.zeros((4, 500, 900, 3), np.uint8)).shape[1:3] == (167, 300)


def test_the_png_shows_the_first_tiles_and_stays_small():
    noise = random.normal(size=(300, 28, 28))
    data = mosaic_png(noise, max_bytes=50_000)
    assert len(data) <= 50_000
    assert Image.open(io.BytesIO(data)).format == "PNG"


def test_the_png_holds_the_mosaic_of_the_tiles_asked_for():
    maps = random.normal(size=(5, 48, 48))
    picture = np.asarray(Image.open(io.BytesIO(mosaic_png(maps, max_tiles=3))))
    expected = mosaic(fit_tiles(color_tiles(maps[:3])), gap=2)
    np.testing.assert_array_equal(picture, expected)


def test_the_png_takes_pictures_as_they_are():
    tiles = random.integers(0, 256, (2, 160, 160, 3), np.uint8)
    picture = np.asarray(Image.open(io.BytesIO(mosaic_png(tiles))))
    np.testing.assert_array_equal(picture[:, :160], tiles[0])


@pytest.mark.parametrize(
    "tiles", [np.zeros((2, 3, 3)), np.zeros((0, 3, 3, 3), np.uint8), np.zeros((1, 2, 2, 3))]
)
def test_what_is_no_tile_is_refused(tiles):
    with pytest.raises(ValueError, match="tiles are uint8"):
        mosaic(tiles)


@pytest.mark.parametrize(("options", "message"), [({"gap": -1}, "gap"), ({"columns": 0}, "one column")])
def test_impossible_layouts_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        mosaic(np.zeros((1, 2, 2, 3), np.uint8), **options)


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match="'both'"):
        color_tiles(np.zeros((1, 2, 2)), scale="both")


def test_no_maps_at_all_are_refused():
    with pytest.raises(ValueError, match="nothing to show"):
        mosaic_png(np.zeros((0, 3, 3)))


def test_pictures_of_several_sizes_stand_in_the_middle_of_tiles_of_one():
    pictures = [np.full(shape, 9, np.uint8) for shape in ((2, 5, 3), (4, 1, 3), (0, 0, 3))]
    tiles = pad_alike(pictures, fill=7)
    assert tiles.shape == (3, 4, 5, 3)
    expected = np.full((3, 4, 5), 7)
    expected[0, 1:3] = 9
    expected[1, :, 2] = 9
    np.testing.assert_array_equal(tiles, np.repeat(expected[..., None], 3, axis=3))
