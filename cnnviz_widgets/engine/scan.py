"""One pass over a data set for any number of collectors, in memory that does not grow with it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.image_source import ImageSet, ImageSource
from cnnviz_widgets.engine.layers import LayerKey, tensors_in
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import whole_number

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# Batches that are chosen here: the first has this many images, the others keep to these bounds.
_FIRST_BATCH, _LARGEST_BATCH, _VALUE_BYTES = 4, 64, 256 * 2**20
_NAMED_AT_MOST = 100


@dataclass(frozen=True)
class Batch:
    """Some images of a scan, and what the layers returned for them.

    Attributes
    ----------
    indices
        Where the images stand in the data set [N], int64.
    labels
        Their labels as the data set gives them, ``None`` for those without.
    x
        The prepared images [N, C, H, W], on the network's device.
    values
        What each layer returned, by key: one for each call of a layer.
    calls
        The keys in ``values`` for each layer that was asked for.
    scores
        The class scores [N, K], if a collector asks for them.
    """

    indices: NDArray[np.int64]
    labels: tuple[Any, ...]
    x: Tensor
    values: Mapping[LayerKey, Any]
    calls: Mapping[LayerKey, Sequence[LayerKey]]
    scores: Tensor | None = None

    def of(self, layer: LayerKey) -> dict[LayerKey, Any]:
        """Return what a layer returned, by call: one entry, several for a bare name of several calls."""
        return {key: self.values[key] for key in self.calls[layer]}


class Collector(Protocol):
    """What a scan feeds. Its state is a dictionary of arrays, so that it can be kept and sent around.

    One with an attribute ``needs_scores`` that is true gets the network's class scores, too.
    """

    @property
    def layers(self) -> Sequence[LayerKey]:
        """Which layers it needs the values of; none, if the images are enough."""

    def collect(self, batch: Batch) -> None:
        """Take in a batch, and keep no tensor of it."""

    def merge(self, other: Self) -> None:
        """Take in what another one has collected from other images: exactly, and in any order."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state; `restore` of a new collector with the same options goes on from there."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` returned."""


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


def scan(
    net: Network,
    images: ImageSet,
    collectors: Sequence[Collector],
    *,
    batch_size: int | None = None,
    on_error: str = "raise",
) -> Generator[Step, None, Scanned]:
    """Run a data set through the network once and feed all collectors; a generator of `Step`.

    Each pass ends at the deepest layer that any collector asks for (at the output, if one asks for class scores).
    A step counts images: ``index + 1`` are
    done. Its values are ``images_per_second``, ``seconds_left`` where the number of images is known, and
    ``skipped``; time that passes between steps does not count.

    Parameters
    ----------
    net
        The network.
    images
        See `ImageSource`.
    collectors
        What to feed. They keep what they have collected also where the scan is stopped or fails.
    batch_size
        Images in one pass. Left out: 4 in the first pass, then as many as keep what the layers return within
        256 MB, at most 64.
        Neighbors of different sizes (where the network takes any) never share a pass.
    on_error
        ``"raise"``, or ``"skip"`` for images that can't be read: they are counted and named in the result.

    Raises
    ------
    InputError
        No images, an image that can't be read (named by its path or place), or none that can.
    InputTypeError
        Something that is not an image: this is never skipped.
    ValueError
        A batch size below 1, or another ``on_error``.
    """
    size = _checked_options(batch_size, on_error)
    reader = _Reader(net, ImageSource(images, cast(int, net.input.channels)), on_error == "skip")
    layers = list(dict.fromkeys(layer for each in collectors for layer in each.layers))
    scores = any(getattr(each, "needs_scores", False) for each in collectors)
    spent = 0.0
    resumed = time.perf_counter()
    for chunk in reader.chunks(size):
        for indices, labels, x in chunk:
            batch = _run(net, layers, scores, indices, labels, x)
            if batch_size is None:
                reader.size = _fitting_size(batch)
            for each in collectors:
                each.collect(batch)
            del batch, x
        now = time.perf_counter()
        spent += now - resumed
        yield reader.step(spent)
        resumed = time.perf_counter()
    return reader.scanned()


def _run(
    net: Network,
    layers: Sequence[LayerKey],
    with_scores: bool,
    indices: Sequence[int],
    labels: Sequence[Any],
    x: Tensor,
) -> Batch:
    values: dict[LayerKey, Any] = {}
    calls: dict[LayerKey, Sequence[LayerKey]] = {}
    scores = None
    if with_scores and not layers:
        scores = net.class_scores(x)
    if layers:
        with apart(net), capture(net, layers, stop=not with_scores) as seen:
            if with_scores:
                scores = net.class_scores(x)
            else:
                net(x)
        calls = {layer: seen.keys_of(layer) for layer in layers}
        values = {key: seen[key] for keys in calls.values() for key in keys}
    return Batch(np.asarray(indices, dtype=np.int64), tuple(labels), x, values, calls, scores)


def _fitting_size(batch: Batch) -> int:
    """Return how many images of such a size may share a pass."""
    tensors = [each for value in batch.values.values() for each in tensors_in(value)]
    taken = sum(each.numel() * each.element_size() for each in [batch.x, *tensors])
    return max(1, min(_LARGEST_BATCH, _VALUE_BYTES * len(batch.x) // max(taken, 1)))


def _checked_options(batch_size: Any, on_error: Any) -> int:
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error is 'raise' or 'skip', got {on_error!r}")
    if batch_size is None:
        return _FIRST_BATCH
    size = whole_number(batch_size)
    if size is None or size < 1:
        raise ValueError(
            f"batch_size must be a whole number from 1, or None to choose it, got {batch_size!r}"
        )
    return size


Prepared: TypeAlias = tuple[int, Any, Tensor]
"""The index of an image, its label, and its numbers [C, H, W]."""


class _Reader:
    """Reads and prepares images chunk by chunk, and counts them."""

    def __init__(self, net: Network, source: ImageSource, skip: bool) -> None:
        self.size = 0
        self._net = net
        self._source = source
        self._skip = skip
        self._seen = self._skipped = 0
        self._reasons: list[str] = []
        self._first_error: InputError | None = None

    def chunks(self, size: int) -> Iterator[Iterator[tuple[Sequence[int], Sequence[Any], Tensor]]]:
        """Yield the images in chunks, and each as batches of one size: their indices, labels and numbers."""
        self.size = size
        entries = iter(self._source)
        for first in entries:
            yield self._batches(chain([first], islice(entries, self.size - 1)))

    def _batches(
        self, chunk: Iterable[tuple[int, Any]]
    ) -> Iterator[tuple[Sequence[int], Sequence[Any], Tensor]]:
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
                self._pass_over(error)

    def _read(self, chunk: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any, Any]]:
        for index, entry in chunk:
            self._seen += 1
            try:
                image, label = self._source.read(index, entry)
            except InputError as error:
                self._pass_over(error)
            else:
                yield index, label, image

    def _pass_over(self, error: InputError) -> None:
        if not self._skip:
            raise error
        self._skipped += 1
        self._first_error = self._first_error or error
        if len(self._reasons) < _NAMED_AT_MOST:
            self._reasons.append(str(error))

    def step(self, seconds: float) -> Step:
        """Return how far the scan is, after that many seconds of work."""
        total = self._source.count
        values = {"images_per_second": self._seen / max(seconds, 1e-9), "skipped": float(self._skipped)}
        if total is not None:
            values["seconds_left"] = (total - self._seen) * seconds / max(self._seen, 1)
        return Step(self._seen - 1, total, values=values)

    def scanned(self) -> Scanned:
        """Return how it went, or say that there was nothing to see."""
        if not self._seen:
            raise InputError("the data set is empty: it gave no image; give at least one")
        if self._skipped == self._seen:
            raise InputError(
                f"none of the {self._seen} images could be read; the first: {self._first_error}"
            ) from self._first_error
        return Scanned(self._seen - self._skipped, self._skipped, tuple(self._reasons))
