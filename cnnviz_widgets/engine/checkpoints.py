"""Read the weights of a checkpoint without unpickling anything, and put them into a module made for that."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnviz_widgets.engine.errors import CheckpointError
from cnnviz_widgets.engine.history_file import MAGIC

# What `DataParallel` and `torch.compile` put in front of every name.
_WRAPPERS = ("module.", "_orig_mod.")
_NESTED = ("state_dict", "model_state_dict", "model")


def read_checkpoint(path: str | os.PathLike[str], *, max_bytes: int = 8 * 1024**3) -> dict[str, Tensor]:
    """Return the state dict of a file, on the CPU.

    Parameters
    ----------
    path
        ``.npz`` with one array for each entry, or ``.pt``, ``.pth`` (any other name, too) that `torch.save`
        wrote: a state dict, or a dict that has one under ``"state_dict"``, ``"model_state_dict"`` or ``"model"``.
    max_bytes
        The largest size that it may unpack to.

    Raises
    ------
    CheckpointError
        (a ValueError) No such file's content, cut short, larger, or with objects that only pickle could read.
    OSError
        There is no such file, or it may not be read.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            raise CheckpointError(
                f"{path} is no checkpoint, but what a recorder wrote: read it with cv.load_history(path)"
            )
        file.seek(0)
        try:
            if Path(path).suffix == ".npz":
                _check_size(file, path, max_bytes)
                with np.load(file, allow_pickle=False) as arrays:
                    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            if zipfile.is_zipfile(file):
                _check_size(file, path, max_bytes)
            file.seek(0)
            return _state_dict(torch.load(file, map_location="cpu", weights_only=True), path)
        except CheckpointError:
            raise
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"{path} holds more than tensors and plain values, or is no checkpoint: save the weights "
                "alone, torch.save(module.state_dict(), path)"
            ) from error
        except Exception as error:  # whatever zip, NumPy and torch make of a damaged file
            raise CheckpointError(f"{path} is no checkpoint, or was cut short: {error}") from error


def load_checkpoint(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Put the weights of a file into a module: every entry, and no other.

    Raises
    ------
    CheckpointError
        As `read_checkpoint`; also where names or shapes are not those of the module.
    """
    state = read_checkpoint(path)
    for wrapper in _WRAPPERS:
        if state and all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): each for name, each in state.items()}
    try:
        module.load_state_dict(state, strict=True)
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"the weights of {path} are not those of {type(module).__name__}, which build() returns: "
            + " ".join(str(error).split())
        ) from error


def _check_size(file: Any, path: str | os.PathLike[str], max_bytes: int) -> None:
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > max_bytes:
        raise CheckpointError(f"{path} unpacks to {size:,} bytes, more than {max_bytes:,}")
    file.seek(0)


def _state_dict(content: Any, path: str | os.PathLike[str]) -> dict[str, Tensor]:
    found = _state_dicts(content)
    if len(found) == 1:
        return next(iter(found.values()))
    alone = "save the weights alone, torch.save(module.state_dict(), path)"
    if found:
        raise CheckpointError(f"{path} holds several state dicts, {', '.join(found)}; {alone}")
    inside = (
        ", ".join(map(repr, list(content)[:5])) if isinstance(content, Mapping) else type(content).__name__
    )
    raise CheckpointError(
        f"{path} holds no state dict, neither by itself nor under {' or '.join(map(repr, _NESTED))}; it holds: "
        f"{inside}; {alone}"
    )


def _state_dicts(content: Any, name: str = "", depth: int = 2) -> dict[str, dict[str, Tensor]]:
    """Return what maps names to tensors alone, by where it is; no deeper, since a file may hold itself."""
    if not isinstance(content, Mapping):
        return {}
    if content and all(isinstance(each, Tensor) for each in content.values()):
        return {name: dict(content)}
    found: dict[str, dict[str, Tensor]] = {}
    for inner in _NESTED if depth else ():
        found |= _state_dicts(content.get(inner), f"{name}[{inner!r}]", depth - 1)
    return found
