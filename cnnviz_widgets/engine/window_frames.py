"""The regular windows of a layer: size, stride and offset along one axis of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.extents import FAR, FREE, STEP, Planes
from cnnviz_widgets.engine.gradient_support import Edges, GradientProbe, GradientSupport

Floats: TypeAlias = NDArray[np.float64]

# So many neighboring units in the middle of the map show what is regular about their windows. After transposed
# convolutions or interpolation these repeat only every second, third or fourth unit.
_UNITS = 8
_PERIODS = (1, 2, 3, 4)
# Fewer do where every unit's window is one step further than the last one's.
_FEWER_UNITS = 4
_LARGE = 256


class Frame(NamedTuple):
    """The window of position i is offset + i * stride up to offset + i * stride + size."""

    size: int
    stride: int | float
    offset: int


def enclosing_frame(positions: Floats, first: Floats, last: Floats, step: float) -> Frame:
    """Return the smallest frame that holds the windows ``first`` to ``last`` of these positions.

    Its stride is theirs where they are equally far apart, otherwise ``step``.

    >>> enclosing_frame(np.arange(3.0), np.array([-1.0, 1, 3]), np.array([2.0, 4, 6]), 2.0)
    Frame(size=3, stride=2, offset=-1)
    """
    distances = [np.diff(edge) / np.diff(positions) for edge in (first, last)]
    if (
        len(positions) > 2
        and all(np.ptp(each) == 0 for each in distances)
        and distances[0][0] == distances[1][0]
    ):
        step = float(distances[0][0])
    start = math.floor((first - step * positions).min() + 1e-6)
    end = math.ceil((last - step * positions).max() - 1e-6)
    whole = round(step)
    return Frame(end - start, whole if abs(step - whole) < 1e-6 else step, start)


def frames_of_planes(planes: Planes, size: tuple[int, int]) -> tuple[Frame, Frame]:
    """Return the frames of a map's rows and columns from its planes: see `extents`."""
    rows, columns = (_frame_along(planes, axis, length) for axis, length in enumerate(size))
    return rows, columns


def _frame_along(planes: Planes, axis: int, length: int) -> Frame:
    near, far = (_profile(planes[plane], axis) for plane in FREE[axis])
    if np.isinf(near).any():
        return Frame(length, 0, 0)
    # Rows that hold nothing but constants have no window.
    positions = np.flatnonzero(near)
    step = float(planes[STEP[axis]].max())
    return enclosing_frame(positions.astype(float), FAR - near[positions], far[positions] - FAR, step)


def _profile(plane: Tensor, axis: int) -> Floats:
    profile: Floats = plane.amax(tuple(each for each in range(4) if each != axis + 2)).numpy()
    return profile


def measured_frames(
    probe: GradientProbe, support: GradientSupport, size: tuple[int, int]
) -> tuple[Frame, Frame]:
    """Return the frames of a map's rows and columns from the windows of the units in its middle.

    Where these are cut off at the border, images up to four times as high (or wide) are tried, and up to 256
    pixels in any case.
    """
    rows, columns = (_measured_along(probe, support, size, axis) for axis in (0, 1))
    return rows, columns


def _measured_along(
    probe: GradientProbe, support: GradientSupport, size: tuple[int, int], axis: int
) -> Frame:
    frame, length = _middle_frame(support, size, axis), size[axis]
    while frame is None and 2 * length <= max(4 * size[axis], _LARGE):
        length *= 2
        larger = (length, size[1]) if axis == 0 else (size[0], length)
        enlarged = probe.support_if_runs(larger)
        frame = _middle_frame(enlarged, larger, axis) if enlarged is not None else None
    return frame or Frame(size[axis], 0, 0)


def _middle_frame(support: GradientSupport, size: tuple[int, int], axis: int) -> Frame | None:
    """Return the frame of the units in the middle, or ``None`` if their windows do not follow it regularly.

    Windows that are cut off do not. (They need not touch the border, where some pixels may never be used.)
    """
    if support.map_size is None:
        return None
    for count, periods in ((_UNITS, _PERIODS), (_FEWER_UNITS, (1,))):
        windows = _middle_windows(support, axis, count)
        if len(windows) < count or any(low == 0 or high == size[axis] for _, low, high in windows):
            continue
        places, first, last = np.array(windows, dtype=np.float64).T
        for period in periods:
            moves = np.concatenate([edge[period:] - edge[:-period] for edge in (first, last)])
            if moves[0] > 0 and np.ptp(moves) == 0:
                return enclosing_frame(places, first, last, float(moves[0]) / period)
    return None


def _middle_windows(support: GradientSupport, axis: int, count: int) -> list[tuple[int, int, int]]:
    """Return place, first pixel and end of the windows of neighboring units, those that see anything."""
    units, other = (support.map_size or (0, 0))[axis], (support.map_size or (0, 0))[1 - axis] // 2
    start = max(0, (units - count) // 2)
    windows = []
    for place in range(start, min(start + count, units)):
        edges = support.edges(*((place, other) if axis == 0 else (other, place)))
        if edges is not None:
            windows.append((place, edges[axis], edges[axis + 2]))
    return windows


def spatial_size(planes: Planes) -> tuple[int, int] | None:
    """Return the height and width of a map [N, C, H, W]; ``None`` for a tensor without spatial axes."""
    shape = planes[0].shape
    return (int(shape[2]), int(shape[3])) if len(shape) == 4 else None


@dataclass(frozen=True)
class WindowTable:
    """The windows of a layer's units, by position: call it with row and column, both ``None`` without axes.

    Attributes
    ----------
    table
        Top, left, bottom, right of each position [H, W, 4], or of all numbers together [4]; all are 0 where
        nothing is seen.
    """

    table: NDArray[np.int64]

    def __call__(self, row: int | None, column: int | None) -> Edges | None:
        """Return (top, left, bottom, right) of what a unit depends on; ``None``: nothing."""
        top, left, bottom, right = (self.table if row is None else self.table[row, column]).tolist()
        return (top, left, bottom, right) if bottom else None


def window_table(planes: Planes, size: tuple[int, int]) -> WindowTable:
    """Read the windows of all units off the planes of a layer: see `extents`."""
    over = (0, 1) if planes[0].ndim == 4 else tuple(range(planes[0].ndim))
    tops, bottoms, lefts, rights = (plane.amax(over) for plane in planes[:4])
    table = torch.stack([size[0] - tops, size[1] - lefts, bottoms, rights], dim=-1)
    return WindowTable(torch.where(tops[..., None] > 0, table, 0).to(torch.int64).numpy())
