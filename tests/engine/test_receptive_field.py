"""Receptive fields of whole networks: random ones against changing every pixel, known ones against the books."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine import errors
from cnnviz_widgets.engine import receptive_field as receptive_field_module
from tests.engine.random_networks import RandomNetwork, boxes_by_perturbation, make_monotone

Boxes = dict[tuple[int, int], tuple[int, int, int, int]]


def boxes_of(field: cv.ReceptiveField) -> Boxes:
    assert field.map_size is not None
    height, width = field.map_size
    boxes = {(row, column): field.box(row, column) for row in range(height) for column in range(width)}
    return {place: (box.top, box.left, box.bottom, box.right) for place, box in boxes.items()}


def network(module: nn.Module, size: int | tuple[int, int], channels: int = 1) -> cv.Network:
    return cv.Network(module.eval(), input=cv.InputSpec(size=size, channels=channels))


def random_network(seed: int) -> tuple[cv.Network, RandomNetwork]:
    module = RandomNetwork(seed)
    make_monotone(module, seed)
    return network(module, module.size, module.image_channels), module


# --- exactness -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
def test_boxes_of_random_branching_networks_are_exact(seed: int) -> None:
    net, module = random_network(seed)
    field = cv.receptive_field(net, "body", method="analytic")
    assert boxes_of(field) == boxes_by_perturbation(module.body, module.image_channels, module.size)


@pytest.mark.parametrize("seed", range(100, 108))
def test_gradients_and_operations_agree_on_random_networks(seed: int) -> None:
    net, module = random_network(seed)
    analytic = cv.receptive_field(net, "body")
    gradient = cv.receptive_field(net, "body", method="gradient")
    assert (analytic.method, gradient.method) == ("analytic", "gradient")
    assert boxes_of(gradient) == boxes_of(analytic)
    if any(kind in repr(module.body) for kind in ("Adaptive", "_Function", "align_corners=True", "bilinear")):
        return  # size and stride of these depend on the image's size, so larger images show others
    for axis in (0, 1):
        if gradient.stride[axis] != 0:  # otherwise the windows did not fit into the largest image tried
            assert gradient.size[axis] == analytic.size[axis]
            assert gradient.stride[axis] == analytic.stride[axis]
            assert gradient.offset[axis] == analytic.offset[axis]


@pytest.mark.parametrize("seed", range(200, 240))
def test_size_stride_and_offset_hold_every_box(seed: int) -> None:
    net, module = random_network(seed)
    if "ReflectionPad" in repr(module.body) or "eplicat" in repr(module.body):
        return  # there units near the border see pixels again that lie further inside
    field = cv.receptive_field(net, "body")
    for place, box in boxes_of(field).items():
        if box == (0, 0, 0, 0):
            continue
        for axis in (0, 1):
            start = field.offset[axis] + place[axis] * field.stride[axis]
            assert start - 1e-6 <= box[axis]
            assert box[axis + 2] <= start + field.size[axis] + 1e-6


def vgg16_features() -> nn.Sequential:
    """VGG-16 without its fully connected layers, which take seconds to draw."""
    return torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])


def test_a_box_within_the_image_is_given_by_size_stride_and_offset() -> None:
    module = vgg16_features()[:10]
    field = cv.receptive_field(network(module, 64, 3), "9")
    for row, column in ((3, 12), (12, 3), (7, 8)):
        top = field.offset[0] + row * field.stride[0]
        left = field.offset[1] + column * field.stride[1]
        assert field.box(row, column) == cv.Box(top, left, top + field.size[0], left + field.size[1])


# --- known networks --------------------------------------------------------------------------------------------


def chain(*layers: tuple[int, int]) -> tuple[int, int]:
    """Return size and stride of a chain of (kernel, stride), by the formula r = 1 + sum (k - 1) j."""
    size, jump = 1, 1
    for kernel, stride in layers:
        size += (kernel - 1) * jump
        jump *= stride
    return size, jump


def torchvision_network(name: str, size: int = 64, **options: Any) -> cv.Network:
    return network(getattr(torchvision.models, name)(weights=None, **options), size, 3)


def test_alexnet_has_the_published_fields() -> None:
    net = torchvision_network("alexnet")
    published = {0: (11, 4), 2: (19, 8), 3: (51, 8), 5: (67, 16), 6: (99, 16), 8: (131, 16), 10: (163, 16)}
    for index, (size, stride) in {**published, 12: (195, 32)}.items():
        field = cv.receptive_field(net, f"features.{index}")
        assert field.size == (size, size)
        assert field.stride == (stride, stride)
        assert field.method == "analytic"


def test_vgg16_has_the_published_fields() -> None:
    net = network(vgg16_features(), 64, 3)
    convolutions = [3, 5, 10, 14, 24, 32, 40, 60, 76, 92, 132, 164, 196]
    pools = [(6, 2), (16, 4), (44, 8), (100, 16), (212, 32)]
    layers = list(enumerate(net.core))
    found = [cv.receptive_field(net, str(n)).size for n, layer in layers if isinstance(layer, nn.Conv2d)]
    assert found == [(size, size) for size in convolutions]
    fields = [cv.receptive_field(net, str(n)) for n, layer in layers if isinstance(layer, nn.MaxPool2d)]
    assert [(field.size[0], field.stride[1]) for field in fields] == pools


STEM = ((7, 2), (3, 2))
KNOWN = {
    # torchvision strides in the 3 x 3 convolution: 427, where TF-Slim, which strides in the last one, has 483.
    "resnet50": (
        "layer4",
        [*STEM, *[(3, 1)] * 3, (3, 2), *[(3, 1)] * 3, (3, 2), *[(3, 1)] * 5, (3, 2), (3, 1), (3, 1)],
        427,
    ),
    "resnet18": ("layer4", [*STEM, *[(3, 1)] * 4, *([(3, 2), *[(3, 1)] * 3] * 3)], 435),
    # The longest path through each inception block is one 3 x 3 convolution (or pooling).
    "googlenet": (
        "inception5b",
        [*STEM, (3, 1), (3, 2), (3, 1), (3, 1), (3, 2), *[(3, 1)] * 5, (2, 2), (3, 1), (3, 1)],
        379,
    ),
    "densenet121": (
        "features.denseblock4",
        [*STEM, *[(3, 1)] * 6, (2, 2), *[(3, 1)] * 12, (2, 2), *[(3, 1)] * 24, (2, 2), *[(3, 1)] * 16],
        2071,
    ),
    "mobilenet_v2": (
        "features.18",
        [(3, 2), (3, 1), (3, 2), (3, 1), (3, 2), *[(3, 1)] * 2, (3, 2), *[(3, 1)] * 6, (3, 2), *[(3, 1)] * 3],
        491,
    ),
    "squeezenet1_1": (
        "features.12",
        [(3, 2), (3, 2), (3, 1), (3, 1), (3, 2), (3, 1), (3, 1), (3, 2), *[(3, 1)] * 4],
        None,
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_networks(name: str) -> None:
    layer, layers, published = KNOWN[name]
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    field = cv.receptive_field(torchvision_network(name, **options), layer)
    size, stride = chain(*layers)
    assert published in (None, size)
    assert field.size == (size, size)
    assert field.stride == (stride, stride)
    assert field.method == "analytic"


def test_inception_v3_has_the_published_field() -> None:
    net = torchvision_network("inception_v3", 100, init_weights=False, aux_logits=False)
    field = cv.receptive_field(net, "Mixed_7c")
    assert (field.size, field.stride) == ((1311, 1311), (32, 32))  # Araujo et al., 2019, table 1
    # The first convolution has no padding, so that with stride 2 the last of 100 pixels is never used.
    assert field.box(0, 0) == cv.Box(0, 0, 99, 99)


def test_the_gradient_way_finds_the_published_field_of_resnet18() -> None:
    """211 pixels do not fit into the image: it is seen in larger ones."""
    field = cv.receptive_field(torchvision_network("resnet18", 96), "layer3", method="gradient")
    assert (field.size, field.stride, field.offset) == ((211, 211), (16, 16), (-105, -105))


# --- by hand ---------------------------------------------------------------------------------------------------


def columns_of(module: nn.Module, width: int, layer: str = "0") -> list[tuple[int, int]]:
    field = cv.receptive_field(network(module, (9, width)), layer)
    return [(field.box(4, column).left, field.box(4, column).right) for column in range(field.map_size[1])]


def test_dilation_stride_and_padding_by_hand() -> None:
    # Taps at 3c - 2, 3c, 3c + 2 of eight columns.
    module = nn.Sequential(nn.Conv2d(1, 1, (1, 3), stride=(1, 3), padding=(0, 2), dilation=(1, 2)))
    assert columns_of(module, 8) == [(0, 3), (1, 6), (4, 7)]
    field = cv.receptive_field(network(module, (9, 8)), "0")
    assert (field.size, field.stride, field.offset) == ((1, 5), (1, 3), (0, -2))


def test_ceil_mode_by_hand() -> None:
    module = nn.Sequential(nn.MaxPool2d((1, 3), (1, 2), ceil_mode=True))
    assert columns_of(module, 8) == [(0, 3), (2, 5), (4, 7), (6, 8)]
    assert columns_of(nn.Sequential(nn.MaxPool2d((1, 3), (1, 2))), 8) == [(0, 3), (2, 5), (4, 7)]


def test_transposed_convolution_by_hand() -> None:
    # Input column i reaches result columns 2i - 1, 2i, 2i + 1.
    module = nn.Sequential(nn.ConvTranspose2d(1, 1, (1, 3), stride=(1, 2), padding=(0, 1)))
    assert columns_of(module, 4) == [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)]
    field = cv.receptive_field(network(module, (9, 4)), "0")
    assert (field.stride, field.size, field.offset) == ((1, 0.5), (1, 3), (0, -1))


def test_padding_after_a_transposed_convolution_by_hand() -> None:
    """Result columns 2i and 2i + 1 see input column i, also beyond the border: windows alternate in their form."""
    enlarged = nn.ConvTranspose2d(1, 1, (1, 2), stride=(1, 2))
    module = nn.Sequential(enlarged, nn.Conv2d(1, 1, 1, stride=(1, 2), padding=(0, 3)))
    field = cv.receptive_field(network(module, (9, 5)), "1")
    assert (field.size[1], field.stride[1], field.offset[1]) == (1, 1, -2)


def test_adaptive_pooling_by_hand() -> None:
    # Result c sees floor(8c / 3) to ceil(8(c + 1) / 3).
    assert columns_of(nn.Sequential(nn.AdaptiveAvgPool2d((9, 3))), 8) == [(0, 3), (2, 6), (5, 8)]


def test_a_box_may_be_smaller_than_what_is_cut_off() -> None:
    """After a stride, the last column is never used, and padding hides it; the formula can't know."""
    module = nn.Sequential(nn.Conv2d(1, 1, 1, stride=(1, 2)), nn.Conv2d(1, 1, (1, 3), padding=(0, 1)))
    assert columns_of(module, 6, "1") == [(0, 3), (0, 5), (2, 5)]
    field = cv.receptive_field(network(module, (9, 6)), "1")
    assert (field.size[1], field.stride[1], field.offset[1]) == (5, 2, -2)


