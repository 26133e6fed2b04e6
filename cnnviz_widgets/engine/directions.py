"""Objectives of whole layers: along a direction in their space of channels, or along what they find in an image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import InputError, OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.objectives import Objective, Seen
from cnnviz_widgets.engine.targets import row_and_column

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class Direction(Objective):
    """A direction in a layer's space of channels: how far the maps go along it.

    ``mean over positions of <maps, direction> / |direction|``, or at one position: for example a concept, or the
    difference of two classes' mean features.

    Parameters
    ----------
    layer
        The layer: maps [N, C, h, w] or vectors [N, C].
    direction
        One number for each channel [C].
    position
        ``(row, column)`` of one unit; left out, the mean over all.

    Raises
    ------
    TargetError
        Not one finite number for each channel, or all are 0; a position outside the map.

    Examples
    --------
    >>> Direction("features.5", [1.0, -1.0]).text
    "Direction('features.5', 2 channels)"
    """

    def __init__(self, layer: LayerKey, direction: Any, *, position: tuple[int, int] | None = None) -> None:
        self.layer, self.layers = layer, (layer,)
        self.position = None if position is None else row_and_column(position)
        vector = torch.as_tensor(direction, dtype=torch.float32).detach().cpu()
        if vector.ndim != 1 or not bool(vector.isfinite().all()) or not bool(vector.any()):
            raise TargetError(
                f"a direction is one finite number for each channel [C], not all of them 0; got {tuple(vector.shape)}"
            )
        self._unit = vector / torch.linalg.vector_norm(vector)

    def values(self, seen: Seen) -> Tensor:
        """Return how far each picture goes along the direction."""
        maps = seen.maps(self.layer)
        if maps.ndim not in (2, 4) or maps.shape[1] != len(self._unit):
            raise TargetError(
                f"{self.text}: layer {self.layer!r} returns {tuple(maps.shape)}, so a direction has "
                f"{maps.shape[1] if maps.ndim > 1 else 0} numbers"
            )
        along: Tensor = torch.tensordot(maps, self._unit.to(maps), dims=([1], [0]))
        if along.ndim == 1:
            return along
        if self.position is None:
            return along.mean(dim=(1, 2))
        row, column = self.position
        if not (0 <= row < along.shape[1] and 0 <= column < along.shape[2]):
            raise TargetError(
                f"{self.text}: the map has {along.shape[1]} rows and {along.shape[2]} columns, from 0"
            )
        return along[:, row, column]

    @property
    def text(self) -> str:
        """The direction in words."""
        place = "" if self.position is None else f", position={self.position}"
        return f"Direction({self.layer!r}, {len(self._unit)} channels{place})"


class Caricature(Objective):
    """What a layer finds in an image, exaggerated: the picture's maps go along with the image's and beyond.

    ``mean over positions of <m, r> * max(cosine(m, r), 0.1)^power`` with the picture's features m and the image's r at
    each position: a caricature in the sense of Lucid.

    Parameters
    ----------
    layer
        The layer: maps [N, C, h, w] or vectors [N, C].
    image
        The image, in any form that `InputSpec.prepare` takes.
    power
        How much the direction counts in place of the size.

    Raises
    ------
    InputError
        Several images.
    TargetError
        The layer returns nothing but zeros for the image; neither maps nor vectors.
    OutputError
        NaN or infinity for the image.
    """

    def __init__(self, layer: LayerKey, image: Any, *, power: float = 1.0) -> None:
        self.layer, self.layers, self.power = layer, (layer,), float(power)
        self._image = image
        self._reference: Tensor | None = None

    def bound(self, net: Network, size: tuple[int, int]) -> Objective:
        """Return the objective with the image's own features."""
        x = replace(net.input, size=size).prepare(self._image).to(net.device, net.dtype)
        if len(x) != 1:
            raise InputError(f"a caricature is of one image, got {len(x)}")
        with apart(net), capture(net, [self.layer], stop=True) as seen:
            net(x)
        reference = maps_in(seen, self.layer).detach()
        if not bool(reference.isfinite().all()):
            raise OutputError(f"{self.text}: the layer returns NaN or infinity for the image")
        if not bool(reference.any()):
            raise TargetError(
                f"{self.text}: the layer returns nothing but zeros for the image, so there is nothing to exaggerate; "
                "take another layer or image"
            )
        found = Caricature(self.layer, self._image, power=self.power)
        found._reference = reference
        return found

    def values(self, seen: Seen) -> Tensor:
        """Return how much each picture is a caricature of the image."""
        maps, reference = seen.maps(self.layer), self._reference
        if reference is None or maps.ndim not in (2, 4):
            raise TargetError(f"{self.text} takes a layer of maps or vectors, and is for maximize")
        along = (maps * reference).sum(1)
        alike = torch.nn.functional.cosine_similarity(maps, reference, dim=1)
        found = along * alike.clamp(min=0.1) ** self.power
        return found.flatten(1).mean(1) if found.ndim > 1 else found

    @property
    def text(self) -> str:
        """The caricature in words."""
        return f"Caricature({self.layer!r})"
