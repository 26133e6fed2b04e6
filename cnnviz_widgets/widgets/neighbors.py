"""Walk from image to image through those that a layer takes for alike, beside those alike in pixels."""

from __future__ import annotations

import functools
import html
import threading
from collections.abc import Generator
from typing import Any

import ipywidgets
import numpy as np
import traitlets

from cnnviz_widgets.engine.errors import InputTypeError
from cnnviz_widgets.engine.feature_table import FeatureTable, space_of, vectors_of
from cnnviz_widgets.engine.nearest import check_metric, checked_k
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.whole_numbers import whole_number
from cnnviz_widgets.methods.neighbor_agreement import NeighborAgreement, neighbor_agreement
from cnnviz_widgets.methods.neighbors import Neighbors, nearest_neighbors
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import mosaic
from cnnviz_widgets.render.resize import enlarge
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._job import once
from cnnviz_widgets.widgets._neighbor_parts import NeighborParts, agreement_html, describe, query_text

AGREEMENT_IMAGES = 10_000
"""Up to so many images the agreement of the whole table is told; its time grows with their square."""
_COUNT_SECONDS = 2.0


class NeighborExplorer(Viewer):
    """See an image and those nearest to it, for a layer and in pixels, each marked by whether it is of its class.

    On top stands how often neighbors are of one class over the whole table: by features, by pixels and by
    chance. Click a neighbor, or choose it with the arrow keys and Enter, and it becomes the query; go back and
    forward among the queries as among pages. Similar should mean same class, not same color.

    Parameters
    ----------
    table
        What `extract_features` returned, with thumbnails; without labels nothing is said about classes.
    query
        The row of the table to begin with.
    k, metric
        How many neighbors, and by which distance: those of `nearest_neighbors`.

    Attributes
    ----------
    query, k, metric
        What is chosen. Observe them, or set them; a wrong value raises at once. A query is a row of the table,
        as are ``result.indices``; on the page an image is called by its place in the data set, ``table.ids``,
        and its file, ``table.names``. They differ where images were skipped.
    result
        The `Neighbors` by features, equal to ``cv.nearest_neighbors(table, **widget.params)``; ``None`` until
        they are found.
    pixels
        Those by pixels: the same with ``space="pixels"``.
    agreement
        ``cv.neighbor_agreement(table, k=k, metric=metric)``; ``None`` until it is known (`wait` waits for it),
        where images have no label, and in tables of more than 10,000 images, where it would take minutes.

    Raises
    ------
    LookupError
        A row that the table does not have.
    InputError
        (a ValueError) ``k`` over the number of images there are to find, NaN, a table without thumbnails.
    InputTypeError
        (a TypeError) Something that is not a table, or a query that is no row.
    ValueError
        A ``k`` or ``metric`` that can't be.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:200], labels[:200]), "fc1")
    >>> explorer = cv.NeighborExplorer(table, 3, k=4)
    >>> explorer.query = explorer.result.indices[0, 0]  # to its nearest neighbor
    >>> explorer.back()
    >>> explorer.query
    3
    """

    query = traitlets.Any(0, help="The row of the query.")
    k = traitlets.Any(5, help="How many neighbors.")
    metric = traitlets.Any("cosine", help="The distance: cosine or euclidean.")

    def __init__(self, table: FeatureTable, query: int = 0, *, k: int = 5, metric: str = "cosine") -> None:
        for space in ("features", "pixels"):
            space_of(table, space)
        vectors_of(table)
        self.table = table
        self.result: Neighbors | None = None
        self.pixels: Neighbors | None = None
        self._agreements: dict[tuple[int, str], NeighborAgreement] = {}
        self._agreement_lock = threading.Lock()
        self._count: tuple[tuple[int, str], Generator[Step, None, NeighborAgreement]] | None = None
        self.parts = NeighborParts(len(table))
        super().__init__(query=query, k=k, metric=metric)
        self._visited, self._place = [self.query], 0
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-neighbors")
        self._link()
        with self.lock:
            self.refresh()
            search = self._job
        # A notebook that is converted as soon as it ran must hold the pictures, and a count that is soon made.
        if search is not None and search.wait(timeout=30):
            self.wait(_COUNT_SECONDS)

    @property
    def params(self) -> dict[str, Any]:
        """The options of `nearest_neighbors` that give `result`."""
        return {"query": self.query, "k": self.k, "metric": self.metric}

    @property
    def agreement(self) -> NeighborAgreement | None:
        """The agreement of the whole table, as far as it is known."""
        return self._agreements.get((self.k, self.metric))

    def refresh(self) -> None:
        """Find the neighbors again."""
        table, params = self.table, self.params
        with self.lock:
            # Those on the page stay until others are found: a page that empties for a moment jumps.
            self.result = self.pixels = None
            self._show_agreement()
            self.start_job(
                once(lambda: [nearest_neighbors(table, **params, space=each) for each in self.parts.grids]),
                on_result=self._show,
                on_failure=self.parts.clear,
            )

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("query")
    def _check_query(self, proposal: Any) -> int:
        row, count = whole_number(proposal["value"]), len(self.table)
        if row is None:
            raise InputTypeError(
                f"the query is a row of the table, 0 to {count - 1}, got {proposal['value']!r}; for images "
                "from outside call cv.nearest_neighbors(table, image, net=net)"
            )
        if not 0 <= row < count:
            raise LookupError(f"row {row} is not in the table; its rows are 0 to {count - 1}")
        return row

    @traitlets.validate("k")
    def _check_k(self, proposal: Any) -> int:
        return checked_k(proposal["value"], len(self.table) - 1, len(self.table))

    @traitlets.validate("metric")
    def _check_metric(self, proposal: Any) -> str:
        check_metric(proposal["value"])
        return str(proposal["value"])

    def back(self) -> None:
        """Return to the query before this one."""
        self._go(-1, "before")

    def forward(self) -> None:
        """Return to the query that was left by `back`."""
        self._go(1, "after")

    def _go(self, by: int, where: str) -> None:
        with self.lock:
            place = self._place + by
            if not 0 <= place < len(self._visited):
                raise LookupError(f"there is no query {where} this one; {len(self._visited)} were visited")
            self._place = place
            self.query = self._visited[place]

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        for name in ("query", "k", "metric"):
            ipywidgets.link((self, name), (getattr(parts, name), "value"))
        for space, grid in parts.grids.items():
            grid.on_pick(functools.partial(self._on_pick, space))
        parts.back.on_click(lambda button: self._on_step(-1))
        parts.forward.on_click(lambda button: self._on_step(1))
        self.observe(self._on_query, "query")
        self.observe(lambda change: self.refresh(), ["k", "metric"])
        self.observe(lambda change: self._show_busy(), "busy")

    @shown
    def _on_pick(self, space: str, tile: int) -> None:
        with self.lock:
            found = self.result if space == "features" else self.pixels
            if found is not None:
                self.query = int(found.indices[0, tile])

    @shown
    def _on_step(self, by: int) -> None:
        with self.lock:
            # The page disables a button only once it has heard of it: clicks may come in between.
            if 0 <= self._place + by < len(self._visited):
                self._go(by, "")

    def _on_query(self, change: Any) -> None:
        with self.lock:
            if self._visited[self._place] != self.query:
                # As in a browser, a new way forward replaces the one that was left.
                self._visited = [*self._visited[: self._place + 1], self.query]
                self._place += 1
            self.parts.back.disabled = self._place == 0
            self.parts.forward.disabled = self._place == len(self._visited) - 1
            self.refresh()

    # -- showing ----------------------------------------------------------------------------------------

    def _show_busy(self) -> None:
        text = "" if not self.busy else "searching \u2026" if self.result is None else "counting \u2026"
        self.parts.running.value = f'<span role="status">{html.escape(text)}</span>'

    def _show(self, found: list[Neighbors]) -> None:
        """Show what was found, then look at the whole table."""
        self.result, self.pixels = found
        self.parts.show_query(self.table, self.query)
        for each in found:
            self.parts.show_neighbors(each, self.table)
        # A count that was left behind may have come to its end since the search began.
        self._show_agreement()
        if self.agreement is None and self._why_no_agreement() is None:
            key = (self.k, self.metric)
            self.start_job(self._agree(key), on_result=lambda _: self._show_agreement())

    def _agree(self, key: tuple[int, str]) -> Generator[Step, None, None]:
        """Compute the agreement; a count that a click has ended goes on where it was."""
        while True:
            # The job before this one may still be at its last step.
            with self._agreement_lock:
                if key in self._agreements:
                    return
                if self._count is None or self._count[0] != key:
                    steps = neighbor_agreement.steps(self.table, k=key[0], metric=key[1])
                    self._count = key, steps
                try:
                    step = next(self._count[1])
                except BaseException as end:
                    self._count = None
                    if not isinstance(end, StopIteration):
                        raise
                    self._agreements[key] = end.value
                    return
            yield step

    def _why_no_agreement(self) -> str | None:
        """Return why nothing is told of the whole table."""
        unknown = int((self.table.labels < 0).sum())
        if unknown:
            return (
                f"{unknown:,} of {len(self.table):,} images have no label, so nobody can tell whether "
                "neighbors agree."
            )
        if len(self.table) > AGREEMENT_IMAGES:
            call = f"cv.neighbor_agreement(table, k={self.k}, metric={self.metric!r})"
            return f"How often neighbors of all {len(self.table):,} images agree takes a while: {call} tells."
        return None

    def _show_agreement(self) -> None:
        with self.lock:
            found, why = self.agreement, self._why_no_agreement()
            if found is not None:
                self.parts.agreement.value = agreement_html(found)
            elif why is not None:
                self.parts.agreement.value = f"<p>{html.escape(why)}</p>"
            else:
                self.parts.agreement.value = "<p>Counting how often neighbors are of one class \u2026</p>"

    def to_png(self) -> bytes | None:
        """Return the query with its neighbors: by features in the first row, by pixels in the second."""
        with self.lock:
            if self.result is None or self.pixels is None:
                return None
            tiles = np.concatenate([self.result.pictures[0], self.pixels.pictures[0]])
        tiles = enlarge(tiles, max(1, 64 // max(tiles.shape[1:3])))
        return png(mosaic(tiles, columns=len(tiles) // 2, gap=2), max_bytes=600_000)

    def to_text(self) -> str:
        """Return what is shown, in words."""
        lines = [f"NeighborExplorer: {query_text(self.table, self.query)}"]
        if self.result is None or self.pixels is None:
            return f"{lines[0]}; its neighbors are not found yet"
        lines += [describe(found, self.table) for found in (self.result, self.pixels)]
        whole = self._why_no_agreement() if self.agreement is None else self.agreement.message
        return "\n".join([*lines, *([whole] if whole else [])])
