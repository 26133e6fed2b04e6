"""Be told, in the middle of a forward pass, that a layer has returned."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

from cnnviz_widgets.engine.layers import LayerKey, split_key
from cnnviz_widgets.engine.rectifiers import find_place, rectifier_calls
from cnnviz_widgets.engine.state import engine_lock

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


@contextmanager
def layer_reached(net: Network, layer: LayerKey, note: Callable[[Any], None]) -> Iterator[None]:
    """Call ``note`` with what the layer returns, once, the first time that its call is over.

    Enter it before a `capture` of the layer, which may end the pass as soon as the layer has returned.
    """
    name, call = split_key(layer)
    thread = threading.get_ident()
    calls = 0

    def count(module: nn.Module | None, arguments: Any, output: Any) -> None:
        nonlocal calls
        if threading.get_ident() == thread:
            calls += 1
            if calls == (call or 0) + 1:
                note(output)

    def count_function(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> None:
        if name == place:
            count(None, args, output)

    place = find_place(net.core, name)
    if isinstance(place, str):
        with rectifier_calls(net.core, count_function):
            yield
        return
    # Not while a pass runs on another thread: the end of it would take the hook away, or bring it back.
    with engine_lock:
        handle = place.register_forward_hook(count)
    try:
        yield
    finally:
        with engine_lock:
            handle.remove()
