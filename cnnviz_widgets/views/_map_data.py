"""What an embedding map sends to the page: points, classes, values and selections, checked and compact."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.views._payload import check_index

MAX_POINTS = 50_000
"""More points are refused: no page draws them smoothly, and no saved notebook holds their thumbnails."""

UNKNOWN = 65_535
"""The class code of a point without a label."""

COLOR_MODES = ("label", "prediction", "correct", "value", "none")
"""What points can be colored by."""


def check_points(points: ArrayLike, count: int | None = None) -> NDArray[np.float32]:
    """Return points as float32 [N, 2].

    Raises
    ------
    TypeError, ValueError
        Where they are no real numbers, not [N, 2], none, too many, not `count`, or not all finite.
    """
    array = np.asarray(points)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"points are real numbers; got an array of {array.dtype}")
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"points are an array [N, 2], x and y of each; got {list(array.shape)}")
    if len(array) == 0:
        raise ValueError("there is nothing to show: points are empty, expected one at least")
    if len(array) > MAX_POINTS:
        raise ValueError(
            f"a map shows at most {MAX_POINTS:,} points; got {len(array):,}: show a part of them, such as "
            "every k-th"
        )
    if count is not None and len(array) != count:
        raise ValueError(
            f"expected the same {count:,} points at other places; got {len(array):,}: use set_data for others"
        )
    with np.errstate(over="ignore"):
        single = array.astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(single).all(axis=1))
    if len(wrong):
        values = ", ".join(str(value) for value in array[wrong[0]])
        raise ValueError(
            f"points must be finite (and fit in float32): {len(wrong):,} of {len(array):,} are not, "
            f"the first is point {wrong[0]} at ({values})"
        )
    return single


def check_classes(values: Iterable[Any] | None, count: int, what: str) -> list[str | None] | None:
    """Return one text or None a point; whole numbers become texts. None where nothing was given."""
    if values is None:
        return None
    if isinstance(values, str):
        raise TypeError(f"{what} are one a point; got the single text {values!r}")
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if len(listed) != count:
        raise ValueError(f"expected one of `{what}` a point, {count:,}; got {len(listed):,}")
    return [_class_text(value, index, what) for index, value in enumerate(listed)]


def _class_text(value: Any, index: int, what: str) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError(
        f"{what} are texts, whole numbers, or None for unknown; number {index} is a "
        f"{type(value).__name__}: {value!r}"
    )


def class_codes(
    labels: Sequence[str | None] | None, predictions: Sequence[str | None] | None
) -> tuple[list[str], bytes, bytes]:
    """Return the class names, and the codes of labels and predictions as `read_codes` reads them.

    Labels and predictions share the names, and so the colors. Names that all are whole numbers are sorted
    as numbers, others as texts.
    """
    names = {name for given in (labels, predictions) for name in given or () if name is not None}
    numeric = all(re.fullmatch(r"-?[0-9]+", name) for name in names)
    ordered = sorted(names, key=lambda name: (int(name), name) if numeric else (0, name))
    if len(ordered) >= UNKNOWN:
        raise ValueError(f"a map tells at most {UNKNOWN - 1:,} classes apart; got {len(ordered):,}")
    codes: dict[str | None, int] = {name: code for code, name in enumerate(ordered)}
    # One byte a point where that does: the page tells the two by their length.
    small = len(ordered) < 255
    codes[None] = 255 if small else UNKNOWN
    coded = [
        b""
        if given is None
        else np.array([codes[name] for name in given], "u1" if small else "<u2").tobytes()
        for given in (labels, predictions)
    ]
    return ordered, coded[0], coded[1]


def read_codes(data: bytes, count: int) -> NDArray[np.uint16]:
    """Return the class of each of `count` points, 65535 for unknown; no codes where nothing was given."""
    if len(data) != count:
        return np.frombuffer(data, "<u2").astype(np.uint16)
    codes = np.frombuffer(data, np.uint8).astype(np.uint16)
    return np.where(codes == 255, np.uint16(UNKNOWN), codes)


def check_values(values: ArrayLike | None, count: int) -> bytes:
    """Return one float32 a point, NaN for unknown (infinities stay, and have no color); b"" for none."""
    if values is None:
        return b""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"values are real numbers; got an array of {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"expected one value a point, [{count}]; got {list(array.shape)}")
    with np.errstate(over="ignore"):
        return array.astype("<f4").tobytes()


def check_ids(ids: ArrayLike | None, count: int) -> bytes:
    """Return one uint32 a point; b"" for none, and for those that are the indices of the points."""
    if ids is None:
        return b""
    array = np.asarray(ids)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids are whole numbers; got an array of {array.dtype}")
    if array.shape != (count,):
        raise ValueError(f"expected one id a point, [{count}]; got {list(array.shape)}")
    if array.min() < 0 or array.max() >= 2**32:
        raise ValueError(f"ids are from 0 to {2**32 - 1}; got {array.min()} to {array.max()}")
    return b"" if np.array_equal(array, np.arange(count)) else array.astype("<u4").tobytes()


def check_selection(selected: Any, count: int) -> list[int]:
    """Return the indices of points, each once, in the order given; a mask, True for each chosen, does as well."""
    if isinstance(selected, np.ndarray) and selected.dtype == bool:
        if selected.shape != (count,):
            raise ValueError(f"a mask of points has the shape [{count}]; got {list(selected.shape)}")
        selected = np.flatnonzero(selected)
    given = selected.tolist() if isinstance(selected, np.ndarray) else selected
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"`selected` is a list of point indices; got {selected!r}")
    return list(dict.fromkeys(check_index(index, count, "a selected point") for index in given))


def color_modes(labels: bytes, predictions: bytes, values: bytes) -> list[str]:
    """Return what the points at hand can be colored by."""
    there = {
        "label": bool(labels),
        "prediction": bool(predictions),
        "correct": bool(labels and predictions),
        "value": bool(values),
        "none": True,
    }
    return [mode for mode in COLOR_MODES if there[mode]]


def state_bytes(count: int, *buffers: bytes, texts: Sequence[Sequence[str]]) -> int:
    """Return what all but thumbnails takes in a notebook file: base64 buffers, texts, a full selection."""
    binary = sum(-(-len(buffer) * 4 // 3) for buffer in buffers)
    return binary + sum(len(json.dumps(list(listed))) for listed in texts) + 7 * count
