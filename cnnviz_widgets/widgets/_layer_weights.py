"""Choose several layers, or channels of them, each with a weight."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.views._closing import close_parts
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.widgets._controls import PLAIN, ROW, Filling, text_field
from cnnviz_widgets.widgets._layer_choices import LayerChoice
from cnnviz_widgets.widgets._player_controls import number_text, typed_number


class LayerWeights(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """A line for each layer: which one, which of its channels, how much it counts; and a button for one more.

    Parameters
    ----------
    net
        The network.
    layers
        Those to choose from.
    on_pick
        Called with weights by layer or `Target` when a person changes them; may raise. It then calls `show`.
    on_error
        Called with what is wrong about what was typed.
    """

    def __init__(
        self,
        net: Network,
        layers: Sequence[LayerChoice],
        on_pick: Callable[[dict[Any, float]], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._net, self._layers = net, list(layers)
        self._on_pick, self._on_error = on_pick, on_error
        self._filling = Filling(threading.RLock())
        self._shown: Mapping[Any, float] = {}
        self._lines: list[_Line] = []
        self.add = ipywidgets.Button(
            description="Add a layer", icon="plus", tooltip="One more layer", layout={"width": "max-content"}
        )
        self._other = ipywidgets.HTML()
        self.add.on_click(lambda button: self._add())
        super().__init__(layout={"min_width": "0", "align_items": "flex-start"})

    def show(self, weights: Mapping[Any, float]) -> None:
        """Show weights by layer, `Target` or other objective; the last two as they are, where no line can say them."""
        self._shown = weights
        lines = [_channel_of(key) for key in weights]
        is_known = all(found is not None and self._place(found[0]) is not None for found in lines)
        self._make_lines(len(weights) if is_known else 0)
        with self._filling:
            for line, found, weight in zip(self._lines, lines, weights.values(), strict=is_known):
                if found is not None:
                    line.show(self._place(found[0]), found[1], weight, len(weights) > 1)
        self._other.value = "" if is_known else as_html(weights_text(weights))
        shown = self._lines if is_known else [self._other]
        self.add.disabled = not self._unused()
        self.children = (*shown, self.add)

    def _make_lines(self, count: int) -> None:
        while len(self._lines) < count:
            self._lines.append(_Line(self._layers, self._read, self._remove))
        for line in self._lines[count:]:
            close_parts(line)
            line.close()
        del self._lines[count:]

    def _place(self, key: LayerKey) -> int | None:
        """Return where a layer is in the list: of one called once, the call may be left out."""
        for index, each in enumerate(self._layers):
            if key in (each.key, (each.key, 0)):
                return index
        return None

    def _unused(self) -> list[LayerKey]:
        return [each.key for each in self._layers if each.key not in self._shown]

    def _add(self) -> None:
        """Add the next layer after the last one, or begin anew where what is on show was given as something else."""
        unused = self._unused()
        found = [_channel_of(key) for key in self._shown]
        last = found[-1]
        place = None if last is None else self._place(last[0])
        after = (
            [] if place is None else [each.key for each in self._layers[place + 1 :] if each.key in unused]
        )
        is_known = self._other not in self.children
        self._pick(lambda: {**(self._shown if is_known else {}), (after or unused)[0]: 1.0})

    def _remove(self, line: _Line) -> None:
        keys = list(self._shown)
        del keys[self._lines.index(line)]
        self._pick(lambda: {key: self._shown[key] for key in keys})

    def _read(self) -> None:
        """Take what the lines say."""
        if self._filling:
            return

        def weights() -> dict[Any, float]:
            found: dict[Any, float] = {}
            for line in self._lines:
                key, weight = line.read()
                if key in found:
                    raise ValueError(f"{weights_text({key: 1.0})} is there twice; give it one weight")
                found[key] = weight
            return found

        self._pick(weights)

    def _pick(self, make: Callable[[], dict[Any, float]]) -> None:
        try:
            self._on_pick(make())
        except (TypeError, ValueError, LookupError) as error:
            self._on_error(error)
        self.show(self._shown)


class _Line(ipywidgets.HBox):  # type: ignore[misc, unused-ignore]
    """The fields of one layer."""

    def __init__(
        self,
        layers: Sequence[LayerChoice],
        on_change: Callable[[], None],
        on_remove: Callable[[_Line], None],
    ) -> None:
        self._layers = layers
        self.layer = ipywidgets.Dropdown(
            options=[(key_text(each.key), index) for index, each in enumerate(layers)],
            description="Layer",
            tooltip="Which layer",
            style=PLAIN,
            layout={"width": "185px"},
        )
        self.channel = text_field(
            "Channel", "all", "Number of one channel; empty for all of them", width="105px"
        )
        self.weight = text_field(
            "Weight", "1", "How much it counts, beside the others; below 0 it becomes less", width="90px"
        )
        self.remove = ipywidgets.Button(
            icon="times", tooltip="Leave this layer out", layout={"width": "34px"}
        )
        for field in (self.layer, self.channel, self.weight):
            field.observe(lambda change: on_change(), "value")
        self.remove.on_click(lambda button: on_remove(self))
        # The button goes where the weight goes.
        end = ipywidgets.HBox([self.weight, self.remove])
        super().__init__([self.layer, self.channel, end], layout=ROW)

    def show(self, place: int | None, channel: int | None, weight: float, is_removable: bool) -> None:
        self.layer.value = place
        self.channel.value = "" if channel is None else str(channel)
        self.weight.value = number_text(weight)
        self.remove.layout.display = None if is_removable else "none"

    def read(self) -> tuple[LayerKey | Target, float]:
        layer = self._layers[self.layer.value]
        weight = typed_number("Weight", self.weight.value or "1")
        typed = self.channel.value.strip()
        if not typed:
            return layer.key, weight
        if not typed.isdecimal() or int(typed) >= layer.shape[0]:
            raise ValueError(f"{key_text(layer.key)} has channels 0 to {layer.shape[0] - 1}; got {typed!r}")
        return Target(layer=layer.key, channel=int(typed)), weight


def _channel_of(key: Any) -> tuple[LayerKey, int | None] | None:
    """Return the layer and the channel that a key is about; nothing for an objective of another kind."""
    if isinstance(key, str | tuple):
        return key, None
    is_channel = isinstance(key, Target) and key.layer is not None and key.channel is not None
    return (key.layer, int(key.channel)) if is_channel and key.position is None else None


def weights_text(weights: Mapping[Any, float]) -> str:
    """Return layers with their weights, in words.

    >>> weights_text({"features.6": 1.0, Target(layer="features.9", channel=3): 0.5})
    'features.6 + 0.5 * features.9, channel 3'
    """
    texts = []
    for key, weight in weights.items():
        found = _channel_of(key)
        if found is None:
            text = str(getattr(key, "text", key))
        else:
            text = key_text(found[0]) + ("" if found[1] is None else f", channel {found[1]}")
        texts.append(text if weight == 1 else f"{weight:.4g} * {text}")
    return " + ".join(texts).replace(" + -", " - ")
