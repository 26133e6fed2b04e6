"""Counting what channels answer, against slow loops over every number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cnnviz_widgets.engine import channel_tally
from cnnviz_widgets.engine.channel_tally import BINS, ChannelTally, TallyCollector, bin_edges
from cnnviz_widgets.engine.collector import Batch
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.exact_sums import mean_and_deviation


def wild_maps(signed: bool) -> np.ndarray:
    """Maps of all magnitudes, with exact edges of bins, both zeros and a subnormal number."""
    draw = np.random.default_rng(0)
    shape = (5, 3, 6, 7)
    values = draw.standard_normal(shape) * 2.0 ** draw.integers(-20, 20, shape)
    edges = (
        draw.choice([1.0, 1.5], shape) * 2.0 ** draw.integers(-17, 17, shape) * draw.choice([1, -1], shape)
    )
    values = np.where(draw.random(shape) < 0.4, edges, values)
    values = values if signed else np.abs(values)
    zeros = [0.0, -0.0]
    values = np.where(draw.random(shape) < 0.3, draw.choice(zeros, shape), values).astype(np.float32)
    values[2, 1, 0, 0] = 1e-42
    return values


def slow_bin(number: float) -> int:
    """The bin of a number by its definition: two an octave, mirrored, exact zeros apart in the middle."""
    if number == 0:
        return BINS // 2
    fraction, exponent = math.frexp(abs(number))  # in [0.5, 1)
    place = 2 * (exponent - 1 + 16) + (fraction >= 0.75) + 1
    place = min(max(place, 0), 65)
    return BINS // 2 + 1 + place if number > 0 else BINS // 2 - 1 - place


def tallied(*parts: Tensor) -> dict[str, Any]:
    tally = ChannelTally("here")
    for each in parts:
        tally.add(each)
    return tally.arrays


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_counts_against_a_loop_over_every_number(signed: bool, odd: bool, kind: Any) -> None:
    values = wild_maps(signed).astype(kind)
    if kind is np.float64:
        # What float32 can't tell from the edge of a bin, from zero or from infinity.
        values[0, :, 1, :3] = (1.5 - 2**-40, 1e-60, 1e60)
        values[1, :, 1, :3] = np.array([-(1.5 - 2**-40), -1e-60, -1e60]) * signed
    if odd:
        values[0, 0, 0, :3] = (np.nan, np.inf, -np.inf)
        values[1, 2, 1, 1] = np.nan
    found = tallied(torch.from_numpy(values))
    for channel in range(3):
        numbers = values[:, channel].ravel().tolist()
        finite = [each for each in numbers if math.isfinite(each)]
        histogram = [0] * BINS
        for each in finite:
            histogram[slow_bin(each)] += 1
        assert found["histogram"][channel].tolist() == histogram
        assert found["values"][channel] == len(finite)
        assert found["not_finite"][channel] == len(numbers) - len(finite)
        assert found["zeros"][channel] == finite.count(0)
        assert found["maximum"][channel] == max(finite)
        assert found["minimum"][channel] == min(finite)
        images = sum(any(each > 0 for each in image[channel].ravel().tolist()) for image in values)
        assert found["active_images"][channel] == images


def test_the_bins_are_where_their_edges_say() -> None:
    edges = bin_edges()
    assert len(edges) == BINS + 1
    assert (np.diff(edges) >= 0).all()
    for number in wild_maps(signed=True).ravel().tolist():
        low, high = edges[slow_bin(number)], edges[slow_bin(number) + 1]
        assert low <= number < high or low < number <= high or number == low == high == 0


def test_vectors_and_other_kinds_of_numbers() -> None:
    vectors = torch.tensor([[0.0, -1.5, 2.0], [3.0, 0.0, 0.0]])
    for kind in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        found = tallied(vectors.to(kind))
        assert found["zeros"].tolist() == [1, 1, 1]
        assert found["active_images"].tolist() == [1, 0, 1]
        assert found["maximum"].tolist() == [3, 0, 2]


def test_a_tiny_double_is_no_zero() -> None:
    found = tallied(torch.full((1, 1), 1e-60, dtype=torch.float64))
    assert (found["zeros"][0], found["active_images"][0]) == (0, 1)
    assert found["histogram"][0].sum() == 1


def test_doubles_keep_their_digits_and_are_left_alone() -> None:
    values = 1 + 1e-9 * torch.randn(
        4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    before = values.numpy().copy()
    found = tallied(values)
    np.testing.assert_array_equal(values.numpy(), before)
    np.testing.assert_array_equal(found["maximum"], before.max((0, 2, 3)))
    np.testing.assert_array_equal(found["minimum"], before.min((0, 2, 3)))
    mean, _ = mean_and_deviation(found["values"], found["sums"], found["squares"])
    np.testing.assert_allclose(mean, before.mean((0, 2, 3)), rtol=1e-15)


def test_pieces_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.from_numpy(wild_maps(signed=True))
    whole = tallied(values)
    monkeypatch.setattr(channel_tally, "_PIECE", 300)
    for parts in ([values], list(values.split(2)), list(values.flip(0).split(1))):
        found = tallied(*parts)
        assert {name: each.tobytes() for name, each in found.items()} == {
            name: each.tobytes() for name, each in whole.items()
        }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.zeros(2, 3, 4), "layer 'here' returns 2x3x4 of torch.float32; statistics need maps"),
        (torch.zeros(3), "returns 3 of"),
        (torch.zeros(2, 3, dtype=torch.complex64), "real numbers"),
    ],
)
def test_what_has_no_channels_is_refused(value: Tensor, text: str) -> None:
    with pytest.raises(OutputError, match=text):
        tallied(value)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(OutputError, match="4 channels for some images and 3 for others"):
        tallied(torch.zeros(1, 3), torch.zeros(1, 4))


def batch(**values: Tensor) -> Batch:
    keys: Any = {"conv": values["conv"], ("relu()", 0): values["first"], ("relu()", 1): values["second"]}
    calls = {"conv": ["conv"], "relu()": [("relu()", 0), ("relu()", 1)], ("relu()", 1): [("relu()", 1)]}
    return Batch(np.arange(2), (None, None), torch.zeros(2, 1, 1, 1), keys, calls)


def test_a_collector_counts_each_call_once_and_its_state_can_be_kept() -> None:
    draw = torch.Generator().manual_seed(0)
    one, two = (
        batch(**{name: torch.randn(2, 3, generator=draw) for name in ("conv", "first", "second")})
        for _ in "12"
    )
    layers = ["conv", "relu()", ("relu()", 1)]
    both, first, second = (TallyCollector(layers) for _ in range(3))
    both.collect(one)
    both.collect(two)
    assert list(both.tallies) == ["conv", ("relu()", 0), ("relu()", 1)]
    assert both.tallies["relu()", 1].arrays["values"].tolist() == [4, 4, 4]
    first.collect(one)
    second.collect(two)
    second.restore(second.arrays())
    second.merge(first)
    kept, expected = second.arrays(), both.arrays()
    assert kept.keys() == expected.keys()
    assert all(np.array_equal(kept[name], expected[name]) for name in kept)
    # What was restored is a copy, and what was merged from is left alone.
    assert first.tallies["conv"].arrays["values"].tolist() == [2, 2, 2]
