"""Small modules to look into, each with one habit, and what counts their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from tests.random_networks import RandomNetwork


def network_of(module: RandomNetwork) -> cv.Network:
    return cv.Network(module, input=cv.InputSpec(size=module.size, channels=module.channels))


def small(module: nn.Module, channels: int = 3) -> cv.Network:
    return cv.Network(module, input=cv.InputSpec(size=8, channels=channels))


def images(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def chain(**last: nn.Module) -> nn.Sequential:
    """Return convolution, in-place rectifier, convolution, and what else is given, by name."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {
        "conv": nn.Conv2d(3, 4, 3, padding=1),
        "relu": nn.ReLU(inplace=True),
        "more": nn.Conv2d(4, 4, 3, padding=1),
        **last,
    }
    module = nn.Sequential()
    for name, each in layers.items():
        module.add_module(name, each)
    return module


class Function(nn.Module):
    """A module around a function of its layers and the input."""

    def __init__(self, function: Callable[[Any, Tensor], Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, each in layers.items():
            self.add_module(name, each)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class CallCounter:
    """Counts how often each module runs, through the module's own `forward`."""

    def __init__(self, module: nn.Module) -> None:
        self.calls: dict[str, int] = {}
        for name, each in module.named_modules():
            each.forward = self._counting(name, each.forward)  # type: ignore[method-assign]

    def _counting(self, name: str, forward: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            return forward(*args, **kwargs)

        return counted
