"""Still pictures of what explains an answer: a photo and its heat map, and what is sent back to the pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, fit_tiles, mosaic, mosaic_png, signed_colors
from cnnviz_widgets.render.normalize import value_range
from cnnviz_widgets.render.overlay import blend, heat_map

_OUTLIERS = 0.5
"""Percent of the values, at either end, that may not set the scale: gradients have a few that are huge."""


def heat_scale(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of a heat map's color scale: 0 and above, or alike on both sides of 0 where some are below.

    Half a percent of the values at either end has no say, unless nothing else differs from zero.
    """
    found = value_range(values, percentile=_OUTLIERS)
    if found.low == found.high == 0:
        found = value_range(values)
    signed = bool((values < 0).any())
    limit = max(abs(found.low), abs(found.high))
    return (-limit if signed else 0.0), limit


def attribution_png(picture: NDArray[np.uint8], values: NDArray[np.float32]) -> bytes:
    """See a photo, its heat map, and the one over the other, side by side.

    Parameters
    ----------
    picture : uint8 array [H, W, 3]
        Where it is empty, the heat map is shown alone.
    values : array [H, W]
    """
    if not picture.size:
        return mosaic_png(values[None])
    height, width = picture.shape[:2]
    low, high = heat_scale(values)
    layer = heat_map(values, height, width, low=low, high=high, zero_centered=low < 0)
    tiles = np.stack([picture, layer[..., :3], blend(picture, layer, 0.6)])
    return png(mosaic(fit_tiles(tiles), columns=3, gap=4), effort=3, max_bytes=PNG_BYTES)


def signed_picture(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """See signed numbers [C, H, W] as a picture, uint8 [H, W, 3]: zero is middle gray.

    Three channels are red, green and blue; one is gray; of other numbers of channels the sum is shown. Of the
    magnitudes that are not zero, half a percent have no say in the scale, and are cut off at its ends.
    """
    planes = values if values.shape[0] in (1, 3) else values.sum(axis=0, keepdims=True)
    planes = np.broadcast_to(planes, (3, *planes.shape[1:])).transpose(1, 2, 0)
    magnitudes = np.abs(planes[planes != 0])
    return signed_colors(
        planes, float(np.percentile(magnitudes, 100 - _OUTLIERS)) if magnitudes.size else 0.0
    )
