"""What a tile grid sends to the page: as precise as its byte budget allows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.normalize import FloatArray, real_array, shared_range
from cnnviz_widgets.render.quantize import QuantizedTiles, quantize
from cnnviz_widgets.render.resize import block_mean

SAVED_BYTES = 3_850_000
"""What one grid's state may take in a notebook file, where binary data grows by a third (base64)."""

FIXED_BYTES = 80_000
"""Kept free of that for the front-end module, color tables and the small traits."""

DATA_BYTES = 2_500_000
"""What the tiles may take at most, before base64."""

MAX_TILES = 65_536
"""More tiles than that are refused: their ranges and order alone would fill the budget."""


@dataclass(frozen=True)
class Payload:
    """Tiles ready to be sent.

    Attributes
    ----------
    data : bytes
        Little-endian codes [N, rows, columns], with three channels [N, rows, columns, 3], as pictures are.
    ranges : bytes
        float32 [N, 2], low and high of each tile; empty for pictures.
    shape : (N, rows, columns)
        As carried.
    extent : (rows, columns)
        Of the maps before they were shrunk.
    factor : int
        Each carried value is the mean of `factor` x `factor` values.
    encoding : {"uint16", "uint8", "rgb"}
    channels : {1, 3}
        Values a pixel; not of pictures.
    """

    data: bytes
    ranges: bytes
    shape: tuple[int, int, int]
    extent: tuple[int, int]
    factor: int
    encoding: str
    channels: int = 1

    @property
    def tiles(self) -> QuantizedTiles:
        """The carried values, those of a row's pixels side by side; not for pictures."""
        dtype = np.uint16 if self.encoding == "uint16" else np.uint8
        count, rows, columns = self.shape
        codes: NDArray[Any] = np.frombuffer(self.data, np.dtype(dtype).newbyteorder("<"))
        codes = codes.reshape(count, rows, columns * self.channels)
        ranges: FloatArray = np.frombuffer(self.ranges, "<f4").reshape(-1, 2)
        return QuantizedTiles(codes, ranges)

    def carried(self, index: Any = slice(None)) -> NDArray[Any]:
        """Return tiles as the page has them: float32 [n, rows, columns(, 3)] or uint8 [n, rows, columns, 3]."""
        if self.encoding == "rgb":
            pictures: NDArray[Any] = np.frombuffer(self.data, np.uint8).reshape(*self.shape, 3)[index]
            return pictures
        values: NDArray[Any] = self.tiles.restore(index)
        return values if self.channels == 1 else values.reshape(*values.shape[:-1], -1, 3)


