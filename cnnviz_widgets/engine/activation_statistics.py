"""What the channels of some layers answered to a data set, in numbers and in words."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.channel_tally import bin_edges, merged
from cnnviz_widgets.engine.exact_sums import mean_and_deviation
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.results import Result

Counts = dict[str, NDArray[Any]]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ActivationStatistics(Result):
    """What the channels of some layers answer to a data set; shows itself as a table by layer.

    All that is said by channel is a mapping from layer to an array [C]: ``.dead["relu1"]``, or
    ``.dead["relu", 1]`` for the second call of a layer that is called more than once. A position is one place
    in a channel's map for one image; values that are NaN or infinite are counted apart, and left out of
    everything else.

    Attributes
    ----------
    images
        N, how many images were counted.
    skipped, skipped_reasons
        How many could not be read (with ``on_error="skip"``), and what was wrong with up to 100 of them.
    near_dead_share
        Largest share of the images on which a near-dead channel is not zero.
    counts
        The whole numbers and extremes behind all of this, by layer: see
        `cnnviz_widgets.engine.channel_tally.ChannelTally`.
    """

    images: int
    skipped: int
    skipped_reasons: tuple[str, ...]
    near_dead_share: float
    counts: dict[LayerKey, Counts]

    @property
    def layers(self) -> tuple[LayerKey, ...]:
        """The layers, a call each."""
        return tuple(self.counts)

    @cached_property
    def sparsity(self) -> ByLayer[FloatArray]:
        """Share of the positions that are exactly zero [C], from 0 to 1; NaN where no value is finite."""
        return self._each(lambda counts: counts["zeros"] / _or_nan(counts["values"]))

    @cached_property
    def dead(self) -> ByLayer[NDArray[np.bool_]]:
        """Whether a channel was exactly zero, on every position of all N images [C].

        A rectifier with slope zero below zero (ReLU, ReLU6, ``clamp(min=0)``) then passes no gradient on. One
        that lets something through there (leaky ReLU, GELU, SiLU) does, and returns no zeros: a channel of it
        that is never above zero has an `active_share` of 0, but is not dead.
        """
        return self._each(lambda counts: (counts["zeros"] == counts["values"]) & (counts["not_finite"] == 0))

    @cached_property
    def near_dead(self) -> ByLayer[NDArray[np.bool_]]:
        """Whether a channel was zero, but for some positions of at most ``near_dead_share`` of the images [C].

        Where it was ever below zero, it was not.
        """

        def few(counts: Counts) -> NDArray[np.bool_]:
            active = counts["active_images"]
            found: NDArray[np.bool_] = (active > 0) & (active <= self.near_dead_share * self.images)
            found &= (counts["minimum"] >= 0) & (counts["not_finite"] == 0)
            return found

        return self._each(few)

    @property
    def _below_zero(self) -> ByLayer[NDArray[np.bool_]]:
        """Whether a channel was never above zero without being dead [C]."""
        return self._each(
            lambda counts: (
                (counts["active_images"] == 0) & (counts["minimum"] < 0) & (counts["not_finite"] == 0)
            )
        )

    @cached_property
    def active_share(self) -> ByLayer[FloatArray]:
        """Share of the images on which a channel is above zero at one position or more [C]."""
        return self._each(lambda counts: counts["active_images"] / self.images)

    @property
    def mean(self) -> ByLayer[FloatArray]:
        """Mean over all positions [C], in the units of the network."""
        return ByLayer({layer: mean for layer, (mean, _) in self._moments.items()})

    @property
    def std(self) -> ByLayer[FloatArray]:
        """Standard deviation over all positions [C], of the population: divided by their number."""
        return ByLayer({layer: deviation for layer, (_, deviation) in self._moments.items()})

    @property
    def maximum(self) -> ByLayer[NDArray[np.floating]]:
        """Largest value [C], float32, or float64 where the layer returns that."""
        return self._each(lambda counts: counts["maximum"])

    @property
    def minimum(self) -> ByLayer[NDArray[np.floating]]:
        """Smallest value [C], float32, or float64 where the layer returns that."""
        return self._each(lambda counts: counts["minimum"])

    @property
    def not_finite(self) -> ByLayer[NDArray[np.int64]]:
        """How many values were NaN or infinite [C]."""
        return self._each(lambda counts: counts["not_finite"])

    @property
    def histogram(self) -> ByLayer[NDArray[np.int64]]:
        """How many values fell into each bin [C, 133]; `bin_edges` tells where the bins are."""
        return self._each(lambda counts: counts["histogram"])

    @staticmethod
    def bin_edges() -> FloatArray:
        """Return the edges of the histogram's bins [134]: see `cnnviz_widgets.engine.channel_tally.bin_edges`."""
        return bin_edges()

    @cached_property
    def _moments(self) -> dict[LayerKey, tuple[FloatArray, FloatArray]]:
        return {
            layer: mean_and_deviation(counts["values"], counts["sums"], counts["squares"])
            for layer, counts in self.counts.items()
        }

    def _each(self, function: Callable[[Counts], Any]) -> ByLayer[Any]:
        return ByLayer({layer: function(counts) for layer, counts in self.counts.items()})

    def merge(self, other: ActivationStatistics) -> ActivationStatistics:
        """Return the statistics of both sets of images together: exactly, and the same in any order.

        Raises
        ------
        TypeError
            Not such statistics.
        ValueError
            Those of other layers, of other numbers of channels, or with another ``near_dead_share``.
        """
        if not isinstance(other, ActivationStatistics):
            raise TypeError(f"only ActivationStatistics can be merged with these, got {type(other).__name__}")
        mine, theirs = _sizes(self), _sizes(other)
        if mine != theirs:
            raise ValueError(
                f"statistics of other layers can't be merged: here {mine}, there {theirs} (layer: channels)"
            )
        if self.near_dead_share != other.near_dead_share:
            raise ValueError(
                f"near_dead_share is {self.near_dead_share} here and {other.near_dead_share} there; "
                "use the same for all parts"
            )
        return ActivationStatistics(
            images=self.images + other.images,
            skipped=self.skipped + other.skipped,
            skipped_reasons=tuple(sorted(self.skipped_reasons + other.skipped_reasons)[:100]),
            near_dead_share=self.near_dead_share,
            counts={layer: merged(self.counts[layer], other.counts[layer]) for layer in self.counts},
        )

    @property
    def message(self) -> str:
        """What was found, in words: what it may mean, and what it does not prove."""
        return " ".join([*_found(self), *_warnings(self)])

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        dead, channels = _total(self.dead), sum(_sizes(self).values())
        return (
            f"ActivationStatistics({self.images} images, {len(self.counts)} layers: {dead} of {channels} "
            f"channels dead, {_total(self.near_dead)} near-dead)"
        )

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows for the bare result."""
        titles = ("layer", "channels", "dead", "near-dead", "zeros", "mean", "largest", "NaN or infinite")
        rows = [_html_row("th", titles)]
        for layer in self.layers:
            values = self.counts[layer]["values"]
            weights = values / max(values.sum(), 1)
            cells = (
                key_text(layer),
                str(len(values)),
                str(int(self.dead[layer].sum())),
                str(int(self.near_dead[layer].sum())),
                f"{np.nansum(self.sparsity[layer] * weights):.1%}",
                f"{np.nansum(self.mean[layer] * weights):.4g}",
                f"{self.maximum[layer].max(initial=-np.inf):.4g}",
                str(int(self.not_finite[layer].sum())),
            )
            rows.append(_html_row("td", cells))
        return f"<p>{html.escape(self.message)}</p><table>{''.join(rows)}</table>"


def _or_nan(counts: NDArray[np.int64]) -> FloatArray:
    return np.where(counts > 0, counts, np.nan)


def _total(values: ByLayer[Any]) -> int:
    return sum(int(each.sum()) for each in values.values())


def _sizes(found: ActivationStatistics) -> dict[LayerKey, int]:
    return {layer: len(counts["values"]) for layer, counts in found.counts.items()}


def _html_row(kind: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{html.escape(each)}</{kind}>' for each in cells)}</tr>"


def _found(found: ActivationStatistics) -> list[str]:
    """Return sentences on dead and near-dead channels."""
    count, channels = found.images, sum(_sizes(found).values())
    on = f"any of {count:,} images" if count > 1 else "the one image"
    dead, near = _total(found.dead), _total(found.near_dead)
    are = "is" if dead == 1 else "are"
    said = [f"{dead} of {channels} channels {are} dead: exactly zero, at every position, on {on}."]
    if dead and len(found.layers) > 1:
        worst = max(found.layers, key=lambda layer: int(found.dead[layer].sum()))
        inside = f"{int(found.dead[worst].sum())} of {len(found.dead[worst])}"
        said.append(f"{key_text(worst)!r} has the most: {inside}.")
    if near:
        are = "is" if near == 1 else "are"
        said.append(f"{near} more {are} above zero on at most {found.near_dead_share:.2%} of the images.")
    below = _total(found._below_zero)
    if below:
        are = "is" if below == 1 else "are"
        said.append(f"{below} {are} never above zero, but not zero either: not dead, since gradients pass.")
    if dead:
        said.append("That units die may come from too high a learning rate.")
        unseen = f"a channel that fires on {3 / count:.2%} of such images stays unseen on {count:,} of them"
        said.append(
            f"It does not prove that they never fire: {unseen} one time in twenty."
            if count > 10
            else f"But so few images prove nothing: give many more than {count}."
        )
    return said


def _warnings(found: ActivationStatistics) -> list[str]:
    """Return sentences on what could not be counted."""
    said = []
    odd = {layer: each for layer, each in found.not_finite.items() if each.any()}
    for layer, each in list(odd.items())[:3]:
        said.append(
            f"Layer {key_text(layer)!r} returned NaN or infinity {int(each.sum()):,} times, in "
            f"{int((each > 0).sum())} of {len(each)} channels: these values are not counted."
        )
    if len(odd) > 3:
        said.append(f"So did {len(odd) - 3} more layers.")
    if found.skipped:
        said.append(
            f"Images that could not be read and were skipped: {found.skipped}, such as: {found.skipped_reasons[0]}."
        )
    return said
