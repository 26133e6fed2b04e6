"""Making maps and pictures larger or smaller, with the alignment spelled out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.normalize import FloatArray, real_array


def block_mean(tiles: NDArray[Any], factor: int) -> NDArray[Any]:
    """Shrink tiles by replacing each block of `factor` x `factor` values by its mean.

    Blocks at the bottom and right edge that are cut off average the values they have, so the result has
    ceil(H / factor) rows. A block with a NaN becomes NaN.

    Parameters
    ----------
    tiles : array [N, H, W] or [N, H, W, 3]
        Real numbers, or uint8 pictures (whose means are rounded to uint8).
    factor : int
        At least 1.
    """
    if factor < 1:
        raise ValueError(f"the factor must be 1 or more; got {factor!r}")
    if factor == 1:
        return tiles
    pictures = tiles.dtype == np.uint8
    height, width = tiles.shape[1:3]
    rows, columns = np.arange(0, height, factor), np.arange(0, width, factor)
    with np.errstate(invalid="ignore", over="ignore"):
        sums = np.add.reduceat(tiles, rows, axis=1, dtype=np.uint32 if pictures else np.float32)
        sums = np.add.reduceat(sums, columns, axis=2)
    row_counts = np.minimum(rows + factor, height) - rows
    column_counts = np.minimum(columns + factor, width) - columns
    counts = np.multiply.outer(row_counts, column_counts)
    counts = counts[..., None] if tiles.ndim == 4 else counts
    if pictures:
        means: NDArray[Any] = ((2 * sums + counts) // (2 * counts)).astype(np.uint8)
    else:
        means = sums / counts.astype(np.float32)
    return means


def enlarge(tiles: NDArray[Any], factor: int) -> NDArray[Any]:
    """Repeat each pixel of tiles [N, H, W, ...] `factor` times in both directions."""
    if factor < 1:
        raise ValueError(f"the factor must be 1 or more; got {factor!r}")
    return tiles.repeat(factor, axis=1).repeat(factor, axis=2) if factor > 1 else tiles


def resize_map(
    values: ArrayLike,
    height: int,
    width: int,
    *,
    interpolation: str = "bilinear",
    stride: tuple[float, float] | None = None,
    center: tuple[float, float] | None = None,
) -> FloatArray:
    """Stretch a map to the size of a picture.

    Pixel y covers the interval [y, y + 1) and is looked up at its center, at the position
    ``(y + 0.5 - center) / stride`` of the map, where whole numbers are the centers of map cells; the same
    for columns. Outside the outermost centers the nearest cell counts.

    Parameters
    ----------
    values : array [H, W]
    height, width : int
        Size of the result.
    interpolation : {"bilinear", "nearest"}
    stride : (rows, columns), optional
        Pixels from one cell's center to the next one's. The default stretches the map over the whole
        picture, each cell over an equal share (as `align_corners=False` of torch): picture size / map size.
    center : (row, column), optional
        Where the center of cell (0, 0) lies, in pixels from the picture's top left corner. The default is
        half a stride. A layer's receptive field gives stride and center exactly.

    Returns
    -------
    float32 array [height, width]
        NaN wherever a cell that counts is NaN.

    Examples
    --------
    >>> resize_map([[0.0, 1.0]], 1, 4).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    cells = real_array(values)
    if cells.ndim != 2 or 0 in cells.shape:
        raise ValueError(f"a map is an array [H, W] with at least one cell; got the shape {cells.shape}")
    if height < 1 or width < 1:
        raise ValueError(f"the picture's size must be positive; got {height!r} x {width!r}")
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(f'interpolation is "bilinear" or "nearest"; got {interpolation!r}')
    steps = stride if stride is not None else (height / cells.shape[0], width / cells.shape[1])
    if not all(np.isfinite(step) and step > 0 for step in steps):
        raise ValueError(f"strides must be positive; got {stride!r}")
    starts = center if center is not None else (steps[0] / 2, steps[1] / 2)
    rows = (np.arange(height) + 0.5 - starts[0]) / steps[0]
    columns = (np.arange(width) + 0.5 - starts[1]) / steps[1]
    if interpolation == "nearest":
        # A pixel center exactly on the edge of two cells belongs to the lower one; the hair keeps the
        # division's rounding from deciding that.
        row_index = np.clip(np.floor(rows + 0.5 + 1e-9), 0, cells.shape[0] - 1).astype(int)
        column_index = np.clip(np.floor(columns + 0.5 + 1e-9), 0, cells.shape[1] - 1).astype(int)
        resized: FloatArray = cells[np.ix_(row_index, column_index)].astype(np.float32)
    else:
        resized = _interpolate(_interpolate(cells, rows).T, columns).T.astype(np.float32)
    return resized


def _interpolate(cells: NDArray[np.floating], positions: NDArray[np.float64]) -> NDArray[np.floating]:
    """Linear interpolation along the first axis."""
    last = len(cells) - 1
    inside = np.clip(positions, 0, last)
    below = np.minimum(np.floor(inside).astype(int), last)
    above = np.minimum(below + 1, last)
    weight = (inside - below)[:, None]
    upper = np.where(weight > 0, cells[above], 0)  # 0 * NaN would spread a NaN to where it has no weight
    mixed: NDArray[np.floating] = cells[below] * (1 - weight) + upper * weight
    return mixed
