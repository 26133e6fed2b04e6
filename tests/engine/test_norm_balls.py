"""Norm balls: projections, steepest directions, and what is left of a change in 8 bits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import optimize

import cnnviz_widgets as cv
from cnnviz_widgets.engine.norm_balls import NormBall, network_numbers, sizes, steepest

DRAW = np.random.default_rng(0)


def random_tensor(*shape: int) -> torch.Tensor:
    return torch.from_numpy(DRAW.random(shape, dtype=np.float32))


def test_the_steepest_direction_has_size_1_and_no_other_rises_more() -> None:
    gradient = random_tensor(3, 2, 4, 5) - 0.5
    gradient[2] *= 1e-30  # whose squares are 0 in float32
    flat = gradient.flatten(1).double()
    for norm, order, dual in (("inf", math.inf, 1), ("2", 2, 2)):
        step = steepest(gradient, norm).flatten(1).double()
        torch.testing.assert_close(step.norm(p=order, dim=1), torch.ones(3).double(), rtol=1e-6, atol=0)
        # Hölder: over changes of size 1 the largest rise is the gradient's dual norm.
        torch.testing.assert_close((step * flat).sum(1), flat.norm(p=dual, dim=1), rtol=1e-6, atol=0)
    assert not steepest(torch.zeros(2, 1, 2, 2), "2").any()


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_projection_stays_in_the_ball_and_leaves_what_is_in_it(norm: str) -> None:
    ball = NormBall(0.3, norm)
    center, far = random_tensor(5, 3, 4, 4), random_tensor(5, 3, 4, 4) * 2 - 0.5
    found = ball.project(center, far)
    change = (found - center).flatten(1).double()
    assert float(change.norm(p=float(norm), dim=1).max()) <= 0.3 * (1 + 1e-6)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    torch.testing.assert_close(ball.project(center, found), found, rtol=0, atol=1e-6)
    assert torch.equal(NormBall(0.0, norm).project(center, far), center)


def test_projection_is_the_nearest_picture() -> None:
    # Against a general optimizer; for "2" within black and white, where no cut comes after.
    center, far = random_tensor(1, 1, 2, 3) * 0.2 + 0.4, random_tensor(1, 1, 2, 3) * 0.5 + 0.25
    c, f = center.flatten().double().numpy(), far.flatten().double().numpy()
    for norm in ("inf", "2"):
        bounds = [(max(0, each - 0.1), min(1, each + 0.1)) for each in c] if norm == "inf" else None
        within = {"type": "ineq", "fun": lambda x: 0.01 - ((x - c) ** 2).sum()}
        best = optimize.minimize(
            lambda x: ((x - f) ** 2).sum(), c, bounds=bounds, constraints=[within] if norm == "2" else []
        )
        found = NormBall(0.1, norm).project(center, far).flatten().numpy()
        np.testing.assert_allclose(found, best.x, atol=2e-4)


@pytest.mark.parametrize("norm", ["inf", "2"])
def test_random_pictures_fill_the_ball_evenly(norm: str) -> None:
    ball, random = NormBall(0.2, norm), torch.Generator().manual_seed(1)
    center = torch.full((1, 1, 2), 0.5)
    drawn = torch.stack([ball.random(center, random) for _ in range(2000)]).flatten(1) - center.flatten()
    sizes = drawn.norm(p=float(norm), dim=1) / 0.2
    assert float(sizes.max()) <= 1 + 1e-6
    # In the plane half of the area lies within 1 / sqrt(2) of the radius; 0.06 is more than five deviations.
    assert abs(float((sizes < math.sqrt(0.5)).float().mean()) - 0.5) < 0.06
    assert float(drawn.mean(0).abs().max()) < 0.02


@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("epsilon", [0.0, 1 / 510, 1 / 255, 0.03, 7.9995 / 255, 8 / 255, 0.1, 255 / 255])
def test_a_change_in_levels_never_leaves_the_ball(norm: str, epsilon: float) -> None:
    ball = NormBall(epsilon, norm)
    original = DRAW.integers(0, 256, (3, 6, 5), np.uint8)
    center = torch.from_numpy(original / np.float32(255))
    far = center + torch.from_numpy(DRAW.normal(scale=max(epsilon, 1e-3), size=center.shape)).float()
    exact = ball.project(center[None], far[None])[0].numpy()
    change = ball.in_levels(original, exact)
    assert sizes(change)[0 if norm == "inf" else 1] <= epsilon  # exactly, without a tolerance
    assert int((original + change).min()) >= 0
    assert int((original + change).max()) <= 255
    # One of the two levels around the exact number; nearer to the original where the ball ends between them.
    wanted = exact.astype(np.float64) * 255 - original
    assert np.abs(change - wanted).max() < 1
    if epsilon == 0:
        assert not change.any()


def test_a_change_that_is_nearly_whole_does_not_leave_the_ball() -> None:
    # 4.9995 levels are 5 but for rounding; and yet a ball of that radius ends before them.
    original = np.full((1, 1, 3), 100, np.uint8)
    exact = ((100 + np.array([[[4.9995, -4.9995, 0.0]]])) / 255).astype(np.float32)
    assert NormBall(4.9995 / 255, "inf").in_levels(original, exact).tolist() == [[[4, -4, 0]]]
    length = 4.9995 * math.sqrt(2) / 255
    change = NormBall(length, "2").in_levels(original, exact)
    assert change.tolist() == [[[4, -5, 0]]]
    assert sizes(change)[1] <= length
    assert NormBall(5 * math.sqrt(2) / 255, "2").in_levels(original, exact).tolist() == [[[5, -5, 0]]]


def test_whole_levels_stay_as_they_are() -> None:
    # k/255 is met exactly, for every k: no level is lost to what float32 makes of it.
    original = np.full((1, 1, 2), 100, np.uint8)
    for level in range(156):
        exact = (
            (torch.full((1, 1, 2), 100 / 255) + torch.tensor([1.0, -1.0]) * level / 255).clamp(0, 1).numpy()
        )
        change = NormBall(level / 255, "inf").in_levels(original, exact)
        assert change.tolist() == [[[level, -min(level, 100)]]]


def test_rounding_keeps_the_effect_of_a_thin_change() -> None:
    original = np.full((1, 2, 3), 128, np.uint8)
    thin = np.array([[[0.4, -0.3, 0.1], [0.05, 0.2, -0.1]]])
    exact = (original / 255 + thin / 255).astype(np.float32)
    change = NormBall(math.inf, "2").in_levels(original, exact)
    # By hand: the exact change times itself is 0.3125; the largest alone gives 0.4.
    assert change.tolist() == [[[1, 0, 0], [0, 0, 0]]]
    # Nearest levels alone would leave nothing, and so does a ball that is smaller than a level.
    assert not NormBall(0.9 / 255, "2").in_levels(original, exact).any()
    # With 40 times that, nearest levels do.
    strong = (original / 255 + 40 * thin / 255).astype(np.float32)
    assert NormBall(math.inf, "2").in_levels(original, strong).tolist() == [[[16, -12, 4], [2, 8, -4]]]


def test_rounding_keeps_the_effect_against_every_other_choice() -> None:
    # Of all roundings to one of the two levels around, it has the fewest numbers rounded up that keep the effect.
    original = np.full((1, 1, 6), 50, np.uint8)
    for _ in range(20):
        thin = DRAW.uniform(0.02, 0.45, 6)
        exact = (50 / 255 + thin / 255).astype(np.float32)[None, None]
        change = NormBall(math.inf, "inf").in_levels(original, exact).ravel()
        enough = [
            up
            for up in itertools.product((0, 1), repeat=6)
            if np.dot(up, thin) >= np.dot(thin, thin) * (1 - 1e-6)
        ]
        assert tuple(change) in enough
        assert change.sum() == min(map(sum, enough))


def test_pixels_become_what_the_network_makes_of_a_picture() -> None:
    for net, picture in (
        (cv.samples.fashion_cnn(), DRAW.integers(0, 256, (28, 28), np.uint8)),
        (
            cv.Network(torch.nn.Conv2d(3, 2, 3), input=cv.InputSpec(mean=(0.4, 0.5, 0.6), std=0.2)),
            DRAW.integers(0, 256, (9, 8, 3), np.uint8),
        ),
    ):
        channels = picture.reshape(*picture.shape[:2], -1).transpose(2, 0, 1)
        pixels = torch.from_numpy(channels.copy()).float() / 255
        assert torch.equal(network_numbers(net, pixels[None]), net.prepare(picture))
