"""Work on several parts of a job at a time, each on a thread of its own with its share of the processors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")

# More of them would rather wait for Python than compute.
_MOST = 4
_SECONDS_TO_BEGIN = 60


def workers_for(device: torch.device) -> int:
    """Return how many parts are best worked on at a time: one where the processors are not what computes."""
    return min(_MOST, torch.get_num_threads()) if device.type == "cpu" else 1


def side_by_side(
    work: Callable[[_Part], _Result], parts: Iterable[_Part], *, workers: int
) -> Iterator[_Result]:
    """Yield ``work(part)`` of each part, in their order, while other threads work on the parts that follow.

    Many small operations gain little from a second processor where each of them is split, since both wait for each
    other after each; and nearly nothing where another process is using one of them. Whole parts gain in full. Each
    thread has as many of torch's own as it had all together, divided by ``workers``; those of the caller and of
    threads that begin later stay as they are.

    When it is closed, or a part raises, those under way are waited for and the others are not begun.
    """
    parts = list(parts)
    workers = min(workers, len(parts))
    if workers < 2:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(workers, "cnnviz-part", _Shares(workers)) as pool:
        # All of them take their share before the caller goes on: a thread that it begins would take the same.
        together = threading.Barrier(workers, timeout=_SECONDS_TO_BEGIN)
        for begun in [pool.submit(together.wait) for _ in range(workers)]:
            begun.result()
        waiting: deque[Future[_Result]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(work, part))
                # The workers always find a next part, and no more results than these are kept.
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


class _Shares:
    """What each thread of a pool calls at its beginning: it takes its share of torch's threads."""

    def __init__(self, workers: int) -> None:
        self._all = torch.get_num_threads()
        self._each = max(1, self._all // workers)

    _one = threading.Lock()

    def __call__(self) -> None:
        # torch counts for each thread. What was set last, by whichever thread, is what a thread begins with, at the
        # first time that it asks.
        with self._one:
            torch.get_num_threads()
            torch.set_num_threads(self._each)
            restoring = threading.Thread(target=torch.set_num_threads, args=(self._all,))
            restoring.start()
            restoring.join()
