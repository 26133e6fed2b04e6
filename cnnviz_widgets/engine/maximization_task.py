"""What maximization makes large, and how: its targets, options and penalties, and the pictures to begin with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from cnnviz_widgets.engine.capture import apart
from cnnviz_widgets.engine.class_odds import ClassImage, LogOdds
from cnnviz_widgets.engine.coarse_to_fine import checked_weight
from cnnviz_widgets.engine.diversity import Alikeness
from cnnviz_widgets.engine.errors import InputError, TargetError, about
from cnnviz_widgets.engine.objectives import ForSome, Objective, Sum, TargetObjective, as_objective
from cnnviz_widgets.engine.optimizers import OptimizerName
from cnnviz_widgets.engine.parameterizations import Fourier, FourierPhase, Parameterization, Pixels
from cnnviz_widgets.engine.regularizers import AlphaNorm, Roughness, TotalVariation
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.engine.transforms import Blur, Jitter, Pad, Rotate, Scale, Transform
from cnnviz_widgets.engine.whole_numbers import checked_whole

if TYPE_CHECKING:
    from cnnviz_widgets.engine.inputs import Images
    from cnnviz_widgets.engine.network import Network

ParameterizationName = Literal["fourier", "phase", "pixels"]

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
# The natural-image prior of class images, for scores with a deviation of 1 over the classes: what stands for a class
# sees the whole picture, and all of its noise.
_CLASS_PRIOR = {"total_variation": 0.04, "smoothness": 0.012}


@dataclass(frozen=True)
class MaximizationOptions:
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
) -> MaximizationOptions:
    """Return how pictures are optimized, or say which option is wrong."""
    if optimizer not in _RATES:
        raise ValueError(f"optimizer is one of {', '.join(map(repr, _RATES))}; got {optimizer!r}")
    parameterization = _checked_parameterization(parameterization)
    usual = _RATES[optimizer][_PARAMETERIZATIONS.index(parameterization)]
    return MaximizationOptions(
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


def with_prior(
    options: MaximizationOptions,
    net: Network,
    image: Parameterization,
    wanted: Sequence[Objective],
    left_out: Sequence[str],
) -> MaximizationOptions:
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


def wanted_objectives(target: Any) -> list[Objective]:
    """Return what is to become large: one objective for a target, or one for each of a list."""
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


def default_transforms(options: MaximizationOptions) -> tuple[Transform, ...]:
    """Return what Lucid does to pictures of 224 pixels, in proportion; nothing where no steps may differ."""
    if options.optimizer == "lbfgs":
        return ()
    size = options.size
    unit = min(size) / 224
    pad, wide, small = (round(pixels * unit) for pixels in (12, 8, 4))
    moved: tuple[Transform, ...] = (Pad(pad), Jitter(wide), Scale(0.9, 1.1), Rotate(5), Jitter(small))
    return moved if min(size) >= 64 else (*moved, Blur(0.5))


def penalties_of(
    wanted: Sequence[Objective], options: MaximizationOptions, left_out: Sequence[str]
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


def beginning(
    net: Network, options: MaximizationOptions, pictures: int, start: Images | None, random: torch.Generator
) -> Parameterization:
    """Return the numbers that stand for the pictures to begin with: noise, or what was given."""
    spec = net.input
    like = torch.zeros(pictures, cast(int, spec.channels), *options.size, dtype=net.dtype, device=net.device)
    begin: Tensor | None = None
    if start is not None:
        with about("start"):
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
