"""Put a module back exactly as it was, whatever happened in between."""

from __future__ import annotations

import random
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from operator import is_
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cnnviz_widgets.engine.errors import UnsupportedModuleError

# One lock for the whole engine. Two widgets may run on two threads over one module (or over one module and
# a part of it), and each would take the other's evaluation mode for the state to put back.
engine_lock = threading.RLock()

CONTAINERS = frozenset([dict, OrderedDict, defaultdict, Counter, list, set, deque])
_PLAIN = frozenset([type(None), bool, int, float, str, tuple])


class HasMemory(Protocol):
    """Something that knows the addresses of a module's memory."""

    @property
    def memory(self) -> set[int]:
        """The addresses."""
        ...


class ModuleState:
    """What a module and its parts hold: attributes by identity, containers and buffers by content.

    Attributes
    ----------
    modules
        The module and all its parts, also those that it keeps in plain lists.
    parameters
        Their parameters, each once.
    tensors
        Their other tensors: buffers and plain attributes.
    """

    def __init__(self, root: nn.Module) -> None:
        self.modules: list[nn.Module] = [root]
        self.parameters: list[Tensor] = []
        self.tensors: list[Tensor] = []
        self._attributes: list[dict[str, Any]] = []
        self._containers: list[tuple[Any, Any]] = []
        self._arrays: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._empty: list[Any] = []
        self._known = {id(root)}
        for module in self.modules:  # grows while it is walked
            self._attributes.append(module.__dict__.copy())
            self._note_all(self._attributes[-1].values())
        self._kinds = [type(module) for module in self.modules]
        self._gradients = [(each.requires_grad, each.grad) for each in self.parameters]
        with torch.no_grad():
            self._copies = [_TensorCopy(each) for each in self.tensors if not is_lazy(each)]
        self._random_states = _random_states()

    def _note_all(self, values: Any) -> None:
        """Note the parts, tensors and containers among some values, and what is in these containers."""
        for value in values:
            kind = type(value)
            if kind in _PLAIN:
                continue
            if kind in CONTAINERS and not value:
                # Most are: a module has a dozen for its hooks. They are changed in place.
                self._empty.append(value)
            elif id(value) not in self._known:
                self._known.add(id(value))
                if kind in CONTAINERS:
                    self._containers.append((value, value.copy()))
                    self._note_all(value.values() if isinstance(value, dict) else value)
                elif isinstance(value, Tensor):
                    (self.parameters if isinstance(value, nn.Parameter) else self.tensors).append(value)
                elif isinstance(value, nn.Module):
                    self.modules.append(value)
                elif isinstance(value, np.ndarray) and value.flags.writeable:
                    self._arrays.append((value, value.copy()))

    @cached_property
    def memory(self) -> set[int]:
        """The addresses of the memory behind its tensors."""
        return memory_of((*self.parameters, *self.tensors))

    def is_as_noted(self) -> bool:
        """Return whether all is still what it was; random states are not looked at."""
        return (
            all(map(_same_attributes, self.modules, self._kinds, self._attributes))
            and not any(self._empty)
            and all(same_content(container, content) for container, content in self._containers)
            and self._gradients == [(each.requires_grad, each.grad) for each in self.parameters]
            and all(np.array_equal(array, numbers) for array, numbers in self._arrays)
            and all(copy.is_as_noted() for copy in self._copies)
        )

    def restore(self) -> None:
        """Put everything back; what is as it was is not touched, so that this may be done twice."""
        for module, kind, attributes in zip(self.modules, self._kinds, self._attributes, strict=True):
            if type(module) is not kind:
                module.__class__ = kind
            now = module.__dict__
            now.update(attributes)
            if len(now) != len(attributes):
                for name in now.keys() - attributes.keys():
                    del now[name]
        for container in self._empty:
            if container:
                container.clear()
        for container, content in self._containers:
            _restore_container(container, content)
        for parameter, (requires_grad, gradient) in zip(self.parameters, self._gradients, strict=True):
            if parameter.requires_grad != requires_grad:
                with torch.inference_mode(parameter.is_inference()):
                    parameter.requires_grad_(requires_grad)
            if parameter.grad is not gradient:
                parameter.grad = gradient
        for array, numbers in self._arrays:
            np.copyto(array, numbers)
        for copy in self._copies:
            copy.restore()
        for restore_random_state in self._random_states:
            restore_random_state()


def memory_of(tensors: Iterable[Tensor]) -> set[int]:
    """Return the addresses of the memory behind some tensors."""
    strided = (each for each in tensors if each.layout is torch.strided)
    return {each.untyped_storage().data_ptr() for each in strided}


def same_content(container: Any, content: Any) -> bool:
    """Return whether a container still holds the very things that its copy holds, in that order."""
    if isinstance(container, set):
        return bool(container == content)
    same = len(container) == len(content) and all(map(is_, container, content))
    return same and (not isinstance(container, dict) or all(map(is_, container.values(), content.values())))


def _same_attributes(module: nn.Module, kind: type, attributes: dict[str, Any]) -> bool:
    now = module.__dict__
    same = type(module) is kind and now.keys() == attributes.keys()
    return same and all(now[name] is value for name, value in attributes.items())


def _restore_container(container: Any, content: Any) -> None:
    # Another thread may be reading it: what is right already is not emptied for a moment.
    if not same_content(container, content):
        container.clear()
        (container.extend if isinstance(container, list | deque) else container.update)(content)


