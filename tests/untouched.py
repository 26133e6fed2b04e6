"""Whether a module is still what it was, to the last hook: an oracle that shares nothing with the engine.

with untouched(module, x):
    cv.activations(net, image, "features.3")
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def fingerprint(module: nn.Module) -> dict[str, Any]:
    """Return everything that promise 3 is about, by name; values that must stay the same object as (id, ...)."""
    found: dict[str, Any] = {}
    # Parameters and buffers are read once, below; among the attributes it is enough that they are the same.
    seen = {id(each) for each in (*module.parameters(), *module.buffers())}
    for name, each in module.named_modules(remove_duplicate=False):
        found[f"{name} kind"] = type(each)
        for attribute, value in vars(each).items():
            found[f"{name} . {attribute}"] = _described(value, seen)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        gradient = parameter.grad
        found[f"{name} parameter"] = (
            id(parameter),
            parameter.requires_grad,
            parameter.data_ptr(),
            _bytes(parameter),
            id(gradient),
            None if gradient is None else _bytes(gradient),
        )
    for name, buffer in module.named_buffers(remove_duplicate=False):
        found[f"{name} buffer"] = (id(buffer), buffer.requires_grad, tuple(buffer.shape), _bytes(buffer))
    return found


def random_states() -> dict[str, Any]:
    """Return the global random states of torch, NumPy and Python."""
    _, key, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (np.asarray(key).tobytes(), *rest),
        "python": random.getstate(),
    }


_PLAIN = (int, float, str, bool, type(None))


def _described(value: Any, seen: set[int]) -> Any:
    """Return a picture of an attribute that changes with its identity and with its content."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if id(value) in seen:
        return id(value)
    seen.add(id(value))
    if isinstance(value, dict):
        return (id(value), [(key, _described(each, seen)) for key, each in value.items()])
    if isinstance(value, list | tuple):
        return (id(value), [_described(each, seen) for each in value])
    if isinstance(value, set | deque):
        return (id(value), sorted(map(repr, value)))
    if isinstance(value, Tensor):
        return (id(value), _bytes(value))
    # Modules are found in the dictionary of parts, and in plain lists.
    return (id(value), _described(vars(value), seen)) if isinstance(value, nn.Module) else id(value)


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""


def assert_same_state(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Compare two fingerprints and name what differs."""
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert not changed, f"changed: {sorted(changed)}"


@contextmanager
def untouched(module: nn.Module, *images: Tensor) -> Iterator[None]:
    """Check that module, images and global random states come out as they went in; also after an error."""
    before, states = fingerprint(module), random_states()
    kept = [(each, _bytes(each), each._version, each.requires_grad, each.grad) for each in images]
    modes = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.backends.mha.get_fastpath_enabled(),
    )
    try:
        yield
    finally:
        assert_same_state(before, fingerprint(module))
        assert random_states() == states, "a global random state has moved"
        for image, value, version, requires_grad, gradient in kept:
            assert _bytes(image) == value, "the input was changed"
            assert (image._version, image.requires_grad) == (version, requires_grad)
            assert image.grad is gradient
        now = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.backends.mha.get_fastpath_enabled(),
        )
        assert now == modes