def test_branches_by_hand() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wide, self.high = (
                nn.Conv2d(1, 1, (1, 5), padding=(0, 2)),
                nn.Conv2d(1, 1, (3, 1), padding=(2, 0)),
            )
            self.joined = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.joined(torch.cat([self.wide(x), self.high(x)[:, :, :-2]], 1))

    field = cv.receptive_field(network(Branches(), 9), "joined")
    # Rows r - 2 to r of one branch and r of the other; columns c - 2 to c + 2 and c.
    assert (field.size, field.stride, field.offset) == ((3, 5), (1, 1), (-2, -2))
    assert field.box(0, 0) == cv.Box(0, 0, 1, 3)
    assert field.box(8, 8) == cv.Box(6, 6, 9, 9)


def test_a_unit_that_sees_nothing_but_padding_has_an_empty_box() -> None:
    field = cv.receptive_field(network(nn.Sequential(nn.Conv2d(1, 1, 1, padding=1)), 5), "0")
    box = field.box(0, 3)
    assert (box.height, box.width) == (0, 0)
    assert field.box(1, 3) == cv.Box(0, 2, 1, 3)


# --- layers that see everything --------------------------------------------------------------------------------


class _Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())
        self.norm = nn.GroupNorm(2, 4)
        self.excited = nn.Identity()
        self.strips = nn.Identity()
        self.linear = nn.Linear(4 * 4 * 5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        self.norm(x)
        x = self.excited(x * self.gate(x))
        self.strips(self.features[0](x[:, :1]).mean(3, keepdim=True))
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("method", ["analytic", "gradient"])
@pytest.mark.parametrize("layer", ["gate", "norm", "excited", "linear"])
def test_what_sees_everything_has_the_size_of_the_image(layer: str, method: Any) -> None:
    field = cv.receptive_field(network(_Head(), (11, 13)), layer, method=method)
    # The valid convolution and the pooling use 10 of 11 and 12 of 13 pixels.
    box = field.box() if layer == "linear" else field.box(0, 0)
    assert box == cv.Box(0, 0, 10, 12)


def test_what_joins_everything_is_named() -> None:
    net = network(_Head(), (10, 12))
    # The norm is called before the gate, but the gated map does not depend on it.
    named = {"gate": "gate.0' (Ada", "norm": "norm' (Gr", "excited": "gate.0' (Ada", "linear": "gate.0' (Ada"}
    for layer, name in named.items():
        reason = str(cv.receptive_field(net, layer).reason)
        assert reason.startswith(f"sees the whole image, however large: '{name}"), layer
    assert cv.receptive_field(net, "features").reason is None
    strips = network(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AdaptiveAvgPool2d((None, 1))), (8, 8))
    assert "image's full width, however large: '1' (Ada" in str(cv.receptive_field(strips, "1").reason)
    images = np.zeros((3, 10, 12), np.uint8)
    assert "a whole image, as each unit sees" in cv.top_patches(net, list(images), "excited", k=1).message
    assert "a whole image" not in cv.top_patches(net, list(images), "features", k=1).message


