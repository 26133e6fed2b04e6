from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision import models

from cnnviz_widgets import samples
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.samples._files import DATA

# Measured with torchvision's module and transform on the shipped JPEG files. (On scikit-image's own lossless
# files the same gives tiger cat .39, Egyptian cat .31, tabby .29; espresso .97; tripod .30.)
EXPECTED = {
    "chelsea": {"Egyptian cat": 0.454, "tiger cat": 0.304, "tabby": 0.230},
    "coffee": {"espresso": 0.977},
    "camera": {"tripod": 0.272},
}


@pytest.fixture(scope="module")
def net() -> Network:
    return samples.squeezenet()


@pytest.mark.parametrize("name", EXPECTED)
def test_it_tells_what_is_in_the_photos(net: Network, name: str) -> None:
    expected = EXPECTED[name]
    prediction = net.predict(samples.photo(name), k=len(expected))
    assert prediction.labels == tuple(expected)
    np.testing.assert_allclose(
        prediction.probabilities, list(expected.values()), atol=0.015
    )  # JPEG decoders differ a little


@pytest.mark.parametrize("name", [*EXPECTED, "rocket"])
def test_it_agrees_with_torchvision(net: Network, name: str) -> None:
    weights = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    photo = samples.photo(name)
    x = weights.transforms()(photo)[None]
    with np.load(DATA / "squeezenet1_1_imagenet_fp16.npz", allow_pickle=False) as arrays, torch.no_grad():
        with torch.random.fork_rng(devices=[]):
            module = models.squeezenet1_1(weights=None)
        module.load_state_dict({key: torch.tensor(arrays[key]).float() for key in arrays.files})
        expected = module.eval()(x).softmax(1)[0]
    prediction = net.predict(photo, k=3)
    np.testing.assert_allclose(prediction.probabilities, expected.topk(3).values.numpy(), atol=1e-5)
    assert prediction.indices.tolist() == expected.topk(3).indices.tolist()
    assert net.labels == tuple(weights.meta["categories"])


def test_weights_are_float32_in_evaluation_mode_and_trainable(net: Network) -> None:
    module = samples.squeezenet().module
    assert type(module) is models.SqueezeNet
    assert all(each.dtype == torch.float32 for each in module.parameters())
    assert all(each.requires_grad and each.is_leaf for each in module.parameters())
    assert all(each.device.type == "cpu" for each in (*module.parameters(), *module.buffers()))
    assert not any(each.training for each in module.modules())
    assert sum(each.numel() for each in module.parameters()) == 1_235_496  # as torchvision documents it
    loss = module(torch.zeros(1, 3, 224, 224)).sum()
    loss.backward()
    assert all(each.grad is not None for each in module.parameters())


def test_each_call_gives_a_network_of_its_own(net: Network) -> None:
    other = samples.squeezenet()
    with torch.no_grad():
        for each in other.module.parameters():
            each.zero_()
    assert net.predict(samples.photo("coffee"), k=1).labels == ("espresso",)
    assert samples.squeezenet().predict(samples.photo("coffee"), k=1).labels == ("espresso",)


@pytest.mark.parametrize(
    "build",
    [
        samples.squeezenet,
        samples.fashion_cnn,
        samples.fashion_cnn_module,
        lambda: samples.fashion_cnn("random"),
    ],
)
def test_the_global_random_state_is_left_alone(build: Callable[[], object]) -> None:
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    build()
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
