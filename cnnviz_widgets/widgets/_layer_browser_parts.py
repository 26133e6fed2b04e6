"""What the layer browser is made of: its views and controls, their places on the page, and small helpers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, OutputError
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.views.charts import ProbabilityBars, UnitBars
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.views.layer_tree import LayerTree
from cnnviz_widgets.views.tile_grid import TileGrid

# Where three columns do not fit, the tiles go below the tree and the photo, over the whole width.
_STYLE = """<style>
.cnnviz-browser { container-type: inline-size; }
@container (max-width: 1056px) { .cnnviz-columns > .cnnviz-tiles { order: 1; flex-basis: 100% !important; } }
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


def view_of(net: Network, image: Any) -> NDArray[np.uint8]:
    """Return the one image as the network sees it; channels that make no picture are shown as their mean."""
    x = net.prepare(image)
    if len(x) != 1:
        raise InputError(
            f"LayerBrowser shows one image at a time, got a batch of {len(x)}; give a list to choose from"
        )
    if net.input.channels in (1, 3):
        picture: NDArray[np.uint8] = net.restore(x)[0]
        return picture
    gray = x[0].mean(dim=0).float().cpu().numpy()
    span = float(gray.max() - gray.min()) or 1.0
    return np.repeat((255 * (gray - gray.min()) / span).astype(np.uint8)[:, :, None], 3, axis=2)
