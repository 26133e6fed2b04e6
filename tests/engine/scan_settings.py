"""Data sets and networks for scans that are killed and spread; what workers and child processes import."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

import cnnviz_widgets as cv

COUNT = 30
PICTURES = np.random.default_rng(5).integers(0, 256, (COUNT, 10, 10, 3), dtype=np.uint8)


class Branches(nn.Module):
    """A small network with a branch, a layer that is called twice, and vectors in the end."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.more = nn.Conv2d(6, 6, 3, stride=2)
        self.side = nn.Conv2d(6, 6, 1, stride=2)
        self.full = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> Any:
        x = self.relu(self.conv(x))
        y = self.relu(self.more(x) + self.side(x)[..., 1:, 1:])
        return self.full(y.mean((2, 3)))


def network(seed: int = 0) -> cv.Network:
    generator = torch.Generator().manual_seed(seed)
    module = Branches().eval()
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn(each.shape, generator=generator) * 0.4)
    return cv.Network(module, input=cv.InputSpec(size=10, mean=0.5, std=0.25))


class Images(Dataset):  # type: ignore[type-arg]
    """The pictures, counted as they are read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.read.append(index)
        return PICTURES[index], index % 3


class Mortal(Images):
    """Whoever reads the image ``last`` first is killed; its process is noted in a file."""

    def __init__(self, last: int, note: Path) -> None:
        super().__init__()
        self.last = last
        self.note = note

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.last:
            try:
                with open(self.note, "x") as file:
                    file.write(str(os.getpid()))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Waiting(Images):
    """Says so when an image is asked for, and waits there for ever."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if index == self.last:
            wait()
        return super().__getitem__(index)


def how_sent(task: Any, token: str, packed: Any, argument: Any) -> str:
    """Tell as what a process gets what its tasks share; in the place of the engine's own function."""
    return type(packed).__name__


def wait() -> None:
    """Tell the parent that this is the place, and wait for its end."""
    print("here", os.getpid(), flush=True)  # noqa: T201
    sys.stdin.read()


def stream() -> Iterator[np.ndarray]:
    yield from PICTURES


LAYERS = ["conv", "relu", "full"]


def patches(images: Any, net: cv.Network | None = None, **options: Any) -> dict[Any, cv.TopPatches]:
    given = {"k": 3, "batch_size": 2, **options}
    return dict(cv.top_patches(net or network(), images, LAYERS, **given))


def statistics(images: Any, net: cv.Network | None = None, **options: Any) -> cv.ActivationStatistics:
    return cv.activation_statistics(net or network(), images, LAYERS, **{"batch_size": 2, **options})


def features(images: Any, net: cv.Network | None = None, **options: Any) -> cv.FeatureTable:
    """Return a table that is kept in files, in a folder beside the checkpoint where there is one."""
    images = (PICTURES, [index % 3 for index in range(COUNT)]) if images is PICTURES else images
    given = {"batch_size": 2, "memory_limit": 0, "predictions": True, **options}
    if "checkpoint" in given:
        given.setdefault("path", Path(given["checkpoint"]).parent / "table")
    return cv.extract_features(net or network(), images, "conv", **given)


METHODS: dict[str, Callable[..., Any]] = {
    "top_patches": patches,
    "activation_statistics": statistics,
    "extract_features": features,
}
