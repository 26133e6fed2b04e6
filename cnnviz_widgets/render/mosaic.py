"""Many tiles as one picture, for results that show themselves and for viewers that run no widgets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, apply, table
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.normalize import real_array, shared_range, symmetric_range, tile_ranges
from cnnviz_widgets.render.resize import block_mean, enlarge

PNG_TILES = 256
"""How many tiles a PNG shows at most."""

PNG_BYTES = 600_000
"""How large a PNG gets at most; it is shrunk to fit."""


def mosaic(
    tiles: NDArray[np.uint8],
    *,
    columns: int | None = None,
    gap: int = 1,
    background: tuple[int, int, int] = (255, 255, 255),
) -> NDArray[np.uint8]:
    """Lay out colored tiles row by row in one picture.

    Parameters
    ----------
    tiles : uint8 array [N, H, W, 3]
    columns : int, optional
        Tiles in a row. The default makes the picture about one and a half times as wide as high.
    gap : int
        Pixels of background between two tiles.
    background : three ints
        Red, green, blue of the gaps and of places without a tile.

    Returns
    -------
    uint8 array [height, width, 3]
        ``rows * H + (rows - 1) * gap`` pixels high, and so for the width.
    """
    array = np.asarray(tiles)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or array.size == 0:
        raise ValueError(f"tiles are uint8 [N, H, W, 3], one at least; got {array.dtype} {list(array.shape)}")
    if gap < 0:
        raise ValueError(f"the gap can't be negative; got {gap!r}")
    count, height, width = array.shape[:3]
    across = mosaic_columns(count, height, width) if columns is None else columns
    if across < 1:
        raise ValueError(f"a mosaic needs at least one column; got {columns!r}")
    rows = math.ceil(count / across)
    across = min(across, count)
    padded = np.empty((rows * across, height + gap, width + gap, 3), np.uint8)
    padded[...] = background
    padded[:count, :height, :width] = array
    grid = padded.reshape(rows, across, height + gap, width + gap, 3).swapaxes(1, 2)
    whole = grid.reshape(rows * (height + gap), across * (width + gap), 3)
    return np.ascontiguousarray(whole[: whole.shape[0] - gap, : whole.shape[1] - gap])


def tiles_of(
    picture: NDArray[np.uint8], count: int, height: int, width: int, *, gap: int = 1
) -> NDArray[np.uint8]:
    """Cut a picture that `mosaic` made, without ``columns``, back into its tiles, pixel for pixel.

    Parameters
    ----------
    picture : uint8 array [rows, columns, 3]
    count, height, width : int
        How many tiles, and their size.
    gap : int
        Pixels between two tiles.

    Returns
    -------
    uint8 array [N, H, W, 3]

    Examples
    --------
    >>> tiles = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
    >>> bool((tiles_of(mosaic(tiles), 3, 4, 5) == tiles).all())
    True
    """
    columns = mosaic_columns(count, height, width)
    rows = math.ceil(count / columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap)
    if picture.shape[:2] != size:
        raise ValueError(
            f"a mosaic of {count} tiles of {height} x {width} pixels has {size[0]} x {size[1]}; "
            f"got {picture.shape[0]} x {picture.shape[1]}"
        )
    padded = np.pad(picture, ((0, gap), (0, gap), (0, 0)))
    grid = padded.reshape(rows, height + gap, columns, width + gap, 3).swapaxes(1, 2)
    tiles = grid.reshape(rows * columns, height + gap, width + gap, 3)
    return np.ascontiguousarray(tiles[:count, :height, :width])


def mosaic_columns(count: int, height: int, width: int) -> int:
    """Return the number of columns that makes a picture of tiles about 3:2."""
    return max(1, min(count, round(math.sqrt(1.5 * count * height / width))))


def color_tiles(
    maps: ArrayLike,
    *,
    scale: str = "shared",
    zero_centered: bool | None = None,
    colormap: str | None = None,
) -> NDArray[np.uint8]:
    """Color maps as the tile grid does: on one scale for all, or on one each.

    Parameters
    ----------
    maps : array [N, H, W], or [N, H, W, 3] for values of red, green and blue (see `signed_colors`)
    scale : {"shared", "each"}
    zero_centered : bool, optional
        Put zero in the middle of the scale. The default does so when any value is negative.
    colormap : str, optional
        The default is the first diverging table when zero-centered, otherwise the first sequential one.

    Returns
    -------
    uint8 array [N, H, W, 3]
        NaN is gray.
    """
    if scale not in ("shared", "each"):
        raise ValueError(f'scale is "shared" or "each"; got {scale!r}')
    values = real_array(maps)
    ranges = tile_ranges(values.reshape(*values.shape[:2], -1) if values.ndim == 4 else values)
    if values.ndim == 4:
        limits = np.abs(np.nan_to_num(ranges)).max(axis=1, initial=0.0)
        limits = limits if scale == "each" else np.full_like(limits, limits.max(initial=0.0))
        return signed_colors(values, limits[:, None, None, None])
    whole = shared_range(ranges)
    if zero_centered is None:
        zero_centered = whole[0] < 0
    colors = table(colormap or (DIVERGING if zero_centered else SEQUENTIAL)[0])
    pictures = np.empty((*values.shape, 3), np.uint8)
    if scale == "shared":
        pictures[...] = apply(values, colors, *_ends(whole, zero_centered))
        return pictures
    for index, ends in enumerate(ranges):
        pictures[index] = apply(values[index], colors, *_ends((ends[0], ends[1]), zero_centered))
    return pictures


def signed_colors(values: NDArray[Any], limit: ArrayLike) -> NDArray[np.uint8]:
    """See three signed values a pixel as one color: zero is middle gray (128), as is NaN.

    Each of red, green and blue is ``0.5 + value / (2 * limit)``, cut off at 0 and 1. A limit of zero is one
    of values that are all zero.

    Parameters
    ----------
    values : array [..., 3]
    limit : array that broadcasts to the values
    """
    limits = np.asarray(limit, np.float64)
    share = np.nan_to_num(values.astype(np.float64), nan=0.0) / (2 * np.where(limits > 0, limits, 1.0)) + 0.5
    # Half a level up rather than to even: 127.5, the gray of zero, is 128 on every machine.
    levels: NDArray[np.uint8] = np.floor(np.clip(share, 0, 1) * 255 + 0.5).astype(np.uint8)
    return levels


def mosaic_png(
    maps: ArrayLike,
    *,
    scale: str = "shared",
    zero_centered: bool | None = None,
    colormap: str | None = None,
    max_tiles: int = PNG_TILES,
    max_bytes: int = PNG_BYTES,
) -> bytes:
    """See maps, or colored tiles, as one PNG of bounded size.

    Parameters
    ----------
    maps : array [N, H, W] or [N, H, W, 3] of values, or uint8 array [N, H, W, 3] of pictures
    scale, zero_centered, colormap
        As in `color_tiles`; pictures have no use for them.
    max_tiles : int
        Only that many of the first tiles are shown. The scale is theirs, too.
    max_bytes : int
        The picture is shrunk until its file fits.
    """
    array = np.asarray(maps)
    if array.ndim not in (3, 4) or array.size == 0:
        raise ValueError(f"nothing to show: expected maps [N, H, W], one at least; got {list(array.shape)}")
    first = array[:max_tiles]
    if array.ndim == 3 or array.dtype != np.uint8:
        first = color_tiles(first, scale=scale, zero_centered=zero_centered, colormap=colormap)
    return png(mosaic(fit_tiles(first), gap=2), effort=3, max_bytes=max_bytes)


def fit_tiles(tiles: NDArray[Any]) -> NDArray[Any]:
    """Bring colored tiles [N, H, W, 3] to a size that reads well on a page: fewer tiles are shown larger."""
    longest = max(tiles.shape[1:3])
    wanted = 160 if len(tiles) <= 12 else 80 if len(tiles) <= 60 else 48
    if longest > 2 * wanted:
        return block_mean(tiles, math.ceil(longest / (2 * wanted)))
    return enlarge(tiles, max(1, round(wanted / longest)))


def pad_alike(pictures: Sequence[NDArray[np.uint8]], *, fill: int = 255) -> NDArray[np.uint8]:
    """Bring pictures of several sizes to that of the largest, each in the middle, with gray around it.

    Parameters
    ----------
    pictures : sequence of uint8 arrays [h, w, 3]
        One at least. They may be empty (0 x 0), but not all.
    fill : int
        How bright the gray is, from 0 to 255.

    Returns
    -------
    uint8 array [N, H, W, 3]
    """
    height, width = np.array([each.shape[:2] for each in pictures]).max(axis=0)
    tiles = np.full((len(pictures), height, width, 3), fill, np.uint8)
    for tile, picture in zip(tiles, pictures, strict=True):
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        tile[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return tiles


def _ends(ends: tuple[float, float], zero_centered: bool) -> tuple[float, float]:
    low, high = float(ends[0]), float(ends[1])
    if math.isnan(low):
        return 0.0, 1.0  # nothing finite to color: every value is NaN or infinite
    return symmetric_range(low, high) if zero_centered else (low, high)
