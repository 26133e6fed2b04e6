"""Texture synthesis: a picture with another arrangement of the same features, wherever they were."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.averaged_pools import pooled_network
from cnnviz_widgets.engine.coarse_to_fine import (
    Scale,
    Settings,
    checked_weights,
    coarse_to_fine,
    prepared,
    resampled,
    sizes_of,
)
from cnnviz_widgets.engine.gram import GramDistance, checked_layers, maps_of, mean_grams, texture_layers
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.scaled_picture import ScaledPicture, shared_fields
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, mosaic_png, pad_alike
from cnnviz_widgets.render.recolor import match_covariance
from cnnviz_widgets.render.recolor import match_histogram as with_histogram_of


@dataclass(frozen=True, eq=False)
class Texture(ScaledPicture):
    """A texture made anew; shows itself beside its source.

    Attributes
    ----------
    image
        The picture, uint8 [H, W, 3]; [0, 0, 3] where the network's channels make no picture.
    x
        The same in the network's numbers [C, H, W], float32, before any histogram was matched.
    source
        What it was made from, as the network saw it, uint8 [h, w, 3].
    losses
        By layer, as text: the loss before each step [steps], float32, times its weight. They are those of the scale
        at which the step was taken.
    layers
        The layers whose Gram matrices were compared.
    layer_weights, balanced, match_histogram
        As they were given.
    start
        ``"noise"``, or ``"picture"`` where it began with one that was given.
    sizes, steps
        Rows and columns of each scale, from coarse to fine, and how many steps were taken at all of them together.
    planned_steps
        The option ``steps``, of which each scale had an even share.
    optimizer, rate, parameterization, pooling, seed
        As they were given.
    ended
        Why before the last step, in words; empty if it was not.
    """

    source: NDArray[np.uint8]
    layers: tuple[LayerKey, ...]
    layer_weights: tuple[float, ...]
    balanced: bool
    match_histogram: bool
    start: str

    def _repr_png_(self) -> bytes:
        """Return source and texture, side by side, as a notebook shows them for the bare result."""
        if not self.image.size:
            return mosaic_png(self.x)
        return mosaic_png(pad_alike([self.source, self.image]))

    def to_png(self) -> bytes:
        """Return the texture alone as a PNG."""
        return png(self.image, max_bytes=PNG_BYTES) if self.image.size else mosaic_png(self.x)

    def __repr__(self) -> str:
        height, width = self.x.shape[1:]
        loss = f", loss {self.loss[0]:.3g} to {self.loss[-1]:.3g}" if len(self.loss) else ""
        early = f"; ended early: {self.ended}" if self.ended else ""
        return f"Texture({height}x{width}, {len(self.layers)} layers, {self.steps} steps{loss}{early})"


@streamed
def synthesize_texture(
    net: Network,
    image: Images,
    *,
    layers: Sequence[LayerKey] | LayerKey | None = None,
    layer_weights: Sequence[float] | None = None,
    balanced: bool = True,
    size: int | tuple[int, int] | None = None,
    scales: int | None = None,
    start: Images | None = None,
    optimizer: str = "lbfgs",
    rate: float | None = None,
    parameterization: str = "fourier",
    pooling: str = "max",
    steps: int = 200,
    match_histogram: bool = False,
    seed: int = 0,
) -> Generator[Step, None, Texture]:
    """See a new picture of the same stuff: it has the source's features in the same company, elsewhere.

    Gatys, Ecker and Bethge, Texture Synthesis Using Convolutional Neural Networks, NeurIPS 2015 (arXiv:1505.07376). The
    picture is changed until its Gram matrices G = F F' are those of the source, A, at every layer, where F [N, M] are
    a layer's N maps with M places. They tell which features occur together, and not where. The loss of a layer is
    E = 1 / (4 N^2 M^2) sum (G - A)^2, its gradient with respect to F is 1 / (N^2 M^2) (G - A) F, times 0 in front of a
    rectifier where that returns 0. Source and picture may have different sizes: each Gram matrix is divided by its own
    number of places, which for equal sizes is the formula as it stands.

    Parameters
    ----------
    net
        The network.
    image
        The source, in any form that `InputSpec.prepare` takes.
    layers
        Whose features to keep, from any layers that return maps; the finer ones keep color and grain, the deeper ones
        larger parts. Left out, about five are chosen: the first rectified layer of each resolution that is no
        bottleneck, and where that makes fewer, those with which the channels grow.
    layer_weights
        One number from 0 for each layer; 1 each if left out.
    balanced
        Whether E is divided by its value for a Gram matrix of zeros, so that it is the relative squared distance
        sum (G / M - A / M)^2 / sum (A / M)^2, alike for all layers and networks. ``False`` takes the paper's E.
    size
        Of the texture, in pixels: (rows, columns), or one number for both; any that the network can take. Left out,
        that of the source as the network sees it. What is seen of the source does not hang on it.
    scales
        How many sizes to go through, each twice the one before, together with a source that shrinks as well: structure
        that is larger than a layer's receptive field is caught while it is small. Left out, as many as keep the shorter
        side of both at 96 pixels or more; 1 where ``start`` is given.
    start
        A picture to begin with in place of a random cloud in the source's colors: to go on from an earlier step.
    optimizer
        ``"lbfgs"``, or ``"adam"``, which takes less time a step, and more steps.
    rate
        Of the optimizer; left out, 1 for ``"lbfgs"`` and 0.05 for ``"adam"``.
    parameterization
        What is optimized: ``"fourier"``, the spectrum of decorrelated colors, with which coarse structure comes as
        quickly as fine one, or the ``"pixels"`` themselves, as in the paper.
    pooling
        What the network's two-dimensional max pools return, modules and functions both (``MaxPool2d``, ``max_pool2d``,
        adaptive ones): the ``"max"`` of each window, or, in a copy of the module, its ``"average"``, with which the
        paper found its pictures slightly cleaner. Maxima that are taken in another way, as by ``amax`` or
        ``MaxPool1d``, stay what they are.
    steps
        How many, for all scales together; each takes an even share.
    match_histogram
        Whether what is shown gets the source's colors: by a linear change to their mean and covariance, and then,
        channel by channel, exactly their histogram. Features say little about faint tints, which go; but the network
        sees another picture then, further from the source in its features.
    seed
        Of the cloud to begin with. The same seed gives the same picture.

    Yields
    ------
    Step
        The picture so far, at the size of the result, and in ``values`` each layer's loss.

    Returns
    -------
    Texture
        ``image`` uint8 [H, W, 3], ``losses`` by layer, and the rest.

    Raises
    ------
    LayerNotFoundError
        An empty list of layers, or one that is not there.
    InputError
        A size too small for the layers, or one that the network can't take.
    TargetError
        A layer whose values have no places, or are all 0 for the source.
    UnsupportedModuleError
        Averages are asked for, and the module can't be copied, has a max pool that returns places or is dilated, or
        calls no two-dimensional max pool on the way to the layers that are compared.
    ValueError
        Negative weights, or as many as there are no layers; other options that can't be.
    ZeroGradientError
        There is no way to go from the start.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> made = cv.synthesize_texture(net, cv.samples.photo("gravel"), layers="features.1", size=(40, 56), steps=3)
    >>> made.image.shape, bool(made.loss[-1] < made.loss[0])
    ((40, 56, 3), True)
    """
    check_network(net, "synthesize_texture")
    settings = Settings(optimizer, rate, parameterization, steps, seed, pooling)
    x = prepared(net, image, None, "synthesize_texture")
    own = (x.shape[2], x.shape[3])
    wanted = own if size is None else checked_pair("size", size)
    sizes = sizes_of(wanted, 1 if start is not None and scales is None else scales, steps, own)
    private = pooled_network(net, settings.pooling)
    chosen = checked_layers(private, "layers", layers, texture_layers)
    weights = checked_weights("layer_weights", layer_weights, len(chosen), "layers")
    beginning = None if start is None else prepared(net, start, wanted, "start")
    kept = {layer: weight for layer, weight in zip(chosen, weights, strict=True) if weight}
    stages = [
        Scale(each, _losses(private, _shrunk(x, 2.0 ** (index + 1 - len(sizes))), each, kept, balanced))
        for index, each in enumerate(sizes)
    ]
    source = pictures_of(net, x)[0]

    def picture(made: Tensor) -> NDArray[np.uint8]:
        plain: NDArray[np.uint8] = pictures_of(net, made)[0]
        return (
            with_histogram_of(match_covariance(plain, source), source)
            if match_histogram and plain.size
            else plain
        )

    found = yield from coarse_to_fine(private, stages, settings, beginning, x, picture)
    return Texture(
        **shared_fields(found, settings, sizes, picture),
        source=source,
        layers=chosen,
        layer_weights=weights,
        balanced=balanced,
        match_histogram=match_histogram,
        start="noise" if start is None else "picture",
    )


def _losses(
    net: Network, source: Tensor, size: tuple[int, int], weights: Mapping[LayerKey, float], balanced: bool
) -> dict[str, GramDistance]:
    """Return one loss for each layer, after a try of whether the network takes a picture of that size."""
    found = maps_of(net, source, list(weights), "the source")
    maps_of(net, source.new_zeros((1, source.shape[1], *size)), list(weights), "a picture")
    return {
        key_text(layer): GramDistance(
            {layer: mean_grams(maps)[0]}, {layer: weights[layer]}, balanced=balanced
        )
        for layer, maps in found.items()
    }


def _shrunk(x: Tensor, scale: float) -> Tensor:
    height, width = x.shape[2:]
    with torch.no_grad():
        return resampled(x, (max(1, round(height * scale)), max(1, round(width * scale))))
