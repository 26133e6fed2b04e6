"""Be told of each step of an optimizer, just before and just after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from cnnviz_widgets.engine.errors import RecorderError

_attached: WeakSet[torch.optim.Optimizer] = WeakSet()


class StepHooks:
    """Calls ``before()`` and ``after()`` around each step of an optimizer, by its own hooks, until `remove`.

    Not for steps that a `torch.amp.GradScaler` skips, since a gradient is infinite or NaN.

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
        self._optimizer, self._module = optimizer, module
        if not self._moved():
            raise RecorderError(
                f"this {type(optimizer).__name__} moves none of the network's parameters; give the one that "
                "trains it (or the network that it trains)"
            )
        self._handles = [
            optimizer.register_step_pre_hook(lambda *_: self._unless_skipped(before)),
            optimizer.register_step_post_hook(lambda *_: self._unless_skipped(after)),
        ]
        _attached.add(optimizer)

    def _unless_skipped(self, call: Callable[[], None]) -> None:
        # Of most optimizers a scaler does not call `step` if it is to be skipped. Fused ones find out by
        # themselves, from what it attaches to them for the time of the step.
        found = getattr(self._optimizer, "found_inf", None)
        if found is None or not bool(torch.as_tensor(found).any()):
            call()

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the module's parameters that the optimizer moves, by name."""
        return {name: each.detach().clone() for name, each in self._moved().items()}

    def _moved(self) -> dict[str, Tensor]:
        ids = {id(each) for group in self._optimizer.param_groups for each in group["params"]}
        return {name: each for name, each in self._module.named_parameters() if id(each) in ids}

    def remove(self) -> None:
        """Call nothing any more; a second time does nothing."""
        while self._handles:
            self._handles.pop().remove()
            _attached.discard(self._optimizer)
