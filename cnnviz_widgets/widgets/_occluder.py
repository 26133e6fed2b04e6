"""What a person covers by hand: a window that is moved, or any shape that is painted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Position = tuple[int, int]
MOVE, PAINT, ERASE = "move", "paint", "erase"


class Occluder:
    """Where an image of a size (height, width) is covered: ``mask`` is true there.

    Attributes
    ----------
    mask
        bool [H, W]; never changed, but replaced.
    center
        (row, column) of the window that was placed; ``None`` for painted shapes and where nothing is covered.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.clear()

    def clear(self) -> None:
        """Cover nothing."""
        self.cover(np.zeros(self.size, bool))

    def cover(self, mask: NDArray[np.bool_]) -> None:
        """Cover what a mask says."""
        self.mask: NDArray[np.bool_] = mask
        self.center: Position | None = None
        self._last: Position | None = None

    def place(self, center: Position, window: tuple[int, int]) -> None:
        """Cover a window (height, width) around a pixel, as near to it as the window fits into the image."""
        top, left = (
            min(max(where - length // 2, 0), pixels - length)
            for where, length, pixels in zip(center, window, self.size, strict=True)
        )
        mask = np.zeros(self.size, bool)
        mask[top : top + window[0], left : left + window[1]] = True
        self.cover(mask)
        self.center = center

    def stroke(self, position: Position, diameter: int, *, erase: bool = False) -> None:
        """Move a round brush from where it was to a pixel; after `lift`, set it down there."""
        touched = along(self.size, self._last or position, position, diameter / 2)
        self.mask = self.mask & ~touched if erase else self.mask | touched
        self.center, self._last = None, position

    def lift(self) -> None:
        """End a stroke."""
        self._last = None


def along(size: tuple[int, int], first: Position, last: Position, radius: float) -> NDArray[np.bool_]:
    """Return which pixels lie within a radius of the way from one pixel to another, both included."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    down, right = last[0] - first[0], last[1] - first[1]
    length = down * down + right * right
    share = ((rows - first[0]) * down + (columns - first[1]) * right) / max(length, 1)
    share = np.clip(share, 0, 1)
    distance = np.hypot(rows - first[0] - share * down, columns - first[1] - share * right)
    near: NDArray[np.bool_] = distance <= max(radius, 0.5)
    return near
