"""A network over a copy of a module, which nobody else has, so that little need be watched over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cnnviz_widgets.engine.capture import Capture
from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.private_copy import private_copy
from cnnviz_widgets.engine.state import HasMemory, chance, computing, evaluation, moved_chance, same_chance
from cnnviz_widgets.engine.survey import PassKind, Survey, Surveys


class PrivateNetwork(Network):
    """A network over a copy of another one's module, in evaluation mode, for one user.

    The copy is guarded and put back after a pass until one has left it as it was, and drawn no number of Python's or
    NumPy's, and all passes of its kind are known to do the same operations: then the next ones do so, too. Torch's
    random state is put back after each.

    Parameters
    ----------
    net
        The network whose module is copied.
    need
        Why, for the error.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied.
    """

    def __init__(self, net: Network, need: str) -> None:
        core = private_copy(net.core, need)
        core.eval().requires_grad_(False)
        super().__init__(core, input=net.input, labels=net.labels, device=net.device, output=net.output)
        self._surveys: Surveys = _Unchanged(core)
        self._kind: PassKind = ((), False)
        self._steady: dict[PassKind, _Memory] = {}

    def is_foreseeable(self, x: Tensor) -> bool:
        """Return whether a pass of such a batch was watched, and all like it do the same."""
        survey = self._surveys.find((tuple(x.shape), x.requires_grad))
        return survey is not None and survey.predictable

    def stepping(self) -> AbstractContextManager[Any]:
        """Return what to keep open during a forward and a backward pass."""
        return nullcontext()

    def _forward(self, x: Tensor, captures: Sequence[Capture], gradients: bool) -> tuple[Any, bool]:
        self._kind = (tuple(x.shape), gradients)
        return super()._forward(x, captures, gradients)

    @contextmanager
    def _guarded(self, gradients: bool) -> Iterator[HasMemory]:
        kind = self._kind
        known = self._steady.get(kind)
        if known is not None:
            with same_chance(only_torch=True), computing(gradients=gradients):
                yield known
            return
        with evaluation(self.core, gradients=gradients) as state:
            survey = self._surveys.find(kind)
            # The watched pass may have left the random states as they were by chance, having seeded them. One that
            # draws from them is not predictable: all its passes are to draw the same.
            moved = moved_chance() if survey is not None and survey.predictable else None
            yield state
            if moved is not None and moved == chance() and state.is_as_noted():
                # Not the state itself: it has noted the captures that are open now, and what they hold.
                self._steady[kind] = _Memory(state.memory)


@dataclass(frozen=True)
class _Memory:
    """The addresses of the copy's memory, which stays where it is."""

    memory: set[int]


class _Unchanged(Surveys):
    """Surveys that stay: the module is changed by its owner only, who knows what that does."""

    def find(self, kind: PassKind) -> Survey | None:
        """Return what is known of such passes."""
        return self._surveys.get(kind)


def private_network(net: Network) -> Network:
    """Return a network of its own for one run, so that the user's may be trained, or looked into by others, meanwhile.

    That goes for all of the run: for what it is to reach, for each step, and for what is said of the result. A private
    network is returned as it is, and so is one that can't be copied, which is guarded in each pass.
    """
    if isinstance(net, PrivateNetwork):
        return net
    try:
        return PrivateNetwork(net, "it is run while its pictures are shown")
    except UnsupportedModuleError:
        return net
