"""Kernels read from a module are those it computes with, and reading them leaves no trace."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from cnnviz_widgets.engine.errors import LayerNotFoundError, WeightsError
from cnnviz_widgets.engine.weights import list_convolutions, read_kernels


def seeded(build):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def old_weight_norm(module: nn.Conv2d) -> nn.Conv2d:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(module)
    # As an optimizer does: until the next forward pass, `weight` is the old one.
    module.weight_g.data.mul_(2)
    return module


def pruned(module: nn.Conv2d) -> nn.Conv2d:
    prune.l1_unstructured(module, "weight", amount=0.5)
    module.weight_orig.data.mul_(3)
    return module


def old_spectral_norm(module: nn.Conv2d) -> nn.Conv2d:
    torch.nn.utils.spectral_norm(module)
    module.weight_orig.data.mul_(3)
    return module


LAYERS = {
    "plain": lambda: nn.Conv2d(3, 8, 5),
    "oblong, strided": lambda: nn.Conv2d(3, 8, (3, 5), stride=2),
    "grouped": lambda: nn.Conv2d(6, 9, 3, groups=3),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, groups=4),
    "dilated": lambda: nn.Conv2d(3, 4, 3, dilation=2),
    "1x1": lambda: nn.Conv2d(5, 7, 1),
    "padded": lambda: nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"),
    "channels last": lambda: nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2),
    "transposed, grouped": lambda: nn.ConvTranspose2d(4, 6, (2, 3), groups=2),
    "weight norm": lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
    "old weight norm": lambda: old_weight_norm(nn.Conv2d(3, 4, 3)),
    "old spectral norm": lambda: old_spectral_norm(nn.Conv2d(3, 4, 3)),
    "pruned": lambda: pruned(nn.Conv2d(3, 4, 3)),
    "double": lambda: nn.Conv2d(3, 4, 3).double(),
    "half": lambda: nn.Conv2d(3, 4, 3).to(torch.bfloat16),
}


def kernels_by_deltas(module: nn.Module) -> np.ndarray:
    """Find the kernels [O, I, kH, kW] by what the layer answers to a single bright pixel in each channel."""
    (dilation_rows, dilation_columns), (height, width) = module.dilation, module.kernel_size
    channels, per_group = module.in_channels, module.in_channels // module.groups
    found = np.zeros((module.out_channels, per_group, height, width), np.float32)
    readers = module.out_channels // module.groups
    for channel in range(channels):
        group = slice(channel // per_group * readers, (channel // per_group + 1) * readers)
        for row in range(height):
            for column in range(width):
                shape = (1, channels, 1 + (height - 1) * dilation_rows, 1 + (width - 1) * dilation_columns)
                if isinstance(module, nn.ConvTranspose2d):
                    x = torch.zeros(1, channels, 1, 1, dtype=module.weight.dtype)
                    x[0, channel, 0, 0] = 1
                    answer = module(x)[0, group, row, column] - module.bias[group]
                else:
                    x = torch.zeros(shape, dtype=module.weight.dtype)
                    x[0, channel, row * dilation_rows, column * dilation_columns] = 1
                    rows, columns = (0, 0) if module.padding != "same" else (height // 2, width // 2)
                    answer = module(x)[0, group, rows, columns] - module.bias[group]
                found[group, channel % per_group, row, column] = answer.detach().float().numpy()
    return found


@pytest.mark.parametrize("kind", LAYERS)
def test_they_are_the_kernels_of_a_forward_pass(kind: str) -> None:
    root = seeded(lambda: nn.Sequential(LAYERS[kind]()))
    kernels = read_kernels(root, "0")
    assert kernels.dtype == np.float32
    tolerance = 2e-2 if kind == "half" else 1e-5
    np.testing.assert_allclose(kernels, kernels_by_deltas(root.eval()[0]), atol=tolerance)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("training", [True, False])
def test_reading_leaves_no_trace(kind: str, training: bool) -> None:
    root = seeded(lambda: nn.Sequential(LAYERS[kind](), nn.BatchNorm2d(2))).train(training)
    root[0].register_forward_pre_hook(lambda *_: pytest.fail("the user's own hook was called"))
    attributes = [dict(each.__dict__) for each in root.modules()]
    tensors = [(each, each.clone()) for each in [*root.parameters(), *root.buffers()]]
    stale = root[0].__dict__.get("weight")
    random = torch.get_rng_state()
    read_kernels(root, "0")
    for each, before in zip(root.modules(), attributes, strict=True):
        assert each.__dict__.keys() == before.keys()
        assert all(each.__dict__[name] is value for name, value in before.items())
    for tensor, before in tensors:
        assert torch.equal(tensor, before)
    assert root[0].__dict__.get("weight") is stale
    assert torch.equal(torch.get_rng_state(), random)


def test_the_answer_is_a_copy() -> None:
    root = nn.Sequential(nn.Conv2d(1, 2, 3))
    kernels = read_kernels(root, "0")
    before = kernels.copy()
    with torch.no_grad():
        root[0].weight.zero_()
    np.testing.assert_array_equal(kernels, before)
    kernels[:] = 1
    assert not root[0].weight.any()


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.second = nn.ConvTranspose2d(2, 2, 3)


NETWORK = nn.Sequential(
    nn.ReLU(), nn.Conv2d(1, 2, 3), nn.ReLU(), Block(), nn.Flatten(), nn.Conv1d(1, 2, 3), nn.Linear(4, 2)
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0", "layer '0' is a ReLU, which has no two-dimensional kernels; the nearest with kernels is '1'"),
        ("2", "is a ReLU, .* the nearest with kernels are '1', '3.first'"),
        ("3", "is a Block, .* inside of it there are '3.first', '3.second'"),
        ("5", "is a Conv1d, .* the nearest with kernels is '3.second'"),
        ("6", "is a Linear, .* the nearest with kernels is '3.second'"),
        ("", "inside of it there are '1', '3.first', '3.second'"),
    ],
)
def test_a_layer_without_kernels_names_those_near(name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        read_kernels(NETWORK, name)


def test_other_layers_that_cannot_be_read() -> None:
    with pytest.raises(WeightsError, match="no Conv2d or ConvTranspose2d at all"):
        read_kernels(nn.Sequential(nn.Linear(2, 2)), "0")
    with pytest.raises(LayerNotFoundError, match=r"'3\.frist' not found; did you mean '3\.first'"):
        read_kernels(NETWORK, "3.frist")
    many = nn.Sequential(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(6))))
    with pytest.raises(WeightsError, match=r"'0\.0', '0\.1', '0\.2', '0\.3' and 2 more"):
        read_kernels(many, "0")
    with pytest.raises(WeightsError, match="complex kernels"):
        read_kernels(nn.Sequential(nn.Conv2d(1, 1, 3, dtype=torch.complex64)), "0")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_layer_is_said(value: float) -> None:
    root = nn.Sequential(nn.Conv2d(2, 5, 3))
    with torch.no_grad():
        root[0].weight[3, 1, 2, 0] = value
    with pytest.raises(
        WeightsError, match="1 of the 5 kernels of layer '0' hold NaN or infinity, the first one is 3"
    ):
        read_kernels(root, "0")


def test_the_convolutions_are_listed_with_the_shapes_of_their_kernels():
    module = nn.Sequential(
        nn.Conv2d(4, 6, (3, 5), groups=2), nn.ReLU(), nn.Sequential(nn.ConvTranspose2d(6, 8, 2, groups=2))
    )
    found = list_convolutions(module)
    assert [(each.name, each.kind, each.groups) for each in found] == [
        ("0", "Conv2d", 2),
        ("2.0", "ConvTranspose2d", 2),
    ]
    assert [each.shape for each in found] == [read_kernels(module, each.name).shape for each in found]
    assert [each.parameters for each in found] == [6 * 2 * 15 + 6, 6 * 4 * 4 + 8]
    with pytest.raises(WeightsError, match="no Conv2d"):
        list_convolutions(nn.Linear(2, 2))
