"""Networks as lists of layers, and what goes back through them, each layer written out: an oracle without autograd.

Max pooling keeps its switches and adds up where windows overlap; convolutions go back through transposed filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

RELU = "relu"
Layers = Sequence[Any]
"""Of `nn.Conv2d`, `nn.BatchNorm2d`, `nn.MaxPool2d`, `nn.AvgPool2d`, `RELU`, and lists for a residual sum."""

RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "plain": lambda gradient, x: gradient * (x > 0),
    "guided": lambda gradient, x: gradient.clamp(min=0) * (x > 0),
    "deconvnet": lambda gradient, x: gradient.clamp(min=0),
}


def forward(layers: Layers, x: Tensor) -> tuple[Tensor, list[Any]]:
    """Return what the layers make of an image, and what each needs for the way back."""
    trail: list[Any] = []
    for layer in layers:
        if isinstance(layer, list):
            branch, inner = forward(layer, x)
            trail.append(inner)
            x = x + branch
        elif layer == RELU:
            trail.append(x)
            x = x.clamp(min=0)
        elif isinstance(layer, nn.MaxPool2d):
            before = x.shape
            x, switches = functional.max_pool2d(
                x,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                ceil_mode=layer.ceil_mode,
                return_indices=True,
            )
            trail.append((before, switches))
        else:
            trail.append(x.shape)
            x = layer(x)
    return x, trail


def backward(layers: Layers, trail: list[Any], gradient: Tensor, rule: str) -> Tensor:
    """Return what arrives at the image."""
    for layer, kept in zip(reversed(layers), reversed(trail), strict=True):
        if isinstance(layer, list):
            gradient = gradient + backward(layer, kept, gradient, rule)
        elif layer == RELU:
            gradient = RULES[rule](gradient, kept)
        elif isinstance(layer, nn.MaxPool2d):
            gradient = unpooled(gradient, *kept)
        elif isinstance(layer, nn.AvgPool2d):
            gradient = spread(gradient, layer, kept)
        elif isinstance(layer, nn.BatchNorm2d):
            scale = layer.weight / (layer.running_var + layer.eps).sqrt()
            gradient = gradient * scale[:, None, None]
        else:
            gradient = transposed(gradient, layer, kept)
    return gradient


def unpooled(gradient: Tensor, size: torch.Size, switches: Tensor) -> Tensor:
    """Put each value back to where its maximum was; what comes to the same place is added up."""
    planes = torch.zeros(*size[:2], size[2] * size[3], dtype=gradient.dtype)
    for image in range(size[0]):
        for channel in range(size[1]):
            places = switches[image, channel].flatten().tolist()
            for place, value in zip(places, gradient[image, channel].flatten(), strict=True):
                planes[image, channel, place] += value
    return planes.reshape(size)


def spread(gradient: Tensor, layer: nn.AvgPool2d, size: torch.Size) -> Tensor:
    """Give each value in equal parts to all that it was the mean of."""
    assert not layer.padding
    result = torch.zeros(size, dtype=gradient.dtype)
    for row in range(gradient.shape[2]):
        for column in range(gradient.shape[3]):
            top, left = row * layer.stride, column * layer.stride
            window = result[:, :, top : top + layer.kernel_size, left : left + layer.kernel_size]
            # Windows are cut off at the border in ceil mode.
            window += (gradient[:, :, row, column] / window[0, 0].numel())[:, :, None, None]
    return result


def transposed(gradient: Tensor, layer: nn.Conv2d, size: torch.Size) -> Tensor:
    """Send a gradient back through the transposed filters of a convolution."""
    lost = [
        (size[axis + 2] + 2 * layer.padding[axis] - layer.kernel_size[axis]) % layer.stride[axis]
        for axis in (0, 1)
    ]
    return functional.conv_transpose2d(
        gradient,
        layer.weight,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=lost,
        groups=layer.groups,
    )


STYLES = (
    "module",
    "in-place module",
    "reused",
    "function",
    "in-place function",
    "method",
    "in-place method",
    "view",
)


class Written(nn.Module):
    """The same layers as a module that rectifies in one of the ways people write it."""

    def __init__(self, layers: Layers, style: str) -> None:
        super().__init__()
        self.style = style
        self.order: list[Any] = []
        self.parts = nn.ModuleList()
        self.shared = nn.ReLU(inplace=True)
        for layer in layers:
            if isinstance(layer, list):
                layer = Written(layer, style)
            elif layer == RELU and "module" in style:
                layer = nn.ReLU(inplace="in-place" in style)
            if isinstance(layer, nn.Module):
                self.parts.append(layer)
            self.order.append(layer if isinstance(layer, str) else len(self.parts) - 1)

    def rectify(self, x: Tensor) -> Tensor:
        if self.style == "reused":
            return self.shared(x)
        if self.style in ("function", "in-place function"):
            return functional.relu(x, inplace="in-place" in self.style)
        if self.style == "method":
            return x.clamp(min=0)
        if self.style == "in-place method":
            x.relu_()  # and goes on with its own name for it
            return x
        for part in (x[:, :2], x[:, 2:]):
            part.relu_()
        return x

    def forward(self, x: Tensor) -> Tensor:
        for which in self.order:
            if which == RELU:
                x = self.rectify(x)
            else:
                layer = self.parts[which]
                x = x + layer(x) if isinstance(layer, Written) else layer(x)
        return x


def _norm(channels: int) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(channels)
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for each in (layer.weight, layer.bias, layer.running_mean):
            each.copy_(torch.randn(channels, generator=draw))
        layer.running_var.copy_(torch.rand(channels, generator=draw) + 0.5)
    return layer.eval()


def networks() -> dict[str, list[Any]]:
    """Return small networks for images 3 x 19 x 22, the last layer a convolution."""
    torch.manual_seed(0)
    conv, pool = nn.Conv2d, nn.MaxPool2d
    found: dict[str, list[Any]] = {
        "overlapping pools": [
            *(conv(3, 6, 3, padding=1), RELU, pool(3, 2)),
            *(conv(6, 6, 3, padding=1), RELU, pool(3, 2), conv(6, 4, 3)),
        ],
        "ceil mode": [
            *(conv(3, 6, 3), RELU, pool(3, 2, ceil_mode=True), conv(6, 5, 3, padding=1)),
            *(RELU, pool(2, 2, ceil_mode=True), conv(5, 4, 2)),
        ],
        "padded pool": [conv(3, 6, 5, stride=2, padding=2), RELU, pool(3, 2, 1), conv(6, 4, 3, padding=1)],
        "batch norm": [
            *(conv(3, 6, 3, bias=False), _norm(6), RELU, pool(3, 2), conv(6, 6, 3, groups=2)),
            *(_norm(6), RELU, conv(6, 4, 1)),
        ],
        "average pool": [
            *(conv(3, 6, 3), RELU, nn.AvgPool2d(3, 2), conv(6, 6, 3), RELU),
            *(nn.AvgPool2d(2, 2, ceil_mode=True), conv(6, 4, 1)),
        ],
        "residual sum": [
            *(
                conv(3, 6, 3),
                RELU,
                [conv(6, 6, 3, padding=1), _norm(6), RELU, conv(6, 6, 3, padding=1)],
                RELU,
            ),
            *([conv(6, 6, 1)], RELU, pool(3, 2), conv(6, 4, 3)),
        ],
    }
    with torch.no_grad():
        for layer in (each for layers in found.values() for each in layers if isinstance(each, nn.Conv2d)):
            layer.weight.mul_(2.0)
    return found


NETWORKS = networks()
IMAGE = torch.randn(2, 3, 19, 22, generator=torch.Generator().manual_seed(5))
