"""A heat map over a photo, against closed forms and Pillow's blending."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets.render.colormaps import apply, table
from cnnviz_widgets.render.overlay import blend, heat_map, overlay
from cnnviz_widgets.render.resize import resize_map

random = np.random.default_rng(0)
photo = random.integers(0, 256, (12, 10, 3), np.uint8)
values = random.random((3, 5))


def test_the_layer_is_the_colored_resized_map():
    layer = heat_map(values, 12, 10)
    expected = apply(resize_map(values, 12, 10), table("viridis"), values.min(), values.max())
    np.testing.assert_array_equal(layer[..., :3], expected)
    assert (layer[..., 3] == 255).all()


def test_signed_maps_are_zero_centered_by_themselves():
    layer = heat_map([[-1.0, 4.0]], 1, 2)
    resized = resize_map([[-1.0, 4.0]], 1, 2)
    np.testing.assert_array_equal(layer[..., :3], apply(resized, table("vik"), -4, 4))


def test_given_ends_replace_those_of_the_map():
    layer = heat_map([[0.5]], 1, 1, low=0.0, high=1.0, colormap="gray")
    assert layer[0, 0].tolist() == [128, 128, 128, 255]


@pytest.mark.parametrize("opacity", [0.0, 0.3, 0.5, 1.0])
def test_blending_agrees_with_pillow(opacity):
    layer = heat_map(values, 12, 10)
    mixed = blend(photo, layer, opacity)
    expected = Image.blend(Image.fromarray(photo), Image.fromarray(layer[..., :3].copy()), opacity)
    assert np.abs(mixed.astype(int) - np.asarray(expected).astype(int)).max() <= 1  # Pillow cuts, we round


def test_opacity_zero_is_the_photo_and_one_the_layer():
    layer = heat_map(values, 12, 10)
    np.testing.assert_array_equal(blend(photo, layer, 0.0), photo)
    np.testing.assert_array_equal(blend(photo, layer, 1.0), layer[..., :3])


def test_the_photo_shows_through_nan():
    cells = np.array([[0.0, np.nan], [1.0, 2.0]])
    shown = overlay(photo, cells, opacity=1.0, interpolation="nearest")
    np.testing.assert_array_equal(shown[:6, 5:], photo[:6, 5:])
    assert (shown[:6, :5] == table("viridis")[0]).all()


def test_overlay_is_both_steps():
    expected = blend(photo, heat_map(values, 12, 10, interpolation="nearest"), 0.4)
    np.testing.assert_array_equal(overlay(photo, values, opacity=0.4, interpolation="nearest"), expected)


def test_alignment_is_passed_on():
    options = {"stride": (2.0, 2.0), "center": (3.0, 1.0)}
    expected = apply(resize_map(values, 12, 10, **options), table("viridis"), values.min(), values.max())
    np.testing.assert_array_equal(overlay(photo, values, opacity=1.0, **options), expected)


def test_a_map_of_nothing_is_said():
    with pytest.raises(ValueError, match="no finite value, 4 NaN"):
        overlay(photo, np.full((2, 2), np.nan))


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_impossible_opacities_are_refused(opacity):
    with pytest.raises(ValueError, match="opacity"):
        overlay(photo, values, opacity=opacity)


@pytest.mark.parametrize("image", [photo[..., 0], photo.astype(float), photo[..., :2]])
def test_what_is_no_photo_is_refused(image):
    with pytest.raises(ValueError, match=r"a photo is uint8 \[H, W, 3\]"):
        overlay(image, values)


def test_layers_of_another_size_are_refused():
    with pytest.raises(ValueError, match="photo's size"):
        blend(photo, np.zeros((3, 3, 4), np.uint8), 0.5)
