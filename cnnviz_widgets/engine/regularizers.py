"""Regularizers: what keeps an optimized picture from being noise. Each is a penalty, to be subtracted.

They judge pixels less the network's mean, on the scale where white is 1 above black.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cnnviz_widgets.engine.objectives import Objective, Seen
from cnnviz_widgets.engine.transforms import blurred


def total_variation(pixels: Tensor, beta: float = 2.0) -> Tensor:
    """Return the total variation of each picture [N] of a batch [N, C, H, W].

    ``sum over c, i, j of ((v[i, j + 1] - v[i, j])^2 + (v[i + 1, j] - v[i, j])^2)^(beta / 2)`` (Mahendran and Vedaldi,
    2015). At the right and lower border the difference that leads out of the picture is 0; the other one counts.
    The gradient where both are 0 is taken as 0, also for beta < 2, where the formula's own has a kink there
    (beta = 1) or grows without end (beta < 1).
    """
    across = torch.nn.functional.pad(pixels.diff(dim=3), (0, 1, 0, 0))
    down = torch.nn.functional.pad(pixels.diff(dim=2), (0, 0, 0, 1))
    squares = across.square() + down.square()
    if beta == 2:
        return squares.flatten(1).sum(1)
    flat = squares == 0
    return torch.where(flat, 0.0, torch.where(flat, 1.0, squares).pow(beta / 2)).flatten(1).sum(1)


def alpha_norm(pixels: Tensor, alpha: float = 6.0) -> Tensor:
    """Return ``sum |v|^alpha`` of each picture [N]: large values cost most (Mahendran and Vedaldi, 2015).

    The gradient where v is 0 is taken as 0, also for alpha < 1, where the formula's own grows without end.
    """
    sizes = pixels.abs()
    if alpha < 1:
        zero = sizes == 0
        return torch.where(zero, 0.0, torch.where(zero, 1.0, sizes).pow(alpha)).flatten(1).sum(1)
    return sizes.pow(alpha).flatten(1).sum(1)


class TotalVariation(Objective):
    """`total_variation` of each picture, times ``weight``; to be subtracted."""

    def __init__(self, weight: float = 1.0, beta: float = 2.0) -> None:
        self.weight, self.beta = _checked("weight", weight), _checked("beta", beta, above=True)

    def values(self, seen: Seen) -> Tensor:
        """Return the penalty of each picture."""
        return self.weight * total_variation(seen.pixels, self.beta)


class AlphaNorm(Objective):
    """`alpha_norm` of each picture, times ``weight``; to be subtracted. With alpha 2 it is weight decay."""

    def __init__(self, weight: float = 1.0, alpha: float = 6.0) -> None:
        self.weight, self.alpha = _checked("weight", weight), _checked("alpha", alpha, above=True)

    def values(self, seen: Seen) -> Tensor:
        """Return the penalty of each picture."""
        return self.weight * alpha_norm(seen.pixels, self.alpha)


class Roughness(Objective):
    """Squared distance of each picture to itself blurred, times ``weight``: as a penalty, a pull towards the blurred.

    A smooth form of blurring the picture every few steps (Yosinski et al., 2015) that any parameterization can have.
    """

    def __init__(self, weight: float = 1.0, deviation: float = 1.0) -> None:
        self.weight, self.deviation = _checked("weight", weight), _checked("deviation", deviation, above=True)

    def values(self, seen: Seen) -> Tensor:
        """Return the penalty of each picture."""
        pixels = seen.pixels
        return self.weight * (pixels - blurred(pixels, self.deviation)).square().flatten(1).sum(1)


def _checked(name: str, value: object, *, above: bool = False) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not good or (above and value == 0):
        raise ValueError(f"{name} must be a number {'above' if above else 'from'} 0, got {value!r}")
    return float(value)  # type: ignore[arg-type]
