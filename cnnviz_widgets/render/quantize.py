"""Tiles as small integers with a range each, from which the values come back to a known error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.normalize import FloatArray, real_array, tile_ranges

SPECIALS = (0.0, -np.inf, np.inf, np.nan)
"""What the four highest codes stand for. Zero is one of them because it must come back exactly: a unit that
is silent is not the same as one that whispers."""


@dataclass(frozen=True)
class QuantizedTiles:
    """Maps as integer codes, at most half a step from the values they came from.

    A tile's codes 0 ... `levels` divide its own range evenly: value = low + code / levels * (high - low).
    The four codes above stand for `SPECIALS`: exactly zero, -infinity, +infinity and NaN.

    Attributes
    ----------
    codes : uint8 or uint16 array [N, H, W]
    ranges : float32 array [N, 2]
        Low and high of each tile; NaN for a tile without a finite value.
    """

    codes: NDArray[np.uint8] | NDArray[np.uint16]
    ranges: FloatArray

    @property
    def bits(self) -> int:
        """Width of a code: 8 or 16."""
        return 8 * self.codes.dtype.itemsize

    @property
    def levels(self) -> int:
        """The code of a tile's highest value."""
        return code_levels(self.bits)

    @property
    def steps(self) -> NDArray[np.float64]:
        """The distance of two neighboring codes, one value a tile [N]; NaN without a finite value."""
        ends = self.ranges.astype(np.float64)
        width: NDArray[np.float64] = ends[:, 1] - ends[:, 0]
        return width / self.levels

    @property
    def errors(self) -> NDArray[np.float64]:
        """How far a restored value can lie from the true float32 one, one bound a tile [N].

        Half a step of rounding, a little more for the arithmetic in single precision. Zeros are exact.
        """
        largest = np.abs(self.ranges.astype(np.float64)).max(axis=1)
        constant = self.ranges[:, 0] == self.ranges[:, 1]
        return np.where(constant, 0.0, 0.51 * self.steps + largest * 2.0**-23)

    def restore(self, index: Any = slice(None)) -> FloatArray:
        """Return the values of all tiles [N, H, W], or of those that `index` picks."""
        codes = self.codes[index]
        ends = self.ranges[index].astype(np.float64)
        low, high = ends[..., 0, None, None], ends[..., 1, None, None]
        share = codes / self.levels
        values = low * (1 - share) + high * share  # both ends come back exactly
        for code, special in enumerate(SPECIALS, start=self.levels + 1):
            values[codes == code] = special
        restored: FloatArray = values.astype(np.float32)
        return restored


def code_levels(bits: int) -> int:
    """Return the code of a tile's highest value: 251 for 8 bits, 65,531 for 16."""
    if bits not in (8, 16):
        raise ValueError(f"values are carried in 8 or 16 bits; got {bits!r}")
    return int(2**bits - 1 - len(SPECIALS))


def quantize(maps: ArrayLike, bits: int = 16) -> QuantizedTiles:
    """Round maps to 8 or 16 bits, each tile over its own range.

    Parameters
    ----------
    maps : array [N, H, W]
        Any real type. It is read as float32: numbers beyond its range count as infinite.
    bits : {16, 8}

    Returns
    -------
    QuantizedTiles
        Zeros and constant tiles come back exactly; all else within `errors`.

    Examples
    --------
    >>> tiles = quantize(np.array([[[0.0, 0.5], [1.0, np.nan]]]), bits=8)
    >>> tiles.codes.tolist()
    [[[252, 126], [251, 255]]]
    """
    levels = code_levels(bits)
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(real_array(maps), dtype=np.float32)
    ranges = tile_ranges(values)
    codes = np.empty(values.shape, np.uint16 if bits == 16 else np.uint8)
    if values.size == 0:
        return QuantizedTiles(codes, ranges)
    with np.errstate(invalid="ignore"):
        regular = np.isfinite(values.sum(axis=(1, 2), dtype=np.float64))
    scales, safe = _scales(ranges, levels)
    simple = regular & safe
    if simple.all():
        _round_to_codes(values, ranges[:, 0], scales, codes)
    elif simple.any():
        rounded = np.empty((int(simple.sum()), *values.shape[1:]), codes.dtype)
        _round_to_codes(values[simple], ranges[simple, 0], scales[simple], rounded)
        codes[simple] = rounded
    for index in np.flatnonzero(~simple):
        codes[index] = _careful_codes(values[index], ranges[index], levels)
    np.copyto(codes, codes.dtype.type(levels + 1), where=values == 0)
    return QuantizedTiles(codes, ranges)


def _scales(ranges: FloatArray, levels: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Codes per unit of value of each tile, and whether single precision can hold that arithmetic."""
    ends = ranges.astype(np.float64)
    width = ends[:, 1] - ends[:, 0]
    safe = (width == 0) | ((width > 1e-30) & (width < 1e38))
    scales = np.divide(levels, width, out=np.zeros_like(width), where=safe & (width > 0))
    return scales.astype(np.float32), safe


def _round_to_codes(values: FloatArray, lows: FloatArray, scales: FloatArray, out: NDArray[Any]) -> None:
    work = values - lows[:, None, None]
    work *= scales[:, None, None]
    work += np.float32(0.5)
    # The cast cuts towards zero, which after the half above is rounding; nothing here is negative.
    out[...] = work


def _careful_codes(values: FloatArray, ends: FloatArray, levels: int) -> NDArray[Any]:
    """Codes of one tile that holds NaN, infinities, or a range too wide or narrow for single precision."""
    low, high = (float(end) for end in ends)
    codes = np.full(values.shape, levels + 4, np.uint16)
    finite = np.isfinite(values)
    if high > low:
        share = (values[finite].astype(np.float64) - low) / (high - low)
        codes[finite] = np.rint(share * levels)
    else:
        codes[finite] = 0
    codes[values == -np.inf] = levels + 2
    codes[values == np.inf] = levels + 3
    return codes
