"""Rules for operations that join everything along an axis: means, norms, products, softmax, attention."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnviz_widgets.engine.extent_memory import Call, Untraceable
from cnnviz_widgets.engine.extent_windows import handed_out
from cnnviz_widgets.engine.extents import Planes, mix, union


def reduced(call: Call) -> Planes:
    """Join everything along some axes into one number, as in a mean."""
    given = call.arguments.get("dim")
    dims = [given] if isinstance(given, int) else list(given or range(call.main[0].ndim))
    shape = call.outputs[0].shape
    return tuple(plane.reshape(shape) for plane in mix(call.only_main(), dims, call.size))


def along(call: Call) -> Planes:
    """Make every number depend on all along one axis, as in a softmax or a sorting."""
    source = next(iter(call.arguments.values()))
    if "softmax" in call.name and bool(source.isneginf().any()):
        raise Untraceable("a softmax with masked logits")
    mixed = mix(call.only_main(), [call.arguments["dim"]], call.size)
    return tuple(plane.expand(call.outputs[0].shape) for plane in mixed)


def cumulative(call: Call) -> Planes:
    """Join each number with all before it."""
    dim = call.arguments["dim"]
    return tuple(torch.cummax(plane, dim).values for plane in call.only_main())


def batch_norm(call: Call) -> Planes:
    """Scale by constants; or, where the statistics are those of the batch, join each channel."""
    planes = call.only_main()
    training = call.arguments.get("training", call.arguments.get("train", "no_training" not in call.name))
    if not training:
        return planes
    axes = [axis for axis in range(planes[0].ndim) if axis != 1]
    return union([mix(planes, axes, call.size)], planes[0].shape)


def layer_norm(call: Call) -> Planes:
    """Join the last axes: each number is scaled by the statistics of them all."""
    planes = call.only_main()
    axes = range(-len(call.arguments["normalized_shape"]), 0)
    return union([mix(planes, axes, call.size)], planes[0].shape)


def group_norm(call: Call) -> Planes:
    """Join the channels of each group, at all positions."""
    planes, groups = call.only_main(), call.arguments["group"]
    shape = planes[0].shape
    grouped = tuple(plane.unflatten(1, (groups, -1)) for plane in planes)
    mixed = mix(grouped, range(2, grouped[0].ndim), call.size)
    mixed = tuple(plane.flatten(1, 2).expand(shape[0], groups, *[1] * (len(shape) - 2)) for plane in mixed)
    return tuple(
        handed_out(plane, torch.Size([*shape[:2], *plane.shape[2:]])).expand(shape) for plane in mixed
    )


_PRODUCTS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "mv": ("self", "vec"),
    "addmv": ("mat", "vec"),
    "dot": ("self", "tensor"),
    "linear": ("input", "weight"),
}


def product(call: Call) -> Planes:
    """Multiply matrices: a number depends on a row of the left one and a column of the right one."""
    operands: list[Planes] = []
    left, right = (call.arguments[name] for name in _PRODUCTS[call.name])
    shape = call.outputs[0].shape
    vector = right.ndim == 1
    for tensor, dim in ((left, -1), (right, -1 if vector or call.name == "linear" else -2)):
        planes = call.planes(tensor)
        if planes is not None:
            mixed = mix(planes, [dim], call.size)
            if vector or (call.name == "linear" and tensor is right):
                mixed = tuple(plane.squeeze(-1) for plane in mixed)
            operands.append(mixed)
    added = call.arguments.get("bias" if call.name == "linear" else "self")
    if call.name.startswith(("add", "badd", "linear")) and isinstance(added, Tensor):
        operands += [planes] if (planes := call.planes(added)) is not None else []
    return union(operands, shape)


def attention(call: Call) -> Planes:
    """Weight all values by their keys: each result depends on its query and on everything else."""
    masks = [mask for name in ("attn_mask", "attn_bias") if (mask := call.arguments.get(name)) is not None]
    if call.arguments.get("is_causal") or any(call.memory.holds(mask) or _shuts(mask) for mask in masks):
        raise Untraceable("attention with a mask")
    operands = []
    for name, axes in (("query", [-1]), ("key", [-2, -1]), ("value", [-2])):
        planes = call.planes(call.arguments[name])
        if planes is not None:
            operands.append(mix(planes, axes, call.size))
    return union(operands, call.outputs[0].shape)


def _shuts(mask: Tensor) -> bool:
    """Return whether a mask keeps anything from being seen; a bias does not."""
    return not bool(mask.all() if mask.dtype == torch.bool else mask.isfinite().all())


def halves(call: Call) -> Planes:
    """Gate one half of the channels with the other."""
    first, second = zip(*(plane.chunk(2, call.arguments["dim"]) for plane in call.main), strict=True)
    return union([first, second], call.outputs[0].shape)
