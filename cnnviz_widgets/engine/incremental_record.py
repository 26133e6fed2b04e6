"""Write down which ATen operations a forward pass does with an image, and what each of them returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.dispatch_mode import DispatchMode
from cnnviz_widgets.engine.generic_gradients import LEAVES_TORCH

_STEERS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
# The value of these is that of what they are given.
_ALIASES = frozenset("clone detach alias contiguous lift_fresh _to_copy".split())
# Each of their results is a slice.
_SPLITS = frozenset("split split_with_sizes unsafe_split unsafe_split_with_sizes chunk".split())


class NotIncremental(Exception):  # noqa: N818  it is no error: the plain way is taken
    """A network, or an operation in it, for which there is no incremental way; the text says why."""


@dataclass(eq=False)
class Node:
    """One operation on what depends on the image.

    Attributes
    ----------
    name
        The operation's name in ATen, without its overload: ``"convolution"``. ``"image"`` for the image itself.
    arguments
        Its arguments by name, with nodes in place of tensors that depend on the image.
    value
        What it returned for the clean image.
    function
        The operation itself.
    index
        Its place in the order of the pass.
    users
        The nodes that read it, each as often as it does.
    inputs
        The nodes that it reads, each as often as it does.
    remembered
        What was worked out from its arguments before, by what that is.
    """

    name: str
    arguments: dict[str, Any]
    value: Tensor
    function: Any = None
    index: int = 0
    users: list[Node] = field(default_factory=list)
    inputs: list[Node] = field(init=False)
    remembered: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.give(self.arguments)

    def give(self, arguments: dict[str, Any]) -> None:
        """Set the arguments, and with them the nodes that it reads."""
        self.arguments = arguments
        self.inputs = list(_nodes_in(arguments))
        self.remembered = {}

    @property
    def is_map(self) -> bool:
        """Whether it returns maps [1, C, H, W]."""
        return self.value.ndim == 4


def call(node: Node, given: Callable[[Node], Any], **changed: Any) -> Tensor:
    """Run a node's operation on what ``given`` returns for each node that it reads, and on changed arguments."""
    arguments = {**_map_nodes(node.arguments, given), **changed}
    named = {each.name for each in node.function._schema.arguments if each.kwarg_only}
    positional = [value for name, value in arguments.items() if name not in named]
    result = node.function(*positional, **{name: arguments[name] for name in arguments.keys() & named})
    first: Tensor = result[0] if isinstance(result, tuple | list) else result
    return first


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _nodes_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _nodes_in(each)


class _Recorder(DispatchMode):
    """Turns each operation on a tensor that depends on the image into a node."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Tensors are known by identity, so all of them are kept until the pass is over.
        self.kept: list[Any] = [x]
        self.nodes: dict[int, Node] = {id(x): Node("image", {}, x)}
        self.obstacle: str | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        expected = func._schema.arguments
        given = {**dict(zip((each.name for each in expected), args, strict=False)), **kwargs}
        # Defaults are spelled out: which axis is meant must be known.
        arguments = {each.name: self._noted(given.get(each.name, each.default_value)) for each in expected}
        if next(_nodes_in(arguments), None) is not None:
            if func._schema.is_mutable or any(tag in func.tags for tag in _STEERS):
                self.obstacle = self.obstacle or f"{func} looks at numbers, or writes to them"
            self._define(func, arguments, result)
        return result

    def _noted(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self.nodes.get(id(value), value)
        if isinstance(value, list | tuple):
            return [self._noted(each) for each in value]
        return value

    def _define(self, func: Any, arguments: dict[str, Any], result: Any) -> None:
        self.kept.append(result)
        many = isinstance(result, list | tuple)
        name = func._schema.name.removeprefix("aten::").removesuffix("_copy")
        begin = 0
        for place, output in enumerate(result if many else [result]):
            if not isinstance(output, Tensor):
                continue
            if name in _SPLITS:
                axis = arguments["dim"]
                end = begin + output.shape[axis]
                part = {"self": arguments["self"], "dim": axis, "start": begin, "end": end, "step": 1}
                node, begin = Node("slice", part, output, torch.ops.aten.slice.Tensor), end
            else:
                # Only the first of several results counts: beside it stand indices, or means of a batch.
                node = Node(name if place == 0 else f"{name} (result {place})", arguments, output, func)
            node.index = len(self.kept)
            self.nodes[id(output)] = node


class _Guard(TorchFunctionMode):
    """Notices numbers that leave torch, where they may steer what is called."""

    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in LEAVES_TORCH:
            self.recorder.obstacle = self.recorder.obstacle or f".{func.__name__}() leaves torch"
        return func(*args, **(kwargs or {}))


def record(ask: Callable[[Tensor], Sequence[Tensor]], x: Tensor) -> list[Node]:
    """Run ``ask`` on one image [1, C, H, W] and return the nodes of its answers.

    In-place operations and views appear as operations that return something new.

    Raises
    ------
    NotIncremental
        Torch can't follow what is done, or what is done hangs on the numbers.
    """
    recorder = _Recorder(x)
    try:
        with recorder, _Guard(recorder):
            answers = torch.func.functionalize(ask, remove="mutations_and_views")(x)
    except (RuntimeError, NotImplementedError) as error:
        # If it is the module that fails, it fails in the plain way too, and is heard there.
        raise NotIncremental(f"the pass can't be written down: {error}") from error
    if recorder.obstacle is not None:
        raise NotIncremental(recorder.obstacle)
    nodes = [recorder.nodes.get(id(each)) for each in answers]
    found = [each for each in nodes if each is not None]
    if len(found) < len(nodes):
        raise NotIncremental("an answer does not depend on the image")
    return [_without_alias(each) for each in found]


def _without_alias(node: Node) -> Node:
    same_kind = node.name in _ALIASES and node.inputs and node.inputs[0].value.dtype == node.value.dtype
    reshaped = node.name in ("view", "_unsafe_view", "expand", "slice") and (
        node.inputs and node.inputs[0].value.shape == node.value.shape
    )
    return _without_alias(node.inputs[0]) if same_kind or reshaped else node


def in_order(answers: Sequence[Node]) -> list[Node]:
    """Return the nodes that answers hang on, each after those that it reads, and tell each who reads it."""
    found: dict[int, Node] = {}
    waiting = list(answers)
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            node.give(_map_nodes(node.arguments, _without_alias))
            node.users = []
            found[id(node)] = node
            waiting += node.inputs
    nodes = sorted(found.values(), key=lambda each: each.index)
    for node in nodes:
        for each in node.inputs:
            each.users.append(node)
    return nodes


def _map_nodes(value: Any, change: Callable[[Node], Any]) -> Any:
    if isinstance(value, Node):
        return change(value)
    if isinstance(value, dict):
        return {name: _map_nodes(each, change) for name, each in value.items()}
    if isinstance(value, list):
        return [_map_nodes(each, change) for each in value]
    return value
