"""The kernels of a convolution as it uses them, read without changing anything."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from cnnviz_widgets.engine.errors import WeightsError
from cnnviz_widgets.engine.layers import find_module
from cnnviz_widgets.engine.state import evaluation

Convolution: TypeAlias = nn.Conv2d | nn.ConvTranspose2d

# They put the weight together just before each forward pass: until then it may be an old one.
_WEIGHT_HOOKS = (WeightNorm, SpectralNorm, prune.BasePruningMethod)


@dataclass(frozen=True)
class ConvolutionInfo:
    """A layer that has kernels.

    Attributes
    ----------
    name, kind
        Dotted name and class name.
    shape
        Of its kernels: [O, I / groups, kH, kW].
    groups
        Number of groups.
    parameters
        Number of parameters.
    """

    name: str
    kind: str
    shape: tuple[int, int, int, int]
    groups: int
    parameters: int


def list_convolutions(root: nn.Module) -> tuple[ConvolutionInfo, ...]:
    """Return the two-dimensional convolutions of a module in its own order; no forward pass is needed.

    Raises
    ------
    WeightsError
        (a ValueError) There is none.
    """
    found = tuple(
        ConvolutionInfo(
            name=name,
            kind=type(module).__name__,
            shape=(module.out_channels, module.in_channels // module.groups, *_sides(module)),
            groups=module.groups,
            parameters=sum(each.numel() for each in module.parameters()),
        )
        for name, module in root.named_modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    )
    if not found:
        raise WeightsError(
            "this network has no Conv2d or ConvTranspose2d at all, so it has no kernels to show"
        )
    return found


def _sides(module: Convolution) -> tuple[int, int]:
    height, width = module.kernel_size
    return height, width


def find_convolution(root: nn.Module, name: str) -> Convolution:
    """Return the two-dimensional convolution of that name, or say which ones are near.

    Raises
    ------
    LayerNotFoundError
        (a LookupError) No layer of that name.
    WeightsError
        (a ValueError) The layer has no kernels.
    """
    module = find_module(root, name)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return module
    raise WeightsError(
        f"layer {name!r} is a {type(module).__name__}, which has no two-dimensional kernels; "
        f"{_convolutions_near(root, module)}"
    )


def read_kernels(root: nn.Module, name: str) -> NDArray[np.float32]:
    """Return a copy of the kernels of a convolution, float32 [O, I / groups, kH, kW].

    These are the ones that a forward pass in evaluation mode uses: parametrizations, weight and spectral
    normalization and pruning of ``torch.nn.utils`` are applied. (A subclass that makes other weights inside
    of its own ``forward`` has those shown that it stores.) A transposed convolution, which stores them by
    input channel, has them sorted by output channel; they are not turned.

    Raises
    ------
    LayerNotFoundError, WeightsError
        As `find_convolution`; also for complex weights, NaN and infinity.
    """
    kernels = copy_kernels(root, name)
    bad = np.asarray(~np.isfinite(kernels).all(axis=(1, 2, 3)))
    if bad.any():
        raise WeightsError(
            f"{int(bad.sum())} of the {len(bad)} kernels of layer {name!r} hold NaN or infinity, "
            f"the first one is {int(bad.argmax())}; the training has diverged or the file is damaged"
        )
    return kernels


def copy_kernels(root: nn.Module, name: str) -> NDArray[np.float32]:
    """Return the kernels as `read_kernels` does, but as they are: with NaN and infinity, if any."""
    module = find_convolution(root, name)
    # A weight that is a parameter itself is read as it is; others may be computed, which can change buffers.
    stored = module._parameters.get("weight") is not None
    with nullcontext() if stored else evaluation(root):
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, _WEIGHT_HOOKS):
                hook(module, ())
        weight = module.weight.detach()
        if weight.is_complex():
            raise WeightsError(f"layer {name!r} has complex kernels; only real ones can be shown")
        # Always a copy: the caller's would change under its eyes while a training goes on.
        kernels = by_output(module, weight).to("cpu", torch.float32, copy=True).contiguous()
    return kernels.numpy()


def by_output(module: Convolution, weight: Tensor) -> Tensor:
    """Return weights as [O, I / groups, kH, kW], whichever way the layer stores them."""
    if not isinstance(module, nn.ConvTranspose2d):
        return weight
    inputs, outputs, *size = weight.shape
    grouped = weight.reshape(module.groups, inputs // module.groups, outputs, *size)
    return grouped.transpose(1, 2).flatten(0, 1)


def _convolutions_near(root: nn.Module, module: nn.Module) -> str:
    """Return which convolutions there are inside of a module, or just before and after it."""
    names = {each: name for name, each in root.named_modules()}
    found = [each for each in names if isinstance(each, nn.Conv2d | nn.ConvTranspose2d)]
    if not found:
        return "this network has no Conv2d or ConvTranspose2d at all"
    within = set(module.modules())
    inside = [each for each in found if each in within]
    if inside:
        return _listed("inside of it there", [names[each] for each in inside])
    order = list(names)
    place = order.index(module)
    before = [each for each in found if order.index(each) < place][-1:]
    after = [each for each in found if order.index(each) > place][:1]
    return _listed("the nearest with kernels", [names[each] for each in before + after])


def _listed(start: str, names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{start} {'is' if len(names) == 1 else 'are'} {shown}"
