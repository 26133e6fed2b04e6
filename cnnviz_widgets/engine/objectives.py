"""Objectives: what an image is optimized for, one number a picture, to be added up and weighted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import TargetError
from cnnviz_widgets.engine.layers import LayerKey, main_tensor
from cnnviz_widgets.engine.low_precision import at_least_single
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target, checked_scores

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class Seen:
    """What there is to judge pictures by: themselves, and what the network makes of them.

    Parameters
    ----------
    net
        The network that saw them.
    picture
        The pictures as they are, in the network's numbers [N, C, H, W].
    layers
        What the layers returned, after the transforms: the keys that the objectives ask for.
    output
        What the network returned; ``None`` if no objective asks for it.
    kept
        The channels that there are, for layers that lack some which no objective reads.
    """

    def __init__(
        self,
        net: Network,
        picture: Tensor,
        layers: Mapping[LayerKey, Any],
        output: Any = None,
        kept: Mapping[LayerKey, tuple[int, ...]] | None = None,
    ) -> None:
        self.net, self.picture, self._layers, self.returned = net, picture, layers, output
        self._kept = kept or {}

    def maps(self, layer: LayerKey) -> Tensor:
        """Return what a layer returned, [N, C, ...]."""
        if layer in self._kept:
            raise TargetError(f"an objective reads channels of layer {layer!r} that it did not ask for")
        return main_tensor(self._layers[layer])

    def some_maps(self, layer: LayerKey, channel: int) -> tuple[Tensor, int]:
        """Return what a layer returned, and where a channel is in it: some channels may be missing."""
        kept = self._kept.get(layer)
        return main_tensor(self._layers[layer]), channel if kept is None else kept.index(channel)

    @cached_property
    def pixels(self) -> Tensor:
        """The pictures less the network's mean, on the scale where white is 1 above black; float32 at least."""
        picture = at_least_single(self.picture)
        return picture * self.net.input.deviation.to(picture)

    @cached_property
    def output(self) -> Tensor:
        """What the network returned [N, ...]."""
        return main_tensor(self.returned, self.net.output)

    @cached_property
    def class_scores(self) -> Tensor:
        """Its class scores [N, K], checked; a NaN is for the loop to notice."""
        return checked_scores(self.net, self.output, finite=False)


class Objective(ABC):
    """Something to make as large as possible: one number for each picture.

    Objectives combine: ``a + 0.5 * b``, ``a - b``, ``-a``, also with a `Target`.

    Attributes
    ----------
    layers
        What must be captured.
    needs_output
        Whether the network must run to its end.
    """

    layers: tuple[LayerKey, ...] = ()
    needs_output: bool = False

    @abstractmethod
    def values(self, seen: Seen) -> Tensor:
        """Return one number for each picture [N]."""

    @property
    def asks_network(self) -> bool:
        """Whether the network has a part in the values: those of penalties hang on the pictures alone."""
        return bool(self.layers) or self.needs_output

    def channels(self, layer: LayerKey) -> frozenset[int] | None:
        """Return which channels of a layer the values depend on, if not on all: those read by `Seen.some_maps`."""
        return None if layer in self.layers else frozenset()

    def __add__(self, other: Any) -> Objective:
        return Sum({self: 1.0, as_objective(other): 1.0}) if _is_objective(other) else NotImplemented

    def __sub__(self, other: Any) -> Objective:
        return self + -as_objective(other) if _is_objective(other) else NotImplemented

    def __radd__(self, other: Any) -> Objective:
        return as_objective(other) + self if _is_objective(other) else NotImplemented

    def __rsub__(self, other: Any) -> Objective:
        return as_objective(other) + -self if _is_objective(other) else NotImplemented

    def __mul__(self, weight: Any) -> Objective:
        return Sum({self: float(weight)}) if isinstance(weight, int | float) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return self * -1.0

    def bound(self, net: Network, size: tuple[int, int]) -> Objective:
        """Return the objective for one network and pictures of one size (height, width), with what it compares to."""
        return self

    @property
    def text(self) -> str:
        """The objective in words, for results."""
        return type(self).__name__


def _is_objective(value: Any) -> bool:
    return isinstance(value, Objective | Target)


def as_objective(target: Objective | TargetLike) -> Objective:
    """Return an objective; a class label, an index, a function or a `Target` becomes one."""
    return target if isinstance(target, Objective) else TargetObjective(as_target(target))


