"""Parameterizations: what is optimized when an image is: its pixels, its Fourier spectrum, or its phases alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.low_precision import at_least_single

if TYPE_CHECKING:
    from cnnviz_widgets.engine.inputs import InputSpec

CORRELATION = 0.9
"""How much the colors of a pixel are taken to go together: near what photographs of all kinds have."""


class Parameterization(ABC):
    """Numbers that stand for a batch of pictures.

    Attributes
    ----------
    leaf
        The numbers that are optimized.
    """

    leaf: Tensor

    @abstractmethod
    def picture(self, leaf: Tensor) -> Tensor:
        """Return the pictures that some numbers stand for, in the network's numbers [N, C, H, W]."""

    def constrain(self) -> None:  # noqa: B027 -- most have no bounds
        """Bring the numbers back into their bounds, after each step."""


class Pixels(Parameterization):
    """The network's numbers themselves, kept between black and white.

    Parameters
    ----------
    spec
        What the network takes.
    start
        The pictures to begin with, prepared [N, C, H, W].
    bounded
        Whether values beyond black and white are cut off after each step.
    """

    def __init__(self, spec: InputSpec, start: Tensor, *, bounded: bool = True) -> None:
        self._dtype = start.dtype
        # Steps are smaller than what half precision can tell apart.
        self.leaf = at_least_single(start.detach()).clone(memory_format=torch.contiguous_format)
        self._bounded = bounded
        mean, deviation = spec.scaling()
        self._low, self._high = (((edge - mean) / deviation).to(self.leaf) for edge in (0.0, 1.0))

    def picture(self, leaf: Tensor) -> Tensor:
        """Return the numbers as they are, in the network's precision."""
        return leaf.to(self._dtype)

    def constrain(self) -> None:
        """Cut off what is blacker than black or whiter than white."""
        if self._bounded:
            with torch.no_grad():
                torch.minimum(torch.maximum(self.leaf, self._low, out=self.leaf), self._high, out=self.leaf)


class _Colors:
    """Decorrelated colors, between black and white whatever the numbers are.

    Numbers z with variance 1 become colors with the network's mean m and deviations s, to first order:
    a = logit(m) + M z / (m (1 - m)), the picture is 1 / (1 + exp(-a)), and M M' is s_i s_j times `CORRELATION` for two
    colors i and j, s_i^2 for one. The first of the z is brightness.
    """

    def __init__(self, spec: InputSpec, like: Tensor) -> None:
        mean, deviation = spec.scaling()
        self._mean, self._deviation = mean.to(like), deviation.to(like)
        # Where a network scales nothing, its "mean" 0 and "deviation" 1 are no pictures'.
        center = mean.flatten().double()
        center = torch.where((center > 0.02) & (center < 0.98), center, 0.5)
        spread = deviation.flatten().double()
        spread = torch.where(spread <= 0.5, spread, 0.25)
        count = len(center)
        matrix = spread[:, None] * _cosines(count) * _shares(count).sqrt()
        slope = center * (1 - center)
        self._matrix = (matrix / slope[:, None]).to(like)
        self._inverse = torch.linalg.inv(matrix / slope[:, None]).to(like)
        self._offset = (center / (1 - center)).log().to(like)[:, None, None]

    def of(self, z: Tensor) -> Tensor:
        """Return pictures, in the network's numbers, of decorrelated planes [N, C, H, W]."""
        matrix = self._matrix.expand(len(z), -1, -1)
        raw = torch.baddbmm(self._offset[:, 0], matrix, z.flatten(2)).view_as(z)
        return raw.sigmoid().sub(self._mean).div_(self._deviation)

    def planes(self, x: Tensor) -> Tensor:
        """Return the planes of pictures: the inverse, as far as they are neither black nor white."""
        value = (x * self._deviation + self._mean).clamp(1 / 512, 1 - 1 / 512)
        return torch.matmul(self._inverse, (value.logit() - self._offset).flatten(2)).view_as(x)


def _cosines(count: int) -> Tensor:
    """Return axes of color as columns [count, count]: brightness, then the cosine transform's other ones."""
    channel = torch.arange(count, dtype=torch.float64)
    waves = torch.cos(math.pi * (channel[:, None] + 0.5) * channel / count)
    return waves / waves.square().sum(0).sqrt()


def _shares(count: int) -> Tensor:
    """Return the variance along each of these axes for channels that go together with `CORRELATION`."""
    shares = torch.full((count,), 1 - CORRELATION, dtype=torch.float64)
    shares[0] = 1 + (count - 1) * CORRELATION
    return shares


