"""What the neighbor explorer is made of: its views and controls, their places, and what is written there."""

from __future__ import annotations

import base64
import html

import ipywidgets
import numpy as np

from cnnviz_widgets.engine.feature_table import FeatureTable, label_text
from cnnviz_widgets.engine.label_codes import UNKNOWN
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.nearest import METRICS
from cnnviz_widgets.methods.neighbor_agreement import NeighborAgreement
from cnnviz_widgets.methods.neighbors import Neighbors
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.views._text import as_html, format_number, format_share, printable
from cnnviz_widgets.views.tile_grid import TileGrid

SAME, OTHER, NO_LABEL = "same class", "other class", "no label"
# Dark enough for white letters (4.5 to 1 and more), and told apart with any kind of color vision.
COLORS = {SAME: "#0061a3", OTHER: "#b3261e", NO_LABEL: "#66666e"}
_SPACES = {"features": "By features", "pixels": "By pixels"}
_STYLE = """<style>
.cnnviz-neighbors .widget-html-content { line-height: 1.45; white-space: normal; }
.cnnviz-neighbors p { margin: 2px 0 6px; line-height: 1.45; }
.cnnviz-neighbors .cvz-tiles-header, .cnnviz-neighbors .cvz-tiles-footer { display: none; }
.cnnviz-query { margin: 0; overflow-wrap: anywhere; }
.cnnviz-query img { width: 150px; max-width: 100%; image-rendering: pixelated; display: block; margin: 0 0 6px; }
.cnnviz-agreement { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.5; }
.cnnviz-agreement th { font-weight: 400; text-align: left; padding: 0 12px 0 0; }
.cnnviz-agreement td { text-align: right; padding: 0 10px 0 0; }
.cnnviz-agreement td:last-child { width: 160px; padding: 0; }
.cnnviz-agreement i { display: block; height: 10px; border-radius: 2px; background: #808080; }
.cnnviz-neighbors details table { font-variant-numeric: tabular-nums; }
.cnnviz-neighbors details td, .cnnviz-neighbors details th { text-align: right; padding: 0 8px; }
.cnnviz-neighbors details td:first-child, .cnnviz-neighbors details th:first-child { text-align: left; }
</style>"""


class NeighborParts:
    """The views and controls of a neighbor explorer; it links them, this knows where they stand."""

    def __init__(self, images: int) -> None:
        self.grids = {
            space: TileGrid(
                np.zeros((0, 1, 1, 3), np.uint8), noun="neighbor", badge_colors=COLORS, tile_size=100
            )
            for space in _SPACES
        }
        self.headings = {space: ipywidgets.HTML() for space in _SPACES}
        self.picture, self.agreement, self.running = (ipywidgets.HTML() for _ in range(3))
        self.back = _button("arrow-left", "Back", "The query before this one")
        self.forward = _button("arrow-right", "Forward", "The query after this one, before you went back")
        self.query = _number("Query: row", images - 1, "180px", smallest=0)
        self.k = _number("Neighbors", images - 1, "160px", smallest=1)
        self.metric = ipywidgets.Dropdown(
            options=list(METRICS),
            description="Distance",
            style={"description_width": "initial"},
            layout={"width": "auto"},
        )

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: the whole table on top, then the query beside its neighbors."""
        column = {"min_width": "0", "width": "auto"}
        row = {"flex_flow": "row wrap", "grid_gap": "2px 10px", "width": "100%", "align_items": "center"}
        controls = ipywidgets.HBox(
            [self.back, self.forward, self.query, self.k, self.metric, self.running], layout=row
        )
        left = ipywidgets.VBox([self.picture], layout={"flex": "0 0 160px", **column})
        spaces = [
            ipywidgets.VBox([self.headings[each], self.grids[each]], layout={"flex": "1 1 300px", **column})
            for each in _SPACES
        ]
        columns = ipywidgets.HBox(
            [left, *spaces], layout={"flex_flow": "row wrap", "grid_gap": "12px", "width": "100%"}
        )
        hint = ipywidgets.HTML(
            "<p>Click a neighbor, or choose it with the arrow keys and Enter, to make it the query.</p>"
        )
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        return [style, self.agreement, controls, status, columns, hint]

    def show_query(self, table: FeatureTable, row: int) -> None:
        """Show the image whose neighbors are shown."""
        self.picture.value = _query_html(table, row)

    def clear(self) -> None:
        """Show no neighbors: they could not be found."""
        self.picture.value = ""
        for space, grid in self.grids.items():
            self.headings[space].value = ""
            grid.set_maps(np.zeros((0, 1, 1, 3), np.uint8), selected=-1)

    def show_neighbors(self, found: Neighbors, table: FeatureTable) -> None:
        """Show the neighbors in one of the spaces, each with its label, its distance, and whether it agrees."""
        self.headings[found.space].value = _heading_html(found, table.layer)
        self.grids[found.space].set_maps(
            found.pictures[0, 1:],
            labels=_captions(found, table),
            badges=marks_of(found),
            selected=-1,
        )


def _button(icon: str, label: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(
        icon=icon, description=label, tooltip=tooltip, disabled=True, layout={"width": "auto"}
    )


def _number(label: str, largest: int, width: str, *, smallest: int) -> ipywidgets.BoundedIntText:
    return ipywidgets.BoundedIntText(
        smallest,
        min=smallest,
        max=max(smallest, largest),
        description=label,
        style={"description_width": "initial"},
        layout={"width": width},
    )


def _captions(found: Neighbors, table: FeatureTable) -> list[str]:
    """Return what stands below each neighbor: first its distance, as the end may not fit; hover tells all."""
    rows = found.indices[0].tolist()
    called = ["#" + printable(table.image_text(row)).removeprefix("image ") for row in rows]
    return [
        " \u00b7 ".join(each for each in (distance, name, place) if each != NO_LABEL)
        for place, (name, distance) in zip(called, _named(found), strict=True)
    ]


def _named(found: Neighbors) -> list[tuple[str, str]]:
    """Return the label and the distance of each neighbor of the first query, as text."""
    names = [_name(code, found.label_names) for code in found.labels[0].tolist()]
    # Pixels are up to 255 and many: without an exponent, their distances are easier to compare.
    distances = [
        f"{each:,.0f}" if each >= 1000 else format_number(each, 3) for each in found.distances[0].tolist()
    ]
    return list(zip(names, distances, strict=True))


def _name(code: int, names: tuple[str, ...]) -> str:
    """Return a label as text; a bare number would say nothing beside a distance."""
    text = label_text(code, names)
    return NO_LABEL if text is None else text if names else f"class {text}"


def marks_of(found: Neighbors) -> list[str]:
    """Return for each neighbor of the first query whether it is of the query's class."""
    own = int(found.query_labels[0])
    return [
        NO_LABEL if UNKNOWN in (own, code) else SAME if code == own else OTHER
        for code in found.labels[0].tolist()
    ]


