"""Whole numbers as people give them: of Python's kind, of NumPy's, and never a truth value."""

from __future__ import annotations

from typing import Any

import numpy as np


def whole_number(value: Any) -> int | None:
    """Return an integer of any kind, such as NumPy's, as an ``int``; ``None`` for anything else."""
    return None if isinstance(value, bool) or not isinstance(value, int | np.integer) else int(value)


def checked_whole(name: str, value: object, *, least: int = 1) -> int:
    """Return an option that is a whole number, or say what was got.

    >>> checked_whole("k", np.int64(5))
    5
    """
    number = whole_number(value)
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
    return number
