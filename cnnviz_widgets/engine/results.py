"""Results: frozen values that can be saved, read back and compared, without pickle."""

from __future__ import annotations

import json
import os
import uuid
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.errors import ResultFileError
from cnnviz_widgets.engine.history_file import MAGIC

_BLOCK_BYTES = 2**22
_FORMAT = "cnnviz_widgets result 1"


@dataclass(frozen=True, eq=False)
class Result:
    """Base of what the methods return: NumPy arrays and plain values, frozen, with `save`.

    Two results are equal if they are of one class and hold the same values, arrays bit for bit (a NaN equals
    a NaN). Subclasses are decorated ``@dataclass(frozen=True, eq=False)``: a dataclass's own ``==`` fails on
    arrays.
    """

    kinds: ClassVar[dict[str, type[Result]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Result.kinds[cls.__name__] = cls

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    __hash__ = None  # type: ignore[assignment]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result to one file (NPZ with a JSON header, no pickle) and return its path.

        The file appears whole or not at all. `load_result` reads it.

        Raises
        ------
        TypeError
            The result holds something that is neither an array of numbers or text nor a plain value.
        """
        target = Path(path)
        arrays: dict[str, NDArray[Any]] = {}
        header = {"format": _FORMAT, "result": _encode(self, arrays)}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        # Not of tempfile, whose files nobody else may read.
        temporary = target.with_name(f".{uuid.uuid4().hex}.part")
        with open(temporary, "xb") as file:
            try:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type, unused-ignore]
                file.close()
                os.replace(temporary, target)
            except BaseException:
                file.close()
                os.unlink(temporary)
                raise
        return target


def load_result(path: str | os.PathLike[str], *, max_bytes: int = 4 * 1024**3) -> Any:
    """Return the result that `Result.save` wrote: the same class with the same values.

    Parameters
    ----------
    path
        The file.
    max_bytes
        The largest size it may unpack to.

    Raises
    ------
    ResultFileError
        Not such a file, cut short, or larger than ``max_bytes``.
    OSError
        There is no such file, or it may not be read.
    """
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            raise ResultFileError(
                f"{path} is no saved result, but what a recorder wrote: read it with cv.load_history(path)"
            )
        try:
            return _read(file, max_bytes)
        except ImportError:
            raise
        except ResultFileError as error:
            raise ResultFileError(f"{path} {error}") from None
        except Exception as error:  # whatever zip, NumPy and JSON make of a damaged file
            raise ResultFileError(f"{path} is not a saved result, or was cut short: {error}") from error


def _read(file: BinaryIO, max_bytes: int) -> Result:
    with zipfile.ZipFile(file) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > max_bytes:
        raise ResultFileError(f"unpacks to {size:,} bytes; allow it with max_bytes={size}")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    if header["format"] != _FORMAT:
        raise ResultFileError(f"has format {header['format']!r}; this version reads {_FORMAT!r}")
    return _result(header["result"], arrays)


def _same(one: Any, other: Any) -> bool:
    # An array that is mapped from a file is the same as one in memory.
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return _same_array(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, Result):
        return all(_same(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    if isinstance(one, dict | ByLayer):
        return len(one) == len(other) and all(key in other and _same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    # A NaN differs from itself.
    return bool(one == other) or bool(one != one and other != other)


def _same_array(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Compare bytes (a NaN differs from itself), a few rows at a time: an array may be larger than the memory."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if one.ndim == 0 or not one.size:
        return one.tobytes() == other.tobytes()
    step = max(1, _BLOCK_BYTES * len(one) // one.nbytes)
    places = (slice(start, start + step) for start in range(0, len(one), step))
    return all(one[rows].tobytes() == other[rows].tobytes() for rows in places)


def _encode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return ``value`` as JSON, its arrays put into ``arrays``."""
    # The very types, no subclasses: what is read back must be what was written.
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (np.ndarray, np.memmap) or isinstance(value, np.generic):
        if value.dtype.hasobject:
            raise TypeError("a result can't hold an array of objects: it would need pickle")
        name = f"array{len(arrays)}"
        arrays[name] = np.asarray(value)
        return {"scalar" if isinstance(value, np.generic) else "array": name}
    if kind is tuple:
        return {"tuple": [_encode(each, arrays) for each in value]}
    if kind is list:
        return [_encode(each, arrays) for each in value]
    if kind is dict:
        return {"dict": [[_encode(key, arrays), _encode(each, arrays)] for key, each in value.items()]}
    if kind is ByLayer:
        return {"by_layer": _encode(dict(value), arrays)}
    if isinstance(value, Result):
        content = {field.name: _encode(getattr(value, field.name), arrays) for field in fields(value)}
        return {"result": kind.__name__, "fields": content}
    raise TypeError(f"a result can't hold {kind.__name__}; use arrays and plain values")


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "scalar" in value:
        return arrays[value["scalar"]][()]
    if "tuple" in value:
        return tuple(_decode(each, arrays) for each in value["tuple"])
    if "by_layer" in value:
        return ByLayer(_decode(value["by_layer"], arrays))
    if "dict" in value:
        return {_decode(key, arrays): _decode(each, arrays) for key, each in value["dict"]}
    return _result(value, arrays)


def _result(value: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Result:
    kind = _result_class(value["result"])
    return kind(**{name: _decode(each, arrays) for name, each in value["fields"].items()})


def _result_class(name: str) -> type[Result]:
    if name not in Result.kinds:
        # The methods register their results when they are imported.
        import cnnviz_widgets

        cnnviz_widgets.import_methods()
    if name not in Result.kinds:
        raise ResultFileError(f"holds a {name!r}, which this version does not know")
    return Result.kinds[name]
