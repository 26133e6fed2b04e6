"""Colors taken from another picture: all of its histogram, or all but the brightness."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rec. 601, as Pillow's convert("L").
_LUMA = np.array([0.299, 0.587, 0.114])


def match_covariance(picture: NDArray[np.uint8], source: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a picture's pixels [H, W, 3], changed linearly to the mean and covariance of another one's colors.

    C_source^(1/2) C^(-1/2) (pixel - mean) + mean of the source, with symmetric roots: if the source is gray, this
    becomes gray. Directions in which the picture's colors do not differ stay so.
    """
    pixels, given = (each.reshape(-1, 3).astype(np.float64) for each in (picture, source))
    roots = []
    for colors, power in ((given, 0.5), (pixels, -0.5)):
        levels, axes = np.linalg.eigh(np.cov(colors, rowvar=False, bias=True))
        # Differences below a thousandth of a level are rounding.
        kept = levels > 1e-6
        scales = np.where(kept, np.where(kept, levels, 1.0) ** power, 0.0)
        roots.append(axes * scales @ axes.T)
    changed: NDArray[np.float64] = (pixels - pixels.mean(0)) @ (roots[0] @ roots[1]).T + given.mean(0)
    return changed.reshape(picture.shape)


def match_histogram(picture: NDArray[Any], source: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """See a picture with exactly the colors of another one, channel by channel.

    A channel's pixels are put in order, and get the values of the source's pixels in theirs: the darkest gets the
    darkest. Where both have as many pixels, the histograms are equal afterwards; otherwise the k-th of n pixels gets
    the value at the place (k + 1/2) / n of the source's. Pixels of one value go in the order of reading.

    Parameters
    ----------
    picture : array [H, W, 3]
    source : uint8 array [h, w, 3]
        Not empty.

    Examples
    --------
    >>> gray = np.array([[[9, 9, 9], [5, 5, 5]]], np.uint8)
    >>> match_histogram(gray, np.array([[[0, 1, 2], [200, 201, 202]]], np.uint8)).tolist()
    [[[200, 201, 202], [0, 1, 2]]]
    """
    matched = np.empty(picture.shape, np.uint8)
    count, given = picture[..., 0].size, source[..., 0].size
    if not given and count:
        raise ValueError("the source is empty, so it has no colors to give")
    places = ((2 * np.arange(count, dtype=np.int64) + 1) * given) // (2 * count) if count else np.arange(0)
    for channel in range(picture.shape[2]):
        order = np.argsort(picture[..., channel], axis=None, kind="stable")
        values = np.empty(count, np.uint8)
        values[order] = np.sort(source[..., channel], axis=None)[places]
        matched[..., channel] = values.reshape(picture.shape[:2])
    return matched


def luminance(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return how bright each pixel is, [H, W] from 0 to 255: 0.299 red + 0.587 green + 0.114 blue."""
    found: NDArray[np.float64] = picture @ _LUMA
    return found


def gray_picture(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a gray picture, uint8 [H, W, 3], of brightnesses [H, W] from 0 to 255; others are cut off."""
    levels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return np.repeat(levels[..., None], 3, axis=2)


def with_luminance(picture: NDArray[np.uint8], values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """See a picture in its own colors with another brightness: red, green and blue change by as much.

    In YIQ that changes Y and leaves I and Q as they are (Gatys et al., Preserving Color in Neural Artistic Style
    Transfer, 2016). What gets beyond black or white is cut off.

    Parameters
    ----------
    picture : uint8 array [H, W, 3]
    values : array [H, W] from 0 to 255
    """
    change = values - luminance(picture)
    return np.clip(np.rint(picture + change[..., None]), 0, 255).astype(np.uint8)


def matched_luminance(values: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return brightnesses with the mean and the standard deviation of others; flat ones stay flat."""
    spread = values.std()
    scale = like.std() / spread if spread > 0 else 0.0
    matched: NDArray[np.float64] = (values - values.mean()) * scale + like.mean()
    return matched
