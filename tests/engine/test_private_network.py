"""A copy of a module for one run: nothing in common with the user's, one for all of it, and gone afterwards."""

from __future__ import annotations

import dataclasses
import random
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.private_copy import private_copy
from tests.untouched import untouched

SPEC = cv.InputSpec(size=6, channels=3)


class Shared(nn.Module):
    """A module whose copies have something in common with it."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.inner = nn.Conv2d(3, 2, 3)
        self.register_buffer("offset", torch.zeros(1))

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        if self.what == "module":
            return self
        copied = Shared(self.what)
        if self.what == "part":
            copied.inner = self.inner
        if self.what == "parameter":
            copied.inner.weight = self.inner.weight
        if self.what == "memory":
            copied.inner.weight = nn.Parameter(self.inner.weight.data)
        if self.what == "buffer":
            copied.offset = self.offset
        return copied

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x) + self.offset
        return found


@pytest.mark.parametrize("what", ["module", "part", "parameter", "memory", "buffer"])
def test_a_copy_that_shares_anything_is_none(what: str) -> None:
    module = nn.Sequential(Shared(what)).train()
    net = cv.Network(module, input=SPEC)
    with untouched(module):
        cv.maximize(net, cv.Target(layer="0", channel=1), steps=2, seed=1)
    with pytest.raises(UnsupportedModuleError, match="shares modules or weights"):
        private_copy(module, "it is changed")


class Counted(nn.Module):
    """A module that knows its copies."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[weakref.ref[nn.Module]] = []
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 5, 3), nn.Softplus()
        )
        self.head = nn.Linear(5, 3)

    def __deepcopy__(self, memo: dict[int, Any]) -> Counted:
        copied = Counted()
        copied.load_state_dict(self.state_dict())
        self.copies.append(weakref.ref(copied))
        return copied

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(x).mean((2, 3)))
        return found


PHOTO = np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)
LAYERS = ["features.1", "features.3"]
RUNS: dict[str, Callable[[cv.Network], Generator[Any, None, Any]]] = {
    "maximize": lambda net: cv.maximize.steps(net, [0, cv.Target(layer="features.0", channel=1)], steps=3),
    "deepdream": lambda net: cv.deepdream.steps(net, PHOTO, LAYERS[1], octaves=2, steps=2, frames=2),
    "invert_layers": lambda net: cv.invert_layers.steps(net, PHOTO, LAYERS, steps=2),
    "synthesize_texture": lambda net: cv.synthesize_texture.steps(
        net, PHOTO, layers=LAYERS, scales=2, steps=4
    ),
    "transfer_style": lambda net: cv.transfer_style.steps(
        net, PHOTO, PHOTO[::-1].copy(), style_layers=LAYERS, scales=2, steps=4
    ),
    "pgd": lambda net: cv.attack.steps(net, PHOTO, method="pgd", steps=2, restarts=2),
    "deepfool": lambda net: cv.attack.steps(net, PHOTO, method="deepfool", epsilon=0.01, steps=2),
    "curve": lambda net: cv.attack_curve.steps(
        net, [PHOTO, PHOTO[::-1]], [0.0, 0.01], method="ifgsm", steps=2, batch_size=1
    ),
    "fgsm curve": lambda net: cv.attack_curve.steps(net, [PHOTO, PHOTO[::-1]], [0.0, 0.01], batch_size=1),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_takes_one_copy_which_ends_with_it(name: str) -> None:
    """And all of it goes by the weights of its beginning: goals, steps, and what is said of the result."""
    torch.manual_seed(0)
    net = cv.Network(Counted(), input=cv.InputSpec(size=12, channels=3, mean=0.5, std=0.25))
    expected = taken(RUNS[name](net), lambda: None)[1]
    assert len(net.module.copies) == 1

    def train() -> None:
        with torch.no_grad():
            for parameter in net.module.parameters():
                parameter.mul_(-1.5).add_(0.1)

    steps, found = taken(RUNS[name](net), train)
    assert len(net.module.copies) == 2
    assert steps
    assert not any(each() for each in net.module.copies)
    assert_same_fields(found, expected)


def taken(run: Generator[Any, None, Any], change: Callable[[], None]) -> tuple[list[Any], Any]:
    """Return a run's steps and result; something happens after the first step."""
    steps = [next(run)]
    change()
    while True:
        try:
            steps.append(next(run))
        except StopIteration as end:
            return steps, end.value


def assert_same_fields(found: Any, expected: Any) -> None:
    if dataclasses.is_dataclass(expected):
        for field in dataclasses.fields(expected):
            assert_same_fields(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, Mapping | tuple):
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, Mapping) else range(len(expected)):
            assert_same_fields(found[key], expected[key])
    else:
        np.testing.assert_array_equal(found, expected)


class Chancy(nn.Module):
    """A module that draws numbers in each pass."""

    def __init__(self, draw: Callable[[], object]) -> None:
        super().__init__()
        self.draw = draw
        self.inner = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.draw()
        found: Tensor = self.inner(x)
        return found


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(3),
        lambda: torch.manual_seed(3),
        random.random,
        lambda: random.seed(3),
        lambda: np.random.rand(2),  # noqa: NPY002
        lambda: np.random.seed(3),  # noqa: NPY002
    ],
    ids=["torch", "torch seeded", "python", "python seeded", "numpy", "numpy seeded"],
)
def test_a_steady_pass_takes_no_numbers_of_anyone(draw: Callable[[], object]) -> None:
    """Also when the copy is known to stay as it is, and little is watched over."""
    module = Chancy(draw)
    draw()  # one that seeds leaves the next watched pass nothing to change
    run = cv.maximize.steps(
        cv.Network(module, input=SPEC), cv.Target(layer="inner", channel=1), steps=6, transforms=[]
    )
    for _ in range(6):
        with untouched(module):
            next(run)
        torch.rand(1), random.random(), np.random.rand()  # noqa: NPY002 -- the user's
    run.close()


def test_all_passes_of_a_run_draw_the_same_numbers() -> None:
    """As those of the network itself do: else a picture would be compared with what was seen of it otherwise."""
    drawn: list[tuple[float, float]] = []

    def draw() -> None:
        drawn.append((random.random(), np.random.rand()))  # noqa: NPY002

    net = cv.Network(Chancy(draw), input=SPEC)
    cv.invert(net, PHOTO, "inner", steps=4)
    cv.maximize(net, cv.Target(layer="inner", channel=1), steps=4)
    assert len(drawn) > 8
    assert len(set(drawn)) == 1


def test_a_module_that_was_made_in_inference_mode() -> None:
    """No gradient flows through it, but through a copy; it stays as it is."""
    with torch.inference_mode():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3))
    net = cv.Network(module, input=SPEC)
    for mode in (torch.inference_mode, torch.enable_grad):
        with mode():
            assert cv.maximize(net, cv.Target(layer="3", channel=1), steps=2).steps == 2
            with pytest.raises(UnsupportedModuleError, match=r"made inside of torch\.inference_mode\(\)"):
                cv.gradient_map(net, PHOTO, cv.Target(layer="3", channel=1))
        assert all(each.requires_grad and each.grad is None for each in module.parameters())


def test_a_copy_that_shares_nothing_is_one() -> None:
    module = nn.Sequential(Shared("nothing"), nn.BatchNorm2d(2))
    assert private_copy(module, "it is changed") is not module
