"""Which window of the image a unit looks at: exact boxes, and size, stride and offset of a layer."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, SupportsIndex

import numpy as np
import torch

from cnnviz_widgets.engine.capture import apart, capture
from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.extent_memory import Untraceable
from cnnviz_widgets.engine.extents import Planes
from cnnviz_widgets.engine.field_memory import module_state
from cnnviz_widgets.engine.gradient_support import Edges, GradientProbe
from cnnviz_widgets.engine.layers import LayerKey, split_key
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.tracing import trace
from cnnviz_widgets.engine.window_frames import (
    Frame,
    WindowTable,
    frames_of_planes,
    measured_frames,
    spatial_size,
    window_table,
)

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


@dataclass(frozen=True)
class Box:
    """A window of an image: ``image[top:bottom, left:right]``.

    Examples
    --------
    >>> box = Box(top=0, left=2, bottom=5, right=6)
    >>> box.height, box.width
    (5, 4)
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window as an index: ``image[box.slices]``."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class ReceptiveField:
    """The window of the image that each unit of a layer looks at. Made by `receptive_field`.

    The window of the unit at (row, column) of the map, before it is cut off at the border of the image, has

    - ``size[0]`` rows, from ``offset[0] + row * stride[0]``, and
    - ``size[1]`` columns, from ``offset[1] + column * stride[1]``.

    `box` gives the exact window within the image. Away from the border the two are the same. Near it `box` may
    be smaller than what is cut off that one, because a unit sees a part of its window through padding only; and
    where padding repeats or mirrors the image, it sees a few pixels of that instead.

    Attributes
    ----------
    size
        Height and width in pixels. They do not depend on the image's size, and may be larger than it. Where
        units see every row (or column) of the image however large it is, after a global pooling or in a fully
        connected layer, it is the image's height (width), with stride and offset 0.
    stride
        By how many pixels the window moves from one row (column) of the map to the next; a fraction where a
        network enlarges its maps beyond the image.
    offset
        Top and left of the window of unit (0, 0); negative where it begins outside of the image. Where the
        windows of a layer do not follow each other regularly (after an adaptive pooling to a size that does
        not divide the map's, or a transposed convolution), ``size`` and ``offset`` are those of the smallest
        regular windows that hold them.
    method
        ``"analytic"``: computed from the operations. ``"gradient"``: found from gradients, see `reason`.
    image_size
        Height and width of the images for which `box` holds.
    map_size
        Height and width of the layer's map; ``None`` where its output has no spatial axes.
    layer
        The layer.
    reason
        Why the operations could not be followed. Where they could, which module makes units see the whole image,
        such as the global pooling in a squeeze-and-excitation block; ``None`` where none does.
    """

    size: tuple[int, int]
    stride: tuple[int | float, int | float]
    offset: tuple[int, int]
    method: Literal["analytic", "gradient"]
    image_size: tuple[int, int]
    map_size: tuple[int, int] | None
    layer: LayerKey
    reason: str | None = None
    _edges: Callable[[int | None, int | None], Edges | None] = field(
        default_factory=lambda: WindowTable(np.zeros(4, np.int64)), repr=False, compare=False
    )

    def box(self, row: SupportsIndex | None = None, column: SupportsIndex | None = None) -> Box:
        """Return the smallest window outside of which no pixel can ever change the unit.

        Parameters
        ----------
        row, column
            Position in the layer's map, from 0; both left out for a layer without spatial axes, all of whose
            units are then taken together.

        Returns
        -------
        Box
            The window, within the image. Empty (height and width 0) for a unit that sees nothing but padding.

        Raises
        ------
        TargetError
            The position is outside of the map, or is missing, or the layer has no positions.
        """
        if self.map_size is None:
            if row is not None or column is not None:
                raise TargetError(f"layer {self.layer!r} has no spatial axes; call .box() without a position")
            return _box(self._edges(None, None))
        height, width = self.map_size
        if row is None or column is None:
            raise TargetError(f"layer {self.layer!r} has a map of {height} x {width}: call .box(row, column)")
        position = operator.index(row), operator.index(column)
        if not (0 <= position[0] < height and 0 <= position[1] < width):
            raise TargetError(
                f"position {position} is outside of layer {self.layer!r}: its map has {height} rows and "
                f"{width} columns, counted from 0"
            )
        return _box(self._edges(*position))