class TargetObjective(Objective):
    """A target's value: a class, a channel, a unit, a direction, a function of the output."""

    def __init__(self, target: Target) -> None:
        self.target = target
        if target.layer is None:
            self.needs_output = True
        else:
            self.layers = (target.layer,)

    def values(self, seen: Seen) -> Tensor:
        """Return the target's value for each picture."""
        target = self.target
        if target.layer is not None:
            maps, channel = seen.some_maps(target.layer, cast(int, target.channel))
            return (target if channel == target.channel else replace(target, channel=channel)).of_layer(maps)
        if callable(target.what):
            return target.of_output(seen.output)
        return target.of_scores(seen.net, seen.class_scores)

    def channels(self, layer: LayerKey) -> frozenset[int] | None:
        """Return the target's channel."""
        return frozenset({cast(int, self.target.channel)} if layer in self.layers else ())

    @property
    def text(self) -> str:
        """The target as it is written."""
        return self.target.text


class Sum(Objective):
    """A weighted sum of objectives."""

    def __init__(self, terms: Mapping[Objective, float]) -> None:
        self.terms: dict[Objective, float] = {}
        for objective, weight in terms.items():
            # Sums of sums are flat, so that their text can be read.
            parts = objective.terms if isinstance(objective, Sum) else {objective: 1.0}
            for part, share in parts.items():
                self.terms[part] = self.terms.get(part, 0.0) + weight * share
        self.layers = layers_of(self.terms)
        self.needs_output = any(each.needs_output for each in self.terms)

    def bound(self, net: Network, size: tuple[int, int]) -> Objective:
        """Return the sum of what is bound."""
        return Sum({each.bound(net, size): weight for each, weight in self.terms.items()})

    def values(self, seen: Seen) -> Tensor:
        """Return the sum for each picture."""
        return torch.stack([weight * each.values(seen) for each, weight in self.terms.items()]).sum(0)

    def channels(self, layer: LayerKey) -> frozenset[int] | None:
        """Return those of all terms."""
        return channels_of(self.terms, layer)

    def __repr__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The sum as one would write it."""
        return " + ".join(
            each.text if weight == 1 else f"{weight:g} * {each.text}" for each, weight in self.terms.items()
        )


class ForSome(Objective):
    """An objective for some of the pictures; it is 0 for the others."""

    def __init__(self, objective: Objective, chosen: Sequence[bool]) -> None:
        self.objective, self._chosen = objective, list(chosen)
        self.layers, self.needs_output = objective.layers, objective.needs_output

    def values(self, seen: Seen) -> Tensor:
        """Return the objective of the chosen pictures."""
        values = self.objective.values(seen)
        return torch.where(torch.tensor(self._chosen, device=values.device), values, 0.0)

    def channels(self, layer: LayerKey) -> frozenset[int] | None:
        """Return those of the objective."""
        return self.objective.channels(layer)


class OneEach(Objective):
    """The first objective for the first picture, the second for the second, and so on: many in one batch."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives = tuple(objectives)
        self.layers = layers_of(self.objectives)
        self.needs_output = any(each.needs_output for each in self.objectives)

    def values(self, seen: Seen) -> Tensor:
        """Return the value of each picture's own objective."""
        if len(seen.picture) != len(self.objectives):
            raise TargetError(f"{len(self.objectives)} objectives for {len(seen.picture)} pictures")
        return torch.stack([each.values(seen)[index] for index, each in enumerate(self.objectives)])

    def channels(self, layer: LayerKey) -> frozenset[int] | None:
        """Return those of all objectives."""
        return channels_of(self.objectives, layer)

    @property
    def text(self) -> str:
        """All of them."""
        return ", ".join(each.text for each in self.objectives)


def layers_of(objectives: Any) -> tuple[LayerKey, ...]:
    """Return the layers that some objectives ask for, each once."""
    return tuple(dict.fromkeys(layer for each in objectives for layer in each.layers))


def channels_of(objectives: Iterable[Objective], layer: LayerKey) -> frozenset[int] | None:
    """Return which channels of a layer some objectives depend on; ``None`` for all."""
    found = [each.channels(layer) for each in objectives]
    return None if None in found else frozenset().union(*(each for each in found if each is not None))
