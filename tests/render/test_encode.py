"""PNG, JPEG and WebP bytes, read back with Pillow."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets.render.encode import jpeg, png, webp

random = np.random.default_rng(0)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4), (1, 1)])
def test_png_keeps_every_pixel(shape):
    image = random.integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(decoded(png(image)), image)


def test_lossless_webp_keeps_every_pixel():
    image = random.integers(0, 256, (9, 6, 3), np.uint8)
    data = webp(image, lossless=True)
    assert data[8:12] == b"WEBP"
    np.testing.assert_array_equal(decoded(data), image)


def test_webp_of_a_smooth_picture_is_close_and_smaller():
    y, x = np.mgrid[:128, :128]
    image = np.stack([y, x, (x + y) // 2], axis=2).astype(np.uint8)
    data = webp(image, quality=90)
    assert np.abs(decoded(data).astype(int) - image).mean() < 3
    assert len(data) < len(png(random.integers(0, 256, image.shape, np.uint8))) / 10


def test_jpeg_keeps_the_color_of_single_pixels():
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, ::2, 0], image[:, 1::2, 2] = 200, 200  # red and blue columns, which shared colors would mix
    shared = io.BytesIO()
    Image.fromarray(image).save(shared, "JPEG", quality=88, subsampling="4:2:0")
    mixed = np.abs(decoded(shared.getvalue()).astype(int) - image).mean()
    assert mixed > 40
    assert np.abs(decoded(jpeg(image)).astype(int) - image).mean() < 4
    with pytest.raises(ValueError, match="no transparency"):
        jpeg(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(ValueError, match="got 0"):
        jpeg(image, quality=0)


def test_lower_quality_is_smaller():
    image = random.integers(0, 256, (64, 64, 3), np.uint8)
    assert len(webp(image, quality=20)) < len(webp(image, quality=90))


@pytest.mark.parametrize("encode", [png, webp])
def test_files_fit_their_limit_by_halving(encode):
    image = random.integers(0, 256, (200, 120, 3), np.uint8)
    data = encode(image, max_bytes=10_000)
    assert len(data) <= 10_000
    height, width = decoded(data).shape[:2]
    assert (height, width) in [(200 // 2**n, 120 // 2**n) for n in range(1, 6)]
    assert len(encode(image[: 2 * height, : 2 * width])) > 10_000 / 4


def test_more_effort_is_smaller():
    image = np.repeat(random.integers(0, 256, (64, 64, 3), np.uint8), 4, axis=0)
    sizes = [len(png(image, effort=effort)) for effort in (0, 1, 9)]
    assert sizes[0] > sizes[1] > sizes[2]
    with pytest.raises(ValueError, match="effort"):
        png(image, effort=10)


def test_slices_that_are_not_contiguous_work():
    image = random.integers(0, 256, (8, 8, 3), np.uint8)[::2, ::-1]
    np.testing.assert_array_equal(decoded(png(image)), image)


def test_a_limit_nothing_fits_in_is_said():
    with pytest.raises(ValueError, match="max_bytes=10"):
        png(np.zeros((4, 4), np.uint8), max_bytes=10)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2)), "uint8; got float64"),
        (np.zeros((2, 2, 2), np.uint8), r"\[2, 2, 2\]"),
        (np.zeros((0, 2), np.uint8), r"\[0, 2\]"),
        (np.zeros((2, 2, 3, 1), np.uint8), r"\[2, 2, 3, 1\]"),
        (np.broadcast_to(np.uint8(0), (9000, 9000)), "64,000,000 pixels"),
    ],
)
def test_what_is_no_picture_is_refused(image, message):
    for encode in (png, webp):
        with pytest.raises(ValueError, match=message):
            encode(image)


def test_the_limits_of_webp_are_said():
    with pytest.raises(ValueError, match="16383 pixels"):
        webp(np.zeros((1, 16_384), np.uint8))
    with pytest.raises(ValueError, match="quality"):
        webp(np.zeros((1, 1), np.uint8), quality=101)