@pytest.mark.parametrize("method", ["analytic", "gradient"])
def test_the_frame_of_what_sees_everything(method: Any) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.InstanceNorm2d(2), nn.Conv2d(2, 2, 3, 2), nn.Flatten()
    )
    net = network(nn.Sequential(module, nn.Linear(2 * 4 * 3, 2)), (9, 7))
    for layer in ("0.1", "0.2"):
        field = cv.receptive_field(net, layer, method=method)
        assert (field.size, field.stride, field.offset) == ((9, 7), (0, 0), (0, 0))
        assert field.box(3, 2) == cv.Box(0, 0, 9, 7)
    field = cv.receptive_field(net, "1", method=method)
    assert (field.size, field.stride, field.offset, field.map_size) == ((9, 7), (0, 0), (0, 0), None)
    assert field.box() == cv.Box(0, 0, 9, 7)


# --- how the network is written --------------------------------------------------------------------------------


class _Functional(nn.Module):
    """No activation or pooling is a module; the one rectifier is used twice and in place; returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.both = nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.relu(self.first(x))
        x = F.max_pool2d(x, 2) + F.avg_pool2d(x, 2)
        x = self.relu(self.second(x))
        x, _ = self.both((x, x.mean()))
        return {"features": x, "out": torch.relu_(x.sum((2, 3)))}


def test_functional_networks_and_calls_of_one_module() -> None:
    net = network(_Functional(), 12)
    assert cv.receptive_field(net, ("relu", 0)).size == (3, 3)
    assert cv.receptive_field(net, ("relu", 1)).size == (8, 8)
    assert cv.receptive_field(net, "both").stride == (2, 2)
    with pytest.raises(LookupError, match="called 2 times"):
        cv.receptive_field(net, "relu")


class _Deciding(nn.Module):
    """Python looks at the numbers: a bright image goes through a wide convolution, a dark one through a high one."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.high = (
            nn.Conv2d(1, 1, (1, 5), padding=(0, 2)),
            nn.Conv2d(1, 1, (3, 1), padding=(1, 0)),
        )
        self.out = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.wide(x) if x.mean() > 0 else self.high(x))


