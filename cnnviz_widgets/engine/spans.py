"""Which images of a data set are done, as spans (first, one after the last) in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

Span: TypeAlias = tuple[int, int | None]
"""Indices from the first to before the second; to the end where that is ``None``."""


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same images in as few spans as possible, in order.

    >>> joined([(4, 6), (0, 2), (2, 3), (5, 7)])
    [(0, 3), (4, 7)]
    """
    found: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(stop, found[-1][1]))
        elif stop > start:
            found.append((start, stop))
    return found


def gaps(spans: Iterable[tuple[int, int]], count: int | None) -> list[Span]:
    """Return the spans that are missing, up to ``count`` images; to the end where their number is not known.

    >>> gaps([(0, 3), (4, 7)], 9), gaps([(0, 3)], None), gaps([(0, 3)], 3)
    ([(3, 4), (7, 9)], [(3, None)], [])
    """
    found: list[Span] = []
    position = 0
    for start, stop in joined(spans):
        if start > position:
            found.append((position, start))
        position = stop
    if count is None or position < count:
        found.append((position, count))
    return found


def cut(spans: Iterable[Span], pieces: int) -> Iterator[tuple[int, int]]:
    """Yield spans, each with an end, cut so that there are about ``pieces`` of about equal length.

    >>> list(cut([(0, 4), (6, 10)], 3))
    [(0, 2), (2, 4), (6, 8), (8, 10)]
    """
    closed = [(start, stop) for start, stop in spans if stop is not None]
    total = sum(stop - start for start, stop in closed)
    for start, stop in closed:
        # Rounded up: no piece is longer than its share.
        count = min(stop - start, max(1, -(-pieces * (stop - start) // total)))
        edges = [start + (stop - start) * each // count for each in range(count + 1)]
        yield from pairwise(edges)
