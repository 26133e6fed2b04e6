"""Networks whose images of a batch are not independent: batch norm without running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cnnviz_widgets.engine.layers import map_tensors, tensors_in


def takes_batch_statistics(module: nn.Module) -> bool:
    """Return whether a batch norm of a module has no running statistics, and takes those of its batch, also in use.

    An image's answer then depends on the images beside it, so that each must go through alone.

    >>> takes_batch_statistics(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)))
    True
    """
    return any(isinstance(each, _BatchNorm) and each.running_mean is None for each in module.modules())


def independent_parts(module: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Return a batch whole; picture by picture where a module would mix them up.

    >>> mixing = nn.BatchNorm2d(3, track_running_stats=False)
    >>> len(independent_parts(mixing, torch.zeros(4, 3, 2, 2))), len(independent_parts(nn.ReLU(), torch.zeros(4, 3)))
    (4, 1)
    """
    return x.split(1) if len(x) > 1 and takes_batch_statistics(module) else (x,)


def together(values: Sequence[Any]) -> Any:
    """Return what there is for each part of a batch, nests of tensors [n, ...], as it would be for all of it.

    >>> together([(torch.zeros(1, 2), None), (torch.ones(1, 2), None)])[0].tolist()
    [[0.0, 0.0], [1.0, 1.0]]
    """
    if len(values) == 1:
        return values[0]
    each_part = zip(*(tensors_in(value) for value in values), strict=True)
    # A number without a batch axis, such as a loss, is that of the first part.
    joined = (torch.cat(parts) if parts[0].ndim else parts[0] for parts in each_part)
    return map_tensors(values[0], lambda _: next(joined))
