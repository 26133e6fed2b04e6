"""The fields that say what is meant: a class by its name, or a unit by its layer, channel and position."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import ipywidgets

from cnnviz_widgets.engine.layers import key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target, class_index
from cnnviz_widgets.widgets._channel_picker import ChannelPicker
from cnnviz_widgets.widgets._class_picker import ClassPicker, class_names
from cnnviz_widgets.widgets._controls import PLAIN, Filling, dropdown, text_field
from cnnviz_widgets.widgets._layer_choices import LayerChoice


class TargetFields(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """Base of what picks a target: a switch between kinds of them, and the fields of classes and units.

    A subclass arranges the fields, and overrides `show`, ``_target_of`` and ``_pick_kind``.

    Parameters
    ----------
    net
        The network.
    classes
        How many classes there are; none for a network that returns no class scores.
    layers
        Those with units to choose from.
    kinds
        What the switch offers.
    on_pick
        Called with what a person picks; it then calls `show`. Where it doesn't, the fields return to what is on show.
    on_error
        Called with what is wrong about what was typed; of a class that is said beside its field, where the text stays.
    """

    _description: ClassVar[str]  # of the switch

    def __init__(
        self,
        net: Network,
        classes: int,
        layers: Sequence[LayerChoice],
        kinds: Sequence[Any],
        on_pick: Callable[[Any], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._net, self._classes, self._layers = net, classes, list(layers)
        self._on_pick, self._on_error = on_pick, on_error
        self._filling = Filling(threading.RLock())
        self._shown: Any = None
        self._class = self._channel = 0  # the last ones on show
        self.about = ipywidgets.ToggleButtons(
            options=kinds,
            description=self._description,
            style={"button_width": "auto", **PLAIN},
            layout={"width": "auto"},
        )
        self.classes = ClassPicker(class_names(net, classes), self._pick_class)
        self.layers = dropdown("Layer", [(key_text(each.key), each.key) for each in layers], width="250px")
        self.channel = ChannelPicker(lambda channel: self._pick_unit(channel, self.position.value))
        self.position = text_field(
            "Row, column", "mean of the map", "A unit of the map, as in 3, 4; empty for the mean of the map"
        )
        super().__init__(layout={"min_width": "0"})
        self.about.observe(lambda change: self._pick_kind(change["new"]), "value")
        self.layers.observe(lambda change: self._pick_layer(), "value")
        self.position.observe(lambda change: self._pick_unit(self._channel, change["new"]), "value")

    @abstractmethod
    def show(self, target: Any) -> None:
        """Show what is meant."""

    @abstractmethod
    def _target_of(self, index: int) -> Any:
        """Return what is picked with a class."""

    @abstractmethod
    def _pick_kind(self, kind: Any) -> None:
        """Pick something of a kind, as a person turns to it."""

    def _pick_layer(self) -> None:
        self._pick_unit(0, "")

    def _show_class(self, what: Any) -> None:
        self._class = class_index(self._net, what, self._classes)
        self.classes.show(self._class)

    def _show_unit(self, target: Target, layer: LayerChoice) -> None:
        self.layers.value, self._channel = layer.key, int(target.channel or 0)
        self.channel.show(self._channel, range(layer.shape[0]))
        self.position.value = "" if target.position is None else "{}, {}".format(*target.position)

    def _layer_of(self, key: Any) -> LayerChoice | None:
        """Return a layer as the list has it: of a layer called once, the call may be left out."""
        return next((each for each in self._layers if key in (each.key, (each.key, 0))), None)

    def _pick_class(self, what: int | str) -> None:
        """Pick a class that was typed; what is none is said beside the field, by which this is called."""
        index = class_index(self._net, what, self._classes)
        self._pick(lambda: self._target_of(index))

    def _pick_unit(self, channel: int, position: str) -> None:
        self._pick(lambda: Target(layer=self.layers.value, channel=channel, position=unit_position(position)))

    def _pick(self, make: Callable[[], Any]) -> None:
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
