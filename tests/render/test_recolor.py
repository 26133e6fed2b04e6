"""Colors from another picture, against sorted values and Pillow's brightness."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets.render.recolor import (
    gray_picture,
    luminance,
    match_covariance,
    match_histogram,
    matched_luminance,
    with_luminance,
)

DRAW = np.random.default_rng(0)
PICTURE = DRAW.integers(0, 256, (9, 7, 3), dtype=np.uint8)
SOURCE = DRAW.integers(0, 100, (7, 9, 3), dtype=np.uint8)


def test_histograms_are_equal_and_the_order_stays() -> None:
    made = match_histogram(PICTURE, SOURCE)
    for channel in range(3):
        counts = [np.bincount(each[..., channel].ravel(), minlength=256) for each in (made, SOURCE)]
        np.testing.assert_array_equal(*counts)
        order = np.argsort(PICTURE[..., channel], axis=None, kind="stable")
        assert (np.diff(made[..., channel].ravel()[order].astype(int)) >= 0).all()
    np.testing.assert_array_equal(match_histogram(PICTURE, PICTURE), PICTURE)


def test_another_number_of_pixels() -> None:
    twice = match_histogram(np.concatenate([PICTURE, PICTURE]), SOURCE)
    np.testing.assert_array_equal(
        np.sort(twice, axis=None)[::2], np.sort(match_histogram(PICTURE, SOURCE), axis=None)
    )
    half = match_histogram(PICTURE[:, :1], SOURCE)
    middle = np.sort(SOURCE[..., 0], axis=None)[[(2 * k + 1) * 63 // 18 for k in range(9)]]
    np.testing.assert_array_equal(np.sort(half[..., 0], axis=None), middle)
    with pytest.raises(ValueError, match="source is empty"):
        match_histogram(PICTURE, SOURCE[:0])


def test_brightness_is_pillows_and_color_stays() -> None:
    by_pillow = np.asarray(Image.fromarray(PICTURE).convert("L"), np.float64)
    assert np.abs(luminance(PICTURE) - by_pillow).max() < 1
    np.testing.assert_array_equal(with_luminance(PICTURE, luminance(PICTURE)), PICTURE)
    # Colors in the middle have room on both sides.
    calm = (PICTURE // 3 + 85).astype(np.uint8)
    wanted = luminance(calm) + DRAW.uniform(-60, 60, calm.shape[:2])
    made = with_luminance(calm, wanted)
    assert np.abs(luminance(made) - wanted).max() <= 0.5 + 1e-9
    chroma = [each[..., :1].astype(int) - each[..., 1:] for each in (made, calm)]
    np.testing.assert_array_equal(*chroma)


def test_matched_brightness_and_gray() -> None:
    values, like = luminance(PICTURE), luminance(SOURCE)
    matched = matched_luminance(values, like)
    assert (matched.mean(), matched.std()) == pytest.approx((like.mean(), like.std()))
    assert matched_luminance(np.full((2, 2), 9.0), like) == pytest.approx(np.full((2, 2), like.mean()))
    assert gray_picture(np.array([[-5.0, 99.6, 300.0]])).tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


def test_colors_get_the_sources_covariance_and_gray_sources_make_gray() -> None:
    made = match_covariance(PICTURE, SOURCE).reshape(-1, 3)
    np.testing.assert_allclose(made.mean(0), SOURCE.reshape(-1, 3).mean(0))
    np.testing.assert_allclose(np.cov(made.T), np.cov(SOURCE.reshape(-1, 3).T), rtol=1e-9)
    np.testing.assert_allclose(match_covariance(PICTURE, PICTURE), PICTURE, atol=1e-9)
    gray = match_covariance(PICTURE, gray_picture(luminance(SOURCE)))
    assert np.ptp(gray, axis=2).max() < 1e-9
    flat = match_covariance(np.full_like(PICTURE, 7), SOURCE)
    np.testing.assert_allclose(flat.reshape(-1, 3), np.tile(SOURCE.reshape(-1, 3).mean(0), (63, 1)))
