"""Captured gradients against finite differences and hand-written rewrites; in-place operations included."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import cnnviz_widgets as cv
from tests.random_networks import Maps, Pair, RandomNetwork, assert_same, main_of, slow_values
from tests.small_networks import Function, chain, images, network_of, small

Key = tuple[str, int]


def slow_score(
    module: nn.Module,
    x: Tensor,
    weights: Tensor,
    key: Key | None = None,
    step: float = 0.0,
    aliased: bool = False,
) -> tuple[float, Tensor]:
    """Return a score with one call of one layer pushed along a random direction, and that direction.

    What the layer returned is replaced; with ``aliased`` it is written to, so that the push is also seen by
    other names of the same memory.
    """
    copied = deepcopy(module).eval()
    directions: list[Tensor] = []
    calls = 0

    def push(each: nn.Module, arguments: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if key is None or calls - 1 != key[1]:
            return None
        value = main_of(output)
        directions.append(
            torch.randn(value.shape, generator=torch.Generator().manual_seed(5), dtype=value.dtype)
        )
        pushed = value.add_(directions[0], alpha=step) if aliased else value + step * directions[0]
        return None if aliased else _replaced(output, pushed)

    if key is not None:
        copied.get_submodule(key[0]).register_forward_hook(push)
    with torch.no_grad():
        score = (main_of(copied(x.clone())) * weights).sum()
    return float(score), directions[0] if directions else score


def _replaced(output: Any, tensor: Tensor) -> Any:
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Maps):
        return Maps(tensor, output.count)
    if isinstance(output, Pair):
        return Pair(tensor, output.mean)
    if isinstance(output, dict):
        return type(output)({**output, "out": tensor})
    return type(output)([tensor, *output[1:]])


def overwritten_calls(module: nn.Module, x: Tensor) -> set[Key]:
    """Return which calls' values have changed by the end of the pass."""
    copied = deepcopy(module).eval()
    seen: dict[Key, tuple[Tensor, Tensor]] = {}
    for name, each in copied.named_modules():
        if name:
            each.register_forward_hook(_remember(seen, name))
    with torch.no_grad():
        copied(x.clone())
    return {key for key, (tensor, before) in seen.items() if not torch.equal(tensor, before)}


def _remember(seen: dict[Key, tuple[Tensor, Tensor]], name: str) -> Any:
    def remember(module: nn.Module, arguments: Any, output: Any) -> None:
        value = main_of(output)
        seen[name, sum(known == name for known, _ in seen)] = (value, value.clone())

    return remember


@pytest.mark.parametrize("seed", range(16))
def test_gradients_agree_with_finite_differences(seed: int) -> None:
    module = RandomNetwork(seed, smooth=True).double()
    x = module.example().double()
    weights = torch.randn(len(x), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = slow_values(module, x)
    aliased = overwritten_calls(module, x)
    net = network_of(module)
    for _ in range(2):
        with cv.capture(net, gradients=True) as seen:
            (main_of(net(x)) * weights).sum().backward()
        for key, value in values.items():
            assert_same(main_of(seen[key]).detach(), main_of(value), key, rtol=1e-12, atol=1e-12)
    for key in values:
        up, direction = slow_score(module, x, weights, key, 1e-5, key in aliased)
        down, _ = slow_score(module, x, weights, key, -1e-5, key in aliased)
        gradient = main_of(seen.gradients[key]) if key in seen.gradients else torch.zeros(())
        slope = (up - down) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6), key


@pytest.mark.parametrize("seed", range(6))
def test_gradients_of_values_by_autograd(seed: int) -> None:
    module = RandomNetwork(seed)
    x = module.example()
    net = network_of(module)
    with cv.capture(net, gradients=True) as seen:
        score = main_of(net(x)).square().sum()
        score.backward(retain_graph=True)
        reached = list(seen.gradients)
        values = [main_of(seen[key]) for key in reached]
        gradients = torch.autograd.grad(score, values)
    assert len(reached) > 5
    for key, gradient in zip(reached, gradients, strict=True):
        assert_same(main_of(seen.gradients[key]), gradient, key)


def test_gradients_are_those_of_a_rewrite_by_hand() -> None:
    """Convolution, in-place rectifier, `+=`, in-place rectifier again: what Grad-CAM meets in a ResNet."""

    def residual(module: Any, x: Tensor) -> Tensor:
        y = module.relu(module.conv(x))
        z = module.more(y)
        z += x
        return module.relu(z).mean((2, 3))

    torch.manual_seed(2)
    layers = {name: nn.Conv2d(3, 3, 3, padding=1) for name in ("conv", "more")}
    module = Function(residual, relu=nn.ReLU(inplace=True), **layers)
    net = small(module)
    for _ in range(2):
        with cv.capture(net, gradients=True) as seen:
            net(images())[:, 1].sum().backward()

    conv = module.conv(images()).detach().requires_grad_()
    relu = functional.relu(conv)
    more = functional.conv2d(relu, module.more.weight.detach(), module.more.bias.detach(), padding=1)
    again = functional.relu(more + images())
    steps = torch.autograd.grad(again.mean((2, 3))[:, 1].sum(), [conv, relu, more, again])
    keys: list[Any] = ["conv", ("relu", 0), "more", ("relu", 1)]
    for key, value, gradient in zip(keys, [conv, relu, more, again], steps, strict=True):
        assert_same(seen[key].detach(), value.detach(), key)
        torch.testing.assert_close(seen.gradients[key], gradient, msg=str(key))


