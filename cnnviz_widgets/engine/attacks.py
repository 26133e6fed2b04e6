"""How pictures are changed so that a network takes them for something else."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import Picturing, ascend
from cnnviz_widgets.engine.class_odds import CrossEntropy
from cnnviz_widgets.engine.climber import Climber
from cnnviz_widgets.engine.errors import InputError, OutputError
from cnnviz_widgets.engine.input_gradients import sent_back
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.norm_balls import NORMS, BallPixels, NormBall, NormName, network_numbers, steepest
from cnnviz_widgets.engine.optimizers import Optimizer
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.whole_numbers import checked_whole

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

AttackName = Literal["fgsm", "ifgsm", "pgd", "deepfool"]
ATTACKS: tuple[str, ...] = get_args(AttackName)
_STEPS = {"fgsm": 1, "ifgsm": 10, "pgd": 10, "deepfool": 50}
_EPSILON = {"inf": 8 / 255, "2": 1.0}
# The steps of one run add up to so many times epsilon: enough to reach every edge of the ball (Madry et al.).
_WAY = 2.5


@dataclass(frozen=True)
class Plan:
    """How an attack goes: its options, checked.

    Attributes
    ----------
    method, ball
        Which attack, and how far it may go.
    steps, rate
        How many steps, and how long each of them is in the ball's norm (not of DeepFool).
    restarts, seed
        How many random starts (of PGD), and what they are drawn from.
    overshoot, candidates
        Of DeepFool.
    """

    method: AttackName
    ball: NormBall
    steps: int
    rate: float = 0.0
    restarts: int = 1
    seed: int = 0
    overshoot: float = 0.02
    candidates: int = 10

    def start(self, center: Tensor, restart: int, image: int = 0) -> Tensor:
        """Return where a run begins for one picture [C, H, W]; ``image`` is its number among several."""
        if self.method != "pgd":
            return center
        words = np.random.SeedSequence([self.seed, restart, image]).generate_state(1, np.uint64)
        return self.ball.random(center, torch.Generator().manual_seed(int(words[0]) >> 1))


def checked_plan(
    method: Any,
    epsilon: Any,
    norm: Any,
    *,
    steps: Any = None,
    rate: Any = None,
    restarts: Any = 1,
    seed: Any = 0,
    overshoot: Any = 0.02,
    candidates: Any = 10,
) -> Plan:
    """Return how an attack goes, or say which of its options is wrong."""
    for name, value, known in (("method", method, ATTACKS), ("norm", norm, NORMS)):
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{name} is one of {', '.join(map(repr, known))}; got {value!r}")
    if method == "fgsm" and steps not in (None, 1):
        raise ValueError(
            f"fgsm takes a single step, got steps={steps!r}; for more of them take 'ifgsm' or 'pgd'"
        )
    if method in ("fgsm", "deepfool") and rate is not None:
        raise ValueError(f"rate is of 'ifgsm' and 'pgd'; {method!r} finds its own, got {rate!r}")
    count = checked_whole("steps", _STEPS[method] if steps is None else steps)
    runs = checked_whole("restarts", restarts)
    if runs > 1 and method != "pgd":
        raise ValueError(
            f"only 'pgd' begins at random, so that a restart changes nothing for {method!r}; got {runs}"
        )
    if epsilon is None:
        radius = math.inf if method == "deepfool" else _EPSILON[norm]
    else:
        radius = _checked_number("epsilon", epsilon)
        if norm == "inf" and radius > 1:
            level = f"; did you mean {epsilon:g}/255?" if radius <= 255 else ""
            raise ValueError(f"epsilon={epsilon:g} is more than white is above black, which is 1{level}")
    length = radius if method == "fgsm" else _WAY * radius / count
    if rate is not None:
        length = _checked_number("rate", rate)
        if length == 0:
            raise ValueError("rate must be above 0, got 0: nothing would change")
    return Plan(
        method=method,
        ball=NormBall(radius, norm),
        steps=count,
        rate=0.0 if method == "deepfool" else length,
        restarts=runs,
        seed=checked_whole("seed", seed, least=0),
        overshoot=_checked_number("overshoot", overshoot),
        candidates=checked_whole("candidates", candidates, least=2),
    )


def _checked_number(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not 0 <= value < math.inf:
        advice = (
            "; pixels are on the scale where white is 1 above black" if name in ("epsilon", "rate") else ""
        )
        raise ValueError(f"{name} must be a number from 0, got {value!r}{advice}")
    return float(value)


def levels_of(net: Network, images: Images, *, keep_size: bool = False) -> NDArray[np.uint8]:
    """Return pictures in 8 bits, in the network's channels [N, C, H, W]; resized and cut as it needs it, or not."""
    spec = replace(net.input, mean=0.0, std=1.0)
    pixels = (replace(spec, size=None, resize=None) if keep_size else spec).prepare(images)
    levels: NDArray[np.uint8] = pixels.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()
    return levels


