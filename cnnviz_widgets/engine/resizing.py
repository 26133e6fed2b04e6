"""Pictures brought to another size as torchvision does it, without torchvision, which takes seconds to import."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cnnviz_widgets.engine.pictures import Picture

# Pillow has one nearest; torch's counterpart of it is the exact one.
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def resized(picture: Picture, size: tuple[int, int], interpolation: str) -> Picture:
    """Return the picture scaled to (height, width), smoothed where it shrinks; lanczos is for PIL images only."""
    height, width = size
    if not isinstance(picture, Tensor):
        return picture.resize((width, height), FILTERS[interpolation])
    if interpolation == "nearest":
        return F.interpolate(picture[None], size=size, mode="nearest-exact")[0]
    return F.interpolate(picture[None], size, mode=interpolation, align_corners=False, antialias=True)[0]


def middle(picture: Picture, size: tuple[int, int]) -> Picture:
    """Return the middle of the picture, of (height, width), with black around it where it is smaller."""
    height, width = picture.shape[1:] if isinstance(picture, Tensor) else picture.size[::-1]
    top, bottom = _margins(height, size[0])
    left, right = _margins(width, size[1])
    if isinstance(picture, Tensor):
        return F.pad(picture, (left, right, top, bottom))  # a negative margin is cut off
    return picture.crop((-left, -top, width + right, height + bottom))  # black beyond the picture


def _margins(length: int, wanted: int) -> tuple[int, int]:
    """Return what is added before and after, negative where it is cut off; halves go where torchvision's do."""
    before = (wanted - length) // 2 if wanted > length else -round((length - wanted) / 2)
    return before, wanted - length - before


def values_of(picture: Picture) -> Tensor:
    """Return a picture as float32 [C, H, W], with bytes from 0 to 255 as numbers from 0 to 1."""
    if not isinstance(picture, Tensor):
        pixels = np.array(picture)
        picture = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
    return picture.float() / 255 if picture.dtype == torch.uint8 else picture.float()
