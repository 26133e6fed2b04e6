"""What inverting a layer minimizes, and how: its terms, the pictures to begin with, the optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.coarse_to_fine import checked_weight
from cnnviz_widgets.engine.feature_code import feature_code, layer_values, relative_depth
from cnnviz_widgets.engine.gram import ContentDistance
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.objectives import Objective, Seen
from cnnviz_widgets.engine.optimizers import Optimizer, OptimizerName
from cnnviz_widgets.engine.parameterizations import Fourier, Parameterization, Pixels
from cnnviz_widgets.engine.regularizers import AlphaNorm, TotalVariation
from cnnviz_widgets.engine.whole_numbers import checked_whole

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

InversionOptimizer = Literal["momentum", "adam", "lbfgs"]
InversionParameterization = Literal["pixels", "fourier"]

# That of momentum is the one of Mahendran and Vedaldi (2016), for alpha = 6.
_RATES = {"momentum": 0.05 / 6, "adam": 0.05, "lbfgs": 1.0}
# So many units is their B: their unit is a gray level.
_UNITS = 80
# Their schedule: 300 steps, and 50 at a tenth of the rate.
_FIRST_STEPS, _LAST_RATE = 300 / 350, 0.1
# The deviation of photos about their mean color, where white is 1.
_DEVIATION = 60 / 255
_MOST_COPIES = 64


@dataclass(frozen=True)
class InversionOptions:
    """What was asked for, checked."""

    steps: int
    copies: int
    seed: int
    alpha_norm: float
    alpha: float
    total_variation: float | None
    beta: float
    parameterization: str
    optimizer: InversionOptimizer | None
    rate: float | None

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("copies", 1), ("seed", 0)):
            object.__setattr__(self, name, checked_whole(name, getattr(self, name), least=least))
        if self.copies > _MOST_COPIES:
            raise ValueError(f"copies={self.copies} are too many at once (at most {_MOST_COPIES})")
        for name in ("alpha_norm", "total_variation", "alpha", "beta", "rate"):
            if getattr(self, name) is not None or name not in ("total_variation", "rate"):
                above = name in ("alpha", "beta", "rate")
                object.__setattr__(self, name, checked_weight(name, getattr(self, name), above=above))
        if self.parameterization not in ("pixels", "fourier"):
            raise ValueError(f"parameterization is 'pixels' or 'fourier', got {self.parameterization!r}")
        if self.optimizer not in (None, *_RATES):
            raise ValueError(f"optimizer is one of {', '.join(map(repr, _RATES))}; got {self.optimizer!r}")
        if self.optimizer == "momentum" and self.parameterization == "fourier":
            raise ValueError(
                "optimizer='momentum' takes its steps in units of pixels; for a spectrum take 'adam' or 'lbfgs'"
            )

    @property
    def moves_by(self) -> str:
        """The optimizer's name."""
        return self.optimizer or ("momentum" if self.parameterization == "pixels" else "adam")

    @property
    def pace(self) -> float:
        """The rate."""
        return _RATES[self.moves_by] if self.rate is None else self.rate


class InversionTask:
    """One layer to invert: its features, and what is minimized."""

    def __init__(
        self, net: Network, x: Tensor, layer: LayerKey, options: InversionOptions, begin: Tensor | None
    ) -> None:
        self.net, self.x, self.layer, self.options = net, x, layer, options
        self.begin = begin
        self.distance = ContentDistance({layer: feature_code(net, x, layer)}, 1.0)
        given = options.total_variation
        self.variation = 0.01 * 50.0 ** relative_depth(net, layer) if given is None else given

    def terms(self) -> dict[str, Objective]:
        """Return what to maximize: each term with a minus."""
        options = self.options
        height, width = self.x.shape[2:]
        reach = self._reach
        terms: dict[str, Objective] = {"feature error": -self.distance}
        if options.alpha_norm:
            weight = options.alpha_norm / (height * width * reach**options.alpha)
            terms["alpha norm"] = -AlphaNorm(weight, options.alpha)
        if self.variation:
            weight = self.variation / (height * width * (reach / 6.5) ** options.beta)
            terms["total variation"] = -TotalVariation(weight, options.beta)
        return terms

    @property
    def _reach(self) -> float:
        """How far pixels go from the mean, where white is 1 above black: the paper's B."""
        mean = self.net.input.scaling()[0]
        return 80 / 127.5 * float(torch.maximum(mean, 1 - mean).mean())

    def errors(self, x: Tensor) -> NDArray[np.float32]:
        """Return the feature error of prepared pictures [N]."""
        seen = Seen(self.net, x, {self.layer: layer_values(self.net, x, self.layer)})
        found: NDArray[np.float32] = self.distance.values(seen).float().cpu().numpy()
        return found

    def image(self, random: torch.Generator) -> Parameterization:
        """Return what stands for the pictures, as they are to begin with."""
        spec = self.net.input
        begin = self.begin
        if begin is None:
            mean, deviation = spec.scaling()
            # Faint noise about the mean. Where a network scales nothing that is black, and rectifiers may be dead.
            middle = (mean.clamp(0.25, 0.75) - mean) / deviation
            noise = torch.randn((self.options.copies, *self.x.shape[1:]), generator=random)
            begin = (middle + 0.1 * _DEVIATION / deviation * noise).to(self.x)
        if self.options.parameterization == "fourier":
            return Fourier(spec, begin, start=begin)
        return Pixels(spec, begin)

    def mover(self) -> Optimizer:
        """Return how the pictures move."""
        name, pace, steps = self.options.moves_by, self.options.pace, self.options.steps
        if name != "momentum":
            return Optimizer(cast(OptimizerName, name), pace)
        height, width = self.x.shape[2:]
        fast = max(1, round(_FIRST_STEPS * steps))

        def scheduled(index: int) -> float:
            return pace * height * width * _UNITS**2 * (1.0 if index < fast else _LAST_RATE)

        unit = self._reach / _UNITS / self.net.input.scaling()[1]
        return Optimizer("adaptive", scheduled, momentum=0.9, unit=unit)
