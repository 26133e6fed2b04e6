"""Choose what to ask about: a class by its name, or a unit by its layer, channel and position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.widgets._controls import dropdown, row
from cnnviz_widgets.widgets._layer_choices import LayerChoice
from cnnviz_widgets.widgets._target_fields import TargetFields

CLASS, UNIT = "class", "unit"


class TargetPicker(TargetFields):
    """A switch between classes and units, and the fields for the one or the other.

    Parameters are those of `TargetFields`, without ``kinds``; ``on_pick`` is called with a `Target`.
    """

    _description = "Ask about"

    def __init__(
        self,
        net: Network,
        classes: int,
        layers: Sequence[LayerChoice],
        on_pick: Callable[[Target], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        kinds = [("a class", CLASS)] if classes else []
        kinds += [("a unit", UNIT)] if layers else []
        super().__init__(net, classes, layers, kinds, on_pick, on_error)
        self.scale = dropdown("as", [("probability", "probability"), ("logit", "logit")], width="130px")
        self._of_class = row([self.classes, self.scale])
        self._of_unit = row([self.layers, self.channel, self.position])
        self.children = [self.about, self._of_class, self.classes.said, self._of_unit]
        self.scale.observe(lambda change: self._pick_class(self._class), "value")

    def show(self, target: Target) -> None:
        """Show what is asked about."""
        self._shown = target
        with self._filling:
            layer = self._layer_of(target.layer)
            if layer is not None:
                self.about.value = UNIT
                self._show_unit(target, layer)
                self.position.layout.display = None if len(layer.shape) == 3 else "none"
            elif target.layer is None and not callable(target.what):
                self._show_class(target.what)
                self.scale.value, self.about.value = target.of, CLASS
            else:
                self.classes.show(None)
        is_unit = self.about.value == UNIT
        if is_unit:
            self.classes.forgive()
        self._of_class.layout.display = "none" if is_unit or not self._classes else None
        self._of_unit.layout.display = None if is_unit else "none"

    def _target_of(self, index: int) -> Target:
        return Target(index, of=self.scale.value)

    def _pick_kind(self, kind: str) -> None:
        if kind == UNIT:
            self._pick_unit(0, "")
        else:
            self._pick_class(self._class)
