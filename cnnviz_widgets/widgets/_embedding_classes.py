"""What the images of an embedding explorer are: classes to compare, thumbnails, and those that are selected."""

from __future__ import annotations

import html
import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.feature_table import FeatureTable, label_text
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.render.resize import block_mean
from cnnviz_widgets.views._text import as_html, printable

RIGHT, WRONG = "right", "wrong"
# Dark enough for white letters (4.5 to 1 and more), and told apart with any kind of color vision.
BADGE_COLORS = {RIGHT: "#0061a3", WRONG: "#b3261e"}
SHOWN, SIDE = 96, 32
"""Of the selected images so many are shown, of so many pixels at most: a saved notebook carries them."""
_CLASSES = 12
_NAMES_BYTES = 800_000

Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class Subjects:
    """What the points are: classes as texts that can be compared, `None` where nothing is known."""

    labels: Texts | None
    predictions: Texts | None
    thumbnails: NDArray[np.uint8] | None
    values: Any
    value_name: str
    notes: tuple[str, ...]
    names: tuple[str, ...] | None = None
    ids: NDArray[np.int64] | None = None
    known_classes: tuple[str, ...] | None = None

    def called(self, row: int) -> str:
        """Return the number of an image in the data set, and its file."""
        number = f"#{row if self.ids is None else self.ids[row]}"
        return number if self.names is None else f"{number} {self.names[row]}".rstrip()

    @property
    def options(self) -> dict[str, Any]:
        """What an `EmbeddingMap` takes of it."""
        names = (
            "labels",
            "predictions",
            "thumbnails",
            "values",
            "value_name",
            "names",
            "ids",
            "known_classes",
        )
        return {name: getattr(self, name) for name in names}


def subjects_of(table: Any, values: Any, value_name: str) -> Subjects:
    """Return what a table, or an array of vectors, says of its images."""
    if not isinstance(table, FeatureTable):
        note = "These are bare vectors: cv.extract_features gives labels and thumbnails along with them."
        return Subjects(None, None, None, values, value_name, (note,))
    labels, predictions, notes = _classes_of(table)
    thumbnails = _lean(table.thumbnails) if table.thumbnails.size else None
    if thumbnails is None:
        notes = (*notes, "The table has no thumbnails: extract it with thumbnail_size=32 to see the images.")
    if values is None and table.confidence is not None:
        values, value_name = table.confidence, "confidence"
    names: tuple[str, ...] | None = tuple(map(printable, table.short_names)) or None
    if names is not None and sum(len(json.dumps(each)) + 2 for each in names) > _NAMES_BYTES:
        names, notes = None, (*notes, "File names would take too much of the page: table.names has them.")
    classes = table.class_names or None
    return Subjects(labels, predictions, thumbnails, values, value_name, notes, names, table.ids, classes)


