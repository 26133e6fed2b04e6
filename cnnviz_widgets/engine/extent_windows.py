"""Rules for operations that slide a window over a map: convolution, pooling, interpolation, padding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnviz_widgets.engine.extent_memory import Call
from cnnviz_widgets.engine.extents import FREE, Planes, Windows, compact, mix, slide


def _pairs(value: Sequence[int], count: int) -> list[int]:
    return [*value] * count if len(value) == 1 else [*value]


def _map_axis(dim: int, spatial: int) -> int | None:
    """Return 0 for the rows and 1 for the columns among ``dim`` = -spatial ... -1; ``None`` for the others."""
    return dim + 2 if spatial >= 2 and dim >= -2 else None


def convolution(call: Call) -> Planes:
    """Slide the kernel over the map, or the map over the kernel; groups see their own channels."""
    names = ("weight", "stride", "padding", "dilation", "transposed", "groups")
    weight, stride, padding, dilation, transposed, groups = (call.arguments[name] for name in names)
    call.only_main()
    output, spatial = call.outputs[0], weight.ndim - 2
    make = Windows.transposed if transposed else Windows.sliding
    planes = tuple(_gathered(plane, groups) for plane in call.main)
    options = zip(
        weight.shape[2:], *(_pairs(each, spatial) for each in (stride, padding, dilation)), strict=True
    )
    for dim, option in zip(range(-spatial, 0), options, strict=True):
        planes = slide(planes, dim, make(output.shape[dim], *option), _map_axis(dim, spatial))
    return tuple(handed_out(plane, output.shape) for plane in planes)


def _gathered(plane: Tensor, groups: int) -> Tensor:
    """Join the channels of each group of a convolution: [N, C, ...] to [N, groups, ...]."""
    held = compact(plane)
    if held.shape[1] > 1:
        held = held.unflatten(1, (groups, -1)).amax(2)
    return held.expand(plane.shape[0], groups, *plane.shape[2:])


def handed_out(plane: Tensor, shape: torch.Size) -> Tensor:
    """Give each channel of the result the window of its group: [N, groups, ...] to [N, C, ...]."""
    held = compact(plane)
    if held.shape[1] > 1:
        held = held.repeat_interleave(shape[1] // plane.shape[1], dim=1)
    return held.expand(shape)


def pooling(call: Call) -> Planes:
    """Slide a window over the map, each channel by itself; in ceil mode it may reach over the edge."""
    kernel = call.arguments["kernel_size"]
    spatial = 3 if "pool3d" in call.name else 2
    kernel = _pairs(kernel, spatial)
    stride = _pairs(call.arguments["stride"] or kernel, spatial)
    padding = _pairs(call.arguments["padding"], spatial)
    dilation = _pairs(call.arguments.get("dilation", [1]), spatial)
    planes = call.main
    for dim, *option in zip(range(-spatial, 0), kernel, stride, padding, dilation, strict=True):
        windows = Windows.sliding(call.outputs[0].shape[dim], *option)
        planes = slide(planes, dim, windows, _map_axis(dim, spatial))
    return planes


def adaptive_pooling(call: Call) -> Planes:
    """Slide windows whose size follows from that of the result; a single one is a mean of all."""
    planes, shape = call.main, call.outputs[0].shape
    spatial = 3 if "pool3d" in call.name else 2
    for dim in range(-spatial, 0):
        if shape[dim] == 1:
            planes = mix(planes, [dim], call.size)
        else:
            windows = Windows.adaptive(shape[dim], planes[0].shape[dim])
            planes = slide(planes, dim, windows, _map_axis(dim, spatial))
    return planes


def interpolation(call: Call) -> Planes:
    """Ask the operation itself which positions it weights: it is linear, and one axis at a time."""
    planes = call.main
    for axis in (0, 1):
        results, length = call.outputs[0].shape[axis - 2], planes[0].shape[axis - 2]
        weights = _weights_along(call, axis, results, length)
        windows = Windows.from_weights(weights, _interpolation_step(call, axis, results, length))
        planes = slide(planes, axis - 2, windows, axis)
    return planes


def _interpolation_step(call: Call, axis: int, results: int, length: int) -> float:
    """Return how many positions of the map lie between neighboring results."""
    if call.arguments.get("align_corners"):
        return (length - 1) / max(results - 1, 1)
    factors = call.arguments.get("scale_factors")
    scale = factors[axis] if factors else call.arguments.get(("scales_h", "scales_w")[axis])
    return 1 / scale if scale else length / results


def _weights_along(call: Call, axis: int, results: int, length: int) -> Tensor:
    """Return the weights [results, length] with which an interpolation works along one axis."""
    rest, other = call.rest, 1 - axis
    if rest.get("output_size") is not None:
        rest["output_size"] = [results, 2] if axis == 0 else [2, results]
    elif rest.get("scale_factors") is not None:
        rest["scale_factors"] = [
            1.0 if each == other else scale for each, scale in enumerate(rest["scale_factors"])
        ]
    if ("scales_h", "scales_w")[other] in rest:
        rest[("scales_h", "scales_w")[other]] = None
    # As many channels as positions, each with a single 1. In the network's own precision: a weight that is zero
    # on paper may be rounded to something else, and then pixels count. Two columns, since torch 2.15 gets the
    # antialiased weights of a single one wrong.
    like = call.outputs[0]
    probe = torch.eye(length, dtype=like.dtype, device=like.device).unsqueeze(other - 2)
    shape = [length, length, 2] if axis == 0 else [length, 2, length]
    weights: Tensor = call.function(probe.expand(shape)[None].contiguous(), **rest)[0]
    return weights.select(other - 2, 0).T.cpu()


def constant_padding(call: Call) -> Planes:
    """Put constants around, or take off an edge where the amount is negative."""
    planes, amounts = call.only_main(), call.arguments["pad"]
    for index in range(len(amounts) // 2):
        before, after = amounts[2 * index : 2 * index + 2]
        dim = planes[0].ndim - 1 - index
        positions = torch.arange(-before, planes[0].shape[dim] + after)
        planes = slide(planes, dim, Windows.shifted(positions), _varies_along(planes, dim))
    return planes


def _varies_along(planes: Planes, dim: int) -> int | None:
    """Return which axis of the image ``dim`` follows, 0 or 1, or ``None``; maps may come channels last."""
    moves = [compact(planes[FREE[axis][0]], keep=dim).diff(dim=dim).ne(0).any() for axis in (0, 1)]
    if moves[0] == moves[1]:
        axis = dim - planes[0].ndim + 2
        return axis if axis in (0, 1) and planes[0].shape[dim] == 1 else None
    return int(moves[1])


def mirrored(call: Call) -> Planes:
    """Repeat or mirror the border: copies for the exact window, a longer map for the free one."""
    planes, amounts = call.main, call.arguments["padding"]
    for axis in range(2 if call.name.endswith("2d") else 1):
        dim = -1 - axis
        before, after = amounts[2 * axis : 2 * axis + 2]
        length = planes[0].shape[dim]
        positions = torch.arange(-before, length + after)
        copied = positions.clamp(0, length - 1)
        if call.name.startswith("reflection"):
            copied = length - 1 - (length - 1 - positions.abs()).abs()
        exact = slide(planes, dim, Windows.shifted(copied), None)
        free = slide(planes, dim, Windows.shifted(positions), _map_axis(dim, 2))
        planes = (*exact[: FREE[0][0]], *free[FREE[0][0] :])
    return planes
