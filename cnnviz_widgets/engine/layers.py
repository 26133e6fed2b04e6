"""The layers of a module: their names, kinds, shapes, and how often a forward pass calls each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch import Tensor, nn

from cnnviz_widgets.engine.errors import AmbiguousLayerError, LayerNotFoundError, OutputError, did_you_mean

if TYPE_CHECKING:
    from cnnviz_widgets.engine.survey import Survey

LayerKey: TypeAlias = str | tuple[str, int]
"""A layer: its dotted name, or ``(name, call)`` for one call of a module that is used more than once."""

_FEW = 8
"""Up to so many modules are listed in an error."""

Place: TypeAlias = nn.Module | str
"""Where a value comes from: a module, or the full name of a rectifier called as a function, ``"relu()"``."""


@dataclass(frozen=True)
class LayerInfo:
    """One line of the module tree.

    Attributes
    ----------
    name
        Dotted name, as in ``module.named_modules()``.
    kind
        Class name, such as ``"Conv2d"``; ``"function"`` for a rectifier called as one.
    output_shape
        Shape of what the first call returns, without the batch axis; ``None`` where a forward pass never
        calls the module or where it returns no tensor.
    parameters
        Number of parameters, those of its children included.
    calls
        How often one forward pass calls the module.
    output_shapes
        One shape for each call.
    map_shapes
        The same as everything here reads it: maps are (channels, rows, columns), also where they come with their
        channels at the end, as in Swin.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    calls: int
    output_shapes: tuple[tuple[int, ...] | None, ...] = ()
    map_shapes: tuple[tuple[int, ...] | None, ...] = ()

    @property
    def map_shape(self) -> tuple[int, ...] | None:
        """The first of the `map_shapes`."""
        return self.map_shapes[0] if self.map_shapes else None

    def of_call(self, call: int) -> LayerInfo:
        """Return the same with the shape that one call has."""
        return replace(
            self, output_shape=self.output_shapes[call], map_shapes=self.map_shapes[call : call + 1]
        )


