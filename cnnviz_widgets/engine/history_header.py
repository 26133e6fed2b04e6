"""What all records of a training have in common: the network, what is measured of it, and the arrays' sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.layers import LayerKey

Arrays: TypeAlias = dict[str, NDArray[Any]]
Schema: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""For each array its kind, such as ``"<f4"``, and its shape."""

_KINDS = ("<i8", "<f8", "<f4", "<f2", "|u1")
# What Python and NumPy keep in memory beside the values of an array, as measured: 200 bytes and some.
_ARRAY_BYTES = 256


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
        return sum(size_of(each) for each in self.schema.values())

    @property
    def memory_bytes(self) -> int:
        """How many bytes one record takes in memory, with what is kept beside the values."""
        return self.record_bytes + _ARRAY_BYTES * len(self.schema)

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


def read_header(given: dict[str, Any]) -> HistoryHeader:
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
        found["sparsity"] = ("<f8", 1, (len(header.layers),))
    for index in range(len(header.layers)):
        found[f"dead{index}"] = ("|u1", 1, header.schema[f"dead{index}"][1][:1])
        found[f"maps{index}"] = ("<f2", 4, header.pictures[1][:1])
    return found


def _described(given: Any) -> tuple[str, tuple[int, ...]]:
    kind, shape = given
    if kind not in _KINDS or any(type(each) is not int or each < 0 for each in shape):
        raise ValueError(f"no kind and shape: {given!r}")
    return kind, tuple(shape)


def size_of(described: tuple[str, tuple[int, ...]]) -> int:
    """Return how many bytes an array of that kind and shape has."""
    kind, shape = described
    size = np.dtype(kind).itemsize
    for each in shape:
        size *= each
    return size


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
