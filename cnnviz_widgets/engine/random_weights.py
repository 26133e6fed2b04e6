"""A private copy of a network whose weights are replaced by random ones, layer by layer from the top."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import WeightsError
from cnnviz_widgets.engine.private_copy import private_copy

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class CascadingRandomization:
    """A private copy of a network that loses, layer by layer from the output to the input, what it has learned.

    Each parameter is drawn anew from a normal distribution, so that signals keep about the size they had, for any
    kind of layer: kernels and matrices with mean 0 and the root mean square of their trained values, vectors
    (biases, scales) with the mean and the standard deviation of theirs.

    Attributes
    ----------
    net
        The private network.
    layers
        The layers with weights, in the order in which they are randomized. Weights of a module that is used
        without being called go along with what it is a part of.
    """

    def __init__(self, net: Network, seed: int) -> None:
        from cnnviz_widgets.engine.network import Network

        core = private_copy(net.core, "weights are replaced by random ones")
        self.net = Network(core, input=net.input, labels=net.labels, output=net.output)
        self._random = torch.Generator().manual_seed(seed)
        self._weights = _weights_by_layer(net, self.net)
        self.layers = tuple(self._weights)
        if not self.layers:
            raise WeightsError("the network has no weights that could be replaced by random ones")

    def randomize(self, layer: str) -> None:
        """Draw the weights of one layer anew."""
        with torch.no_grad():
            for weight in self._weights[layer]:
                values = weight.float()
                # A mean below zero would silence what comes back through rectifiers, random or not.
                mean = values.mean() if weight.ndim < 2 else torch.zeros_like(values.mean())
                # A single number has no spread, and stays.
                spread = (values - mean).square().mean().sqrt()
                draw = torch.randn(weight.shape, generator=self._random).to(values.device)
                weight.copy_(mean + spread * draw)


def _weights_by_layer(net: Network, private: Network) -> dict[str, list[Tensor]]:
    """Return the floating-point parameters of each layer that is called, from the last called to the first."""
    names = {module: name for name, module in net.core.named_modules()}
    called = [names[place] for place in net.survey.shapes if not isinstance(place, str) and place in names]
    found: dict[str, list[Tensor]] = {name: [] for name in reversed(called)}
    known: set[int] = set()
    for name, module in private.core.named_modules():
        owner = name
        while owner and owner not in found:
            owner = owner.rpartition(".")[0]
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point() and id(parameter) not in known:
                known.add(id(parameter))
                found.setdefault(owner, []).append(parameter)
    return {name: weights for name, weights in found.items() if weights}
