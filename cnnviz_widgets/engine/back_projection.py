"""Single activations sent back to the pixels, as a DeconvNet does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import capture, maps_in
from cnnviz_widgets.engine.errors import OutputError, TargetError, ZeroGradientError
from cnnviz_widgets.engine.input_gradients import backward_pass, changed_check, gradients_of, leaf_of
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.targets import row_and_column
from cnnviz_widgets.engine.whole_numbers import whole_number

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

Position: TypeAlias = "tuple[int, int] | Literal['max', 'all']"


@dataclass(frozen=True)
class Projection:
    """What one channel of one image sends back.

    Attributes
    ----------
    pixels
        The projection [C, H, W], float32, on the CPU.
    activation
        The activation that was sent back; for the whole map the sum of its activations.
    position
        Its row and column; ``None`` for the whole map, and for a layer without maps.
    """

    pixels: Tensor
    activation: float
    position: tuple[int, int] | None


@dataclass(frozen=True)
class Projections:
    """The projections of a batch, one for each image.

    Attributes
    ----------
    each
        In the order of the images.
    rectifiers
        How many calls of rectifiers sent back by the rule of the DeconvNet.
    has_maps
        Whether the layer returns maps; otherwise vectors.
    """

    each: tuple[Projection, ...]
    rectifiers: int
    has_maps: bool


def project_back(
    net: Network, x: Tensor, layer: LayerKey, channels: Sequence[int], positions: Sequence[Position]
) -> Projections:
    """Send back one activation, or the map of one channel, for each image of a batch.

    Parameters
    ----------
    x
        Prepared images [N, C, H, W].
    channels, positions
        For each image: which channel, and ``"max"``, ``"all"`` or (row, column).

    Raises
    ------
    TargetError
        No such channel or position.
    OutputError
        The layer returns neither maps nor vectors; the activation or projection is not finite.
    ZeroGradientError
        The activation is zero, or the pixels do not lead to it.
    """
    with backward_pass(net, "deconvnet") as calls, capture(net, [layer], gradients=True, stop=True) as seen:
        x = leaf_of(x)
        net(x)
        value = maps_in(seen, layer)
        has_maps = value.ndim == 4
        seeds, found = _seeds(value.detach(), layer, channels, positions)
        check = changed_check(net, value, calls)
        pixels = gradients_of((value * seeds).sum(), x)
    check(pixels)
    for index, (_, position) in enumerate(found):
        if not bool((pixels[index] != 0).any()):
            place = "its map" if position is None else f"position {position}"
            raise ZeroGradientError(
                f"nothing of layer {layer!r}, channel {channels[index]}, {place} arrives at the pixels: "
                "every way back is cut at a rectifier, or does not depend on the image"
            )
    projections = tuple(
        Projection(each.to("cpu", torch.float32), activation, position)
        for each, (activation, position) in zip(pixels, found, strict=True)
    )
    return Projections(projections, calls.changed, has_maps)


def _seeds(
    value: Tensor, layer: LayerKey, channels: Sequence[int], positions: Sequence[Any]
) -> tuple[Tensor, list[tuple[float, tuple[int, int] | None]]]:
    """Return a layer's value with all zero but what is sent back; and for each image activation and position."""
    if value.ndim not in (2, 4):
        raise OutputError(
            f"layer {layer!r} returns {describe(value)}; only maps (images, channels, rows, columns) and vectors "
            "(images, channels) can be sent back"
        )
    seeds = torch.zeros_like(value)
    found = []
    for index, (channel, position) in enumerate(zip(channels, positions, strict=True)):
        number = checked_channel(layer, channel, value.shape[1])
        plane, seed = value[index, number], seeds[index, number]
        place = _place(plane, position, layer, number)
        if place is None:
            seed.copy_(plane)
        else:
            seed[place] = plane[place]
        activation = float(seed.double().sum())
        _check_activation(seed, layer, number, place, position)
        found.append((activation, place))
    return seeds, found


def _place(plane: Tensor, position: Any, layer: LayerKey, channel: int) -> tuple[int, int] | None:
    """Return row and column of what is sent back; ``None`` for all of it."""
    if isinstance(position, str):
        if position not in ("max", "all"):
            raise TargetError(f"position is 'max', 'all' or (row, column), got {position!r}")
        if plane.ndim == 0 or position == "all":
            return None
        # Of equal ones the first, row by row.
        return divmod(int(plane.flatten().argmax()), plane.shape[1])
    row, column = row_and_column(position)
    if plane.ndim == 0:
        raise TargetError(f"layer {layer!r} returns a vector, which has no positions; leave position out")
    height, width = plane.shape
    if not (0 <= row < height and 0 <= column < width):
        raise TargetError(
            f"position ({row}, {column}) is outside of the map of layer {layer!r}, channel {channel}: "
            f"it has {height} rows and {width} columns, counted from 0"
        )
    return row, column


def checked_channel(layer: LayerKey, channel: object, channels: int) -> int:
    """Return a channel's number, or say which ones there are."""
    number = whole_number(channel)
    if number is None or not 0 <= number < channels:
        raise TargetError(f"layer {layer!r} has channels 0 to {channels - 1}, got {channel!r}")
    return number


def _check_activation(
    seed: Tensor, layer: LayerKey, channel: int, place: tuple[int, int] | None, position: Any
) -> None:
    if not bool(torch.isfinite(seed).all()):
        raise OutputError(f"layer {layer!r} returns NaN or infinity for this image")
    if bool((seed != 0).any()):
        return
    what, another = f"channel {channel} of layer {layer!r} is 0", "channel or position"
    if isinstance(position, str):
        what = f"nothing in this image excites channel {channel} of layer {layer!r}: it is 0 "
        what += "at most" if position == "max" and place is not None else "everywhere"
        another = "channel or image"
    elif place is not None:
        what += f" at position {place} for this image"
    raise ZeroGradientError(
        f"{what}, so there is nothing to send back; take another {another}, or the value before the last rectifier "
        "(the layer in front of it)"
    )
