"""What the embedding explorer is made of: its maps and controls, their places, and what is written there."""

from __future__ import annotations

import html
import io
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.methods.embedding import Embedding
from cnnviz_widgets.views._map_data import MAX_POINTS
from cnnviz_widgets.views._payload import SAVED_BYTES
from cnnviz_widgets.views.embedding_map import EmbeddingMap
from cnnviz_widgets.views.linked_map import LinkedMap
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._embedding_classes import BADGE_COLORS, Chosen, chosen_html, subjects_of

# Of what the widget may take in a saved notebook, without the first map: the points of the second one (8 bytes each, in
# base64), the tiles with their module, and the controls.
_TITLE_HEIGHT = 28
_OTHER_BYTES, _POINT_BYTES = 420_000, 11
_STYLE = """<style>
.cnnviz-embedding .widget-html-content { line-height: 1.45; white-space: normal; overflow-wrap: anywhere; }
.cnnviz-embedding p { margin: 0; line-height: 1.45; }
.cnnviz-embedding progress { width: 100px; max-width: 100%; vertical-align: middle; margin-right: 6px; }
.cnnviz-embedding .cvz-tiles-header, .cnnviz-embedding .cvz-tiles-footer { display: none; }
.cnnviz-columns { display: grid !important; gap: 10px 16px; width: 100%;
  grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); }
.cnnviz-columns > * { min-width: 0; }
.cnnviz-heading { min-height: 64px; }
.cnnviz-hints p { margin: 6px 0; }
.cnnviz-counts { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.5; }
.cnnviz-counts th { font-weight: 400; text-align: left; padding: 0 12px 0 0; }
.cnnviz-counts td { text-align: right; padding: 0 10px 0 0; }
.cnnviz-embedding .jupyter-widgets-disconnected::before { display: none; }
</style>"""
_HINT = (
    "<p><b>Trustworthiness</b> is 1 where all that are neighbors on the map are neighbors in the layer, too, and "
    "about 0.5 by chance. Point at an image to see it; select with a lasso (or Shift and drag), or search for a "
    "label. Both maps select, search and color the same images.</p>"
)
_STATES = {
    "running": "running",
    "paused": "paused: <b>Resume</b> goes on",
    "stopping": "stopping \u2026",
    "ended": "ended before there was a map",
    "failed": "failed",
}


class EmbeddingParts:
    """The views and controls of an embedding explorer; it links them, this knows where they stand."""

    def __init__(
        self, table: Any, pca: Embedding, values: Any, value_name: str, color_by: str | None
    ) -> None:
        count = len(pca.points)
        self.subjects = subjects_of(table, values, value_name)
        budget = SAVED_BYTES - _OTHER_BYTES - _POINT_BYTES * count
        self.map = EmbeddingMap(
            pca.points, color_by=color_by, max_bytes=budget, height=400, **self.subjects.options
        )
        self.linked = LinkedMap(self.map, pca.points, height=400)
        self.grid = TileGrid(
            np.zeros((0, 1, 1, 3), np.uint8), noun="image", badge_colors=BADGE_COLORS, tile_size=84
        )
        self.grid.layout.display = "none"
        self.shown_rows: list[int] = []
        self.headings = {name: ipywidgets.HTML() for name in ("pca", "tsne")}
        for heading in self.headings.values():
            heading.add_class("cnnviz-heading")
        self.chosen = ipywidgets.HTML(layout={"flex": "0 1 260px", "max_width": "100%"})
        shown = ipywidgets.VBox([self.grid], layout={"flex": "1 1 340px", "min_width": "0", "width": "auto"})
        self.below = ipywidgets.HBox(
            [self.chosen, shown], layout={"flex_flow": "row wrap", "grid_gap": "4px 24px", "width": "100%"}
        )
        most = max(1.0, (count - 1) / 3)
        self.perplexity = _number(
            ipywidgets.BoundedFloatText, "Perplexity", 1, most, "150px", f"From 1 to {most:.4g}", step=5
        )
        self.iterations = _number(
            ipywidgets.BoundedIntText, "Iterations", 1, MOST, "150px", "How long t-SNE runs", step=50
        )
        self.seed = _number(ipywidgets.BoundedIntText, "Seed", 0, MOST, "120px", "Another beginning")
        self.run = _button("repeat", "Run again", "Run t-SNE with these options")
        self.pause = _button("pause", "Pause", "Hold t-SNE where it is")
        self.stop = _button("stop", "Stop", "End t-SNE here, and keep the map so far")
        self.headings["pca"].value = _pca_html(pca)

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: controls on top, the maps side by side, the chosen images below."""
        controls = ipywidgets.HBox(
            [self.perplexity, self.iterations, self.seed, self.run, self.pause, self.stop],
            layout={"flex_flow": "row wrap", "grid_gap": "2px 8px", "width": "100%", "align_items": "center"},
        )
        maps = ipywidgets.Box(
            [
                ipywidgets.VBox([self.headings["pca"], self.map]),
                ipywidgets.VBox([self.headings["tsne"], self.linked]),
            ]
        )
        maps.add_class("cnnviz-columns")
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.subjects.notes)
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        hints = ipywidgets.HTML(notes + _HINT)
        hints.add_class("cnnviz-hints")
        return [style, controls, status, maps, self.below, hints]

    def show_run(
        self, state: str, params: dict[str, Any], step: Step | None, result: Embedding | None
    ) -> None:
        """Show what t-SNE is doing, and offer what can be done about it."""
        self.headings["tsne"].value = _tsne_html(state, params, step, result)
        active = state in ("running", "paused")
        # A run that looks for neighbors ends some seconds later: a second one would only get in its way.
        early = step is None or "points" not in step.values
        self.run.disabled = state == "stopping" or (active and early)
        self.pause.disabled = not active
        self.stop.disabled = not active
        paused = state == "paused"
        self.pause.description, self.pause.icon = ("Resume", "play") if paused else ("Pause", "pause")

    def show_whether_new(self, new: bool) -> None:
        """Have the button stand out where a run would be another one."""
        self.run.button_style = "primary" if new else ""

    def show_chosen(self, rows: list[int]) -> None:
        """Show the selected images, and how many there are of each class."""
        chosen = Chosen(self.subjects, rows)
        self.chosen.value = chosen_html(chosen)
        tiles = np.zeros((0, 1, 1, 3), np.uint8) if chosen.tiles is None else chosen.tiles
        self.shown_rows = chosen.shown if len(tiles) else []
        if len(tiles):
            self.grid.set_maps(tiles, labels=chosen.captions, badges=chosen.badges, selected=-1)
        else:
            self.grid.set_maps(tiles, selected=-1)
        self.grid.layout.display = None if len(tiles) else "none"


MOST = 2**31 - 1
"""Largest number of iterations, and seed."""


def check_count(images: int) -> str | None:
    """Return why so many images can't be shown, or None."""
    if images <= MAX_POINTS:
        return None
    return (
        f"the explorer shows at most {MAX_POINTS:,} images, got {images:,}; extract features of a part of the "
        "data set, or call cv.embed, which takes more"
    )


