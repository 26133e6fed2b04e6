"""One forward pass with captures open: when it may end, and which values must be copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cnnviz_widgets.engine.layers import map_tensors, tensors_in, version
from cnnviz_widgets.engine.state import ModuleState
from cnnviz_widgets.engine.survey import Survey

if TYPE_CHECKING:
    from cnnviz_widgets.engine.capture import Capture


class ForwardStopped(BaseException):
    """Ends a forward pass once everything asked for is there.

    Not an `Exception`: a module that catches those must not catch this one.
    """


class Record:
    """What one call of a layer returned.

    Attributes
    ----------
    value
        What is read: the very tensor, or a copy of it.
    original
        What the layer returned, until the pass is settled.
    copied
        Whether ``value`` is a copy.
    """

    def __init__(self, value: Any, original: Any, copied: bool) -> None:
        self.value = value
        self.original = original
        self.copied = copied
        self._versions = [(tensor, version(tensor)) for tensor in tensors_in(original)]

    def is_overwritten(self) -> bool:
        """Return whether something wrote to what the layer returned, or may have."""
        return any(then is None or version(tensor) != then for tensor, then in self._versions)

    def settle(self) -> None:
        """Let go of what is needed during the pass only."""
        self.original, self._versions = None, []


class ForwardPass:
    """One run of a module for the captures that are open.

    To copy every value would double the memory traffic. So a value is copied only where the survey does not
    know whether it is overwritten later in the pass, or knows that it is; what was not copied is checked
    after the pass, and if need be the pass is run once more.
    """

    def __init__(self, captures: Sequence[Capture], survey: Survey, *, learning: bool) -> None:
        self.stopped = False
        self._captures = captures
        self._survey = survey
        self._learning = learning

    def run(self, module: nn.Module, batch: Tensor) -> Any:
        """Return what the module returns for a batch, ``None`` where the pass ended early."""
        for each in self._captures:
            each.begin(self)
        try:
            output = module(batch)
        except ForwardStopped:
            output = None
        except BaseException:
            for each in self._captures:
                each.end()
                each.discard()
            raise
        for each in self._captures:
            each.end()
        return None if self.stopped else output

    def may_stop(self) -> bool:
        """Return whether every capture has all it wants."""
        return not self._learning and all(each.satisfied for each in self._captures)

    def foreseen_calls(self, module: nn.Module) -> int | None:
        """Return how often the pass is going to call a submodule, ``None`` where that can't be relied on."""
        if self._learning or not self._survey.predictable:
            return None
        return self._survey.calls(module) or None

    def known_calls(self, module: nn.Module) -> int:
        """Return how often a pass that ended early would have called a submodule."""
        return self._survey.calls(module) if self.stopped else 0

    def must_copy(self, module: nn.Module, call: int) -> bool:
        """Return whether the value of a call may be overwritten later in the pass."""
        predictable = self._survey.predictable and not self._learning
        return not predictable or self._survey.overwritten.get((module, call), True)

    def settle(self, output: Any, state: ModuleState) -> tuple[Any, bool]:
        """Return the output, and whether all captured values are right; learn what to copy next time."""
        exact = True
        kept: set[int] = set()
        held: set[int] | None = None
        for each in self._captures:
            for module, call, record in each.records():
                key, known = (module, call), self._survey.overwritten
                if record.is_overwritten():
                    known[key] = True
                    exact = exact and record.copied
                elif record.copied and not known.setdefault(key, False) and self._survey.predictable:
                    record.value = record.value if each.with_gradients else detached(record.original)
                    record.copied = each.with_gradients
                record.settle()
                if not record.copied:
                    held = memory_of((*state.parameters, *state.tensors)) if held is None else held
                    record.value = copied_from(record.value, held)
                    kept |= memory_of(tensors_in(record.value))
        # What is done to the output afterwards must not be seen in what was captured.
        return copied_from(output, kept), exact


def detached(value: Any) -> Any:
    """Return a value cut off the graph."""
    return map_tensors(value, lambda tensor: tensor.detach() if tensor.requires_grad else tensor)


def memory_of(tensors: Iterable[Tensor]) -> set[int]:
    """Return the addresses of the memory behind some tensors."""
    strided = (each for each in tensors if each.layout is torch.strided)
    return {each.untyped_storage().data_ptr() for each in strided}


def copied_from(value: Any, memory: set[int]) -> Any:
    """Return a value with copies of those of its tensors that lie in some memory: others write to it."""
    if memory.isdisjoint(memory_of(tensors_in(value))):
        return value
    return map_tensors(
        value, lambda tensor: tensor if memory.isdisjoint(memory_of([tensor])) else tensor.clone()
    )
