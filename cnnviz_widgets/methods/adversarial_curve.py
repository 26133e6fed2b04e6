"""How fast a network's accuracy falls with the size of the changes that an attack may make."""

from __future__ import annotations

import html
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz_widgets.engine.attack_goals import Aim, checked_goals
from cnnviz_widgets.engine.attack_tally import NOT_ASKED, AttackTally, attack_batches
from cnnviz_widgets.engine.attacks import (
    AttackName,
    Plan,
    checked_plan,
    levels_of,
    pixels_of,
)
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.norm_balls import NormName, network_numbers
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, remark, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, class_index
from cnnviz_widgets.engine.whole_numbers import checked_whole, whole_number
from cnnviz_widgets.render.captioned import share_curve

EPSILONS = tuple(level / 255 for level in (0, 1, 2, 4, 8, 16))


@dataclass(frozen=True, eq=False)
class AttackCurve(Result):
    """Which images a network still gets right when each may be changed so much; shows itself as a curve and a table.

    Attributes
    ----------
    epsilons
        How much, on the scale where white is 1 above black [E].
    accuracy
        The share of images that are answered rightly, unchanged as well as attacked [E]; NaN where none was attacked.
    answers
        What the network took each attacked image for [E, N], as an index of a class; -1 where it was not asked, because
        the run was stopped before the last restart was done.
    clean
        What it takes the unchanged ones for [N].
    labels
        What is right [N]: the labels that were given, or ``clean``.
    targets
        What each image was to be taken for [N]; ``None`` for anything else than ``labels``.
    reached
        The share of images that are taken for their target [E], NaN where none was attacked; ``None`` without targets.
    unmoved
        Which images had a gradient of zero, so that they could not be attacked [N]: they look more robust than they
        are.
    ended
        Why an attack ended early, in words, and how many more did; empty if none did.
    method, norm, quantize, steps, restarts, seed
        The options.
    """

    epsilons: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    answers: NDArray[np.int64]
    clean: NDArray[np.int64]
    labels: NDArray[np.int64]
    targets: NDArray[np.int64] | None
    reached: NDArray[np.float64] | None
    unmoved: NDArray[np.bool_]
    ended: str
    method: str
    norm: str
    quantize: bool
    steps: int
    restarts: int
    seed: int

    def __str__(self) -> str:
        columns = {"accuracy": self.accuracy} | ({} if self.reached is None else {"reached": self.reached})
        lines = [
            (f"{epsilon * 255:7.4g}/255" if self.norm == "inf" else f"{epsilon:11.4g}")
            + "".join(f"  {share:8.1%}" for share in shares)
            for epsilon, *shares in zip(self.epsilons, *columns.values(), strict=True)
        ]
        head = f"{'epsilon':>11}" + "".join(f"  {name:>8}" for name in columns)
        return "\n".join([head, *lines, f"({self.method}, {self._count})"])

    def _repr_html_(self) -> str:
        """Return the curve and the table as a notebook shows them for the bare result."""
        scale, title = (
            (255, "epsilon, in levels of 1/255") if self.norm == "inf" else (1, "epsilon, a length")
        )
        name, shares = self._shown
        curve = share_curve((scale * self.epsilons).tolist(), shares.tolist(), x_title=title, y_title=name)
        return f"{curve}<pre>{html.escape(str(self))}</pre>"

    def __repr__(self) -> str:
        name, shares = self._shown
        ends = f"{shares[0]:.1%} at {self.epsilons[0]:.3g}, {shares[-1]:.1%} at {self.epsilons[-1]:.3g}"
        return f"AttackCurve({self.method}, {self._count}: {name} {ends})"

    @property
    def _shown(self) -> tuple[str, NDArray[np.float64]]:
        """What the curve is of: what an attacker was after."""
        return ("accuracy", self.accuracy) if self.reached is None else ("targets reached", self.reached)

    @property
    def _count(self) -> str:
        return f"{len(self.clean)} image{'s' * (len(self.clean) != 1)}"