def test_a_network_that_decides_by_the_image_is_seen_on_both_ways() -> None:
    net = network(_Deciding(), 30)
    field = cv.receptive_field(net, "out")
    assert field.method == "gradient"
    assert "_local_scalar_dense" in str(field.reason)
    assert (field.size, field.stride, field.offset) == ((3, 5), (1, 1), (-1, -2))
    assert field.box(7, 7) == cv.Box(6, 5, 9, 10)
    assert cv.receptive_field(net, ("wide", 0)).size == (1, 5)


class _Segmenter(nn.Module):
    """Max-unpooling: a number may go back to any place of its window."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 1, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x, indices = self.pool(self.first(x))
        return self.last(self.unpool(x, indices))


def test_max_unpooling_by_hand() -> None:
    net = network(_Segmenter(), 12)
    field = cv.receptive_field(net, "unpool")
    assert field.method == "gradient"
    assert [field.box(5, column).left for column in range(6)] == [0, 0, 2, 2, 4, 4]
    assert [field.box(column, 5).bottom for column in range(6)] == [2, 2, 4, 4, 6, 6]
    # A 3 x 3 convolution sees rows 4 to 6, so the windows of rows 4-5 and 6-7.
    assert cv.receptive_field(net, "last").box(5, 5) == cv.Box(4, 4, 8, 8)


class _Frozen(nn.Module):
    """Cuts gradients, overwrites what they would need, and uses an operation without a rule."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Conv2d(1, 2, 3, padding=1), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.first(x).detach()
        y = torch.sigmoid(y)
        y += F.fold(F.unfold(y, (1, 3), padding=(0, 1)), y.shape[-2:], (1, 3), padding=(0, 1))
        first, second = y.chunk(2, 1)
        first.relu_()
        return self.out(first + second)


