"""An embedding map as a still picture, for viewers that run no widgets; and the colors of its classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, apply, table
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.normalize import symmetric_range, value_range

Colors = NDArray[np.uint8]

RIGHT, WRONG = 0, 6
"""Colors of right and wrong predictions among the class colors: blue and vermilion in any color vision."""

GRAY = (148, 148, 148)
"""Of points without a class or value."""

PLAIN = (63, 144, 218)

_SIZE = (640, 460)
_MARGIN = 14
_LEGEND_WIDTH = 150
_LEGEND_ROWS = 16
_SCALE = 2  # drawn larger, then averaged, as Pillow's circles have hard edges
_STILL_BYTES = 600_000

# Of the sets for any color vision by Okabe and Ito, Tol, and Petroff those ten that are furthest apart, all of a
# lightness that stands out from white and from black.
_CLASS_COLORS = "0072b2 ccbb44 009e73 cc79a7 56b4e9 832db6 d55e00 717581 aa4499 bd1f01"


def class_colors() -> Colors:
    """Return the colors of classes, uint8 [10, 3]; further classes begin again with the first."""
    return np.frombuffer(bytes.fromhex(_CLASS_COLORS), np.uint8).reshape(-1, 3)


def point_colors(
    mode: str, labels: NDArray[np.uint16], predictions: NDArray[np.uint16], values: NDArray[np.float32]
) -> Colors | None:
    """Return the color of each point, uint8 [N, 3], or None where all are alike."""
    palette = class_colors()
    if mode in ("label", "prediction"):
        codes = labels if mode == "label" else predictions
        return np.where((codes == 65_535)[:, None], GRAY, palette[codes % len(palette)]).astype(np.uint8)
    if mode == "correct":
        unknown = (labels == 65_535) | (predictions == 65_535)
        judged = palette[np.where(labels == predictions, RIGHT, WRONG)]
        return np.where(unknown[:, None], GRAY, judged).astype(np.uint8)
    if mode == "value":
        found = value_range(values)
        if found.empty:
            return np.full((len(values), 3), GRAY, np.uint8)
        low, high = value_ends(values)
        known = np.where(np.isfinite(values), values, np.nan)
        return apply(known, table((DIVERGING if found.low < 0 else SEQUENTIAL)[0]), low, high, missing=GRAY)
    return None


def value_ends(values: NDArray[np.float32]) -> tuple[float, float]:
    """Return the ends of the color scale: zero lies in its middle where any value is negative."""
    found = value_range(values)
    return symmetric_range(found.low, found.high) if found.low < 0 else (found.low, found.high)


def draw_map(
    points: NDArray[np.float32],
    mode: str,
    class_names: Sequence[str],
    labels: NDArray[np.uint16],
    predictions: NDArray[np.uint16],
    values: NDArray[np.float32],
    value_name: str,
) -> bytes:
    """Return the map as PNG: points in their colors on white, and beside them what the colors mean."""
    width, height = _SIZE
    picture = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    pen = ImageDraw.Draw(picture)
    room = width - (_LEGEND_WIDTH if mode != "none" else 0)
    places = _fit(points.astype(np.float64), room, height) * _SCALE
    radius = (1.2 if len(points) > 5000 else 2.2 if len(points) > 500 else 3.5) * _SCALE
    colors = point_colors(mode, labels, predictions, values)
    for index, (x, y) in enumerate(places.tolist()):
        fill = PLAIN if colors is None else tuple(colors[index].tolist())
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    shown = sorted({int(code) for code in (labels if mode == "label" else predictions)} - {65_535})
    rows = _legend_rows(mode, [(class_names[code], code) for code in shown], values, value_name)
    if mode == "correct" and ((labels == 65_535) | (predictions == 65_535)).any():
        rows.append(("unknown", GRAY))
    for row, (text, color) in enumerate(rows):
        top = (_MARGIN + 20 * row) * _SCALE
        left = room * _SCALE
        if color is not None:
            pen.rectangle((left, top + 6, left + 18, top + 24), fill=color)
            left += 26
        pen.text((left, top), text, fill="black", font_size=12 * _SCALE)
    small = picture.resize((width, height), Image.Resampling.BOX)
    return png(np.asarray(small), max_bytes=_STILL_BYTES)


def _fit(points: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Return the places of points on a picture, with one scale for both directions."""
    if not len(points):
        return points
    low, high = points.min(axis=0), points.max(axis=0)
    spans = np.maximum(high - low, np.finfo(np.float32).tiny)
    scale = min((width - 2 * _MARGIN) / spans[0], (height - 2 * _MARGIN) / spans[1])
    middle = (low + high) / 2
    places: NDArray[np.float64] = np.array([width / 2, height / 2]) + (points - middle) * [scale, -scale]
    return places


def _legend_rows(
    mode: str, classes: list[tuple[str, int]], values: NDArray[np.float32], value_name: str
) -> list[tuple[str, tuple[int, ...] | None]]:
    palette = [tuple(color) for color in class_colors().tolist()]
    if mode == "correct":
        return [("right", palette[RIGHT]), ("wrong", palette[WRONG])]
    if mode == "value" and not value_range(values).empty:
        low, high = value_ends(values)
        colors = table((DIVERGING if low < 0 else SEQUENTIAL)[0])
        steps = [(high + (low - high) * step / 4, colors[255 - round(255 * step / 4)]) for step in range(5)]
        return [(value_name[:22], None), *((f"{value:.4g}", tuple(color.tolist())) for value, color in steps)]
    if mode in ("label", "prediction"):
        rows = [(name[:20], palette[code % len(palette)]) for name, code in classes[:_LEGEND_ROWS]]
        more = len(classes) - _LEGEND_ROWS
        return [*rows, *([(f"and {more:,} more", None)] if more > 0 else [])]
    return []
