"""Cut off how far a changed window grows, and make up for what is cut off to first order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.grad import conv2d_input

from cnnviz_widgets.engine.incremental import WindowPasses
from cnnviz_widgets.engine.incremental_batch import Batch, CleanMaps
from cnnviz_widgets.engine.incremental_record import Node, NotIncremental, call
from cnnviz_widgets.engine.incremental_windows import Intervals, Numbers, Span, is_cut, spans_of
from cnnviz_widgets.engine.input_gradients import leaf_of
from cnnviz_widgets.engine.low_precision import faster_than_float32
from cnnviz_widgets.engine.map_similarity import rank_correlation

SHARES = (0.38, 0.45, 0.55, 0.7)
"""How much of a map's side a window may take, the quickest first."""
LEAST_CORRELATION = 0.99
MOST_ERROR = 0.15
"""What is asked of a share on the sample: rank correlation, and RMS error in standard deviations of the scores."""
FEWEST_PLACES = 200
"""Where there are fewer, a sample would cost about what it saves."""
_EVERY = 5


@dataclass(frozen=True)
class SampleError:
    """How far approximate scores are from exact ones.

    Attributes
    ----------
    places
        How many were compared.
    largest, root_mean_square
        Of the differences, in the scores' unit.
    rank_correlation
        Spearman's, of both; NaN where one of them is the same everywhere.
    spread
        Standard deviation of the exact scores.
    """

    places: int
    largest: float
    root_mean_square: float
    rank_correlation: float
    spread: float

    @classmethod
    def between(cls, found: NDArray[np.float32], exact: NDArray[np.float32]) -> SampleError:
        """Compare scores [S] with exact ones; those that are NaN were not measured and don't count."""
        known = np.isfinite(found)
        if not known.any():
            return cls(0, np.nan, np.nan, np.nan, np.nan)
        one, other = (each[known].astype(np.float64) for each in (found, exact))
        return cls(
            int(known.sum()),
            float(np.abs(one - other).max()),
            float(np.sqrt(np.mean((one - other) ** 2))),
            rank_correlation(one, other),
            float(other.std()),
        )

    @property
    def is_small(self) -> bool:
        """Whether the order of the scores is right but for little; never where it is not known."""
        near = self.root_mean_square <= MOST_ERROR * self.spread
        return near and self.rank_correlation >= LEAST_CORRELATION


class Rims:
    """What a score loses where windows are cut off, to first order.

    A convolution's output changes on a window that is larger than that of its input. The changes beyond the cut, its
    rim, are linear in those of the input. So with the gradient g of the score by the output for the clean image, and
    K^T g that by the input through this convolution alone, the rim's part of the score is

        <K^T g, change of the input> - <g, change of the output within the cut>,

    which takes no computing of the rim. All else of the change, within the cut, goes through the network exactly.

    Parameters
    ----------
    nodes
        The operations of a pass, in order.
    answers
        Those of them that answer its questions.
    score
        One number for each image [N] from the answers.

    Attributes
    ----------
    nodes
        The convolutions whose windows may be cut off.
    """

    def __init__(
        self, nodes: Sequence[Node], answers: Sequence[Node], score: Callable[[list[Tensor]], Tensor]
    ) -> None:
        convolutions = [each for each in nodes if each.name == "convolution" and each.is_map]
        if not convolutions:
            raise NotIncremental("there is no convolution whose window could be cut off")
        values: dict[Node, Tensor] = {}
        with torch.inference_mode(False), torch.enable_grad():
            for node in nodes:
                values[node] = (
                    leaf_of(node.value) if node.name == "image" else call(node, lambda each: values[each])
                )
            total = score([values[each] for each in answers]).sum()
            if not total.requires_grad:
                raise NotIncremental("the score has no gradient")
            found = torch.autograd.grad(
                total, [values[each] for each in convolutions], allow_unused=True, materialize_grads=True
            )
        self.nodes = {each for each in convolutions if not each.arguments["transposed"]}
        self._outputs: dict[Node, _Slope] = {}
        self._inputs: dict[Node, _Slope] = {}
        for node, gradient in zip(convolutions, found, strict=True):
            given = node.arguments
            if node in self.nodes:
                options = (given["stride"], given["padding"], given["dilation"], given["groups"])
                before = node.inputs[0].value
                back = conv2d_input(tuple(before.shape), given["weight"], gradient, *options)
                self._outputs[node] = _Slope(node.value, gradient)
                self._inputs[node] = _Slope(before, back)

    def lost(self, batch: Batch, node: Node) -> Tensor:
        """Return the rim's part of the score for each window, [N], once a node's value is there."""
        before = node.inputs[0]
        return self._inputs[node].part(batch, before) - self._outputs[node].part(batch, node)


class _Slope:
    """A gradient, and what it makes of changes in a window."""

    def __init__(self, value: Tensor, gradient: Tensor) -> None:
        self._gradient = Node("gradient", {}, gradient.detach())
        self._products = Node("products", {}, (value * gradient.detach()).sum(1, keepdim=True))

    def part(self, batch: Batch, node: Node) -> Tensor:
        """Return <gradient, change of a node's value in its windows>, [N]."""
        rows, columns = batch.spans[node]
        slopes = batch.clean.gather(self._gradient, rows, columns, 0.0)
        changed, along = (each.permute(0, 2, 3, 1).flatten(1) for each in (batch.values[node], slopes))
        products = (changed * along).sum(1)
        return products - batch.clean.window_sums(self._products, rows, columns)[:, 0].to(products.dtype)


