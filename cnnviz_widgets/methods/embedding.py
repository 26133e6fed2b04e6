"""Embeddings: a whole data set as points of a plane, images that a layer takes for alike next to each other."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.feature_table import FeatureTable, label_text, vectors_of
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.tsne import place
from cnnviz_widgets.engine.tsne_steps import checked_perplexity, tsne_steps
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.map_still import draw_map

METHODS = ("pca", "tsne")
_TRUST_NEIGHBORS, _TRUST_IMAGES = 5, 2000
_FULL_DECOMPOSITION = 1e10  # operations; beyond, only the two components are computed
_DOUBLE_VALUES = 2**27
_NO_CLASS = 65_535

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Embedding(Result):
    """A point of a plane for each image; shows itself as a map.

    Attributes
    ----------
    points
        Where the images are [N, 2], float64, in the order of the table.
    method
        ``"pca"`` or ``"tsne"``.
    trustworthiness
        From 0 to 1: whether points that are neighbors on the map are neighbors as vectors, too (Venna and Kaski
        2001). 1: all are; what lies together by chance gets about 0.5.
    trustworthiness_neighbors, trustworthiness_images
        By how many neighbors each, and on how many images (all, or 2,000 drawn at random from ``seed``).
    labels, label_names
        Those of the table: [N], int64, -1 where unknown; and their names.
    layer, pooling
        Of the table; ``None`` for an array of vectors.
    seed
        What was asked for.
    explained_variance
        PCA: the variance of the points along both axes [2], divided by N - 1, in squared units of the network.
    explained_variance_ratio
        PCA: the share of that in the variance of the vectors [2].
    mean, components
        PCA: ``points = (vectors - mean) @ components.T``, [D] and [2, D]. The value of largest magnitude of each
        component is positive.
    kl_divergence
        t-SNE: the Kullback-Leibler divergence of the map from the neighborhoods of the vectors, which is what
        t-SNE makes small. Compare it only between maps of the same vectors and perplexity.
    perplexity, iterations
        t-SNE: what was asked for, or chosen.
    iterations_done
        t-SNE: how many there were; fewer where it was stopped early (``cv.embed.finish``).
    vectors
        t-SNE: the vectors of the map [N, D], which `transform` needs.
    """

    points: Floats
    method: str
    trustworthiness: float
    trustworthiness_neighbors: int
    trustworthiness_images: int
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    layer: LayerKey | None
    pooling: str | None
    seed: int
    explained_variance: Floats | None = None
    explained_variance_ratio: Floats | None = None
    mean: Floats | None = None
    components: Floats | None = None
    kl_divergence: float | None = None
    perplexity: float | None = None
    iterations: int | None = None
    iterations_done: int | None = None
    vectors: NDArray[Any] | None = None

    def transform(self, new: FeatureTable | NDArray[Any]) -> Floats:
        """Return where other images belong on this map, [M, 2]; the map stays as it is.

        PCA: by its formula. t-SNE: each image is placed on its own among its nearest neighbors (Poličar et al.,
        openTSNE), so an image of the map comes close to its point, not exactly onto it. `EmbeddingExplorer.place`
        shows them on the map.

        Parameters
        ----------
        new
            A `FeatureTable` of the same layer, or vectors [M, D].

        Raises
        ------
        InputError
            Another layer or number of values, NaN.
        InputTypeError
            Neither a table nor an array.
        """
        vectors = vectors_of(new, "what is to be placed")
        own = (self.layer, self.pooling)
        if isinstance(new, FeatureTable) and self.layer is not None and (new.layer, new.pooling) != own:
            raise InputError(
                f"the map is of layer {self.layer!r} ({self.pooling}), the table of {new.layer!r} "
                f"({new.pooling}); extract both from the same"
            )
        rows = self.vectors if self.vectors is not None else np.asarray(self.components)
        if vectors.shape[1] != rows.shape[1]:
            raise InputError(f"the map was made of vectors of {rows.shape[1]} values, got {vectors.shape[1]}")
        if self.vectors is not None:
            return place(rows, self.points, vectors)
        return np.asarray((vectors - np.asarray(self.mean)) @ rows.T)

    @property
    def message(self) -> str:
        """What the map is and how far to trust it, in words."""
        n = self.trustworthiness_images
        drawn = f"on {n:,} of them drawn at random" if n < len(self.points) else "on all of them"
        said = (
            f"of {len(self.points):,} images; trustworthiness {self.trustworthiness:.3f} "
            f"({self.trustworthiness_neighbors} neighbors, {drawn})"
        )
        if self.explained_variance_ratio is not None:
            first, second = self.explained_variance_ratio
            return f"PCA {said}; {first:.1%} and {second:.1%} of the variance"
        whole = self.iterations_done == self.iterations
        course = f"{self.iterations} iterations" if whole else self.stopped_text
        return (
            f"t-SNE {said}; KL divergence {self.kl_divergence:.3f}, perplexity {self.perplexity:g}, {course}"
        )

    @property
    def stopped_text(self) -> str:
        """Where a t-SNE was stopped; empty for one that came to its end, and for PCA."""
        if self.iterations_done == self.iterations:
            return ""
        return f"stopped after {self.iterations_done:,} of {self.iterations:,} iterations"

    def __repr__(self) -> str:
        return f"Embedding({self.message})"

    def _repr_png_(self) -> bytes:
        """Return the map that a notebook shows for the bare result, colored by label."""
        known = np.unique(self.labels[self.labels != UNKNOWN])
        codes = np.searchsorted(known, self.labels)
        codes[self.labels == UNKNOWN] = _NO_CLASS
        names = [str(label_text(code, self.label_names)) for code in known.tolist()]
        return draw_map(
            self.points.astype(np.float32),
            "label" if names else "none",
            names,
            codes.astype(np.uint16),
            np.full(len(codes), _NO_CLASS, dtype=np.uint16),
            np.zeros(0, dtype=np.float32),
            "",
        )


@streamed
def embed(
    table: FeatureTable | NDArray[Any],
    *,
    method: str = "pca",
    perplexity: float | None = None,
    iterations: int = 750,
    every: int = 10,
    seed: int = 0,
) -> Generator[Step, None, Embedding]:
    """See a whole data set as a map: images that a layer takes for alike lie next to each other.

    - **PCA** turns the vectors so that two axes show as much of their variance as two can. Distances mean what
      they say, as far as these axes go; the explained variance tells how far.
    - **t-SNE** (van der Maaten and Hinton 2008, by openTSNE) keeps neighbors together. Which points are close
      means something; distances between clusters, their sizes and their shapes mean little.

    Trustworthiness comes with either: whether neighbors on the map are neighbors in truth. Both compare vectors by
    Euclidean distance. For the cosine instead, give vectors of length 1:
    ``dataclasses.replace(table, vectors=table.vectors / np.linalg.norm(table.vectors, axis=1, keepdims=True))``.

    The same seed gives the same map on one machine, on any number of threads; the global random state is not
    touched. PCA holds the vectors in memory two or three times; t-SNE searches neighbors exactly, in a time that
    grows with N squared.

    Parameters
    ----------
    table
        What `extract_features` returned, or an array of vectors [N, D]; three images or more.
    method
        ``"pca"`` or ``"tsne"``.
    perplexity
        t-SNE: roughly how many neighbors each image has to look at, from 1 to (N - 1) / 3. Try several. Left out:
        30, or the largest possible where there are fewer than 91 images. PCA has none.
    iterations
        t-SNE: how many; the first third of them (at most 250) pulls neighbors together 12 times as hard.
    every
        t-SNE: iterations in a `Step`, whose ``values`` are ``points`` [N, 2] (begins at the PCA),
        ``kl_divergence``, ``exaggeration`` and ``seconds_left``. ``cv.embed.finish(steps)`` ends early, with the
        map so far. Of tables of 12,000 images and more there are steps before, while neighbors are looked for;
        their only value is ``images_searched``.
    seed
        For the noise that parts equal images at the start, and the sample that trustworthiness is taken on.

    Returns
    -------
    Embedding

    Raises
    ------
    InputError
        Fewer than three images (four for t-SNE), NaN, vectors that are all equal, a perplexity too large for N.
    InputTypeError
        Neither a table nor an array.
    ValueError
        A value that an option can't have; a perplexity for PCA.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:200], labels[:200]), "fc1")
    >>> found = cv.embed(table)
    >>> found.points.shape, bool(found.explained_variance_ratio.sum() > 0.4)
    ((200, 2), True)
    """
    vectors = vectors_of(table)
    if method not in METHODS:
        raise ValueError(f"method is 'pca' or 'tsne', got {method!r}")
    seed = checked_whole("seed", seed, least=0)
    if len(vectors) < 3:
        raise InputError(f"a map needs three images or more, got {len(vectors)}")
    if method == "pca":
        if perplexity is not None:
            raise ValueError(
                f"perplexity is of t-SNE, PCA has none, got {perplexity!r}; leave it out, or give method='tsne'"
            )
        points, found = yield from _pca_steps(vectors, seed)
    else:
        points, found = yield from _tsne_steps(vectors, perplexity, iterations, every, seed)
    trust, neighbors, images = _trust(vectors, points, seed)
    source = table if isinstance(table, FeatureTable) else None
    return Embedding(
        points=points,
        method=method,
        trustworthiness=trust,
        trustworthiness_neighbors=neighbors,
        trustworthiness_images=images,
        labels=source.labels if source is not None else np.full(len(vectors), UNKNOWN, dtype=np.int64),
        label_names=source.label_names if source else (),
        layer=source.layer if source else None,
        pooling=source.pooling if source else None,
        seed=seed,
        **found,
    )


def _pca_steps(vectors: NDArray[Any], seed: int) -> Generator[Step, None, tuple[Floats, dict[str, Any]]]:
    """Return the points of a PCA, and what else is known of it; yield them before trustworthiness is taken."""
    if vectors.shape[1] < 2:
        raise InputError("PCA needs vectors of two values or more, got one; plot that value itself")
    yield Step(0, 2)
    fitted, points = _fitted_pca(vectors, 2, seed)
    yield Step(1, 2, values={"points": points.copy()})
    return points, {
        "explained_variance": fitted.explained_variance_.astype(np.float64),
        "explained_variance_ratio": fitted.explained_variance_ratio_.astype(np.float64),
        "mean": fitted.mean_.astype(np.float64),
        "components": fitted.components_.astype(np.float64),
    }


def _fitted_pca(vectors: NDArray[Any], count: int, seed: int) -> tuple[PCA, Floats]:
    """Return a PCA of fixed signs, and the points [N, count] it gives to the vectors."""
    smaller = min(vectors.shape)
    solver = "full" if vectors.size * smaller <= _FULL_DECOMPOSITION else "arpack"
    # The smaller of two evils: half the digits, or twice the memory.
    numbers = np.asarray(vectors, dtype=np.float64 if vectors.size <= _DOUBLE_VALUES else np.float32)
    if not (numbers != numbers[0]).any():
        raise InputError(
            f"all {len(vectors)} vectors are equal, so there is nothing to map; check the images"
        )
    # From version 1.5 on, scikit-learn makes the largest value of each component positive.
    fitted = PCA(count, svd_solver=solver, random_state=seed).fit(numbers)
    return fitted, np.asarray(fitted.transform(numbers), dtype=np.float64)


def _tsne_steps(
    vectors: NDArray[Any], perplexity: Any, iterations: Any, every: Any, seed: int
) -> Generator[Step, None, tuple[Floats, dict[str, Any]]]:
    """Return the points of a t-SNE, and what else is known of it; yield them every few iterations."""
    perplexity = checked_perplexity(perplexity, len(vectors))
    iterations, every = checked_whole("iterations", iterations), checked_whole("every", every)
    _, start = _fitted_pca(vectors, min(2, vectors.shape[1]), seed)
    if start.shape[1] < 2:
        start = np.hstack([start, np.zeros_like(start)])
    made = yield from tsne_steps(vectors, perplexity, iterations, start, every=every, seed=seed)
    return made.points, {
        "kl_divergence": made.kl_divergence(),
        "perplexity": perplexity,
        "iterations": iterations,
        "iterations_done": made.done,
        "vectors": vectors,
    }


def _trust(vectors: NDArray[Any], points: Floats, seed: int) -> tuple[float, int, int]:
    """Return the trustworthiness of a map, the number of neighbors it is taken by, and that of images."""
    images = min(len(vectors), _TRUST_IMAGES)
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), images, replace=False))
    neighbors = min(_TRUST_NEIGHBORS, (images - 1) // 2)
    sample = np.asarray(vectors[rows], dtype=np.float64)
    return float(trustworthiness(sample, points[rows], n_neighbors=neighbors)), neighbors, images
