"""Collects which images excite channels most, and keeps these images and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz_widgets.engine.channel_peaks import NOBODY, ChannelPeaks
from cnnviz_widgets.engine.channel_tally import array_name, named_array
from cnnviz_widgets.engine.collector import Batch
from cnnviz_widgets.engine.errors import InputError, MemoryLimitError
from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.layers import LayerKey, check_call
from cnnviz_widgets.engine.picture_marks import is_same_mark, picture_mark

FoundAgain: TypeAlias = tuple[int, NDArray[np.float32], NDArray[np.uint8]]
"""Index, mark and picture of an image."""


class PatchCollector:
    """A `Collector` of the largest values of channels, and of the images that they are in.

    Parameters
    ----------
    spec
        What the network takes for an image.
    layers
        The layers, as they are asked for.
    k, per_image, channels
        See `ChannelPeaks`.
    keep
        Whether pictures of the winning images are kept, or only their sizes and marks, by which they are known
        again when they are read once more.
    memory_limit
        How many bytes of pictures may be kept.
    is_single
        Whether a layer that is called more than once is refused.

    Attributes
    ----------
    peaks
        By key: a layer's name, or (name, call) for each call of a layer that is called more than once.
    pictures
        The winning images, uint8 [H, W, 3], by index.
    sizes, marks
        Height and width, and the mark (see `picture_marks`), of all winning images, by index.
    """

    def __init__(
        self,
        spec: InputSpec,
        layers: Sequence[LayerKey],
        *,
        k: int = 9,
        per_image: int = 1,
        channels: Sequence[int] | None = None,
        keep: bool = True,
        memory_limit: int = 2**30,
        is_single: bool = False,
    ) -> None:
        self.layers = tuple(layers)
        self.peaks: dict[LayerKey, ChannelPeaks] = {}
        self.pictures: dict[int, NDArray[np.uint8]] = {}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.marks: dict[int, NDArray[np.float32]] = {}
        self._spec = spec
        self._k = k
        self._per_image = per_image
        self._channels = channels
        self._keep = keep
        self._memory_limit = memory_limit
        self._is_single = is_single

    def collect(self, batch: Batch) -> None:
        """Let the images of a batch compete; see `ChannelPeaks.add` for what is refused."""
        values = {key: value for layer in self.layers for key, value in batch.of(layer).items()}
        if self._is_single and isinstance(self.layers[0], str):
            check_call(self.layers[0], None, len(values))  # says which calls there are
        changed = [self._peaks(key).add(value, batch.indices) for key, value in values.items()]
        if not any(changed):
            return
        winners = self.winners()
        chosen = np.flatnonzero(np.isin(batch.indices, winners))
        x = batch.x[torch.from_numpy(chosen).to(batch.x.device)]
        if len(chosen):
            pictures = self._spec.restore(x) if self._keep else ()
            for place, index in enumerate(batch.indices[chosen].tolist()):
                self.sizes[index] = (x.shape[2], x.shape[3])
                self.marks[index] = picture_mark(x[place])
                if self._keep:
                    self.pictures[index] = pictures[place].copy()
        self._drop_others(winners)

    def winners(self) -> NDArray[np.int64]:
        """Return the indices of the images that have a place, in order."""
        held = [each.arrays["images"].ravel() for each in self.peaks.values()]
        found: NDArray[np.int64] = np.unique(np.concatenate([np.zeros(0, np.int64), *held]))
        held_by: NDArray[np.int64] = found[found != NOBODY]
        return held_by

    def missing(self) -> NDArray[np.int64]:
        """Return the indices of the winning images whose pictures are not here."""
        return np.array([each for each in self.winners().tolist() if each not in self.pictures], np.int64)

    def take(self, found: Iterable[FoundAgain]) -> None:
        """Keep winning images that were read again.

        Raises
        ------
        InputError
            One does not look as it did in the scan.
        """
        for index, mark, picture in found:
            if not is_same_mark(mark, self.marks[index]):
                raise InputError(
                    f"image {index} was another picture when it was read again to cut its patch; a data set that "
                    "changes its images at random can't be spread over workers: use jobs=1 and no shards"
                )
            self.pictures[index] = picture
        self._check_bytes()

    def _peaks(self, key: LayerKey) -> ChannelPeaks:
        if key not in self.peaks:
            self.peaks[key] = ChannelPeaks(key, self._k, self._per_image, self._channels)
        return self.peaks[key]

    def _drop_others(self, winners: NDArray[np.int64]) -> None:
        kept = set(winners.tolist())
        for each in (self.pictures, self.sizes, self.marks):
            for index in [index for index in each if index not in kept]:
                del each[index]
        self._check_bytes()

    def _check_bytes(self) -> None:
        taken = sum(each.nbytes for each in self.pictures.values())
        if taken > self._memory_limit:
            raise MemoryLimitError(
                f"the {len(self.pictures):,} images that patches are cut from take {taken:,} bytes, more than "
                f"memory_limit={self._memory_limit:,}; ask for fewer channels, layers or patches (k={self._k}), "
                "raise the limit, or give patches=False for scores and boxes alone"
            )

    def fresh(self) -> Self:
        """Return an empty one for a part of the images, which keeps no pictures: they would all be sent."""
        return type(self)(
            self._spec,
            self.layers,
            k=self._k,
            per_image=self._per_image,
            channels=self._channels,
            keep=False,
            memory_limit=self._memory_limit,
            is_single=self._is_single,
        )

    def merge(self, other: Self) -> None:
        """Let what another one holds, of other images, compete."""
        for key, peaks in other.peaks.items():
            self._peaks(key).merge(peaks)
        self.pictures |= other.pictures
        self.sizes |= other.sizes
        self.marks |= other.marks
        self._drop_others(self.winners())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all places, each under a name such as ``'scores "conv"'``, and the images."""
        found = {
            array_name(name, key): array
            for key, peaks in self.peaks.items()
            for name, array in peaks.arrays.items()
        }
        indices = sorted(self.sizes)
        found["seen"] = np.array(indices, np.int64)
        found["sizes"] = np.array([self.sizes[each] for each in indices], np.int64).reshape(-1, 2)
        marks = [self.marks[each] for each in indices]
        found["marks"] = np.stack(marks) if marks else np.zeros((0, 0), np.float32)
        return found | {f"picture {index}": each for index, each in self.pictures.items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `arrays` returned."""
        self.peaks = {}
        indices = arrays["seen"].tolist()
        self.sizes = {
            index: (int(height), int(width))
            for index, (height, width) in zip(indices, arrays["sizes"], strict=True)
        }
        self.marks = {index: mark.copy() for index, mark in zip(indices, arrays["marks"], strict=True)}
        self.pictures = {}
        for text, array in arrays.items():
            if text in ("seen", "sizes", "marks"):
                continue
            if text.startswith("picture "):
                self.pictures[int(text.removeprefix("picture "))] = np.array(
                    array
                )  # it may be a map of a file
                continue
            name, key = named_array(text)
            self._peaks(key).arrays[name] = array.copy()