def test_gradients_get_through_where_a_network_cuts_them() -> None:
    module = make_monotone(_Frozen(), 0)
    field = cv.receptive_field(network(module, 30), "out")
    assert field.method == "gradient"
    # Folding what was unfolded gives every pixel times the number of its windows.
    assert (field.size, field.stride, field.offset) == ((3, 3), (1, 1), (-1, -1))


def test_in_inference_mode_and_with_another_default_device() -> None:
    net = network(_Functional(), 12)
    expected = boxes_of(cv.receptive_field(net, "second"))
    torch.set_default_device("meta")
    try:
        with torch.inference_mode():
            fields = [cv.receptive_field(net, "second", method=method) for method in ("analytic", "gradient")]
            assert [boxes_of(field) for field in fields] == [expected, expected]
    finally:
        torch.set_default_device(None)


def test_half_precision_and_data_parallel() -> None:
    module = nn.DataParallel(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.MaxPool2d(2))).to(torch.bfloat16)
    net = network(module, 8)
    for method in ("analytic", "gradient"):
        assert cv.receptive_field(net, "1", method=method).box(0, 3) == cv.Box(0, 5, 3, 8)


def test_the_size_of_the_image_can_be_given() -> None:
    net = network(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2)), 9)
    assert cv.receptive_field(net, "0").map_size == (4, 4)
    field = cv.receptive_field(net, "0", image_size=(21, np.int64(13)))
    assert (field.map_size, field.image_size) == ((10, 6), (21, 13))
    assert field.box(9, 5) == cv.Box(18, 10, 21, 13)
    assert cv.receptive_field(net, "0", image_size=5).map_size == (2, 2)
    free = cv.Network(net.module, input=cv.InputSpec(channels=1))
    assert cv.receptive_field(free, "0").image_size == (224, 224)


# --- errors ----------------------------------------------------------------------------------------------------


