"""The three terms of style transfer: what is where, what goes together, and how rough the picture is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.coarse_to_fine import checked_weight
from cnnviz_widgets.engine.gram import ContentDistance, GramDistance, maps_of, mean_grams
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.objectives import Objective
from cnnviz_widgets.engine.regularizers import TotalVariation

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


@dataclass(frozen=True)
class StyleWeights:
    """Those of the three terms, checked."""

    content: float
    style: float
    variation: float

    def __post_init__(self) -> None:
        for name in ("content", "style", "variation"):
            object.__setattr__(self, name, checked_weight(f"{name}_weight", getattr(self, name)))
        if not self.content and not self.style:
            raise ValueError("content_weight and style_weight are both 0, so that there is nothing to follow")


def content_layers(style_layers: Sequence[LayerKey]) -> tuple[LayerKey, ...]:
    """Return the usual layer for the content: the last but one of those for the style."""
    return (style_layers[-2:][0],)


def style_terms(
    net: Network,
    content: Tensor,
    styles: Sequence[Tensor],
    content_layers: Sequence[LayerKey],
    layer_weights: Mapping[LayerKey, float],
    shares: Sequence[float],
    weights: StyleWeights,
) -> dict[str, Objective]:
    """Return the three terms for content and styles [1, C, H, W] at one scale; those without weight are left out.

    Several styles are one: the mean of their Gram matrices. The weighted mean of the distances to each of them differs
    from the distance to that by a constant.
    """
    terms: dict[str, Objective] = {}
    maps = maps_of(net, content, content_layers, "the content")
    if weights.content:
        terms["content"] = ContentDistance(maps, weights.content)
    if weights.style:
        kept = {layer: each for layer, each in layer_weights.items() if each}
        away = {
            layer: mean_grams(each)[0]
            for layer, each in maps_of(net, content, list(kept), "the content").items()
        }
        each_style = [maps_of(net, x, list(kept), "a style") for x in styles]
        parts = [share / sum(shares) for share in shares]
        grams = {
            layer: torch.stack(
                [part * mean_grams(maps[layer])[0] for part, maps in zip(parts, each_style, strict=True)]
            ).sum(0)
            for layer in kept
        }
        scale = weights.style / sum(kept.values())
        terms["style"] = GramDistance(grams, {layer: scale * each for layer, each in kept.items()}, away=away)
    if weights.variation:
        height, width = content.shape[2:]
        terms["variation"] = TotalVariation(weights.variation / (height * width))
    return terms
