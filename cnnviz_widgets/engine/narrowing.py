"""Fewer channels: on a private copy, the last layers make only those channels that objectives read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from cnnviz_widgets.engine.input_gradients import sent_back
from cnnviz_widgets.engine.layers import LayerKey, tensors_in
from cnnviz_widgets.engine.objectives import Objective, Seen, channels_of, layers_of

Kept: TypeAlias = Mapping[LayerKey, tuple[int, ...]]
"""For layers that make only some channels: which."""

Need: TypeAlias = "frozenset[int] | None"
"""The channels of a tensor [N, C, H, W] that count; ``None`` for all."""


class Narrowing:
    """Layers of a private copy that can do with fewer channels.

    Parameters
    ----------
    kept
        Which channels there are then, for layers that are asked for.
    forwards
        What the modules do instead.
    """

    def __init__(self, kept: Kept, forwards: Mapping[nn.Module, Callable[[Tensor], Tensor]]) -> None:
        self.kept, self._forwards = kept, forwards

    def apply(self) -> None:
        """Have the modules make fewer channels."""
        for module, forward in self._forwards.items():
            module.forward = forward

    def undo(self) -> None:
        """Have them make all of them again: others may be asked for by the next one who uses the copy."""
        for module in self._forwards:
            module.__dict__.pop("forward", None)


# What autograd calls operations of one tensor that keep to its channels, whatever else they are.
_OF_EACH_CHANNEL = frozenset(
    f"{name}Backward0"
    for name in (
        "Relu LeakyRelu Elu Silu Gelu Mish Hardswish Hardtanh Softplus Sigmoid Tanh Threshold Clone "
        "MaxPool2DWithIndices AvgPool2D AdaptiveAvgPool2D AdaptiveMaxPool2D"
    ).split()
)


def narrow(
    root: nn.Module, objectives: Collection[Objective], x: Tensor, look: Callable[[Tensor, Kept], Seen]
) -> Narrowing:
    """Return how convolutions of a private copy make only the channels that objectives read; nothing is changed yet.

    They do so where the graph of a pass shows that all others are lost: what follows the convolution keeps to channels,
    or puts them side by side, up to the layer that is asked for. Its other parts, all that the convolution itself gets,
    must have been made before, so that nothing can depend on what is left out by ways that no gradient takes. In the
    end values and gradients with and without are compared. Where anything is in doubt, all channels stay.

    All passes must do the same operations.

    Parameters
    ----------
    root
        The copy.
    objectives
        What is asked for.
    x
        Pictures as the network is shown them.
    look
        Runs the network on them, for layers of which some channels are left out.
    """
    wanted = {layer: channels_of(objectives, layer) for layer in layers_of(objectives)}
    if all(each is None for each in wanted.values()):
        return Narrowing({}, {})
    x = x.detach().requires_grad_()
    with _noted(root) as made:
        seen = look(x, {})
    roots: list[tuple[Tensor, Need]] = [(seen.maps(layer), need) for layer, need in wanted.items()]
    roots += [(each, None) for each in tensors_in(seen.returned)]
    parts, kept = _plan([(each.grad_fn, need) for each, need in roots if each.grad_fn is not None], made)
    ends = {layer: kept.get(seen.maps(layer).grad_fn) for layer in wanted}
    layers = {layer: each for layer, each in ends.items() if each is not None}
    if not layers:
        return Narrowing({}, {})
    expected = _evaluated(objectives, seen, x)
    found = Narrowing(layers, {module: _fewer(module, channels) for module, channels in parts.items()})
    found.apply()
    try:
        same = _are_close(_evaluated(objectives, look(x, layers), x), expected)
    except Exception:  # noqa: BLE001 -- whatever can't be done with fewer channels is done with all of them
        same = False
    finally:
        found.undo()
    return found if same else Narrowing({}, {})


@contextmanager
def _noted(root: nn.Module) -> Iterator[dict[Any, nn.Module]]:
    """Fill a mapping from nodes of the graph to the modules that made them, of those that can be narrowed."""
    made: dict[Any, nn.Module] = {}
    calls: dict[nn.Module, int] = {}

    def note(module: nn.Module, given: Any, output: Any) -> None:
        calls[module] = calls.get(module, 0) + 1
        if isinstance(output, Tensor) and output.grad_fn is not None:
            made[output.grad_fn] = module

    handles = [each.register_forward_hook(note) for each in root.modules() if _can_be_narrowed(each)]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()
        for node in [node for node, module in made.items() if calls[module] > 1]:
            del made[node]


def _can_be_narrowed(module: nn.Module) -> bool:
    plain = not (module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)
    if type(module) is nn.Conv2d:
        return plain and module.groups == 1
    return plain and type(module) is nn.BatchNorm2d and module.running_mean is not None


def _plan(
    roots: Sequence[tuple[Any, Need]], made: Mapping[Any, nn.Module]
) -> tuple[dict[nn.Module, tuple[int, ...]], dict[Any, tuple[int, ...]]]:
    """Return which channels modules are to make, and which there are then in what each node stands for."""
    order = _from_the_end([node for node, _ in roots])
    needs: dict[Any, Need] = {node: frozenset() for node in order}
    for node, need in roots:
        needs[node] = _union(needs[node], need)
    for node in order:
        inputs = [each for each, _ in node.next_functions if each is not None]
        for each, need in zip(inputs, _input_needs(node, needs[node], made), strict=True):
            needs[each] = _union(needs[each], need)
    # Leaves have no place in the order of computation.
    begun = max((_time(node) for node in order if needs[node] is None and node.next_functions), default=-1)
    parts: dict[nn.Module, tuple[int, ...]] = {}
    kept: dict[Any, tuple[int, ...]] = {}
    for node in reversed(order):
        need, inputs = needs[node], [each for each, _ in node.next_functions if each is not None]
        if need is None:
            continue
        module = made.get(node)
        if isinstance(module, nn.Conv2d):
            if _time(node) > begun and len(need) < module.out_channels:
                parts[module] = kept[node] = tuple(sorted(need or {0}))
        elif node.name() == "CatBackward0":
            if any(each in kept for each in inputs):
                kept[node] = _side_by_side(inputs, kept)
        elif len(inputs) == 1 and inputs[0] in kept:
            kept[node] = kept[inputs[0]]
            if module is not None:
                parts[module] = kept[node]
    return parts, kept


def _from_the_end(roots: Sequence[Any]) -> list[Any]:
    """Return the nodes of a graph, each before those that it was computed from."""
    done: dict[Any, None] = {}
    waiting = [(node, False) for node in roots]
    while waiting:
        node, finished = waiting.pop()
        if finished:
            done.setdefault(node)
        elif node not in done:
            waiting.append((node, True))
            waiting += [(each, False) for each, _ in node.next_functions if each is not None]
    return list(reversed(done))


def _input_needs(node: Any, need: Need, made: Mapping[Any, nn.Module]) -> list[Need]:
    """Return what a node needs of each of its inputs."""
    inputs = [each for each in node.next_functions if each[0] is not None]
    everything: list[Need] = [None] * len(inputs)
    if need is None or len(_shape(node)) != 4:
        return everything
    alone = len(inputs) == 1
    if alone and (node.name() in _OF_EACH_CHANNEL or isinstance(made.get(node), nn.BatchNorm2d)):
        return [need]
    if alone and node.name() == "ViewBackward0" and _shape(*inputs[0]) == _shape(node):
        return [need]
    if node.name() != "CatBackward0" or node._saved_dim != 1 or len(inputs) != len(node.next_functions):
        return everything
    found: list[Need] = []
    first = 0
    for each, index in inputs:
        count = _shape(each, index)[1]
        found.append(frozenset(channel - first for channel in need if first <= channel < first + count))
        first += count
    return found


def _side_by_side(inputs: Sequence[Any], kept: Mapping[Any, tuple[int, ...]]) -> tuple[int, ...]:
    channels: list[int] = []
    first = 0
    for each in inputs:
        count = _shape(each)[1]
        channels += [first + channel for channel in kept.get(each, range(count))]
        first += count
    return tuple(channels)


def _shape(node: Any, output: int = 0) -> tuple[int, ...]:
    return tuple(node._input_metadata[output].shape)


def _time(node: Any) -> int:
    return int(node._sequence_nr())


def _union(one: Need, other: Need) -> Need:
    return None if one is None or other is None else one | other


def _fewer(module: nn.Module, channels: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """Return what a convolution or batch norm does, for some of its channels."""
    index = list(channels)
    if isinstance(module, nn.Conv2d):
        filters, offset = _some(module.weight, index), _some(module.bias, index)
        return lambda x: module._conv_forward(x, cast(Tensor, filters), offset)
    norm = cast(nn.BatchNorm2d, module)
    mean, variance, weight, bias = (
        _some(each, index) for each in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return lambda x: functional.batch_norm(x, mean, variance, weight, bias, eps=norm.eps)


def _some(numbers: Tensor | None, index: list[int]) -> Tensor | None:
    return None if numbers is None else numbers.detach()[index]


def _evaluated(objectives: Collection[Objective], seen: Seen, x: Tensor) -> tuple[Tensor, Tensor]:
    values = torch.stack([each.values(seen).float() for each in objectives])
    return values.detach(), sent_back(values.sum(), x)


def _are_close(found: Sequence[Tensor], expected: Sequence[Tensor]) -> bool:
    """Return whether tensors differ by no more than rounding; a rectifier may then turn its few numbers near 0."""
    for one, other in zip(found, expected, strict=True):
        tolerance = max(torch.finfo(one.dtype).eps ** 0.5, 1e-3)
        size = torch.linalg.vector_norm(other)
        if not bool(torch.linalg.vector_norm(one - other) <= tolerance * size):
            return False
    return True
