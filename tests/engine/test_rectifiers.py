"""Rectifiers that are called as functions are layers: found, named and captured as they returned."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.rectifiers import is_rectifier, rectifiers
from tests.small_networks import CallCounter, Function, images, small
from tests.untouched import untouched

Rectify = Callable[[Tensor], Tensor]

# How a function can be called, its name, and what it computes.
CALLS: dict[str, tuple[str, Rectify]] = {
    "F.relu": ("relu", functional.relu),
    "F.relu in place": ("relu", lambda x: functional.relu(x, inplace=True)),
    "F.relu_": ("relu", functional.relu_),
    "torch.relu": ("relu", torch.relu),
    "torch.relu_": ("relu", torch.relu_),
    "method": ("relu", lambda x: x.relu()),
    "in-place method": ("relu", lambda x: x.relu_()),
    "clamp": ("clamp", lambda x: x.clamp(min=0)),
    "clamp with two bounds": ("clamp", lambda x: torch.clamp(x, 0, 9)),
    "clamp_": ("clamp", lambda x: x.clamp_(0.0)),
    "clip": ("clip", lambda x: x.clip(min=0)),
    "clamp_min": ("clamp_min", lambda x: x.clamp_min(0)),
    "F.relu6": ("relu6", functional.relu6),
    "F.hardtanh": ("hardtanh", lambda x: functional.hardtanh(x, 0.0, 6.0)),
    "F.threshold": ("threshold", lambda x: functional.threshold(x, 0.5, 0.0)),
    "F.leaky_relu": ("leaky_relu", lambda x: functional.leaky_relu(x, 0.1)),
    "F.leaky_relu_": ("leaky_relu", lambda x: functional.leaky_relu_(x, 0.1)),
    "F.elu": ("elu", functional.elu),
    "F.gelu": ("gelu", functional.gelu),
    "F.silu": ("silu", functional.silu),
    "F.mish": ("mish", functional.mish),
    "F.prelu": ("prelu", lambda x: functional.prelu(x, x.new_full((1,), 0.3))),
}
NO_RECTIFIERS: dict[str, Rectify] = {
    "clamp away from zero": lambda x: x.clamp(min=1e-6),
    "clamp from above": lambda x: x.clamp(max=0),
    "clamp by a tensor": lambda x: x.clamp(min=x.new_zeros(1)),
    "hardtanh": functional.hardtanh,
    "threshold": lambda x: functional.threshold(x, 0.0, -1.0),
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "abs": torch.abs,
}


def block(rectify: Rectify, log: list[Tensor]) -> nn.Module:
    """A network with one part that rectifies, notes a copy of the value, and overwrites it."""

    def inner(module: Any, x: Tensor) -> Tensor:
        y = rectify(module.conv(x))
        log.append(y.detach().clone())
        y += 1
        return y

    torch.manual_seed(0)
    part = Function(inner, conv=nn.Conv2d(3, 4, 3))
    return Function(lambda module, x: module.last(module.part(x)), part=part, last=nn.Conv2d(4, 2, 3))


def found_in(net: cv.Network) -> tuple[Any, ...]:
    return rectifiers(net.survey, net.core)


@pytest.mark.parametrize("way", CALLS)
def test_every_spelling_is_seen_and_its_value_kept(way: str) -> None:
    name, rectify = CALLS[way]
    log: list[Tensor] = []
    module = block(rectify, log)
    net = small(module)
    assert found_in(net) == (f"part.{name}()",)
    x = images()
    log.clear()
    with torch.no_grad():
        module(x)
    for stop in (False, False, True):  # to its end, so that the value is overwritten, and ended early
        with untouched(module, x), cv.capture(net, [f"part.{name}()"], stop=stop) as seen:
            net(x)
        assert torch.equal(seen[f"part.{name}()"], log[0])
        assert torch.equal(seen[f"part.{name}()", 0], log[0])


@pytest.mark.parametrize("way", NO_RECTIFIERS)
def test_functions_that_do_not_rectify_are_none(way: str) -> None:
    assert found_in(small(block(NO_RECTIFIERS[way], []))) == ()


def test_the_pass_ends_at_the_function() -> None:
    module = block(functional.relu, [])
    net = small(module)
    counter = CallCounter(module)
    for passes in range(3):
        counter.calls.clear()
        with cv.capture(net, ["part.relu()"]) as seen:
            assert net(images()) is None
        assert counter.calls.get("last", 0) == (passes == 0)  # the first pass runs on, to learn
        assert float(seen["part.relu()"].min()) == 0


def test_calls_are_counted_by_module_across_all_spellings() -> None:
    log: list[Tensor] = []

    def forward(module: Any, x: Tensor) -> Tensor:
        for each in (functional.relu, torch.relu_, lambda y: y.clamp(min=0)):
            x = each(module.conv(x))
            log.append(x.clone())
        return module.norm(x - 1).relu()

    net = small(Function(forward, conv=nn.Conv2d(3, 3, 1), norm=nn.Sequential(nn.Identity(), nn.ReLU6(True))))
    keys = (("relu()", 0), ("relu()", 1), ("relu()", 2), "clamp()", "norm.1")
    assert found_in(net) == keys
    for _ in range(2):
        log.clear()
        with cv.capture(net, ["relu()", "clamp()"], stop=False) as seen:
            net(images())
        assert set(seen) == set(keys) - {"norm.1"}
        for key, value in zip([("relu()", 0), ("relu()", 1), "clamp()"], log, strict=False):
            assert torch.equal(seen[key], value)
    with pytest.raises(LookupError, match="called 3 times in a forward pass; say which call"):
        seen["relu()"]
    with pytest.raises(LookupError, match="got call 3"):
        seen["relu()", 3]
    with cv.capture(net, [("relu()", 1)]) as seen:
        net(images())
    assert list(seen) == [("relu()", 1)]
    assert torch.equal(seen["relu()", 1], log[1])


def test_what_a_rectifying_module_calls_is_the_module() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.GELU(), nn.Hardtanh(0, 1), nn.Hardtanh(), nn.Softplus()
    )
    assert found_in(small(module)) == ("1", "2", "3")
    assert [is_rectifier(each) for each in module] == [False, True, True, True, False, False]


def test_only_maps_and_vectors_count() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        scale = x.mean().relu() + x.flatten(2).relu().mean()
        return functional.relu(x.mean((2, 3))) * scale

    assert found_in(small(Function(forward))) == (("relu()", 2),)


def test_a_part_that_fails_inside_does_not_shift_the_names() -> None:
    def fail(module: Any, x: Tensor) -> Tensor:
        raise ValueError("caught by the network")

    def forward(module: Any, x: Tensor) -> Tensor:
        with suppress(ValueError):
            module.broken(x)
        return x.relu()

    assert found_in(small(Function(forward, broken=Function(fail)))) == ("relu()",)


def test_gradients_reach_a_function() -> None:
    module = block(functional.relu, [])
    net = small(module)
    x = images().requires_grad_()
    for _ in range(2):
        with cv.capture(net, ["part.relu()"], gradients=True) as seen:
            net(x).square().sum().backward()
        value = functional.relu(module.part.conv(x.detach())).requires_grad_()
        (expected,) = torch.autograd.grad(module.last(value + 1).square().sum(), value)
        torch.testing.assert_close(seen.gradients["part.relu()"], expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("part.rely()", r"only rectifiers are known by name.*did you mean 'relu\(\)'"),
        ("part.relu_()", r"also where they work in place; did you mean 'relu\(\)'"),
        ("port.relu()", "layer 'port' not found; did you mean 'part'"),
        ("relu()", r"never calls a rectifier 'relu\(\)'; did you mean 'part.relu\(\)'"),
    ],
)
def test_functions_that_are_not_there(name: str, text: str) -> None:
    net = small(block(functional.relu, []))

    def read() -> Any:
        with cv.capture(net, [name]) as seen:
            net(images())
        return seen[name]

    with pytest.raises(LookupError, match=text):
        read()


def test_a_function_is_a_layer_for_other_methods() -> None:
    log: list[Tensor] = []
    net = small(block(functional.relu, log))
    picture = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    net(net.prepare(picture))
    shown = cv.activations(net, picture, "part.relu()")
    assert torch.equal(torch.from_numpy(shown.maps), log[0][0])


def test_a_function_has_the_receptive_field_of_what_it_rectifies() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        return module.more(module.conv(x).relu()).relu_()

    torch.manual_seed(0)
    net = small(Function(forward, conv=nn.Conv2d(3, 4, 3), more=nn.Conv2d(4, 4, 3, stride=2)))
    for method in ("analytic", "gradient"):
        for layer, function in (("conv", ("relu()", 0)), ("more", ("relu()", 1))):
            expected, found = (cv.receptive_field(net, each, method=method) for each in (layer, function))
            assert (found.size, found.stride, found.offset) == (
                expected.size,
                expected.stride,
                expected.offset,
            )
            assert found.box(1, 0) == expected.box(1, 0)
    with pytest.raises(LookupError, match="say which call"):
        cv.receptive_field(net, "relu()")
