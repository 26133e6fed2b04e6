"""Let go of the threads that torch keeps ready for a thread which is not going to compute for a while."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

import torch

_SOFT = 1  # omp_pause_soft of OpenMP 5.0: what was set stays


def release_threads() -> None:
    """Let go of the OpenMP threads that wait for the calling thread's next operation; that one has them made anew.

    GNU's OpenMP, which torch uses on Linux, keeps a team of threads for each thread that has computed. As soon as all
    teams together have more threads than there are processors, each of them hardly waits awake any more, even where
    only one team computes: small operations then take about a third longer, as those of an image that is optimized.
    So a thread that leaves the computing to another calls this first. Making a team anew takes some 0.1 ms.

    Other OpenMP libraries do not count so: where one of them is used, or none, nothing is done.
    """
    pause = _pause()
    if pause is not None:
        pause(_SOFT)


@functools.cache
def _pause() -> Callable[[int], int] | None:
    """Return GNU's ``omp_pause_resource_all``, if that is the OpenMP library of this process.

    It says -1 where it can do nothing, such as within a parallel region, where there is nothing to be let go of.
    """
    if sys.platform != "linux" or not torch.backends.openmp.is_available():
        return None
    loaded = ctypes.CDLL(None)  # torch has loaded its OpenMP library for everybody
    names = ("omp_pause_resource_all", "GOMP_parallel")
    # LLVM's and Intel's know GNU's names, too.
    if not all(hasattr(loaded, name) for name in names) or hasattr(loaded, "__kmpc_fork_call"):
        return None
    pause = loaded.omp_pause_resource_all
    pause.argtypes, pause.restype = [ctypes.c_int], ctypes.c_int
    return pause
