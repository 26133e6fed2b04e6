"""Pictures of attributions: scales that outliers do not set, zero in the middle, and what lies side by side."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets.render.attribution import attribution_png, heat_scale, signed_picture
from cnnviz_widgets.render.colormaps import table

DRAW = np.random.default_rng(0)


def test_scales() -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32).reshape(7, 143)
    assert heat_scale(values) == pytest.approx((0, 0.995))
    assert heat_scale(values - 0.75) == pytest.approx((-0.745, 0.745))
    single = np.zeros((40, 40), np.float32)
    single[3, 4] = 5  # one pixel in 1,600 is no outlier if there is nothing else
    assert heat_scale(single) == (0, 5)
    assert heat_scale(np.zeros((4, 4), np.float32)) == (0, 0)


def test_three_pictures_side_by_side() -> None:
    photo = DRAW.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    values = DRAW.random((60, 80)).astype(np.float32)
    drawn = np.asarray(Image.open(io.BytesIO(attribution_png(photo, values))))
    tiles = [drawn[::2, left : left + 160 : 2] for left in (0, 164, 328)]
    assert (tiles[0] == photo).all()
    brightest, darkest = (np.unravel_index(pick(values), values.shape) for pick in (np.argmax, np.argmin))
    colors = table("viridis")
    assert (tiles[1][brightest] == colors[-1]).all()
    assert (tiles[1][darkest] == colors[0]).all()
    assert abs(tiles[2] - (0.4 * photo + 0.6 * tiles[1])).max() <= 0.5 + 1e-3


def test_without_a_picture_and_with_nothing_in_it() -> None:
    for values in (DRAW.normal(size=(8, 8)), np.zeros((8, 8))):
        for photo in (np.zeros((0, 0, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)):
            assert Image.open(io.BytesIO(attribution_png(photo, values.astype(np.float32)))).size[0] > 8


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_signed_pictures(channels: int) -> None:
    values = DRAW.normal(size=(channels, 5, 6)).astype(np.float32)
    values[:, 2, 2] = 0
    shown = signed_picture(values)
    assert shown.shape == (5, 6, 3)
    assert (shown[2, 2] == 128).all()
    planes = values.sum(axis=0, keepdims=True) if channels == 2 else values
    planes = np.broadcast_to(planes, (3, 5, 6)).transpose(1, 2, 0)
    # Half a percent from the top, among the magnitudes that are not zero: between the two largest of so few.
    second, first = np.sort(abs(planes[planes != 0]))[-2:]
    place = 0.005 * ((planes != 0).sum() - 1)
    limit = first - place * (first - second) if place < 1 else second
    assert abs(shown - np.clip(0.5 + planes / (2 * limit), 0, 1) * 255).max() <= 0.51
    assert (signed_picture(np.zeros((channels, 2, 2), np.float32)) == 128).all()
