"""The history of a training of which only checkpoints are left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from cnnviz_widgets.engine.checkpoints import load_checkpoint
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.training_history import (
    TrainingHistory,
    header_of,
    history_of,
    take_record,
)
from cnnviz_widgets.engine.training_probe import TrainingProbe
from cnnviz_widgets.engine.whole_numbers import checked_whole

# For the maps of one checkpoint.
_MAP_BYTES = 640 * 1024


def history_from_checkpoints(
    build: Callable[[], Network | nn.Module],
    paths: Iterable[str | os.PathLike[str]],
    *,
    steps: Sequence[int] | None = None,
    images: Images | None = None,
    layers: Iterable[LayerKey] | None = None,
    map_images: int = 4,
    kernels_layer: str | None = None,
) -> TrainingHistory:
    """See how a network changed from checkpoint to checkpoint, of a training that is long over.

    Parameters
    ----------
    build
        A function (or a class) that returns a new network, or module, for the weights to be loaded into: all of
        them, and no others.
    paths
        A list of the checkpoints in the order of their steps: ``.npz``, or what `torch.save` wrote of a state
        dict, by itself or under ``"state_dict"``, ``"model_state_dict"`` or ``"model"``. Nothing is unpickled
        but tensors.
    steps
        Steps taken by each, rising; left out, 0, 1, 2 ...
    images, layers, map_images, kernels_layer
        As for `TrainingRecorder`.

    Returns
    -------
    TrainingHistory
        All checkpoints, whatever they take. Losses, and norms of gradients and updates, are NaN.

    Raises
    ------
    CheckpointError
        (a ValueError) A file that is no checkpoint, or whose weights are those of another network.
    TypeError
        ``build`` is a network instead of a function that returns one; ``paths`` is no list, or ``steps``.
    ValueError
        No paths, or steps that do not fit them.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> checkpoints = cv.samples.fashion_cnn_checkpoints()
    >>> history = cv.history_from_checkpoints(
    ...     cv.samples.fashion_cnn, [each.path for each in checkpoints], steps=[each.step for each in checkpoints]
    ... )
    >>> history.kernels.shape, history.steps.tolist()[:3]
    ((13, 16, 1, 7, 7), [0, 20, 60])
    """
    _check_kinds(build, paths, steps)
    files = [os.fspath(each) for each in paths]
    moments = (
        list(range(len(files)))
        if steps is None
        else [checked_whole("each step", each, least=0) for each in steps]
    )
    if not files:
        raise ValueError(
            "paths is empty: give one checkpoint at least; if it comes from a pattern, none fits"
        )
    if len(moments) != len(files):
        raise ValueError(f"each checkpoint has a step; got {len(files)} paths and {len(moments)} steps")
    if any(later <= earlier for earlier, later in pairwise(moments)):
        raise ValueError(f"steps must rise from checkpoint to checkpoint, got {moments}")
    built = build()
    net = built if isinstance(built, Network) else Network(built)
    load_checkpoint(net.core, files[0])
    options = {"map_images": checked_whole("map_images", map_images), "checkpoints": list(map(str, files))}
    probe = TrainingProbe(net, images, layers, kernels_layer, map_images=map_images, map_bytes=_MAP_BYTES)
    records = []
    for path, step in zip(files, moments, strict=True):
        load_checkpoint(net.core, path)
        records.append(take_record(probe, step))
    return history_of(header_of(probe, records[0], options), probe.pictures, records)


def _check_kinds(build: Any, paths: Any, steps: Any) -> None:
    if isinstance(build, Network | nn.Module) or not callable(build):
        raise TypeError(
            "build= takes a function that returns a new network, since checkpoints are loaded into it, such as "
            f"build=lambda: MyNetwork(); got {type(build).__name__}"
        )
    if steps is not None and not isinstance(steps, Iterable):
        raise TypeError(f"steps= takes a list, a number for each file, got {steps!r}")
    if isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable):
        raise TypeError(f"paths= takes a list of files, such as [{str(paths)!r}], got {type(paths).__name__}")
