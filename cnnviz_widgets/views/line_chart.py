"""Named lines over the steps of a training, drawn by bqplot, with a marker at the step on show."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets as widgets
import numpy as np
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.views._chart_data import (
    all_values,
    log_tick_labels,
    log_ticks,
    lone_values,
    round_ticks,
    spans_decades,
    step_limits,
    value_limits,
)
from cnnviz_widgets.views._style import style_sheet
from cnnviz_widgets.views._text import as_html, format_number, printable, text_width

LINE_COLORS = ("#2c9cb2", "#994c26", "#cc0a6b", "#7150b2", "#999907", "#9c0be5")
"""Told apart with any color blindness, and with a contrast of 3 or more to a light and a dark page."""

_DASHES = {"solid": "solid", "dashed": "dashed", "dotted": "dotted", "dash_dotted": "double"}
MAXIMUM_LINES = len(LINE_COLORS) * len(_DASHES)
_MARKER_COLOR = "var(--cvz-text)"
_Rows = NDArray[np.float32]


class LineChart(widgets.VBox):  # type: ignore[misc, unused-ignore]
    """See how several numbers developed over the steps of a training, each as a line with a name.

    A vertical line marks the step on show. Where a value is NaN or infinite (on a logarithmic axis, also
    where it is not above zero) the line has a gap. More than six lines differ in their dashes as well.

    Parameters
    ----------
    name, unit
        What the values are and in which unit, for the axis.
    x_name
        What runs along the other axis.
    log
        Draw a logarithmic axis of values. ``None`` draws one, and says so in its title, only where all values
        are above zero and span more than three decades: on a linear one a single spike would flatten the rest.
    limits
        Fixed ends of the axis of values, such as (0, 1) for shares.
    names_one
        Name a single line below the chart, too; else it is what the axis says.
    height
        Height of the chart in CSS pixels, without its legend.
    x_axis
        A `step_axis` for all charts of the same steps, so that it changes once for all; ``x_name`` is the axis's
        own then. By default there is one of the chart's own.
    marker_scales
        One bqplot ``LinearScale`` for each marker; a marker stands where its scale is 0, and the scale's ends
        are those of the chart. Charts that share one move their markers together, and two numbers, which
        `Timeline` has, move it in the page alone. The second marker is dashed. By default there is one of
        the chart's own; `set_marker` moves it.

    Examples
    --------
    >>> chart = LineChart("loss", unit="nats")
    >>> chart.set_lines([0, 20, 40], {"training": [2.3, 1.1, 0.9]})
    >>> chart.set_marker(20)
    >>> print(chart.to_text())
    loss (nats) by step
    training: 2.3 at step 0, 0.9 at step 40, lowest 0.9 at step 40, highest 2.3 at step 0
    """

    def __init__(
        self,
        name: str,
        *,
        unit: str = "",
        x_name: str = "step",
        log: bool | None = False,
        limits: tuple[float, float] | None = None,
        names_one: bool = False,
        height: int = 180,
        x_axis: bqplot.Axis | None = None,
        marker_scales: Sequence[bqplot.LinearScale] | None = None,
    ) -> None:
        if limits is not None and not (limits[0] < limits[1] and (limits[0] > 0 or not log)):
            raise ValueError(f"limits must rise, from above 0 on a logarithmic axis; got {limits!r}")
        self._lock = threading.RLock()
        self._name, self._unit = printable(name), printable(unit)
        self._x_axis = step_axis(x_name) if x_axis is None else x_axis
        self._across, self._x_name = self._x_axis.scale, self._x_axis.label
        # Positions on a logarithmic axis are common logarithms on a linear scale of bqplot's: what it draws
        # cannot change from one kind of scale to another.
        self._wants_log, self._log = log, bool(log)
        self._fewest_named = 1 if names_one else 2
        self._limits = limits
        self._steps: NDArray[np.float32] = np.zeros(0, np.float32)
        self._lines: dict[str, _Rows] = {}
        self._looks: list[int] = []
        scales = [bqplot.LinearScale(min=-0.5, max=0.5)] if marker_scales is None else marker_scales
        self._marker_scales = tuple(scales)
        self._legend, self._spoken = widgets.HTML(), widgets.HTML()
        self._build_figure(height)
        super().__init__([style_sheet(), self._figure, self._legend, self._spoken], layout={"width": "100%"})
        self.add_class("cvz-views")
        self._legend.add_class("cvz-line-legend")
        self._spoken.add_class("cvz-spoken")
        self._describe()

    def _build_figure(self, height: int) -> None:
        self._upward = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
        scales = {"x": self._across, "y": self._upward}
        # Not empty, though hidden: bqplot places a label at each line's last point, and complains without one.
        nothing = {"x": np.ones(2, np.float32), "y": np.ones(2, np.float32), "visible": False}
        self._marks = [
            bqplot.Lines(scales=scales, line_style=dash, stroke_width=1.75, **nothing) for dash in _DASHES
        ]
        # A line has no length where a value stands alone, so it shows as a point.
        self._points = bqplot.Scatter(scales=scales, default_size=14, stroke_width=0, **nothing)
        self._markers = [_marker(scale, bool(index)) for index, scale in enumerate(self._marker_scales)]
        grid = {"grid_lines": "solid", "grid_color": "var(--cvz-border)"}
        self._y_axis = bqplot.Axis(scale=self._upward, side="left", tick_format="~g", **grid)
        self._figure = bqplot.Figure(
            marks=[*self._markers, *self._marks, self._points],
            axes=[self._x_axis, self._y_axis],
            padding_y=0,
            padding_x=0,
            display_toolbar=False,
            layout={"height": f"{height}px", "width": "100%", "min_width": "0"},
        )
        self._figure.add_class("cvz-chart")
        self._rescale_values()

    def set_lines(
        self,
        steps: ArrayLike,
        lines: Mapping[str, ArrayLike],
        *,
        describe: bool = True,
        looks: Sequence[int] | None = None,
    ) -> None:
        """Show other lines in the same chart; may be called from any thread.

        Parameters
        ----------
        steps : S ascending numbers
        lines : from each line's name to its S values
        describe : bool
            Change the words for screen readers as well: not needed while other lines follow at once.
        looks
            For each line a number from 0 to 23 of its own: those that differ by 6 have the same color, with other
            dashes. By default they are counted.

        Raises
        ------
        ValueError
            The steps do not ascend, a line has not one value for each, or there are more than 24 lines.
        """
        across = np.asarray(steps, dtype=np.float64)
        if across.ndim != 1 or not np.isfinite(across).all() or np.any(np.diff(across) <= 0):
            raise ValueError(f"steps must be one row of ascending numbers, got {_brief(across)}")
        if len(lines) > MAXIMUM_LINES:
            raise ValueError(
                f"a chart tells at most {MAXIMUM_LINES} lines apart, got {len(lines)}: show fewer"
            )
        numbers = list(range(len(lines))) if looks is None else list(looks)
        if len(set(numbers)) != len(lines) or not all(0 <= look < MAXIMUM_LINES for look in numbers):
            raise ValueError(
                f"looks are numbers from 0 to {MAXIMUM_LINES - 1}, another one for each of the {len(lines)} lines; "
                f"got {numbers}"
            )
        rows = {}
        for name, values in lines.items():
            row = np.asarray(values, dtype=np.float64)
            if row.shape != across.shape:
                raise ValueError(
                    f"line {name!r} needs one value for each of the {len(across)} steps, got {_brief(row)}"
                )
            rows[printable(name)] = np.where(np.abs(row) < 3e38, row, np.nan).astype(np.float32)
        wants_log = self._wants_log
        log = spans_decades(all_values(rows)) if wants_log is None else wants_log
        if log:
            rows = {name: np.where(row > 0, row, np.float32(np.nan)) for name, row in rows.items()}
        with self._lock:
            self._steps, self._lines, self._log = across.astype(np.float32), rows, log
            self._looks = numbers
            self._rescale()
            self._draw()
            self._describe(spoken=describe)

    def _rescale(self) -> None:
        left, right = step_limits(self._steps)
        with self._across.hold_sync():
            self._across.min, self._across.max = left, right
        ticks = round_ticks(left, right, 5)
        self._x_axis.tick_values = ticks[(ticks == np.round(ticks)) & (ticks >= left) & (ticks <= right)]
        self._rescale_values()

    def _rescale_values(self) -> None:
        low, high = self._limits or value_limits(all_values(self._lines), log=self._log)
        ticks = log_ticks(low, high) if self._log else round_ticks(low, high, 4)
        axis, remarks = (
            self._y_axis,
            [self._unit, "log scale" if self._log and self._wants_log is None else ""],
        )
        in_brackets = ", ".join(filter(None, remarks))
        with self._upward.hold_sync(), axis.hold_sync():
            self._upward.min, self._upward.max = self._place(low), self._place(high)
            axis.tick_values = np.array([self._place(tick) for tick in ticks])
            axis.tick_labels = log_tick_labels(ticks) if self._log else {}
            axis.label = f"{self._name} ({in_brackets})" if in_brackets else self._name
            beside = _room(list(axis.tick_labels.values()) or [f"{tick:.9g}" for tick in ticks])
            axis.label_offset = f"{beside}px"
        self._figure.fig_margin = {"top": 8, "bottom": 42, "left": beside + 16, "right": 24}

    def _place(self, value: float) -> float:
        """Return where on bqplot's scale a value stands."""
        return float(np.log10(value)) if self._log else float(value)

    def _draw(self) -> None:
        rows, steps = self._drawn(), self._steps
        if len(steps) == 1:
            # bqplot drops axes of one entry: a second one, without a value, keeps the shape.
            steps = np.repeat(steps, 2)
            rows = [np.append(row, np.float32(np.nan)) for row in rows]
        for dash, mark in enumerate(self._marks):
            few = [
                (row, _color(look))
                for row, look in zip(rows, self._looks, strict=True)
                if look // len(LINE_COLORS) == dash
            ]
            with mark.hold_sync():
                mark.visible = bool(few) and len(steps) > 0
                if mark.visible:
                    mark.x, mark.y = steps, np.stack([row for row, _ in few])
                    mark.colors = [color for _, color in few]
        self._draw_points()

    def _drawn(self) -> list[_Rows]:
        rows = list(self._lines.values())
        return [np.log10(row) for row in rows] if self._log else rows

    def _draw_points(self) -> None:
        lone = [(look, lone_values(row), row) for look, row in zip(self._looks, self._drawn(), strict=True)]
        points = self._points
        with points.hold_sync():
            points.visible = any(len(found) for _, found, _ in lone)
            if points.visible:
                points.x = np.concatenate([self._steps[found] for _, found, _ in lone])
                points.y = np.concatenate([row[found] for _, found, row in lone])
                points.colors = [_color(look) for look, found, _ in lone for _ in found]

    def set_marker(self, step: float, index: int = 0) -> None:
        """Move a marker to a step."""
        left, right = float(self._across.min), float(self._across.max)
        share = (step - left) / (right - left)
        scale = self._marker_scales[index]
        with scale.hold_sync():
            scale.min, scale.max = -share, 1 - share

    def show_marker(self, visible: bool, index: int = 0) -> None:
        """Show or hide a marker."""
        self._markers[index].visible = visible

    @property
    def models(self) -> tuple[widgets.Widget, ...]:
        """What `set_lines` changes: to hold back what is sent, and to send it with other things at once."""
        scales_and_axes = (self._across, self._upward, self._x_axis, self._y_axis)
        return (*scales_and_axes, *self._marks, self._points, self._legend, self._spoken)

    @property
    def is_empty(self) -> bool:
        """Whether there is no value to draw."""
        return not any(np.isfinite(row).any() for row in self._lines.values())

    def _describe(self, *, spoken: bool = True) -> None:
        entries = [
            f'<span><i style="border-top: 3px {_style(look)}"></i>{as_html(name)}</span>'
            for look, name in zip(self._looks, self._lines, strict=True)
        ]
        legend = " ".join(entries) if len(entries) >= self._fewest_named else ""
        self._legend.value = "no values yet" if self.is_empty else legend
        if spoken:
            self._spoken.value = as_html(self.to_text().replace("\n", "; "))

    def to_text(self) -> str:
        """Return what the lines show, in words."""
        unit = f" ({self._unit})" if self._unit else ""
        heading = f"{self._name}{unit} by {self._x_name}"
        return "\n".join([heading, *(self._line_text(*line) for line in self._lines.items())])

    def _line_text(self, name: str, row: _Rows) -> str:
        known = np.flatnonzero(np.isfinite(row))
        if len(known) == 0:
            return f"{name}: no values"
        low, high = known[np.argmin(row[known])], known[np.argmax(row[known])]
        at = [
            f"{word}{format_number(float(row[index]))} at {self._x_name} {self._steps[index]:.0f}"
            for word, index in (("", known[0]), ("", known[-1]), ("lowest ", low), ("highest ", high))
        ]
        missing = len(row) - len(known)
        return f"{name}: {', '.join(at)}" + (f", {missing} not drawn" if missing else "")

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self.to_text()}


