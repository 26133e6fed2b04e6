"""What a changed window of an operation's input means for its output, one rule for each operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets.engine.incremental_record import Node, NotIncremental

_POINTWISE = frozenset(
    "relu sigmoid tanh silu elu leaky_relu hardtanh gelu hardswish hardsigmoid clamp clamp_min clamp_max mish "
    "softplus neg exp abs sqrt rsqrt log pow add sub rsub mul div maximum minimum copy native_batch_norm "
    "_native_batch_norm_legit_no_training cudnn_batch_norm zeros_like ones_like".split()
)
# Along the channels these do the same at every position.
_ALONG_CHANNELS = frozenset("cat slice slice_scatter select_scatter".split())
# Each image of a batch is treated by itself, as long as the batch's own axis is none of those that are named.
_ONE_BY_ONE = frozenset(
    "addmm mm linear _softmax _log_softmax softmax log_softmax mean sum amax amin _adaptive_avg_pool2d "
    "adaptive_max_pool2d adaptive_avg_pool2d native_group_norm native_layer_norm squeeze unsqueeze view "
    "_unsafe_view expand select permute transpose upsample_nearest2d upsample_bilinear2d pixel_shuffle "
    "convolution max_pool2d_with_indices avg_pool2d _prelu_kernel".split()
)
_NORMS = frozenset(["native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"])


@dataclass(frozen=True)
class Reach:
    """Which inputs an output reads along one axis: ``kernel`` of them, ``dilation`` apart."""

    kernel: int = 1
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def first(self, output: int) -> int:
        """Return the first input that an output reads; below 0 where that is padding."""
        return output * self.stride - self.padding

    def length(self, outputs: int) -> int:
        """Return how many inputs a row of outputs reads, from the first to the last."""
        return (outputs - 1) * self.stride + (self.kernel - 1) * self.dilation + 1


POINT = (Reach(), Reach())


def reach(node: Node) -> tuple[Reach, Reach] | None:
    """Return how far the outputs of a map reach along rows and columns; ``None`` if over the whole map."""
    if "reach" not in node.remembered:
        node.remembered["reach"] = _reach(node)
    found: tuple[Reach, Reach] | None = node.remembered["reach"]
    return found


def _reach(node: Node) -> tuple[Reach, Reach] | None:
    if node.name == "image" or not node.is_map or not all(each.is_map for each in node.inputs):
        return None
    if node.name == "convolution" and not node.arguments["transposed"]:
        if not isinstance(node.arguments["weight"], Tensor):
            return None  # kernels that the network makes of the image
        return _window(node, tuple(node.arguments["weight"].shape[2:]))
    if node.name in ("max_pool2d_with_indices", "avg_pool2d"):
        return _window(node, _pair(node.arguments["kernel_size"]))
    return POINT if _is_pointwise(node) else None


def _window(node: Node, kernel: tuple[int, ...]) -> tuple[Reach, Reach]:
    given = node.arguments
    strides = _pair(given.get("stride") or kernel)
    padding, dilation = _pair(given.get("padding", 0)), _pair(given.get("dilation", 1))
    rows, columns = (Reach(kernel[a], strides[a], padding[a], dilation[a]) for a in (0, 1))
    return rows, columns


def _pair(value: Any) -> tuple[int, int]:
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[-1])


def _is_pointwise(node: Node) -> bool:
    if node.name in _ALONG_CHANNELS:
        return axis_of(node, node.value.ndim) == 1 and node.name != "select_scatter"
    size = node.value.shape[2:]
    maps_fit = all(each.value.shape[2:] in (size, (1, 1)) for each in node.inputs)
    constants = [each for each in node.arguments.values() if isinstance(each, Tensor)]
    is_norm = node.name in _NORMS
    constants_fit = is_norm or all(each.ndim < 2 or each.shape[-2:] == (1, 1) for each in constants)
    # A constant of one axis would lie along the columns.
    constants_fit = constants_fit and (is_norm or all(each.ndim != 1 or len(each) == 1 for each in constants))
    return node.name in _POINTWISE and maps_fit and constants_fit


def axis_of(node: Node, axes: int) -> int:
    """Return the axis that an operation names, counted from the front."""
    axis: int = node.arguments.get("dim", 0)
    return axis + axes if axis < 0 else axis


def check_known(node: Node) -> None:
    """Raise `NotIncremental` unless images of a batch go through a node one by one."""
    if node.name == "image" or reach(node) is not None:
        return _check_norm(node)
    known = node.name in _POINTWISE or node.name in _ALONG_CHANNELS or node.name in _ONE_BY_ONE
    if not known:
        raise NotIncremental(f"no rule for the operation {node.name}")
    if any(each.value.shape[:1] != (1,) for each in [node, *node.inputs]):
        raise NotIncremental(f"{node.name} mixes the images of a batch")
    _check_norm(node)
    axes = node.arguments.get("dim", 1)
    if node.name == "permute":
        if node.arguments["dims"][0] != 0:
            raise NotIncremental("permute moves the images of a batch")
    elif node.name == "transpose":
        _check_axes(node, [node.arguments["dim0"], node.arguments["dim1"]])
    elif node.name == "unsqueeze":
        _check_axes(node, [axes], more=1)
    elif node.name == "native_layer_norm":
        if len(node.arguments["normalized_shape"]) >= node.inputs[0].value.ndim:
            raise NotIncremental("native_layer_norm mixes the images of a batch")
    elif axes is None or (isinstance(axes, list) and not axes):
        raise NotIncremental(f"{node.name} is over all axes")
    elif node.name not in ("addmm", "mm", "linear", "convolution"):
        _check_axes(node, axes if isinstance(axes, list) else [axes])
    elementwise = node.name in _POINTWISE
    if elementwise and any(each.value.ndim != node.value.ndim for each in node.inputs):
        raise NotIncremental(f"{node.name} joins tensors of several numbers of axes")
    if node.name in ("addmm", "mm", "linear", "convolution") and len(node.inputs) != 1:
        raise NotIncremental(f"{node.name} of two things that depend on the image")


def _check_norm(node: Node) -> None:
    if node.arguments.get("training") is True and node.name in _NORMS:
        raise NotIncremental("batch norm takes the statistics of its batch")


def _check_axes(node: Node, axes: list[int], more: int = 0) -> None:
    ndim = node.inputs[0].value.ndim + more
    if any(axis % ndim == 0 for axis in axes):
        raise NotIncremental(f"{node.name} works along the images of a batch")


def mean_over_map(node: Node) -> bool:
    """Return whether a node is the mean over the whole map of each channel."""
    if not node.inputs or not node.inputs[0].is_map:
        return False
    if node.name in ("_adaptive_avg_pool2d", "adaptive_avg_pool2d"):
        return tuple(node.value.shape[2:]) == (1, 1)
    if node.name != "mean" or node.arguments.get("dtype") is not None:
        return False
    axes = node.arguments.get("dim")
    return isinstance(axes, list) and sorted(axis % 4 for axis in axes) == [2, 3]


def scale_and_shift(node: Node) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in evaluation mode multiplies each channel with, and what it adds."""
    given = node.arguments
    mean, variance = given["running_mean"], given["running_var"]
    scale = torch.rsqrt(variance + given.get("eps", given.get("epsilon", 1e-5)))
    scale = scale * given["weight"] if given.get("weight") is not None else scale
    shift = -mean * scale
    return scale, shift + given["bias"] if given.get("bias") is not None else shift


