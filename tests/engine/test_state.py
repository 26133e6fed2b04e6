"""`preserved` and `evaluation` against a fingerprint that shares nothing with them."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.nn.utils.parametrize import register_parametrization

import cnnviz_widgets as cv
from cnnviz_widgets.engine import state
from cnnviz_widgets.engine.state import evaluation, preserved
from tests.random_networks import SEEDS, RandomNetwork, assert_same
from tests.untouched import fingerprint, random_states, untouched


class Collector(nn.Module):
    """Remembers what it has seen in plain attributes of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout()
        self.register_buffer("counter", torch.zeros(3))
        self.register_buffer("nothing", None)
        self.count = 0
        self.seen: list[Any] = ["first"]
        self.empty: list[Any] = []
        self.kinds: set[str] = {"a"}
        self.recent: deque[int] = deque([1, 2], maxlen=2)
        self.tally: defaultdict[str, int] = defaultdict(int, a=1)
        self.nested: dict[str, Any] = {"losses": [1.0], "deep": {"x": {1}}}
        self.plain = torch.ones(2)
        self.unregistered = [nn.BatchNorm1d(2)]
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        self.seen.append(x)
        self.empty.append(x)
        self.kinds.add(str(self.count))
        self.recent.append(self.count)
        self.tally["b"] += 1
        self.nested["losses"].append(0.5)
        self.nested["deep"]["x"].add(2)
        self.nested["new"] = x
        self.latest = x
        self.plain += 1
        self.counter += 1
        self.counter.data.mul_(3)
        self.unregistered[0](torch.randn(4, 2))
        return self.drop(self.norm(self.conv(x)))


def batch() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def hook(*arguments: Any) -> None:
    """Do nothing, as a hook of any kind."""


def replace_buffer(module: Collector) -> None:
    module.counter = torch.ones(3)


def reregister_buffer(module: Collector) -> None:
    module.register_buffer("counter", torch.zeros(5), persistent=False)


def replace_parameter(module: Collector) -> None:
    module.conv.weight = nn.Parameter(torch.zeros(1))


def replace_gradient(module: Collector) -> None:
    module.conv.weight.grad = torch.ones_like(module.conv.weight)


def reorder_children(module: Collector) -> None:
    first = module._modules.pop("conv")
    module._modules["conv"] = first


def change_class(module: Collector) -> None:
    register_parametrization(module.conv, "bias", nn.Identity())


CHANGES: dict[str, Callable[[Collector], Any]] = {
    "forward hook": lambda m: m.conv.register_forward_hook(hook),
    "forward hook with options": lambda m: m.register_forward_hook(hook, with_kwargs=True, always_call=True),
    "forward hook in front": lambda m: m.register_forward_hook(hook, prepend=True),
    "forward pre-hook": lambda m: m.conv.register_forward_pre_hook(hook),
    "forward pre-hook with options": lambda m: m.conv.register_forward_pre_hook(hook, with_kwargs=True),
    "backward hook": lambda m: m.conv.register_full_backward_hook(hook),
    "backward pre-hook": lambda m: m.conv.register_full_backward_pre_hook(hook),
    "state-dict hook": lambda m: m.register_state_dict_post_hook(hook),
    "state-dict pre-hook": lambda m: m.register_state_dict_pre_hook(hook),
    "load-state-dict hook": lambda m: m.register_load_state_dict_post_hook(hook),
    "load-state-dict pre-hook": lambda m: m.register_load_state_dict_pre_hook(hook),
    "evaluation mode": lambda m: m.eval(),
    "training mode of a part": lambda m: m.norm.train(True),
    "frozen": lambda m: m.requires_grad_(False),
    "buffer changed": lambda m: m.counter.add_(1),
    "buffer changed unseen": lambda m: m.counter.data.add_(1),
    "buffer replaced": replace_buffer,
    "buffer registered again": reregister_buffer,
    "buffer removed": lambda m: m.__delattr__("counter"),
    "buffer emptied": lambda m: setattr(m, "counter", None),
    "buffer filled": lambda m: setattr(m, "nothing", torch.zeros(1)),
    "buffer added": lambda m: m.register_buffer("another", torch.zeros(1)),
    "buffer of another size": lambda m: setattr(m.counter, "data", torch.zeros(7)),
    "buffer asks for gradients": lambda m: m.counter.requires_grad_(),
    "parameter replaced": replace_parameter,
    "parameter added": lambda m: m.register_parameter("another", nn.Parameter(torch.zeros(1))),
    "parameter removed": lambda m: m.conv.register_parameter("bias", None),
    "gradient set": replace_gradient,
    "gradients cleared": lambda m: m.zero_grad(),
    "child replaced": lambda m: setattr(m, "norm", nn.Identity()),
    "child added": lambda m: m.add_module("more", nn.ReLU()),
    "child removed": lambda m: m.__delattr__("drop"),
    "children reordered": reorder_children,
    "class changed": change_class,
    "attribute set": lambda m: setattr(m, "count", 5),
    "attribute added": lambda m: setattr(m, "added", 5),
    "attribute removed": lambda m: m.__delattr__("count"),
    "forward replaced": lambda m: setattr(m, "forward", hook),
    "list": lambda m: m.seen.clear(),
    "list in place": lambda m: m.seen.__setitem__(0, "other"),
    "empty list": lambda m: m.empty.append(1),
    "set": lambda m: m.kinds.add("b"),
    "deque": lambda m: m.recent.append(9),
    "default dict": lambda m: m.tally["new"],
    "nested list": lambda m: m.nested["losses"].append(3.0),
    "nested set": lambda m: m.nested["deep"]["x"].clear(),
    "plain tensor": lambda m: m.plain.zero_(),
    "part in a plain list": lambda m: m.unregistered[0].running_mean.fill_(3),
    "run in training mode": lambda m: m(batch()),
    "backward": lambda m: m(batch()).sum().backward(),
    "nothing": lambda m: None,
}
WITHOUT_EFFECT = ("nothing", "gradients cleared")


