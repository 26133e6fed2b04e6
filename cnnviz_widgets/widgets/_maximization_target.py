"""Choose what a picture is to excite: a class, a channel or a unit, or several channels at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.layers import key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.objectives import as_objective
from cnnviz_widgets.engine.targets import Target, class_index
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.widgets._channel_picker import ChannelPicker
from cnnviz_widgets.widgets._class_picker import ClassPicker, class_names
from cnnviz_widgets.widgets._layer_choices import LayerChoice
from cnnviz_widgets.widgets._player_controls import row
from cnnviz_widgets.widgets._target_picker import unit_position

CHANNEL, CLASS, GRID, OTHER = "a channel", "a class", "several channels", "as given"
GRID_UNITS = 6  # fill a mosaic of two rows
_PLAIN = {"description_width": "initial"}


class MaximizationTarget(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """A switch between a channel, a class and several channels, and the fields for each.

    Parameters
    ----------
    net
        The network.
    classes
        How many classes there are; none for a network that returns no class scores.
    layers
        Those with channels to choose from.
    on_pick
        Called with what a person picks, as `maximize` takes it; it then calls `show`.
    on_error
        Called with what is wrong about what was typed.
    """

    def __init__(
        self,
        net: Network,
        classes: int,
        layers: Sequence[LayerChoice],
        on_pick: Callable[[Any], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._net, self._classes, self._layers = net, classes, list(layers)
        self._on_pick, self._on_error = on_pick, on_error
        self._is_filling, self._shown, self._channel, self._class = False, None, 0, 0
        kinds = [CHANNEL] if layers else []
        kinds += [CLASS] if classes else []
        self._kinds = kinds + ([GRID] if layers else [])
        self.about = ipywidgets.ToggleButtons(
            options=self._kinds,
            description="Excite",
            style={"button_width": "auto", **_PLAIN},
            layout={"width": "auto"},
        )
        self.classes = ClassPicker(class_names(net, classes), self._pick_class)
        self.layers = ipywidgets.Dropdown(
            options=[(key_text(each.key), each.key) for each in layers],
            description="Layer",
            style=_PLAIN,
            layout={"width": "230px"},
        )
        self.channel = ChannelPicker(lambda channel: self._pick_unit(channel, self.position.value))
        self.position = _text(
            "Row, column", "mean of the map", "A unit of the map, as in 3, 4; empty for the mean of it"
        )
        self.channels = _text(
            "Channels", "as in 0-5, 20", "Which channels, as in 0-5, 20: a picture for each"
        )
        self._other = ipywidgets.HTML()
        self._fields = row(
            [self.layers, self.channel, self.position, self.channels, self.classes, self._other]
        )
        super().__init__([self.about, self._fields, self.classes.said], layout={"min_width": "0"})
        self.about.observe(lambda change: self._pick_kind(change["new"]), "value")
        self.layers.observe(lambda change: self._pick_layer(), "value")
        self.position.observe(lambda change: self._pick_unit(self._channel, change["new"]), "value")
        self.channels.observe(lambda change: self._pick_grid(change["new"]), "value")

    def show(self, target: Any) -> None:
        """Show what is to be excited."""
        self._shown = target
        with self._filling():
            kind = self._show_kind(target)
            self.about.options = [*self._kinds, *([OTHER] if kind == OTHER else [])]
            self.about.value = kind
            self._other.value = as_html(target_text(self._net, target)) if kind == OTHER else ""
        shown = {
            CHANNEL: (self.layers, self.channel, self.position),
            CLASS: (self.classes,),
            GRID: (self.layers, self.channels),
            OTHER: (self._other,),
        }[kind]
        if kind != CLASS:
            self.classes.forgive()
        for field in self._fields.children:
            field.layout.display = None if field in shown else "none"
        if kind == CHANNEL and len(self._layer(target.layer).shape) != 3:
            self.position.layout.display = "none"

    def _show_kind(self, target: Any) -> str:
        """Fill the fields that can say this target, and return which they are."""
        if isinstance(target, Target) and self._is_offered(target):
            self._channel = int(target.channel or 0)
            self.layers.value = self._layer(target.layer).key
            self.channel.show(self._channel, range(self._layer(target.layer).shape[0]))
            self.position.value = "" if target.position is None else "{}, {}".format(*target.position)
            return CHANNEL
        if isinstance(target, str | int) and self._classes:
            self._class = class_index(self._net, target, self._classes)
            self.classes.show(self._class)
            return CLASS
        if self._is_grid(target):
            self.layers.value = self._layer(target[0].layer).key
            self.channels.value = ranges_text([each.channel for each in target])
            return GRID
        return OTHER

    def _is_offered(self, target: Target) -> bool:
        return any(target.layer in (each.key, (each.key, 0)) for each in self._layers)

    def _is_grid(self, target: Any) -> bool:
        return (
            isinstance(target, tuple | list)
            and len(target) > 0
            and all(isinstance(each, Target) and each.position is None for each in target)
            and len({each.layer for each in target}) == 1
            and self._is_offered(target[0])
        )

    def _layer(self, key: Any) -> LayerChoice:
        """Return a layer as the list has it: of a layer called once, the call may be left out."""
        return next(each for each in self._layers if key in (each.key, (each.key, 0)))

    def _pick_kind(self, kind: str) -> None:
        if kind == CHANNEL:
            self._pick_unit(self._channel, "")
        elif kind == CLASS:
            self._pick_class(self._class)
        elif kind == GRID:
            units = min(GRID_UNITS, self._layer(self.layers.value).shape[0])
            self._pick_grid(f"0-{units - 1}")

    def _pick_layer(self) -> None:
        if self.about.value == GRID:
            self._pick_kind(GRID)
        else:
            self._pick_unit(0, "")

    def _pick_class(self, what: int | str) -> None:
        # What is no class is said beside the field.
        index = class_index(self._net, what, self._classes)
        self._pick(lambda: index)

    def _pick_unit(self, channel: int, position: str) -> None:
        self._pick(lambda: Target(layer=self.layers.value, channel=channel, position=unit_position(position)))

    def _pick_grid(self, text: str) -> None:
        def targets() -> tuple[Target, ...]:
            layer = self.layers.value
            channels = typed_channels(text, self._layer(layer).shape[0])
            return tuple(Target(layer=layer, channel=channel) for channel in channels)

        self._pick(targets)

    def _pick(self, make: Callable[[], Any]) -> None:
        if self._is_filling:
            return
        try:
            self._on_pick(make())
        except (TypeError, ValueError, LookupError) as error:
            self._on_error(error)
        self.show(self._shown)

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """Change the fields, which is no pick."""
        before, self._is_filling = self._is_filling, True
        try:
            yield
        finally:
            self._is_filling = before


def target_text(net: Network, target: Any) -> str:
    """Return what is to be excited, in words."""
    if isinstance(target, str):
        return target
    if isinstance(target, int):
        return net.label(target) if net.labels is not None else f"class {target}"
    if isinstance(target, Target) and target.layer is not None:
        unit = "" if target.position is None else " at {}, {}".format(*target.position)
        return f"{key_text(target.layer)}, channel {target.channel}{unit}"
    if isinstance(target, tuple | list):
        units = [each for each in target if isinstance(each, Target) and each.position is None]
        if (
            target
            and len(units) == len(target)
            and len({each.layer for each in units}) == 1
            and units[0].layer
        ):
            return f"{key_text(units[0].layer)}, channels {ranges_text([int(each.channel or 0) for each in units])}"
        return f"{target_text(net, target[0])} and {len(target) - 1} more" if target else "nothing"
    return as_objective(target).text


def ranges_text(numbers: Sequence[int]) -> str:
    """Return numbers as one types them.

    >>> ranges_text([0, 1, 2, 7, 4])
    '0-2, 7, 4'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def typed_channels(text: str, count: int) -> list[int]:
    """Return the channels that were typed, of a layer that has so many.

    >>> typed_channels("0-2, 7", 64)
    [0, 1, 2, 7]
    """
    found: list[int] = []
    for part in text.replace(";", ",").split(","):
        ends = part.strip().split("-")
        if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
            raise ValueError(f"channels are numbers and ranges, as in 0-5, 20; got {text!r}")
        first, last = int(ends[0]), int(ends[-1])
        if last < first or last >= count:
            raise ValueError(f"the layer has channels 0 to {count - 1}; got {part.strip()!r}")
        found += range(first, last + 1)
    return found


def _text(label: str, placeholder: str, tooltip: str) -> ipywidgets.Text:
    return ipywidgets.Text(
        placeholder=placeholder,
        description=label,
        tooltip=tooltip,
        continuous_update=False,
        style=_PLAIN,
        layout={"width": "220px"},
    )
