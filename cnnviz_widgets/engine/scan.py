"""One pass over a data set for any number of collectors, in memory that does not grow with it."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.collector import Batch, Collector
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.image_reader import ImageReader, Progress, Scanned
from cnnviz_widgets.engine.image_source import ImageSet, ImageSource
from cnnviz_widgets.engine.image_stamps import image_stamps
from cnnviz_widgets.engine.scan_checkpoint import ScanCheckpoint
from cnnviz_widgets.engine.scan_identity import scan_identity
from cnnviz_widgets.engine.scan_jobs import checked_count, spread, workers
from cnnviz_widgets.engine.scan_pass import feed
from cnnviz_widgets.engine.spans import cut
from cnnviz_widgets.engine.stream import Step, StopEarly
from cnnviz_widgets.engine.whole_numbers import checked_whole

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

__all__ = ["Batch", "Collector", "ScanOptions", "Scanned", "scan"]

# Shards, where their number is chosen here: enough that no worker waits long for the last one, and short ones.
_SHARDS_PER_WORKER, _SHARD_IMAGES = 4, 1024


@dataclass(frozen=True)
class ScanOptions:
    """How a data set is scanned: the options that all methods have which scan one.

    Attributes
    ----------
    batch_size
        Images in one pass. Left out: 4 in the first pass, then as many as keep what the layers return within
        256 MB, at most 64. Neighbors of different sizes (where the network takes any) never share a pass.
    on_error
        ``"raise"``, or ``"skip"`` for images that can't be read: they are counted and named in the result.
    checkpoint
        A file to keep what was found so far: after the first two seconds, then every 20 (less often where that
        would take more than a twentieth of the time), and when the scan is stopped or fails. If it is there, the
        scan goes on from it, and if the scan was finished, its result is there at once. It is refused for another
        network, other layers or options, and another data set. Of a data set are compared: the number of images;
        paths, sizes and times of change of files where it lists them (paths, ``samples``, ``imgs``), or the bytes
        of images in memory (beyond 1 GiB in all: a share of each); and how eight images look, spread over it. Of
        any other one, such as a ``Dataset`` that makes its images itself, only their number and those eight are;
        of a generator the first.
    jobs
        How many workers share the images, as joblib's ``n_jobs``: -1 for all cores. Left out:
        what `joblib.parallel_config` says, or no other process.
    shards
        In how many parts. Chosen if left out.
    """

    batch_size: int | None = None
    on_error: str = "raise"
    checkpoint: str | os.PathLike[str] | None = None
    jobs: int | None = None
    shards: int | None = None

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is 'raise' or 'skip', got {self.on_error!r}")
        if self.batch_size is not None:
            checked_whole("batch_size", self.batch_size)
        checked_count(self.jobs, "jobs", negative=True)
        checked_count(self.shards, "shards")


def scan(
    net: Network,
    images: ImageSet,
    collectors: Sequence[Collector],
    *,
    batch_size: int | None = None,
    on_error: str = "raise",
    checkpoint: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    shards: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Generator[Step, None, Scanned]:
    """Run a data set through the network once and feed all collectors; a generator of `Step`.

    Each pass ends at the deepest layer that any collector asks for (at the output, if one asks for class scores).
    A step counts images: ``index + 1`` are done. Its values are ``images_per_second``, ``seconds_left`` where
    the number of images is known, and ``skipped``; time that passes between steps does not count.

    With workers, steps come as shards are done. Each worker has its own network and data set (see
    `cnnviz_widgets.engine.scan_jobs.spread` for how often they are sent), and sends back what it has collected,
    which is merged: exactly, so that the result is the same for every number of workers and shards.
    `StopEarly`, thrown in at a step, ends the scan with what there is.

    Parameters
    ----------
    net
        The network.
    images
        See `ImageSource`. Those that come only once, one after the other, can't be given to workers.
    collectors
        What to feed. They keep what they have collected also where the scan is stopped or fails.
    batch_size, on_error, checkpoint, jobs, shards
        See `ScanOptions`.
    options
        What else must be the same for a checkpoint to fit, as plain values: the collectors' options.

    Raises
    ------
    InputError
        No images, an image that can't be read (named by its path or place), or none that can; workers for
        images that come only once.
    InputTypeError
        Something that is not an image: this is never skipped. A network or data set that can't be sent.
    CheckpointError
        A checkpoint that can't be read, or that of another scan: with what differs.
    ValueError
        A value that an option can't have.
    """
    chosen = ScanOptions(batch_size, on_error, checkpoint, jobs, shards)
    source = ImageSource(images, cast(int, net.input.channels))
    in_parts = shards is not None or workers(jobs) is not None
    if in_parts and not source.any_order:
        raise InputError(
            f"images that come only once, one after the other ({type(images).__name__}), can't be cut into "
            "shards for workers; give a list or a data set with a length, or jobs=1 and no shards"
        )
    saved, progress = None, Progress()
    if checkpoint is not None:
        layers = [layer for each in collectors for layer in each.layers]
        with_labels = any(getattr(each, "needs_labels", False) for each in collectors)
        identity = scan_identity(net, source, images, layers, options or {}, with_labels)
        stamps = image_stamps(images, source.count)
        saved = ScanCheckpoint(checkpoint, identity, stamps, source.where)
        progress = saved.load(collectors)
    if not progress.finished:
        ways = _in_parts if in_parts else _in_order
        passes = ways(net, images, source, collectors, chosen, progress)
        yield from _run(passes, source.count, progress, saved, collectors)
    return progress.scanned()


def _run(
    passes: Generator[None, None, None],
    count: int | None,
    progress: Progress,
    saved: ScanCheckpoint | None,
    collectors: Sequence[Collector],
) -> Iterator[Step]:
    """Yield a step after each pass, and keep the checkpoint."""
    spent, before = 0.0, progress.seen
    resumed = time.perf_counter()
    try:
        for _ in passes:
            if saved:
                saved.keep(progress, collectors)
            spent += time.perf_counter() - resumed
            yield _step(progress, count, progress.seen - before, spent)
            resumed = time.perf_counter()
    except BaseException as stop:
        # Whatever it is: an unreadable image, Ctrl-C in the middle of a pass, a worker that died.
        if saved and progress.is_whole and progress.seen > before:
            saved.write(progress, collectors)
        if isinstance(stop, StopEarly):
            return
        raise
    finally:
        passes.close()
    progress.finished = True
    if saved and progress.seen > progress.skipped:
        saved.write(progress, collectors)


def _step(progress: Progress, total: int | None, done: int, seconds: float) -> Step:
    """Return how far the scan is, after so many images in so many seconds of work."""
    values = {"images_per_second": done / max(seconds, 1e-9), "skipped": float(progress.skipped)}
    if total is not None:
        values["seconds_left"] = (total - progress.seen) * seconds / max(done, 1)
    return Step(progress.seen - 1, total, values=values)


def _in_order(
    net: Network,
    images: ImageSet,
    source: ImageSource,
    collectors: Sequence[Collector],
    options: ScanOptions,
    progress: Progress,
) -> Generator[None, None, None]:
    """Scan what is missing, here and in order."""
    reader = ImageReader(net, source, options.on_error == "skip", progress.missing(source.count))
    reader.progress = progress
    yield from feed(net, reader, collectors, options.batch_size)


@dataclass(frozen=True)
class _Work:
    """What a worker must know."""

    net: Network
    images: ImageSet
    collectors: tuple[Collector, ...]
    options: ScanOptions


def _in_parts(
    net: Network,
    images: ImageSet,
    source: ImageSource,
    collectors: Sequence[Collector],
    options: ScanOptions,
    progress: Progress,
) -> Generator[None, None, None]:
    """Let workers scan what is missing, and merge what they send."""
    left = progress.missing(source.count)
    total = sum((stop or 0) - start for start, stop in left)
    pieces = options.shards or max(_SHARDS_PER_WORKER * (workers(options.jobs) or 1), total // _SHARD_IMAGES)
    work = _Work(net, images, tuple(each.fresh() for each in collectors), options)
    parts = spread(_scan_part, work, cut(left, pieces), options.jobs)
    for done, states in parts:
        with progress.taking():
            for collector, state in zip(collectors, states, strict=True):
                part = collector.fresh()
                part.restore(state)
                collector.merge(part)
            progress.add(done)
        yield


def _scan_part(work: _Work, part: tuple[int, int]) -> tuple[Progress, list[dict[str, NDArray[Any]]]]:
    """Scan a part of the images and return what was collected."""
    source = ImageSource(work.images, cast(int, work.net.input.channels))
    collectors = [each.fresh() for each in work.collectors]
    reader = ImageReader(work.net, source, work.options.on_error == "skip", [part])
    for _ in feed(work.net, reader, collectors, work.options.batch_size):
        pass
    # Maps of this process's temporary files mean nothing to another process.
    states = [
        {
            name: np.array(each) if isinstance(each, np.memmap) else each
            for name, each in found.arrays().items()
        }
        for found in collectors
    ]
    return reader.progress, states
