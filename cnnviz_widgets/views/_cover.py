"""What covers a part of a picture: the pixels that are shown instead, with a line around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage  # type: ignore[import-untyped, unused-ignore]

EDGE_COLOR = (255, 255, 255)
HALO_COLOR = (0, 0, 0)


def cover_layer(mask: NDArray[np.bool_], instead: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Return a picture's upper layer, uint8 [H * scale, W * scale, 4]: ``instead`` where a mask is true.

    Elsewhere it is transparent. The outermost pixels of what is covered are a line that is seen on any ground:
    white, with black inside.
    """
    covered = mask.repeat(scale, 0).repeat(scale, 1)
    layer = np.zeros((*covered.shape, 4), np.uint8)
    layer[..., :3] = instead.repeat(scale, 0).repeat(scale, 1)
    inner = _shrunk(covered)
    layer[inner & ~_shrunk(inner), :3] = HALO_COLOR
    layer[covered & ~inner, :3] = EDGE_COLOR
    layer[~covered] = 0
    layer[covered, 3] = 255
    return layer


def _shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask without its outermost pixels; those at the picture's border count as such."""
    shrunk: NDArray[np.bool_] = ndimage.binary_erosion(mask, structure=np.ones((3, 3), bool))
    return shrunk


def checked_cover(
    mask: NDArray[np.bool_], instead: NDArray[np.uint8], size: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Return copies of a mask and of the picture shown there, or say what does not fit the stage's picture."""
    given, picture = np.asarray(mask), np.asarray(instead)
    if given.dtype != np.bool_ or given.shape != size:
        raise ValueError(
            f"a mask is a bool array of the picture's size {list(size)}; got {given.dtype} {list(given.shape)}"
        )
    if picture.dtype != np.uint8 or picture.shape != (*size, 3):
        raise ValueError(
            f"what is shown instead is a uint8 array {[*size, 3]}; got {picture.dtype} {list(picture.shape)}"
        )
    return given.copy(), picture.copy()
