"""Time two things in turn, so that a machine that slows down slows both, and compare them pair by pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what, peer
        What was measured and what against.
    ours, theirs
        Median of each, in seconds unless ``unit`` says otherwise.
    ratio
        Median over the pairs of theirs / ours: above 1, ours is faster.
    target
        The ratio to reach.
    note
        Anything that a reader must know.
    unit
        What was measured: "s" (printed as milliseconds) or another one, such as "MB".
    """

    what: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    target: float
    note: str = ""
    unit: str = "s"

    def text(self, value: float) -> str:
        """Return a measured value with its unit."""
        return f"{value * 1000:,.1f} ms" if self.unit == "s" else f"{value:,.0f} {self.unit}"

    @property
    def reached(self) -> bool:
        return self.ratio >= self.target


def pairs(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int, *, warm_up: bool = True
) -> tuple[float, float, float]:
    """Return median seconds of both and the median ratio theirs / ours, over rounds taken in turn.

    Each callable does the thing once and returns the seconds it took. With ``warm_up`` one round before counts for
    nothing.
    """
    if warm_up:
        ours(), theirs()
    taken = []
    for index in range(rounds):
        # Who goes first changes, so that neither always finds the caches of the other.
        if index % 2:
            second = theirs()
            first = ours()
        else:
            first = ours()
            second = theirs()
        taken.append((first, second))
    return _medians(taken)


def races(
    ours: Callable[[], Iterator[float]],
    theirs: Callable[[], Iterator[float]],
    rounds: int,
    *,
    warm_up: bool = True,
) -> tuple[float, float, float]:
    """Return what `pairs` does of long things that both go on part by part, a part of each in turn.

    A machine whose speed changes while one of them runs would else hide a difference of a few percent. Each
    callable returns an iterator that does the next part whenever it is asked on and yields the seconds it took
    (see `timed_parts`). With ``warm_up`` one round before counts for nothing.
    """
    taken = []
    for index in range(rounds + warm_up):
        runners = [ours(), theirs()]
        seconds, going = [0.0, 0.0], [True, True]
        order = index % 2
        while any(going):
            for which in (order, 1 - order):
                took = next(runners[which], None)
                going[which] = took is not None
                seconds[which] += took or 0.0
            order = 1 - order
        taken.append((seconds[0], seconds[1]))
    return _medians(taken[warm_up:])


def timed_parts(parts: Callable[[], Iterator[object]], *, untimed: int = 0) -> Callable[[], Iterator[float]]:
    """Return what `races` takes, of a callable whose iterator does a part whenever it is asked on.

    The first parts may go untimed.
    """

    def run() -> Iterator[float]:
        runner = parts()
        for _ in range(untimed):
            next(runner)
        while True:
            start = time.perf_counter()
            ended = next(runner, _ENDED) is _ENDED
            yield time.perf_counter() - start
            if ended:
                return

    return run


_ENDED = object()


def _medians(taken: list[tuple[float, float]]) -> tuple[float, float, float]:
    return (
        statistics.median(first for first, _ in taken),
        statistics.median(second for _, second in taken),
        statistics.median(second / first for first, second in taken),
    )


def timed(function: Callable[[], object]) -> Callable[[], float]:
    """Return a callable that runs ``function`` once and returns the seconds it took."""

    def run() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return run


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| what | against | ours | theirs | ratio | at least | reached | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.what} | {row.peer} | {row.text(row.ours)} | {row.text(row.theirs)} | {row.ratio:.2f}x "
        f"| {row.target:g}x | {'yes' if row.reached else 'NO'} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines)
