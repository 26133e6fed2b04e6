"""Grad-CAM: where in the image a layer finds what speaks for a class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.input_gradients import check_not_zero, layer_gradients, one_image, pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import TargetLike, as_target
from cnnviz_widgets.render.attribution import attribution_png
from cnnviz_widgets.render.resize import resize_map


@dataclass(frozen=True, eq=False)
class GradCam(Result):
    """Where a layer finds what speaks for the target; shows itself as a heat map over the image.

    Attributes
    ----------
    signed_map
        For each position of the layer's map [h, w], float32, what its activations add to the target, and what they
        take from it, in units of the target.
    weights
        The weight of each channel [K]: the mean gradient over its map.
    size
        Height and width of the image.
    value
        The target's value for this image.
    target
        The target, as text.
    layer
        The layer.
    signed
        Whether the heat map keeps what speaks against the target.
    picture
        The image as the network sees it, uint8 [H, W, 3]; empty where its channels make no picture.
    """

    signed_map: NDArray[np.float32]
    weights: NDArray[np.float32]
    size: tuple[int, int]
    value: float
    target: str
    layer: LayerKey
    signed: bool
    picture: NDArray[np.uint8]

    @property
    def map(self) -> NDArray[np.float32]:
        """The map on the layer's own grid [h, w]; what is negative is cut off unless it was asked for."""
        return self.signed_map if self.signed else np.maximum(self.signed_map, 0)

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The map stretched over the image [H, W], bilinearly, each of its cells over an equal share."""
        return resize_map(self.map, *self.size)

    @property
    def message(self) -> str:
        """What was found, in words."""
        height, width = self.signed_map.shape
        said = (
            f"{self.target} is {self.value:.4g}; layer {self.layer!r} has a map of {height} x {width}, of which "
            f"{float((self.signed_map > 0).mean()):.0%} speaks for it."
        )
        if height * width == 1:
            said += " One number does not tell where: take an earlier layer."
        if not self.signed and not (self.signed_map > 0).any():
            said += " So the heat map is zero everywhere: signed=True shows what speaks against it."
        return said

    def _repr_png_(self) -> bytes:
        """Return the image, the map and both together, as a notebook shows them for the bare result."""
        return attribution_png(self.picture, self.heatmap)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        height, width = self.signed_map.shape
        return (
            f"GradCam({self.target}, value {self.value:.4g}, layer={self.layer!r}, a map of {height}x{width}"
            f"{', signed' if self.signed else ''})"
        )


def grad_cam(
    net: Network, image: Images, target: TargetLike, layer: LayerKey, *, signed: bool = False
) -> GradCam:
    """See where in the image a layer finds what speaks for a class: bright there.

    The sum of the layer's channels A_k, each weighted by w_k, the mean of the target's gradient over its map,
    and of that the positive part: max(sum_k w_k A_k, 0) [1]_.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    target
        A class label or index, or a `Target`: a logit, a probability, a unit, a function of the output.
    layer
        A layer's name, or ``(name, call)`` for one call of a layer that is used more than once; any that returns maps
        on which the target depends. The paper takes the last one: few large cells of much meaning.
    signed
        Keep what speaks against the target.

    Returns
    -------
    GradCam
        ``heatmap`` [H, W] over the image, ``map`` and ``signed_map`` [h, w] on the layer's own grid.

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError
        No such layer (with the nearest names), or several calls of it.
    LabelNotFoundError, TargetError
        No such class (with the nearest names) or unit.
    OutputError
        The layer returns no maps.
    ZeroGradientError
        The target's gradient is zero all over the layer's maps; with what to do.

    References
    ----------
    .. [1] Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization",
       ICCV 2017.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> shown = cv.grad_cam(net, cv.samples.photo("chelsea"), "tabby", "features.12")
    >>> shown.map.shape, shown.heatmap.shape
    ((13, 13), (224, 224))
    """
    check_network(net, "grad_cam")
    what = as_target(target)
    x = one_image(net, image, "grad_cam")
    values, maps, gradients = layer_gradients(net, x, what, layer)
    if maps.ndim != 4:
        raise OutputError(
            f"layer {layer!r} returns {describe(maps)}; Grad-CAM needs maps (images, channels, rows, columns), "
            "such as those of the last convolution"
        )
    value = float(values[0])
    check_not_zero(gradients, what, value, f" with respect to layer {layer!r}")
    weights = gradients[0].double().mean(dim=(1, 2))
    signed_map = (weights[:, None, None] * maps[0].double()).sum(dim=0)
    return GradCam(
        signed_map=signed_map.float().cpu().numpy(),
        weights=weights.float().cpu().numpy(),
        size=(x.shape[2], x.shape[3]),
        value=value,
        target=what.text,
        layer=layer,
        signed=bool(signed),
        picture=pictures_of(net, x)[0],
    )
