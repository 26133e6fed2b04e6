"""Random changes of a picture: each against what it is by definition."""

from __future__ import annotations

import pytest
import torch

from cnnviz_widgets.engine.transforms import Blur, Jitter, Pad, Rotate, Scale, transformed


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
