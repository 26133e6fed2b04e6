"""Which axis of a network's maps has the channels, as far as its operations tell.

The image, convolutions, poolings and batch norms have them in front, [N, C, H, W]; a layer norm or a linear layer over
the last of four axes has them at the end, [N, H, W, C], as in Swin and within the blocks of ConvNeXt. What lies between
is followed: permutations, sums with maps that are known, and what works number by number. Maps of which nothing tells
are taken to have them in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch._C import DisableTorchFunction
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.layers import main_tensor, tensors_in

_FIRST, _LAST, _DISPUTED = "first", "last", "disputed"
_IN_FRONT = frozenset(
    "conv2d conv_transpose2d batch_norm instance_norm group_norm max_pool2d max_pool2d_with_indices avg_pool2d "
    "adaptive_avg_pool2d adaptive_max_pool2d adaptive_max_pool2d_with_indices lp_pool2d interpolate upsample "
    "pixel_shuffle local_response_norm".split()
)
_AT_THE_END = frozenset(["linear", "layer_norm", "rms_norm"])
# Number by number, or without another order of the axes.
_KEEPING = frozenset(
    "add iadd radd sub isub rsub mul imul rmul div truediv neg relu relu6 leaky_relu prelu rrelu elu celu selu gelu "
    "silu mish hardswish hardsigmoid sigmoid tanh softplus clamp clip clamp_min hardtanh threshold dropout dropout2d "
    "contiguous clone detach to float half double type cat concat concatenate pad roll softmax".split()
)
_TURNING = frozenset(["permute", "movedim", "moveaxis"])
_FOLLOWED = _IN_FRONT | _AT_THE_END | _KEEPING | _TURNING | {"getitem"}
_WAYS: dict[tuple[int, ...], tuple[str | None, str | None]] = {
    (0, 2, 3, 1): (_FIRST, _LAST),
    (0, 3, 1, 2): (_LAST, _FIRST),
    (0, 1, 2, 3): (None, None),
}


class Axis:
    """Where the channels of one tensor are: ``"first"``, ``"last"``, ``None`` while nothing has told."""

    def __init__(self) -> None:
        self.place: str | None = None

    def note(self, place: str | None) -> None:
        """Take in what an operation tells; of two that disagree neither counts."""
        if place is not None:
            self.place = place if self.place in (None, place) else _DISPUTED

    @property
    def is_last(self) -> bool:
        """Whether the channels are known to be at the end."""
        return self.place == _LAST


class WatchChannelAxes(TorchFunctionMode):
    """Follows where the channels of all maps are, tensors of four axes, while a module runs inside."""

    def __init__(self) -> None:
        super().__init__()
        self._axes = WeakTensorKeyDictionary()

    def axis_of(self, output: Any) -> Axis:
        """Return what is known of the tensor that counts in a module's output; more may become known later."""
        try:
            tensor = main_tensor(output)
        except OutputError:
            return Axis()
        with DisableTorchFunction():
            return self._axis(tensor) if tensor.ndim == 4 else Axis()

    def tell_image(self, given: Any) -> None:
        """Take note of what the module is given: images have their channels in front."""
        with DisableTorchFunction():
            for each in _flat(given):
                if each.ndim == 4:
                    self._axis(each).note(_FIRST)

    def _axis(self, tensor: Tensor) -> Axis:
        found: Axis = self._axes.setdefault(tensor, Axis())
        return found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_")
        if name in _FOLLOWED:
            with DisableTorchFunction():  # to ask for a shape is an operation as well, which others watch
                self._follow(name, args, kwargs, output)
        return output

    def _follow(self, name: str, args: Any, kwargs: Any, output: Any) -> None:
        results = [each for each in tensors_in(output) if each.ndim == 4]
        given = [each for each in _flat((args, kwargs)) if each.ndim == 4]
        if not results or not given:
            return
        x, result = given[0], results[0]
        if name in _IN_FRONT:
            for each in (x, result):
                self._axis(each).note(_FIRST)
        elif name in _AT_THE_END:
            if name == "linear" or result.shape[-1:] == tuple(_normalized(args, kwargs)):
                # Over the columns of maps that are known to have their channels in front it is no channel axis.
                if self._axis(x).place is None:
                    self._axis(x).note(_LAST)
                self._axis(result).note(self._axis(x).place)
            else:
                self._same([x, result])
        elif name in _TURNING:
            self._turn(name, args, kwargs, x, result)
        elif name in _KEEPING or (name == "getitem" and _cuts_only(args[1])):
            self._same([*(each for each in given if each.shape == result.shape), x, result])

    def _same(self, tensors: list[Tensor]) -> None:
        """Note that some tensors have their channels at the same place: what tells of one tells of all."""
        axes = {id(axis): axis for axis in map(self._axis, tensors)}
        joined = next(iter(axes.values()))
        for axis in axes.values():
            joined.note(axis.place)
        for axis in axes.values():
            axis.note(joined.place)
        if self._axis(tensors[-1]).place is None:
            self._axes[tensors[-1]] = joined

    def _turn(self, name: str, args: Any, kwargs: Any, x: Tensor, result: Tensor) -> None:
        order = _order(name, args, kwargs)
        before, after = _WAYS.get(order, (_DISPUTED, None))
        if order == (0, 1, 2, 3):
            self._same([x, result])
        elif self._axis(x).place == before:
            self._axis(result).note(after)


def _order(name: str, args: Any, kwargs: Any) -> tuple[int, ...]:
    """Return in which order a permutation puts the axes."""
    if name == "permute":
        axes = kwargs.get("dims", args[1] if len(args) == 2 else args[1:])
        return tuple(int(axis) % 4 for axis in axes)
    moved = tuple(
        kwargs.get(each, args[at] if len(args) > at else ())
        for at, each in ((1, "source"), (2, "destination"))
    )
    if all(isinstance(each, int) for each in moved):
        return {(1, 3): (0, 2, 3, 1), (3, 1): (0, 3, 1, 2)}.get((moved[0] % 4, moved[1] % 4), ())
    return ()


def _normalized(args: Any, kwargs: Any) -> Any:
    """Return the shape that a norm is over."""
    return kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())


def _cuts_only(index: Any) -> bool:
    """Return whether an index takes slices, and leaves all axes where they are."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(isinstance(each, slice) or each is Ellipsis for each in parts)


def _flat(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _flat(each)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _flat(each)
