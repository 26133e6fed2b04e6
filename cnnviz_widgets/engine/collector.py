"""What a scan feeds, and what it feeds it with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.layers import LayerKey


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

    One with an attribute ``needs_scores`` that is true gets the network's class scores, too. With ``needs_labels``
    the labels are part of what a checkpoint must fit.
    """

    @property
    def layers(self) -> Sequence[LayerKey]:
        """Which layers it needs the values of; none, if the images are enough."""

    def collect(self, batch: Batch) -> None:
        """Take in a batch, and keep no tensor of it."""

    def fresh(self) -> Self:
        """Return an empty one with the same options, for a part of the images; it may go to another process."""

    def merge(self, other: Self) -> None:
        """Take in what another one has collected from other images: exactly, and in any order."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state; `restore` of a new collector with the same options goes on from there."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` returned; it may be a map of a file, to be copied and let go of."""
