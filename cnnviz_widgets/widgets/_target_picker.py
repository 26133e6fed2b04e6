"""Choose what to ask about: a class by its name, or a unit by its layer, channel and position."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.layers import key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target, class_index
from cnnviz_widgets.widgets._channel_picker import ChannelPicker
from cnnviz_widgets.widgets._class_picker import ClassPicker, class_names
from cnnviz_widgets.widgets._controls import PLAIN, Filling, dropdown, row
from cnnviz_widgets.widgets._layer_choices import LayerChoice

CLASS, UNIT = "class", "unit"


class TargetPicker(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """A switch between classes and units, and the fields for the one or the other.

    Parameters
    ----------
    net
        The network.
    classes
        How many classes there are; none for a network that returns no class scores.
    layers
        Those with units to choose from.
    on_pick
        Called with the `Target` that a person picks; it then calls `show`. Where it doesn't, the fields return to
        what is on show.
    on_error
        Called with what is wrong about what was typed.
    """

    def __init__(
        self,
        net: Network,
        classes: int,
        layers: Sequence[LayerChoice],
        on_pick: Callable[[Target], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._net, self._classes, self._layers = net, classes, list(layers)
        self._on_pick, self._on_error = on_pick, on_error
        self._filling = Filling(threading.RLock())
        self._shown: Target | None = None
        self._last_class: int | str = 0
        kinds = [("a class", CLASS)] if classes else []
        kinds += [("a unit", UNIT)] if layers else []
        self.about = ipywidgets.ToggleButtons(
            options=kinds,
            description="Ask about",
            style={"button_width": "auto", **PLAIN},
            layout={"width": "auto"},
        )
        self.classes = ClassPicker(class_names(net, classes), self._pick_class)
        self.scale = dropdown("as", [("probability", "probability"), ("logit", "logit")], width="130px")
        self.layers = dropdown("Layer", [(key_text(each.key), each.key) for each in layers], width="250px")
        self.channel = ChannelPicker(lambda channel: self._pick_unit(channel, self.position.value))
        self.position = ipywidgets.Text(
            placeholder="mean of the map",
            description="Row, column",
            tooltip="A unit of the map, as in 3, 4; empty for the mean of the map",
            continuous_update=False,
            style=PLAIN,
            layout={"width": "230px"},
        )
        self._of_class = row([self.classes, self.scale])
        self._of_unit = row([self.layers, self.channel, self.position])
        super().__init__([self.about, self._of_class, self._of_unit], layout={"min_width": "0"})
        self.about.observe(self._on_about, "value")
        self.scale.observe(lambda change: self._pick_class(self._last_class), "value")
        self.layers.observe(lambda change: self._pick_unit(0, ""), "value")
        self.position.observe(lambda change: self._pick_unit(self._channel(), change["new"]), "value")

    def show(self, target: Target) -> None:
        """Show what is asked about."""
        self._shown = target
        with self._filling:
            layer = self._layer_of(target)
            if layer is not None:
                self._show_unit(target, layer)
            elif target.layer is None and not callable(target.what):
                self._last_class = class_index(self._net, target.what, self._classes)
                self.classes.show(self._last_class)
                self.scale.value, self.about.value = target.of, CLASS
            else:
                self.classes.show(None)
        is_unit = self.about.value == UNIT
        self._of_class.layout.display = "none" if is_unit or not self._classes else None
        self._of_unit.layout.display = None if is_unit else "none"

    def _show_unit(self, target: Target, layer: LayerChoice) -> None:
        self.about.value, self.layers.value = UNIT, layer.key
        self.channel.show(int(target.channel or 0), range(layer.shape[0]))
        has_map = len(layer.shape) == 3
        self.position.value = "" if target.position is None else f"{target.position[0]}, {target.position[1]}"
        self.position.layout.display = None if has_map else "none"

    def _layer_of(self, target: Target) -> LayerChoice | None:
        """Return the layer of a target as the list has it: of a layer called once, the call may be left out."""
        for each in self._layers:
            if target.layer in (each.key, (each.key, 0)):
                return each
        return None

    def _channel(self) -> int:
        return int((self._shown.channel if self._shown is not None else 0) or 0)

    def _on_about(self, change: Any) -> None:
        if change["new"] == UNIT:
            self._pick_unit(0, "")
        else:
            self._pick_class(self._last_class)

    def _pick_class(self, what: int | str) -> None:
        self._pick(lambda: Target(what, of=self.scale.value))

    def _pick_unit(self, channel: int, position: str) -> None:
        self._pick(lambda: Target(layer=self.layers.value, channel=channel, position=unit_position(position)))

    def _pick(self, make: Callable[[], Target]) -> None:
        if self._filling:
            return
        try:
            self._on_pick(make())
        except (TypeError, ValueError, LookupError) as error:
            self._on_error(error)
        if self._shown is not None:
            self.show(self._shown)


def unit_position(text: str) -> tuple[int, int] | None:
    """Return the row and the column that were typed; nothing for an empty field.

    >>> unit_position("3, 4"), unit_position("(3 4)"), unit_position(" ")
    ((3, 4), (3, 4), None)
    """
    parts = text.replace("(", " ").replace(")", " ").replace(",", " ").split()
    if not parts:
        return None
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"a unit is a row and a column, as in 3, 4, counted from 0; got {text!r}")
    return int(parts[0]), int(parts[1])
