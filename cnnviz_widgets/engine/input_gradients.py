"""Gradients of a target with respect to the image, or to what a layer returned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.graph import _engine_run_backward

from cnnviz_widgets.engine.batch_statistics import independent_parts, takes_batch_statistics
from cnnviz_widgets.engine.capture import apart, capture
from cnnviz_widgets.engine.errors import InputError, OutputError, UnsupportedModuleError, ZeroGradientError
from cnnviz_widgets.engine.graph_ways import is_plain_way, is_reached
from cnnviz_widgets.engine.layers import LayerKey, main_tensor
from cnnviz_widgets.engine.rectifiers import rectifiers
from cnnviz_widgets.engine.relu_rules import RuledCalls, ruled
from cnnviz_widgets.engine.state import evaluation

if TYPE_CHECKING:
    from cnnviz_widgets.engine.inputs import Images
    from cnnviz_widgets.engine.network import Network
    from cnnviz_widgets.engine.targets import Target


@dataclass(frozen=True)
class InputGradients:
    """What a backward pass has found for a batch.

    Attributes
    ----------
    values
        The target's value for each image [N].
    gradients
        Its gradient with respect to each number of the batch [N, C, H, W].
    rectifiers
        How many calls of rectifiers a rule has changed.
    """

    values: Tensor
    gradients: Tensor
    rectifiers: int


def one_image(net: Network, image: Images, user: str) -> Tensor:
    """Return one image as a batch [1, C, H, W], or say that there are several."""
    x = net.prepare(image)
    if len(x) != 1:
        raise InputError(f"{user} takes one image, got {len(x)}; call it once for each")
    return x


def pictures_of(net: Network, x: Tensor) -> NDArray[np.uint8]:
    """Return prepared images as pictures, uint8 [N, H, W, 3]; [N, 0, 0, 3] where their channels make none."""
    return net.restore(x) if net.input.channels in (1, 3) else np.zeros((len(x), 0, 0, 3), np.uint8)


@contextmanager
def backward_pass(net: Network, rule: str = "plain") -> Iterator[RuledCalls]:
    """Run a forward and a backward pass inside: the module is in evaluation mode and preserved all the time.

    Modules that checkpoint their activations run again while gradients flow back, with the same rule.
    """
    with apart(net), evaluation(net.core, gradients=True), ruled(rule) as calls:
        yield calls


def target_values(net: Network, x: Tensor, target: Target) -> Tensor:
    """Return a target's value for each image of a prepared batch [N], without gradients."""
    with apart(net):
        parts = independent_parts(net.core, x.detach())
        return torch.cat([target.scores(net, each) for each in parts])


def leaf_of(x: Tensor) -> Tensor:
    """Return a batch that gradients can be taken of, also where it was made in inference mode."""
    with torch.inference_mode(False):
        return (x.clone() if x.is_inference() else x.detach()).requires_grad_()


def input_gradients(net: Network, x: Tensor, target: Target, rule: str = "plain") -> InputGradients:
    """Return a target's values and gradients for a prepared batch [N, C, H, W].

    Raises
    ------
    TargetError, LabelNotFoundError, LayerNotFoundError
        A target that is not there.
    UnsupportedModuleError
        A rule for rectifiers, and no rectifier that it could change on the way to the target.
    OutputError
        The value, or a gradient, is NaN or infinite.
    """
    if len(x) > 1 and takes_batch_statistics(net.core):
        found = [input_gradients(net, each, target, rule) for each in x.split(1)]
        values, gradients = (
            torch.cat(each) for each in zip(*((one.values, one.gradients) for one in found), strict=True)
        )
        return InputGradients(values, gradients, found[0].rectifiers)
    with backward_pass(net, rule) as calls:
        x = leaf_of(x)
        values = target.scores(net, x)
        check = changed_check(net, values, calls)
        gradients = gradients_of(values.sum(), x)
    check(gradients)
    return InputGradients(values.detach(), gradients, calls.changed)


