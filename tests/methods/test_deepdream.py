"""DeepDream, against the loop of the notebook that came with it, written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.dreaming import Likeness
from cnnviz_widgets.engine.objectives import Seen
from tests.untouched import untouched

SPEC = cv.InputSpec(channels=3, mean=[0.4, 0.5, 0.6], std=[0.25, 0.2, 0.3])


def network() -> cv.Network:
    torch.manual_seed(0)
    return cv.Network(
        nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3, stride=2), nn.ReLU()), input=SPEC
    )


def photo(height: int = 20, width: int = 28, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 216, (height, width, 3), dtype=np.uint8)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return (
        x
        if tuple(x.shape[2:]) == size
        else functional.interpolate(x, size=size, mode="bicubic", antialias=True)
    )


def written_out(
    net: cv.Network, x: Tensor, sizes: list[tuple[int, int]], steps: int, jitter: int, weights: dict
) -> Tensor:
    """Octaves from small to large; each adds its detail, by steps along the gradient over its mean magnitude."""
    random = torch.Generator().manual_seed(0)
    low, high = ((edge - torch.tensor(SPEC.mean)) / torch.tensor(SPEC.std) for edge in (0.0, 1.0))
    detail = torch.zeros(1, 3, *sizes[0])
    for size in sizes:
        base = resize(x, size)
        made = base + resize(detail, size)
        for _ in range(steps):
            reach = min(jitter, min(size) // 2)
            down, right = torch.randint(-reach, reach + 1, (2,), generator=random).tolist()
            rolled = made.roll((down, right), (2, 3)).requires_grad_()
            value, seen = 0.0, rolled
            for index, module in enumerate(net.module):
                seen = module(seen)
                value = value + weights.get(str(index), 0.0) * 0.5 * seen.square().mean()
            (gradient,) = torch.autograd.grad(value, rolled)
            gradient = gradient.roll((-down, -right), (2, 3))
            made = made + 0.02 * gradient / gradient.abs().mean()
            made = made.maximum(low[:, None, None]).minimum(high[:, None, None])
        detail = made - base
    return made


@pytest.mark.parametrize("octaves", [1, 3])
def test_it_dreams_as_the_notebook_does(octaves: int) -> None:
    net, image = network(), photo()
    weights = {"1": 1.0, "3": -0.5}
    with untouched(net.module):
        found = cv.deepdream(
            net, image, weights, steps=3, octaves=octaves, octave_scale=1.3, rate=0.02, jitter=4
        )
    assert found.sizes == ((12, 17), (15, 22), (20, 28))[-octaves:]
    expected = written_out(net, net.prepare(image), list(found.sizes), 3, 4, weights)
    np.testing.assert_allclose(found.x, expected[0], atol=2e-5)
    assert np.array_equal(found.image, net.restore(torch.from_numpy(found.x)[None])[0])
    assert np.array_equal(found.original, image)
    assert found.values.shape == (3 * octaves,)
    assert found.steps == 3 * octaves
    assert found.layers == "'1' + -0.5 * '3'"


def test_a_layer_gets_louder_and_a_channel_too() -> None:
    net = network()
    for layers in ("3", ["1", "3"], cv.Target(layer="3", channel=2), cv.Target(layer="3", channel=1) * 2.0):
        found = cv.deepdream(net, photo(), layers, steps=8, octaves=1)
        assert found.values[-1] > found.values[0]


def test_a_guide_says_what_to_look_for() -> None:
    """By a loop over all places of both."""
    net, guide = network(), photo(16, 16, seed=3)
    with cv.capture(net, ["3"]) as seen:
        net(net.prepare(guide))
        wanted = seen["3"]
        net(net.prepare(photo()))
        own = seen["3"]
    best = []
    for row, column in np.ndindex(own.shape[2:]):
        products = [
            float(own[0, :, row, column] @ wanted[0, :, other, there])
            for other, there in np.ndindex(wanted.shape[2:])
        ]
        best.append(max(products))
    value = Likeness("3", wanted).values(Seen(net, own, {"3": own}))
    assert float(value) == pytest.approx(np.mean(best) / own.shape[1], rel=1e-5)
    found = cv.deepdream(net, photo(), "3", guide=guide, steps=8, octaves=1, jitter=0)
    assert found.values[0] == pytest.approx(float(value), rel=1e-5)
    assert np.array_equal(found.guide, net.restore(net.prepare(guide))[0])
    assert found.values[-1] > found.values[0]


def test_a_zoom_begins_each_frame_with_the_middle_of_the_one_before() -> None:
    net = network()
    found = cv.deepdream(net, photo(), "3", steps=2, octaves=1, frames=3, zoom=1.2)
    assert found.frames.shape == (3, 20, 28, 3)
    assert found.values.shape == (6,)
    alone = cv.deepdream(net, photo(), "3", steps=2, octaves=1)
    assert np.array_equal(found.frames[0], alone.image)
    large = resize(torch.from_numpy(alone.x)[None], (24, 34))[:, :, 2:22, 3:31]
    near = cv.deepdream(net, net.restore(large)[0], "3", steps=2, octaves=1, rate=1e-9, jitter=0)
    difference = found.frames[1].astype(int) - near.image
    assert np.abs(difference).mean() < 8  # two steps of about 1.5 of 255, and rounding


def test_stopped_half_way_it_is_the_picture_so_far() -> None:
    steps = cv.deepdream.steps(network(), photo(), "3", steps=4, octaves=3)
    taken = [next(steps) for _ in range(6)]  # in the second octave
    assert all(each.image.shape == (20, 28, 3) for each in taken)
    assert taken[-1].total == 12
    found = cv.deepdream.finish(steps)
    assert (found.steps, found.planned_steps, found.planned_frames) == (6, 4, 1)
    assert (found.octave_scale, found.guide) == (1.4, None)
    assert np.array_equal(found.image, taken[-1].image)


def test_results_come_back_from_a_file(tmp_path: Any) -> None:
    found = cv.deepdream(network(), photo(), "3", steps=1, octaves=2)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found


def test_a_picture_that_says_nothing_is_an_error() -> None:
    net = network()
    with torch.no_grad():
        net.module[0].bias.fill_(-100.0)
    with pytest.raises(ValueError, match="does not answer to this picture"):
        cv.deepdream(net, photo(), "1", steps=1, octaves=1)


def test_what_does_not_fit_is_said() -> None:
    net = cv.samples.fashion_cnn()
    image = cv.samples.fashion_mnist("test")[0][0]
    with pytest.raises(ValueError, match="one size only"):
        cv.deepdream(net, image, "fc1", steps=1)
    for target in (cv.Target(layer="fc1", channel=1), cv.Target(1)):
        with pytest.raises(ValueError, match=r"an octave of 20 x 20 pixels .*one size only"):
            cv.deepdream(net, image, target, steps=1, octaves=2)
        assert cv.deepdream(net, image, target, steps=1, octaves=1).values.shape == (1,)
    assert cv.deepdream(net, image, "relu2", steps=1, octaves=1).image.shape == (28, 28, 3)
    with pytest.raises(LookupError, match="did you mean"):
        cv.deepdream(net, image, "relu22", octaves=1)
    for pairs in ([("conv", 0.5)], ("conv", 0.5)):
        with pytest.raises(TypeError, match=r"with their weights are a dict, such as \{'conv': 0.5\}; got"):
            cv.deepdream(net, image, pairs)
    with pytest.raises(ValueError, match="a guide is for layers"):
        cv.deepdream(net, image, cv.Target(layer="relu2", channel=1), guide=image, octaves=1)
