"""Mappings by layer, which say what there is where they have not what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from cnnviz_widgets.engine.errors import AmbiguousLayerError, LayerNotFoundError, did_you_mean
from cnnviz_widgets.engine.layers import LayerKey, key_in_text, split_key

T = TypeVar("T")

_SHORT = 120
_LISTED = 6


class LayerMapping(Mapping[LayerKey, T], Generic[T]):
    """A mapping by layer whose errors say more than a `KeyError`, which is all that `Mapping` reckons with."""

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except (LookupError, TypeError):
            return False
        return True

    def get(self, key: LayerKey, default: Any = None) -> Any:
        """Return the value of that layer, or the default where there is none."""
        return self[key] if self.__contains__(key) else default


class ByLayer(LayerMapping[T]):
    """Values by layer: under its name, or (name, call) for each call of a layer used more than once.

    >>> values = ByLayer({"conv": 1, ("relu", 0): 2, ("relu", 1): 3})
    >>> values["conv"], values["conv", 0], values["relu", 1]
    (1, 1, 3)
    >>> values.get("fc", "nothing")
    'nothing'
    >>> values
    <by layer: 'conv': 1, ('relu', 0): 2, ('relu', 1): 3>
    """

    def __init__(self, values: Mapping[LayerKey, T]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: LayerKey) -> T:
        if key in self._values:
            return self._values[key]
        name, call = split_key(key)
        if call == 0 and name in self._values:
            return self._values[name]
        calls = [each for each in self._values if split_key(each)[0] == name]
        if calls and call is None:
            raise AmbiguousLayerError(
                f"layer {name!r} is here by its calls; say which call: {' or '.join(map(repr, calls[:3]))}"
            )
        meant = key_in_text(name)
        if call is None and meant is not None and meant in self:
            raise LayerNotFoundError(
                f"nothing is here for layer {key!r}; the key of that call is {meant!r}, without quotes around it"
            )
        near = did_you_mean(name, [split_key(each)[0] for each in self._values])
        there = calls or list(self)
        listed = ", ".join(map(repr, there[:_LISTED])) + (" ..." if len(there) > _LISTED else "")
        raise LayerNotFoundError(f"nothing is here for layer {key!r}; there is {listed or 'no layer'}{near}")

    def __iter__(self) -> Iterator[LayerKey]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        said = ((key, repr(value)) for key, value in self._values.items())
        short = (f"{key!r}: {text}" if _is_short(text) else repr(key) for key, text in said)
        return f"<by layer: {', '.join(short)}>"


def _is_short(text: str) -> bool:
    return len(text) <= _SHORT and "\n" not in text