def map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """Rebuild a nest of tuples, lists, mappings and dataclasses with ``function`` applied to its tensors."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, tuple):
        each_mapped = [map_tensors(each, function) for each in value]
        # Named tuples take their fields one by one; all others, torch.return_types too, take a sequence.
        return type(value)(*each_mapped) if hasattr(value, "_fields") else type(value)(each_mapped)
    if isinstance(value, list | MutableMapping):
        # A copy filled anew: subclasses may have constructors of their own.
        rebuilt: Any = copy(value)
        for key in range(len(value)) if isinstance(value, list) else list(value):
            rebuilt[key] = map_tensors(value[key], function)
        return rebuilt
    if isinstance(value, Mapping):
        return type(value)({key: map_tensors(each, function) for key, each in value.items()})  # type: ignore[call-arg]
    if is_dataclass(value) and not isinstance(value, type):
        rebuilt = copy(value)
        for each_field in fields(value):
            mapped = map_tensors(getattr(value, each_field.name), function)
            object.__setattr__(rebuilt, each_field.name, mapped)
        return rebuilt
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a nest of tuples, lists, mappings and dataclasses."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(value, note)
    return iter(found)


def main_tensor(value: Any, choice: str | int | Callable[[Any], Tensor] | None = None) -> Tensor:
    """Return the one tensor that counts in what a module returned.

    A tensor is itself. Of a tuple or list it is the first tensor; of a mapping or dataclass the entry
    ``logits`` or ``out``, or the only tensor there is. ``choice`` (an index, a key or a function) overrides
    all this.

    Raises
    ------
    OutputError
        Where there is no such tensor, or several with nothing to choose between them.
    """
    if callable(choice):
        value = choice(value)
    elif choice is not None:
        try:
            if isinstance(value, Tensor):
                raise TypeError("a tensor is no collection: that would pick an image of the batch")
            value = value[choice]
        except (LookupError, TypeError) as error:
            raise OutputError(
                f"output={choice!r} does not fit what the module returned, {describe(value)}"
            ) from error
    if isinstance(value, Tensor):
        return value
    if isinstance(value, tuple | list):
        for each in value:
            if isinstance(each, Tensor):
                return each
    named = _named_tensors(value)
    for name in ("logits", "out"):
        if name in named:
            return named[name]
    if len(named) == 1:
        return next(iter(named.values()))
    raise OutputError(
        f"can't tell which tensor counts in {describe(value)}; "
        "name it: cv.Network(module, output=<key, index or function>)"
    )


def has_rivals(value: Any) -> bool:
    """Return whether more than one tensor in a tuple or list may be class scores [N, K]: they are of several widths."""
    each_one = value if isinstance(value, tuple | list) else ()
    tables = [each for each in each_one if isinstance(each, Tensor) and each.ndim == 2]
    return len({each.shape[1] for each in tables if each.is_floating_point()}) > 1


def _named_tensors(value: Any) -> dict[str, Tensor]:
    if isinstance(value, Mapping):
        return {str(key): each for key, each in value.items() if isinstance(each, Tensor)}
    if is_dataclass(value):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return {name: each for name, each in pairs if isinstance(each, Tensor)}
    return {}


def describe(value: Any) -> str:
    """Return a short text such as ``dict(out: 1x21x8x8, aux: 1x21x8x8)`` for an error message."""
    if isinstance(value, Tensor):
        return "x".join(map(str, value.shape)) or "scalar"
    if isinstance(value, Mapping):
        return (
            f"{type(value).__name__}({', '.join(f'{key}: {describe(each)}' for key, each in value.items())})"
        )
    if isinstance(value, tuple | list):
        return f"{type(value).__name__}({', '.join(map(describe, value))})"
    return type(value).__name__


def version(tensor: Tensor) -> int | None:
    """Return how often a tensor was written to, or ``None`` where torch does not count."""
    return None if tensor.is_inference() else tensor._version


def list_layers(module: nn.Module, seen: Survey) -> tuple[LayerInfo, ...]:
    """Return a `LayerInfo` for each submodule, in the order of ``named_modules()``."""
    return tuple(layer_info(name, each, seen) for name, each in module.named_modules() if name)


def layer_info(name: str, place: Place, seen: Survey) -> LayerInfo:
    """Return what a survey knows of one submodule, or of a rectifier called as a function."""
    maps = tuple(seen.shapes.get(place, ()))
    shapes = tuple(
        (*shape[1:], shape[0]) if shape is not None and (place, call) in seen.channels_last else shape
        for call, shape in enumerate(maps)
    )
    first = shapes[0] if shapes else None
    if isinstance(place, str):
        if not shapes:
            raise never_called(name, seen.functions)
        return LayerInfo(name, "function", first, 0, len(shapes), shapes, maps)
    parameters = sum(each.numel() for each in place.parameters())
    return LayerInfo(name, type(place).__name__, first, parameters, len(shapes), shapes, maps)


def never_called(name: str, functions: Sequence[str]) -> LayerNotFoundError:
    """Return the error for a rectifier that a pass never calls as a function; it calls these."""
    return LayerNotFoundError(
        f"the forward pass never calls a rectifier {name!r}{did_you_mean(name, functions)} "
        f"(net(x) calls {len(functions)} as functions; they are not seen in module(x))"
    )


def split_key(key: object) -> tuple[str, int | None]:
    """Return ``(name, call)`` of a layer key; the call is ``None`` for a bare name."""
    if isinstance(key, str):
        return key, None
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str):
        call = key[1]
        if isinstance(call, int | np.integer) and not isinstance(call, bool):
            return key[0], int(call)
    raise TypeError(f"a layer is a name such as 'features.3' or (name, call), got {key!r}")


def key_text(key: LayerKey) -> str:
    """Return a layer's name as a heading says it."""
    name, call = split_key(key)
    return name if call is None else f"{name} (call {call})"


def key_in_text(text: str) -> LayerKey | None:
    """Return the key of one call that `key_text` wrote, ``None`` where a text is none of these.

    >>> key_in_text(key_text(("relu()", 1)))
    ('relu()', 1)
    """
    found = re.fullmatch(r"(.+) \(call (\d+)\)", text)
    return (found[1], int(found[2])) if found else None


def find_module(root: nn.Module, name: str) -> nn.Module:
    """Return the submodule of that dotted name, or say which names are near."""
    # Old habits and data-parallel checkpoints write 'module.' in front.
    for candidate in (name, name.removeprefix("module.")):
        module: nn.Module | None = root
        for part in candidate.split(".") if candidate else ():
            module = module._modules.get(part) if module is not None else None
        if module is not None:
            return module
    known = [each for each, _ in root.named_modules(remove_duplicate=False) if each]
    there = f"net.layers lists all {len(known)} modules"
    if 0 < len(known) <= _FEW:
        there = f"there is {', '.join(map(repr, known))}"
    raise LayerNotFoundError(f"layer {name!r} not found{did_you_mean(name, known)} ({there})")


def check_call(name: str, call: int | None, calls: int) -> int:
    """Return which of ``calls`` calls is meant, or raise a `LookupError` that says what there is."""
    if calls == 0:
        raise LayerNotFoundError(
            f"layer {name!r} exists, but the forward pass never calls it (its weights may be used directly)"
        )
    if call is None:
        if calls > 1:
            raise AmbiguousLayerError(
                f"layer {name!r} is called {calls} times in a forward pass; say which call: "
                + " or ".join(f"({name!r}, {index})" for index in range(min(calls, 3)))
                + (" ..." if calls > 3 else "")
            )
        return 0
    if not 0 <= call < calls:
        raise LayerNotFoundError(
            f"layer {name!r} is called {calls} time{'s' * (calls != 1)} in a forward pass, "
            f"so its calls are 0 to {calls - 1}; got call {call}"
        )
    return call
