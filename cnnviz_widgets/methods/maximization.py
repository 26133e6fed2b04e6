"""Activation maximization: the picture that a class, a channel, a unit or a direction responds to most."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import Ascent, ascend
from cnnviz_widgets.engine.capture import apart
from cnnviz_widgets.engine.class_odds import ClassImage, LogOdds
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.coarse_to_fine import checked_weight
from cnnviz_widgets.engine.diversity import Alikeness
from cnnviz_widgets.engine.errors import InputError, TargetError, ZeroGradientError
from cnnviz_widgets.engine.feature_code import size_said
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.objectives import ForSome, Objective, OneEach, Sum, TargetObjective, as_objective
from cnnviz_widgets.engine.optimizers import Optimizer, OptimizerName
from cnnviz_widgets.engine.parameterizations import Fourier, FourierPhase, Parameterization, Pixels
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.regularizers import AlphaNorm, Roughness, TotalVariation
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, remark, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, TargetLike
from cnnviz_widgets.engine.transforms import Blur, Jitter, Pad, Rotate, Scale, Transform, checked_transforms
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.captioned import captioned
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, mosaic

ParameterizationName = Literal["fourier", "phase", "pixels"]
Wanted: TypeAlias = "Objective | TargetLike"

_PARAMETERIZATIONS = ("fourier", "phase", "pixels")
# Step sizes: of a spectrum whose numbers are near 1, of angles, of the network's numbers. Those of "momentum" are in
# units of the gradient, and hang on the target.
_RATES: dict[str, tuple[float, float, float]] = {
    "adam": (0.05, 0.3, 0.05),
    "sign": (0.05, 0.3, 0.05),
    "normalized": (0.02, 0.02, 0.02),
    "unit": (5.0, 5.0, 5.0),
    "momentum": (0.01, 0.01, 0.001),
    "lbfgs": (1.0, 1.0, 1.0),
}
_RELAXED_STEPS = 16
# The natural-image prior of class images, for scores with a deviation of 1 over the classes: what stands for a class
# sees the whole picture, and all of its noise.
_CLASS_PRIOR = {"total_variation": 0.04, "smoothness": 0.012}
_MOST_PICTURES = 256


@dataclass(frozen=True, eq=False)
class Maximization(Result):
    """Pictures that something in the network responds to most; shows itself as these pictures.

    Attributes
    ----------
    images
        The pictures, uint8 [N, H, W, 3]; [N, 0, 0, 3] where the network's channels make no picture.
    inputs
        The same in the network's numbers, before they were rounded, float32 [N, C, H, W].
    targets
        What each is for, as text.
    values
        The target's value for each picture [N], float32: of the picture as it is shown, rounded to 8 bits. That of a
        channel is the mean over its map; a rectifier after the layer is silent wherever that is below 0.
    curves
        By term (``"target"``, and what was subtracted from it), its value at each step, for each picture [steps, N].
    relaxed
        In how many steps a relaxed rectifier helped each picture out of a zero gradient [N].
    ended
        Why it ended before the last step, in words; empty if it did not.
    steps
        How many were taken.
    planned_steps
        The option ``steps``.
    transforms
        What was done to the picture before each step, as text.
    start
        ``"noise"``, or ``"picture"`` where it began with one that was given.
    size, parameterization, optimizer, rate, copies, diversity, total_variation, weight_decay, smoothness, seed
        The options, those left out as they were chosen.
    """

    images: NDArray[np.uint8]
    inputs: NDArray[np.float32]
    targets: tuple[str, ...]
    values: NDArray[np.float32]
    curves: Mapping[str, NDArray[np.float32]]
    relaxed: NDArray[np.int64]
    ended: str
    steps: int
    planned_steps: int
    transforms: tuple[str, ...]
    start: str
    size: tuple[int, int]
    parameterization: str
    optimizer: str
    rate: float
    copies: int
    diversity: float
    total_variation: float
    weight_decay: float
    smoothness: float
    seed: int

    @property
    def help_text(self) -> str:
        """Which pictures relaxed rectifiers have helped, and in how many steps; empty if none."""
        helped = [
            f"{text} in {count}" for text, count in zip(self.targets, self.relaxed, strict=True) if count
        ]
        if not helped:
            return ""
        return (
            "rectifiers were relaxed where they passed no gradient back (at most in the first "
            f"{_RELAXED_STEPS} steps): {', '.join(helped)}"
        )

    def _repr_png_(self) -> bytes | None:
        """Return the pictures side by side, as a notebook shows them for the bare result."""
        return png(mosaic(self.images), max_bytes=PNG_BYTES) if self.images.size else None

    def _repr_html_(self) -> str | None:
        """Return the pictures with what each is for and its value, as a notebook shows them for the bare result."""
        if not self.images.size:
            return None
        pairs = zip(self.targets, self.values, strict=True)
        return captioned(self.images, [f"{text}\nvalue {value:.4g}" for text, value in pairs], self._remarks)

    def __repr__(self) -> str:
        found = ", ".join(
            f"{text} {value:.4g}" for text, value in zip(self.targets[:4], self.values, strict=False)
        )
        more = f", and {len(self.targets) - 4} more" if len(self.targets) > 4 else ""
        remarks = f"; {self._remarks}" if self._remarks else ""
        return f"Maximization({found}{more}; {self.steps} steps{remarks})"

    @property
    def _remarks(self) -> str:
        return "; ".join(filter(None, (self.ended, self.help_text)))


@streamed
def maximize(
    net: Network,
    target: Wanted | Sequence[Wanted],
    *,
    steps: int = 128,
    size: int | tuple[int, int] | None = None,
    parameterization: ParameterizationName = "fourier",
    optimizer: OptimizerName = "adam",
    rate: float | None = None,
    transforms: Sequence[Transform] | None = None,
    copies: int = 1,
    diversity: float = 0.0,
    total_variation: float | None = None,
    weight_decay: float = 0.0,
    smoothness: float | None = None,
    start: Images | None = None,
    seed: int = 0,
) -> Generator[Step, None, Maximization]:
    """See the picture that a class, a channel, a unit or a direction responds to most: what it looks for.

    A picture of noise is changed, step by step, along the gradient of the target (Erhan et al. 2009 [1]_; for classes
    Simonyan et al. 2014 [2]_). What keeps it from becoming noise of another kind: it is written as a Fourier spectrum
    with decorrelated colors, so that coarse structure moves as fast as fine, and shifted, scaled and turned a little
    before each step (Olah et al. 2017 [3]_); or the magnitudes of its spectrum stay those of natural images, and only
    the phases are optimized (MACO [4]_).

    Parameters
    ----------
    net
        The network.
    target
        A class (label or index), a `Target` (a channel, a unit, a class), `Direction`, `Caricature`, a combination
        such as ``Target(layer=a, channel=3) - 0.5 * Target(layer=a, channel=7)``; or a list of them, a picture for
        each. A label or index is maximized by its logit plus its log odds, so that it ends above similar classes;
        ``Target("tabby")`` by the logit alone, with ``of="probability"`` by the log odds log(p / (1 - p)) alone, also
        within a combination.
    steps
        How many steps.
    size
        Height and width of the picture, or one number; left out, what the network takes (224 if that is free).
    parameterization
        ``"fourier"``, ``"phase"`` (MACO), or ``"pixels"``: the network's numbers themselves, between black and white.
    optimizer, rate
        See `Optimizer`. If left out, the rate is for ``"adam"`` and ``"sign"`` 0.05, for phases 0.3; for
        ``"normalized"`` 0.02; for ``"unit"`` 5; for ``"momentum"`` 0.01, for pixels 0.001; for ``"lbfgs"`` 1.
    transforms
        What is done to the picture before each step, such as ``[cv.transforms.Jitter(8)]``; ``[]`` for nothing. Left
        out: jitter, scale and rotation in proportion to its size.
    copies
        How many pictures for each target.
    diversity
        With copies: how much their being alike costs, in units of the target. The layer of the target compares them.
    total_variation, weight_decay, smoothness
        Weights of what is subtracted from the target: `TotalVariation` with beta 2, `AlphaNorm` with alpha 2, and
        `Roughness`, the distance to the blurred picture. They judge pixels less the network's mean, where white is 1
        above black, summed over the picture. Left out they are 0, but for class images (targets that are labels or
        indices) 0.04 and 0.012 (variation, smoothness) times the deviation of a picture's class scores, measured on
        noise, if the parameterization is not ``"phase"``.
    start
        Picture or pictures to begin with in place of noise, one for each picture; resized to ``size``.
    seed
        Of the noise and the transforms. The same seed gives the same pictures.

    Returns
    -------
    Maximization
        ``images`` [N, H, W, 3], for each target its ``copies`` in a row.

    Raises
    ------
    LabelNotFoundError, LayerNotFoundError, TargetError
        No such class (with the nearest names), layer or unit.
    TypeError
        A target or transform that is none.
    ZeroGradientError
        Nothing to follow from where it began, although rectifiers were relaxed for the first 16 steps.
    InputError
        A size that the network does not take; pictures to start from of another number.
    ValueError
        A value that an option can't have.

    Warns
    -----
    UserWarning
        It ended early, a picture had a gradient of zero throughout, or a channel or unit stayed below 0.

    References
    ----------
    .. [1] Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network", 2009.
    .. [2] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR workshop 2014.
    .. [3] Olah, Mordvintsev and Schubert, "Feature visualization", Distill 2017.
    .. [4] Fel et al., "Unlocking feature visualization for deeper networks with MAgnitude Constrained Optimization",
       NeurIPS 2023.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> found = cv.maximize(net, cv.Target(layer="features.3", channel=5), steps=4, size=64)
    >>> found.images.shape, bool(found.curves["target"][-1] > found.curves["target"][0])
    ((1, 64, 64, 3), True)
    """
    check_network(net, "maximize")
    wanted = _wanted(target)
    options = checked_options(
        net,
        steps,
        size,
        parameterization,
        optimizer,
        rate,
        copies,
        diversity,
        total_variation,
        weight_decay,
        smoothness,
        seed,
    )
    pictures = len(wanted) * options.copies
    if pictures > _MOST_PICTURES:
        raise ValueError(
            f"{pictures} pictures at once are too many (at most {_MOST_PICTURES}); ask for them in parts"
        )
    chosen = _default_transforms(options) if transforms is None else checked_transforms(transforms)
    random = torch.Generator().manual_seed(options.seed)
    private = private_network(net)
    image = _begin(net, options, pictures, start, random)
    with nullcontext() if options.size == net.input.size else size_said(options.size):
        each = [one.bound(private, options.size) for one in wanted for _ in range(options.copies)]
        if options.size != net.input.size:
            judged(private, OneEach(each), image.picture(image.leaf).detach())
    left_out = tuple(
        name
        for name, weight in (("total_variation", total_variation), ("smoothness", smoothness))
        if weight is None
    )
    options = _with_prior(options, private, image, wanted, left_out)
    penalties = _penalties(wanted, options, left_out)
    grown = yield from ascend(
        private,
        image,
        {"target": OneEach(each), **penalties},
        steps=options.planned_steps,
        optimizer=Optimizer(optimizer, options.rate),
        random=random,
        transforms=chosen,
        picturing=lambda x: _shown(net, x),
        relax=_RELAXED_STEPS,
    )
    _check_begun(grown, each)
    images, values = _as_shown(private, grown.x, each)
    if not grown.ended and not grown.stopped:
        _tell_silent(each, values)
    return Maximization(
        images=images,
        inputs=grown.x.float().cpu().numpy(),
        targets=tuple(one.text for one in each),
        values=values,
        curves={name: curve if name == "target" else -curve for name, curve in grown.values.items()},
        relaxed=grown.relaxed,
        ended=grown.ended,
        steps=grown.steps,
        transforms=tuple(map(repr, chosen)),
        start="noise" if start is None else "picture",
        **asdict(options),
    )


@dataclass(frozen=True)
class _Options:
    """What was asked for, checked, by the names of the result."""

    planned_steps: int
    size: tuple[int, int]
    parameterization: ParameterizationName
    optimizer: OptimizerName
    rate: float
    copies: int
    diversity: float
    total_variation: float
    weight_decay: float
    smoothness: float
    seed: int


def checked_options(
    net: Network,
    steps: Any,
    size: Any,
    parameterization: Any,
    optimizer: Any,
    rate: Any,
    copies: Any,
    diversity: Any,
    total_variation: Any,
    weight_decay: Any,
    smoothness: Any,
    seed: Any,
) -> _Options:
    """Return how pictures are optimized, or say which option is wrong."""
    if optimizer not in _RATES:
        raise ValueError(f"optimizer is one of {', '.join(map(repr, _RATES))}; got {optimizer!r}")
    parameterization = _checked_parameterization(parameterization)
    usual = _RATES[optimizer][_PARAMETERIZATIONS.index(parameterization)]
    return _Options(
        planned_steps=checked_whole("steps", steps),
        size=_size(net, size),
        parameterization=parameterization,
        optimizer=optimizer,
        rate=usual if rate is None else checked_weight("rate", rate, above=True),
        copies=checked_whole("copies", copies),
        diversity=checked_weight("diversity", diversity),
        total_variation=checked_weight(
            "total_variation", 0.0 if total_variation is None else total_variation
        ),
        weight_decay=checked_weight("weight_decay", weight_decay),
        smoothness=checked_weight("smoothness", 0.0 if smoothness is None else smoothness),
        seed=checked_whole("seed", seed, least=0),
    )


def _with_prior(
    options: _Options,
    net: Network,
    image: Parameterization,
    wanted: Sequence[Objective],
    left_out: Sequence[str],
) -> _Options:
    """Return options with the weights of class images that were left out, by how far class scores lie apart."""
    if not left_out or options.parameterization == "phase" or not any(map(_is_class_image, wanted)):
        return options
    like = image.picture(image.leaf)[:1]
    noise = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
    with apart(net), torch.no_grad():
        spread = float(net.class_scores(noise).float().std(1).mean())
    if not math.isfinite(spread):
        return options
    # As one would write them: three digits are the same on all machines.
    prior: dict[str, Any] = {name: float(f"{_CLASS_PRIOR[name] * spread:.3g}") for name in left_out}
    return replace(options, **prior)


def _is_class_image(objective: Objective) -> bool:
    return isinstance(objective, ClassImage)


def _wanted(target: Any) -> list[Objective]:
    several = isinstance(target, list | tuple | range) or (isinstance(target, np.ndarray) and target.ndim)
    given = list(target) if several else [target]
    if not given:
        raise TargetError("maximize needs a target, got an empty list")
    return [_objective(each) for each in given]


def _objective(target: Any) -> Objective:
    found = as_objective(target)
    if isinstance(found, Sum):
        return Sum({_chances(part): weight for part, weight in found.terms.items()})
    if isinstance(found, TargetObjective) and not callable(target) and not isinstance(target, Target):
        return ClassImage(found.target)
    return _chances(found)


def _chances(objective: Objective) -> Objective:
    """Return log odds in place of a probability, whose gradient is lost where it is nearly 0 or 1."""
    if isinstance(objective, TargetObjective) and objective.target.of == "probability":
        return LogOdds(objective.target)
    return objective


def _checked_parameterization(name: Any) -> ParameterizationName:
    if name not in _PARAMETERIZATIONS:
        raise ValueError(
            f"parameterization is one of {', '.join(map(repr, _PARAMETERIZATIONS))}; got {name!r}"
        )
    return cast(ParameterizationName, name)


def _size(net: Network, size: Any) -> tuple[int, int]:
    if size is None:
        return net.input.size_or(224)
    both = size if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2:
        raise ValueError(f"size is one number, or height and width; got {size!r}")
    height, width = (checked_whole("size", each) for each in both)
    return height, width


def _default_transforms(options: _Options) -> tuple[Transform, ...]:
    """Return what Lucid does to pictures of 224 pixels, in proportion; nothing where no steps may differ."""
    if options.optimizer == "lbfgs":
        return ()
    size = options.size
    unit = min(size) / 224
    pad, wide, small = (round(pixels * unit) for pixels in (12, 8, 4))
    moved: tuple[Transform, ...] = (Pad(pad), Jitter(wide), Scale(0.9, 1.1), Rotate(5), Jitter(small))
    return moved if min(size) >= 64 else (*moved, Blur(0.5))


def _penalties(
    wanted: Sequence[Objective], options: _Options, left_out: Sequence[str]
) -> dict[str, Objective]:
    """Return what is subtracted; what was left out, and has a weight all the same, for class images alone."""
    chosen = [_is_class_image(each) for each in wanted for _ in range(options.copies)]

    def whose(name: str, objective: Objective) -> Objective:
        return ForSome(objective, chosen) if name in left_out else objective

    found: dict[str, Objective] = {}
    if options.diversity:
        layers = {layer for each in wanted for layer in each.layers}
        if options.copies < 2 or len(layers) != 1:
            raise ValueError(
                "diversity needs copies=2 or more, and targets of one layer, by whose maps the copies are compared; "
                f"got diversity={options.diversity!r}, copies={options.copies}, {len(layers)} layers"
            )
        groups = [index for index in range(len(wanted)) for _ in range(options.copies)]
        found["alikeness"] = -Alikeness(layers.pop(), groups, options.diversity)
    if options.total_variation:
        found["total variation"] = whose("total_variation", -TotalVariation(options.total_variation))
    if options.weight_decay:
        found["weight decay"] = -AlphaNorm(options.weight_decay, alpha=2)
    if options.smoothness:
        found["roughness"] = whose("smoothness", -Roughness(options.smoothness))
    return found


def _begin(
    net: Network, options: _Options, pictures: int, start: Images | None, random: torch.Generator
) -> Parameterization:
    spec = net.input
    like = torch.zeros(pictures, cast(int, spec.channels), *options.size, dtype=net.dtype, device=net.device)
    begin: Tensor | None = None
    if start is not None:
        begin = replace(spec, size=options.size, resize=options.size).prepare(start).to(like)
        if len(begin) not in (1, pictures):
            raise InputError(f"{len(begin)} pictures to start from for {pictures}; give one, or one for each")
        begin = begin.expand_as(like)
    if options.parameterization == "phase":
        return FourierPhase(spec, like, random=random, start=begin)
    if options.parameterization == "fourier":
        return Fourier(spec, like, random=random, start=begin)
    if begin is None:
        mean, deviation = spec.scaling()
        # A faint noise about the network's mean; where it scales nothing that is black, and half would be cut off.
        middle = (mean.clamp(0.25, 0.75) - mean) / deviation
        begin = (middle + 0.1 * torch.randn(like.shape, generator=random)).to(like)
    return Pixels(spec, begin)


def _shown(net: Network, x: Tensor) -> NDArray[np.uint8]:
    images = pictures_of(net, x)
    return mosaic(images) if len(images) > 1 and images.size else images[0]


def _check_begun(grown: Ascent, wanted: Sequence[Objective]) -> None:
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


def _tell_silent(wanted: Sequence[Objective], values: NDArray[np.float32]) -> None:
    """Say which channels and units were not brought above 0."""
    low = {
        one.text: float(value)
        for one, value in zip(wanted, values, strict=True)
        if isinstance(one, TargetObjective) and one.target.layer is not None and value < 0
    }
    if low:
        remark(
            f"below 0 after all steps: {', '.join(f'{text} {value:.3g}' for text, value in low.items())}; a rectifier "
            "after that is silent wherever its input is below 0. Take more steps, another seed, or a photo as start="
        )


def _as_shown(
    net: Network, x: Tensor, wanted: Sequence[Objective]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the pictures, and the value of each target for its picture as it is shown."""
    images = pictures_of(net, x)
    if images.size:
        x = replace(net.input, size=None, resize=None).prepare(list(images)).to(x)
    return images, judged(net, OneEach(wanted), x)
