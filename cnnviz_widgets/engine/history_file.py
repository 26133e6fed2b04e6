"""A file that grows by one record at a time, and can be read while it does and after its writer was killed.

It begins with a line of text, `MAGIC`. Frames follow: the length of their content (8 bytes), its CRC-32 (4
bytes, both little-endian), the content. The first frame is a JSON text, the second holds the pictures, and each
further one a record: arrays as NPZ, uncompressed, without pickle, of the names, kinds and shapes that the JSON
states. A last frame that is not whole was being written when its writer was killed: it counts as not there.
"""

from __future__ import annotations

import io
import json
import os
import struct
import tokenize
import uuid
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import RecorderError, ResultFileError
from cnnviz_widgets.engine.file_lock import lock, unlock
from cnnviz_widgets.engine.history_header import Arrays, HistoryHeader, Schema, read_header, size_of

MAGIC = b"cnnviz_widgets training history 1\n"
_FRAME = struct.Struct("<QI")
_JSON_BYTES = 64 * 1024**2
_ANEW = "copy it anew if there is another copy, or delete it and record again"
_CUT = f"is cut short before its first record; {_ANEW}"


def create_history(path: Path, header: HistoryHeader, pictures: NDArray[np.uint8]) -> None:
    """Write a file without records yet, if there is none. It appears whole or not at all."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    text = json.dumps(asdict(header)).encode()
    try:
        with open(temporary, "xb") as file:
            file.write(MAGIC + _framed(text) + _framed(_packed({"pictures": pictures})))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another one was faster, and may be writing to it by now
        except OSError:
            os.replace(temporary, path)  # a file system that knows no links
    finally:
        temporary.unlink(missing_ok=True)


class HistoryWriter:
    """Appends records to a file, and keeps other writers off it until `close` or the end of the process.

    Raises
    ------
    RecorderError
        Another one is writing to it.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 -- open until `close`
        self._end = 0
        if not lock(self._file):
            self._file.close()
            raise RecorderError(
                f"another recorder is writing to {path}; close it first, with recorder.close(), or record into "
                "another file"
            )

    def cut(self, end: int) -> None:
        """Drop what follows this position: appended is there."""
        self._file.truncate(end)
        self._file.seek(end)
        self._end = end

    def append(self, record: Arrays) -> None:
        """Write a record and hand it to the system at once, so that it outlives the process.

        Raises
        ------
        OSError
            It can't be written. The file ends with the record before.
        """
        frame = memoryview(_framed(_packed(record)))
        try:
            written = 0
            while written < len(frame):
                written += self._file.write(frame[written:])
        except BaseException:
            self._file.truncate(self._end)
            self._file.seek(self._end)
            raise
        self._end += len(frame)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if not self._file.closed:
            unlock(self._file)
            self._file.close()


