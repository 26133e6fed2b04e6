"""Inversion: a picture made from nothing but a layer's features, which shows what the layer still knows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.ascent import Ascent, ascend
from cnnviz_widgets.engine.coarse_to_fine import as_losses, prepared
from cnnviz_widgets.engine.errors import InputError, ZeroGradientError, about
from cnnviz_widgets.engine.gram import checked_layers
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.inversion_task import (
    InversionOptimizer,
    InversionOptions,
    InversionParameterization,
    InversionTask,
)
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.private_network import private_network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.slope import REACHED
from cnnviz_widgets.engine.stream import Step, remark, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.render.captioned import captioned
from cnnviz_widgets.render.mosaic import mosaic, mosaic_png


@dataclass(frozen=True, eq=False)
class Inversion(Result):
    """Pictures that a layer takes for an image; shows itself as the image and these pictures beside it.

    Attributes
    ----------
    images
        The pictures, uint8 [N, H, W, 3]; [N, 0, 0, 3] where the network's channels make no picture.
    inputs
        The same in the network's numbers, before they were rounded, float32 [N, C, H, W].
    original
        The image as the network sees it, uint8 [H, W, 3].
    layer
        The layer that was inverted.
    errors
        The feature error of each picture as it is shown, rounded to 8 bits [N], float32.
    distances
        How far each picture itself is from the image [N], float32: the root mean square of the differences, where
        white is 1 above black.
    curves
        By term, as it was minimized: its value before each step, for each picture [steps, N]. ``"feature error"``, and
        ``"alpha norm"`` and ``"total variation"`` with their weights, where these are not 0.
    ended
        Why it ended before the last step, in words; empty if it did not.
    alpha_norm, alpha, total_variation, beta
        The weights and exponents; a total variation that was left out is the one that was chosen.
    steps
        How many were taken.
    planned_steps
        The option ``steps``: how far the schedule of momentum's rate goes.
    start
        ``"noise"``, or ``"picture"`` where it began with one that was given.
    parameterization, optimizer, rate, size, seed
        The options, those left out as they were chosen.
    """

    images: NDArray[np.uint8]
    inputs: NDArray[np.float32]
    original: NDArray[np.uint8]
    layer: LayerKey
    errors: NDArray[np.float32]
    distances: NDArray[np.float32]
    curves: Mapping[str, NDArray[np.float32]]
    ended: str
    alpha_norm: float
    alpha: float
    total_variation: float
    beta: float
    parameterization: str
    optimizer: str
    rate: float
    steps: int
    planned_steps: int
    start: str
    size: tuple[int, int]
    seed: int

    def _repr_png_(self) -> bytes | None:
        """Return the image and its inversions side by side, as a notebook shows them for the bare result."""
        return mosaic_png(np.concatenate([self.original[None], self.images])) if self.images.size else None

    def _repr_html_(self) -> str | None:
        """Return the image and its inversions with their feature errors, as a notebook shows them."""
        return _shown(self.original, [(self, index) for index in range(len(self.images))], self.ended)

    def __repr__(self) -> str:
        errors = ", ".join(f"{each:.3g}" for each in self.errors)
        ended = f"; {self.ended}" if self.ended else ""
        return f"Inversion({key_text(self.layer)}: feature error {errors}; {self.steps} steps{ended})"


def _shown(
    original: NDArray[np.uint8], found: Sequence[tuple[Inversion, int]], message: str = ""
) -> str | None:
    """Return an image and some of its inversions, each with a caption."""
    if not original.size:
        return None
    captions = [f"{key_text(each.layer)}\nfeature error {each.errors[index]:.3g}" for each, index in found]
    pictures = np.stack([original, *(each.images[index] for each, index in found)])
    return captioned(pictures, ["the image", *captions], message)


@dataclass(frozen=True, eq=False)
class LayerInversions(Result):
    """One image as several layers know it; shows itself as the image and the inversions in order.

    Attributes
    ----------
    inversions
        One `Inversion` for each layer; fewer if it was stopped before.
    """

    inversions: tuple[Inversion, ...]

    @property
    def layers(self) -> tuple[LayerKey, ...]:
        """The layers."""
        return tuple(each.layer for each in self.inversions)

    @property
    def original(self) -> NDArray[np.uint8]:
        """The image as the network sees it, uint8 [H, W, 3]."""
        return self.inversions[0].original

    @property
    def images(self) -> NDArray[np.uint8]:
        """The first picture of each layer, uint8 [L, H, W, 3]."""
        return np.stack([each.images[0] for each in self.inversions])

    @property
    def errors(self) -> NDArray[np.float32]:
        """The feature error of these pictures [L]."""
        return np.stack([each.errors[0] for each in self.inversions])

    @property
    def distances(self) -> NDArray[np.float32]:
        """How far these pictures themselves are from the image [L]."""
        return np.stack([each.distances[0] for each in self.inversions])

    def _repr_png_(self) -> bytes | None:
        """Return the image and its inversions side by side, as a notebook shows them for the bare result."""
        images = self.images
        return mosaic_png(np.concatenate([self.original[None], images])) if images.size else None

    def _repr_html_(self) -> str | None:
        """Return the image and its inversions with the layers' names and feature errors, as a notebook shows them."""
        return _shown(self.original, [(each, 0) for each in self.inversions])

    def __repr__(self) -> str:
        each = ", ".join(f"{key_text(one.layer)} {one.errors[0]:.3g}" for one in self.inversions)
        return f"LayerInversions(feature errors: {each})"


