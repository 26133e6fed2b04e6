"""Averages in place of maxima: against a slow loop, and against networks that are written with average pools."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import cnnviz_widgets as cv
from cnnviz_widgets.engine.averaged_pools import AveragedPools
from cnnviz_widgets.engine.errors import UnsupportedModuleError
from tests.small_networks import Function
from tests.untouched import untouched

SPEC = cv.InputSpec(size=16, mean=0.5, std=0.25)
PHOTO, OTHER = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
LAYERS = ["first", "second", "third"]


def means(x: Tensor, kernel: int, stride: int, padding: int, size: torch.Size) -> Tensor:
    """Return the mean of each window's places within the map."""
    found = torch.zeros(size, dtype=x.dtype)
    for row in range(size[-2]):
        for column in range(size[-1]):
            top, left = row * stride - padding, column * stride - padding
            window = x[..., max(top, 0) : top + kernel, max(left, 0) : left + kernel]
            found[..., row, column] = window.sum((-2, -1)) / math.prod(window.shape[-2:])
    return found


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
@pytest.mark.parametrize("ceil", [False, True])
def test_each_way_to_take_maxima_takes_means(kernel: int, stride: int, padding: int, ceil: bool) -> None:
    x = torch.randn(2, 3, 8, 7, generator=torch.Generator().manual_seed(0)).double()
    pool = nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil)
    wanted = means(x, kernel, stride, padding, pool(x).shape)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    with AveragedPools():
        found = [
            pool(x),
            functional.max_pool2d(x, kernel, **options),
            functional.max_pool2d(input=x, kernel_size=(kernel, kernel), **options),
            torch.max_pool2d(x, kernel, stride, padding, 1, ceil),
        ]
        if kernel == stride and not padding and not ceil:
            found += [functional.max_pool2d(x, kernel), torch.max_pool2d(x, [kernel, kernel])]
    for each in found:
        torch.testing.assert_close(each, wanted, rtol=0, atol=1e-12)
    with AveragedPools():
        adaptive = nn.AdaptiveMaxPool2d((4, 1))(x)
    torch.testing.assert_close(adaptive, x.unflatten(2, (4, 2)).mean((3, 4)).unsqueeze(3))
    assert torch.equal(pool(x), functional.max_pool2d(x, kernel, **options))


def pooling(module: Any, x: Tensor) -> Tensor:
    x = functional.max_pool2d(module.first(x).relu(), 2)
    x = module.second(x).relu()
    x = torch.max_pool2d(x, 3, 1, 1)
    return module.third(module.pool(x))


def elsewise(module: Any, x: Tensor) -> Tensor:
    """Take maxima, but by no pool in two dimensions."""
    x = module.first(x).unflatten(2, (-1, 2)).amax(3)
    return module.third(functional.max_pool1d(module.second(x)[0], 2)[None])


def averaging(module: Any, x: Tensor) -> Tensor:
    x = nn.AvgPool2d(2)(module.first(x).relu())
    x = module.second(x).relu()
    x = nn.AvgPool2d(3, 1, 1, count_include_pad=False)(x)
    return module.third(module.average(x))


def again(module: Any, x: Tensor) -> Tensor:
    """Run in the backward pass once more."""
    return checkpoint(lambda x: pooling(module, x), x, use_reentrant=False)


def network(forward: Any) -> cv.Network:
    torch.manual_seed(0)
    convolutions = {"first": nn.Conv2d(3, 6, 3), "second": nn.Conv2d(6, 8, 3), "third": nn.Conv2d(8, 5, 2)}
    module = Function(forward, **convolutions, pool=nn.MaxPool2d(2), average=nn.AvgPool2d(2))
    return cv.Network(module, input=SPEC)


@pytest.mark.parametrize("written", [pooling, again])
def test_a_texture_with_averages_is_that_of_a_network_written_with_them(written: Any) -> None:
    net = network(written)
    options: dict[str, Any] = {"layers": LAYERS, "steps": 6, "scales": 1}
    with untouched(net.module):
        found = cv.synthesize_texture(net, PHOTO, pooling="average", **options)
    wanted = cv.synthesize_texture(network(averaging), PHOTO, **options)
    np.testing.assert_allclose(found.loss, wanted.loss, rtol=1e-4)
    np.testing.assert_allclose(found.x, wanted.x, atol=1e-3)
    assert (found.pooling, wanted.pooling) == ("average", "max")
    plain = cv.synthesize_texture(net, PHOTO, **options)
    assert np.abs(plain.x - found.x).max() > 0.1


def test_a_transfer_with_averages_is_that_of_a_network_written_with_them() -> None:
    options: dict[str, Any] = {"style_layers": LAYERS, "content_layers": "third", "steps": 6, "scales": 1}
    found = cv.transfer_style(network(pooling), PHOTO, OTHER, pooling="average", **options)
    wanted = cv.transfer_style(network(averaging), PHOTO, OTHER, **options)
    for name, losses in found.losses.items():
        np.testing.assert_allclose(losses, wanted.losses[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.x, wanted.x, atol=1e-3)
    plain = cv.transfer_style(network(pooling), PHOTO, OTHER, **options)
    assert np.abs(plain.x - found.x).max() > 0.1


class Single(nn.Conv2d):
    """A module of which there is one."""

    def __deepcopy__(self, memo: Any) -> Single:
        return self


@pytest.mark.parametrize(
    ("forward", "layers", "said"),
    [
        (elsewise, "third", True),
        # There is a pool, but behind what is compared.
        (pooling, "first", True),
        (pooling, ["first", "second"], False),
        (lambda module, x: module.pool(module.first(x)), "pool", False),
    ],
)
def test_averages_without_a_max_pool_on_the_way_are_refused(forward: Any, layers: Any, said: bool) -> None:
    net, options = network(forward), {"layers": layers, "steps": 2, "scales": 1}
    with (
        pytest.raises(UnsupportedModuleError, match=r"Function calls no .* max pool .*; leave pooling out")
        if said
        else nullcontext()
    ):
        assert cv.synthesize_texture(net, PHOTO, pooling="average", **options).pooling == "average"
    assert cv.synthesize_texture(net, PHOTO, **options).steps == 2


def test_a_pool_on_the_way_to_one_of_the_losses_is_enough() -> None:
    net = network(pooling)
    options: dict[str, Any] = {"style_layers": "second", "content_layers": "first", "steps": 2, "scales": 1}
    assert cv.transfer_style(net, PHOTO, OTHER, pooling="average", **options).pooling == "average"
    # What has no weight is not compared.
    with pytest.raises(UnsupportedModuleError, match="leave pooling out"):
        cv.transfer_style(net, PHOTO, OTHER, pooling="average", style_weight=0, **options)


@pytest.mark.parametrize(
    ("last", "said"),
    [
        (nn.MaxPool2d(2, dilation=2), "dilation=2 has no average"),
        (nn.MaxPool2d(2, return_indices=True), "returns the places of its maxima"),
        (nn.AdaptiveMaxPool2d(2, return_indices=True), "returns the places of its maxima"),
        (Single(6, 6, 1), "pools are to take averages"),
    ],
)
def test_what_has_no_average_is_said(last: nn.Module, said: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), last)
    with pytest.raises(UnsupportedModuleError, match=said):
        cv.synthesize_texture(cv.Network(module, input=SPEC), PHOTO, layers="1", pooling="average", steps=2)
