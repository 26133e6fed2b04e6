"""Captured values against a slow oracle, on random networks; when a pass ends; what is asked for and read."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from tests.random_networks import SEEDS, RandomNetwork, assert_same, slow_values
from tests.small_networks import CallCounter, Function, chain, images, network_of, small


@pytest.mark.parametrize("seed", SEEDS)
def test_every_value_is_what_the_layer_returned(seed: int) -> None:
    module = RandomNetwork(seed)
    x = module.example()
    expected = slow_values(module, x)
    net = network_of(module)
    for attempt in ("learning", "knowing"):
        with cv.capture(net) as seen:
            net(x)
        assert len(seen) == len(expected)
        for key, value in expected.items():
            assert_same(seen[key], value, (attempt, key))


@pytest.mark.parametrize("seed", SEEDS)
def test_values_do_not_depend_on_what_else_is_captured(seed: int) -> None:
    module = RandomNetwork(seed)
    draw = random.Random(seed)
    x = module.example()
    expected = slow_values(module, x)
    net = network_of(module)
    for _ in range(6):
        keys = draw.sample(sorted(expected), draw.randint(1, 3))
        with cv.capture(net, keys) as seen:
            net(x)
        assert set(seen) == set(keys)
        for key in keys:
            assert_same(seen[key], expected[key], (keys, key))


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_the_same_capture_gives_the_same_bytes(seed: int) -> None:
    module = RandomNetwork(seed)
    x = module.example()
    one, other = network_of(module), network_of(module)
    with cv.capture(one) as first, cv.capture(other, list(slow_values(module, x))[:1]) as alone:
        one(x)
        other(x)
    for key in alone:
        assert_same(alone[key], first[key], key)


def test_the_pass_ends_at_the_deepest_layer() -> None:
    module = chain(last=nn.Conv2d(4, 4, 3))
    net = small(module)
    with cv.capture(net, ["more", "conv"]) as seen:
        net(images())
        counter = CallCounter(module)
        assert net(images()) is None
        assert counter.calls["last"] == 1, "the module was changed, so it is learned anew"
        counter.calls.clear()
        assert net(images()) is None
    assert counter.calls == {"": 1, "conv": 1, "relu": 1, "more": 1}
    assert list(seen) == ["more", "conv"], "in the order that was asked for"


def test_learning_is_by_shape_and_shared_by_all_captures() -> None:
    module = chain(last=nn.Conv2d(4, 4, 3))
    net = small(module)
    x = images()
    assert not net.knows(x)
    counter = CallCounter(module)
    with cv.capture(net, ["more"]):
        net(x)
    assert net.knows(x)
    assert not net.knows(images(3))
    assert counter.calls.pop("last") == 1
    with cv.capture(net, ["conv"]):
        net(x)
        assert "last" not in counter.calls
        net(images(3))
        assert counter.calls.pop("last") == 1
    assert len(net.layers) == 4
    assert counter.calls.pop("last") == 1
    with cv.capture(net, ["conv"]):
        net(images(1))
    assert "last" not in counter.calls, "what net.layers has learned counts"


def test_one_call_of_a_reused_layer_ends_the_pass_there() -> None:
    relu = nn.ReLU(inplace=True)
    module = chain(relu=relu, relu_again=relu, last=nn.Conv2d(4, 4, 3), relu_third=relu)
    net = small(module)
    expected = slow_values(module, images(1))
    counter = CallCounter(module)
    assert net.layer("relu").calls == 3
    counter.calls.clear()
    with cv.capture(net, [("relu", 1)]) as seen:
        assert net(images(1)) is None
        counter.calls.clear()  # it took two passes to see that the value is overwritten
        assert net(images(1)) is None
    assert counter.calls == {"": 1, "conv": 1, "relu": 2, "more": 1}
    assert list(seen) == [("relu", 1)]
    assert_same(seen["relu", 1], expected["relu", 1])
    counter.calls.clear()
    with cv.capture(net, "relu"):
        net(images(1))
    assert counter.calls["relu"] == 3


def test_all_layers_and_stop_false_run_to_the_end() -> None:
    net = small(chain())
    for _ in range(2):
        with cv.capture(net) as every, cv.capture(net, ["conv"]):
            assert net(images()) is not None
        with cv.capture(net, ["conv"], stop=False) as kept:
            assert net(images()) is not None
        with cv.capture(net, stop=True):
            net(images())
    assert net(images()) is not None
    assert_same(kept["conv"], every["conv"])


def test_a_stop_passes_through_modules_that_catch_exceptions() -> None:
    def careful(module: Any, x: Tensor) -> Tensor:
        try:
            x = module.conv(x)
        except Exception:  # noqa: BLE001
            x = x * 0
        try:
            x = module.body(x)
        except BaseException:  # noqa: BLE001 -- worse than what anybody should write
            x = module.body(x.abs())
        return module.last(x)

    module = Function(careful, conv=nn.Conv2d(3, 3, 3), body=nn.Conv2d(3, 3, 3), last=nn.Conv2d(3, 3, 3))
    net = small(module)
    expected = slow_values(module, images())
    counter = CallCounter(module)
    for layer in ("conv", "body"):
        for _ in range(2):
            with cv.capture(net, [layer]) as seen:
                assert net(images()) is None
            assert list(seen) == [layer]
            assert_same(seen[layer], expected[layer, 0])
    assert counter.calls["last"] == 1


def test_captures_nest_and_each_gets_all_it_asked_for() -> None:
    module = chain(last=nn.Conv2d(4, 4, 3))
    net = small(module)
    expected = slow_values(module, images())
    for _ in range(2):
        with cv.capture(net, ["last"]) as outer:
            with cv.capture(net, ["conv"]) as inner, cv.capture(net, ["conv", "more"]) as middle:
                net(images())
            first = outer["last"]
            net(images() * 2)
        assert_same(first, expected["last", 0])
        assert_same(inner["conv"], expected["conv", 0])
        assert_same(middle["more"], expected["more", 0])
        assert_same(outer["last"], slow_values(module, images() * 2)["last", 0])


def test_captures_of_equal_layers_can_be_left_in_any_order() -> None:
    net = small(chain())
    first, second = cv.capture(net, ["conv"]), cv.capture(net, ["conv"])
    first.__enter__()
    second.__enter__()
    net(images())
    first.__exit__(None, None, None)
    net(images(3))
    second.__exit__(None, None, None)
    assert len(first["conv"]) == 2
    assert len(second["conv"]) == 3
    assert net.captures == []
    assert first != second
    assert len({first, second}) == 2


def test_each_pass_replaces_the_one_before_and_a_capture_can_be_used_again() -> None:
    module = chain()
    net = small(module)
    seen = cv.capture(net, ["conv"])
    with seen:
        net(images(2))
        assert len(seen["conv"]) == 2
        net(images(3))
        assert len(seen["conv"]) == 3
        with pytest.raises(ValueError, match="already active"), seen:
            pass
    assert len(seen["conv"]) == 3
    with seen:
        net(images(1))
    assert_same(seen["conv"], slow_values(module, images(1))["conv", 0])


def test_the_list_of_layers_can_be_asked_for_in_between() -> None:
    net = small(chain())
    with cv.capture(net, ["conv"]) as seen:
        net(images())
        value = seen["conv"].clone()
        assert [layer.name for layer in net.layers] == ["conv", "relu", "more"]
        assert_same(seen["conv"], value)


def test_a_capture_is_a_mapping() -> None:
    relu = nn.ReLU()
    net = small(chain(again=relu, third=relu))
    with cv.capture(net, ["conv", "again"]) as seen:
        net(images())
    assert list(seen) == ["conv", ("again", 0), ("again", 1)]
    assert len(seen) == 3
    assert [key for key in seen if key in seen] == list(seen)
    assert dict(seen.items())["again", 1] is seen["third", 1]
    assert "again" not in seen
    assert "other" not in seen
    assert 5 not in seen
    assert seen.get("more", "nothing") == "nothing"
    assert seen.get("conv") is seen["conv"]
    assert repr(seen) == "<capture of 'conv', 'again'>"


def test_errors_say_what_there_is() -> None:
    relu = nn.ReLU()
    module = chain(relu_again=relu, relu_third=relu, unused=nn.ModuleList([nn.Linear(2, 2)]))
    module.forward = lambda x: nn.Sequential(*list(module)[:-1])(x)  # type: ignore[method-assign]
    net = small(module)
    cases: list[tuple[Any, type[Exception], str]] = [
        (["convv"], LookupError, "layer 'convv' not found; did you mean 'conv'"),
        ([], LookupError, "no layers to capture"),
        (5, TypeError, "layers= takes a list of layer names, or None for all of them, got 5"),
        ([5], TypeError, r"a layer is a name such as 'features.3' or \(name, call\), got 5"),
        ([("relu", "1")], TypeError, r"got \('relu', '1'\)"),
        ([("relu", True)], TypeError, r"got \('relu', True\)"),
    ]
    for layers, kind, text in cases:
        with pytest.raises(kind, match=text):
            cv.capture(net, layers)
    with pytest.raises(
        TypeError, match=r"needs a cv\.Network, got Sequential; wrap it: cv\.Network\(module\)"
    ):
        cv.capture(module, ["conv"])  # type: ignore[arg-type]

    with cv.capture(net, ["conv", "relu_again", ("relu_again", 5), "unused.0"]) as seen:
        with pytest.raises(LookupError, match=r"layer 'conv' holds nothing yet; run net\(x\)"):
            seen["conv"]
        net(images())
    reads: list[tuple[Any, str]] = [
        ("more", r"layer 'more' was not captured; name it in cv.capture\(net, \[..., 'more'\]\)"),
        ("con", "layer 'con' not found; did you mean 'conv'"),
        ("relu_again", r"called 2 times .* say which call: \('relu_again', 0\) or \('relu_again', 1\)"),
        (("relu_again", 2), "its calls are 0 to 1; got call 2"),
        (("relu_again", -1), "its calls are 0 to 1; got call -1"),
        (("conv", 1), "called 1 time in a forward pass, so its calls are 0 to 0; got call 1"),
        ("unused.0", "exists, but the forward pass never calls it"),
    ]
    for key, text in reads:
        with pytest.raises(LookupError, match=text):
            seen[key]
    with cv.capture(net, [("relu_again", 1)]) as seen:
        net(images())
    with pytest.raises(LookupError, match=r"call 0 of layer 'relu_again' was not captured; ask for"):
        seen["relu_again", 0]
    with pytest.raises(LookupError, match="called 2 times"):
        seen["relu_again"]


def test_names_of_shared_and_data_parallel_modules() -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    module = nn.Sequential()
    module.add_module("one", nn.Sequential(shared))
    module.add_module("two", nn.Sequential(shared, nn.ReLU(inplace=True)))
    expected = slow_values(module, images())
    net = small(nn.DataParallel(module))
    with cv.capture(net, ["two.0", "module.two.1"]) as seen:
        net(images())
    for name in ("one.0", "two.0", "module.one.0"):
        assert_same(seen[name, 0], expected["one.0", 0])
        assert_same(seen[name, 1], expected["one.0", 1])
    assert_same(seen["two.1"], expected["two.1", 0])
    assert_same(seen["one.0", np.int64(1)], expected["one.0", 1])


def test_what_the_engine_runs_itself_is_not_captured() -> None:
    net = small(chain())
    x = net.prepare(images()[0].sigmoid())
    with cv.capture(net, ["conv"], stop=False) as seen:
        net(x)
        before = seen["conv"].clone()
        cv.receptive_field(net, "conv")
        cv.activations(net, np.zeros((8, 8, 3), np.uint8), "conv")
        assert net.layers
        assert torch.equal(seen["conv"], before)
        net(x + 1)
        assert not torch.equal(seen["conv"], before)


def test_a_tensor_is_not_picked_apart_by_output() -> None:
    for choice in (0, "logits"):
        net = cv.Network(chain(), input=cv.InputSpec(size=8), output=choice)
        with pytest.raises(cv.errors.OutputError, match="does not fit"):
            net.scores(torch.zeros(2, 3, 8, 8))


def test_a_module_that_was_compiled_later_is_refused() -> None:
    net = small(chain())
    assert net.layers
    net.module.compile()
    with pytest.raises(cv.errors.UnsupportedModuleError, match="is compiled"):
        net.layers  # noqa: B018


def test_a_receptive_field_and_a_pass_on_two_threads_do_not_touch_each_other() -> None:
    entered, go_on = threading.Event(), threading.Event()

    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if threading.current_thread().name == "gated":
                entered.set()
                go_on.wait(30)
            return x.clone()

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Gate(), nn.ReLU())
    net = small(module)
    assert net.layers
    x = torch.zeros(1, 3, 8, 8)
    first = threading.Thread(target=lambda: net(x), name="gated")
    fields: list[Any] = []
    second = threading.Thread(target=lambda: fields.append(cv.receptive_field(net, "2")))
    first.start()
    entered.wait(30)
    # The hook of the second would be noted by the first pass, and put back, were it to hang there now.
    second.start()
    second.join(0.2)
    go_on.set()
    first.join(30)
    second.join(30)
    assert fields[0].method == "analytic"
    assert fields[0].size == (3, 3)
    assert not any(each._forward_hooks for each in module.modules())
