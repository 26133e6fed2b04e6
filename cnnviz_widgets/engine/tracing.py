"""Run a network once and carry along which window of the image each number depends on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.capture import capture, check_channels_first
from cnnviz_widgets.engine.dispatch_mode import DispatchMode
from cnnviz_widgets.engine.extent_memory import Call, Memory, Untraceable
from cnnviz_widgets.engine.extent_rules import rule_for
from cnnviz_widgets.engine.extents import FREE, Planes, compact, image_planes
from cnnviz_widgets.engine.generic_gradients import LEAVES_TORCH
from cnnviz_widgets.engine.layer_reached import layer_reached
from cnnviz_widgets.engine.layers import LayerKey, main_tensor
from cnnviz_widgets.engine.module_stack import module_stack

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# Operations that only look at the same memory in another way. Done to the planes as well, they keep these
# compact; any other view is read through strides, which is always right but spells all planes out.
_RESHAPES = frozenset(["view", "_unsafe_view", "_reshape_alias"])
_VIEWS = (
    "slice select permute transpose t unsqueeze squeeze expand split split_with_sizes unbind detach alias"
)
# Written in place, but only to the description of the tensor, never to its numbers.
_RELABELS = frozenset(
    ["as_strided_", "t_", "transpose_", "squeeze_", "unsqueeze_", "swapaxes_", "swapdims_", "detach_"]
)


class _Tracer(DispatchMode):
    """Follows every ATen operation. At the first that can't be followed it stops to follow, not to run."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size = size
        self.stack: Sequence[tuple[str, nn.Module]] = ()
        # Which module first joined everything that a tensor's numbers depend on, by the tensor's memory.
        self.joined: dict[int, str] = {}
        self.joined_by: str | None = None
        self.memory = Memory()
        self.obstacle: Untraceable | None = None
        self.planes: Planes | None = None
        self.finished = False

    def finish(self, output: Any) -> None:
        """Keep the planes of what the layer returned. What comes after it is of no concern."""
        self.finished = True
        value = main_tensor(output)
        try:
            if self.obstacle is None and self.memory.holds(value):
                with torch.device("cpu"):
                    self.planes = self.memory.read(value)
                self.joined_by = self.joined.get(_memory_key(value))
        except Untraceable as obstacle:
            self.obstacle = obstacle

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self.obstacle is None and not self.finished:
            names = [argument.name for argument in func._schema.arguments]
            defaults = {each.name: each.default_value for each in func._schema.arguments}
            arguments = {**defaults, **dict(zip(names, args, strict=False)), **(kwargs or {})}
            try:
                # Planes stay on the CPU, whatever the user's default device is.
                with torch.device("cpu"):
                    self._follow(Call(self.memory, self.size, func, arguments, result))
            except Untraceable as obstacle:
                # Not raised here: it would have to pass through the user's code.
                self.obstacle = obstacle
        return result

    def _follow(self, call: Call) -> None:
        if not call.given or call.name in _RELABELS:
            return
        if call.function._schema.is_mutable:
            self._follow_write(call)
        elif call.outputs and all(self.memory.holds(output) for output in call.outputs):
            self._follow_view(call)
        else:
            planes = rule_for(call.function, call.name)(call)
            for output in call.outputs:
                # Indices beside maxima have their windows; a mean beside a normalization has not.
                same = output.shape == call.outputs[0].shape
                self.memory.define(output, planes if same else None)
            self._note_joined(call, planes)

    def _follow_write(self, call: Call) -> None:
        target, *more = (name for name in call.arguments if name in call.written)
        if more:
            raise Untraceable(f"{call.function} writes to several tensors")
        planes = rule_for(call.function, call.name)(call)
        self.memory.overwrite(call.arguments[target], planes)
        self._note_joined(call, planes)

    def _note_joined(self, call: Call, planes: Planes) -> None:
        """Note for what sees everything which module made it so: that of an argument, or the one being called."""
        sees_all = any(bool(compact(planes[plane]).isinf().any()) for axis in FREE for plane in axis)
        before = [self.joined[key] for each in call.given if (key := _memory_key(each)) in self.joined]
        name, module = self.stack[-1] if self.stack else ("", None)
        here = f"{name!r} ({type(module).__name__})" if name else "the network's own forward()"
        for output in call.outputs:
            if sees_all:
                self.joined[_memory_key(output)] = before[0] if before else here
            else:
                self.joined.pop(_memory_key(output), None)

    def _follow_view(self, call: Call) -> None:
        if call.name in _RESHAPES:
            planes = tuple(plane.reshape(call.outputs[0].shape) for plane in call.main)
            self.memory.look(call.outputs[0], planes)
        elif call.name in _VIEWS.split():
            views = [call.function(plane, **call.rest) for plane in call.main]
            many = isinstance(call.result, list | tuple)
            for index, output in enumerate(call.outputs):
                self.memory.look(output, tuple(view[index] if many else view for view in views))


def _memory_key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


class _Guard(TorchFunctionMode):
    """Notices numbers that leave torch, where the tracer can't follow them."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LEAVES_TORCH and not self.tracer.finished and self.tracer.memory.holds(args[0]):
            self.tracer.obstacle = self.tracer.obstacle or Untraceable(f"{func.__name__}() leaves torch")
        return func(*args, **(kwargs or {}))


def trace(net: Network, layer: LayerKey, size: tuple[int, int]) -> tuple[Planes, str | None]:
    """Return the planes of what a layer returns, for images of ``size`` (height, width).

    Beside them, where units see the image however large it is, which module on the way first joins it all.

    Raises
    ------
    Untraceable
        An operation on the way is not known, or looks at the numbers themselves.
    LookupError
        No such layer, or it is not called.
    """
    x = torch.zeros(1, net.input.channels or 3, *size, device=net.device, dtype=net.dtype)
    tracer = _Tracer(size)
    with torch.device("cpu"):
        tracer.memory.define(x, image_planes(x.shape[1], size))
    if not net.knows(x):
        # The first pass goes to the end, to learn about it; the next one stops at the layer.
        with capture(net, [layer]):
            net(x)
    with (
        module_stack(net.core) as tracer.stack,
        layer_reached(net, layer, tracer.finish),
        capture(net, [layer]) as seen,
        tracer,
        _Guard(tracer),
    ):
        net(x)
    if tracer.obstacle is not None:
        raise tracer.obstacle
    # Says so if the layer was not called, or several times.
    check_channels_first(seen, layer)
    if tracer.planes is None:
        raise Untraceable("the layer's value does not depend on the image")
    return tracer.planes, tracer.joined_by
