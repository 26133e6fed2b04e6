"""Thumbnails as a few pictures of many tiles each: as sharp as a byte budget allows, any number of them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from cnnviz_widgets.render.encode import webp

PAGE_SIDE = 1024
"""Longest side of a page in pixels: 4 MB decoded, and decoded within a frame or two."""

TILE_SIDE = 128
"""Longest side of a tile; larger thumbnails are shrunk, as no map shows them larger."""

QUALITIES = (85, 60, 30)
"""WebP qualities that are tried, best first, before the tiles are shrunk further."""

LOSSLESS = 101
"""Stands for WebP without loss among the qualities."""

# The lossy format rounds blocks of 4 x 4 gray values, and of 8 x 8 pixels in color: tiles that begin at such
# multiples share no block, so that none can blot the next one.
_GRAY_BLOCK, _COLOR_BLOCK = 4, 8
_SAMPLE_TILES = 1024


@dataclass(frozen=True)
class Atlas:
    """Thumbnails ready to be sent.

    Thumbnail i is on page ``i // (across * down)``; there it is slot ``s = i % (across * down)``, whose top
    left pixel is at row ``s // across * pitch_rows`` and column ``s % across * pitch_columns``.

    Attributes
    ----------
    pages : tuple of bytes
        WebP pictures of at most 1024 x 1024 pixels. Only the last one may have fewer tiles than fit.
    tile : (rows, columns)
        Size of a carried thumbnail in pixels.
    pitch : (rows, columns)
        From one tile to the next: the tile, and a margin that repeats its edge where pages are lossy.
    grid : (across, down)
        Tiles in a row of a page, and rows in a page.
    extent : (rows, columns)
        Of the thumbnails before they were shrunk.
    quality : int
        Of the WebP format, 101 for lossless.
    """

    pages: tuple[bytes, ...]
    tile: tuple[int, int]
    pitch: tuple[int, int]
    grid: tuple[int, int]
    extent: tuple[int, int]
    quality: int

    @property
    def note(self) -> str:
        """What the byte budget cost, or an empty string.

        >>> Atlas((), (14, 14), (16, 16), (64, 64), (28, 28), 65).note
        'Thumbnails are shown at 14 × 14 of 28 × 28 pixels, to keep a saved notebook small.'
        """
        if self.tile == self.extent:
            return ""
        sizes = [f"{rows} × {columns}" for rows, columns in (self.tile, self.extent)]
        return f"Thumbnails are shown at {sizes[0]} of {sizes[1]} pixels, to keep a saved notebook small."

    def decode(self, index: int) -> NDArray[np.uint8]:
        """Return a thumbnail as the page has it, uint8 [rows, columns, 3]."""
        across, down = self.grid
        page, slot = divmod(index, across * down)
        row, column = slot // across * self.pitch[0], slot % across * self.pitch[1]
        whole = np.asarray(Image.open(io.BytesIO(self.pages[page])).convert("RGB"))
        return whole[row : row + self.tile[0], column : column + self.tile[1]].copy()


def pack_thumbnails(thumbnails: ArrayLike, budget: int) -> Atlas:
    """Bring thumbnails into a byte budget: without loss if that fits, else lossy, else smaller and lossy.

    Parameters
    ----------
    thumbnails : uint8 array [N, H, W] or [N, H, W, 3]
    budget : int
        What all pages may take together, in bytes.

    Raises
    ------
    ValueError
        Where they are no thumbnails, or don't fit even as small as they can be.
    """
    array = check_thumbnails(thumbnails)
    sample = array[np.linspace(0, len(array) - 1, min(len(array), _SAMPLE_TILES)).astype(int)]
    for side, quality in _candidates(max(array.shape[1:3])):
        # A sample foretells the size, rather too small than too large: most candidates go no further.
        trial = _encode(_shrink(sample, side), quality, (1, 1)).pages
        if 0.85 * sum(map(len, trial)) / len(sample) * len(array) > budget:
            continue
        atlas = _encode(_shrink(array, side), quality, (array.shape[1], array.shape[2]))
        if sum(map(len, atlas.pages)) <= budget:
            return atlas
    raise ValueError(
        f"{len(array):,} thumbnails don't fit in {max(budget, 0):,} bytes, not even as single pixels: raise "
        "`max_bytes`, or leave the thumbnails or the names out"
    )


def check_thumbnails(thumbnails: ArrayLike) -> NDArray[np.uint8]:
    """Return thumbnails as an array, or refuse what is none."""
    array = np.asarray(thumbnails)
    gray, colored = array.ndim == 3, array.ndim == 4 and array.shape[3] == 3
    if array.dtype != np.uint8 or not (gray or colored):
        raise ValueError(
            "thumbnails are uint8 [N, height, width] or [N, height, width, 3]; "
            f"got {array.dtype} {list(array.shape)}"
        )
    if array.size == 0:
        raise ValueError(f"thumbnails need at least one row and one column; got {list(array.shape)}")
    return array


def _candidates(longest: int) -> Iterator[tuple[int, int]]:
    """Yield what to try: the longer side of a tile, and a quality."""
    side = min(longest, TILE_SIDE)
    yield side, LOSSLESS
    while side >= 4:
        for quality in QUALITIES:
            yield side, quality
        # Sizes of whole blocks need no margin.
        side = max(4, int(0.8 * side) // 4 * 4) if side > 4 else 1
    yield 1, LOSSLESS


def _shrink(tiles: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return tiles whose longer side is `side`: each pixel is the mean of the area that it covers."""
    height, width = tiles.shape[1:3]
    longest = max(height, width)
    if longest <= side:
        return tiles
    rows = _area_weights(height, max(1, round(height * side / longest)))
    columns = _area_weights(width, max(1, round(width * side / longest)))
    shrunk = np.empty((len(tiles), len(rows), len(columns), *tiles.shape[3:]), np.uint8)
    for start in range(0, len(tiles), 1024):
        part = tiles[start : start + 1024].astype(np.float32)
        # One axis after the other: einsum would else multiply all four at once.
        down = np.tensordot(part, rows, axes=(1, 1))  # [n, width, (3,) rows]
        both = np.tensordot(down, columns, axes=(1, 1))  # [n, (3,) rows, columns]
        ordered = both if tiles.ndim == 3 else np.moveaxis(both, 1, -1)
        shrunk[start : start + 1024] = np.rint(ordered).clip(0, 255).astype(np.uint8)
    return shrunk


