"""The networks that every public method is tried on, and what it is asked about each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from tests.random_networks import RandomNetwork


@dataclass
class Setting:
    """A network, and good answers to everything that a method may ask for.

    Attributes
    ----------
    net
        The network; its module has mixed training flags, a user's hook, gradients and buffers.
    image, images
        One picture as an array (uint8, H x W or H x W x 3), and a list of three of them.
    layer
        A convolution near the beginning, called once.
    ambiguous
        A layer that is called more than once, or ``None``.
    target
        An index of a class.
    seed
        For methods that draw at random.
    """

    net: cv.Network
    image: Any
    images: Any
    layer: Any
    ambiguous: str | None = None
    target: Any = 1
    seed: int = 0
    calls: list[str] = field(default_factory=list)
    recorded: list[bool] = field(default_factory=list)

    @property
    def module(self) -> nn.Module:
        """What the user gave."""
        return self.net.module

    def watch(self) -> None:
        """Note from here on which layers run, and whether gradients are recorded (as a user's own hooks)."""
        for name, each in self.net.core.named_modules():
            each.register_forward_pre_hook(self._noting(name))

    def _noting(self, name: str) -> Callable[..., None]:
        def note(module: nn.Module, arguments: Any) -> None:
            self.calls.append(name)
            self.recorded.append(torch.is_grad_enabled())

        return note

    def later_layers(self) -> set[str]:
        """Return the layers that run only after the one asked for, by a pass of a copy."""
        order: list[str] = []
        copied = deepcopy(self.net.core)
        for name, each in copied.named_modules():
            each.register_forward_pre_hook(lambda module, given, name=name: order.append(name))
        copied.get_submodule(self.layer).register_forward_hook(lambda *given: order.append("done"))
        with torch.no_grad():
            copied(self.net.prepare(self.image))
        end = order.index("done")
        return set(order[end + 1 :]) - set(order[:end])

    @contextmanager
    def failing(self, error: type[BaseException]) -> Iterator[None]:
        """Let the layer asked for raise an error, as a bug in the user's module would."""

        def fail(module: nn.Module, arguments: Any) -> None:
            raise error("on purpose")

        handle = self.net.core.get_submodule(self.layer).register_forward_pre_hook(fail)
        try:
            yield
        finally:
            handle.remove()


class Small(nn.Module):
    """A classifier of three classes that rectifies, reuses and returns in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=way in ("in-place", "reused"))
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.more = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 1)
        self.log: list[int] = []

    def rectify(self, x: Tensor, again: bool = False) -> Tensor:
        if self.way == "functional" or (again and self.way != "reused"):
            return functional.relu(x)
        return x.relu_() if self.way == "in-place method" else self.relu(x)

    def forward(self, x: Tensor) -> Any:
        self.log.append(len(x))
        y = self.rectify(self.conv(x))
        y = self.drop(self.norm(y))
        z = self.more(y)
        z += y
        scores = self.last(self.rectify(z, again=True)).mean((2, 3))
        if self.way == "tuple":
            return scores, [z, y]
        return {"out": scores, "maps": z} if self.way == "dict" else scores


def _finished(module: nn.Module, seed: int) -> nn.Module:
    """Give a module what a user's module in the middle of its training has."""
    generator = torch.Generator().manual_seed(seed)
    for index, each in enumerate(module.modules()):
        each.train(index % 3 != 0)
    for index, parameter in enumerate(module.parameters()):
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        if index % 2:
            parameter.grad = torch.ones_like(parameter)
        if index % 3 == 2:
            parameter.requires_grad_(False)
    module.register_forward_hook(lambda *arguments: None)
    return module


def _pictures(size: tuple[int, int], channels: int) -> list[Any]:
    draw = np.random.default_rng(0)
    shape = (*size, 3) if channels == 3 else size
    return [draw.integers(0, 256, shape, dtype=np.uint8) for _ in range(3)]


def small(way: str) -> Setting:
    module = _finished(Small(way), seed=1)
    wrapped = nn.DataParallel(module) if way == "data parallel" else module
    net = cv.Network(wrapped, input=cv.InputSpec(size=12, mean=0.5, std=0.25), labels=["cat", "dog", "bird"])
    images = _pictures((12, 12), 3)
    return Setting(net, images[0], images, "conv", ambiguous="relu" if way == "reused" else None)


def random_network(seed: int) -> Setting:
    module = _finished(RandomNetwork(seed), seed=seed)
    net = cv.Network(module, input=cv.InputSpec(size=module.size, channels=module.channels))
    images = _pictures(module.size, module.channels)
    first = next(name for name, each in module.named_modules() if isinstance(each, nn.Conv2d))
    return Setting(net, images[0], images, first)


def fashion() -> Setting:
    net = cv.samples.fashion_cnn()
    pictures, _ = cv.samples.fashion_mnist("test")
    images = list(np.asarray(pictures[:3]))
    return Setting(net, images[0], images, "conv1")


NETWORKS: dict[str, Callable[[], Setting]] = {
    **{
        way: lambda way=way: small(way)
        for way in ("functional", "in-place", "in-place method", "reused", "tuple", "dict", "data parallel")
    },
    **{f"random {seed}": lambda seed=seed: random_network(seed) for seed in (2, 5)},
    "fashion_cnn": fashion,
}
