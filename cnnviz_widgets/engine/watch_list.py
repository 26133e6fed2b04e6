"""Which layers a capture is after, and what each of them has returned so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from cnnviz_widgets.engine.errors import LayerNotFoundError
from cnnviz_widgets.engine.forward import ForwardPass, Record
from cnnviz_widgets.engine.layers import LayerKey, Place, split_key
from cnnviz_widgets.engine.rectifiers import find_place


@dataclass
class WatchedLayer:
    """One module or function of a capture: the calls asked for (``None``: all), and what each has returned."""

    name: str
    place: Place
    calls: set[int] | None
    count: int = 0
    due: int | None = None
    records: dict[int, Record] = field(default_factory=dict)
    gradients: dict[int, dict[int, Tensor]] = field(default_factory=dict)

    def begin(self, run: ForwardPass | None) -> None:
        """Forget the last pass. What is still ``due`` is ``None`` where only the end of the pass can tell."""
        self.count, self.records, self.gradients = 0, {}, {}
        if self.calls is not None:
            self.due = len(self.calls)
        else:
            self.due = run.foreseen_calls(self.place) if run else None


def watch_list(root: nn.Module, layers: Iterable[LayerKey] | None) -> dict[Place, WatchedLayer]:
    """Return what is to be watched for a list of layers (``None``: all), by its place.

    Raises
    ------
    LayerNotFoundError
        No such layer, with the nearest names; or an empty list.
    TypeError
        Something that is no list of layers.
    """
    keys = [name for name, _ in root.named_modules() if name] if layers is None else list_keys(layers)
    watched: dict[Place, WatchedLayer] = {}
    for key in keys:
        name, call = split_key(key)
        place = find_place(root, name)
        entry = watched.setdefault(place, WatchedLayer(name, place, set()))
        if call is None:
            entry.calls = None
        elif entry.calls is not None:
            entry.calls.add(call)
    return watched


def list_keys(layers: Any) -> list[LayerKey]:
    """Return the keys in a list of layers, or of a single one."""
    if isinstance(layers, str) or (
        isinstance(layers, tuple) and len(layers) == 2 and isinstance(layers[1], int | np.integer)
    ):
        return [layers]
    if not isinstance(layers, Iterable):
        raise TypeError(f"layers= takes a list of layer names, or None for all of them, got {layers!r}")
    keys = list(layers)
    if not keys:
        raise LayerNotFoundError("no layers to capture: name at least one, such as ['features.3']")
    return keys
