"""What there is to say of a maximization: that nothing led anywhere, or that a picture is not what was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import Ascent
from cnnviz_widgets.engine.class_odds import ClassImage, exclusive_probabilities
from cnnviz_widgets.engine.errors import ZeroGradientError
from cnnviz_widgets.engine.maximization_task import MaximizationOptions
from cnnviz_widgets.engine.objectives import Objective, TargetObjective
from cnnviz_widgets.engine.stream import remark

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


def check_begun(grown: Ascent, wanted: Sequence[Objective]) -> None:
    """Raise an error where there was nothing to follow from the beginning, and say what else went wrong."""
    dead = dict.fromkeys(each.text for each, is_dead in zip(wanted, grown.dead, strict=True) if is_dead)
    advice = "take a value before a rectifier or a softmax (of='logit'), another seed, or a photo as start="
    if grown.dead.all() and grown.ended and not grown.steps:
        raise ZeroGradientError(
            f"the gradient of {wanted[0].text} is zero everywhere for the picture to begin with, also with relaxed "
            f"rectifiers (which 'lbfgs' goes without); {advice}"
        )
    if grown.ended:
        remark(f"maximize stopped early: {grown.ended}")
    if dead:
        remark(f"nothing led to {', '.join(dead)}: the gradient was zero in all steps; {advice}")


def tell_silent(wanted: Sequence[Objective], values: NDArray[np.float32], diversity: float) -> None:
    """Say which channels and units were not brought above 0."""
    low = {
        one.text: float(value)
        for one, value in zip(wanted, values, strict=True)
        if isinstance(one, TargetObjective) and one.target.layer is not None and value < 0
    }
    if low:
        remark(
            f"below 0 after all steps: {', '.join(f'{text} {value:.3g}' for text, value in low.items())}; a rectifier "
            f"that takes it returns 0 there. Take {'less diversity, ' if diversity else ''}more steps, another seed, "
            "or a photo as start="
        )


def tell_mistaken(net: Network, x: Tensor, wanted: Sequence[Objective], options: MaximizationOptions) -> None:
    """Say which class images the network takes for another class, as they are shown."""
    if not any(isinstance(one, ClassImage) for one in wanted):
        return
    told: dict[str, str] = {}
    for one, shares in zip(wanted, exclusive_probabilities(net, x).tolist(), strict=True):
        if not isinstance(one, ClassImage):
            continue
        own, most = shares[one.index(net, len(shares))], max(shares)
        if own < most:
            best = net.label(shares.index(most))
            told.setdefault(one.text, f"{one.text} ({own:.2g}) for {best!r} ({most:.2g})")
    if told:
        more = f", and {len(told) - 4} more" if len(told) > 4 else ""
        prior = {"total_variation": options.total_variation, "smoothness": options.smoothness}
        less = "".join(f", {name} below {weight:.3g}" for name, weight in prior.items() if weight)
        remark(
            f"taken for another class by the network (probability): {'; '.join([*told.values()][:4])}{more}. Take "
            f"more steps{less}, another seed or another parameterization"
        )
