"""Network: what is refused with what to do, what counts as the output, and predictions by hand."""

from __future__ import annotations

import copy
import math
import warnings
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision import models

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, InputTypeError, OutputError, UnsupportedModuleError

SPEC = cv.InputSpec(size=8)
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def small(classes: int = 5) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 4, 3),
            norm=nn.BatchNorm2d(4),
            relu=nn.ReLU(inplace=True),
            drop=nn.Dropout(),
            flat=nn.Flatten(),
            head=nn.Linear(4 * 36, classes),
        )
    )


class Returns(nn.Module):
    """Runs a small network and returns its output in some wrapping."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.net = small()
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.net(x))


class Fixed(nn.Module):
    """Returns the same scores for every image."""

    def __init__(self, scores: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("row", torch.tensor(scores, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.row.expand(len(x), -1)


def plain_scores(module: nn.Module, x: Tensor) -> Tensor:
    return copy.deepcopy(module).eval()(x).detach()


# --- what is refused ---


def compiled_in_place() -> nn.Module:
    module = small()
    module.compile(backend="eager")
    return module


def compiled_forward() -> nn.Module:
    module = small()
    module.forward = torch.compile(module.forward, backend="eager")  # type: ignore[method-assign]
    return module


def with_compiled_part() -> nn.Module:
    module = small()
    module.conv = torch.compile(module.conv, backend="eager")
    return module


def with_part_compiled_in_place() -> nn.Module:
    module = small()
    module.conv.compile(backend="eager")
    return module


class FakeTorchaoTensor(Tensor):
    """Stands in for the parameters that torchao's ``quantize_`` puts in place."""


FakeTorchaoTensor.__module__ = "torchao.dtypes.affine_quantized_tensor"


def quantized_like_torchao() -> nn.Module:
    module = small()
    weight = module.head.weight.detach().as_subclass(FakeTorchaoTensor)
    module.head.weight = nn.Parameter(weight, requires_grad=False)
    return module


def statically_quantized() -> nn.Module:
    module = nn.Sequential(torch.ao.quantization.QuantStub(), small()[0], torch.ao.quantization.DeQuantStub())
    module.eval().qconfig = torch.ao.quantization.default_qconfig
    prepared = torch.ao.quantization.prepare(module)
    prepared(torch.rand(1, 3, 8, 8))
    return torch.ao.quantization.convert(prepared)


def with_quantized_buffer() -> nn.Module:
    module = small()
    module.register_buffer("table", torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.quint8))
    return module


def exported_module() -> Any:
    return torch.export.export(small().eval(), (torch.rand(1, 3, 8, 8),))


