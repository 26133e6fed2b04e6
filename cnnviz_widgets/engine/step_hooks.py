"""Be told of each step of an optimizer, just before and just after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from cnnviz_widgets.engine.errors import RecorderError

_attached: WeakSet[torch.optim.Optimizer] = WeakSet()


class StepHooks:
    """Calls ``before()`` and ``after()`` around each step of an optimizer, by its own hooks, until `remove`.

    Raises
    ------
    TypeError
        Not a `torch.optim.Optimizer`.
    RecorderError
        Another one is attached to it already, or it moves none of the module's parameters.
    """

    def __init__(
        self, optimizer: Any, module: nn.Module, before: Callable[[], None], after: Callable[[], None]
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer= takes a torch.optim.Optimizer, got {type(optimizer).__name__}; "
                "without one, call recorder.record(step) in the loop"
            )
        if optimizer in _attached:
            raise RecorderError(
                f"a recorder is attached to this {type(optimizer).__name__} already; close it first: recorder.close()"
            )
        self._optimizer = optimizer
        if not any(id(each) in self.moved() for each in module.parameters()):
            raise RecorderError(
                f"this {type(optimizer).__name__} moves none of the network's parameters; give the one that "
                "trains it (or the network that it trains)"
            )
        self._handles = [
            optimizer.register_step_pre_hook(lambda *_: before()),
            optimizer.register_step_post_hook(lambda *_: after()),
        ]
        _attached.add(optimizer)

    def moved(self) -> set[int]:
        """Return the ids of the parameters that the optimizer moves."""
        return {id(each) for group in self._optimizer.param_groups for each in group["params"]}

    def remove(self) -> None:
        """Call nothing any more; a second time does nothing."""
        while self._handles:
            self._handles.pop().remove()
            _attached.discard(self._optimizer)
