"""Many images attacked, batch by batch, with changes of several sizes, and what became of each."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.attack_goals import Aim
from cnnviz_widgets.engine.attack_outcome import worth
from cnnviz_widgets.engine.attacks import Plan, Pushed, gradient_step, pixels_of, push
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.norm_balls import network_numbers
from cnnviz_widgets.engine.stream import Step, StopEarly, remark

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

NOT_ASKED = -1


@dataclass
class AttackTally:
    """What has been found so far.

    Attributes
    ----------
    answers
        Row by row, for each epsilon [E, N].
    unmoved
        Which images had no gradient [N].
    ended
        Why attacks ended early, each in words.
    """

    answers: NDArray[np.int64]
    unmoved: NDArray[np.bool_]
    ended: list[str]

    def tell(self) -> None:
        """Say what a person must know of it."""
        if self.unmoved.any():
            remark(
                f"the gradient is zero for {int(self.unmoved.sum())} of {len(self.unmoved)} images, which could not be "
                "attacked: they look more robust than they are"
            )
        if self.ended:
            remark(f"attacks ended early, so that images may look more robust than they are: {self.reason}")

    @property
    def reason(self) -> str:
        """The first reason, and how many there are."""
        more = f" (and {len(self.ended) - 1} more)" if len(self.ended) > 1 else ""
        return "".join(self.ended[:1]) + more


def attack_batches(
    net: Network,
    levels: NDArray[np.uint8],
    parts: Sequence[slice],
    aim: Aim,
    plans: Sequence[Plan],
    quantize: bool,
    tally: AttackTally,
) -> Generator[Step, None, None]:
    """Attack batch by batch, and write down the answers as far as it comes."""
    each_total = plans[0].steps * plans[0].restarts
    total, first = len(parts) * len(plans) * each_total, 0
    for part in parts:
        center = pixels_of(net, levels[part])
        own = Aim(aim.classes[part], aim.reach)
        classes = torch.from_numpy(own.classes).to(net.device)
        direction = None
        if plans[0].method == "fgsm":
            direction = gradient_step(net, center, classes, plans[0].ball.norm, reach=aim.reach)
        for row, plan in enumerate(plans):
            # An attack has only failed if all restarts have: before the last one, nothing is known of the batch.
            best, found = np.full(len(center), -np.inf), np.zeros(len(center), np.int64)
            dead = np.ones(len(center), bool)
            for restart in range(plan.restarts):
                if direction is not None:
                    pushed = yield from _one_step(center, direction, plan, first, total)
                else:
                    starts = [plan.start(one, restart, part.start + k) for k, one in enumerate(center)]
                    start = torch.stack(starts)
                    pushed = yield from push(
                        net, center, start, classes, plan, reach=aim.reach, first=first, total=total
                    )
                if pushed.stopped:
                    return
                first += plan.steps
                dead &= pushed.dead
                if pushed.ended and not pushed.dead.all():
                    tally.ended.append(pushed.ended)
                said = _probabilities(net, levels[part], pushed.pixels, plan, quantize)
                now = worth(said, own)
                found = np.where(now > best, said.argmax(1).cpu().numpy(), found)
                best = np.maximum(now, best)
            tally.answers[row, part] = found
            if plan.ball.epsilon > 0:
                tally.unmoved[part] |= dead


def _one_step(
    center: Tensor, direction: Tensor, plan: Plan, index: int, total: int
) -> Generator[Step, None, Pushed]:
    """Go all the way along a direction that was found before, for all epsilons."""
    pixels = plan.ball.project(center, center + plan.ball.epsilon * direction)
    stopped = False
    try:
        yield Step(index, total)
    except StopEarly:
        stopped = True
    dead = (direction == 0).flatten(1).all(1).cpu().numpy()
    return Pushed(pixels, {}, 1, "", stopped, dead)


def _probabilities(
    net: Network, levels: NDArray[np.uint8], pixels: Tensor, plan: Plan, quantize: bool
) -> Tensor:
    """Return what the network says of attacked images [N, K]."""
    if quantize:
        exact = pixels.cpu().numpy()
        changed = [one + plan.ball.in_levels(one, other) for one, other in zip(levels, exact, strict=True)]
        pixels = pixels_of(net, np.stack(changed).astype(np.uint8))
    return class_probabilities(net, network_numbers(net, pixels))
