"""The operations of a pass made cheaper: norms folded into convolutions, only the channels that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cnnviz_widgets.engine.incremental_record import Node, in_order
from cnnviz_widgets.engine.incremental_rules import check_known, is_norm, scale_and_shift

_UNARY = frozenset("relu sigmoid tanh silu elu leaky_relu hardtanh gelu hardswish hardsigmoid".split())


def prepared(answers: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Return the nodes of a pass in order, and its answers, ready to be run on windows.

    Nothing of the module is changed, nor hangs on it: weights are copies, so that a pass stays that of the network as
    it was when it was recorded.

    Raises
    ------
    NotIncremental
        There is an operation without a rule.
    """
    answers = [_narrowed(each) for each in answers]
    nodes = in_order(answers)
    for node in nodes:
        check_known(node)
    _fold_norms(nodes, answers)
    nodes = in_order(answers)
    for node in nodes:
        weight = node.arguments.get("weight")
        if node.name == "convolution" and isinstance(weight, Tensor) and weight.ndim == 4:
            node.arguments["weight"] = weight.detach().clone(memory_format=torch.channels_last)
        for name, value in node.arguments.items():
            if isinstance(value, Tensor) and not (name == "weight" and value is not weight):
                node.arguments[name] = value.detach().clone()
    return nodes, answers


def _fold_norms(nodes: Sequence[Node], answers: Sequence[Node]) -> None:
    """Turn each batch norm behind a convolution that nothing else reads into that convolution."""
    for node in nodes:
        if not is_norm(node) or not node.inputs:
            continue
        conv = node.inputs[0]
        scale, shift = scale_and_shift(node)
        alone = len(conv.users) == 1 and conv not in answers
        if conv.name == "convolution" and alone and not conv.arguments["transposed"]:
            weight, bias = conv.arguments["weight"], conv.arguments["bias"]
            arguments = dict(conv.arguments)
            # In double precision: what is folded is no less exact than what it stands for.
            arguments["weight"] = (weight.double() * scale.double()[:, None, None, None]).to(weight.dtype)
            moved = shift.double() if bias is None else shift.double() + bias.double() * scale.double()
            arguments["bias"] = moved.to(weight.dtype)
            node.name, node.function = conv.name, conv.function
            node.give(arguments)


def _narrowed(answer: Node) -> Node:
    """Return a node that computes just the channels which an answer picks out at its end."""
    if answer.name != "slice" or not answer.inputs or answer.arguments.get("dim") != 1:
        return answer
    given = answer.arguments
    begin, end = given.get("start") or 0, given.get("end")
    if given.get("step", 1) != 1 or not isinstance(end, int) or begin < 0 or end < 0:
        return answer
    in_order([answer])
    return _channels(answer.inputs[0], begin, end, 1) or answer


def _channels(node: Node, begin: int, end: int, users: int) -> Node | None:
    """Return a copy of a node that computes only some of its channels; ``None`` where that is no use."""
    if len(node.users) > users:
        return None
    given = dict(node.arguments)
    if node.name == "addmm" and isinstance(given["mat2"], Tensor) and isinstance(given["self"], Tensor):
        given["mat2"] = given["mat2"][:, begin:end]
        given["self"] = given["self"][begin:end] if given["self"].ndim else given["self"]
    elif node.name == "convolution" and given["groups"] == 1 and not given["transposed"]:
        given["weight"] = given["weight"][begin:end]
        given["bias"] = None if given["bias"] is None else given["bias"][begin:end]
    elif node.name in _UNARY or node.name in ("mean", "_adaptive_avg_pool2d") or _drops_axes(node):
        if node.name == "mean" and node.inputs[0].value.ndim != 4:
            return None
        axes = given.get("dim")
        if node.name == "mean" and (not isinstance(axes, list) or any(axis % 4 < 2 for axis in axes)):
            return None
        inner = _channels(node.inputs[0], begin, end, 1)
        if inner is None:
            return None
        given = {name: inner if isinstance(each, Node) else each for name, each in given.items()}
        if _drops_axes(node):
            given["size"] = [1, end - begin]
    else:
        return None
    return replace(node, arguments=given, value=node.value[:, begin:end], users=[])


def _drops_axes(node: Node) -> bool:
    """Return whether a node only makes a vector [1, C] of maps [1, C, 1, 1]."""
    if node.name not in ("view", "_unsafe_view") or node.value.ndim != 2:
        return False
    shape: Any = node.inputs[0].value.shape
    return bool(shape == (*node.value.shape, 1, 1))
