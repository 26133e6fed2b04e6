"""What the forward passes of a module do, learned by watching one of each kind to its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.channel_axes import Axis, WatchChannelAxes
from cnnviz_widgets.engine.dispatch_mode import DispatchMode
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.layers import LayerKey, Place, main_tensor, split_key
from cnnviz_widgets.engine.rectifiers import find_place, rectifier_calls
from cnnviz_widgets.engine.state import CONTAINERS, chance, same_content
from cnnviz_widgets.engine.support import check_supported

PassKind: TypeAlias = tuple[tuple[int, ...], bool]
"""The shape of the batch, and whether gradients are recorded: a module may do another thing for each."""

# Where numbers, or their memory, leave torch's sight.
_LEAVES_TORCH = frozenset(
    [
        Tensor.tolist,
        Tensor.numpy,
        Tensor.__array__,
        Tensor.__dlpack__,
        Tensor.data_ptr,
        Tensor.data.__get__,  # type: ignore[attr-defined]
        Tensor.data.__set__,  # type: ignore[attr-defined]
    ]
)
_DEPENDS_ON_NUMBERS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
# What every module has; the rest of its attributes are its own settings.
_COMMON = frozenset(nn.Module().__dict__)
_REMEMBERED = 32


@dataclass
class Survey:
    """What one forward pass did.

    Attributes
    ----------
    shapes
        For each submodule, and each rectifier called as a function, the shape of what each of its calls
        returned, without the batch axis; ``None`` where that is no tensor. In the order of first returns. Maps are
        (channels, rows, columns), also where they come with their channels at the end.
    channels_last
        The calls that returned maps with their channels at the end, [N, H, W, C]: see `channel_axes`.
    predictable
        Whether all passes of this kind do the same: nothing in Python looked at a number (which could steer
        what is called) or got hold of memory (which could be written to without a trace).
    overwritten
        Calls that were captured, and whose value was written to afterwards.
    """

    shapes: dict[Place, list[tuple[int, ...] | None]] = field(default_factory=dict)
    channels_last: set[tuple[Place, int]] = field(default_factory=set)
    predictable: bool = True
    overwritten: set[tuple[Place, int]] = field(default_factory=set)

    def has_channels_last(self, root: nn.Module, key: LayerKey) -> bool:
        """Return whether a layer's maps come with their channels at the end."""
        name, call = split_key(key)
        return (find_place(root, name), call or 0) in self.channels_last

    def calls(self, place: Place) -> int:
        """Return how often the pass called a submodule, or a rectifier as a function."""
        return len(self.shapes.get(place, ()))

    @property
    def functions(self) -> list[str]:
        """The full names of the rectifiers that are called as functions."""
        return [place for place in self.shapes if isinstance(place, str)]


class _WatchOperations(DispatchMode):
    """Notices operations whose result, or the size of it, hangs on numbers, and those that write unseen."""

    def __init__(self, survey: Survey) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.survey = survey

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        steers = any(tag in func.tags for tag in _DEPENDS_ON_NUMBERS) and not _picks_by_position(func, args)
        # Operations on lists of tensors write to them without counting that up.
        if steers or (func._schema.is_mutable and "_foreach_" in func._schema.name):
            self.survey.predictable = False
        return func(*args, **(kwargs or {}))


def _picks_by_position(func: Any, args: Any) -> bool:
    """Return whether this is an indexing by numbers, whose result has the size of the index."""
    picks = func is torch.ops.aten.index.Tensor
    return picks and all(each is None or each.dtype not in (torch.bool, torch.uint8) for each in args[1])


class _WatchLeaks(TorchFunctionMode):
    """Notices numbers and memory that leave torch."""

    def __init__(self, survey: Survey) -> None:
        super().__init__()
        self.survey = survey

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LEAVES_TORCH:
            self.survey.predictable = False
        return func(*args, **(kwargs or {}))


@contextmanager
def watched(module: nn.Module) -> Iterator[Survey]:
    """Fill a `Survey` while the module runs once inside. It computes the same as without being watched."""
    survey = Survey()
    thread = threading.get_ident()
    axes: dict[Place, list[Axis]] = {}
    watch = WatchChannelAxes()

    def note(each: nn.Module, _: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            take(each, output)

    def note_function(name: str, args: Any, kwargs: Any, output: Any) -> None:
        take(name, output)

    def take(place: Place, output: Any) -> None:
        survey.shapes.setdefault(place, []).append(_shape(output))
        axes.setdefault(place, []).append(watch.axis_of(output))

    def note_image(_: nn.Module, given: Any) -> None:
        if threading.get_ident() == thread:
            watch.tell_image(given)

    handles = [each.register_forward_hook(note) for each in module.modules()]
    handles.append(module.register_forward_pre_hook(note_image))
    before = chance()
    try:
        with _WatchOperations(survey), _WatchLeaks(survey), watch, rectifier_calls(module, note_function):
            yield survey
    finally:
        for handle in handles:
            handle.remove()
    _put_channels_first(survey, axes)
    if chance() != before:
        # Chance may have steered it. (torch's own chance is seen when its numbers are looked at.)
        survey.predictable = False


def _put_channels_first(survey: Survey, axes: Mapping[Place, Sequence[Axis]]) -> None:
    """Note which maps come with their channels at the end, now that all is known of them."""
    for place, known in axes.items():
        shapes = survey.shapes[place]
        for call, axis in enumerate(known):
            shape = shapes[call]
            if axis.is_last and shape is not None:
                survey.channels_last.add((place, call))
                shapes[call] = (shape[-1], *shape[:-1])


def _shape(output: Any) -> tuple[int, ...] | None:
    try:
        return tuple(main_tensor(output).shape[1:])
    except OutputError:
        return None


class Surveys:
    """The surveys of one module by kind of pass, forgotten once the module is no longer the same.

    Noticed are parts that were added, taken away or replaced, and their attributes: a rectifier made
    in-place, a number of repetitions, another ``forward``. To be asked in evaluation mode.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parts: list[_Part] = []
        self._surveys: dict[PassKind, Survey] = {}
        self._structure = object()

    def structure(self) -> object:
        """Return the same object for as long as the module is the same."""
        modules = list(self._module.modules())
        if len(modules) != len(self._parts) or not all(
            part.is_still(module) for part, module in zip(self._parts, modules, strict=True)
        ):
            # It may have been compiled since.
            check_supported(self._module)
            self._surveys.clear()
            self._parts = [_Part(module) for module in modules]
            self._structure = object()
        return self._structure

    def find(self, kind: PassKind) -> Survey | None:
        """Return what is known of such passes, if anything."""
        self.structure()
        return self._surveys.get(kind)

    def add(self, kind: PassKind, survey: Survey) -> None:
        """Remember a survey. Images of many sizes make many kinds of passes, so old ones are forgotten."""
        self._surveys[kind] = survey
        if len(self._surveys) > _REMEMBERED:
            del self._surveys[next(iter(self._surveys))]


class _Part:
    """A submodule with its own attributes, to tell whether it still is what was watched."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.size = len(module.__dict__)
        # No tensors: they would be kept alive.
        own = [(name, value) for name, value in module.__dict__.items() if name not in _COMMON]
        self.settings = [(name, value) for name, value in own if not isinstance(value, Tensor)]
        self.containers = [(value, value.copy()) for _, value in self.settings if type(value) in CONTAINERS]

    def is_still(self, module: nn.Module) -> bool:
        now = module.__dict__
        return (
            module is self.module
            and len(now) == self.size
            and all(now.get(name) is value for name, value in self.settings)
            and all(same_content(container, content) for container, content in self.containers)
        )