def test_boxes_and_positions() -> None:
    field = cv.receptive_field(network(nn.Sequential(nn.Conv2d(1, 2, 3)), (8, 9)), "0")
    box = field.box(np.int64(2), torch.tensor(1))
    assert box == cv.Box(2, 1, 5, 4)
    assert (box.height, box.width) == (3, 3)
    assert np.zeros((8, 9))[box.slices].shape == (3, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        box.top = 3  # type: ignore[misc]
    for position in ((6, 0), (0, 7), (-1, 0)):
        with pytest.raises(ValueError, match="6 rows and 7 columns"):
            field.box(*position)
    with pytest.raises(ValueError, match=r"6 x 7: call .box\(row, column\)"):
        field.box()
    with pytest.raises(TypeError):
        field.box(1.5, 2)  # type: ignore[arg-type]


def test_a_layer_without_positions() -> None:
    net = network(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 4)
    field = cv.receptive_field(net, "1")
    with pytest.raises(ValueError, match="no spatial axes"):
        field.box(0, 0)
    assert field.box() == cv.Box(0, 0, 4, 4)


def test_a_layer_that_is_not_there_or_not_called() -> None:
    net = network(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), 8)
    with pytest.raises(LookupError, match=r"'00' not found; did you mean '0'"):
        cv.receptive_field(net, "00")
    with pytest.raises(LookupError, match="calls are 0 to 0"):
        cv.receptive_field(net, ("1", 1))


class _Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(1, 2, 3)
        self.nothing = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(torch.ones_like(x)) + self.nothing(x[:, :, :6, :6] * 0)


@pytest.mark.parametrize("method", [None, "gradient"])
def test_a_layer_that_does_not_depend_on_the_image(method: Any) -> None:
    with pytest.raises(ValueError, match="'embedding' does not depend on the image"):
        cv.receptive_field(network(_Constant(), 8), "embedding", method=method)


class _LeavingTorch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.out = nn.Conv2d(1, 1, 3, padding=1), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x)
        return self.out(y + torch.from_numpy(np.cumsum(x.detach().numpy(), axis=2)))


def test_numbers_that_leave_torch_are_noticed() -> None:
    net = network(_LeavingTorch(), 8)
    with pytest.raises(errors.UnsupportedModuleError, match=r"numbers leave torch by \.numpy\(\)"):
        cv.receptive_field(net, "out")
    assert cv.receptive_field(net, "convolution").size == (3, 3)


class _Uncopyable(_Deciding):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("one of a kind")


def test_a_module_that_can_be_neither_followed_nor_copied() -> None:
    with pytest.raises(errors.UnsupportedModuleError, match="one of a kind"):
        cv.receptive_field(network(_Uncopyable(), 8), "out")


def test_wrong_arguments() -> None:
    net = network(nn.Sequential(nn.Conv2d(1, 2, 3)), 8)
    with pytest.raises(TypeError, match=r"cv\.Network"):
        cv.receptive_field(net.module, "0")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'analytic', 'gradient' or None"):
        cv.receptive_field(net, "0", method="fast")  # type: ignore[arg-type]
    for size in (0, -3, 2.5, True, (8,), "8"):
        with pytest.raises(ValueError, match="positive whole number"):
            cv.receptive_field(net, "0", image_size=size)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not take images of 2 x 2"):
        cv.receptive_field(net, "0", image_size=2)


# --- what must not change --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["analytic", "gradient"])
def test_the_module_is_left_as_it_was(method: Any) -> None:
    module = RandomNetwork(3).train()
    module.body[0].weight.grad = torch.ones_like(module.body[0].weight)
    module.body[0].bias.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    gradients = {name: (each.requires_grad, each.grad) for name, each in module.named_parameters()}
    training = [each.training for each in module.modules()]
    hooks = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules()]
    net = cv.Network(module, input=cv.InputSpec(size=module.size, channels=module.image_channels))
    random_state = torch.get_rng_state()

    field = cv.receptive_field(net, "body", method=method)
    field.box(0, 0)

    assert torch.equal(torch.get_rng_state(), random_state)
    assert [each.training for each in module.modules()] == training
    assert [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules()] == hooks
    for name, each in module.named_parameters():
        assert each.requires_grad == gradients[name][0]
        assert each.grad is gradients[name][1]
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())