def describe(found: Neighbors, table: FeatureTable) -> str:
    """Return the neighbors of the first query in one line."""
    rows = zip(found.indices[0].tolist(), _named(found), marks_of(found), strict=True)
    listed = ", ".join(
        f"{table.image_text(row)}: {', '.join(dict.fromkeys((name, mark, distance)))}"
        for row, (name, distance), mark in rows
    )
    return f"{_SPACES[found.space].lower()}: {listed}"


def query_text(table: FeatureTable, row: int) -> str:
    """Return which image a query is, its label, and what the network takes it for if the table knows."""
    place = "" if table.ids[row] == row else f", row {row} of the table"
    text = f"{table.image_text(row)}{place}: {_name(int(table.labels[row]), table.label_names)}"
    if table.predicted is None:
        return text
    sure = "" if table.confidence is None else f" ({format_share(float(table.confidence[row]))})"
    return f"{text}, taken for {_name(int(table.predicted[row]), table.class_names)}{sure}"


def _query_html(table: FeatureTable, row: int) -> str:
    encoded = base64.b64encode(png(np.asarray(table.thumbnails[row]))).decode()
    text = as_html(query_text(table, row))
    return (
        f'<figure class="cnnviz-query"><img alt="the query" src="data:image/png;base64,{encoded}">'
        f"<figcaption><b>Query</b><br>{text}</figcaption></figure>"
    )


def _heading_html(found: Neighbors, layer: LayerKey) -> str:
    """Return what space the neighbors are near in, and how many of them are of the query's class."""
    marks = marks_of(found)
    where = f", layer {as_html(str(layer))}" if found.space == "features" else ""
    if NO_LABEL in marks:
        count = f"{marks.count(SAME)} of {len(marks)} {SAME}, {marks.count(NO_LABEL)} {NO_LABEL}"
    else:
        count = f"{marks.count(SAME)} of {len(marks)} {SAME}"
    zeros = ""
    if found.metric == "cosine" and found.zero_vectors:
        zeros = f"<br>{found.zero_vectors:,} images are all zeros here: at distance 1 from everything."
    return f"<p><b>{_SPACES[found.space]}</b>{where}: <b>{count}</b>{zeros}</p>"


def agreement_html(found: NeighborAgreement) -> str:
    """Return the agreement of the whole table: by features, by pixels and by chance; by class if unfolded."""
    rows = "".join(
        f'<tr><th scope="row">{name}</th><td>{share:.1%}</td>'
        f'<td><i style="width:{share:.1%};{color}"></i></td></tr>'
        for name, share, color in (
            ("by features", found.features, "background:#3584c8"),
            ("by pixels", found.pixels, "background:#b07d10"),
            ("by chance", found.chance, ""),
        )
    )
    return (
        f"<p><b>Same class</b> among the {found.k} nearest neighbors of all {found.images:,} images "
        f"({html.escape(found.metric)}):</p><table class='cnnviz-agreement'>{rows}</table>"
        f"<details><summary>Class by class</summary>{found._repr_html_()}</details>"
    )
