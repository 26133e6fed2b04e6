"""The one loop that optimizes pictures: step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.climber import Climber
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.objectives import Objective
from cnnviz_widgets.engine.optimizers import Optimizer, mover_of
from cnnviz_widgets.engine.parameterizations import Parameterization
from cnnviz_widgets.engine.slope import Evaluation, Slope, total_of
from cnnviz_widgets.engine.stream import Step, StopEarly
from cnnviz_widgets.engine.transforms import Transform

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

Picturing = Callable[[Tensor], NDArray[np.uint8]]
# A value that has fallen so many times its own size below the first one has diverged.
_FALL = 1000.0
# So has a loss that is larger by so many times its first size in so many steps in a row, or ends larger by its first
# size; by so much at least, since 1 is what losses are measured by.
_GROWTH, _PATIENCE, _LEFT_OVER, _LEAST_GROWTH = 10.0, 10, 1.0, 0.1


@dataclass(frozen=True, eq=False)
class Ascent:
    """What the loop has come to.

    Attributes
    ----------
    x
        The pictures in the network's numbers [N, C, H, W]: the last ones with a finite value.
    leaf
        The numbers that stand for them.
    values
        By term: its value at each step, for each picture [steps, N]; that of a step is taken before the step. Of losses
        that grew also at the steps that were undone.
    last
        By term: its value for each of the pictures ``x`` [N].
    steps
        How many steps led to ``x``; one after which the value was NaN or had diverged is undone, and does not count,
        and so are those after the least loss where losses grew.
    ended
        Why before the last step, in words; empty if it was not.
    relaxed
        For each picture, in how many steps a relaxed rectifier helped it out of a zero gradient [N].
    dead
        Which pictures never had a gradient by way of the network, relaxed rectifiers aside [N].
    stopped
        Whether it was told to stop (`StopEarly`), be it after the last step.
    """

    x: Tensor
    leaf: Tensor
    values: dict[str, NDArray[np.float32]]
    last: dict[str, NDArray[np.float32]]
    steps: int
    ended: str
    relaxed: NDArray[np.int64]
    dead: NDArray[np.bool_]
    stopped: bool = False


class PictureStep(Step):
    """A `Step` whose picture is made when it is looked at: most steps of a fast run are not."""

    def __init__(
        self, index: int, total: int | None, picture: Callable[[], Any], values: Mapping[str, Any]
    ) -> None:
        for name, value in (("index", index), ("total", total), ("values", values), ("_picture", picture)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_made", None)

    @property
    def image(self) -> NDArray[Any] | None:
        """The picture at this step."""
        made: tuple[Any] | None = self.__dict__["_made"]
        if made is None:
            made = (self.__dict__["_picture"](),)
            object.__setattr__(self, "_made", made)
        found: NDArray[Any] | None = made[0]
        return found


def ascend(
    net: Network,
    image: Parameterization,
    terms: Mapping[str, Objective],
    *,
    steps: int,
    optimizer: Optimizer,
    random: torch.Generator,
    transforms: Sequence[Transform] = (),
    picturing: Picturing | None = None,
    relax: int = 0,
    losses: bool = False,
    first: int = 0,
    total: int | None = None,
) -> Generator[Step, None, Ascent]:
    """Change pictures so that the sum of some terms grows; a generator of `Step` that returns an `Ascent`.

    Across a step nothing of the network is held, but the pictures are of a step that was looked at. A step's ``image``
    is made when it is looked at; its ``values`` are those of the terms (means over the pictures) before the step.
    `StopEarly`, thrown in, ends it with what there is.

    A value or gradient that is NaN or infinite ends it with the pictures before that; so does a value that has fallen
    a thousand times its size below the first one, and a gradient that is zero for all pictures. Losses end it
    that stay ten times larger than at first, or are left at more than twice that; then the pictures are those with the
    least. Where transforms have hidden what there is to follow, the next ones are drawn, and in the end none.
    Until the network has had a part in a gradient, that of penalties, which judge the picture itself, counts as zero.

    Parameters
    ----------
    net
        The network.
    image
        What is optimized; it is changed.
    terms
        What to add up, by name. What is to become small goes in with a minus.
    steps
        How many steps.
    optimizer
        How they go.
    random
        Draws the transforms.
    transforms
        What the network is shown in place of the pictures themselves.
    picturing
        Makes a step's picture; left out, there is none.
    relax
        In how many first steps pictures with a zero gradient get one through rectifiers that pass everything back
        (not with ``"lbfgs"``, whose line search needs the value's own).
    losses
        Whether the terms are losses with a minus: where those that ask the network are 0, all is reached.
    first, total
        The index of the first step, and the number of all, where this is a part of something longer.

    Raises
    ------
    LayerNotFoundError, TargetError, LabelNotFoundError, OutputError
        What the terms ask for is not there, or the first value is NaN or infinite.
    """
    if optimizer.name == "lbfgs" and transforms:
        raise ValueError(
            "lbfgs needs the same objective in each step; leave out the transforms or take 'adam'"
        )
    evaluate = Evaluation(Climber(net, terms), image, terms, transforms, random, losses)
    mover = mover_of(optimizer, image.leaf)
    relax = 0 if optimizer.name == "lbfgs" else relax
    history: list[dict[str, Tensor]] = []
    last: dict[str, Tensor] = {}
    relaxed = torch.zeros(len(image.leaf), dtype=torch.int64)
    ended, fault, stopped = "", "", False
    course = _Course(losses)
    good = here = image.leaf.detach().clone()
    try:
        for index in range(steps):
            slope, draw = evaluate.drawn(here, relax=index < relax)
            last = slope.values
            if index == 0:
                _check_first(slope)
            if fault := course.fault(slope.value, slope.peak, here, len(history)):
                break
            if evaluate.is_stuck(slope):
                ended = f"the gradient is zero for all pictures at step {first + index + 1}"
                break
            history.append(last)
            relaxed += slope.revived
            mover(index, slope.evaluated, partial(evaluate.elsewhere, draw))
            image.constrain()
            good, here = here, image.leaf.detach().clone()
            yield _step(
                partial(evaluate.looked.picture, here), picturing, first + index, total or steps, last
            )
    except StopEarly:
        stopped = True
    finally:
        evaluate.looked.close()
    if history and not fault and not ended:
        last = evaluate.values()
        peak = float(image.leaf.abs().max())
        fault = course.fault(total_of(last), peak, here, len(history), is_end=not stopped)
    if fault:
        good, kept = course.best if losses else (good, len(history) - 1)
        image.leaf.copy_(good)
        what, which = ("loss", "pictures of the least loss") if losses else ("value", "last good pictures")
        ended = (
            f"the {what} {fault} after step {first + len(history)}: these are the {which}, of step {first + kept}; "
            "lower the rate"
        )
        last = history[kept]
        history = history if losses else history[:kept]
    else:
        kept = len(history)
    with torch.no_grad():
        x = image.picture(image.leaf).detach().clone()
    empty = torch.zeros((0, len(x)))
    return Ascent(
        x=x,
        leaf=image.leaf,
        values={
            name: (torch.stack([each[name] for each in history]) if history else empty).numpy()
            for name in terms
        },
        last={name: each.numpy() for name, each in last.items()},
        steps=kept,
        ended=ended,
        relaxed=relaxed.numpy(),
        dead=(~evaluate.live).numpy(),
        stopped=stopped,
    )


class _Course:
    """Where a value began, and where losses were least.

    Attributes
    ----------
    best
        The numbers that stand for the pictures with the least loss, and after how many steps.
    """

    best: tuple[Tensor, int]

    def __init__(self, losses: bool) -> None:
        self._losses = losses
        self._first: float | None = None
        self._highest = -math.inf
        self._far = 0

    def fault(self, value: float, peak: float, leaf: Tensor, steps: int, *, is_end: bool = False) -> str:
        """Return what is wrong with a value after so many steps, in words; empty if nothing is."""
        if not (math.isfinite(value) and math.isfinite(peak)):
            return "became NaN or infinite"
        if self._first is None:
            self._first = value
        if value > self._highest:
            self._highest, self.best = value, (leaf, steps)
        if not self._losses:
            return "diverged" if value < self._first - _FALL * (1 + abs(self._first)) else ""
        growth = (self._first - value) / max(abs(self._first), _LEAST_GROWTH)
        self._far = self._far + 1 if growth > _GROWTH else 0
        if self._far >= _PATIENCE or (is_end and growth > _LEFT_OVER):
            return f"diverged, from {-self._first:.3g} to {-value:.3g},"
        return ""


def _check_first(slope: Slope) -> None:
    """Say that there is nothing to begin with."""
    for name, each in (("value", slope.value), ("gradient", slope.peak)):
        if not math.isfinite(each):
            raise OutputError(
                f"the first {name} is NaN or infinite, so there is nothing to follow; look at what the network "
                "returns for the picture to begin with"
            )


def _step(
    pictures: Callable[[], Tensor],
    picturing: Picturing | None,
    index: int,
    total: int,
    values: Mapping[str, Tensor],
) -> Step:
    means = {name: float(each.mean()) for name, each in values.items()}
    if picturing is None:
        return Step(index, total, values=means)

    def picture() -> Any:
        with torch.no_grad():
            return picturing(pictures())

    return PictureStep(index, total, picture, means)
