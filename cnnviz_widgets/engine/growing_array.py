"""Rows that come a few at a time: kept in memory, or written to a file that is mapped into memory at the end."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from cnnviz_widgets.engine.errors import InputError


class GrowingArray:
    """An array whose rows arrive bit by bit, in memory until it is told to `spill` to a file.

    Parameters
    ----------
    row_shape, dtype
        What a row is.
    path
        The file it goes to, in NumPy's own format (``.npy``); it appears only when it is whole. Left out: a
        nameless temporary file, which is gone with the array, whatever happens to the process.
    replaces
        Whether it takes the place of a file that is there already, rather than refuse it.

    Attributes
    ----------
    rows
        How many there are.
    held_bytes
        How much of it is in memory.
    """

    def __init__(
        self,
        row_shape: tuple[int, ...],
        dtype: DTypeLike,
        path: Path | None = None,
        *,
        replaces: bool = False,
    ) -> None:
        self.row_shape = row_shape
        self.dtype = np.dtype(dtype)
        self.rows = 0
        self.held_bytes = 0
        self._chunks: list[NDArray[Any]] = []
        self._path = path
        self._replaces = replaces
        self._file: IO[bytes] | None = None

    def append(self, rows: NDArray[Any]) -> None:
        """Add rows [n, ...]; they are copied."""
        chunk = np.array(rows, dtype=self.dtype, order="C")
        self.rows += len(chunk)
        if self._file is None:
            self._chunks.append(chunk)
            self.held_bytes += chunk.nbytes
        else:
            self._file.write(chunk.data)

    def spill(self) -> None:
        """Move the rows to the file; those that follow go there, too.

        Raises
        ------
        InputError
            There is such a file already, and it is not to be replaced.
        """
        if self._file is not None:
            return
        if self._path is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  it stays open until finish() or close()
        else:
            # An older table may still read it.
            if not self._replaces and self._path.exists():
                raise InputError(f"{str(self._path)!r} exists already; remove it, or give another folder")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._part, "w+b")  # noqa: SIM115
        self._write_header()
        for chunk in self._chunks:
            self._file.write(chunk.data)
        self._chunks, self.held_bytes = [], 0

    def so_far(self) -> NDArray[Any]:
        """Return the rows that have arrived, without an end to it: a copy, or a map of the file."""
        shape = (self.rows, *self.row_shape)
        if self._file is None:
            return np.concatenate([np.empty((0, *self.row_shape), self.dtype), *self._chunks])
        start = self._write_header()
        self._file.flush()
        return (
            np.memmap(self._file, self.dtype, "r", start, shape)
            if np.prod(shape)
            else np.empty(shape, self.dtype)
        )

    def finish(self, order: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Return the array [rows, ...]: a `numpy.memmap`, read-only, where it went to a file.

        Parameters
        ----------
        order
            Which row is to come first, second and so on, if not as they came.
        """
        shape = (self.rows, *self.row_shape)
        if self._file is None:
            joined = self._joined(shape)
            return joined if order is None else joined[order]
        start = self._write_header()
        self._file.flush()
        if not np.prod(shape):
            self.close()
            return np.empty(shape, self.dtype)  # nothing to map
        if order is not None:
            _permute(np.memmap(self._file, self.dtype, "r+", start, shape), order)
        source: Any = self._file
        if self._path is not None:
            self._file.close()
            os.replace(self._part, self._path)
            source = self._path
        mapped: NDArray[Any] = np.memmap(source, self.dtype, "r", start, shape)
        self.close()
        return mapped

    def close(self) -> None:
        """Let go of the rows; a file that is not whole is removed."""
        self._chunks, self.held_bytes = [], 0
        if self._file is not None:
            self._file.close()
            if self._path is not None:
                self._part.unlink(missing_ok=True)
            self._file = None

    @property
    def _part(self) -> Path:
        return Path(f"{self._path}.part")

    def _write_header(self) -> int:
        """Write NumPy's header, which has the same length for any number of rows; return that."""
        file: Any = self._file
        file.seek(0)
        description = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(
            file, {"descr": description, "fortran_order": False, "shape": (self.rows, *self.row_shape)}
        )
        length: int = file.tell()
        file.seek(0, os.SEEK_END)
        return length

    def _joined(self, shape: tuple[int, ...]) -> NDArray[Any]:
        joined = np.empty(shape, self.dtype)
        start = 0
        # Chunk by chunk, so that there are never two of everything.
        self._chunks.reverse()
        while self._chunks:
            chunk = self._chunks.pop()
            joined[start : start + len(chunk)] = chunk
            start += len(chunk)
        return joined


def _permute(array: NDArray[Any], order: NDArray[np.int64]) -> None:
    """Put the rows of an array in another order in place, as ``array[order]`` would, with room for one row."""
    done = np.zeros(len(order), dtype=bool)
    for start in range(len(order)):
        if done[start] or order[start] == start:
            continue
        first, place = array[start].copy(), start
        while order[place] != start:
            array[place] = array[order[place]]
            done[place] = True
            place = int(order[place])
        array[place] = first
        done[place] = True
