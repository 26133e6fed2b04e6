"""What the DeconvNet explorer sends back: the units of top patches, or those that one image excites."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.back_projection import Position
from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, ZeroGradientError
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.rectifiers import rectifiers
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.methods.deconvnet import Reconstruction, deconvnet_of_many
from cnnviz_widgets.methods.top_patches import TopPatches
from cnnviz_widgets.widgets._layer_choices import layer_choices
from cnnviz_widgets.widgets._patch_explorer_parts import by_layer, count_of, row_of
from cnnviz_widgets.widgets._photos import view_of

Found: TypeAlias = "Reconstruction | str"
"""A projection, or why there is none."""


class Source(Protocol):
    """Where the units come from.

    Attributes
    ----------
    net
        The network that takes `images` as they are.
    layers
        The keys of the layers there are, by any way to write them.
    first_layer
        The one to begin with.
    """

    net: Network
    layers: ByLayer[LayerKey]

    @property
    def first_layer(self) -> LayerKey: ...

    def channels(self, layer: LayerKey) -> Sequence[int]:
        """Return the channels of a layer that can be chosen."""

    def count(self, layer: LayerKey, channel: int) -> int:
        """Return how many units of a channel there are."""

    def images(self, layer: LayerKey, channel: int) -> list[Any]:
        """Return the image of each unit."""

    def positions(self, layer: LayerKey, channel: int) -> list[Position]:
        """Return where each unit is in the channel's map."""

    def picture(self, layer: LayerKey, channel: int, rank: int) -> NDArray[np.uint8]:
        """Return the image of one unit as the network sees it."""


class PatchSource:
    """The units of the patches that excite channels most."""

    def __init__(self, net: Network, patches: Any) -> None:
        self.found: ByLayer[TopPatches] = by_layer(patches, "DeconvExplorer")
        self.net = _as_seen(net)
        self.layers = ByLayer({key: key for key in self.found})
        self.first_layer = next(iter(self.found))
        choices = layer_choices(net)
        for key, each in self.found.items():
            if key not in choices:
                raise LayerNotFoundError(
                    f"the patches are of layer {key!r}, which this network does not have; give the network that "
                    "cv.top_patches was called for"
                )
            if int(each.channels.max()) >= choices[key].shape[0]:
                raise InputError(
                    f"the patches are of channel {int(each.channels.max())} of layer {key!r}, which has "
                    f"{choices[key].shape[0]} channels in this network; give the one that cv.top_patches was called for"
                )

    def channels(self, layer: LayerKey) -> Sequence[int]:
        channels: list[int] = self.found[layer].channels.tolist()
        return channels

    def count(self, layer: LayerKey, channel: int) -> int:
        return count_of(self.found[layer], channel)

    def images(self, layer: LayerKey, channel: int) -> list[Any]:
        patches = self.found[layer]
        row, count = row_of(patches, channel), self.count(layer, channel)
        return [patches.picture(int(index)) for index in patches.image_indices[row, :count]]

    def positions(self, layer: LayerKey, channel: int) -> list[Position]:
        patches = self.found[layer]
        row, count = row_of(patches, channel), self.count(layer, channel)
        if not patches.positions.any():
            # A layer without maps, or one whose maps have one unit.
            return ["max"] * count
        return [(int(place[0]), int(place[1])) for place in patches.positions[row, :count]]

    def picture(self, layer: LayerKey, channel: int, rank: int) -> NDArray[np.uint8]:
        patches = self.found[layer]
        return patches.picture(int(patches.image_indices[row_of(patches, channel), rank]))


class ImageSource:
    """The units that one image excites."""

    def __init__(self, net: Network, image: Any) -> None:
        self.net = net
        self.take(image)
        self.position: Position = "max"
        self.shapes = layer_choices(net)
        self.layers = ByLayer({key: key for key in self.shapes})

    def take(self, image: Any) -> None:
        """Go on with another image; nothing changes where it can't be used."""
        _, self._picture = view_of(self.net, image, "DeconvExplorer")
        self.image = image

    @property
    def first_layer(self) -> LayerKey:
        """The rectifier half way through the network, or the first layer where there is no rectifier."""
        survey = self.net.survey
        usual = [
            key
            for key in rectifiers(survey, self.net.core)
            if len(self.shapes[key].shape) == 3 and not survey.has_channels_last(self.net.core, key)
        ]
        known = usual[len(usual) // 2 :] or list(self.shapes)
        if not known:
            raise LayerNotFoundError(
                "this network has no layer to explore: no submodule returns maps or vectors"
            )
        return known[0]

    def channels(self, layer: LayerKey) -> Sequence[int]:
        return range(self.shapes[layer].shape[0])

    def count(self, layer: LayerKey, channel: int) -> int:
        return 1

    def images(self, layer: LayerKey, channel: int) -> list[Any]:
        return [self.image]

    def positions(self, layer: LayerKey, channel: int) -> list[Position]:
        return [self.position]

    def picture(self, layer: LayerKey, channel: int, rank: int) -> NDArray[np.uint8]:
        return self._picture


def is_patches(shown: Any) -> bool:
    """Return whether these are top patches, of one layer or by layer, and no image."""
    return isinstance(shown, TopPatches) or (
        isinstance(shown, Mapping) and any(isinstance(each, TopPatches) for each in shown.values())
    )


def _as_seen(net: Network) -> Network:
    """Return the network for pictures that are resized and cut already, as it saw them."""
    if net.input.resize is None:
        return net
    return Network(net.module, input=replace(net.input, resize=None), labels=net.labels, output=net.output)


def projections(
    net: Network, images: Sequence[Any], layer: LayerKey, channel: int, positions: Sequence[Position]
) -> Generator[Step, None, tuple[Found, ...]]:
    """Send back a unit for each of several images; where there is nothing to send back, say why.

    Raises
    ------
    CnnvizError
        What `deconvnet` raises for all of them.
    """
    found: list[Found] = []
    for part in _of_one_size(images):
        count = part.stop - part.start
        try:
            found += yield from deconvnet_of_many.steps(
                net, list(images[part]), layer, [channel] * count, positions[part]
            )
        except ZeroGradientError:
            # One of them or all: the others are still to be seen.
            for image, position in zip(images[part], positions[part], strict=True):
                found.append((yield from _alone(net, image, layer, channel, position)))
    return tuple(found)


def _alone(
    net: Network, image: Any, layer: LayerKey, channel: int, position: Position
) -> Generator[Step, None, Found]:
    try:
        (found,) = yield from deconvnet_of_many.steps(net, [image], layer, [channel], [position])
    except ZeroGradientError as error:
        return str(error)
    return found


def _of_one_size(images: Sequence[Any]) -> list[slice]:
    """Return the runs of images that go through the network together."""
    sizes = [np.shape(each) for each in images]
    starts = [index for index in range(len(images)) if index == 0 or sizes[index] != sizes[index - 1]]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(images)], strict=True)]
