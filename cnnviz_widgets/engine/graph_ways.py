"""What lies between an image and a value in autograd's graph: a layer, or a rectifier in disguise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from torch import Tensor

# What autograd calls operations that no rule for rectifiers is about: sums of what they are given with weights that
# do not hang on the image, moves of numbers, and pooling.
_PLAIN = frozenset(
    "AccumulateGrad Convolution MkldnnConvolution CudnnConvolution NativeBatchNorm CudnnBatchNorm Addmm Mm Bmm "
    "Add Sub Rsub Neg Div Sum Mean AvgPool2D AdaptiveAvgPool2D MkldnnAdaptiveAvgPool2D MaxPool2DWithIndices "
    "AdaptiveMaxPool2D ConstantPadNd ReflectionPad2D ReplicationPad2D Clone Copy Copys CopySlices ToCopy Alias View "
    "UnsafeView ReshapeAlias AsStrided Permute Transpose T Unsqueeze Squeeze Expand Select Slice Index Cat Stack "
    "Split SplitWithSizes Unbind UpsampleNearest2D UpsampleBilinear2D".split()
)


def is_plain_way(value: Tensor) -> bool:
    """Return whether nothing between the leaves of the graph and a value can be a rectifier; ask before it is freed.

    >>> import torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> is_plain_way((2 * x[:1] - 3).sum()), is_plain_way(torch.maximum(x, torch.zeros(2)))
    (True, False)
    """
    for node in _nodes_before(value):
        name = re.sub(r"^torch::autograd::|Backward\d*$", "", node.name())
        if name not in _PLAIN and not (name == "Mul" and _is_multiple(node)):
            return False
    return True


def is_reached(value: Tensor, other: Tensor) -> bool:
    """Return whether a way leads from another tensor, which is no leaf, to a value.

    >>> import torch
    >>> x = torch.ones(2, requires_grad=True)
    >>> y, z = x + 1, x * 2
    >>> is_reached(y.sum(), y), is_reached(y.sum(), z)
    (True, False)
    """
    return any(node is other.grad_fn for node in _nodes_before(value))


def _nodes_before(value: Tensor) -> Iterator[Any]:
    """Yield each node of the graph that a value hangs on, its own first."""
    waiting: list[Any] = [value.grad_fn]
    known = set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in known:
            known.add(node)
            yield node
            waiting += [each for each, _ in node.next_functions]


def _is_multiple(node: Any) -> bool:
    """Return whether a product is one with a single number; the other factor may be a mask otherwise."""
    factors = [getattr(node, each) for each in ("_saved_self", "_saved_other")]
    return any(each is not None and each.ndim == 0 for each in factors)
