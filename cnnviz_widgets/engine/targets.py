"""Targets: what a question is about, as one number for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import capture, maps_in
from cnnviz_widgets.engine.errors import LabelNotFoundError, OutputError, TargetError, did_you_mean
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.whole_numbers import whole_number

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network
    from cnnviz_widgets.engine.objectives import Objective


def probabilities(scores: Tensor) -> Tensor:
    """Turn class scores [N, K] into probabilities [N, K], or [N, 2] where there is one score.

    The softmax of the scores; for K = 1 the logistic function of the one score (classes 0 and 1). Scores of
    K > 1 classes that are probabilities already (none negative, each row summing to 1) are left as they are:
    a module that ends in a softmax must not be put through a second one. Half precision becomes float32.

    >>> probabilities(torch.tensor([[0.0, 0.0]]))
    tensor([[0.5000, 0.5000]])
    """
    are_ready = are_probabilities(scores)
    scores = scores.float() if scores.dtype.itemsize < 4 else scores
    if scores.shape[1] == 1:
        return torch.sigmoid(torch.cat([-scores, scores], dim=1))
    return scores if are_ready else torch.softmax(scores, dim=1)


def are_probabilities(scores: Tensor) -> bool:
    """Return whether class scores [N, K] of more than one class are probabilities already."""
    # Numbers of few bits sum to 1 less exactly.
    tolerance = max(1e-3, torch.finfo(scores.dtype).eps)
    values = scores.detach().float() if scores.dtype.itemsize < 4 else scores.detach()
    sums_to_one = bool(((values.sum(1) - 1).abs() <= tolerance).all())
    return scores.shape[1] > 1 and bool((values >= 0).all()) and sums_to_one


def checked_scores(net: Network, scores: Tensor, *, finite: bool = True) -> Tensor:
    """Return what a network returned if these are class scores [N, K], or say what they are.

    With ``finite=False`` they may be NaN or infinite.

    Raises
    ------
    OutputError
        Not floats on two axes; NaN or infinite; another number of classes than there are labels.
    """
    if scores.ndim != 2 or not scores.is_floating_point():
        raise OutputError(
            "class scores are floats of shape (images, classes), but this network returns "
            f"{scores.dtype} {tuple(scores.shape)}; "
            "give cv.Network(module, output=<function that returns scores>)"
        )
    if finite and not bool(torch.isfinite(scores).all()):
        raise OutputError("the network returned NaN or infinity for this image")
    classes = max(scores.shape[1], 2)
    if net.labels is not None and len(net.labels) != classes:
        raise OutputError(f"the network has {classes} classes, but {len(net.labels)} labels were given")
    return scores


@dataclass(frozen=True)
class Target:
    """What to explain or to maximize: a class, a channel, one unit, or any function of the output.

    Parameters
    ----------
    what
        A class label, a class index, or a function from the network's output [N, ...] to one number for
        each image [N].
    layer, channel, position
        Instead of ``what``: a channel of a layer (the mean over its map), or with ``position=(row, column)``
        one unit of it.
    of
        For a class: its ``"logit"`` or its ``"probability"``.

    Targets combine to what `maximize` can look for: ``a + 0.5 * b``, ``a - b``, ``-a``.

    Raises
    ------
    TargetError
        Options that do not go together; on use: a channel or position outside the map.
    LabelNotFoundError
        On use: no such class, with the nearest names; or several classes of that name.

    Examples
    --------
    >>> Target("tabby", of="probability")
    Target('tabby', of='probability')
    >>> Target(layer="features.3", channel=5, position=(2, 4))
    Target(layer='features.3', channel=5, position=(2, 4))
    """

    what: str | int | Callable[[Any], Tensor] | None = None
    _: KW_ONLY
    layer: LayerKey | None = None
    channel: int | None = None
    position: tuple[int, int] | None = None
    of: Literal["logit", "probability"] = "logit"

    def __post_init__(self) -> None:
        if (self.what is None) == (self.layer is None):
            raise TargetError(
                "a target is a class (Target('tabby')), a function of the output, or a unit "
                f"(Target(layer=..., channel=...)): exactly one of these; got {self!r}"
            )
        if self.what is not None and not isinstance(self.what, str) and not callable(self.what):
            index = whole_number(self.what)
            if index is None:
                kind = type(self.what).__name__
                raise TypeError(
                    f"a target is a label, an index or a function, got {self.what!r}, of type {kind}"
                )
            self._set("what", index)
        if self.layer is None and (self.channel is not None or self.position is not None):
            raise TargetError("channel and position belong to a layer; give layer= as well")
        if self.layer is not None:
            channel = whole_number(self.channel)
            if channel is None:
                raise TargetError(f"a layer's target needs channel=, counted from 0; got {self.channel!r}")
            self._set("channel", channel)
        if self.position is not None:
            self._set("position", row_and_column(self.position))
        if self.of not in ("logit", "probability"):
            raise TargetError(f"of= is 'logit' or 'probability', got {self.of!r}")
        if self.of == "probability" and (self.layer is not None or callable(self.what)):
            raise TargetError("of='probability' is for classes; a unit or a function has no probability")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        given = [] if self.what is None else [repr(self.what)]
        given += [
            f"{name}={getattr(self, name)!r}"
            for name in ("layer", "channel", "position")
            if getattr(self, name) is not None
        ]
        given += [f"of={self.of!r}"] if self.of != "logit" else []
        return f"Target({', '.join(given)})"

    def _objective(self) -> Objective:
        from cnnviz_widgets.engine.objectives import TargetObjective

        return TargetObjective(self)

    # Sums and multiples are no targets, but what an image can be optimized for.
    def __add__(self, other: Objective | Target) -> Objective:
        return self._objective() + other

    def __sub__(self, other: Objective | Target) -> Objective:
        return self._objective() - other

    def __mul__(self, weight: float) -> Objective:
        return self._objective() * weight

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -self._objective()

    @property
    def text(self) -> str:
        """The target as a result keeps it: as it is written, a function by its name."""
        if not callable(self.what):
            return repr(self)
        return f"Target({getattr(self.what, '__name__', type(self.what).__name__)})"

    def scores(self, net: Network, x: Tensor) -> Tensor:
        """Return the target's value for each image of a prepared batch [N, C, H, W], as a tensor [N].

        Gradients flow to ``x`` if it asks for them. For a unit the pass ends at its layer.

        Raises
        ------
        TargetError
            A channel or position outside the map, a function that returns something else than [N].
        LabelNotFoundError
            No such class, with the nearest names; or several classes of that name.
        OutputError
            The network returns no class scores; the value is NaN or infinite.
        """
        check_network(net, "a target")
        if self.layer is not None:
            with capture(net, [self.layer], gradients=x.requires_grad, stop=True) as seen:
                net(x)
            values = self.of_layer(maps_in(seen, self.layer))
        elif callable(self.what):
            values = self.of_output(net.scores(x))
        else:
            values = self.of_scores(net, net.class_scores(x))
        if not bool(torch.isfinite(values).all()):
            raise OutputError(f"{self!r} is NaN or infinite for this image")
        return values

    def of_scores(self, net: Network, scores: Tensor) -> Tensor:
        """Return a class target's value [N] from class scores [N, K]."""
        index = class_index(net, self.what, max(scores.shape[1], 2))
        if self.of == "probability":
            return probabilities(scores)[:, index]
        if scores.shape[1] == 1:
            # One score is the logit of class 1; that of class 0 is its negative.
            return scores[:, 0] if index == 1 else -scores[:, 0]
        return scores[:, index]

    def of_output(self, output: Tensor) -> Tensor:
        """Return a function's value [N] from what the network returned [N, ...]."""
        if not callable(self.what):
            raise TargetError(f"{self!r} is no function of the output")
        return _one_for_each(self.what(output), len(output))

    def of_layer(self, values: Tensor) -> Tensor:
        """Return a unit's or channel's value [N] from what its layer returned, [N, C, ...]."""
        channel = self.channel or 0
        if values.ndim not in (2, 4):
            raise TargetError(f"{self!r}: the layer returns {describe(values)}, not maps or a vector")
        if not 0 <= channel < values.shape[1]:
            raise TargetError(f"{self!r}: the layer has channels 0 to {values.shape[1] - 1}, got {channel}")
        maps = values[:, channel]
        if self.position is None:
            return maps if maps.ndim == 1 else maps.mean(dim=(1, 2))
        if maps.ndim == 1:
            raise TargetError(f"{self!r}: the layer returns a vector, which has no positions; leave it out")
        row, column = self.position
        height, width = maps.shape[1:]
        if not (0 <= row < height and 0 <= column < width):
            raise TargetError(f"{self!r}: the map has {height} rows and {width} columns, counted from 0")
        return maps[:, row, column]


