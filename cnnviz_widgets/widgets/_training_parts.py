"""What the training timeline is made of: its views and controls, how they are linked, and where they stand."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import bqplot
import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.resize import enlarge
from cnnviz_widgets.views.line_chart import LineChart, step_axis
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.views.timeline import Timeline
from cnnviz_widgets.widgets._controls import row
from cnnviz_widgets.widgets._training_pictures import KERNEL_BYTES, MAP_BYTES, Frames, Lines

# Side by side where there is room for two, below each other where there is not.
_STYLE = """<style>
.cnnviz-pair, .cnnviz-charts { display: grid !important; gap: 4px 20px; }
.cnnviz-pair { grid-template-columns: repeat(auto-fit, minmax(min(300px, 100%), 1fr)); }
.cnnviz-charts { grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr)); }
.cnnviz-pair > *, .cnnviz-charts > * { min-width: 0; }
.cnnviz-training .cnnviz-photo { image-rendering: pixelated; }
/* Without a kernel ipywidgets puts a sign on each part, which takes the first place in a row; one is enough. */
.cnnviz-training .jupyter-widgets-disconnected::before { display: none; }
</style>"""
_COUPLED = ("selected", "enlarged", "scale", "zero_centered", "sequential", "diverging")


class TimelineParts:
    """The views and controls of a training timeline; it decides what they show."""

    def __init__(self) -> None:
        self.first = Timeline(label="Step")
        self.second = Timeline(label="Compared with", playable=False)
        self.kernels, self.kernels_second = _grid("weight", "kernel", 56), _grid("weight", "kernel", 56)
        self.maps, self.maps_second = _grid("activation", "channel", 64), _grid("activation", "channel", 64)
        self.layer = ipywidgets.Dropdown(description="Layer", layout={"width": "260px"})
        self.image = ipywidgets.Dropdown(description="Image", layout={"width": "190px"})
        self.compare = ipywidgets.Checkbox(description="Compare two steps", indent=False)
        self.compare.layout.width = "180px"
        self.photo = ipywidgets.Image(format="png", layout={"width": "56px", "height": "56px"})
        self.photo.add_class("cnnviz-photo")
        self.summary, self.kernels_title, self.maps_title = (ipywidgets.HTML() for _ in range(3))
        self.x_axis = step_axis()
        self.markers = [bqplot.LinearScale(min=-0.5, max=0.5) for _ in range(2)]
        self.charts = {
            "loss": self._chart("loss", log=None),
            "zeros": self._chart("zeros", unit="share of values", limits=(0, 1)),
            "dead": self._chart("dead channels", unit="share", limits=(0, 1)),
            "roughness": self._chart("roughness of kernels"),
            "update": self._chart("update / weights", log=True),
        }
        self._links = self._link(self.first, 0, self.kernels, self.maps)
        self._links += self._link(self.second, 1, self.kernels_second, self.maps_second)
        self._couples: list[ipywidgets.Widget] = []
        self._filled: dict[TileGrid, str] = {}  # what each shows

    def _chart(self, name: str, **options: Any) -> LineChart:
        return LineChart(name, x_axis=self.x_axis, marker_scales=self.markers, **options)

    def _link(self, timeline: Timeline, marker: int, *grids: TileGrid) -> list[ipywidgets.Widget]:
        """Have the page move the views by itself, also while a training keeps the kernel busy."""
        links = [ipywidgets.jsdlink((timeline, "value"), (grid, "step")) for grid in grids]
        for end, trait in (("marker_low", "min"), ("marker_high", "max")):
            links.append(ipywidgets.jsdlink((timeline, end), (self.markers[marker], trait)))
        return links

    def arranged(self, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children, from top to bottom."""
        style = ipywidgets.HTML(_STYLE, layout={"display": "none"})
        self.kernels_row = _pair(self.kernels, self.kernels_second)
        self.maps_row = _pair(self.maps, self.maps_second)
        self.choice = row([self.layer, self.image, self.photo])
        self.activations = ipywidgets.VBox([self.choice, self.maps_title, self.maps_row])
        charts = ipywidgets.Box(list(self.charts.values()))
        charts.add_class("cnnviz-charts")
        top = row([self.summary, self.compare])
        top.layout.justify_content = "space-between"
        self.body = ipywidgets.VBox([self.kernels_title, self.kernels_row, self.activations, charts])
        return [style, top, self.first, self.second, status, self.body]

    @contextmanager
    def sent_together(self) -> Iterator[None]:
        """Send what changes inside in one go at the end: the page then lays out and paints once, not each time."""
        grids = (self.kernels, self.kernels_second, self.maps, self.maps_second)
        models = [model for chart in self.charts.values() for model in chart.models]
        with ExitStack() as stack:
            # The last to be held is the first to be sent: the slider comes when all else is there.
            for each in dict.fromkeys((self.first, self.second, self.summary, *grids, *models)):
                stack.enter_context(each.hold_sync())
            yield

    def show_comparison(self, on: bool) -> None:
        """Show or hide the second step; what is selected in one grid is selected in both."""
        for widget in (self.second, self.kernels_second, self.maps_second):
            _show(widget, on)
        for chart in self.charts.values():
            chart.show_marker(on, 1)
        for link in self._couples:
            link.close()
        self._couples = []
        if on:
            pairs = ((self.kernels, self.kernels_second), (self.maps, self.maps_second))
            self._couples = [
                ipywidgets.jslink((one, trait), (other, trait)) for one, other in pairs for trait in _COUPLED
            ]

    def show_kernels(
        self, frames: Frames | None, title: str, *, both: bool, data_bytes: int = KERNEL_BYTES
    ) -> None:
        """Show the kernels at all steps, or nothing where there are none."""
        _show(self.kernels_row, frames is not None)
        self._fill((self.kernels, self.kernels_second), frames, title, both=both, data_bytes=data_bytes)
        self.kernels_title.value = f"<b>{html.escape(title)}</b>"

    def show_maps(
        self, frames: Frames | None, title: str, *, both: bool, data_bytes: int = MAP_BYTES
    ) -> None:
        """Show the maps at all steps, or nothing where there are none."""
        _show(self.activations, frames is not None)
        self._fill((self.maps, self.maps_second), frames, title, both=both, data_bytes=data_bytes)
        self.maps_title.value = f"<b>{html.escape(title)}</b>"

    def _fill(
        self,
        grids: tuple[TileGrid, TileGrid],
        frames: Frames | None,
        title: str,
        *,
        both: bool,
        data_bytes: int,
    ) -> None:
        # More records of the same leave the color scale as a person has set it; other maps begin anew.
        same = grids[0].count > 0 and self._filled.get(grids[0]) == title
        centered = grids[0].zero_centered if same else None
        self._filled[grids[0]] = title
        # What is not on show takes no room in the saved notebook.
        for grid, shown in zip(grids, (frames is not None, frames is not None and both), strict=True):
            if shown and frames is not None:
                grid.set_frames(
                    frames.values,
                    frames.steps,
                    badges=frames.badges,
                    unit=frames.unit,
                    noun=frames.noun,
                    data_bytes=data_bytes,
                    zero_centered=centered,
                )
            elif grid.count:
                grid.set_maps(np.zeros((0, 1, 1), np.float32))

    def show_charts(
        self, steps: NDArray[np.int64], charts: dict[str, Lines], *, describe: bool = True
    ) -> None:
        """Draw the lines; a chart without a value is hidden."""
        for name, chart in self.charts.items():
            chart.set_lines(steps, charts.get(name, {}), describe=describe)
            _show(chart, not chart.is_empty)

    def show_photo(self, image: NDArray[np.uint8]) -> None:
        """Show the image whose maps are on show."""
        factor = max(1, 56 // max(image.shape[:2]))
        self.photo.value = png(enlarge(image[None], factor)[0])


def set_options(control: ipywidgets.Dropdown, options: Sequence[tuple[str, Any]], value: Any) -> None:
    """Offer options, with one of them chosen, and change nothing where they are the same."""
    if tuple(control.options) != tuple(options):
        control.options = options
    if control.value != value:
        control.value = value


def _show(widget: ipywidgets.DOMWidget, visible: bool) -> None:
    widget.layout.display = None if visible else "none"


def _grid(unit: str, noun: str, size: int) -> TileGrid:
    return TileGrid(np.zeros((0, 1, 1), np.float32), unit=unit, noun=noun, tile_size=size, max_height=360)


def _pair(*grids: TileGrid) -> ipywidgets.Box:
    pair = ipywidgets.Box(grids)
    pair.add_class("cnnviz-pair")
    return pair
