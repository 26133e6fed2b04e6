"""Boxes and the chosen position over a picture, drawn on an ipycanvas canvas or with Pillow."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import ipycanvas
from PIL import ImageDraw

from cnnviz_widgets.views._text import elide, printable

HALO_COLOR = "#000000"
MARK_COLOR = "#ffffff"
_LABEL_EMS = 24.0
_FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"

# ipycanvas sends everything through one object per process, which gathers commands while it is held, from
# whatever thread they come. So one stage at a time draws.
CANVAS_LOCK = threading.RLock()


@dataclass(frozen=True)
class StageBox:
    """A rectangle around ``image[top:bottom, left:right]``, with a color and a label.

    Parameters
    ----------
    top, left, bottom, right
        In image pixels, half-open. A box may reach beyond the image, as receptive fields do: the sides
        that do are drawn dashed at the image's border.
    color
        ``"#rrggbb"``.
    label
        Text beside the box; it is text, whatever it holds.

    Raises
    ------
    ValueError
        The box is empty, or the color is not written as ``"#rrggbb"``.
    """

    top: float
    left: float
    bottom: float
    right: float
    color: str = "#ffb000"
    label: str = ""

    def __post_init__(self) -> None:
        # Negated so that a NaN is refused, too.
        if not (self.top < self.bottom and self.left < self.right):
            raise ValueError(
                "a box needs top < bottom and left < right, got "
                f"({self.top}, {self.left}, {self.bottom}, {self.right})"
            )
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise ValueError(f"a box color is written as '#rrggbb', got {self.color!r}")

    def summary(self) -> str:
        """Return the box in words."""
        rows = f"rows {self.top:g} to {self.bottom:g}, columns {self.left:g} to {self.right:g}"
        return f"{printable(self.label) or 'box'}: {rows}"


@dataclass(frozen=True)
class Side:
    """One side of a box on the canvas: from (x0, y0) to (x1, y1), dashed where it stands for one outside."""

    x0: float
    y0: float
    x1: float
    y1: float
    dashed: bool


@dataclass(frozen=True)
class Scene:
    """What lies over the picture, and the scale from image pixels to canvas pixels."""

    boxes: Sequence[StageBox]
    mark: tuple[int, int] | None
    height: int
    width: int
    scale: float  # canvas pixels per image pixel
    density: float  # canvas pixels per CSS pixel

    def sides(self, box: StageBox) -> list[Side]:
        """Return the visible sides of a box, none if it lies outside the image altogether."""
        if box.top >= self.height or box.left >= self.width or box.bottom <= 0 or box.right <= 0:
            return []
        # Lines are centered on the edge, so half a line inside keeps those at the border visible.
        inset = self.density
        top, bottom = (_within(y, self.height, self.scale, inset) for y in (box.top, box.bottom))
        left, right = (_within(x, self.width, self.scale, inset) for x in (box.left, box.right))
        return [
            Side(left, top, right, top, box.top < 0),
            Side(right, top, right, bottom, box.right > self.width),
            Side(right, bottom, left, bottom, box.bottom > self.height),
            Side(left, bottom, left, top, box.left < 0),
        ]

    def mark_box(self) -> tuple[float, float, float, float] | None:
        """Return (left, top, right, bottom) of the chosen pixel on the canvas, at least 7 CSS pixels wide."""
        if self.mark is None:
            return None
        row, column = self.mark
        half = max(self.scale, 7 * self.density) / 2
        x, y = (column + 0.5) * self.scale, (row + 0.5) * self.scale
        return x - half, y - half, x + half, y + half


def _within(edge: float, limit: int, scale: float, inset: float) -> float:
    return min(max(edge * scale, inset), limit * scale - inset)


def draw_on_canvas(scene: Scene, canvas: ipycanvas.Canvas, before: ipycanvas.Canvas) -> None:
    """Draw a scene on a canvas, in place of what is there, with one message.

    A page that was loaded anew doesn't know which canvas commands are for until it is told to switch, and
    ipycanvas only tells when the canvas changes. So each batch begins with a command to another canvas,
    `before`, whose content is cleared. The caller holds `CANVAS_LOCK`.
    """
    with ipycanvas.hold_canvas():
        before.clear()
        canvas.clear()
        for box in scene.boxes:
            _draw_box(scene, box, canvas)
        frame = scene.mark_box()
        if frame is not None:
            left, top, right, bottom = frame
            for color, width in ((HALO_COLOR, 4.0), (MARK_COLOR, 1.5)):
                canvas.stroke_style = color
                canvas.line_width = width * scene.density
                canvas.stroke_rect(left, top, right - left, bottom - top)


def _draw_box(scene: Scene, box: StageBox, canvas: ipycanvas.Canvas) -> None:
    sides = scene.sides(box)
    for color, width in ((HALO_COLOR, 4.5), (box.color, 2.0)):
        canvas.stroke_style = color
        canvas.line_width = width * scene.density
        canvas.global_alpha = 0.55 if color == HALO_COLOR else 1.0
        for dashed in (False, True):
            canvas.set_line_dash([6 * scene.density, 5 * scene.density] if dashed else [])
            for side in sides:
                if side.dashed is dashed:
                    canvas.stroke_line(side.x0, side.y0, side.x1, side.y1)
    canvas.set_line_dash([])
    if box.label and sides:
        _draw_label(scene, box, sides, canvas)


def _draw_label(scene: Scene, box: StageBox, sides: Sequence[Side], canvas: ipycanvas.Canvas) -> None:
    size = 12 * scene.density
    top, bottom, left = sides[0].y0, sides[2].y0, sides[0].x0
    # Above the box, or below it, or inside where neither has room.
    y = top - 0.5 * size
    if y < 1.2 * size:
        y = bottom + 1.3 * size if bottom + 1.6 * size < scene.height * scene.scale else top + 1.5 * size
    canvas.font = f"600 {size:g}px {_FONT}"
    canvas.line_join = "round"
    canvas.stroke_style = HALO_COLOR
    canvas.line_width = 0.3 * size
    canvas.fill_style = box.color
    text = elide(printable(box.label), _LABEL_EMS)
    room = scene.width * scene.scale - 2 * scene.density
    x = max(min(left, room - 0.55 * size * len(text)), scene.density)
    canvas.stroke_text(text, x, y, room)
    canvas.fill_text(text, x, y, room)


def draw_with_pillow(scene: Scene, pen: ImageDraw.ImageDraw) -> None:
    """Draw a scene on a Pillow picture, for viewers that run no widgets."""
    for box in scene.boxes:
        for color, width in ((HALO_COLOR, 4.0), (box.color, 2.0)):
            for side in scene.sides(box):
                ends = (side.x0, side.y0, side.x1, side.y1)
                pen.line(ends, fill=color, width=round(width * scene.density))
    frame = scene.mark_box()
    if frame is not None:
        for color, width in ((HALO_COLOR, 4.0), (MARK_COLOR, 2.0)):
            pen.rectangle(frame, outline=color, width=round(width * scene.density))
