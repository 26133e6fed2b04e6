"""Keep a bounded number of the things that come with rising steps: evenly, with the first and the last."""

from __future__ import annotations

from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """Things by step, never more than ``capacity`` of them: the first, the last, and others evenly between.

    When there is no room, those go that stand closer than ``spacing`` steps to the one kept before them, and
    ``spacing`` doubles until there is room. Of things that come every ``unit`` steps every second remains.

    Parameters
    ----------
    capacity
        From 3.
    unit
        Steps between what is added, where that is known; else the smallest distance in what is kept counts.

    Examples
    --------
    >>> kept = Thinned[str](capacity=4, unit=10)
    >>> for step in (0, 10, 20, 30, 40, 50):
    ...     kept.add(step, f"after {step}")
    >>> kept.steps, kept.spacing
    ([0, 20, 40, 50], 20)
    """

    def __init__(self, capacity: int, unit: int | None = None) -> None:
        self.capacity = capacity
        self.spacing = 1
        self._unit = unit
        self._entries: list[tuple[int, T]] = []

    @property
    def steps(self) -> list[int]:
        """The steps of what is kept, rising."""
        return [step for step, _ in self._entries]

    @property
    def items(self) -> list[T]:
        """What is kept, in the order of the steps: a list of one's own."""
        return [item for _, item in self._entries]

    def add(self, step: int, item: T) -> None:
        """Keep a thing of a step later than all before, and let go of what there is no room for."""
        if len(self._entries) > 1 and self._entries[-1][0] - self._entries[-2][0] < self.spacing:
            # It was kept as the last one alone.
            self._entries.pop()
        self._entries.append((step, item))
        while len(self._entries) > self.capacity:
            self.spacing = 2 * max(self.spacing, self._unit or self._smallest_distance())
            self._entries = self._spaced()

    def _smallest_distance(self) -> int:
        # The last one may stand closer: it is kept wherever it is.
        steps = self.steps[:-1]
        return min(later - step for step, later in pairwise(steps))

    def _spaced(self) -> list[tuple[int, T]]:
        kept = self._entries[:1]
        for entry in self._entries[1:-1]:
            if entry[0] - kept[-1][0] >= self.spacing:
                kept.append(entry)
        return kept + self._entries[1:][-1:]
