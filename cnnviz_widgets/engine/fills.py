"""What stands in for pixels that are taken away: one value, a blurred picture, or noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

Fill: TypeAlias = float | str | tuple[float, ...]
"""A number in the network's input space, one for each channel, or ``"black"``, ``"gray"``, ``"blur"``, ``"noise"``."""

FILLS = ("black", "gray", "blur", "noise")
BLUR = 0.05
"""Standard deviation of the blur, as a share of the image's shorter side."""


def checked_fill(name: str, fill: Any) -> Fill:
    """Return a fill with plain numbers, or say what there is, for what is none."""
    if isinstance(fill, str) and fill in FILLS:
        return fill
    several = isinstance(fill, tuple | list) or (isinstance(fill, np.ndarray) and fill.ndim == 1)
    numbers = list(fill) if several else [fill]
    if not numbers or not all(map(_is_number, numbers)):
        raise ValueError(
            f"{name} is a number in the network's input space (0.0: the mean color of a normalized input), one for "
            f"each channel, 'black', 'gray', 'blur' or 'noise'; got {fill!r}"
        )
    return tuple(map(float, numbers)) if several else float(numbers[0])


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def filled(net: Network, x: Tensor, fill: Fill, *, seed: int = 0) -> Tensor:
    """Return images of the shape of a prepared batch [N, C, H, W] that hold nothing but the fill.

    Parameters
    ----------
    fill
        A number: that value everywhere; several: each in its channel. ``"black"``, ``"gray"``: that color (0 or 0.5
        before it is normalized). ``"blur"``: the images, blurred by a Gaussian with a deviation of 5 % of their shorter
        side. ``"noise"``: normal numbers with the mean and deviation of each image's channels, drawn from ``seed``.
    """
    fill = checked_fill("fill", fill)
    if fill == "blur":
        return blurred(x, max(1.0, BLUR * min(x.shape[2:])))
    if fill == "noise":
        draw = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device, x.dtype)
        return draw * x.std(dim=(2, 3), keepdim=True) + x.mean(dim=(2, 3), keepdim=True)
    if isinstance(fill, str):
        mean, std = (x.new_tensor(each)[:, None, None] for each in (net.input.mean, net.input.std))
        return (((0.0 if fill == "black" else 0.5) - mean) / std).expand_as(x).clone()
    if isinstance(fill, float):
        return torch.full_like(x, fill)
    if len(fill) != x.shape[1]:
        raise ValueError(
            f"a fill of {len(fill)} numbers for {x.shape[1]} channels; give one for each, or one"
        )
    return x.new_tensor(fill)[:, None, None].expand_as(x).clone()


def blurred(x: Tensor, deviation: float) -> Tensor:
    """Return images under a Gaussian of that deviation in pixels, cut off at three; the border is continued."""
    reach = math.ceil(3 * deviation)
    weights = torch.exp(-((torch.arange(-reach, reach + 1, device=x.device) / deviation) ** 2) / 2)
    weights = (weights / weights.sum()).to(x.dtype)
    planes = functional.pad(x.flatten(0, 1)[:, None], (reach,) * 4, mode="replicate")
    rows = functional.conv2d(planes, weights[None, None, :, None])
    return functional.conv2d(rows, weights[None, None, None]).reshape(x.shape)
