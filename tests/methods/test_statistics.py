"""Statistics over a data set against slow loops over every number that the layers returned."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import AmbiguousLayerError, InputError, LayerNotFoundError, OutputError
from cnnviz_widgets.engine.results import Result
from tests.small_networks import CallCounter, Function, small

COUNT = 11
PICTURES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)


class Rectifying(nn.Module):
    """A network that rectifies by modules, functions and in place, and uses a module twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.more = nn.Conv2d(6, 6, 3)
        self.leaky = nn.LeakyReLU(0.1)
        self.full = nn.Linear(6, 5)
        with torch.no_grad():
            self.conv.bias[2] = -1e3  # dead, wherever it is rectified
            self.more.bias[1] = -1e3
            self.conv.bias[5] -= 0.3  # above zero on two of the pictures

    def trace(self, x: Tensor) -> dict[Any, Tensor]:
        """Return what each rectifier returns, written out."""
        first = self.conv(x).clamp(min=0)
        second = self.more(first).clamp(min=0)
        leaky = functional.leaky_relu(second - 0.05, 0.1)
        vector = self.full(leaky.mean((2, 3))).clamp(min=0)
        return {("relu", 0): first, ("relu", 1): second, "leaky": leaky, "relu()": vector}

    def forward(self, x: Tensor) -> Tensor:
        x = self.more(self.relu(self.conv(x)))
        y = self.relu(x)
        y -= 0.05
        y = self.leaky(y).mean((2, 3))
        y = self.full(y).relu_()
        return y.mul_(-3)


def network() -> cv.Network:
    return small(Rectifying().eval())


def traced(net: cv.Network) -> dict[Any, np.ndarray]:
    with torch.no_grad():
        values = net.core.trace(net.prepare(list(PICTURES)))
    return {key: each.numpy() for key, each in values.items()}


def parts(found: cv.ActivationStatistics) -> list[tuple[Any, ...]]:
    """Everything in a result, to the bit."""
    arrays = [(key, name, each.tobytes()) for key, one in found.counts.items() for name, each in one.items()]
    moments = [(key, found.mean[key].tobytes(), found.std[key].tobytes()) for key in found.layers]
    return [*arrays, *moments, (found.images, found.skipped, found.skipped_reasons)]


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_every_number_against_a_slow_loop(batch_size: int | None) -> None:
    net = network()
    found = cv.activation_statistics(net, PICTURES, batch_size=batch_size, near_dead_share=0.3)
    expected = traced(net)
    assert set(found.layers) == set(expected)
    assert (found.images, found.skipped) == (COUNT, 0)
    near = 0
    for key, maps in expected.items():
        for channel in range(maps.shape[1]):
            numbers = maps[:, channel].ravel().tolist()
            mean = sum(numbers) / len(numbers)
            variance = sum((each - mean) ** 2 for each in numbers) / len(numbers)
            active = sum(image[channel].max() > 0 for image in maps)
            rare = 0 < active <= 3 and min(numbers) == 0
            near += rare
            assert found.sparsity[key][channel] == numbers.count(0) / len(numbers)
            assert found.dead[key][channel] == (set(numbers) == {0.0})
            assert found.near_dead[key][channel] == rare
            assert found.active_share[key][channel] == active / COUNT
            assert found.mean[key][channel] == pytest.approx(mean, rel=1e-5, abs=1e-7)
            assert found.std[key][channel] == pytest.approx(variance**0.5, rel=1e-5, abs=1e-7)
            assert found.maximum[key][channel] == pytest.approx(max(numbers), rel=1e-5, abs=1e-7)
            assert found.minimum[key][channel] == pytest.approx(min(numbers), rel=1e-5, abs=1e-7)
            assert found.histogram[key][channel].sum() == len(numbers)
    assert near, "the planted network has no near-dead channel to tell"


def test_a_copy_has_the_same_numbers() -> None:
    found = cv.activation_statistics(network(), PICTURES)
    expected = parts(found)
    assert parts(copy.deepcopy(found)) == expected
    assert parts(pickle.loads(pickle.dumps(found))) == expected


def test_moments_of_the_same_numbers_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32) + 50
    net = cv.Network(Function(lambda module, x: x.mean((2, 3))), input=cv.InputSpec(size=1))
    found = cv.activation_statistics(net, torch.sigmoid(torch.from_numpy(values))[:, :, None, None], [""])
    numbers = torch.sigmoid(torch.from_numpy(values)).numpy().astype(np.float64)
    np.testing.assert_allclose(found.mean[""], numbers.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.std[""], numbers.std(0), rtol=1e-9, atol=1e-12)