@streamed
def invert(
    net: Network,
    image: Images,
    layer: LayerKey,
    *,
    steps: int = 160,
    size: int | tuple[int, int] | None = None,
    alpha_norm: float = 0.01,
    alpha: float = 6.0,
    total_variation: float | None = None,
    beta: float = 2.0,
    parameterization: InversionParameterization = "pixels",
    optimizer: InversionOptimizer | None = None,
    rate: float | None = None,
    copies: int = 1,
    start: Images | None = None,
    seed: int = 0,
) -> Generator[Step, None, Inversion]:
    """See what a layer still knows of an image: a picture made from nothing but the layer's features.

    What is in the picture as it is in the image, the layer has kept; what is not, it has thrown away. Of all pictures
    x the one is sought that minimizes (Mahendran and Vedaldi 2015 [1]_)

        ``|Phi(x) - Phi_0|^2 / |Phi_0|^2 + alpha_norm * sum |v|^alpha / (H W B^alpha) + total_variation *
        TV_beta(v) / (H W V^beta)``

    with the layer's features Phi, those of the image Phi_0, and v, the pixels less the network's mean, where white is 1
    above black. The first term is the feature error: 0 for the image itself, 1 for features of nothing but zeros. The
    second keeps colors in range, the third (see `total_variation` in engine/regularizers.py) neighbors alike. They are
    scaled as in [2]_, B being 80/127.5 of the way from the mean to the farther of black and white, which for a mean of
    middle gray is the paper's 80/255, and V = B / 6.5.

    Parameters
    ----------
    net
        The network.
    image
        The image, in any form that `InputSpec.prepare` takes.
    layer
        The layer; any that returns numbers, also the class scores.
    steps
        How many steps.
    size
        Height and width of image and picture, or one number, if not those that the network takes.
    alpha_norm, alpha
        Weight and exponent of the second term.
    total_variation, beta
        Weight and exponent of the third. Left out, the weight is 0.01 for the network's first layer and grows evenly
        with the depth (in proportion: times 50 over the whole network), since deeper layers leave more open. The paper
        took 0.5, 5 and 50 for early, middle and late layers, in these units 0.007, 0.07 and 0.7.
    parameterization
        ``"pixels"``, the network's numbers between black and white, or ``"fourier"``, the spectrum of decorrelated
        colors, which brings large structure as fast as fine one: for deep layers smoother, and of lower error.
    optimizer
        ``"momentum"``, for pixels and the default for them: as in [2]_, gradient descent with momentum 0.9 over rates
        that adapt to each pixel, so that one setting does for all layers. With the gradient g in 80ths of B,
        G = 0.9 G + g^2, v = 0.9 v + g / (1 / rate + sqrt(G)), and the pixel moves by v. Six of seven steps go at
        ``rate``, the rest at a tenth of it (300 and 50 steps in the paper). The paper's shifts by an eighth of the
        layer's stride are left out. ``"adam"``, the default for spectra; ``"lbfgs"``.
    rate
        Of the optimizer: 0.05 / 6 (as in [2]_), 0.05 or 1 if left out. That of momentum is in units of H W B^2.
    copies
        How many pictures, each from noise of its own: what they differ in, the layer does not know.
    start
        Picture or pictures to begin with in place of noise; resized to the size.
    seed
        Of the noise. The same seed gives the same pictures.

    Yields
    ------
    Step
        The pictures so far, and the terms' values.

    Returns
    -------
    Inversion
        ``images`` [N, H, W, 3], their feature ``errors``, the ``curves``.

    Raises
    ------
    LayerNotFoundError
        No such layer (with the nearest names).
    TargetError
        The layer returns nothing but zeros for the image.
    InputError
        Several images, a size that the network does not take, pictures to start from of another number.
    ZeroGradientError
        There is no way to go from the start.
    ValueError
        Negative weights; other values that an option can't have.

    References
    ----------
    .. [1] Mahendran and Vedaldi, "Understanding deep image representations by inverting them", CVPR 2015.
    .. [2] Mahendran and Vedaldi, "Visualizing deep convolutional neural networks using natural pre-images",
       IJCV 2016.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> found = cv.invert(net, cv.samples.photo("chelsea"), "features.3", steps=12, size=64)
    >>> found.images.shape, bool(found.errors[0] < 0.5)
    ((1, 64, 64, 3), True)
    """
    check_network(net, "invert")
    options = InversionOptions(
        steps, copies, seed, alpha_norm, alpha, total_variation, beta, parameterization, optimizer, rate
    )
    x = prepared(net, image, None if size is None else checked_pair("size", size), "invert")
    private = private_network(net)
    private.layer(layer)
    task = InversionTask(private, x, layer, options, _beginning(net, x, options.copies, start))
    found, _ = yield from _inverted(
        net, task, lambda images: mosaic(images) if len(images) > 1 else images[0]
    )
    return found


