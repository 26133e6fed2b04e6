"""What a network answers when any part of an image is covered, asked again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.capture import apart
from cnnviz_widgets.engine.errors import InputError, OutputError
from cnnviz_widgets.engine.fills import Fill, filled
from cnnviz_widgets.engine.incremental import WindowPasses
from cnnviz_widgets.engine.layers import split_key
from cnnviz_widgets.engine.rectifiers import find_place
from cnnviz_widgets.engine.side_by_side import take_threads
from cnnviz_widgets.engine.targets import Target, class_index, probabilities
from cnnviz_widgets.engine.window_questions import Asked

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


# Multiplications of a pass. Below it a second thread would save some ms, and lose more to a page that is drawn.
_LIGHT = 2e9


@dataclass(frozen=True, eq=False)
class Covered:
    """What the network answers to an image with a part covered.

    Attributes
    ----------
    value
        The target's value.
    probabilities
        Of each class [K], float32; ``None`` where the network returns no class scores.
    """

    value: float
    probabilities: NDArray[np.float32] | None


class Covering:
    """Answers to one image of which any part is covered: only what the cover changes is computed.

    Parameters
    ----------
    net
        The network.
    x
        The image, prepared: [1, C, H, W].
    target
        What is asked about, besides the probabilities of the classes.
    fill, seed
        What the cover shows, as in `filled`.

    Raises
    ------
    TargetError, LabelNotFoundError
        A target that is not there.
    OutputError
        Its value is NaN or infinite.
    """

    def __init__(self, net: Network, x: Tensor, target: Target, fill: Fill, *, seed: int = 0) -> None:
        self.instead = filled(net, x, fill, seed=seed)
        self._begun = (net, x, target)
        self._threads = torch.get_num_threads()
        self._begin()

    def _begin(self) -> None:
        net, x, target = self._begun
        self._asked = Asked(net, x, target, returns_classes(net, x), None)
        self._passes = WindowPasses(net, x, self.instead, self._asked.questions)
        self.clean = self._of(np.zeros(x.shape[2:], bool))

    def answer(self, mask: NDArray[np.bool_]) -> Covered:
        """Return the answer where the cover lies wherever a mask [H, W] is true.

        If the network was trained, or got other weights, since the last one, it is asked anew without a cover first.
        """
        if self._passes.is_stale:
            self._begin()
        return self._of(mask)

    def take_threads(self) -> None:
        """Let the calling thread, which does nothing else, use as many of torch's threads as suit the answers."""
        work = self._passes.work
        take_threads(1 if work is not None and work < _LIGHT else self._threads)

    def _of(self, mask: NDArray[np.bool_]) -> Covered:
        answers = self._passes.masked(mask)
        value = float(self._asked.read(answers)["scores"][0])
        shares = probabilities(answers[1])[0].cpu().numpy() if self._asked.most_probable else None
        return Covered(value, shares)


def returns_classes(net: Network, x: Tensor) -> bool:
    """Return whether a network returns class scores: it need not be a classifier."""
    return class_count(net, x) > 0


def class_count(net: Network, x: Tensor) -> int:
    """Return how many classes there are, 0 for a network that returns no class scores."""
    try:
        with apart(net):
            return max(net.class_scores(x).shape[1], 2)  # one score stands for two classes
    except OutputError:
        return 0


def why_no_classes(net: Network, x: Tensor) -> str:
    """Return why there are no classes to show or to ask about: an empty text where there are."""
    try:
        with apart(net):
            net.class_scores(x)
    except OutputError as error:
        return str(error)
    return ""


def check_classes(net: Network, x: Tensor) -> None:
    """Refuse to look for the most probable class of a network that returns no class scores, and say why."""
    reason = why_no_classes(net, x)
    if reason:
        raise InputError(
            f"there is no most probable class to ask about: {reason}; or give a target, such as "
            "cv.Target(layer=..., channel=...)"
        )


def check_target(net: Network, x: Tensor, target: Target, classes: int) -> None:
    """Refuse a target that is not there, by shapes alone where they are known: a pass takes a while.

    Parameters
    ----------
    classes
        How many classes there are; 0 for a network that returns no class scores.
    """
    if target.layer is not None and net.input.size is not None:
        name, call = split_key(target.layer)
        shapes = net.survey.shapes.get(find_place(net.core, name), ())
        is_told = call in range(len(shapes)) or (call is None and len(shapes) == 1)
        shape = shapes[call or 0] if is_told else None
        if shape is not None:
            target.of_layer(torch.zeros(()).expand(1, *shape))
            return
    if isinstance(target.what, str | int) and classes:
        class_index(net, target.what, classes)
        return
    with apart(net):
        target.scores(net, x)
