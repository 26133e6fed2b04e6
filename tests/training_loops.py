"""Small trainings that can be run with or without a recorder, the same to the last bit."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

import cnnviz_widgets as cv
from tests.untouched import random_states

Watch = Callable[[cv.Network, torch.optim.Optimizer], Any]


class Classic(nn.Module):
    """Convolution, batch norm, a rectifier used twice, dropout; three classes of 3x8x8 images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.more = nn.Conv2d(4, 5, 3, padding=1)
        self.last = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.relu(self.norm(self.conv(x))))
        scores: Tensor = self.last(self.relu(self.more(x)).mean((2, 3)))
        return scores


class Random(Classic):
    """Draws random numbers of every kind in every mode, and keeps count of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
        self.log: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1  # type: ignore[operator, misc]
        self.log.append(random.random())
        noise = torch.rand(()) + float(np.random.rand())  # noqa: NPY002
        return super().forward(x + 0.1 * noise + 0.1 * self.log[-1])


class Spectral(Classic):
    """Its weights are made anew, and a buffer with them, whenever they are used in training mode."""

    def __init__(self) -> None:
        super().__init__()
        parametrizations.spectral_norm(self.conv)
        self.more = nn.utils.spectral_norm(self.more)


NETWORKS: dict[str, type[nn.Module]] = {"classic": Classic, "random": Random, "spectral": Spectral}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.02, amsgrad=True),
}


def pictures(count: int = 6) -> list[np.ndarray]:
    draw = np.random.default_rng(5)
    return [draw.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(count)]


def network(kind: str = "classic") -> cv.Network:
    """Return a new network in training mode, the same each time."""
    seed_everything()
    module = NETWORKS[kind]().train()
    return cv.Network(module, input=cv.InputSpec(size=8, mean=0.5, std=0.25))


def seed_everything() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, 8, 8, generator=generator), torch.randint(3, (8,), generator=generator)


def take_step(
    net: cv.Network, optimizer: torch.optim.Optimizer, step: int, *, autocast: bool = False
) -> Tensor:
    """Take one step of training, number ``step`` from 0, up to but without ``optimizer.step()``; return the loss."""
    x, y = batch(step)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = functional.cross_entropy(net.module(x).float(), y)
        optimizer.zero_grad()
        loss.backward()
    return loss


def everything(net: cv.Network, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the state that a training goes on from, byte by byte."""
    found: dict[str, Any] = {
        name: each.detach().numpy().tobytes() for name, each in net.module.state_dict().items()
    }
    found |= {f"{name}.grad": repr(each.grad) for name, each in net.module.named_parameters()}
    found |= {f"{name} mode": each.training for name, each in net.module.named_modules()}
    found["log"] = list(getattr(net.module, "log", []))
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    found["optimizer"] = saved.getvalue()
    return found | random_states()
