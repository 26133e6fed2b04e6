"""What a layer makes of each image of a data set, as one table of vectors."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.results import Result

_BLOCK_VALUES = 2**22
_SHOWN = 20

SPACES = ("features", "pixels")
"""Where images can be compared."""


@dataclass(frozen=True, eq=False)
class FeatureTable(Result):
    """A vector for each image: what a layer makes of it; shows itself as a list of its classes.

    Attributes
    ----------
    vectors
        Features [N, D], float32, in the units of the network. Beyond the memory that `extract_features` was
        allowed this is a `numpy.memmap`, as are the thumbnails.
    labels
        The class of each image [N], int64; -1 where it is unknown.
    label_names
        The names of the classes, by label; empty where the data set has numbers alone.
    ids
        The place of each image in the data set [N], int64, rising. They have gaps where images were skipped:
        the widgets and errors name an image by this number, while a row counts what is in the table.
    thumbnails
        The images as the network saw them, uint8 [N, h, w, 3]; [N, 0, 0, 3] if none were asked for.
    predicted
        The class that the network finds most probable [N], int64; ``None`` if that was not asked for.
    confidence
        Its probability [N], float32, or ``None``.
    class_names
        The network's names of the classes in ``predicted``; empty where it has none.
    layer
        The layer, as it was asked for.
    pooling
        ``"mean"``: vectors are means over the positions of the maps; ``"flatten"``: all values one after the
        other.
    skipped, skipped_reasons
        How many images could not be read (with ``on_error="skip"``), and what was wrong with up to 100 of them.
    names
        The path of each image, as the data set lists it; empty where it lists none.

    Raises
    ------
    InputError
        Parts of different lengths, or of another shape than is said here.
    InputTypeError
        Labels, ids or predicted classes that are no whole numbers.
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    ids: NDArray[np.int64]
    thumbnails: NDArray[np.uint8]
    predicted: NDArray[np.int64] | None
    confidence: NDArray[np.float32] | None
    class_names: tuple[str, ...]
    layer: LayerKey
    pooling: str
    skipped: int
    skipped_reasons: tuple[str, ...]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2:
            raise InputError(f"vectors have the shape [N, D], got {list(self.vectors.shape)}")
        if self.thumbnails.ndim != 4 or self.thumbnails.shape[3] != 3:
            raise InputError(f"thumbnails have the shape [N, h, w, 3], got {list(self.thumbnails.shape)}")
        for name in ("labels", "ids", "thumbnails", "predicted", "confidence"):
            part = getattr(self, name)
            if part is not None and len(part) != len(self.vectors):
                raise InputError(
                    f"there are {len(self.vectors)} vectors, but {len(part)} {name}: one each is needed"
                )
        for name in ("labels", "ids", "predicted"):
            part = getattr(self, name)
            if part is not None and (not isinstance(part, np.ndarray) or part.dtype.kind not in "iu"):
                got = f"an array of {part.dtype}" if isinstance(part, np.ndarray) else type(part).__name__
                hint = "; give numbers, and the names they stand for as label_names" * (name == "labels")
                raise InputTypeError(f"{name} are an array of whole numbers, got {got}{hint}")
        if len(self.names) not in (0, len(self.vectors)):
            raise InputError(f"there are {len(self.vectors)} vectors, but {len(self.names)} names")
        highest = int(self.labels.max(initial=UNKNOWN))
        if self.label_names and highest >= len(self.label_names):
            raise InputError(f"there is a label {highest}, but only {len(self.label_names)} label_names")

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def label_texts(self) -> tuple[str | None, ...]:
        """The label of each image as text; ``None`` where it is unknown."""
        return _texts(self.labels, self.label_names)

    @property
    def predicted_texts(self) -> tuple[str | None, ...] | None:
        """What the network takes each image for, as text; ``None`` if predictions were not asked for."""
        return None if self.predicted is None else _texts(self.predicted, self.class_names)

    @cached_property
    def short_names(self) -> tuple[str, ...]:
        """The names without the folder that all of them share."""
        known = [name for name in self.names if name]
        shared = os.path.commonprefix(known)  # noqa: RUF071 (cut at a separator below)
        start = max(shared.rfind("/"), shared.rfind("\\")) + 1
        return tuple(name[start:] for name in self.names)

    def image_text(self, row: int) -> str:
        """Return what the image of a row is called: by its place in the data set, and its file."""
        name = self.short_names[row] if self.names else ""
        return f"image {self.ids[row]}" + (f" ({name})" if name else "")

    def __repr__(self) -> str:
        known = self.labels[self.labels != UNKNOWN]
        classes = f"{len(np.unique(known))} classes" if len(known) else "no labels"
        skipped = f", {self.skipped} skipped" if self.skipped else ""
        count, width = self.vectors.shape
        return f"FeatureTable({count:,} images x {width:,} of layer {self.layer!r}, {classes}{skipped})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows for the bare table: how many images there are of each class."""
        codes, counts = np.unique(self.labels, return_counts=True)
        rows = [
            f"<tr><td>{html.escape(label_text(code, self.label_names) or 'unknown')}</td><td>{count:,}</td></tr>"
            for code, count in zip(codes.tolist()[:_SHOWN], counts.tolist(), strict=False)
        ]
        if len(codes) > _SHOWN:
            rows.append(f"<tr><td>and {len(codes) - _SHOWN} more classes</td><td></td></tr>")
        head = "<tr><th>label</th><th>images</th></tr>"
        return f"<p>{html.escape(repr(self))}</p><table>{head}{''.join(rows)}</table>"


