"""What a network is to see more of in a picture: whatever excites a layer, or what it has in common with a guide."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.low_precision import at_least_single
from cnnviz_widgets.engine.objectives import Objective, Seen

_MOST_PLACES = 1024


class Excitation(Objective):
    """Half the mean square of what a layer returns: its gradient is the activations themselves (Mordvintsev, 2015)."""

    def __init__(self, layer: LayerKey) -> None:
        self.layer, self.layers = layer, (layer,)

    def values(self, seen: Seen) -> Tensor:
        """Return the value of each picture."""
        return 0.5 * at_least_single(seen.maps(self.layer)).flatten(1).square().mean(1)

    @property
    def text(self) -> str:
        """The layer."""
        return f"{self.layer!r}"


class Likeness(Objective):
    """How well each place of a picture's maps goes along with the place of a guide that it is most like.

    The mean over the places p of the largest <a_p, g_q> of all places q of the guide, as in the notebook that came with
    DeepDream; of a guide with more than 1,024 places, so many spread over it.

    Parameters
    ----------
    layer
        The layer.
    guide
        What it returns for the guide, [1, C, h, w].
    """

    def __init__(self, layer: LayerKey, guide: Tensor) -> None:
        if guide.ndim != 4:
            raise OutputError(
                f"layer {layer!r} returns {describe(guide)}; a guide needs maps (images, channels, rows, columns)"
            )
        self.layer, self.layers = layer, (layer,)
        places = guide[0].flatten(1)
        count = places.shape[1]
        if count > _MOST_PLACES:
            places = places[:, torch.linspace(0, count - 1, _MOST_PLACES).round().long().to(places.device)]
        self._guide = places.detach()

    def values(self, seen: Seen) -> Tensor:
        """Return the value of each picture."""
        maps = at_least_single(seen.maps(self.layer)).flatten(2)
        return torch.einsum("ncp,cq->npq", maps, self._guide.to(maps)).amax(2).mean(1) / maps.shape[1]

    @property
    def text(self) -> str:
        """The layer."""
        return f"{self.layer!r} of a guide"
