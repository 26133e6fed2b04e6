"""DeconvNet: what in the image made a unit fire, sent back from its activation to the pixels."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.back_projection import Position, project_back
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.input_gradients import one_image, pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.receptive_field import ReceptiveField, receptive_field
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.attribution import signed_picture
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, fit_tiles, mosaic


@dataclass(frozen=True, eq=False)
class Reconstruction(Result):
    """What one activation sends back to the pixels; shows itself beside the image it came from.

    Attributes
    ----------
    pixels
        The projection [C, H, W], float32, signed, on the scale of the network's input times the activation.
    activation
        The activation that was sent back; for a whole map the sum of its activations.
    position
        Row and column of the unit; ``None`` for a whole map, and for a layer without maps.
    box
        Top, left, bottom and right of the unit's receptive field in the image as the network sees it; outside of
        it the projection is zero. For a whole map: the whole image.
    layer, channel
        Which unit's activation it is.
    rectifiers
        How many calls of rectifiers have sent back by the rule of the DeconvNet.
    picture
        The image as the network sees it, uint8 [H, W, 3]; empty where its channels make no picture.
    """

    pixels: NDArray[np.float32]
    activation: float
    position: tuple[int, int] | None
    box: tuple[int, int, int, int]
    layer: LayerKey
    channel: int
    rectifiers: int
    picture: NDArray[np.uint8]

    @property
    def image(self) -> NDArray[np.uint8]:
        """The projection as a picture, uint8 [H, W, 3]: zero is middle gray; the few largest magnitudes are cut off."""
        return signed_picture(self.pixels)

    @property
    def patch(self) -> NDArray[np.uint8]:
        """The projection within the box, as a picture of its own scale, uint8 [h, w, 3]."""
        top, left, bottom, right = self.box
        return signed_picture(self.pixels[:, top:bottom, left:right])

    def _repr_png_(self) -> bytes:
        """Return the image and its projection side by side, as a notebook shows them for the bare result."""
        tiles = np.stack([self.picture, self.image] if self.picture.size else [self.image])
        return png(mosaic(fit_tiles(tiles), columns=2, gap=4), effort=3, max_bytes=PNG_BYTES)

    def __repr__(self) -> str:
        place = "its whole map" if self.position is None else f"position {self.position}"
        return (
            f"Reconstruction(layer={self.layer!r}, channel {self.channel}, {place}, activation {self.activation:.4g}, "
            f"box {self.box}, {self.rectifiers} calls of rectifiers)"
        )


def deconvnet(
    net: Network,
    image: Images,
    layer: LayerKey,
    channel: int,
    position: tuple[int, int] | Literal["max", "all"] = "max",
) -> Reconstruction:
    """See which structure in the image made a unit fire: its activation, sent back through the network to the pixels.

    All other activations of the layer are set to zero, and what remains goes back down: through the switches of max
    pooling to where the maxima came from (and added up where windows overlap), through a rectification at every
    rectifier, whatever it let pass on the way up, and through the transposed filters of every convolution [1]_. Batch
    norm is the scaling that it is in evaluation mode, average pooling spreads evenly, a sum sends back to both of
    its parts. Rectifiers are changed call by call, whether they are modules, functions, in place or reused.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    layer
        A layer's name, or ``(name, call)``. Take a rectifier, as the paper does: what is negative in front of it is
        sent back with its sign.
    channel
        Which channel, counted from 0.
    position
        ``"max"``: the strongest activation of the channel, of equal ones the first row by row; (row, column): that
        one; ``"all"``: the whole map at once. Leave it out for a layer without maps.

    Returns
    -------
    Reconstruction
        ``image`` [H, W, 3] to look at, the signed numbers as ``pixels`` [C, H, W], ``activation``, ``position`` and
        ``box``.

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError
        No such layer (with the nearest names), or several calls of it.
    TargetError
        A channel or position outside of the map.
    ZeroGradientError
        The activation is zero, or nothing of it arrives at the pixels.
    UnsupportedModuleError
        No rectifier on the way to the layer is recognized, and not all that lies there is linear or pooling; or the
        network calls none at all.

    References
    ----------
    .. [1] Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> shown = cv.deconvnet(net, cv.samples.photo("chelsea"), "features.6", 3)
    >>> shown.position, shown.box, shown.image.shape
    ((22, 13), (160, 88, 207, 135), (224, 224, 3))
    """
    check_network(net, "deconvnet")
    x = one_image(net, image, "deconvnet")
    boxes = _Boxes(net, layer, (x.shape[2], x.shape[3]))
    return _reconstructions(net, x, layer, [channel], [position], boxes)[0]


@streamed
def deconvnet_of_many(
    net: Network,
    images: Images,
    layer: LayerKey,
    channels: Sequence[int],
    positions: Sequence[Position],
    *,
    batch_size: int = 4,
) -> Generator[Step, None, tuple[Reconstruction, ...]]:
    """See the projections of a unit for each of several images: as `deconvnet` for each, a batch a step.

    Parameters
    ----------
    images
        As `InputSpec.prepare` takes them; they have one size.
    channels, positions
        For each image.
    batch_size
        Images in one pass.
    """
    check_network(net, "deconvnet")
    size = checked_whole("batch_size", batch_size)
    x = net.prepare(images)
    if not len(x) == len(channels) == len(positions):
        raise InputError(
            f"{len(x)} images, {len(channels)} channels and {len(positions)} positions; give one of each"
        )
    boxes = _Boxes(net, layer, (x.shape[2], x.shape[3]))
    found: list[Reconstruction] = []
    starts = range(0, len(x), size)
    for index, start in enumerate(starts):
        part = slice(start, start + size)
        found += _reconstructions(net, x[part], layer, channels[part], positions[part], boxes)
        yield Step(index, len(starts))
    return tuple(found)


def _reconstructions(
    net: Network,
    x: Tensor,
    layer: LayerKey,
    channels: Sequence[int],
    positions: Sequence[Position],
    boxes: _Boxes,
) -> list[Reconstruction]:
    projections = project_back(net, x, layer, channels, positions)
    return [
        Reconstruction(
            pixels=each.pixels.numpy(),
            activation=each.activation,
            position=each.position,
            box=boxes.box(each.position, projections.has_maps),
            layer=layer,
            channel=int(channel),
            rectifiers=projections.rectifiers,
            picture=picture,
        )
        for each, channel, picture in zip(projections.each, channels, pictures_of(net, x), strict=True)
    ]


class _Boxes:
    """The receptive fields of a layer's units, worked out at first need."""

    def __init__(self, net: Network, layer: LayerKey, size: tuple[int, int]) -> None:
        self._net, self._layer, self._size = net, layer, size
        self._field: ReceptiveField | None = None

    def box(self, position: tuple[int, int] | None, has_maps: bool) -> tuple[int, int, int, int]:
        if position is None and has_maps:
            return (0, 0, *self._size)
        if self._field is None:
            self._field = receptive_field(self._net, self._layer, image_size=self._size)
        box = self._field.box() if position is None else self._field.box(*position)
        return box.top, box.left, box.bottom, box.right