def test_parameters_get_no_gradient_and_the_image_only_if_it_asks() -> None:
    module = chain()
    kept = torch.zeros_like(module.conv.weight)
    module.conv.weight.grad = kept
    module.more.weight.requires_grad_(False)
    net = small(module)
    x = images()
    with cv.capture(net, ["conv"], gradients=True) as seen:
        net(x).sum().backward()
    assert x.grad is None
    assert not x.requires_grad
    asking = images().requires_grad_()
    with cv.capture(net, ["conv"], gradients=True) as seen_again:
        net(asking).sum().backward()
    assert asking.grad is not None
    assert_same(seen.gradients["conv"], seen_again.gradients["conv"])
    oracle = images().requires_grad_()
    deepcopy(module).eval()(oracle).sum().backward()
    torch.testing.assert_close(asking.grad, oracle.grad)
    assert module.conv.weight.grad is kept
    assert not kept.any()
    assert module.conv.weight.requires_grad
    assert not module.more.weight.requires_grad


def test_values_without_gradients_hold_no_graph() -> None:
    net = small(chain())
    x = images().requires_grad_()
    with cv.capture(net) as seen:
        output = net(x)
    assert output.requires_grad
    assert not any(value.requires_grad for value in seen.values())


def test_a_nest_of_values_has_a_nest_of_gradients() -> None:
    class Nest(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return {"a": x * 2, "b": [x * 3, "text"], "c": x.argmax(1)}

    def use(module: Any, x: Tensor) -> Tensor:
        nest = module.nest(x)
        return nest["a"].sum((2, 3)) + nest["a"].new_zeros(()) * nest["c"].sum()

    net = small(Function(use, nest=Nest()))
    with cv.capture(net, ["nest"], gradients=True) as seen:
        net(images()).sum().backward()
    gradients = seen.gradients["nest"]
    assert_same(gradients["a"], torch.ones(2, 3, 8, 8))
    assert gradients["b"] == [None, "text"]
    assert gradients["c"] is None


def test_each_backward_replaces_the_gradients_and_higher_orders_work() -> None:
    net = small(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Tanh(), nn.Flatten()))
    with cv.capture(net, ["0"], gradients=True) as seen:
        output = net(images())
        output.sum().backward(retain_graph=True)
        first = seen.gradients["0"]
        (output * 2).sum().backward(retain_graph=True)
        torch.testing.assert_close(seen.gradients["0"], first * 2)
        value = seen["0"]
        (slope,) = torch.autograd.grad(output.sum(), value, create_graph=True)
        (curve,) = torch.autograd.grad(slope.sum(), value)
        tanh = torch.tanh(value.detach())
        torch.testing.assert_close(slope.detach(), 1 - tanh**2)
        torch.testing.assert_close(curve, -2 * tanh * (1 - tanh**2))


def test_the_pass_may_end_early_with_gradients() -> None:
    module = chain()
    net = small(module)
    for _ in range(2):
        with cv.capture(net, ["conv", "relu"], gradients=True, stop=True) as seen:
            assert net(images()) is None
            seen["relu"].sum().backward()
        assert_same(seen.gradients["conv"], (seen["conv"] > 0).float())
        assert_same(seen["relu"].detach(), seen["conv"].detach().relu())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_gradients_are_kept_whatever_mode_is_around(context: Any) -> None:
    net = small(chain())
    with context():
        x = images()
        with cv.capture(net, ["conv"], gradients=True) as seen:
            output = net(x)
    output.sum().backward()
    with cv.capture(net, ["conv"], gradients=True) as plain:
        net(images()).sum().backward()
    assert_same(seen.gradients["conv"], plain.gradients["conv"])


def test_errors_say_why_there_is_no_gradient() -> None:
    net = small(chain(unused=nn.Identity()))
    with cv.capture(net, ["conv"]) as seen:
        net(images())
    with pytest.raises(LookupError, match=r"open the capture with cv.capture\(net, layers, gradients=True\)"):
        seen.gradients["conv"]
    with cv.capture(net, ["conv"], gradients=True) as seen:
        with pytest.raises(LookupError, match="holds nothing yet"):
            seen.gradients["conv"]
        net(images())
        with pytest.raises(LookupError, match=r"no gradient has reached layer 'conv'; call .backward\(\)"):
            seen.gradients["conv"]
        assert list(seen.gradients) == []
        assert "conv" not in seen.gradients
        with pytest.raises(LookupError, match="layer 'more' was not captured"):
            seen.gradients["more"]


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_layer_run_again_in_backward_is_not_captured_again(reentrant: bool) -> None:
    def thrifty(module: Any, x: Tensor) -> Tensor:
        return module.last(checkpoint(module.body, module.first(x), use_reentrant=reentrant))

    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 3, 3))
    module = Function(thrifty, first=nn.Conv2d(3, 3, 3), body=body, last=nn.Conv2d(3, 1, 1))
    net = small(module)
    with cv.capture(net, gradients=True) as seen:
        net(images()).sum().backward()
        keys = list(seen)
    assert keys == [layer.name for layer in net.layers]
    plain = small(nn.Sequential(*deepcopy(list(module.children()))))
    with cv.capture(plain, ["0", "1"], gradients=True) as expected:
        plain(images()).sum().backward()
    torch.testing.assert_close(seen.gradients["first"], expected.gradients["0"])
    if reentrant:
        with pytest.raises(LookupError, match="layers that run without gradients get none"):
            seen.gradients["body"]
    else:
        torch.testing.assert_close(seen.gradients["body"], expected.gradients["1"])


def test_a_backward_pass_that_was_pending_still_works() -> None:
    module = chain(norm=nn.BatchNorm2d(4))
    loss = module(images()).square().sum()
    reference = deepcopy(module)
    reference.norm.reset_running_stats()
    net = small(module)
    for gradients in (False, True):
        with cv.capture(net, gradients=gradients):
            net(images())
    loss.backward()
    reference(images()).square().sum().backward()
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
