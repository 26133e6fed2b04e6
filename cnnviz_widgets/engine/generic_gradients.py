"""Gradients that are zero exactly where a number does not depend on a pixel, whatever the weights.

The gradient of a trained network is zero in many places for reasons that have nothing to do with what a unit
can see: a rectifier is off, a maximum is elsewhere, two paths cancel, a weight is zero. So it is taken of a
private copy with generic weights, all positive, and on its way back

- a rectifier (any pointwise function) lets everything through, a max-pooling hands its gradient to its
  whole window, a softmax to all along its axis;
- after every operation each non-zero number is replaced by a fresh random one in [0.5, 1.5], so that nothing
  can cancel, vanish or overflow, however deep the network is.

What is left is zero exactly where there is no path from the pixel to the unit. Where an operation picks by how
large its inputs are, without a rule here (a sorting, say), a gradient shows what one image makes it pick; so
several images are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.dispatch_mode import DispatchMode
from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.private_copy import private_copy

LEAVES_TORCH = frozenset([Tensor.numpy, Tensor.__array__, Tensor.tolist, Tensor.data_ptr, Tensor.__dlpack__])
"""Functions that hand the numbers of a tensor to something that is not torch."""

_aten = torch.ops.aten

# Operations whose value or gradient picks among their inputs by how large these are, or that read numbers.
_VALUE_DEPENDENT = (
    "_local_scalar_dense where clamp clamp_min clamp_max masked_fill gt lt ge le eq ne nonzero sort topk "
    "kthvalue median argmax argmin sign round floor ceil"
)


def _windows_of_max_pool(gradient: Tensor, x: Tensor, *options: Any) -> Tensor:
    """Hand each number back to its whole pooling window, as a transposed convolution with ones does."""
    kernel, stride, padding, dilation = options[:4]
    spatial = len(kernel)
    spread = (F.conv_transpose2d, F.conv_transpose3d)[spatial - 2]
    # Channels go where the batch is, so that one kernel serves all.
    ones = torch.ones(1, 1, *kernel, dtype=gradient.dtype, device=gradient.device)
    maps = gradient.reshape(-1, 1, *gradient.shape[-spatial:])
    back = spread(maps, ones, stride=tuple(stride or kernel), dilation=tuple(dilation))
    for axis, (before, length) in enumerate(zip(padding, x.shape[-spatial:], strict=True)):
        dim = axis + 2
        back = back.narrow(dim, before, min(length, back.shape[dim] - before))
        missing = length - back.shape[dim]
        back = F.pad(back, [0, 0] * (spatial - 1 - axis) + [0, missing])
    return back.reshape(x.shape)


def _windows_of_adaptive_pool(gradient: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    return _aten._adaptive_avg_pool2d_backward(gradient, x)  # type: ignore[no-any-return]


def _all_along_softmax(gradient: Tensor, output: Tensor, dim: int, dtype: Any) -> Tensor:
    # A softmax of exactly 0, or its logarithm of -inf, is where the logit was masked.
    closed = (output == 0) if bool((output >= 0).all()) else output.isneginf()
    # The softmax of a single logit is 1, whatever that is.
    closed = closed | ((~closed).sum(dim, keepdim=True) == 1)
    return (
        gradient.masked_fill(closed, 0).abs().sum(dim, keepdim=True).expand_as(output).masked_fill(closed, 0)
    )


def _straight(gradient: Tensor, *_: Any) -> Tensor:
    return gradient


_POINTWISE = (
    "threshold hardtanh hardswish hardsigmoid leaky_relu elu gelu silu mish softplus softshrink hardshrink "
    "sigmoid tanh log_sigmoid rrelu_with_noise"
)
_BACKWARD: dict[Any, Callable[..., Any]] = {
    _aten.max_pool2d_with_indices_backward.default: _windows_of_max_pool,
    _aten.max_pool3d_with_indices_backward.default: _windows_of_max_pool,
    _aten.adaptive_max_pool2d_backward.default: _windows_of_adaptive_pool,
    _aten._softmax_backward_data.default: _all_along_softmax,
    _aten._log_softmax_backward_data.default: _all_along_softmax,
    **{getattr(_aten, f"{name}_backward").default: _straight for name in _POINTWISE.split()},
}


class Support(DispatchMode):
    """In the backward pass: hands gradients to everything a number depends on, and keeps them away from 0."""

    def __init__(self, random: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.random = random

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule = _BACKWARD.get(func)
        result = rule(*args, **(kwargs or {})) if rule else func(*args, **(kwargs or {}))
        if any(each.alias_info is not None for each in func._schema.returns):
            return result
        if isinstance(result, tuple | list):
            return type(result)(self._refresh(each) for each in result)
        return self._refresh(result)

    def _refresh(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.where(value != 0, positive(value.shape, self.random).to(value), 0)


def positive(shape: torch.Size, random: torch.Generator) -> Tensor:
    """Return random numbers, uniform in [0.5, 1.5]."""
    return torch.rand(shape, generator=random, device="cpu") + 0.5


_LOOKS = frozenset(_VALUE_DEPENDENT.split())


class Watch(DispatchMode):
    """In the forward pass: notes whether anything looked at the numbers, until it is `finished`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.looked = False
        self.finished = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.finished:
            self.looked |= func._schema.name.removeprefix("aten::").removesuffix("_") in _LOOKS
        return func(*args, **(kwargs or {}))


