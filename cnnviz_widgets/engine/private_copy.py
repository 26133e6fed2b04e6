"""A copy of a module to do with as one likes."""

from __future__ import annotations

import copy

from torch import nn

from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.state import ModuleState, engine_lock, same_chance


def private_copy(module: nn.Module, need: str) -> nn.Module:
    """Return a deep copy of a module, taken while no pass runs; ``need`` is why, for the error.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied, or its copy has parts or memory in common with it.
    """
    try:
        with engine_lock, same_chance():  # a module may draw weights for its copy
            copied = copy.deepcopy(module)
    except Exception as error:
        raise UnsupportedModuleError(
            f"{need}, so a copy of the module is needed, and copy.deepcopy fails on it "
            f"({type(error).__name__}: {error})"
        ) from error
    if _is_shared(module, copied):
        raise UnsupportedModuleError(
            f"{need}, so a copy of the module is needed, and what copy.deepcopy returns shares modules or weights with "
            "it; look for a __deepcopy__ that returns self"
        )
    return copied


def _is_shared(module: nn.Module, copied: nn.Module) -> bool:
    """Return whether a change of the copy could be one of the module."""
    own, other = ModuleState(module), ModuleState(copied)

    def parts(state: ModuleState) -> set[int]:
        return {id(each) for each in (*state.modules, *state.parameters, *state.tensors)}

    # Tensors without numbers have no memory, at address 0.
    return bool(parts(own) & parts(other) or (own.memory & other.memory) - {0})