def changed_check(net: Network, value: Tensor, calls: RuledCalls) -> Callable[[Tensor], None]:
    """Return what checks the gradient of the backward pass: a rule may have changed nothing that it should have.

    To be asked before the backward pass, which frees the graph. A value that lies before the first rectifier is no
    error: nothing was missed there; nor is a gradient of zero, which others tell of.

    Raises
    ------
    UnsupportedModuleError
        (when called) The gradient has gone through no rectifier that is recognized, but may have gone through others;
        or the network calls none at all.
    """
    is_plain = calls.rule == "plain" or is_plain_way(value)

    def check(gradient: Tensor) -> None:
        if calls.rule == "plain" or calls.reached or not bool((gradient != 0).any()):
            return
        known = rectifiers(net.survey, net.core)
        if is_plain and known:
            return
        where = ""
        if known:
            where = f" on the way from the image to the value (though {len(known)} elsewhere)"
        raise UnsupportedModuleError(
            f"the rule {calls.rule!r} is one for rectifiers, but this network calls none that is recognized{where} "
            "(nn.ReLU and its kin, F.relu, x.relu_(), x.clamp(min=0) and the like), so that 0 calls were changed and "
            "the result would be the plain gradient; take that, or write the rectifiers in one of these ways"
        )

    return check


def layer_gradients(
    net: Network, x: Tensor, target: Target, layer: LayerKey
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the target's values [N], what a layer returned, and the gradients with respect to that.

    Raises
    ------
    ZeroGradientError
        The target does not depend on the layer.
    """
    with backward_pass(net), capture(net, [layer], gradients=True) as seen:
        values = target.scores(net, leaf_of(x))
        maps = main_tensor(seen[layer])
        if not is_reached(values, maps):
            raise ZeroGradientError(
                f"{target.text} does not depend on layer {layer!r}, so the gradient is zero everywhere and there is "
                "nothing to show; take a layer on the way from the image to what is asked about, in front of it"
            )
        gradients = gradients_of(values.sum(), maps)
    if seen.is_channels_last(layer):
        maps, gradients = maps.movedim(-1, 1), gradients.movedim(-1, 1)
    return values.detach(), maps.detach(), gradients


def gradients_of(value: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of a number with respect to a tensor; zeros where it does not depend on it.

    Raises
    ------
    OutputError
        It is NaN or infinite.
    """
    gradient = sent_back(value, x)
    if not bool(torch.isfinite(gradient).all()):
        raise OutputError("the gradient is NaN or infinite for this image, so there is nothing to show")
    return gradient


def sent_back(value: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of a number with respect to a tensor, whatever it is."""
    if not (value.requires_grad and x.requires_grad):
        return torch.zeros_like(x)
    with _arriving(x) as arrived:
        # What `torch.autograd.backward` runs in the end, which itself turns modes off, such as that of a rule: modules
        # that checkpoint their activations, and run again here, would return to the plain one and mix up what they
        # saved. Without inputs, which reentrant checkpoints refuse: no parameter asks for a gradient here.
        _engine_run_backward(
            (value,), (torch.ones_like(value),), False, False, (), True, accumulate_grad=True
        )
    return sum(arrived[1:], arrived[0]).detach() if arrived else torch.zeros_like(x)


@contextmanager
def _arriving(x: Tensor) -> Iterator[list[Tensor]]:
    """Collect the gradients that arrive at a tensor inside."""
    arrived: list[Tensor] = []

    def take(leaf: Tensor) -> None:
        arrived.append(cast(Tensor, leaf.grad))
        leaf.grad = None

    before = x.grad if x.is_leaf else None
    if x.is_leaf:
        # It takes its gradient over as it comes; what looks at that on its way has it copied.
        x.grad = None
        handle = x.register_post_accumulate_grad_hook(take)
    else:
        handle = x.register_hook(arrived.append)
    try:
        yield arrived
    finally:
        handle.remove()
        if x.is_leaf:
            x.grad = before


def check_not_zero(gradient: Tensor, target: Target, value: float, of_what: str = "") -> None:
    """Raise `ZeroGradientError`, with what to do, where a gradient is zero everywhere."""
    if bool((gradient != 0).any()):
        return
    if target.of == "probability":
        advice = (
            f"the probability is {value:.6g}, where a softmax is flat; take of='logit', the value before it"
        )
    else:
        advice = (
            f"the value is {value:.6g}; if it comes out of a rectifier, that passes nothing on where it returns 0: "
            "take the value before the last rectifier, such as Target(layer=<the layer in front of it>, channel=...)"
        )
    raise ZeroGradientError(
        f"the gradient of {target.text}{of_what} is zero everywhere, so there is nothing to show; {advice}"
    )
