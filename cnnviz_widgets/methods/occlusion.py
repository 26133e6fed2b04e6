"""Occlusion: which part of the image the answer hangs on, found by covering one part after the other."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.fills import Fill, checked_fill, filled
from cnnviz_widgets.engine.incremental import MEMORY_LIMIT, WindowPasses
from cnnviz_widgets.engine.incremental_approximate import ApproximatePasses, SampleError
from cnnviz_widgets.engine.incremental_windows import Numbers
from cnnviz_widgets.engine.input_gradients import one_image, pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.receptive_field import Box
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, StopEarly, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.engine.window_grid import COMBINATIONS, checked_pair, coarse_to_fine, combined, placed
from cnnviz_widgets.engine.window_questions import Asked
from cnnviz_widgets.render.attribution import attribution_png

# Places that come first, at most. Few of them at a time cost some 3 % more of the whole map.
_FEW, _MANY = 16, 100


@dataclass(frozen=True, eq=False)
class OcclusionMap(Result):
    """What covering each part of an image does to the target; shows itself as a heat map over the image.

    Attributes
    ----------
    scores
        The target's value with the window at each place [R, C], float32; NaN where a budget left no time.
    baseline
        Its value for the image as it is.
    heatmap
        How much it drops where a pixel is covered [H, W], float32: positive where the pixels speak for the target.
    classes
        The index of the most probable class with the window at each place [R, C], int64, -1 where a budget left no
        time; ``None`` unless asked for.
    baseline_class
        The most probable class for the image as it is.
    activations
        The sum over the feature map that was asked for, with the window at each place [R, C], float32; or ``None``.
    baseline_activation
        The same for the image as it is.
    tops, lefts
        The first row [R] and column [C] that the window covers, int64, in pixels of the network's input.
    window, stride
        Rows and columns.
    fill, combine
        As they were given.
    target
        The target, as text.
    way
        ``"incremental"``, or why whole images were run.
    picture
        The image as the network saw it, uint8 [H, W, 3]; [0, 0, 3] where its channels make no picture.
    sample, sample_scores
        With ``exact=False``: the places (row, column of the grid) that were computed exactly as well [S, 2], int64,
        and their exact scores [S], float32. ``None`` where all scores are exact.
    """

    scores: NDArray[np.float32]
    baseline: float
    heatmap: NDArray[np.float32]
    classes: NDArray[np.int64] | None
    baseline_class: int | None
    activations: NDArray[np.float32] | None
    baseline_activation: float | None
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    window: tuple[int, int]
    stride: tuple[int, int]
    fill: Fill
    combine: str
    target: str
    way: str
    picture: NDArray[np.uint8]
    sample: NDArray[np.int64] | None = None
    sample_scores: NDArray[np.float32] | None = None

    @property
    def error(self) -> SampleError | None:
        """How far approximate scores are from the exact ones of the sample; ``None`` where all scores are exact."""
        if self.sample is None or self.sample_scores is None:
            return None
        return SampleError.between(self.scores[tuple(self.sample.T)], self.sample_scores)

    @property
    def drops(self) -> NDArray[np.float32]:
        """How much the target drops with the window at each place [R, C]: baseline - scores."""
        return np.float32(self.baseline) - self.scores

    @property
    def measured(self) -> float:
        """The share of places that were measured, from 0 to 1."""
        return float(np.isfinite(self.scores).mean())

    @property
    def strongest(self) -> Box:
        """Where the window lies that lets the target drop most."""
        return self.box(*np.unravel_index(np.nanargmin(self.scores), self.scores.shape))

    @property
    def weakest(self) -> Box:
        """Where the window lies that lets the target drop least, or rise most."""
        return self.box(*np.unravel_index(np.nanargmax(self.scores), self.scores.shape))

    def box(self, row: int | np.intp, column: int | np.intp) -> Box:
        """Return what the window covers at a place of the grid."""
        top, left = int(self.tops[row]), int(self.lefts[column])
        return Box(top, left, top + self.window[0], left + self.window[1])

    def _repr_png_(self) -> bytes:
        """Return the image, the map and both together, as a notebook shows them for the bare result."""
        return attribution_png(self.picture, self.heatmap)

    def __repr__(self) -> str:
        rows, columns = self.scores.shape
        part = "" if self.measured == 1 else f", {self.measured:.0%} of them measured"
        return (
            f"OcclusionMap({self.target}, value {self.baseline:.4g}, down to {np.nanmin(self.scores):.4g}, "
            f"{rows}x{columns} places{part})"
        )


@streamed
def occlusion(
    net: Network,
    image: Images,
    target: TargetLike,
    *,
    window: int | tuple[int, int] = 32,
    stride: int | tuple[int, int] = 8,
    fill: Fill = 0.0,
    combine: str = "mean",
    most_probable: bool = False,
    feature_map: Target | None = None,
    budget: float | None = None,
    seed: int = 0,
    memory_limit: int = MEMORY_LIMIT,
    exact: bool = True,
) -> Generator[Step, None, OcclusionMap]:
    """See which part of an image the answer hangs on: a window covers one part after the other.

    Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2. The windows begin
    every ``stride`` pixels from the top left; where that does not end at the border, one more row (column) of them
    does. All lie wholly inside the image.

    Only what a window changes is computed (see `WindowPasses`): many times as fast as whole images, with the same
    numbers but for rounding. Places come coarse to fine: the first eighth of them lies all over the image, and with a
    budget, or batches smaller than usual, the first 16 do.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    target
        A class (label or index), or a `Target`: a class's probability, a unit, a function of the output.
    window, stride
        Pixels of the network's input: a number, or (rows, columns).
    fill
        What the window shows: a number in the network's input space (0.0 is the data set's mean color where
        ``net.input.mean`` tells that), one for each channel, ``"black"``, ``"gray"``, ``"blur"`` or ``"noise"``.
    combine
        How overlapping windows become one map: ``"mean"`` over the windows that cover a pixel, their ``"sum"``, or
        ``"none"``: the drop of the window whose center is nearest.
    most_probable
        Whether to tell the most probable class at each place as well.
    feature_map
        A channel, ``Target(layer=..., channel=...)``, whose total activation is to be told at each place as well.
    budget
        Seconds after which to end with the map so far, at the latest batch that fits; ``None`` for all places.
    seed
        Of the noise.
    memory_limit
        Bytes that a batch of windows may take, besides what the network takes for one image.
    exact
        ``False`` for an approximate map of the scores, somewhat quicker where windows grow over large parts of deep
        maps: changes are followed within a part of each map only, and the rest is made up for to first order (see
        `Rims`). How large a part is tried out on a sample of about one place in 25, so that scores there have a rank
        correlation of 0.99 or more with the exact ones; so is whether bfloat16 will do, where the processor has it.
        ``result.error`` tells the errors on the sample. Where that takes whole
        maps, there are fewer than 200 places or whole images are run, all scores are exact, and ``result.way`` says
        so. For 729 places of SqueezeNet and ResNet-18 the rank correlation of whole maps was 0.993 to 0.999, and the
        processor time 0.8 to 0.95 of the exact map's, of which the sample takes a seventh.

    Yields
    ------
    Step
        After each batch, counted in places: ``values["scores"]`` and ``values["heatmap"]`` so far.

    Returns
    -------
    OcclusionMap
        ``scores`` [R, C], ``heatmap`` [H, W], and the rest.

    Raises
    ------
    ValueError
        A window larger than the image, a stride below 1 or above the window, an unknown fill.
    TargetError, LabelNotFoundError
        A target that is not there.
    OutputError
        The value is NaN or infinite.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.fashion_cnn()
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> found = cv.occlusion(net, images[0], int(labels[0]), window=8, stride=4)
    >>> found.scores.shape, found.heatmap.shape
    ((6, 6), (28, 28))
    """
    began = time.monotonic()
    check_network(net, "occlusion")
    target = as_target(target)
    x = one_image(net, image, "occlusion")
    size = (x.shape[2], x.shape[3])
    window, stride = _checked(size, window, stride, combine, budget)
    _check_exact(exact, most_probable, feature_map)
    fill = checked_fill("fill", fill)
    seed = checked_whole("seed", seed, least=0)
    memory_limit = checked_whole("memory_limit", memory_limit)
    asked = Asked(net, x, target, most_probable, feature_map)
    tops, lefts = (placed(size[axis], window[axis], stride[axis]) for axis in (0, 1))
    instead = filled(net, x, fill, seed=seed)
    if exact:
        passes = WindowPasses(net, x, instead, asked.questions, memory_limit=memory_limit)
    else:
        passes = ApproximatePasses(
            net, x, instead, asked.questions, score=asked.scores, memory_limit=memory_limit
        )
    found = OcclusionMap(
        scores=np.full((len(tops), len(lefts)), np.nan, np.float32),
        heatmap=np.zeros(size, np.float32),
        tops=tops,
        lefts=lefts,
        window=window,
        stride=stride,
        fill=fill,
        combine=combine,
        target=target.text,
        picture=pictures_of(net, x)[0],
        **_way(passes, asked, (tops, lefts), window, math.inf if budget is None else began + budget),
        **asked.fields(passes, len(tops), len(lefts)),
    )
    with contextlib.suppress(StopEarly):
        yield from _measured(passes, asked, found, began, budget, memory_limit)
    return replace(found, heatmap=_heat(found, size), way=found.way + _whole(passes))


def _whole(passes: WindowPasses) -> str:
    """Return what to add to the way: whether whole images were run although only what changes could have been."""
    sets = passes.sets_by_way
    if passes.reason or not sets["whole"]:
        return ""
    return (
        ", but whole images where these cost less"
        if sets["incremental"]
        else ", but whole images, which cost less"
    )


def _way(
    passes: WindowPasses, asked: Asked, places: tuple[Numbers, Numbers], window: tuple[int, int], until: float
) -> dict[str, Any]:
    """Return the fields of a result that tell how its scores are computed; choose how, if they may be approximate."""
    if passes.reason or not isinstance(passes, ApproximatePasses):
        return {"way": passes.reason or "incremental"}
    if passes.obstacle:
        return {"way": f"incremental, exact: {passes.obstacle}"}
    found = passes.tune(*places, window, lambda answers: asked.read(answers)["scores"], until)
    if found is None:
        return {"way": "incremental, exact: a sample of so few places would cost what it saves"}
    if passes.is_exact:
        return {"way": "incremental, exact: nothing quicker was near enough on a sample of places"}
    way = "incremental"
    if passes.share < 1:
        way += f", within {passes.share:.0%} of each map's side, to first order beyond"
    if passes.precision is not None:
        way += f", in {str(passes.precision).removeprefix('torch.')}"
    return {"way": way, "sample": found[0], "sample_scores": found[1]}


def _measured(
    passes: WindowPasses,
    asked: Asked,
    found: OcclusionMap,
    began: float,
    budget: float | None,
    memory_limit: int,
) -> Generator[Step, None, None]:
    """Fill the arrays of a result batch by batch, as long as the next batch is likely to fit in the budget."""
    done, before = 0, time.monotonic()
    # Who has a budget, or asks for small batches to see the map grow, may end at any time.
    is_watched = budget is not None or memory_limit < MEMORY_LIMIT
    sets = coarse_to_fine(len(found.tops), len(found.lefts), _FEW if is_watched else _MANY)
    for rows, columns, answers in passes.batches(found.tops, found.lefts, found.window, sets):
        for name, numbers in asked.read(answers).items():
            getattr(found, name)[np.ix_(rows, columns)] = numbers.reshape(len(rows), len(columns))
        done += len(rows) * len(columns)
        values = {"scores": found.scores.copy(), "heatmap": _heat(found, passes.size)}
        yield Step(done - 1, found.scores.size, values=values)
        now = time.monotonic()
        if budget is not None and now - began + (now - before) > budget:
            return
        before = now


def _heat(found: OcclusionMap, size: tuple[int, int]) -> NDArray[np.float32]:
    drops = found.baseline - found.scores.astype(np.float64)
    return combined(drops, found.tops, found.lefts, found.window, size, found.combine)


def _checked(
    size: tuple[int, int], window: Any, stride: Any, combine: object, budget: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the window and the stride as (rows, columns), or say which option can't be."""
    window, stride = checked_pair("window", window), checked_pair("stride", stride)
    if window[0] > size[0] or window[1] > size[1]:
        raise ValueError(
            f"the window of {window[0]} x {window[1]} pixels is larger than the image, which the network sees as "
            f"{size[0]} x {size[1]}; take a smaller one, such as window={max(1, min(size) // 7)}"
        )
    if stride[0] > window[0] or stride[1] > window[1]:
        raise ValueError(
            f"stride={stride} is larger than window={window}: some pixels would never be covered"
        )
    if combine not in COMBINATIONS:
        raise ValueError(f"combine is one of {', '.join(map(repr, COMBINATIONS))}; got {combine!r}")
    is_number = isinstance(budget, int | float) and not isinstance(budget, bool)
    if budget is not None and (not is_number or not 0 < budget < math.inf):
        raise ValueError(f"budget is a positive number of seconds, or None; got {budget!r}")
    return window, stride


def _check_exact(exact: object, most_probable: bool, feature_map: Target | None) -> None:
    if not isinstance(exact, bool | np.bool_):
        raise TypeError(f"exact is True or False, got {exact!r}")
    if not exact and (most_probable or feature_map is not None):
        raise ValueError(
            "exact=False is for the target's scores alone; leave out most_probable and feature_map, or exact=False"
        )
