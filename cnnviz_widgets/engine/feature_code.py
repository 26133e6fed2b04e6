"""The code of a picture: what one layer makes of it, and how deep in the network that layer lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import InputError, OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text, split_key

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
    with apart(net), capture(net, [layer], stop=True) as seen:
        net(x)
        return maps_in(seen, layer).detach()


def relative_depth(net: Network, layer: LayerKey) -> float:
    """Return how late a layer stands among the modules as they were defined: 0 for the first one, 1 for the last.

    That asks for no pass through the network. A block stands where its last part does.
    """
    name = split_key(layer)[0]
    parts = [each for each, module in net.core.named_modules() if each and not any(module.children())]
    within = [index for index, each in enumerate(parts) if not name or f"{each}.".startswith(f"{name}.")]
    return max(within, default=0) / max(1, len(parts) - 1)
