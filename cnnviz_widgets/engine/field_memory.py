"""Receptive fields that were worked out before, for as long as the module is what it was."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from itertools import chain
from typing import TYPE_CHECKING, Any

from cnnviz_widgets.engine.layers import version
from cnnviz_widgets.engine.state import engine_lock

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network
    from cnnviz_widgets.engine.receptive_field import ReceptiveField
    from cnnviz_widgets.engine.survey import Surveys

_REMEMBERED = 16


class FieldMemory:
    """The last few receptive fields of one network, by what was asked for.

    They are forgotten when the module is changed as `Surveys` notices it, when any of its weights or buffers is
    replaced or written to (a buffer may say which pixels are looked at), and when a hook comes or goes. Those found
    from gradients hold a whole pass, so they are known only while somebody uses them.
    """

    def __init__(self, surveys: Surveys) -> None:
        self._surveys = surveys
        self._lock = threading.Lock()
        self._state: Any = None
        self._known: dict[Hashable, Callable[[], ReceptiveField | None]] = {}

    def structure(self) -> object:
        """Return the same object for as long as the module has the same parts with the same settings."""
        with engine_lock:
            return self._surveys.structure()

    def find(self, state: Any, key: Hashable) -> ReceptiveField | None:
        """Return the field that was added under a key, if the module is in the same state."""
        with self._lock:
            known = self._known.get(key) if state == self._state else None
            return None if known is None else known()

    def add(self, state: Any, key: Hashable, field: ReceptiveField) -> None:
        """Remember a field; in another state of the module than the ones before, only that."""
        kept = weakref.ref(field) if field.method == "gradient" else lambda: field
        with self._lock:
            if state != self._state:
                self._state, self._known = state, {}
            self._known[key] = kept
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]


class _Same:
    """Equal to another one of the same object while that lives: the next one may be given its ``id``."""

    __slots__ = ("_object",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, thing: object) -> None:
        self._object = weakref.ref(thing)

    def __eq__(self, other: object) -> bool:
        mine = self._object()
        return isinstance(other, _Same) and mine is not None and mine is other._object()


def module_state(net: Network) -> Any:
    """Return what is equal as long as nothing has changed that a receptive field hangs on."""
    core = net.core
    tensors = [(_Same(each), version(each)) for each in chain(core.parameters(), core.buffers())]
    # The numbers under which hooks are registered are not used twice, unlike their ids.
    hooks = [
        (number, id(hook))
        for module in core.modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for number, hook in hooks.items()
    ]
    return net.fields.structure(), net.input.channels, net.input.size, tensors, hooks