def test_planted_dead_units_are_found_and_only_those() -> None:
    found = cv.activation_statistics(network(), PICTURES, ["relu"])
    assert np.flatnonzero(found.dead["relu", 0]).tolist() == [2]
    assert np.flatnonzero(found.dead["relu", 1]).tolist() == [1]
    assert "2 of 12 channels are dead" in found.message
    assert "11 images" in found.message
    assert "'relu (call 0)' has the most: 1 of 6" in found.message
    assert "learning rate" in found.message
    assert "does not prove" in found.message
    assert "fires on 27.27% of such images" in found.message
    few = cv.activation_statistics(network(), PICTURES[0], ["relu"]).message
    assert "on the one image." in few
    assert "so few images prove nothing: give many more than 1" in few


def test_parts_merge_to_the_same_bits_in_any_order() -> None:
    net = network()
    one, two, three = (
        cv.activation_statistics(net, part, batch_size=4)
        for part in (PICTURES[:4], PICTURES[4:8], PICTURES[8:])
    )
    whole = cv.activation_statistics(net, PICTURES, batch_size=4)
    orders = [one.merge(two).merge(three), three.merge(one.merge(two)), two.merge(three).merge(one)]
    for each in orders:
        assert parts(each) == parts(whole)
    assert orders[0] == whole
    assert parts(one) != parts(two)
    assert one.images == 4, "merging leaves its parts alone"


def test_statistics_that_do_not_fit_each_other() -> None:
    net = network()
    found = cv.activation_statistics(net, PICTURES, ["conv"])
    with pytest.raises(ValueError, match=r"other layers .*'conv': 6.*'more': 6"):
        found.merge(cv.activation_statistics(net, PICTURES, ["more"]))
    with pytest.raises(ValueError, match=r"near_dead_share is 0.01 here and 0.5 there"):
        found.merge(cv.activation_statistics(net, PICTURES, ["conv"], near_dead_share=0.5))
    with pytest.raises(TypeError, match="got dict"):
        found.merge({})  # type: ignore[arg-type]


def test_layers_by_name_call_and_function() -> None:
    net = network()
    found = cv.activation_statistics(net, PICTURES, [("relu", 1), "conv", "relu()", "conv"])
    assert found.layers == (("relu", 1), "conv", "relu()")
    every = cv.activation_statistics(net, PICTURES)
    assert np.array_equal(found.histogram["relu", 1], every.histogram["relu", 1])
    assert np.array_equal(found.histogram["relu()", 0], every.histogram["relu()"])
    with pytest.raises(AmbiguousLayerError, match=r"say which call: \('relu', 0\) or \('relu', 1\)"):
        every.dead["relu"]
    with pytest.raises(LayerNotFoundError, match="did you mean 'leaky'"):
        every.mean["leak"]
    with pytest.raises(LayerNotFoundError, match=r"there is \('relu', 0\), \('relu', 1\)"):
        every.mean["relu", 2]
    with pytest.raises(LayerNotFoundError, match=r"the key of that call is \('relu', 1\), without"):
        every.dead["relu (call 1)"]
    with pytest.raises(LayerNotFoundError, match=r"there is \('relu', 1\), 'conv', 'relu\(\)'$"):
        found.mean["fc"]
    with pytest.raises(LayerNotFoundError, match=r"'relu \(call 1\)'.* is written \('relu', 1\)$"):
        cv.activation_statistics(net, PICTURES, ["relu (call 1)"])
    with pytest.raises(LayerNotFoundError, match=r"\(there is .*\); if the network calls .* 'gelu\(\)'$"):
        cv.activation_statistics(net, PICTURES, ["gelu"])
    with pytest.raises(LayerNotFoundError, match=r"'left\.gelu' not found \(there is [^()]*\)$"):
        cv.activation_statistics(net, PICTURES, ["left.gelu"])
    assert "conv" in found.mean
    assert "more" not in found.mean


def test_the_pass_ends_at_the_deepest_layer() -> None:
    net = network()
    counter = CallCounter(net.core)
    cv.activation_statistics(net, PICTURES, ["conv"], batch_size=COUNT)  # learns
    counter.calls.clear()
    cv.activation_statistics(net, PICTURES, ["conv"], batch_size=COUNT)
    assert counter.calls == {"": 1, "conv": 1}


