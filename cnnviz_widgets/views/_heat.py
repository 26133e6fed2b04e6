"""A heat map as a picture's upper layer: its colors, its legend and the value under a position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, table
from cnnviz_widgets.render.normalize import (
    ValueRange,
    check_range,
    real_array,
    symmetric_range,
    value_range,
)
from cnnviz_widgets.render.overlay import heat_map
from cnnviz_widgets.views._text import as_html, format_number, printable

_LEGEND_STOPS = 17


@dataclass(frozen=True)
class Heat:
    """Values over a picture, and how they are to be colored."""

    values: NDArray[np.floating]
    low: float
    high: float
    colormap: str
    interpolation: str
    stride: tuple[float, float] | None
    center: tuple[float, float] | None
    name: str
    unit: str
    found: ValueRange

    def layer(self, height: int, width: int, scale: float) -> NDArray[np.uint8]:
        """Return the colors [height * scale, width * scale, 4] over a picture of that size."""
        rows, columns = max(round(height * scale), 1), max(round(width * scale), 1)
        return heat_map(
            self.values,
            rows,
            columns,
            colormap=self.colormap,
            zero_centered=False,
            low=self.low,
            high=self.high,
            interpolation=self.interpolation,
            stride=_times(self.stride, rows / height, columns / width),
            center=_times(self.center, rows / height, columns / width),
        )

    def value_at(self, position: tuple[int, int], height: int, width: int) -> float:
        """Return the value of the cell whose center is nearest to that pixel's."""
        rows, columns = self.values.shape
        steps = self.stride or (height / rows, width / columns)
        starts = self.center or (steps[0] / 2, steps[1] / 2)
        cell = [
            min(max(int(np.floor((pixel + 0.5 - start) / step + 0.5)), 0), count - 1)
            for pixel, start, step, count in zip(position, starts, steps, (rows, columns), strict=True)
        ]
        return float(self.values[cell[0], cell[1]])

    def reading(self, value: float) -> str:
        """Return a value with the map's name and unit."""
        named = f"{self.name}: " if self.name else ""
        return f"{named}{format_number(value)} {self.unit}".rstrip()

    def summary(self) -> str:
        """Return what the legend says, as one line of text."""
        ends = f"from {format_number(self.low)} to {format_number(self.high)}"
        text = " ".join(part for part in (self.name, ends, self.unit) if part)
        return f"{text} ({self.found.note})" if self.found.note else text

    def legend(self) -> str:
        """Return the legend's markup: a bar of the map's colors between its ends, with name and unit."""
        colors = table(self.colormap)[np.linspace(0, 255, _LEGEND_STOPS).round().astype(int)]
        stops = ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in colors.tolist())
        note = f"<span>({as_html(self.found.note)})</span>" if self.found.note else ""
        spoken = as_html(f"color scale: {self.summary()}")
        return (
            f'<div class="cvz-stage-legend" role="img" aria-label="{spoken}">'
            f"<b>{as_html(self.name)}</b><span>{format_number(self.low)}</span>"
            f'<span class="cvz-stage-ramp" style="background:linear-gradient(90deg, {stops})"></span>'
            f"<span>{format_number(self.high)} {as_html(self.unit)}</span>{note}</div>"
        )


def make_heat(
    values: ArrayLike,
    *,
    low: float | None,
    high: float | None,
    colormap: str | None,
    zero_centered: bool | None,
    interpolation: str,
    stride: tuple[float, float] | None,
    center: tuple[float, float] | None,
    name: str,
    unit: str,
) -> Heat:
    """Check a heat map's values and settle its scale; `ImageStage.set_heat` documents the parameters."""
    cells = np.array(real_array(values))  # a copy: the caller's array may go on growing
    if cells.ndim != 2 or 0 in cells.shape:
        raise ValueError(f"a heat map is an array [h, w] with at least one cell; got the shape {cells.shape}")
    if interpolation not in ("bilinear", "nearest"):
        raise ValueError(f'interpolation is "bilinear" or "nearest"; got {interpolation!r}')
    found = value_range(cells)
    if found.empty and (low is None or high is None):
        raise ValueError(
            f"the heat map has {found.note}, so its scale can't be found; give low and high, or clear_heat()"
        )
    bottom = found.low if low is None else float(low)
    top = found.high if high is None else float(high)
    if zero_centered is None:
        zero_centered = bottom < 0
    if zero_centered:
        bottom, top = symmetric_range(bottom, top)
    check_range(bottom, top)
    chosen = colormap or (DIVERGING if zero_centered else SEQUENTIAL)[0]
    table(chosen)  # an unknown name is refused here, not when drawing
    return Heat(
        cells, bottom, top, chosen, interpolation, stride, center, printable(name), printable(unit), found
    )


def _times(pair: tuple[float, float] | None, rows: float, columns: float) -> tuple[float, float] | None:
    return None if pair is None else (pair[0] * rows, pair[1] * columns)
