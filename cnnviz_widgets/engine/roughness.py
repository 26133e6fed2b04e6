"""How rough kernels are, set against what shuffling their entries makes of them. NumPy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

# Entries of all the shuffled kernels that are in memory at a time: 32 MB, and about as much for their products.
_BLOCK = 4_000_000
# Shuffles that restore the same pattern (turned, say) differ by rounding alone.
_ROUNDING = 1e-9


def high_frequency_share(weights: ArrayLike) -> FloatArray:
    r"""See how much of each kernel's energy lies in fine detail, from 0 (flat) to 1.

    With :math:`W_i` the orthonormal two-dimensional DCT-II of the map of input channel :math:`i`,

    .. math:: f = \frac{\sum_{i,u,v} \lambda_{uv} W_i(u,v)^2}{\sum_{i,u,v} W_i(u,v)^2}, \qquad
              \lambda_{uv} \propto \Bigl(1 - \cos\frac{\pi u}{k_H}\Bigr) + \Bigl(1 - \cos\frac{\pi v}{k_W}\Bigr),

    scaled so that the highest frequency, nearly a checkerboard, counts 1 and the mean counts 0. The same
    number is the sum of the squared differences of neighbors over the sum of squares, up to that scale, and
    is computed so.

    Parameters
    ----------
    weights
        Kernels [..., I, kH, kW].

    Returns
    -------
    float64 array [...]
        In [0, 1]. White noise has about 0.45. NaN for 1x1 kernels, which have no neighbors, and for kernels
        of zeros.

    Examples
    --------
    >>> high_frequency_share([[[[1.0, 1.0], [1.0, 1.0]]], [[[1.0, -1.0], [-1.0, 1.0]]]]).tolist()
    [0.0, 1.0]
    """
    return _shares(_checked(weights))[0]


def incoherence(weights: ArrayLike) -> FloatArray:
    r"""See how little the input channels of each kernel have in common: 0 if all show one pattern.

    With :math:`p_j` the shares of energy in the singular components of the kernel as a matrix
    [I, kH * kW], this is :math:`1 - \sum_j p_j^2`: the chance that two units of energy, drawn at random, lie
    in different components (Simpson's index of diversity; its inverse, :math:`1 / \sum_j p_j^2`, is the
    participation ratio).

    Parameters
    ----------
    weights
        Kernels [..., I, kH, kW].

    Returns
    -------
    float64 array [...]
        From 0 to ``1 - 1 / min(I, kH * kW)``, so always 0 for one channel. NaN for kernels of zeros.

    Examples
    --------
    >>> incoherence([[[[1.0, 2.0]], [[-2.0, -4.0]]], [[[1.0, 0.0]], [[0.0, 1.0]]]]).tolist()
    [0.0, 0.5]
    """
    return _shares(_checked(weights))[1]


def roughness(weights: ArrayLike) -> FloatArray:
    """See how rough each kernel is, from 0 (flat) to 1: fine detail, and channels that go their own ways.

    The mean of `high_frequency_share` and `incoherence`; for a single input channel, which has no other to
    agree with, the high-frequency share alone. Kernels of different shape have different values for noise:
    compare them with their own shuffles (`shuffle_test`).

    Parameters
    ----------
    weights
        Kernels [..., I, kH, kW].

    Returns
    -------
    float64 array [...]
        NaN for 1x1 kernels and for kernels of zeros.

    Raises
    ------
    ValueError
        Not an array [..., I, kH, kW], or NaN or infinity in it.

    Examples
    --------
    >>> roughness([[[[1.0, 2.0, 3.0]]], [[[1.0, 3.0, 1.0]]]]).round(3).tolist()
    [0.048, 0.242]
    """
    kernels = _checked(weights)
    return _combined(*_shares(kernels), kernels.shape[-3])


@dataclass(frozen=True, eq=False)
class ShuffleTest:
    """What kernels are like, and what they would be like if the order of their entries meant nothing.

    Attributes
    ----------
    roughness, high_frequency, incoherence
        Of the kernels themselves [O].
    shuffled
        Roughness of their shuffles [shuffles, O]. Row by row all kernels are shuffled alike.
    shuffled_high_frequency
        Mean high-frequency share of each kernel's shuffles [O].
    """

    roughness: FloatArray
    high_frequency: FloatArray
    incoherence: FloatArray
    shuffled: FloatArray
    shuffled_high_frequency: FloatArray

    @property
    def percentile(self) -> FloatArray:
        """Where each kernel stands among its shuffles [O], in percent.

        ``100 * (1 + n) / (1 + shuffles)`` with ``n`` shuffles as smooth as the kernel or smoother, so ties
        count against the kernel. For noise it is uniform: at most ``x`` in ``x`` percent of all cases.
        NaN where there is no roughness.
        """
        below = self.shuffled <= self.roughness + _ROUNDING
        percentile: FloatArray = 100.0 * (1 + below.sum(axis=0)) / (1 + len(self.shuffled))
        return np.where(np.isnan(self.roughness), np.nan, percentile)

    @property
    def frequency_ratio(self) -> FloatArray:
        """Each kernel's high-frequency share in units of the mean one of its shuffles [O]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.high_frequency / self.shuffled_high_frequency

    def layer_p_value(self, counted: NDArray[np.bool_]) -> float:
        """Return how probable it is that noise is as smooth, over all ``counted`` kernels [O] together.

        Each kernel's roughness is put in units of the deviation of its shuffles, and the mean over kernels is
        compared with that of each joint shuffle. The test is exact where the entries of each kernel can be
        exchanged, as in every common random start (normal, uniform, orthogonal), also when kernels depend on
        each other. Its smallest value is ``1 / (1 + shuffles)``; NaN if nothing counts.
        """
        everything = np.vstack([self.roughness, self.shuffled])[:, counted]
        spread = everything.std(axis=0)
        telling = spread > _ROUNDING
        if not telling.any():
            return float("nan")
        scores = (everything[:, telling] / spread[telling]).mean(axis=1)
        return float((1 + (scores[1:] <= scores[0] + _ROUNDING).sum()) / len(scores))