REFUSED: list[tuple[Any, str]] = [
    (
        lambda: torch.compile(small(), backend="eager"),
        r"the module \(OptimizedModule\) is compiled, .*compiled._orig_mod",
    ),
    (
        compiled_in_place,
        r"the module \(Sequential\) is compiled, .*a fresh copy if module.compile\(\) was used",
    ),
    (compiled_forward, r"the module \(Sequential\) is compiled"),
    (with_compiled_part, r"its part 'conv' \(OptimizedModule\) is compiled"),
    (with_part_compiled_in_place, r"its part 'conv' \(Conv2d\) is compiled"),
    (lambda: torch.jit.script(small()), "is scripted or traced by torch.jit; pass the Python module"),
    (lambda: torch.jit.trace(small().eval(), torch.rand(1, 3, 8, 8)), "is scripted or traced"),
    (lambda: nn.Sequential(torch.jit.script(small())), "its part '0' .* is scripted or traced"),
    (
        lambda: torch.ao.quantization.quantize_dynamic(small(), {nn.Linear}),
        "its part 'head' .*is quantized; pass",
    ),
    (statically_quantized, "is quantized; pass the floating-point module"),
    (quantized_like_torchao, "its part 'head' .*is quantized"),
    (with_quantized_buffer, "is quantized"),
    (
        exported_module,
        r"got torch.*ExportedProgram; give the module that was exported, or torch.export.unflatten",
    ),
    (lambda: exported_module().module(), "is an exported graph, .*torch.export.unflatten"),
    (
        lambda: nn.Sequential(nn.LazyConv2d(3, 3)),
        r"its part '0' \(LazyConv2d\) has uninitialized weights; run one",
    ),
    (lambda: nn.LazyBatchNorm2d(affine=False), "has uninitialized weights"),
    (lambda: small().to("meta"), "has weights without values .*load them first"),
    (lambda: nn.DataParallel(torch.jit.script(small())), "is scripted"),
    (lambda: nn.Conv2d, r"got builtins.type; that is the class: give Conv2d\(...\)"),
    (lambda: small().state_dict(), r"got collections.OrderedDict; if these are weights, .*load_state_dict"),
    (lambda: models.resnet18, "got builtins.function; give the module itself"),
    (lambda: "resnet18", "got builtins.str; give the module itself"),
    (lambda: None, "got builtins.NoneType"),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_looked_into_is_refused_with_what_to_do(make: Any, message: str) -> None:
    made = make()
    with pytest.raises(UnsupportedModuleError, match=message) as raised:
        cv.Network(made, input=SPEC)
    assert isinstance(raised.value, TypeError)


def test_the_advice_works() -> None:
    """What each refusal tells to do gives a network that runs."""
    lazy = nn.Sequential(nn.LazyConv2d(3, 3), nn.Flatten())
    lazy(torch.rand(1, 3, 8, 8))
    unflattened = torch.export.unflatten(exported_module())
    for module in (torch.compile(small(), backend="eager")._orig_mod, lazy, unflattened):
        net = cv.Network(module, input=SPEC)
        assert math.isclose(net.predict(PICTURE, k=999).probabilities.sum(), 1, rel_tol=1e-5)
    assert net.layer("conv").output_shape == (4, 6, 6)


def test_what_only_looks_alike_is_taken() -> None:
    class Net(nn.Sequential):
        pass

    Net.__module__ = "mine.quantized.models"
    cv.Network(Net(*small()), input=SPEC)
    cv.Network(models.quantization.resnet18(weights=None, quantize=False))
    cv.Network(torch.fx.symbolic_trace(small()), input=SPEC)
    cv.Network(nn.Sequential(nn.Flatten()))


# --- wrappers and outputs ---


def test_data_parallel_is_seen_through() -> None:
    module = small()
    wrapped = nn.DataParallel(nn.DataParallel(module))
    net = cv.Network(wrapped, input=SPEC)
    assert net.module is wrapped
    assert net.core is module
    assert [layer.name for layer in net.layers][:2] == ["conv", "norm"]
    x = net.prepare(PICTURE)
    torch.testing.assert_close(net(x), plain_scores(module, x))


Named = namedtuple("Named", ["features", "logits"])
Pair = namedtuple("Pair", ["main", "auxiliary"])


@dataclass
class Record:
    loss: Any
    logits: Any
    hidden: Any


class Output(OrderedDict):
    """As in Hugging Face's transformers: a dictionary whose entries can be counted as well."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else list(self.values())[key]


OUTPUTS: list[tuple[Any, Any]] = [
    (lambda s: s, None),
    (lambda s: (s, s * 2), None),
    (lambda s: [s, s * 2], None),
    (lambda s: (None, s), None),
    (lambda s: (s * 2, s), 1),
    (lambda s: {"out": s, "aux": s * 2}, None),
    (lambda s: {"loss": s.mean(), "logits": s}, None),
    (lambda s: {"anything": s}, None),
    (lambda s: {"a": s * 2, "b": s}, "b"),
    (lambda s: Pair(s, s * 2), None),
    (lambda s: Record(None, s, s * 2), None),
    (lambda s: Record(None, s * 2, s), lambda record: record.hidden),
    (lambda s: Output(logits=s, hidden=s * 2), None),
    (lambda s: Output(hidden=s * 2, scores=s), "scores"),
    (lambda s: {"deep": {"er": s}}, lambda output: output["deep"]["er"]),
    (lambda s: s[..., None, None], lambda maps: maps.flatten(1)),
]


@pytest.mark.parametrize(("wrap", "choice"), OUTPUTS)
def test_the_output_that_counts(wrap: Any, choice: Any) -> None:
    module = Returns(wrap)
    net = cv.Network(module, input=SPEC, output=choice)
    x = net.prepare(PICTURE)
    expected = plain_scores(module.net, x)
    torch.testing.assert_close(net.scores(x), expected)
    torch.testing.assert_close(net.class_scores(x), expected)
    assert type(net(x)) is type(wrap(expected))


def test_of_several_that_may_be_class_scores_it_is_said_once_which_is_taken() -> None:
    def wrap(scores: Tensor) -> Any:
        return scores.repeat(1, 2), scores

    net = cv.Network(Returns(wrap), input=SPEC)
    with pytest.warns(
        UserWarning, match=r"returns tuple\(1x10, 1x5\), of which the first .* output=<index>"
    ) as said:
        found = [net.predict(PICTURE, k=10) for _ in range(2)]
    assert [len(each.indices) for each in found] == [10, 10]
    assert len(said) == 1
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cv.Network(Returns(wrap), input=SPEC, output=0).predict(PICTURE)
        cv.Network(Returns(wrap), input=SPEC, labels=[str(each) for each in range(10)]).predict(PICTURE)
        cv.Network(Returns(lambda scores: (scores, 2 * scores)), input=SPEC).predict(PICTURE)


@pytest.mark.parametrize(
    ("wrap", "choice", "message"),
    [
        (
            lambda s: {"a": s, "b": s},
            None,
            r"can't tell which tensor counts in dict\(a: 1x5, b: 1x5\); name it: cv.Net",
        ),
        (lambda s: {"a": s}, "b", r"output='b' does not fit what the module returned, dict\(a: 1x5\)"),
        (lambda s: (s,), 3, r"output=3 does not fit what the module returned, tuple\(1x5\)"),
        (lambda s: None, None, "can't tell which tensor counts in NoneType"),
        (lambda s: "text", None, "can't tell which tensor counts in str"),
        (lambda s: s[0], None, r"shape \(images, classes\), but this network returns torch.float32 \(5,\)"),
        (
            lambda s: s[..., None, None],
            None,
            r"returns torch.float32 \(1, 5, 1, 1\); give cv.Network\(module, output=",
        ),
        (lambda s: s.argmax(1, keepdim=True), None, r"class scores are floats .*torch.int64 \(1, 1\)"),
        (lambda s: s / 0, None, "the network returned NaN or infinity"),
        (lambda s: s * torch.nan, None, "the network returned NaN or infinity"),
    ],
)
def test_outputs_that_are_no_class_scores(wrap: Any, choice: Any, message: str) -> None:
    net = cv.Network(Returns(wrap), input=SPEC, output=choice)
    with pytest.raises(OutputError, match=message):
        net.predict(PICTURE)


def test_no_scores_within_a_capture_that_ends_the_pass() -> None:
    net = cv.Network(small(), input=SPEC)
    x = net.prepare(PICTURE)
    expected = net.scores(x)
    net(x)
    with cv.capture(net, ["conv"]):
        net(x)
        with pytest.raises(
            OutputError, match=r"ended at the deepest captured layer.*cv.capture\(net, layers, stop=False\)"
        ):
            net.scores(x)
    with cv.capture(net, ["conv"], stop=False):
        torch.testing.assert_close(net.scores(x), expected)


# --- predictions ---

scores_of_classes = st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=8)


@settings(max_examples=40)
@given(scores_of_classes, st.integers(1, 10))
def test_predictions_by_hand(scores: list[float], k: int) -> None:
    net = cv.Network(Fixed(scores), input=SPEC, labels=[f"class {each}" for each in range(len(scores))])
    prediction = net.predict(PICTURE, k=k)
    already = min(scores) >= 0 and abs(sum(scores) - 1) <= 1e-3
    total = math.fsum(math.exp(each) for each in scores)
    by_hand = scores if already else [math.exp(each) / total for each in scores]
    count = min(k, len(scores))
    assert prediction.probabilities.dtype == np.float32
    assert prediction.indices.dtype == np.int64
    assert len(set(prediction.indices.tolist())) == count
    np.testing.assert_allclose(
        prediction.probabilities, sorted(by_hand, reverse=True)[:count], rtol=1e-4, atol=1e-30
    )
    np.testing.assert_allclose(
        prediction.probabilities, np.take(by_hand, prediction.indices), rtol=1e-4, atol=1e-30
    )
    assert prediction.labels == tuple(f"class {each}" for each in prediction.indices)


def test_ties_are_in_the_order_of_the_classes() -> None:
    net = cv.Network(Fixed([1.0, 3.0, 1.0, 3.0, 1.0, 3.0] * 20), input=SPEC)
    expected = [*range(1, 120, 2), *range(0, 120, 2)]
    assert net.predict(PICTURE, k=120).indices.tolist() == expected


def test_what_float32_cannot_tell_apart_is_still_in_order() -> None:
    net = cv.Network(Fixed([0.0, 1e-12, 2e-12], torch.float64), input=SPEC)
    assert net.predict(PICTURE).indices.tolist() == [2, 1, 0]


def test_a_single_score_is_the_logit_of_class_one() -> None:
    net = cv.Network(Fixed([2.0]), input=SPEC, labels=["no", "yes"])
    prediction = net.predict(PICTURE)
    assert prediction.labels == ("yes", "no")
    np.testing.assert_allclose(
        prediction.probabilities, [1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))], rtol=1e-6
    )


def test_a_softmax_at_the_end_is_not_put_through_another() -> None:
    module = nn.Sequential(*small(), nn.Softmax(dim=1))
    net = cv.Network(module, input=SPEC)
    expected = plain_scores(module, net.prepare(PICTURE))[0].sort(descending=True)
    prediction = net.predict(PICTURE)
    np.testing.assert_array_equal(prediction.probabilities, expected.values.numpy())
    np.testing.assert_array_equal(prediction.indices, expected.indices.numpy())


def test_a_prediction_of_a_real_network() -> None:
    module = small(classes=7)
    net = cv.Network(module, input=SPEC)
    expected = plain_scores(module, torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255)[0].softmax(0)
    prediction = net.predict(PICTURE, k=3)
    np.testing.assert_allclose(prediction.probabilities, expected.sort(descending=True).values[:3], rtol=1e-5)
    assert prediction.labels == tuple(str(each) for each in expected.argsort(descending=True)[:3].tolist())
    assert module.training


def test_a_prediction_shows_itself_as_text() -> None:
    net = cv.Network(Fixed([1.0, 2.0]), input=SPEC, labels=["<script>alert(1)</script>", "a & b"])
    prediction = net.predict(PICTURE)
    assert str(prediction) == " 73.1%  a & b\n 26.9%  <script>alert(1)</script>"
    expected = "<pre> 73.1%  a &amp; b\n 26.9%  &lt;script&gt;alert(1)&lt;/script&gt;</pre>"
    assert prediction._repr_html_() == expected


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None, "5"])
def test_k_is_a_whole_number(k: Any) -> None:
    with pytest.raises(ValueError, match="k must be a whole number from 1, got"):
        cv.Network(small(), input=SPEC).predict(PICTURE, k=k)


def test_k_of_numpy() -> None:
    assert len(cv.Network(small(), input=SPEC).predict(PICTURE, k=np.int64(2)).labels) == 2


def test_one_image_at_a_time() -> None:
    with pytest.raises(InputError, match="predict takes one image, got 2; call it once for each"):
        cv.Network(small(), input=SPEC).predict([PICTURE, PICTURE])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0, 3.0], ["a", "b"], "the network has 3 classes, but 2 labels were given"),
        ([1.0], ["a"], "the network has 2 classes, but 1 labels were given"),
    ],
)
def test_labels_must_fit(scores: list[float], labels: list[str], message: str) -> None:
    with pytest.raises(OutputError, match=message):
        cv.Network(Fixed(scores), input=SPEC, labels=labels).predict(PICTURE)


@pytest.mark.parametrize("labels", ["abcde", {0: "cat"}, {"cat", "dog"}])
def test_labels_are_in_the_order_of_the_outputs(labels: Any) -> None:
    with pytest.raises(
        TypeError, match="labels= takes a list of class names in the order of the outputs, got"
    ):
        cv.Network(small(), labels=labels)


def test_labels_of_any_kind_become_text() -> None:
    assert cv.Network(small(), labels=np.array([0, 1])).labels == ("0", "1")


# --- number types, memory formats, devices ---


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_of_other_number_types(dtype: torch.dtype) -> None:
    module = small().to(dtype)
    net = cv.Network(module, input=cv.InputSpec(size=8, mean=0.5, std=0.25))
    x = net.prepare(PICTURE)
    assert (net.dtype, x.dtype) == (dtype, dtype)
    expected = ((torch.from_numpy(PICTURE).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25).to(dtype)
    assert torch.equal(x, expected)
    scores = net.class_scores(x)
    torch.testing.assert_close(scores, plain_scores(module, expected))
    prediction = net.predict(PICTURE)
    assert prediction.probabilities.dtype == np.float32
    by_hand = scores[0].double().softmax(0).sort(descending=True, stable=True)
    np.testing.assert_allclose(prediction.probabilities, by_hand.values, rtol=1e-5)
    np.testing.assert_array_equal(prediction.indices, by_hand.indices)
    assert np.abs(net.restore(x)[0].astype(int) - PICTURE).max() <= 1


def test_channels_last_modules() -> None:
    module = small().to(memory_format=torch.channels_last)
    net = cv.Network(module, input=SPEC)
    for x in (net.prepare(PICTURE), net.prepare(PICTURE).contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(net(x), plain_scores(module, x), rtol=1e-5, atol=1e-6)
        with cv.capture(net, ["relu"]) as seen:
            net(x)
        torch.testing.assert_close(seen["relu"], plain_scores(module[:3], x), rtol=1e-5, atol=1e-6)
    assert module.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_module_is_never_moved() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"on cpu, not on cuda; .*module.to\('cuda'\)"):
        cv.Network(small(), device="cuda")
    assert cv.Network(small(), device="cpu").device == torch.device("cpu")
    assert cv.Network(nn.Flatten(), device="cpu").dtype == torch.float32


@pytest.mark.parametrize("device", ["nowhere", 3.5, ""])
def test_a_device_that_does_not_exist(device: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="device"):
        cv.Network(small(), device=device)


# --- batches ---


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (PICTURE, InputTypeError, r"takes a prepared batch, got ndarray; use net\(net.prepare\(image\)\)"),
        (
            torch.rand(3, 8, 8),
            InputError,
            r"a batch \(images, channels, rows, columns\), got shape \(3, 8, 8\)",
        ),
        (torch.rand(0, 3, 8, 8), InputError, r"got shape \(0, 3, 8, 8\)"),
        (torch.rand(1, 1, 8, 8), InputError, "this network takes 3 channels, got 1"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), InputTypeError, r"takes floats, got torch.uint8"),
    ],
)
def test_what_is_no_prepared_batch(x: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cv.Network(small(), input=SPEC)(x)


# --- the input, where nobody says what it is ---


def test_a_timm_model_says_itself_what_it_takes() -> None:
    model = timm.create_model("test_vit", pretrained=False)
    assert cv.Network(model).input == cv.InputSpec.from_timm(model)
    assert cv.Network(nn.DataParallel(model)).input == cv.InputSpec.from_timm(model)


@pytest.mark.parametrize(
    ("module", "channels"),
    [
        (small(), 3),
        (nn.Sequential(nn.Identity(), nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)), 1),
        (nn.Conv2d(12, 4, 3, groups=4), 12),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), 3),
    ],
)
def test_otherwise_the_first_convolution_says_how_many_channels(module: nn.Module, channels: int) -> None:
    assert cv.Network(module).input == cv.InputSpec(channels=channels)


def test_input_is_a_spec() -> None:
    with pytest.raises(TypeError, match=r"input= takes a cv.InputSpec, got int"):
        cv.Network(small(), input=224)  # type: ignore[arg-type]


def test_prepare_and_restore_are_those_of_the_spec() -> None:
    net = cv.Network(small(), input=cv.InputSpec(size=8, mean=0.5, std=0.5))
    assert torch.equal(net.prepare(PICTURE), net.input.prepare(PICTURE))
    np.testing.assert_array_equal(net.restore(net.prepare(PICTURE)), PICTURE[None])


def test_repr_names_module_and_size() -> None:
    assert repr(cv.Network(small(), input=SPEC)).startswith(
        "Network(Sequential, 845 parameters, input=InputSpec("
    )


def test_a_module_that_is_being_watched_can_be_copied() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    net = cv.Network(module, input=cv.InputSpec(size=8))
    x = torch.ones(1, 3, 8, 8)
    with cv.capture(net, ["0"]) as seen:
        net(x)
        alike = copy.deepcopy(module)
        other = copy.deepcopy(net)
    assert torch.equal(alike(x), module(x))
    assert torch.equal(other(x), net(x))
    assert (other.captures, other.input) == ([], net.input)
    assert other.module is not module
    assert torch.equal(seen["0"], module[0](x))
