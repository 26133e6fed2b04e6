"""The nearest of many vectors, exactly: no approximation, no ties left to chance, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.whole_numbers import checked_whole

METRICS = ("cosine", "euclidean")
_BLOCK_VALUES = 2**22
_ROUNDING = float(np.finfo(np.float64).eps)

Floats = NDArray[np.float64]


def nearest(
    base: NDArray[Any],
    queries: NDArray[Any],
    k: int,
    *,
    metric: str,
    excluded: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], Floats]:
    """Return the rows of ``base`` nearest to each query, nearest first, and their distances; ties by lower row.

    Euclidean: ``|a - b|``. Cosine: ``1 - cos(a, b)``, from 0 to 2, which is half the squared distance of the
    vectors at length 1 (and in this way exactly 0 for equal ones). A vector of zeros has no direction: its
    cosine distance to everything is taken as 1.

    Distances to all rows come from matrix products, whose rounding is bounded; those that may be among the
    nearest by that bound are computed once more, pair by pair in float64. So what is returned does not depend
    on how the work is cut into blocks.

    Parameters
    ----------
    base
        Vectors [N, D], finite; may be a `numpy.memmap`.
    queries
        Vectors [Q, D], finite.
    k
        From 1 to N, or to N - 1 where a row is excluded.
    metric
        ``"cosine"`` or ``"euclidean"``.
    excluded
        A row of ``base`` for each query [Q] that it does not find (usually itself).

    Returns
    -------
    indices : int64 [Q, k]
    distances : float64 [Q, k]
    """
    search = searching(base, queries, k, metric=metric, excluded=excluded)
    while True:
        try:
            next(search)
        except StopIteration as end:
            found: tuple[NDArray[np.int64], Floats] = end.value
            return found


def searching(
    base: NDArray[Any],
    queries: NDArray[Any],
    k: int,
    *,
    metric: str,
    excluded: NDArray[np.int64] | None = None,
) -> Generator[int, None, tuple[NDArray[np.int64], Floats]]:
    """Do what `nearest` does, and yield now and then for how many queries it is done."""
    unit = metric == "cosine"
    indices = np.empty((len(queries), k), dtype=np.int64)
    squared = np.empty((len(queries), k), dtype=np.float64)
    norms = _squared_norms(base, unit)
    twins = _twins(base)
    per_block = max(1, _BLOCK_VALUES // max(len(base), base.shape[1]))
    for start in range(0, len(queries), per_block):
        block = slice(start, start + per_block)
        ready = _ready(queries[block], unit, is_query=True)
        skip = None if excluded is None else excluded[block]
        rows, columns = _candidates(base, norms, ready, k, unit, skip)
        exact = _distances(base, ready, rows, columns, unit, twins)
        order = np.lexsort((columns, exact, rows))
        # Each row has k candidates or more; take the first k of each.
        firsts = np.searchsorted(rows, np.arange(len(ready)))[:, None] + np.arange(k)
        indices[block] = columns[order][firsts]
        squared[block] = exact[order][firsts]
        yield min(start + per_block, len(queries))
    return indices, squared / 2 if unit else np.sqrt(squared)


def is_zero(vectors: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which rows are all zeros, [N], block by block."""
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    starts = range(0, len(vectors), step)
    return np.concatenate([~vectors[start : start + step].any(axis=1) for start in starts])


def _ready(vectors: NDArray[Any], unit: bool, *, is_query: bool) -> Floats:
    """Return vectors as float64; for the cosine at length 1, those of zeros at right angles to everything."""
    numbers = np.array(vectors, dtype=np.float64)
    if not unit:
        return numbers
    # Squares of very small or large numbers would be lost.
    largest = np.abs(numbers).max(axis=1, keepdims=True)
    zero = largest == 0
    numbers /= np.where(zero, 1.0, largest)
    lengths = np.sqrt(np.square(numbers).sum(axis=1, keepdims=True))
    numbers /= np.where(zero, 1.0, lengths)
    own = np.zeros((len(numbers), 2))
    own[:, int(is_query)] = zero[:, 0]
    return np.concatenate([numbers, own], axis=1)


def _squared_norms(base: NDArray[Any], unit: bool) -> Floats:
    if unit:
        return np.ones(len(base))
    step = max(1, _BLOCK_VALUES // base.shape[1])
    starts = range(0, len(base), step)
    return np.concatenate(
        [np.square(base[start : start + step], dtype=np.float64).sum(1) for start in starts]
    )


def _candidates(
    base: NDArray[Any], norms: Floats, queries: Floats, k: int, unit: bool, skip: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of a query and a row of ``base``, among them the k nearest of each, ties included."""
    products = np.empty((len(queries), len(base)))
    step = max(1, _BLOCK_VALUES // base.shape[1])
    for start in range(0, len(base), step):
        block = _ready(base[start : start + step], unit, is_query=False)
        products[:, start : start + step] = queries @ block.T
    sums = np.square(queries).sum(1)[:, None] + norms
    products *= -2
    products += sums
    # What a sum of D products of float64 may be off by, and then some.
    sums *= 4 * (queries.shape[1] + 8) * _ROUNDING
    if skip is not None:
        products[np.arange(len(queries)), skip] = np.inf
    highest = np.partition(products + sums, k - 1, axis=1)[:, k - 1]
    products -= sums
    rows, columns = np.nonzero(products <= highest[:, None])
    return rows, columns


def _twins(base: NDArray[Any]) -> NDArray[np.int64] | None:
    """Return the first row that is equal to each row [N]; ``None`` if no two are."""
    firsts: dict[bytes, int] = {}
    found = np.empty(len(base), dtype=np.int64)
    for row in range(len(base)):
        digest = hashlib.blake2b(base[row].tobytes(), digest_size=16).digest()
        found[row] = firsts.setdefault(digest, row)
    return None if len(firsts) == len(base) else found


def _distances(
    base: NDArray[Any],
    queries: Floats,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    unit: bool,
    twins: NDArray[np.int64] | None,
) -> Floats:
    """Return the squared distance of each pair; among equal rows it is computed once."""
    if twins is None:
        return _pair_distances(base, queries, rows, columns, unit)
    keys, place = np.unique(rows * len(base) + twins[columns], return_inverse=True)
    return _pair_distances(base, queries, keys // len(base), keys % len(base), unit)[place]


def _pair_distances(
    base: NDArray[Any], queries: Floats, rows: NDArray[np.int64], columns: NDArray[np.int64], unit: bool
) -> Floats:
    """Return the squared distance of each pair."""
    squared = np.empty(len(rows))
    step = max(1, _BLOCK_VALUES // base.shape[1])
    for start in range(0, len(rows), step):
        pairs = slice(start, start + step)
        difference = _ready(base[columns[pairs]], unit, is_query=False)
        difference -= queries[rows[pairs]]
        squared[pairs] = np.square(difference, out=difference).sum(axis=1)
    return squared


def check_metric(metric: Any) -> None:
    """Refuse a metric that there is not."""
    if metric not in METRICS:
        raise ValueError(f"metric is 'cosine' or 'euclidean', got {metric!r}")


def checked_k(k: Any, available: int, images: int) -> int:
    """Return a number of neighbors as an int; refuse more than are available among so many images."""
    count = checked_whole("k", k)
    if count > available:
        raise InputError(
            f"there are {available} neighbors to find in a table of {images} images, got k={count}; "
            f"use k={available} or less"
            if available > 0
            else f"a table of {images} image has no neighbors to find, got k={count}; extract more images"
        )
    return count
