"""Reads and prepares the images of a data set chunk by chunk, and notes which are done and which were passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.image_source import ImageSource
from cnnviz_widgets.engine.spans import Span, gaps, joined

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

_NAMED_AT_MOST = 100

Prepared: TypeAlias = tuple[int, Any, Tensor]
"""The index of an image, its label, and its numbers [C, H, W]."""
Together: TypeAlias = tuple[Sequence[int], Sequence[Any], Tensor]
"""Indices, labels and numbers [N, C, H, W] of images of one size."""


@dataclass(frozen=True)
class Scanned:
    """How a scan went.

    Attributes
    ----------
    images
        How many images were collected.
    skipped
        How many could not be read.
    reasons
        What was wrong with the first hundred of these, naming each by its path or place.
    """

    images: int
    skipped: int
    reasons: tuple[str, ...]


@dataclass
class Progress:
    """Which images of a data set are done, and which of them could not be read.

    Attributes
    ----------
    spans
        The indices that are done: see `spans`.
    skipped
        How many of them could not be read.
    reasons
        Index and reason of the first hundred of these.
    finished
        Whether there is nothing left.
    is_whole
        Whether what was collected is of the images that are done, and of no others.
    """

    spans: list[tuple[int, int]] = field(default_factory=list)
    skipped: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    finished: bool = False
    is_whole: bool = True

    @property
    def seen(self) -> int:
        """How many images are done."""
        return sum(stop - start for start, stop in self.spans)

    def add(self, other: Self) -> None:
        """Take in what was done elsewhere; the order makes no difference."""
        self.spans = joined([*self.spans, *other.spans])
        self.skipped += other.skipped
        self.reasons = sorted([*self.reasons, *other.reasons])[:_NAMED_AT_MOST]

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Take something in, within the block, and note it as done in the end; where it fails, it is neither."""
        self.is_whole = False
        yield
        self.is_whole = True

    def missing(self, count: int | None) -> list[Span]:
        """Return what is left to do of so many images."""
        return [] if self.finished else gaps(self.spans, count)

    def scanned(self) -> Scanned:
        """Return how it went, or say that there was nothing to see."""
        if not self.seen:
            raise InputError("the data set is empty: it gave no image; give at least one")
        if self.skipped == self.seen:
            raise InputError(f"none of the {self.seen} images could be read; the first: {self.reasons[0][1]}")
        return Scanned(self.seen - self.skipped, self.skipped, tuple(reason for _, reason in self.reasons))


class ImageReader:
    """Reads images in chunks of `size` (which may be changed in between) and prepares them for a network.

    Parameters
    ----------
    net, source
        Where they come from, and what they are prepared for.
    skip
        Whether images that can't be read are passed over.
    spans
        Which images.

    Attributes
    ----------
    progress
        What was done, up to the last time that it was told to `settle`.
    """

    def __init__(
        self, net: Network, source: ImageSource, skip: bool, spans: Iterable[Span] = ((0, None),)
    ) -> None:
        self.size = 0
        self.progress = Progress()
        self._net = net
        self._source = source
        self._skip = skip
        self._spans = spans
        # Of the chunk that is being read: what is not settled yet.
        self._chunk: list[tuple[int, int]] = []
        self._passed_over: list[tuple[int, str]] = []

    def chunks(self, size: int) -> Iterator[Iterator[Together]]:
        """Yield the images in chunks, and each as batches of one size: their indices, labels and numbers."""
        self.size = size
        entries = self._source.entries(self._spans)
        for first in entries:
            yield self._batches(chain([first], islice(entries, self.size - 1)))

    def settle(self, stop: int | None = None) -> None:
        """Count the images of the chunk that come before ``stop`` (all of them, if left out) as done."""
        end = max((last for _, last in self._chunk), default=0) if stop is None else stop
        reasons = [each for each in self._passed_over if each[0] < end]
        done = [(first, min(last, end)) for first, last in self._chunk if first < end]
        self.progress.add(Progress(done, len(reasons), reasons))
        self._passed_over = [each for each in self._passed_over if each[0] >= end]
        self._chunk = [(max(first, end), last) for first, last in self._chunk if last > end]

    def _batches(self, chunk: Iterable[tuple[int, Any]]) -> Iterator[Together]:
        for _, group in groupby(self._prepared(chunk), key=lambda each: each[2].shape):
            indices, labels, tensors = zip(*group, strict=True)
            yield indices, labels, torch.stack(tensors).to(self._net.device, self._net.dtype)

    def _prepared(self, chunk: Iterable[tuple[int, Any]]) -> Iterator[Prepared]:
        spec = self._net.input
        read = self._read(chunk)
        first = next(read, None)
        if first is None:
            return
        # Small pictures, which need not be resized, can wait for each other.
        if spec.prepare_pixels([first[2]]) is None:
            read = chain([first], read)
        else:
            waiting = [first, *read]
            together = spec.prepare_pixels([image for _, _, image in waiting])
            if together is not None:
                for (index, label, _), numbers in zip(waiting, together, strict=True):
                    yield index, label, numbers
                return
            read = iter(waiting)
        for index, label, image in read:
            try:
                yield index, label, spec.prepare_one(image, self._source.where(index))
            except InputError as error:
                self._pass_over(index, error)

    def _read(self, chunk: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any, Any]]:
        for index, entry in chunk:
            self._chunk = joined([*self._chunk, (index, index + 1)])
            try:
                image, label = self._source.read(index, entry)
            except InputError as error:
                self._pass_over(index, error)
            else:
                yield index, label, image

    def _pass_over(self, index: int, error: InputError) -> None:
        if not self._skip:
            hint = 'give on_error="skip" to pass over images that can\'t be read'
            raise InputError(f"{error}; {hint}") from error.__cause__
        self._passed_over.append((index, str(error)))
