"""Run the operations of a pass for many windows at once, each operation on what the window changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets.engine import incremental_winograd as winograd
from cnnviz_widgets.engine.incremental_costs import uses_winograd
from cnnviz_widgets.engine.incremental_record import Node, call
from cnnviz_widgets.engine.incremental_rules import (
    POINT,
    Reach,
    divisors,
    is_norm,
    mean_over_map,
    pad_value,
    reach,
    scale_and_shift,
    windowed,
)
from cnnviz_widgets.engine.incremental_windows import Span, full_span, runs

_IN_PLACE = {"relu": torch.relu_, "sigmoid": torch.sigmoid_}
# What these return is theirs alone; others may return a view of what they were given.
_OWNERS = frozenset("convolution add cat max_pool2d_with_indices avg_pool2d native_batch_norm".split())


class CleanMaps:
    """What the maps of the clean image hold around a window.

    Everything is kept as rows of channels [H * W, C], which is how it is gathered.
    """

    def __init__(self) -> None:
        self._padded: dict[tuple[Node, float], tuple[Tensor, tuple[int, ...]]] = {}
        self._sums: dict[Node, Tensor] = {}
        self._kernels: dict[Node, Tensor] = {}

    def gather(self, node: Node, rows: Span, columns: Span, fill: float) -> Tensor:
        """Return windows [R * C, channels, h, w] of a clean map, with ``fill`` where they leave it."""
        spans = (columns, rows)
        wanted = tuple(
            max(0, each)
            for span in spans
            for each in (-int(span.starts.min()), int(span.starts.max()) + span.length - span.size)
        )
        padded, pads = self._padded.get((node, fill), (None, (0, 0, 0, 0)))
        if padded is None or any(has < wants for has, wants in zip(pads, wanted, strict=True)):
            pads = tuple(map(max, pads, wanted))
            padded = functional.pad(node.value, pads, value=fill)[0].permute(1, 2, 0).contiguous()
            self._padded[node, fill] = padded, pads
        if len(rows.starts) == len(columns.starts) == 1:
            top, left = int(rows.starts[0]) + pads[2], int(columns.starts[0]) + pads[0]
            return (
                padded[top : top + rows.length, left : left + columns.length].clone().permute(2, 0, 1)[None]
            )
        device, width = padded.device, padded.shape[1]
        down = torch.from_numpy(rows.starts + pads[2]).to(device)[:, None] + torch.arange(
            rows.length, device=device
        )
        along = torch.from_numpy(columns.starts + pads[0]).to(device)[:, None] + torch.arange(
            columns.length, device=device
        )
        index = (down * width)[:, None, :, None] + along[None, :, None, :]
        found = padded.flatten(0, 1).index_select(0, index.flatten())
        places = len(rows.starts) * len(columns.starts)
        return found.view(places, rows.length, columns.length, -1).permute(0, 3, 1, 2)

    def winograd_kernels(self, node: Node) -> Tensor:
        """Return the kernels of a convolution as Winograd's algorithm takes them."""
        if node not in self._kernels:
            self._kernels[node] = winograd.transformed(node.arguments["weight"])
        return self._kernels[node]

    def window_sums(self, node: Node, rows: Span, columns: Span) -> Tensor:
        """Return the sums over windows of a clean map, [R * C, channels], in double precision."""
        if node not in self._sums:
            sums = node.value[0].double().cumsum(1).cumsum(2)
            self._sums[node] = functional.pad(sums, (1, 0, 1, 0))
        sums = self._sums[node]
        top, left = (torch.from_numpy(span.starts).to(sums.device) for span in (rows, columns))
        strips = sums[:, top + rows.length] - sums[:, top]
        boxes = strips[:, :, left + columns.length] - strips[:, :, left]
        return boxes.flatten(1).T


