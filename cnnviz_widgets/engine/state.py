"""Put a module back exactly as it was, whatever happened in between."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# One lock for the whole engine. Two widgets may run on two threads over one module (or over one module and
# a part of it), and each would take the other's evaluation mode for the state to put back.
engine_lock = threading.RLock()

_CONTAINERS = (dict, OrderedDict, defaultdict, list, set)


class _ModuleSnapshot:
    """What one submodule holds: its attributes by identity and its containers by content."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.attributes = dict(module.__dict__)
        # Hooks, parameters, buffers and children live in dictionaries that are changed in place. So do the
        # lists in which some modules collect what they have seen.
        self.containers = [
            (value, value.copy()) for value in self.attributes.values() if type(value) in _CONTAINERS
        ]

    def restore(self) -> None:
        attributes = self.module.__dict__
        for name in [name for name in attributes if name not in self.attributes]:
            del attributes[name]
        for name, value in self.attributes.items():
            if attributes.get(name, self) is not value:
                attributes[name] = value
        for container, content in self.containers:
            _restore_container(container, content)


def _restore_container(container: Any, content: Any) -> None:
    """Give ``container`` its content back, unless it still has it (order counts)."""
    if isinstance(container, dict):
        pairs = zip(container.items(), content.items(), strict=False)
        same = len(container) == len(content) and all(
            now[0] is then[0] and now[1] is then[1] for now, then in pairs
        )
    elif isinstance(container, list):
        same = len(container) == len(content) and all(
            now is then for now, then in zip(container, content, strict=True)
        )
    else:
        same = container == content
    if not same:
        container.clear()
        (container.extend if isinstance(container, list) else container.update)(content)


class _BufferSnapshot:
    """The value of one buffer, copied back only if something wrote to it."""

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer
        self.value = buffer.detach().clone()
        self.requires_grad = buffer.requires_grad
        self.version = None if buffer.is_inference() else buffer._version

    def restore(self) -> None:
        if self.buffer.is_leaf and self.buffer.requires_grad != self.requires_grad:
            self.buffer.requires_grad_(self.requires_grad)
        if self.version is None:
            with torch.inference_mode():
                self.buffer.copy_(self.value)
        elif self.buffer._version != self.version:
            with torch.no_grad():
                self.buffer.copy_(self.value)


def _random_states() -> list[Callable[[], None]]:
    """Return calls that set every global random state back to what it is now."""
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state(legacy=False)
    python_state = random.getstate()
    calls: list[Callable[[], None]] = [
        lambda: torch.set_rng_state(torch_state),
        lambda: np.random.set_state(numpy_state),
        lambda: random.setstate(python_state),
    ]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        cuda_states = torch.cuda.get_rng_state_all()
        calls.append(lambda: torch.cuda.set_rng_state_all(cuda_states))
    if torch.backends.mps.is_available():
        mps_state = torch.mps.get_rng_state()
        calls.append(lambda: torch.mps.set_rng_state(mps_state))
    return calls


@contextmanager
def preserved(module: nn.Module) -> Iterator[nn.Module]:
    """See the module afterwards exactly as before: the guard around everything the engine does with it.

    Put back, also after an exception, a stop or an interrupt: hooks, the training flag of every submodule,
    buffers (identity and value), the identity and ``requires_grad`` of parameters, the identity of their
    ``.grad`` (which reads ``None`` inside, so that nothing is added to it), plain attributes and collections
    of every submodule, and the global random states of torch, NumPy and Python. Parameter *values* are not
    copied: nothing in this package writes to them.

    One thread at a time is inside; the same thread may enter again.

    Examples
    --------
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout())
    >>> with preserved(model):
    ...     _ = model.eval().requires_grad_(False)
    >>> model.training, model[0].weight.requires_grad
    (True, True)
    """
    with engine_lock:
        modules = [_ModuleSnapshot(each) for each in module.modules()]
        parameters = [(each, each.requires_grad, each.grad) for each in module.parameters()]
        buffers = [_BufferSnapshot(each) for each in module.buffers()]
        random_states = _random_states()
        try:
            for parameter, _, _ in parameters:
                parameter.grad = None
            yield module
        finally:
            for snapshot in modules:
                snapshot.restore()
            for parameter, requires_grad, gradient in parameters:
                if parameter.requires_grad != requires_grad:
                    parameter.requires_grad_(requires_grad)
                parameter.grad = gradient
            for buffer in buffers:
                buffer.restore()
            for restore_random_state in random_states:
                restore_random_state()


@contextmanager
def evaluation(module: nn.Module, *, gradients: bool = False) -> Iterator[nn.Module]:
    """See the module as at test time: evaluation mode, no gradients for parameters; preserved afterwards.

    Parameters
    ----------
    gradients
        Whether gradients flow to the input. They never flow to parameters: that would cost time and would
        change the ``.grad`` of the user's model.
    """
    with preserved(module):
        for each in module.modules():
            # Not `.eval()`: some modules override it to merge or fuse their weights.
            each.training = False
        if gradients:
            for parameter in module.parameters():
                parameter.requires_grad_(False)
        with torch.set_grad_enabled(gradients):
            yield module