def frequencies(height: int, width: int) -> Tensor:
    """Return how many waves a pixel each number of a real spectrum stands for, [height, width // 2 + 1]."""
    rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    return torch.sqrt(rows[:, None] ** 2 + columns[None, :] ** 2)


def _falling(height: int, width: int) -> Tensor:
    """Return c / frequency, the fall of natural images: with random phases the picture has a mean square of 1.

    The mean counts as the lowest wave.
    """
    magnitude = 1 / frequencies(height, width).clamp(min=1 / max(height, width))
    # By Parseval. Each wave stands for two, but in the first and the middle column, where both are written down, and
    # only what they have in common, half of it, is in a real picture.
    waves = torch.full((width // 2 + 1,), 2.0)
    waves[0] = 0.5
    if width % 2 == 0:
        waves[-1] = 0.5
    return magnitude * math.sqrt(height * width / float((magnitude.square() * waves).sum()))


class Fourier(Parameterization):
    """The spectrum of decorrelated colors, each wave scaled by 1 / its frequency, as in Olah et al. 2017.

    Steps then change coarse and fine structure alike, in place of mostly the finest. The picture is between black and
    white by itself.

    Parameters
    ----------
    spec
        What the network takes; its mean and deviation give the colors.
    like
        A tensor of the pictures' shape [N, C, H, W], device and kind.
    random
        Draws the spectrum to begin with: normal numbers, which give a faint cloud.
    start
        Pictures to begin with instead, prepared.
    deviation
        Of the random numbers; 1 gives the colors of `FourierPhase`.
    """

    def __init__(
        self,
        spec: InputSpec,
        like: Tensor,
        *,
        random: torch.Generator | None = None,
        start: Tensor | None = None,
        deviation: float = 0.02,
    ) -> None:
        batch, channels, height, width = like.shape
        self._size = (height, width)
        # Spectra are not for half precision.
        kind = torch.zeros((), dtype=torch.float32, device=like.device)
        self._dtype = like.dtype
        self._colors = _Colors(spec, kind)
        # Real and imaginary part together have a mean square of 1.
        falling = (_falling(height, width) / math.sqrt(2)).to(kind)
        self._scale = torch.stack([falling, falling], dim=-1)
        if start is not None:
            spectrum = torch.fft.rfft2(self._colors.planes(start.to(kind)), norm="ortho")
            self.leaf = (torch.view_as_real(spectrum) / self._scale).contiguous()
        elif random is not None:
            drawn = torch.randn((batch, channels, height, width // 2 + 1, 2), generator=random)
            self.leaf = (drawn * deviation).to(kind)
        else:
            raise InputError("a Fourier parameterization needs a generator or pictures to begin with")

    def picture(self, leaf: Tensor) -> Tensor:
        """Return the pictures of a spectrum."""
        planes = torch.fft.irfft2(torch.view_as_complex(leaf * self._scale), s=self._size, norm="ortho")
        return self._colors.of(planes).to(self._dtype)


class FourierPhase(Parameterization):
    """The phases of a spectrum whose magnitudes stay those of natural images: MACO, Fel et al. 2023.

    The magnitude of a wave is c / its frequency, with c so that the colors have the network's deviations, in place of
    the mean over a data set that the paper takes. High frequencies can't take over.

    Parameters
    ----------
    spec, like, random
        See `Fourier`; the phases are drawn evenly.
    start
        Pictures whose phases to begin with instead, prepared.
    """

    def __init__(
        self, spec: InputSpec, like: Tensor, *, random: torch.Generator, start: Tensor | None = None
    ) -> None:
        batch, channels, height, width = like.shape
        kind = torch.zeros((), dtype=torch.float32, device=like.device)
        self._size, self._dtype = (height, width), like.dtype
        self._colors = _Colors(spec, kind)
        self._magnitude = _falling(height, width).to(kind)
        drawn = torch.rand((batch, channels, height, width // 2 + 1), generator=random)
        self.leaf = (drawn * 2 * math.pi).to(kind)
        if start is not None:
            self.leaf = (
                torch.fft.rfft2(self._colors.planes(start.to(kind)), norm="ortho").angle().contiguous()
            )

    def picture(self, leaf: Tensor) -> Tensor:
        """Return the pictures of some phases."""
        spectrum = torch.polar(self._magnitude.expand_as(leaf), leaf)
        planes = torch.fft.irfft2(spectrum, s=self._size, norm="ortho")
        return self._colors.of(planes).to(self._dtype)
