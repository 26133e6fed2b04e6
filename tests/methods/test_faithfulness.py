"""Deletion and insertion curves against a slow loop over pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.fills import filled
from tests.small_networks import small
from tests.untouched import untouched

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def network() -> cv.Network:
    torch.manual_seed(0)
    return small(nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 4)))


def slow(net: cv.Network, values: np.ndarray, steps: int, target: int) -> tuple[list[float], list[float]]:
    """Delete and insert pixels, one after the other, and ask for the probability after each step."""
    x, blur = net.prepare(IMAGE), filled(net, net.prepare(IMAGE), "blur")
    places = sorted((-values[r, c], r, c) for r in range(8) for c in range(8))
    curves: tuple[list[float], list[float]] = ([], [])
    for kind, (image, source) in enumerate([(x.clone(), torch.zeros_like(x)), (blur.clone(), x)]):
        done = 0
        for step in range(steps + 1):
            while done < round(step * 64 / steps):
                _, row, column = places[done]
                image[0, :, row, column] = source[0, :, row, column]
                done += 1
            with torch.no_grad():
                curves[kind].append(float(net.core(image).softmax(1)[0, target]))
    return curves


@pytest.mark.parametrize("batch_size", [1, 7, 64])
@pytest.mark.parametrize("steps", [1, 5, 64])
def test_against_one_pixel_after_the_other(steps: int, batch_size: int) -> None:
    net = network()
    draw = np.random.default_rng(1)
    maps = {
        "normal": draw.normal(size=(8, 8)),
        "ties": draw.integers(0, 3, (8, 8)),
        "bool": draw.random((8, 8)) > 0.5,
    }
    with untouched(net.module):
        found = cv.faithfulness(net, IMAGE, 2, maps, steps=steps, batch_size=batch_size)
    assert found.names == ("normal", "ties", "bool", "chance")
    np.testing.assert_allclose(
        found.fractions, [round(step * 64 / steps) / 64 for step in range(steps + 1)], atol=1e-7
    )
    for row, values in enumerate(maps.values()):
        deletion, insertion = slow(net, values.astype(float), steps, 2)
        np.testing.assert_allclose(found.deletion[row], deletion, atol=1e-6)
        np.testing.assert_allclose(found.insertion[row], insertion, atol=1e-6)
        for curve, area in ((deletion, found.deletion_area[row]), (insertion, found.insertion_area[row])):
            assert area == pytest.approx(trapezoid(curve, found.fractions), abs=1e-6)


def test_a_map_that_is_right_wins_and_its_opposite_loses() -> None:
    # The target is a sum over pixels, so that the right order is known.
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    torch.manual_seed(0)
    net = small(module)
    x = net.prepare(IMAGE)[0]
    with torch.no_grad():
        module[1].weight.abs_()
    right = (module[1].weight[0].detach().reshape(3, 8, 8) * x).sum(dim=0).numpy()
    target = cv.Target(lambda scores: scores[:, 0])
    found = cv.faithfulness(
        net, IMAGE, target, {"right": right, "wrong": -right}, steps=64, insertion_fill=0.0, seed=3
    )
    lost, won = found.deletion_area, found.insertion_area
    assert lost[0] < lost[2] < lost[1]
    assert won[1] < won[2] < won[0]
    assert (found.best("deletion"), found.best("insertion")) == ("right", "right")
    assert f"goes fastest without the pixels that right calls important (area {lost[0]:.3g}, by" in str(found)
    # What is gone on the one side is there on the other; the bias counts on both.
    whole = found.deletion[0, 0] + found.deletion[0, -1]
    np.testing.assert_allclose(found.deletion[0] + found.insertion[0], whole, rtol=1e-4)


def test_a_map_that_is_as_good_as_chance_is_no_best_one() -> None:
    def found(deletion: list[list[float]], insertion: list[list[float]]) -> cv.Faithfulness:
        curves = (np.array(each, np.float32) for each in (deletion, insertion))
        fractions = np.linspace(0, 1, 3, dtype=np.float32)
        return cv.Faithfulness(("one", "two", "chance"), fractions, *curves, "cat", 0.0, "blur", 0)

    # By deletion all is gone at once, whatever is deleted; by insertion one map is worse than chance, one better.
    one = found([[1, 0.01, 0], [1, 0.006, 0], [1, 0.012, 0]], [[0, 0.2, 1], [0, 0.34, 1], [0, 0.3, 1]])
    assert (one.best("deletion"), one.best("insertion")) == (None, "two")
    assert (
        "no map is better than pixels in random order (area 0.253, by chance 0.256): these take"
        in one.message
    )
    assert (
        "comes back fastest with the pixels that two calls important (area 0.42, by chance 0.4)"
        in one.message
    )
    # Logits may be negative; without a steep beginning more steps would be no better.
    two = found([[4, -2, -4], [4, -1, -4], [4, -2, -4]], [[-4, 3, 4], [-4, -1, 4], [-4, 3.01, 4]])
    assert (two.best("deletion"), two.best("insertion")) == (None, None)
    assert (
        "By deletion no map is better than pixels in random order (area -1, by chance -1). By" in two.message
    )
    with pytest.raises(ValueError, match="kind is 'deletion' or 'insertion'; got 'delete'"):
        two.best("delete")


def test_results_of_other_methods_are_maps() -> None:
    net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    shown = cv.grad_cam(net, image, "Ankle boot", "conv2")
    one = cv.faithfulness(net, image, "Ankle boot", shown, steps=4, seed=5)
    two = cv.faithfulness(net, image, cv.Target(9, of="probability"), {"map": shown.heatmap}, steps=4, seed=5)
    assert one.names == two.names == ("map", "chance")
    np.testing.assert_array_equal(one.deletion, two.deletion)
    probability = net.predict(image, k=10)
    assert one.deletion[0, 0] == pytest.approx(
        float(probability.probabilities[probability.indices == 9][0]), rel=1e-5
    )
    assert one.insertion[0, -1] == pytest.approx(one.deletion[0, 0], rel=1e-5)


def test_steps_are_told_and_the_result_is_kept(tmp_path: Path) -> None:
    net = network()
    maps = {"<b>bold</b>": np.random.default_rng(1).normal(size=(8, 8))}
    steps = list(cv.faithfulness.steps(net, IMAGE, 1, maps, steps=3, batch_size=4))
    assert [(each.index, each.total) for each in steps] == [(index, 4) for index in range(4)]
    found = cv.faithfulness(net, IMAGE, 1, maps, steps=3)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert "&lt;b&gt;bold" in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert f"{found.deletion_area[0]:.4g}" in str(found)