def pack(maps: ArrayLike, *, other_bytes: int = 0, data_bytes: int = DATA_BYTES) -> Payload:
    """Bring maps or pictures into the byte budget: 16 bits a value, else 8, else means of blocks.

    Parameters
    ----------
    maps : array [N, H, W] or [N, H, W, 3] of real numbers, or uint8 array [N, H, W, 3]
    other_bytes : int
        What the rest of the state takes in a saved notebook, such as labels.
    data_bytes : int
        What the tiles may take at most, before base64.

    Raises
    ------
    TypeError, ValueError
        Where the array is neither, has no pixels, too many tiles, or nothing is left of the budget.
    """
    array = _tiles(maps)
    count, height, width = array.shape[:3]
    pictures = array.dtype == np.uint8 and array.ndim == 4
    channels = 3 if array.ndim == 4 and not pictures else 1
    budget = min(data_bytes, DATA_BYTES, (SAVED_BYTES - FIXED_BYTES - other_bytes) * 3 // 4 - 12 * count)
    width_of_one = 3 if array.ndim == 4 else 1
    if budget < count * width_of_one:
        raise ValueError(
            f"labels and badges take {other_bytes:,} bytes, which leaves no room for {count} tiles in the "
            f"{SAVED_BYTES:,} bytes that a saved widget may take; shorten them or show fewer tiles"
        )
    factor = _smallest_factor(count, height, width, budget // width_of_one)
    reduced = block_mean(array, factor)
    shape = (count, reduced.shape[1], reduced.shape[2])
    if pictures:
        return Payload(np.ascontiguousarray(reduced).tobytes(), b"", shape, (height, width), factor, "rgb")
    bits = 16 if 2 * reduced.size <= budget else 8
    tiles = quantize(reduced.reshape(count, shape[1], shape[2] * channels), bits)
    codes = tiles.codes.astype(tiles.codes.dtype.newbyteorder("<"), copy=False).tobytes()
    ranges = tiles.ranges.astype("<f4", copy=False).tobytes()
    encoding = "uint16" if bits == 16 else "uint8"
    return Payload(codes, ranges, shape, (height, width), factor, encoding, channels)


def _tiles(maps: ArrayLike) -> NDArray[Any]:
    array = np.asarray(maps)
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):
        raise ValueError(f"expected maps [N, H, W] or color pictures [N, H, W, 3]; got {list(array.shape)}")
    if array.ndim == 3 or array.dtype != np.uint8:
        array = real_array(array)
    if len(array) > MAX_TILES:
        raise ValueError(f"a grid shows at most {MAX_TILES:,} tiles; got {len(array):,}: pass a part of them")
    if len(array) and array.size == 0:
        raise ValueError(f"tiles need at least one row and one column; got {list(array.shape)}")
    return array


def _smallest_factor(count: int, height: int, width: int, pixels: int) -> int:
    if count * height * width <= pixels:
        return 1
    factor = max(2, math.isqrt(count * height * width // pixels))
    while count * math.ceil(height / factor) * math.ceil(width / factor) > pixels:
        factor += 1
    return factor


def check_labels(labels: Iterable[str] | None, count: int) -> list[str]:
    """Return one label a tile, or none at all."""
    if labels is None:
        return []
    if isinstance(labels, str):
        raise TypeError(f"labels are one text a tile; got the single text {labels!r}")
    texts = list(labels)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"labels are texts; label {index} is a {type(text).__name__}: {text!r}")
    if len(texts) != count:
        raise ValueError(f"expected one label a tile, {count}; got {len(texts)}")
    return texts


def check_badges(badges: Mapping[int, str] | Sequence[str | None] | None, count: int) -> dict[str, str]:
    """Return the badges by tile index, written out as JSON wants it."""
    if badges is None:
        return {}
    if isinstance(badges, str):
        raise TypeError(f"badges are a mapping from tile to text, or one text a tile; got {badges!r}")
    if not isinstance(badges, Mapping):
        if len(badges) != count:
            raise ValueError(f"expected one badge a tile, {count} (empty for none); got {len(badges)}")
        badges = {index: text for index, text in enumerate(badges) if text}
    checked = {}
    for key, text in badges.items():
        index = check_index(key, count, "a badge's tile")
        if not isinstance(text, str):
            raise TypeError(f"badges are texts; that of tile {index} is a {type(text).__name__}: {text!r}")
        checked[str(index)] = text
    return checked


def check_index(value: Any, count: int, what: str) -> int:
    """Return a tile's index as an int; refuse what is no index or has no tile."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{what} is a whole number; got {value!r}")
    if not 0 <= value < count:
        raise IndexError(f"{what} lies in 0 ... {count - 1}; got {value!r}" if count else f"{what}: no tiles")
    return int(value)


def check_order(order: ArrayLike | None, count: int) -> bytes:
    """Return the tiles to show as little-endian uint32; all in their own order where none is given."""
    if order is None:
        return np.arange(count, dtype="<u4").tobytes()
    array = np.asarray(order)
    if array.size == 0:
        return b""
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"an order is a list of tile indices; got {array.dtype} {list(array.shape)}")
    if array.min() < 0 or array.max() >= count:
        wrong = array[(array < 0) | (array >= count)][0]
        raise IndexError(f"an order names tiles 0 ... {count - 1}; got {wrong}")
    if len(np.unique(array)) != len(array):
        raise ValueError("an order names each tile at most once; got one twice")
    return array.astype("<u4").tobytes()


def check_steps(steps: ArrayLike, frames: int) -> list[int]:
    """Return the training step of each frame, ascending."""
    array = np.asarray(steps)
    if array.ndim != 1 or array.dtype.kind not in "iu" or len(array) != frames or frames == 0:
        raise ValueError(
            f"expected one whole number a frame, {frames} of them, one at least; "
            f"got {array.dtype} {list(array.shape)}"
        )
    if array.min() < 0 or np.any(np.diff(array.astype(np.int64)) <= 0):
        raise ValueError("steps must ascend, from 0 or more, each once")
    return [int(step) for step in array]


def nearest_frame(steps: Sequence[int], step: int) -> int:
    """Return the frame nearest to a step, the earlier one of two; the last one for -1 (as in the page).

    >>> nearest_frame([0, 10, 20], 15), nearest_frame([0, 10, 20], -1)
    (1, 2)
    """
    if step < 0 or not steps:
        return max(0, len(steps) - 1)
    return min(range(len(steps)), key=lambda frame: abs(steps[frame] - step))


def check_colors(colors: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the colors of badges, each ``"#rrggbb"``."""
    for text, color in (colors or {}).items():
        if not isinstance(color, str) or not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise ValueError(f'the color of badge {text!r} must be written as "#rrggbb"; got {color!r}')
    return dict(colors or {})


def saved_size(labels: list[str], badges: dict[str, str]) -> int:
    """Return what texts take in a notebook file, written with escapes."""
    return len(json.dumps(labels)) + len(json.dumps(badges)) if labels or badges else 0


def tile_traits(
    maps: ArrayLike,
    labels: Iterable[str] | None,
    badges: Mapping[int, str] | Sequence[str | None] | None,
    order: ArrayLike | None,
    zero_centered: bool | None,
    *,
    data_bytes: int = DATA_BYTES,
) -> dict[str, Any]:
    """Check everything that belongs to the tiles and bring it into the form of the traits."""
    count = len(maps) if isinstance(maps, Sized) else 0
    texts, remarks = check_labels(labels, count), check_badges(badges, count)
    shown = check_order(order, count)
    payload = pack(maps, other_bytes=saved_size(texts, remarks), data_bytes=data_bytes)
    if zero_centered is None:
        low, _ = (0.0, 0.0) if payload.encoding == "rgb" else shared_range(payload.tiles.ranges)
        zero_centered = low < 0 or payload.channels == 3
    return {
        "_data": payload.data,
        "_ranges": payload.ranges,
        "_shape": list(payload.shape),
        "_extent": list(payload.extent),
        "_factor": payload.factor,
        "_encoding": payload.encoding,
        "_channels": payload.channels,
        "_labels": texts,
        "_badges": remarks,
        "_order": shown,
        "_steps": [],
        "zero_centered": zero_centered,
    }
