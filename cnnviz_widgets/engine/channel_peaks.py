"""The largest values of each channel of a layer over many images, and where they are; merges exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.errors import OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, describe, main_tensor

NOBODY = np.iinfo(np.int64).max
"""The image of a place that is still free: after all others."""
# Values copied in one go.
_PIECE = 2**23


class ChannelPeaks:
    """Keeps the k largest values of each channel of one layer, batch by batch.

    Values count as float32; a NaN counts as not there. Equal ones are ordered by image, then by position.

    Parameters
    ----------
    layer
        Its name, for errors.
    k
        How many places each channel has.
    per_image
        How many of them an image may take.
    channels
        Which channels, ``None`` for all.
    arrays
        A state to go on from.

    Attributes
    ----------
    arrays
        The state, best first: ``scores`` float32, ``images``, ``rows`` and ``columns`` int64, all [C, k], with
        scores of -inf and image `NOBODY` in places that are still free, and ``channels`` [C].
    """

    def __init__(
        self,
        layer: LayerKey,
        k: int,
        per_image: int = 1,
        channels: Sequence[int] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.arrays = {} if arrays is None else dict(arrays)
        self._layer = layer
        self._k = k
        self._per_image = min(per_image, k)
        self._channels = channels
        self._count = -1

    def add(self, value: Any, images: NDArray[np.int64]) -> bool:
        """Take in what the layer returned for some images; return whether any of them got a place.

        Raises
        ------
        OutputError
            Neither maps [N, C, H, W] nor vectors [N, C], or another number of channels than before.
        TargetError
            A channel that the layer has not.
        """
        maps, width = self._maps(value)
        if not maps.numel():
            return False
        best = maps.amax(2)
        if bool(best.isnan().any()):
            maps = maps.masked_fill(maps.isnan(), -torch.inf)
            best = maps.amax(2)
        highest = best.cpu().numpy()
        last, holder = self.arrays["scores"][:, -1], self.arrays["images"][:, -1]
        rivals = (highest > last) | ((highest == last) & (images[:, None] < holder))
        pairs = np.argwhere(rivals & (highest > -np.inf))
        for piece in np.array_split(pairs, max(1, len(pairs) * maps.shape[2] // _PIECE)):
            self._compete(maps, images, piece, width)
        return len(pairs) > 0

    def _maps(self, value: Any) -> tuple[Tensor, int]:
        """Return the channels asked for [N, C, P], and how wide their maps are."""
        tensor = main_tensor(value).detach()
        if tensor.ndim not in (2, 4) or tensor.is_complex():
            raise OutputError(
                f"layer {self._layer!r} returns {describe(tensor)} of {tensor.dtype}; patches need maps "
                "(images, channels, rows, columns) or vectors (images, channels) of real numbers"
            )
        count = tensor.shape[1]
        if self._count not in (-1, count):
            raise OutputError(
                f"layer {self._layer!r} returns {count} channels for some images and {self._count} for others, "
                "so there are no patches by channel"
            )
        self._count = count
        chosen = range(count) if self._channels is None else self._channels
        if not self.arrays:
            beyond = [each for each in chosen if not 0 <= each < count]
            if beyond:
                raise TargetError(
                    f"layer {self._layer!r} has no channel {beyond[0]}: it has {count}, counted from 0"
                )
            self.arrays = _free(np.array(chosen, dtype=np.int64), self._k)
        elif len(chosen) != len(self.arrays["channels"]):
            raise OutputError(
                f"layer {self._layer!r} returns {count} channels, and {len(self.arrays['channels'])} before"
            )
        maps = tensor.reshape(len(tensor), count, -1).float()
        picked = maps if self._channels is None else maps[:, list(self._channels)]
        return picked, tensor.shape[3] if tensor.ndim == 4 else 1

    def _compete(self, maps: Tensor, images: NDArray[np.int64], pairs: NDArray[np.int64], width: int) -> None:
        """Give places to the best positions of some maps: pairs of image and channel."""
        at = torch.from_numpy(pairs).to(maps.device)
        chosen = maps[at[:, 0], at[:, 1]]
        for _ in range(min(self._per_image, chosen.shape[1])):
            best, places = chosen.max(1)  # the first of those that are equal
            values, positions = best.cpu().numpy(), places.cpu().numpy()
            left = values > -np.inf  # what has had its place is there no more, and NaN never was
            self._insert(
                pairs[left, 1],
                values[left],
                images[pairs[left, 0]],
                positions[left] // width,
                positions[left] % width,
            )
            chosen.scatter_(1, places[:, None], -torch.inf)

    def merge(self, other: ChannelPeaks) -> None:
        """Take in the places of another one, of other images."""
        if not self.arrays:
            self.arrays = {name: each.copy() for name, each in other.arrays.items()}
            return
        theirs = other.arrays
        channel = np.repeat(np.arange(len(theirs["scores"])), self._k)
        names = ("scores", "images", "rows", "columns")
        self._insert(channel, *(theirs[name].ravel() for name in names))

    def _insert(
        self,
        channel: NDArray[np.int64],
        scores: NDArray[np.float32],
        images: NDArray[np.int64],
        rows: NDArray[np.int64],
        columns: NDArray[np.int64],
    ) -> None:
        """Order some values [n] together with those that have places, and let the first k of each channel in."""
        touched, group = np.unique(channel, return_inverse=True)
        held = np.repeat(np.arange(len(touched)), self._k)
        names = ("scores", "images", "rows", "columns")
        new = dict(zip(names, (scores, images, rows, columns), strict=True))
        both = {name: np.concatenate([self.arrays[name][touched].ravel(), new[name]]) for name in names}
        groups = np.concatenate([held, group])
        order = np.lexsort((both["columns"], both["rows"], both["images"], -both["scores"], groups))
        ordered = groups[order]
        rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        winners = order[rank < self._k]
        for name in names:
            self.arrays[name][touched] = both[name][winners].reshape(len(touched), self._k)


def _free(channels: NDArray[np.int64], k: int) -> dict[str, NDArray[Any]]:
    size = (len(channels), k)
    return {
        "channels": channels,
        "scores": np.full(size, -np.inf, dtype=np.float32),
        "images": np.full(size, NOBODY, dtype=np.int64),
        "rows": np.full(size, -1, dtype=np.int64),
        "columns": np.full(size, -1, dtype=np.int64),
    }
