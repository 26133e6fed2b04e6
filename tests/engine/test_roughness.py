"""Roughness: against formulas written as loops, and percentiles against every possible order."""

from __future__ import annotations

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz_widgets.engine import roughness as engine
from cnnviz_widgets.engine.roughness import (
    ShuffleTest,
    high_frequency_share,
    incoherence,
    roughness,
    shuffle_test,
)

SHAPES = [(1, 7, 7), (3, 3, 3), (3, 5, 2), (2, 1, 6), (4, 4, 1), (16, 3, 3), (9, 3, 3), (12, 1, 5), (1, 2, 2)]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def gratings(count: int, channels: int, size: int, seed: int = 0) -> np.ndarray:
    """Draw slow waves, the same in all channels but for the strength."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    angle, phase = generator.uniform(0, 2 * np.pi, (2, count, 1, 1))
    waves = np.cos(4 * (rows * np.cos(angle) + columns * np.sin(angle)) + phase)
    return generator.normal(size=(count, channels, 1, 1)) * waves[:, None]


def slow_high_frequency_share(kernel: np.ndarray) -> float:
    """Take the definition at its word: an orthonormal DCT-II, frequency by frequency."""
    channels, height, width = kernel.shape
    top = 2 - math.cos(math.pi * (height - 1) / height) - math.cos(math.pi * (width - 1) / width)
    high = total = 0.0
    for channel in range(channels):
        for u in range(height):
            for v in range(width):
                value = 0.0
                for row in range(height):
                    for column in range(width):
                        value += (
                            kernel[channel, row, column]
                            * math.cos(math.pi * u * (2 * row + 1) / (2 * height))
                            * math.cos(math.pi * v * (2 * column + 1) / (2 * width))
                        )
                value *= math.sqrt((1 if u == 0 else 2) / height * (1 if v == 0 else 2) / width)
                weight = (2 - math.cos(math.pi * u / height) - math.cos(math.pi * v / width)) / top
                high += weight * value**2
                total += value**2
    return high / total


def slow_incoherence(kernel: np.ndarray) -> float:
    singular = np.linalg.svd(kernel.reshape(len(kernel), -1), compute_uv=False)
    shares = [value**2 / sum(other**2 for other in singular) for value in singular]
    return 1 - sum(share**2 for share in shares)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_shares_are_what_the_formulas_say(shape: tuple[int, ...]) -> None:
    kernels = noise(3, *shape) + 0.5
    high = [slow_high_frequency_share(kernel) for kernel in kernels]
    mixed = [slow_incoherence(kernel) for kernel in kernels]
    np.testing.assert_allclose(high_frequency_share(kernels), high, rtol=1e-12)
    np.testing.assert_allclose(incoherence(kernels), mixed, atol=1e-12)
    expected = high if shape[0] == 1 else [(one + other) / 2 for one, other in zip(high, mixed, strict=True)]
    np.testing.assert_allclose(roughness(kernels), expected, rtol=1e-12)


def test_the_ends_of_the_scale() -> None:
    board = (-1.0) ** np.add.outer(np.arange(4), np.arange(4))
    assert high_frequency_share(np.ones((1, 4, 4))) == 0
    # Not quite 1: on four points the alternating pattern is not exactly the highest cosine.
    assert high_frequency_share(board[None]) == pytest.approx(slow_high_frequency_share(board[None]))
    assert high_frequency_share(board[None]) > 0.85
    assert incoherence(np.stack([board, -3 * board])) == pytest.approx(0, abs=1e-12)
    assert incoherence(np.eye(9).reshape(9, 3, 3)) == pytest.approx(1 - 1 / 9)


@given(
    st.sampled_from(SHAPES), st.integers(0, 99), st.sampled_from([1e-100, 1e-9, 3.0, 1e100]), st.booleans()
)
@settings(max_examples=40)
def test_neither_scale_sign_nor_mirrors_matter(
    shape: tuple[int, ...], seed: int, scale: float, negate: bool
) -> None:
    kernels = noise(2, *shape, seed=seed)
    changed = kernels[..., ::-1, :] * (-scale if negate else scale)
    np.testing.assert_allclose(roughness(changed), roughness(kernels), rtol=1e-9)
    np.testing.assert_allclose(roughness(kernels.swapaxes(-1, -2)), roughness(kernels), rtol=1e-9)


def test_what_has_no_roughness_has_nan() -> None:
    assert np.isnan(roughness(noise(2, 5, 1, 1))).all()
    assert np.isnan(roughness(np.zeros((2, 3, 3, 3)))).all()
    assert np.isnan(shuffle_test(noise(2, 5, 1, 1), shuffles=9).percentile).all()


def every_order(entries: int):
    return np.array(list(itertools.permutations(range(entries))))


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 2, 2), (2, 1, 2), (2, 1, 3), (1, 2, 3)])
@pytest.mark.parametrize("ties", [False, True])
def test_percentiles_against_every_order(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], ties: bool
) -> None:
    kernels = noise(4, *shape, seed=3)
    kernels = np.round(kernels) + 0.5 if ties else kernels
    orders = every_order(math.prod(shape))
    monkeypatch.setattr(engine, "_orders", lambda *_: [(slice(0, len(orders)), orders)])
    test = shuffle_test(kernels, shuffles=len(orders))
    for index, kernel in enumerate(kernels):
        own = slow_roughness(kernel)
        values = [slow_roughness(kernel.ravel()[order].reshape(shape)) for order in orders]
        below = sum(value <= own + 1e-9 for value in values)
        assert test.percentile[index] == pytest.approx(100 * (1 + below) / (1 + len(orders)))
        np.testing.assert_allclose(test.shuffled[:, index], values, atol=1e-12)
        high = [slow_high_frequency_share(kernel.ravel()[order].reshape(shape)) for order in orders]
        assert test.shuffled_high_frequency[index] == pytest.approx(np.mean(high))


def slow_roughness(kernel: np.ndarray) -> float:
    high = slow_high_frequency_share(kernel)
    return high if len(kernel) == 1 else (high + slow_incoherence(kernel)) / 2


def test_random_orders_come_to_the_same_percentile_as_all_orders() -> None:
    kernels = noise(6, 1, 1, 6, seed=4)
    test = shuffle_test(kernels, shuffles=4000)
    orders = every_order(6)
    for index, kernel in enumerate(kernels):
        own = roughness(kernel)
        exact = (roughness(kernel.ravel()[orders].reshape(-1, 1, 1, 6)) <= own + 1e-9).mean()
        deviation = math.sqrt(exact * (1 - exact) / 4000) + 1 / 4000
        assert abs(test.percentile[index] / 100 - exact) < 5 * deviation


def test_orders_are_permutations_and_all_different() -> None:
    blocks = list(engine._orders(20, 50, 0))
    orders = np.concatenate([each for _, each in blocks])
    assert (np.sort(orders, axis=1) == np.arange(20)).all()
    assert len({each.tobytes() for each in orders}) == 50


def test_in_pieces_or_at_once_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = noise(7, 3, 3, 3)
    whole = shuffle_test(kernels, shuffles=20)
    for block in (1, 27 * 3, 27 * 20 * 2):
        monkeypatch.setattr(engine, "_BLOCK", block)
        pieces = shuffle_test(kernels, shuffles=20)
        np.testing.assert_allclose(pieces.shuffled, whole.shuffled, rtol=1e-12)
        np.testing.assert_allclose(pieces.shuffled_high_frequency, whole.shuffled_high_frequency, rtol=1e-12)


def test_percentiles_of_noise_are_uniform() -> None:
    for shape in ((3, 3, 3), (1, 7, 7), (16, 3, 3)):
        percentile = shuffle_test(noise(2000, *shape, seed=5)).percentile
        for limit in (1, 2, 5, 10, 50, 90):
            share = limit / 100
            assert abs((percentile <= limit).mean() - share) < 4 * math.sqrt(share * (1 - share) / 2000)


def test_smooth_kernels_stand_at_the_low_end() -> None:
    test = shuffle_test(gratings(30, 3, 5))
    assert (test.percentile == 0.5).all()
    assert (test.frequency_ratio < 0.6).all()
    assert test.layer_p_value(np.ones(30, np.bool_)) == 1 / 200


def test_the_layer_is_judged_by_mean_scores() -> None:
    test = shuffle_test(0.35 * gratings(5, 3, 3) + noise(5, 3, 3, 3), shuffles=60)
    counted = np.array([True, False, True, True, True])
    scores = []
    columns = [[test.roughness[index], *test.shuffled[:, index]] for index in (0, 2, 3, 4)]
    for row in range(61):
        each = [(column[row] - np.mean(column)) / np.std(column) for column in columns]
        scores.append(sum(each) / 4)
    expected = (1 + sum(score <= scores[0] for score in scores[1:])) / 61
    assert test.layer_p_value(counted) == pytest.approx(expected)
    assert 1 / 61 < expected < 1


def test_a_layer_of_noise_is_called_smooth_as_rarely_as_stated() -> None:
    everything = np.ones(8, np.bool_)
    values = []
    for seed in range(400):
        kernels = noise(8, 3, 3, 3, seed=seed)
        kernels[1:4] = kernels[0]  # copies: no excuse for a wrong answer
        values.append(shuffle_test(kernels, shuffles=99, seed=seed).layer_p_value(everything))
    for level in (0.01, 0.05, 0.5):
        share = np.mean(np.array(values) <= level)
        assert abs(share - level) < 3.5 * math.sqrt(level * (1 - level) / 400)


def test_all_kernels_are_shuffled_alike() -> None:
    kernel = noise(1, 3, 3, 3)
    test = shuffle_test(np.concatenate([kernel, kernel]), shuffles=9)
    np.testing.assert_array_equal(test.shuffled[:, 0], test.shuffled[:, 1])


def test_a_layer_without_any_spread_has_no_p_value() -> None:
    test = shuffle_test(np.ones((4, 1, 3, 3)), shuffles=9)
    assert test.percentile.tolist() == [100] * 4
    assert math.isnan(test.layer_p_value(np.ones(4, np.bool_)))
    assert math.isnan(test.layer_p_value(np.zeros(4, np.bool_)))


def test_the_same_seed_gives_the_same_and_the_global_state_stays() -> None:
    kernels = noise(4, 3, 3, 3)
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    one, other, third = (shuffle_test(kernels, shuffles=30, seed=seed) for seed in (7, 7, 8))
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002
    assert one.shuffled.tobytes() == other.shuffled.tobytes()
    assert one.shuffled.tobytes() != third.shuffled.tobytes()
    assert isinstance(one, ShuffleTest)


def test_memory_is_bounded() -> None:
    kernels = noise(48, 512, 3, 3)
    tracemalloc.start()
    try:
        shuffle_test(kernels, shuffles=199)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All shuffles at once would take 350 MB.
    assert peak < 160e6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: roughness(np.ones((3, 3))), r"\[\.\.\., I, kH, kW\]; got the shape \[3, 3\]"),
        (lambda: roughness(np.ones((2, 0, 3, 3))), r"got the shape \[2, 0, 3, 3\]"),
        (lambda: roughness(np.full((1, 3, 3), np.nan)), "must be finite"),
        (lambda: incoherence(np.full((1, 3, 3), np.inf)), "must be finite"),
        (lambda: shuffle_test(np.ones((1, 3, 3))), r"\[O, I, kH, kW\]; got the shape \[1, 3, 3\]"),
        (lambda: shuffle_test(np.ones((1, 1, 3, 3)), shuffles=0), "whole number from 1, got 0"),
    ],
)
def test_what_is_no_kernel_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
