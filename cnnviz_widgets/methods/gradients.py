"""Gradients: which pixels would change the answer, by plain, guided and DeconvNet backpropagation."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.input_gradients import (
    InputGradients,
    check_not_zero,
    input_gradients,
    one_image,
    pictures_of,
    target_values,
)
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.relu_rules import Rule, check_rule
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, StopEarly, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.attribution import attribution_png


@dataclass(frozen=True, eq=False)
class GradientMap(Result):
    """How much each number of the image moves the target; shows itself as a heat map over the image.

    Attributes
    ----------
    attributions
        For each number of the network's input [C, H, W], float32: the gradient, in units of the target per unit of
        the input; times the input where that was asked for, in units of the target.
    value
        The target's value for this image.
    target
        The target, as text.
    rule, times_input, samples, noise, seed
        The options.
    rectifiers
        How many calls of rectifiers have sent back by the rule; 0 for the plain one.
    picture
        The image as the network sees it, uint8 [H, W, 3]; empty where its channels make no picture.
    """

    attributions: NDArray[np.float32]
    value: float
    target: str
    rule: str
    times_input: bool
    samples: int
    noise: float
    seed: int
    rectifiers: int
    picture: NDArray[np.uint8]

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """One number a pixel [H, W]: the largest magnitude of its channels; times the input, their sum, with sign."""
        found: NDArray[np.float32]
        found = self.attributions.sum(axis=0) if self.times_input else np.abs(self.attributions).max(axis=0)
        return found

    def _repr_png_(self) -> bytes:
        """Return the image, the map and both together, as a notebook shows them for the bare result."""
        return attribution_png(self.picture, self.heatmap)

    def __repr__(self) -> str:
        smooth = f", mean of {self.samples} noisy images" if self.samples else ""
        times = " times input" if self.times_input else ""
        return (
            f"GradientMap({self.target}, value {self.value:.4g}, rule {self.rule!r}{times}{smooth}, "
            f"{self.rectifiers} calls of rectifiers changed)"
        )


@streamed
def gradient_map(
    net: Network,
    image: Images,
    target: TargetLike,
    *,
    rule: Rule = "plain",
    times_input: bool = False,
    samples: int = 0,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int = 8,
) -> Generator[Step, None, GradientMap]:
    """See which pixels would change the answer most if they were changed a little: bright where they would.

    The gradient of the target with respect to every number of the image [1]_. With ``rule="guided"`` [2]_ or
    ``"deconvnet"`` [3]_ rectifiers let only what is positive back, which gives clearer pictures that say less about
    the class. With ``samples`` the mean over that many noisy copies of the image (SmoothGrad [4]_), a batch a step;
    stopped early, over those that there were.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    target
        A class label or index, or a `Target`: a logit, a probability, a unit, a function of the output.
    rule
        What rectifiers send back for a gradient g: ``"plain"``: g where they let pass; ``"guided"``: that, if it is
        positive; ``"deconvnet"``: g if it is positive, whatever they let pass. Every call of a rectifier obeys, whether
        it is a module, a function, in place or reused.
    times_input
        Multiply by the image, as the network sees it: how much each pixel adds to the target, to first order.
    samples
        How many noisy images to take the mean of; 0: the image itself.
    noise
        Standard deviation of their normal noise, as a share of the image's range (largest minus smallest number).
    seed
        Of the noise.
    batch_size
        How many noisy images go through the network at once. The noise does not depend on it.

    Returns
    -------
    GradientMap
        ``attributions`` [C, H, W] and, one number a pixel, ``heatmap`` [H, W].

    Raises
    ------
    LabelNotFoundError, LayerNotFoundError, TargetError
        No such class (with the nearest names), layer or unit.
    ZeroGradientError
        The gradient is zero everywhere; with what to do.
    UnsupportedModuleError
        A rule other than plain, and no rectifier on the way to the target that is recognized.

    References
    ----------
    .. [1] Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR workshop 2014.
    .. [2] Springenberg et al., "Striving for simplicity: the all convolutional net", ICLR workshop 2015.
    .. [3] Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    .. [4] Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.squeezenet()
    >>> shown = cv.gradient_map(net, cv.samples.photo("chelsea"), "tabby", rule="guided")
    >>> shown.heatmap.shape, shown.rectifiers
    ((224, 224), 26)
    """
    check_network(net, "gradient_map")
    check_rule(rule)
    count = checked_whole("samples", samples, least=0)
    size = checked_whole("batch_size", batch_size)
    number = checked_whole("seed", seed, least=0)
    share = _checked_noise(noise)
    what = as_target(target)
    x = one_image(net, image, "gradient_map")
    if count:
        found, count = yield from _smooth(net, x, what, rule, _noisy(x, count, share, number, size), count)
    else:
        found = input_gradients(net, x, what, rule)
        with suppress(StopEarly):
            yield Step(0, 1)
    value = float(found.values[0])
    check_not_zero(found.gradients, what, value)
    gradient = found.gradients[0].float()
    gradient = gradient * x[0].float() if times_input else gradient
    return GradientMap(
        attributions=gradient.cpu().numpy(),
        value=value,
        target=what.text,
        rule=rule,
        times_input=bool(times_input),
        samples=count,
        noise=share,
        seed=number,
        rectifiers=found.rectifiers,
        picture=pictures_of(net, x)[0],
    )


def _checked_noise(noise: object) -> float:
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise < float("inf"):
        raise ValueError(f"noise is a share of the image's range, above 0; got {noise!r}")
    return float(noise)


def _noisy(x: Tensor, samples: int, noise: float, seed: int, batch_size: int) -> Iterator[Tensor]:
    """Yield batches of an image with noise, drawn one after the other, so that a batch's size changes nothing."""
    deviation = noise * float(x.max() - x.min())
    random = torch.Generator().manual_seed(seed)
    for start in range(0, samples, batch_size):
        count = min(batch_size, samples - start)
        draws = torch.stack([torch.randn(x.shape[1:], generator=random) for _ in range(count)])
        yield x + (draws * deviation).to(x.device, x.dtype)


def _smooth(
    net: Network, x: Tensor, target: Target, rule: Rule, noisy: Iterator[Tensor], count: int
) -> Generator[Step, None, tuple[InputGradients, int]]:
    """Return the mean of the gradients of noisy images, with the value of the clean one, and how many there were.

    The steps carry the magnitude of the mean so far as ``heatmap``.
    """
    total = torch.zeros(x.shape, dtype=torch.float64)
    rectifiers, done = 0, 0
    with suppress(StopEarly):  # the mean so far is one
        for index, part in enumerate(noisy):
            found = input_gradients(net, part, target, rule)
            total += found.gradients.sum(dim=0, keepdim=True, dtype=torch.float32).cpu()
            rectifiers, done = max(rectifiers, found.rectifiers), done + len(part)
            if index == 0:
                steps = -(-count // done)
            heatmap = (total[0] / done).abs().amax(dim=0).float().numpy()
            yield Step(index, steps, values={"heatmap": heatmap})
    values = target_values(net, x, target)
    mean = (total / done).to(x.device, torch.float32)
    return InputGradients(values, mean, rectifiers), done
