"""What a player is made of, and where it stands: the frames, the curves, what is said of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.views._frames import encode
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views.frame_player import FramePlayer
from cnnviz_widgets.views.line_chart import LineChart
from cnnviz_widgets.widgets._player_runs import is_other

_STYLE = """<style>
.cnnviz-player .widget-html-content { line-height: 1.45; white-space: normal; }
.cnnviz-player p { margin: 0; }
.cnnviz-player .cnnviz-still { width: 100%; max-width: 200px; height: auto; object-fit: contain; }
.cnnviz-player .cnnviz-small { image-rendering: pixelated; }
.cnnviz-player .cnnviz-part { border-top: 1px solid var(--jp-border-color2, GrayText); padding-top: 6px; }
/* Fields in columns, each with its name above it. */
.cnnviz-fields > .widget-inline-hbox { flex-flow: row wrap; width: auto; height: auto; margin: 0; }
.cnnviz-fields > .widget-inline-hbox > .widget-label {
  flex: 1 0 100%; width: auto !important; height: auto; margin: 0; line-height: 1.5; text-align: left;
  color: var(--jp-ui-font-color2, inherit); }
.cnnviz-fields > .widget-inline-hbox > :is(input, select) { flex: 1 1 0; min-width: 0; }
.cnnviz-fields > .widget-dropdown > select { height: var(--jp-widgets-inline-height, 28px); }
.cnnviz-fields > .widget-slider > .slider-container { flex: 1 1 80px; }
.cnnviz-fields > .widget-slider > .widget-readout { width: auto; min-width: 5ch; }
.cnnviz-fields > .cnnviz-wide { grid-column: span 2; }
</style>"""

_STILL_SIDE = 400


class Still(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """A picture that stays, with a line on what it is: an original, a source, a guide."""

    def __init__(self, text: str = "") -> None:
        self._of: tuple[Any, ...] = ()
        self._text = ipywidgets.HTML()
        self._picture = ipywidgets.Image()
        self._picture.add_class("cnnviz-still")
        super().__init__([self._text, self._picture], layout={"width": "auto", "min_width": "0"})
        self.show(None, text)

    def show_of(self, of: tuple[Any, ...], make: Callable[[], NDArray[np.uint8] | None], text: str) -> None:
        """Show what is made of these, which is work only where any of them is another."""
        if is_other(self._of, of):
            self.show(make(), text)
            self._of = of

    def show(self, image: NDArray[np.uint8] | None, text: str) -> None:
        """Show another picture, uint8 [H, W, 3], or none; its line, too, is only there with a picture."""
        self.layout.display = "none" if image is None else None
        self._text.value, self._text.layout.display = as_html(text), None if text else "none"
        if image is not None:
            data = encode(image, _STILL_SIDE)
            with self._picture.hold_sync():
                self._picture.format = "png" if data[:4] == b"\x89PNG" else "jpeg"
                self._picture.value = data
            (self._picture.add_class if max(image.shape) < 200 else self._picture.remove_class)(
                "cnnviz-small"
            )


def side_by_side(stills: Sequence[Still]) -> ipywidgets.HBox:
    """Return pictures beside each other, all of the same width, however little room there is."""
    for still in stills:
        still.layout.flex, still.layout.max_width = "1 1 0", "200px"
    return ipywidgets.HBox(
        stills, layout={"grid_gap": "8px", "align_items": "flex-end", "min_width": "0", "width": "auto"}
    )


class PlayerParts:
    """The views of a player.

    Parameters
    ----------
    curve, log
        What the chart's axis says, and whether it is logarithmic, as `LineChart` takes it.
    """

    def __init__(self, curve: str, log: bool | None) -> None:
        self.view = FramePlayer()
        marker = bqplot.LinearScale(min=-0.5, max=0.5)
        self.chart = LineChart(curve, log=log, names_one=True, marker_scales=[marker])
        self._links = [
            ipywidgets.jsdlink((self.view, "marker_low"), (marker, "min")),
            ipywidgets.jsdlink((self.view, "marker_high"), (marker, "max")),
        ]
        self.said, self.pending = ipywidgets.HTML(), ipywidgets.HTML()
        self._meant = ipywidgets.HTML("<p>At each step: measured on the picture before that step.</p>")
        self._measured = ipywidgets.VBox(layout={"min_width": "0", "width": "auto", "margin": "8px 0 0"})

    def show_curves(
        self, steps: NDArray[np.int64], lines: Mapping[str, NDArray[np.float64]], looks: list[int] | None
    ) -> None:
        """Show each line over the steps; of nothing bqplot makes an axis from -1 to 1, so that it is left out."""
        self.chart.set_lines(steps, lines, looks=looks)
        self.chart.show_marker(not self.chart.is_empty)
        # A single step makes no curve.
        parts = (self.chart, self._meant, self.said) if len(steps) > 1 else (self.said,)
        if self._measured.children != parts:
            self._measured.children = parts

    def say(self, lines: Sequence[str]) -> None:
        """Say what there is to say of the run on show, below its curves."""
        self.said.value = _paragraphs(lines)

    def say_pending(self, lines: Sequence[str]) -> None:
        """Say what becomes of options that were changed."""
        self.pending.value = _paragraphs(lines)

    def arranged(
        self, status: ipywidgets.Widget, beside: Sequence[ipywidgets.Widget]
    ) -> list[ipywidgets.Widget]:
        """Return the widget's children: the frames with their curves, and beside them what can be chosen."""
        column = {"min_width": "0", "width": "auto", "flex": "1 1 340px"}
        left = ipywidgets.VBox([self.view, self._measured], layout={"max_width": "560px", **column})
        right = ipywidgets.VBox([*beside, self.pending], layout={"max_width": "640px", **column})
        columns = ipywidgets.HBox(
            [left, right], layout={"flex_flow": "row wrap", "grid_gap": "16px", "width": "100%"}
        )
        return [ipywidgets.HTML(_STYLE, layout={"display": "none"}), status, columns]


def _paragraphs(lines: Sequence[str]) -> str:
    return "".join(f"<p>{as_html(each)}</p>" for each in lines)
