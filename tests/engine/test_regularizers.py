"""Penalties of pictures, against sums by hand and finite differences."""

from __future__ import annotations

import itertools

import pytest
import torch

from cnnviz_widgets.engine.regularizers import (
    AlphaNorm,
    Roughness,
    TotalVariation,
    alpha_norm,
    total_variation,
)
from cnnviz_widgets.engine.transforms import blurred

SQUARE = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0], [0.0, 4.0, 1.0]], dtype=torch.float64)


def written_out(v: torch.Tensor, beta: float) -> float:
    total = 0.0
    height, width = v.shape
    for i, j in itertools.product(range(height), range(width)):
        across = float(v[i, j + 1] - v[i, j]) if j + 1 < width else 0.0
        down = float(v[i + 1, j] - v[i, j]) if i + 1 < height else 0.0
        total += (across**2 + down**2) ** (beta / 2)
    return total


def test_total_variation_by_hand() -> None:
    # Row by row: (1 + 4) + (4 + 1) + 1; (0 + 4) + (0 + 4) + 1; 16 + 9 + 0.
    assert total_variation(SQUARE[None, None], 2.0).tolist() == [5 + 5 + 1 + 4 + 4 + 1 + 16 + 9]


@pytest.mark.parametrize("beta", [0.7, 1.0, 1.5, 2.0, 3.0])
def test_total_variation_of_any_beta(beta: float) -> None:
    batch = torch.stack([torch.stack([SQUARE, SQUARE.T]), torch.stack([SQUARE * 2, SQUARE * 0])])
    expected = [
        written_out(SQUARE, beta) + written_out(SQUARE.T, beta),
        written_out(2 * SQUARE, beta),
    ]
    torch.testing.assert_close(total_variation(batch, beta), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5])
def test_flat_pixels_have_a_finite_gradient_and_the_others_the_right_one(beta: float) -> None:
    flat = torch.zeros(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(total_variation(flat, beta).sum(), flat)
    assert not gradient.any()
    rough = torch.randn(1, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda v: total_variation(v, beta), rough.requires_grad_())
    partly = torch.cat([torch.zeros(1, 2, 4, 3, dtype=torch.float64), rough.detach()], 3).requires_grad_()
    (gradient,) = torch.autograd.grad(total_variation(partly, beta).sum(), partly)
    assert gradient.isfinite().all()
    assert not gradient[..., :2].any()


def test_alpha_norm_by_hand() -> None:
    assert alpha_norm(SQUARE[None, None], 2.0).tolist() == [1 + 9 + 4 + 4 + 4 + 16 + 1]
    assert alpha_norm(-SQUARE[None, None], 6.0).tolist() == [1 + 3**6 + 3 * 2**6 + 4**6 + 1]


def test_pixels_of_0_have_no_part_in_the_gradient_of_a_small_exponent() -> None:
    pixels = torch.tensor([[[[0.0, 4.0], [-9.0, 0.0]]]], dtype=torch.float64, requires_grad=True)
    value = alpha_norm(pixels, 0.5)
    assert value.tolist() == [5]
    (gradient,) = torch.autograd.grad(value.sum(), pixels)
    # 0.5 / sqrt |v|, with the sign of v.
    torch.testing.assert_close(gradient.flatten(), torch.tensor([0, 1 / 4, -1 / 6, 0], dtype=torch.float64))


def test_a_blur_is_a_gaussian_that_keeps_the_mean() -> None:
    point = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    point[..., 7, 7] = 1
    found = blurred(point, 1.5)[0, 0]
    offsets = torch.arange(-7, 8, dtype=torch.float64)
    weights = torch.exp(-(offsets**2) / (2 * 1.5**2)) * (offsets.abs() <= 5)
    torch.testing.assert_close(found, torch.outer(weights, weights) / weights.sum() ** 2)
    flat = torch.full((1, 2, 9, 4), 3.0, dtype=torch.float64)
    torch.testing.assert_close(blurred(flat, 2.0), flat)
    assert torch.equal(blurred(point, 0.0), point)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TotalVariation(-1.0),
        lambda: TotalVariation(1.0, beta=0),
        lambda: AlphaNorm(float("nan")),
        lambda: Roughness(1.0, deviation=0),
    ],
)
def test_weights_below_zero_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        wrong()  # type: ignore[operator]
