"""Spreads parts of a data set over joblib's workers: threads, processes, or a cluster."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

import cloudpickle
import joblib
import numpy as np
from joblib.parallel import get_active_backend
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputTypeError
from cnnviz_widgets.engine.whole_numbers import whole_number

Shared = TypeVar("Shared")
Argument = TypeVar("Argument")
Found = TypeVar("Found")

# What this process was sent last, by its token: parts of one scan share the network.
_opened: dict[str, Any] = {}
_opening = threading.Lock()


def checked_count(value: Any, name: str, *, negative: bool = False) -> int | None:
    """Return a number of workers or shards.

    Raises
    ------
    ValueError
        Not a whole number, or one that makes no sense.
    """
    if value is None:
        return None
    count = whole_number(value)
    if count is None or count == 0 or (count < 0 and not negative):
        allowed = "a whole number other than 0 (-1: all cores)" if negative else "a whole number from 1"
        raise ValueError(f"{name} must be {allowed}, or None, got {value!r}")
    return count


def workers(jobs: int | None) -> int | None:
    """Return how many workers there are to spread over; ``None`` if the work stays where it is.

    ``jobs=None`` leaves it to `joblib.parallel_config`, outside of which there are none.
    """
    if jobs == 1:
        return None
    count: int = joblib.effective_n_jobs(jobs)
    # A cluster of one worker is still meant to do the work.
    backend = type(get_active_backend()[0])
    return None if count == 1 and backend.__module__.startswith("joblib._parallel") else count


def spread(
    task: Callable[[Shared, Argument], Found], shared: Shared, arguments: Iterable[Argument], jobs: int | None
) -> Iterator[Found]:
    """Yield ``task(shared, argument)`` for all arguments, as they are done; in no particular order.

    What is shared is unpacked once by each process. It is sent once to each worker of a Dask cluster, and goes
    through one file to processes of this machine (joblib's own, unless its ``max_nbytes`` is ``None``); other
    backends of joblib, Ray and Spark among them, send it with each task. A Dask cluster runs the tasks of a worker
    that dies again on another one; other processes that die raise what joblib raises.

    Raises
    ------
    InputTypeError
        What is shared can't be sent to another process.
    """
    if workers(jobs) is None:
        yield from (task(shared, each) for each in arguments)
        return
    backend = get_active_backend()[0]
    if getattr(backend, "supports_sharedmem", False):
        calls = (joblib.delayed(task)(shared, each) for each in arguments)
    else:
        sent, token = _packed(shared, backend), uuid.uuid4().hex
        calls = (joblib.delayed(_run_elsewhere)(task, token, sent, each) for each in arguments)
    if not getattr(backend, "supports_return_generator", False):
        # Ray's and Spark's tell nothing before all is done, so they are given no more than a round of tasks at once.
        with joblib.Parallel(n_jobs=jobs, batch_size=1) as parallel:
            while batch := list(islice(calls, joblib.effective_n_jobs(jobs))):
                yield from parallel(batch)
        return
    found = joblib.Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")(calls)
    try:
        for each in found:  # noqa: UP028  `yield from` would close it at once, with a warning
            yield each
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some tasks are cancelled is the point
            found.close()


def _packed(shared: Any, backend: Any) -> Any:
    """Return what is shared as bytes; on a Dask cluster, as a handle of bytes that all its workers have."""
    try:
        # As an array, which joblib writes to a file that its processes map, rather than send it with each task.
        packed = np.frombuffer(cloudpickle.dumps(shared), np.uint8)
    except Exception as error:  # a module or a data set may refuse in any way
        raise InputTypeError(
            f"the network and the data set must go to other processes, but one of them can't be sent: {error}; "
            "run in this process (jobs=1), or in threads (joblib.parallel_config(backend='threading'))"
        ) from error
    if type(backend).__name__ != "DaskDistributedBackend":
        return packed
    return _scattered(backend.client, packed)


# Seconds before it is sent again.
_WAITS = (0.0, 0.2, 1.0, 3.0)


def _scattered(client: Any, packed: NDArray[np.uint8]) -> Any:
    """Return a handle of what all workers of a Dask cluster have: with one alone, all would be lost with that one."""
    for wait in _WAITS:
        # The scheduler fails with either if a worker dies while it sends to all; soon it knows which are left.
        with contextlib.suppress(KeyError, OSError):
            return client.scatter([packed], broadcast=True, hash=False)[0]
        time.sleep(wait)
    return client.scatter([packed], broadcast=True, hash=False)[0]


def _run_elsewhere(
    task: Callable[[Any, Argument], Found], token: str, packed: NDArray[np.uint8], argument: Argument
) -> Found:
    with _opening:
        if token not in _opened:
            _opened.clear()
            _opened[token] = cloudpickle.loads(packed)
        shared = _opened[token]
    return task(shared, argument)
