"""What the filter grid is made of: its views and controls, their places on the page, and what is written there."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.duplicates import DuplicateGroup
from cnnviz_widgets.engine.verdicts import VERDICTS
from cnnviz_widgets.engine.weights import ConvolutionInfo
from cnnviz_widgets.methods.kernels import Kernels
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.views.charts import UnitBars
from cnnviz_widgets.views.layer_tree import LayerTree
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._controls import dropdown

# Dark enough for white letters (4.5 to 1 and more), and told apart with any kind of color vision.
COLORS = {
    "smooth": "#0061a3",
    "mixed": "#8a6100",
    "noisy": "#b3261e",
    "zero": "#1f1f1f",
    "cannot tell": "#66666e",
    "structured": "#0061a3",
    "like noise": "#b3261e",
}
_PLAIN = "#4a4a52"
_TURNS = (
    "identity, rotate 90, rotate 180, rotate 270, flip left-right, flip up-down, transpose, anti-transpose"
)
_STYLE = """<style>
.cnnviz-verdict { color: #fff; border-radius: 3px; padding: 1px 6px; font-weight: 600; white-space: nowrap; }
.cnnviz-numbers { border-collapse: collapse; font-variant-numeric: tabular-nums; line-height: 1.5; }
.cnnviz-numbers th { font-weight: 400; text-align: left; padding: 0 12px 0 0; }
.cnnviz-numbers td { text-align: right; padding: 0; }
.cnnviz-filters .cnnviz-inputs .cvz-tiles-controls { display: none; }
.cnnviz-filters p { margin: 2px 0 6px; line-height: 1.45; }
.cnnviz-filters .widget-html-content { line-height: 1.45; white-space: normal; }
</style>"""


class FilterParts:
    """The views and controls of a filter grid; it links them, this knows where they stand."""

    def __init__(self, layers: Sequence[ConvolutionInfo], orders: Sequence[str]) -> None:
        self.tree = LayerTree(
            [_TreeRow(each) for each in layers if each.name], shapes="kernels", missing="", max_height=320
        )
        self.grid = TileGrid(np.zeros((0, 1, 1)), noun="kernel", unit="weight", badge_colors=COLORS)
        turns = [sign + turn for turn in _TURNS.split(", ") for sign in ("", "negated ")]
        self.members = TileGrid(
            np.zeros((0, 1, 1)),
            noun="kernel",
            unit="weight",
            badge_colors=dict.fromkeys([*turns, "first"], _PLAIN),
            # Their sizes do not count for the cosine.
            scale="each",
            tile_size=132,
        )
        self.inputs = TileGrid(
            np.zeros((0, 1, 1)), noun="input channel", unit="weight", tile_size=72, max_height=260
        )
        self.inputs.add_class("cnnviz-inputs")
        self.bars = UnitBars([0.0], name="weight", noun="input channel")
        self.sorting = dropdown("Sort by", orders)
        self.verdicts = dropdown("Verdict", ["all", *VERDICTS])
        self.views = dropdown("Show", [])
        self.channel = ipywidgets.BoundedIntText(
            description="Input channel",
            style={"description_width": "initial"},
            layout={"width": "170px"},
        )
        self.groups = dropdown("Group", [])
        self.groups.layout.max_width = "420px"
        self.summary, self.numbers, self.duplicates, self.running = (ipywidgets.HTML() for _ in range(4))

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: the verdict on top, then layers, tiles and numbers side by side."""
        column = {"min_width": "0", "width": "auto"}
        controls = ipywidgets.HBox(
            [self.sorting, self.verdicts, self.views, self.channel],
            layout={"flex_flow": "row wrap", "grid_gap": "2px 10px"},
        )
        left = ipywidgets.VBox([self.tree], layout={"flex": "1 1 330px", "max_width": "480px", **column})
        middle = ipywidgets.VBox([controls, self.grid], layout={"flex": "3 1 360px", **column})
        right = ipywidgets.VBox(
            [self.numbers, self.inputs, self.bars], layout={"flex": "1 1 280px", **column}
        )
        columns = ipywidgets.HBox(
            [left, middle, right], layout={"flex_flow": "row wrap", "grid_gap": "12px", "width": "100%"}
        )
        below = ipywidgets.VBox([self.duplicates, self.groups, self.members], layout={"width": "100%"})
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        return [style, self.summary, self.running, status, columns, below]

    def clear(self) -> None:
        """Show nothing of a layer: its kernels could not be read."""
        for grid in (self.grid, self.members, self.inputs):
            grid.set_maps(np.zeros((0, 1, 1)))
        for text in (self.summary, self.numbers, self.duplicates):
            text.value = ""
        for part in (self.bars, self.groups, self.members, self.inputs):
            part.layout.display = "none"


class _TreeRow:
    """A convolution as the tree takes it: with the shape of its kernels for its output shape."""

    def __init__(self, info: ConvolutionInfo) -> None:
        self.name, self.kind, self.parameters = info.name, info.kind, info.parameters
        self.output_shapes = (info.shape,)


def views_of(info: ConvolutionInfo, image_channels: int | None) -> list[str]:
    """Return how the kernels of a layer can be shown, the best one first."""
    _, channels, *sides = info.shape
    in_color = ["color"] if info.groups == 1 and channels == 3 == image_channels else []
    if sides == [1, 1]:
        return ["matrix", *in_color]
    return [*in_color, "input channel", *(["norms"] if channels > 1 else [])]


def local_channel(result: Kernels, channel: int) -> int:
    """Return where kernels keep their weights for an input channel of the layer, which counts over all groups."""
    per_kernel: int = result.weights.shape[1]
    return channel % per_kernel


def tiles_of(result: Kernels, view: str, channel: int) -> dict[str, Any]:
    """Return what `TileGrid.set_maps` takes to show the kernels: a tile each, or one matrix of all."""
    if view in ("matrix", "norms"):
        matrix = result.matrix if view == "matrix" else result.norms
        return {
            "maps": matrix[None],
            "labels": ["weights" if view == "matrix" else "norms of maps"],
            "axes": ("kernel", "input channel"),
            "unit": "weight" if view == "matrix" else "norm",
            "noun": "matrix",
            "zero_centered": view == "matrix",
        }
    return {
        "maps": pictures_of(result, np.arange(len(result.weights)), view, local_channel(result, channel)),
        "badges": list(result.verdicts),
        "axes": ("row", "column"),
        "unit": "weight",
        "noun": "kernel",
        "zero_centered": True,
    }


def pictures_of(result: Kernels, indices: NDArray[np.int64], view: str, local: int) -> NDArray[np.float32]:
    """Return one map for each of these kernels, or a colored one, or for 1x1 its weights in a row."""
    pictures: NDArray[np.float32] = result.weights[indices]
    if view == "color":
        return pictures.transpose(0, 2, 3, 1)
    return pictures[:, None, :, 0, 0] if pictures.shape[2:] == (1, 1) else pictures[:, local]


def badge(verdict: str) -> str:
    """Return a verdict as it looks on the tiles."""
    return f'<span class="cnnviz-verdict" style="background:{COLORS[verdict]}">{html.escape(verdict)}</span>'


def summary_html(result: Kernels, kind: str) -> str:
    """Return the layer, what it holds, and the verdict on it with its evidence."""
    count, channels, height, width = result.weights.shape
    found = Counter(result.verdicts)
    verdicts = ", ".join(f"{found[each]} {each}" for each in VERDICTS if found[each])
    groups = f" in {result.groups} groups" if result.groups > 1 else ""
    caution = (
        " Smooth is no proof of health: kernels of a network that diverged can look so; see its loss and accuracy."
        if result.layer_verdict == "structured"
        else ""
    )
    size = f"{count} kernels of {channels} &times; {height} &times; {width}{groups}"
    return (
        f"<p><b>{html.escape(result.layer)}</b> {html.escape(kind)}, {size}: {verdicts}.<br>"
        f"The layer as a whole: {badge(result.layer_verdict)} {html.escape(result.layer_reason)}.{caution}</p>"
    )


def numbers_of(result: Kernels, kernel: int) -> dict[str, float]:
    """Return the numbers that are told of a kernel, by their names."""
    return {
        "norm": float(np.sqrt(np.square(result.norms[kernel]).sum())),
        "roughness": float(result.roughness[kernel]),
        "roughness of its shuffles": float(result.shuffled_roughness[kernel]),
        "percentile among them": float(result.percentile[kernel]),
        "high-frequency share": float(result.high_frequency[kernel]),
        "the same, relative to its shuffles": float(result.frequency_ratio[kernel]),
        "incoherence of input channels": float(result.incoherence[kernel]),
    }


def numbers_html(result: Kernels, kernel: int) -> str:
    """Return a kernel's verdict, the reason for it, its numbers, and what it is a near-duplicate of."""
    rows = "".join(
        f"<tr><th scope='row'>{name}</th><td>{'&ndash;' if np.isnan(value) else format_number(value)}</td></tr>"
        for name, value in numbers_of(result, kernel).items()
    )
    found = group_of(result, kernel)
    likeness = (
        "" if found is None else f"<p>Near-duplicates: {html.escape(str(result.duplicates[found]))}</p>"
    )
    return (
        f"<p><b>kernel {kernel}</b> {badge(result.verdicts[kernel])}<br>{html.escape(result.reasons[kernel])}.</p>"
        f"<table class='cnnviz-numbers'>{rows}</table>{likeness}"
    )


def group_of(result: Kernels, kernel: int) -> int | None:
    """Return which group of near-duplicates a kernel is in."""
    for index, group in enumerate(result.duplicates):
        if kernel in group.members:
            return index
    return None


def duplicates_html(result: Kernels) -> str:
    """Return how many groups of near-duplicates there are, and what counts as one."""
    threshold = result.duplicate_threshold
    if threshold == 1:
        return "<p><b>Near-duplicates</b>: kernels this small can't be told from copies of each other.</p>"
    rule = f"agree to a cosine above {threshold:.3g}, also turned, mirrored or negated"
    if not result.duplicates:
        return f"<p><b>Near-duplicates</b>: none. No two kernels {rule}.</p>"
    kernels = sum(len(group.members) for group in result.duplicates)
    count = len(result.duplicates)
    return (
        f"<p><b>Near-duplicates</b>: {kernels} kernels in {count} group{'s' if count > 1 else ''}. They {rule}. "
        "Below each: its cosine to the first one, and how the first one is turned to look like it.</p>"
    )


def members_of(result: Kernels, group: DuplicateGroup, view: str) -> dict[str, Any]:
    """Return what `TileGrid.set_maps` takes to show a group's kernels side by side."""
    # Of many input channels, the one that tells most of the first member.
    local = int(result.norms[group.members[0]].argmax())
    turns = [
        f"{'negated ' if negated else ''}{turn}"
        for turn, negated in zip(group.transforms, group.negated, strict=True)
    ]
    cosines = [f"{cosine:.3f}" for cosine in group.similarity]
    return {
        "maps": pictures_of(result, group.members, view, local),
        "labels": [
            f"kernel {member}" if index == 0 else f"kernel {member} \u00b7 cosine {cosines[index]}"
            for index, member in enumerate(group.members)
        ],
        "badges": ["first", *turns[1:]],
        "axes": ("row", "input channel" if result.weights.shape[2:] == (1, 1) else "column"),
        "zero_centered": True,
    }