def receptive_field(
    net: Network,
    layer: LayerKey,
    *,
    image_size: int | tuple[int, int] | None = None,
    method: Literal["analytic", "gradient"] | None = None,
) -> ReceptiveField:
    """See which window of the image each unit of a layer looks at, exactly.

    The network is run once, and beside every tensor is carried which window of the image each of its numbers
    depends on; whatever modules, functions and branches the network is written with. The window of a number
    is the smallest one that holds the windows of all numbers it was computed from, which for a chain of
    convolutions and poolings gives the formulas of [1]_. Where an operation on the way is not known, or looks
    at the numbers themselves, windows are found from gradients: those of a private copy with random positive
    weights, in which nothing cancels and no unit is off. Both ways give the same windows.

    Windows hold for weights in general: that some weights are zero, or cancel, makes none smaller. If the
    network branches on the numbers it computes, they hold for the branches that some random images take.

    The last fields are remembered with the network until its module is changed or trained; changes that lie deeper
    than a module's own attributes (inside a configuration object) are not seen: make a new `Network` after these.

    Parameters
    ----------
    net
        The network.
    layer
        Its dotted name, or ``(name, call)`` for one call of a module that is used more than once. Where the
        layer returns several tensors, the first counts. Maps have the shape [N, C, rows, columns].
    image_size
        Height and width of the images, or one number for both. Default: the network's own input size
        (224 where it has none).
    method
        Insist on one way. Default: ``"analytic"``, and ``"gradient"`` where that is not possible.

    Returns
    -------
    ReceptiveField
        Size, stride and offset in pixels, and ``.box(row, column)``. With ``method="gradient"`` each box takes
        a backward pass when it is first asked for; and a layer counts as seeing everything where the windows
        of neighboring units do not fit into images of four times the size (or of 256 pixels, or of those that
        the network takes).

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError
        No such layer, or it is called more than once; with the nearest names, or the calls.
    TargetError
        The layer does not depend on the image.
    UnsupportedModuleError
        Neither way is possible: the module can't be copied, or its numbers leave torch on the way.
    ValueError
        An ``image_size`` that is not positive, or that the network does not take; or with
        ``method="analytic"`` an operation that is not known.

    References
    ----------
    .. [1] A. Araujo, W. Norris and J. Sim, "Computing Receptive Fields of Convolutional Neural Networks",
       Distill, 2019.

    Examples
    --------
    >>> import torch, cnnviz_widgets as cv
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.MaxPool2d(2))
    >>> field = cv.receptive_field(cv.Network(module, input=cv.InputSpec(size=8)), "1")
    >>> field.size, field.stride, field.offset
    ((4, 4), (2, 2), (-1, -1))
    >>> field.box(0, 3)
    Box(top=0, left=5, bottom=3, right=8)
    """
    check_network(net, "receptive_field")
    if method not in (None, "analytic", "gradient"):
        raise ValueError(f"method is 'analytic', 'gradient' or None, got {method!r}")
    size = net.input.size_or(224) if image_size is None else _checked_size(image_size)
    state, key = module_state(net), (split_key(layer), size, method)
    found = net.fields.find(state, key)
    if found is None:
        with apart(net):
            if image_size is not None or net.input.size is None:
                _check_runs(net, layer, size)
            found = _measure(net, layer, size, method)
        net.fields.add(state, key, found)
    return found


def _measure(net: Network, layer: LayerKey, size: tuple[int, int], method: str | None) -> ReceptiveField:
    reason = "asked for"
    if method != "gradient":
        try:
            return _from_planes(*trace(net, layer, size), layer, size)
        except Untraceable as obstacle:
            if method == "analytic":
                raise TargetError(
                    f"layer {layer!r} can't be traced ({obstacle}); leave method out"
                ) from obstacle
            reason = str(obstacle)
    return _from_gradients(GradientProbe(net, layer), layer, size, reason)


def _box(edges: Edges | None) -> Box:
    return Box(0, 0, 0, 0) if edges is None else Box(*edges)


def _checked_size(image_size: object) -> tuple[int, int]:
    pair = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    if len(pair) != 2 or not all(
        isinstance(each, int | np.integer) and not isinstance(each, bool) and each > 0 for each in pair
    ):
        raise InputError(f"image_size is a positive whole number or (height, width), got {image_size!r}")
    return int(pair[0]), int(pair[1])


def _check_runs(net: Network, layer: LayerKey, size: tuple[int, int]) -> None:
    try:
        with capture(net, [layer]):
            net(torch.zeros(1, net.input.channels or 3, *size))
    except RuntimeError as error:
        raise InputError(f"the network does not take images of {size[0]} x {size[1]}: {error}") from error


def _from_planes(
    planes: Planes, joined_by: str | None, layer: LayerKey, size: tuple[int, int]
) -> ReceptiveField:
    """Read windows off the planes that belong to a layer's output: see `extents`."""
    windows = window_table(planes, size)
    if not windows.table.any():
        raise _independent(layer)
    map_size = spatial_size(planes)
    frames = _single_frames(windows(None, None)) if map_size is None else frames_of_planes(planes, size)
    reason = None
    if joined_by is not None:
        still = [frame.stride == 0 for frame in frames]
        seen = "whole image" if all(still) else f"image's full {'height' if still[0] else 'width'}"
        reason = f"sees the {seen}, however large: {joined_by} joins all positions of its map"
    return _field(layer, size, map_size, frames, windows, "analytic", reason)


def _from_gradients(
    probe: GradientProbe, layer: LayerKey, size: tuple[int, int], reason: str
) -> ReceptiveField:
    support = probe.support(size)
    if support.edges() is None:
        raise _independent(layer)
    single = support.map_size is None
    frames = _single_frames(support.edges()) if single else measured_frames(probe, support, size)
    return _field(layer, size, support.map_size, frames, support.edges, "gradient", reason)


def _independent(layer: LayerKey) -> TargetError:
    return TargetError(f"layer {layer!r} does not depend on the image, so it has no receptive field")


def _single_frames(edges: Edges | None) -> tuple[Frame, Frame]:
    """Return the frames of a layer without positions: its one window, which does not move."""
    top, left, bottom, right = edges or (0, 0, 0, 0)
    return Frame(bottom - top, 0, top), Frame(right - left, 0, left)


def _field(
    layer: LayerKey,
    image_size: tuple[int, int],
    map_size: tuple[int, int] | None,
    frames: tuple[Frame, Frame],
    edges: Callable[[int | None, int | None], Edges | None],
    method: Literal["analytic", "gradient"],
    reason: str | None = None,
) -> ReceptiveField:
    rows, columns = frames
    return ReceptiveField(
        size=(rows.size, columns.size),
        stride=(rows.stride, columns.stride),
        offset=(rows.offset, columns.offset),
        method=method,
        image_size=image_size,
        map_size=map_size,
        layer=layer,
        reason=reason,
        _edges=edges,
    )