class HistoryReader:
    """Reads a file: its header first, then record by record.

    Parameters
    ----------
    path
        The file.
    max_bytes
        How large pictures or a record may be.

    Raises
    ------
    ResultFileError
        Not such a file, or cut short before its first record, or larger pictures or records.
    OSError
        There is no such file, or it may not be read.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int) -> None:
        self._path = path
        with open(path, "rb") as file:
            begin = file.read(len(MAGIC))
            if begin != MAGIC:
                what = _CUT if MAGIC.startswith(begin) else "is not one"
                raise ResultFileError(f"{path} should be a history of a training, but {what}")
            self.header = self._read_header(file)
            largest = max(size_of(self.header.pictures), self.header.record_bytes)
            if largest > max_bytes:
                raise ResultFileError(
                    f"{path} has pictures or records of {largest:,} bytes; the limit was {max_bytes:,}"
                )
            content = self._part(file, size_of(self.header.pictures))
            self.pictures: NDArray[np.uint8] = self._unpack(content, {"pictures": self.header.pictures})[
                "pictures"
            ]
            self._start = file.tell()

    def records(self) -> Iterator[tuple[Arrays, int]]:
        """Yield each whole record, and where it ends in the file.

        Raises
        ------
        ResultFileError
            A record that is damaged, and not just the last one cut short.
        """
        largest = self.header.record_bytes
        with open(self._path, "rb") as file:
            # What is written from now on is left for the next reader.
            length = os.fstat(file.fileno()).st_size
            end, last = file.seek(self._start), -1
            while True:
                content = _frame(file, length, _room(largest, len(self.header.schema)))
                if content is None:
                    return
                if isinstance(content, str):
                    raise ResultFileError(f"{self._path} is damaged at byte {end:,}: {content}")
                record = self._unpack(content, self.header.schema)
                if record["step"] == last:
                    continue  # written twice: an interrupt came before its writer took note of the first time
                if record["step"] < last:
                    raise ResultFileError(f"{self._path} is damaged at byte {end:,}: its steps do not rise")
                last, end = int(record["step"]), file.tell()
                yield record, end

    @property
    def start(self) -> int:
        """Where the first record begins."""
        return self._start

    def _read_header(self, file: BinaryIO) -> HistoryHeader:
        content = self._part(file, _JSON_BYTES)
        try:
            return read_header(json.loads(content))
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
            raise ResultFileError(f"{self._path} has a header that makes no sense: {error!r}") from error

    def _part(self, file: BinaryIO, size: int) -> bytes:
        """Return the content of a frame that must be there."""
        content = _frame(file, os.fstat(file.fileno()).st_size, _room(size, 1))
        if content is None:
            raise ResultFileError(f"{self._path} should be a history of a training, but {_CUT}")
        if isinstance(content, str):
            raise ResultFileError(
                f"{self._path} is damaged in its first bytes, so nothing of it can be read: {content}; {_ANEW}"
            )
        return content

    def _unpack(self, content: bytes, schema: Schema) -> Arrays:
        try:
            return _unpacked(content, schema)
        # RuntimeError: an encrypted entry; TokenError: from NumPy's reading of a header.
        except (
            *(ValueError, KeyError, RuntimeError, EOFError),
            *(zipfile.BadZipFile, tokenize.TokenError),
        ) as error:
            raise ResultFileError(f"{self._path} holds a record that is none: {error!r}") from error


def _framed(content: bytes) -> bytes:
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def _frame(file: BinaryIO, length: int, largest: int) -> bytes | str | None:
    """Return the content of the frame at the file's position; ``None`` if it is not whole, a text if damaged."""
    left = length - file.tell()
    if left < _FRAME.size:
        return None
    size, checksum = _FRAME.unpack(file.read(_FRAME.size))
    if size == 0:
        return None  # no part is empty: zeros, as a machine that lost its power leaves them
    if size > largest:
        return f"a part of {size:,} bytes, where {largest:,} is the most"
    if size > left - _FRAME.size:
        return None
    content = file.read(size)
    if zlib.crc32(content) == checksum:
        return content
    # The last one may have been half written.
    return None if size == left - _FRAME.size else "its checksum is wrong"


def _packed(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type, unused-ignore]
    return buffer.getvalue()


def _room(size: int, arrays: int) -> int:
    """Return how long the NPZ of so many arrays may be: headers and names come on top."""
    return size + 4096 * (arrays + 1)


def _unpacked(content: bytes, schema: Schema) -> Arrays:
    """Return the arrays of an NPZ. What it says of itself is believed only where the schema says the same."""
    found: Arrays = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name, (kind, shape) in schema.items():
            entry = archive.getinfo(f"{name}.npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{name} is compressed")
            file = io.BytesIO(archive.read(entry))
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{name} has an unknown format")
            states = np.lib.format.read_array_header_1_0(file)
            if states != (shape, False, np.dtype(kind)):
                raise ValueError(f"{name} is {states}, but should be {kind} {shape}")
            values = np.frombuffer(file.read(), dtype=kind)
            found[name] = values.reshape(shape).copy()  # or the bytes that it was read from stay, too
    return found
