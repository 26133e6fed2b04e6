"""DeepFool: over the nearest boundary of a class, step by step, as if the network were linear.

Moosavi-Dezfooli, Fawzi and Frossard, CVPR 2016. It is no ascent of one objective: each step has a length of its own,
and needs the gradients of several classes to choose among them.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from cnnviz_widgets.engine.ascent import PictureStep, Picturing
from cnnviz_widgets.engine.attacks import Plan, Pushed
from cnnviz_widgets.engine.batch_statistics import independent_parts
from cnnviz_widgets.engine.class_odds import logits
from cnnviz_widgets.engine.climber import Climber
from cnnviz_widgets.engine.input_gradients import sent_back
from cnnviz_widgets.engine.norm_balls import network_numbers, steepest
from cnnviz_widgets.engine.stream import Step, StopEarly

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# A difference of logits below it counts as it: on the boundary itself there would be no step.
_LEAST = 1e-4


def deepfool(
    net: Network, center: Tensor, start: Tensor, current: int, plan: Plan, picturing: Picturing | None = None
) -> Generator[Step, None, Pushed]:
    """Take a picture [1, C, H, W], from 0 to 1, out of its class; a generator of `Step`.

    With logits f, and c the current class, a step goes to the class k whose boundary seems nearest. For the norm
    ``"2"``, with w = grad f_k - grad f_c, it is ``(f_c - f_k) / |w|^2 * w``; for ``"inf"``,
    ``(f_c - f_k) / sum |w| * sign(w)``. Before each of them the network is asked at the picture plus (1 + overshoot)
    times the sum of all steps so far; it ends when the answer is another class.
    """
    climber = Climber(net, {})
    beyond, ended, stopped = 1 + plan.overshoot, "", False
    change, pixels = (start - center) / beyond, plan.ball.project(center, start)
    candidates = _nearest_classes(climber, pixels, current, plan.candidates)
    notes: list[tuple[float, float]] = []
    try:
        for index in range(plan.steps):
            values, gradients = _class_gradients(climber, pixels, candidates)
            if int(values.argmax()) != current:
                break
            margins = (values[current] - values[candidates[1:]]).abs().clamp(min=_LEAST)
            slopes = gradients[1:] - gradients[:1]
            # The largest change of a linear function by a change of size 1 in the norm.
            rise = slopes.flatten(1).norm(p=1.0 if plan.ball.norm == "inf" else 2.0, dim=1)
            distances = torch.where(rise > 0, margins / rise, torch.inf)
            nearest = int(distances.argmin())
            distance = float(distances[nearest])
            if distance == float("inf"):
                ended = f"the gradient is zero for all classes at step {index + 1}"
                break
            change = change + distance * steepest(slopes[nearest : nearest + 1], plan.ball.norm)
            pixels = plan.ball.project(center, center + beyond * change)
            notes.append((float(margins[nearest]), distance))
            yield _step(network_numbers(net, pixels), index, plan.steps, notes[-1], picturing)
    except StopEarly:
        stopped = True
    table = np.array(notes, np.float32).reshape(-1, 2)
    curves = {"margin": table[:, :1].copy(), "distance": table[:, 1:].copy()}
    return Pushed(pixels, curves, len(notes), ended, stopped, np.array([bool(ended) and not notes]))


def _nearest_classes(climber: Climber, pixels: Tensor, current: int, count: int) -> Tensor:
    """Return the class to leave and those that come next, the most probable first: as many as asked for in all."""
    with climber.step(), torch.no_grad():
        values = logits(climber.net.class_scores(network_numbers(climber.net, pixels)))[0]
    order = values.sort(descending=True, stable=True).indices
    others = order[order != current][: count - 1]
    return torch.cat([torch.tensor([current], device=order.device), others])


def _class_gradients(climber: Climber, pixels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits of a picture [K], and the gradients of some of them [n, C, H, W]."""
    with climber.step():
        # One copy for each class, so that a single backward pass gives all gradients.
        leaf = pixels.repeat(len(classes), 1, 1, 1).requires_grad_()
        parts = independent_parts(climber.net.core, network_numbers(climber.net, leaf))
        values = logits(torch.cat([climber.net.class_scores(each) for each in parts]))
        gradients = sent_back(values.gather(1, classes[:, None]).sum(), leaf)
    return values[0].detach().float(), gradients


def _step(
    x: Tensor,
    index: int,
    total: int,
    note: tuple[float, float],
    picturing: Picturing | None,
) -> Step:
    values = {"margin": note[0], "distance": note[1]}
    if picturing is None:
        return Step(index, total, values=values)

    return PictureStep(index, total, partial(picturing, x), values)
