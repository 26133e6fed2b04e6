"""Nearest neighbors: which images a layer takes for alike."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.feature_collector import collect_features
from cnnviz_widgets.engine.feature_table import FeatureTable, label_text, space_of, vectors_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.engine.nearest import check_metric, checked_k, is_zero, nearest
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.whole_numbers import whole_number
from cnnviz_widgets.render.captioned import image_markup
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.resize import enlarge

_SHOWN_QUERIES = 12


@dataclass(frozen=True, eq=False)
class Neighbors(Result):
    """The images nearest to each query, nearest first; shows itself as rows of pictures.

    Attributes
    ----------
    indices
        Rows of the table [Q, k], int64. Among equal distances the lower row comes first.
    distances
        Their distances [Q, k], float64.
    queries
        The row of each query [Q], int64; -1 for vectors and images from outside of the table.
    labels
        The labels of the neighbors [Q, k], int64; -1 where they are unknown.
    query_labels
        The labels of the queries [Q], int64; -1 where they are unknown.
    label_names
        The names of the labels, if they have any.
    pictures
        Thumbnails of the first queries and of their neighbors, uint8 [up to 12, 1 + k, h, w, 3]; white where
        there is none.
    metric, space
        What was asked for.
    zero_vectors
        How many vectors of the table are all zeros. With ``metric="cosine"`` they have no direction, and are at
        distance 1 from everything.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    queries: NDArray[np.int64]
    labels: NDArray[np.int64]
    query_labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    pictures: NDArray[np.uint8]
    metric: str
    space: str
    zero_vectors: int

    def __repr__(self) -> str:
        count, k = self.indices.shape
        zeros = f", {self.zero_vectors} zero vectors at distance 1" if self._has_odd_zeros else ""
        alike = ""
        if k > 1 and not self.distances.any():
            alike = ", all at distance 0: nothing tells them apart, so these are only the first in the table"
        return f"Neighbors({k} nearest of {count} queries by {self.metric} in {self.space}{zeros}{alike})"

    @property
    def _has_odd_zeros(self) -> bool:
        return self.metric == "cosine" and self.zero_vectors > 0

    def _repr_html_(self) -> str:
        """Return what a notebook shows for the bare result: a row for each of the first queries."""
        rows = []
        for row in range(min(len(self.indices), _SHOWN_QUERIES)):
            own = int(self.queries[row])
            texts = [
                "query" if own < 0 else f"query: row {own}",
                *(f"row {each}" for each in self.indices[row].tolist()),
            ]
            codes = [int(self.query_labels[row]), *self.labels[row].tolist()]
            marks = ["", *(f"{each:.4g}" for each in self.distances[row].tolist())]
            cells = zip(self._images(row), texts, codes, marks, strict=True)
            rows.append(f"<tr>{''.join(self._cell(*cell) for cell in cells)}</tr>")
        return f"<p>{html.escape(repr(self))}</p><table>{''.join(rows)}</table>"

    def _images(self, row: int) -> list[str]:
        if not self.pictures.size:
            return [""] * (1 + self.indices.shape[1])
        pictures = enlarge(self.pictures[row], max(1, 64 // max(self.pictures.shape[2:4])))
        return [f"{image_markup(png(each), 'png')}<br>" for each in pictures]

    def _cell(self, image: str, text: str, code: int, mark: str) -> str:
        label = label_text(code, self.label_names)
        lines = [each for each in (label, text, mark) if each]
        return f"<td>{image}{'<br>'.join(map(html.escape, lines))}</td>"


def nearest_neighbors(
    table: FeatureTable,
    query: Any,
    *,
    k: int = 5,
    metric: str = "cosine",
    space: str = "features",
    net: Network | None = None,
) -> Neighbors:
    """See which images of a data set a layer takes for most like a query.

    The search is exact, over everything, in bounded memory. A query by its row is never its own neighbor
    (another image with an equal vector is).

    Parameters
    ----------
    table
        What `extract_features` returned.
    query
        A row of the table, or a list of rows; a vector [D], or some [Q, D]; another `FeatureTable` of the
        same layer; with ``net=`` an image, or a list of images, in any form that `InputSpec.prepare` takes.
    k
        How many neighbors.
    metric
        ``"cosine"``: 1 - cos of the angle between two vectors, from 0 to 2. A vector of zeros has no
        direction; its distance to everything is taken as 1, and ``zero_vectors`` counts them.
        ``"euclidean"``: the length of their difference, in the units of the network.
    space
        ``"features"``, or ``"pixels"``: compare the thumbnails, pixel by pixel (values 0 to 255, D = 3 h w).
    net
        The network to put images through that are not in the table.

    Returns
    -------
    Neighbors

    Raises
    ------
    InputError
        ``k`` over the number of images there are to find, vectors of another length, NaN, a table without
        thumbnails.
    InputTypeError
        A query that is none, or an image without ``net=``.
    LookupError
        A row that the table does not have.
    ValueError
        A value that an option can't have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:200], labels[:200]), "fc1")
    >>> found = cv.nearest_neighbors(table, [3, 7], k=4)
    >>> found.indices.shape
    (2, 4)
    """
    base = space_of(table, space)
    check_metric(metric)
    rows, queries, others = _queries(table, base, query, net, space)
    count = checked_k(k, len(base) - (rows is not None), len(base))
    indices, distances = nearest(base, queries, count, metric=metric, excluded=rows)
    known = rows if rows is not None else np.full(len(queries), -1, dtype=np.int64)
    own = table.thumbnails[known[:_SHOWN_QUERIES]] if rows is not None else _own_pictures(table, others)
    shown = min(len(queries), _SHOWN_QUERIES)
    pictures = np.full((shown, 1 + count, *table.thumbnails.shape[1:]), 255, np.uint8)
    pictures[: len(own), 0] = own
    pictures[:, 1:] = table.thumbnails[indices[:shown]]
    unlabeled = np.full(len(queries), UNKNOWN, dtype=np.int64)
    return Neighbors(
        indices=indices,
        distances=distances,
        queries=known,
        labels=table.labels[indices],
        query_labels=unlabeled if rows is None else table.labels[rows],
        label_names=table.label_names,
        pictures=pictures,
        metric=metric,
        space=space,
        zero_vectors=int(is_zero(base).sum()),
    )


def _queries(
    table: FeatureTable, base: NDArray[Any], query: Any, net: Network | None, space: str
) -> tuple[NDArray[np.int64] | None, NDArray[Any], FeatureTable | None]:
    """Return the rows of queries (if they are in the table), their vectors, and their own table (if any)."""
    if net is not None:
        query = _extracted(table, query, net)
    if isinstance(query, FeatureTable):
        _check_same_layer(table, query)
        return None, _checked_width(space_of(query, space), base), query
    rows = _rows(query, len(base))
    if rows is not None:
        return rows, base[rows], None
    if isinstance(query, list | tuple) and query and all(map(_is_number, query)):
        query = np.array(query, dtype=np.float64)
    if not isinstance(query, np.ndarray) or query.dtype.kind != "f":
        got = f"an array of {query.dtype}" if isinstance(query, np.ndarray) else type(query).__name__
        raise InputTypeError(
            f"a query is a row of the table, a vector of {base.shape[1]} floats, or a FeatureTable, got {got}; "
            "for images give the network as well: net=net"
        )
    return None, _checked_width(vectors_of(np.atleast_2d(query), "the query"), base), None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _rows(query: Any, count: int) -> NDArray[np.int64] | None:
    """Return the rows that a query names, or ``None`` if it names none."""
    single = whole_number(query)
    if isinstance(query, np.ndarray) and query.dtype.kind in "iu" and query.ndim == 1:
        query = query.tolist()
    if single is None and not isinstance(query, list | tuple | range):
        return None
    found = [single] if single is not None else [whole_number(each) for each in query]
    rows = [each for each in found if each is not None]
    if not rows or len(rows) < len(found):
        return None
    for row in rows:
        if not 0 <= row < count:
            raise LookupError(f"row {row} is not in the table; its rows are 0 to {count - 1}")
    return np.array(rows, dtype=np.int64)


def _checked_width(queries: NDArray[Any], base: NDArray[Any]) -> NDArray[Any]:
    if queries.shape[1] != base.shape[1]:
        raise InputError(
            f"a query is a vector of {base.shape[1]} values, as many as those in the table, got {queries.shape[1]} "
            "values; for a row of the table give its number, for an image give the network as well: net=net"
        )
    return queries


def _check_same_layer(table: FeatureTable, query: FeatureTable) -> None:
    if (table.layer, table.pooling) != (query.layer, query.pooling):
        raise InputError(
            f"the query is of layer {query.layer!r} ({query.pooling}), the table of {table.layer!r} "
            f"({table.pooling}); extract both from the same"
        )


def _extracted(table: FeatureTable, images: Images, net: Network) -> FeatureTable:
    """Return the features of images outside of the table, taken in the same way."""
    size = max(table.thumbnails.shape[1:3])
    steps = collect_features(net, images, table.layer, pooling=table.pooling, thumbnail_size=size)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: FeatureTable = end.value
            return found


def _own_pictures(table: FeatureTable, others: FeatureTable | None) -> NDArray[np.uint8]:
    """Return thumbnails of queries from outside, as far as they fit those in the table."""
    if others is None or others.thumbnails.shape[1:] != table.thumbnails.shape[1:]:
        return table.thumbnails[:0]
    return others.thumbnails[:_SHOWN_QUERIES]
