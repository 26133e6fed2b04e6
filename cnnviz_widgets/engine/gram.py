"""Gram matrices: which features of a layer go together in a picture, wherever they are; and distances by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, OutputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.objectives import Objective, Seen

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# Of the squared size of a Gram matrix: what is closer to it than that is the same but for details.
_NEAR = 1e-4


def gram_matrices(maps: Tensor) -> Tensor:
    """Return the Gram matrix G = F F' of each picture's maps, [N, C, C] of [N, C, ...].

    F are the maps with their M positions in a row, [C, M]: G[i, j] is how strongly features i and j occur at the same
    places, summed over all of them (Gatys et al., 2015, eq. 1). Computed with 32 bits at least.
    """
    flat = maps.flatten(2)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    return flat @ flat.transpose(1, 2)


def mean_grams(maps: Tensor) -> Tensor:
    """Return G / M, the Gram matrices per position: those of pictures of different sizes can be compared."""
    return gram_matrices(maps) / maps.flatten(2).shape[2]


class GramDistance(Objective):
    """How far a picture's Gram matrices are from given ones: a loss, to be subtracted.

    For each layer E = 1 / (4 N^2 M^2) sum over i, j of (G[i, j] - A[i, j])^2, with N channels and M positions (Gatys et
    al., 2015, eq. 2), written with G / M and A / M, each with its own M: the same where the sizes are, and right where
    the two pictures have different ones. The sum of weight * E over the layers is the value.

    Parameters
    ----------
    grams
        By layer, what is to be reached: `mean_grams` [C, C].
    weights
        By layer.
    balanced
        Whether E is divided by what it is for a Gram matrix of zeros: then it is the relative squared distance
        sum (G / M - A / M)^2 / sum (A / M)^2, on one scale for all layers and networks.
    away
        By layer, the `mean_grams` [C, C] for which a balanced E is 1, in place of zeros; zeros after all where they are
        within 1 % of what is to be reached, by the root of the sum of squares: rounding is no yardstick.
    """

    def __init__(
        self,
        grams: Mapping[LayerKey, Tensor],
        weights: Mapping[LayerKey, float],
        *,
        balanced: bool = True,
        away: Mapping[LayerKey, Tensor] | None = None,
    ) -> None:
        self.layers = tuple(grams)
        self._grams, self._balanced, self._away = dict(grams), balanced, dict(away or {})
        self._scales = {layer: weights[layer] / self._unit(layer) for layer in self.layers}

    def _unit(self, layer: LayerKey) -> float:
        gram = self._grams[layer]
        if not self._balanced:
            return 4.0 * len(gram) ** 2
        size = float(gram.square().sum())
        if size == 0:
            raise TargetError(
                f"layer {key_text(layer)!r} returns nothing but zeros for this picture, so there is nothing to reach; "
                "leave it out"
            )
        away = float((self._away[layer] - gram).square().sum()) if layer in self._away else size
        return away if away > _NEAR * size else size

    def values(self, seen: Seen) -> Tensor:
        """Return the weighted sum of each picture's distances [N]."""
        return torch.stack([self._of(layer, seen.maps(layer)) for layer in self.layers]).sum(0)

    def _of(self, layer: LayerKey, maps: Tensor) -> Tensor:
        difference = mean_grams(maps) - self._grams[layer]
        return self._scales[layer] * difference.square().flatten(1).sum(1)


class ContentDistance(Objective):
    """How far a picture's maps are from given ones, place by place: a loss, to be subtracted.

    For each layer 1/2 sum (F - P)^2 (Gatys et al., 2016, eq. 1), divided by 1/2 sum P^2 where it is balanced. The mean
    over the layers, times a weight, is the value.

    Parameters
    ----------
    maps
        By layer, what is to be reached [1, C, H, W].
    weight
        Of all of it.
    balanced
        Whether the distances are relative ones.
    """

    def __init__(self, maps: Mapping[LayerKey, Tensor], weight: float, *, balanced: bool = True) -> None:
        self.layers = tuple(maps)
        self._maps = {layer: _floats(each) for layer, each in maps.items()}
        self._scales = {layer: weight / len(maps) * 0.5 for layer in maps}
        for layer, each in self._maps.items() if balanced else ():
            size = float(each.square().sum())
            if size == 0:
                raise TargetError(
                    f"layer {key_text(layer)!r} returns nothing but zeros for the content; take another one"
                )
            self._scales[layer] = weight / len(maps) / size

    def values(self, seen: Seen) -> Tensor:
        """Return each picture's weighted distance [N]."""
        found = [
            self._scales[layer] * (_floats(seen.maps(layer)) - each).square().flatten(1).sum(1)
            for layer, each in self._maps.items()
        ]
        return torch.stack(found).sum(0)


def _floats(maps: Tensor) -> Tensor:
    return maps if maps.dtype == torch.float64 else maps.float()