def step_axis(name: str = "step") -> bqplot.Axis:
    """Return an axis of steps for one or several charts."""
    scale = bqplot.LinearScale(min=-1.0, max=1.0, allow_padding=False)
    return bqplot.Axis(
        scale=scale, label=printable(name), label_offset="32px", grid_lines="none", tick_format=",d"
    )


def _room(labels: Sequence[str]) -> int:
    """Return how many pixels left of the axis its name stands, so that it does not lie over the ticks' labels."""
    return max(48, 20 + round(10 * max(map(text_width, labels), default=0.0)))


def _marker(scale: bqplot.LinearScale, dashed: bool) -> bqplot.Lines:
    whole = bqplot.LinearScale(min=0.0, max=1.0, allow_padding=False)
    return bqplot.Lines(
        scales={"x": scale, "y": whole},
        x=np.zeros(2, np.float32),
        y=np.array([0, 1], np.float32),
        colors=[_MARKER_COLOR],
        opacities=[0.65],
        stroke_width=1.5,
        line_style="dashed" if dashed else "solid",
        visible=not dashed,
    )


def _color(look: int) -> str:
    return LINE_COLORS[look % len(LINE_COLORS)]


def _style(look: int) -> str:
    """Return CSS for a line's sample in the legend; CSS has no dash-dots, so two lines stand for them."""
    return f"{list(_DASHES.values())[look // len(LINE_COLORS)]} {_color(look)}"


def _brief(values: NDArray[Any]) -> str:
    return f"{values.dtype} {list(values.shape)}"