def test_nan_is_said_and_counted_apart() -> None:
    def forward(module: Any, x: Tensor) -> Tensor:
        y = module.conv(x).relu()
        y[:, 1, 0, :2] = torch.tensor([torch.nan, torch.inf])
        return y

    torch.manual_seed(0)
    net = small(Function(forward, conv=nn.Conv2d(3, 4, 3)))
    found = cv.activation_statistics(net, PICTURES, [""])
    clean = cv.activation_statistics(net, PICTURES, ["relu()"])
    assert found.not_finite[""].tolist() == [0, 2 * COUNT, 0, 0]
    assert "Layer '' returned NaN or infinity 22 times, in 1 of 4 channels" in found.message
    assert "NaN" not in clean.message
    assert not found.dead[""][1]
    with torch.no_grad():
        value = net.core.conv(net.prepare(list(PICTURES))).relu()[:, 1].double().numpy()
    value[:, 0, :2] = np.nan
    np.testing.assert_allclose(found.mean[""][1], np.nanmean(value), rtol=1e-6)
    np.testing.assert_allclose(found.std[""][1], np.nanstd(value), rtol=1e-6)
    assert found.sparsity[""][1] == (value == 0).sum() / np.isfinite(value).sum()
    assert np.array_equal(found.mean[""][[0, 2, 3]], clean.mean["relu()"][[0, 2, 3]])


def test_a_channel_of_nothing_but_nan_is_not_called_dead() -> None:
    net = small(Function(lambda module, x: x * torch.nan))
    found = cv.activation_statistics(net, PICTURES, [""])
    assert not found.dead[""].any()
    assert np.isnan([found.mean[""], found.std[""], found.sparsity[""]]).all()
    assert found._repr_html_()


def test_near_dead_is_above_zero_on_few_images() -> None:
    # Channels that are above zero on 0, 1, 2 and 3 of 100 images, at one position.
    images = np.zeros((100, 2, 2, 4), np.float32)
    for channel in range(4):
        images[:channel, 1, 0, channel] = 0.5
    net = cv.Network(Function(lambda module, x: x.relu()), input=cv.InputSpec(size=2, channels=4))
    planes = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    for share, near in ((0.0, []), (0.01, [1]), (0.02, [1, 2]), (0.5, [1, 2, 3])):
        found = cv.activation_statistics(net, planes, near_dead_share=share)
        assert np.flatnonzero(found.near_dead["relu()"]).tolist() == near
        assert np.flatnonzero(found.dead["relu()"]).tolist() == [0]
    assert "3 more are above zero on at most 50.00% of the images" in found.message


def test_skipped_images_are_counted_and_named() -> None:
    images = [PICTURES[0], "gone.png", *PICTURES[1:3]]
    net = network()
    with pytest.raises(InputError, match=r"image 1 of 4 .*gone\.png"):
        cv.activation_statistics(net, images)
    found = cv.activation_statistics(net, images, on_error="skip", batch_size=3)
    assert (found.images, found.skipped) == (3, 1)
    assert "gone.png" in found.skipped_reasons[0]
    assert "could not be read and were skipped: 1, such as: image 1 of 4" in found.message
    both = found.merge(cv.activation_statistics(net, ["lost.png", PICTURES[3]], on_error="skip"))
    assert (both.images, both.skipped) == (4, 2)
    assert [each.split("'")[1] for each in both.skipped_reasons] == ["lost.png", "gone.png"]


def test_networks_and_layers_without_channels() -> None:
    with pytest.raises(LayerNotFoundError, match=r"calls no rectifier.*name some: layers="):
        cv.activation_statistics(small(nn.Sequential(nn.Conv2d(3, 4, 1))), PICTURES)
    flat = small(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(2)))
    with pytest.raises(OutputError, match="layer '1' returns 4x4x64"):
        cv.activation_statistics(flat, PICTURES, ["1"])


def test_the_result_shows_itself_as_text_never_as_html() -> None:
    module = nn.Sequential()
    module.add_module("<b>conv</b>", nn.Conv2d(3, 4, 1))
    found = cv.activation_statistics(small(module), PICTURES, ["<b>conv</b>"])
    table = found._repr_html_()
    assert "&lt;b&gt;conv&lt;/b&gt;" in table
    assert "<b>" not in table
    assert str(found) == found.message
    assert isinstance(found, Result)


def test_on_the_sample_network_the_numbers_are_plausible() -> None:
    images, _ = cv.samples.fashion_mnist("test")
    net = cv.samples.fashion_cnn()
    found = cv.activation_statistics(net, images[:150])
    assert found.layers == ("relu1", "relu2", "relu3")
    with torch.no_grad():
        value = net.core.relu1(net.core.conv1(net.prepare(images[:150]))).double().numpy()
    np.testing.assert_allclose(found.mean["relu1"], value.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.std["relu1"], value.std((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.sparsity["relu1"], (value == 0).mean((0, 2, 3)), atol=1e-4)
