"""What the DeconvNet explorer is made of: its views and controls, their places, and what is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.back_projection import Position
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.methods.deconvnet import Reconstruction
from cnnviz_widgets.render.mosaic import mosaic, pad_alike
from cnnviz_widgets.render.resize import enlarge
from cnnviz_widgets.views._boxes import StageBox
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._channel_picker import ChannelPicker
from cnnviz_widgets.widgets._controls import dropdown
from cnnviz_widgets.widgets._deconv_sources import Found

TILE = 132  # longer side of a tile in CSS pixels, at most
GRAY = 128  # what zero is in a projection
_TOLERANCE = 0.02  # pictures are rounded to 8 bits: what a scan found in finer numbers is a little off
_THREE_ABREAST = "490px"
_POSITIONS: list[tuple[str, Position]] = [("strongest activation", "max"), ("whole map", "all")]
_STYLE = """<style>
.cnnviz-deconv .widget-html-content { line-height: 1.45; white-space: normal; }
.cnnviz-deconv p { margin: 0; }
.cnnviz-deconv .cvz-tiles-header, .cnnviz-deconv .cvz-tiles-footer { display: none; }
.cnnviz-deconv .cnnviz-unasked > .widget-hbox { display: none; }
</style>"""


class DeconvParts:
    """The views and controls of a DeconvNet explorer; it links them, this knows where they stand."""

    def __init__(
        self, layers: Sequence[LayerKey], on_channel: Callable[[int], None], photos: ipywidgets.Widget | None
    ) -> None:
        nothing = np.zeros((0, 1, 1, 3), np.uint8)
        self.patches, self.sent_back = (
            TileGrid(nothing, noun=noun, max_height=720) for noun in ("patch", "projection")
        )
        self.stage, self.projection = (ImageStage(np.zeros((1, 1, 3), np.uint8), width=400) for _ in range(2))
        # Where no pixel is asked for, there are no fields for one.
        for stage in (self.stage, self.projection) if photos is None else (self.projection,):
            stage.add_class("cnnviz-unasked")
        self._photos = photos
        self.layers = dropdown(
            "Layer", [(key_text(key), key) for key in layers], is_shown=len(layers) > 1, max_width="280px"
        )
        self.channels = ChannelPicker(on_channel)
        self.positions = dropdown("Unit", _POSITIONS, is_shown=photos is not None, max_width="280px")
        self.summary, self.reading, self.running = (ipywidgets.HTML() for _ in range(3))

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: the channel on top, patches beside projections, one of them in its image."""
        row = {"flex_flow": "row wrap", "grid_gap": "2px 12px", "align_items": "center"}
        controls = ipywidgets.HBox([self.layers, self.channels, self.positions, self.running], layout=row)
        tiles = [_column("Patches", self.patches), _column("Projections", self.sent_back)]
        stages = [
            _column("In the image", self.stage),
            _column("Sent back", self.projection),
        ]
        wrap = {"flex_flow": "row wrap", "grid_gap": "8px 16px", "width": "100%"}
        figure = [] if self._photos is not None else [ipywidgets.HBox(tiles, layout=wrap)]
        photos = [] if self._photos is None else [self._photos]
        self.chosen = ipywidgets.VBox([self.reading, ipywidgets.HBox(stages, layout=wrap)])
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        return [style, *photos, controls, self.summary, status, *figure, self.chosen]

    def show_position(self, position: Position) -> None:
        """Show which unit is sent back; one that was clicked joins the list."""
        one = [] if isinstance(position, str) else [(f"unit {position}", position)]
        self.positions.options = [*_POSITIONS, *one]
        self.positions.value = position

    def show_unit(self, picture: NDArray[np.uint8], found: Found | None, box: StageBox | None) -> None:
        """Show a unit's image, and beside it what is sent back; gray where there is nothing, or nothing yet.

        ``box`` is what the unit sees, as far as it is known without its projection.
        """
        self.stage.image = picture
        if isinstance(found, Reconstruction):
            self.projection.image, box = found.image, box or _box(found)
        else:
            self.projection.image = np.full_like(picture, GRAY)
        for stage in (self.stage, self.projection):
            stage.set_boxes([] if box is None else [box])


def _column(heading: str, view: ipywidgets.Widget) -> ipywidgets.VBox:
    layout = {"flex": "1 1 300px", "max_width": _THREE_ABREAST, "min_width": "0", "width": "auto"}
    return ipywidgets.VBox([ipywidgets.HTML(f"<b>{heading}</b>"), view], layout=layout)


def _box(found: Reconstruction) -> StageBox | None:
    """Return the box of the unit's receptive field; none for a whole map, which sees the whole image."""
    if found.box == (0, 0, *found.pixels.shape[1:]):
        return None
    return StageBox(*found.box, label=format_number(found.activation))


def projection_tiles(count: int, found: Sequence[Found], patches: NDArray[np.uint8]) -> dict[str, Any]:
    """Return what `TileGrid.set_maps` takes to show projections; gray tiles where there is none, or none yet.

    Each has its own scale: zero is gray, and the largest magnitude is black or white.
    """
    if not any(isinstance(each, Reconstruction) for each in found):
        badges = ["nothing"] * count if found else None
        return {"maps": np.full_like(patches, GRAY), "labels": [" "] * count, "badges": badges}
    nothing = np.zeros((0, 0, 3), np.uint8)
    tiles = [each.patch if isinstance(each, Reconstruction) else nothing for each in found]
    return {
        "maps": pad_alike(tiles, fill=GRAY),
        "labels": [
            format_number(each.activation, 3) if isinstance(each, Reconstruction) else " " for each in found
        ],
        "badges": {index: "nothing" for index, each in enumerate(found) if isinstance(each, str)},
    }


def found_text(found: Found) -> str:
    """Return a projection in words, or why there is none."""
    if isinstance(found, str):
        return found
    if found.position is not None:
        what = f"unit {found.position}, {format_number(found.activation)}"
    elif found.box == (0, 0, *found.pixels.shape[1:]):
        what = f"all of channel {found.channel}, together {format_number(found.activation)}"
    else:
        what = f"unit {found.channel}, {format_number(found.activation)}"
    top, left, bottom, right = found.box
    return f"sent back: {what}, to rows {top} to {bottom - 1}, columns {left} to {right - 1}"


def doubt_text(found: Found, score: float) -> str:
    """Return why a projection is not that of its patch, or why there is none; ``score`` is what the scan found."""
    if isinstance(found, str):
        return found
    if abs(found.activation - score) <= _TOLERANCE * max(abs(score), 1e-12):
        return ""
    return (
        f"This network answers {format_number(found.activation)} here, the patches say {format_number(score)}: "
        "they are of another network, or it has changed since."
    )


def still(patches: NDArray[np.uint8], sent_back: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return patches and projections side by side, three abreast, as one picture."""
    factor = max(1, 96 // max(patches.shape[1:3]))
    sides = [mosaic(enlarge(tiles, factor), columns=3, gap=2) for tiles in (patches, sent_back)]
    gap = np.full((sides[0].shape[0], 16, 3), 255, np.uint8)
    return np.concatenate([sides[0], gap, sides[1]], axis=1)


def size_of(tiles: dict[str, Any]) -> int:
    """Return a tile's longer side on the page: three fit abreast, and the pixels of small patches stay squares."""
    longest = max(tiles["maps"].shape[1:3])
    return TILE if longest > TILE // 3 else longest * (TILE // longest)
