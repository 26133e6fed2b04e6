"""What the patch explorer is made of: its views and controls, their places on the page, and what is written there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.methods.top_patches import TopPatches
from cnnviz_widgets.render.mosaic import pad_alike
from cnnviz_widgets.views._boxes import StageBox
from cnnviz_widgets.views._text import as_html, format_number
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._channel_picker import ChannelPicker

TILE = 144  # longer side of a tile in CSS pixels, about: small patches are enlarged a whole number of times
_THREE_ABREAST = "520px"  # wide enough for three of them
_GRAY = 128  # beside patches that the border cuts off: quiet on a light page and on a dark one
_STYLE = """<style>
.cnnviz-patches .widget-html-content { line-height: 1.45; white-space: normal; }
.cnnviz-patches p { margin: 0; }
</style>"""


class ExplorerParts:
    """The views and controls of a patch explorer; it links them, this knows where they stand."""

    def __init__(self, layers: Sequence[LayerKey], on_channel: Callable[[int], None]) -> None:
        self.grid = TileGrid(np.zeros((0, 1, 1, 3), np.uint8), noun="patch", max_height=720)
        self.stage = ImageStage(np.zeros((1, 1, 3), np.uint8), width=420)
        self.layers = ipywidgets.Dropdown(
            options=[(key_text(key), key) for key in layers],
            description="Layer",
            style={"description_width": "initial"},
            layout={"width": "auto", "display": None if len(layers) > 1 else "none"},
        )
        self.channels = ChannelPicker(on_channel)
        self.summary, self.reading, self.note = (ipywidgets.HTML() for _ in range(3))

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: the channel on top, then the patches and the image side by side."""
        column = {"min_width": "0", "width": "auto"}
        controls = ipywidgets.HBox(
            [self.layers, self.channels],
            layout={"flex_flow": "row wrap", "grid_gap": "2px 6px", "align_items": "center"},
        )
        left = ipywidgets.VBox(
            [self.grid], layout={"flex": "3 1 340px", "max_width": _THREE_ABREAST, **column}
        )
        right = ipywidgets.VBox([self.reading, self.stage], layout={"flex": "1 1 300px", **column})
        columns = ipywidgets.HBox(
            [left, right], layout={"flex_flow": "row wrap", "grid_gap": "12px", "width": "100%"}
        )
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        return [style, controls, self.summary, self.note, status, columns]


def by_layer(patches: Any, who: str = "PatchExplorer") -> ByLayer[TopPatches]:
    """Return the patches by layer, and refuse what can't be shown; ``who`` shows them, for errors."""
    given = list(patches.values()) if isinstance(patches, Mapping) else [patches]
    wrong = [each for each in given if not isinstance(each, TopPatches)]
    if wrong or not given:
        got = type(wrong[0]).__name__ if wrong else "an empty mapping"
        raise TypeError(f"{who} shows what cv.top_patches returns, got {got}")
    found = {each.layer: each for each in given}
    if len(found) < len(given):
        raise InputError(
            f"several of the patches are of one layer; there are {', '.join(map(repr, found))}: make an explorer each"
        )
    for each in given:
        if not each.pictures and np.any(each.image_indices >= 0):
            raise InputError(
                f"the patches of layer {each.layer!r} have no pictures; call cv.top_patches without patches=False"
            )
    return ByLayer(found)


def channels_in_words(channels: list[int]) -> str:
    """Return the channels as a range, or the first of those that there are."""
    if channels == list(range(channels[0], channels[-1] + 1)):
        return f"channels {channels[0]} to {channels[-1]}"
    return f"channels {', '.join(map(str, channels[:8]))}{', ...' if len(channels) > 8 else ''}"


def row_of(patches: TopPatches, channel: int) -> int:
    """Return which row of the result a channel is, -1 for none."""
    rows = np.flatnonzero(patches.channels == channel)
    return int(rows[0]) if len(rows) else -1


def count_of(patches: TopPatches, channel: int) -> int:
    """Return how many patches a channel has: free places come last."""
    return int((patches.image_indices[row_of(patches, channel)] >= 0).sum())


def tiles_of(patches: TopPatches, channel: int) -> dict[str, Any]:
    """Return what `TileGrid.set_maps` takes to show the patches of a channel, best first."""
    row, count = row_of(patches, channel), count_of(patches, channel)
    if count == 0:
        return {"maps": np.zeros((0, 1, 1, 3), np.uint8)}
    tiles = pad_alike(patches.patches[row][:count], fill=_GRAY)
    if not tiles.size:
        # Units that see padding alone: there is nothing to cut out.
        tiles = np.full((count, 1, 1, 3), _GRAY, np.uint8)
    labels = []
    for rank in range(count):
        vertical, horizontal = patches.positions[row, rank]
        # Short, to fit below a tile; the chosen patch is told in full.
        value = format_number(float(patches.scores[row, rank]), 3)
        labels.append(f"{value} \u00b7 image {patches.image_indices[row, rank]} ({vertical}, {horizontal})")
    return {"maps": tiles, "labels": labels}


def tile_size(tiles: NDArray[np.uint8]) -> int:
    """Return a tile's longer side on the page, so that the pixels of small patches stay squares."""
    longest = max(tiles.shape[1:3])
    return TILE if longest > TILE else longest * round(TILE / longest)


def box_of(patches: TopPatches, channel: int, rank: int) -> StageBox | None:
    """Return the box of a patch with its value, or nothing where the unit sees padding alone."""
    row = row_of(patches, channel)
    top, left, bottom, right = patches.boxes[row, rank].tolist()
    if top >= bottom or left >= right:
        return None
    return StageBox(top, left, bottom, right, label=format_number(float(patches.scores[row, rank])))


def patch_text(patches: TopPatches, channel: int, rank: int) -> str:
    """Return a patch in words: its value, image, unit and pixels."""
    row = row_of(patches, channel)
    vertical, horizontal = patches.positions[row, rank]
    top, left, bottom, right = patches.boxes[row, rank]
    sees = (
        f"sees rows {top} to {bottom - 1}, columns {left} to {right - 1}"
        if top < bottom and left < right
        else "sees padding alone"
    )
    value = format_number(float(patches.scores[row, rank]))
    image = patches.image_indices[row, rank]
    return f"rank {rank}: {value} in image {image}, unit ({vertical}, {horizontal}); {sees}"


def summary_text(patches: TopPatches, channel: int) -> str:
    """Return what the patches on show are, and what they can't say."""
    row, count = row_of(patches, channel), count_of(patches, channel)
    if count == 0:
        return f"Channel {channel} has no patch: it returned no number for any of {patches.images:,} images."
    scores = patches.scores[row, :count]
    many = f"{count} strongest answers" if count > 1 else "strongest answer"
    text = f"Channel {channel}: the {many} in {patches.images:,} images."
    if count > 1 and scores[0] == scores[-1]:
        dead = " Dead on these images: it is 0 everywhere." if scores[0] == 0 else ""
        text += f" All are the same, so these are only the first of perhaps many.{dead}"
    if count < patches.k:
        text += f" There were no more than {count} with a number, of {patches.k} asked for."
    return text


def summary_html(patches: TopPatches, channel: int) -> str:
    """Return the layer, and what the patches on show are."""
    return f"<p><b>{as_html(key_text(patches.layer))}</b> {as_html(summary_text(patches, channel))}</p>"
