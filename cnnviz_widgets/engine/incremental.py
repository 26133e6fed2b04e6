"""Ask a network about one image with a window of it changed, at many places: only what changes is computed."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cnnviz_widgets.engine.batch_statistics import takes_batch_statistics
from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.incremental_batch import Batch, CleanMaps
from cnnviz_widgets.engine.incremental_costs import Costs, Layout
from cnnviz_widgets.engine.incremental_graph import prepared
from cnnviz_widgets.engine.incremental_record import NotIncremental, record
from cnnviz_widgets.engine.incremental_windows import Intervals, Numbers, changed_intervals, spans_of
from cnnviz_widgets.engine.layer_reached import layer_reached
from cnnviz_widgets.engine.layers import LayerKey, main_tensor, version
from cnnviz_widgets.engine.side_by_side import side_by_side, workers_for

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

MEMORY_LIMIT = 512 * 2**20
_AGREES = 1e-4
# The plain way moves about as many numbers again as a whole pass holds: norms and rectifiers of their own.
_PLAIN_OVERHEAD = 1.2

_Batch = TypeVar("_Batch")


@dataclass(frozen=True)
class Question:
    """What is asked of a pass: the network's main output, or what a layer returned; perhaps one channel of it.

    Attributes
    ----------
    layer
        A layer, or ``None`` for the main output.
    channel
        The one channel (or class) that is needed: then only that is computed. ``None`` for all.
    """

    layer: LayerKey | None = None
    channel: int | None = None

    def pick(self, value: Tensor) -> Tensor:
        """Return the part that is needed of what the pass gave."""
        return value if self.channel is None else value[:, self.channel : self.channel + 1]


class WindowPasses:
    """Answers to questions about one image in which a window shows something else.

    Parameters
    ----------
    net
        The network.
    x
        The image, prepared: [1, C, H, W].
    instead
        What a window shows, for every place of it: another image [1, C, H, W].
    questions
        What is asked. Answers are tensors [N, ...], one for each question.
    memory_limit
        Bytes that the windows that are computed at a time may take, besides what the network takes for one image.
    incremental
        ``False`` runs whole images only.

    Attributes
    ----------
    reason
        Why whole images are run; empty where only what changes is computed, unless that costs more.
    sets_by_way
        How many sets of places were begun which way so far: ``"incremental"`` and ``"whole"``.

    Notes
    -----
    A window of the image changes a window of each map, which grows from layer to layer until it is the whole map
    (Nakandala, Kumar and Papakonstantinou, Incremental and Approximate Inference for Faster Occlusion-based Deep CNN
    Explanations, SIGMOD 2019). Around it the maps of the clean image are right. Operations run on these windows
    only, many places at once, with batch norms folded into convolutions; answers differ from those of whole images
    by rounding. Where a pass can't be followed, or would cost more so, whole images are run.
    """

    def __init__(
        self,
        net: Network,
        x: Tensor,
        instead: Tensor,
        questions: Sequence[Question],
        *,
        memory_limit: int = MEMORY_LIMIT,
        incremental: bool = True,
    ) -> None:
        self.net, self.x, self.instead = net, x, instead
        self.questions = list(questions)
        self.memory_limit = memory_limit
        self._workers = workers_for(x.device)
        self.reason = "" if incremental else "whole images were asked for"
        self.sets_by_way = {"incremental": 0, "whole": 0}
        self._versions = self._versions_now()
        self._clean = CleanMaps()
        if incremental:
            try:
                with apart(net), torch.no_grad():
                    self._check_axes()
                    self._nodes, self._answers = prepared(record(self._ask_layers, x))
                    self._costs = Costs(self._nodes)
                    self._check()
            except (NotIncremental, RuntimeError) as obstacle:
                # If it is the network that fails, the plain way fails too, and is heard.
                self.reason = str(obstacle) or type(obstacle).__name__

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.x.shape[2], self.x.shape[3]

    @property
    def work(self) -> float | None:
        """What a whole image costs, in multiplications of a large convolution; ``None`` where that is not known."""
        return None if self.reason else self._costs.whole

    @property
    def is_stale(self) -> bool:
        """Whether the network has other weights than when this was made; the answers are those of the old ones."""
        return self._versions != self._versions_now()

    def _versions_now(self) -> list[tuple[int, int | None]]:
        core = self.net.core
        return [(id(each), version(each)) for each in chain(core.parameters(), core.buffers())]

    def answers(self, tops: ArrayLike, lefts: ArrayLike, window: tuple[int, int]) -> list[Tensor]:
        """Return the answers for a window (height, width) at all ``tops`` x ``lefts``, row by row."""
        rows, columns = np.size(tops), np.size(lefts)
        found: list[list[Tensor]] = [[]] * (rows * columns)
        for down, along, values in self.batches(tops, lefts, window):
            for index, place in enumerate((down[:, None] * columns + along).flatten()):
                found[place] = [each[index] for each in values]
        return [torch.stack(each) for each in zip(*found, strict=True)]

    def batches(
        self,
        tops: ArrayLike,
        lefts: ArrayLike,
        window: tuple[int, int],
        sets: Iterable[tuple[Numbers, Numbers]] | None = None,
        *,
        quick: bool | None = None,
    ) -> Iterator[tuple[Numbers, Numbers, list[Tensor]]]:
        """Yield (indices of tops, indices of lefts, answers [rows * columns, ...]), batch after batch.

        Parameters
        ----------
        sets
            Indices of tops and of lefts, for one set of places after the other. Left out, all places are one set.
        quick
            Whether to compute only what changes. Left out, what is predicted to cost less for a set.
        """
        starts = (np.asarray(tops, np.int64), np.asarray(lefts, np.int64))
        if sets is None:
            sets = [(np.arange(len(starts[0])), np.arange(len(starts[1])))]
        intervals = None if self.reason else self._intervals(starts, window)

        def planned() -> Iterator[tuple[tuple[Numbers, Numbers], Layout | None]]:
            for places in sets:
                layout = None if intervals is None or quick is False else self._layout(intervals, places)
                if (
                    layout is not None
                    and not quick
                    and not self._pays(layout, places[0].size * places[1].size)
                ):
                    layout = None
                yield places, layout

        # Sets that follow each other are worked on as one: no processor waits for the end of a set.
        for is_quick, group in groupby(planned(), lambda each: each[1] is not None):
            if is_quick and intervals is not None:
                layouts = (layout for _, layout in group if layout is not None)
                parts = (part for each in layouts for part in self._counted("incremental", each.batches()))
                work = functools.partial(self._quick_batch, starts, window, intervals)
                yield from side_by_side(work, parts, workers=self._workers)
            else:
                for places, _ in group:
                    yield from self._counted("whole", self._plain_batches(starts, window, places))

    def _counted(self, way: str, batches: Iterable[_Batch]) -> Iterator[_Batch]:
        """Yield a set's batches; count the set when the first one is about to be run, since it may never be."""
        self.sets_by_way[way] += 1
        yield from batches

    def _quick_batch(
        self,
        starts: tuple[Numbers, Numbers],
        window: tuple[int, int],
        intervals: tuple[Intervals, Intervals],
        places: tuple[Numbers, Numbers],
    ) -> tuple[Numbers, Numbers, list[Tensor]]:
        rows, columns = places
        shown = self._windows(starts[0][rows], starts[1][columns], window)
        return rows, columns, self._run(intervals, rows, columns, shown)

    def masked(self, mask: NDArray[np.bool_]) -> list[Tensor]:
        """Return the answers [1, ...] for the image that shows the other one where a mask [H, W] is true."""
        if np.shape(mask) != self.size:
            raise ValueError(f"a mask has the image's size {self.size}, got {np.shape(mask)}")
        given = torch.from_numpy(np.asarray(mask, bool)).to(self.x.device)
        rows, columns = (torch.nonzero(given.any(axis)).flatten() for axis in (1, 0))
        shown = torch.where(given, self.instead, self.x)
        if not len(rows):
            rows = columns = torch.zeros(1, dtype=torch.int64)
        top, left = int(rows[0]), int(columns[0])
        window = (int(rows[-1]) - top + 1, int(columns[-1]) - left + 1)
        starts, zero = (np.array([top]), np.array([left])), np.zeros(1, np.int64)
        intervals = None if self.reason else self._intervals(starts, window)
        if intervals is None or not self._pays(self._layout(intervals, (zero, zero)), 1):
            return self.plain(shown)
        cut = shown[:, :, top : top + window[0], left : left + window[1]]
        return self._run(intervals, zero, zero, cut.contiguous(memory_format=torch.channels_last))

    def plain(self, batch: Tensor) -> list[Tensor]:
        """Return the answers for whole images [N, C, H, W], in the plain way."""
        layers = list(dict.fromkeys(each.layer for each in self.questions if each.layer is not None))
        everything = all(each.layer is not None for each in self.questions)
        with apart(self.net), ExitStack() as stack, torch.no_grad():
            seen = stack.enter_context(capture(self.net, layers, stop=everything)) if layers else {}
            output = self.net(batch)
            return [
                each.pick(
                    main_tensor(output, self.net.output) if each.layer is None else maps_in(seen, each.layer)
                )
                for each in self.questions
            ]

    def _check_axes(self) -> None:
        """Raise `NotIncremental` for questions about maps that come with their channels at the end."""
        layers = list(dict.fromkeys(each.layer for each in self.questions if each.layer is not None))
        if layers:
            with capture(self.net, layers) as seen:
                self.net(self.x)
            if any(seen.is_channels_last(layer) for layer in layers):
                raise NotIncremental("maps come with their channels at the end")

    def _ask_layers(self, x: Tensor) -> list[Tensor]:
        """Answer the questions so that they can be written down: without ending the pass."""
        seen: dict[LayerKey, Tensor] = {}
        with ExitStack() as stack:
            for layer in dict.fromkeys(each.layer for each in self.questions if each.layer is not None):

                def note(value: object, layer: LayerKey = layer) -> None:
                    # A copy, since the network may go on to write to it.
                    seen[layer] = main_tensor(value).clone()

                stack.enter_context(layer_reached(self.net, layer, note))
            output = self.net(x)
        return [
            each.pick(main_tensor(output, self.net.output) if each.layer is None else seen[each.layer])
            for each in self.questions
        ]

    def _check(self) -> None:
        """Raise `NotIncremental` unless two windows get the answers that whole images get."""
        height, width = self.size
        window = (max(1, height // 8), max(1, width // 8))
        starts = (np.array([0, (height - window[0]) // 2]), np.array([(width - window[1]) // 2]))
        shown = self._windows(*starts, window)
        found = self._run(self._intervals(starts, window), np.arange(2), np.arange(1), shown)
        images = self._images(*starts, window)
        if not all(map(_agree, found, self.plain(images))):
            raise NotIncremental("what was written down gives other numbers than the network")

    def _intervals(
        self, starts: tuple[Numbers, Numbers], window: tuple[int, int], share: float = 1.0
    ) -> tuple[Intervals, Intervals]:
        """Return what changes along both axes of each map, for each start."""
        rows, columns = (
            changed_intervals(self._nodes, axis, starts[axis], window[axis], share) for axis in (0, 1)
        )
        return rows, columns

    def _layout(self, intervals: tuple[Intervals, Intervals], places: tuple[Numbers, Numbers]) -> Layout:
        return self._costs.layout(intervals, places, self.memory_limit // self._workers)

    def _pays(self, layout: Layout, places: int) -> bool:
        return layout.work < _PLAIN_OVERHEAD * places * self._costs.whole

    def _run(
        self, intervals: tuple[Intervals, Intervals], rows: Numbers, columns: Numbers, shown: Tensor
    ) -> list[Tensor]:
        spans = (spans_of(intervals[0], rows, 0), spans_of(intervals[1], columns, 1))
        with torch.inference_mode(False), torch.no_grad():
            return Batch(self._clean, *spans).run(self._nodes, self._answers, shown)

    def _windows(self, tops: Numbers, lefts: Numbers, window: tuple[int, int]) -> Tensor:
        """Return what the image shows in each window, [R * C, channels, h, w], channels last."""
        height, width = window
        cuts = [self.instead[:, :, top : top + height, left : left + width] for top in tops for left in lefts]
        return torch.cat(cuts).contiguous(memory_format=torch.channels_last)

    def _images(self, tops: Numbers, lefts: Numbers, window: tuple[int, int]) -> Tensor:
        """Return the whole image with each window in it, [R * C, channels, H, W]."""
        images = self.x.repeat(len(tops) * len(lefts), 1, 1, 1)
        for image, (top, left) in zip(images, ((a, b) for a in tops for b in lefts), strict=True):
            there = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
            image[there] = self.instead[0][there]
        return images

    def _plain_batches(
        self, starts: tuple[Numbers, Numbers], window: tuple[int, int], places: tuple[Numbers, Numbers]
    ) -> Iterator[tuple[Numbers, Numbers, list[Tensor]]]:
        size, memory = self._plain_batch_size(), self._plain_format
        down = max(1, size // max(places[1].size, 1))  # as many short rows as fit in a batch
        for row in range(0, places[0].size, down):
            rows = places[0][row : row + down]
            for begin in range(0, places[1].size, size):
                columns = places[1][begin : begin + size]
                images = self._images(starts[0][rows], starts[1][columns], window)
                yield rows, columns, self.plain(images.contiguous(memory_format=memory))

    @functools.cached_property
    def _plain_format(self) -> torch.memory_format:
        """Return channels last, in which convolutions are quicker, unless the network takes no such images."""
        expected = self.plain(self.x)
        try:
            found = self.plain(self.x.contiguous(memory_format=torch.channels_last))
        except RuntimeError:
            # A view of memory that lies otherwise. The network itself works, as was just seen.
            return torch.contiguous_format
        same = all(map(_agree, found, expected))
        return torch.channels_last if same else torch.contiguous_format

    def _plain_batch_size(self) -> int:
        if takes_batch_statistics(self.net.core):
            return 1
        shapes = [shape for layer in self.net.survey.shapes.values() for shape in layer if shape]
        largest = max((int(np.prod(shape)) for shape in shapes), default=self.x.numel())
        if self.net.input.size is None:
            # The survey is of the example's size; maps grow with the image.
            largest = int(largest * self.x.numel() / self.net.input.example().numel())
        # The largest map, what is made of it, and the scratch space of that.
        return int(np.clip(self.memory_limit // (4 * largest * self.x.element_size()), 1, 16))


def _agree(found: Tensor, expected: Tensor) -> bool:
    """Return whether numbers are the same but for rounding."""
    if found.shape != expected.shape:
        return False
    return bool(((found - expected).abs() <= _AGREES * expected.abs().max()).all())
