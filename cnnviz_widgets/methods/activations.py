"""Feature maps: what each channel of a layer answers to one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import InputError, OutputError
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, color_tiles, mosaic, mosaic_columns, mosaic_png
from cnnviz_widgets.render.resize import enlarge


@dataclass(frozen=True, eq=False)
class ActivationMaps(Result):
    """The feature maps of one layer for one image; shows itself as a mosaic of its channels.

    Attributes
    ----------
    maps
        Activations [C, H, W], float32, in the units of the network. A fully connected layer has H = W = 1.
    sparsity
        For each channel [C] the share of its positions that are exactly zero, from 0 to 1.
    all_zero
        For each channel [C] whether every position is exactly zero: dead on this image. That says nothing
        yet of other images.
    layer
        The layer, as it was asked for.
    """

    maps: NDArray[np.float32]
    sparsity: NDArray[np.float32]
    all_zero: NDArray[np.bool_]
    layer: LayerKey

    @property
    def is_vector(self) -> bool:
        """Whether each channel is a single number, as in a fully connected layer."""
        return self.maps.shape[1:] == (1, 1)

    def _repr_png_(self) -> bytes:
        """Return the mosaic that a notebook shows for the bare result: up to 2,048 channels on one scale."""
        if not self.is_vector:
            return mosaic_png(self.maps, max_tiles=2048)
        side = max(4, min(32, 640 // mosaic_columns(len(self.maps), 1, 1)))
        return png(mosaic(enlarge(color_tiles(self.maps), side)), max_bytes=PNG_BYTES)

    def __repr__(self) -> str:
        channels, height, width = self.maps.shape
        dead = int(self.all_zero.sum())
        return (
            f"ActivationMaps(layer={self.layer!r}, {channels} channels of {height}x{width}, "
            f"{float(self.sparsity.mean()):.1%} zeros, {dead} channels all zero on this image)"
        )


def activations(net: Network, image: Images, layer: LayerKey) -> ActivationMaps:
    """See what each channel of a layer answers to an image: one map per channel, bright where it fires.

    The forward pass runs in evaluation mode and ends at the layer. The values are those that the layer
    returned, also where an in-place operation overwrites them afterwards. Maps that come with their channels at the
    end, [N, H, W, C], as in Swin or within the blocks of ConvNeXt, are turned around where the operations tell.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    layer
        A layer's name, or ``(name, call)`` for one call of a layer that is used more than once.

    Returns
    -------
    ActivationMaps
        ``maps`` [C, H, W] with the share of zeros of each channel, ``sparsity`` [C], and ``all_zero`` [C].

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError
        No such layer (with the nearest names), or several calls of it.
    OutputError
        The layer returns neither maps [N, C, H, W] nor a vector [N, C], or NaN.
    InputError
        Not one image, or one that can't be used.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> result = cv.activations(net, cv.samples.photo("chelsea"), "features.3")
    >>> result.maps.shape, result.sparsity.shape
    ((128, 55, 55), (128,))
    """
    check_network(net, "activations")
    x = net.prepare(image)
    if len(x) != 1:
        raise InputError(f"activations takes one image, got {len(x)}; call it once for each")
    with apart(net), capture(net, [layer]) as seen:
        net(x)
    return activation_maps(maps_in(seen, layer), layer)


def activation_maps(tensor: Tensor, layer: LayerKey) -> ActivationMaps:
    """Return the maps in what a layer returned for one image, with their zeros counted."""
    if tensor.ndim not in (2, 4):
        raise OutputError(
            f"layer {layer!r} returns {describe(tensor)}; activations shows maps (images, channels, rows, "
            "columns) and vectors (images, channels)"
        )
    maps = tensor[0].detach().to("cpu", torch.float32)
    maps = maps[:, None, None] if maps.ndim == 1 else maps
    if not bool(torch.isfinite(maps).all()):
        raise OutputError(f"layer {layer!r} returns NaN or infinity for this image")
    zeros = maps == 0
    return ActivationMaps(
        maps=maps.contiguous().numpy(),
        sparsity=zeros.float().mean(dim=(1, 2)).numpy(),
        all_zero=zeros.all(dim=2).all(dim=1).numpy(),
        layer=layer,
    )
