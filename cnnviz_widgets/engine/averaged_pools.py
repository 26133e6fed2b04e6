"""Networks whose max pools take the mean in place of the maximum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.private_network import PrivateNetwork, private_network

if TYPE_CHECKING:
    from cnnviz_widgets.engine.capture import Capture
    from cnnviz_widgets.engine.network import Network

POOLINGS = ("max", "average")


def pooled_network(net: Network, pooling: str) -> Network:
    """Return a network of its own for one run: as it is, or with averages for maxima in a copy of the module.

    Raises
    ------
    UnsupportedModuleError
        Averages are asked for, and the module can't be copied.
    """
    return private_network(net) if pooling == "max" else AveragedNetwork(net)


class AveragedPools(TorchFunctionMode):
    """Has two-dimensional max pools, modules and functions, return the mean of each window in place of its maximum.

    What lies beyond the edge of a map counts for a mean as little as for a maximum.

    Parameters
    ----------
    captures
        Those of the pass that is run inside: what they hold grows meanwhile.

    Attributes
    ----------
    replaced
        How many pools have returned means.

    Examples
    --------
    >>> x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    >>> with AveragedPools():
    ...     torch.nn.MaxPool2d(2)(x).item(), functional.adaptive_max_pool2d(x, 1).item()
    (3.0, 3.0)
    """

    def __init__(self, captures: Sequence[Capture] = ()) -> None:
        super().__init__()
        self.replaced = 0
        self._captures = captures
        self._held_before = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        instead = _INSTEAD.get(func)
        if instead is None:
            return func(*args, **(kwargs or {}))
        if not self.replaced:
            self._held_before = self._held()
        self.replaced += 1
        return instead(*args, **(kwargs or {}))

    def is_on_the_way(self) -> bool:
        """Return whether a layer was captured after a pool had returned means: a pass may go on behind the layers."""
        return self.replaced > 0 and self._held() > self._held_before

    def _held(self) -> int:
        return sum(map(len, self._captures))


class AveragedNetwork(PrivateNetwork):
    """A network over a copy of another one's module, in which means are taken where that takes maxima.

    Parameters
    ----------
    net
        The network whose module is copied.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied; on use: a max pool that has no average; in the first pass with gradients, no max
        pool on the way to what is captured.
    """

    def __init__(self, net: Network) -> None:
        super().__init__(net, "its pools are to take averages")
        self._has_pools = False

    def stepping(self) -> AbstractContextManager[Any]:
        """Return what to keep open during a forward and a backward pass: checkpoints run again in the latter."""
        return AveragedPools()

    def _forward(self, x: Tensor, captures: Sequence[Capture], gradients: bool) -> tuple[Any, bool]:
        with AveragedPools(captures) as pools:
            found = super()._forward(x, captures, gradients)
        # A pass without gradients may look at some of the layers that are compared, or at others.
        if gradients and not self._has_pools:
            self._has_pools = pools.is_on_the_way()
            if not self._has_pools:
                raise UnsupportedModuleError(
                    f"{type(self.core).__name__} calls no two-dimensional max pool (nn.MaxPool2d, "
                    "functional.max_pool2d, or an adaptive one) on the way to the layers that are compared, so that "
                    "pooling='average' would change nothing; leave pooling out"
                )
        return found


def _average(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if set(dilation if isinstance(dilation, Sequence) else [dilation]) != {1}:
        raise UnsupportedModuleError(
            f"a max pool with dilation={dilation!r} has no average here; take pooling='max'"
        )
    steps = kernel_size if stride is None or stride == [] or stride == () else stride
    return functional.avg_pool2d(input, kernel_size, steps, padding, ceil_mode, count_include_pad=False)


def _adaptive_average(input: Tensor, output_size: Any, return_indices: bool = False) -> Tensor:
    return functional.adaptive_avg_pool2d(input, output_size)


def _refuse(*args: Any, **kwargs: Any) -> Any:
    raise UnsupportedModuleError(
        "a max pool of this network also returns the places of its maxima, and an average has none; take pooling='max'"
    )


_INSTEAD: dict[Any, Callable[..., Any]] = {
    torch.max_pool2d: _average,
    functional.max_pool2d: _average,
    functional.adaptive_max_pool2d: _adaptive_average,
    functional.max_pool2d_with_indices: _refuse,
    functional.adaptive_max_pool2d_with_indices: _refuse,
    torch._C._nn.max_pool2d_with_indices: _refuse,
    torch._C._nn.adaptive_max_pool2d: _refuse,
}
