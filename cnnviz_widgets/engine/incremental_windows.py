"""Which window of each map changes with a window of the image, for many places of it at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.incremental_record import Node
from cnnviz_widgets.engine.incremental_rules import Reach, reach

Numbers: TypeAlias = NDArray[np.int64]
Intervals: TypeAlias = dict[Node, tuple[Numbers, Numbers]]


@dataclass(frozen=True)
class Span:
    """Windows of one length along one axis of a map, one for each place.

    Attributes
    ----------
    starts
        Where they begin.
    length
        How long they are.
    size
        How long the map is.
    """

    starts: Numbers
    length: int
    size: int

    @property
    def is_full(self) -> bool:
        """Whether they are the whole map."""
        return self.length == self.size

    @property
    def is_alike(self) -> bool:
        """Whether they are the same at every place."""
        return bool((self.starts == self.starts[0]).all())

    def same(self, other: Span) -> bool:
        """Return whether these are the same windows."""
        return self.length == other.length and np.array_equal(self.starts, other.starts)


def longest(share: float, size: int) -> int:
    """Return how long a window may be that is cut off at a share of a map.

    >>> longest(0.45, 13), longest(0.45, 7)
    (6, 4)
    """
    return math.ceil(share * size)


def full_span(places: int, size: int) -> Span:
    """Return the whole map, for each place."""
    return Span(np.zeros(places, np.int64), size, size)


def changed_intervals(
    nodes: Sequence[Node], axis: int, starts: Numbers, length: int, share: float = 1.0
) -> Intervals:
    """Return, for each map and each place of a window of the image, which rows (columns) [lo, hi) may change.

    With a ``share`` below 1, convolutions' are cut off on both sides to at most that share of the map, around the
    middle of the window.
    """
    found: Intervals = {}
    middles: dict[Node, NDArray[np.float64]] = {}
    for node in nodes:
        if not node.is_map:
            continue
        size = node.value.shape[2 + axis]
        along = reach(node)
        if node.name == "image":
            found[node] = (starts, starts + length)
            middles[node] = starts.astype(np.float64) + (length - 1) / 2
        elif along is None:
            found[node] = (np.zeros_like(starts), np.full_like(starts, size))
            middles[node] = np.full(len(starts), (size - 1) / 2)
        else:
            rule = along[axis]
            reads = [found[each] for each in node.inputs]
            # One value for the whole map, such as a gate: all of it changes.
            if any(each.value.shape[2 + axis] == 1 for each in node.inputs) and rule.kernel == 1 < size:
                reads.append((np.zeros_like(starts), np.full_like(starts, size)))
            low, high = grown(rule, *_hull(reads))
            reaches = (rule.kernel - 1) * rule.dilation
            middles[node] = (middles[node.inputs[0]] + rule.padding - reaches / 2) / rule.stride
            if share < 1 and node.name == "convolution":
                most = longest(share, size)
                first = np.round(middles[node] - (most - 1) / 2).astype(np.int64)
                low, high = np.maximum(low, first), np.minimum(high, first + most)
            # Where strides pass the window by, one row that does not change stands for none.
            low = np.minimum(np.maximum(low, 0), size - 1)
            found[node] = (low, np.minimum(np.maximum(high, low + 1), size))
    return found


def _hull(reads: Sequence[tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers]:
    """Return the shortest intervals that hold several."""
    low, high = reads[0]
    for other in reads[1:]:
        low, high = np.minimum(low, other[0]), np.maximum(high, other[1])
    return low, high


def grown(rule: Reach, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
    """Return which outputs [lo, hi) read inputs [low, high), also beyond the map."""
    first = -((-(low + rule.padding - (rule.kernel - 1) * rule.dilation)) // rule.stride)
    return first, (high - 1 + rule.padding) // rule.stride + 1


def is_cut(node: Node, axis: int, intervals: Intervals) -> bool:
    """Return whether an operation's inputs change more of its outputs than its intervals say, at any place."""
    along = reach(node)
    if along is None:
        return False
    reads = [intervals[each] for each in node.inputs]
    low, high = grown(along[axis], *_hull(reads))
    size = node.value.shape[2 + axis]
    told = intervals[node]
    return bool((np.clip(low, 0, size - 1) < told[0]).any() or (np.clip(high, 1, size) > told[1]).any())


def spans_of(intervals: Intervals, places: Numbers, axis: int) -> dict[Node, Span]:
    """Return windows of one length for some of the places: the longest, moved so as to stay in the map."""
    spans = {}
    for node, (low, high) in intervals.items():
        size = node.value.shape[2 + axis]
        length = int((high - low)[places].max())
        spans[node] = Span(np.minimum(low[places], size - length), length, size)
    return spans


def runs(values: Numbers) -> list[tuple[slice, int]]:
    """Return the places of each value as slices.

    >>> runs(np.array([3, 4, 3, 4, 5]))
    [(slice(0, 3, 2), 3), (slice(1, 4, 2), 4), (slice(4, 5, 1), 5)]
    """
    if len(values) == 1:
        return [(slice(0, 1, 1), int(values[0]))]
    found = []
    for value in np.unique(values):
        places = np.flatnonzero(values == value)
        steps = np.diff(places)
        if len(steps) and (steps != steps[0]).any():
            # In pieces that follow each other.
            pieces = np.split(places, np.flatnonzero(steps != 1) + 1)
        else:
            pieces = [places]
        for piece in pieces:
            step = int(piece[1] - piece[0]) if len(piece) > 1 else 1
            found.append((slice(int(piece[0]), int(piece[-1]) + 1, step), int(value)))
    return found
