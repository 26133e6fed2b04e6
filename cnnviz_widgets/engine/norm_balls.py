"""Small changes of pictures: balls of a norm around them, the steepest way to leave, and what is left in 8 bits.

Pixels are on the scale where black is 0 and white is 1; a level is 1/255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.parameterizations import Parameterization

if TYPE_CHECKING:
    from cnnviz_widgets.engine.inputs import InputSpec
    from cnnviz_widgets.engine.network import Network

NormName = Literal["inf", "2"]
NORMS: tuple[str, ...] = ("inf", "2")
# What float32 makes of a whole number of levels is nearer to it than this.
_LEVEL_ERROR = 1e-3


def steepest(gradient: Tensor, norm: str) -> Tensor:
    """Return, for each picture, the change of size 1 in a norm along which a value with this gradient grows most.

    Its sign for ``"inf"``, the gradient over its length for ``"2"``; zeros where the gradient is zero.
    """
    if norm == "inf":
        return gradient.sign()
    tiny = torch.finfo(gradient.dtype).tiny
    # By way of the largest number: the squares of very small ones would be 0.
    scaled = gradient / _each(gradient.flatten(1).abs().amax(1).clamp(min=tiny), gradient)
    return scaled / _each(scaled.flatten(1).norm(dim=1).clamp(min=tiny), gradient)


@dataclass(frozen=True)
class NormBall:
    """All pictures that differ from one by no more than ``epsilon`` in a norm, between black and white.

    Attributes
    ----------
    epsilon
        The radius; infinite for no bound.
    norm
        ``"inf"``: the largest change of a number; ``"2"``: the square root of the sum of their squares.
    """

    epsilon: float
    norm: NormName

    def project(self, center: Tensor, pixels: Tensor) -> Tensor:
        """Return pictures brought back into the balls around others: into the ball first, then between black and white.

        For ``"inf"`` that is the nearest picture; for ``"2"`` it may be a little nearer to the center than that.
        """
        change = pixels - center
        if self.norm == "inf":
            change = change.clamp(-self.epsilon, self.epsilon)
        else:
            length = change.flatten(1).norm(dim=1).clamp(min=torch.finfo(change.dtype).tiny)
            change = change * _each((self.epsilon / length).clamp(max=1), change)
        return (center + change).clamp(0, 1)

    def random(self, center: Tensor, generator: torch.Generator) -> Tensor:
        """Return a picture, drawn evenly from the ball around another one [C, H, W], then cut at black and white."""
        if self.norm == "inf":
            change = torch.rand(center.shape, generator=generator) * 2 - 1
        else:
            direction = torch.randn(center.shape, generator=generator)
            radius = torch.rand((), generator=generator) ** (1 / center.numel())
            change = direction / direction.norm() * radius
        return (center + self.epsilon * change.to(center)).clamp(0, 1)

    @property
    def levels(self) -> int:
        """The largest change of one number in levels (``"inf"``), or of the sum of their squares (``"2"``)."""
        if self.norm == "inf":
            most = math.floor(min(self.epsilon * 255 + _LEVEL_ERROR, 255))
            return most if most / 255 <= self.epsilon else most - 1
        if math.isinf(self.epsilon):
            return 2**62
        most = math.floor((self.epsilon * 255) ** 2 + _LEVEL_ERROR)
        return most if math.sqrt(most) / 255 <= self.epsilon else most - 1

    def in_levels(self, original: NDArray[np.uint8], pixels: NDArray[np.float32]) -> NDArray[np.int16]:
        """Return the change of an 8-bit picture, in whole levels within the ball, that stands for an exact one.

        Every number goes to one of the two levels around it: to the nearer one, as a rule. That would lose a change
        that is spread over many numbers, below half a level in each. So as many more as it takes go away from the
        original, first those that have least far to go, until the product of the rounded change with the exact one is
        not less than that of the exact one with itself: a network that is linear there answers as it would to the
        exact one. None goes where the ball ends.

        Parameters
        ----------
        original
            The picture [C, H, W].
        pixels
            The changed one, on the scale from 0 to 1.
        """
        wanted = (pixels.astype(np.float64) * 255 - original).ravel()
        near = np.rint(wanted)
        wanted = np.where(np.abs(wanted - near) < _LEVEL_ERROR, near, wanted)
        size = np.abs(wanted)
        low = np.floor(size)
        if self.norm == "inf":
            low = np.minimum(low, self.levels)
            rest = np.where(low < self.levels, size - low, 0.0)
        else:
            rest = size - low
            low = _within(low, self.levels)
        order = np.argsort(-rest, kind="stable")
        missing = (size * size - low * size).sum() * (1 - 1e-9)
        needed = int(np.searchsorted(np.cumsum(size[order]), missing)) + 1 if missing > 0 else 0
        count = min(max(needed, int((rest >= 0.5).sum())), int(np.count_nonzero(rest)))
        if self.norm == "2":
            growth = np.cumsum(2 * low[order] + 1)
            count = min(count, int(np.searchsorted(growth, self.levels - (low * low).sum(), side="right")))
        low[order[:count]] += 1
        change: NDArray[np.int16] = (np.sign(wanted) * low).astype(np.int16).reshape(original.shape)
        return change


def _within(low: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Return whole numbers whose squares sum to no more than that; the largest are lowered, since they change least."""
    excess = (low * low).sum() - most
    if excess <= 0:
        return low
    largest = np.argsort(-low, kind="stable")
    count = int(np.searchsorted(np.cumsum(2 * low[largest] - 1), excess)) + 1
    lower = low.copy()
    lower[largest[:count]] -= 1
    return lower


def sizes(change: NDArray[np.int16]) -> tuple[float, float]:
    """Return the norms ``"inf"`` and ``"2"`` of a change in levels, on the scale where white is 1."""
    levels = np.abs(change.astype(np.int64))
    return int(levels.max(initial=0)) / 255, math.sqrt(int((levels * levels).sum())) / 255


class BallPixels(Parameterization):
    """Pixels from 0 to 1, kept within a ball around others.

    Parameters
    ----------
    net
        The network that is to see them.
    center
        The pictures in the middle [N, C, H, W], from 0 to 1.
    ball
        How far they may go.
    start
        The pictures to begin with; left out, those in the middle.
    """

    def __init__(self, net: Network, center: Tensor, ball: NormBall, start: Tensor | None = None) -> None:
        self._spec, self._dtype, self._center, self._ball = net.input, net.dtype, center, ball
        self.leaf = (center if start is None else ball.project(center, start)).detach().clone()

    def picture(self, leaf: Tensor) -> Tensor:
        """Return the pixels in the network's numbers."""
        return _numbers(self._spec, leaf).to(self._dtype)

    def constrain(self) -> None:
        """Bring the pixels back into the ball."""
        with torch.no_grad():
            self.leaf.copy_(self._ball.project(self._center, self.leaf))


def network_numbers(net: Network, pixels: Tensor) -> Tensor:
    """Return pixels from 0 to 1 in the network's numbers, as `Network.prepare` makes them of a picture."""
    return _numbers(net.input, pixels).to(net.dtype)


def _numbers(spec: InputSpec, pixels: Tensor) -> Tensor:
    mean, deviation = (each.to(pixels) for each in spec.scaling())
    return (pixels - mean) / deviation


def _each(numbers: Tensor, like: Tensor) -> Tensor:
    """Return one number a picture [N] as something to multiply pictures with."""
    return numbers.view(-1, *[1] * (like.ndim - 1))
