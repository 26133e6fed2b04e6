"""Images of a data set one after the other, whatever it is: each read when its turn comes, with its label."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, Sized
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.pictures import is_batch, reason_of
from cnnviz_widgets.engine.spans import Span

ImageSet: TypeAlias = Any
"""A list of images, paths or (image, label), a `Dataset`, an iterable, or many images in an array or tensor."""


class ImageSource:
    """The images of a data set, in order, with their labels where it has any. Nothing is read ahead.

    Parameters
    ----------
    images
        A list of images in any form that `InputSpec.prepare` takes, or of tuples (image, label); a map-style
        or iterable torch ``Dataset`` of these, such as torchvision's ``ImageFolder``; a generator; many
        images in an array N x H x W or N x H x W x C or a tensor N x C x H x W; or such an array in a pair with
        its labels. A single image counts as a list of one.
    channels
        What the network takes, to tell N x H x W arrays from single pictures.

    Attributes
    ----------
    count
        How many images there are, ``None`` where only the end will tell.

    Raises
    ------
    InputError
        No images at all, or a folder.
    InputTypeError
        No images: a number, a dictionary, a `DataLoader`.
    """

    def __init__(self, images: ImageSet, channels: int) -> None:
        self.count: int | None = None
        self._fetch: Callable[[Any], Any] = _itself
        self._paths: Any = None
        self._entries: Iterable[Any]
        _refuse(images)
        self._images = images
        self._labels = labels = _labels_of(images, channels)
        if labels is not None:
            pictures = images[0]
            self._entries = range(len(pictures))
            self._fetch = lambda index: (pictures[index], labels[index])
        elif is_batch(images, channels) or _is_map_style(images):
            # As torchvision's folders list their files, (path, label); other data sets list paths alone.
            self._paths = getattr(images, "samples", None)
            self._entries = range(len(images))
            self._fetch = images.__getitem__
        elif _is_single(images):
            self._entries = [images]
        elif isinstance(images, Iterable) or hasattr(images, "__getitem__"):
            self._entries = images
        else:
            raise InputTypeError(
                f"images are a list, a data set, an array or a tensor, got {type(images).__name__}: {images!r:.80}"
            )
        if isinstance(self._entries, Sized) and not isinstance(images, IterableDataset):
            self.count = len(self._entries)
        if self.count == 0:
            raise InputError(f"the data set is empty ({type(images).__name__}); give at least one image")

    @property
    def any_order(self) -> bool:
        """Whether images can be read in any order, and again; those of a generator come only once."""
        return isinstance(self._entries, range | list)

    def entries(self, spans: Iterable[Span] = ((0, None),)) -> Iterator[tuple[int, Any]]:
        """Yield the index of each image in some spans (in order), and what `read` takes to read it."""
        if isinstance(self._entries, range | list):
            for start, stop in spans:
                last = len(self._entries) if stop is None else min(stop, len(self._entries))
                yield from ((index, self._entries[index]) for index in range(start, last))
            return
        wanted = iter(spans)
        span = next(wanted, None)
        for index, entry in enumerate(self._entries):
            while span is not None and span[1] is not None and index >= span[1]:
                span = next(wanted, None)
            if span is None:
                return
            if index >= span[0]:
                yield index, entry

    def sample(self, count: int) -> list[tuple[int, Any]]:
        """Return some entries that are spread over the data set; the first alone, if they come only once."""
        if isinstance(self._entries, range | list):
            total = len(self._entries)
            chosen = sorted({each * (total - 1) // max(count - 1, 1) for each in range(count)})
            return [(index, self._entries[index]) for index in chosen]
        entries = iter(self._entries)
        first = list(islice(entries, 1))
        self._entries = chain(first, entries)
        return list(enumerate(first))

    def listed_labels(self) -> list[Any] | None:
        """Return the labels of all images where the data set lists them, as torchvision's do; no image is read.

        A list is no more than a hint: what `read` returns counts, and a data set may make something else of it.
        """
        labels = self._labels if self._labels is not None else _listed_labels(self._images)
        if labels is None or len(labels) != self.count:
            return None
        return labels if isinstance(labels, list) else list(labels.tolist())

    def where(self, index: int) -> str:
        """Return how an error names an image: by its place, and its path where the data set tells."""
        if self.count == 1:
            place = "the image"
        else:
            place = f"image {index}" + (f" of {self.count}" if self.count is not None else "")
        try:
            listed = self._paths[index]
            path = os.fsdecode(listed if isinstance(listed, str | os.PathLike) else listed[0])
        except (TypeError, LookupError):
            return place
        return f"{place} ({path!r})"

    def names(self, indices: Iterable[int]) -> tuple[str, ...]:
        """Return the path of each image, "" for one without; nothing at all where the data set knows none."""
        names = tuple(_listed_path(self._images, index) for index in indices)
        return names if any(names) else ()

    def read(self, index: int, entry: Any) -> tuple[Any, Any]:
        """Return an image and its label (``None`` where it has none).

        Raises
        ------
        InputError
            The data set can't give it; whatever it raised is the cause.
        """
        try:
            item = self._fetch(entry)
        except Exception as error:  # a data set runs anybody's code over damaged files
            raise InputError(f"{self.where(index)} can't be read: {reason_of(error)}") from error
        if isinstance(item, tuple) and len(item) >= 2:
            return item[0], item[1]
        return item, None


def _itself(item: Any) -> Any:
    return item


def _is_single(images: Any) -> bool:
    return isinstance(images, str | os.PathLike | bytes | Image.Image | np.ndarray | Tensor)


def _is_map_style(images: Any) -> bool:
    # Every data set of torch has a `__getitem__`, those that can only be gone through raise in it.
    indexed = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    return indexed and not isinstance(images, IterableDataset) and not _is_single(images)


def _labels_of(images: Any, channels: int) -> Any:
    """Return the labels in a pair (many images in one array, their labels), ``None`` for all else."""
    if not isinstance(images, tuple) or len(images) != 2 or not is_batch(images[0], channels):
        return None
    pictures, labels = images
    if not isinstance(labels, np.ndarray | Tensor | list) or np.ndim(labels) != 1:
        return None
    if len(labels) != len(pictures):
        raise InputError(f"there are {len(pictures)} images, but {len(labels)} labels for them")
    return labels


def _listed_labels(images: Any) -> Any:
    if isinstance(images, Subset):
        labels = _listed_labels(images.dataset)
        is_whole = labels is not None and len(labels) == len(images.dataset)  # type: ignore[arg-type]
        return [labels[index] for index in images.indices] if labels is not None and is_whole else None
    pairs = getattr(images, "samples", images)
    if isinstance(pairs, list):
        is_labeled = all(isinstance(each, tuple) and len(each) >= 2 for each in pairs)
        return [each[1] for each in pairs] if is_labeled else None
    if isinstance(images, TensorDataset):
        tensors = images.tensors
        return tensors[1] if len(tensors) > 1 and tensors[1].ndim == 1 else None
    for name in ("targets", "labels"):
        labels = getattr(images, name, None)
        if isinstance(labels, list) or (isinstance(labels, np.ndarray | Tensor) and labels.ndim == 1):
            return labels
    return None


def _listed_path(images: Any, index: int) -> str:
    if isinstance(images, Subset):
        return _listed_path(images.dataset, images.indices[index])
    listed = getattr(images, "samples", images if isinstance(images, list) else None)
    try:
        entry = listed[index]  # type: ignore[index]
    except (TypeError, LookupError):
        return ""
    path = entry[0] if isinstance(entry, tuple) and entry else entry
    return os.fsdecode(path) if isinstance(path, str | os.PathLike) else ""


def _refuse(images: Any) -> None:
    """Refuse what has items that are no images, and say what to give in its place."""
    if isinstance(images, DataLoader):
        raise InputTypeError("a DataLoader gives batches, not images; give its data set: loader.dataset")
    if isinstance(images, tuple) and len(images) == 2 and isinstance(images[0], list):
        raise InputTypeError(
            "a pair of images and labels has its images in one array or tensor, these are a list; "
            "give list(zip(images, labels))"
        )
    if isinstance(images, Mapping | Set):
        raise InputTypeError(f"images are a list or a data set, got {type(images).__name__}; give list(...)")
    if isinstance(images, str | os.PathLike) and Path(os.fsdecode(images)).is_dir():
        raise InputError(
            f"{os.fsdecode(images)!r} is a folder; give a list of paths, or torchvision.datasets.ImageFolder(...)"
        )
