"""Networks from torchvision's zoo: right preprocessing and labels, and nothing downloaded to find a mistake."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import models

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, NetworkNotFoundError

PHOTO = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
WEIGHTS = models.SqueezeNet1_1_Weights.IMAGENET1K_V1


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand in for the downloads: remember what was asked for, and give the state of a fresh module."""
    asked: list[Any] = []

    def get_state_dict(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(self)
        torch.manual_seed(99)
        return models.squeezenet1_1(weights=None).state_dict()

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", get_state_dict)
    return asked


@pytest.mark.parametrize(
    "weights", ["DEFAULT", "IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1", WEIGHTS]
)
def test_trained_networks_come_with_preprocessing_and_labels(weights: Any, downloads: list[Any]) -> None:
    net = cv.Network.from_torchvision("squeezenet1_1", weights=weights)
    assert downloads == [WEIGHTS]
    assert net.input == cv.InputSpec.from_torchvision(WEIGHTS)
    assert net.labels == tuple(WEIGHTS.meta["categories"])
    assert not any(each.training for each in net.module.modules())
    torch.manual_seed(99)
    expected = models.squeezenet1_1(weights=None).eval()
    x = net.prepare(PHOTO)
    torch.testing.assert_close(net(x), expected(x).detach())


def test_the_default_weights_are_torchvisions_best(downloads: list[Any]) -> None:
    with pytest.raises(RuntimeError, match=r"Error.* in loading state_dict for ResNet"):
        cv.Network.from_torchvision("resnet50")
    assert downloads == [models.ResNet50_Weights.IMAGENET1K_V2]


def test_random_networks_follow_their_seed_and_leave_chance_alone(downloads: list[Any]) -> None:
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
    first, again, other = (
        cv.Network.from_torchvision("squeezenet1_1", weights=None, seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_equal(np.random.get_state(legacy=False), before[2])  # noqa: NPY002
    assert downloads == []
    torch.manual_seed(1)
    expected = models.squeezenet1_1(weights=None)
    for name, value in expected.state_dict().items():
        assert torch.equal(first.module.state_dict()[name], value)
        assert torch.equal(again.module.state_dict()[name], value)
    assert not torch.equal(other.module.features[0].weight, first.module.features[0].weight)
    assert first.input == cv.InputSpec.from_torchvision(WEIGHTS)
    assert not any(each.training for each in first.module.modules())


def test_chance_is_put_back_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        torch.rand(3)
        raise MemoryError("no room")

    monkeypatch.setattr(models, "get_model", fail)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(MemoryError):
        cv.Network.from_torchvision("squeezenet1_1", weights=None)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_of_which_torchvision_warns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawing from a truncated normal takes seconds; whether it is drawn is all that counts here.
    drawn: list[float] = []
    monkeypatch.setattr(
        torch.nn.init, "trunc_normal_", lambda tensor, *_, **options: drawn.append(options["std"])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = cv.Network.from_torchvision(name, weights=None)
    assert len(drawn) > 50
    assert net.labels is not None


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("vgg61", "DEFAULT", "torchvision has no network 'vgg61'; did you mean .*'vgg16'"),
        ("", None, "torchvision has no network ''$"),
        (models.vgg16, None, "torchvision has no network <function vgg16"),
        (
            "vgg16",
            "IMAGENET1K",
            "vgg16 has no weights 'IMAGENET1K'; did you mean .*; there are IMAGENET1K_V1, IMAGE",
        ),
        ("vgg16", "ResNet18_Weights.IMAGENET1K_V1", "vgg16 has no weights 'ResNet18_Weights.IMAGENET1K_V1'"),
        ("vgg16", models.ResNet18_Weights.DEFAULT, "vgg16 has no weights ResNet18_Weights.IMAGENET1K_V1"),
        ("vgg16", True, "vgg16 has no weights True; there are IMAGENET1K_V1"),
    ],
)
def test_unknown_names_cost_nothing(name: Any, weights: Any, message: str, downloads: list[Any]) -> None:
    with pytest.raises(NetworkNotFoundError, match=message) as raised:
        cv.Network.from_torchvision(name, weights=weights)
    assert isinstance(raised.value, LookupError)
    assert downloads == []


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "r3d_18", "raft_small"])
def test_networks_that_take_no_single_image_are_refused_before_the_download(
    name: str, downloads: list[Any]
) -> None:
    with pytest.raises(InputError, match="can't read an input spec from"):
        cv.Network.from_torchvision(name)
    assert downloads == []


def test_a_segmenter_with_random_weights_has_them_in_its_backbone_too(downloads: list[Any]) -> None:
    net = cv.Network.from_torchvision("lraspp_mobilenet_v3_large", weights=None)
    assert downloads == []
    assert net.input.resize == 520
    assert net.labels is not None
    assert len(net.labels) == 21


def test_device_is_where_the_new_module_goes() -> None:
    net = cv.Network.from_torchvision("squeezenet1_1", weights=None, device="cpu")
    assert net.device == torch.device("cpu")