def start_levels(net: Network, start: Images, like: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture to begin with, of the size of another [1, C, H, W]."""
    levels = levels_of(net, start, keep_size=True)
    if levels.shape != like.shape:
        raise InputError(
            f"start is one picture of {like.shape[2]} x {like.shape[3]} pixels, as the network sees the image; got "
            f"{len(levels)} of {levels.shape[2]} x {levels.shape[3]}"
        )
    return levels


def pixels_of(net: Network, levels: NDArray[np.uint8]) -> Tensor:
    """Return 8-bit pictures as numbers from 0 to 1, on the network's device."""
    return (torch.from_numpy(levels).float() / 255).to(net.device)


@dataclass(frozen=True)
class Pushed:
    """Where an attack has led.

    Attributes
    ----------
    pixels
        The pictures [N, C, H, W], from 0 to 1.
    curves
        By name, what was noted before each step [steps, N].
    steps
        How many were taken.
    ended
        Why before the last one, in words; empty if it was not.
    stopped
        Whether it was told to stop.
    dead
        Which pictures never had a gradient [N].
    """

    pixels: Tensor
    curves: dict[str, NDArray[np.float32]]
    steps: int
    ended: str
    stopped: bool
    dead: NDArray[np.bool_]


def push(
    net: Network,
    center: Tensor,
    start: Tensor,
    classes: Tensor,
    plan: Plan,
    *,
    reach: bool = False,
    picturing: Picturing | None = None,
    first: int = 0,
    total: int | None = None,
) -> Generator[Step, None, Pushed]:
    """Follow the gradient of the cross-entropy from some pictures, within the balls around others.

    FGSM is one step of this, I-FGSM several, and PGD several from a random place.

    Parameters
    ----------
    net
        The network.
    center, start
        The pictures themselves and those to begin with [N, C, H, W], from 0 to 1.
    classes
        For each of them, the class to leave, or with ``reach`` the one to go to [N].
    plan
        How to go.
    picturing, first, total
        See `ascend`.
    """
    ascent = yield from ascend(
        net,
        BallPixels(net, center, plan.ball, start),
        {"log_probability" if reach else "loss": CrossEntropy(classes, reach=reach)},
        steps=plan.steps,
        # A function, since with epsilon 0 the rate is 0.
        optimizer=Optimizer("sign" if plan.ball.norm == "inf" else "unit", rate=lambda index: plan.rate),
        random=torch.Generator(),
        picturing=picturing,
        first=first,
        total=total,
    )
    return Pushed(ascent.leaf, ascent.values, ascent.steps, ascent.ended, ascent.stopped, ascent.dead)


def gradient_step(
    net: Network, pixels: Tensor, classes: Tensor, norm: NormName, *, reach: bool = False
) -> Tensor:
    """Return the change of size 1 that makes the cross-entropy of some classes grow most [N, C, H, W].

    With ``reach``, the one that makes it fall most. It is FGSM's for every epsilon.
    """
    climber = Climber(net, {"loss": CrossEntropy(classes, reach=reach)})
    with climber.step():
        leaf = pixels.detach().clone().requires_grad_()
        x = network_numbers(net, leaf)
        gradient = sent_back(climber.values(x, x)["loss"].sum(), leaf)
    if not bool(gradient.isfinite().all()):
        raise OutputError(
            "the gradient is NaN or infinite for one of these images, so there is nothing to follow"
        )
    return steepest(gradient, norm)
