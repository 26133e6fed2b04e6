"""Agreement of neighbors: whether images that a layer takes for alike are of one class."""

from __future__ import annotations

import html
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.feature_table import FeatureTable, label_text, space_of
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.engine.nearest import check_metric, checked_k, is_zero, searching
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed


@dataclass(frozen=True, eq=False)
class NeighborAgreement(Result):
    """How often neighbors are of one class, by features and by pixels; shows itself as a table by class.

    Attributes
    ----------
    features, pixels
        Mean share of the k neighbors that have the label of the image itself, over all N images, from 0 to 1:
        by feature vectors, and by the pixels of the thumbnails.
    chance
        The same share for neighbors drawn at random: the sum of n (n - 1) over the classes of n images each,
        divided by N (N - 1).
    classes
        The labels [C], int64, rising.
    class_names
        Their names, as text.
    counts
        How many images are of each class [C].
    class_features, class_pixels, class_chance
        The three shares for the images of each class alone [C].
    images
        N.
    k, metric
        What was asked for.
    zero_vectors, zero_pictures
        How many vectors and thumbnails are all zeros, which ``metric="cosine"`` puts at distance 1 from
        everything.
    """

    features: float
    pixels: float
    chance: float
    classes: NDArray[np.int64]
    class_names: tuple[str, ...]
    counts: NDArray[np.int64]
    class_features: NDArray[np.float64]
    class_pixels: NDArray[np.float64]
    class_chance: NDArray[np.float64]
    images: int
    k: int
    metric: str
    zero_vectors: int
    zero_pictures: int

    @property
    def message(self) -> str:
        """What was found, in words."""
        said = (
            f"Of the {self.k} nearest neighbors, {self.features:.1%} have the label of the image itself by features, "
            f"{self.pixels:.1%} by pixels; by chance it would be {self.chance:.1%} "
            f"(N = {self.images:,} images, {len(self.classes)} classes, {self.metric})."
        )
        if self.metric == "cosine" and self.zero_vectors + self.zero_pictures:
            said += (
                f" {self.zero_vectors} vectors and {self.zero_pictures} pictures are all zeros: they have no "
                "direction, and count as equally far from everything."
            )
        return said

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return (
            f"NeighborAgreement(features {self.features:.1%}, pixels {self.pixels:.1%}, chance {self.chance:.1%}, "
            f"{self.images:,} images, k={self.k}, {self.metric})"
        )

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows for the bare result."""
        rows = ["<tr><th>label</th><th>images</th><th>features</th><th>pixels</th><th>chance</th></tr>"]
        shares = (self.class_features, self.class_pixels, self.class_chance)
        for index, name in enumerate(self.class_names):
            cells = [name, f"{self.counts[index]:,}", *(f"{each[index]:.1%}" for each in shares)]
            rows.append(f"<tr>{''.join(f'<td>{html.escape(each)}</td>' for each in cells)}</tr>")
        return f"<p>{html.escape(self.message)}</p><table>{''.join(rows)}</table>"


@streamed
def neighbor_agreement(
    table: FeatureTable, *, k: int = 5, metric: str = "cosine"
) -> Generator[Step, None, NeighborAgreement]:
    """See whether images that a layer takes for alike are of one class, more often than those alike in pixels.

    For each image, the share of its k nearest neighbors that have its own label: once by features, once by the
    pixels of the thumbnails, and what it would be by chance. Similar should mean same class, not same color.

    The time grows with the square of the number of images. Its steps tell of how many the neighbors are known: first
    by features, then by pixels.

    Parameters
    ----------
    table
        What `extract_features` returned, with labels and thumbnails.
    k, metric
        As in `nearest_neighbors`; the metric is used in both spaces.

    Returns
    -------
    NeighborAgreement

    Raises
    ------
    InputError
        Images without a label, no thumbnails, NaN, ``k`` over N - 1.
    ValueError
        A value that an option can't have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:300], labels[:300]), "fc1")
    >>> found = cv.neighbor_agreement(table)
    >>> found.chance < found.pixels < found.features
    True
    """
    vectors, pictures = space_of(table, "features"), space_of(table, "pixels")
    check_metric(metric)
    count = checked_k(k, len(table) - 1, len(table))
    unknown = int((table.labels == UNKNOWN).sum())
    if unknown:
        raise InputError(
            f"{unknown} of {len(table)} images have no label, so nobody can tell whether neighbors agree; "
            "extract the features from pairs (image, label)"
        )
    by_features = yield from _shares(vectors, table.labels, count, metric, 0)
    by_pixels = yield from _shares(pictures, table.labels, count, metric, len(table))
    classes, inverse, counts = np.unique(table.labels, return_inverse=True, return_counts=True)
    class_chance = (counts - 1) / (len(table) - 1)
    return NeighborAgreement(
        features=float(by_features.mean()),
        pixels=float(by_pixels.mean()),
        chance=float((counts * class_chance).sum() / len(table)),
        classes=classes,
        class_names=tuple(str(label_text(code, table.label_names)) for code in classes.tolist()),
        counts=counts,
        class_features=np.bincount(inverse, by_features) / counts,
        class_pixels=np.bincount(inverse, by_pixels) / counts,
        class_chance=class_chance,
        images=len(table),
        k=count,
        metric=metric,
        zero_vectors=int(is_zero(vectors).sum()),
        zero_pictures=int(is_zero(pictures).sum()),
    )


def _shares(
    vectors: NDArray[Any], labels: NDArray[np.int64], k: int, metric: str, before: int
) -> Generator[Step, None, NDArray[np.float64]]:
    """Return the share of the neighbors of each image that have its label [N]; half of the whole, after ``before``."""
    own = np.arange(len(vectors))
    search = searching(vectors, vectors, k, metric=metric, excluded=own)
    while True:
        try:
            done = next(search)
        except StopIteration as end:
            indices, _ = end.value
            break
        yield Step(before + done - 1, 2 * len(vectors))
    same = labels[indices] == labels[:, None]
    return np.asarray(np.count_nonzero(same, axis=1) / k)
