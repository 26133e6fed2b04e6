"""What the occlusion explorer is made of: its views and controls, their places, and what is written there."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.covering import Covered
from cnnviz_widgets.engine.fills import FILLS, Fill
from cnnviz_widgets.engine.layers import key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.receptive_field import Box
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.views._boxes import StageBox
from cnnviz_widgets.views._text import as_html, format_number, format_share
from cnnviz_widgets.views.charts import ProbabilityBars
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.widgets._controls import dropdown, row
from cnnviz_widgets.widgets._embedding_parts import time_text
from cnnviz_widgets.widgets._occluder import ERASE, MOVE, PAINT
from cnnviz_widgets.widgets._target_picker import TargetPicker

BARS = 6
STRONGEST_COLOR, WEAKEST_COLOR = "#ffb000", "#56b4e9"
_SLIDER = {"width": "98%", "max_width": "420px"}
_FOUND_HEIGHT = "84px"  # of four lines: what stands below stays in its place when a map begins anew
_ARROW = "\u2192"
_MOST_DIGITS = 7  # of a float32
_PREPARING = '<progress aria-label="occlusion map"></progress>looking at the whole photo'
_STYLE = """<style>
.cnnviz-occlusion .widget-html-content { line-height: 1.45; white-space: normal; }
.cnnviz-occlusion p { margin: 0; }
.cnnviz-occlusion progress { width: 160px; margin-right: 8px; }
.cnnviz-occlusion .cnnviz-part { border-top: 1px solid var(--jp-border-color2, GrayText); padding-top: 6px; }
</style>"""


class OcclusionParts:
    """The views and controls of an occlusion explorer; it links them, this knows where they stand."""

    def __init__(self, picture: NDArray[np.uint8], target: TargetPicker, zero: str) -> None:
        self._zero = zero  # what color that is to the network
        self.stage = ImageStage(picture, width=448)
        self.bars = ProbabilityBars(width=448)
        self.target = target
        self._make_map()
        self._make_hand()

    def _make_map(self) -> None:
        self.window, self.stride = (
            ipywidgets.IntSlider(
                1,
                min=1,
                max=1,
                description=name,
                tooltip=f"{tooltip}, in pixels",
                continuous_update=False,
                layout=dict(_SLIDER),
            )
            for name, tooltip in (("Window", "Side of the window"), ("Stride", "From one place to the next"))
        )
        self.fill = dropdown(
            "Cover shows", [(self._zero, 0.0), *((name, name) for name in FILLS)], width="230px"
        )
        self.opacity = ipywidgets.FloatSlider(
            0.5,
            min=0,
            max=1,
            step=0.05,
            description="Opacity",
            readout_format=".2f",
            layout=dict(_SLIDER),
        )
        self.run = ipywidgets.Button(description="Stop", icon="stop", layout={"width": "90px"})
        self.progress, self.found = ipywidgets.HTML(), ipywidgets.HTML(layout={"min_height": _FOUND_HEIGHT})

    def _make_hand(self) -> None:
        tools = [("move the window", MOVE), ("paint", PAINT), ("erase", ERASE)]
        self.tool = _toggles(tools, "Drag to", "What a drag over the photo does")
        self.brush = ipywidgets.IntSlider(
            1,
            min=1,
            max=1,
            description="Brush",
            tooltip="Width of the brush in pixels",
            layout={"width": "260px"},
        )
        self.clear = ipywidgets.Button(
            description="Clear", tooltip="Cover nothing", icon="times", layout={"width": "80px"}
        )
        self.answer = ipywidgets.HTML(layout={"min_height": "46px"})

    def arranged(self, photos: ipywidgets.Widget, status: ipywidgets.Widget) -> list[ipywidgets.Widget]:
        """Return the widget's children: photos above, then the stage, and beside it what can be asked."""
        column = {"min_width": "0", "width": "auto"}
        left = ipywidgets.VBox(
            [self.tool, row([self.brush, self.clear]), self.stage],
            layout={"flex": "1 1 340px", "max_width": "460px", **column},
        )
        sliders = ipywidgets.VBox(
            [self.window, self.stride, self.opacity, self.fill, row([self.run, self.progress]), self.found],
            layout=dict(column),
        )
        live = ipywidgets.VBox([self.answer, self.bars], layout=dict(column))
        for part in (sliders, live):
            part.add_class("cnnviz-part")
        right = ipywidgets.VBox(
            [self.target, sliders, live], layout={"flex": "1 1 340px", "max_width": "560px", **column}
        )
        columns = ipywidgets.HBox(
            [left, right], layout={"flex_flow": "row wrap", "grid_gap": "16px", "width": "100%"}
        )
        return [ipywidgets.HTML(_STYLE, layout={"display": "none"}), photos, status, columns]

    def show_fill(self, fill: Fill) -> None:
        """Choose a fill in the list, which gets one that is not among those it offers."""
        if fill not in [value for _, value in self.fill.options]:
            numbers = fill if isinstance(fill, tuple) else (float(fill),)
            self.fill.options = [*self.fill.options, (", ".join(map(format_number, numbers)), fill)]
        self.fill.value = fill

    def show_numbers(self, window: int, stride: int, brush: int, side: int) -> None:
        """Set the sliders, whose ends hang on the image's shorter side and on each other."""
        for slider, value, most in (
            (self.window, window, side),
            (self.stride, stride, window),
            (self.brush, brush, max(side // 2, brush)),
        ):
            # In this order the value is never out of range, which would change it.
            with slider.hold_sync():
                slider.max = max(most, slider.value, value)
                slider.value = value
                slider.max = max(most, value)

    def clear_map(self) -> None:
        """Show nothing of a map."""
        self.stage.clear_heat()
        self.stage.set_boxes([])
        self.found.value, self.progress.value = "", _PREPARING

    def show_running(self, running: bool) -> None:
        """Let the button stop what runs, or run it again."""
        self.run.description, self.run.icon = ("Stop", "stop") if running else ("Run again", "refresh")
        self.run.tooltip = "Keep the map so far" if running else "Measure all places again"
        self.run.layout.width = "90px" if running else "120px"


def _toggles(options: Any, label: str, tooltip: str) -> ipywidgets.ToggleButtons:
    return ipywidgets.ToggleButtons(
        options=options,
        description=label,
        tooltip=tooltip,
        style={"button_width": "auto", "description_width": "initial"},
        layout={"width": "auto"},
    )


def default_window(size: tuple[int, int], window: Any = None) -> tuple[Any, int]:
    """Return (window, stride) to begin with: a seventh of the shorter side, and a quarter of the window.

    >>> default_window((224, 224)), default_window((28, 28)), default_window((28, 28), (8, 12))
    ((32, 8), (4, 1), ((8, 12), 2))
    """
    window = max(1, min(size) // 7) if window is None else window
    return window, max(1, min(checked_pair("window", window)) // 4)


def target_text(net: Network, target: Target) -> str:
    """Return what a target's value is, in words."""
    if target.layer is not None:
        of = f"channel {target.channel} of {key_text(target.layer)}"
        return f"unit {target.position} of {of}" if target.position is not None else f"mean of {of}"
    if callable(target.what):
        return target.text
    named = target.what if isinstance(target.what, str) else class_text(net, int(target.what or 0))
    return f"{target.of} of {named}"


def class_text(net: Network, index: int) -> str:
    """Return a class's name; a bare number would read like a value."""
    return net.label(index) if net.labels is not None else f"class {index}"


def value_text(target: Target, value: float) -> str:
    """Return a target's value: a probability in percent."""
    return format_share(min(max(value, 0.0), 1.0)) if target.of == "probability" else format_number(value)


def change_text(target: Target, before: float, after: float) -> str:
    """Return two values of a target, in as many digits as it takes to tell them apart.

    >>> change_text(Target(3, of="probability"), 0.4538, 0.1), change_text(Target(3), 0.123456, 0.123465)
    ('45.4% → 10.0%', '0.12346 → 0.12347')
    """
    texts = [value_text(target, each) for each in (before, after)]
    for digits in range(5, _MOST_DIGITS + 1):
        if texts[0] != texts[1] or before == after:
            break
        scale, unit = (100, "%") if target.of == "probability" else (1, "")
        texts = [format_number(scale * each, digits) + unit for each in (before, after)]
    return f"{texts[0]} {_ARROW} {texts[1]}"


def extremes(
    scores: NDArray[np.float32], tops: NDArray[np.int64], lefts: NDArray[np.int64], window: tuple[int, int]
) -> tuple[tuple[Box, float], tuple[Box, float]] | None:
    """Return where the target is smallest and largest, with its values; nothing where it is the same everywhere."""
    if not np.nanmin(scores) < np.nanmax(scores):
        return None
    found = []
    for place in (np.nanargmin(scores), np.nanargmax(scores)):
        row, column = np.unravel_index(place, scores.shape)
        top, left = int(tops[row]), int(lefts[column])
        box = Box(top, left, top + window[0], left + window[1])
        found.append((box, float(scores[row, column])))
    return found[0], found[1]


def marks(found: tuple[tuple[Box, float], tuple[Box, float]] | None) -> list[StageBox]:
    """Return the boxes that mark the weakest and the strongest place, the strongest on top."""
    if found is None:
        return []
    named = zip(("strongest", "weakest"), (STRONGEST_COLOR, WEAKEST_COLOR), found, strict=True)
    boxes = [
        StageBox(box.top, box.left, box.bottom, box.right, color=color, label=name)
        for name, color, (box, _) in named
    ]
    return boxes[::-1]


def found_html(net: Network, target: Target, clean: float, found: Any) -> str:
    """Return where the target drops most and least."""
    if found is None:
        return f"<p>{as_html(target_text(net, target))} is the same wherever the window lies.</p>"
    lines = []
    for name, (box, value) in zip(("strongest", "weakest"), found, strict=True):
        where = f"rows {box.top} to {box.bottom - 1}, columns {box.left} to {box.right - 1}"
        change = change_text(target, clean, value)
        lines.append(f"<p><b>{name}</b>: {as_html(change)} with the window at {where}</p>")
    return "".join(lines)


def progress_html(done: int, total: int, seconds_left: float | None) -> str:
    """Return how far the map is, with the time left while it runs."""
    if done == total:
        return f"all {total:,} places measured"
    text = f"{done:,} of {total:,} places"
    if seconds_left is None:
        return f"stopped after {text}"
    left = f", {time_text(seconds_left)} left" if done else ""
    return f'<progress aria-label="occlusion map" max="{total}" value="{done}"></progress>{text}{left}'


def answer_html(net: Network, target: Target, clean: Covered, now: Covered, covered: float) -> str:
    """Return what a cover by hand does to the target, and to the most probable class."""
    text = target_text(net, target)
    if not covered:
        clean_text = as_html(f"{text}: {value_text(target, clean.value)}")
        return f"<p>{clean_text}</p><p>Drag over the photo to cover a part of it.</p>"
    text += f": {change_text(target, clean.value, now.value)}"
    lines = [f"<b>{as_html(text)}</b>", f"{covered:.1%} covered"]
    if now.probabilities is not None and clean.probabilities is not None:
        before, after = int(clean.probabilities.argmax()), int(now.probabilities.argmax())
        lines[1] += (
            f"; most probable {'still' if before == after else 'now'}: {as_html(class_text(net, after))}"
        )
    return "".join(f"<p>{line}</p>" for line in lines)


def bar_classes(index: int | None, clean: Covered, now: Covered) -> list[int]:
    """Return the classes whose bars are shown: those of the whole photo and the one asked about, then those of now.

    The first ones stay while the cover moves, so that one sees them shrink.
    """
    if clean.probabilities is None or now.probabilities is None:
        return []
    before, after = (np.argsort(-each, kind="stable") for each in (clean.probabilities, now.probabilities))
    asked = [] if index is None else [index]
    wanted = [*before[: BARS - 2].tolist(), *asked, *after.tolist()]
    return list(dict.fromkeys(wanted))[:BARS]