class CutBatch(Batch):
    """A run of the operations with windows that are cut off.

    Attributes
    ----------
    lost
        What the score of each window lacks for that, [N].
    """

    def __init__(
        self,
        clean: CleanMaps,
        rows: Mapping[Node, Span],
        columns: Mapping[Node, Span],
        rims: Rims,
        cut: frozenset[Node],
        precision: torch.dtype | None,
    ) -> None:
        super().__init__(clean, rows, columns, precision)
        self._rims, self._cut = rims, cut
        self.lost: Tensor | float = 0.0

    def _compute(self, node: Node, count: int, answers: Sequence[Node]) -> Tensor:
        value = super()._compute(node, count, answers)
        if node in self._cut:
            # Now, before a rectifier writes to it.
            self.values[node] = value
            self.lost = self.lost + self._rims.lost(self, node)
        return value


class ApproximatePasses(WindowPasses):
    """Answers to questions about one image in which a window shows something else, approximately.

    As long as ``share`` is 1 and there is no ``precision``, they are exact; ``obstacle`` says why that is all there is,
    where something forbids more. Below it, windows are cut off at that share of each map's side, and each batch has one
    answer more: what the score lacks for that, [N]. With a precision, convolutions multiply in it.

    Parameters
    ----------
    score
        One number for each image [N] from the answers. The rest is as for `WindowPasses`.
    """

    def __init__(self, *given: Any, score: Callable[[list[Tensor]], Tensor], **options: Any) -> None:
        self.share = 1.0
        self.precision: torch.dtype | None = None
        super().__init__(*given, **options)
        self.obstacle = ""
        if not self.reason:
            try:
                self._rims = Rims(self._nodes, self._answers, score)
            except (NotIncremental, RuntimeError) as obstacle:
                self.obstacle = str(obstacle)

    @property
    def is_exact(self) -> bool:
        """Whether the answers are those of whole images, but for rounding."""
        return self.share == 1 and self.precision is None

    def tune(
        self,
        tops: Numbers,
        lefts: Numbers,
        window: tuple[int, int],
        read: Callable[[list[Tensor]], NDArray[np.float32]],
        until: float = math.inf,
    ) -> tuple[Numbers, NDArray[np.float32]] | None:
        """Set the least share that is good enough on a sample of places, or 1; and a lower precision if it is, too.

        Lower where the processor has one that is faster. After the moment ``until`` (of `time.monotonic`) nothing
        further is tried.

        Returns
        -------
        tuple or None
            The sample: indices of rows and columns [S, 2], and exact scores [S]. ``None`` where it was not worth one.
        """
        if self.reason or self.obstacle or len(tops) * len(lefts) < FEWEST_PLACES:
            return None
        layout = self._layout(
            self._intervals((tops, lefts), window), (np.arange(len(tops)), np.arange(len(lefts)))
        )
        if not self._pays(layout, len(tops) * len(lefts)):
            return None
        rows, columns = sampled(len(tops), len(lefts))
        sample = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)

        def scores(share: float, precision: torch.dtype | None = None) -> NDArray[np.float32]:
            self.share, self.precision = share, precision
            found = np.empty((len(rows), len(columns)), np.float32)
            for down, along, answers in self.batches(tops[rows], lefts[columns], window, quick=True):
                found[np.ix_(down, along)] = read(answers).reshape(len(down), len(along))
            return found.flatten()

        exact = scores(1.0)
        chosen = 1.0
        for each in SHARES:
            if time.monotonic() >= until:
                break
            if SampleError.between(scores(each), exact).is_small:
                chosen = each
                break
        lower = faster_than_float32() if self.x.dtype == torch.float32 and time.monotonic() < until else None
        if lower is not None and not SampleError.between(scores(chosen, lower), exact).is_small:
            lower = None
        self.share, self.precision = chosen, lower
        return sample, exact

    def _intervals(
        self, starts: tuple[Numbers, Numbers], window: tuple[int, int], share: float = 1.0
    ) -> tuple[Intervals, Intervals]:
        return super()._intervals(starts, window, min(share, self.share))

    def _run(
        self, intervals: tuple[Intervals, Intervals], rows: Numbers, columns: Numbers, shown: Tensor
    ) -> list[Tensor]:
        if self.is_exact:
            return super()._run(intervals, rows, columns, shown)
        spans = (spans_of(intervals[0], rows, 0), spans_of(intervals[1], columns, 1))
        with torch.inference_mode(False), torch.no_grad():
            batch = CutBatch(self._clean, *spans, self._rims, self._cut_off(intervals), self.precision)
            answers = batch.run(self._nodes, self._answers, shown)
            return [*answers, batch.lost + torch.zeros(len(shown), device=shown.device)]

    def _cut_off(self, intervals: tuple[Intervals, Intervals]) -> frozenset[Node]:
        """Return the convolutions whose windows are cut off."""
        return frozenset(
            node
            for node in self._rims.nodes
            if any(is_cut(node, axis, found) for axis, found in enumerate(intervals))
        )


def sampled(rows: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which rows x which columns of a grid make a sample of it: about one place in 25, all over it.

    >>> sampled(27, 9)
    (array([ 2,  8, 13, 18, 24]), array([2, 6]))
    """
    counts = (max(1, round(each / _EVERY)) for each in (rows, columns))
    first, second = (
        ((np.arange(count) + 0.5) * size / count).astype(np.int64)
        for count, size in zip(counts, (rows, columns), strict=True)
    )
    return first, second