@streamed
def attack_curve(
    net: Network,
    images: Images,
    epsilons: Sequence[float] = EPSILONS,
    *,
    labels: Sequence[str | int] | None = None,
    target: Target | str | int | Sequence[Target | str | int] | None = None,
    method: AttackName = "fgsm",
    norm: NormName = "inf",
    quantize: bool = True,
    steps: int | None = None,
    restarts: int = 1,
    batch_size: int = 16,
    seed: int = 0,
) -> Generator[Step, None, AttackCurve]:
    """See how a network's accuracy falls as images may be changed more: steeply, for one that was not trained for it.

    Each image is attacked at each epsilon as by `attack`. It counts as right at an epsilon if the network gets right
    both the unchanged image and the attacked one: an attacker may also change nothing. With ``target``, see how the
    share of images grows that are taken for it.

    Parameters
    ----------
    net
        The network.
    images
        Images, in any form that `InputSpec.prepare` takes.
    epsilons
        The sizes of the changes, on the scale where white is 1 above black.
    labels
        What is right for each image, by label or index; left out, the network's own answers for the unchanged images.
    target
        The class that images are to be taken for, by label or index: one for all of them, or a list or
        array with one for each; left out, any other one than what is right.
    method
        ``"fgsm"``, ``"ifgsm"`` or ``"pgd"``. (DeepFool knows no epsilon: see the norms in its result.)
    norm, steps, restarts, seed
        See `attack`; steps have the length 2.5 * epsilon / steps.
    quantize
        Whether the attacked images are in 8 bits, as `attack` makes them; otherwise the network is given exact numbers.
    batch_size
        How many images are attacked at once.

    Returns
    -------
    AttackCurve
        The accuracy at each epsilon, and the answers.

    Raises
    ------
    LabelNotFoundError
        A label or target that is not there (with the nearest ones).
    TargetError
        A target that is no class, or what the network already takes an image for.
    ValueError
        No epsilons, or one below 0, or above 1 for ``"inf"``; another number of labels or targets than of images.

    Warns
    -----
    UserWarning
        The gradient is zero for some images, which only look robust then; attacks ended early; an epsilon is so small
        that no picture in 8 bits can differ.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, (images, labels) = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")
    >>> found = cv.attack_curve(net, images[:50], [0, 4 / 255, 16 / 255], labels=labels[:50])
    >>> [bool(share > 0.6) for share in found.accuracy]
    [True, True, False]
    >>> found = cv.attack_curve(net, images[:4], [0, 64 / 255], target=["Bag", "Bag", 8, 8], method="ifgsm")
    >>> found.reached.tolist()
    [0.0, 1.0]
    """
    check_network(net, "attack_curve")
    if method == "deepfool":
        raise ValueError(
            "deepfool knows no epsilon, so that there is no curve; take 'fgsm', 'ifgsm' or 'pgd'"
        )
    values = _checked_epsilons(epsilons, norm)
    plans = [
        checked_plan(method, each, norm, steps=steps, restarts=restarts, seed=seed)
        for each in values.tolist()
    ]
    size = checked_whole("batch_size", batch_size)
    levels = levels_of(net, images)
    parts = [slice(begin, begin + size) for begin in range(0, len(levels), size)]
    private = private_network(net)
    clean, classes = _clean_answers(private, levels, parts)
    truth = clean if labels is None else _checked_labels(net, labels, len(levels), classes)
    goals = checked_goals(net, target, clean, classes)
    aim = Aim(truth, reach=False) if goals is None else Aim(goals, reach=True)
    answers = np.full((len(plans), len(levels)), NOT_ASKED, np.int64)
    tally = AttackTally(answers, np.zeros(len(levels), bool), [])
    if quantize:
        _warn_if_invisible(plans)
    yield from attack_batches(private, levels, parts, aim, plans, bool(quantize), tally)
    tally.tell()
    return AttackCurve(
        epsilons=values,
        accuracy=_share((answers == truth) & (clean == truth), answers),
        answers=answers,
        clean=clean,
        labels=truth,
        targets=goals,
        reached=None if goals is None else _share(answers == goals, answers),
        unmoved=tally.unmoved,
        ended=tally.reason,
        method=plans[0].method,
        norm=plans[0].ball.norm,
        quantize=bool(quantize),
        steps=plans[0].steps,
        restarts=plans[0].restarts,
        seed=plans[0].seed,
    )


def _warn_if_invisible(plans: Sequence[Plan]) -> None:
    small = [f"{plan.ball.epsilon:.3g}" for plan in plans if plan.ball.epsilon > 0 and plan.ball.levels == 0]
    if small:
        remark(
            f"epsilons below one level, 1/255, leave no picture in 8 bits but the original: {', '.join(small)}; take "
            "larger ones, or quantize=False"
        )


def _checked_epsilons(epsilons: Any, norm: Any) -> NDArray[np.float64]:
    if isinstance(epsilons, str) or not isinstance(epsilons, Iterable):
        raise ValueError(f"epsilons is a list of numbers from 0, got {epsilons!r}")
    given = list(epsilons)
    if not given:
        raise ValueError("epsilons is empty; name one at least, such as [0, 2 / 255, 8 / 255]")
    return np.array([checked_plan("fgsm", each, norm).ball.epsilon for each in given], np.float64)


def _checked_labels(net: Network, labels: Any, images: int, classes: int) -> NDArray[np.int64]:
    given = list(labels) if isinstance(labels, Iterable) and not isinstance(labels, str) else None
    if given is None or len(given) != images:
        got = repr(labels) if given is None else f"{len(given)} of them"
        raise InputError(f"labels is one label or index for each of the {images} images, got {got}")
    found = []
    for index, each in enumerate(given):
        what = each if isinstance(each, str) else whole_number(each)
        if what is None:
            raise TypeError(
                f"label {index} is {each!r}, of type {type(each).__name__}; give labels or indices"
            )
        found.append(class_index(net, what, classes))
    return np.array(found, np.int64)


def _clean_answers(
    net: Network, levels: NDArray[np.uint8], parts: Sequence[slice]
) -> tuple[NDArray[np.int64], int]:
    """Return the answers for unchanged images [N], and how many classes there are."""
    found = [class_probabilities(net, network_numbers(net, pixels_of(net, levels[part]))) for part in parts]
    return torch.cat(found).argmax(1).cpu().numpy(), found[0].shape[1]


def _share(hits: NDArray[np.bool_], answers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the share of hits among the images that were attacked [E]."""
    counts = (answers != NOT_ASKED).sum(axis=1)
    return np.where(counts > 0, hits.sum(axis=1) / np.maximum(counts, 1), np.nan)
