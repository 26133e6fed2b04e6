"""Bars of numbers, drawn by bqplot: the likeliest classes, and the values of a fully connected layer."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import bqplot
import ipywidgets as widgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.views._chart_data import outline_of_bars, round_ticks, unique_names
from cnnviz_widgets.views._style import style_sheet
from cnnviz_widgets.views._text import as_html, elide, format_number, format_share, printable, text_width
from cnnviz_widgets.views._traits import TraitValueError

BAR_COLOR = "#2e7ebb"  # a mid blue: enough contrast with the light and the dark theme's background
ACCENT_COLOR = "#f28e2b"
LABEL_EMS = 13.5  # of 12 pixels each
TOOLTIP_STYLE = {"color": "var(--jp-ui-font-color0, CanvasText)", "opacity": 0.95}
UNIT_PIXELS = 3  # a narrower bar can't be pointed at
MAXIMUM_UNITS = 65_536


class ProbabilityBars(widgets.Box):  # type: ignore[misc, unused-ignore]
    """Horizontal bars of class probabilities, likeliest first, each with its class and its percentage.

    Long class names are cut; pointing at a bar shows the whole name. Bars are drawn against the whole
    range from 0 to 1, so that an unsure network looks unsure.

    Parameters
    ----------
    labels
        Class names. They are text, whatever they hold; equal names are told apart by a number.
    probabilities
        One number in [0, 1] for each label.
    width
        Widest the chart gets, in CSS pixels; it shrinks with its container.

    Raises
    ------
    ValueError
        The two have different lengths, or a probability is not in [0, 1].

    Examples
    --------
    >>> bars = ProbabilityBars(["tabby", "tiger cat"], [0.7, 0.2])
    >>> bars.set_values(["lynx", "tabby"], [0.9, 0.05])
    """

    def __init__(
        self, labels: Sequence[str] = (), probabilities: Sequence[float] = (), *, width: int = 420
    ) -> None:
        self._lock = threading.RLock()
        self._rows: list[tuple[str, float]] = []
        classes = bqplot.OrdinalScale(reverse=True)
        share = bqplot.LinearScale(min=0, max=1, allow_padding=False)
        self._bars = bqplot.Bars(
            scales={"x": classes, "y": share},
            orientation="horizontal",
            padding=0.35,
            colors=[BAR_COLOR],
            stroke_width=0,
            tooltip=bqplot.Tooltip(fields=["x", "y"], labels=["class", "probability"], formats=["", ".4%"]),
            tooltip_style=TOOLTIP_STYLE,
        )
        self._names = bqplot.Axis(scale=classes, side="left", grid_lines="none")
        self._shares = bqplot.Axis(scale=classes, side="right", grid_lines="none")
        self._figure = bqplot.Figure(
            marks=[self._bars],
            axes=[self._names, self._shares],
            fig_margin=_margin(LABEL_EMS),
            padding_y=0,
            display_toolbar=False,
            layout={"width": "100%", "min_width": "0"},
        )
        for name in ("cvz-chart", "cvz-bare"):
            self._figure.add_class(name)
        super().__init__([style_sheet(), self._figure], layout={"width": "100%", "max_width": f"{width}px"})
        self.add_class("cvz-views")
        self.set_values(labels, probabilities)

    def set_values(self, labels: Sequence[str], probabilities: Sequence[float]) -> None:
        """Show other classes and probabilities in the same chart; may be called from any thread."""
        shares = np.asarray(probabilities, dtype=np.float64)
        if shares.ndim != 1 or len(labels) != len(shares):
            raise ValueError(
                f"one probability for each label is needed, got {len(labels)} labels and "
                f"probabilities of shape {shares.shape}"
            )
        if not np.all((shares >= 0) & (shares <= 1)):
            raise ValueError(f"probabilities must lie in [0, 1], got {list(probabilities)}")
        names = unique_names([printable(label) for label in labels])
        with self._lock:
            self._rows = list(zip(names, shares.tolist(), strict=True))
            shown = {name: elide(name, LABEL_EMS) for name in names}
            self._names.tick_labels = shown
            self._figure.fig_margin = _margin(max(map(text_width, shown.values()), default=0.0))
            self._shares.tick_labels = {name: format_share(share) for name, share in self._rows}
            self._figure.layout.height = f"{26 * max(len(names), 1) + 4}px"
            with self._bars.hold_sync():
                self._bars.x = names
                self._bars.y = shares.astype(np.float32)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        rows = [f"{format_share(share):>6}  {name}" for name, share in self._rows]
        return {**bundle, "text/plain": "\n".join(rows) or "no classes"}


def _margin(label_ems: float) -> dict[str, int]:
    """Room around the bars: on the left for labels of that width, on the right for percentages."""
    return {"top": 2, "bottom": 2, "left": round(12 * label_ems) + 10, "right": 60}


class UnitBars(widgets.VBox):  # type: ignore[misc, unused-ignore]
    """A strip of vertical bars, one for each value of a fully connected layer, with one unit selected.

    Pointing at a column, also one whose bar has no height, shows the unit and its value; a click or the
    number below the strip selects it. A strip too long for the page scrolls sideways.

    Parameters
    ----------
    values
        One number for each unit, finite, at most 65,536.
    name, unit
        What the values are and in which unit, for the axis and the tooltip.
    labels
        Names of the units, such as classes, for the line below the strip; text, whatever they hold.
    noun
        What a value belongs to, for the axis and the tooltip.
    height
        Height of the strip in CSS pixels.

    Attributes
    ----------
    selected : int or None
        Index of the selected unit from 0. Can be observed and set.

    Raises
    ------
    ValueError
        The values are not one finite row of numbers, or there is not one label for each.
    """

    selected = traitlets.Int(None, allow_none=True)

    def __init__(
        self,
        values: ArrayLike,
        *,
        name: str = "activation",
        unit: str = "",
        labels: Sequence[str] | None = None,
        noun: str = "unit",
        height: int = 170,
    ) -> None:
        self._lock = threading.RLock()
        self._filling = False
        self._values: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._labels: Sequence[str] | None = None
        self._name, self._unit, self._noun = printable(name), printable(unit), printable(noun)
        self._build_figure(height)
        self._number = widgets.BoundedIntText(
            description=self._noun, style={"description_width": "initial"}, layout={"width": "150px"}
        )
        self._readout = widgets.HTML()
        strip = widgets.Box([self._figure], layout={"overflow": "auto hidden", "width": "100%"})
        chosen = widgets.HBox([self._number, self._readout], layout={"flex_flow": "row wrap"})
        self._figure.add_class("cvz-chart")
        self._readout.add_class("cvz-note")
        super().__init__([style_sheet(), strip, chosen], layout={"width": "100%"})
        self.add_class("cvz-views")
        self._columns.on_element_click(self._on_column)
        self._number.observe(self._on_number, "value")
        self.set_values(values, labels=labels)

    def _build_figure(self, height: int) -> None:
        units = bqplot.LinearScale(allow_padding=False)
        heights = bqplot.LinearScale()
        whole = bqplot.LinearScale(min=0, max=1, allow_padding=False)
        self._units, self._heights = units, heights
        # All bars are one outline: a thousand elements less to lay out each time the values change.
        self._outline = bqplot.Lines(
            scales={"x": units, "y": heights},
            fill="inside",
            fill_colors=[BAR_COLOR],
            colors=[BAR_COLOR],
            stroke_width=0,
            enable_hover=False,
        )
        self._mark = bqplot.Lines(
            scales={"x": units, "y": whole},
            y=np.array([0, 1, 1, 0], dtype=np.float32),
            fill="inside",
            fill_colors=[ACCENT_COLOR],
            fill_opacities=[0.45],
            colors=[ACCENT_COLOR],
            stroke_width=0,
            visible=False,
        )
        # Columns of full height take the pointer, so that a unit at zero can be read and selected, too.
        # Their true values travel as `color`, which changes without the columns being laid out anew.
        self._columns = bqplot.Bars(
            # A scale that counts its entries: on a linear one bqplot makes bars narrower than their places.
            scales={"x": bqplot.OrdinalScale(allow_padding=False), "y": whole},
            colors=["transparent"],
            padding=0.0,
            stroke_width=0,
            tooltip=bqplot.Tooltip(
                fields=["x", "color"], labels=[self._noun, self._named()], formats=["d", ".4~g"]
            ),
            tooltip_style=TOOLTIP_STYLE,
        )
        self._across = bqplot.Axis(
            scale=units,
            label=self._noun,
            label_location="start",
            label_offset="34px",
            grid_lines="none",
            tick_format="d",
        )
        self._upward = bqplot.Axis(
            scale=heights, side="left", label=self._named(), label_offset="46px", tick_format="~g"
        )
        self._figure = bqplot.Figure(
            marks=[self._outline, self._mark, self._columns],
            axes=[self._across, self._upward],
            fig_margin={"top": 8, "bottom": 44, "left": 62, "right": 12},
            padding_y=0,
            display_toolbar=False,
            layout={"height": f"{height}px", "width": "100%"},
        )

    def _named(self) -> str:
        return f"{self._name} ({self._unit})" if self._unit else self._name

    def set_values(self, values: ArrayLike, *, labels: Sequence[str] | None = None) -> None:
        """Show other values in the same strip; the selection stays where there still is such a unit."""
        row = np.asarray(values, dtype=np.float32)
        if row.ndim != 1 or not 0 < len(row) <= MAXIMUM_UNITS:
            raise ValueError(f"values must be one row of 1 to {MAXIMUM_UNITS} numbers, got shape {row.shape}")
        if not np.isfinite(row).all():
            bad = int(np.flatnonzero(~np.isfinite(row))[0])
            raise ValueError(f"values must be finite, but the value of {self._noun} {bad} is {row[bad]}")
        if labels is not None and len(labels) != len(row):
            raise ValueError(f"one label for each unit is needed, got {len(labels)} for {len(row)} units")
        if self.selected is not None and self.selected >= len(row):
            self.selected = None
        with self._lock:
            resized = len(row) != len(self._values)
            self._values, self._labels = row, labels
            if resized:
                self._lay_out(len(row))
            self._scale_heights(row)
            with self._outline.hold_sync():
                self._outline.x, self._outline.y = outline_of_bars(row)
            self._columns.color = row
        self._describe()

    def _lay_out(self, count: int) -> None:
        self._units.min, self._units.max = -0.5, count - 0.5
        self._across.tick_values = round_ticks(0, count - 1, 5 if count <= 100 else count * UNIT_PIXELS // 90)
        self._figure.layout.min_width = f"{UNIT_PIXELS * count + 74}px"
        self._fill_number(min(self._number.value, count - 1), count)
        with self._columns.hold_sync():
            self._columns.x = np.arange(count, dtype=np.int32)
            self._columns.y = np.ones(count, dtype=np.float32)

    def _scale_heights(self, row: NDArray[np.float32]) -> None:
        low, high = min(0.0, float(row.min())), max(0.0, float(row.max()))
        if low == high:
            high = 1.0  # all zero: any height above the base line will do
        with self._heights.hold_sync():
            self._heights.min, self._heights.max = low, high
        self._upward.tick_values = round_ticks(low, high, 4)

    @traitlets.validate("selected")
    def _check_selected(self, proposal: dict[str, Any]) -> int | None:
        index: int | None = proposal["value"]
        if index is not None and not 0 <= index < len(self._values):
            raise TraitValueError(
                f"selected must be a unit from 0 to {len(self._values) - 1} or None, got {index}"
            )
        return index

    @traitlets.observe("selected")
    def _on_selected(self, change: dict[str, Any]) -> None:
        index = change["new"]
        with self._lock:
            if index is not None:
                edges = np.array([index - 0.5, index - 0.5, index + 0.5, index + 0.5], dtype=np.float32)
                self._mark.x = edges
                self._fill_number(index, len(self._values))
            self._mark.visible = index is not None
        self._describe()

    def _on_column(self, _mark: bqplot.Bars, message: dict[str, Any]) -> None:
        self.selected = int(message["data"]["index"])

    def _fill_number(self, index: int, count: int) -> None:
        """Show a unit in the field, which is no choice of it."""
        with self._lock:
            self._filling = True
            self._number.max = count - 1
            self._number.value = index
            self._filling = False

    def _on_number(self, change: dict[str, Any]) -> None:
        with self._lock:
            if self._filling:
                return
        self.selected = change["new"]

    def _describe(self) -> None:
        self._readout.value = as_html(self._reading())

    def _reading(self) -> str:
        index = self.selected
        if index is None or index >= len(self._values):
            return f"{len(self._values)} {self._noun}s; click a column or enter a number to select one"
        label = "" if self._labels is None else f" \u00b7 {printable(self._labels[index])}"
        value = format_number(float(self._values[index]))
        return f"{self._name} {value}{' ' + self._unit if self._unit else ''}{label}"

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        low, high = format_number(float(self._values.min())), format_number(float(self._values.max()))
        lines = [f"{len(self._values)} {self._noun}s, {self._named()} from {low} to {high}"]
        if self.selected is not None:
            lines.append(f"{self._noun} {self.selected}: {self._reading()}")
        return {**bundle, "text/plain": "\n".join(lines)}
