"""Thousands of tiles - channels, filters, patches, thumbnails - to scroll, compare, read off and select."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, table
from cnnviz_widgets.render.mosaic import PNG_TILES, mosaic_png
from cnnviz_widgets.render.normalize import shared_range
from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._described import Bundle, described
from cnnviz_widgets.views._payload import (
    DATA_BYTES,
    Payload,
    check_colors,
    check_index,
    check_order,
    check_steps,
    nearest_frame,
    tile_traits,
)


class TileGrid(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See many maps at once as a scrolling grid of colored tiles, each with its number.

    The legend gives the colors their values. Hover reads a value off; a click or the arrow keys select a
    tile, Enter enlarges it, Escape goes back. One switch colors all tiles on one scale or each on its own,
    another puts zero in the middle. All of that happens in the page, without a kernel, too.

    Values travel as 16-bit steps of each tile's own range, so what hover shows is off by less than
    1/130,000 of that range. Where that would exceed the 4 MB a saved widget may take, they travel as 8-bit
    steps, and where that is too much still, as means of square blocks; the page marks such values with "≈"
    or names the blocks.

    Parameters
    ----------
    maps : array [N, H, W] or [N, H, W, 3], or uint8 array [N, H, W, 3]
        Values of any real type; three a pixel are shown as red, green and blue, where zero is middle gray.
        Or, as uint8, color pictures (which have no scale). Values beyond float32 count as infinite; NaN and
        infinities are marked.
    labels : N strings, optional
        What to call the tiles. The default counts them: "channel 0", "channel 1", ...
    badges : mapping from tile index to text, or N texts, optional
        Short remarks such as "dead", drawn on the tile and read out with it.
    badge_colors : mapping from badge to "#rrggbb", optional
        For badges that every tile has: they stand below the tile, in white on their colors, and cover nothing.
    order : list of tile indices, optional
        Which tiles to show and in which order; see `order`.
    unit : str
        What the values are, for the legend and the hover text.
    noun : str
        What a tile is, for the default labels.
    axes : two strings
        What the rows and the columns of a tile are, for the hover text.
    zero_centered : bool, optional
        Put zero in the middle of a diverging scale. The default does so when any value is negative.
    scale : {"shared", "each"}
        One scale for all tiles, or one each.
    selected : int
        The selected tile at first, -1 for none.
    tile_size : int
        Longer side of a tile in CSS pixels; 0 picks one that suits the maps.
    max_height : int
        Height in CSS pixels beyond which the grid scrolls.
    layout : ipywidgets.Layout or dict, optional

    Attributes
    ----------
    selected : int
        Index of the selected tile in `maps`, whatever the order; -1 for none. Changes on click and keys.
    enlarged : int
        Index of the enlarged tile, -1 for none.
    picks : bool
        A click, or Enter, picks a tile: it calls what `on_pick` was given, and enlarges nothing.
    position : [row, column]
        The place last clicked in a tile, or chosen with Enter in the enlarged one, in the coordinates of
        `maps`; [-1, -1] for none. It is marked in the selected tile.
    pointer : [tile, row, column]
        What the pointer is on, at most some twenty times a second; [-1, -1, -1] outside.
    step : int
        With `set_frames`: the step whose frame is shown, or else the one nearest to it; -1 for the last.
    scale, zero_centered, tile_size, sequential, diverging
        The choices of the page's controls; `sequential` and `diverging` are the names of color tables.

    Raises
    ------
    TypeError, ValueError, IndexError
        Where an argument doesn't fit the maps, before anything is changed.

    Examples
    --------
    >>> grid = TileGrid(np.random.default_rng(0).normal(size=(8, 5, 5)), badges={3: "dead"})
    >>> grid.order = [3, 1, 2]
    >>> grid.selected = 2
    """

    _esm = bundle("tile_grid")

    # The tiles. They change together, in one message; `_serial` counts the changes.
    _data = traitlets.Bytes(b"").tag(sync=True)
    _ranges = traitlets.Bytes(b"").tag(sync=True)
    _shape = traitlets.List(traitlets.Int(), [0, 1, 1]).tag(sync=True)
    _extent = traitlets.List(traitlets.Int(), [1, 1]).tag(sync=True)
    _factor = traitlets.Int(1).tag(sync=True)
    _encoding = traitlets.Enum(["uint16", "uint8", "rgb"], "uint16").tag(sync=True)
    _channels = traitlets.Int(1).tag(sync=True)
    _labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _badges = traitlets.Dict(value_trait=traitlets.Unicode(), key_trait=traitlets.Unicode()).tag(sync=True)
    _badge_colors = traitlets.Dict(value_trait=traitlets.Unicode()).tag(sync=True)
    _order = traitlets.Bytes(b"").tag(sync=True)
    _serial = traitlets.Int(0).tag(sync=True)
    _steps = traitlets.List(traitlets.Int()).tag(sync=True)

    _tables = traitlets.Bytes().tag(sync=True)
    _sequential_names = traitlets.List(traitlets.Unicode(), list(SEQUENTIAL)).tag(sync=True)
    _diverging_names = traitlets.List(traitlets.Unicode(), list(DIVERGING)).tag(sync=True)

    unit = traitlets.Unicode("activation").tag(sync=True)
    noun = traitlets.Unicode("channel").tag(sync=True)
    axes = traitlets.List(traitlets.Unicode(), ["row", "column"], minlen=2, maxlen=2).tag(sync=True)
    scale = traitlets.Enum(["shared", "each"], "shared").tag(sync=True)
    zero_centered = traitlets.Bool(False).tag(sync=True)
    sequential = traitlets.Enum(list(SEQUENTIAL), SEQUENTIAL[0]).tag(sync=True)
    diverging = traitlets.Enum(list(DIVERGING), DIVERGING[0]).tag(sync=True)
    tile_size = traitlets.Int(0, min=0, max=1024).tag(sync=True)
    max_height = traitlets.Int(420, min=60).tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    enlarged = traitlets.Int(-1).tag(sync=True)
    picks = traitlets.Bool(False).tag(sync=True)
    position = traitlets.List(traitlets.Int(), [-1, -1], minlen=2, maxlen=2).tag(sync=True)
    pointer = traitlets.List(traitlets.Int(), [-1, -1, -1], minlen=3, maxlen=3).tag(sync=True)
    step = traitlets.Int(-1, min=-1).tag(sync=True)

    def __init__(
        self,
        maps: ArrayLike,
        *,
        labels: Iterable[str] | None = None,
        badges: Mapping[int, str] | Sequence[str | None] | None = None,
        badge_colors: Mapping[str, str] | None = None,
        order: ArrayLike | None = None,
        unit: str = "activation",
        noun: str = "channel",
        axes: Sequence[str] = ("row", "column"),
        zero_centered: bool | None = None,
        scale: str = "shared",
        selected: int = -1,
        tile_size: int = 0,
        max_height: int = 420,
        layout: ipywidgets.Layout | dict[str, Any] | None = None,
    ) -> None:
        if scale not in ("shared", "each"):
            raise ValueError(f'scale is "shared" or "each"; got {scale!r}')
        tiles = tile_traits(maps, labels, badges, order, zero_centered)
        if selected != -1:
            selected = check_index(selected, tiles["_shape"][0], "`selected`")
        options = {} if layout is None else {"layout": layout}
        super().__init__(
            **tiles,
            _tables=b"".join(table(name).tobytes() for name in (*SEQUENTIAL, *DIVERGING)),
            _badge_colors=check_colors(badge_colors),
            unit=unit,
            noun=noun,
            axes=list(axes),
            scale=scale,
            selected=selected,
            tile_size=tile_size,
            max_height=max_height,
            **options,
        )

    def set_maps(
        self,
        maps: ArrayLike,
        *,
        labels: Iterable[str] | None = None,
        badges: Mapping[int, str] | Sequence[str | None] | None = None,
        order: ArrayLike | None = None,
        unit: str | None = None,
        noun: str | None = None,
        axes: Sequence[str] | None = None,
        zero_centered: bool | None = None,
        selected: int | None = None,
    ) -> None:
        """Swap all tiles, labels, badges and the order at once: the page never shows a mixture.

        Parameters
        ----------
        maps, labels, badges, order, zero_centered
            As for the constructor; what is left out takes its default again.
        unit, noun, axes
            Kept as they are by default.
        selected : int, optional
            The tile to select, -1 for none. The default keeps the selected index, and with it the position
            and what is enlarged, as far as the new maps have them.
        """
        traits = tile_traits(maps, labels, badges, order, zero_centered)
        if axes is not None:
            traits["axes"] = list(axes)
        self._swap(traits, selected=selected, unit=unit, noun=noun)

    def set_frames(
        self,
        frames: ArrayLike,
        steps: ArrayLike,
        *,
        badges: Sequence[Mapping[int, str]] | None = None,
        data_bytes: int = DATA_BYTES,
        unit: str | None = None,
        noun: str | None = None,
        zero_centered: bool | None = None,
    ) -> None:
        """Show the same tiles at several steps, all on one scale; `step` chooses, in the page alone.

        Parameters
        ----------
        frames : array [F, N, H, W] of values, or uint8 array [F, N, H, W, 3]
        steps : F whole numbers, ascending
            When in training each frame was taken.
        badges : for each frame a mapping from tile index to text, optional
        data_bytes : int
            What all frames may take together; beyond that they are made coarser, as many maps are.
        unit, noun : str, optional
            Kept as they are by default.
        zero_centered : bool, optional
            The default does so when any value of any frame is negative.
        """
        array = np.asarray(frames)
        if array.ndim not in (4, 5):
            raise ValueError(f"expected frames [F, N, H, W] or [F, N, H, W, 3]; got {list(array.shape)}")
        count, chosen = array.shape[1], check_steps(steps, len(array))
        flat = {
            frame * count + check_index(tile, count, "a badge's tile"): text
            for frame, each in enumerate(badges or ())
            for tile, text in each.items()
        }
        tiles = array.reshape(-1, *array.shape[2:])
        traits = tile_traits(tiles, None, flat, None, zero_centered, data_bytes=data_bytes)
        traits["_shape"] = [count, *traits["_shape"][1:]]
        traits["_order"] = check_order(None, count)
        self._swap(traits | {"_steps": chosen}, unit=unit, noun=noun)

    def _swap(
        self,
        traits: dict[str, Any],
        *,
        selected: int | None = None,
        unit: str | None,
        noun: str | None,
    ) -> None:
        count, (rows, columns) = traits["_shape"][0], traits["_extent"]
        if selected is None:
            selected = self.selected if self.selected < count else -1
        elif selected != -1:
            selected = check_index(selected, count, "`selected`")
        if selected != self.selected or self.position[0] >= rows or self.position[1] >= columns:
            traits["position"] = [-1, -1]
        traits["selected"] = selected
        traits["enlarged"] = self.enlarged if self.enlarged < count else -1
        traits["pointer"] = [-1, -1, -1]
        traits["_serial"] = self._serial + 1
        traits |= {name: text for name, text in (("unit", unit), ("noun", noun)) if text is not None}
        with self.hold_sync(), self.hold_trait_notifications():
            for name, value in traits.items():
                setattr(self, name, value)

    @property
    def order(self) -> NDArray[np.uint32]:
        """The indices of the tiles on show, in the order they are shown.

        Set it to sort or to filter: fewer indices show fewer tiles, `None` shows all.
        """
        return np.frombuffer(self._order, "<u4").astype(np.uint32)

    @order.setter
    def order(self, order: ArrayLike | None) -> None:
        self._order = check_order(order, self._shape[0])

    @property
    def count(self) -> int:
        """The number of tiles, shown or not."""
        return self._shape[0]

    def to_png(self, max_tiles: int = PNG_TILES) -> bytes | None:
        """Return a picture of the first tiles on show, or `None` where there is none."""
        shown = self.order[:max_tiles] + nearest_frame(self._steps, self.step) * self.count
        if len(shown) == 0:
            return None
        colors = self.diverging if self.zero_centered else self.sequential
        tiles = self._payload().carried(shown)
        return mosaic_png(tiles, scale=self.scale, zero_centered=self.zero_centered, colormap=colors)

    def to_text(self) -> str:
        """Return what there is to see in one line, for viewers that show no pictures."""
        count, (rows, columns) = self.count, self._extent
        if count == 0:
            return "TileGrid: no tiles"
        parts = [f"TileGrid: {count} tiles of {rows} x {columns}"]
        if self._steps:
            parts.append(f"step {self._steps[nearest_frame(self._steps, self.step)]}")
        if self._encoding != "rgb":
            low, high = shared_range(self._payload().tiles.ranges)
            parts.append(f"{self.unit} from {low:.4g} to {high:.4g}")
        if len(self.order) != count:
            parts.append(f"{len(self.order)} of them shown")
        if self._badges:
            parts.append(f"{len(self._badges)} with a badge")
        return ", ".join(parts)

    def on_pick(self, picked: Callable[[int], None]) -> None:
        """Call a function with the index of each tile that is clicked, or chosen with Enter, from now on."""

        def received(widget: TileGrid, content: Any, buffers: Any) -> None:
            # A tile picked just before the maps were swapped was one of the former.
            if "picked" in content and content["serial"] == self._serial:
                picked(check_index(content["picked"], self.count, "the picked tile"))

        self.picks = True
        self.on_msg(received)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take the page's changes; a tile clicked just before the maps were swapped may be gone."""
        gone = [name for name in ("selected", "enlarged") if sync_data.get(name, -1) >= self.count]
        super().set_state({name: value for name, value in sync_data.items() if name not in gone})
        if gone:
            self.send_state(gone)

    @traitlets.validate("selected", "enlarged")
    def _check_tile(self, proposal: Any) -> int:
        value = proposal["value"]
        return -1 if value == -1 else check_index(value, self.count, f"`{proposal['trait'].name}`")

    def _payload(self) -> Payload:
        count, rows, columns = self._shape
        extent = (self._extent[0], self._extent[1])
        shape = (count * max(1, len(self._steps)), rows, columns)
        return Payload(self._data, self._ranges, shape, extent, self._factor, self._encoding, self._channels)

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        return described(super()._repr_mimebundle_(**options), self.to_text, self.to_png)
