"""See a data set as two maps, by PCA and by t-SNE while it runs, with the images on hover and by lasso."""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.feature_table import FeatureTable, vectors_of
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.tsne_steps import checked_perplexity
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.methods.embedding import Embedding, embed
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.views._map_data import check_selection
from cnnviz_widgets.views.embedding_map import EmbeddingMap
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._embedding_classes import Chosen, chosen_text, subjects_of, with_new
from cnnviz_widgets.widgets._embedding_parts import MOST, EmbeddingParts, check_count, side_by_side

_USUAL_PERPLEXITY = 30.0
_ACTIVE = ("running", "paused", "stopping")


class EmbeddingExplorer(Viewer):
    """See each image as a point on two maps, by PCA and by t-SNE: images that a layer takes for alike lie together.

    Pointing at an image shows its thumbnail, label and prediction; colors tell classes, predictions, right or
    wrong, or a value. A lasso on either map selects on both, and below appear the selected images and how many
    there are of each class. t-SNE begins at the PCA and is drawn while it runs: pause it, go on, stop it with the
    map so far, or run it again with another perplexity or seed. Neither page nor kernel waits for it.

    Parameters
    ----------
    table
        What `extract_features` returned, of up to 50,000 images. Without labels, predictions or thumbnails, or as
        a bare array of vectors [N, D], the maps show what there is.
    perplexity
        That of t-SNE. The default is 30, and in tables of less than 91 images the largest possible, (N - 1) / 3.
    iterations, seed
        Those of t-SNE; see `embed`.
    values
        Anything to color by: one number for each image. The default is the network's confidence, if the table
        has it.
    value_name
        What the values are.
    color_by
        ``"label"``, ``"prediction"``, ``"correct"``, ``"value"`` or ``"none"``; by default the first of these for
        which there is something.

    Attributes
    ----------
    selected
        The rows of the selected images in the table. Observe it, or set it, also with a mask such as
        ``table.labels == 3``. On the page an image is called by its place in the data set, ``table.ids``, and its
        file, ``table.names``: the places differ from the rows where images were skipped.
    current
        The row under the pointer, or reached by keys; -1 for none.
    color_by
        What the colors of both maps tell.
    perplexity, iterations, seed
        What the next run takes: `run` begins it.
    pca
        The `Embedding` of the left map, ``cv.embed(table)``.
    result
        The `Embedding` of the right map, equal to ``cv.embed(table, **explorer.params)``; ``None`` until it is
        done. Of a t-SNE that was stopped it is the map so far, with ``iterations_done`` less than ``iterations``.
        Its ``.transform`` places other images, and `place` shows them.
    state
        ``"running"``, ``"paused"``, ``"stopping"``, ``"stopped"``, ``"done"``, ``"failed"``; ``"ended"`` where it
        was stopped before there was a map, or the cell was run again.

    Raises
    ------
    InputError
        (a ValueError) Fewer than four images or more than 50,000, NaN, vectors that are all equal, a perplexity
        too large for the table.
    InputTypeError
        (a TypeError) Neither a table nor an array.
    ValueError, TypeError, IndexError
        An option that can't be, values of another length, a row that the table does not have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> table = cv.extract_features(cv.samples.fashion_cnn(), (images[:100], labels[:100]), "fc1")
    >>> explorer = cv.EmbeddingExplorer(table, iterations=50)
    >>> explorer.wait()  # for the t-SNE
    True
    >>> explorer.result.iterations_done, explorer.params["perplexity"]
    (50, 30.0)
    """

    selected = traitlets.Any(help="The rows of the selected images.")
    current = traitlets.Any(-1, help="The row under the pointer, -1 for none.")
    perplexity = traitlets.Any(help="Roughly how many neighbors t-SNE looks at.")
    iterations = traitlets.Any(750, help="How many iterations t-SNE does.")
    seed = traitlets.Any(0, help="Of t-SNE.")

    _state = "ready"

    def __init__(
        self,
        table: FeatureTable | NDArray[Any],
        *,
        perplexity: float | None = None,
        iterations: int = 750,
        seed: int = 0,
        values: ArrayLike | None = None,
        value_name: str = "value",
        color_by: str | None = None,
    ) -> None:
        self._count = _checked_count(table)
        usual = min(_USUAL_PERPLEXITY, (self._count - 1) / 3)
        options = {
            "perplexity": checked_perplexity(usual if perplexity is None else perplexity, self._count),
            "iterations": _checked_option("iterations", iterations),
            "seed": _checked_option("seed", seed),
        }
        self.table = table
        self.pca = _pca_of(table)
        self.result: Embedding | None = None
        self._step: Step | None = None
        self._enough = threading.Event()
        self.parts = EmbeddingParts(table, self.pca, values, value_name, color_by)
        super().__init__(selected=[], **options)
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-embedding")
        self._link()
        self.run()

    @property
    def params(self) -> dict[str, Any]:
        """The options of `embed` that give `result`: those of the last run."""
        return dict(self._params)

    @property
    def color_by(self) -> str:
        """What the colors of both maps tell."""
        return str(self.parts.map.color_by)

    @color_by.setter
    def color_by(self, mode: str) -> None:
        self.parts.map.color_by = mode

    @property
    def state(self) -> str:
        """What t-SNE is doing."""
        return self._state

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("selected")
    def _check_selected(self, proposal: Any) -> list[int]:
        return check_selection(proposal["value"], self._count)

    @traitlets.validate("current")
    def _check_current(self, proposal: Any) -> int:
        row = proposal["value"]
        return -1 if row == -1 else check_selection([row], self._count)[0]

    @traitlets.validate("perplexity")
    def _check_perplexity(self, proposal: Any) -> float:
        return checked_perplexity(proposal["value"], self._count)

    @traitlets.validate("iterations", "seed")
    def _check_option(self, proposal: Any) -> int:
        return _checked_option(proposal["trait"].name, proposal["value"])

    # -- the t-SNE --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Begin t-SNE with the perplexity, iterations and seed that are chosen; a running one ends."""
        with self.lock:
            params = {"method": "tsne", **self._chosen()}
            enough = threading.Event()
            self.start_job(
                self._steps(params, enough),
                on_step=self._on_step,
                on_result=self._on_result,
                on_failure=lambda: self._go("failed"),
            )
            self._params, self._enough = params, enough
            self.result = self._step = None
            self._go("running")

    def pause(self) -> None:
        """Have t-SNE hold before its next step."""
        with self.lock:
            if self._state == "running" and self._job is not None:
                self._job.pause()
                self._go("paused")

    def resume(self) -> None:
        """Go on after `pause`."""
        with self.lock:
            if self._state == "paused" and self._job is not None:
                self._job.resume()
                self._go("running")

    def stop(self) -> None:
        """End t-SNE after the step that it is at; `result` will be the map so far, if there is one yet."""
        with self.lock:
            if self._state in ("running", "paused") and self._job is not None:
                self._enough.set()
                self._job.resume()
                self._go("stopping")

    def stop_job(self) -> None:
        """End t-SNE at once, without a result."""
        with self.lock:
            super().stop_job()
            if self._state in _ACTIVE:
                self._go("ended")

    def _steps(
        self, params: dict[str, Any], enough: threading.Event
    ) -> Generator[Step, None, Embedding | None]:
        steps = embed.steps(self.table, **params)
        try:
            while True:
                step = next(steps)
                yield step
                if enough.is_set():
                    return embed.finish(steps) if "points" in step.values else None
        except StopIteration as end:
            found: Embedding = end.value
            return found
        finally:
            steps.close()

    def _on_step(self, step: Step) -> None:
        self._step = step
        if "points" in step.values:
            self.parts.linked.set_points(np.asarray(step.values["points"]), live=True)
        self._go(self._state)

    def _on_result(self, found: Embedding | None) -> None:
        if found is None:
            self._go("ended")
            return
        self.result = found
        self.parts.linked.set_points(found.points)
        self._go("stopped" if found.stopped_text else "done")

    def _go(self, state: str) -> None:
        """Show the state of t-SNE."""
        self._state = state
        self.parts.show_run(state, self._params, self._step, self.result)
        self._show_whether_new()

    def place(self, new: FeatureTable | NDArray[Any], on: str = "tsne") -> EmbeddingMap:
        """Return a map with other images among these; they are selected, so that they stand out.

        Parameters
        ----------
        new
            A `FeatureTable` of the same layer, or vectors [M, D]. Their rows come after those of the table. The map
            has thumbnails where both tables have them, of one size.
        on
            ``"tsne"``, the right map, or ``"pca"``, the left one. Where they come is told by its ``.transform``.

        Raises
        ------
        InputError
            No t-SNE yet, another layer or number of values, NaN.
        ValueError
            More than 50,000 images together, another ``on``.
        """
        if on not in ("tsne", "pca"):
            raise ValueError(f"on is 'tsne' or 'pca', got {on!r}")
        chart = self.result if on == "tsne" else self.pca
        if chart is None:
            raise InputError("there is no t-SNE map yet: wait for it, explorer.wait(), or give on='pca'")
        points = np.concatenate([chart.points, chart.transform(new)])
        counts = (self._count, len(points) - self._count)
        options = with_new(self.parts.subjects, subjects_of(new, None, ""), counts)
        return EmbeddingMap(points, selected=range(self._count, len(points)), **options)

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        for name in ("perplexity", "iterations", "seed"):
            ipywidgets.link((self, name), (getattr(parts, name), "value"))
            self.observe(lambda change: self._show_whether_new(), name)
        for name in ("selected", "current"):
            ipywidgets.link((self, name), (parts.map, name))
        for name in ("run", "stop"):
            getattr(parts, name).on_click(functools.partial(self._on_button, name))
        parts.pause.on_click(lambda button: self._on_button("resume" if self._state == "paused" else "pause"))
        self.observe(self._on_selected, "selected")
        parts.grid.observe(self._on_tile, "selected")

    @shown
    def _on_button(self, name: str, button: Any = None) -> None:
        getattr(self, name)()

    @shown
    def _on_selected(self, change: Any) -> None:
        with self.lock:
            self.parts.show_chosen(self.selected)

    @shown
    def _on_tile(self, change: Any) -> None:
        """Mark the image of a tile on the maps."""
        with self.lock:
            rows = self.parts.shown_rows
            if 0 <= change["new"] < len(rows):
                self.current = rows[change["new"]]

    def _chosen(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("perplexity", "iterations", "seed")}

    def _show_whether_new(self) -> None:
        with self.lock:
            self.parts.show_whether_new(not self._chosen().items() <= self._params.items())

    # -- other viewers ----------------------------------------------------------------------------------

    def to_png(self) -> bytes:
        """Return both maps with their legends: PCA on the left, t-SNE as far as it is on the right."""
        maps = {"PCA": self.parts.map.to_png(), self._tsne_title(): self.parts.linked.to_png()}
        return png(side_by_side(maps), max_bytes=1_000_000)

    def _tsne_title(self) -> str:
        if self.result is not None and not self.result.stopped_text:
            return f"t-SNE, perplexity {self._params['perplexity']:g}"
        done = self._step.index + 1 if self._step is not None and "points" in self._step.values else 0
        return f"t-SNE {self._state}: {done} of {self._params['iterations']} iterations"

    def to_text(self) -> str:
        """Return what is shown, in words."""
        layer = f" of layer {self.pca.layer}" if self.pca.layer is not None else ""
        lines = [f"EmbeddingExplorer: {self._count:,} images{layer}", self.pca.message]
        lines.append(self._tsne_title() if self.result is None else self.result.message)
        lines.append(self.parts.map.to_text())
        if self.selected:
            lines.append(chosen_text(Chosen(self.parts.subjects, self.selected)))
        return "\n".join(lines)


def _pca_of(table: Any) -> Embedding:
    """Return ``embed(table)`` without its progress bar, which would stay above the widget."""
    steps = embed.steps(table)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: Embedding = end.value
        return found


def _checked_count(table: Any) -> int:
    count = len(vectors_of(table))
    problem = check_count(count)
    if problem is not None:
        raise InputError(problem)
    if count < 4:
        raise InputError(f"t-SNE needs four images or more, got {count}")
    return count


def _checked_option(name: str, value: Any) -> int:
    number = checked_whole(name, value, least=0 if name == "seed" else 1)
    if number > MOST:
        raise ValueError(f"{name} is at most {MOST}, got {number}")
    return number
