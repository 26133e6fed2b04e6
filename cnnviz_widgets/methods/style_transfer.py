"""Style transfer: the content of one picture in the colors, strokes and textures of others."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
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
from cnnviz_widgets.engine.errors import InputError, about
from cnnviz_widgets.engine.gram import checked_layers, texture_layers
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.pictures import split_images
from cnnviz_widgets.engine.scaled_picture import ScaledPicture, shared_fields
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.style_terms import StyleWeights, style_terms
from cnnviz_widgets.engine.style_terms import content_layers as usual_content
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, mosaic_png, pad_alike
from cnnviz_widgets.render.recolor import gray_picture, luminance, matched_luminance, with_luminance

STARTS = ("content", "style", "noise")


@dataclass(frozen=True, eq=False)
class StyleTransfer(ScaledPicture):
    """A picture with the content of one and the style of others; shows itself between them.

    Attributes
    ----------
    image
        The picture, uint8 [H, W, 3]; [0, 0, 3] where the network's channels make no picture.
    x
        What was optimized, in the network's numbers [C, H, W], float32. With ``keep_colors`` only its brightness is in
        ``image``.
    content
        The content as the network saw it, uint8 [H, W, 3].
    styles
        The styles, uint8 [h, w, 3] each.
    losses
        ``"content"``, ``"style"`` and ``"variation"``: the term before each step [steps], float32, times its weight, at
        the scale of that step. They add up to what was minimized; terms of weight 0 are left out.
    content_layers, style_layers
        The layers that were compared.
    content_weight, style_weight, variation_weight, style_layer_weights, keep_colors
        As they were given.
    blend
        Each style's share; they add up to 1.
    start
        ``"content"``, ``"style"``, ``"noise"``, or ``"picture"`` for one that was given.
    sizes, steps
        Rows and columns of each scale, from coarse to fine, and how many steps were taken at all of them together.
    planned_steps
        The option ``steps``, of which each scale had an even share.
    optimizer, rate, parameterization, pooling, seed
        As they were given.
    ended
        Why before the last step, in words; empty if it was not.
    """

    content: NDArray[np.uint8]
    styles: tuple[NDArray[np.uint8], ...]
    content_layers: tuple[LayerKey, ...]
    style_layers: tuple[LayerKey, ...]
    content_weight: float
    style_weight: float
    variation_weight: float
    style_layer_weights: tuple[float, ...]
    blend: tuple[float, ...]
    start: str
    keep_colors: bool

    def _repr_png_(self) -> bytes:
        """Return content, picture and styles, side by side, as a notebook shows them for the bare result."""
        if not self.image.size:
            return mosaic_png(self.x)
        styles = [style for style, share in zip(self.styles, self.blend, strict=True) if share]
        return mosaic_png(pad_alike([self.content, self.image, *styles]))

    def to_png(self) -> bytes:
        """Return the picture alone as a PNG."""
        return png(self.image, max_bytes=PNG_BYTES) if self.image.size else mosaic_png(self.x)

    def __repr__(self) -> str:
        height, width = self.x.shape[1:]
        terms = ", ".join(f"{name} {each[-1]:.3g}" for name, each in self.losses.items() if len(each))
        styles = f"{len(self.styles)} style{'s' * (len(self.styles) != 1)}"
        early = f"; ended early: {self.ended}" if self.ended else ""
        return f"StyleTransfer({height}x{width}, {styles}, {self.steps} steps: {terms}{early})"


@streamed
def transfer_style(
    net: Network,
    content: Images,
    style: Images,
    *,
    content_layers: Sequence[LayerKey] | LayerKey | None = None,
    style_layers: Sequence[LayerKey] | LayerKey | None = None,
    style_layer_weights: Sequence[float] | None = None,
    content_weight: float = 1.0,
    style_weight: float = 3.0,
    variation_weight: float = 1.0,
    blend: Sequence[float] | None = None,
    start: Images = "content",
    keep_colors: bool = False,
    size: int | tuple[int, int] | None = None,
    scales: int | None = None,
    optimizer: str = "lbfgs",
    rate: float | None = None,
    parameterization: str = "fourier",
    pooling: str = "max",
    steps: int = 150,
    seed: int = 0,
) -> Generator[Step, None, StyleTransfer]:
    """See one picture painted as another one: its things, in the other's colors, strokes and textures.

    Gatys, Ecker and Bethge, Image Style Transfer Using Convolutional Neural Networks, CVPR 2016 (arXiv:1508.06576). The
    sum of three terms is made small:

    - ``content_weight`` times sum (F - P)^2 / sum P^2, with a deep layer's maps F, and P those of the content: what is
      where (the mean over the layers; the paper's 1/2 sum (F - P)^2 on a scale that is alike for all networks);
    - ``style_weight`` times the mean over the layers of sum (G / M - A / M)^2 / sum (C / M - A / M)^2, with the Gram
      matrices of `synthesize_texture`, A those of the style and C those of the content: what goes together, wherever it
      is, from 1 for the content itself to 0 (a layer for which content and style differ by less than 1 % has
      sum (A / M)^2 in the denominator);
    - ``variation_weight`` times the total variation of a pixel, (right - here)^2 + (below - here)^2 summed over its
      colors, the mean over the pixels, black being 0 and white 1: against noise.

    Parameters
    ----------
    net
        The network.
    content
        One picture, in any form that `InputSpec.prepare` takes.
    style
        Another one, or a list of several whose Gram matrices are blended: the weighted mean of their losses has the
        same gradient.
    content_layers, style_layers
        Layers that return maps. Left out, the style has those of `synthesize_texture`, and the content the last but one
        of these.
    style_layer_weights
        One number from 0 for each style layer; 1 each if left out. They are divided by their sum.
    content_weight, style_weight, variation_weight
        Numbers from 0. More style for the same content is another ratio of the first two.
    blend
        One number from 0 for each style; they are divided by their sum, and a style with 0 is not looked at. Left out,
        all styles have the same share.
    start
        Where to begin: with the ``"content"``, the ``"style"`` (the first that has a share), ``"noise"`` in its colors,
        or a picture: to go on from an earlier step.
    keep_colors
        Whether the content's colors are kept: only brightness is transferred, from a style with the content's mean and
        deviation of brightness, and the content's chroma is put back (Gatys et al., Preserving Color in Neural Artistic
        Style Transfer, arXiv:1606.05897, section 4).
    size
        Of the picture, in pixels: (rows, columns), or one number for both; any that the network can take. Content and
        styles are scaled to cover it, and cut. Left out, they are as the network sees them.
    scales
        How many sizes to go through, each twice the one before. Left out, as many as keep the shorter side at 96 pixels
        or more; 1 where ``start`` is a picture.
    optimizer
        ``"lbfgs"``, or ``"adam"``, which takes less time a step, and more steps.
    rate
        Of the optimizer; left out, 1 for ``"lbfgs"`` and 0.05 for ``"adam"``.
    parameterization
        What is optimized: ``"fourier"``, the spectrum of decorrelated colors, or the ``"pixels"`` themselves, as in the
        paper.
    pooling
        What the network's two-dimensional max pools return, modules and functions both (``MaxPool2d``, ``max_pool2d``,
        adaptive ones): the ``"max"`` of each window, or, in a copy of the module, its ``"average"``, with which the
        paper found its pictures slightly more appealing. Maxima that are taken in another way, as by ``amax`` or
        ``MaxPool1d``, stay what they are.
    steps
        How many, for all scales together; each takes an even share.
    seed
        Of the noise to begin with. The same seed gives the same picture.

    Yields
    ------
    Step
        The picture so far, at the size of the result, and in ``values`` the weighted terms: ``"content"``, ``"style"``,
        ``"variation"``.

    Returns
    -------
    StyleTransfer
        ``image`` uint8 [H, W, 3], ``losses`` by term, and the rest.

    Raises
    ------
    LayerNotFoundError
        An empty list of layers, or one that is not there.
    InputError
        A size too small for the layers, or one that the network can't take.
    TargetError
        A layer whose values have no places, or are all 0.
    UnsupportedModuleError
        Averages are asked for, and the module can't be copied, has a max pool that returns places or is dilated, or
        calls no two-dimensional max pool on the way to the layers that are compared.
    ValueError
        Negative weights, all weights 0, as many as there are no styles or layers; other options that can't be.
    ZeroGradientError
        There is no way to go from the start.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> cat, gravel = cv.samples.photo("chelsea"), cv.samples.photo("gravel")
    >>> found = cv.transfer_style(net, cat, gravel, size=(40, 56), style_layers=["features.1", "features.3"], steps=3)
    >>> found.image.shape, list(found.losses)
    ((40, 56, 3), ['content', 'style', 'variation'])
    """
    check_network(net, "transfer_style")
    settings = Settings(optimizer, rate, parameterization, steps, seed, pooling)
    weights = StyleWeights(content_weight, style_weight, variation_weight)
    plan = _Plan(
        net, content, style, blend, None if size is None else checked_pair("size", size), start, keep_colors
    )
    sizes = sizes_of(
        plan.size, 1 if plan.started == "picture" and scales is None else scales, steps, *plan.style_sizes
    )
    private = pooled_network(net, settings.pooling)
    of_style = checked_layers(private, "style_layers", style_layers, texture_layers)
    of_content = checked_layers(private, "content_layers", content_layers, lambda _: usual_content(of_style))
    layer_weights = checked_weights("style_layer_weights", style_layer_weights, len(of_style), "style layers")
    stages = [
        Scale(
            each,
            style_terms(
                private,
                *plan.at(each),
                of_content,
                dict(zip(of_style, layer_weights, strict=True)),
                [share for share in plan.shares if share],
                weights,
            ),
        )
        for each in sizes
    ]
    found = yield from coarse_to_fine(private, stages, settings, plan.start, plan.styles[0], plan.picture)
    return StyleTransfer(
        **shared_fields(found, settings, sizes, plan.picture),
        content=plan.pictures[0],
        styles=plan.style_pictures,
        content_layers=of_content,
        style_layers=of_style,
        content_weight=weights.content,
        style_weight=weights.style,
        variation_weight=weights.variation,
        style_layer_weights=layer_weights,
        blend=tuple(each / sum(plan.shares) for each in plan.shares),
        start=plan.started,
        keep_colors=keep_colors,
    )


class _Plan:
    """The pictures of a transfer: prepared, and gray where colors are to be kept; of styles, those with a share."""

    def __init__(
        self,
        net: Network,
        content: Images,
        style: Images,
        blend: Sequence[float] | None,
        size: tuple[int, int] | None,
        start: Images,
        keep_colors: bool,
    ) -> None:
        if keep_colors and net.input.channels != 3:
            raise InputError(
                f"keep_colors needs a network that sees colors; this one takes {net.input.channels} channels"
            )
        self._net, self._keep_colors = net, keep_colors
        with about("style"):
            items = split_images(style, net.input.channels or 3)
        self.shares = checked_weights("blend", blend, len(items), "styles")
        self.content = prepared(net, content, size, "content")
        self.size = (self.content.shape[2], self.content.shape[3])
        several = len(items) > 1
        styles = [
            prepared(net, each, size, f"style[{index}]" if several else "style")
            for index, each in enumerate(items)
        ]
        self.style_pictures = tuple(pictures_of(net, each)[0] for each in styles)
        used = [index for index, share in enumerate(self.shares) if share]
        self.styles = [styles[index] for index in used]
        self.pictures = (pictures_of(net, self.content)[0], *(self.style_pictures[index] for index in used))
        self.style_sizes = [(each.shape[2], each.shape[3]) for each in self.styles]
        if keep_colors:
            self.content, *self.styles = self._grays()
        self.started, self.start = self._started(start)

    def _started(self, start: Images) -> tuple[str, Tensor | None]:
        if isinstance(start, str) and start not in STARTS and not os.path.exists(start):
            raise ValueError(f"start is 'content', 'style', 'noise' or a picture; got {start!r}")
        if not isinstance(start, str) or start not in STARTS:
            return "picture", self._beginning(prepared(self._net, start, self.size, "start"))
        if start == "content":
            return start, self.content
        return start, self.styles[0] if start == "style" else None

    def _grays(self) -> list[Tensor]:
        """Return content and styles without color, the styles as bright, and with as much contrast, as the content."""
        wanted = luminance(self.pictures[0])
        bright = [wanted, *(matched_luminance(luminance(each), wanted) for each in self.pictures[1:])]
        return [self._gray(each) for each in bright]

    def _gray(self, bright: NDArray[np.float64]) -> Tensor:
        spec = replace(self._net.input, size=None, resize=None)
        return spec.prepare(gray_picture(bright)).to(self._net.device, self._net.dtype)

    def _beginning(self, x: Tensor) -> Tensor:
        """Return a picture to begin with as the others are: gray where colors are kept."""
        return self._gray(luminance(pictures_of(self._net, x)[0])) if self._keep_colors else x

    def at(self, size: tuple[int, int]) -> tuple[Tensor, list[Tensor]]:
        """Return content and styles scaled as the content is, from its size to another one."""
        rows, columns = size[0] / self.size[0], size[1] / self.size[1]
        sizes = [
            (max(1, round(each.shape[2] * rows)), max(1, round(each.shape[3] * columns)))
            for each in self.styles
        ]
        styles = [resampled(each, wanted) for each, wanted in zip(self.styles, sizes, strict=True)]
        return resampled(self.content, size), styles

    def picture(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the picture [H, W, 3] of what is optimized [1, C, H, W]."""
        picture: NDArray[np.uint8] = pictures_of(self._net, x)[0]
        return with_luminance(self.pictures[0], luminance(picture)) if self._keep_colors else picture
