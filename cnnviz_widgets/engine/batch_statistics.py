"""Networks whose images of a batch are not independent: batch norm without running statistics."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def takes_batch_statistics(module: nn.Module) -> bool:
    """Return whether a batch norm of a module has no running statistics, and takes those of its batch, also in use.

    An image's answer then depends on the images beside it, so that each must go through alone.

    >>> takes_batch_statistics(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)))
    True
    """
    return any(isinstance(each, _BatchNorm) and each.running_mean is None for each in module.modules())
