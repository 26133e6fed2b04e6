"""Top patches against plain loops: argsort over every number that a layer returned."""

from __future__ import annotations

import io
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.channel_peaks import ChannelPeaks
from cnnviz_widgets.engine.errors import (
    AmbiguousLayerError,
    InputError,
    MemoryLimitError,
    OutputError,
    TargetError,
)
from cnnviz_widgets.engine.patch_collector import PatchCollector
from cnnviz_widgets.engine.scan import scan
from tests.engine.scan_settings import PICTURES, network
from tests.random_networks import RandomNetwork
from tests.small_networks import chain, network_of, small

DRAW = np.random.default_rng(0)


def resnet() -> cv.Network:
    module = cv.Network.from_torchvision("resnet18", weights=None).module
    return cv.Network(module, input=cv.InputSpec(size=48, mean=0.4, std=0.2))


def any_size() -> cv.Network:
    return cv.Network(chain().eval(), input=cv.InputSpec(mean=0.5, std=0.25))


def same(sizes: tuple[int, ...], count: int) -> list[Any]:
    return [DRAW.integers(0, 256, sizes, dtype=np.uint8) for _ in range(count)]


@cache
def setting(name: str) -> tuple[cv.Network, list[Any], list[Any]]:
    """A network, its images, and layers: early and late, in branches, called twice, without maps."""
    if name == "resnet18":
        return resnet(), same((48, 48, 3), 8), ["layer2.0.downsample.0", "layer3.1", "avgpool", "fc"]
    if name == "branches":
        return network(), list(PICTURES), ["conv", ("relu", 0), ("relu", 1), "side", "full"]
    if name == "any size":
        sizes = [(8, 8, 3), (8, 8, 3), (12, 9, 3), (9, 12, 3), (8, 8, 3), (20, 7, 3), (9, 12, 3)]
        return any_size(), [same(each, 1)[0] for each in sizes], ["conv", "relu"]
    if name == "fashion_cnn":
        return cv.samples.fashion_cnn(), list(cv.samples.fashion_mnist("test")[0][:40]), ["conv2", "fc1"]
    net = network_of(RandomNetwork(3))
    shape = (*net.input.size_or(0), *((3,) if net.input.channels == 3 else ()))
    layers = [each.name for each in net.layers if each.calls == 1 and len(each.output_shape or ()) in (1, 3)]
    return net, same(shape, 9), layers[-4:]


SETTINGS = ["resnet18", "branches", "any size", "fashion_cnn", "random"]


def values_of(net: cv.Network, image: Any, layer: Any) -> Tensor:
    """Return what a layer returns for one image [C, H, W] or [C], by a hook of torch's own on the bare module."""
    name, call = layer if isinstance(layer, tuple) else (layer, 0)
    kept: list[Tensor] = []
    hook = lambda module, given, output: kept.append(output.detach().clone())  # noqa: E731
    handle = net.core.get_submodule(name).register_forward_hook(hook)
    net.core.eval()
    with torch.no_grad():
        net.core(net.prepare(image))
    handle.remove()
    return kept[call][0]


@cache
def maps_of(name: str) -> dict[Any, list[np.ndarray]]:
    """What each layer of a setting returns for each of its images."""
    net, images, layers = setting(name)
    return {layer: [values_of(net, each, layer).numpy() for each in images] for layer in layers}


def slow(maps: list[np.ndarray], channel: int, k: int, per_image: int) -> list[tuple[float, int, int, int]]:
    """Sort every number of a channel: the best ``per_image`` of each image, then the best of all."""
    found = []
    for index, values in enumerate(maps):
        plane = np.atleast_2d(values[channel])
        every = [
            (-float(plane[row, column]), index, row, column)
            for row in range(plane.shape[0])
            for column in range(plane.shape[1])
            if not np.isnan(plane[row, column])
        ]
        found += sorted(every)[:per_image]
    return [(-score, *place) for score, *place in sorted(found)[:k]]


