"""Where the shipped files lie, and how weights are read from them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import CnnvizError, did_you_mean

DATA = Path(__file__).parent / "data"


class SampleNotFoundError(CnnvizError, LookupError):
    """The package ships no photograph, data split or checkpoint of that name."""


def check_name(what: str, name: object, known: Iterable[str]) -> str:
    """Return ``name`` if it is one of the known ones; otherwise say which there are and which is near."""
    names = tuple(known)
    if not isinstance(name, str):
        raise TypeError(
            f"a {what} is named by text such as {names[0]!r}, got {type(name).__name__}: {name!r}"
        )
    if name not in names:
        raise SampleNotFoundError(
            f"no {what} {name!r}{did_you_mean(name, names)} (there are {', '.join(names)})"
        )
    return name


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the arrays of an NPZ file as float32 tensors, by name. Never unpickles anything."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
