"""A base for what watches the operations of a pass."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode


class DispatchMode(TorchDispatchMode):
    """A `TorchDispatchMode` that does not bring torch's compiler along.

    torch keeps its compiler out of ``__torch_dispatch__`` and loads it to do so, which takes a second or two in the
    first pass of a process. Nothing is compiled here: the engine refuses compiled modules.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False
