"""Feature vectors, labels and thumbnails of a whole data set, in one scan."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets.engine.errors import InputError, OutputError
from cnnviz_widgets.engine.feature_table import FeatureTable
from cnnviz_widgets.engine.growing_array import GrowingArray
from cnnviz_widgets.engine.image_source import ImageSet, ImageSource
from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.label_codes import LabelCodes, check_listed, classes_of
from cnnviz_widgets.engine.layers import LayerKey, check_call, describe, main_tensor, split_key
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.scan import Batch, Scanned, scan
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import probabilities
from cnnviz_widgets.engine.watch_list import watch_list
from cnnviz_widgets.engine.whole_numbers import checked_whole

POOLINGS = ("auto", "flatten", "mean")
_MARGIN = 255  # white, around thumbnails of images of several sizes
_LARGE = ("vectors", "thumbnails")
_OTHERS = ("names", "pooling", "folder")
_ROWS = 1024


class FeatureCollector:
    """A `Collector` of what one layer makes of each image.

    Parameters
    ----------
    spec
        What the network takes for an image.
    layer, pooling, thumbnail_size, predictions, memory_limit, folder
        See `cnnviz_widgets.methods.features.extract_features`; ``folder`` is its ``path``.
    classes
        How many classes the data set names; 0 if it names none.
    """

    def __init__(
        self,
        spec: InputSpec,
        layer: LayerKey,
        *,
        pooling: str = "auto",
        thumbnail_size: int = 32,
        predictions: bool = False,
        memory_limit: int = 2**30,
        folder: Path | None = None,
        classes: int = 0,
    ) -> None:
        self.layers = (layer,)
        self.needs_scores = predictions
        self.needs_labels = True
        self.pooling = pooling
        self._spec = spec
        self._thumbnail_size = thumbnail_size
        self._memory_limit = memory_limit
        self._classes = classes
        self._folder = None if folder is None else folder.resolve()
        self._is_ours = False
        self._labels = LabelCodes()
        self._columns: dict[str, GrowingArray] = {}

    def collect(self, batch: Batch) -> None:
        """Take in the vectors, labels and thumbnails of a batch."""
        values = batch.of(self.layers[0])
        if len(values) > 1:
            check_call(split_key(self.layers[0])[0], None, len(values))  # says which calls there are
        vectors, self.pooling = pooled(next(iter(values.values())), self.pooling, self.layers[0])
        found: dict[str, NDArray[Any]] = {
            "vectors": vectors,
            "thumbnails": thumbnails(self._spec, batch.x, self._thumbnail_size),
            "ids": batch.indices,
            "labels": self._labels.add(batch.labels, batch.indices, self._classes),
        }
        if batch.scores is not None:
            chances = probabilities(batch.scores).float().cpu().numpy()
            found["predicted"] = chances.argmax(axis=1)
            found["confidence"] = chances.max(axis=1)
        self._append(found)

    def _append(self, found: Mapping[str, NDArray[Any]]) -> None:
        for name, rows in found.items():
            column = self._columns.get(name)
            if column is None:
                path = self._folder / f"{name}.npy" if self._folder and name in _LARGE else None
                column = GrowingArray(rows.shape[1:], rows.dtype, path, replaces=self._is_ours)
                self._columns[name] = column
                if path is not None:
                    column.spill()
            if rows.shape[1:] != column.row_shape:
                raise OutputError(
                    f"layer {self.layers[0]!r} returns {rows.shape[1]} values for image {found['ids'][0]}, and "
                    f"{column.row_shape[0]} for those before it; use pooling='mean', or give the network "
                    "InputSpec(size=...)"
                )
            column.append(rows)
        if sum(self._columns[name].held_bytes for name in _LARGE) > self._memory_limit:
            for name in _LARGE:
                self._columns[name].spill()

    def merge(self, other: Self) -> None:
        """Take in what another one has collected from other images."""
        self.pooling = other.pooling if self.pooling == "auto" else self.pooling
        self._take(other.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all columns, as they came, the names of the labels, and where the files go."""
        names = np.array(self._labels.names, dtype=np.str_)
        columns = {name: column.so_far() for name, column in self._columns.items()}
        folder = np.array(str(self._folder or ""))
        return {**columns, "names": names, "pooling": np.array(self.pooling), "folder": folder}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over columns that `arrays` returned."""
        self.close()
        self._columns, self._labels = {}, LabelCodes()
        self.pooling = str(arrays["pooling"])
        # This very scan may have come as far as to put its files there, all of them or the first.
        self._is_ours = self._folder is not None and str(arrays["folder"]) == str(self._folder)
        self._take(arrays)

    def _take(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        columns = {name: each for name, each in arrays.items() if name not in _OTHERS}
        count = len(columns.get("ids", ()))
        names = arrays["names"].tolist()
        for start in range(0, count, _ROWS):
            rows = {name: each[start : start + _ROWS] for name, each in columns.items()}
            rows["labels"] = self._labels.merged(rows["labels"], names, rows["ids"])
            self._append(rows)

    def fresh(self) -> Self:
        """Return an empty one with the same options, for a part of the images."""
        return type(self)(
            self._spec,
            self.layers[0],
            pooling=self.pooling,
            thumbnail_size=self._thumbnail_size,
            predictions=self.needs_scores,
            memory_limit=self._memory_limit,
            classes=self._classes,
        )

    def table(
        self,
        scanned: Scanned,
        classes: tuple[str, ...],
        class_names: tuple[str, ...] = (),
        source: ImageSource | None = None,
    ) -> FeatureTable:
        """Return all that was collected, in the order of the data set; the collector is used up.

        ``classes`` are the data set's names of the labels, ``class_names`` the network's of its outputs;
        ``source`` knows the paths.
        """
        ids = self._columns["ids"].so_far()
        order = None if bool((np.diff(ids) > 0).all()) else np.argsort(ids, kind="stable")
        columns = {name: column.finish(order) for name, column in self._columns.items()}
        labels, names = self._labels.settled(columns["labels"], classes)
        return FeatureTable(
            vectors=columns["vectors"],
            labels=labels,
            label_names=names,
            ids=columns["ids"],
            thumbnails=columns["thumbnails"],
            predicted=columns.get("predicted"),
            confidence=columns.get("confidence"),
            class_names=class_names if self.needs_scores else (),
            layer=self.layers[0],
            pooling=self.pooling,
            skipped=scanned.skipped,
            skipped_reasons=tuple(sorted(scanned.reasons)),
            names=() if source is None else source.names(columns["ids"].tolist()),
        )

    def close(self) -> None:
        """Let go of everything; files that are not whole are removed."""
        for column in self._columns.values():
            column.close()


def collect_features(
    net: Network,
    images: ImageSet,
    layer: LayerKey,
    *,
    pooling: str = "auto",
    thumbnail_size: int = 32,
    predictions: bool = False,
    memory_limit: int = 2**30,
    path: str | os.PathLike[str] | None = None,
    **scanning: Any,
) -> Generator[Step, None, FeatureTable]:
    """Scan a data set for features; see `cnnviz_widgets.methods.features.extract_features`.

    ``scanning`` are the options of the scan: see `cnnviz_widgets.engine.scan.ScanOptions`.
    """
    check_network(net, "extract_features")
    split_key(layer)
    watch_list(net.core, [layer])  # refuses unknown names before any image is read
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is one of {', '.join(map(repr, POOLINGS))}; got {pooling!r}")
    size = checked_whole("thumbnail_size", thumbnail_size, least=0)
    if size and net.input.channels not in (1, 3):
        raise InputError(
            f"images of {net.input.channels} channels make no thumbnails; give thumbnail_size=0 for none"
        )
    classes = classes_of(images)
    source = ImageSource(images, cast(int, net.input.channels))
    if classes:
        check_listed(source, len(classes))
    collector = FeatureCollector(
        net.input,
        layer,
        pooling=pooling,
        thumbnail_size=size,
        predictions=predictions,
        memory_limit=checked_whole("memory_limit", memory_limit, least=0),
        folder=None if path is None else Path(path),
        classes=len(classes),
    )
    try:
        scanned = yield from scan(
            net,
            images,
            [collector],
            options={"pooling": pooling, "thumbnail_size": size, "predictions": bool(predictions)},
            **scanning,
        )
        return collector.table(scanned, classes, net.labels or (), source)
    finally:
        collector.close()


def pooled(value: Any, pooling: str, layer: LayerKey) -> tuple[NDArray[np.float32], str]:
    """Return what a layer returned for N images as vectors [N, D], and how: by ``"mean"`` or ``"flatten"``.

    Raises
    ------
    OutputError
        Something that is no vector for each image, or the mean of something that has no maps.
    """
    tensor = main_tensor(value).detach()
    if tensor.ndim < 2 or tensor.is_complex():
        raise OutputError(
            f"layer {layer!r} returns {describe(tensor)} of {tensor.dtype}; features need real numbers "
            "(images, ...)"
        )
    if pooling == "auto":
        pooling = "mean" if tensor.ndim == 4 else "flatten"
    # Half precision is too coarse to be summed.
    numbers = tensor if tensor.dtype.itemsize >= 4 and tensor.is_floating_point() else tensor.float()
    if pooling == "flatten":
        return numbers.flatten(1).float().cpu().numpy(), pooling
    if tensor.ndim != 4:
        raise OutputError(
            f"layer {layer!r} returns {describe(tensor)}, which is no maps (images, channels, rows, columns) "
            "to take the mean of; use pooling='flatten'"
        )
    return numbers.mean(dim=(2, 3)).float().cpu().numpy(), pooling


def thumbnails(spec: InputSpec, x: Tensor, size: int) -> NDArray[np.uint8]:
    """Return prepared images as small pictures, uint8 [N, h, w, 3]: shrunk to ``size``, never enlarged.

    Each pixel is the mean of those that it covers. Where the network takes images of any size, they stand on a
    white square of ``size`` pixels, as all thumbnails must be of one shape.
    """
    if not size:
        return np.zeros((len(x), 0, 0, 3), np.uint8)
    pictures = spec.restore(x)
    height, width = pictures.shape[1:3]
    if max(height, width) > size:
        height, width = (max(1, round(each * size / max(pictures.shape[1:3]))) for each in (height, width))
        planes = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
        shrunk = functional.interpolate(planes, (height, width), mode="area")
        pictures = shrunk.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    if spec.size is not None:
        return pictures
    square = np.full((len(x), size, size, 3), _MARGIN, np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[:, top : top + height, left : left + width] = pictures
    return square
