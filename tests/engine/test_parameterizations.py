"""What stands for a picture while it is optimized."""

from __future__ import annotations

import math

import pytest
import torch

from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.parameterizations import CORRELATION, Fourier, FourierPhase, Pixels

SPECS = [
    InputSpec(channels=3, mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3]),
    InputSpec(channels=1, mean=0.3, std=0.35),
    InputSpec(channels=5, mean=[0.3, 0.4, 0.5, 0.6, 0.7], std=0.2),
]


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def like(spec: InputSpec, height: int, width: int, pictures: int = 1) -> torch.Tensor:
    return torch.zeros(pictures, spec.channels or 0, height, width)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [(12, 16), (15, 9)])
def test_a_spectrum_of_small_unit_numbers_gives_the_networks_colors(
    spec: InputSpec, size: tuple[int, int]
) -> None:
    """To first order: covariances s_i s_j times the correlation, in the mean over many pictures."""
    faint = 0.01
    image = Fourier(spec, like(spec, *size, pictures=3000), random=drawn(), deviation=faint)
    values = image.picture(image.leaf) * spec.deviation
    found = values.double().permute(1, 0, 2, 3).flatten(1).cov().reshape(spec.channels, -1) / faint**2
    deviation = spec.deviation.flatten().double()
    together = torch.full_like(found, CORRELATION).fill_diagonal_(1.0)
    expected = deviation[:, None] * deviation[None, :] * together
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0)
    assert values.mean().abs() < 0.01 * faint * 10


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [(12, 16), (15, 9)])
def test_a_spectrum_stands_for_the_picture_it_was_made_of(spec: InputSpec, size: tuple[int, int]) -> None:
    value = 0.1 + 0.8 * torch.rand(like(spec, *size, pictures=2).shape, generator=drawn())
    mean, deviation = spec.scaling()
    x = (value - mean) / deviation
    image = Fourier(spec, x, start=x)
    torch.testing.assert_close(image.picture(image.leaf), x, atol=2e-5, rtol=1e-4)


def test_phases_keep_the_magnitudes_of_natural_images() -> None:
    spec = SPECS[0]
    image = FourierPhase(spec, like(spec, 16, 20), random=drawn())
    mean, deviation = spec.scaling()
    value = image.picture(image.leaf) * deviation + mean
    assert 0 < value.min() < value.max() < 1
    # Undo the colors: each plane's spectrum falls with the frequency, and its mean square is 1.
    planes = image._colors.planes((value - mean) / deviation)
    rows, columns = torch.meshgrid(torch.fft.fftfreq(16), torch.fft.fftfreq(20), indexing="ij")
    frequency = torch.sqrt(rows**2 + columns**2)
    magnitude = torch.fft.fft2(planes, norm="ortho").abs()
    # Waves that stand for themselves are real, so that their phase counts only by its cosine.
    inner = (frequency > 0) & (rows.abs() < 0.5) & (columns.abs() < 0.5)
    inner &= ~((columns == 0) | (rows == 0))
    product = (magnitude * frequency)[:, :, inner]
    torch.testing.assert_close(product, product[..., :1].expand_as(product), rtol=0.02, atol=0.0)
    # In the column of waves without a column, and in the middle one, half is lost.
    share = torch.where((columns == 0) | (columns.abs() == 0.5), 0.5, 1.0)
    expected = product[0, 0, 0] ** 2 * (share / frequency.clamp(min=1 / 20) ** 2).mean()
    assert math.isclose(float(expected), 1.0, rel_tol=0.02)
    again = FourierPhase(spec, value, random=drawn(), start=(value - mean) / deviation)
    difference = torch.polar(torch.ones(()), again.leaf - image.leaf).real[..., 1:-1, 1:-1]
    assert difference.min() > 0.999


def test_pixels_stay_between_black_and_white() -> None:
    spec = SPECS[0]
    image = Pixels(spec, like(spec, 4, 4))
    image.leaf += torch.linspace(-9, 9, 16).view(4, 4)
    image.constrain()
    value = image.leaf * spec.deviation + spec.scaling()[0]
    assert math.isclose(float(value.min()), 0.0, abs_tol=1e-6)
    assert math.isclose(float(value.max()), 1.0, abs_tol=1e-6)
    free = Pixels(spec, like(spec, 4, 4) + 99, bounded=False)
    free.constrain()
    assert bool((free.leaf == 99).all())