@streamed
def invert_layers(
    net: Network,
    image: Images,
    layers: Sequence[LayerKey],
    *,
    steps: int = 160,
    size: int | tuple[int, int] | None = None,
    alpha_norm: float = 0.01,
    alpha: float = 6.0,
    total_variation: float | None = None,
    beta: float = 2.0,
    parameterization: InversionParameterization = "pixels",
    optimizer: InversionOptimizer | None = None,
    rate: float | None = None,
    start: Images | None = None,
    seed: int = 0,
) -> Generator[Step, None, LayerInversions]:
    """See one image as several layers know it, side by side: the deeper the layer, the more is open.

    `invert` for one layer after the other, with the same noise to begin with. What stays the same in the image but
    changes in the pictures is what the layers have become invariant to. With ``total_variation`` left out each layer
    has its own weight; give one to compare the layers' errors under the same terms.

    Parameters
    ----------
    net, image
        The network and the image.
    layers
        The layers, in any order.
    steps
        How many for each layer.
    size, alpha_norm, alpha, total_variation, beta, parameterization, optimizer, rate, start, seed
        See `invert`.

    Yields
    ------
    Step
        The image and all pictures so far; the values are those of the layer at work.

    Returns
    -------
    LayerInversions
        An `Inversion` for each layer; stopped before the end, for those that were begun.

    Raises
    ------
    LayerNotFoundError
        An empty list, or no such layer.
    InputError, TargetError, ZeroGradientError, ValueError
        See `invert`.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> photo = cv.samples.photo("chelsea")
    >>> found = cv.invert_layers(net, photo, ["features.0", "features.5"], steps=12, size=64)
    >>> found.images.shape, bool(found.errors[0] < found.errors[1])
    ((2, 64, 64, 3), True)
    """
    check_network(net, "invert_layers")
    options = InversionOptions(
        steps, 1, seed, alpha_norm, alpha, total_variation, beta, parameterization, optimizer, rate
    )
    x = prepared(net, image, None if size is None else checked_pair("size", size), "invert_layers")
    private = private_network(net)
    chosen = checked_layers(private, "layers", layers)
    begin = _beginning(net, x, 1, start)
    tasks = [InversionTask(private, x, layer, options, begin) for layer in chosen]
    original = pictures_of(net, x)
    done: list[Inversion] = []

    def together(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if not images.size:
            first: NDArray[np.uint8] = images[0]
            return first
        blank = np.full_like(original, 255)
        shown = [original, *(each.images for each in done), images]
        # Not `len(tasks)`: they hold the private network, and steps would keep it alive.
        return mosaic(np.concatenate(shown + [blank] * (len(chosen) + 1 - len(shown))))

    for index, task in enumerate(tasks):
        found, stopped = yield from _inverted(
            net, task, together, first=index * options.steps, total=len(tasks) * options.steps
        )
        done.append(found)
        if stopped:
            break
    return LayerInversions(tuple(done))


def _beginning(net: Network, x: Tensor, copies: int, start: Images | None) -> Tensor | None:
    if start is None:
        return None
    size = (x.shape[2], x.shape[3])
    with about("start"):
        begin = replace(net.input, size=size, resize=size).prepare(start).to(x)
    if len(begin) not in (1, copies):
        raise InputError(f"{len(begin)} pictures to start from for {copies}; give one, or one for each")
    return begin.expand(copies, *x.shape[1:])


def _inverted(
    net: Network,
    task: InversionTask,
    layout: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    *,
    first: int = 0,
    total: int | None = None,
) -> Generator[Step, None, tuple[Inversion, bool]]:
    """Invert one layer; a step's picture is laid out of those of the layer. Return the result, and if stopped."""
    options = task.options
    random = torch.Generator().manual_seed(options.seed)
    steps = ascend(
        task.net,
        task.image(random),
        task.terms(),
        steps=options.steps,
        optimizer=task.mover(),
        random=random,
        picturing=lambda x: layout(pictures_of(net, x)),
        losses=True,
        first=first,
        total=total,
    )
    grown = yield from as_losses(steps)
    _check_moved(grown, task.layer)
    images, x = pictures_of(net, grown.x), grown.x
    if images.size:
        x = replace(net.input, size=None, resize=None).prepare(list(images)).to(x)
    away = ((x - task.x) * net.input.deviation.to(x)).float()
    found = Inversion(
        images=images,
        inputs=grown.x.float().cpu().numpy(),
        original=pictures_of(net, task.x)[0],
        layer=task.layer,
        errors=task.errors(x),
        distances=away.square().flatten(1).mean(1).sqrt().cpu().numpy(),
        # Not -0.
        curves={name: 0.0 - curve for name, curve in grown.values.items()},
        ended=grown.ended,
        alpha_norm=options.alpha_norm,
        alpha=options.alpha,
        total_variation=task.variation,
        beta=options.beta,
        parameterization=options.parameterization,
        optimizer=options.moves_by,
        rate=options.pace,
        steps=grown.steps,
        planned_steps=options.steps,
        start="noise" if task.begin is None else "picture",
        size=(task.x.shape[2], task.x.shape[3]),
        seed=options.seed,
    )
    return found, grown.stopped


def _check_moved(grown: Ascent, layer: Any) -> None:
    """Say why it ended early or led nowhere, unless because there is nothing left to do."""
    open_still = -grown.last["feature error"] > REACHED
    dead = grown.dead & open_still
    if dead.all() and not grown.steps:
        raise ZeroGradientError(
            f"the gradient of the feature error of {key_text(layer)!r} is zero everywhere for the picture to begin "
            "with, though the error is not; take a layer before a rectifier, another seed, or a photo as start="
        )
    if grown.ended and open_still.any():
        remark(f"the inversion of {key_text(layer)!r} stopped early: {grown.ended}")
    elif dead.any():
        remark(
            f"the gradient of the feature error of {key_text(layer)!r} was zero in all steps for {int(dead.sum())} of "
            f"{len(dead)} pictures, though the error is not; take another seed, or a photo as start="
        )
