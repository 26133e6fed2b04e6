"""Networks drawn at random from a seed, made of every habit that makes it hard to look into a network.

>>> network = RandomNetwork(3)
>>> scores = main_of(network(network.example()))

Used with ``@pytest.mark.parametrize("seed", SEEDS)`` or hypothesis (``given(st.integers(0, 10**6))``). Two
networks of one seed are equal. Weights, statistics and training flags are drawn as well; the global random
states are left alone. With ``smooth=True`` nothing in it has a kink, so that finite differences tell the
gradient.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SEEDS = range(40)
CHANNELS = 6


class Pair(NamedTuple):
    """What a layer with two results may return."""

    maps: Tensor
    mean: Tensor


@dataclass
class Maps:
    """Another thing a layer may return."""

    out: Tensor
    count: int


class Draw(random.Random):
    """A source of choices, with what the whole network has in common."""

    def __init__(self, seed: int, smooth: bool) -> None:
        super().__init__(seed)
        self.smooth = smooth
        self.shared = self.activation(inplace=False)

    def activation(self, inplace: bool) -> nn.Module:
        """Return an activation function as a module."""
        kinds = [nn.ELU(inplace=inplace), nn.SiLU(inplace)]
        return self.choice(kinds if self.smooth else [*kinds, nn.ReLU(inplace), nn.LeakyReLU(0.2, inplace)])

    def pool(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Return a pool over maxima or means."""
        return self.choice([nn.AvgPool2d] if self.smooth else [nn.AvgPool2d, nn.MaxPool2d])(*args, **kwargs)


class Rectifier(nn.Module):
    """Rectifies in one of the ways people write it; a module of its own only in some of them."""

    WAYS = (
        "shared",
        "module",
        "in-place module",
        "ignored result",
        "function",
        "function in-place",
        "method",
    )

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.smooth = draw.smooth
        self.way = draw.choice(self.WAYS)
        if self.way == "shared":
            self.relu = draw.shared
        elif self.way in ("module", "in-place module", "ignored result"):
            self.relu = draw.activation(inplace=self.way != "module")

    def forward(self, x: Tensor) -> Tensor:
        if self.way in ("shared", "module", "in-place module"):
            return self.relu(x)
        if self.way == "ignored result":
            self.relu(x)
            return x
        if self.way == "method":
            return x.tanh_() if self.smooth else x.relu_()
        function = functional.elu if self.smooth else functional.relu
        return function(x, inplace=self.way == "function in-place")


