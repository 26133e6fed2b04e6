"""The parameter-randomization check: what is randomized, in which order, and how maps are compared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.map_similarity import rank_correlation, structural_similarity
from cnnviz_widgets.engine.random_weights import CascadingRandomization
from tests.small_networks import Function, small
from tests.untouched import untouched

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def network() -> cv.Network:
    torch.manual_seed(0)

    def forward(module: Function, x: Tensor) -> Tensor:
        y = module.norm(module.conv(x)).relu()
        return module.last(y.flatten(1) @ module.hidden.weight.T)

    # Defined in another order than they are called in; one is used without being called.
    return small(
        Function(
            forward,
            last=nn.Linear(10, 3),
            hidden=nn.Linear(144, 10, bias=False),
            norm=nn.BatchNorm2d(4),
            conv=nn.Conv2d(3, 4, 3),
        ).eval()
    )


def weights(net: cv.Network) -> dict[str, Tensor]:
    return {name: each.detach().clone() for name, each in net.core.named_parameters()}


def test_layers_are_randomized_from_the_top_in_a_private_copy() -> None:
    net = network()
    with torch.no_grad():
        for name, each in net.core.named_parameters():
            each.copy_(torch.randn(each.shape, generator=torch.Generator().manual_seed(len(name))) * 0.5 + 2)
    with untouched(net.module):
        cascade = CascadingRandomization(net, 0)
        # What is used without a call belongs to the network itself, which returns last.
        assert cascade.layers == ("", "last", "norm", "conv")
        before, seen = weights(net), set()
        for layer in cascade.layers:
            cascade.randomize(layer)
            seen |= {f"{layer}."} if layer else {"hidden."}
            now = weights(cascade.net)
            changed = {name for name in now if not torch.equal(now[name], before[name])}
            assert changed == {name for name in now if name.startswith(tuple(seen))}
    after = weights(cascade.net)
    assert float(after["hidden.weight"].mean()) == pytest.approx(0, abs=0.2)
    for name in ("hidden.weight", "conv.weight", "last.weight"):
        assert float(after[name].square().mean()) == pytest.approx(
            float(before[name].square().mean()), rel=0.4
        )
    for name in ("norm.weight", "norm.bias", "conv.bias", "last.bias"):
        spread = float(before[name].std())
        assert float(after[name].mean()) == pytest.approx(float(before[name].mean()), abs=2 * spread)
        assert float(after[name].std()) == pytest.approx(spread, rel=0.9)
    again, other = CascadingRandomization(net, 0), CascadingRandomization(net, 1)
    for each in (again, other):
        for layer in each.layers:
            each.randomize(layer)
    assert all(torch.equal(each, weights(again.net)[name]) for name, each in weights(cascade.net).items())
    assert not torch.equal(weights(other.net)["conv.weight"], weights(again.net)["conv.weight"])


def test_weights_that_are_shared_are_drawn_once() -> None:
    part = nn.Conv2d(3, 3, 1)
    twin = nn.Conv2d(3, 3, 1)
    twin.weight = part.weight
    net = small(nn.Sequential(part, nn.ReLU(), twin, nn.Flatten()))
    cascade = CascadingRandomization(net, 0)
    assert cascade.layers == ("2", "0")
    cascade.randomize("2")
    cascade.randomize("0")
    assert cascade.net.core[0].weight is cascade.net.core[2].weight


def test_the_check_compares_with_the_original() -> None:
    net = network()
    looked_at: list[cv.Network] = []

    def explain(private: cv.Network) -> cv.Network:
        looked_at.append(private)
        return cv.gradient_map(private, IMAGE, 1, times_input=True)

    with untouched(net.module):
        found = cv.randomization_check(net, explain, seed=4)
    assert all(each is not net for each in looked_at)
    np.testing.assert_array_equal(found.maps[0], cv.gradient_map(net, IMAGE, 1, times_input=True).heatmap)
    cascade = CascadingRandomization(net, 4)
    for stage, layer in enumerate(cascade.layers):
        cascade.randomize(layer)
        now = cv.gradient_map(cascade.net, IMAGE, 1, times_input=True).heatmap
        np.testing.assert_array_equal(found.maps[stage + 1], now)
        first = found.maps[0]
        expected = stats.spearmanr(first.ravel(), now.ravel()).statistic
        assert found.rank_correlation[stage] == pytest.approx(expected, abs=1e-6)
        expected = stats.spearmanr(abs(first).ravel(), abs(now).ravel()).statistic
        assert found.absolute_rank_correlation[stage] == pytest.approx(expected, abs=1e-6)
        assert found.similarity[stage] == pytest.approx(structural_similarity(first, now), abs=1e-6)
    assert found.layers == cascade.layers
    two = cv.randomization_check(net, explain, seed=4, stages=2)
    assert two.layers == (found.layers[1], found.layers[3])
    np.testing.assert_array_equal(two.maps, found.maps[[0, 2, 4]])


def test_a_picture_of_the_image_survives_and_an_explanation_does_not() -> None:
    net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    x = net.prepare(image)[0, 0].numpy()
    edges = cv.randomization_check(net, lambda private: np.abs(np.diff(x, prepend=0)))
    assert (edges.rank_correlation == 1).all()
    assert edges.similarity == pytest.approx(1)
    gradients = cv.randomization_check(net, lambda private: cv.gradient_map(private, image, "Ankle boot"))
    assert gradients.rank_correlation[-1] < 0.7


def test_a_gradient_that_vanishes_is_told() -> None:
    net = network()
    calls = 0

    def explain(private: cv.Network) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise cv.errors.ZeroGradientError("all rectifiers are off")
        return np.random.default_rng(calls).random((8, 8))

    found = cv.randomization_check(net, explain)
    assert found.vanished.tolist() == [False, True, False, False]
    assert np.isnan(found.rank_correlation).tolist() == found.vanished.tolist()
    assert "At 1 stages the gradient was zero everywhere" in found.message
    with pytest.raises(cv.errors.WeightsError, match="no weights"):
        cv.randomization_check(small(nn.Sequential(nn.ReLU(), nn.Flatten())), lambda private: IMAGE[..., 0])
    sizes = iter([8, 4])
    with pytest.raises(ValueError, match="explain: the map is 4 x 8, not 8 x 8"):
        cv.randomization_check(net, lambda private: np.random.default_rng(0).random((next(sizes), 8)))


def test_a_random_network_that_overflows_is_told_and_the_other_stages_are_seen() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with torch.no_grad():
        module[3].bias.copy_(torch.tensor([-300.0, 0.2, 300.0]))
        module[3].weight.mul_(0.1)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    target = cv.Target(lambda scores: scores[:, 1].exp().exp())
    found = {}
    for seed in range(6):
        check = cv.randomization_check(
            small(module), lambda net: cv.gradient_map(net, image, target), seed=seed
        )
        found[any(check.failures)] = check
    told = found[True]
    assert np.isnan(told.similarity).tolist() == [bool(each) for each in told.failures]
    assert not told.maps[1:][np.isnan(told.similarity)].any()
    assert re.search(r"At [12] stages the random network gave no map: .*infinite", told.message)
    assert "gave no map" not in found[False].message


def test_rank_correlation_and_similarity() -> None:
    draw = np.random.default_rng(0)
    for _ in range(5):
        one, other = draw.normal(size=(2, 13, 17)).round(1)
        assert rank_correlation(one, other) == pytest.approx(
            stats.spearmanr(one.ravel(), other.ravel()).statistic
        )
        assert structural_similarity(one, other) == pytest.approx(_slow_similarity(one, other))
        assert structural_similarity(one, 3 * one + 2) == pytest.approx(1)
        assert rank_correlation(one, -one) == pytest.approx(-1)
    assert np.isnan(rank_correlation(one, np.ones_like(one)))
    assert np.isnan(structural_similarity(np.ones_like(one), one))


def _slow_similarity(one: np.ndarray, other: np.ndarray) -> float:
    x, y = ((each - each.min()) / (each.max() - each.min()) for each in (one, other))
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    x, y = (np.pad(each, 5, mode="symmetric") for each in (x, y))
    found = []
    for row in range(one.shape[0]):
        for column in range(one.shape[1]):
            a, b = (each[row : row + 11, column : column + 11] for each in (x, y))
            mean_a, mean_b = (window * a).sum(), (window * b).sum()
            spread_a, spread_b = (window * (a - mean_a) ** 2).sum(), (window * (b - mean_b) ** 2).sum()
            together = (window * (a - mean_a) * (b - mean_b)).sum()
            top = (2 * mean_a * mean_b + 1e-4) * (2 * together + 9e-4)
            found.append(top / ((mean_a**2 + mean_b**2 + 1e-4) * (spread_a + spread_b + 9e-4)))
    return float(np.mean(found))


def test_saved_and_shown(tmp_path: Path) -> None:
    found = cv.randomization_check(network(), lambda net: cv.gradient_map(net, IMAGE, 1), stages=2)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert found._repr_png_().startswith(b"\x89PNG")
    assert "2 stages" in repr(found)
