"""3 x 3 convolutions of many channels by Winograd's minimal filtering, F(4 x 4, 3 x 3).

Four outputs along an axis take 6 multiplications in place of 12, so 4 x 4 outputs take 36 in place of 144 (Lavin and
Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016). The result is the same but for rounding, which
is a few times that of the plain sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cnnviz_widgets.engine.incremental_record import Node

TILE = 4
READS = TILE + 2
_INPUT = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_KERNEL = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_OUTPUT = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
# What a number moved or transformed costs, in multiplications of a convolution: measured on two kinds of CPU cores.
_COST_IN, _COST_OUT = 160, 100


def fits(node: Node) -> bool:
    """Return whether a convolution is of that kind."""
    given = node.arguments
    return (
        node.name == "convolution"
        and not given["transposed"]
        and tuple(given["weight"].shape[2:]) == (3, 3)
        and all(list(given[name]) == [1, 1] for name in ("stride", "dilation"))
        and given["groups"] == 1
        and given["weight"].dtype == torch.float32
        and given["weight"].device.type == "cpu"
    )


def tiles(length: int) -> int:
    """Return how many tiles cover that many outputs along an axis."""
    return -(-length // TILE)


def work(node: Node, count: float) -> float:
    """Return what so many tiles cost, in multiplications of a convolution."""
    outputs, inputs = node.arguments["weight"].shape[:2]
    return count * float(READS**2 * (inputs * outputs + _COST_IN * inputs + _COST_OUT * outputs))


def transformed(weight: Tensor) -> Tensor:
    """Return kernels [O, I, 3, 3] as Winograd's [36, I, O]."""
    outputs, inputs = weight.shape[:2]
    columns = torch.tensor(_KERNEL, dtype=torch.float64)
    kernel = torch.kron(columns, columns).to(weight)
    return (kernel @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(-1, inputs, outputs)


def convolved(patch: Tensor, weight: Tensor, bias: Tensor | None, rows: int, columns: int) -> Tensor:
    """Return the convolution of patches [N, I, 4 a + 2, 4 b + 2] with transformed kernels, cut to rows x columns."""
    count, inputs, height, width = patch.shape
    down, along = (height - 2) // TILE, (width - 2) // TILE
    before, after = (torch.tensor(each, dtype=patch.dtype) for each in (_INPUT, _OUTPUT))
    tiled = patch.permute(0, 2, 3, 1).unfold(1, READS, TILE).unfold(2, READS, TILE).permute(4, 5, 0, 1, 2, 3)
    values = (torch.kron(before, before) @ tiled.reshape(READS**2, -1)).view(READS**2, -1, inputs)
    products = torch.bmm(values, weight).view(READS**2, -1)
    outputs = (torch.kron(after, after) @ products).view(TILE, TILE, count, down, along, -1)
    maps = outputs.permute(2, 3, 0, 4, 1, 5).reshape(count, down * TILE, along * TILE, -1)
    maps = maps[:, :rows, :columns]
    maps = maps.contiguous() if bias is None else maps + bias
    return maps.permute(0, 3, 1, 2)
