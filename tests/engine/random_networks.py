"""Networks drawn at random, and what their units depend on, found by changing every pixel.

The oracle knows nothing of operations or gradients: weights and pixels are positive, so numbers only ever
grow; one pixel after the other is raised beyond everything else there is, so that it wins every maximum; and a
unit that depends on it changes.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def make_monotone(module: nn.Module, seed: int) -> nn.Module:
    """Give the module positive random weights, double precision and evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) + 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.zero_()
    return module


def boxes_by_perturbation(
    function: Callable[[Tensor], Tensor], channels: int, size: tuple[int, int], seed: int = 0
) -> dict[tuple[int, int], tuple[int, int, int, int]]:
    """Return (top, left, bottom, right) by position of a map [N, C, rows, columns]; zeros if nothing is seen."""
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, channels, height, width, generator=generator, dtype=torch.float64) + 1
    images = image.repeat(height * width, 1, 1, 1)
    pixels = torch.arange(height * width)
    images[pixels, :, pixels // width, pixels % width] += 1e12
    with torch.no_grad():
        changed = (function(images) != function(image)).any(1)
    changed = changed.reshape(height, width, *changed.shape[1:])
    boxes = {}
    for row in range(changed.shape[2]):
        for column in range(changed.shape[3]):
            seen = changed[:, :, row, column].nonzero()
            if len(seen):
                (top, left), (bottom, right) = seen.amin(0).tolist(), (seen.amax(0) + 1).tolist()
                boxes[row, column] = (top, left, bottom, right)
            else:
                boxes[row, column] = (0, 0, 0, 0)
    return boxes


class _Concatenation(nn.Module):
    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, relu: nn.Module, in_place: bool) -> None:
        super().__init__()
        self.body, self.relu, self.in_place = body, relu, in_place

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.body(x))
        if self.in_place:
            y += x
        else:
            y = x + y
        return self.relu(y)


class _HalfAndShuffle(nn.Module):
    """As in ShuffleNet: one half of the channels goes through a convolution, then the halves are interleaved."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        y = torch.cat([first, self.body(second)], dim=1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class _WriteIntoParts(nn.Module):
    """Fills a map of zeros part by part, through views."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        y[:, ::2] = self.body(x[:, ::2])
        y[:, 1::2, :-1] = x[:, 1::2, 1:]
        y[:, :, 0] += 1
        return y


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class RandomNetwork(nn.Module):
    """A stack of blocks drawn from a seed: what torchvision's networks are made of, and worse.

    ``name`` of the layer to ask for is ``"body"``; a head that sees everything follows it.
    """

    channels = 4

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.size = (draw.randint(11, 22), draw.randint(11, 22))
        self.image_channels = draw.choice([1, 3])
        self.relu = draw.choice([nn.ReLU(), nn.ReLU(inplace=True), nn.LeakyReLU(0.1), nn.Hardswish()])
        blocks: list[nn.Module] = [
            nn.Conv2d(self.image_channels, self.channels, draw.choice([1, 3, 5]), padding=1)
        ]
        size = self._size_after(blocks)
        for _ in range(draw.randint(2, 5)):
            block = draw.choice(_BLOCKS)(draw, self.channels, self.relu)
            try:
                after = self._size_after([*blocks, block])
            except RuntimeError:  # the map is too small for this block
                continue
            if min(after) >= 1 and max(after) <= 2 * max(size):
                blocks.append(block)
        self.body = nn.Sequential(*blocks)
        self.head = nn.Linear(self.channels, 2)

    def _size_after(self, blocks: list[nn.Module]) -> tuple[int, int]:
        with torch.no_grad():
            y = nn.Sequential(*blocks).eval()(torch.zeros(1, self.image_channels, *self.size))
        return int(y.shape[2]), int(y.shape[3])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.body(x)
        return {"out": self.head(y.mean((2, 3)))}


def _pair(draw: random.Random, low: int, high: int) -> tuple[int, int]:
    return draw.randint(low, high), draw.randint(low, high)


def _convolution(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    groups = draw.choice([1, 1, 2, channels])
    convolution = nn.Conv2d(
        channels, channels, _pair(draw, 1, 4), _pair(draw, 1, 3), _pair(draw, 0, 3), _pair(draw, 1, 2), groups
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(channels), relu)


def _transposed(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    stride = _pair(draw, 1, 2)
    options = {"padding": _pair(draw, 0, 1), "output_padding": draw.randint(0, min(stride) - 1)}
    return nn.ConvTranspose2d(
        channels, channels, _pair(draw, 2, 4), stride, groups=draw.choice([1, 2]), **options
    )


def _same_size(draw: random.Random, channels: int) -> nn.Module:
    kernel = draw.choice([1, 3, 5]), draw.choice([1, 3])
    dilation = draw.choice([1, 2]), draw.choice([1, 2])
    padding = tuple((k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True))
    mode = draw.choice(["zeros", "zeros", "replicate"])
    return nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation, padding_mode=mode)


def _residual(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    return _Residual(_same_size(draw, channels), relu, draw.random() < 0.5)


def _branches(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    pools = [nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.Identity()]
    parts = [_same_size(draw, channels), nn.Sequential(draw.choice(pools), _same_size(draw, channels))]
    parts += [draw.choice(pools)] * draw.randint(0, 1)
    return nn.Sequential(_Concatenation(*parts), nn.Conv2d(len(parts) * channels, channels, 1), relu)


def _pooling(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    kernel = _pair(draw, 1, 3)
    padding = tuple(draw.randint(0, each // 2) for each in kernel)
    kind = draw.choice([nn.MaxPool2d, nn.AvgPool2d])
    return kind(kernel, _pair(draw, 1, 3), padding, ceil_mode=draw.random() < 0.5)


def _enlarged(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    return draw.choice(
        [
            nn.Upsample(scale_factor=(1.5, 2.0), mode="nearest"),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=draw.random() < 0.5),
            _Function(lambda x: F.interpolate(x, size=(7, 9), mode="bilinear")),
            nn.AdaptiveAvgPool2d((5, 3)),
            nn.AdaptiveMaxPool2d((3, 5)),
        ]
    )


def _padded(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    return draw.choice(
        [
            nn.ZeroPad2d((draw.randint(-1, 2), 1, 0, draw.randint(-1, 2))),
            nn.ReflectionPad2d((1, 2, 0, 1)),
            nn.ReplicationPad2d((0, 2, 1, 0)),
            _Function(lambda x: x[:, :, 1:, :-1]),
        ]
    )


def _split(draw: random.Random, channels: int, relu: nn.Module) -> nn.Module:
    kind = draw.choice([_HalfAndShuffle, _WriteIntoParts])
    return kind(_same_size(draw, channels // 2))


_BLOCKS = [_convolution, _convolution, _residual, _residual, _branches, _branches, _pooling, _pooling]
_BLOCKS += [_transposed, _enlarged, _padded, _split]
