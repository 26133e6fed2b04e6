"""Pictures of kernels: zero is the middle of the scale, and every weight is where it belongs."""

from __future__ import annotations

import numpy as np
import pytest

from cnnviz_widgets.render.colormaps import table
from cnnviz_widgets.render.kernels import color_kernels, kernel_picture, matrix_picture

VIK = table("vik").astype(int)
random = np.random.default_rng(0)


def test_colors_against_plain_loops():
    weights = random.normal(size=(4, 3, 2, 5)).astype(np.float32)
    weights[0, 1, 1, 2] = 0
    limit = max(abs(value) for value in weights.ravel().tolist())
    picture = color_kernels(weights)
    for n, channel, row, column in np.ndindex(weights.shape):
        exact = 255 * (0.5 + float(weights[n, channel, row, column]) / (2 * limit))
        assert abs(int(picture[n, row, column, channel]) - exact) <= 0.5 + 1e-9
    assert picture[0, 1, 2, 1] == 128
    assert 255 in picture[np.abs(weights).max(axis=1) == limit] or 0 in picture


def test_the_negative_kernel_has_the_complementary_colors():
    weights = random.normal(size=(2, 3, 4, 4))
    total = color_kernels(weights).astype(int) + color_kernels(-weights)
    assert np.isin(total, (255, 256)).all()


def test_one_scale_for_all_unless_a_limit_is_given():
    weights = np.zeros((2, 3, 1, 1))
    weights[:, 0, 0, 0] = 1, 10
    assert color_kernels(weights)[:, 0, 0, 0].tolist() == [140, 255]
    assert color_kernels(weights, limit=2)[:, 0, 0, 0].tolist() == [191, 255]
    assert (color_kernels(np.zeros((1, 3, 2, 2))) == 128).all()


def test_a_color_layer_is_a_mosaic_of_its_colors():
    weights = random.normal(size=(16, 3, 5, 5))
    picture = kernel_picture(weights, in_color=True)
    # 16 tiles in 5 columns and 4 rows, each pixel enlarged to 16 (80 / 5), gaps of 4.
    assert picture.shape == (4 * 80 + 3 * 4, 5 * 80 + 4 * 4, 3)
    tile = picture[84 : 84 + 80, 2 * 84 : 2 * 84 + 80]
    np.testing.assert_array_equal(tile[8::16, 8::16], color_kernels(weights)[7])


def test_one_input_channel_is_shown_as_signed_maps():
    weights = np.zeros((12, 1, 1, 2))
    weights[0, 0, 0] = -1, 0.5
    picture = kernel_picture(weights).astype(int)
    assert picture[0, 0].tolist() == VIK[0].tolist()
    assert picture[0, 159].tolist() == VIK[191].tolist()
    assert picture[-1, -1].tolist() == VIK[128].tolist()


def test_deeper_layers_are_matrices_of_maps():
    weights = random.normal(size=(4, 6, 3, 3))
    picture = kernel_picture(weights)
    factor = 640 // (6 * 4)
    side = 4 * factor
    assert picture.shape == (4 * side - factor, 6 * side - factor, 3)
    limit = np.abs(weights).max()
    for output, channel, row, column in np.ndindex(weights.shape):
        pixel = picture[output * side + row * factor, channel * side + column * factor].astype(int)
        level = (weights[output, channel, row, column] / limit + 1) / 2 * 255
        assert (pixel == VIK[int(level + 0.5)]).all()


def test_large_layers_show_norms():
    weights = random.normal(size=(128, 64, 3, 3))
    norms = np.array([[np.linalg.norm(each) for each in row] for row in weights])
    picture = kernel_picture(weights)
    np.testing.assert_array_equal(picture, matrix_picture(norms))
    assert picture.shape == (5 * 128, 5 * 64, 3)
    brightest = np.unravel_index(norms.argmax(), norms.shape)
    assert picture[brightest[0] * 5, brightest[1] * 5].tolist() == table("viridis")[255].tolist()


def test_1x1_layers_are_matrices_of_weights():
    weights = np.array([[-2.0, 0.0], [1.0, 2.0], [0.5, 0.25]])[:, :, None, None]
    picture = kernel_picture(weights).astype(int)
    assert picture.shape == (3 * 213, 2 * 213, 3)
    cells = picture[100::213, 100::213]
    assert cells[0].tolist() == [VIK[0].tolist(), VIK[128].tolist()]
    assert cells[1, 1].tolist() == VIK[255].tolist()


def test_matrices_without_negative_values_start_at_zero():
    viridis = table("viridis")
    assert matrix_picture([[1.0, 2.0]])[0, 0].tolist() == viridis[128].tolist()
    assert (matrix_picture([[0.0, 0.0]]) == viridis[0]).all()


def test_pictures_of_the_largest_layers_stay_small():
    assert max(kernel_picture(random.normal(size=(3000, 40, 1, 1))).shape) <= 2048
    assert max(kernel_picture(random.normal(size=(2, 1, 900, 3))).shape) <= 2048


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: color_kernels(np.ones((2, 4, 3, 3))), r"\[N, 3, kH, kW\]; got the shape \[2, 4, 3, 3\]"),
        (lambda: color_kernels(np.full((1, 3, 1, 1), np.nan)), "must be finite"),
        (lambda: color_kernels(np.ones((1, 3, 1, 1)), limit=0), "positive number; got 0"),
        (lambda: kernel_picture(np.ones((3, 3))), r"got the shape \[3, 3\]"),
        (lambda: kernel_picture(np.ones((0, 3, 3, 3))), "one at least"),
        (lambda: matrix_picture(np.ones(3)), r"one cell at least; got \[3\]"),
    ],
)
def test_what_is_no_kernel_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
