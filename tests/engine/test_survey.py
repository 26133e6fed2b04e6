"""What is learned of forward passes: when it can be relied on, when it is forgotten, and what it keeps."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.state import evaluation
from cnnviz_widgets.engine.survey import Surveys, watched
from tests.random_networks import SEEDS, RandomNetwork
from tests.small_networks import CallCounter, Function, chain, images, small


def survey_of(module: nn.Module, x: Tensor) -> Any:
    with evaluation(module), watched(module) as survey:
        module(x)
    return survey


@pytest.mark.parametrize("seed", SEEDS)
def test_ordinary_networks_are_predictable(seed: int) -> None:
    module = RandomNetwork(seed)
    survey = survey_of(module, module.example())
    assert survey.predictable
    assert survey.calls(module) == 1
    assert survey.calls(module.unused) == 0


@pytest.mark.parametrize(
    ("function", "predictable"),
    [
        (lambda x: x[:, [2, 0]] + x[:, :2], True),
        (lambda x: x[torch.tensor([1, 0])], True),
        (lambda x: x * (x > 0), True),
        (lambda x: torch.where(x > 0, x, -x), True),
        (lambda x: x.masked_fill(x > 0, 1), True),
        (lambda x: x.topk(2, dim=1).values, True),
        (lambda x: [each * 2 for each in x] and x, True),
        (lambda x: nn.functional.dropout(x, 0.5, training=True), True),
        (lambda x: x[x > 0], False),
        (lambda x: x.masked_select(x > 0), False),
        (lambda x: x.unique(), False),
        (lambda x: x.sum().item() and x, False),
        (lambda x: torch._foreach_mul_([x], 2) and x, False),
        (lambda x: torch._foreach_mul([x], 2)[0], True),
        (lambda x: x.data, False),
        (lambda x: x.data_ptr() and x, False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else "",
)
def test_what_can_be_relied_on(function: Any, predictable: bool) -> None:
    assert survey_of(Function(lambda module, x: function(x)), images()).predictable is predictable


def test_being_watched_changes_nothing() -> None:
    module = RandomNetwork(4)
    x = module.example()
    with evaluation(module):
        plain = module(x.clone())
        with watched(module):
            seen = module(x.clone())
    assert torch.equal(
        plain["out"] if isinstance(plain, dict) else plain[0],
        seen["out"] if isinstance(seen, dict) else seen[0],
    )
    assert not any(each._forward_hooks for each in module.modules())


def test_only_so_many_kinds_are_remembered() -> None:
    module = nn.Conv2d(1, 1, 1)
    surveys = Surveys(module)
    for size in range(40):
        assert surveys.find(((1, 1, size, 1), False)) is None
        surveys.add(((1, 1, size, 1), False), survey_of(module, torch.zeros(1, 1, 4, 4)))
    found = [size for size in range(40) if surveys.find(((1, 1, size, 1), False))]
    assert found == list(range(8, 40))


CHANGES = {
    "part added": lambda m: m.add_module("new", nn.ReLU()),
    "part removed": lambda m: m.__delattr__("relu"),
    "part replaced": lambda m: setattr(m, "relu", nn.ReLU(inplace=True)),
    "part moved": lambda m: m._modules.update(more=m._modules.pop("more"), relu=m._modules.pop("relu")),
    "setting": lambda m: setattr(m.relu, "inplace", False),
    "new attribute": lambda m: setattr(m, "scale", 2),
    "forward": lambda m: setattr(m.relu, "forward", lambda x: x),
    "list": lambda m: m.order.reverse(),
    "dict": lambda m: m.table.update(a=2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change: str) -> None:
    module = chain()
    module.order, module.table = ["a", "b"], {"a": 1}
    surveys = Surveys(module)
    kind = ((2, 3, 8, 8), False)
    assert surveys.find(kind) is None
    survey = survey_of(module, images())
    surveys.add(kind, survey)
    assert surveys.find(kind) is survey
    CHANGES[change](module)
    assert surveys.find(kind) is None
    surveys.add(kind, survey)
    assert surveys.find(kind) is survey


def test_training_between_passes_is_no_change() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3))
    net = small(module)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    with cv.capture(net, ["0"]):
        net(images())
    counter = CallCounter(module)
    with cv.capture(net, ["0"]):
        net(images())
    for _ in range(3):
        module.train()
        module(images()).sum().backward()
        optimizer.step()
        module.eval()
        module.register_forward_hook(lambda *arguments: None)
        module(images())
        counter.calls.clear()
        with cv.capture(net, ["0"]):
            net(images())
        assert counter.calls == {"": 1, "0": 1}


def test_no_tensor_is_kept_alive() -> None:
    module = Function(
        lambda self, x: self.relu(self.conv(x)), conv=nn.Conv2d(3, 2, 1), relu=nn.ReLU(inplace=True)
    )
    module.last = torch.zeros(3)
    net = small(module)
    with cv.capture(net) as seen:
        net(images())
    net.layers  # noqa: B018
    kept = [weakref.ref(each) for each in (module.last, module.conv.weight, seen["conv"])]
    del seen, module.last
    module.conv.weight = nn.Parameter(torch.zeros(2, 3, 1, 1))
    gc.collect()
    assert [each() for each in kept] == [None] * 3
