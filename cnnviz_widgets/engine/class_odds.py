"""How sure a network is of a class, in a form whose gradient lives on where its probability is 1 or 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from cnnviz_widgets.engine.batch_statistics import independent_parts
from cnnviz_widgets.engine.capture import apart
from cnnviz_widgets.engine.objectives import Objective, Seen
from cnnviz_widgets.engine.targets import (
    Target,
    are_probabilities,
    checked_scores,
    class_index,
    probabilities,
)

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


def logits(scores: Tensor) -> Tensor:
    """Return class scores [N, K] as logits [N, K], or [N, 2] where there is one score; at least float32.

    One score is the logit of class 1, and that of class 0 is 0. Probabilities become their logarithms, which differ by
    what the logits that they were made from differ by; a probability of 0 counts as the smallest number there is.
    """
    scores = scores.float() if scores.dtype.itemsize < 4 else scores
    if scores.shape[1] == 1:
        return torch.cat([torch.zeros_like(scores), scores], dim=1)
    if are_probabilities(scores):
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return scores


def log_odds(scores: Tensor, classes: Tensor) -> Tensor:
    """Return log(p / (1 - p)) of one class for each image [N], where p is its probability; exact for p near 0 and 1."""
    values = logits(scores)
    own = torch.nn.functional.one_hot(classes, values.shape[1]).bool()
    others = values.masked_fill(own, -torch.inf).logsumexp(1)
    return values.gather(1, classes[:, None])[:, 0] - others


class CrossEntropy(Objective):
    """The cross-entropy -log p of one class for each picture, to be left; its negative for a class to be reached.

    Its gradient is that of the log odds log((1 - p) / p): at each picture the same but for a positive factor, so that
    steps along its sign or direction are the same, and not lost in rounding where p is nearly 1.

    Parameters
    ----------
    classes
        Each picture's class [N].
    reach
        Whether the classes are to be reached.
    """

    needs_output = True

    def __init__(self, classes: Tensor, *, reach: bool = False) -> None:
        self.classes, self.reach = classes, reach

    def values(self, seen: Seen) -> Tensor:
        """Return the value of each picture."""
        odds = -log_odds(seen.class_scores, self.classes)
        entropy = softplus(odds).detach() + (odds - odds.detach())
        return -entropy if self.reach else entropy


class LogOdds(Objective):
    """The log odds log(p / (1 - p)) of a class: it grows with the probability p, and never stops growing."""

    needs_output = True

    def __init__(self, target: Target) -> None:
        self.target = target

    def values(self, seen: Seen) -> Tensor:
        """Return the log odds for each picture."""
        scores = seen.class_scores
        index = self.index(seen.net, max(scores.shape[1], 2))
        return log_odds(scores, torch.full((len(scores),), index, device=scores.device))

    def index(self, net: Network, classes: int) -> int:
        """Return which of so many classes it is."""
        return class_index(net, self.target.what, classes)

    @property
    def text(self) -> str:
        """The class in words."""
        return f"log odds of {self.target.what!r}"


class ClassImage(LogOdds):
    """Logit plus log odds of a class: a picture of it rather than of a similar one.

    The logit alone grows for similar classes, too, which may end above it; the log odds alone also grow by whatever
    makes the others less probable.
    """

    def values(self, seen: Seen) -> Tensor:
        """Return the sum for each picture."""
        return self.target.of_scores(seen.net, seen.class_scores) + super().values(seen)

    @property
    def text(self) -> str:
        """The class as it was given."""
        return repr(self.target.what)


def exclusive_probabilities(net: Network, x: Tensor) -> Tensor:
    """Return the probabilities [N, K] of a prepared batch's classes, of which one at most is right.

    NaN for pictures whose scores are not finite, and where scores are probabilities that do not sum to 1: those of
    classes that do not exclude each other.
    """
    with apart(net):
        parts = independent_parts(net.core, x.detach())
        scores = torch.cat([checked_scores(net, net.scores(each), finite=False) for each in parts])
    rows = scores.float()
    alone = (rows >= 0).all(1) & (rows <= 1).all(1) & (rows.shape[1] > 1) & ((rows.sum(1) - 1).abs() > 1e-2)
    told = rows.isfinite().all(1) & ~alone
    found = torch.full((len(rows), max(2, rows.shape[1])), torch.nan)
    if bool(told.any()):
        found[told.cpu()] = probabilities(rows[told]).cpu()
    return found


def class_probabilities(net: Network, x: Tensor) -> Tensor:
    """Return the probabilities [N, K] of a prepared batch's classes, without gradients."""
    with apart(net):
        parts = independent_parts(net.core, x.detach())
        return torch.cat([probabilities(net.class_scores(each)) for each in parts])
