"""What attacks aim at: a class to leave, or one to reach."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.targets import Target, as_target, class_index

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

_NAMED = 5  # images that an error lists


@dataclass(frozen=True, eq=False)
class Aim:
    """What is to become of some images.

    Attributes
    ----------
    classes
        For each image, the class to leave, or to be taken for [N].
    reach
        Whether it is the latter.
    """

    classes: NDArray[np.int64]
    reach: bool


def checked_goal(net: Network, target: Any, classes: int) -> int:
    """Return the index of a class to reach."""
    what = as_target(target)
    if what.layer is not None or callable(what.what):
        raise TargetError(f"an attack's target is a class, by label or index; got {what.text}")
    return class_index(net, what.what, classes)


def checked_goals(
    net: Network, target: Any, current: NDArray[np.int64], classes: int
) -> NDArray[np.int64] | None:
    """Return the class that each image is to reach [N], if there are such.

    Parameters
    ----------
    net
        The network.
    target
        One class for all images, a list of one for each, or ``None``; arrays and tensors count as what they hold.
    current
        What the network takes them for.
    classes
        How many there are.

    Raises
    ------
    InputError
        Another number of targets than of images.
    TargetError
        A target that is no class, or what the network already takes the image for.
    LabelNotFoundError
        No such class.
    """
    if target is None:
        return None
    # Those of no axes hold one class, and still count as what can be gone through.
    target = target.tolist() if isinstance(target, np.ndarray | Tensor) else target
    if isinstance(target, str | Target) or not isinstance(target, Iterable):
        goals = np.full(len(current), checked_goal(net, target, classes), np.int64)
    else:
        given = list(target)
        if len(given) != len(current):
            raise InputError(
                f"target is one class, or one for each of the {len(current)} images; got {len(given)} of them"
            )
        goals = np.array([checked_goal(net, each, classes) for each in given], np.int64)
    there = np.flatnonzero(goals == current).tolist()
    if there:
        more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
        raise TargetError(
            f"the target {net.label(int(goals[there[0]]))!r} is what the network already takes image {there[0]} for; "
            "give a list with another class for each such image, or leave these out: images "
            f"{', '.join(map(str, there[:_NAMED]))}{more}"
        )
    return goals
