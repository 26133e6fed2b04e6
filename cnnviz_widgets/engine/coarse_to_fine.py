"""Losses made small from a coarse picture to a fine one: large structure first, where steps cost least."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets.engine.ascent import Ascent, PictureStep, ascend
from cnnviz_widgets.engine.averaged_pools import POOLINGS
from cnnviz_widgets.engine.errors import InputError, ZeroGradientError, about
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.objectives import Objective
from cnnviz_widgets.engine.optimizers import Optimizer
from cnnviz_widgets.engine.parameterizations import Fourier, Parameterization, Pixels, frequencies
from cnnviz_widgets.engine.slope import REACHED
from cnnviz_widgets.engine.stream import Step, StopEarly, remark
from cnnviz_widgets.engine.whole_numbers import checked_whole

if TYPE_CHECKING:
    from cnnviz_widgets.engine.inputs import Images
    from cnnviz_widgets.engine.network import Network

PARAMETERIZATIONS = ("fourier", "pixels")
_SHORTEST = 96
# What a run begins with has half the contrast of its source, and no structure that is larger than this.
_CONTRAST = 0.5
_LARGEST_WAVE = 16.0


@dataclass(frozen=True)
class Scale:
    """One size of the picture, with what is to become small there.

    Attributes
    ----------
    size
        Rows and columns.
    losses
        By name.
    """

    size: tuple[int, int]
    losses: Mapping[str, Objective]


@dataclass(frozen=True, eq=False)
class Descent:
    """What `coarse_to_fine` has come to.

    Attributes
    ----------
    x
        The picture in the network's numbers [1, C, H, W], at the last scale's size.
    losses
        By name: the loss before each step [steps], float32.
    steps
        How many steps were taken.
    ended
        Why before the last step, in words; empty if it was not.
    """

    x: Tensor
    losses: dict[str, NDArray[np.float32]]
    steps: int
    ended: str


@dataclass(frozen=True)
class Settings:
    """How a picture is optimized, checked.

    Attributes
    ----------
    optimizer, rate
        ``"lbfgs"`` or ``"adam"``, and its rate; ``None`` for the usual one.
    parameterization
        ``"fourier"`` or ``"pixels"``.
    steps
        Of all scales together.
    seed
        Of the noise to begin with.
    pooling
        ``"max"`` for the network as it is, ``"average"`` for means in place of maxima.
    """

    optimizer: str
    rate: float | None
    parameterization: str
    steps: int
    seed: int
    pooling: str = "max"

    def __post_init__(self) -> None:
        if self.optimizer not in ("lbfgs", "adam"):
            raise ValueError(f"optimizer is 'lbfgs' or 'adam', got {self.optimizer!r}")
        if self.parameterization not in PARAMETERIZATIONS:
            raise ValueError(f"parameterization is 'fourier' or 'pixels', got {self.parameterization!r}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is 'max' or 'average', got {self.pooling!r}")
        checked_whole("steps", self.steps)
        checked_whole("seed", self.seed, least=0)
        if self.rate is not None:
            checked_weight("rate", self.rate, above=True)

    def moves(self) -> Optimizer:
        """Return the optimizer."""
        usual = 1.0 if self.optimizer == "lbfgs" else 0.05
        return Optimizer(self.optimizer, usual if self.rate is None else self.rate)  # type: ignore[arg-type]

    def image(self, net: Network, start: Tensor) -> Parameterization:
        """Return what stands for a picture."""
        return (
            Fourier(net.input, start, start=start)
            if self.parameterization == "fourier"
            else Pixels(net.input, start)
        )


def checked_weight(name: str, value: object, *, above: bool = False) -> float:
    """Return a finite number from 0 (or above 0), or say what was got."""
    good = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not good or not 0 <= float(value) < float("inf") or (above and value == 0):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a number {'above' if above else 'from'} 0, got {value!r}")
    return float(value)  # type: ignore[arg-type]


def checked_weights(name: str, values: Any, count: int, of_what: str) -> tuple[float, ...]:
    """Return one weight for each of so many things, not all of them 0; ``None``: 1 each."""
    if values is None:
        return (1.0,) * count
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise TypeError(f"{name} takes a list of numbers, one for each of the {of_what}; got {values!r}")
    if len(values) != count:
        raise ValueError(f"{name} takes one number for each of the {count} {of_what}, got {len(values)}")
    found = tuple(checked_weight(f"{name}[{index}]", each) for index, each in enumerate(values))
    if not any(found):
        raise ValueError(f"{name} are all 0, so that nothing of the {of_what} is left; got {values!r}")
    return found


def sizes_of(
    size: tuple[int, int], scales: int | None, steps: int, *others: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the sizes from coarse to fine, each about twice the one before.

    Left out, there are as many as keep the shorter side, also of the other pictures, at 96 pixels or more.
    """
    if scales is None:
        scales, shortest = 1, min(*size, *(side for each in others for side in each))
        while shortest >= _SHORTEST * 2**scales and scales < steps:
            scales += 1
    count = checked_whole("scales", scales)
    if count > steps:
        raise ValueError(f"steps={steps} are too few for scales={count}: each takes one step at least")
    return [(max(1, round(size[0] / 2**k)), max(1, round(size[1] / 2**k))) for k in reversed(range(count))]


