"""Fewer channels on a private copy: the same values and gradients as with all of them, or nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.climber import Climber
from cnnviz_widgets.engine.narrowing import Kept
from cnnviz_widgets.engine.objectives import Objective, OneEach, Seen, as_objective
from tests.random_networks import RandomNetwork
from tests.untouched import untouched


def climbed(module: nn.Module, x: Tensor, *objectives: Objective) -> tuple[Kept, Climber]:
    """Climb three steps from some pictures, each against the plain gradient of the whole module."""
    net = cv.Network(module, input=cv.InputSpec(size=tuple(x.shape[2:]), channels=x.shape[1]))
    terms = {str(index): each for index, each in enumerate(objectives)}
    climber = Climber(net, terms)
    for _ in range(3):
        x = x.detach().requires_grad_()
        with climber.step():
            climber.narrow(x)
            values = climber.values(x, x)
            (gradient,) = torch.autograd.grad(torch.stack([*values.values()]).sum(), x)
        expected, slope = plain(net, terms, x)
        for name, each in values.items():
            torch.testing.assert_close(each.detach(), expected[name], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(gradient, slope, atol=1e-6, rtol=1e-4)
        x = x + 0.1 * gradient / gradient.abs().max().clamp(min=1e-9)
    assert not climber._may_narrow
    assert not any("forward" in each.__dict__ for each in climber.net.core.modules())
    return climber._narrowing.kept, climber


def plain(net: cv.Network, terms: Mapping[str, Objective], x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    x = x.detach().requires_grad_()
    layers = [layer for each in terms.values() for layer in each.layers]
    with cv.capture(net, layers, gradients=True) as seen:
        output = net(x)
    looked = Seen(net, x, {layer: seen[layer] for layer in layers}, output)
    values = {name: each.values(looked) for name, each in terms.items()}
    (gradient,) = torch.autograd.grad(torch.stack([*values.values()]).sum(), x)
    return {name: each.detach() for name, each in values.items()}, gradient


def channel(layer: str, number: int, **options: Any) -> Objective:
    return as_objective(cv.Target(layer=layer, channel=number, **options))


class Fire(nn.Module):
    """Two ways side by side, as in SqueezeNet and Inception; in one of the ways a batch norm."""

    def __init__(self, kind: str = "cat") -> None:
        super().__init__()
        self.kind = kind
        self.squeeze = nn.Conv2d(4, 3, 1)
        self.one = nn.Conv2d(3, 5, 1)
        self.three = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.norm.running_mean, self.norm.running_var = torch.randn(6), torch.rand(6) + 0.5
        nn.init.normal_(self.norm.weight)
        self.relu = nn.ReLU(inplace=True)
        self.more = nn.Conv2d(11, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        a, b = self.one(x), self.norm(self.three(x))
        if self.kind == "gate":  # a mask, through which no gradient flows, of all channels
            b = b * (a.detach().sum(1, keepdim=True) > 0)
        if self.kind == "again":
            b = b + self.one(functional.max_pool2d(x, 3, 1, 1)).mean(1, keepdim=True)
        if self.kind == "tied":
            b = b + functional.conv2d(x, self.one.weight).sum(1, keepdim=True)
        if self.kind == "softmax":
            return torch.cat([a, b], 1).softmax(1)
        return torch.cat([self.relu(a), self.relu(b)], 1)


def stack(kind: str = "cat", last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(1)
    first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    module = nn.Sequential(first, Fire(kind), last or nn.MaxPool2d(2), nn.Conv2d(11, 4, 3))
    return module.eval()


X = torch.randn(2, 3, 14, 13, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("layer", "channels", "kept"),
    [
        ("0.0", [2], (2,)),
        ("0.1", [2], (2,)),
        ("0", [1, 2], (1, 2)),
        ("1", [3], (3, 5)),  # of the other way the first channel stays: there are no empty convolutions
        ("1", [7], (0, 7)),
        ("1.norm", [2], (2,)),
        ("2", [0, 4, 10], (0, 4, 10)),
        ("3", [1], (1,)),
    ],
)
def test_the_last_convolutions_make_what_is_read(
    layer: str, channels: list[int], kept: tuple[int, ...]
) -> None:
    objectives = [channel(layer, each) for each in channels]
    found, climber = climbed(stack(), X, *objectives)
    assert found == {layer: kept}
    made = dict(climber.net.core.named_modules())
    with climber.step():
        assert ("forward" in made["1.one"].__dict__) == (layer in ("1", "2"))
        assert "forward" not in made["1.squeeze"].__dict__


def test_sums_and_batches_of_targets_are_looked_into() -> None:
    several = [channel("1", 3) - 0.5 * channel("1", 8, position=(1, 2)), 2 * channel("1", 4)]
    module = stack()
    with untouched(module):
        assert climbed(module, X, OneEach(several))[0] == {"1": (3, 4, 8)}


@pytest.mark.parametrize(
    ("module", "objectives"),
    [
        # Reads all of the layer.
        (stack(), [cv.Direction("1", torch.arange(1.0, 12.0))]),
        (stack(), [channel("0.0", 1), cv.Direction("0.0", [1.0, 2.0, 3.0, 4.0])]),
        # Channels are mixed on the way.
        (stack("softmax"), [channel("1", 3)]),
        (stack(last=nn.LocalResponseNorm(3)), [channel("2", 3)]),
        # What comes later needs it.
        (stack(), [channel("0.0", 1), cv.Direction("1", torch.arange(1.0, 12.0))]),
        (stack(), [channel("1.squeeze", 1), as_objective(lambda output: output.flatten(1).sum(1))]),
    ],
)
def test_all_channels_stay_where_they_count(module: nn.Module, objectives: list[Objective]) -> None:
    assert climbed(module, X, *objectives)[0] == {}


@pytest.mark.parametrize("kind", ["gate", "again", "tied"])
def test_what_is_used_in_other_ways_stays_as_it_is(kind: str) -> None:
    """Weights tied by a function, a mask that no gradient passes, a layer that is called again."""
    _, climber = climbed(stack(kind), X, channel("1", 3), channel("1", 6))
    one = climber.net.core.get_submodule("1.one")
    with climber.step():
        assert "forward" not in one.__dict__ or kind == "tied"


def test_a_shape_that_is_read_in_python_is_noticed() -> None:
    class Shares(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x) if x.shape[1] == 4 else torch.sigmoid(x)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Shares())
    found, climber = climbed(module, X, channel("1", 3))
    assert found == {}
    with climber.step():
        assert "forward" not in climber.net.core.get_submodule("0").__dict__


@pytest.mark.parametrize("seed", range(6))
def test_random_networks_give_what_they_give_plainly(seed: int) -> None:
    module = RandomNetwork(seed).eval()
    net = cv.Network(module, input=cv.InputSpec(size=module.size, channels=module.channels))
    layers = [each for each in net.layers if each.calls == 1 and len(each.output_shape or ()) == 3]
    narrowed = 0
    for layer in layers[seed % 8 :: 8]:
        narrowed += bool(
            climbed(module, module.example(), channel(layer.name, seed % layer.output_shape[0]))[0]
        )
    COUNTS.append(narrowed)


COUNTS: list[int] = []


def test_some_of_these_were_narrowed() -> None:
    assert len(COUNTS) < 6 or sum(COUNTS) > 3
