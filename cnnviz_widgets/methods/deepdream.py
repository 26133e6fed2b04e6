"""DeepDream: a picture in which a network sees more and more of what it sees in it anyway."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import Ascent, ascend
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.coarse_to_fine import checked_weight, prepared, resampled
from cnnviz_widgets.engine.dreaming import Excitation, Likeness
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, ZeroGradientError
from cnnviz_widgets.engine.feature_code import size_said
from cnnviz_widgets.engine.gram import maps_of
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.objectives import Objective, Sum, as_objective, layers_of
from cnnviz_widgets.engine.optimizers import Optimizer
from cnnviz_widgets.engine.parameterizations import Pixels
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, remark, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.engine.transforms import Jitter
from cnnviz_widgets.engine.watch_list import list_keys
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES


@dataclass(frozen=True, eq=False)
class DeepDream(Result):
    """A dreamt picture; shows itself as that picture.

    Attributes
    ----------
    image
        The picture, uint8 [H, W, 3]; [0, 0, 3] where the network's channels make no picture.
    x
        The same in the network's numbers, float32 [C, H, W].
    original
        What it began with, uint8 [H, W, 3].
    frames
        Of a zoom, each frame, uint8 [F, H, W, 3]; otherwise the one picture.
    values
        What was made large, before each step [steps].
    layers
        What was asked for, as text.
    sizes
        The octaves' sizes (rows, columns), from the smallest.
    steps
        How many steps were taken, in all octaves and frames together.
    planned_steps
        The option ``steps``: how many for each octave.
    planned_frames
        The option ``frames``.
    ended
        Why it ended before the last step, in words; empty if it did not.
    guide
        The guide as the network saw it, uint8 [h, w, 3]; ``None`` if there was none.
    octave_scale, rate, jitter, zoom, seed
        The options.
    """

    image: NDArray[np.uint8]
    x: NDArray[np.float32]
    original: NDArray[np.uint8]
    frames: NDArray[np.uint8]
    values: NDArray[np.float32]
    layers: str
    sizes: tuple[tuple[int, int], ...]
    steps: int
    planned_steps: int
    planned_frames: int
    ended: str
    guide: NDArray[np.uint8] | None
    octave_scale: float
    rate: float
    jitter: int
    zoom: float
    seed: int

    def _repr_png_(self) -> bytes | None:
        """Return the picture, as a notebook shows it for the bare result."""
        return png(self.image, max_bytes=PNG_BYTES) if self.image.size else None

    def __repr__(self) -> str:
        height, width = self.x.shape[1:]
        ended = f"; {self.ended}" if self.ended else ""
        return f"DeepDream({self.layers}; {height} x {width}, {len(self.sizes)} octaves, {self.steps} steps{ended})"


@streamed
def deepdream(
    net: Network,
    image: Images,
    layers: LayerKey | Target | Objective | Sequence[LayerKey | Target] | Mapping[Any, float],
    *,
    steps: int = 10,
    octaves: int = 4,
    octave_scale: float = 1.4,
    rate: float = 0.025,
    jitter: int = 32,
    guide: Images | None = None,
    size: int | tuple[int, int] | None = None,
    frames: int = 1,
    zoom: float = 1.05,
    seed: int = 0,
) -> Generator[Step, None, DeepDream]:
    """See a picture in which the network sees more of what it sees in it anyway: eyes, fur, towers.

    Mordvintsev, Olah and Tyka, Inceptionism, 2015. The picture climbs along the gradient of ``mean a^2 / 2``, whose
    gradient at the layer is the activations a themselves: what is there is made more. It begins with a small version of
    the picture (an *octave*); what the steps have added, the detail, is enlarged and laid on the next larger version,
    so that structures of all sizes grow, and those of the photo stay. Each step goes by ``rate`` times the gradient
    over its mean magnitude, at a picture that is rolled by up to ``jitter`` pixels.

    Parameters
    ----------
    net
        The network.
    image
        What to begin with, in any form that `InputSpec.prepare` takes.
    layers
        One layer or several, a `Target` such as ``Target(layer="features.9", channel=3)``, or weights by these:
        ``{"features.6": 1.0, cv.Target(layer="features.9", channel=3): 0.5}``. A weight below 0 makes something less.
    steps
        For each octave.
    octaves, octave_scale
        How many sizes, and how much larger each is than the one before. Give 1 octave for a network that takes one size
        only.
    rate
        How far a pixel moves in a step, on average, in the network's numbers: 0.025 is about 1.5 of 255.
    jitter
        In pixels of the picture; where it is smaller than that, up to half its shorter side.
    guide
        A picture whose features to look for: at each place the one of the guide's that it is most like grows.
    size
        Of the picture, (rows, columns) or one number for both; left out, as the network takes it.
    frames, zoom
        More than one frame: each begins with the one before, enlarged by ``zoom`` and cut out of the middle.
    seed
        Of the jitter.

    Yields
    ------
    Step
        The picture so far, at its full size, and in ``values`` what is made large.

    Returns
    -------
    DeepDream
        ``image`` uint8 [H, W, 3], ``frames``, ``values``, and the rest.

    Raises
    ------
    LayerNotFoundError
        No layers, or one that is not there.
    InputError
        A size that the network does not take.
    ZeroGradientError
        Nothing to follow: the layers do not answer to this picture.
    ValueError
        A value that an option can't have.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> dreamt = cv.deepdream(net, cv.samples.photo("grass"), "features.5", size=64, octaves=2, steps=2)
    >>> dreamt.image.shape, dreamt.sizes, dreamt.steps
    ((64, 64, 3), ((46, 46), (64, 64)), 4)
    """
    check_network(net, "deepdream")
    plan = DreamPlan(steps, octaves, octave_scale, rate, jitter, frames, zoom, seed)
    random = torch.Generator().manual_seed(plan.seed)
    wanted = None if size is None else checked_pair("size", size)
    x = prepared(net, image, wanted, "deepdream")
    private = private_network(net)
    objective = _objective(private, layers, guide)
    sizes = plan.sizes((x.shape[2], x.shape[3]))
    for each in sizes:
        _check_octave(private, objective, x.new_zeros((1, x.shape[1], *each)))
    run = _Run(net, private, objective, plan, sizes, random)
    original, made = pictures_of(net, x)[0], []
    guided = None if guide is None else pictures_of(net, prepared(net, guide, None, "guide"))[0]
    for frame in range(plan.frames):
        begin = _zoomed(x, plan.zoom) if frame else x
        x = yield from run.dream(begin, frame)
        made.append(pictures_of(net, x)[0])
        if run.stopped or run.ended:
            break
    if run.ended:
        remark(f"deepdream ended early: {run.ended}")
    return DeepDream(
        image=made[-1],
        x=x[0].float().cpu().numpy(),
        original=original,
        frames=np.stack(made),
        values=np.concatenate([np.zeros(0, np.float32), *run.values]),
        layers=objective.text,
        sizes=tuple(sizes),
        steps=run.done,
        planned_steps=plan.steps,
        planned_frames=plan.frames,
        ended=run.ended,
        guide=guided,
        octave_scale=plan.octave_scale,
        rate=plan.rate,
        jitter=plan.jitter,
        zoom=plan.zoom,
        seed=plan.seed,
    )


@dataclass(frozen=True)
class DreamPlan:
    """What was asked for, checked."""

    steps: int
    octaves: int
    octave_scale: float
    rate: float
    jitter: int
    frames: int
    zoom: float
    seed: int

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("octaves", 1), ("jitter", 0), ("frames", 1), ("seed", 0)):
            object.__setattr__(self, name, checked_whole(name, getattr(self, name), least=least))
        for name in ("octave_scale", "rate", "zoom"):
            object.__setattr__(self, name, checked_weight(name, getattr(self, name), above=True))
        if self.octaves > 1 and self.octave_scale <= 1:
            raise ValueError(f"octave_scale is above 1, got {self.octave_scale!r}")
        if self.frames > 1 and self.zoom < 1:
            raise ValueError(
                f"zoom enlarges each frame for the next one, so it is at least 1; got {self.zoom!r}"
            )

    def sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the octaves' sizes, from the smallest."""
        shares = [self.octave_scale**-index for index in reversed(range(self.octaves))]
        return [(max(1, round(size[0] * share)), max(1, round(size[1] * share))) for share in shares]


