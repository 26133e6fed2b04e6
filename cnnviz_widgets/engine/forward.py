"""One forward pass with captures open: when it may end, and which values must be copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from cnnviz_widgets.engine.layers import Place, map_tensors, tensors_in, version
from cnnviz_widgets.engine.rectifiers import rectifier_calls
from cnnviz_widgets.engine.state import HasMemory, memory_of
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
        What is read.
    safe
        Whether nothing writes to ``value``: it is a copy, or the pass ends here.
    """

    def __init__(self, value: Any, safe: bool) -> None:
        self.value = value
        self.safe = safe
        self._versions = [] if safe else [(tensor, version(tensor)) for tensor in tensors_in(value)]

    def is_overwritten(self) -> bool:
        """Return whether something has written to the value, or may have."""
        return any(then is None or version(tensor) != then for tensor, then in self._versions)

    def settle(self) -> None:
        """Stop to compare: from here on the value belongs to whoever reads it."""
        self._versions = []


class ForwardPass:
    """One run of a module for the captures that are open.

    To copy every value would double the memory traffic. So a value is copied only where an earlier pass has
    shown that it is overwritten; all others are checked after the pass, and if need be the pass is repeated.
    """

    def __init__(self, captures: Sequence[Capture], survey: Survey, *, learning: bool) -> None:
        self.stopped = False
        self._captures = captures
        self._survey = survey
        self._learning = learning

    def run(self, module: nn.Module, batch: Tensor) -> Any:
        """Return what the module returns for a batch; ``None`` if all captures let the pass end early.

        Also where it did not end early (to learn, or to find out that a layer is not called): what is
        returned must not hang on that.
        """
        for each in self._captures:
            each.begin(self)
        functions = any(each.watches_functions for each in self._captures)
        try:
            with rectifier_calls(module, self._note_function) if functions else nullcontext():
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
        return None if all(each.stops for each in self._captures) else output

    def _note_function(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        """Tell the captures of a rectifier called as a function; return what takes its output's place."""
        successor = None
        for each in self._captures:
            given = output if successor is None else successor
            replaced = each.note_function(name, args, kwargs, given)
            successor = successor if replaced is None else replaced
        return successor

    def may_stop(self) -> bool:
        """Return whether every capture has all it wants."""
        return not self._learning and all(each.satisfied for each in self._captures)

    @property
    def survey(self) -> Survey:
        """What such passes do; all of it only once the first one is over."""
        return self._survey

    def foreseen_calls(self, place: Place) -> int | None:
        """Return how often the pass is going to call a place, ``None`` where that can't be relied on."""
        if self._learning or not self._survey.predictable:
            return None
        return self._survey.calls(place) or None

    def known_calls(self, place: Place) -> int:
        """Return how often a pass that ended early would have called a place."""
        return self._survey.calls(place) if self.stopped else 0

    def functions(self) -> list[str]:
        """Return the full names of the rectifiers that such a pass calls as functions."""
        return self._survey.functions

    def must_copy(self, place: Place, call: int, in_graph: bool) -> bool:
        """Return whether the value of a call is known to be overwritten, or may be without a trace."""
        # What stays in the graph is left alone where it can be: autograd tells of traceless writes no more.
        hidden = not self._survey.predictable and not in_graph
        return hidden or (place, call) in self._survey.overwritten

    def settle(self, output: Any, state: HasMemory) -> tuple[Any, bool]:
        """Return the output, and whether all captured values are right; learn what to copy next time."""
        exact = True
        kept: set[int] = set()
        for each in self._captures:
            for place, call, record in each.records():
                if record.is_overwritten():
                    self._survey.overwritten.add((place, call))
                if not record.safe and self.must_copy(place, call, each.with_gradients):
                    exact = False
                record.settle()
                # The module's own memory will be written to some day.
                record.value = copied_from(record.value, state.memory)
                kept |= memory_of(tensors_in(record.value))
        # What is done to the output afterwards must not be seen in what was captured.
        return copied_from(output, kept), exact


def detached(value: Any) -> Any:
    """Return a value cut off the graph."""
    return map_tensors(value, lambda tensor: tensor.detach() if tensor.requires_grad else tensor)


def kept_in_graph(output: Any, given: Sequence[Tensor], overwritten: bool) -> tuple[Any, Any]:
    """Return a layer's output to keep, in the graph, and what the module is to go on with.

    Parameters
    ----------
    output
        What the layer returned.
    given
        The tensors it was called with.
    overwritten
        Whether something is going to write to the output. The value to keep is then taken out of its way.

    Returns
    -------
    tuple
        The value to keep, and what takes the place of the output; ``None`` where that stays in its place.
    """
    if isinstance(output, Tensor) and not any(output is each for each in given):
        own = output
    else:
        # A node of its own in the graph for what the layer was given, or has used for another of its results.
        own = map_tensors(output, lambda tensor: tensor.view_as(tensor))
    if not overwritten:
        # Two nests: a module may well change the list or the dict that a layer returned.
        return own, None if own is output else map_tensors(own, lambda tensor: tensor)
    if memory_of(given).isdisjoint(memory_of(tensors_in(output))):
        return own, map_tensors(own, Tensor.clone)
    kept = map_tensors(output, Tensor.clone)
    if isinstance(output, Tensor):
        try:
            # The module may go on with its own name for this memory (`self.relu(y); return y`), so the way
            # through the kept value must lead back to the same place.
            output.copy_(kept)
        except RuntimeError:
            pass  # torch lets nobody write to some views, so it is by another name that this one changes
        else:
            return kept, None
    return kept, map_tensors(kept, Tensor.clone)


def copied_from(value: Any, memory: set[int]) -> Any:
    """Return a value with copies of those of its tensors that lie in some memory: others write to it."""
    if memory.isdisjoint(memory_of(tensors_in(value))):
        return value

    def apart(tensor: Tensor) -> Tensor:
        return tensor if memory.isdisjoint(memory_of([tensor])) else tensor.clone()

    return map_tensors(value, apart)
