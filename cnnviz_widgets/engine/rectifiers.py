"""Rectifiers: the modules, and the calls that no module makes (`F.relu`, `x.relu_()`, `x.clamp(min=0)`).

A rectifier called as a function has a layer key as a module has: the name of the module in whose ``forward`` it
is called, and the function's name with parentheses, such as ``"block.relu()"``, or ``"relu()"`` in the
network's own ``forward``. Spellings of one function share its name: ``F.relu``, ``torch.relu`` and
``Tensor.relu_`` are all ``relu()``. Where a pass makes several such calls, they are ``("block.relu()", 0)``,
``("block.relu()", 1)`` and so on, in their order. What a rectifying module calls itself is the module.

Not seen: rectification by other means, such as ``torch.maximum(x, zeros)`` or ``x * (x > 0)``, nor
``x.clamp(min=zeros)`` where ``zeros`` is a tensor: its values are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.errors import LayerNotFoundError, did_you_mean
from cnnviz_widgets.engine.layers import LayerKey, Place, find_module, key_in_text

if TYPE_CHECKING:
    from cnnviz_widgets.engine.survey import Survey

Note: TypeAlias = Callable[[str, tuple[Any, ...], Mapping[str, Any], Any], Any]
"""Told of a call: its place, arguments and output. What it returns, if not ``None``, replaces the output."""

# All that hold back what is below zero, the smooth ones too. Softplus and sigmoids are above zero everywhere.
_MODULES = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
)
_ALWAYS = "relu relu6 leaky_relu prelu rrelu elu celu selu gelu silu mish hardswish".split()
# Rectifiers only if one number is zero: where it stands among the arguments, its name and its default.
_IF_ZERO: dict[str, tuple[int, str, Any]] = {
    "clamp": (1, "min", None),
    "clip": (1, "min", None),
    "clamp_min": (1, "min", None),
    "hardtanh": (1, "min_val", -1.0),
    "threshold": (2, "value", None),
}


def _spellings(name: str) -> Iterator[tuple[Any, str]]:
    for home in (functional, torch, Tensor):
        for spelling in (name, f"{name}_"):
            if hasattr(home, spelling):
                yield getattr(home, spelling), name


_FUNCTIONS = dict(pair for name in (*_ALWAYS, *_IF_ZERO) for pair in _spellings(name))


def is_rectifier(module: nn.Module) -> bool:
    """Return whether a module is one of torch's rectifiers, or a hard limit that begins at zero."""
    if isinstance(module, nn.Hardtanh):
        return bool(module.min_val == 0)
    if isinstance(module, nn.Threshold):
        return bool(module.value == 0)
    return isinstance(module, _MODULES)


def rectifier_name(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Return what a call of a torch function is named as a rectifier, ``None`` where it is none.

    >>> rectifier_name(torch.relu, (), {}), rectifier_name(Tensor.clamp_, (torch.ones(2), 0.0), {})
    ('relu', 'clamp')
    >>> rectifier_name(torch.clamp, (torch.ones(2),), {"min": 1e-6}) is None
    True
    """
    name = _FUNCTIONS.get(function)
    if name not in _IF_ZERO:
        return name
    position, keyword, default = _IF_ZERO[name]
    bound = args[position] if len(args) > position else kwargs.get(keyword, default)
    is_zero = isinstance(bound, int | float) and bound == 0
    return name if is_zero else None


class _FunctionCalls(TorchFunctionMode):
    """Tells of rectifiers called as functions, and in which module's forward that was."""

    def __init__(self, root: nn.Module, note: Note) -> None:
        super().__init__()
        self.names = {module: name for name, module in root.named_modules()}
        self.inside: list[nn.Module] = []
        self._note = note

    def begin(self, module: nn.Module, arguments: Any) -> None:
        """Note that the forward of a module begins."""
        self.inside.append(module)

    def end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        """Note that it is over."""
        while self.inside and self.inside.pop() is not module:
            pass

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = rectifier_name(func, args, kwargs) if self.inside else None
        if name is None or is_rectifier(self.inside[-1]):
            return output
        replacement = self._note(_joined(self.names[self.inside[-1]], name), args, kwargs, output)
        return output if replacement is None else replacement


@contextmanager
def rectifier_calls(root: nn.Module, note: Note) -> Iterator[None]:
    """Have ``note`` called for each rectifier that this thread calls as a function while the module runs."""
    calls = _FunctionCalls(root, note)
    handles = []
    try:
        for module in calls.names:
            handles.append(module.register_forward_pre_hook(calls.begin))
            # Some modules catch what their parts raise, and go on.
            handles.append(module.register_forward_hook(calls.end, always_call=True))
        with calls:
            yield
    finally:
        for handle in handles:
            handle.remove()


def is_function(name: str) -> bool:
    """Return whether a layer's name is that of a rectifier called as a function."""
    return name.endswith("()")


def find_place(root: nn.Module, name: str) -> Place:
    """Return the submodule of that name, or the full name of a rectifier called as a function.

    Raises
    ------
    LayerNotFoundError
        No such submodule, or no such rectifier. Whether a pass calls it is not looked at.
    """
    if not is_function(name):
        try:
            return find_module(root, name)
        except LayerNotFoundError as error:
            raise LayerNotFoundError(f"{error}{_spelled(root, name)}") from None
    owner, _, function = name.removesuffix("()").rpartition(".")
    if function not in (*_ALWAYS, *_IF_ZERO):
        known = [f"{each}()" for each in (*_ALWAYS, *_IF_ZERO)]
        raise LayerNotFoundError(
            f"layer {name!r} not found: of functions only rectifiers are known by name, such as 'relu()', also where "
            f"they work in place{did_you_mean(function.rstrip('_') + '()', known)}"
        )
    module = find_module(root, owner)
    return _joined(next(own for own, each in root.named_modules() if each is module), function)


def _spelled(root: nn.Module, name: str) -> str:
    """Return how to write what a name may have meant, where that is no module; or nothing."""
    key = key_in_text(name)
    if key is not None:
        return f"; one call of a layer is written {key!r}"
    owner, _, function = name.rpartition(".")
    modules = dict(root.named_modules(remove_duplicate=False))
    if function not in (*_ALWAYS, *_IF_ZERO) or owner not in modules:
        return ""
    where = f"module {owner!r}" if owner else "the network"
    return f"; if {where} calls it as a function, its name is {name + '()'!r}"


def rectifiers(survey: Survey, root: nn.Module) -> tuple[LayerKey, ...]:
    """Return the keys of all rectifiers that a forward pass calls, in the order of their first calls.

    Only those that return maps [N, C, H, W] or vectors [N, C]: a rectifier is also called on scalars, boxes
    and the like.
    """
    names = {module: name for name, module in root.named_modules() if name}
    found: list[LayerKey] = []
    for place, shapes in survey.shapes.items():
        if isinstance(place, str) or (is_rectifier(place) and place in names):
            name = place if isinstance(place, str) else names[place]
            keys: list[LayerKey] = [(name, call) for call in range(len(shapes))]
            keys = [name] if len(shapes) == 1 else keys
            sized = zip(keys, shapes, strict=True)
            found += [key for key, shape in sized if shape is not None and len(shape) in (1, 3)]
    return tuple(found)


def _joined(owner: str, function: str) -> str:
    return f"{owner}.{function}()" if owner else f"{function}()"
