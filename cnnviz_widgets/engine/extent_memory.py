"""The planes of every tensor of a pass, through views and in-place writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from cnnviz_widgets.engine.extents import Planes

Geometry: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]


class Untraceable(Exception):  # noqa: N818 - not an error: another way is taken
    """Raised where an operation's windows are not known: another way must be taken."""


def _geometry(tensor: Tensor) -> Geometry:
    return tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())


@dataclass
class _Storage:
    """The planes of one piece of memory, as seen by the tensors that share it."""

    reference: StorageWeakRef
    dtype: torch.dtype
    numbers: int
    views: dict[Geometry, Planes | None]

    def spelled_out(self) -> Planes | None:
        """Return flat planes, one value for each number in memory; ``None`` where they are not known."""
        whole: Geometry = ((self.numbers,), (1,), 0)
        if whole not in self.views:
            (size, stride, offset), planes = next(iter(self.views.items()))
            self.views[whole] = planes and tuple(
                torch.zeros(self.numbers, dtype=torch.float64) for _ in planes
            )
            for flat, plane in zip(self.views[whole] or (), planes or (), strict=True):
                flat.as_strided(size, stride, offset).copy_(plane)
        return self.views[whole]


class Memory:
    """Planes by tensor, through all views: what is written to one tensor is seen by all that share its memory.

    Memory is told apart by weak references, so that it is given back as early as without being watched.
    """

    def __init__(self) -> None:
        self._storages: dict[int, _Storage] = {}

    def holds(self, value: Any) -> bool:
        """Return whether anything in the tensor's memory depends on the image."""
        return isinstance(value, Tensor) and self._find(value) is not None

    def read(self, tensor: Tensor) -> Planes:
        """Return the planes of a tensor that is held."""
        storage, geometry = self._find(tensor), _geometry(tensor)
        if storage is None or storage.dtype != tensor.dtype:
            raise Untraceable("memory read as numbers of another kind")
        if geometry not in storage.views:
            flat = storage.spelled_out()
            storage.views[geometry] = flat and tuple(plane.as_strided(*geometry) for plane in flat)
        planes = storage.views[geometry]
        if planes is None:
            raise Untraceable("a secondary result whose windows are not known")
        return planes

    def define(self, tensor: Tensor, planes: Planes | None) -> None:
        """Note the planes of a new tensor, or (``None``) that they are not known."""
        if planes is not None and planes[0].shape != tensor.shape:
            raise RuntimeError(f"planes of shape {planes[0].shape} for a tensor of shape {tensor.shape}")
        for key in [key for key, each in self._storages.items() if each.reference.expired()]:
            del self._storages[key]
        storage = tensor.untyped_storage()
        reference = StorageWeakRef(storage)
        numbers = storage.nbytes() // tensor.element_size()
        self._storages[reference.cdata] = _Storage(
            reference, tensor.dtype, numbers, {_geometry(tensor): planes}
        )

    def look(self, tensor: Tensor, planes: Planes) -> None:
        """Note the planes of a new view of memory that is held already."""
        storage = self._find(tensor)
        if storage is not None:
            storage.views.setdefault(_geometry(tensor), planes)

    def overwrite(self, tensor: Tensor, planes: Planes) -> None:
        """Note new planes of a tensor that was written to in place."""
        storage, geometry = self._find(tensor), _geometry(tensor)
        if storage is None:
            storage = self._adopt(tensor)
        if next(iter(storage.views)) == geometry:
            storage.views = {geometry: planes}
            return
        flat = storage.spelled_out()
        if flat is None:
            raise Untraceable("a write to a secondary result")
        flat = tuple(plane.clone() for plane in flat)
        for target, plane in zip(flat, planes, strict=True):
            target.as_strided(*geometry).copy_(plane)
        storage.views = {((storage.numbers,), (1,), 0): flat}

    def _adopt(self, tensor: Tensor) -> _Storage:
        """Take up memory that held constants so far."""
        numbers = tensor.untyped_storage().nbytes() // tensor.element_size()
        constants = tensor.detach().as_strided((numbers,), (1,), 0)
        self.define(constants, (torch.zeros((), dtype=torch.float64).expand(numbers),) * 10)
        return self._storages[tensor.untyped_storage()._cdata]

    def _find(self, tensor: Tensor) -> _Storage | None:
        try:
            key = tensor.untyped_storage()._cdata
        except NotImplementedError as error:
            raise Untraceable(f"a {type(tensor).__name__} without memory of its own") from error
        return self._storages.get(key)


@dataclass
class Call:
    """One operation that was run, as the rules see it.

    Attributes
    ----------
    memory
        The planes of all tensors.
    size
        Height and width of the image.
    function
        The operation, a `torch._ops.OpOverload`.
    arguments
        What went in, by the names of the operation's schema.
    result
        What came out.
    name
        The operation's name without namespace and overload, such as ``"relu_"``.
    outputs
        The tensors in ``result``.
    """

    memory: Memory
    size: tuple[int, int]
    function: Any
    arguments: dict[str, Any]
    result: Any
    name: str = field(init=False)
    outputs: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.function._schema.name.split("::")[1]
        self.outputs = [each for each in tree_leaves(self.result) if isinstance(each, Tensor)]

    @property
    def rest(self) -> dict[str, Any]:
        """All arguments but the first, on the CPU, where planes are."""
        first, *others = self.arguments
        return {name: _on_cpu(self.arguments[name]) for name in others if name != first}

    @property
    def written(self) -> set[str]:
        """The names of the arguments that the operation writes to."""
        schema = self.function._schema.arguments
        return {each.name for each in schema if each.alias_info is not None and each.alias_info.is_write}

    @property
    def given(self) -> list[Tensor]:
        """The tensors that went in and depend on the image."""
        # What is written to is read as well, unless it is there for nothing else (``out=``).
        schema = self.function._schema.arguments
        only_written = {each.name for each in schema if each.kwarg_only} & self.written
        read = [value for name, value in self.arguments.items() if name not in only_written]
        return [each for each in tree_leaves(read) if self.memory.holds(each)]

    def planes(self, value: Any) -> Planes | None:
        """Return the planes of a tensor, or ``None`` for a constant."""
        return self.memory.read(value) if self.memory.holds(value) else None

    def tracked(self) -> list[Planes]:
        """Return the planes of all arguments that are no constants."""
        return [self.memory.read(tensor) for tensor in self.given]

    @property
    def main(self) -> Planes:
        """The planes of the first argument, which is what most operations work on."""
        first = next(iter(self.arguments.values()))
        if not self.memory.holds(first):
            raise Untraceable(f"{self.function} on a constant, steered by the image")
        return self.memory.read(first)

    def only_main(self) -> Planes:
        """Return the same, if all other arguments are constants."""
        if len(self.given) > 1:
            raise Untraceable(f"{self.function} steered by the image")
        return self.main


def _on_cpu(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_on_cpu(each) for each in value]
    return value.cpu() if isinstance(value, Tensor) else value
