"""Pixels moved: pads, shifts and linear maps, as one resampling where that gives the same picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Move: TypeAlias = "int | tuple[int, int] | Tensor"
"""A border of so many pixels; a shift down and to the right; or where a point of the new picture was in the old one,
2 x 2 in pixels (x, y) from the middle. What comes in is 0."""


def moved(x: Tensor, moves: Sequence[Move], size: tuple[int, int]) -> Tensor:
    """Return a batch [N, C, H, W] after some moves, cut or extended to a size about the middle.

    Linear maps that follow each other are one resampling. Moves that lose nothing of what ends up inside are one with
    it: the picture is the same but for rounding, in one pass instead of several.
    """
    spare = [(now - then) / 2 for now, then in zip(x.shape[2:], size, strict=True)]
    together = _composed(moves, min(spare)) if all(each.is_integer() for each in spare) else None
    if together is not None:
        return resampled(x, *together, size)
    for each in merged(moves):
        if isinstance(each, Tensor):
            x = resampled(x, each)
        else:
            x = functional.pad(x, (each,) * 4) if isinstance(each, int) else shifted(x, *each)
    above, left = ((now - then) // 2 for now, then in zip(x.shape[2:], size, strict=True))
    return x[:, :, above : above + size[0], left : left + size[1]]


def _composed(moves: Sequence[Move], spare: float) -> tuple[Tensor, tuple[float, float]] | None:
    """Return moves as one linear map and where it takes the middle (x, y), if they lose nothing that counts.

    Before the map, the border must take all that is shifted. After it, what shifts bring in from outside, which is 0
    in place of what was cut off there, must stay outside of the picture.
    """
    matrix: Tensor | None = None
    border, lost = 0, 0
    before, after = [0, 0], [0, 0]
    for each in merged(moves):
        if isinstance(each, Tensor):
            if matrix is not None:
                return None  # resampled twice, a picture is blurred twice
            matrix = each
        elif isinstance(each, int):
            border += each if matrix is None else 0
        else:
            shift = before if matrix is None else after
            shift[0], shift[1] = shift[0] + each[1], shift[1] + each[0]
            lost += max(abs(each[0]), abs(each[1])) if matrix is not None else 0
            if max(abs(before[0]), abs(before[1])) > border:
                return None
    if matrix is None or lost > border + spare:
        return None
    (a, b), (c, d) = matrix.tolist()
    right, down = after
    return matrix, (-before[0] - a * right - b * down, -before[1] - c * right - d * down)


def merged(moves: Iterable[Any]) -> Iterator[Any]:
    """Yield moves, of linear maps that follow each other only their product; the next one is asked for when needed."""
    waiting: Tensor | None = None
    for each in moves:
        if isinstance(each, Tensor):
            waiting = each if waiting is None else waiting @ each
            continue
        if waiting is not None:
            yield waiting
            waiting = None
        yield each
    if waiting is not None:
        yield waiting


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """Return a batch shifted by whole pixels."""
    height, width = x.shape[2:]
    reach = max(abs(down), abs(right))
    around = functional.pad(x, (reach,) * 4)
    return around[:, :, reach - down : reach - down + height, reach - right : reach - right + width]


def resampled(
    x: Tensor,
    matrix: Tensor,
    middle: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Return a batch whose points, (x, y) in pixels from its middle, were at ``matrix @ point + middle``; bilinear."""
    images, channels = x.shape[:2]
    height, width = size or (x.shape[2], x.shape[3])
    grid = _grid(x, matrix, middle, (height, width)).to(x)
    if images > 1 or height % 2 or torch.get_num_threads() == 1:
        return functional.grid_sample(x, grid.expand(images, -1, -1, -1), align_corners=False)
    # It spreads over threads by pictures. One picture goes in as two, for its upper and its lower half.
    halves = functional.grid_sample(
        x.expand(2, -1, -1, -1), grid.view(2, height // 2, width, 2), align_corners=False
    )
    # Channels last, which is what convolutions take.
    return halves.permute(0, 2, 3, 1).reshape(1, height, width, channels).permute(0, 3, 1, 2)


def _grid(x: Tensor, matrix: Tensor, middle: tuple[float, float], size: tuple[int, int]) -> Tensor:
    """Return where in a batch each point of a picture was, [1, height, width, 2], as `grid_sample` counts.

    That is from -1 to 1 along each side: what `affine_grid` returns, in a third of the time.
    """
    # In half precision, places would be too coarse.
    dtype = torch.promote_types(x.dtype, torch.float32)
    rows, columns = x.shape[2:]
    down, along = (torch.arange(length, dtype=dtype, device=x.device) - (length - 1) / 2 for length in size)
    found = torch.empty(*size, 2, dtype=dtype, device=x.device)
    for index, (turn, shift, length) in enumerate(zip(matrix.tolist(), middle, (columns, rows), strict=True)):
        start = (down * turn[1] + shift) * (2 / length)
        torch.add(start[:, None], along, alpha=turn[0] * 2 / length, out=found[..., index])
    return found[None]
