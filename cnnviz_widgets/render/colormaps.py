"""Color tables: perceptually uniform and safe for color-blind readers, sequential and zero-centered."""

from __future__ import annotations

import difflib
from functools import lru_cache

import numpy as np
from cmap import Colormap
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.normalize import normalize

ColorTable = NDArray[np.uint8]

SEQUENTIAL = ("viridis", "inferno", "cividis", "gray")
"""Tables for values of one sign, the default first. Lightness grows with the value."""

DIVERGING = ("vik", "berlin", "broc")
"""Tables for values of both signs, the default first. Zero is light in vik and broc, dark in berlin."""

# Names alone are ambiguous in the cmap catalog; these are the ones meant.
_CATALOG_NAMES = {
    "viridis": "bids:viridis",
    "inferno": "bids:inferno",
    "gray": "matlab:gray",
    "vik": "crameri:vik",
    "berlin": "crameri:berlin",
    "broc": "crameri:broc",
}


@lru_cache(maxsize=64)
def table(name: str) -> ColorTable:
    """Return the 256 colors of a color map, lowest value first.

    Parameters
    ----------
    name : str
        One of `SEQUENTIAL` or `DIVERGING`, or any other name of the cmap catalog.

    Returns
    -------
    uint8 array [256, 3], read-only
        In a diverging table the entries 127 and 128 lie either side of the middle.

    Raises
    ------
    ValueError
        Where there is no such color map.

    Examples
    --------
    >>> table("viridis")[0].tolist()
    [68, 1, 84]
    """
    try:
        colors = Colormap(_CATALOG_NAMES.get(name, name)).lut(256)
    except (ValueError, TypeError) as error:
        known = dict.fromkeys([*SEQUENTIAL, *DIVERGING, *Colormap.catalog().unique_keys()])
        near = difflib.get_close_matches(str(name), known, n=3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"no color map is called {name!r}{hint}") from error
    entries: ColorTable = np.rint(np.asarray(colors)[:, :3] * 255).astype(np.uint8)
    entries.flags.writeable = False
    return entries


def apply(
    values: ArrayLike,
    colors: ColorTable,
    low: float,
    high: float,
    *,
    missing: tuple[int, int, int] = (128, 128, 128),
) -> NDArray[np.uint8]:
    """Color values: `low` gets the first color of a table, `high` the last, NaN the color `missing`.

    Values outside the range get the color of its nearer end, infinities too.

    Parameters
    ----------
    values : array of numbers, any shape
    colors : uint8 array [256, 3]
        A `table`.
    low, high : float
        Ends of the scale, finite.
    missing : three ints
        Red, green, blue of NaN.

    Returns
    -------
    uint8 array [..., 3]

    Examples
    --------
    >>> apply([0.0, 1.0], table("gray"), 0.0, 1.0).tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    entries = np.asarray(colors)
    if entries.dtype != np.uint8 or entries.shape != (256, 3):
        raise ValueError(
            f"a color table is a uint8 array [256, 3]; got {entries.dtype} {list(entries.shape)}"
        )
    share = normalize(values, low, high)
    unknown = np.isnan(share)
    share *= 255
    share += 0.5
    with np.errstate(invalid="ignore"):
        picture: NDArray[np.uint8] = entries[share.astype(np.uint8)]
    picture[unknown] = missing
    return picture