class _Run:
    """Octave after octave, frame after frame."""

    def __init__(
        self,
        net: Network,
        private: Network,
        objective: Objective,
        plan: DreamPlan,
        sizes: Sequence[tuple[int, int]],
        random: torch.Generator,
    ) -> None:
        # Steps keep the first of them, for their pictures: a copy of the module would live as long as they do.
        self._net, self._private, self._objective = net, private, objective
        self._plan, self._sizes, self._random = plan, sizes, random
        self.values: list[NDArray[np.float32]] = []
        self.done, self.ended, self.stopped = 0, "", False

    def dream(self, x: Tensor, frame: int) -> Generator[Step, None, Tensor]:
        """Return the picture, dreamt."""
        made = x
        for octave, size in enumerate(self._sizes):
            base = resampled(x, size)
            begin = base if octave == 0 else base + resampled(made - resampled(x, _size(made)), size)
            found = yield from self._climb(begin, x, frame * len(self._sizes) + octave)
            made = found.x
            if self.stopped or self.ended:
                break
        # What was added, on the picture at its own size.
        return made if _size(made) == _size(x) else _bounded(self._net, _on(x, made))

    def _climb(self, begin: Tensor, x: Tensor, part: int) -> Generator[Step, None, Ascent]:
        net, plan = self._net, self._plan
        found = yield from ascend(
            self._private,
            Pixels(net.input, begin),
            {"value": self._objective},
            steps=plan.steps,
            optimizer=Optimizer("normalized", plan.rate),
            random=self._random,
            transforms=[Jitter(min(plan.jitter, min(_size(begin)) // 2), roll=True)],
            picturing=lambda made: pictures_of(net, _bounded(net, _on(x, made)))[0],
            first=part * plan.steps,
            total=plan.frames * len(self._sizes) * plan.steps,
        )
        self.stopped = found.stopped
        self.values.append(found.values["value"][:, 0])
        self.done, self.ended = self.done + found.steps, found.ended
        if self.ended and not self.done and found.dead.all():
            raise ZeroGradientError(
                f"{self.ended}: {self._objective.text} does not answer to this picture; take another layer or picture"
            )
        return found


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]


def _on(x: Tensor, made: Tensor) -> Tensor:
    """Return a picture with what a smaller version of it has gained."""
    return x + resampled(made - resampled(x, _size(made)), _size(x))


def _bounded(net: Network, x: Tensor) -> Tensor:
    image = Pixels(net.input, x)
    image.constrain()
    return image.picture(image.leaf)


def _zoomed(x: Tensor, zoom: float) -> Tensor:
    """Return the middle of a picture, enlarged to its size."""
    height, width = _size(x)
    large = resampled(x, (max(height, round(height * zoom)), max(width, round(width * zoom))))
    top, left = (large.shape[2] - height) // 2, (large.shape[3] - width) // 2
    return large[:, :, top : top + height, left : left + width].contiguous()


def layer_weights(layers: Any) -> dict[Any, float]:
    """Return what is to be made large, with its weight: all forms of ``layers=`` as one.

    >>> layer_weights(["features.6", ("relu", 1)])
    {'features.6': 1.0, ('relu', 1): 1.0}

    Raises
    ------
    LayerNotFoundError
        An empty list.
    TypeError
        Pairs of a layer and a weight.
    ValueError
        A weight that is no number other than 0.
    """
    if isinstance(layers, Target | Objective):
        layers = {layers: 1.0}
    if isinstance(layers, Mapping):
        weights = dict(layers)
    else:
        given = (
            list(layers) if isinstance(layers, list | tuple) and not _is_call(layers) else list_keys(layers)
        )
        pairs = [each for each in (layers, *given) if isinstance(each, tuple) and _is_weighted(*each)]
        if pairs:
            raise TypeError(
                f"layers with their weights are a dict, such as {dict(pairs[:1])}; got {layers!r}"
            )
        weights = dict.fromkeys(given, 1.0)
    if not weights:
        raise LayerNotFoundError(
            "deepdream needs a layer, got an empty list; net.layers lists all, such as one in the middle"
        )
    for key, weight in weights.items():
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not np.isfinite(weight)
            or not weight
        ):
            raise ValueError(f"the weight of {key!r} is a finite number other than 0, got {weight!r}")
    return weights


def _check_octave(net: Network, objective: Sum, x: Tensor) -> None:
    """Say at once which octave is not of a size that the network and what is asked for take."""
    loud = {
        each: weight for each, weight in objective.terms.items() if isinstance(each, Excitation | Likeness)
    }
    if loud:
        maps_of(net, x, layers_of(loud), "an octave")
    others = {each: weight for each, weight in objective.terms.items() if each not in loud}
    if others:
        with size_said(_size(x), "an octave"):
            judged(net, Sum(others), x)


def _objective(net: Network, layers: Any, guide: Images | None) -> Sum:
    """Return what is to be made large."""
    weights = layer_weights(layers)
    seen = None if guide is None else _guide_maps(net, weights, guide)
    return Sum({_term(net, key, seen): float(weight) for key, weight in weights.items()})


def _is_weighted(*pair: Any) -> bool:
    return len(pair) == 2 and isinstance(pair[1], float)


def _is_call(key: Any) -> bool:
    return isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], int)


def _guide_maps(net: Network, weights: Mapping[Any, float], guide: Images) -> Mapping[LayerKey, Tensor]:
    if any(isinstance(key, Target | Objective) for key in weights):
        raise InputError("a guide is for layers, not for targets: they say themselves what to look for")
    return maps_of(net, prepared(net, guide, None, "guide"), list(weights), "the guide")


def _term(net: Network, key: Any, guide: Mapping[LayerKey, Tensor] | None) -> Objective:
    if isinstance(key, Target | Objective):
        return as_objective(key)
    net.layer(key)
    return Excitation(key) if guide is None else Likeness(key, guide[key])
