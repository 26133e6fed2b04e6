"""One scan that feeds three methods, against the bare forward pass over the same images; and its memory."""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import cnnviz_widgets as cv
from benchmarks._timing import Row, races, timed_parts
from cnnviz_widgets.engine.channel_tally import TallyCollector
from cnnviz_widgets.engine.feature_collector import FeatureCollector
from cnnviz_widgets.engine.patch_collector import PatchCollector
from cnnviz_widgets.engine.scan import scan

BATCH = 32


class Pictures(Dataset):  # type: ignore[type-arg]
    """Pictures of noise, a few of them again and again, each a little brighter than the last."""

    def __init__(self, count: int, size: int = 224) -> None:
        self.count = count
        self.pictures = np.random.default_rng(0).integers(0, 200, (16, size, size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return self.pictures[index % 16] + np.uint8(index % 50)


def three_at_once(count: int = 2000, rounds: int = 2) -> Row:
    """Top patches, features and statistics of the last maps of ResNet-18, against running it over a loader."""
    net = cv.Network.from_torchvision("resnet18", weights=None)

    def ours(count: int = count) -> Iterator[object]:
        collectors = [
            PatchCollector(net.input, ["layer4"]),
            FeatureCollector(net.input, "avgpool"),
            TallyCollector(["layer4"]),
        ]
        yield from scan(net, Pictures(count), collectors, batch_size=BATCH)
        if collectors[2].tallies["layer4"].arrays["values"][0] != count * 49:
            raise RuntimeError("not every image was counted")

    def theirs(count: int = count) -> Iterator[object]:
        def collate(pictures: list[np.ndarray]) -> torch.Tensor:
            return net.input.prepare(pictures)

        for x in DataLoader(Pictures(count), BATCH, collate_fn=collate):
            with torch.no_grad():
                net.module(x)
            yield

    races(timed_parts(partial(ours, 2 * BATCH)), timed_parts(partial(theirs, 2 * BATCH)), 1)
    times = races(timed_parts(ours), timed_parts(theirs), rounds, warm_up=False)
    return Row(
        f"scan of {count:,} images, ResNet-18: top patches, features and statistics together",
        "bare forward pass over the same loader",
        *times,
        target=0.85,
        note=f"of layer4 and avgpool; a batch of {BATCH} of each in turn",
    )


def peak_memory(count: int) -> float:
    """Return the largest memory, in MB, that this process ever took, after a scan of so many small images."""
    module = cv.Network.from_torchvision("resnet18", weights=None).module
    net = cv.Network(module, input=cv.InputSpec(size=64, mean=0.5, std=0.25))
    with tempfile.TemporaryDirectory() as folder:
        collectors = [
            PatchCollector(net.input, ["layer4"]),
            FeatureCollector(net.input, "layer3", folder=Path(folder) / "features"),
            TallyCollector(["layer4"]),
        ]
        for _ in scan(net, Pictures(count, 64), collectors, batch_size=BATCH):
            pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def memory() -> Row:
    """The same three at once over 10,000 images and over 1,000, each in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        few, many = pool.map(peak_memory, [1000, 10_000], chunksize=1)
    return Row(
        "peak memory of a scan of 10,000 images (ResNet-18, 64 pixels, features kept in a file)",
        "of 1,000 images",
        many,
        few,
        few / many,
        target=0.95,
        unit="MB",
    )


ROWS = {"scan": three_at_once, "scan-memory": memory}
