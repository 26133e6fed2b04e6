"""Maps that explain an answer, as methods take them from each other: an array, or a result that has a heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError


def map_of(value: Any, who: str, size: tuple[int, ...] | None = None) -> NDArray[np.float32]:
    """Return a map [H, W], float32, from an array or from a result with a ``heatmap``.

    Parameters
    ----------
    value
        What was given.
    who
        What gave it, for errors.
    size
        The height and width it must have.

    Raises
    ------
    TypeError
        Neither of these.
    InputError
        Not two axes, another size, NaN or infinity.
    """
    given = getattr(value, "heatmap", value)
    if not isinstance(given, np.ndarray) or given.dtype.kind not in "fiub":
        kind = f"an array of {given.dtype}" if isinstance(given, np.ndarray) else type(value).__name__
        raise TypeError(
            f"{who}: a map is a NumPy array [H, W] of numbers or a result with .heatmap, got {kind}"
        )
    if given.ndim != 2 or not given.size:
        raise InputError(f"{who}: a map has the shape [H, W], got {list(given.shape)}")
    if size is not None and given.shape != size:
        raise InputError(
            f"{who}: the map is {given.shape[0]} x {given.shape[1]}, not {size[0]} x {size[1]}, "
            "the size of the image as the network sees it"
        )
    found: NDArray[np.float32] = given.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"{who}: the map has NaN or infinity in it")
    return found
