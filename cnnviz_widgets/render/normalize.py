"""From raw values to the range of a color scale, with NaN, infinities and constant maps said, not hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ValueRange:
    """The smallest and the largest finite value, and what had to be left out to find them.

    Attributes
    ----------
    low, high : float
        Ends of the range; both NaN where no value is finite.
    missing : int
        How many values are NaN.
    infinite : int
        How many values are infinite, of either sign.
    """

    low: float
    high: float
    missing: int = 0
    infinite: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is no finite value at all."""
        return bool(np.isnan(self.low))

    @property
    def constant(self) -> bool:
        """Whether all finite values are the same."""
        return self.low == self.high

    @property
    def note(self) -> str:
        """What a legend has to say besides the two ends, or an empty string.

        >>> ValueRange(0.0, 0.0, missing=2).note
        'constant at 0, 2 NaN'
        """
        parts = []
        if self.empty:
            parts.append("no finite value")
        elif self.constant:
            parts.append(f"constant at {self.low:.4g}")
        if self.missing:
            parts.append(f"{self.missing} NaN")
        if self.infinite:
            parts.append(f"{self.infinite} infinite")
        return ", ".join(parts)


def value_range(values: ArrayLike, *, percentile: float | None = None) -> ValueRange:
    """Find the ends of the color scale for some values.

    Parameters
    ----------
    values : array of numbers, any shape
    percentile : float in [0, 50), optional
        Cut that share off either end, so that a few outliers don't take the whole scale. The default
        takes the smallest and the largest value.

    Returns
    -------
    ValueRange

    Raises
    ------
    TypeError
        Where the values are no real numbers.
    ValueError
        Where the percentile is outside [0, 50).

    Examples
    --------
    >>> value_range([1.0, float("nan"), 3.0])
    ValueRange(low=1.0, high=3.0, missing=1, infinite=0)
    """
    array = real_array(values)
    if percentile is not None and not 0 <= percentile < 50:
        raise ValueError(f"percentile is the share cut off either end, in [0, 50); got {percentile!r}")
    finite = array[np.isfinite(array)]
    missing = int(np.count_nonzero(np.isnan(array)))
    infinite = array.size - finite.size - missing
    if finite.size == 0:
        return ValueRange(float("nan"), float("nan"), missing, infinite)
    if percentile is None:
        return ValueRange(float(finite.min()), float(finite.max()), missing, infinite)
    low, high = np.percentile(finite, [percentile, 100 - percentile])
    return ValueRange(float(low), float(high), missing, infinite)


def tile_ranges(maps: ArrayLike) -> FloatArray:
    """Find the range of each tile.

    Parameters
    ----------
    maps : array [N, H, W]

    Returns
    -------
    float32 array [N, 2]
        The smallest and the largest finite value of each tile; NaN where a tile has none.
    """
    array = real_array(maps)
    if array.ndim != 3:
        raise ValueError(f"tiles are an array [N, H, W]; got the shape {array.shape}")
    flat = array.reshape(len(array), int(np.prod(array.shape[1:])))
    if flat.size == 0:
        return np.full((len(flat), 2), np.nan, np.float32)
    # One pass without masks serves nearly every map; NaN and infinities show themselves in its result.
    ends = np.stack([flat.min(axis=1), flat.max(axis=1)], axis=1).astype(np.float32)
    for index in np.flatnonzero(~np.isfinite(ends).all(axis=1)):
        found = value_range(flat[index])
        ends[index] = found.low, found.high
    return ends


def shared_range(ranges: FloatArray) -> tuple[float, float]:
    """Join the ranges of tiles, `tile_ranges`, into the one range that holds them all (NaN if none does)."""
    finite = ranges[~np.isnan(ranges[:, 0])]
    if finite.size == 0:
        return float("nan"), float("nan")
    return float(finite[:, 0].min()), float(finite[:, 1].max())


def symmetric_range(low: float, high: float) -> tuple[float, float]:
    """Widen a range so that zero lies in its middle.

    A range of nothing but zero becomes (-1, 1): any width shows zeros as zero, no width would not.

    >>> symmetric_range(-1.0, 3.0)
    (-3.0, 3.0)
    >>> symmetric_range(0.0, 0.0)
    (-1.0, 1.0)
    """
    limit = max(abs(low), abs(high))
    return (-limit, limit) if limit != 0 else (-1.0, 1.0)


def normalize(values: ArrayLike, low: float, high: float) -> FloatArray:
    """Map values to [0, 1]: `low` to 0, `high` to 1, linearly in between and clipped outside.

    NaN stays NaN. Where `low` equals `high`, values up to it become 0 and values above it 1.

    Raises
    ------
    ValueError
        Where an end is not finite, or `low` is above `high`.
    """
    check_range(low, high)
    array = real_array(values)
    if low == high:
        return np.where(np.isnan(array), np.nan, array > low).astype(np.float32)
    # The width of a float32 range can exceed float32, so the extremes are taken in double precision.
    single = 1e-30 < float(high) - float(low) < 1e38
    work: NDArray[np.floating] = array.astype(np.float32 if single else np.float64)
    with np.errstate(over="ignore"):
        work -= low
        work /= float(high) - float(low)
    return np.clip(work, 0, 1, out=work).astype(np.float32, copy=False)


def check_range(low: float, high: float) -> None:
    """Refuse ends of a scale that are not finite or stand the wrong way round."""
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"both ends of a color scale must be finite; got {low!r} and {high!r}")
    if low > high:
        raise ValueError(f"the low end of a color scale lies above its high end: {low!r} > {high!r}")
    if not np.isfinite(float(high) - float(low)):
        raise ValueError(f"the ends of a color scale lie too far apart: {low!r} and {high!r}")


def real_array(values: ArrayLike) -> NDArray[np.floating]:
    """Return the values as floating-point numbers: float16 and integers become float32.

    Raises
    ------
    TypeError
        Where they are text, complex numbers or objects.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected real numbers; got an array of {array.dtype}")
    if array.dtype in (np.float32, np.float64):
        return array
    return array.astype(np.float32)
