"""Optimizers: how the numbers that stand for pictures move along their gradient, one step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.optim.adam import adam

from cnnviz_widgets.engine.norm_balls import steepest

OptimizerName = Literal["adam", "momentum", "adaptive", "lbfgs", "sign", "unit", "normalized"]
OPTIMIZERS: tuple[str, ...] = ("adam", "momentum", "adaptive", "lbfgs", "sign", "unit", "normalized")


@dataclass(frozen=True)
class Optimizer:
    """How the numbers move along their gradient.

    Attributes
    ----------
    name
        ``"adam"``; ``"momentum"``; ``"adaptive"``: momentum over adaptive rates, as Mahendran and Vedaldi (2016) take
        it for pre-images (see `_adaptive_mover`); ``"lbfgs"`` (with a line search for each picture alone; not with
        transforms, under which no two steps have the same objective; it does not know of what `Pixels` cuts off at
        black and white, so that there its steps are no better than others); ``"sign"``: by ``rate`` along the
        gradient's sign; ``"unit"``: by ``rate`` times the gradient over its length, ``"normalized"``: over its mean
        magnitude, for each picture.
    rate
        The step's size: a number, or a function of the step's index from 0.
    momentum
        Of ``"momentum"`` and ``"adaptive"``.
    unit
        Of ``"adaptive"``: what the numbers are measured in, one for all or [C, 1, 1]; a step goes
        1 / (1 - momentum) units at most.
    """

    name: OptimizerName = "adam"
    rate: float | Callable[[int], float] = 0.05
    momentum: float = 0.9
    unit: float | Tensor = 1.0

    def __post_init__(self) -> None:
        if self.name not in OPTIMIZERS:
            raise ValueError(f"optimizer is one of {', '.join(map(repr, OPTIMIZERS))}; got {self.name!r}")
        if not callable(self.rate) and not (0 < self.rate < math.inf):
            raise ValueError(f"rate must be a number above 0, got {self.rate!r}")

    def at(self, index: int) -> float:
        """Return the rate of a step."""
        return self.rate(index) if callable(self.rate) else self.rate


Evaluated = tuple[dict[str, Tensor], Tensor]
Mover = Callable[[int, Evaluated, Callable[[], Evaluated]], None]


def mover_of(optimizer: Optimizer, leaf: Tensor) -> Mover:
    """Return what changes the leaf by a step, given what is known at it and a way to know it elsewhere."""
    if optimizer.name in ("sign", "unit", "normalized"):
        return _plain_mover(optimizer, leaf)
    if optimizer.name == "lbfgs":
        return _lbfgs_mover(optimizer, leaf)
    if optimizer.name == "adaptive":
        return _adaptive_mover(optimizer, leaf)
    # In one pass over the numbers, where there is a kernel for it.
    fused = leaf.device.type in ("cpu", "cuda")
    if optimizer.name == "adam":
        return _adam_mover(optimizer, leaf, fused)
    chosen = torch.optim.SGD(
        [leaf], lr=1.0, momentum=optimizer.momentum, maximize=True, foreach=False, fused=fused
    )

    def move(index: int, here: Evaluated, evaluate: Callable[[], Evaluated]) -> None:
        chosen.param_groups[0]["lr"] = optimizer.at(index)
        leaf.grad = here[1].contiguous()
        chosen.step()
        leaf.grad = None

    return move


def _adam_mover(optimizer: Optimizer, leaf: Tensor, fused: bool) -> Mover:
    # What `torch.optim.Adam` calls in the end, without what that does for hooks, profilers and compilers.
    mean, square = torch.zeros_like(leaf), torch.zeros_like(leaf)
    steps = torch.zeros((), dtype=torch.float32, device=leaf.device if fused else "cpu")

    def move(index: int, here: Evaluated, evaluate: Callable[[], Evaluated]) -> None:
        adam(
            [leaf],
            [here[1].contiguous()],
            [mean],
            [square],
            [],
            [steps],
            lr=optimizer.at(index),
            beta1=0.9,
            beta2=0.999,
            eps=1e-8,
            weight_decay=0.0,
            amsgrad=False,
            maximize=True,
            foreach=False,
            fused=fused,
        )

    return move


def _adaptive_mover(optimizer: Optimizer, leaf: Tensor) -> Mover:
    """Return momentum over rates that every number has for itself, which no scale of the objective changes much.

    With the gradient g per unit, the rate r and the momentum m: G = m G + g^2, v = m v + g / (1 / r + sqrt(G)), and the
    number moves by v units. Where g is large that is 1 / sqrt(1 - m) units while it is steady, 1 / (1 - m) at most;
    where it is small, plain momentum with the rate r. A new rate begins with v = 0.
    """
    unit = optimizer.unit.to(leaf) if isinstance(optimizer.unit, Tensor) else optimizer.unit
    squares, speed = torch.zeros_like(leaf), torch.zeros_like(leaf)
    before = optimizer.at(0)

    def move(index: int, here: Evaluated, evaluate: Callable[[], Evaluated]) -> None:
        nonlocal before
        if (rate := optimizer.at(index)) != before:
            speed.zero_()
            before = rate
        gradient = here[1] * unit
        squares.mul_(optimizer.momentum).addcmul_(gradient, gradient)
        speed.mul_(optimizer.momentum).addcdiv_(gradient, squares.sqrt().add_(1 / rate))
        leaf.add_(speed * unit)

    return move


def _plain_mover(optimizer: Optimizer, leaf: Tensor) -> Mover:
    def move(index: int, here: Evaluated, evaluate: Callable[[], Evaluated]) -> None:
        gradient = here[1]
        if optimizer.name in ("sign", "unit"):
            direction = steepest(gradient, "inf" if optimizer.name == "sign" else "2")
        else:
            size = gradient.abs().flatten(1).mean(1).view(-1, *[1] * (gradient.ndim - 1))
            direction = gradient / size.clamp(min=torch.finfo(gradient.dtype).tiny)
        leaf.add_(direction, alpha=optimizer.at(index))

    return move


def _lbfgs_mover(optimizer: Optimizer, leaf: Tensor) -> Mover:
    # One for each picture: the length of a step is that of its own line search.
    chosen = [_lbfgs(leaf[index : index + 1]) for index in range(len(leaf))]

    def move(index: int, here: Evaluated, evaluate: Callable[[], Evaluated]) -> None:
        begun, moved = leaf.clone(), leaf.clone()
        for picture, each in enumerate(chosen):
            each.param_groups[0]["lr"] = optimizer.at(index)
            own: Tensor = each.param_groups[0]["params"][0]
            each.step(partial(_own_loss, own, picture, [here], evaluate))
            own.grad = None
            moved[picture] = leaf[picture]
            # The others stay where they were meanwhile.
            leaf.copy_(begun)
        leaf.copy_(moved)

    return move


def _own_loss(own: Tensor, picture: int, known: list[Evaluated], evaluate: Callable[[], Evaluated]) -> Tensor:
    """Return what one picture makes small, with its gradient; it is asked first for what is known."""
    values, gradient = known.pop() if known else evaluate()
    # It is viewed as a row; that of a convolution may lie channels last.
    own.grad = -gradient[picture : picture + 1].contiguous()
    return -torch.stack([each[picture] for each in values.values()]).sum()


def _lbfgs(leaf: Tensor) -> torch.optim.LBFGS:
    return torch.optim.LBFGS(
        [leaf],
        max_iter=1,
        max_eval=20,
        history_size=20,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