def _area_weights(old: int, new: int) -> NDArray[np.float32]:
    """Return the share [new, old] that each old pixel has in each new one; rows add up to 1."""
    edges = np.arange(new + 1) * (old / new)
    starts, ends = np.arange(old), np.arange(1, old + 1)
    overlap = np.minimum(ends, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    weights: NDArray[np.float32] = (overlap.clip(0) * (new / old)).astype(np.float32)
    return weights


def _encode(tiles: NDArray[np.uint8], quality: int, extent: tuple[int, int]) -> Atlas:
    count, rows, columns = tiles.shape[:3]
    block = 1 if quality == LOSSLESS else _GRAY_BLOCK if tiles.ndim == 3 else _COLOR_BLOCK
    pitch = (-(-rows // block) * block, -(-columns // block) * block)
    across = min(PAGE_SIDE // pitch[1], count)
    down = min(PAGE_SIDE // pitch[0], -(-count // across))
    pages = []
    for start in range(0, count, across * down):
        page = _lay_out(tiles[start : start + across * down], pitch, across)
        lossless = quality == LOSSLESS
        pages.append(webp(page, lossless=True, quality=40) if lossless else webp(page, quality=quality))
    return Atlas(tuple(pages), (rows, columns), pitch, (across, down), extent, quality)


def _lay_out(tiles: NDArray[np.uint8], pitch: tuple[int, int], across: int) -> NDArray[np.uint8]:
    """Return one page: tiles row by row, each with its edge repeated up to the pitch."""
    count, rows, columns = tiles.shape[:3]
    down = -(-count // across)
    margins = [(0, down * across - count), (0, pitch[0] - rows), (0, pitch[1] - columns), (0, 0)]
    padded = np.pad(tiles, margins[: tiles.ndim], mode="edge")
    page = padded.reshape(down, across, *padded.shape[1:]).swapaxes(1, 2)
    return page.reshape(down * pitch[0], across * pitch[1], *tiles.shape[3:])
