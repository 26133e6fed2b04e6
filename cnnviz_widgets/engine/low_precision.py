"""Numbers of lower precision than float32: which ones this processor multiplies faster, and how to leave them."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

# As torch names what processors can do: Intel's and AMD's instructions, then ARM's.
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


@functools.cache
def faster_than_float32() -> torch.dtype | None:
    """Return ``torch.bfloat16`` where the processor has instructions for it, ``None`` elsewhere.

    Where it has none, torch emulates them, which is slower than float32. A torch that does not tell
    (``torch.cpu.get_capabilities``) counts as a processor without.
    """
    told: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.bfloat16 if any(told.get(name) is True for name in _BFLOAT16) else None


def at_least_single(x: Tensor) -> Tensor:
    """Return numbers as float32 where they are of lower precision, in which squares overflow and sums lose digits."""
    return x.float() if x.dtype.itemsize < 4 else x
