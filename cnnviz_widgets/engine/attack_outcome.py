"""What an attack has come to, judged on pictures in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.attack_goals import Aim
from cnnviz_widgets.engine.attacks import Plan, pixels_of
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.norm_balls import NormBall, network_numbers

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

_LARGEST_OVERSHOOT = 1.5


@dataclass(frozen=True, eq=False)
class Outcome:
    """One changed picture in 8 bits.

    Attributes
    ----------
    change
        In levels [C, H, W].
    exact
        The picture before rounding, from 0 to 1.
    probabilities
        Of all classes for the picture in 8 bits [K].
    answer
        The most probable of them.
    success
        Whether it is the class to reach, or another than the one to leave.
    """

    change: NDArray[np.int16]
    exact: NDArray[np.float32]
    probabilities: Tensor
    answer: int
    success: bool


def outcome(
    net: Network,
    original: NDArray[np.uint8],
    exact: NDArray[np.float32],
    ball: NormBall,
    current: int,
    goal: int | None,
) -> Outcome:
    """Return what the network says of a picture, rounded to 8 bits within the ball around another one."""
    change = ball.in_levels(original, exact)
    levels = (original + change).astype(np.uint8)
    # One by one, as anyone would ask the network: in a batch, numbers may round otherwise.
    after = class_probabilities(net, network_numbers(net, pixels_of(net, levels[None])))[0]
    answer = int(after.argmax())
    return Outcome(change, exact, after, answer, answer != current if goal is None else answer == goal)


def best_outcome(
    net: Network, original: NDArray[np.uint8], pixels: Tensor, plan: Plan, current: int, goal: int | None
) -> Outcome:
    """Return the best of several pictures [N, C, H, W]."""
    found = [outcome(net, original, each, plan.ball, current, goal) for each in pixels.cpu().numpy()]
    aim = Aim(np.full(len(found), current if goal is None else goal), goal is not None)
    return found[int(worth(torch.stack([each.probabilities for each in found]), aim).argmax())]


def worth(probabilities: Tensor, aim: Aim) -> NDArray[np.float64]:
    """Return what attacks have come to, as numbers to compare [N], from what the network says then [N, K].

    A success is worth more than none, and then a small probability of the class to leave, or a large one of the class
    to reach.
    """
    # Not every device has float64.
    said, classes = probabilities.cpu(), torch.from_numpy(aim.classes)
    own = said.double().gather(1, classes[:, None])[:, 0]
    success = (said.argmax(1) == classes) == aim.reach
    found: NDArray[np.float64] = (2.0 * success + (own if aim.reach else -own)).numpy()
    return found


def beyond_rounding(
    net: Network, original: NDArray[np.uint8], pixels: Tensor, plan: Plan, current: int
) -> tuple[Outcome, float]:
    """Return DeepFool's picture [1, C, H, W] so far beyond the boundary that rounding does not undo it.

    The overshoot is doubled until the answer for the picture in 8 bits is another class; it is returned as well. Where
    that does not help, both stay as they were.
    """
    center, share = pixels_of(net, original[None]), plan.overshoot
    change = (pixels - center) / (1 + share)
    first = found = outcome(net, original, pixels[0].cpu().numpy(), plan.ball, current, None)
    while not found.success and share < _LARGEST_OVERSHOOT:
        share = max(2 * share, 0.01)
        further = plan.ball.project(center, center + (1 + share) * change)[0]
        found = outcome(net, original, further.cpu().numpy(), plan.ball, current, None)
    return (found, share) if found.success else (first, plan.overshoot)
