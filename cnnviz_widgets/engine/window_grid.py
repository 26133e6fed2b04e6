"""Windows placed over an image, and how what they measure becomes one map. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

from cnnviz_widgets.engine.whole_numbers import whole_number

COMBINATIONS = ("mean", "sum", "none")
_COARSE = 8


def checked_pair(name: str, value: Any) -> tuple[int, int]:
    """Return (rows, columns) of an option that is one whole number for both, or a pair."""
    pair = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value, value)
    numbers = [whole_number(each) for each in pair]
    if len(numbers) == 2 and numbers[0] is not None and numbers[1] is not None and min(pair) >= 1:
        return numbers[0], numbers[1]
    raise ValueError(f"{name} is a whole number from 1, or two of them (rows, columns); got {value!r}")


def placed(size: int, window: int, stride: int) -> NDArray[np.int64]:
    """Return where windows begin along an axis: every ``stride`` pixels, and the last one at the border.

    All windows have their full length and lie inside the image. Where the strides do not end at the border, one more
    window does, nearer to its neighbor than the others.

    >>> placed(10, 4, 3).tolist(), placed(11, 4, 3).tolist()
    ([0, 3, 6], [0, 3, 6, 7])
    """
    starts = np.arange(0, size - window + 1, stride)
    last = size - window
    return starts if starts[-1] == last else np.append(starts, last)


def coarse_to_fine(rows: int, columns: int, few: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return sets of places (indices of rows, indices of columns) that fill a grid, the first one all over it.

    The first sets fill a coarser grid of at most an eighth of the places. Where these are more than ``few``, one that
    is coarser still comes before it, and so on: whoever stops after few places has a map of the whole image. Each set
    is all its rows with all its columns.

    >>> [(len(down), len(along)) for down, along in coarse_to_fine(27, 27, 100)]
    [(9, 9), (9, 18), (18, 27)]
    >>> [(len(down), len(along)) for down, along in coarse_to_fine(27, 27, 16)]
    [(3, 3), (3, 6), (6, 9), (9, 18), (18, 27)]
    """
    step = 1
    while _count(rows, step) * _count(columns, step) > max(1, rows * columns / _COARSE):
        step += 1
    chosen = [np.arange(min(step - 1, count - 1) // 2, count, step) for count in (rows, columns)]
    others = [
        np.setdiff1d(np.arange(count), some) for count, some in zip((rows, columns), chosen, strict=True)
    ]
    first = [(chosen[0], chosen[1])]
    if chosen[0].size * chosen[1].size > max(few, 1):
        coarser = coarse_to_fine(chosen[0].size, chosen[1].size, few)
        first = [(chosen[0][down], chosen[1][along]) for down, along in coarser]
    sets = [*first, (chosen[0], others[1]), (others[0], np.arange(columns))]
    return [each for each in sets if each[0].size and each[1].size]


def _count(places: int, step: int) -> int:
    return -(-(places - min(step - 1, places - 1) // 2) // step)


def filled_in(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a grid whose places without a number (NaN) take that of the nearest place with one."""
    missing = np.isnan(values)
    if not missing.any() or missing.all():
        return values
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    found: NDArray[np.float64] = values[tuple(nearest)]
    return found


def combined(
    drops: NDArray[np.float64],
    tops: NDArray[np.int64],
    lefts: NDArray[np.int64],
    window: tuple[int, int],
    size: tuple[int, int],
    combine: str,
) -> NDArray[np.float32]:
    """Return the map [H, W] that overlapping windows make of their drops [R, C].

    ``"mean"``: each pixel takes the mean over the windows that cover it. ``"sum"``: their sum. ``"none"``: the drop of
    the window whose center is nearest (of two, the upper or left one). Places that were not measured (NaN) count as
    the nearest one that was.
    """
    values = filled_in(drops)
    if combine == "none":
        row, column = (
            _nearest(starts, length, pixels)
            for starts, length, pixels in zip((tops, lefts), window, size, strict=True)
        )
        return values[np.ix_(row, column)].astype(np.float32)

    def spread(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        down = _spread(numbers, tops, window[0], size[0])
        return _spread(down.T, lefts, window[1], size[1]).T

    total = spread(values)
    if combine == "mean":
        total = total / spread(np.ones_like(values))
    return total.astype(np.float32)


def _spread(
    values: NDArray[np.float64], starts: NDArray[np.int64], length: int, pixels: int
) -> NDArray[np.float64]:
    """Return the sums [pixels, ...] of the values [P, ...] of the windows that cover each pixel along an axis."""
    # A product with the matrix of what covers what would wake numpy's threads, which then wait at full speed for more
    # and slow those that compute the next batch.
    total = np.zeros((pixels, *values.shape[1:]))
    for start, value in zip(starts, values, strict=True):
        total[start : start + length] += value
    return total


def _nearest(starts: NDArray[np.int64], length: int, pixels: int) -> NDArray[np.int64]:
    # In half pixels: centers of pixels and of windows, exactly.
    distance = np.abs(2 * np.arange(pixels)[:, None] + 1 - (2 * starts + length))
    found: NDArray[np.int64] = distance.argmin(1)
    return found