class _TensorCopy:
    """The value of a buffer, put back only if it was changed: a write upsets a pending backward pass."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.value = tensor.clone()
        self.requires_grad = tensor.requires_grad

    def is_as_noted(self) -> bool:
        tensor, value = self.tensor, self.value
        if tensor.shape != value.shape or tensor.dtype != value.dtype or tensor.device != value.device:
            return False
        plain = tensor.layout is torch.strided and not tensor.is_meta
        return plain and tensor.requires_grad == self.requires_grad and torch.equal(tensor, value)

    def restore(self) -> None:
        tensor, value = self.tensor, self.value
        if tensor.requires_grad != self.requires_grad and tensor.is_leaf:
            tensor.requires_grad_(self.requires_grad)
        if tensor.shape != value.shape or tensor.dtype != value.dtype or tensor.device != value.device:
            tensor.data = value
        # Compared by value: a write through `.data` leaves no trace in the tensor's version.
        elif tensor.layout is not torch.strided or tensor.is_meta or not torch.equal(tensor, value):
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                tensor.copy_(value)


def _random_states() -> list[Callable[[], object]]:
    """Return calls that set every global random state back to what it is now."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 -- the global one is meant
    python_state = random.getstate()
    return [
        *_torch_states(),
        lambda: np.random.set_state(numpy_state),  # noqa: NPY002
        lambda: random.setstate(python_state),
    ]


def _torch_states() -> list[Callable[[], object]]:
    """Return calls that set those of torch back."""
    torch_state = torch.get_rng_state()
    calls: list[Callable[[], object]] = [lambda: torch.set_rng_state(torch_state)]
    if torch.cuda.is_initialized():
        cuda_states = torch.cuda.get_rng_state_all()
        calls.append(lambda: torch.cuda.set_rng_state_all(cuda_states))
    if torch.backends.mps.is_available():
        mps_state = torch.mps.get_rng_state()
        calls.append(lambda: torch.mps.set_rng_state(mps_state))
    return calls


@contextmanager
def _guarded(module: nn.Module) -> Iterator[ModuleState]:
    with engine_lock:
        state = ModuleState(module)
        try:
            for parameter in state.parameters:
                if parameter.grad is not None:
                    parameter.grad = None
            yield state
        finally:
            try:
                state.restore()
            except BaseException:
                # An interrupt may come while things are put back: finish that, then let it through.
                state.restore()
                raise


@contextmanager
def preserved(module: nn.Module) -> Iterator[nn.Module]:
    """See the module afterwards exactly as before: the guard around everything the engine does with it.

    Put back, also after an exception, a stop or an interrupt: hooks, the training flag of every submodule,
    buffers (identity and value), the identity and ``requires_grad`` of parameters, the identity of their
    ``.grad`` (which reads ``None`` inside, so that nothing is added to it), plain attributes, collections and
    NumPy arrays of every submodule, and the global random states of torch, NumPy and Python. Parameter *values* are not
    copied: nothing in this package writes to them.

    One thread at a time is inside; the same thread may enter again. Random numbers that another thread draws
    meanwhile are drawn once more afterwards, since the random states are everybody's.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    >>> with preserved(model):
    ...     _ = model.eval().requires_grad_(False)
    >>> model.training, model[0].weight.requires_grad
    (True, True)
    """
    with _guarded(module):
        yield module


@contextmanager
def evaluation(module: nn.Module, *, gradients: bool = False) -> Iterator[ModuleState]:
    """See the module as at test time: evaluation mode, no gradients for parameters; preserved afterwards.

    Parameters
    ----------
    gradients
        Whether gradients flow to the input. They never flow to parameters: that would cost time and would
        change the ``.grad`` of the user's model.
    """
    with _guarded(module) as state:
        if gradients and any(each.is_inference() for each in (*state.parameters, *state.tensors)):
            raise UnsupportedModuleError(
                "the module was made inside of torch.inference_mode(), so no gradient can flow back through it; make "
                "it outside, or take copy.deepcopy(module), made outside"
            )
        for each in module.modules():
            # Not `.eval()`: some modules override it to merge or fuse their weights.
            if "training" in each.__dict__:
                each.__dict__["training"] = False
            else:
                each.training = False
        if gradients:
            for parameter in state.parameters:
                if parameter.requires_grad:
                    parameter.requires_grad_(False)
        with computing(gradients=gradients):
            yield state


@contextmanager
def computing(*, gradients: bool) -> Iterator[None]:
    """Run passes inside as `evaluation` does, of a module that is in evaluation mode and need not be preserved."""
    # Fused attention passes its submodules by, unless they have hooks: what is looked at must not decide
    # what is computed.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def chance() -> tuple[Any, ...]:
    """Return the random states of Python and NumPy: they differ once somebody has drawn."""
    _, key, *rest = np.random.get_state()  # noqa: NPY002 -- the global one is meant
    return random.getstate(), np.asarray(key).tobytes(), *rest


def moved_chance() -> tuple[Any, ...]:
    """Draw once from Python and NumPy, and return their random states then.

    Who seeds them anew may set them to what they were, but not to this.
    """
    random.random()
    np.random.random()  # noqa: NPY002
    return chance()


@contextmanager
def same_chance(*, only_torch: bool = False) -> Iterator[None]:
    """See the global random states afterwards as before; those of torch alone where nothing else draws inside."""
    states = _torch_states() if only_torch else _random_states()
    try:
        yield
    finally:
        for restore in states:
            restore()
