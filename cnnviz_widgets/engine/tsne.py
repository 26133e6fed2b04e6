"""t-SNE by openTSNE, a few iterations at a time, over exact neighbors; and new points on a map that is there."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from openTSNE import TSNEEmbedding
from openTSNE.affinity import Affinities, PerplexityBasedNN, joint_probabilities_nn
from openTSNE.nearest_neighbors import KNNIndex
from openTSNE.tsne import kl_divergence_bh
from scipy.sparse import csr_matrix  # type: ignore[import-untyped, unused-ignore]

from cnnviz_widgets.engine.nearest import nearest, searching

EXAGGERATION, EXAGGERATED_AT_MOST = 12.0, 250
_MOMENTUM = 0.8
_ACCURACY = 0.5  # of the Barnes-Hut trees: openTSNE's and scikit-learn's usual angle
_PLACING_PERPLEXITY = 5.0
_INITIAL_SPREAD = 1e-4
# From so many images on a grid and Fourier transforms are faster than trees: while the map is small, and always.
_INTERPOLATE_SMALL, _INTERPOLATE_ALWAYS = 3000, 10_000

Found = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Neighbors of each vector, and their distances."""


class TSNE:
    """A t-SNE map in the making.

    The first third of the iterations, at most 250, exaggerates the attraction 12 times, so that clusters find
    together; the learning rate is N / exaggeration (Belkina et al. 2019). Repulsion is computed by Barnes-Hut
    trees; of 10,000 images or more (3,000 while it exaggerates) by interpolation on a grid (Linderman et al.
    2019).

    Parameters
    ----------
    vectors
        [N, D], finite.
    perplexity
        From 1 to (N - 1) / 3.
    iterations
        How many there will be in all.
    start
        Where the points begin [N, 2], such as the first principal components. Scaled to a small spread, with
        a little noise from ``seed``.
    neighbors
        What `find_neighbors` found; without them they are looked for here.
    """

    def __init__(
        self,
        vectors: NDArray[Any],
        perplexity: float,
        iterations: int,
        start: NDArray[np.float64],
        seed: int,
        neighbors: Found | None = None,
    ) -> None:
        self.done = 0
        self.iterations = iterations
        self.exaggerated = min(EXAGGERATED_AT_MOST, iterations // 3)
        self._affinities = PerplexityBasedNN(
            knn_index=_ExactNeighbors(vectors, int(3 * perplexity), neighbors),
            perplexity=perplexity,
            n_jobs=_threads(),
        )
        spread = start / (start[:, 0].std() / _INITIAL_SPREAD)
        # Equal vectors would stay on one spot for ever.
        spread += np.random.default_rng(seed).normal(0, _INITIAL_SPREAD / 100, spread.shape)
        self._embedding = TSNEEmbedding(spread, self._affinities, n_jobs=_threads(), theta=_ACCURACY)

    @property
    def points(self) -> NDArray[np.float64]:
        """Where the points are now [N, 2]: a copy."""
        return np.array(self._embedding, dtype=np.float64)

    @property
    def exaggeration(self) -> float:
        """How many times as hard neighbors attract each other in the next iteration."""
        return EXAGGERATION if self.done < self.exaggerated else 1.0

    def advance(self, count: int) -> float:
        """Do that many iterations, or up to the next change of exaggeration; return the KL divergence."""
        change = self.exaggerated if self.done < self.exaggerated else self.iterations
        end = min(self.done + count, change)
        early = self.done < self.exaggerated
        grid_from = _INTERPOLATE_SMALL if early else _INTERPOLATE_ALWAYS
        self._embedding.optimize(
            end - self.done,
            inplace=True,
            momentum=_MOMENTUM,
            exaggeration=self.exaggeration,
            negative_gradient_method="fft" if len(self._embedding) >= grid_from else "bh",
        )
        self.done = end
        return float(self._embedding.kl_divergence)

    def kl_divergence(self) -> float:
        """Return the Kullback-Leibler divergence of the map, without exaggeration.

        On one thread: with more, sums come in another order each time, and differ in their last digit.
        """
        error, _ = kl_divergence_bh(
            self._embedding,
            self._affinities.P,
            dof=1,
            bh_params={"theta": _ACCURACY},
            should_eval_error=True,
            n_jobs=1,
        )
        return float(error)


def find_neighbors(vectors: NDArray[Any], perplexity: float) -> Generator[int, None, Found]:
    """Return the neighbors that t-SNE needs; yield now and then for how many vectors they are found."""
    own = np.arange(len(vectors))
    return (yield from searching(vectors, vectors, int(3 * perplexity), metric="euclidean", excluded=own))


def place(vectors: NDArray[Any], points: NDArray[np.float64], new: NDArray[Any]) -> NDArray[np.float64]:
    """Return where new vectors [M, D] belong on a finished map, [M, 2]; the map does not move.

    Each begins at the median of its nearest neighbors and is optimized alone (openTSNE's partial embedding), so
    it does not matter what comes with it.
    """
    # openTSNE puts the middle of the map at zero.
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    reference = TSNEEmbedding(
        points, _Known(vectors), n_jobs=_threads(), theta=_ACCURACY, negative_gradient_method="bh"
    )
    placed = reference.transform(new, perplexity=min(_PLACING_PERPLEXITY, len(vectors) / 3))
    result: NDArray[np.float64] = np.array(placed, dtype=np.float64) + middle
    return result


def _threads() -> int:
    return torch.get_num_threads()


class _ExactNeighbors(KNNIndex):  # type: ignore[misc, unused-ignore]
    """The nearest neighbors by our own exact search, in openTSNE's terms."""

    VALID_METRICS = ("euclidean",)

    def __init__(self, vectors: NDArray[Any], k: int, found: Found | None = None) -> None:
        super().__init__(vectors, k)
        self.found = found

    def build(self) -> Found:
        if self.found is not None:
            return self.found
        own = np.arange(len(self.data))
        return nearest(self.data, self.data, self.k, metric="euclidean", excluded=own)

    def query(self, query: NDArray[Any], k: int) -> Found:
        return nearest(self.data, query, k, metric="euclidean")


class _Known(Affinities):  # type: ignore[misc, unused-ignore]
    """How near new vectors are to known ones; what these are to each other is not needed any more."""

    def __init__(self, vectors: NDArray[Any]) -> None:
        super().__init__()
        self._neighbors = _ExactNeighbors(vectors, 1)
        self.P = csr_matrix((len(vectors), len(vectors)))

    def to_new(self, data: NDArray[Any], perplexity: float, return_distances: bool = False) -> Any:
        count = min(len(self._neighbors.data), max(1, int(3 * perplexity)))
        neighbors, distances = self._neighbors.query(data, count)
        found = joint_probabilities_nn(
            neighbors,
            distances,
            [perplexity],
            symmetrize=False,
            normalization="point-wise",
            n_reference_samples=len(self._neighbors.data),
            n_jobs=_threads(),
        )
        return (found, neighbors, distances) if return_distances else found
