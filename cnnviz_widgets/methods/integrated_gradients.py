"""Integrated gradients: how much each pixel adds to the answer on the way from an empty image to this one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError, did_you_mean
from cnnviz_widgets.engine.fills import FILLS, checked_fill, filled
from cnnviz_widgets.engine.input_gradients import (
    check_not_zero,
    input_gradients,
    one_image,
    pictures_of,
    target_values,
)
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.attribution import attribution_png

_WIDE_GAP = 0.05


@dataclass(frozen=True, eq=False)
class IntegratedGradients(Result):
    """What each number of the image adds to the target; shows itself as a heat map over the image.

    Attributes
    ----------
    attributions
        For each number of the network's input [C, H, W], float32, in units of the target; with sign.
    value, baseline_value
        The target's value for the image, and for the baseline.
    completeness_gap
        By how much the attributions' sum exceeds ``value - baseline_value``. It is 0 for the exact integral.
    target
        The target, as text.
    baseline
        The baseline: a number, a name, or ``"image"`` for one that was given.
    steps
        At how many points of the way gradients were taken.
    picture
        The image as the network sees it, uint8 [H, W, 3]; empty where its channels make no picture.
    """

    attributions: NDArray[np.float32]
    value: float
    baseline_value: float
    completeness_gap: float
    target: str
    baseline: float | str
    steps: int
    picture: NDArray[np.uint8]

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """One number a pixel [H, W]: the sum over its channels, with sign."""
        found: NDArray[np.float32] = self.attributions.sum(axis=0)
        return found

    @property
    def message(self) -> str:
        """What was found, in words, and whether there were enough steps."""
        difference = self.value - self.baseline_value
        said = (
            f"{self.target} is {self.value:.4g} for the image and {self.baseline_value:.4g} for the baseline; the "
            f"attributions add up to the difference of {difference:.4g} but for a gap of {self.completeness_gap:.2g}."
        )
        if abs(self.completeness_gap) > _WIDE_GAP * abs(difference):
            said += f" That is more than {_WIDE_GAP:.0%} of it: take more than {self.steps} steps."
        return said

    def _repr_png_(self) -> bytes:
        """Return the image, the map and both together, as a notebook shows them for the bare result."""
        return attribution_png(self.picture, self.heatmap)

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return (
            f"IntegratedGradients({self.target}, value {self.value:.4g}, baseline {self.baseline!r}, "
            f"{self.steps} steps, completeness gap {self.completeness_gap:.2g})"
        )


@streamed
def integrated_gradients(
    net: Network,
    image: Images,
    target: TargetLike,
    *,
    baseline: Images | float | str = 0.0,
    steps: int = 50,
    seed: int = 0,
    batch_size: int = 8,
) -> Generator[Step, None, IntegratedGradients]:
    """See how much each pixel adds to the answer, or takes from it, on the straight way from a baseline to the image.

    The attribution of number i is (x - b)_i times the mean, over the way b + a (x - b) with a from 0 to 1, of the
    target's gradient there [1]_; the mean is taken by Gauss-Legendre quadrature. The attributions of all numbers add
    up to the target's difference between image and baseline: what they add up to beyond it, for want of steps, is
    reported as ``completeness_gap``. A step takes a batch of gradients, and carries the ``heatmap`` of the way so far;
    there is no result before the end of it.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    target
        A class label or index, or a `Target`: a logit, a probability, a unit, a function of the output.
    baseline
        What the way begins with: a number in the network's input space (0.0: the mean color of a normalized input),
        ``"black"``, ``"gray"``, ``"blur"``, ``"noise"``, or an image of the same size.
    steps
        At how many points gradients are taken.
    seed
        Of a baseline of noise.
    batch_size
        How many of these go through the network at once.

    Returns
    -------
    IntegratedGradients
        ``attributions`` [C, H, W], ``heatmap`` [H, W] and ``completeness_gap``.

    Raises
    ------
    LabelNotFoundError, LayerNotFoundError, TargetError
        No such class (with the nearest names), layer or unit.
    InputError
        A baseline of another size, or one that is equal to the image.
    ZeroGradientError
        The gradient is zero all the way; with what to do.

    References
    ----------
    .. [1] Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.fashion_cnn()
    >>> shown = cv.integrated_gradients(net, cv.samples.fashion_mnist("test")[0][0], "Ankle boot", baseline="black")
    >>> abs(shown.completeness_gap) < 0.05 * (shown.value - shown.baseline_value)
    True
    """
    check_network(net, "integrated_gradients")
    count = checked_whole("steps", steps)
    size = checked_whole("batch_size", batch_size)
    number = checked_whole("seed", seed, least=0)
    what = as_target(target)
    x = one_image(net, image, "integrated_gradients")
    begin, name = _baseline(net, x, baseline, number)
    if torch.equal(begin, x):
        given = "the one that was given" if name == "image" else repr(name)
        raise InputError(
            f"the image is equal to its baseline, {given}: there is no way between them, and nothing to explain; "
            "take another baseline, such as 'noise' or an image"
        )
    value, baseline_value = target_values(net, torch.cat([x, begin]), what).double().tolist()
    mean = yield from _mean_gradient(net, x, begin, what, count, size)
    check_not_zero(mean, what, value)
    attributions = (x - begin)[0].double().cpu() * mean
    return IntegratedGradients(
        attributions=attributions.float().numpy(),
        value=value,
        baseline_value=baseline_value,
        completeness_gap=float(attributions.sum()) - (value - baseline_value),
        target=what.text,
        baseline=name,
        steps=count,
        picture=pictures_of(net, x)[0],
    )


def _baseline(net: Network, x: Tensor, baseline: Any, seed: int) -> tuple[Tensor, float | str]:
    """Return the baseline as the network's numbers, and what a result calls it."""
    if isinstance(baseline, str) and baseline in FILLS:
        return filled(net, x, baseline, seed=seed), baseline
    if isinstance(baseline, int | float | bool):
        baseline = checked_fill("baseline", baseline)
        return filled(net, x, baseline), baseline
    if isinstance(baseline, str) and (near := did_you_mean(baseline, FILLS)):
        raise ValueError(
            f"baseline is a number, {', '.join(map(repr, FILLS))}, or an image; got {baseline!r}{near}"
        )
    begin = one_image(net, baseline, "a baseline")
    if begin.shape != x.shape:
        raise InputError(
            f"the baseline is {begin.shape[2]} x {begin.shape[3]} pixels, the image {x.shape[2]} x {x.shape[3]}"
        )
    return begin, "image"


def _mean_gradient(
    net: Network, x: Tensor, begin: Tensor, target: Target, steps: int, batch_size: int
) -> Generator[Step, None, Tensor]:
    """Return the mean gradient on the way [C, H, W], float64, on the CPU."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    shares = torch.from_numpy((nodes + 1) / 2)
    parts = torch.from_numpy(weights / 2)
    total = torch.zeros(x.shape[1:], dtype=torch.float64)
    way = (x - begin)[0].double().cpu()
    batches = list(zip(shares.split(batch_size), parts.split(batch_size), strict=True))
    for index, (share, part) in enumerate(batches):
        points = begin + share.to(x.device, x.dtype)[:, None, None, None] * (x - begin)
        gradients = input_gradients(net, points, target).gradients.double().cpu()
        total += (gradients * part[:, None, None, None]).sum(dim=0)
        yield Step(index, len(batches), values={"heatmap": (way * total).sum(dim=0).float().numpy()})
    return total
