"""A copy of a module to do with as one likes."""

from __future__ import annotations

import copy

from torch import nn

from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.state import engine_lock


def private_copy(module: nn.Module, need: str) -> nn.Module:
    """Return a deep copy of a module, taken while no pass runs; ``need`` is why, for the error.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied.
    """
    try:
        with engine_lock:
            return copy.deepcopy(module)
    except Exception as error:
        raise UnsupportedModuleError(
            f"{need}, so a copy of the module is needed, and copy.deepcopy fails on it "
            f"({type(error).__name__}: {error})"
        ) from error
