"""Thousands of images as points of a map, each with its thumbnail: to zoom into, hover, search and select."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, table
from cnnviz_widgets.render.map_still import class_colors, draw_map
from cnnviz_widgets.views._atlas import Atlas, check_thumbnails, pack_thumbnails
from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._described import Bundle, described
from cnnviz_widgets.views._map_data import (
    COLOR_MODES,
    UNKNOWN,
    check_classes,
    check_ids,
    check_points,
    check_selection,
    check_values,
    class_codes,
    color_modes,
    read_codes,
    state_bytes,
)
from cnnviz_widgets.views._moving_points import MovingPoints
from cnnviz_widgets.views._payload import SAVED_BYTES, check_labels

_FIXED_BYTES = 330_000  # the front-end module written as JSON, color tables and the small traits


class _Indices(traitlets.List[int]):
    """A list of indices that may be set as an array or a range, too."""

    def validate(self, obj: Any, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype == bool:
            value = check_selection(value, obj.count)
        elif isinstance(value, (np.ndarray, range, tuple)):
            value = np.asarray(value, dtype=None if len(value) else int).tolist()
        return super().validate(obj, value)


class EmbeddingMap(MovingPoints, anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See each image as a point; hover shows its thumbnail, label and prediction, zooming in shows pictures.

    Drag moves the map, the wheel zooms once the map was clicked, as do its buttons. A lasso (its switch, or
    Shift and drag) selects points. The arrow keys walk to the nearest point in their direction, Enter
    selects it, Space adds or removes it, Escape clears. The search highlights labels. All of that happens in
    the page, without a kernel, too. Where the browser has no WebGL the map is drawn on a plain canvas, and
    says so.

    Thumbnails are sent as sharp as `max_bytes` allows: without loss, else as lossy WebP, else smaller. The
    map says so where they were made smaller (as a guide: 5,000 thumbnails of 28 x 28 pixels keep their
    size, 50,000 are shown at 12 x 12).

    Parameters
    ----------
    points : array [N, 2]
        x to the right and y upwards, of any finite range, which is fitted to the map: at most 50,000.
    thumbnails : uint8 array [N, H, W] or [N, H, W, 3], optional
    labels, predictions : N texts or whole numbers, optional
        The class of each point, and the one that a network told it to be. `None` where it is unknown.
    values : array [N] of real numbers, optional
        Anything to color by, such as a confidence or a loss. NaN is unknown.
    value_name : str
        What the values are, for the legend and the hover text.
    names : N texts, optional
        What else to call the points, such as file names.
    ids : N whole numbers, optional
        What the page writes behind "#" where points have numbers of their own; the default is their index. `selected`
        and `current` stay indices.
    known_classes : texts, optional
        The classes that a prediction can be. A point whose label is none of them is neither right nor wrong.
    color_by : {"label", "prediction", "correct", "value", "none"}, optional
        The default takes the first of these for which there is something.
    selected : indices of points, or a mask [N]
    height : int
        Of the map in CSS pixels.
    max_bytes : int
        What the widget may take in a saved notebook; 3.85 MB unless you ask for more.
    layout : ipywidgets.Layout or dict, optional

    Attributes
    ----------
    selected : list of int
        Indices of the selected points. A `LinkedMap` beside this one selects the same.
    current : int
        The point under the pointer or reached by keys, -1 for none.
    color_by, query, height
        What the page's controls set: what colors tell, the text searched for, and the map's height.
    thumbnails_shown : bool
        Whether thumbnails are drawn in place where there is room.

    Raises
    ------
    TypeError, ValueError, IndexError
        Where an argument doesn't fit the points, before anything is changed.

    Examples
    --------
    >>> points = np.random.default_rng(0).normal(size=(6, 2))
    >>> chart = EmbeddingMap(points, labels=["cat", "dog"] * 3, predictions=["cat"] * 6)
    >>> chart.selected = [0, 4]
    >>> chart.to_text()
    'EmbeddingMap: 6 points, 2 classes, 3 of 6 predictions right, colored by label, 2 selected'
    """

    _esm = bundle("embedding_map")

    # What the points are. These change together, in one message.
    _class_names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _labels = traitlets.Bytes(b"").tag(sync=True)
    _predictions = traitlets.Bytes(b"").tag(sync=True)
    _values = traitlets.Bytes(b"").tag(sync=True)
    _names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _ids = traitlets.Bytes(b"").tag(sync=True)
    _unjudged = traitlets.List(traitlets.Int()).tag(sync=True)
    _pages = traitlets.List(traitlets.Bytes()).tag(sync=True)
    _atlas = traitlets.List(traitlets.Int(), [0, 0, 0, 0, 1, 1]).tag(sync=True)
    _note = traitlets.Unicode("").tag(sync=True)
    value_name = traitlets.Unicode("value").tag(sync=True)

    _class_colors = traitlets.Bytes().tag(sync=True)
    _value_colors = traitlets.Bytes().tag(sync=True)

    color_by = traitlets.Enum(list(COLOR_MODES), "none").tag(sync=True)
    selected = _Indices(traitlets.Int()).tag(sync=True)
    current = traitlets.Int(-1).tag(sync=True)
    query = traitlets.Unicode("").tag(sync=True)
    thumbnails_shown = traitlets.Bool(True).tag(sync=True)

    def __init__(
        self,
        points: ArrayLike,
        *,
        thumbnails: ArrayLike | None = None,
        labels: Iterable[Any] | None = None,
        predictions: Iterable[Any] | None = None,
        values: ArrayLike | None = None,
        value_name: str = "value",
        names: Iterable[str] | None = None,
        ids: ArrayLike | None = None,
        known_classes: Iterable[str] | None = None,
        color_by: str | None = None,
        selected: Iterable[int] = (),
        height: int = 460,
        max_bytes: int = SAVED_BYTES,
        layout: ipywidgets.Layout | dict[str, Any] | None = None,
    ) -> None:
        traits = _point_traits(
            points, thumbnails, labels, predictions, values, names, ids, known_classes, color_by, max_bytes
        )
        chosen = check_selection(selected, len(traits["_points"]) // 8)
        options = {} if layout is None else {"layout": layout}
        super().__init__(
            **traits,
            _class_colors=class_colors().tobytes(),
            value_name=value_name,
            selected=chosen,
            height=height,
            **options,
        )

    def set_data(
        self,
        points: ArrayLike,
        *,
        thumbnails: ArrayLike | None = None,
        labels: Iterable[Any] | None = None,
        predictions: Iterable[Any] | None = None,
        values: ArrayLike | None = None,
        value_name: str | None = None,
        names: Iterable[str] | None = None,
        ids: ArrayLike | None = None,
        known_classes: Iterable[str] | None = None,
        color_by: str | None = None,
        selected: Iterable[int] = (),
        max_bytes: int = SAVED_BYTES,
    ) -> None:
        """Show other points, with all that belongs to them; what is left out takes its default again."""
        traits = _point_traits(
            points, thumbnails, labels, predictions, values, names, ids, known_classes, color_by, max_bytes
        )
        traits["selected"] = check_selection(selected, len(traits["_points"]) // 8)
        if value_name is not None:
            traits["value_name"] = value_name
        with self._moving, self.hold_sync(), self.hold_trait_notifications():
            self._waiting = None
            for name, value in (traits | {"current": -1, "_serial": self._serial + 1}).items():
                setattr(self, name, value)

    @property
    def note(self) -> str:
        """What the page says about the thumbnails, such as that they were made smaller."""
        return str(self._note)

    def to_png(self) -> bytes:
        """Return a picture of the whole map with its legend."""
        return self.picture_of(self.points)

    def picture_of(self, points: NDArray[np.float32]) -> bytes:
        """Return the picture that it would be with the points elsewhere."""
        values = np.frombuffer(self._values, "<f4")
        labels, told = (read_codes(buffer, self.count) for buffer in (self._labels, self._predictions))
        labels = self._judged(labels) if self.color_by == "correct" else labels
        return draw_map(points, self.color_by, self._class_names, labels, told, values, self.value_name)

    def _judged(self, labels: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return labels, unknown where no prediction could be right."""
        return np.where(np.isin(labels, self._unjudged), np.uint16(UNKNOWN), labels)

    def to_text(self) -> str:
        """Return what there is to see in one line, for viewers that show no pictures."""
        parts = [f"EmbeddingMap: {self.count:,} point{'s' if self.count != 1 else ''}"]
        if self._class_names:
            parts.append(f"{len(self._class_names):,} classes")
        if self._labels and self._predictions:
            labels, told = (read_codes(buffer, self.count) for buffer in (self._labels, self._predictions))
            known = (self._judged(labels) != UNKNOWN) & (told != UNKNOWN)
            parts.append(f"{(known & (labels == told)).sum():,} of {known.sum():,} predictions right")
        if self.color_by != "none":
            mode = {"value": self.value_name, "correct": "right or wrong"}.get(self.color_by, self.color_by)
            parts.append(f"colored by {mode}")
        if self.selected:
            parts.append(f"{len(self.selected):,} selected")
        return ", ".join(parts)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take the page's changes; points chosen just before others were shown may be gone."""
        gone = []
        if sync_data.get("current", -1) >= self.count:
            gone.append("current")
        if max(sync_data.get("selected", ()), default=-1) >= self.count:
            gone.append("selected")
        super().set_state({name: value for name, value in sync_data.items() if name not in gone})
        if gone:
            self.send_state(gone)

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> list[int]:
        return check_selection(proposal["value"], self.count)

    @traitlets.validate("current")
    def _check_current(self, proposal: Any) -> int:
        value: int = proposal["value"]
        return -1 if value == -1 else check_selection([value], self.count)[0]

    @traitlets.validate("color_by")
    def _check_color_by(self, proposal: Any) -> str:
        modes = color_modes(self._labels, self._predictions, self._values)
        return _check_mode(proposal["value"], modes)

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        return described(super()._repr_mimebundle_(**options), self.to_text, self.to_png)


def _check_mode(mode: str, modes: list[str]) -> str:
    if mode not in modes:
        raise ValueError(
            f"these points can be colored by {', '.join(map(repr, modes))}; got {mode!r}: give labels, "
            "predictions or values for more"
        )
    return mode


def _point_traits(
    points: ArrayLike,
    thumbnails: ArrayLike | None,
    labels: Iterable[Any] | None,
    predictions: Iterable[Any] | None,
    values: ArrayLike | None,
    names: Iterable[str] | None,
    ids: ArrayLike | None,
    known_classes: Iterable[str] | None,
    color_by: str | None,
    max_bytes: int,
) -> dict[str, Any]:
    """Check everything that belongs to the points and bring it into the form of the traits."""
    places = check_points(points).astype("<f4")
    count = len(places)
    class_names, label_codes, prediction_codes = class_codes(
        check_classes(labels, count, "labels"), check_classes(predictions, count, "predictions")
    )
    numbers = check_values(values, count)
    texts = check_labels(names, count)
    modes = color_modes(label_codes, prediction_codes, numbers)
    mode = modes[0] if color_by is None else _check_mode(color_by, modes)
    buffers = (places.tobytes(), label_codes, prediction_codes, numbers, check_ids(ids, count))
    known = set(class_names if known_classes is None else known_classes)
    atlas = None
    if thumbnails is not None:
        pictures = check_thumbnails(thumbnails)
        if len(pictures) != count:
            raise ValueError(f"expected one thumbnail a point, {count:,}; got {len(pictures):,}")
        taken = state_bytes(count, *buffers, texts=(class_names, texts)) + _FIXED_BYTES
        atlas = pack_thumbnails(pictures, (max_bytes - taken) * 3 // 4)
    signed = bool(np.any(np.frombuffer(numbers, "<f4") < 0))
    return {
        "_points": buffers[0],
        "_class_names": class_names,
        "_labels": label_codes,
        "_predictions": prediction_codes,
        "_values": numbers,
        "_names": texts,
        "_ids": buffers[4],
        "_unjudged": [code for code, name in enumerate(class_names) if name not in known],
        **_atlas_traits(atlas),
        "_value_colors": table((DIVERGING if signed else SEQUENTIAL)[0]).tobytes(),
        "color_by": mode,
    }


def _atlas_traits(atlas: Atlas | None) -> dict[str, Any]:
    if atlas is None:
        return {"_pages": [], "_atlas": [0, 0, 0, 0, 1, 1], "_note": ""}
    layout = [*atlas.tile, *atlas.pitch, *atlas.grid]
    return {"_pages": list(atlas.pages), "_atlas": layout, "_note": atlas.note}