def _lean(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return gray pictures [N, h, w] where they are gray: they travel in fewer bytes, and so more sharply."""
    colored = any((thumbnails[..., 0] != thumbnails[..., other]).any() for other in (1, 2))
    return thumbnails if colored else thumbnails[..., 0]


def _classes_of(table: FeatureTable) -> tuple[Texts | None, Texts | None, tuple[str, ...]]:
    """Return labels and predictions in the same names, and why one of them is left out."""
    labels = table.label_texts if (table.labels != UNKNOWN).any() else None
    predictions = table.predicted_texts
    if labels is None:
        return None, predictions, ("The table has no labels.",)
    if predictions is None:
        note = "The table has no predictions: extract it with predictions=True to see where the network errs."
        return labels, None, (note,)
    classes = table.class_names
    if classes and not table.label_names and table.labels.max() < len(classes):
        # Data sets that number their classes number them as the network does.
        labels = tuple(label_text(code, classes) for code in table.labels.tolist())
    elif (classes or table.label_names) and not {*labels, *table.label_names} & {*predictions, *classes}:
        note = (
            f"The data set calls its classes {_some(labels)}, the network {_some(predictions)}. None of these is the "
            "same, so predictions are left out: give cv.Network the data set's names, labels=[...]."
        )
        return labels, None, (note,)
    return labels, predictions, ()


def _some(names: Texts) -> str:
    found = sorted({name for name in names if name is not None})
    return ", ".join(repr(printable(name)) for name in found[:3]) + (", ..." if len(found) > 3 else "")


def with_new(old: Subjects, new: Subjects, counts: tuple[int, int]) -> dict[str, Any]:
    """Return what an `EmbeddingMap` takes of both, those of the first before those of the second."""
    both = tuple(zip((old, new), counts, strict=True))
    ids = [np.arange(count) if each.ids is None else each.ids for each, count in both]
    names = [[""] * count if each.names is None else list(each.names) for each, count in both]
    names[1] = [f"new {name}".rstrip() for name in names[1]]
    options: dict[str, Any] = {
        "ids": np.concatenate(ids),
        "names": [*names[0], *names[1]],
        "known_classes": old.known_classes,
    }
    for kind in ("labels", "predictions"):
        texts = [getattr(each, kind) or (None,) * count for each, count in both]
        options[kind] = (*texts[0], *texts[1]) if any(map(any, texts)) else None
    if old.thumbnails is not None and new.thumbnails is not None:
        pictures = [old.thumbnails, new.thumbnails]
        if pictures[0].ndim != pictures[1].ndim:  # only one of them is gray
            pictures = [
                each if each.ndim == 4 else np.repeat(each[..., None], 3, axis=3) for each in pictures
            ]
        if pictures[0].shape[1:] == pictures[1].shape[1:]:
            options["thumbnails"] = np.concatenate(pictures)
    return options


class Chosen:
    """The selected images: as many of them as are shown, evenly among all of them."""

    def __init__(self, subjects: Subjects, rows: list[int]) -> None:
        self.subjects = subjects
        self.rows = rows
        places = np.linspace(0, len(rows) - 1, min(len(rows), SHOWN)).round().astype(int)
        self.shown = [rows[place] for place in places]

    @cached_property
    def tiles(self) -> NDArray[np.uint8] | None:
        """The thumbnails shown, none larger than 32 x 32."""
        if self.subjects.thumbnails is None or not self.shown:
            return None
        tiles = np.asarray(self.subjects.thumbnails[self.shown])
        if tiles.ndim == 3:
            tiles = np.repeat(tiles[..., None], 3, axis=3)
        return block_mean(tiles, -(-max(tiles.shape[1:3]) // SIDE))

    @property
    def captions(self) -> list[str]:
        """The label of each that is shown, if it has any, then its number and file: hover tells what is cut off."""
        labels, called = self.subjects.labels, self.subjects.called
        found = [(None if labels is None else labels[row], called(row)) for row in self.shown]
        return [text if label is None else f"{label} \u00b7 {text}" for label, text in found]

    @property
    def badges(self) -> list[str | None]:
        """Whether the network is right about each that is shown, as far as that is known."""
        return [None if right is None else RIGHT if right else WRONG for right in map(self.right, self.shown)]

    def right(self, row: int) -> bool | None:
        """Return whether the prediction is the label; `None` where one of them is unknown."""
        labels, predictions = self.subjects.labels, self.subjects.predictions
        known = self.subjects.known_classes
        if labels is None or predictions is None or labels[row] is None or predictions[row] is None:
            return None
        if known is not None and labels[row] not in known:
            return None  # the network has no such class to be right about
        return labels[row] == predictions[row]

    @property
    def counts(self) -> list[tuple[str, int, int]]:
        """How many there are of each class, most first, and how many of these the network errs about."""
        classes = self.subjects.labels or self.subjects.predictions
        if classes is None:
            return []
        counted = Counter(classes[row] or "unknown" for row in self.rows)
        wrong = Counter(classes[row] or "unknown" for row in self.rows if self.right(row) is False)
        ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
        return [(name, count, wrong[name]) for name, count in ordered]


def chosen_text(chosen: Chosen) -> str:
    """Return the same in words."""
    counts = chosen.counts[:_CLASSES]
    listed = [
        f"{count:,} {printable(name)}" + (f" ({wrong:,} wrong)" if wrong else "")
        for name, count, wrong in counts
    ]
    more = len(chosen.counts) - _CLASSES
    listed += [f"and {more:,} more classes"] if more > 0 else []
    return f"{len(chosen.rows):,} selected" + (f": {', '.join(listed)}" if listed else "")


def chosen_html(chosen: Chosen) -> str:
    """Return how many images are selected, and how many of each class."""
    total = len(chosen.rows)
    if not total:
        return ""
    judged = chosen.subjects.labels is not None and chosen.subjects.predictions is not None
    kind = "" if chosen.subjects.labels is not None else ", by what the network takes them for"
    rows = [
        f'<tr><th scope="row">{as_html(name)}</th><td>{count:,}</td>'
        + (f"<td>{f'{wrong:,} wrong' if wrong else ''}</td>" if judged else "")
        + "</tr>"
        for name, count, wrong in chosen.counts[:_CLASSES]
    ]
    more = len(chosen.counts) - _CLASSES
    tail = f"<p>and {more:,} more classes</p>" if more > 0 else ""
    shown = ""
    if chosen.tiles is not None and len(chosen.shown) < total:
        shown = f"; {len(chosen.shown)} of them, evenly chosen, are shown"
    counted = f'<table class="cnnviz-counts">{"".join(rows)}</table>{tail}' if rows else ""
    return f"<p><b>{total:,} selected</b>{html.escape(kind if rows else '')}{shown}</p>{counted}"