class Batch:
    """One run of the operations for the windows at some rows x some columns of places.

    ``precision`` is what convolutions multiply in, where it is not that of the maps.
    """

    def __init__(
        self,
        clean: CleanMaps,
        rows: Mapping[Node, Span],
        columns: Mapping[Node, Span],
        precision: torch.dtype | None = None,
    ) -> None:
        self.clean = clean
        self._precision = precision
        self.spans = {node: (rows[node], columns[node]) for node in rows}
        self.values: dict[Node, Tensor] = {}

    def run(self, nodes: Sequence[Node], answers: Sequence[Node], windows: Tensor) -> list[Tensor]:
        """Return each answer for all windows, [N, ...]; ``windows`` [N, C, h, w] is what the image shows there."""
        last = {each: node for node in nodes for each in node.inputs}
        for node in nodes:
            self.values[node] = (
                windows if node.name == "image" else self._compute(node, len(windows), answers)
            )
            for each in set(node.inputs):
                if last[each] is node and each not in answers:
                    del self.values[each]
        return [self._whole(each) for each in answers]

    def _compute(self, node: Node, count: int, answers: Sequence[Node]) -> Tensor:
        if mean_over_map(node):
            return self._mean(node)
        along = reach(node)
        if along is None:
            return self._call_whole(node, count)
        if along != POINT or node.name in ("convolution", "max_pool2d_with_indices", "avg_pool2d"):
            return self._windowed(node, along)
        if is_norm(node):
            scale, shift = (each[:, None, None].to(node.value.dtype) for each in scale_and_shift(node))
            return self._own(node, node.inputs[0]) * scale + shift
        if node.name in _IN_PLACE and self._may_overwrite(node.inputs[0], answers):
            return _IN_PLACE[node.name](self._own(node, node.inputs[0]))
        if node.name == "add" and self._adds_in_place(node, answers):
            first, second = node.inputs
            return self._own(node, first).add_(self._own(node, second), alpha=node.arguments.get("alpha", 1))
        return call(node, lambda each: self._own(node, each))

    def _may_overwrite(self, node: Node, answers: Sequence[Node]) -> bool:
        return len(node.users) == 1 and node not in answers and node.name in _OWNERS

    def _adds_in_place(self, node: Node, answers: Sequence[Node]) -> bool:
        if len(node.inputs) != 2 or node.inputs[0] is node.inputs[1]:
            return False
        first, second = (each.value for each in node.inputs)
        plain = first.shape == second.shape and first.dtype == second.dtype == node.value.dtype
        return plain and self._may_overwrite(node.inputs[0], answers)

    def _own(self, node: Node, given: Node) -> Tensor:
        """Return an input of a pointwise operation on the windows of its output."""
        if given.value.shape[2:] == (1, 1):
            return self.values[given]
        return self._patch(given, *self.spans[node], 0.0)

    def _windowed(self, node: Node, along: tuple[Reach, Reach]) -> Tensor:
        given = node.inputs[0]
        if self._precision is None and uses_winograd(node, *self.spans[node]):
            return self._by_winograd(node, along)
        regions, padding = [], []
        for axis, (rule, span, before) in enumerate(
            zip(along, self.spans[node], self.spans[given], strict=True)
        ):
            # Where both are the whole map, the operation pads by itself, unless a ceil mode goes beyond that.
            fits = (before.size + 2 * rule.padding - rule.length(1)) // rule.stride + 1 == node.value.shape[
                2 + axis
            ]
            if span.is_full and before.is_full and fits:
                regions.append(before)
                padding.append(rule.padding)
            else:
                starts = span.starts * rule.stride - rule.padding
                regions.append(Span(starts, rule.length(span.length), before.size))
                padding.append(0)
        patch = self._patch(given, regions[0], regions[1], pad_value(node))
        result = windowed(node, patch, (padding[0], padding[1]), self._precision)
        return result if node.name != "avg_pool2d" else self._averaged(node, result)

    def _by_winograd(self, node: Node, along: tuple[Reach, Reach]) -> Tensor:
        regions = []
        for rule, span, before in zip(along, self.spans[node], self.spans[node.inputs[0]], strict=True):
            length = winograd.tiles(span.length) * winograd.TILE + 2
            regions.append(Span(span.starts - rule.padding, length, before.size))
        patch = self._patch(node.inputs[0], regions[0], regions[1], 0.0)
        kernels, bias = self.clean.winograd_kernels(node), node.arguments["bias"]
        return winograd.convolved(patch, kernels, bias, *(each.length for each in self.spans[node]))

    def _averaged(self, node: Node, sums: Tensor) -> Tensor:
        shares = []
        for axis, span in enumerate(self.spans[node]):
            whole = np.asarray(divisors(node, node.inputs[0].value.shape[2 + axis], axis))
            shares.append(whole[span.starts[:, None] + np.arange(span.length)])
        counts = shares[0][:, None, :, None] * shares[1][None, :, None, :]
        counts = torch.from_numpy(counts.reshape(-1, 1, *counts.shape[2:])).to(sums)
        return sums.div_(counts)

    def _patch(self, node: Node, rows: Span, columns: Span, fill: float) -> Tensor:
        """Return a node's values on other windows than its own: its own laid over the clean map."""
        own_rows, own_columns = self.spans[node]
        value = self.values[node]
        if own_rows.same(rows) and own_columns.same(columns):
            return value
        if own_rows.is_full and own_columns.is_full and rows.is_alike and columns.is_alike:
            sides = [
                (-int(each.starts[0]), int(each.starts[0]) + each.length - each.size)
                for each in (columns, rows)
            ]
            return functional.pad(value, (*sides[0], *sides[1]), value=fill)
        patch = self.clean.gather(node, rows, columns, fill)
        grid = (len(rows.starts), len(columns.starts))
        target, source = (each.permute(0, 2, 3, 1).unflatten(0, grid) for each in (patch, value))
        for row_places, down in runs(own_rows.starts - rows.starts):
            to_row, from_row = _overlap(down, own_rows.length, rows.length)
            for column_places, right in runs(own_columns.starts - columns.starts):
                to_column, from_column = _overlap(right, own_columns.length, columns.length)
                place = (row_places, column_places)
                target[(*place, to_row, to_column)] = source[(*place, from_row, from_column)]
        return patch

    def _whole(self, node: Node) -> Tensor:
        """Return a node's value for whole images."""
        if not node.is_map:
            return self.values[node]
        rows, columns = (full_span(len(each.starts), each.size) for each in self.spans[node])
        return self._patch(node, rows, columns, 0.0)

    def _call_whole(self, node: Node, count: int) -> Tensor:
        if node.name in ("view", "_unsafe_view"):
            return self._whole(node.inputs[0]).reshape(count, *node.value.shape[1:])
        if node.name == "expand":
            return self._whole(node.inputs[0]).expand(count, *node.value.shape[1:])
        changed = {"N": count} if node.name == "native_group_norm" else {}
        # Some operations take any memory layout only by name.
        return call(node, lambda each: self._whole(each).contiguous(), **changed)

    def _mean(self, node: Node) -> Tensor:
        given = node.inputs[0]
        rows, columns = self.spans[given]
        value = self.values[given]
        sums = value.sum((2, 3), dtype=torch.float64)
        if not (rows.is_full and columns.is_full):
            everything = given.value[0].sum((1, 2), dtype=torch.float64)
            sums += everything - self.clean.window_sums(given, rows, columns)
        means = (sums / (rows.size * columns.size)).to(value.dtype)
        return means.view(-1, *node.value.shape[1:])


def _overlap(offset: int, own: int, length: int) -> tuple[slice, slice]:
    """Return where a window lies in a patch that begins ``offset`` before it, and which part of it does."""
    begin, end = max(offset, 0), max(0, min(offset + own, length))
    return slice(begin, end), slice(begin - offset, max(begin, end) - offset)
