"""Results: frozen values that can be saved, read back and compared, without pickle."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import ResultFileError

_FORMAT = "cnnviz_widgets result 1"


@dataclass(frozen=True)
class Result:
    """Base of what the methods return: NumPy arrays and plain values, frozen, with `save`."""

    kinds: ClassVar[dict[str, type[Result]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Result.kinds[cls.__name__] = cls

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result to one file (NPZ with a JSON header, no pickle) and return its path.

        The file appears whole or not at all. `load_result` reads it.
        """
        target = Path(path)
        arrays: dict[str, NDArray[Any]] = {}
        header = {"format": _FORMAT, "result": _encode(self, arrays)}
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            # mkstemp makes files private; a saved result is as readable as any other file.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        except BaseException:
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
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > max_bytes:
            raise ResultFileError(f"{path} unpacks to {size:,} bytes; allow it with max_bytes={size}")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != _FORMAT:
            raise ResultFileError(f"{path} has format {header['format']!r}; this version reads {_FORMAT!r}")
        return _decode(header["result"], arrays)
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError) as error:
        if isinstance(error, ResultFileError):
            raise
        raise ResultFileError(f"{path} is not a saved result, or was cut short: {error}") from error


def _encode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return ``value`` as JSON, its arrays put into ``arrays``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, tuple):
        return {"tuple": [_encode(each, arrays) for each in value]}
    if isinstance(value, list):
        return [_encode(each, arrays) for each in value]
    if isinstance(value, dict):
        return {"dict": [[_encode(key, arrays), _encode(each, arrays)] for key, each in value.items()]}
    if isinstance(value, Result):
        content = {field.name: _encode(getattr(value, field.name), arrays) for field in fields(value)}
        return {"result": type(value).__name__, "fields": content}
    raise TypeError(f"a result can't hold {type(value).__name__}; use arrays and plain values")


def _decode(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_decode(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "tuple" in value:
        return tuple(_decode(each, arrays) for each in value["tuple"])
    if "dict" in value:
        return {_decode(key, arrays): _decode(each, arrays) for key, each in value["dict"]}
    kind = _result_class(value["result"])
    return kind(**{name: _decode(each, arrays) for name, each in value["fields"].items()})


def _result_class(name: str) -> type[Result]:
    if name not in Result.kinds:
        # The methods register their results when they are imported.
        import cnnviz_widgets

        cnnviz_widgets.import_methods()
    if name not in Result.kinds:
        raise ResultFileError(f"the file holds a {name!r}, which this version does not know")
    return Result.kinds[name]
