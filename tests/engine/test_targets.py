"""Targets: values against hand computation, gradients against autograd on the plain module."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import (
    AmbiguousLayerError,
    LabelNotFoundError,
    LayerNotFoundError,
    OutputError,
    TargetError,
)
from cnnviz_widgets.engine.targets import as_target, class_index, probabilities

LABELS = ("cat", "tabby cat", "crane", "dog", "crane", "zebra")
# ImageNet's own list names two birds and machines "crane", and two bathing suits "maillot".
IMAGENET = list(models.ResNet18_Weights.DEFAULT.meta["categories"])
IMAGENET[134] = IMAGENET[517] = "crane"
IMAGENET[638] = IMAGENET[639] = "maillot"


class Small(nn.Module):
    """Convolutions, an in-place ReLU used twice, dropout and batch normalization."""

    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(4, 5, 3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.relu(self.mix(x))
        return self.head(self.drop(x.mean(dim=(2, 3))))


@pytest.fixture
def module() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def net(module: Small) -> Any:
    return cv.Network(module, input=cv.InputSpec(size=(9, 8)), labels=LABELS)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 3, 9, 8, generator=torch.Generator().manual_seed(1))


def plain(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).eval()


def logits(module: nn.Module) -> Callable[[Tensor], Tensor]:
    return plain(module)


def mix_maps(module: Small, x: Tensor) -> Tensor:
    copied = plain(module)
    first = torch.relu(copied.norm(copied.conv(x)))
    return copied.mix(first)


CASES: list[tuple[Any, Callable[[Small, Tensor], Tensor]]] = [
    (cv.Target(3), lambda module, x: plain(module)(x)[:, 3]),
    (cv.Target("zebra"), lambda module, x: plain(module)(x)[:, 5]),
    (cv.Target("dog", of="probability"), lambda module, x: (s := plain(module)(x).exp())[:, 3] / s.sum(1)),
    (cv.Target(layer="mix", channel=2), lambda module, x: mix_maps(module, x)[:, 2].sum((1, 2)) / 20),
    (cv.Target(layer="mix", channel=4, position=(3, 1)), lambda module, x: mix_maps(module, x)[:, 4, 3, 1]),
    (
        cv.Target(layer=("relu", 1), channel=0),
        lambda module, x: mix_maps(module, x)[:, 0].relu().mean((1, 2)),
    ),
    (cv.Target(layer="head", channel=1), lambda module, x: plain(module)(x)[:, 1]),
    (
        cv.Target(lambda output: output[:, 0] - output[:, 1] ** 2),
        lambda module, x: (s := plain(module)(x))[:, 0] - s[:, 1] ** 2,
    ),
]


@pytest.mark.parametrize(
    ("target", "oracle"),
    CASES,
    ids=lambda each: repr(each).split(" at 0x")[0] if isinstance(each, cv.Target) else "",
)
def test_values_and_gradients_are_those_of_the_plain_module(
    target: Any, oracle: Callable[[Small, Tensor], Tensor], net: Any, module: Small, x: Tensor
) -> None:
    expected_x = x.clone().requires_grad_()
    expected = oracle(module, expected_x)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), expected_x)

    values = target.scores(net, x)
    assert not values.requires_grad
    torch.testing.assert_close(values, expected.detach(), rtol=1e-5, atol=1e-6)

    given_x = x.clone().requires_grad_()
    values = target.scores(net, given_x)
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), given_x)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-7)
    assert gradient.abs().sum() > 0
    assert all(each.grad is None and each.requires_grad for each in module.parameters())
    assert module.training
    assert module.relu.training


def test_a_unit_ends_the_pass_at_its_layer(net: Any, module: Small, x: Tensor) -> None:
    target = cv.Target(layer="conv", channel=0)
    expected = target.scores(net, x)
    module.head.register_forward_pre_hook(lambda *_: pytest.fail("the pass went on to the end"))
    torch.testing.assert_close(target.scores(net, x), expected)


def test_a_bare_label_index_or_function_is_a_target() -> None:
    def brightest(output: Tensor) -> Tensor:
        return output.amax(1)

    assert as_target("cat") == cv.Target("cat")
    assert as_target(7) == cv.Target(7)
    assert as_target(brightest) == cv.Target(brightest)
    target = cv.Target(layer="mix", channel=1)
    assert as_target(target) is target


def test_whole_numbers_of_any_kind() -> None:
    assert cv.Target(np.int64(3)) == cv.Target(3)
    target = cv.Target(layer="mix", channel=np.uint8(2), position=np.array([1, 2]))
    assert target == cv.Target(layer="mix", channel=2, position=(1, 2))
    assert hash(target) == hash(cv.Target(layer="mix", channel=2, position=[1, 2]))
    assert (type(target.channel), type(target.position)) == (int, tuple)


def test_repr_is_the_call_that_makes_it() -> None:
    for text in (
        "Target('tabby')",
        "Target(281, of='probability')",
        "Target(layer='mix', channel=0)",
        "Target(layer=('relu', 1), channel=3, position=(0, 2))",
    ):
        assert repr(eval(text, {"Target": cv.Target})) == text


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((), {}, TargetError, r"exactly one of these; got Target\(\)"),
        ((3,), {"layer": "mix", "channel": 0}, TargetError, "exactly one of these"),
        ((True,), {}, TypeError, "a target is a label, an index or a function, got True"),
        ((2.0,), {}, TypeError, "got 2.0"),
        ((["cat"],), {}, TypeError, r"got \['cat'\]"),
        ((), {"layer": "mix"}, TargetError, "needs channel=, counted from 0; got None"),
        ((), {"layer": "mix", "channel": 1.0}, TargetError, "needs channel=, counted from 0; got 1.0"),
        ((), {"layer": "mix", "channel": True}, TargetError, "got True"),
        ((3,), {"channel": 1}, TargetError, "channel and position belong to a layer"),
        ((3,), {"position": (1, 1)}, TargetError, "channel and position belong to a layer"),
        (
            (),
            {"layer": "mix", "channel": 1, "position": 3},
            TargetError,
            r"position is \(row, column\).*got 3",
        ),
        ((), {"layer": "mix", "channel": 1, "position": (3,)}, TargetError, r"got \(3,\)"),
        ((), {"layer": "mix", "channel": 1, "position": (1, 2, 3)}, TargetError, r"got \(1, 2, 3\)"),
        ((), {"layer": "mix", "channel": 1, "position": (1, 2.5)}, TargetError, r"got \(1, 2.5\)"),
        ((), {"layer": "mix", "channel": 1, "position": "ab"}, TargetError, "got 'ab'"),
        ((3,), {"of": "score"}, TargetError, "of= is 'logit' or 'probability', got 'score'"),
        ((), {"layer": "mix", "channel": 1, "of": "probability"}, TargetError, "is for classes"),
        ((len,), {"of": "probability"}, TargetError, "is for classes"),
        (("cat", "dog"), {}, TypeError, "positional"),
    ],
)
def test_targets_that_make_no_sense(
    arguments: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cv.Target(*arguments, **options)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (6, LabelNotFoundError, "class 6 does not exist; classes are 0 to 5"),
        (-1, LabelNotFoundError, "class -1 does not exist"),
        ("tabby", LabelNotFoundError, "label 'tabby' not found; did you mean 'tabby cat'"),
        ("zebr", LabelNotFoundError, "did you mean 'zebra'"),
        (
            "crane",
            LabelNotFoundError,
            r"label 'crane' belongs to classes \[2, 4\]; give one of these indices",
        ),
        ("", LabelNotFoundError, "label '' not found$"),
        (
            "mix",
            LabelNotFoundError,
            r"'mix' is a layer, of which cv.Target\(layer='mix', channel=0\) is the first",
        ),
        (cv.Target(layer="mix", channel=5), TargetError, "channels 0 to 4, got 5"),
        (cv.Target(layer="mix", channel=-1), TargetError, "channels 0 to 4, got -1"),
        (
            cv.Target(layer="mix", channel=0, position=(5, 0)),
            TargetError,
            "5 rows and 4 columns, counted from 0",
        ),
        (cv.Target(layer="mix", channel=0, position=(0, -1)), TargetError, "5 rows and 4 columns"),
        (
            cv.Target(layer="head", channel=0, position=(0, 0)),
            TargetError,
            "a vector, which has no positions",
        ),
        (cv.Target(layer="mixx", channel=0), LayerNotFoundError, "did you mean 'mix'"),
        (cv.Target(layer="relu", channel=0), AmbiguousLayerError, "relu"),
        (lambda output: output, TargetError, r"one number for each image, \[3\]; got a tensor \(3, 6\)"),
        (lambda output: output.sum(), TargetError, r"got a tensor \(\)"),
        (lambda output: 1.0, TargetError, "got float"),
        (lambda output: output[:, 0] / 0, OutputError, "is NaN or infinite for this image"),
        (lambda output: output.oops, AttributeError, "oops"),
    ],
)
def test_targets_that_the_network_does_not_have(
    target: Any, error: type[Exception], message: str, net: Any, x: Tensor
) -> None:
    with pytest.raises(error, match=message):
        as_target(target).scores(net, x)


def test_a_label_needs_labels(module: Small, x: Tensor) -> None:
    with pytest.raises(
        LabelNotFoundError, match="has no labels, so class 'cat' can't be found; give an index"
    ):
        cv.Target("cat").scores(cv.Network(module), x)


def test_imagenet_has_two_cranes_and_two_maillots() -> None:
    assert len(IMAGENET) == 1000
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 1000, 1), nn.Flatten()), labels=IMAGENET)
    for label, indices in (("crane", "134, 517"), ("maillot", "638, 639")):
        with pytest.raises(LabelNotFoundError, match=rf"{label}' belongs to classes \[{indices}\]"):
            class_index(net, label, 1000)
        for index in map(int, indices.split(", ")):
            assert class_index(net, index, 1000) == index
    assert class_index(net, "tabby", 1000) == 281
    once = [label for label in IMAGENET if IMAGENET.count(label) == 1]
    assert len(once) == 996
    assert [class_index(net, label, 1000) for label in once] == [IMAGENET.index(label) for label in once]


class Tokens(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


def test_a_layer_that_is_neither_maps_nor_a_vector() -> None:
    net = cv.Network(nn.Sequential(Tokens(), nn.Identity()), input=cv.InputSpec(size=4))
    with pytest.raises(TargetError, match="the layer returns 2x16x3, not maps or a vector"):
        cv.Target(layer="0", channel=0).scores(net, torch.rand(2, 3, 4, 4))


def test_a_network_without_class_scores() -> None:
    net = cv.Network(nn.Conv2d(3, 2, 1), input=cv.InputSpec(size=4))
    with pytest.raises(
        OutputError, match=r"class scores are floats of shape \(images, classes\), but .*\(2, 2, 4, 4\)"
    ):
        cv.Target(0).scores(net, torch.rand(2, 3, 4, 4))
    values = cv.Target(lambda maps: maps[:, 1].sum(dim=(1, 2))).scores(net, torch.rand(2, 3, 4, 4))
    assert values.shape == (2,)


# --- one score: the logit of class 1 of two ---


def test_a_single_score_is_the_logit_of_class_one() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 1))
    net = cv.Network(module, input=cv.InputSpec(size=1), labels=["no", "yes"])
    x = torch.rand(4, 3, 1, 1)
    score = plain(module)(x)[:, 0].detach()
    torch.testing.assert_close(cv.Target("yes").scores(net, x), score)
    torch.testing.assert_close(cv.Target(0).scores(net, x), -score)
    torch.testing.assert_close(cv.Target(1, of="probability").scores(net, x), 1 / (1 + (-score).exp()))
    torch.testing.assert_close(cv.Target("no", of="probability").scores(net, x), 1 / (1 + score.exp()))
    with pytest.raises(LabelNotFoundError, match="classes are 0 to 1"):
        cv.Target(2).scores(net, x)


# --- probabilities ---

finite = st.floats(-50, 50)


@given(st.lists(st.lists(finite, min_size=4, max_size=4), min_size=1, max_size=4))
def test_softmax_by_hand(rows: list[list[float]]) -> None:
    computed = probabilities(torch.tensor(rows, dtype=torch.float64))
    for row, line in zip(rows, computed.tolist(), strict=True):
        if min(row) >= 0 and abs(sum(row) - 1) <= 1e-3:
            assert line == row
            continue
        total = math.fsum(math.exp(each - max(row)) for each in row)
        assert line == pytest.approx([math.exp(each - max(row)) / total for each in row])


@given(st.lists(finite, min_size=1, max_size=5))
def test_one_score_by_hand(scores: list[float]) -> None:
    computed = probabilities(torch.tensor(scores, dtype=torch.float64)[:, None])
    for score, (no, yes) in zip(scores, computed.tolist(), strict=True):
        assert (no, yes) == pytest.approx((1 / (1 + math.exp(score)), 1 / (1 + math.exp(-score))), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_what_is_a_probability_already_is_left_alone(dtype: torch.dtype, classes: int) -> None:
    scores = torch.randn(20, classes, generator=torch.Generator().manual_seed(0)) * 3
    already = scores.softmax(dim=1).to(dtype)
    kept = probabilities(already)
    assert torch.equal(kept, already.to(kept.dtype))
    assert kept.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    computed = probabilities(scores.to(dtype))
    torch.testing.assert_close(computed, scores.to(dtype).to(computed.dtype).softmax(dim=1))


@pytest.mark.parametrize(
    "scores", [[[0.6, 0.5]], [[-0.1, 1.1]], [[0.5, 0.5], [2.0, 3.0]], [[0.0, 0.0]], [[0.5, 0.498]]], ids=str
)
def test_what_is_no_probability_goes_through_the_softmax(scores: list[list[float]]) -> None:
    expected = [[1 / (1 + math.exp(b - a)), 1 / (1 + math.exp(a - b))] for a, b in scores]
    torch.testing.assert_close(probabilities(torch.tensor(scores)), torch.tensor(expected))


def test_a_module_that_ends_in_a_softmax(module: Small, x: Tensor) -> None:
    net = cv.Network(nn.Sequential(module, nn.Softmax(dim=1)), input=cv.InputSpec(size=(9, 8)))
    expected = plain(module)(x).softmax(dim=1)[:, 2].detach()
    torch.testing.assert_close(cv.Target(2, of="probability").scores(net, x), expected)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(cv.Target(2, of="probability").scores(net, x).sum(), x)
    (oracle,) = torch.autograd.grad(plain(module)(x).softmax(dim=1)[:, 2].sum(), x)
    torch.testing.assert_close(gradient, oracle, rtol=1e-4, atol=1e-8)


def test_a_label_that_is_near_is_one_with_the_word_in_it() -> None:
    labels = ["crate", "oxcart", "Egyptian cat", "tiger cat", "285"]
    net = cv.Network(torch.nn.Flatten(), input=cv.InputSpec(size=1, channels=5), labels=labels)
    x = torch.zeros(1, 5, 1, 1)
    with pytest.raises(LookupError, match="did you mean 'Egyptian cat', 'tiger cat' or 'crate'"):
        cv.Target("cat").scores(net, x)
    with pytest.raises(LookupError, match="as an index it is 3, without quotes"):
        cv.Target("3").scores(net, x)
    with pytest.raises(TypeError, match=r"a target needs a cv\.Network, got Tensor; it comes first"):
        cv.Target("cat").scores(x, net)
