"""Adversarial examples: the same picture to us, another thing to the network."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.attack_goals import checked_goal
from cnnviz_widgets.engine.attack_outcome import Outcome, best_outcome, beyond_rounding
from cnnviz_widgets.engine.attacks import (
    AttackName,
    Plan,
    Pushed,
    checked_plan,
    levels_of,
    pixels_of,
    push,
    start_levels,
)
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.deepfool import deepfool
from cnnviz_widgets.engine.errors import InputError, TargetError, ZeroGradientError
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.norm_balls import NormName, network_numbers, sizes
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, remark, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.render.captioned import captioned
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, fit_tiles, mosaic, mosaic_png, signed_colors


@dataclass(frozen=True, eq=False)
class Attack(Result):
    """A picture, and what an attack has made of it; shows itself as both and their difference, amplified.

    Everything but ``exact`` is about pictures in 8 bits, which can be shown and saved: that the attack was a success,
    too. It is one for the picture as it is: where ``net.predict`` scales and cuts what it is given, as it does with
    photos, ask ``net.without_resizing().predict(found.adversarial)``. Norms and ``epsilon`` are on the scale where
    white is 1 above black.

    Attributes
    ----------
    original, adversarial
        The picture as the network sees it, and the changed one, uint8 [H, W, 3]; empty where the network's channels
        make no picture.
    change
        The change of each number of the picture [C, H, W], in levels of 1/255, int16.
    exact
        The changed picture before it was rounded to levels [C, H, W], float32 from 0 to 1.
    probabilities
        Of all classes, for the original and for the changed picture [2, K], float32.
    class_before, class_after
        The network's answers, as indices.
    label_before, label_after
        And as labels.
    target, target_label
        The class that was to be reached; ``None``, and empty, for any other one than ``class_before``.
    success
        Whether the network takes the changed picture for the target, or for another class.
    resized
        Whether the network scales or cuts a picture of this size before it sees it.
    norm_inf, norm_2
        The largest change of a number, and the square root of the sum of all squared changes.
    curves
        By name, what was noted before each step: ``"loss"`` [steps, restarts], the cross-entropy of the class to leave,
        or ``"log_probability"`` of the class to reach; of DeepFool ``"margin"`` [steps, 1], by how much the present
        class's logit exceeds that of the class with the nearest boundary, and ``"distance"``, how far that seems to be.
    steps
        How many steps were taken.
    planned_steps
        The option ``steps``, or what was chosen for it.
    start
        Where they began: at the ``"image"``, in ``"noise"`` around it, or at a ``"picture"`` that was given.
    ended
        Why the steps ended early, in words; empty if they did not.
    method, epsilon, norm, rate, restarts, overshoot, candidates, seed
        The options; ``epsilon`` is infinite where there was no bound, ``rate`` 0 where there is none, and ``overshoot``
        what it had to be.
    """

    original: NDArray[np.uint8]
    adversarial: NDArray[np.uint8]
    change: NDArray[np.int16]
    exact: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    class_before: int
    class_after: int
    label_before: str
    label_after: str
    target: int | None
    target_label: str
    success: bool
    resized: bool
    norm_inf: float
    norm_2: float
    curves: dict[str, NDArray[np.float32]]
    steps: int
    planned_steps: int
    start: str
    ended: str
    method: str
    epsilon: float
    norm: str
    rate: float
    restarts: int
    overshoot: float
    candidates: int
    seed: int

    def difference(self, amplify: float | None = None) -> NDArray[np.uint8]:
        """See the change as a picture, uint8 [H, W, 3]: what stayed is middle gray, what grew is brighter.

        Parameters
        ----------
        amplify
            How many times larger than it is; left out, so that the largest change goes to the end of the scale.
        """
        if amplify is not None and not (0 < amplify < math.inf):
            raise ValueError(f"amplify must be a number above 0, got {amplify!r}")
        if self.change.shape[0] not in (1, 3):
            raise ValueError(f"{self.change.shape[0]} channels make no picture; look at .change")
        rows = np.broadcast_to(self.change.transpose(1, 2, 0), (*self.change.shape[1:], 3))
        return signed_colors(rows, np.abs(rows).max(initial=0) if amplify is None else 127.5 / amplify)

    @property
    def _answers(self) -> list[tuple[str, float]]:
        """What the network says of both pictures, with its probability."""
        labels, classes = (self.label_before, self.label_after), (self.class_before, self.class_after)
        shares = [float(row[index]) for row, index in zip(self.probabilities, classes, strict=True)]
        return list(zip(labels, shares, strict=True))

    @property
    def message(self) -> str:
        """What came of it, in words."""
        before, after = (f"{label!r} ({share:.1%})" for label, share in self._answers)
        asked = f" The class to reach, {self.target_label!r}, was not." if self.target is not None else ""
        came = (
            f"{before} became {after}." if self.class_before != self.class_after else f"It is still {after}."
        )
        size = f" No number changed by more than {self.norm_inf * 255:.0f}/255; the length of the change is"
        note = f" The attack ended early: {self.ended}." if self.ended else ""
        shown = (
            " That holds for the picture as it is: net.predict would scale and cut it again, "
            "net.without_resizing().predict does not."
            if self.resized and self.adversarial.size
            else ""
        )
        return came + ("" if self.success else asked) + f"{size} {self.norm_2:.3g}." + note + shown

    def _repr_png_(self) -> bytes:
        """Return the original, the changed picture and the amplified difference, as a notebook shows them."""
        if not self.original.size:
            return mosaic_png(self.change, zero_centered=True)
        tiles = fit_tiles(np.stack([self.original, self.adversarial, self.difference()]))
        return png(mosaic(tiles, columns=3, gap=2), effort=3, max_bytes=PNG_BYTES)

    def _repr_html_(self) -> str | None:
        """Return the same with what each is, and the message, as a notebook shows them for the bare result."""
        if not self.original.size:
            return None
        largest = int(np.abs(self.change).max(initial=0))
        change = f"the change\n{127.5 / largest:.3g} times" if largest else "no change"
        captions = [*(f"{label}\n{share:.1%}" for label, share in self._answers), change]
        pictures = np.stack([self.original, self.adversarial, self.difference()])
        return captioned(pictures, captions, self.message)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        outcome = "success" if self.success else "no success"
        return (
            f"Attack({self.method}, {outcome}: {self.label_before!r} -> {self.label_after!r}, largest change "
            f"{self.norm_inf * 255:.0f}/255, length {self.norm_2:.3g}, {self.steps} steps)"
        )


@streamed
def attack(
    net: Network,
    image: Images,
    *,
    method: AttackName = "fgsm",
    epsilon: float | None = None,
    norm: NormName = "inf",
    target: Target | str | int | None = None,
    steps: int | None = None,
    rate: float | None = None,
    restarts: int = 1,
    overshoot: float = 0.02,
    candidates: int = 10,
    start: Images | None = None,
    seed: int = 0,
) -> Generator[Step, None, Attack]:
    """See a picture that looks as before, and that the network takes for something else.

    ``"fgsm"`` [1]_: one step of size epsilon along the sign of the gradient of the network's cross-entropy, which is
    then largest to first order. ``"ifgsm"`` [2]_: many smaller ones, each brought back within epsilon. ``"pgd"`` [3]_:
    the same from a random place within epsilon. ``"deepfool"`` [4]_: over the nearest boundary of the class, as if the
    network were linear, again and again: a change about as small as there is. With ``norm="2"`` steps go along the
    gradient itself.

    The attack is a success if it fools the network with a picture in 8 bits, which can be shown and saved. The change
    is rounded so that its norm stays within epsilon; one that is spread thinner than half a level keeps its effect.

    The picture has the size in which the network sees it. A network that scales and cuts photos would do so again in
    ``net.predict(found.adversarial)``, and may not be fooled by what comes of it; in
    ``net.without_resizing().predict(found.adversarial)`` it does not.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes. It is attacked as the network sees it: resized and cut.
    method
        Which attack.
    epsilon
        The largest change, in the norm, on the scale where white is 1 above black: at most 1 for ``"inf"``. Left out:
        8/255 for ``"inf"``, 1.0 for ``"2"``, without bound for DeepFool. Below 1/255 no picture in 8 bits but the
        original is left.
    norm
        ``"inf"``: the largest change of a number of the picture; ``"2"``: the square root of the sum of their squares.
    target
        The class to reach, by label or index (not for DeepFool); left out, any other one than the present answer.
    steps
        How many steps; left out, 10, and at most 50 of DeepFool, which ends when the class has changed.
    rate
        How long a step of I-FGSM or PGD is, in the norm; left out, 2.5 * epsilon / steps.
    restarts
        From how many random places PGD goes; the best result is kept.
    overshoot
        By which share DeepFool goes further than to the boundary; it is doubled where the rounded picture would fall
        back.
    candidates
        Among how many classes, the present one included and the most probable first, DeepFool chooses the nearest.
    start
        A picture to begin with, of the size in which the network sees the image, such as the picture of a step or
        ``.adversarial``; PGD's first run begins there.
    seed
        Of the random places.

    Returns
    -------
    Attack
        Both pictures, the change, its norms, and what the network says.

    Raises
    ------
    LabelNotFoundError
        No such target (with the nearest labels).
    TargetError
        A target that is no class, or that the network already answers with.
    ZeroGradientError
        The gradient is zero to begin with; with what to do.
    InputError
        Several images; a picture to begin with of another size.
    ValueError
        An option that there is not, such as an epsilon above 1 for ``"inf"``.

    Warns
    -----
    UserWarning
        Epsilon is so small that no picture in 8 bits can differ.

    Notes
    -----
    For a network with one score the cross-entropy is that of two classes. If it returns probabilities, it is that of
    these. What is followed is the gradient of the log odds log((1 - p) / p), with p the probability of the class: it
    points the same way as that of the cross-entropy -log p, and is not lost in rounding where p is nearly 1.

    References
    ----------
    .. [1] Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
    .. [2] Kurakin, Goodfellow and Bengio, "Adversarial examples in the physical world", ICLR workshop 2017.
    .. [3] Madry et al., "Towards deep learning models resistant to adversarial attacks", ICLR 2018.
    .. [4] Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool deep neural networks",
       CVPR 2016.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, images = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0]
    >>> found = cv.attack(net, images[0], method="pgd", epsilon=32 / 255)
    >>> found.success, found.label_before, found.norm_inf <= 32 / 255
    (True, 'Ankle boot', True)
    >>> net.without_resizing().predict(found.adversarial, k=1).labels == (found.label_after,)
    True
    """
    check_network(net, "attack")
    plan = checked_plan(
        method,
        epsilon,
        norm,
        steps=steps,
        rate=rate,
        restarts=restarts,
        seed=seed,
        overshoot=overshoot,
        candidates=candidates,
    )
    levels = levels_of(net, image)
    if len(levels) != 1:
        raise InputError(
            f"attack takes one image, got {len(levels)}; call it once for each, or cv.attack_curve"
        )
    begin = None if start is None else pixels_of(net, start_levels(net, start, levels))
    center = pixels_of(net, levels)
    private = private_network(net)
    before = class_probabilities(private, network_numbers(net, center))[0]
    current = int(before.argmax())
    goal = _checked_goal(net, target, current, len(before), plan)
    _warn_if_invisible(plan)

    def picturing(x: Tensor) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = pictures_of(net, x[:1])[0]
        return picture

    overshoot = plan.overshoot
    if plan.method == "deepfool":
        pushed = yield from deepfool(
            private, center, center if begin is None else begin, current, plan, picturing
        )
    else:
        starts = [plan.start(center[0], index)[None] for index in range(plan.restarts)]
        starts[0] = starts[0] if begin is None else begin
        classes = torch.full((plan.restarts,), current if goal is None else goal, device=net.device)
        centers = center.expand(plan.restarts, -1, -1, -1)
        pushed = yield from push(
            private, centers, torch.cat(starts), classes, plan, reach=goal is not None, picturing=picturing
        )
    _check_moved(pushed, before[current])
    if plan.method == "deepfool" and not pushed.stopped:
        found, overshoot = beyond_rounding(private, levels[0], pushed.pixels, plan, current)
    else:
        found = best_outcome(private, levels[0], pushed.pixels, plan, current, goal)
    begun = "picture" if begin is not None else "noise" if plan.method == "pgd" else "image"
    return _result(net, levels[0], (before, current, goal), plan, begun, pushed, found, overshoot)


def _checked_goal(net: Network, target: object, current: int, classes: int, plan: Plan) -> int | None:
    """Return the index of the class to reach, if there is one."""
    if target is None:
        return None
    goal = checked_goal(net, target, classes)
    if plan.method == "deepfool":
        raise TargetError(
            "deepfool goes to the nearest other class, and takes no target; leave it out, or take method='pgd'; "
            f"got {target!r}"
        )
    if goal == current:
        raise TargetError(
            f"the target {net.label(goal)!r} is what the network already takes the image for; name another class, or "
            "leave the target out to get away from this one"
        )
    return goal


def _warn_if_invisible(plan: Plan) -> None:
    if plan.ball.epsilon > 0 and plan.ball.levels == 0:
        remark(
            f"epsilon={plan.ball.epsilon:.3g} is less than one level, 1/255: no picture in 8 bits but the original is "
            "so near, so that the attack can't be a success"
        )


def _check_moved(pushed: Pushed, probability: Tensor) -> None:
    """Raise an error where there was no gradient to begin with."""
    if pushed.ended and not pushed.steps and pushed.dead.all():
        raise ZeroGradientError(
            f"{pushed.ended}, where the present answer has the probability {float(probability):.6g}, so there is "
            "nothing to follow; if the network ends in a softmax, give what comes before it (cv.Network(module, "
            "output=...)), or take method='pgd', which begins elsewhere, with another seed"
        )


def _result(
    net: Network,
    original: NDArray[np.uint8],
    asked: tuple[Tensor, int, int | None],
    plan: Plan,
    begun: str,
    pushed: Pushed,
    found: Outcome,
    overshoot: float,
) -> Attack:
    before, current, goal = asked
    levels = np.stack([original, (original + found.change).astype(np.uint8)])
    pictures = pictures_of(net, network_numbers(net, pixels_of(net, levels)))
    largest, length = sizes(found.change)
    return Attack(
        original=pictures[0].copy(),
        adversarial=pictures[1].copy(),
        change=found.change,
        exact=found.exact.copy(),
        probabilities=torch.stack([before, found.probabilities]).float().cpu().numpy(),
        class_before=current,
        class_after=found.answer,
        label_before=net.label(current),
        label_after=net.label(found.answer),
        target=goal,
        target_label="" if goal is None else net.label(goal),
        success=found.success,
        resized=not net.input.keeps(*original.shape[1:]),
        norm_inf=largest,
        norm_2=length,
        curves=pushed.curves,
        steps=pushed.steps,
        planned_steps=plan.steps,
        start=begun,
        ended=pushed.ended,
        method=plan.method,
        epsilon=plan.ball.epsilon,
        norm=plan.ball.norm,
        rate=plan.rate,
        restarts=plan.restarts,
        overshoot=overshoot,
        candidates=plan.candidates,
        seed=plan.seed,
    )
