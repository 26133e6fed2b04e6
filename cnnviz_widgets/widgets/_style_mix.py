"""The styles of a picture: what each looks like, how much of it there is, and fields to add another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.views._closing import close_parts
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.widgets._controls import Filling, row
from cnnviz_widgets.widgets._photos import Handler, PhotoPicker
from cnnviz_widgets.widgets._player_parts import Still


class StyleTile(ipywidgets.HBox):  # type: ignore[misc, unused-ignore]
    """One style: its picture, its weight, and a button to take it alone."""

    def __init__(self, picture: NDArray[np.uint8], name: str) -> None:
        self._still = Still()
        self._still.show(picture, "")
        self._still.layout.width, self._still.layout.flex = "56px", "0 0 auto"
        self.weight = ipywidgets.FloatSlider(
            0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            description="Weight",
            tooltip=f"How much of {name} there is, by comparison with the others",
            continuous_update=False,
            readout_format=".3g",
            style={"description_width": "initial"},
            layout={"width": "190px"},
        )
        self.alone = ipywidgets.Button(
            description="Only this", tooltip=f"Take {name} alone", layout={"width": "auto"}
        )
        named = row([ipywidgets.HTML(as_html(name)), self.alone])
        super().__init__(
            [self._still, ipywidgets.VBox([named, self.weight], layout={"width": "auto"})],
            layout={"width": "auto", "grid_gap": "6px", "align_items": "center"},
        )

    def show_picture(self, picture: NDArray[np.uint8]) -> None:
        """Show another picture of the same style."""
        self._still.show(picture, "")

    def show(self, weight: float, *, is_only: bool) -> None:
        """Show a weight, which may go beyond 1; where there is one style, there is none to choose."""
        with self.weight.hold_sync():
            self.weight.max = max(1.0, self.weight.max, weight)
            self.weight.value = weight
        for choice in (self.weight, self.alone):
            choice.layout.display = "none" if is_only else None


class StyleMix(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """All styles that there are, each with its weight.

    Parameters
    ----------
    on_blend
        Called with all weights when a person changes one.
    on_add
        Called with an image and its name when a person adds one; may raise, and then nothing is added.
    """

    def __init__(self, on_blend: Callable[[tuple[float, ...]], None], on_add: Handler) -> None:
        self._on_blend = on_blend
        self._filling = Filling(threading.RLock())
        self._names: list[str] = []
        self.tiles: list[StyleTile] = []
        self._row = row([])
        # The list is not shown: the tiles are the list.
        self.adding = PhotoPicker({"style": None}, on_add, "Style", is_listing=False)
        super().__init__([self._row, self.adding], layout={"width": "auto", "flex": "1 1 250px"})

    def show_styles(self, pictures: Mapping[str, NDArray[np.uint8]]) -> None:
        """Show other styles, by name."""
        if list(pictures) == self._names:
            for tile, picture in zip(self.tiles, pictures.values(), strict=True):
                tile.show_picture(picture)
            return
        self._names = list(pictures)
        former, self.tiles = self.tiles, [StyleTile(picture, name) for name, picture in pictures.items()]
        for index, tile in enumerate(self.tiles):
            tile.weight.observe(self._weighed, "value")
            tile.alone.on_click(partial(self._only, index))
        self._row.children = self.tiles
        for tile in former:
            close_parts(tile)
            tile.close()

    def show_weights(self, weights: Sequence[float]) -> None:
        """Show the weight of each."""
        with self._filling:
            for tile, weight in zip(self.tiles, weights, strict=True):
                tile.show(weight, is_only=len(self.tiles) == 1)

    def _weighed(self, change: Any) -> None:
        if not self._filling:
            self._on_blend(tuple(tile.weight.value for tile in self.tiles))

    def _only(self, index: int, button: Any) -> None:
        self._on_blend(only(index, len(self.tiles)))


def only(index: int, count: int) -> tuple[float, ...]:
    """Return weights with which one of so many styles is there alone.

    >>> only(1, 3)
    (0.0, 1.0, 0.0)
    """
    return tuple(float(each == index) for each in range(count))
