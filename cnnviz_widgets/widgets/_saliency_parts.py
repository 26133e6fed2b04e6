"""What the saliency explorer is made of: its views and controls, their places, and what is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.render.attribution import heat_scale
from cnnviz_widgets.views._heat import make_heat
from cnnviz_widgets.views._text import as_html, format_share
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.views.line_chart import LineChart
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._class_picker import ClassPicker
from cnnviz_widgets.widgets._controls import dropdown
from cnnviz_widgets.widgets._saliency_maps import Progress
from cnnviz_widgets.widgets._saliency_report import (
    COLORS,
    in_gray,
    said_of,
    stage_tiles,
    survival_lines,
    table_html,
)

_NARROWS = {"width": "100%", "min_width": "0"}
ANOTHER = -1  # a class that is none of the likeliest
TILE = 132  # longer side of a tile in CSS pixels
_STYLE = """<style>
.cnnviz-saliency .widget-html-content { line-height: 1.45; white-space: normal; min-width: 0; }
.cnnviz-saliency p { margin: 0; }
.cnnviz-saliency h4 { margin: 10px 0 2px; font-size: 1.05em; }
.cnnviz-saliency .cvz-tiles-header, .cnnviz-saliency .cvz-tiles-footer { display: none; }
.cnnviz-saliency .cnnviz-scrolls { overflow-x: auto; }
.cnnviz-saliency table { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.5; }
.cnnviz-saliency th, .cnnviz-saliency td { font-weight: 400; text-align: right; padding: 0 12px 0 0; }
.cnnviz-saliency thead th { color: var(--jp-ui-font-color2, GrayText); }
.cnnviz-saliency tbody th { text-align: left; }
</style>"""


class SaliencyParts:
    """The views and controls of a saliency explorer; it links them, this knows where they stand."""

    def __init__(
        self,
        picture: NDArray[np.uint8],
        names: list[str],
        layers: Sequence[LayerKey],
        on_class: Callable[[int | str], None],
    ) -> None:
        self.grid = TileGrid(np.zeros((0, 1, 1, 3), np.uint8), noun="map", tile_size=TILE, max_height=720)
        self.stage = ImageStage(in_gray(picture), width=360)
        self.classes = ClassPicker(names, on_class)
        self.likeliest = dropdown("Likeliest", is_shown=False, width="260px")
        self.layers = dropdown(
            "Grad-CAM of", [(key_text(key), key) for key in layers], is_shown=bool(layers), width="290px"
        )
        self.opacity = ipywidgets.FloatSlider(
            value=0.7,
            min=0,
            max=1,
            step=0.05,
            description="Opacity",
            readout=False,
            style={"description_width": "initial"},
            layout={"width": "220px"},
        )
        self.stop = ipywidgets.Button(
            description="Stop", icon="stop", layout={"width": "auto"}, disabled=True
        )
        self.check = ipywidgets.Button(
            description="Check with random weights",
            tooltip="See whether the maps survive when the network forgets what it has learned",
            layout={"width": "auto"},
            disabled=True,
        )
        self.curves = {
            kind: LineChart("answer", x_name=f"% of pixels {kind}", height=200)
            for kind in ("deleted", "inserted")
        }
        self.survival = LineChart("rank correlation", x_name="stage", height=200)
        for chart in (*self.curves.values(), self.survival):
            chart.show_marker(False)
        self.stages = TileGrid(np.zeros((0, 1, 1, 3), np.uint8), noun="stage", tile_size=112, max_height=320)
        self.legend, self.said, self.reading, self.table, self.checked, self.running = (
            ipywidgets.HTML() for _ in range(6)
        )
        self.legend.value = _legend()

    def arranged(self, photos: ipywidgets.Widget, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: what is asked, the maps side by side, and what tells which one to believe."""
        row = {"flex_flow": "row wrap", "grid_gap": "2px 14px", "align_items": "center", "width": "100%"}
        asked = ipywidgets.HBox([self.classes, self.likeliest, self.layers], layout=row)
        controls = ipywidgets.HBox([self.opacity, self.stop, self.running], layout=row)
        legend = ipywidgets.VBox([self.legend])
        legend.add_class("cvz-views")
        # Three maps fit abreast.
        maps = [_column(640, self.grid, legend, grow=3), _column(360, self.reading, self.stage)]
        self.measure = ipywidgets.VBox(
            [
                _heading("Which map to believe?"),
                ipywidgets.HBox([_column(300, self.curves[kind]) for kind in self.curves], layout=_wrap()),
                self.table,
            ],
            layout=_NARROWS,
        )
        self.forgetting = ipywidgets.HBox([_column(1000, self.survival, self.stages)], layout=_wrap())
        # Empty at first: a chart that is drawn before it is shown has no size.
        self.random = ipywidgets.VBox(layout=_NARROWS)
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        return [
            style,
            photos,
            asked,
            self.classes.said,
            controls,
            status,
            self.said,
            ipywidgets.HBox(maps, layout=_wrap()),
            self.measure,
            _heading("Does the map know what the network has learned?"),
            ipywidgets.HBox([self.check, self.checked], layout=row),
            self.random,
        ]

    def show_classes(self, prediction: Prediction | None, chosen: int | None) -> None:
        """Offer the most probable classes, with what the network gives them."""
        is_there = prediction is not None
        self.likeliest.layout.display = self.classes.layout.display = None if is_there else "none"
        options: list[tuple[str, int]] = []
        if prediction is not None:
            each = zip(
                prediction.labels, prediction.probabilities.tolist(), prediction.indices.tolist(), strict=True
            )
            options = [(f"{format_share(share)} {label}", index) for label, share, index in each]
            self.classes.show(chosen)
        is_likely = chosen in [index for _, index in options]
        self.likeliest.options = options if is_likely else [("another class", ANOTHER), *options]
        self.likeliest.value = chosen if is_likely else ANOTHER

    def show_map(self, name: str, known: Progress, target: str) -> None:
        """Show one map large, with what it says of itself, and how it fares while the network forgets.

        ``target`` is what is explained, in words.
        """
        found, check = known.results.get(name), known.checks.get(name)
        said = known.failures.get(name, "") if found is None else said_of(found, target)
        self.reading.value = f"<p><b>{as_html(name)}</b> {as_html(said)}</p>"
        if found is None:
            self.stage.clear_heat()
        else:
            limit = heat_scale(found.heatmap)[1] or 1.0
            self.stage.set_heat(found.heatmap, low=-limit, high=limit, colormap=COLORS, name=name)
        self.stages.layout.display = None if check is not None else "none"
        self.checked.value = (
            "" if check is None else f"<p><b>{as_html(name)}</b> {as_html(check.message)}</p>"
        )
        if check is not None:
            tiles, labels = stage_tiles(check)
            self.stages.set_maps(tiles, labels=labels, selected=-1)

    def show_numbers(self, names: Sequence[str], known: Progress) -> None:
        """Show the deletion and insertion curves, their areas, and what is left of the maps under random weights."""
        measured, checks = known.measured, known.checks
        for kind, chart in self.curves.items():
            if measured is None:
                chart.set_lines([0, 50, 100], {})
            else:
                rows = measured.deletion if kind == "deleted" else measured.insertion
                chart.set_lines(measured.fractions * 100, dict(zip(measured.names, rows, strict=True)))
        self.random.children = [self.forgetting] if checks else []
        if checks:
            self.survival.set_lines(*survival_lines(checks))
        self.table.value = table_html(names, known)

    def say(self, text: str) -> None:
        """Say what is going on."""
        self.running.value = f'<span role="status">{as_html(text)}</span>' if text else ""

    def show_buttons(self, names: Sequence[str], known: Progress, busy: bool) -> None:
        """Offer to stop what runs, to go on with what was stopped, and to check what is there."""
        is_whole = len(known.results) + len(known.failures) == len(names) and known.measured is not None
        going = busy or is_whole
        self.stop.description, self.stop.icon = ("Stop", "stop") if going else ("Go on", "play")
        self.stop.disabled = not busy and is_whole
        self.check.disabled = busy or not known.results or set(known.checks) == set(known.results)


def _legend() -> str:
    """Return the color scale that all tiles share."""
    scale = make_heat(
        [[-1.0, 1.0]],
        low=None,
        high=None,
        colormap=COLORS,
        zero_centered=True,
        interpolation="bilinear",
        stride=None,
        center=None,
        name="share of each map's largest value",
        unit="",
    )
    return scale.legend()


def _heading(text: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(f"<h4>{text}</h4>")


def _column(basis: int, *views: ipywidgets.Widget, grow: int = 1) -> ipywidgets.VBox:
    layout = {
        "flex": f"{grow} 1 {min(basis, 300)}px",
        "max_width": f"{basis + 60}px",
        "min_width": "0",
        "width": "auto",
    }
    return ipywidgets.VBox(views, layout=layout)


def _wrap() -> dict[str, str]:
    return {"flex_flow": "row wrap", "grid_gap": "8px 16px", "width": "100%"}
