"""Pictures of convolution kernels: in color, as signed maps, or as a matrix of strengths."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, apply, table
from cnnviz_widgets.render.mosaic import color_tiles, fit_tiles, mosaic, signed_colors
from cnnviz_widgets.render.normalize import real_array, symmetric_range
from cnnviz_widgets.render.resize import block_mean, enlarge

GRID_PIXELS = 100_000
"""Layers of more entries (and gaps) than that show norms: single maps would be too small to read."""

_MATRIX_SIDE = 640
_LONGEST_SIDE = 2048


def color_kernels(weights: ArrayLike, *, limit: float | None = None) -> NDArray[np.uint8]:
    """See kernels of three input channels in color: gray is zero, a color is what excites the unit.

    Each of red, green and blue is ``0.5 + weight / (2 * limit)`` of its channel, in the order of the input
    channels, so a weight of zero is middle gray (128), and the negative kernel has the complementary colors.
    One scale for all kernels and channels: a pale kernel is a weak one.

    Parameters
    ----------
    weights : array [N, 3, kH, kW]
    limit : float, optional
        The weight shown at full strength; larger ones are cut off. The default is the largest absolute one.

    Returns
    -------
    uint8 array [N, kH, kW, 3]

    Raises
    ------
    ValueError
        Not three channels, or weights that are not finite.

    Examples
    --------
    >>> color_kernels([[[[2.0]], [[0.0]], [[-1.0]]]]).tolist()
    [[[[255, 128, 64]]]]
    """
    kernels = _finite(weights)
    if kernels.ndim != 4 or kernels.shape[1] != 3:
        raise ValueError(f"color takes kernels [N, 3, kH, kW]; got the shape {list(kernels.shape)}")
    strongest = float(np.abs(kernels).max(initial=0.0)) if limit is None else float(limit)
    if limit is not None and not 0 < strongest < math.inf:
        raise ValueError(f"limit must be a positive number; got {limit!r}")
    return np.ascontiguousarray(signed_colors(kernels, strongest).transpose(0, 2, 3, 1))


def kernel_picture(weights: ArrayLike, *, in_color: bool = False) -> NDArray[np.uint8]:
    """See all kernels of a layer in one picture of bounded size.

    In color (`color_kernels`) where asked for; one signed map a kernel where there is one input channel; a
    matrix (outputs down, inputs across) of weights for 1x1 kernels, and for others a matrix of their maps,
    or of their norms where the maps would take too large a picture. Signed values are zero-centered, all on
    one scale.

    Parameters
    ----------
    weights : array [O, I, kH, kW]
    in_color : bool
        Take three input channels for red, green and blue.

    Returns
    -------
    uint8 array [H, W, 3]
    """
    kernels = _finite(weights)
    if kernels.ndim != 4 or kernels.size == 0:
        raise ValueError(
            f"expected kernels [O, I, kH, kW], one at least; got the shape {list(kernels.shape)}"
        )
    count, channels, height, width = kernels.shape
    if in_color:
        return mosaic(fit_tiles(color_kernels(kernels)), gap=4)
    if (height, width) == (1, 1):
        return matrix_picture(kernels[:, :, 0, 0])
    if channels == 1:
        return mosaic(fit_tiles(color_tiles(kernels[:, 0], zero_centered=True)), gap=4)
    if count * (height + 1) * channels * (width + 1) > GRID_PIXELS:
        return matrix_picture(np.sqrt(np.square(kernels.astype(np.float64)).sum(axis=(2, 3))))
    maps = color_tiles(kernels.reshape(-1, height, width), zero_centered=True)
    factor = max(1, _MATRIX_SIDE // max(count * (height + 1), channels * (width + 1)))
    return _bounded(mosaic(enlarge(maps, factor), columns=channels, gap=factor))


def matrix_picture(values: ArrayLike) -> NDArray[np.uint8]:
    """See a matrix [O, I] as colored cells: zero-centered where any value is negative, else from zero up.

    Parameters
    ----------
    values : array [O, I]

    Returns
    -------
    uint8 array [H, W, 3]
    """
    matrix = _finite(values)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"a matrix is an array [O, I], one cell at least; got {list(matrix.shape)}")
    low, high = float(matrix.min()), float(matrix.max())
    if low < 0:
        colors = apply(matrix, table(DIVERGING[0]), *symmetric_range(low, high))
    else:
        colors = apply(matrix, table(SEQUENTIAL[0]), 0.0, high if high > 0 else 1.0)
    cells = enlarge(colors[None], max(1, _MATRIX_SIDE // max(matrix.shape)))[0]
    return _bounded(cells)


def _bounded(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smaller: NDArray[np.uint8] = block_mean(picture[None], math.ceil(max(picture.shape[:2]) / _LONGEST_SIDE))[
        0
    ]
    return smaller


def _finite(values: ArrayLike) -> NDArray[np.floating]:
    array = real_array(values)
    if not np.isfinite(array).all():
        raise ValueError("kernels must be finite; some weights are NaN or infinite")
    return array
