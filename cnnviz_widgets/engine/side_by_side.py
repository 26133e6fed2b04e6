"""Work on several parts of a job at a time, each on a thread of its own with its share of the processors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
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

    Parts are asked for as they are needed, by the caller's thread. When it is closed, or a part raises, those under
    way are waited for and the others are not begun.
    """
    parts = iter(parts)
    first = list(islice(parts, workers))
    workers = len(first)
    if workers < 2:
        yield from map(work, chain(first, parts))
        return
    share = max(1, torch.get_num_threads() // workers)
    with ThreadPoolExecutor(workers, "cnnviz-part", take_threads, (share,)) as pool:
        # All of them take their share before the caller goes on: a thread that it begins would take the same.
        together = threading.Barrier(workers, timeout=_SECONDS_TO_BEGIN)
        for begun in [pool.submit(together.wait) for _ in range(workers)]:
            begun.result()
        waiting: deque[Future[_Result]] = deque()
        try:
            for part in chain(first, parts):
                waiting.append(pool.submit(work, part))
                # The workers always find a next part, and no more results than these are kept.
                if len(waiting) > workers + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def take_threads(count: int) -> None:
    """Let the calling thread compute with so many of torch's threads from now on; other threads' count stays.

    One is right for many small operations that a person waits for: two that share each of them wait for each other
    after each, and for whatever else the machine does, such as drawing the page.
    """
    with _taking:
        # torch counts for each thread. What was set last, by whichever thread, is what a thread begins with, at the
        # first time that it asks.
        if torch.get_num_threads() == count:
            return
        others = _on_a_new_thread(torch.get_num_threads)
        torch.set_num_threads(count)
        _on_a_new_thread(lambda: torch.set_num_threads(others))


_taking = threading.Lock()


def _on_a_new_thread(call: Callable[[], _Result]) -> _Result:
    with ThreadPoolExecutor(1, "cnnviz-threads") as pool:
        return pool.submit(call).result()