def test_the_same_gradients_every_time() -> None:
    net = network(_Deciding(), 12)
    first, second = (cv.receptive_field(net, "out") for _ in range(2))
    assert first == second
    assert boxes_of(first) == boxes_of(second)


@pytest.mark.parametrize(
    ("module", "method"), [(nn.Sequential(nn.Conv2d(1, 1, 3)), "analytic"), (_Deciding(), "gradient")]
)
def test_a_field_can_be_sent_to_another_process(module: nn.Module, method: str) -> None:
    field = cv.receptive_field(network(module, 9), "0" if method == "analytic" else "out")
    assert field.method == method
    sent = pickle.loads(pickle.dumps(field))
    assert sent == field
    assert boxes_of(sent) == boxes_of(field)
    assert boxes_of(pickle.loads(pickle.dumps(sent))) == boxes_of(field)


@pytest.mark.parametrize("what", ["hook", "buffer"])
def test_what_takes_the_place_of_another_in_memory_is_not_taken_for_it(what: str) -> None:
    class Picking(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)[..., self.picked :]

    module = Picking(nn.Conv2d(3, 3, 3, padding=1))
    module.register_buffer("picked", torch.tensor(0))
    module.add_module("1", nn.Identity())
    net = cv.Network(nn.Sequential(module, nn.ReLU()), input=cv.InputSpec(size=12))

    def put(shift: int) -> tuple[int, Any]:
        """Put a new object into the module; return its id, and what takes it out again."""
        if what == "buffer":
            module.picked = torch.tensor(shift)
            return id(module.picked), lambda: delattr(module, "picked")
        hook = lambda module, given, output: output.roll(shift, 3)  # noqa: E731
        return id(hook), module[0].register_forward_hook(hook).remove

    for _ in range(20):
        before, remove = put(1)
        first = cv.receptive_field(net, "1")
        remove()
        del remove
        if what == "buffer":
            module.register_buffer("picked", None)
        after, remove = put(3)
        if before == after:
            break
        remove()
        if what == "buffer":
            module.register_buffer("picked", None)
    # CPython mostly gives the place to the next object of the same size; what follows holds in any case.
    anew = cv.receptive_field(cv.Network(net.module, input=net.input), "1")
    assert cv.receptive_field(net, "1").box(2, 2) == anew.box(2, 2) != first.box(2, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: setattr(m[0], "padding", (0, 0)),
        lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(3, 3, 5, 5))),
        lambda m: m.picked.fill_(4),
        lambda m: m[0].register_forward_hook(lambda module, given, output: output.roll(1, 3)),
    ],
    ids=["setting", "weights", "buffer", "hook"],
)
def test_a_field_is_worked_out_once_until_the_module_changes(
    change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picking(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[0](x)[..., self.picked :]

    module = Picking(nn.Conv2d(3, 3, 3, padding=1))
    module.register_buffer("picked", torch.tensor(0))
    module.add_module("1", nn.Identity())
    net = cv.Network(nn.Sequential(module, nn.ReLU()), input=cv.InputSpec(size=12))
    counted: list[object] = []
    whole = receptive_field_module._measure
    monkeypatch.setattr(
        receptive_field_module, "_measure", lambda *given: [counted.append(given), whole(*given)][1]
    )
    first = cv.receptive_field(net, "1")
    assert cv.receptive_field(net, "1") is first
    assert [cv.receptive_field(net, "0").layer, cv.receptive_field(net, "1", image_size=8).map_size] == [
        "0",
        (8, 8),
    ]
    assert len(counted) == 3
    change(module)
    changed, anew = (
        cv.receptive_field(net, "1"),
        cv.receptive_field(cv.Network(net.module, input=net.input), "1"),
    )
    assert (changed.size, changed.map_size, changed.box(2, 2)) == (anew.size, anew.map_size, anew.box(2, 2))
    assert changed.box(2, 2) != first.box(2, 2)
