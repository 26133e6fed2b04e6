"""The layers that can be chosen in a widget: those that return maps or vectors, by name or call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network


class LayerChoice(NamedTuple):
    """A layer as a widget offers it: its key, and the shape of what it returns, without the batch axis."""

    key: LayerKey
    shape: tuple[int, ...]


def layer_choices(net: Network, *, only_maps: bool = False) -> ByLayer[LayerChoice]:
    """Return the layers that return maps or vectors, in the order of their first returns.

    Rectifiers that are called as functions are among them; of a layer that is called more than once, each call is.
    """
    names = {module: name for name, module in net.core.named_modules() if name}
    found: dict[LayerKey, LayerChoice] = {}
    for place, shapes in net.survey.shapes.items():
        name = place if isinstance(place, str) else names.get(place)
        for call, shape in enumerate(shapes):
            if name is None or shape is None or len(shape) not in ((3,) if only_maps else (1, 3)):
                continue
            key: LayerKey = name if len(shapes) == 1 else (name, call)
            found[key] = LayerChoice(key, shape)
    return ByLayer(found)


def middle_layer(layers: Sequence[LayerChoice], needed: str) -> LayerKey:
    """Return the layer in the middle, to begin with; where there is none, say what is needed."""
    if not layers:
        raise InputError(f"this network has no layer with {needed}")
    return layers[len(layers) // 2].key
