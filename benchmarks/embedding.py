"""t-SNE of 5,000 vectors of 50 values, against scikit-learn's."""

from __future__ import annotations

import numpy as np
from sklearn.manifold import TSNE, trustworthiness

import cnnviz_widgets as cv
from benchmarks._timing import Row, pairs, timed

COUNT, WIDTH, CLASSES = 5000, 50, 10
ITERATIONS = 1000  # scikit-learn's default; both exaggerate the first 250
_SAMPLE = slice(0, 2000)


def tsne() -> Row:
    """Both with perplexity 30, as many iterations, a start from the PCA, and the angle 0.5."""
    draw = np.random.default_rng(0)
    centers = draw.normal(size=(CLASSES, WIDTH)) * 2
    vectors = (centers[np.arange(COUNT) % CLASSES] + draw.normal(size=(COUNT, WIDTH))).astype(np.float32)
    maps: dict[str, np.ndarray] = {}

    def ours() -> None:
        maps["ours"] = cv.embed(vectors, method="tsne", perplexity=30, iterations=ITERATIONS).points

    def theirs() -> None:
        made = TSNE(perplexity=30, max_iter=ITERATIONS, init="pca", random_state=0, n_jobs=-1)
        maps["theirs"] = made.fit_transform(vectors)

    # One map takes most of a minute, so there are few rounds, and the first of them is not wasted.
    times = pairs(timed(ours), timed(theirs), rounds=1)
    sample = vectors[_SAMPLE].astype(np.float64)
    trust = {name: trustworthiness(sample, points[_SAMPLE]) for name, points in maps.items()}
    return Row(
        "t-SNE of 5,000 x 50, 1,000 iterations, trustworthiness included",
        "scikit-learn's TSNE",
        *times,
        target=1,
        note=f"trustworthiness {trust['ours']:.3f} against {trust['theirs']:.3f}",
    )


ROWS = {"tsne": tsne}
