"""Choose what a picture is to excite: a class, a channel or a unit, or several channels at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.layers import key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.objectives import as_objective
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.widgets._controls import row, text_field
from cnnviz_widgets.widgets._layer_choices import LayerChoice
from cnnviz_widgets.widgets._target_fields import TargetFields

CHANNEL, CLASS, GRID, OTHER = "a channel", "a class", "several channels", "as given"
GRID_UNITS = 6  # fill a mosaic of two rows


class MaximizationTarget(TargetFields):
    """A switch between a channel, a class and several channels, and the fields for each.

    Parameters are those of `TargetFields`, without ``kinds``; ``on_pick`` is called with what `maximize` takes.
    """

    _description = "Excite"

    def __init__(
        self,
        net: Network,
        classes: int,
        layers: Sequence[LayerChoice],
        on_pick: Callable[[Any], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._kinds = [CHANNEL] * bool(layers) + [CLASS] * bool(classes) + [GRID] * bool(layers)
        super().__init__(net, classes, layers, self._kinds, on_pick, on_error)
        self.channels = text_field(
            "Channels", "as in 0-5, 20", "Which channels, as in 0-5, 20: a picture for each"
        )
        self._other = ipywidgets.HTML()
        self._fields = row(
            [self.layers, self.channel, self.position, self.channels, self.classes, self._other]
        )
        self.children = [self.about, self._fields, self.classes.said]
        self.channels.observe(lambda change: self._pick_grid(change["new"]), "value")

    def show(self, target: Any) -> None:
        """Show what is to be excited."""
        self._shown = target
        with self._filling:
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
        layer = self._layer_of(target.layer) if kind == CHANNEL else None
        if layer is not None and len(layer.shape) != 3:
            self.position.layout.display = "none"

    def _show_kind(self, target: Any) -> str:
        """Fill the fields that can say this target, and return which they are."""
        layer = self._layer_of(target.layer) if isinstance(target, Target) else None
        if layer is not None:
            self._show_unit(target, layer)
            return CHANNEL
        if isinstance(target, str | int) and self._classes:
            self._show_class(target)
            return CLASS
        layer = self._layer_of(target[0].layer) if _is_grid(target) else None
        if layer is not None:
            self.layers.value = layer.key
            self.channels.value = ranges_text([each.channel for each in target])
            return GRID
        return OTHER

    def _target_of(self, index: int) -> int:
        return index

    def _units(self) -> int:
        """Return how many channels the chosen layer has."""
        layer = self._layer_of(self.layers.value)
        return 0 if layer is None else layer.shape[0]

    def _pick_kind(self, kind: str) -> None:
        if kind == CHANNEL:
            self._pick_unit(self._channel, "")
        elif kind == CLASS:
            self._pick_class(self._class)
        elif kind == GRID:
            self._pick_grid(f"0-{min(GRID_UNITS, self._units()) - 1}")

    def _pick_layer(self) -> None:
        if self.about.value == GRID:
            self._pick_kind(GRID)
        else:
            super()._pick_layer()

    def _pick_grid(self, text: str) -> None:
        def targets() -> tuple[Target, ...]:
            channels = typed_channels(text, self._units())
            return tuple(Target(layer=self.layers.value, channel=channel) for channel in channels)

        self._pick(targets)


def _is_grid(target: Any) -> bool:
    """Return whether this is about several channels of one layer."""
    return (
        isinstance(target, tuple | list)
        and len(target) > 0
        and all(isinstance(each, Target) and each.position is None for each in target)
        and len({each.layer for each in target}) == 1
    )


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
