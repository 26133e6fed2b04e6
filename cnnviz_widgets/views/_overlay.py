"""The two ipycanvas canvases above a picture: one that boxes are drawn on, one that takes the pointer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipycanvas

from cnnviz_widgets.views._boxes import CANVAS_LOCK, Scene, StageBox, draw_on_canvas

Position = tuple[int, int]

DENSITY = 2  # canvas pixels per CSS pixel: sharp lines on common screens
CLICK_REACH = 6 * DENSITY  # farther between press and release is a drag


class Overlay:
    """Draws over a picture of one size, and tells in its pixels where the pointer is and what it does.

    Parameters
    ----------
    height, width
        Size of the picture in pixels.
    shown_width
        Its width on the page in CSS pixels.
    point
        Called with the (row, column) under the pointer, and with None when it has left.
    press
        Called with whether the button, or a finger, is down.
    click
        Called with the (row, column) of a click.
    ready
        Called when a page has loaded the canvases, which are empty then.
    """

    def __init__(
        self,
        height: int,
        width: int,
        shown_width: float,
        *,
        point: Callable[[Position | None], None],
        press: Callable[[bool], None],
        click: Callable[[Position], None],
        ready: Callable[[], None],
    ) -> None:
        self.height, self.width, self.shown_width = height, width, shown_width
        self._scale = DENSITY * shown_width / width
        self._point, self._press, self._click = point, press, click
        self._down_at: tuple[float, float] | None = None
        self._last_touch = (0.0, 0.0)
        size = {"width": round(self._scale * width), "height": max(round(self._scale * height), 1)}
        self._drawing, self._pointer = ipycanvas.Canvas(**size), ipycanvas.Canvas(**size)
        self._drawing.add_class("cvz-layer").add_class("cvz-boxes")
        self._pointer.add_class("cvz-layer").add_class("cvz-pointer")
        self._ready = ready
        self._drawing.on_client_ready(self._on_ready)
        self._pointer.on_mouse_move(self._on_move)
        self._pointer.on_mouse_down(self._on_down)
        self._pointer.on_mouse_up(self._on_up)
        self._pointer.on_mouse_out(self._on_leave)
        self._pointer.on_touch_start(self._on_touch)
        self._pointer.on_touch_move(self._on_touch)
        self._pointer.on_touch_end(self._on_touch_end)
        self._pointer.on_touch_cancel(self._on_leave_touch)

    @property
    def canvases(self) -> tuple[ipycanvas.Canvas, ipycanvas.Canvas]:
        """The elements to put above the picture, lowest first."""
        return self._drawing, self._pointer

    def draw(self, boxes: Sequence[StageBox], mark: Position | None) -> None:
        """Show these boxes and a mark around one pixel, in place of what was there."""
        with CANVAS_LOCK:
            # A command to a canvas the page doesn't have would end all drawing of ipycanvas there.
            if all(canvas.comm is not None for canvas in self.canvases):
                draw_on_canvas(self.scene(boxes, mark), self._drawing, self._pointer)

    def scene(self, boxes: Sequence[StageBox], mark: Position | None) -> Scene:
        """Return the same as something to be drawn elsewhere."""
        return Scene(boxes, mark, self.height, self.width, self._scale, DENSITY)

    def close(self) -> None:
        """Take the canvases away."""
        with CANVAS_LOCK:
            for canvas in self.canvases:
                canvas.close()

    def _on_ready(self) -> None:
        # A page that was loaded anew in the middle of a drag never tells of its end.
        self._on_leave(0, 0)
        self._ready()

    def _position(self, x: float, y: float) -> Position:
        row, column = int(y / self._scale), int(x / self._scale)
        return min(max(row, 0), self.height - 1), min(max(column, 0), self.width - 1)

    def _on_move(self, x: float, y: float) -> None:
        self._point(self._position(x, y))

    def _on_down(self, x: float, y: float) -> None:
        self._down_at = (x, y)
        self._point(self._position(x, y))
        self._press(True)

    def _on_up(self, x: float, y: float) -> None:
        began, self._down_at = self._down_at, None
        if began is None:
            return
        self._press(False)
        if abs(x - began[0]) + abs(y - began[1]) <= CLICK_REACH:
            self._click(self._position(x, y))

    def _on_leave(self, _x: float, _y: float) -> None:
        if self._down_at is not None:
            self._down_at = None
            self._press(False)
        self._point(None)

    def _on_touch(self, points: list[tuple[float, float]]) -> None:
        if points:
            self._last_touch = points[0]
            (self._on_down if self._down_at is None else self._on_move)(*points[0])

    def _on_touch_end(self, _points: list[tuple[float, float]]) -> None:
        self._on_up(*self._last_touch)
        self._point(None)

    def _on_leave_touch(self, _points: list[tuple[float, float]]) -> None:
        self._on_leave(*self._last_touch)
