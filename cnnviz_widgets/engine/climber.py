"""What objectives say of pictures, and their gradients: as far into the network as needed, on a private copy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.batch_statistics import independent_parts, together
from cnnviz_widgets.engine.capture import apart, capture, value_in
from cnnviz_widgets.engine.input_gradients import backward_pass
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.narrowing import Kept, Narrowing, narrow
from cnnviz_widgets.engine.objectives import Objective, Seen, layers_of
from cnnviz_widgets.engine.private_network import PrivateNetwork, private_network

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class Climber:
    """Evaluates objectives and their gradients for pictures, and leaves the user's module alone.

    It works on a copy of the module (see `private_network`), so that the module may be trained, or looked into by
    others, between two steps and meanwhile. Where a module can't be copied it takes the module itself, guarded for each
    step.
    """

    def __init__(self, net: Network, terms: Mapping[str, Objective]) -> None:
        self._terms = dict(terms)
        for layer in layers_of(self._terms.values()):
            net.layer(layer)  # says what is wrong with it
        self._narrowing, self._may_narrow = Narrowing({}, {}), True
        self.net = private_network(net)

    # Convolutions are faster by a third and more.
    _memory = torch.channels_last

    def values(self, picture: Tensor, shown: Tensor) -> dict[str, Tensor]:
        """Return each term's values [N] of pictures, of which the network is shown a changed version."""
        if self._memory is torch.channels_last:
            try:
                return self._values(picture, shown)
            except RuntimeError:
                # Modules that use `.view` take no such memory. Whatever else it is comes again.
                self._memory = torch.contiguous_format
        return self._values(picture, shown)

    def _values(self, picture: Tensor, shown: Tensor) -> dict[str, Tensor]:
        seen = _look(self.net, self._terms.values(), picture, self._laid(shown), self._narrowing.kept)
        return {name: each.values(seen) for name, each in self._terms.items()}

    def _laid(self, shown: Tensor) -> Tensor:
        return shown.contiguous(memory_format=self._memory)

    def narrow(self, shown: Tensor) -> None:
        """Leave out what no term reads, as soon as that can be known; inside a `step` with plain gradients."""
        if self._may_narrow and isinstance(self.net, PrivateNetwork) and self.net.is_foreseeable(shown):
            self._may_narrow = False
            objectives = list(self._terms.values())
            self._narrowing = narrow(
                self.net.core,
                objectives,
                shown,
                lambda x, kept: _look(self.net, objectives, x, self._laid(x), kept),
            )
            self._narrowing.apply()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Compute inside: forward and backward."""
        guard = self.net.stepping() if isinstance(self.net, PrivateNetwork) else backward_pass(self.net)
        with apart(self.net), guard, torch.inference_mode(False), torch.enable_grad():
            try:
                self._narrowing.apply()
                yield
            finally:
                self._narrowing.undo()


def judged(net: Network, objective: Objective, x: Tensor) -> NDArray[np.float32]:
    """Return an objective's value [N] for prepared pictures, without gradients."""
    with apart(net), torch.no_grad():
        values: NDArray[np.float32] = objective.values(_look(net, [objective], x, x)).float().cpu().numpy()
        return values


def _look(
    net: Network, objectives: Collection[Objective], picture: Tensor, x: Tensor, kept: Kept | None = None
) -> Seen:
    """Run the network on what it is shown of pictures, as far as some objectives ask for; with gradients if enabled."""
    layers = layers_of(objectives)
    to_the_end = any(each.needs_output for each in objectives)
    if not layers and not to_the_end:
        return Seen(net, picture, {})
    parts = [_pass(net, layers, each, to_the_end) for each in independent_parts(net.core, x)]
    found, output = together(parts)
    return Seen(net, picture, found, output, kept)


def _pass(
    net: Network, layers: Collection[LayerKey], x: Tensor, to_the_end: bool
) -> tuple[dict[LayerKey, Any], Any]:
    """Return what layers and the network return."""
    if not layers:
        return {}, net(x)
    with capture(net, layers, gradients=torch.is_grad_enabled(), stop=not to_the_end) as captured:
        output = net(x)
        return {key: value_in(captured, key) for key in layers}, output
