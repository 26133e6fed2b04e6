"""One picture with a heat map over it, boxes, and the position of the pointer: the stage of many widgets.

The picture, the heat map and what covers a part of them are elements of their own, whose bytes are part of
the widgets' state: they survive a reload and a saved page without a kernel. Boxes are drawn by ipycanvas above
them, so moving a box sends a few numbers; they are drawn again whenever a page says that it is ready. A second,
empty canvas takes the pointer. The style sheet keeps the focus away from both, because a canvas of ipycanvas
that has it swallows every key, Tab included; the keyboard has the row and column fields instead.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.encode import png
from cnnviz_widgets.views._boxes import StageBox
from cnnviz_widgets.views._closing import close_parts
from cnnviz_widgets.views._cover import checked_cover, cover_layer
from cnnviz_widgets.views._heat import Heat, make_heat
from cnnviz_widgets.views._overlay import Overlay, Position
from cnnviz_widgets.views._pacing import Pacer
from cnnviz_widgets.views._pictures import checked_image, draw_still, encode_heat, encode_photo
from cnnviz_widgets.views._style import style_sheet
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views._traits import Float, TraitValueError

PIXELATED_FROM = 3.0  # from this enlargement on, pixels are shown as squares
TALLEST = 1.5  # height over width of the stage at most; taller pictures are shown narrower
HEAT_INTERVAL = 1 / 15


class ImageStage(widgets.VBox):  # type: ignore[misc, unused-ignore]
    """See one picture with a heat map and boxes over it, and follow the pointer in its pixels.

    Parameters
    ----------
    image : uint8 array [H, W, 3]
        The picture. Small ones are enlarged with square pixels, large ones are shown smaller.
    width : int
        Width on the page in CSS pixels; the stage shrinks with its container.

    Attributes
    ----------
    pointer : (row, column) or None
        Image pixel under the pointer; None once it has left. Observe it, or see `on_pointer`.
    clicked : (row, column) or None
        Image pixel last clicked, or entered by keyboard. It is marked. Can be observed and set.
    pressed : bool
        Whether the main button, or a finger, is down on the picture, for dragging.
    opacity : float in [0, 1]
        Of the heat map, 0.5 at first. Link a slider to it.

    Notes
    -----
    All methods may be called from any thread. Redrawing is paced: of a burst only the last state is sure to
    be drawn. While the pointer is over the picture, ipycanvas keeps the mouse wheel to itself, so a scroll
    that begins there doesn't move the page.

    Examples
    --------
    >>> stage = ImageStage(np.zeros((28, 28, 3), np.uint8), width=224)
    >>> stage.set_heat([[0.0, 1.0], [2.0, 3.0]], name="activation")
    >>> stage.set_boxes([StageBox(0, 0, 14, 14, label="receptive field")])
    """

    pointer = traitlets.Any(None, allow_none=True, help="(row, column) under the pointer, or None.")
    clicked = traitlets.Any(None, allow_none=True, help="(row, column) last clicked or entered, or None.")
    pressed = traitlets.Bool(False)
    opacity = Float(0.5, min=0.0, max=1.0)

    _pacers: tuple[Pacer, ...] = ()  # a stage that could not be made is closed, too

    def __init__(self, image: NDArray[np.uint8], *, width: int = 448) -> None:
        if not 32 <= width <= 4096:
            raise ValueError(f"width must be from 32 to 4096 CSS pixels, got {width}")
        self._lock = threading.RLock()
        self._width = width
        self._image = checked_image(image)
        self._heat: Heat | None = None
        self._boxes: tuple[StageBox, ...] = ()
        self._cover: tuple[NDArray[np.bool_], NDArray[np.uint8]] | None = None
        self._click_handlers: list[Callable[[Position], object]] = []
        self._filling = False
        self._redraw = Pacer(self._draw, on_error=self._show_error)
        self._recolor = Pacer(self._show_heat, HEAT_INTERVAL, on_error=self._show_error)
        self._reread = Pacer(self._read, on_error=self._show_error)
        self._recover = Pacer(self._show_cover, on_error=self._show_error)
        self._pacers = (self._redraw, self._recolor, self._reread, self._recover)
        self._overlay = self._make_overlay()
        self._photo = widgets.Image()
        self._heat_view, self._cover_view = (widgets.Image(layout={"display": "none"}) for _ in range(2))
        self._heat_view.add_class("cvz-layer")
        self._cover_view.add_class("cvz-layer").add_class("cvz-pixelated")
        self._frame = widgets.Box()
        self._frame.add_class("cvz-frame")
        self._legend = widgets.HTML()
        self._readout = widgets.HTML()
        self._row, self._column = (
            widgets.BoundedIntText(
                description=name,
                min=0,
                layout={"width": f"{label + 74}px"},
                style={"description_width": f"{label}px"},
            )
            for name, label in (("pixel row", 66), ("pixel column", 88))
        )
        for note in (self._legend, self._readout):
            note.add_class("cvz-note")
        fields = widgets.HBox([self._row, self._column, self._readout], layout={"flex_flow": "row wrap"})
        super().__init__([style_sheet(), self._frame, self._legend, fields])
        for name in ("cvz-views", "cvz-stage"):
            self.add_class(name)
        for number in (self._row, self._column):
            number.observe(self._on_field, "value")
        self._lay_out()

    # What is shown

    @property
    def image(self) -> NDArray[np.uint8]:
        """The picture, uint8 [H, W, 3]. One of another size takes heat map, boxes and position away."""
        return self._image

    @image.setter
    def image(self, image: NDArray[np.uint8]) -> None:
        picture = checked_image(image)
        with self._lock:
            resized = picture.shape != self._image.shape
            self._image = picture
            if resized:
                self._heat, self._boxes, self._cover = None, (), None
                before, self._overlay = self._overlay, self._make_overlay()
        if not resized:
            self._fill_photo()
            return
        self.pointer = self.clicked = None
        self._lay_out()
        before.close()
        self._recolor.request()
        self._recover.request()

    def set_heat(
        self,
        values: ArrayLike,
        *,
        low: float | None = None,
        high: float | None = None,
        colormap: str | None = None,
        zero_centered: bool | None = None,
        interpolation: str = "bilinear",
        stride: tuple[float, float] | None = None,
        center: tuple[float, float] | None = None,
        opacity: float | None = None,
        name: str = "",
        unit: str = "",
    ) -> None:
        """Show a heat map over the picture, with a legend below; cells that are NaN stay transparent.

        Parameters
        ----------
        values : array [h, w]
            Any resolution. It is copied.
        low, high : float, optional
            Ends of the scale; by default the smallest and the largest finite value.
        colormap : str, optional
            A name `render.colormaps.table` knows; by default a diverging one when zero-centered.
        zero_centered : bool, optional
            Put zero in the middle of the scale; by default whenever the low end is negative.
        interpolation : {"bilinear", "nearest"}
        stride, center : (row, column), optional
            Where the cells lie on the picture, in its pixels, as in `render.resize.resize_map`; by default
            they share the whole picture evenly.
        opacity : float, optional
            By default it stays as it is.
        name, unit : str
            What the values are, for legend and reading; text, whatever they hold.

        Raises
        ------
        ValueError
            The shape, the scale, the color map or the interpolation is wrong, or no value is finite and
            the scale is not given.
        """
        if opacity is not None and not 0 <= opacity <= 1:
            raise ValueError(f"opacity lies in [0, 1]; got {opacity!r}")
        heat = make_heat(
            values,
            low=low,
            high=high,
            colormap=colormap,
            zero_centered=zero_centered,
            interpolation=interpolation,
            stride=stride,
            center=center,
            name=name,
            unit=unit,
        )
        with self._lock:
            self._heat = heat
        if opacity is not None:
            self.opacity = opacity
        self._recolor.request()
        self._reread.request()

    def clear_heat(self) -> None:
        """Take the heat map and its legend away."""
        with self._lock:
            self._heat = None
        self._recolor.request()
        self._reread.request()

    def set_boxes(self, boxes: Sequence[StageBox | tuple[float, float, float, float]]) -> None:
        """Show these boxes instead of the ones before: `StageBox` or plain (top, left, bottom, right)."""
        made = tuple(box if isinstance(box, StageBox) else StageBox(*box) for box in boxes)
        with self._lock:
            if made == self._boxes:
                return
            self._boxes = made
        self._redraw.request()

    def set_cover(self, mask: NDArray[np.bool_], instead: NDArray[np.uint8]) -> None:
        """Show another picture [H, W, 3] wherever a mask [H, W] is true, with a line around it; over all but boxes."""
        cover = checked_cover(mask, instead, (self._image.shape[0], self._image.shape[1]))
        with self._lock:
            self._cover = cover if cover[0].any() else None
        self._recover.request()

    def clear_cover(self) -> None:
        """Show all of the picture again."""
        with self._lock:
            self._cover = None
        self._recover.request()

    # What is asked

    def on_pointer(self, callback: Callable[[Position | None], object]) -> None:
        """Call `callback` with the (row, column) of each pixel the pointer comes to, None when it leaves."""
        self.observe(lambda change: callback(change["new"]), "pointer")

    def on_click(self, callback: Callable[[Position], object]) -> None:
        """Call `callback((row, column))` at each click, also a second one at the same pixel."""
        self._click_handlers.append(callback)

    @traitlets.validate("pointer", "clicked")
    def _check_position(self, proposal: dict[str, Any]) -> Position | None:
        position = proposal["value"]
        if position is None:
            return None
        height, width = self._image.shape[:2]
        if len(position) != 2 or not (0 <= position[0] < height and 0 <= position[1] < width):
            raise TraitValueError(
                f"a position is (row, column) inside the image of {height} x {width} pixels, got {position}"
            )
        return int(position[0]), int(position[1])

    @traitlets.observe("clicked")
    def _on_clicked(self, change: dict[str, Any]) -> None:
        if change["new"] is not None:
            with self._lock:
                self._filling = True
                self._row.value, self._column.value = change["new"]
                self._filling = False
        self._redraw.request()
        self._reread.request()

    @traitlets.observe("pointer")
    def _on_pointer(self, _change: dict[str, Any]) -> None:
        self._reread.request()

    @traitlets.observe("opacity")
    def _on_opacity(self, _change: dict[str, Any]) -> None:
        self._recolor.request()

    def _on_field(self, _change: dict[str, Any]) -> None:
        with self._lock:
            if self._filling:
                return
        self._choose((self._row.value, self._column.value))

    def _choose(self, position: Position) -> None:
        self.clicked = position
        for handler in list(self._click_handlers):
            handler(position)

    # Drawing

    def _make_overlay(self) -> Overlay:
        height, width = self._image.shape[:2]
        shown = min(self._width, TALLEST * self._width * width / height)
        return Overlay(
            height,
            width,
            shown,
            point=lambda position: self.set_trait("pointer", position),
            press=lambda down: self.set_trait("pressed", down),
            click=self._choose,
            ready=self._redraw.request,
        )

    def _lay_out(self) -> None:
        """Fit the stage to the overlay, which is a new one for each size: resizing a canvas would race."""
        overlay = self._overlay
        with self._lock:
            self._filling = True
            self._row.max, self._column.max = overlay.height - 1, overlay.width - 1
            self._filling = False
        (self._photo.add_class if self._enlarged() > 1 else self._photo.remove_class)("cvz-pixelated")
        self._frame.layout.width = f"{overlay.shown_width:.0f}px"
        self._fill_photo()
        self._frame.children = (self._photo, self._heat_view, self._cover_view, *overlay.canvases)
        self._redraw.request()
        self._reread.request()

    def _enlarged(self) -> int:
        """How many CSS pixels wide each pixel is where they are to be seen as squares, otherwise 1."""
        factor = self._overlay.shown_width / self._overlay.width
        return round(factor) if factor >= PIXELATED_FROM else 1

    def _scale(self) -> float:
        """How many pixels of the heat map's picture there are for one of the image: no more than are seen."""
        enlarged = self._enlarged()
        return enlarged if enlarged > 1 else min(1.0, self._most / max(self._image.shape[:2]))

    @property
    def _most(self) -> int:
        """How many pixels long a picture on the page may be: twice the stage's width, for fine screens."""
        return 2 * self._width

    def _show_error(self, error: Exception) -> None:
        """Say what went wrong while drawing on a timer's thread."""
        self._readout.value = as_html(f"{type(error).__name__}: {error}")

    def _fill_photo(self) -> None:
        data, format = encode_photo(self._image, self._most)
        with self._photo.hold_sync():
            self._photo.value, self._photo.format = data, format

    def _show_heat(self) -> None:
        with self._lock:
            heat, opacity, scale = self._heat, self.opacity, self._scale()
            height, width = self._image.shape[:2]
        if heat is None:
            self._heat_view.layout.display = "none"
            self._legend.value = ""
            return
        layer = heat.layer(height, width, scale)
        layer[..., 3] = (layer[..., 3] * opacity).round().astype(np.uint8)
        data, format = encode_heat(layer)
        with self._heat_view.hold_sync():
            self._heat_view.value, self._heat_view.format = data, format
        self._heat_view.layout.display = None
        self._legend.value = heat.legend()

    def _show_cover(self) -> None:
        with self._lock:
            layer = self._covering()
        if layer is not None:
            self._cover_view.value = png(layer, effort=1)
        self._cover_view.layout.display = "none" if layer is None else None

    def _covering(self) -> NDArray[np.uint8] | None:
        if self._cover is None:
            return None
        # No more pixels of a large picture than are seen.
        step = -(-max(self._image.shape[:2]) // self._most)
        mask, instead = self._cover
        return cover_layer(mask[::step, ::step], instead[::step, ::step], self._enlarged())

    def _draw(self) -> None:
        with self._lock:
            overlay, boxes, mark = self._overlay, self._boxes, self.clicked
        overlay.draw(boxes, mark)

    def _read(self) -> None:
        """Say where the pointer is, or else the chosen pixel, and the heat map's value there."""
        with self._lock:
            position = self.pointer or self.clicked
            heat, height, width = self._heat, self._image.shape[0], self._image.shape[1]
        if position is None:
            text = "point at the image, or enter a pixel"
        else:
            text = f"pixel ({position[0]}, {position[1]})"
            if heat is not None:
                text += f" \u00b7 {heat.reading(heat.value_at(position, height, width))}"
        self._readout.value = as_html(text)

    def to_png(self) -> bytes:
        """Return the stage as it is now as a picture, for viewers that run no widgets."""
        with self._lock:
            image, heat, scene = self._image, self._heat, self._overlay.scene(self._boxes, self.clicked)
            cover = self._covering()
        return draw_still(image, heat, self.opacity, scene, cover=cover, pixelated=self._enlarged() > 1)

    def to_text(self) -> str:
        """Return what the stage shows in words."""
        with self._lock:
            height, width = self._image.shape[:2]
            heat, boxes = self._heat, self._boxes
        lines = [f"ImageStage: image of {height} x {width} pixels"]
        if heat is not None:
            lines.append(f"heat map: {heat.summary()}")
        return "\n".join([*lines, *(box.summary() for box in boxes)])

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        picture = base64.b64encode(self.to_png()).decode("ascii")
        return {**bundle, "text/plain": self.to_text(), "image/png": picture}

    def close(self) -> None:
        """Take the stage from the page and stop drawing."""
        for pacer in self._pacers:
            pacer.close()
        if hasattr(self, "_overlay"):
            self._overlay.close()
        close_parts(self)
        super().close()
