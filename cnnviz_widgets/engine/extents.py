"""Which window of the image each number of a tensor depends on, and how windows combine.

Beside a tensor of shape S, ten tensors of shape S are kept, its *planes*. Each grows as the window grows and
is 0 where a number depends on no pixel. The window of a number computed from several others is therefore the
element-wise maximum of theirs, plane by plane, whatever the operation was.

Planes 0 to 3 are the exact window, cut off at the border of an image of height H and width W::

    H - top,  bottom,  W - left,  right

Planes 4 to 7 are the *free* window, which pretends that the image goes on behind its border (padding then
shows pixels like any others); `FAR` keeps them positive. An infinite one marks a unit that sees every row
(or column) of the image however large that is::

    FAR - top,  FAR + bottom,  FAR - left,  FAR + right

Planes 8 and 9 are the steps: by how many pixels the window moves from one row (column) of the map to the next.

Planes are constant along most axes (a top edge along columns and channels). They are held expanded, that is
with stride 0, and every function here computes on the compact form: that makes them cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor

Planes: TypeAlias = tuple[Tensor, ...]

CLIPPED = ((0, 1), (2, 3))
"""The planes of the exact window, of rows and of columns."""
FREE = ((4, 5), (6, 7))
STEP = (8, 9)
FAR = float(2**24)


def image_planes(channels: int, size: tuple[int, int]) -> Planes:
    """Return the planes of the image itself, [1, C, H, W]: each pixel depends on itself."""
    shape = (1, channels, *size)
    planes: list[Tensor] = []
    free: list[Tensor] = []
    for axis, length in enumerate(size):
        first = torch.arange(length, dtype=torch.float64)
        first = first[:, None] if axis == 0 else first
        planes += [length - first, first + 1]
        free += [FAR - first, FAR + first + 1]
    steps = [torch.ones((), dtype=torch.float64)] * 2
    return tuple(plane.expand(shape) for plane in (*planes, *free, *steps))


def nothing(shape: Sequence[int]) -> Planes:
    """Return the planes of constants: they depend on no pixel."""
    return (torch.zeros((), dtype=torch.float64).expand(tuple(shape)),) * 10


def compact(plane: Tensor, keep: int | None = None) -> Tensor:
    """Return the plane with length 1 along every axis (but ``keep``) on which it is held only once."""
    for axis, (length, stride) in enumerate(zip(plane.shape, plane.stride(), strict=True)):
        if length > 1 and stride == 0 and axis != keep:
            plane = plane.narrow(axis, 0, 1)
    return plane


def union(operands: Sequence[Planes], shape: Sequence[int]) -> Planes:
    """Return the planes of numbers that depend on all operands, which broadcast to ``shape``."""
    compacted = [[compact(plane) for plane in planes] for planes in operands]
    return tuple(reduce(torch.maximum, same).expand(tuple(shape)) for same in zip(*compacted, strict=True))


def mix(planes: Planes, axes: Sequence[int], size: tuple[int, int]) -> Planes:
    """Return, with length 1 along ``axes``, the planes of numbers that depend on everything along them.

    Where that joins different windows into one that spans the image, it would do so at any image size (a
    mean over the map, a fully connected layer): the free window becomes infinite.
    """
    axes = tuple(axis % planes[0].ndim for axis in axes)
    whole = [compact(plane).amax(axes, keepdim=True) for plane in planes]
    for (first, last), (near, far), length in zip(CLIPPED, FREE, size, strict=True):
        spans = (whole[first] == length) & (whole[last] == length)
        # If one of them holds all the others, nothing was joined along the image.
        holds_all = (compact(planes[near]) == whole[near]) & (compact(planes[far]) == whole[far])
        infinite = (spans & ~holds_all.any(axes, keepdim=True)) | whole[near].isinf()
        whole[near] = torch.where(infinite, torch.inf, whole[near])
        whole[far] = torch.where(infinite, torch.inf, whole[far])
    shape = [1 if axis in axes else length for axis, length in enumerate(planes[0].shape)]
    return tuple(plane.expand(shape) for plane in whole)


@dataclass(frozen=True)
class Windows:
    """Which positions of one axis of a map each position of the result depends on.

    Attributes
    ----------
    positions
        [results, taps] of whole numbers; those outside 0 ... length - 1 are padding.
    exists
        [results, taps]: false where a window has fewer taps than others.
    step
        How many positions of the map lie between neighboring results.
    """

    positions: Tensor
    exists: Tensor
    step: float

    @classmethod
    def sliding(cls, results: int, kernel: int, stride: int, padding: int, dilation: int) -> Windows:
        """Return the windows of a convolution or pooling: result o sees o * stride - padding + k * dilation."""
        first = torch.arange(results)[:, None] * stride - padding
        positions = first + torch.arange(kernel)[None, :] * dilation
        return cls(positions, torch.ones_like(positions, dtype=torch.bool), float(stride))

    @classmethod
    def transposed(cls, results: int, kernel: int, stride: int, padding: int, dilation: int) -> Windows:
        """Return the windows of a transposed convolution: input i reaches i * stride - padding + k * dilation."""
        reached = torch.arange(results)[:, None] + padding - torch.arange(kernel)[None, :] * dilation
        return cls(reached.div(stride, rounding_mode="floor"), reached % stride == 0, 1 / stride)

    @classmethod
    def adaptive(cls, results: int, length: int) -> Windows:
        """Return the windows of adaptive pooling: result o sees floor(o L / R) up to ceil((o + 1) L / R)."""
        first = torch.arange(results) * length // results
        last = -(-(torch.arange(results) + 1) * length // results)
        positions = first[:, None] + torch.arange(int((last - first).max()))[None, :]
        return cls(positions, positions < last[:, None], length / results)

    @classmethod
    def from_weights(cls, weights: Tensor, step: float) -> Windows:
        """Return the windows of a linear map [results, length]: where its weights are not zero."""
        taps = max(int((weights != 0).sum(1).max()), 1)
        found, positions = (weights != 0).to(torch.int8).sort(dim=1, descending=True, stable=True)
        return cls(positions[:, :taps], found[:, :taps].bool(), step)

    @classmethod
    def shifted(cls, positions: Tensor) -> Windows:
        """Return windows of one tap each: result o is a copy of position ``positions[o]``."""
        return cls(positions[:, None], torch.ones_like(positions[:, None], dtype=torch.bool), 1.0)


def slide(planes: Planes, dim: int, windows: Windows, axis: int | None) -> Planes:
    """Return the planes of a map whose position o along ``dim`` depends on ``windows.positions[o]``.

    ``axis`` is 0 if ``dim`` counts rows of the map, 1 for columns, ``None`` for neither. Padding is no pixel
    to the exact window; the free one goes on over it by the map's step.
    """
    dim, length = dim % planes[0].ndim, planes[0].shape[dim]
    positions, exists = windows.positions, windows.exists
    inside = positions.clamp(0, length - 1)
    # A window with not one tap on the map sees nothing at all: that empties its other planes, too.
    on_map = exists & (positions == inside)
    if axis is None:
        return tuple(_slide_plane(plane, dim, inside, on_map) for plane in planes)
    step = float(planes[STEP[axis]].max())
    alike = _alike(positions, length, step)
    growth = (positions - alike) * step
    result = [_slide_plane(plane, dim, inside, on_map) for plane in planes[: FREE[0][0]]]
    result += [_slide_plane(plane, dim, inside, exists) for plane in planes[FREE[0][0] :]]
    for plane, sign in zip(FREE[axis], (-1, 1), strict=True):
        result[plane] = _slide_plane(planes[plane], dim, alike, exists, sign * growth)
    result[STEP[axis]] = result[STEP[axis]] * windows.step
    return tuple(result)


def _alike(positions: Tensor, length: int, step: float) -> Tensor:
    """Return, for positions beyond the edges of a map, the nearest one on it with a window of the same form.

    After a transposed convolution with stride 2, say, windows repeat only every second position.
    """
    period = Fraction(step).limit_denominator(64).denominator
    period = period if period <= length else 1
    before = positions % period
    after = length - 1 - (length - 1 - positions) % period
    return torch.where(positions < 0, before, torch.where(positions >= length, after, positions))


def _slide_plane(
    plane: Tensor, dim: int, positions: Tensor, exists: Tensor, growth: Tensor | None = None
) -> Tensor:
    """Return the maximum over the taps of each window, each grown by ``growth`` [results, taps]."""
    shape = list(plane.shape)
    shape[dim] = len(positions)
    grows = growth is not None and bool(growth.any())
    if compact(plane).shape[dim] == 1 and not grows and bool(exists.any(1).all()):
        # The same everywhere along this axis, and no window is empty: nothing changes.
        return plane.narrow(dim, 0, 1).expand(shape)
    source = compact(plane, keep=dim)
    along = [-1 if each == dim else 1 for each in range(plane.ndim)]
    result = torch.zeros((), dtype=plane.dtype)
    for tap in range(positions.shape[1]):
        values = source.index_select(dim, positions[:, tap])
        seen = exists[:, tap].reshape(along) & (values > 0)
        if growth is not None and grows:
            values = values + growth[:, tap].reshape(along)
        result = torch.maximum(result, torch.where(seen, values, 0.0))
    return _folded(result).expand(shape)


def _folded(plane: Tensor) -> Tensor:
    """Return the plane with length 1 along every axis on which it turns out to be constant."""
    for axis, length in enumerate(plane.shape):
        if length > 1:
            first = plane.narrow(axis, 0, 1)
            # Most planes that vary do so at once, and comparing two slices tells.
            alike = torch.equal(first, plane.narrow(axis, length // 2, 1)) and bool((plane == first).all())
            plane = first if alike else plane
    return plane