@pytest.fixture
def module() -> Collector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Collector()
    made.conv.bias.requires_grad_(False)
    made.norm.eval()
    made.conv.weight.grad = torch.full_like(made.conv.weight, 2.0)
    made.conv.register_forward_hook(hook)
    made.register_full_backward_pre_hook(hook)
    return made


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("ending", [None, ValueError, KeyboardInterrupt, "closed"])
def test_whatever_was_changed_is_put_back(module: Collector, change: str, ending: Any) -> None:
    def inside() -> Iterator[None]:
        with preserved(module) as same:
            assert same is module
            before = fingerprint(module)
            CHANGES[change](module)
            assert (fingerprint(module) == before) is (change in WITHOUT_EFFECT)
            if isinstance(ending, type):
                raise ending("on purpose")
            yield

    with untouched(module):
        generator = inside()
        if isinstance(ending, type):
            with pytest.raises(ending, match="on purpose"):
                next(generator)
        else:
            next(generator)
            generator.close() if ending == "closed" else list(generator)


def test_gradients_are_out_of_sight_inside(module: Collector) -> None:
    kept = module.conv.weight.grad
    with preserved(module):
        assert all(each.grad is None for each in module.parameters())
        module(batch()).sum().backward()
        assert module.conv.weight.grad is not kept
    assert module.conv.weight.grad is kept
    assert kept is not None
    assert bool((kept == 2).all())
    assert module.norm.weight.grad is None


def test_random_states_are_put_back() -> None:
    states = random_states()
    with preserved(nn.ReLU()):
        torch.rand(1)
        np.random.rand()  # noqa: NPY002
        random.random()
        torch.manual_seed(5)
        assert all(random_states()[name] != states[name] for name in states)
    assert random_states() == states


@pytest.mark.parametrize("seed", SEEDS[::4])
@pytest.mark.parametrize("gradients", [False, True])
def test_random_networks_are_untouched(seed: int, gradients: bool) -> None:
    module = RandomNetwork(seed)
    x = module.example()
    with untouched(module, x):
        with evaluation(module, gradients=gradients):
            oracle = deepcopy(module)
            assert not any(each.training for each in module.modules())
            output = module(x.clone())
        assert_same(output, oracle.eval()(x.clone()))
        with preserved(module):
            module.train()(x.clone())


NORMALIZED: dict[str, Callable[[], nn.Module]] = {
    "spectral_norm": lambda: spectral_norm(nn.Conv2d(3, 4, 3)),
    "weight_norm": lambda: weight_norm(nn.Conv2d(3, 4, 3)),
    "spectral_norm parametrization": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
    "weight_norm parametrization": lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
}


@pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")
@pytest.mark.parametrize("name", NORMALIZED)
def test_normalized_weights(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(NORMALIZED[name](), nn.ReLU(inplace=True))
    x = batch()
    with torch.no_grad():
        expected = deepcopy_of(module).eval()(x)
    with untouched(module, x):
        net = cv.Network(module, input=cv.InputSpec(size=8))
        torch.testing.assert_close(net(x), expected)
        with cv.capture(net, gradients=True) as seen:
            net(x).sum().backward()
        assert seen.gradients["0"].shape == (2, 4, 6, 6)
        with preserved(module):
            module.train()
            module(x)
            module(x)


def deepcopy_of(module: nn.Module) -> nn.Module:
    """Copy a module whose weight is computed, which `deepcopy` refuses where it hangs on the graph."""
    for each in module.modules():
        weight = vars(each).get("weight")
        if isinstance(weight, Tensor):
            vars(each)["weight"] = weight.detach()
    return deepcopy(module)


class Guarded(nn.Module):
    """Overrides all that a careless guard would go through."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 2)
        self.log: list[str] = []

    def train(self, mode: bool = True) -> Guarded:
        self.log.append(f"train({mode})")
        self.body.weight.data.mul_(2)
        return super().train(mode)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "training" and "log" in self.__dict__:
            raise AttributeError("training is set by train() only")
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name == "virtual":
            return "made up"
        return super().__getattr__(name)

    def __delattr__(self, name: str) -> None:
        raise AttributeError("nothing can be taken away")

    def __len__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("modules are not to be compared")

    def __hash__(self) -> int:
        return 1

    def forward(self, x: Tensor) -> Tensor:
        self.more = x
        return self.body(x)


def test_modules_that_override_everything() -> None:
    module = nn.Sequential(Guarded(), nn.Dropout())
    with untouched(module):
        with evaluation(module):
            assert not module[0].training
            module(torch.ones(1, 2))
        assert module[0].log == []
        assert module[0].training


class Always(nn.Module):
    """A module whose training flag is a property."""

    @property
    def training(self) -> bool:  # type: ignore[override]
        return bool(self.__dict__.get("mode", True))

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["mode"] = mode

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.5, self.training)


def test_a_training_flag_that_is_a_property() -> None:
    module = Always()
    x = torch.ones(100)
    with untouched(module), evaluation(module):
        assert_same(module(x), x)
    assert module.training


def test_nested_use_and_changes_in_between(module: Collector) -> None:
    with untouched(module), preserved(module):
        module.eval()
        module.marker = "outer"
        with preserved(module):
            module.train()
            module.marker = "inner"
            del module.count
        assert not module.training
        assert module.marker == "outer"
        with preserved(module.norm), evaluation(module, gradients=True):
            module.norm.running_mean.fill_(7)
        assert not bool((module.norm.running_mean == 7).any())


def test_evaluation_of_a_part_leaves_the_rest_alone(module: Collector) -> None:
    with untouched(module), evaluation(module.norm, gradients=True):
        assert module.training
        assert not module.norm.training
        assert module.conv.weight.requires_grad
        assert not module.norm.weight.requires_grad


@pytest.mark.parametrize("gradients", [False, True])
def test_modes_of_evaluation(module: Collector, gradients: bool) -> None:
    with torch.inference_mode(), evaluation(module, gradients=gradients) as held:
        assert torch.is_grad_enabled() is gradients
        assert not torch.is_inference_mode_enabled()
        assert not torch.backends.mha.get_fastpath_enabled()
        assert any(each.requires_grad for each in module.parameters()) is not gradients
        assert {id(each) for each in held.parameters} >= {id(each) for each in module.parameters()}
        assert {id(each) for each in held.tensors} >= {id(each) for each in module.buffers()}
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_module_made_in_inference_mode() -> None:
    with torch.inference_mode():
        module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        x = batch()
    net = cv.Network(module, input=cv.InputSpec(size=8))
    before = module[1].running_mean.clone()
    with cv.capture(net) as seen:
        net(x)
    assert seen["2"].shape == (2, 4, 6, 6)
    with preserved(module), torch.inference_mode():
        module[1].running_mean.fill_(3)
    assert_same(module[1].running_mean, before)
    assert module.training


def test_a_lazy_module_can_be_preserved() -> None:
    module = nn.Sequential(nn.LazyBatchNorm2d())
    with preserved(module):
        module.eval()
    assert module.training
    module(batch())
    assert module[0].num_features == 3


def test_a_buffer_that_was_not_changed_is_not_written_to() -> None:
    module = nn.BatchNorm2d(3)
    module.eval()
    version = module.running_mean._version
    with preserved(module):
        module(batch())
    assert module.running_mean._version == version


def test_two_threads_take_turns() -> None:
    module = RandomNetwork(1)
    log: list[str] = []
    inside, second_ready = threading.Event(), threading.Event()
    results: list[Any] = []
    x = module.example()
    with evaluation(module):
        expected = module(x.clone())
    before = fingerprint(module)

    def first() -> None:
        with preserved(module):
            module.train()
            log.append("first in")
            inside.set()
            second_ready.wait(60)
            log.append("first out")

    def second() -> None:
        inside.wait(60)
        second_ready.set()
        with evaluation(module):
            log.append("second in")
            results.append(module(x.clone()))

    threads = [threading.Thread(target=each) for each in (first, second)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not any(each.is_alive() for each in threads)
    assert log == ["first in", "first out", "second in"]
    assert_same(results[0], expected)
    assert fingerprint(module) == before


def test_many_threads_over_one_module_and_its_parts() -> None:
    module = RandomNetwork(3)
    net = cv.Network(module, input=cv.InputSpec(size=module.size, channels=module.channels))
    part = cv.Network(module.stem, input=cv.InputSpec(size=module.size, channels=module.channels))
    x = module.example()
    with cv.capture(net) as seen:
        net(x)
    expected = seen["stem"].clone()
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for step in range(4):
                mine = (net, part)[(index + step) % 2]
                names = ["stem"] if mine is net else ["0", "1"]
                with cv.capture(mine, names, gradients=step % 2 == 0) as own:
                    output = mine(x)
                value = own["stem"].detach() if mine is net else output
                if value is not None:
                    assert_same(value.detach(), expected)
        except BaseException as error:  # noqa: BLE001 -- shown by the main thread
            failures.append(error)

    with untouched(module, x):
        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(60)
    assert not failures, failures


def test_an_interrupt_while_things_are_put_back(module: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    restore = state._restore_container
    calls = 0

    def interrupted(container: Any, content: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        restore(container, content)

    def use() -> None:
        with preserved(module):
            module(batch())
            module.eval()

    with untouched(module):
        monkeypatch.setattr(state, "_restore_container", interrupted)
        with pytest.raises(KeyboardInterrupt):
            use()
    assert calls > 3


def test_containers_keep_their_order(module: Collector) -> None:
    module.ordered = OrderedDict(a=1, b=2)
    with preserved(module):
        module.ordered.move_to_end("a")
        assert list(module.ordered) == ["b", "a"]
    assert list(module.ordered) == ["a", "b"]


def test_equal_but_other_things_are_put_back() -> None:
    module = nn.Module()
    first = [1000.5]
    module.items = [first, {"x": first}]
    with preserved(module):
        module.items[0] = [1000.5]
    assert module.items[0] is first
    assert module.items[1]["x"] is first


def test_shared_and_circular_containers() -> None:
    module = nn.Sequential(nn.ReLU(), nn.ReLU())
    shared: list[Any] = ["a"]
    shared.append(shared)
    module[0].shared = module[1].shared = shared
    module.back = {"child": module[0], "me": module}
    with preserved(module):
        module[0].shared.append("b")
        module[1].shared = []
    assert module[0].shared is shared
    assert module[1].shared is shared
    assert len(shared) == 2
    assert shared[1] is shared


def test_numpy_arrays_of_the_module_are_put_back() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = np.array([np.nan, 1.0])
            self.fixed = np.arange(3)
            self.fixed.flags.writeable = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return x.relu()

    module = Counting()
    calls = module.calls
    cv.Network(module, input=cv.InputSpec(size=4))(torch.zeros(1, 3, 4, 4))
    assert module.calls is calls
    np.testing.assert_array_equal(calls, [np.nan, 1.0])