def label_text(code: int, names: tuple[str, ...]) -> str | None:
    """Return the name of a label, the number itself where it has none, ``None`` for an unknown one."""
    if code == UNKNOWN:
        return None
    return names[code] if names else str(code)


def _texts(codes: NDArray[np.int64], names: tuple[str, ...]) -> tuple[str | None, ...]:
    return tuple(label_text(code, names) for code in codes.tolist())


def vectors_of(table: Any, what: str = "table") -> NDArray[Any]:
    """Return the vectors [N, D] of a table, or of an array of vectors: finite, and some.

    Raises
    ------
    InputTypeError
        Neither a table nor an array of numbers.
    InputError
        Another shape, no rows or columns, NaN or infinity: with the row.
    """
    vectors = table.vectors if isinstance(table, FeatureTable) else table
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind not in "fiu":
        got = f"an array of {vectors.dtype}" if isinstance(vectors, np.ndarray) else type(table).__name__
        raise InputTypeError(f"{what} is a FeatureTable (cv.extract_features) or an array [N, D], got {got}")
    if vectors.ndim != 2 or not vectors.size:
        raise InputError(f"{what} needs vectors [N, D], one at least, got shape {list(vectors.shape)}")
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        good = np.isfinite(vectors[start : start + step]).all(axis=1)
        if not good.all():
            row = start + int(np.argmin(good))
            raise InputError(
                f"{what} has NaN or infinity in row {row} (of {len(vectors)}); take these rows out, or look "
                "for what makes the network return them: cv.activation_statistics"
            )
    return vectors


def space_of(table: Any, space: str) -> NDArray[Any]:
    """Return the vectors of a table in one of the spaces, [N, D]."""
    if space not in SPACES:
        raise ValueError(f"space is 'features' or 'pixels', got {space!r}")
    if not isinstance(table, FeatureTable):
        raise InputTypeError(f"a FeatureTable is needed (cv.extract_features), got {type(table).__name__}")
    if space == "features":
        return vectors_of(table)
    if not table.thumbnails.size:
        raise InputError(
            "the table has no thumbnails to compare pixels of; extract it with thumbnail_size=32"
        )
    return table.thumbnails.reshape(len(table), -1)