def shuffle_test(weights: ArrayLike, *, shuffles: int = 199, seed: int = 0) -> ShuffleTest:
    """See whether kernels are smoother than chance: each against its own entries in other orders.

    Entries move over all channels and positions of a kernel. A shuffle is one permutation for all kernels;
    what they have in common is kept, so that a layer can be judged as a whole.

    Parameters
    ----------
    weights
        Kernels [O, I, kH, kW].
    shuffles
        How many orders to try. Percentiles come in steps of ``100 / (shuffles + 1)``.
    seed
        For a generator of its own. The same seed gives the same numbers.

    Returns
    -------
    ShuffleTest

    Raises
    ------
    ValueError
        Not an array [O, I, kH, kW], NaN or infinity in it, or less than one shuffle.

    Notes
    -----
    Takes time in proportion to entries times shuffles: 2 to 3 seconds for 512x512x3x3 and 199 shuffles on one
    core; memory for a shuffle is bounded, whatever the layer.

    Examples
    --------
    >>> slope = np.add.outer(np.arange(5.0), np.arange(5.0))
    >>> shuffle_test(slope[None, None]).percentile.tolist()
    [0.5]
    """
    kernels = _checked(weights)
    if kernels.ndim != 4:
        raise ValueError(f"kernels are an array [O, I, kH, kW]; got the shape {list(kernels.shape)}")
    if shuffles < 1:
        raise ValueError(f"shuffles must be a whole number from 1, got {shuffles!r}")
    count, channels = kernels.shape[:2]
    fine, mixed = _shares(kernels)
    shuffled = np.full((shuffles, count), np.nan)
    shuffled_fine = np.zeros(count)
    flat = kernels.reshape(count, -1)
    for rows, orders in _orders(flat.shape[1], shuffles, seed):
        at_once = max(1, _BLOCK // orders.size)
        for start in range(0, count, at_once):
            some = slice(start, start + at_once)
            batch = flat[some].take(orders, axis=1).reshape(-1, *orders.shape[:1], *kernels.shape[1:])
            shares = _shares(batch)
            shuffled[rows, some] = _combined(*shares, channels).T
            shuffled_fine[some] += shares[0].sum(axis=1)
    return ShuffleTest(_combined(fine, mixed, channels), fine, mixed, shuffled, shuffled_fine / shuffles)


def _orders(entries: int, shuffles: int, seed: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """Yield permutations [n, entries], as many at a time as fit into a block, and which shuffles they are."""
    generator = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // max(entries, 1))
    for start in range(0, shuffles, at_once):
        number = min(at_once, shuffles - start)
        rows = np.tile(np.arange(entries, dtype=np.intp), (number, 1))
        yield slice(start, start + number), generator.permuted(rows, axis=1)


def _checked(weights: ArrayLike) -> FloatArray:
    kernels = np.asarray(weights, dtype=np.float64)
    if kernels.ndim < 3 or 0 in kernels.shape[-3:]:
        raise ValueError(f"kernels are an array [..., I, kH, kW]; got the shape {list(kernels.shape)}")
    if not np.isfinite(kernels).all():
        raise ValueError("kernels must be finite; some entries are NaN or infinite")
    # Squares of squares are taken below: the scale, which means nothing here, must not make them overflow.
    largest = np.abs(kernels).max(axis=(-3, -2, -1), keepdims=True)
    scaled: FloatArray = np.divide(kernels, largest, out=np.zeros_like(kernels), where=largest > 0)
    return scaled


def _combined(fine: FloatArray, mixed: FloatArray, channels: int) -> FloatArray:
    return fine if channels == 1 else (fine + mixed) / 2


def _shares(kernels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the high-frequency share and the incoherence of kernels [..., I, kH, kW]."""
    channels, height, width = kernels.shape[-3:]
    maps = kernels.reshape(*kernels.shape[:-2], height * width)
    # The smaller of the two Gram matrices; their squared singular values are the same.
    if channels >= height * width:
        gram = maps.swapaxes(-1, -2) @ maps
        differences = (gram * _neighbor_form(height, width)).sum(axis=(-2, -1))
    else:
        gram = maps @ maps.swapaxes(-1, -2)
        differences = _squares(np.diff(kernels, axis=-1)) + _squares(np.diff(kernels, axis=-2))
    energy = np.trace(gram, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fine = differences / (energy * _highest(height, width))
        mixed = 1 - (gram * gram).sum(axis=(-2, -1)) / energy**2
    # Rounding alone leads out of their ranges.
    return np.minimum(fine, 1.0), np.maximum(mixed, 0.0)


def _squares(values: FloatArray) -> FloatArray:
    flat = values.reshape(*values.shape[:-3], -1)
    sums: FloatArray = np.einsum("...i,...i->...", flat, flat)
    return sums


def _highest(height: int, width: int) -> float:
    """Return the weight of the highest frequency before scaling; 0 for 1x1."""
    return float(sum(2 - 2 * np.cos(np.pi * (size - 1) / size) for size in (height, width)))


def _neighbor_form(height: int, width: int) -> FloatArray:
    """Return the matrix of the sum of squared differences of neighbors: the Laplacian of the grid."""
    form: FloatArray = np.kron(_path_form(height), np.eye(width)) + np.kron(np.eye(height), _path_form(width))
    return form


def _path_form(size: int) -> FloatArray:
    steps = np.diff(np.eye(size), axis=0)
    form: FloatArray = steps.T @ steps
    return form