TargetLike: TypeAlias = "Target | str | int | Callable[[Any], Tensor]"


def as_target(target: TargetLike) -> Target:
    """Return a `Target`: a bare label, index or function becomes one."""
    return target if isinstance(target, Target) else Target(target)


def class_index(net: Network, what: Any, classes: int) -> int:
    """Return the index of a class given by index or label."""
    if isinstance(what, int):
        if not 0 <= what < classes:
            raise LabelNotFoundError(f"class {what} does not exist; classes are 0 to {classes - 1}")
        return what
    if net.labels is None:
        raise LabelNotFoundError(
            f"the network has no labels, so class {what!r} can't be found{_or_layer(net, what)}; "
            "give an index, or cv.Network(module, labels=[...])"
        )
    found = [index for index, label in enumerate(net.labels) if label == what]
    if len(found) == 1:
        return found[0]
    if found:
        raise LabelNotFoundError(f"label {what!r} belongs to classes {found}; give one of these indices")
    index = f"; as an index it is {what}, without quotes" if what.isdecimal() else ""
    raise LabelNotFoundError(
        f"label {what!r} not found{did_you_mean(what, net.labels)}{_or_layer(net, what)}{index}"
    )


def _or_layer(net: Network, name: str) -> str:
    """Say how to ask for a layer's channel where what is no class is the name of a layer."""
    if not name or name not in dict(net.core.named_modules()):
        return ""
    return f"; {name!r} is a layer, of which cv.Target(layer={name!r}, channel=0) is the first channel"


def row_and_column(value: Any) -> tuple[int, int]:
    """Return a position, or say what one is."""
    numbers = [whole_number(each) for each in value] if isinstance(value, Iterable) else []
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        raise TargetError(f"position is (row, column), two whole numbers from 0; got {value!r}")
    return numbers[0], numbers[1]


def _one_for_each(value: Any, images: int) -> Tensor:
    if not isinstance(value, Tensor) or value.shape != (images,):
        got = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise TargetError(f"a target function must return one number for each image, [{images}]; got {got}")
    return value
