"""A t-SNE step by step: first the search for neighbors, then its iterations, each time with the map so far."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.stream import Step, StopEarly
from cnnviz_widgets.engine.tsne import TSNE, Found, find_neighbors

USUAL_PERPLEXITY = 30.0
_SEARCH_STEP = 2**27  # distances between two steps of the search for neighbors: seconds


def tsne_steps(
    vectors: NDArray[Any],
    perplexity: float,
    iterations: int,
    start: NDArray[np.float64],
    *,
    every: int,
    seed: int,
) -> Generator[Step, None, TSNE]:
    """Make a t-SNE map, yield where its points are every few iterations, and return it, finished or stopped early.

    See `cnnviz_widgets.engine.tsne.TSNE` for all but ``every``.
    """
    neighbors = yield from _searched(vectors, perplexity, iterations)
    made = TSNE(vectors, perplexity, iterations, start, seed, neighbors)
    with contextlib.suppress(StopEarly):  # the map so far is a map
        yield from _watched(made, every)
    return made


def _searched(vectors: NDArray[Any], perplexity: float, iterations: int) -> Generator[Step, None, Found]:
    """Look for the neighbors of each image, and yield now and then: a search among many takes minutes."""
    search, told = find_neighbors(vectors, perplexity), 0
    while True:
        try:
            done = next(search)
        except StopIteration as end:
            found: Found = end.value
            return found
        if (done - told) * len(vectors) >= _SEARCH_STEP:
            told = done
            yield Step(0, iterations, values={"images_searched": float(done)})


def _watched(made: TSNE, every: int) -> Generator[Step, None, None]:
    """Do the iterations of a t-SNE, and yield where its points are."""
    spent = 0.0
    while made.done < made.iterations:
        exaggeration, resumed = made.exaggeration, time.perf_counter()
        divergence = made.advance(every)
        spent += time.perf_counter() - resumed  # without the time that nobody asked for a step
        values: dict[str, Any] = {
            "points": made.points,
            "kl_divergence": divergence,
            "exaggeration": exaggeration,
            "seconds_left": spent / made.done * (made.iterations - made.done),
        }
        yield Step(made.done - 1, made.iterations, values=values)


def checked_perplexity(value: Any, images: int) -> float:
    """Return a perplexity that a t-SNE of so many images can have, or say which it can.

    ``None``: the usual one, or the largest that so many images allow.
    """
    # As many neighbors as three times the perplexity are looked at.
    most = (images - 1) / 3
    if most < 1:
        raise InputError(f"t-SNE needs four images or more, got {images}")
    if value is None:
        return min(USUAL_PERPLEXITY, most)
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 1 <= value < np.inf:
        raise ValueError(f"perplexity is a number from 1, got {value!r}")
    if value > most:
        advised = math.floor(100 * most) / 100  # not rounded up, which would be refused again
        raise InputError(
            f"perplexity {value:.12g} is too large for {images} images; use {advised:.12g} or less"
        )
    return float(value)
