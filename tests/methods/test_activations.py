"""Feature maps against plain hooks on a copy of the module, their zeros against slow loops."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from PIL import Image
from torch import Tensor, nn
from torchvision import models

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import AmbiguousLayerError, InputError, LayerNotFoundError, OutputError
from cnnviz_widgets.methods.activations import ActivationMaps, activation_maps, activations
from tests.random_networks import SEEDS, RandomNetwork

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


def main(value: Any) -> Tensor:
    """The tensor that counts in what a layer of these networks returns."""
    if isinstance(value, tuple | list):
        return value[0]
    return value["out"] if isinstance(value, dict) else getattr(value, "out", value)


def hooked(module: nn.Module, x: Tensor) -> dict[tuple[str, int], Tensor]:
    """What each call of each layer of a copy returns, cloned at once."""
    module = copy.deepcopy(module).eval()
    seen: dict[tuple[str, int], Tensor] = {}
    for name, each in module.named_modules():

        def keep(each: nn.Module, _: Any, output: Any, name: str = name) -> None:
            call = sum(other == name for other, _ in seen)
            seen[name, call] = main(output).clone()

        each.register_forward_hook(keep)
    with torch.no_grad():
        module(x.clone())
    return {key: value for key, value in seen.items() if key[0]}


def check_layers(module: nn.Module, spec: cv.InputSpec, every: int = 1) -> int:
    """Compare every call of every layer, or every n-th of these; return how many there were."""
    net = cv.Network(module, input=spec)
    expected = hooked(module, net.prepare(PHOTO))
    calls = {name: sum(other == name for other, _ in expected) for name, _ in expected}
    for (name, call), value in list(expected.items())[::every]:
        layer = (name, call) if calls[name] > 1 else name
        result = activations(net, PHOTO, layer)
        maps = value[0].reshape(value.shape[1], *(value.shape[2:] or (1, 1))).numpy()
        np.testing.assert_array_equal(result.maps, maps, err_msg=str(layer))
        assert result.layer == layer
        zeros = 1 - np.count_nonzero(maps, axis=(1, 2)) / maps[0].size
        np.testing.assert_allclose(result.sparsity, zeros, rtol=1e-6)
        np.testing.assert_array_equal(result.all_zero, zeros == 1)
    return len(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks(seed: int) -> None:
    module = RandomNetwork(seed)
    spec = cv.InputSpec(size=module.size, channels=module.channels, mean=0.4, std=0.3)
    assert check_layers(module, spec) > 5


@pytest.mark.parametrize(
    ("name", "least", "every"), [("resnet18", 67, 1), ("alexnet", 20, 1), ("googlenet", 180, 3)]
)
def test_layers_of_networks_that_people_use(name: str, least: int, every: int) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    module = models.get_model(name, weights=None, **options)
    assert check_layers(module, cv.InputSpec(size=64, mean=0.4, std=0.3), every) > least


def test_a_rectifier_used_twice_is_asked_for_by_call() -> None:
    torch.manual_seed(0)
    net = cv.Network(models.resnet18(weights=None), input=cv.InputSpec(size=64))
    with pytest.raises(
        AmbiguousLayerError, match=r"called 2 times .*\('layer1.0.relu', 0\) or \('layer1.0.relu', 1\)"
    ):
        activations(net, PHOTO, "layer1.0.relu")
    second = activations(net, PHOTO, ("layer1.0.relu", 1))
    np.testing.assert_array_equal(second.maps, activations(net, PHOTO, "layer1.0").maps)


def test_the_pass_ends_at_the_layer() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True), nn.Conv2d(2, 2, 3))
    net = cv.Network(module, input=cv.InputSpec(size=19))
    expected = activations(net, PHOTO, "0")
    module[-1].register_forward_pre_hook(lambda *_: pytest.fail("the pass went on to the end"))
    np.testing.assert_array_equal(activations(net, PHOTO, "0").maps, expected.maps)


def test_vectors_have_one_position() -> None:
    torch.manual_seed(0)
    net = cv.Network(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), input=cv.InputSpec(size=2))
    result = activations(net, PHOTO, "1")
    assert result.maps.shape == (4, 1, 1)
    assert result.is_vector
    assert not activations(cv.Network(nn.Sequential(nn.Conv2d(3, 2, 1))), PHOTO, "0").is_vector


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_number_types_come_back_as_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)).to(dtype)
    net = cv.Network(module, input=cv.InputSpec(size=9))
    result = activations(net, PHOTO, "0")
    expected = copy.deepcopy(module)[0](net.prepare(PHOTO))[0].detach().float().numpy()
    assert result.maps.dtype == result.sparsity.dtype == np.float32
    np.testing.assert_array_equal(result.maps, expected)


planes = numpy_strategies.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)),
    elements=st.sampled_from([0.0, -0.0, 1e-45, -1.0, 2.5]),
)


@settings(max_examples=50)
@given(planes)
def test_zeros_are_counted_exactly(maps: Any) -> None:
    result = activation_maps(torch.from_numpy(maps)[None], "layer")
    np.testing.assert_array_equal(result.maps, maps)
    for channel, plane in enumerate(maps):
        zeros = 0
        for value in plane.ravel().tolist():
            zeros += value == 0
        assert result.sparsity[channel] == pytest.approx(zeros / plane.size, rel=1e-6)
        assert result.all_zero[channel] == (zeros == plane.size)


def test_the_result_shares_no_memory_with_the_network() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Identity())
    net = cv.Network(module, input=cv.InputSpec(size=4))
    first = activations(net, PHOTO, "1")
    before = first.maps.copy()
    first.maps[:] = 0
    np.testing.assert_array_equal(activations(net, PHOTO, "1").maps, before)


class Nest(nn.Module):
    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.flatten(2), "layer '0' returns 1x3x64; activations shows maps .* and vectors"),
        (lambda x: x[0], "layer '0' returns 3x8x8"),
        (lambda x: {"a": x, "b": x}, r"can't tell which tensor counts in dict\(a: 1x3x8x8, b: 1x3x8x8\)"),
        (lambda x: x / 0, "layer '0' returns NaN or infinity for this image"),
        (lambda x: x * torch.nan, "layer '0' returns NaN or infinity for this image"),
    ],
)
def test_layers_that_return_no_maps(change: Any, message: str) -> None:
    net = cv.Network(
        nn.Sequential(Nest(change), Nest(lambda _: torch.zeros(1, 2))), input=cv.InputSpec(size=8)
    )
    with pytest.raises(OutputError, match=message):
        activations(net, PHOTO, "0")


def test_a_tuple_counts_by_its_first_tensor() -> None:
    net = cv.Network(
        nn.Sequential(Nest(lambda x: (x * 2, x)), Nest(lambda pair: pair[0])), input=cv.InputSpec(size=8)
    )
    np.testing.assert_array_equal(activations(net, PHOTO, "0").maps, net.prepare(PHOTO)[0].numpy() * 2)


def test_what_is_not_there() -> None:
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 1)), input=cv.InputSpec(size=8))
    with pytest.raises(LayerNotFoundError, match="layer 'conv' not found"):
        activations(net, PHOTO, "conv")
    with pytest.raises(LayerNotFoundError, match="is called 1 time in a forward pass"):
        activations(net, PHOTO, ("0", 1))
    with pytest.raises(TypeError, match="a layer is a name"):
        activations(net, PHOTO, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="activations takes one image, got 2; call it once for each"):
        activations(net, [PHOTO, PHOTO], "0")


# --- how it shows itself ---


def colors(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shown(maps: Any) -> ActivationMaps:
    return activation_maps(torch.as_tensor(maps, dtype=torch.float32)[None], "layer")


VIRIDIS = {0.0: (68, 1, 84), 1.0: (253, 231, 37)}


def test_maps_show_as_a_mosaic_on_one_scale() -> None:
    maps = np.zeros((600, 2, 2))
    maps[599, 1, 1] = 1
    picture = colors(shown(maps)._repr_png_())
    # All 600 channels are there: 30 columns by 20 rows of tiles.
    bright = np.argwhere((picture == VIRIDIS[1.0]).all(axis=2))
    assert len(bright) == 24 * 24
    assert bright.min(axis=0).tolist() == [19 * 50 + 24, 29 * 50 + 24]
    assert picture.shape == (20 * 50 - 2, 30 * 50 - 2, 3)
    assert tuple(picture[0, 0]) == VIRIDIS[0.0]


def test_values_of_both_signs_are_centered_at_zero() -> None:
    picture = colors(shown([[[-1.0, 0.0, 0.5]]])._repr_png_()).astype(int)
    left, middle, right = picture[0, 0], picture[0, picture.shape[1] // 2], picture[0, -1]
    assert middle.min() > 220
    assert left[2] > left[0] + 50
    assert right[0] > right[2] + 50


@pytest.mark.parametrize(("length", "side", "columns", "rows"), [(10, 32, 4, 3), (1000, 16, 39, 26)])
def test_vectors_show_as_small_squares(length: int, side: int, columns: int, rows: int) -> None:
    vector = torch.zeros(length)
    vector[-1] = 1
    picture = colors(shown(vector)._repr_png_())
    assert picture.shape == (rows * (side + 1) - 1, columns * (side + 1) - 1, 3)
    row, column = divmod(length - 1, columns)
    top, left = row * (side + 1), column * (side + 1)
    assert (picture[top : top + side, left : left + side] == VIRIDIS[1.0]).all()
    assert tuple(picture[0, 0]) == VIRIDIS[0.0]


def test_pictures_stay_small() -> None:
    noise = np.random.default_rng(0).random((128, 112, 112), np.float32)
    assert len(shown(noise)._repr_png_()) <= 600_000


def test_repr_says_what_there_is() -> None:
    maps = np.zeros((4, 2, 2))
    maps[0] = 1
    maps[1, 0, 0] = 1
    assert repr(shown(maps)) == (
        "ActivationMaps(layer='layer', 4 channels of 2x2, 68.8% zeros, 2 channels all zero on this image)"
    )


def test_results_are_saved_and_compared(tmp_path: Any) -> None:
    torch.manual_seed(0)
    net = cv.Network(models.resnet18(weights=None), input=cv.InputSpec(size=64))
    result = activations(net, PHOTO, ("relu", 0) if net.layer("relu").calls > 1 else "relu")
    again = cv.load_result(result.save(tmp_path / "maps.npz"))
    assert again == result
    assert again == activations(net, PHOTO, result.layer)
    reused = activations(net, PHOTO, ("layer1.0.relu", 0))
    assert cv.load_result(reused.save(tmp_path / "maps.npz")).layer == ("layer1.0.relu", 0)
    assert reused != result
