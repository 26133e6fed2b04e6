"""Top patches: the parts of images that excite each channel most, over a whole data set."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.channel_peaks import NOBODY
from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.image_reader import Scanned
from cnnviz_widgets.engine.image_source import ImageSet, ImageSource
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.patch_collector import PatchCollector
from cnnviz_widgets.engine.patch_pictures import BoxFinder, read_again
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.scan import scan
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.watch_list import list_keys, watch_list
from cnnviz_widgets.engine.whole_numbers import checked_whole, whole_number
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, PNG_TILES, fit_tiles, mosaic, pad_alike

Pictures = tuple[NDArray[np.uint8], ...]


@dataclass(frozen=True, eq=False)
class TopPatches(Result):
    """The patches that excite the channels of a layer most; shows itself as a mosaic, a row for each channel.

    Arrays have a row for each channel, and in it the k patches, best first. A place that stayed free (fewer
    than k images could be read, or gave a number) has the score NaN, image and position -1 and an empty box.

    Attributes
    ----------
    scores
        What the unit returned [C, k], float32, in the units of the network.
    image_indices
        In which image of the data set [C, k], int64.
    positions
        At which row and column of the channel's map [C, k, 2], int64; (0, 0) where the layer has no maps.
    boxes
        Top, left, bottom, right [C, k, 4], int64: the exact receptive field of the unit, in pixels of the image as
        the network saw it, within the image. Where the layer has no maps: all that its units look at.
    channels
        Which channel each row is [C], int64.
    picture_indices, pictures
        The images that patches are cut from, as the network saw them: their indices in the data set [M] and,
        for each, uint8 [H, W, 3]. None with ``patches=False``.
    layer
        The layer, as (name, call) where it is called more than once.
    images
        How many images were scanned.
    skipped, skipped_reasons
        How many could not be read (with ``on_error="skip"``), and what was wrong with up to 100 of them.
    per_image
        How many patches of one image a channel may have.
    reason
        Why each patch is a whole image, where a module on the way (such as a global pooling) makes units see all of
        it; ``None`` where none does.
    """

    scores: NDArray[np.float32]
    image_indices: NDArray[np.int64]
    positions: NDArray[np.int64]
    boxes: NDArray[np.int64]
    channels: NDArray[np.int64]
    picture_indices: NDArray[np.int64]
    pictures: Pictures
    layer: LayerKey
    images: int
    skipped: int
    skipped_reasons: tuple[str, ...]
    per_image: int
    reason: str | None = None

    @property
    def k(self) -> int:
        """How many patches each channel has."""
        return int(self.scores.shape[1])

    @cached_property
    def patches(self) -> tuple[Pictures, ...]:
        """The patches, uint8 [h, w, 3], as ``patches[row][rank]``: views into `pictures`, of the boxes' sizes."""
        return tuple(
            tuple(self._cut(row, rank) for rank in range(self.k)) for row in range(len(self.channels))
        )

    def picture(self, image_index: int) -> NDArray[np.uint8]:
        """Return the whole image of that index in the data set, as the network saw it, uint8 [H, W, 3].

        Raises
        ------
        TargetError
            No patch was cut from that image.
        """
        place = self._places.get(image_index)
        if place is None:
            raise TargetError(f"no patch is cut from image {image_index!r}; see .picture_indices")
        return self.pictures[place]

    @cached_property
    def _places(self) -> dict[int, int]:
        return {int(index): place for place, index in enumerate(self.picture_indices)}

    def _cut(self, row: int, rank: int) -> NDArray[np.uint8]:
        place = self._places.get(int(self.image_indices[row, rank]))
        if place is None:
            return np.zeros((0, 0, 3), np.uint8)
        top, left, bottom, right = self.boxes[row, rank]
        return self.pictures[place][top:bottom, left:right]

    @property
    def message(self) -> str:
        """What was found, in words, and which patches mean nothing."""
        said = [
            f"The {self.k} patches that excite each of {len(self.channels)} channels of layer {self.layer!r} most, "
            f"out of {self.images:,} images."
        ]
        if self.reason:
            said.append(f"Each patch is a whole image, as each unit {self.reason}.")
        free = np.isnan(self.scores)
        alike = ~free.any(axis=1) & (self.scores[:, 0] == self.scores[:, -1]) & (self.k > 1)
        if alike.any():
            said.append(
                f"{int(alike.sum())} answer to all theirs alike (a dead channel: 0 everywhere), so that these are "
                f"only the first of many: channel {self.channels[alike][0]}, for one."
            )
        if free.any():
            said.append(
                f"{int(free.any(axis=1).sum())} have fewer than {self.k}: there were no more images with a number."
            )
        if self.skipped:
            said.append(
                f"Images that could not be read and were skipped: {self.skipped}, such as: {self.skipped_reasons[0]}."
            )
        return " ".join(said)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return (
            f"TopPatches({len(self.channels)} channels x {self.k} patches of layer {self.layer!r}, "
            f"out of {self.images} images)"
        )

    def _repr_png_(self) -> bytes | None:
        """Return the mosaic that a notebook shows for the bare result: the first channels, a row for each."""
        rows = self.patches[: max(1, PNG_TILES // self.k)]
        # Those at the border of an image are smaller.
        tiles = pad_alike([each for row in rows for each in row])
        if not tiles.size:
            return None
        return png(mosaic(fit_tiles(tiles), columns=self.k, gap=2), effort=3, max_bytes=PNG_BYTES)


@streamed
def top_patches(
    net: Network,
    images: ImageSet,
    layer: LayerKey | Iterable[LayerKey],
    channels: int | Iterable[int] | None = None,
    *,
    k: int = 9,
    per_image: int | None = 1,
    patches: bool = True,
    memory_limit: int = 2**30,
    batch_size: int | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    shards: int | None = None,
) -> Generator[Step, None, TopPatches | ByLayer[TopPatches]]:
    """See which parts of which images excite each channel of a layer most.

    One pass over the data set finds, for every channel, the k largest values of its maps, the images they are in
    and their positions; the patch is what the unit there looks at: its exact receptive field (`receptive_field`),
    cut from the image as the network saw it [1]_. Equal values are ordered by image, then by position (row by
    row); values are compared as float32. Values that are NaN have no place.

    The result is the same for every batch size and any number of workers and shards, up to the rounding of the
    network's own values.

    **Memory** depends on C k, the patches of all layers together, and not on the number of images: while it scans,
    the images with a place are kept as the network saw them, H W 3 bytes each, and given up when the last
    place is lost. That is C k H W 3 bytes at most: 690 MB for 512 channels, k = 9 and 224 x 224 pixels, and less as
    an image has places in several channels. Workers keep no images; the winning ones are read again in the end.

    Parameters
    ----------
    net
        The network.
    images
        A list of images (as in `InputSpec.prepare`) or of (image, label), a torch ``Dataset`` of these such as
        torchvision's ``ImageFolder``, a list of paths, a generator, an array uint8 N x H x W (x 3), or a tensor
        N x C x H x W with values in [0, 1].
    layer
        Its name, or ``(name, call)`` for one call of a layer that is called more than once; or several in a list,
        all in one pass. It returns maps [N, C, H, W] or vectors [N, C].
    channels
        Which channels (of each layer), counted from 0; all of them if left out.
    k
        How many patches for each channel.
    per_image
        How many of them one image may have; ``None``: no limit. With 1 a channel shows k different images.
    patches
        Whether to keep the images to cut patches from; otherwise there are only scores, positions and boxes.
    memory_limit
        Bytes that these images may take.
    batch_size
        Images in one pass; chosen for the memory it takes if left out.
    on_error
        ``"raise"``, or ``"skip"`` for images that can't be read, which are then counted and named.
    checkpoint
        A file to keep what was found so far, first after two seconds, then every 20. If it is there, the scan goes
        on from it; it is refused where the network, the options or the data set changed (what is compared of that:
        `cnnviz_widgets.engine.scan.ScanOptions`).
    jobs
        How many workers share the images, as joblib's ``n_jobs``. Left out: what `joblib.parallel_config` says.
    shards
        In how many parts the images are given to workers. Chosen if left out.

    Returns
    -------
    TopPatches
        For a list of layers: one for each call of each layer, in a mapping by layer.

    Raises
    ------
    LayerNotFoundError
        No such layer (with the nearest names), or one that is never called.
    AmbiguousLayerError
        A bare name, alone, of a layer that is called more than once.
    OutputError
        A layer that returns neither maps nor vectors.
    TargetError
        A channel that there is not; a layer that does not depend on the image.
    InputError
        No images, fewer than there are to be patches, or one that can't be used, named by its path or place;
        images that make no pictures (give ``patches=False``).
    MemoryLimitError
        The images to keep take more than ``memory_limit``.
    CheckpointError
        A checkpoint that can't be read, or that of another network, data set or of other options.
    ValueError
        A value that an option can't have.

    References
    ----------
    .. [1] R. Girshick, J. Donahue, T. Darrell and J. Malik, "Rich feature hierarchies for accurate object
       detection and semantic segmentation", CVPR 2014.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> found = cv.top_patches(cv.samples.fashion_cnn(), images[:200], "conv2", k=4)
    >>> found
    TopPatches(32 channels x 4 patches of layer 'conv2', out of 200 images)
    >>> found.boxes[0, 0].tolist(), found.patches[0][0].shape
    ([1, 11, 17, 27], (16, 16, 3))
    """
    check_network(net, "top_patches")
    keys = list_keys(layer)
    watch_list(net.core, keys)  # refuses unknown names before any image is read
    is_single = keys == [layer]
    count = checked_whole("k", k)
    each = count if per_image is None else checked_whole("per_image", per_image)
    chosen = None if channels is None else _checked_channels(channels)
    _check_enough(net, images, count, each)
    if patches and net.input.channels not in (1, 3):
        raise InputError(
            f"images of {net.input.channels} channels make no pictures to cut patches from; give patches=False "
            "for scores, positions and boxes alone"
        )
    finder = BoxFinder(net)
    finder.check(keys)
    collector = PatchCollector(
        net.input,
        keys,
        k=count,
        per_image=each,
        channels=chosen,
        keep=bool(patches),
        memory_limit=checked_whole("memory_limit", memory_limit),
        is_single=is_single,
    )
    scanned = yield from scan(
        net,
        images,
        [collector],
        batch_size=batch_size,
        on_error=on_error,
        checkpoint=checkpoint,
        jobs=jobs,
        shards=shards,
        options={"method": "top_patches", "k": count, "per_image": each, "channels": chosen},
    )
    if patches:
        read_again(net, images, collector, jobs)
    found = {key: _result(finder, collector, key, scanned, each) for key in collector.peaks}
    return next(iter(found.values())) if is_single else ByLayer(found)


def _result(
    finder: BoxFinder, collector: PatchCollector, key: LayerKey, scanned: Scanned, per_image: int
) -> TopPatches:
    held = collector.peaks[key].arrays
    is_free = held["images"] == NOBODY
    images = np.where(is_free, -1, held["images"])
    positions = np.stack([held["rows"], held["columns"]], axis=2)
    shown = [index for index in np.unique(images).tolist() if index in collector.pictures]
    boxes = finder.boxes(key, collector.sizes, images, positions)
    return TopPatches(
        scores=np.where(is_free, np.float32(np.nan), held["scores"]),
        image_indices=images,
        positions=positions,
        boxes=boxes,
        channels=held["channels"],
        picture_indices=np.array(shown, np.int64),
        pictures=tuple(collector.pictures[index] for index in shown),
        layer=key,
        images=scanned.images,
        skipped=scanned.skipped,
        skipped_reasons=tuple(sorted(scanned.reasons)),
        per_image=per_image,
        reason=finder.reason(key),
    )


def _check_enough(net: Network, images: ImageSet, k: int, per_image: int) -> None:
    """Refuse more patches than there can be, where the number of images is known before the scan."""
    count = ImageSource(images, cast(int, net.input.channels)).count
    if count is not None and k > count * per_image:
        raise InputError(
            f"k is over the data set's size: {count} image{'s' * (count != 1)}, each with {per_image} "
            f"patch{'es' * (per_image != 1)} of a channel at most, "
            f"can't give k={k}; use k={count * per_image} or less"
        )


def _checked_channels(channels: Any) -> list[int]:
    given = list(channels) if isinstance(channels, Iterable) and not isinstance(channels, str) else [channels]
    numbers = [whole_number(each) for each in given]
    if not numbers or None in numbers:
        raise ValueError(f"channels is a whole number or a list of them, or None for all, got {channels!r}")
    return cast(list[int], numbers)
