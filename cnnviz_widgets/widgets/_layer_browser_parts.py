"""What the layer browser is made of: its views and controls, their places on the page, and small helpers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import LayerNotFoundError, OutputError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.engine.receptive_field import ReceptiveField
from cnnviz_widgets.methods.activations import ActivationMaps
from cnnviz_widgets.views.charts import ProbabilityBars, UnitBars
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.views.layer_tree import LayerTree
from cnnviz_widgets.views.tile_grid import TileGrid

# Where three columns would leave room for two tiles in a row, the tiles go below the tree and the photo, which
# share the whole width then.
_STYLE = """<style>
.cnnviz-browser { container-type: inline-size; }
@container (max-width: 1200px) {
  .cnnviz-columns > .cnnviz-tiles { order: 1; flex-basis: 100% !important; }
  .cnnviz-columns > .cnnviz-layers { max-width: none !important; }
}
</style>"""


class BrowserParts:
    """The views and controls of a layer browser; it links them, this knows where they stand."""

    def __init__(self, net: Network, picture: NDArray[np.uint8], orders: Sequence[str]) -> None:
        self.tree = LayerTree(net.layers)
        self.grid = TileGrid(np.zeros((1, 1, 1), np.float32))
        self.units = UnitBars([0.0], labels=None)
        self.stage = ImageStage(picture, width=336)
        self.bars = ProbabilityBars(width=336)
        self.sorting = ipywidgets.Dropdown(
            options=list(orders),
            description="Sort by",
            layout={"width": "210px"},
            tooltip="Order of the tiles",
        )
        self.opacity = ipywidgets.FloatSlider(
            value=0.5,
            min=0,
            max=1,
            step=0.05,
            description="Opacity",
            readout=False,
            layout={"width": "280px"},
        )
        self.summary, self.reading, self.no_classes = (ipywidgets.HTML() for _ in range(3))
        self.running = ipywidgets.HTML()

    def arranged(self, photos: ipywidgets.Widget, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the browser's children: photos above, then tree, tiles and photo side by side."""
        column = {"min_width": "0", "width": "auto"}
        left = ipywidgets.VBox(
            [self.tree, self.bars, self.no_classes],
            layout={"flex": "1 1 360px", "max_width": "480px", **column},
        )
        left.add_class("cnnviz-layers")
        heading = ipywidgets.HBox(
            [self.summary, self.sorting],
            layout={"flex_flow": "row wrap", "justify_content": "space-between"},
        )
        middle = ipywidgets.VBox([heading, self.grid, self.units], layout={"flex": "3 1 320px", **column})
        middle.add_class("cnnviz-tiles")
        right = ipywidgets.VBox(
            [self.stage, self.opacity, self.reading],
            layout={"flex": "0 1 352px", **column},
        )
        columns = ipywidgets.HBox(
            [ipywidgets.HTML(_STYLE, layout={"display": "none"}), left, middle, right],
            layout={"flex_flow": "row wrap", "grid_gap": "12px"},
        )
        columns.add_class("cnnviz-columns")
        top = ipywidgets.HBox([photos, self.running], layout={"flex_flow": "row wrap"})
        return [top, status, columns]

    def make_room(self, *, bars: bool) -> None:
        """Show the bars of a fully connected layer, or tiles with what belongs to them."""
        self.units.layout.display = None if bars else "none"
        for tiles_only in (self.grid, self.sorting, self.opacity):
            tiles_only.layout.display = "none" if bars else None

    def clear(self, layer: str) -> None:
        """Show nothing of a layer but its name: it could not be computed."""
        for view in (self.grid, self.units, self.sorting, self.opacity):
            view.layout.display = "none"
        self.stage.clear_heat()
        self.stage.set_boxes([])
        self.reading.value = ""
        self.summary.value = f"<b>{html.escape(layer)}</b> could not be computed"


def summary_html(layer: LayerKey, kind: str, result: ActivationMaps) -> str:
    """Return the layer, what it returns, and how much of that is zero."""
    channels, height, width = result.maps.shape
    what = f"{channels} units" if result.is_vector else f"{channels} channels of {height} x {width}"
    dead = int(result.all_zero.sum())
    text = f"{kind}, {what}, {result.sparsity.mean():.0%} zeros"
    text += f", {dead} all zero on this image" if dead and not result.is_vector else ""
    return f"<b>{html.escape(key_text(layer))}</b> {html.escape(text)}"


def channel_text(result: ActivationMaps | None, channel: int) -> str:
    """Return what is said of a channel as long as no unit of it is chosen."""
    if result is None:
        return f"channel {channel}"
    if result.is_vector:
        return f"unit {channel}: {result.maps[channel, 0, 0]:.4g}"
    if result.all_zero[channel]:
        return f"channel {channel} is zero everywhere on this image"
    return f"channel {channel}: {result.sparsity[channel]:.0%} zeros"


def alignment(
    field: ReceptiveField | None, units: tuple[int, int], pixels: tuple[int, int]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (stride, center of unit 0) of a map on the picture, in its pixels.

    They come from the receptive field once it is known. Before, and for layers whose units see the whole
    picture, the map is stretched over the picture.
    """
    if (
        field is not None
        and min(field.stride) > 0
        and field.size[0] < pixels[0]
        and field.size[1] < pixels[1]
    ):
        center = (field.offset[0] + field.size[0] / 2, field.offset[1] + field.size[1] / 2)
        return (float(field.stride[0]), float(field.stride[1])), center
    stride = (pixels[0] / units[0], pixels[1] / units[1])
    return stride, (stride[0] / 2, stride[1] / 2)


def first_layer(net: Network) -> LayerKey:
    """Return the first layer that returns maps and has no parts, the nearest to that where there is none."""
    modules = dict(net.core.named_modules())
    shown = [info for info in net.layers if info.output_shape is not None]
    for info in sorted(
        shown, key=lambda each: (len(each.output_shape or ()) != 3, any(modules[each.name].children()))
    ):
        return info.name if info.calls == 1 else (info.name, 0)
    raise LayerNotFoundError("this network has no layer to browse: no submodule returns a tensor")


def predict_or_reason(net: Network, image: Any) -> Prediction | OutputError:
    """Return the prediction, or why there is none: a network need not be a classifier to be browsed."""
    try:
        return net.predict(image)
    except OutputError as error:
        return error
