"""Rules for operations that take numbers one by one: pointwise, copied, moved about, joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnviz_widgets.engine.extent_memory import Call, Untraceable
from cnnviz_widgets.engine.extents import Planes, nothing, union


def same(call: Call) -> Planes:
    """Pass every number on, one to one."""
    return call.main


def constant(call: Call) -> Planes:
    """Make numbers that depend on nothing: only the shape is taken over."""
    return nothing(call.outputs[0].shape)


def pointwise(call: Call) -> Planes:
    """Compute each number from those at its place in all arguments, which broadcast."""
    return union(call.tracked(), call.outputs[0].shape)


def copied(call: Call) -> Planes:
    """Overwrite everything with a copy."""
    planes = call.planes(call.arguments.get("src", call.arguments.get("value")))
    shape = call.outputs[0].shape
    return nothing(shape) if planes is None else union([planes], shape)


def chosen(call: Call) -> Planes:
    """Choose place by place: where the condition is a constant, only what it chooses counts."""
    names = {"masked_fill": ("mask", "value", "self"), "where": ("condition", "self", "other")}
    condition, yes, no = (call.arguments[name] for name in names[call.name.rstrip("_")])
    if call.planes(condition) is not None:
        return pointwise(call)
    shape = call.outputs[0].shape
    if_yes, if_no = (
        union([call.planes(each) or nothing(())], shape) if isinstance(each, Tensor) else nothing(shape)
        for each in (yes, no)
    )
    condition = condition.cpu().expand(shape)
    return tuple(torch.where(condition, a, b) for a, b in zip(if_yes, if_no, strict=True))


def moved(call: Call) -> Planes:
    """Move numbers about: do the same to each plane. What is filled in is 0, so a constant."""
    if call.function._schema.is_mutable:
        raise Untraceable(f"{call.function} moves numbers in place")
    return tuple(call.function(plane, **call.rest) for plane in call.only_main())


def joined(call: Call) -> Planes:
    """Put tensors behind or upon each other."""
    tensors: Sequence[Tensor] = call.arguments["tensors"]
    dim = int(call.arguments["dim"])
    all_planes = [call.planes(tensor) or nothing(tensor.shape) for tensor in tensors]
    if call.name == "stack":
        dim %= tensors[0].ndim + 1
        all_planes = [tuple(plane.unsqueeze(dim) for plane in planes) for planes in all_planes]
    else:
        # torch lets an empty vector take part in any concatenation.
        all_planes = [planes for planes in all_planes if planes[0].numel()]
    return tuple(_join(planes, dim, call.outputs[0].shape) for planes in zip(*all_planes, strict=True))


def _join(planes: Sequence[Tensor], dim: int, shape: torch.Size) -> Tensor:
    dim %= len(shape)
    for axis, length in enumerate(shape):
        # Keep the compact form along axes on which all have it.
        if axis != dim and length > 1 and all(plane.stride(axis) == 0 for plane in planes):
            planes = [plane.narrow(axis, 0, 1) for plane in planes]
    return torch.cat(list(planes), dim).expand(shape)
