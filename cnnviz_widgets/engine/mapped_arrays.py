"""Arrays of an NPZ file that are mapped into memory rather than read: what is not looked at takes none."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_BLOCK = 2**20
# Of zip's header before each file: its own length, and where it tells the lengths of the two parts that follow.
_LOCAL, _LENGTHS = 30, 26


def mapped_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of an uncompressed NPZ file, by name: read-only maps, of a file that is whole.

    Raises
    ------
    ValueError, zipfile.BadZipFile, OSError
        Something else, compressed, with pickled objects, or damaged: all of it is read once to find that out.
    """
    found = {}
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed, which no checkpoint is")
            with archive.open(info) as member:
                shape, in_columns, dtype = _header(member)
                skipped = member.tell()
                # To the end, where zip's own sum is checked.
                while member.read(_BLOCK):
                    pass
            if dtype.hasobject or min(shape, default=0) < 0:
                raise ValueError(f"{info.filename} holds {dtype} {shape}, which no checkpoint has")
            if math.prod(shape) * dtype.itemsize != info.file_size - skipped:
                raise ValueError(f"{info.filename} is no array of {dtype} {shape}")
            start = _start(file, info) + skipped
            order: Any = "F" if in_columns else "C"
            found[info.filename.removesuffix(".npy")] = (
                np.memmap(file, dtype, "r", start, shape, order).view(np.ndarray)
                if math.prod(shape) * dtype.itemsize
                else np.empty(shape, dtype)
            )
    return found


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(member)
    if version == (1, 0):
        return npy.read_array_header_1_0(member)
    if version == (2, 0):
        return npy.read_array_header_2_0(member)
    raise ValueError(f"arrays of NumPy's format {version} are not known")


def _start(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return where in the archive the content of a file begins."""
    place = file.tell()
    file.seek(info.header_offset + _LENGTHS)
    lengths = file.read(_LOCAL - _LENGTHS)
    file.seek(place)
    return (
        info.header_offset
        + _LOCAL
        + int.from_bytes(lengths[:2], "little")
        + int.from_bytes(lengths[2:], "little")
    )
