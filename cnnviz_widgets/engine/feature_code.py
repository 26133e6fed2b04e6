"""The code of a picture: what one layer makes of it, and how deep in the network that layer lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.batch_statistics import independent_parts
from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import InputError, OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text, split_key
from cnnviz_widgets.engine.rectifiers import find_place

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


def feature_code(net: Network, x: Tensor, layer: LayerKey) -> Tensor:
    """Return what a layer returns for one prepared picture of any size, maps or not, [1, ...].

    Raises
    ------
    InputError
        The network fails for a picture of this size.
    OutputError
        NaN or infinity.
    TargetError
        Nothing but zeros.
    """
    with size_said((x.shape[2], x.shape[3])):
        code = layer_values(net, x, layer)
    if not bool(code.isfinite().all()):
        raise OutputError(f"layer {key_text(layer)!r} returns NaN or infinity for the image")
    if not bool(code.any()):
        raise TargetError(
            f"layer {key_text(layer)!r} returns nothing but zeros for this image, so nothing of it is left to invert; "
            "take a layer before it, or another image"
        )
    return code


@contextmanager
def size_said(size: tuple[int, int], what: str = "a picture") -> Iterator[None]:
    """Say that it may be the size of the pictures, (height, width), for which a network fails inside."""
    try:
        yield
    except RuntimeError as error:
        height, width = size
        raise InputError(
            f"the network fails for {what} of {height} x {width} pixels ({str(error).splitlines()[0]}); it may be "
            "too small, or the network takes one size only: leave out size=, or take a larger one"
        ) from error


def layer_values(net: Network, x: Tensor, layer: LayerKey) -> Tensor:
    """Return what a layer returns for prepared pictures, to the last bit what `Climber` sees while it changes them."""
    try:
        return _values(net, x.contiguous(memory_format=torch.channels_last), layer)
    except RuntimeError:
        # Modules that use `.view` take no such memory. Whatever else it is comes again.
        return _values(net, x.contiguous(), layer)


def _values(net: Network, x: Tensor, layer: LayerKey) -> Tensor:
    found = []
    for part in independent_parts(net.core, x):
        with apart(net), capture(net, [layer], stop=True) as seen:
            net(part)
            found.append(maps_in(seen, layer).detach())
    return torch.cat(found)


def relative_depth(net: Network, layer: LayerKey) -> float:
    """Return how late a layer stands among the modules as they were defined: 0 for the first one, 1 for the last.

    A block stands where its last part does; the first call of a rectifier as a function where the module does that
    returned last before it, and further calls evenly spread from there to the end of the block that calls it.
    """
    name, call = split_key(layer)
    parts = [each for each, module in net.core.named_modules() if each and not any(module.children())]
    place = find_place(net.core, name)
    last = max(1, len(parts) - 1)
    if not isinstance(place, str):
        return _end(parts, name) / last
    seen = net.survey.shapes
    names = {module: each for each, module in net.core.named_modules()}
    before = [
        parts.index(names[each])
        for each in takewhile(lambda each: each != place, seen)
        if not isinstance(each, str) and names[each] in parts
    ]
    first = before[-1] if before else 0
    share = (call or 0) / len(seen[place]) if place in seen else 0.0
    return (first + share * max(0, _end(parts, place.rpartition(".")[0]) - first)) / last


def _end(parts: Sequence[str], block: str) -> int:
    """Return which part is the last one of a block, or the part itself."""
    return max(
        (index for index, each in enumerate(parts) if not block or f"{each}.".startswith(f"{block}.")),
        default=0,
    )
