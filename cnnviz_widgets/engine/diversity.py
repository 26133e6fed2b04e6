"""Diversity: several pictures for one target, each different from the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import TargetError
from cnnviz_widgets.engine.gram import gram_matrices
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.objectives import Objective, Seen


class Alikeness(Objective):
    """How alike the pictures of a group are to a layer: a penalty, to be subtracted.

    For each picture the sum, over the others of its group, of the cosine between their Gram matrices (which features
    occur together, wherever they are), times the weight (Olah et al., 2017).

    Parameters
    ----------
    layer
        The layer, whose maps are compared.
    groups
        For each picture, the number of its group.
    weight
        In units of the objective.
    """

    def __init__(self, layer: LayerKey, groups: Sequence[int], weight: float) -> None:
        self.layer, self.layers, self.weight = layer, (layer,), weight
        group = torch.tensor(list(groups))
        self._others = (group[:, None] == group[None, :]) & ~torch.eye(len(group), dtype=torch.bool)

    def values(self, seen: Seen) -> Tensor:
        """Return each picture's penalty."""
        maps = seen.maps(self.layer)
        if maps.ndim != 4:
            raise TargetError(
                f"diversity compares maps, and layer {self.layer!r} returns {tuple(maps.shape)}"
            )
        grams = torch.nn.functional.normalize(gram_matrices(maps).flatten(1), dim=1)
        return self.weight * (grams @ grams.T * self._others.to(grams)).sum(1)
