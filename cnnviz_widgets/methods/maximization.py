"""Activation maximization: the picture that a class, a channel, a unit or a direction responds to most."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import ascend
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.feature_code import size_said
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.maximization_remarks import check_begun, tell_mistaken, tell_silent
from cnnviz_widgets.engine.maximization_task import (
    ParameterizationName,
    beginning,
    checked_options,
    default_transforms,
    penalties_of,
    wanted_objectives,
    with_prior,
)
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.objectives import Objective, OneEach
from cnnviz_widgets.engine.optimizers import Optimizer, OptimizerName
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import TargetLike
from cnnviz_widgets.engine.transforms import Transform, checked_transforms
from cnnviz_widgets.render.captioned import captioned
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, mosaic

Wanted: TypeAlias = "Objective | TargetLike"

_RELAXED_STEPS = 16
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
        With copies: how much their being alike costs, in units of the target: where it outweighs the target's own
        value, copies give that up. The layer of the target compares them.
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
        It ended early, a picture had a gradient of zero throughout, a channel or unit stayed below 0, or the network
        takes the picture of a label or index for another class.

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
    wanted = wanted_objectives(target)
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
    chosen = default_transforms(options) if transforms is None else checked_transforms(transforms)
    random = torch.Generator().manual_seed(options.seed)
    private = private_network(net)
    image = beginning(net, options, pictures, start, random)
    with nullcontext() if options.size == net.input.size else size_said(options.size):
        each = [one.bound(private, options.size) for one in wanted for _ in range(options.copies)]
        if options.size != net.input.size:
            judged(private, OneEach(each), image.picture(image.leaf).detach())
    left_out = tuple(
        name
        for name, weight in (("total_variation", total_variation), ("smoothness", smoothness))
        if weight is None
    )
    options = with_prior(options, private, image, wanted, left_out)
    penalties = penalties_of(wanted, options, left_out)
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
    check_begun(grown, each)
    images, x = _as_shown(private, grown.x)
    values = judged(private, OneEach(each), x)
    if not grown.ended and not grown.stopped:
        tell_silent(each, values, options.diversity)
        tell_mistaken(private, x, each, options)
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


def _shown(net: Network, x: Tensor) -> NDArray[np.uint8]:
    images = pictures_of(net, x)
    return mosaic(images) if len(images) > 1 and images.size else images[0]


def _as_shown(net: Network, x: Tensor) -> tuple[NDArray[np.uint8], Tensor]:
    """Return the pictures, and what the network takes of them as they are shown."""
    images = pictures_of(net, x)
    if images.size:
        x = replace(net.input, size=None, resize=None).prepare(list(images)).to(x)
    return images, x