def steps_by_scale(steps: int, scales: int) -> list[int]:
    """Return how many steps each scale takes, from coarse to fine: even shares, the first ones larger by one.

    >>> steps_by_scale(8, 3)
    [3, 3, 2]
    """
    return [steps // scales + (index < steps % scales) for index in range(scales)]


def scales_left(steps: int, scales: int, done: int) -> int:
    """Return how many scales are to go through after so many steps, the one under way among them; 1 at the end.

    >>> [scales_left(8, 3, done) for done in (0, 2, 3, 6, 8)]
    [3, 3, 2, 1, 1]
    """
    ends = np.cumsum(steps_by_scale(steps, scales))
    return max(1, int((ends > done).sum()))


def prepared(net: Network, image: Images, size: tuple[int, int] | None, user: str) -> Tensor:
    """Return one picture [1, C, H, W]: as the network sees it, or of some size, scaled to cover it and cut."""
    with about(user):
        x = net.prepare(image) if size is None else replace(net.input, size=size, resize=None).prepare(image)
    if len(x) != 1:
        raise InputError(f"{user} takes one image, got {len(x)}; call it once for each")
    return x.to(net.device, net.dtype)


def resampled(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return pictures [N, C, H, W] at another size, smoothed where they shrink."""
    if tuple(x.shape[2:]) == size:
        return x
    # Half precision can't be resampled everywhere.
    return functional.interpolate(x.float(), size=size, mode="bicubic", antialias=True).to(x.dtype)


def coarse_to_fine(
    net: Network,
    scales: Sequence[Scale],
    settings: Settings,
    start: Tensor | None,
    palette: Tensor,
    picturing: Callable[[Tensor], NDArray[np.uint8]] | None = None,
) -> Generator[Step, None, Descent]:
    """Change a picture so that losses become small, one scale after the other; returns a `Descent`.

    Each scale takes an even share of the steps, and begins with what the one before has made, to which the fine
    detail of a given start is added again. A step's picture has the last scale's size; its values are the losses.

    Parameters
    ----------
    net
        The network.
    scales
        From coarse to fine.
    settings
        How.
    start
        The picture to begin with, prepared [1, C, H, W], of the last scale's size; ``None`` for a random `cloud`.
    palette
        The picture that gives the cloud its colors.
    picturing
        Makes a picture of prepared ones; the usual way if left out.

    Raises
    ------
    ZeroGradientError
        The gradient is zero from the first step on, though the losses are not.
    OutputError
        NaN or infinity at the first step.
    """
    random = torch.Generator().manual_seed(settings.seed)
    draw, size = picturing or (lambda x: pictures_of(net, x)[0]), scales[-1].size
    curves: dict[str, list[NDArray[np.float32]]] = {name: [] for name in scales[-1].losses}
    x = cloud(palette, scales[0].size, random) if start is None else resampled(start, scales[0].size)
    done, ended = 0, ""
    shares = steps_by_scale(settings.steps, len(scales))
    for index, (scale, share) in enumerate(zip(scales, shares, strict=True)):
        x = _enlarged(x, start, scale.size) if index else x
        steps = ascend(
            net,
            settings.image(net, x),
            {name: -each for name, each in scale.losses.items()},
            steps=share,
            optimizer=settings.moves(),
            random=random,
            picturing=lambda x: draw(resampled(x, size)),
            losses=True,
            first=done,
            total=settings.steps,
        )
        found = yield from as_losses(steps)
        x, done, ended = found.x, done + found.steps, found.ended
        for name, values in found.values.items():
            curves[name].append(-values[:, 0])
        # Where there was no gradient at this size, there may be one at another.
        if found.stopped or (ended and not found.dead.all()):
            break
    asking = [name for name, loss in scale.losses.items() if loss.asks_network]
    if ended and -sum(float(found.last[name].sum()) for name in asking) > REACHED:
        _say_why(ended, done, bool(found.dead.all()))
    return Descent(
        resampled(x, size), {name: np.concatenate(each) for name, each in curves.items()}, done, ended
    )


def cloud(palette: Tensor, size: tuple[int, int], random: torch.Generator) -> Tensor:
    """Return a random picture in the colors of another one [1, C, h, w], without any of its structure.

    Its mean is that of the palette, the covariance of its channels a quarter of the palette's. Its spectrum falls as
    natural ones do, 1 / frequency, but is flat where waves are longer than 16 pixels: larger clouds would stay.
    """
    colors = palette[0].flatten(1).double().cpu()
    mean = colors.mean(1, keepdim=True)
    covariance = (colors - mean) @ (colors - mean).T / colors.shape[1]
    levels, axes = torch.linalg.eigh(covariance)
    mixing = axes * levels.clamp(min=0).sqrt() * _CONTRAST
    noise = torch.randn((len(colors), *size), generator=random, dtype=torch.float64)
    waves = frequencies(*size).clamp(min=1 / _LARGEST_WAVE)
    noise = torch.fft.irfft2(torch.fft.rfft2(noise) / waves, s=size)
    deviations = noise.flatten(1).std(1, correction=0)[:, None, None]
    noise = (noise - noise.mean((1, 2), keepdim=True)) / deviations.clamp(min=torch.finfo(noise.dtype).tiny)
    x: Tensor = mixing @ noise.flatten(1) + mean
    return x.view(1, -1, *size).to(palette)


def _enlarged(x: Tensor, start: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Return a picture at the next size; what has changed since the start, where there was one with detail."""
    if start is None:
        return resampled(x, size)
    before = resampled(start, (x.shape[2], x.shape[3]))
    return resampled(start, size) + resampled(x - before, size)


def as_losses(steps: Generator[Step, None, Ascent]) -> Generator[Step, None, Ascent]:
    """Take steps whose values are losses with a minus, as losses; return what they come to."""
    with closing(steps):
        try:
            step = next(steps)
            while True:
                values = {name: -np.asarray(each)[()] for name, each in step.values.items()}
                try:
                    yield PictureStep(step.index, step.total, partial(getattr, step, "image"), values)
                except StopEarly as stop:
                    step = steps.throw(stop)
                else:
                    step = next(steps)
        except StopIteration as end:
            found: Ascent = end.value
            return found


def _say_why(ended: str, done: int, dead: bool) -> None:
    """Say why it ended early: with an error where nothing could be done, with a warning where there is a result."""
    if done or not dead:
        remark(ended)
        return
    raise ZeroGradientError(
        f"{ended}, though the losses are not: from this picture on there is no way to follow; begin with another "
        "one (start=..., or another seed), or take other layers"
    )
