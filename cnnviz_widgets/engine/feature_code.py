"""The code of a picture: what one layer makes of it, and how deep in the network that layer lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture
from cnnviz_widgets.engine.errors import InputError, OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text, main_tensor, split_key

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
    # In the order of memory in which `Climber` shows pictures: the sums are then the same to the last bit.
    shown = x.contiguous(memory_format=torch.channels_last)
    try:
        with apart(net), capture(net, [layer], stop=True) as seen:
            net(shown)
            code = main_tensor(seen[layer]).detach()
    except RuntimeError as error:
        height, width = x.shape[2:]
        raise InputError(
            f"the network fails for a picture of {height} x {width} pixels ({str(error).splitlines()[0]}); it may be "
            "too small, or the network takes one size only: leave out size=, or take a larger one"
        ) from error
    if not bool(code.isfinite().all()):
        raise OutputError(f"layer {key_text(layer)!r} returns NaN or infinity for the image")
    if not bool(code.any()):
        raise TargetError(
            f"layer {key_text(layer)!r} returns nothing but zeros for this image, so nothing of it is left to invert; "
            "take a layer before it, or another image"
        )
    return code


def relative_depth(net: Network, layer: LayerKey) -> float:
    """Return how late a layer returns among all layers: 0 for the first one, 1 for the last."""
    names = {module: name for name, module in net.core.named_modules()}
    order = [names.get(place, place) for place in net.survey.shapes]
    name = split_key(layer)[0]
    return order.index(name) / max(1, len(order) - 1) if name in order else 1.0