def maps_of(net: Network, x: Tensor, layers: Sequence[LayerKey], what: str) -> dict[LayerKey, Tensor]:
    """Return what layers return for a prepared picture [1, C, H, W] that may have another size than the network's.

    Parameters
    ----------
    net
        The network.
    x
        The picture.
    layers
        Which layers.
    what
        How an error names the picture, such as ``"the picture"``.

    Raises
    ------
    InputError
        The network fails for a picture of this size.
    TargetError
        A layer whose values have no places, [N, C] or the like.
    OutputError
        NaN or infinity.
    """
    try:
        with apart(net), capture(net, layers, stop=True) as seen:
            net(x)
            found = {layer: maps_in(seen, layer) for layer in layers}
    except RuntimeError as error:
        height, width = x.shape[2:]
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the network fails for {what} of {height} x {width} pixels ({reason}); it may be too small for these "
            "layers, or the network takes one size only: take a larger size, or its own one, with one octave or scale "
            "(octaves=1, scales=1)"
        ) from error
    for layer, maps in found.items():
        if maps.ndim < 3 or not maps.shape[2:].numel():
            raise TargetError(
                f"layer {key_text(layer)!r} returns {tuple(maps.shape[1:])} for {what} of {x.shape[2]} x {x.shape[3]} "
                "pixels: no maps with places; take a layer before, or a larger picture"
            )
        if not bool(maps.isfinite().all()):
            raise OutputError(f"layer {key_text(layer)!r} returns NaN or infinity for {what}")
    return found


def texture_layers(net: Network, most: int = 5) -> tuple[LayerKey, ...]:
    """Return layers that together tell textures apart, from fine to coarse, for any network.

    Candidates are the layers called once whose values have places (two rows and columns at least), poolings aside;
    of these, where there are any, those that return nothing below 0 for noise: rectified ones. The first candidate of
    each resolution is taken, as long as it has no fewer channels than those before: bottlenecks are passed over. If
    that makes fewer than ``most``, the next ones are those with which the channels grow. For VGG that is conv1_1 to
    conv5_1 behind their rectifiers, the layers of Gatys et al.

    Raises
    ------
    LayerNotFoundError
        The network has no layer with places.
    """
    maps = _candidates(net)
    widening: list[tuple[LayerKey, int, int]] = []
    channels = 0
    for layer, (count, height, width) in maps.items():
        if count >= channels:
            widening.append((layer, count, height * width))
            channels = count
    resolutions: dict[int, LayerKey] = {}
    grown: list[LayerKey] = []
    before = 0
    for layer, count, places in widening:
        if places not in resolutions:
            resolutions[places] = layer
        elif count > before:
            grown.append(layer)
        before = count
    chosen = list(resolutions.values())[:most]
    chosen += grown[: most - len(chosen)]
    order = list(maps)
    return tuple(sorted(chosen, key=order.index))


def _candidates(net: Network) -> dict[LayerKey, tuple[int, int, int]]:
    """Return shapes [C, H, W] by layer, in the order in which they return: of rectified ones, where there are any."""
    names = {module: name for name, module in net.core.named_modules() if name}
    named: dict[LayerKey, tuple[int, int, int]] = {}
    for place, calls in net.survey.shapes.items():
        shape = calls[0]
        # A rectifier called as a function is no layer to be named by default.
        if place not in names or len(calls) > 1 or shape is None or len(shape) != 3 or min(shape[1:]) < 2:
            continue
        if "pool" not in type(place).__name__.casefold():
            named[names[place]] = (shape[0], shape[1], shape[2])
    if not named:
        raise LayerNotFoundError(
            "this network has no layer that is called once and returns maps; name layers yourself"
        )
    example = net.input.example(device=net.device, dtype=net.dtype)
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(example.shape, generator=random).to(example)
    maps = maps_of(net, noise, list(named), "noise")
    rectified = {layer: named[layer] for layer, each in maps.items() if bool((each >= 0).all())}
    return _whole_blocks(net, rectified or named)


def _whole_blocks(
    net: Network, shapes: dict[LayerKey, tuple[int, int, int]]
) -> dict[LayerKey, tuple[int, int, int]]:
    """Return the shapes without those of branches: parts of a block that returns as many places, more channels."""
    blocks = {
        f"{name}.": shapes[name]
        for name, module in net.core.named_modules()
        if name in shapes and not isinstance(module, nn.Sequential)
    }

    def is_branch(layer: LayerKey, shape: tuple[int, int, int]) -> bool:
        around = (block for prefix, block in blocks.items() if str(layer).startswith(prefix))
        return any(block[1:] == shape[1:] and block[0] > shape[0] for block in around)

    return {layer: shape for layer, shape in shapes.items() if not is_branch(layer, shape)}


def checked_layers(
    net: Network, name: str, layers: object, default: Callable[[Network], tuple[LayerKey, ...]] | None = None
) -> tuple[LayerKey, ...]:
    """Return layers as they were given, each of them checked: one key, or several of them.

    ``None``: the default, if there is one.
    """
    if layers is None and default is not None:
        return default(net)
    if isinstance(layers, str) or (
        isinstance(layers, tuple) and len(layers) == 2 and isinstance(layers[1], int)
    ):
        layers = [layers]
    if not isinstance(layers, list | tuple):
        raise TypeError(f"{name} takes a layer's name or a list of them, got {type(layers).__name__}")
    if not layers:
        usual = (
            f", such as {net.layers[-1].name!r}"
            if default is None
            else ", or leave it out for the usual ones"
        )
        raise LayerNotFoundError(f"{name} is empty; name at least one layer{usual}")
    for each in layers:
        net.layer(each)
    if len(set(layers)) < len(layers):
        raise ValueError(f"{name} names a layer twice: {layers!r}")
    return tuple(layers)