class Block(nn.Module):
    """Convolution, perhaps batch norm and dropout, rectifier, in this order or with a residual."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.conv = convolution(draw)
        self.norm = draw.choice([nn.BatchNorm2d(CHANNELS), nn.GroupNorm(2, CHANNELS), nn.Identity()])
        self.drop = draw.choice([nn.Dropout(0.5), nn.Identity(), nn.Dropout2d(0.3, inplace=True)])
        self.rectify = Rectifier(draw)
        self.residual = draw.choice(["none", "none", "add", "in-place", "method"])

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(self.conv(x)))
        if self.residual != "none" and y.shape == x.shape:
            if self.residual == "add":
                y = y + x
            elif self.residual == "in-place":
                y += x
            else:
                y = y.add_(x, alpha=0.5)
        return self.rectify(y)


class Branches(nn.Module):
    """Several ways side by side, concatenated, or summed into the first."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.ways = nn.ModuleList([same_size(draw), nn.Sequential(same_size(draw), Rectifier(draw))])
        if draw.random() < 0.5:
            self.ways.append(draw.choice([draw.pool(3, 1, 1), nn.Identity()]))
        self.joined = draw.choice(["cat", "sum", "written"])
        self.mix = (
            nn.Conv2d(CHANNELS * len(self.ways), CHANNELS, 1) if self.joined == "cat" else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        results = [way(x) for way in self.ways]
        if self.joined == "cat":
            return self.mix(torch.cat(results, dim=1))
        if self.joined == "sum":
            total = results[0]
            for each in results[1:]:
                total += each
            return self.mix(total)
        total = torch.zeros_like(results[0])
        for index, each in enumerate(results):
            total[:, index :: len(results)] = each[:, index :: len(results)]
        return self.mix(total)


class Nested(nn.Module):
    """A layer that returns a nest, whose reader changes what it got."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.inner = Nest(draw)

    def forward(self, x: Tensor) -> Tensor:
        found = self.inner(x)
        if isinstance(found, dict):
            found["out"] = found["out"].sigmoid_()
            found["more"] = x
            return found["out"]
        if isinstance(found, list):
            found.append(x)
            found[0] = found[0] * 2
            return found[0]
        return found.out if isinstance(found, Maps) else found[0] * torch.sigmoid(found[1])


class Nest(nn.Module):
    """Returns a tuple, named tuple, list, dict, ordered dict or dataclass."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.conv = same_size(draw)
        self.kind = draw.choice(["tuple", "named tuple", "list", "dict", "ordered dict", "dataclass"])

    def forward(self, x: Tensor) -> Any:
        maps = self.conv(x)
        mean = maps.mean((2, 3), keepdim=True)
        if self.kind == "dict":
            return {"out": maps, "mean": mean, "nothing": None}
        if self.kind == "ordered dict":
            return OrderedDict(out=maps, mean=[mean])
        if self.kind == "dataclass":
            return Maps(maps, 3)
        if self.kind == "named tuple":
            return Pair(maps, mean)
        return [maps, mean] if self.kind == "list" else (maps, mean, "text")


class Pieces(nn.Module):
    """Changes parts of what a layer returned, through slices and views of it."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.conv = same_size(draw)
        self.look = Look(draw.choice(["half", "all", "flat"]))
        self.way = draw.choice(["slice", "view", "looked at", "written row"])

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.way == "slice":
            y[:, ::2] = y[:, ::2] * 0.5
        elif self.way == "view":
            y.view(y.shape[0], -1).mul_(0.9)
        elif self.way == "looked at":
            self.look(y).sigmoid_()
        else:
            y[:, :, 0] += 0.3
        return y


class Look(nn.Module):
    """Returns the memory it was given, seen in another way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "half":
            return x[:, : x.shape[1] // 2]
        return x.view(len(x), -1) if self.way == "flat" else x


class Repeated(nn.Module):
    """One layer under two names, and one rectifier that is used three times."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.conv = same_size(draw)
        self.again = self.conv
        self.relu = draw.activation(inplace=draw.random() < 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.again(self.relu(self.conv(self.relu(x * 1.0)))))


class Looped(nn.Module):
    """Repeats a layer until the map is small: how often hangs on the size of the image."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self.pool = draw.pool(2, ceil_mode=True)
        self.conv = same_size(draw)

    def forward(self, x: Tensor) -> Tensor:
        while x.shape[-1] > 5:
            x = self.conv(self.pool(x)).sigmoid_()
        return x


class RandomNetwork(nn.Module):
    """A random network of 4 classes over images of ``channels`` and ``size``, 13 to 18 rows and columns."""

    def __init__(self, seed: int, *, smooth: bool = False) -> None:
        super().__init__()
        draw = Draw(seed, smooth)
        self.channels = draw.choice([1, 3])
        self.size = (draw.randint(13, 18), draw.randint(13, 18))
        self.returns = draw.choice(["tensor", "tensor", "tuple", "dict"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            begin = [draw.activation(inplace=True)] if draw.random() < 0.3 else []
            self.stem = nn.Sequential(*begin, nn.Conv2d(self.channels, CHANNELS, 3, padding=2), draw.shared)
            self.body = nn.Sequential(*(_block(draw) for _ in range(draw.randint(2, 4))))
            self.pool = nn.AdaptiveAvgPool2d(2) if smooth or draw.random() < 0.5 else nn.AdaptiveMaxPool2d(2)
            self.drop = nn.Dropout(0.5, inplace=draw.random() < 0.5)
            self.head = nn.Linear(4 * CHANNELS, 4)
            self.unused = nn.Linear(2, 2)
            _draw_weights_and_flags(self, draw)

    def example(self, images: int = 2) -> Tensor:
        """Return a batch of images, always the same."""
        generator = torch.Generator().manual_seed(7)
        return torch.randn(images, self.channels, *self.size, generator=generator)

    def forward(self, x: Tensor) -> Any:
        maps = self.body(self.stem(x))
        scores = self.head(self.drop(self.pool(maps).flatten(1)))
        if self.returns == "tensor":
            return scores
        return {"out": scores, "maps": maps} if self.returns == "dict" else (scores, [maps])


def _block(draw: Draw) -> nn.Module:
    kinds = [Block, Block, deep_blocks, Branches, Nested, Pieces, Repeated, Looped, pooling]
    kind: Callable[[Draw], nn.Module] = draw.choice(kinds)
    return kind(draw)


def deep_blocks(draw: Draw) -> nn.Module:
    """Return two blocks, one deeper than the other."""
    return nn.Sequential(Block(draw), nn.Sequential(OrderedDict(deep=Block(draw))))


def convolution(draw: Draw) -> nn.Conv2d:
    """Return a convolution with any kernel, stride, dilation and number of groups."""
    kernel = (draw.randint(1, 3), draw.randint(1, 3))
    return nn.Conv2d(
        CHANNELS,
        CHANNELS,
        kernel,
        stride=(draw.choice([1, 1, 2]), draw.choice([1, 1, 2])),
        padding=(draw.randint(1, 3), draw.randint(1, 3)),
        dilation=(draw.choice([1, 1, 2]), draw.choice([1, 1, 2])),
        groups=draw.choice([1, 1, 2, CHANNELS]),
        bias=draw.random() < 0.7,
    )


def same_size(draw: Draw) -> nn.Conv2d:
    """Return a convolution that keeps the size of the map."""
    kernel = (draw.choice([1, 3]), draw.choice([1, 3, 5]))
    padding = (kernel[0] // 2, kernel[1] // 2)
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=padding, groups=draw.choice([1, 1, 2, CHANNELS]))


def pooling(draw: Draw) -> nn.Module:
    """Return a maximum or mean pool."""
    size = (2, draw.choice([2, 3]))
    return draw.pool(size, stride=(draw.choice([1, 2]), 2), padding=1, ceil_mode=draw.random() < 0.5)


def _draw_weights_and_flags(module: nn.Module, draw: random.Random) -> None:
    for each in module.modules():
        each.training = draw.random() < 0.5
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.weight, 1.0, 0.3)
            nn.init.normal_(each.bias, 0.0, 0.3)
            nn.init.normal_(each.running_mean, 0.0, 0.3)
            nn.init.uniform_(each.running_var, 0.5, 2.0)


def slow_values(module: nn.Module, x: Tensor) -> dict[tuple[str, int], Any]:
    """Return what every call of every layer returns, by ``(name, call)``: the oracle for captured values.

    A copy of the module, in evaluation mode; every value is cloned the moment it is returned.
    """
    copied = deepcopy(module).eval()
    values: dict[tuple[str, int], Any] = {}
    for name, each in copied.named_modules():
        if name:
            each.register_forward_hook(_collector(values, name))
    with torch.no_grad():
        copied(x.clone())
    return values


def _collector(values: dict[tuple[str, int], Any], name: str) -> Any:
    def collect(module: nn.Module, arguments: Any, output: Any) -> None:
        call = sum(known == name for known, _ in values)
        values[name, call] = cloned(output)

    return collect


def main_of(value: Any) -> Tensor:
    """Return the tensor that counts in what a network or a layer of this file returns."""
    if isinstance(value, Maps):
        return value.out
    if isinstance(value, dict):
        return value["out"]
    return value if isinstance(value, Tensor) else value[0]


def cloned(value: Any) -> Any:
    """Return a nest with copies of its tensors (spelled out for each kind of nest there is here)."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Pair):
        return Pair(value.maps.detach().clone(), value.mean.detach().clone())
    if isinstance(value, Maps):
        return Maps(value.out.detach().clone(), value.count)
    if isinstance(value, OrderedDict):
        return OrderedDict((key, cloned(each)) for key, each in value.items())
    if isinstance(value, dict):
        return {key: cloned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(cloned(each) for each in value)
    return value


def leaves(value: Any) -> Iterator[Any]:
    """Yield what is in a nest, in order."""
    if isinstance(value, Maps):
        value = (value.out, value.count)
    if isinstance(value, dict):
        value = [item for pair in value.items() for item in pair]
    if isinstance(value, list | tuple):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def assert_same(got: Any, expected: Any, where: object = "", **tolerance: float) -> None:
    """Compare two nests: kinds, keys, plain values, and tensors (bit by bit unless a tolerance is given)."""
    assert type(got) is type(expected), where
    ours, theirs = list(leaves(got)), list(leaves(expected))
    assert len(ours) == len(theirs), where
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, Tensor):
            options = tolerance or {"rtol": 0.0, "atol": 0.0}
            torch.testing.assert_close(one, other, **options, msg=lambda text: f"{where}: {text}")
        else:
            assert one == other, where
