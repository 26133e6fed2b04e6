"""Transforms: small random changes before the network sees a picture, so that it can't rely on exact pixels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets.engine.motion import Move, merged, moved, resampled, shifted
from cnnviz_widgets.engine.whole_numbers import checked_whole


class Transform(ABC):
    """A change of a batch [N, C, H, W], drawn anew for each step; the same for all pictures of the batch.

    What comes in at the borders is 0, the network's mean color.
    """

    @abstractmethod
    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the changed batch."""


@dataclass(frozen=True)
class Pad(Transform):
    """A border of mean color, so that what is moved afterwards is not lost at once."""

    pixels: int

    def __post_init__(self) -> None:
        checked_whole("pixels", self.pixels, least=0)

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the batch with a border."""
        return functional.pad(x, (self.pixels,) * 4)


@dataclass(frozen=True)
class Jitter(Transform):
    """A shift by up to so many whole pixels, up or down and to either side.

    With ``roll`` what leaves at one side comes in at the other.
    """

    pixels: int
    roll: bool = False

    def __post_init__(self) -> None:
        checked_whole("pixels", self.pixels, least=0)

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the batch, shifted."""
        down, right = self.draw(random)
        return x.roll((down, right), dims=(2, 3)) if self.roll else shifted(x, down, right)

    def draw(self, random: torch.Generator) -> tuple[int, int]:
        """Return how far down and to the right."""
        down, right = torch.randint(-self.pixels, self.pixels + 1, (2,), generator=random).tolist()
        return down, right


@dataclass(frozen=True)
class _Affine(Transform):
    """A linear map about the picture's middle, bilinear."""

    @abstractmethod
    def matrix(self, random: torch.Generator) -> Tensor:
        """Return where a point of the new picture was in the old one, 2 x 2 in pixels, (x, y)."""

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the batch, resampled."""
        return resampled(x, self.matrix(random))


@dataclass(frozen=True)
class Scale(_Affine):
    """Larger or smaller by a factor between two, evenly drawn; the picture's size stays."""

    smallest: float = 0.9
    largest: float = 1.1

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < math.inf:
            raise ValueError(
                f"Scale takes two factors above 0, the smaller one first; got {self.smallest!r}, {self.largest!r}"
            )

    def matrix(self, random: torch.Generator) -> Tensor:
        """Return the identity over the factor."""
        share = float(torch.rand((), generator=random))
        return torch.eye(2) / (self.smallest + share * (self.largest - self.smallest))


@dataclass(frozen=True)
class Rotate(_Affine):
    """Turned by up to so many degrees either way, evenly drawn."""

    degrees: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ValueError(f"Rotate takes degrees from 0 to 180, got {self.degrees!r}")

    def matrix(self, random: torch.Generator) -> Tensor:
        """Return the rotation."""
        angle = math.radians(self.degrees) * (2 * float(torch.rand((), generator=random)) - 1)
        cosine, sine = math.cos(angle), math.sin(angle)
        return torch.tensor([[cosine, sine], [-sine, cosine]])


@dataclass(frozen=True)
class Blur(Transform):
    """Blurred by a Gaussian with a deviation of up to so many pixels, evenly drawn; borders are mirrored."""

    largest: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.largest < math.inf:
            raise ValueError(f"Blur takes a deviation in pixels, at least 0; got {self.largest!r}")

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """Return the batch, blurred."""
        return blurred(x, self.largest * float(torch.rand((), generator=random)))


def blurred(x: Tensor, deviation: float) -> Tensor:
    """Return a batch [N, C, H, W] blurred by a Gaussian, cut off at three deviations; borders are mirrored."""
    height, width = x.shape[2:]
    for axis, length in ((2, height), (3, width)):
        reach = min(math.ceil(3 * deviation), length - 1)
        if reach < 1:
            continue
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
        kernel = (weights / weights.sum()).to(x)
        shape = (-1, 1) if axis == 2 else (1, -1)
        border = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        planes = functional.pad(x, border, mode="reflect").flatten(0, 1)[:, None]
        x = functional.conv2d(planes, kernel.view(1, 1, *shape)).view(*x.shape[:2], height, width)
    return x


def checked_transforms(transforms: object) -> tuple[Transform, ...]:
    """Return a list of transforms, or say what was got."""
    if not isinstance(transforms, list | tuple):
        raise TypeError(
            f"transforms takes a list, such as [cv.transforms.Jitter(8)], or [] for nothing; got {transforms!r}"
        )
    for each in transforms:
        if not isinstance(each, Transform):
            raise TypeError(f"transforms takes such as cv.transforms.Jitter(8); got {each!r} among them")
    return tuple(transforms)


def transformed(x: Tensor, transforms: Sequence[Transform], random: torch.Generator) -> Tensor:
    """Return a batch after all transforms, cut or extended to its size about the middle.

    Scales and rotations that follow each other are one resampling, which blurs once.
    """
    height, width = x.shape[2:]
    last = max((index for index, each in enumerate(transforms) if not _moves(each)), default=-1) + 1
    for each in merged(one.matrix(random) if isinstance(one, _Affine) else one for one in transforms[:last]):
        x = resampled(x, each) if isinstance(each, Tensor) else each(x, random)
    return moved(x, [_drawn(each, random) for each in transforms[last:]], (height, width))


def _moves(transform: Transform) -> bool:
    """Return whether a transform only moves pixels, as `moved` does."""
    kind = type(transform)
    own = kind in (Pad, Jitter) or (isinstance(transform, _Affine) and kind.__call__ is _Affine.__call__)
    return own and not (isinstance(transform, Jitter) and transform.roll)


def _drawn(transform: Transform, random: torch.Generator) -> Move:
    if isinstance(transform, _Affine):
        return transform.matrix(random)
    return transform.draw(random) if isinstance(transform, Jitter) else cast(Pad, transform).pixels
