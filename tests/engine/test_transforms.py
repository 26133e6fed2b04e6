"""Random changes of a picture: each against what it is by definition."""

from __future__ import annotations

import pytest
import torch

from cnnviz_widgets.engine.motion import resampled
from cnnviz_widgets.engine.transforms import Blur, Jitter, Pad, Rotate, Scale, Transform, transformed


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(height: int = 6, width: int = 6) -> torch.Tensor:
    return torch.randn(2, 3, height, width, generator=drawn(1))


def test_jitter_shifts_by_whole_pixels_and_fills_with_the_mean() -> None:
    x, seen = batch(7, 9), set()
    for seed in range(40):
        found = Jitter(2)(x, drawn(seed))
        down, right = Jitter(2).draw(drawn(seed))
        seen.add((down, right))
        expected = torch.zeros_like(x)
        for row in range(7):
            for column in range(9):
                if 0 <= row - down < 7 and 0 <= column - right < 9:
                    expected[..., row, column] = x[..., row - down, column - right]
        assert torch.equal(found, expected)
        assert torch.equal(Jitter(2, roll=True)(x, drawn(seed)), x.roll((down, right), (2, 3)))
    assert {down for down, _ in seen} == {right for _, right in seen} == {-2, -1, 0, 1, 2}


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 5), (6, 10)])
def test_scale_and_rotation_are_about_the_middle(height: int, width: int) -> None:
    x = batch(height, width)
    torch.testing.assert_close(transformed(x, [Scale(1, 1), Rotate(0)], drawn()), x)
    # Twice as large: each new pixel lies a quarter of an old one beside an old one's middle.
    large = transformed(x, [Scale(2, 2)], drawn())
    zoomed = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    top, left = height // 2, width // 2
    if height % 2 == 0:
        torch.testing.assert_close(large, zoomed[..., top : top + height, left : left + width])


def test_a_rotation_turns_by_its_angle() -> None:
    x = batch(8, 8)

    class Quarter(Rotate):
        def matrix(self, random: torch.Generator) -> torch.Tensor:
            return torch.tensor([[0.0, 1.0], [-1.0, 0.0]])

    torch.testing.assert_close(Quarter()(x, drawn()), torch.rot90(x, -1, (2, 3)), atol=1e-5, rtol=1e-5)
    for seed in range(20):
        matrix = Rotate(30).matrix(drawn(seed))
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(2))
        assert 30.001 >= abs(torch.rad2deg(torch.atan2(matrix[0, 1], matrix[0, 0])).item()) > 0


def test_scale_and_rotation_in_a_row_are_one_resampling() -> None:
    # A smooth picture: resampled twice it differs only a little.
    rows = torch.linspace(-1, 1, 97)
    x = torch.exp(-12 * ((rows[:, None] - 0.2) ** 2 + (rows[None, :] + 0.1) ** 2))[None, None]
    random = drawn(5)
    twice = Rotate(40)(Scale(0.7, 1.3)(x, random), random)
    torch.testing.assert_close(
        transformed(x, [Scale(0.7, 1.3), Rotate(40)], drawn(5)), twice, atol=0.03, rtol=0
    )


def test_all_together_keep_the_size_and_are_the_same_for_a_seed() -> None:
    x = batch(20, 14)
    steps = [Pad(3), Jitter(2), Scale(0.9, 1.1), Rotate(5), Blur(1.0), Jitter(1)]
    found = transformed(x, steps, drawn(3))
    assert found.shape == x.shape
    assert torch.equal(found, transformed(x, steps, drawn(3)))
    assert not torch.equal(found, transformed(x, steps, drawn(4)))
    assert torch.equal(transformed(x, [Pad(3)], drawn()), x)


def one_by_one(x: torch.Tensor, steps: list[Transform], random: torch.Generator) -> torch.Tensor:
    """What transforms do one after another: the oracle for doing several at once."""
    height, width = x.shape[2:]
    for each in steps:
        x = each(x, random)
    above, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[..., above : above + height, left : left + width]


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (21, 30)])
@pytest.mark.parametrize(
    "steps",
    [
        [Pad(4), Jitter(3), Scale(0.7, 1.4), Jitter(2)],
        [Pad(2), Jitter(1), Jitter(1), Pad(2), Rotate(40), Pad(1), Jitter(2), Jitter(2)],
        # These lose something on the way, resample twice, or read beyond what is seen in the end.
        [Jitter(6), Rotate(30)],
        [Pad(2), Jitter(4), Pad(4), Scale(1, 1.4)],
        [Scale(1.2, 1.5), Jitter(5)],
        [Pad(4), Rotate(30), Jitter(2), Scale(0.8, 1.2)],
        [Pad(4), Scale(1.1, 1.3), Jitter(3), Blur(1.0), Jitter(2)],
        [Rotate(20), Jitter(3, roll=True), Pad(3), Rotate(10), Jitter(2)],
    ],
)
def test_moves_in_a_row_do_what_they_do_one_by_one(
    images: int, height: int, width: int, steps: list[Transform]
) -> None:
    for seed in range(4):
        x = torch.randn(images, 3, height, width, generator=drawn(seed)).requires_grad_()
        y = x.detach().clone().requires_grad_()
        weight = torch.randn(x.shape, generator=drawn(seed + 9))
        found, expected = transformed(x, steps, drawn(seed)), one_by_one(y, steps, drawn(seed))
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=0)
        (found * weight).sum().backward()
        (expected * weight).sum().backward()
        torch.testing.assert_close(x.grad, y.grad, atol=2e-4, rtol=0)


@pytest.mark.parametrize(("images", "size"), [(1, (24, 30)), (2, (21, 17))])
def test_pictures_of_float64_are_resampled_in_float64(images: int, size: tuple[int, int]) -> None:
    x = torch.randn(images, 3, *size, generator=drawn(1), dtype=torch.float64)
    turn = torch.tensor([[0.9, -0.3], [0.35, 1.1]], dtype=torch.float64)
    right, down = 1.7, -2.3
    # The same in halves of the sides, as torch counts.
    height, width = size
    half = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    theta = torch.cat(
        [turn * half / half[:, None], (torch.tensor([right, down], dtype=torch.float64) / half)[:, None]], 1
    )
    grid = torch.nn.functional.affine_grid(theta.expand(images, 2, 3), list(x.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(resampled(x, turn, (right, down)), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Jitter(-1),
        lambda: Pad(1.5),
        lambda: Scale(1.2, 0.8),
        lambda: Scale(0, 1),
        lambda: Rotate(200),
        lambda: Blur(-1),
    ],
)
def test_wrong_amounts_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"-1|1\.5|0\.8|200|0, 1"):
        wrong()  # type: ignore[operator]