def is_norm(node: Node) -> bool:
    """Return whether a node is a batch norm."""
    return node.name in _NORMS


def pad_value(node: Node) -> float:
    """Return what stands outside of the map for an operation with a window."""
    return -torch.inf if node.name == "max_pool2d_with_indices" else 0.0


def windowed(
    node: Node, patch: Tensor, padding: tuple[int, int], precision: torch.dtype | None = None
) -> Tensor:
    """Return what a convolution or pool makes of patches [N, C, h, w], with some padding of its own.

    A convolution multiplies in ``precision``, where that is given.
    """
    given = node.arguments
    if node.name == "convolution":
        kernels, bias, used = given["weight"], given["bias"], precision or patch.dtype
        found = torch.conv2d(
            patch.to(used),
            kernels.to(used),
            None if bias is None else bias.to(used),
            given["stride"],
            padding,
            given["dilation"],
            given["groups"],
        )
        return found.to(patch.dtype)
    kernel, strides = _pair(given["kernel_size"]), _pair(given.get("stride") or given["kernel_size"])
    if node.name == "max_pool2d_with_indices":
        dilation = _pair(given.get("dilation", 1))
        return functional.max_pool2d(patch, kernel, strides, padding, dilation)
    return functional.avg_pool2d(patch, kernel, strides, padding, divisor_override=1)


def divisors(node: Node, size: int, axis: int) -> list[float]:
    """Return by how many numbers along an axis each output of a mean pool divides its sum.

    Their product over both axes is the divisor. Padding counts if ``count_include_pad``; what a pool in ceil
    mode reads beyond the padding never does.
    """
    rule = _window(node, _pair(node.arguments["kernel_size"]))[axis]
    override = node.arguments.get("divisor_override")
    if override:
        return [float(override) if axis == 0 else 1.0] * node.value.shape[2 + axis]
    padded = node.arguments.get("count_include_pad", True)
    low, high = (-rule.padding, size + rule.padding) if padded else (0, size)
    return [
        float(min(rule.first(each) + rule.kernel, high) - max(rule.first(each), low))
        for each in range(node.value.shape[2 + axis])
    ]
