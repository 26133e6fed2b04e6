"""A heat map over a photo."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, apply, table
from cnnviz_widgets.render.normalize import symmetric_range, value_range
from cnnviz_widgets.render.resize import resize_map


def heat_map(
    values: ArrayLike,
    height: int,
    width: int,
    *,
    colormap: str | None = None,
    zero_centered: bool | None = None,
    low: float | None = None,
    high: float | None = None,
    interpolation: str = "bilinear",
    stride: tuple[float, float] | None = None,
    center: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """See a map as a colored layer of the picture's size, transparent where it is NaN.

    Parameters
    ----------
    values : array [H, W]
    height, width : int
        Size of the picture below.
    colormap : str, optional
        The default is the first diverging table when zero-centered, otherwise the first sequential one.
    zero_centered : bool, optional
        Put zero in the middle of the scale. The default does so when any value is negative.
    low, high : float, optional
        Ends of the scale; by default the smallest and the largest value.
    interpolation, stride, center
        As in `resize_map`, which also documents the alignment.

    Returns
    -------
    uint8 array [height, width, 4]
        Red, green, blue and an alpha of 255, or 0 where the map is NaN.

    Raises
    ------
    ValueError
        Where the map holds no finite value, or an argument is out of its range.
    """
    found = value_range(values)
    if found.empty and (low is None or high is None):
        raise ValueError(f"nothing to show: the map has {found.note}")
    if zero_centered is None:
        zero_centered = (found.low if low is None else low) < 0
    bottom = found.low if low is None else low
    top = found.high if high is None else high
    if zero_centered:
        bottom, top = symmetric_range(bottom, top)
    resized = resize_map(values, height, width, interpolation=interpolation, stride=stride, center=center)
    colors = table(colormap or (DIVERGING if zero_centered else SEQUENTIAL)[0])
    layer = np.full((height, width, 4), 255, np.uint8)
    layer[..., :3] = apply(resized, colors, bottom, top)
    layer[np.isnan(resized), 3] = 0
    return layer


def blend(image: NDArray[np.uint8], layer: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """See a layer over a photo.

    Parameters
    ----------
    image : uint8 array [H, W, 3]
    layer : uint8 array [H, W, 4]
        As `heat_map` returns it.
    opacity : float in [0, 1]
        0 shows the photo alone, 1 the layer alone.

    Returns
    -------
    uint8 array [H, W, 3]
    """
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity lies in [0, 1]; got {opacity!r}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"a photo is uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}")
    if layer.dtype != np.uint8 or layer.shape != (*image.shape[:2], 4):
        raise ValueError(
            f"the layer must be uint8 {[*image.shape[:2], 4]}, the photo's size; "
            f"got {layer.dtype} {list(layer.shape)}"
        )
    weight = layer[..., 3:].astype(np.float32) * np.float32(opacity / 255)
    mixed = image + weight * (layer[..., :3].astype(np.float32) - image)
    return np.rint(mixed).astype(np.uint8)


def overlay(
    image: NDArray[np.uint8],
    values: ArrayLike,
    *,
    opacity: float = 0.5,
    colormap: str | None = None,
    zero_centered: bool | None = None,
    low: float | None = None,
    high: float | None = None,
    interpolation: str = "bilinear",
    stride: tuple[float, float] | None = None,
    center: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """See a map over a photo: `heat_map` and `blend` in one call, with their parameters.

    Where the map is NaN the photo shows through unchanged.

    Examples
    --------
    >>> photo = np.zeros((4, 4, 3), np.uint8)
    >>> overlay(photo, [[0.0, 1.0]], opacity=1.0, interpolation="nearest")[0, 0].tolist()
    [68, 1, 84]
    """
    if image.ndim != 3:
        raise ValueError(f"a photo is uint8 [H, W, 3]; got {image.dtype} {list(image.shape)}")
    layer = heat_map(
        values,
        image.shape[0],
        image.shape[1],
        colormap=colormap,
        zero_centered=zero_centered,
        low=low,
        high=high,
        interpolation=interpolation,
        stride=stride,
        center=center,
    )
    return blend(image, layer, opacity)
