"""Captures where a module, or what goes on around it, makes it hard: the values are still the layers'."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.capture import apart
from tests.random_networks import assert_same, slow_values
from tests.small_networks import Function, chain, images, small


def convolution() -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(3, 3, 3, padding=1)


def assert_exact(net: cv.Network, x: Tensor, *layers: str) -> None:
    """Compare captured values of some layers (all, if none is named), twice, with the slow oracle."""
    expected = slow_values(net.core, x)
    for _ in range(2):
        with cv.capture(net, layers or None) as seen:
            net(x)
        for (name, call), value in expected.items():
            if name in layers or not layers:
                assert_same(seen[name, call], value, (name, call))
                if (name, 1) not in expected:
                    assert_same(seen[name], value, name)


def test_branches_on_the_numbers_are_followed() -> None:
    def branching(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        if y.mean() > 0:
            return module.relu(y) + module.relu(module.relu(y) - 1)
        y += 1
        return module.relu(y)

    module = Function(branching, conv=convolution(), relu=nn.ReLU())
    with torch.no_grad():
        module.conv.bias.fill_(0)
    bright, dark = images().abs(), -images().abs()
    if float(module.conv(bright).detach().mean()) < 0:
        bright, dark = dark, bright
    net = small(module)
    for x in (bright, dark, dark, bright):
        assert_exact(net, x)
        assert_exact(net, x, "conv")
        assert_exact(net, x, "relu")
    with cv.capture(net, ["relu"]) as seen:
        net(bright)
        with pytest.raises(LookupError, match="called 3 times"):
            seen["relu"]
        net(dark)
        assert seen["relu"].shape == dark.shape
    with cv.capture(net, [("relu", 1)]) as seen:
        net(bright)
        assert ("relu", 1) in seen
        net(dark)
        with pytest.raises(LookupError, match=r"called 1 time .* got call 1"):
            seen["relu", 1]


@pytest.mark.parametrize(
    "steer",
    [
        lambda y: y.sum().item() > 0,
        lambda y: bool((y > 0).all()),
        lambda y: y.mean().tolist() > 0,
        lambda y: float(y.numpy().sum()) > 0,
        lambda y: float(np.asarray(y).sum()) > 0,
        lambda y: len(y[y > 0]) > y.numel() // 2,
        lambda y: len(y.nonzero()) > y.numel() // 2,
        lambda y: int(y.argmax()) % 2 == 0,
        lambda y: not torch.equal(y, y.abs()),
        lambda y: random.random() < 0.5,
        lambda y: np.random.rand() < 0.5,  # noqa: NPY002
        lambda y: torch.rand(()) < 0.5,
    ],
    ids=[
        "item",
        "bool",
        "tolist",
        "numpy",
        "asarray",
        "mask",
        "nonzero",
        "int",
        "equal",
        "random",
        "np",
        "rand",
    ],
)
def test_a_pass_steered_by_numbers_or_chance_does_not_stop_before_its_end(steer: Any) -> None:
    def branching(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        return module.conv(y) if steer(y) else y

    net = small(Function(branching, conv=convolution()))
    for seed in range(8):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        x = torch.randn(1, 3, 8, 8) + (seed % 2 - 0.5)
        expected = slow_values_at_this_chance(net.core, x)
        with cv.capture(net, ["conv"]) as seen:
            net(x)
        assert len(seen) == len(expected)
        for call, value in enumerate(expected.values()):
            assert_same(seen["conv", call], value)


def slow_values_at_this_chance(module: nn.Module, x: Tensor) -> dict[tuple[str, int], Any]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    values = slow_values(module, x)
    random.setstate(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    torch.set_rng_state(states[2])
    return values


def test_calls_that_hang_on_the_size_of_the_batch_are_all_seen() -> None:
    net = small(
        Function(lambda module, x: torch.stack([module.conv(each) for each in x]), conv=convolution())
    )
    for count in (1, 3, 2, 3):
        with cv.capture(net, ["conv"]) as seen:
            net(images(count))
        assert len(seen) == count


@pytest.mark.parametrize(
    "write",
    [
        lambda y: y.data.mul_(2),
        lambda y: np.multiply(y.numpy(), 2, out=y.numpy()),
        lambda y: y.detach().mul_(2),
        lambda y: y.flatten()[3:].mul_(2),
        lambda y: torch.mul(y, 2, out=y),
        lambda y: y.copy_(y + 1),
        lambda y: y[0, 0].zero_(),
        lambda y: y.unbind(1)[1].add_(1),
        lambda y: torch._foreach_add_([y], 1),
        lambda y: y.fill_(3),
    ],
    ids=["data", "numpy", "detach", "view", "out", "copy", "slice", "unbind", "foreach", "fill"],
)
def test_a_write_of_any_kind_comes_too_late(write: Any) -> None:
    def writing(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        write(y)
        return module.last(y)

    assert_exact(small(Function(writing, conv=convolution(), last=convolution())), images())


def test_memory_that_belongs_to_the_module_is_copied() -> None:
    def returns_state(module: Any, x: Tensor) -> Any:
        torch.add(module.conv(x), 1, out=module.workspace)
        return module.look(module.workspace), module.look(module.weight), module.look(module.weight[0])

    module = Function(returns_state, conv=convolution(), look=nn.Identity())
    module.register_buffer("workspace", torch.zeros(2, 3, 8, 8))
    module.weight = nn.Parameter(torch.ones(2, 2))
    module.plain = torch.ones(2)
    net = small(module)
    for _ in range(2):
        with cv.capture(net, ["look"]) as first:
            net(images())
        with cv.capture(net, ["look"]) as second:
            net(images() * 2)
        with torch.no_grad():
            module.weight.fill_(5)
        assert_same(first["look", 0], slow_values(module, images())["look", 0])
        assert_same(second["look", 0], slow_values(module, images() * 2)["look", 0])
        assert_same(first["look", 1], torch.ones(2, 2))
        assert_same(first["look", 2], torch.ones(2))
        with torch.no_grad():
            module.weight.fill_(1)


def test_what_is_done_to_the_output_is_not_seen_in_the_capture() -> None:
    net = small(chain())
    with cv.capture(net) as seen:
        output = net(images())
        output.zero_()
    assert_same(seen["more"], slow_values(net.core, images())["more", 0])


def test_any_module_may_return_anything_or_nothing() -> None:
    class Bag:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    class Odd(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.function = function

        def forward(self, x: Tensor) -> Any:
            return self.function(x)

    outputs = {
        "none": lambda x: None,
        "text": lambda x: "text",
        "maximum": lambda x: x.max(1),
        "bag": Bag,
        "deep": lambda x: [({"a": [x, None]}, 1.5)],
        "nothing": lambda x: (),
        "empty": lambda x: x[:0],
        "scalar": lambda x: x.sum(),
        "sparse": lambda x: x.to_sparse(),
    }
    module = Function(
        lambda self, x: [each(x) for each in self.children()] and x,
        **{name: Odd(each) for name, each in outputs.items()},
    )
    net = small(module)
    for _ in range(2):
        with cv.capture(net) as seen:
            net(images())
    assert seen["none"] is None
    assert seen["text"] == "text"
    assert_same(seen["maximum"].values, images().max(1).values)
    assert type(seen["maximum"]) is torch.return_types.max
    assert_same(seen["bag"].tensor, images())
    assert_same(seen["deep"], [({"a": [images(), None]}, 1.5)])
    assert_same(seen["scalar"], images().sum())
    assert_same(seen["sparse"].to_dense(), images())
    shapes = {layer.name: layer.output_shape for layer in net.layers}
    assert shapes == dict.fromkeys(outputs) | {
        "maximum": (8, 8),
        "empty": (3, 8, 8),
        "scalar": (),
        "sparse": (3, 8, 8),
    }


def test_inference_mode_inside_and_around() -> None:
    def inferring(module: Any, x: Tensor) -> Tensor:
        with torch.inference_mode():
            return module.relu(module.conv(x)) * 1

    module = Function(inferring, conv=convolution(), relu=nn.ReLU(inplace=True))
    for layers in ([], ["conv"], ["relu"]):
        assert_exact(small(module), images(), *layers)
    expected = slow_values(chain(), images())
    net = small(chain())
    with torch.inference_mode():
        x = images()
        for gradients in (False, True):
            with cv.capture(net, gradients=gradients) as seen:
                net(x)
            assert_same(
                {key: each.detach() for key, each in seen.items()},
                {key: expected[key, 0] for key in ("conv", "relu", "more")},
            )


@pytest.mark.parametrize("gradients", [False, True])
def test_the_image_is_not_changed_by_a_first_layer_in_place(gradients: bool) -> None:
    net = small(nn.Sequential(nn.ReLU(inplace=True), convolution()))
    x = images()
    before = x.clone()
    for _ in range(2):
        with cv.capture(net, gradients=gradients):
            net(x)
        net(x)
        assert_same(x, before)
    assert not x.requires_grad
    assert x.grad is None


def test_any_layout_of_the_images() -> None:
    net = small(chain())
    x = images()
    expected = slow_values(net.core, x)
    layouts = [
        x.to(memory_format=torch.channels_last),
        torch.cat([x, x], dim=3)[..., :8],
        x.transpose(2, 3).contiguous().transpose(2, 3),
        x[:1].expand(2, -1, -1, -1),
    ]
    for each in layouts:
        wanted = expected if torch.equal(each, x) else slow_values(net.core, each)
        for _ in range(2):
            with cv.capture(net) as seen:
                net(each)
            for name in ("conv", "relu", "more"):
                torch.testing.assert_close(seen[name], wanted[name, 0], rtol=1e-5, atol=1e-6)


def test_half_precision_stays_half() -> None:
    net = small(chain().to(torch.bfloat16))
    assert net.dtype is torch.bfloat16
    with cv.capture(net) as seen:
        net(images())
    assert seen["conv"].dtype is torch.bfloat16
    assert_same(seen["more"], slow_values(net.core, images().bfloat16())["more", 0])


def test_hooks_of_the_user_take_part() -> None:
    module = chain()
    calls = []
    module.conv.register_forward_hook(lambda each, given, output: output * 2)
    module.relu.register_forward_pre_hook(lambda each, given: calls.append(1))
    assert_exact(small(module), images())
    assert calls


def test_a_changed_module_is_noticed() -> None:
    module = chain()
    net = small(module)
    assert_exact(net, images(), "conv", "more")
    module.relu = nn.LeakyReLU(0.5, inplace=True)
    assert_exact(net, images())
    module.relu.negative_slope = 0.7
    module.add_module("added", nn.Sequential(nn.ReLU(inplace=True)))
    assert [layer.name for layer in net.layers] == ["conv", "relu", "more", "added", "added.0"]
    assert_exact(net, images())
    del module.relu
    assert [layer.name for layer in net.layers] == ["conv", "more", "added", "added.0"]
    module.add_module("again", module.conv)
    module.conv.in_channels = module.conv.in_channels  # as it was: nothing to notice
    module.forward = lambda x: module.more(module.conv(x)[:, :4])  # type: ignore[method-assign]
    assert [layer.calls for layer in net.layers] == [1, 1, 0, 0]
    assert_exact(net, images())
    net.input = cv.InputSpec(size=(10, 12))
    assert net.layer("conv").output_shape == (4, 10, 12)


def test_a_changed_setting_is_noticed() -> None:
    def repeating(module: Any, x: Tensor) -> Tensor:
        for _ in range(module.times):
            x = module.conv(x)
        for each in module.order:
            x = getattr(module, each)(x)
        return x

    module = Function(repeating, conv=convolution(), relu=nn.ReLU())
    module.times, module.order = 1, ["relu"]
    net = small(module)
    assert net.layer("conv").calls == 1
    assert_exact(net, images(), "conv")
    module.times = 3
    assert net.layer("conv").calls == 3
    assert_exact(net, images(), "conv")
    module.order.append("relu")
    assert net.layer("relu").calls == 2
    module.relu.inplace = True
    assert_exact(net, images())


def test_the_bare_module_inside_the_block_is_captured_in_its_own_mode() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.ReLU(inplace=True))
    net = small(module)
    with cv.capture(net, ["0", "1", "3"]) as seen:
        net(images())
        quiet = seen["0"]
        output = module(images())
        assert output is not None
        assert not torch.allclose(seen["0"], quiet), "training mode normalizes by the batch"
        oracle = nn.functional.batch_norm(images(), None, None, training=True)
        torch.testing.assert_close(seen["0"], oracle)
        torch.testing.assert_close(seen["1"], oracle.relu())
        assert_same(seen["3"], output.detach())
        assert not seen["3"].requires_grad
        module[0](images())
        torch.testing.assert_close(seen["0"], oracle)
    assert int(module[0].num_batches_tracked) == 2


def test_gradients_of_the_bare_module_are_right_or_refused() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True), nn.Conv2d(3, 1, 1))
    with cv.capture(small(module), ["0", "1"], gradients=True) as seen:
        module(images()).sum().backward()
        expected = module[2].weight.detach().expand(2, 3, 8, 8)
        torch.testing.assert_close(seen.gradients["1"], expected)
        with pytest.raises(LookupError, match=r"layer '0' was overwritten by an in-place .* run net\(x\)"):
            seen["0"]


def test_another_thread_running_the_module_is_not_captured() -> None:
    module = chain()
    net = small(module)
    entered, leave = threading.Event(), threading.Event()
    strangers: list[Any] = []

    def other() -> None:
        entered.wait(60)
        for _ in range(3):
            strangers.append(module(images(5)))
        with cv.capture(net, ["conv"]) as own:
            strangers.append(own)
        leave.set()

    thread = threading.Thread(target=other)
    thread.start()
    expected = slow_values(module, images())
    with cv.capture(net) as seen:
        net(images())
        entered.set()
        assert leave.wait(60)
        assert all(len(value) == 2 for value in seen.values())
        net(images())
    thread.join()
    for name in ("conv", "relu", "more"):
        assert_same(seen[name], expected[name, 0])
    assert all(each is not None for each in strangers[:3]), "nobody else's pass is stopped"
    assert len(strangers[3]) == 0


def test_a_stranger_in_the_middle_of_a_pass_is_not_captured() -> None:
    strangers: list[Any] = []

    def interrupted(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        if len(x) == 2 and not strangers:
            strangers.append(None)
            thread = threading.Thread(target=lambda: strangers.append(module(images(5))))
            thread.start()
            thread.join()
        return module.more(y)

    net = small(Function(interrupted, conv=convolution(), more=convolution()))
    with cv.capture(net, ["conv", "more"]) as seen:
        net(images())
    assert len(strangers[1]) == 5
    assert_same(seen["conv"], slow_values(net.core, images())["conv", 0])
    assert net.layer("conv").calls == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_pass_that_fails_leaves_nothing(error: type[BaseException]) -> None:
    def failing(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x)
        if module.fails:
            raise error("on purpose")
        return module.more(y)

    module = Function(failing, conv=convolution(), more=convolution())
    module.fails = True
    net = small(module)
    x = images()
    with cv.capture(net, ["conv", "more"]) as seen:
        for _ in range(2):
            with pytest.raises(error, match="on purpose"):
                net(x)
            with pytest.raises(LookupError, match="holds nothing yet"):
                seen["conv"]
            assert list(seen) == []
            module.fails = False
            net(x)
            assert list(seen) == ["conv", "more"]
            module.fails = True
    with pytest.raises(error, match="in the block"), cv.capture(net, ["conv"]):
        raise error("in the block")
    assert net.captures == []
    assert all(not each._forward_hooks and not each._forward_pre_hooks for each in module.modules())


def test_an_interrupt_while_hooks_are_set_leaves_none() -> None:
    module = chain()
    net = small(module)
    seen = cv.capture(net, ["conv", "more"])

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    module.more.register_forward_hook = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt), seen:
        pass
    assert not module.conv._forward_hooks
    assert not module._forward_pre_hooks
    assert net.captures == []


@pytest.mark.parametrize("gradients", [False, True])
def test_nothing_is_kept_alive(gradients: bool) -> None:
    module = chain()
    net = small(module)
    gc.collect()
    gc.disable()
    try:
        for attempt in range(3):
            x = images()
            with cv.capture(net, gradients=gradients) as seen:
                output = net(x)
            if gradients:
                output.sum().backward()
                assert seen.gradients["conv"].shape == (2, 4, 8, 8)
            watched = [weakref.ref(each) for each in (*seen.values(), seen, output)]
            del seen, output
            assert [each() for each in watched] == [None] * 5, attempt
    finally:
        gc.enable()


def test_a_network_can_be_copied_with_a_module_that_was_looked_into() -> None:
    module = chain()
    net = small(module)
    assert_exact(net, images())
    assert_exact(small(deepcopy(module)), images())


def test_a_capture_that_another_thread_closes_meanwhile_hides_no_other_one() -> None:
    net, x = small(chain()), images()
    other = cv.capture(net, ["conv"]).__enter__()
    listens = other.listens

    def closing() -> bool:
        # As if its own thread did that while the captures that are open are gone through.
        other.listens = listens  # type: ignore[method-assign]
        other.__exit__(None, None, None)
        return False

    with cv.capture(net, ["conv"]) as mine:
        net(x)
        held = mine["conv"].clone()
        other.listens = closing  # type: ignore[method-assign]
        with apart(net):
            net(x + 1)
        assert_same(mine["conv"], held, "conv")
        assert net.captures == [mine]
