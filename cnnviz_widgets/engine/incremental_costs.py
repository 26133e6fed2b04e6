"""What it costs to run a pass on windows, in multiplications of a convolution, and which batches cost least."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine import incremental_winograd as winograd
from cnnviz_widgets.engine.incremental_record import Node
from cnnviz_widgets.engine.incremental_rules import reach
from cnnviz_widgets.engine.incremental_windows import Intervals, Numbers, Span

# Measured, in multiplications of a large convolution: a number that is read, moved and written; a call; a weight that
# is brought into order at every call; and how much slower kernels are that no cache holds.
_MOVED, _CALL, _WEIGHT, _LARGE = 60, 1.2e7, 10, 1.5
_LARGE_WEIGHTS = 2**20
_PARTS = (1, 2, 3, 4, 6)
# More at once are no quicker, and a person waits for the end of a batch.
_MOST_PLACES = 100


def work_per_pixel(node: Node) -> float:
    """Return what one pixel of a map costs."""
    outputs = node.value.shape[1]
    weight = node.arguments.get("weight")
    if node.name == "convolution" and isinstance(weight, Tensor):
        slow = _LARGE if weight.numel() > _LARGE_WEIGHTS else 1.0
        return slow * weight.numel() + _MOVED * (weight.shape[1] * 2 + outputs)
    taps = math.prod(each.kernel for each in reach(node) or ())
    return _MOVED * outputs * max(1, taps / 2)


def uses_winograd(node: Node, rows: Span, columns: Span) -> bool:
    """Return whether Winograd's algorithm is predicted to be the quicker one for a convolution."""
    if not winograd.fits(node):
        return False
    tiles = winograd.tiles(rows.length) * winograd.tiles(columns.length)
    places = len(rows.starts) * len(columns.starts)
    # Its kernels are four times as large: it pays for many tiles only.
    if places * tiles < 2 * winograd.READS**2:
        return False
    return winograd.work(node, tiles) < 0.9 * work_per_pixel(node) * rows.length * columns.length


@dataclass(frozen=True)
class Layout:
    """Into which parts the places along both axes are cut; each part of one with each of the other is a batch.

    Attributes
    ----------
    rows, columns
        The indices of the places in each part.
    work
        What all batches together are predicted to cost.
    """

    rows: list[Numbers]
    columns: list[Numbers]
    work: float

    def batches(self) -> Iterator[tuple[Numbers, Numbers]]:
        """Yield the indices along rows and columns of each batch."""
        return ((rows, columns) for rows in self.rows for columns in self.columns)


class Costs:
    """What running some operations costs.

    Attributes
    ----------
    whole
        The work of one whole image.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.maps = [each for each in nodes if each.is_map]
        self._per_pixel = {each: work_per_pixel(each) for each in self.maps}
        self._tiled = {each for each in self.maps if winograd.fits(each)}
        self._vectors = sum(_vector_work(each) for each in nodes)
        # Those whose operation needs the whole map of what it reads.
        self._over_all = {each for each in nodes if not each.is_map or reach(each) is None}
        weights = (each.arguments.get("weight", each.arguments.get("mat2")) for each in nodes)
        numbers = sum(each.numel() for each in weights if isinstance(each, Tensor))
        self._fixed = _CALL * len(nodes) + _WEIGHT * numbers
        areas = {each: each.value.shape[2] * each.value.shape[3] for each in self.maps}
        self._shares = {each: self._per_pixel[each] * areas[each] for each in self.maps}
        self.whole = self._vectors + sum(self._shares.values())

    def layout(
        self, intervals: tuple[Intervals, Intervals], places: tuple[Numbers, Numbers], memory: float
    ) -> Layout:
        """Return the cheapest way found to cut places into batches that stay below ``memory`` bytes.

        Windows near the border are cut off by it, so places are put together by how much of the maps they change.
        """
        orders = [
            where[np.argsort(self._share(found, axis)[where], kind="stable")]
            for axis, (found, where) in enumerate(zip(intervals, places, strict=True))
        ]
        longest = max(map(len, orders))
        found: list[Layout] = []
        # As few parts as pay; where they take too much memory, more.
        for parts in (
            [each for each in _PARTS if each < longest] + list(range(_PARTS[-1] + 2, longest)) + [longest]
        ):
            if parts > _PARTS[-1] and found:
                break
            cut = [[np.sort(part) for part in np.array_split(each, min(parts, len(each)))] for each in orders]
            lengths = [_lengths(each, cut[axis]) for axis, each in enumerate(intervals)]
            counts = [np.array([len(part) for part in each]) for each in cut]
            fits = (
                counts[0].max() * counts[1].max() <= _MOST_PLACES and self._bytes(lengths, counts) <= memory
            )
            if parts == longest or fits:
                found.append(Layout(cut[0], cut[1], self._work(lengths, counts)))
        return min(found, key=lambda each: each.work)

    def _share(self, intervals: Intervals, axis: int) -> NDArray[np.float64]:
        """Return for each place about how much is to be computed along an axis."""
        parts = [
            self._shares[node] * (high - low) / node.value.shape[2 + axis]
            for node, (low, high) in intervals.items()
        ]
        # Rounded, so that mirror images of each other count as equal and stay in order.
        shares: NDArray[np.float64] = np.round(np.sum(parts, axis=0) / sum(self._shares.values()), 6)
        return shares

    def _work(self, lengths: list[dict[Node, Numbers]], counts: list[Numbers]) -> float:
        batches = len(counts[0]) * len(counts[1])
        total = self._fixed * batches + self._vectors * float(counts[0].sum() * counts[1].sum())
        for node in self.maps:
            rows, columns = (each[node] for each in lengths)
            work = self._per_pixel[node] * float(rows @ counts[0]) * float(columns @ counts[1])
            if node in self._tiled:
                down, along = (-(-each // winograd.TILE) for each in (rows, columns))
                work = min(work, winograd.work(node, float(down @ counts[0]) * float(along @ counts[1])))
            total += work
        return total

    def _bytes(self, lengths: list[dict[Node, Numbers]], counts: list[Numbers]) -> float:
        """Return the most memory that a batch takes at once, the scratch space of its operations included."""
        last = {each: node for node in self.nodes for each in node.inputs}
        held: dict[Node, float] = {}
        most = 0.0
        for node in self.nodes:
            area = float(lengths[0][node].max() * lengths[1][node].max()) if node.is_map else 1.0
            channels = node.value.shape[1] if node.value.ndim > 1 else 1
            whole = node.value.numel() if node in self._over_all else 0
            own = max(area * channels, whole) * node.value.element_size()
            read = sum(
                each.value.numel() * each.value.element_size() if node in self._over_all else held[each]
                for each in set(node.inputs)
            )
            # Winograd's numbers: 36 for every 16 of a map, twice before and once after.
            scratch = 6 * (read + own) if node in self._tiled else 2 * read + own
            held[node] = own
            most = max(most, sum(held.values()) + scratch)
            for each in set(node.inputs):
                if last[each] is node:
                    del held[each]
        return float(most * counts[0].max() * counts[1].max())


def _vector_work(node: Node) -> float:
    if node.is_map:
        return 0.0
    weight = node.arguments.get("mat2", node.arguments.get("weight"))
    return float(weight.numel()) if isinstance(weight, Tensor) else float(_MOVED * node.value.numel())


def _lengths(intervals: Intervals, parts: Sequence[Numbers]) -> dict[Node, Numbers]:
    return {
        node: np.array([int((high - low)[part].max()) for part in parts])
        for node, (low, high) in intervals.items()
    }