def _mean_instead(x: Tensor, *args: Any, **options: Any) -> Any:
    """Stand in for a maximum or minimum, whose arguments it takes, so that all inputs get a gradient."""
    dim = args[0] if args else options.get("dim", options.get("axis", options.get("other")))
    keepdim = args[1] if len(args) > 1 else options.get("keepdim", False)
    if isinstance(dim, Tensor):
        return (x + dim) / 2
    if isinstance(dim, int):
        indices = x.argmax(dim, keepdim=keepdim)
        return torch.return_types.max((x.mean(dim, keepdim=keepdim), indices))
    return x.mean()


def _mean_along(x: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """Stand in for ``amax`` and ``amin``."""
    return x.mean(dim, keepdim=keepdim)


def _unpool_instead(
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Stand in for max-unpooling: a number may go anywhere in its window."""
    kernel, steps, margins = (
        [each] * 2 if isinstance(each, int) else list(each)
        for each in (kernel_size, stride or kernel_size, padding)
    )
    given = zip(x.shape[-2:], kernel, steps, margins, strict=True)
    size = list(output_size or [(length - 1) * step - 2 * margin + k for length, k, step, margin in given])
    return _windows_of_max_pool(x, x.new_empty(*x.shape[:-2], *size[-2:]), kernel, steps, margins, [1, 1])


def _single_views(function: Any) -> Callable[..., Any]:
    """Stand in for a splitting: its parts may be overwritten only without gradients, single views always."""

    def split(x: Tensor, *args: Any, **options: Any) -> Any:
        parts = function(x, *args, **options)
        return type(parts)(x.as_strided(part.shape, part.stride(), part.storage_offset()) for part in parts)

    return split


_EXTREMES = ["max", "min", "maximum", "minimum", "fmax", "fmin"]
_FORWARD: dict[Any, Callable[..., Any]] = {
    **{getattr(place, name): _mean_instead for place in (torch, Tensor) for name in _EXTREMES},
    **{getattr(place, name): _mean_along for place in (torch, Tensor) for name in ("amax", "amin")},
    **{
        getattr(place, name): _single_views(getattr(place, name))
        for place in (torch, Tensor)
        for name in ("split", "split_with_sizes", "chunk", "tensor_split", "unbind")
    },
    F.max_unpool2d: _unpool_instead,
    # A gradient must not end here.
    **{each: lambda x: x.view_as(x) for each in (torch.detach, Tensor.detach, Tensor.data.__get__)},  # type: ignore[attr-defined]
}


class Openings(TorchFunctionMode):
    """In the forward pass: puts functions with a gradient everywhere in place of those that pick or cut.

    Once it is `finished`, gradients do not matter any more, and numbers may leave torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.finished = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch._C._set_grad_enabled:
            # Not even a part run under `torch.no_grad()` may hide what it depends on.
            return None
        first = args[0] if args else None
        if not isinstance(first, Tensor) or not first.is_floating_point():
            return func(*args, **(kwargs or {}))
        if func in LEAVES_TORCH and self.finished:
            return func(first.detach(), *args[1:], **(kwargs or {}))
        if func in LEAVES_TORCH and first.requires_grad:
            raise UnsupportedModuleError(
                f"the receptive field can't be found: on the way to the layer numbers leave torch by "
                f".{func.__name__}(), where neither operations nor gradients can be followed"
            )
        return _FORWARD.get(func, func)(*args, **(kwargs or {}))


def generic_copy(module: nn.Module, random: torch.Generator) -> nn.Module:
    """Return a copy with random positive weights, of which no pixel's influence can vanish.

    Weights are scaled so that numbers neither grow nor shrink from layer to layer by more than a tenth.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied.
    """
    private = private_copy(
        module, "the receptive field can't be found: operations on the way to the layer are not known"
    )
    if any(each.dtype in (torch.float16, torch.bfloat16) for each in private.parameters()):
        private = private.float()
    with torch.no_grad():
        for parameter in private.parameters():
            if parameter.is_floating_point():
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 10
                parameter.copy_(positive(parameter.shape, random) / fan_in)
        for name, buffer in private.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.fill_(float(name.endswith("running_var")))
    return private