@pytest.mark.parametrize("batch_size", [None, 1, 5])
@pytest.mark.parametrize("name", SETTINGS)
def test_against_sorting_everything(name: str, batch_size: int | None) -> None:
    net, images, layers = setting(name)
    per_image = {None: 1, 1: 2, 5: None}[batch_size]
    found = cv.top_patches(net, images, layers, k=5, per_image=per_image, batch_size=batch_size)
    assert list(found) == layers
    for layer in layers:
        one = found[layer]
        maps = maps_of(name)[layer]
        assert one.scores.shape == (len(maps[0]), 5)
        for channel in range(0, len(maps[0]), max(1, len(maps[0]) // 12)):
            expected = slow(maps, channel, 5, per_image or 5)
            free = 5 - len(expected)
            filled = slice(0, 5 - free)
            np.testing.assert_allclose(
                one.scores[channel, filled], [score for score, *_ in expected], rtol=1e-4, atol=1e-5
            )
            places = np.column_stack([one.image_indices[channel], one.positions[channel]])
            assert places[filled].tolist() == [list(place) for _, *place in expected]
            assert np.isnan(one.scores[channel, 5 - free :]).all()
            assert (places[5 - free :] == -1).all()


@pytest.mark.parametrize("name", SETTINGS)
def test_patches_are_what_the_units_look_at(name: str) -> None:
    net, images, layers = setting(name)
    for layer, one in cv.top_patches(net, images, layers, k=3).items():
        fields: dict[tuple[int, ...], cv.ReceptiveField] = {}
        for row in range(0, len(one.channels), max(1, len(one.channels) // 4)):
            index, place = int(one.image_indices[row, 0]), tuple(one.positions[row, 0])
            top, left, bottom, right = one.boxes[row, 0]
            x = net.prepare(images[index])
            picture = net.restore(x)[0]
            assert (one.picture(index) == picture).all()
            assert (one.patches[row][0] == picture[top:bottom, left:right]).all()
            assert one.patches[row][0].base is not None, "a view"
            size = tuple(x.shape[2:])
            if size not in fields:
                fields[size] = cv.receptive_field(net, layer, image_size=size)
            field = fields[size]
            expected = field.box() if field.map_size is None else field.box(*place)
            assert (top, left, bottom, right) == (
                expected.top,
                expected.left,
                expected.bottom,
                expected.right,
            )
            # Whatever is around the patch makes no difference to the unit.
            altered = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
            altered[..., top:bottom, left:right] = x[..., top:bottom, left:right]
            before, after = (_unit(net, each, layer, row, place) for each in (x, altered))
            assert after == pytest.approx(before, rel=1e-4, abs=1e-5)
            assert before == pytest.approx(one.scores[row, 0], rel=1e-4, abs=1e-5)


def _unit(net: cv.Network, x: Tensor, layer: Any, channel: int, place: tuple[int, ...]) -> float:
    with cv.capture(net, [layer]) as seen:
        net(x)
    value = seen[layer][0, channel]
    return float(value[place] if value.ndim else value)


def test_ties_go_to_the_lower_image_then_the_lower_position() -> None:
    net = small(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()))
    with torch.no_grad():
        net.core[0].bias[1] = -1e3  # dead: zero everywhere
    images = [PICTURES[0][:8, :8]] * 4
    for batch_size in (1, 3):
        for shards in (None, 1, 3):
            one = cv.top_patches(net, images, "1", k=3, batch_size=batch_size, shards=shards)
            assert one.image_indices.tolist() == [[0, 1, 2]] * 2
            assert (one.positions[0] == one.positions[0, 0]).all()
            assert (one.positions[1] == 0).all()
            many = cv.top_patches(
                net, images, "1", 1, k=10, per_image=4, batch_size=batch_size, shards=shards
            )
            assert many.image_indices.tolist() == [[0] * 4 + [1] * 4 + [2] * 2]
            assert many.positions[0, :4].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3]]
    assert "1 answer to all theirs alike (a dead channel" in cv.top_patches(net, images, "1", 1, k=2).message


def test_ties_do_not_depend_on_who_came_first() -> None:
    # As where a scan goes on with images that lie before those that workers had done.
    values = torch.tensor([[2.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])[:, None, None]
    for order in permutations(range(4)):
        peaks = ChannelPeaks("conv", 3, per_image=2)
        for index in order:
            peaks.add(values[[index]], np.array([index]))
        assert peaks.arrays["images"].tolist() == [[0, 0, 1]]
        assert peaks.arrays["columns"].tolist() == [[0, 1, 1]]


def test_merged_in_any_order() -> None:
    net = network()
    whole = _collected(net, range(12))
    parts = [range(5), range(5, 6), range(6, 10), range(10, 12)]
    collected = {part: _collected(net, part) for part in parts}
    for order in permutations(parts):
        merged = PatchCollector(net.input, ["conv", "relu", "full"], k=4, per_image=2)
        for part in order:
            merged.merge(deepcopy(collected[part]))
        one, two = whole.arrays(), merged.arrays()
        assert sorted(one) == sorted(two)
        assert all(one[each].tobytes() == two[each].tobytes() for each in one)


def _collected(net: cv.Network, indices: range) -> PatchCollector:
    collector = PatchCollector(net.input, ["conv", "relu", "full"], k=4, per_image=2)
    # As if of the middle of a data set.
    renumbered = _Renumbered(collector, indices.start)
    for _ in scan(net, list(PICTURES[indices.start : indices.stop]), [renumbered], batch_size=1):
        pass
    again = PatchCollector(net.input, ["conv", "relu", "full"], k=4, per_image=2)
    again.restore(collector.arrays())
    return again


class _Renumbered:
    def __init__(self, collector: PatchCollector, start: int) -> None:
        self.layers = collector.layers
        self._collector, self._start = collector, start

    def collect(self, batch: Any) -> None:
        object.__setattr__(batch, "indices", batch.indices + self._start)
        self._collector.collect(batch)


def test_only_winning_images_are_kept() -> None:
    net = network()
    images = np.random.default_rng(3).integers(0, 256, (150, 10, 10, 3), dtype=np.uint8)
    collector = PatchCollector(net.input, ["conv"], k=2, channels=[0, 3])
    for step in scan(net, images, [collector], batch_size=10):
        winners = set(collector.peaks["conv"].arrays["images"].ravel().tolist())
        assert set(collector.pictures) == set(collector.sizes) == set(collector.marks) == winners
        assert len(winners) <= 4, step
    one = cv.top_patches(net, images, "conv", [0, 3], k=2, memory_limit=4 * 300)
    assert one.picture_indices.tolist() == sorted(set(one.image_indices.ravel().tolist()))
    for shards in (None, 5):
        with pytest.raises(MemoryLimitError, match=r"take [\d,]+ bytes, more than memory_limit=1,499"):
            cv.top_patches(net, images, "conv", k=9, memory_limit=1499, shards=shards)


def test_channels_are_chosen() -> None:
    net = network()
    every = cv.top_patches(net, PICTURES, "conv", k=4)
    some = cv.top_patches(net, PICTURES, "conv", [4, 1], k=4)
    assert some.channels.tolist() == [4, 1]
    for name in ("scores", "image_indices", "positions", "boxes"):
        assert (getattr(some, name) == getattr(every, name)[[4, 1]]).all()
    one = cv.top_patches(net, PICTURES, "conv", np.int64(1), k=4)
    assert (one.scores == every.scores[[1]]).all()
    with pytest.raises(TargetError, match="layer 'conv' has no channel 6: it has 6"):
        cv.top_patches(net, PICTURES, "conv", [1, 6])
    with pytest.raises(TargetError, match="no patch is cut from image"):
        one.picture(99)


def test_nan_has_no_place_where_other_values_run_out() -> None:
    class Sparse(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = torch.full_like(x, torch.nan)
            y[:, :, 2, 3] = x[:, :, 2, 3]
            return y

    net = cv.Network(nn.Sequential(Sparse()).eval(), input=cv.InputSpec(size=8))
    images = [each[:8, :8] for each in PICTURES[:2]]
    one = cv.top_patches(net, images, "0", k=3, per_image=None)
    values = net.prepare(images)[:, :, 2, 3].numpy()
    np.testing.assert_array_equal(one.scores[:, :2], -np.sort(-values, axis=0).T)
    assert np.isnan(one.scores[:, 2]).all()
    assert (one.image_indices[:, 2] == -1).all()


def test_nan_and_too_few_images_leave_places_free() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x).clone()
            y[:, 1, 0] = torch.nan
            y[:, 2] = torch.nan
            return y

    net = cv.Network(nn.Sequential(Odd()).eval(), input=cv.InputSpec(size=8))
    images = [each[:8, :8] for each in PICTURES[:4]]
    for per_image in (1, 3):
        one = cv.top_patches(net, images, "0", k=4, per_image=per_image, batch_size=3)
        maps = [values_of(net, each, "0").numpy() for each in images]
        for channel in (0, 1):
            expected = slow(maps, channel, 4, per_image)
            assert one.image_indices[channel].tolist() == [index for _, index, *_ in expected]
            assert one.positions[channel].tolist() == [place for _, _, *place in expected]
        assert (one.positions[1, :, 0] > 0).all()
        assert np.isnan(one.scores[2]).all()
        assert (one.image_indices[2] == -1).all()
        assert (one.boxes[2] == 0).all()
        assert one.patches[2][0].shape == (0, 0, 3)
        assert "1 have fewer than 4" in one.message
    few = cv.top_patches(net, (each for each in images), "0", 0, k=6)
    assert few.image_indices[0].tolist()[4:] == [-1, -1]
    skipped = cv.top_patches(net, [images[0], np.zeros(3), images[1]], "0", 0, k=3, on_error="skip")
    assert sorted(skipped.image_indices[0].tolist()) == [-1, 0, 2]
    assert (skipped.images, skipped.skipped) == (2, 1)
    assert "skipped: 1" in skipped.message


def test_what_is_refused() -> None:
    net = network()
    with pytest.raises(AmbiguousLayerError, match=r"\('relu', 0\) or \('relu', 1\)"):
        cv.top_patches(net, PICTURES, "relu")
    with pytest.raises(InputError, match=r"k is over the data set's size: 3 images.*k=7; use k=6 or less"):
        cv.top_patches(net, PICTURES[:3], "conv", k=7, per_image=2)
    tokens = cv.Network(nn.Sequential(nn.Flatten(2)), input=cv.InputSpec(size=4))
    with pytest.raises(OutputError, match="patches need maps"):
        cv.top_patches(tokens, [np.zeros((4, 4, 3), np.uint8)], "0", k=1)
    deep = cv.Network(nn.Sequential(nn.Conv2d(5, 2, 1)), input=cv.InputSpec(size=4, channels=5))
    with pytest.raises(InputError, match="patches=False"):
        cv.top_patches(deep, torch.rand(2, 5, 4, 4), "0", k=1)
    bare = cv.top_patches(deep, torch.rand(2, 5, 4, 4), "0", k=1, patches=False)
    assert bare.pictures == ()
    assert (bare.boxes[..., 2:] - bare.boxes[..., :2] == 1).all()
    assert bare.patches[0][0].shape == (0, 0, 3)
    assert bare._repr_png_() is None
    peaks = ChannelPeaks("conv", 1)
    peaks.add(torch.zeros(1, 2, 1, 1), np.zeros(1, np.int64))
    with pytest.raises(OutputError, match="returns 3 channels for some images and 2 for others"):
        peaks.add(torch.zeros(1, 3, 1, 1), np.zeros(1, np.int64))


@pytest.mark.parametrize("make", [lambda: setting("branches"), lambda: setting("any size")])
def test_saved_and_shown(make: Callable[[], Any], tmp_path: Path) -> None:
    net, images, layers = make()
    for number, (layer, one) in enumerate(cv.top_patches(net, images, layers, k=4).items()):
        assert cv.load_result(one.save(tmp_path / f"{number}.npz")) == one
        picture = np.asarray(Image.open(io.BytesIO(one._repr_png_())))
        channels = len(one.channels)
        height, width = (one.boxes[..., 2:] - one.boxes[..., :2]).reshape(-1, 2).max(axis=0)
        scale = (picture.shape[1] - 3 * 2) // 4 // width
        assert picture.shape == (channels * (height * scale + 2) - 2, 4 * (width * scale + 2) - 2, 3)
        # The tile of the second channel's third patch, unless it is cut off at a border.
        patch = one.patches[1][2]
        if patch.shape[:2] == (height, width):
            tile = picture[height * scale + 2 :, 2 * (width * scale + 2) :]
            assert (tile[: height * scale : scale, : width * scale : scale] == patch).all()
        assert repr(layer) in repr(one)
