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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import ResultFileError
from cnnviz_widgets.engine.layers import LayerKey

Arrays: TypeAlias = dict[str, NDArray[Any]]
Schema: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""For each array its kind, such as ``"<f4"``, and its shape."""

MAGIC = b"cnnviz_widgets training history 1\n"
_FRAME = struct.Struct("<QI")
_KINDS = ("<i8", "<f8", "<f4", "<f2", "|u1")
_JSON_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class HistoryHeader:
    """What all records of a file have in common.

    Attributes
    ----------
    module
        Class name of the network's module.
    shapes
        The shape of each parameter, by name.
    layers
        Whose activations are recorded, in the order of the arrays.
    kernels_layer
        Whose kernels are.
    image_count, digest
        How many images were run, and their hash.
    pictures
        Kind and shape of the pictures.
    schema
        Kind and shape of each array of a record.
    options
        The recorder's options.
    """

    module: str
    shapes: dict[str, list[int]]
    layers: list[LayerKey]
    kernels_layer: str | None
    image_count: int
    digest: str
    pictures: tuple[str, tuple[int, ...]]
    schema: Schema
    options: dict[str, Any]

    @property
    def record_bytes(self) -> int:
        """How many bytes the arrays of one record take."""
        return sum(_size(each) for each in self.schema.values())

    def difference(self, other: HistoryHeader) -> str | None:
        """Return what keeps records of the other from following those of this, in words; ``None`` if nothing."""
        texts = {
            "module": "network",
            "shapes": "parameters",
            "kernels_layer": "layer whose kernels are kept",
            "layers": "layers",
            "digest": "images",
            "schema": "sizes of what is kept",
        }
        for name, text in texts.items():
            one, two = getattr(self, name), getattr(other, name)
            if one != two:
                shown = f" ({_short(one)} there, {_short(two)} here)" if name != "digest" else ""
                return f"other {text}{shown}"
        return None


def schema_of(arrays: Arrays) -> Schema:
    """Return kind and shape of each array."""
    return {name: (each.dtype.str, each.shape) for name, each in arrays.items()}


def create_history(path: Path, header: HistoryHeader, pictures: NDArray[np.uint8]) -> None:
    """Write a file without records yet. It appears whole or not at all."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    text = json.dumps(asdict(header)).encode()
    with open(temporary, "xb") as file:
        try:
            file.write(MAGIC + _framed(text) + _framed(_packed({"pictures": pictures})))
            file.close()
            os.replace(temporary, path)
        except BaseException:
            file.close()
            os.unlink(temporary)
            raise


class HistoryWriter:
    """Appends records to a file, after cutting off what follows its position ``end``."""

    def __init__(self, path: Path, end: int) -> None:
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 -- open until `close`
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
                what = "is cut short" if MAGIC.startswith(begin) else "is not one"
                raise ResultFileError(f"{path} should be a history of a training, but {what}")
            self.header = self._read_header(file)
            largest = max(_size(self.header.pictures), self.header.record_bytes)
            if largest > max_bytes:
                raise ResultFileError(
                    f"{path} has pictures or records of {largest:,} bytes; the limit was {max_bytes:,}"
                )
            content = self._part(file, _size(self.header.pictures))
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
            return _header(json.loads(content))
        except (ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError) as error:
            raise ResultFileError(f"{self._path} has a header that makes no sense: {error!r}") from error

    def _part(self, file: BinaryIO, size: int) -> bytes:
        """Return the content of a frame that must be there."""
        content = _frame(file, os.fstat(file.fileno()).st_size, _room(size, 1))
        if content is None:
            raise ResultFileError(f"{self._path} should be a history of a training, but is cut short")
        if isinstance(content, str):
            raise ResultFileError(f"{self._path} is damaged in its first bytes: {content}")
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
            found[name] = values.reshape(shape)
    return found


def _header(given: dict[str, Any]) -> HistoryHeader:
    """Return a header from its JSON, every part of it checked."""
    header = HistoryHeader(
        module=str(given["module"]),
        shapes={str(name): [int(each) for each in shape] for name, shape in given["shapes"].items()},
        layers=[each if isinstance(each, str) else (str(each[0]), int(each[1])) for each in given["layers"]],
        kernels_layer=None if given["kernels_layer"] is None else str(given["kernels_layer"]),
        image_count=int(given["image_count"]),
        digest=str(given["digest"]),
        pictures=_described(given["pictures"]),
        schema={str(name): _described(each) for name, each in given["schema"].items()},
        options=dict(given["options"]),
    )
    expected = _expected(header)
    found = {name: (kind, len(shape), shape[:1]) for name, (kind, shape) in header.schema.items()}
    if found != expected or (header.pictures[0], len(header.pictures[1])) != ("|u1", 4):
        raise ValueError(f"records of {_short(found)}, where {_short(expected)} were expected")
    return header


def _expected(header: HistoryHeader) -> dict[str, tuple[str, int, tuple[int, ...]]]:
    """Return kind, number of axes and first length of each array that a record has."""
    kernels = header.schema["kernels"][1][:1]
    found = {
        "step": ("<i8", 0, ()),
        "loss": ("<f8", 0, ()),
        "kernels": ("<f4", 4, kernels),
        "roughness": ("<f8", 1, kernels),
    }
    for name in ("weight_norms", "gradient_norms", "update_norms"):
        found[name] = ("<f8", 1, (len(header.shapes),))
    if header.layers:
        found |= dict.fromkeys(("sparsity", "dead"), ("<f8", 1, (len(header.layers),)))
    return found | {f"maps{index}": ("<f2", 4, header.pictures[1][:1]) for index in range(len(header.layers))}


def _described(given: Any) -> tuple[str, tuple[int, ...]]:
    kind, shape = given
    if kind not in _KINDS or any(type(each) is not int or each < 0 for each in shape):
        raise ValueError(f"no kind and shape: {given!r}")
    return kind, tuple(shape)


def _size(described: tuple[str, tuple[int, ...]]) -> int:
    kind, shape = described
    size = np.dtype(kind).itemsize
    for each in shape:
        size *= each
    return size


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