def _button(icon: str, label: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(icon=icon, description=label, tooltip=tooltip, layout={"width": "auto"})


def _number(
    kind: Any, label: str, smallest: float, largest: float, width: str, tooltip: str, step: float = 1
) -> Any:
    return kind(
        smallest,
        min=smallest,
        max=largest,
        step=step,
        description=label,
        tooltip=tooltip,
        style={"description_width": "initial"},
        layout={"width": width},
    )


def _trust_text(found: Embedding, count: int) -> str:
    drawn = f", of {found.trustworthiness_images:,} images" if found.trustworthiness_images < count else ""
    return f"trustworthiness <b>{found.trustworthiness:.3f}</b> ({found.trustworthiness_neighbors} neighbors{drawn})"


def _pca_html(found: Embedding) -> str:
    first, second = np.asarray(found.explained_variance_ratio).tolist()
    return (
        f"<p><b>PCA</b><br>{_trust_text(found, len(found.points))}<br>"
        f"of the variance: {first:.1%} left to right, {second:.1%} upwards</p>"
    )


def _tsne_html(state: str, params: dict[str, Any], step: Step | None, result: Embedding | None) -> str:
    asked = f"<b>t-SNE</b>, perplexity {params['perplexity']:g}, seed {params['seed']}"
    if result is not None:
        stopped = result.stopped_text
        course = f"<b>{stopped}</b>" if stopped else f"{result.iterations:,} iterations"
        trust = _trust_text(result, len(result.points))
        return (
            f'<p role="status">{asked}<br>{trust}<br>{course}, KL divergence {result.kl_divergence:.3f}</p>'
        )
    said = f'<p role="status">{asked}: {_STATES[state]}</p>'
    if state in ("failed", "ended"):
        return said
    return f"{said}<p>{_progress_html(step, params['iterations'], moving=state == 'running')}</p>"


def _progress_html(step: Step | None, iterations: int, *, moving: bool) -> str:
    """Return how far it is; apart from the status line, whose readers would hear of each step."""
    if step is None:
        return "<progress></progress>looking for neighbors"
    searched = step.values.get("images_searched")
    if searched is not None:
        return f"<progress></progress>looking for neighbors, done for {searched:,.0f} images"
    done = step.index + 1
    left = f", {time_text(float(step.values['seconds_left']))} left" if moving else ""
    early = float(step.values["exaggeration"])
    pull = f", neighbors pull {early:g} times as hard" if early > 1 else ""
    return (
        f'<progress aria-label="t-SNE" max="{iterations}" value="{done}"></progress>'
        f"iteration {done:,} of {iterations:,}{left}<br>"
        f"KL divergence {step.values['kl_divergence']:.3f}{pull}"
    )


def time_text(seconds: float) -> str:
    """Return a time to wait in words.

    >>> time_text(0.4), time_text(42.3), time_text(200)
    ('1 s', '42 s', '3 min 20 s')
    """
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def side_by_side(titled: dict[str, bytes]) -> NDArray[np.uint8]:
    """Return PNG pictures of one height in one row, each below its title."""
    columns = []
    for title, encoded in titled.items():
        picture = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        header = Image.new("RGB", (picture.shape[1], _TITLE_HEIGHT), "white")
        ImageDraw.Draw(header).text((14, 6), title, fill="black", font_size=14)
        columns.append(np.concatenate([np.asarray(header), picture]))
    return np.concatenate(columns, axis=1)
