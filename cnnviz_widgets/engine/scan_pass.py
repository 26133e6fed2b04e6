"""One pass over some images: runs the network on each batch and feeds the collectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture, value_in
from cnnviz_widgets.engine.collector import Batch, Collector
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.image_reader import ImageReader
from cnnviz_widgets.engine.layers import LayerKey, tensors_in

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# Batches that are chosen here: the first has this many images, the others keep to these bounds.
_FIRST_BATCH, _LARGEST_BATCH, _VALUE_BYTES = 4, 64, 256 * 2**20


def feed(
    net: Network, reader: ImageReader, collectors: Sequence[Collector], batch_size: int | None
) -> Iterator[None]:
    """Feed the collectors with what the reader gives; yields after each chunk, when all of them have it."""
    layers = list(dict.fromkeys(layer for each in collectors for layer in each.layers))
    scores = any(getattr(each, "needs_scores", False) for each in collectors)
    for chunk in reader.chunks(batch_size or _FIRST_BATCH):
        for indices, labels, x in chunk:
            batch = _run(net, layers, scores, indices, labels, x)
            if batch_size is None:
                reader.size = _fitting_size(batch)
            with reader.progress.taking():
                for each in collectors:
                    each.collect(batch)
                reader.settle(int(batch.indices[-1]) + 1)
            del batch, x
        with reader.progress.taking():
            reader.settle()
        yield


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
        scores = _class_scores(net, x, indices)
    if layers:
        with apart(net), capture(net, layers, stop=not with_scores) as seen:
            if with_scores:
                scores = _class_scores(net, x, indices)
            else:
                net(x)
        calls = {layer: seen.keys_of(layer) for layer in layers}
        values = {key: value_in(seen, key) for keys in calls.values() for key in keys}
    return Batch(np.asarray(indices, dtype=np.int64), tuple(labels), x, values, calls, scores)


def _class_scores(net: Network, x: Tensor, indices: Sequence[int]) -> Tensor:
    try:
        return net.class_scores(x)
    except OutputError as error:
        which = f"image {indices[0]}" if len(indices) == 1 else f"images {indices[0]} to {indices[-1]}"
        raise OutputError(f"{error} ({which} of the scan)") from error


def _fitting_size(batch: Batch) -> int:
    """Return how many images of such a size may share a pass."""
    tensors = [each for value in batch.values.values() for each in tensors_in(value)]
    taken = sum(each.numel() * each.element_size() for each in [batch.x, *tensors])
    return max(1, min(_LARGEST_BATCH, _VALUE_BYTES * len(batch.x) // max(taken, 1)))
