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
from cnnviz_widgets.engine.input_gradients import sent_back
from cnnviz_widgets.engine.objectives import Objective
from cnnviz_widgets.engine.optimizers import Optimizer, mover_of
from cnnviz_widgets.engine.parameterizations import Parameterization
from cnnviz_widgets.engine.relu_rules import ruled
from cnnviz_widgets.engine.stream import Step, StopEarly
from cnnviz_widgets.engine.transforms import Transform, transformed

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

Picturing = Callable[[Tensor], NDArray[np.uint8]]
# A value that has fallen so many times its own size below the first one has diverged.
_FALL = 1000.0
_ADVICE = ": these are the last good pictures; lower the rate"


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
        By term: its value at each step, for each picture [steps, N]; that of a step is taken before the step.
    steps
        How many steps were taken.
    ended
        Why before the last step, in words; empty if it was not.
    relaxed
        For each picture, in how many steps a relaxed rectifier helped it out of a zero gradient [N].
    stopped
        Whether it was told to stop (`StopEarly`), be it after the last step.
    """

    x: Tensor
    leaf: Tensor
    values: dict[str, NDArray[np.float32]]
    steps: int
    ended: str
    relaxed: NDArray[np.int64]
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


class _Evaluation:
    """One step's objective: its value, and its gradient left in the leaf."""

    def __init__(
        self,
        climber: Climber,
        image: Parameterization,
        transforms: Sequence[Transform],
        random: torch.Generator,
    ) -> None:
        self._climber, self._image = climber, image
        self._transforms, self._random = transforms, random
        self.relax = False
        self.relaxed = np.zeros(len(image.leaf), np.int64)

    def __call__(self, draw: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return each term's values [N], and the gradient of their sum with respect to the leaf."""
        values, gradient = self._once(draw, "plain")
        if self.relax and bool((dead := _peaks(gradient) == 0).any()):
            _, other = self._once(draw, "relaxed")
            revived = dead & (_peaks(other) != 0)
            gradient = torch.where(revived.view(-1, *[1] * (gradient.ndim - 1)), other, gradient)
            self.relaxed += revived.cpu().numpy()
        return values, gradient

    def _once(self, draw: Tensor, rule: str) -> tuple[dict[str, Tensor], Tensor]:
        leaf = self._image.leaf.detach().requires_grad_()
        # Evaluated twice, a step is the same both times.
        self._random.set_state(draw)
        with self._climber.step(), ruled(rule):
            picture = self._image.picture(leaf)
            shown = transformed(picture, self._transforms, self._random)
            if rule == "plain":
                self._climber.narrow(shown)
            values = self._climber.values(picture, shown)
            total = torch.stack([each.float() for each in values.values()]).sum()
            gradient = sent_back(total, leaf)
        return {name: each.detach().float().cpu() for name, each in values.items()}, gradient


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
    first: int = 0,
    total: int | None = None,
) -> Generator[Step, None, Ascent]:
    """Change pictures so that the sum of some terms grows; a generator of `Step` that returns an `Ascent`.

    Nothing is held across a step. A step's ``image`` is made when it is looked at; its ``values`` are those of the
    terms (means over the pictures) before the step. `StopEarly`, thrown in, ends it with what there is.

    A value or gradient that is NaN or infinite ends it with the pictures before that; so does a value that has fallen
    a thousand times its size below the first one, and a gradient that is zero for all pictures.

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
        In how many first steps pictures with a zero gradient get one through rectifiers that pass everything back.
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
    evaluate = _Evaluation(Climber(net, terms), image, transforms, random)
    mover = mover_of(optimizer, image.leaf)
    history: dict[str, list[Tensor]] = {name: [] for name in terms}
    ended, done, lowest, stopped = "", 0, -math.inf, False
    good = here = image.leaf.detach().clone()
    try:
        for index in range(steps):
            evaluate.relax = index < relax
            draw = random.get_state()
            values, gradient = evaluate(draw)
            value = float(sum(each.sum() for each in values.values()))
            peak = float(_peaks(gradient).max())
            finite = math.isfinite(value) and math.isfinite(peak)
            if not finite and index == 0:
                raise OutputError(
                    f"the first {'value' if not math.isfinite(value) else 'gradient'} is NaN or infinite, so there is "
                    "nothing to follow; look at what the network returns for the picture to begin with"
                )
            if index == 0:
                lowest = value - _FALL * (1 + abs(value))
            if not finite or value < lowest:
                image.leaf.copy_(good)
                fault = "became NaN or infinite" if not finite else "diverged"
                ended = f"the value {fault} at step {first + index + 1}{_ADVICE}"
                break
            for name, each in values.items():
                history[name].append(each)
            if not peak:
                ended = f"the gradient is zero for all pictures at step {first + index + 1}"
                break
            mover(index, (values, gradient), partial(evaluate, draw))
            image.constrain()
            good, here = here, image.leaf.detach().clone()
            done = index + 1
            yield _step(image, here, picturing, first + index, total or steps, values)
    except StopEarly:
        stopped = True
    if not bool(image.leaf.isfinite().all()):
        image.leaf.copy_(good)
        ended = ended or f"step {first + done} led to NaN or infinity{_ADVICE}"
    with torch.no_grad():
        x = image.picture(image.leaf).detach().clone()
    curves = {
        name: (torch.stack(each).numpy() if each else np.zeros((0, len(x)), np.float32))
        for name, each in history.items()
    }
    return Ascent(x, image.leaf, curves, done, ended, evaluate.relaxed, stopped)


def _peaks(gradient: Tensor) -> Tensor:
    """Return the largest magnitude in each picture's gradient [N]; NaN where there is one."""
    return gradient.flatten(1).abs().amax(1)


def _step(
    image: Parameterization,
    leaf: Tensor,
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
            return picturing(image.picture(leaf))

    return PictureStep(index, total, picture, means)
