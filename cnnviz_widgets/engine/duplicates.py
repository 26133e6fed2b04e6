"""Kernels that are the same but for a turn, a mirror or a sign. NumPy and one quantile of SciPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.engine.results import Result

FloatArray = NDArray[np.float64]
Maps = NDArray[Any]

# In the order of preference where several fit equally well. All act on the last two axes.
_TRANSFORMS: dict[str, Callable[[Maps], Maps]] = {
    "identity": lambda maps: maps,
    "rotate 90": lambda maps: np.rot90(maps, 1, axes=(-2, -1)),
    "rotate 180": lambda maps: np.rot90(maps, 2, axes=(-2, -1)),
    "rotate 270": lambda maps: np.rot90(maps, 3, axes=(-2, -1)),
    "flip left-right": lambda maps: maps[..., ::-1],
    "flip up-down": lambda maps: maps[..., ::-1, :],
    "transpose": lambda maps: maps.swapaxes(-1, -2),
    "anti-transpose": lambda maps: maps[..., ::-1, ::-1].swapaxes(-1, -2),
}
_ROUNDING = 1e-12
# Kernels compared with all others at a time.
_BLOCK = 256


@dataclass(frozen=True, eq=False)
class DuplicateGroup(Result):
    """Kernels that are nearly the same: a first one and those that resemble it.

    Attributes
    ----------
    members
        Indices of the kernels [M], int64: the one that resembles most others, then these in order.
    transforms
        For each member what makes it of the first one: ``"identity"``, ``"rotate 90"`` (counterclockwise),
        ``"rotate 180"``, ``"rotate 270"``, ``"flip left-right"``, ``"flip up-down"``, ``"transpose"`` or
        ``"anti-transpose"``. `transformed` does it.
    negated
        For each member [M] whether the sign is changed as well.
    similarity
        For each member [M] the cosine of the angle to the first one after that, as float64.
    """

    members: NDArray[np.int64]
    transforms: tuple[str, ...]
    negated: NDArray[np.bool_]
    similarity: FloatArray

    def __str__(self) -> str:
        first, *others = zip(self.members, self.transforms, self.negated, self.similarity, strict=True)
        parts = [
            f"{member} ({'negated ' if negated else ''}{transform}, {similarity:.3f})"
            for member, transform, negated, similarity in others
        ]
        return f"{first[0]} = " + ", ".join(parts)


def transform_names(height: int, width: int) -> tuple[str, ...]:
    """Return the turns and mirrors that keep kernels of this size and differ: 8, 4, 2 or 1 of them.

    >>> transform_names(5, 3)
    ('identity', 'rotate 180', 'flip left-right', 'flip up-down')
    """
    places = np.arange(height * width).reshape(height, width)
    kept: dict[bytes, str] = {}
    for name, transform in _TRANSFORMS.items():
        moved = transform(places)
        if moved.shape == places.shape:
            kept.setdefault(moved.tobytes(), name)
    return tuple(kept.values())


def transformed(weights: Maps, name: str) -> Maps:
    """Return kernels [..., kH, kW] turned or mirrored, all channels alike.

    >>> transformed(np.array([[1.0, 2.0], [3.0, 4.0]]), "rotate 90").tolist()
    [[2.0, 4.0], [1.0, 3.0]]
    """
    if name not in _TRANSFORMS:
        raise ValueError(f"no transform is called {name!r}; there are {', '.join(_TRANSFORMS)}")
    return _TRANSFORMS[name](weights)


def chance_similarity(entries: int, comparisons: int, *, expected: float = 0.05) -> float:
    r"""Return the absolute cosine that random kernels exceed ``expected`` times in so many comparisons.

    The squared cosine of two random directions in ``n`` dimensions has the distribution
    :math:`\mathrm{Beta}(1/2, (n - 1)/2)`. In few dimensions high values are common: among 64 kernels of 3x3,
    each compared in 8 positions, chance alone reaches 0.97.

    Parameters
    ----------
    entries
        Entries of a kernel, ``n``.
    comparisons
        Pairs of kernels times transforms; a negated kernel needs no comparison of its own.
    expected
        How many comparisons may exceed it by chance.

    Returns
    -------
    float
        In [0, 1]; 1 where chance can't be told from a copy, so for a single entry.

    Examples
    --------
    >>> round(chance_similarity(9, 2016 * 8), 3)
    0.971
    >>> round(chance_similarity(4608, 130816 * 8), 3)
    0.08
    """
    from scipy.special import betainccinv  # type: ignore[import-untyped, unused-ignore]

    if entries < 1 or comparisons < 0 or not expected > 0:
        raise ValueError(
            f"needs entries from 1, comparisons from 0 and an expected number above 0; "
            f"got {entries!r}, {comparisons!r} and {expected!r}"
        )
    if entries == 1:
        return 1.0
    if comparisons <= expected:
        return 0.0
    limit = float(np.sqrt(betainccinv(0.5, (entries - 1) / 2, expected / comparisons)))
    # The cosine of two copies is only known to this.
    return 1.0 if limit > 1 - _ROUNDING else limit


def duplicate_threshold(
    shape: tuple[int, int, int, int], *, min_similarity: float = 0.9, expected: float = 0.05
) -> float:
    """Return the absolute cosine above which kernels [O, I, kH, kW] count as near-duplicates.

    The larger of ``min_similarity`` and what chance exceeds, see `chance_similarity`; 1 means that nothing
    can count.
    """
    if not 0 < min_similarity <= 1:
        raise ValueError(f"min_similarity is a cosine above 0 and up to 1; got {min_similarity!r}")
    count, channels, height, width = shape
    comparisons = count * (count - 1) // 2 * len(transform_names(height, width))
    chance = chance_similarity(channels * height * width, comparisons, expected=expected)
    # Copies reach 1 but for rounding.
    return max(chance, min(min_similarity, 1 - _ROUNDING))


def find_duplicates(
    weights: ArrayLike, threshold: float, *, counted: NDArray[np.bool_] | None = None
) -> tuple[DuplicateGroup, ...]:
    """See which kernels are nearly the same, also when turned, mirrored or negated.

    Every member of a group resembles its first one, which is the kernel with most likenesses; a kernel is in
    one group at most. So a kernel whose only likenesses belong to another group already stays alone.

    Parameters
    ----------
    weights
        Kernels [O, I, kH, kW].
    threshold
        Absolute cosines above it count. `duplicate_threshold` gives one that chance hardly ever exceeds.
    counted
        Which kernels to compare [O]; all but zero ones if left out, whose direction means nothing.

    Returns
    -------
    tuple of DuplicateGroup
        In the order of their lowest members.

    Examples
    --------
    >>> kernels = np.random.default_rng(0).normal(size=(6, 3, 5, 5))
    >>> kernels[4] = -np.rot90(kernels[1], axes=(-2, -1))
    >>> print(*find_duplicates(kernels, 0.9))
    1 = 4 (negated rotate 90, 1.000)
    """
    kernels = np.asarray(weights, dtype=np.float64)
    if kernels.ndim != 4:
        raise ValueError(f"kernels are an array [O, I, kH, kW]; got the shape {list(kernels.shape)}")
    flat = kernels.reshape(len(kernels), -1)
    # Scaled first, so that squares of very small entries don't vanish.
    largest = np.abs(flat).max(axis=1, initial=0.0)
    usable = largest > 0 if counted is None else counted & (largest > 0)
    indices = np.flatnonzero(usable)
    if not len(indices):
        return ()
    units = flat[indices] / largest[indices, None]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    directions = units.reshape(-1, *kernels.shape[1:])
    groups = [_group(directions, indices, members) for members in _stars(_alike(directions, threshold))]
    return tuple(sorted(groups, key=lambda group: int(group.members.min())))


def _alike(directions: FloatArray, threshold: float) -> NDArray[np.bool_]:
    """Return for each pair [N, N] whether any transform makes one nearly the other."""
    count = len(directions)
    flat = directions.reshape(count, -1)
    alike = np.zeros((count, count), np.bool_)
    # To turn one kernel by 270 degrees is to turn the other by 90; all else is its own inverse.
    names = [name for name in transform_names(*directions.shape[2:]) if name != "rotate 270"]
    for start in range(0, count, _BLOCK):
        rows = slice(start, start + _BLOCK)
        for name in names:
            moved = transformed(directions[rows], name).reshape(-1, flat.shape[1])
            alike[rows] |= np.abs(moved @ flat.T) > threshold
    np.fill_diagonal(alike, False)
    return alike | alike.T


def _stars(alike: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """Yield groups, each a kernel and its likenesses, the largest first, until no pair is left."""
    left = alike.copy()
    while left.any():
        center = int(left.sum(axis=1).argmax())
        members = np.concatenate([[center], np.flatnonzero(left[center])])
        left[members] = False
        left[:, members] = False
        yield members


def _group(directions: FloatArray, indices: NDArray[np.int64], members: NDArray[np.int64]) -> DuplicateGroup:
    names = transform_names(*directions.shape[2:])
    others = directions[members].reshape(len(members), -1)
    first = directions[members[0]]
    cosines = np.stack([others @ transformed(first, name).ravel() for name in names])
    # Rounding must not choose between transforms that fit equally well.
    best = (np.abs(cosines) >= np.abs(cosines).max(axis=0) - _ROUNDING).argmax(axis=0)
    chosen = cosines[best, np.arange(len(members))]
    # A first member with a symmetry of its own is still itself.
    return DuplicateGroup(
        members=indices[members].astype(np.int64),
        transforms=tuple(names[each] for each in best),
        negated=chosen < 0,
        similarity=np.minimum(np.abs(chosen), 1.0),
    )
