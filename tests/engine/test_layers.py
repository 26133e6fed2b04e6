"""The list of layers against published shapes and counts; finding layers; nests of values."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import AmbiguousLayerError, LayerNotFoundError, OutputError
from cnnviz_widgets.engine.layers import (
    check_call,
    describe,
    find_module,
    main_tensor,
    map_tensors,
    split_key,
    tensors_in,
    version,
)
from tests.random_networks import SEEDS, RandomNetwork, slow_values
from tests.small_networks import Function, chain, images, network_of, small

# From the papers, and torchvision's documentation of the weights (numbers of parameters).
PUBLISHED: dict[str, dict[str, tuple[tuple[int, ...], int, int]]] = {
    "resnet18": {
        "conv1": ((64, 112, 112), 9_408, 1),
        "relu": ((64, 112, 112), 0, 1),
        "maxpool": ((64, 56, 56), 0, 1),
        "layer1.0.relu": ((64, 56, 56), 0, 2),
        "layer2": ((128, 28, 28), 525_568, 1),
        "layer3.0.downsample": ((256, 14, 14), 33_280, 1),
        "layer4.1.conv2": ((512, 7, 7), 2_359_296, 1),
        "avgpool": ((512, 1, 1), 0, 1),
        "fc": ((1000,), 513_000, 1),
        "": ((1000,), 11_689_512, 1),
    },
    "squeezenet1_1": {
        "features": ((512, 13, 13), 722_496, 1),
        "features.0": ((64, 111, 111), 1_792, 1),
        "features.2": ((64, 55, 55), 0, 1),
        "features.3": ((128, 55, 55), 11_408, 1),
        "features.3.squeeze": ((16, 55, 55), 1_040, 1),
        "classifier": ((1000, 1, 1), 513_000, 1),
        "": ((1000,), 1_235_496, 1),
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_and_counts(name: str) -> None:
    net = cv.Network.from_torchvision(name, weights=None)
    for layer, (shape, parameters, calls) in PUBLISHED[name].items():
        info = net.layer(layer)
        assert (info.output_shape, info.parameters, info.calls) == (shape, parameters, calls), layer
        assert info.output_shapes == (shape,) * calls
    kinds = Counter(layer.kind for layer in net.layers)
    assert kinds["Conv2d"] == {"resnet18": 20, "squeezenet1_1": 26}[name]


@pytest.mark.parametrize("seed", SEEDS[::2])
def test_layers_of_random_networks(seed: int) -> None:
    module = RandomNetwork(seed)
    net = network_of(module)
    values = slow_values(module, torch.zeros(1, module.channels, *module.size))
    named = [(name, each) for name, each in module.named_modules() if name]
    assert [layer.name for layer in net.layers] == [name for name, _ in named]
    for layer, (name, each) in zip(net.layers, named, strict=True):
        own = [value for (other, _), value in values.items() if other == name]
        assert layer.calls == len(own) == len(layer.output_shapes)
        for shape, value in zip(layer.output_shapes, own, strict=True):
            if isinstance(value, Tensor):
                assert shape == value.shape[1:]
        assert layer.output_shape == (layer.output_shapes[0] if own else None)
        assert layer.kind == type(each).__name__
        assert layer.parameters == sum({id(one): one.numel() for one in each.parameters()}.values())
        assert net.layer(name) == layer


def test_calls_of_different_shapes() -> None:
    pool = nn.MaxPool2d(2)
    net = small(nn.Sequential(pool, nn.Conv2d(3, 5, 1), pool))
    layer = net.layer("0")
    assert (layer.calls, layer.output_shapes) == (2, ((3, 4, 4), (5, 2, 2)))
    assert layer.output_shape == (3, 4, 4)
    assert net.layer(("0", 1)).output_shape == (5, 2, 2)
    assert net.layer(("0", np.int64(0))).output_shape == (3, 4, 4)
    assert net.layer("2") == layer, "two names, one layer"
    assert net.layer("module.2") == layer
    with pytest.raises(LayerNotFoundError, match="its calls are 0 to 1; got call 2"):
        net.layer(("0", 2))


def test_layers_that_are_never_called_and_shapes_that_are_none() -> None:
    module = Function(
        lambda self, x: self.text(x) and x.sum(),
        text=Function(lambda self, x: "text"),
        unused=nn.ModuleList([nn.Linear(2, 3)]),
    )
    net = small(module)
    assert [(each.name, each.output_shape, each.calls) for each in net.layers] == [
        ("text", None, 1),
        ("unused", None, 0),
        ("unused.0", None, 0),
    ]
    assert net.layer("unused").parameters == 9
    with pytest.raises(LayerNotFoundError, match=r"layer 'unused.0' exists, but .* never calls it"):
        net.layer(("unused.0", 0))


def test_a_wrong_example_says_how_to_give_the_right_one() -> None:
    net = cv.Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)))
    with pytest.raises(cv.errors.InputError, match="shapes cannot be multiplied") as guessed:
        net.layers  # noqa: B018
    assert "a batch 1x3x224x224 was run" in str(guessed.value)
    net.input = cv.InputSpec(size=9)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        net.layers  # noqa: B018
    (note,) = caught.value.__notes__
    assert "a batch 1x3x9x9 was run" in note
    assert "cv.InputSpec(size=..., channels=...)" in note
    net.input = cv.InputSpec(size=8)
    assert [each.output_shape for each in net.layers] == [(192,), (2,)]


def test_where_the_module_is_and_what_it_computes_in_are_never_stale() -> None:
    module = chain()
    net = small(module)
    assert (net.device.type, net.dtype) == ("cpu", torch.float32)
    module.double()
    assert net.dtype is torch.float64
    assert net.prepare(images()[0].sigmoid()).dtype is torch.float64
    assert net.layer("conv").output_shape == (4, 8, 8)
    without = small(nn.ReLU())
    assert (without.device.type, without.dtype) == ("cpu", torch.float32)


def test_names_are_found_or_the_nearest_are_told() -> None:
    root = nn.Sequential(
        OrderedDict(features=nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), head=nn.Linear(2, 2))
    )
    assert find_module(root, "features.1") is root.features[1]
    assert find_module(root, "module.features.1") is root.features[1]
    assert find_module(root, "") is root
    root.features.add_module("Pool", nn.Identity())
    root.Pool = nn.Identity()
    cases = {
        "pool": "did you mean 'Pool' or 'features.Pool'",
        "feature.1": r"layer 'feature.1' not found; did you mean 'features.1'.*\(there is 'features', 'features.0', ",
        "Head": "did you mean 'head'",
        "relu": r"layer 'relu' not found \(there is 'features', .*, 'head', 'Pool'\)$",
        "features.7": "did you mean 'features",
    }
    for name, text in cases.items():
        with pytest.raises(LayerNotFoundError, match=text):
            find_module(root, name)
    root.extend(nn.Identity() for _ in range(6))
    with pytest.raises(
        LayerNotFoundError, match=r"layer 'relu' not found \(net.layers lists all 12 modules\)$"
    ):
        find_module(root, "relu")
    inner = nn.Sequential(
        OrderedDict(module=nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 1, 1))), conv=nn.ReLU())
    )
    assert find_module(inner, "module.conv") is inner.module.conv


def test_keys() -> None:
    assert split_key("conv") == ("conv", None)
    assert split_key(("conv", 2)) == ("conv", 2)
    name, call = split_key(("conv", np.int32(2)))
    assert (name, call, type(call)) == ("conv", 2, int)
    for wrong in (3, None, ("conv",), ("conv", 1.0), ("conv", False), ["conv", 1], (1, "conv"), ("a", 1, 2)):
        with pytest.raises(TypeError, match=r"a layer is a name such as 'features.3' or"):
            split_key(wrong)


def test_calls() -> None:
    assert check_call("relu", None, 1) == 0
    assert check_call("relu", 2, 3) == 2
    with pytest.raises(
        AmbiguousLayerError, match=r"called 5 times .* \('relu', 0\) or .* \('relu', 2\) \.\.\.$"
    ):
        check_call("relu", None, 5)
    with pytest.raises(AmbiguousLayerError, match=r"\('relu', 0\) or \('relu', 1\)$"):
        check_call("relu", None, 2)
    with pytest.raises(LayerNotFoundError, match=r"called 1 time in .* 0 to 0; got call 1"):
        check_call("relu", 1, 1)
    with pytest.raises(LayerNotFoundError, match="never calls it"):
        check_call("relu", None, 0)


class Two(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Frozen:
    tensor: Any
    more: int = field(default=3, init=False)


class Shout(dict[str, Any]):
    """A mapping whose constructor takes something else."""

    def __init__(self, volume: int) -> None:
        super().__init__()
        self.volume = volume


ONE = torch.ones(2, 3)


def shout() -> Shout:
    loud = Shout(11)
    loud["x"] = ONE
    return loud


@pytest.mark.parametrize(
    "nest",
    [
        ONE,
        (ONE, 2, None),
        [ONE, [ONE]],
        Two(ONE, "text"),
        {"a": ONE, 3: (ONE,)},
        OrderedDict(b=ONE, a=ONE),
        defaultdict(list, a=[ONE]),
        MappingProxyType({"a": ONE}),
        Frozen([ONE]),
        shout(),
        ONE.max(1),
        torch.Size([2, 3]),
        "text",
        Frozen,
    ],
    ids=lambda nest: type(nest).__name__,
)
def test_nests_are_rebuilt_in_their_own_kind(nest: Any) -> None:
    before = list(tensors_in(nest))
    doubled = map_tensors(nest, lambda tensor: tensor * 2)
    assert type(doubled) is type(nest)
    after = list(tensors_in(doubled))
    assert [each.tolist() for each in after] == [(each * 2).tolist() for each in before]
    assert all(each is one for each, one in zip(tensors_in(nest), before, strict=True)), (
        "the nest is left alone"
    )
    if not isinstance(nest, Tensor | type):
        same = map_tensors(nest, lambda tensor: tensor)
        assert repr(same) == repr(nest)
        assert getattr(same, "volume", 0) == getattr(nest, "volume", 0)


def test_the_tensor_that_counts() -> None:
    other = torch.zeros(5)
    assert main_tensor(ONE) is ONE
    assert main_tensor(("text", ONE, other)) is ONE
    assert main_tensor({"aux": other, "out": ONE}) is ONE
    assert main_tensor({"out": other, "logits": ONE}) is ONE
    assert main_tensor({"any": ONE, "text": "x"}) is ONE
    assert main_tensor(Frozen(ONE)) is ONE
    assert main_tensor((other, ONE), 1) is ONE
    assert main_tensor({"a": other, "b": ONE}, "b") is ONE
    assert main_tensor({"a": [other, ONE]}, lambda value: value["a"][1]) is ONE
    assert main_tensor({"a": (ONE, other)}, "a") is ONE
    failures: list[tuple[Any, Any, str]] = [
        ({"a": ONE, "b": other}, None, r"can't tell which tensor counts in dict\(a: 2x3, b: 5\); .*output="),
        ("text", None, "in str; "),
        ((), None, r"in tuple\(\); "),
        ((ONE,), 3, r"output=3 does not fit what the module returned, tuple\(2x3\)"),
        ({"a": ONE}, "b", r"output='b' does not fit what the module returned, dict\(a: 2x3\)"),
        (None, "b", "output='b' does not fit what the module returned, NoneType"),
    ]
    for value, choice, text in failures:
        with pytest.raises(OutputError, match=text):
            main_tensor(value, choice)


def test_descriptions() -> None:
    assert describe(ONE) == "2x3"
    assert describe(torch.tensor(1.0)) == "scalar"
    assert describe({"out": ONE, "list": [ONE, 3]}) == "dict(out: 2x3, list: list(2x3, int))"


def test_versions_count_writes() -> None:
    tensor = torch.zeros(2)
    before = version(tensor)
    tensor.add_(1)
    assert before is not None
    assert version(tensor) == before + 1
    with torch.inference_mode():
        assert version(torch.zeros(2)) is None


def test_a_failing_pass_says_what_the_batch_was() -> None:
    net = cv.Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2)), input=cv.InputSpec(size=9))
    with pytest.raises(RuntimeError, match="cannot be multiplied") as caught:
        net.predict(np.zeros((9, 9, 3), np.uint8))
    (note,) = caught.value.__notes__
    assert "the batch was 1x3x9x9" in note


def test_a_rectifier_that_is_a_function_is_pointed_at() -> None:
    with (
        pytest.raises(LookupError, match=r"calls it as a function, its name is 'relu6\(\)'"),
        cv.capture(small(chain()), ["relu6"]),
    ):
        pass
