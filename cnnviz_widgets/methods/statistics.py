"""Activation statistics: which channels are dead, how sparse they are, over a whole data set."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable
from typing import Any

import numpy as np

from cnnviz_widgets.engine.activation_statistics import ActivationStatistics
from cnnviz_widgets.engine.channel_tally import TallyCollector
from cnnviz_widgets.engine.errors import LayerNotFoundError
from cnnviz_widgets.engine.image_source import ImageSet
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.rectifiers import rectifiers
from cnnviz_widgets.engine.scan import scan
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.watch_list import list_keys, watch_list


@streamed
def activation_statistics(
    net: Network,
    images: ImageSet,
    layers: Iterable[LayerKey] | LayerKey | None = None,
    *,
    near_dead_share: float = 0.01,
    batch_size: int | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    shards: int | None = None,
) -> Generator[Step, None, ActivationStatistics]:
    """See which channels of a network are dead, and how sparse they all are, over a data set.

    One pass in bounded memory, which ends at the deepest layer asked for. For each channel, over all positions
    of its maps for all N images:

    - **sparsity**: the share of exact zeros;
    - **dead**: exactly zero, on every position of all N images;
    - **near-dead**: above zero on some images, but on at most ``near_dead_share`` of them, and zero otherwise;
    - mean, standard deviation (of the population), smallest and largest value, and a histogram.

    Many dead channels may mean that the learning rate was too high (a few may be dead from the start): one large
    step can push a ReLU to where no image reaches it, and then its gradient is zero, so it does not come back.
    Leaky ReLU, GELU and their like let something through below zero: what they return there is not zero, and a
    channel of theirs that is never above zero is not dead; the message counts it apart. And N images prove nothing
    about others: a channel that is above zero on a share of 3 / N of all images stays unseen on N of them one time in
    twenty. Channels with NaN or infinite values are never called dead; the message names their layers.

    A layer that is called more than once counts by call, under ``(name, call)``. Rectifiers that are called as
    functions (``F.relu``, ``torch.relu``, ``x.relu_()``, ``x.clamp(min=0)``, ``F.relu6``, ``F.gelu``, ...) count
    as well: the name is that of the module in whose ``forward`` it is called, and the function's:
    ``"block.relu()"``, or ``"relu()"`` in the network's own. All values are those returned, whatever overwrites
    them later.

    Parts of a data set merge exactly: `ActivationStatistics.merge`. Means and deviations come from exact sums
    (`cnnviz_widgets.engine.exact_sums`), so the order of merging makes no difference, not in the last bit.

    Parameters
    ----------
    net
        The network.
    images
        A list of images (as in `InputSpec.prepare`) or of (image, label), a torch ``Dataset`` of these such as
        torchvision's ``ImageFolder``, a list of paths, a generator, an array uint8 N x H x W (x 3), or a tensor
        N x C x H x W with values in [0, 1].
    layers
        Names, or ``(name, call)`` for one call; a bare name means all its calls. ``None``: every rectifier that
        returns maps [N, C, H, W] or vectors [N, C], smooth ones such as GELU included.
    near_dead_share
        From 0 (no channel is near-dead) to below 1.
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
    ActivationStatistics

    Raises
    ------
    LayerNotFoundError
        No such layer (with the nearest names), one that is never called, or no rectifiers to take for ``None``.
    OutputError
        A layer that returns neither maps nor vectors, or several numbers of channels.
    InputError
        No images, or one that can't be used, named by its path or place.
    CheckpointError
        A checkpoint that can't be read, or that of another network, data set or of other layers.
    ValueError
        A value that an option can't have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> found = cv.activation_statistics(cv.samples.fashion_cnn(), images[:200])
    >>> found
    ActivationStatistics(200 images, 3 layers: 2 of 96 channels dead, 1 near-dead)
    >>> found.sparsity["relu1"].shape
    (16,)
    """
    check_network(net, "activation_statistics")
    share = _checked_share(near_dead_share)
    collector = TallyCollector(_chosen(net, layers))
    scanned = yield from scan(
        net,
        images,
        [collector],
        batch_size=batch_size,
        on_error=on_error,
        checkpoint=checkpoint,
        jobs=jobs,
        shards=shards,
        options={"method": "activation_statistics"},
    )
    return ActivationStatistics(
        images=scanned.images,
        skipped=scanned.skipped,
        skipped_reasons=tuple(sorted(scanned.reasons)),
        near_dead_share=share,
        counts={key: tally.arrays for key, tally in collector.tallies.items()},
    )


def _chosen(net: Network, layers: Any) -> list[LayerKey]:
    if layers is not None:
        keys = list_keys(layers)
        watch_list(net.core, keys)  # refuses unknown names before any image is read
        return keys
    found = rectifiers(net.survey, net.core)
    if not found:
        raise LayerNotFoundError(
            "this network calls no rectifier that returns maps or vectors, so there is nothing to take for "
            "layers=None; name some: layers=[...] (net.layers lists all modules)"
        )
    return list(found)


def _checked_share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value < 1:
        raise ValueError(f"near_dead_share is a share of the images, from 0 to below 1, got {value!r}")
    return float(value)
