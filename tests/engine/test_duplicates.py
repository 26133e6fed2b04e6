"""Near-duplicates: every planted one is found, with what was done to it, and nothing else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnviz_widgets.engine.duplicates import (
    chance_similarity,
    duplicate_threshold,
    find_duplicates,
    transform_names,
    transformed,
)

# (row, column) of the moved kernel comes from here in the first one, of N rows and M columns.
SOURCES = {
    "identity": lambda r, c, n, m: (r, c),
    "rotate 90": lambda r, c, n, m: (c, n - 1 - r),
    "rotate 180": lambda r, c, n, m: (n - 1 - r, m - 1 - c),
    "rotate 270": lambda r, c, n, m: (n - 1 - c, r),
    "flip left-right": lambda r, c, n, m: (r, m - 1 - c),
    "flip up-down": lambda r, c, n, m: (n - 1 - r, c),
    "transpose": lambda r, c, n, m: (c, r),
    "anti-transpose": lambda r, c, n, m: (n - 1 - c, n - 1 - r),
}
SHAPES = [
    (96, 3, 3, 3),
    (128, 1, 3, 3),
    (64, 1, 2, 2),
    (200, 1, 5, 5),
    (64, 1, 1, 7),
    (64, 2, 7, 1),
    (48, 4, 3, 5),
    (64, 1, 7, 7),
    (128, 16, 1, 1),
    (64, 3, 1, 1),
    (64, 2, 1, 1),
    (64, 1, 1, 1),
    (40, 64, 3, 3),
    (2, 1, 3, 3),
]


def noise(shape: tuple[int, ...], seed: int = 0, *, uniform: bool = False) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, shape) if uniform else generator.normal(size=shape)


def slowly_moved(maps: np.ndarray, name: str) -> np.ndarray:
    moved = np.empty_like(maps)
    height, width = maps.shape[-2:]
    for row in range(height):
        for column in range(width):
            moved[..., row, column] = maps[(..., *SOURCES[name](row, column, height, width))]
    return moved


def names_for(height: int, width: int) -> list[str]:
    if height == width:
        return list(SOURCES)
    return ["identity", "rotate 180", "flip left-right", "flip up-down"]


@pytest.mark.parametrize("name", SOURCES)
def test_transforms_move_every_entry_where_they_say(name: str) -> None:
    for size in names_for(4, 3) and [(4, 4), (4, 3)]:
        if name in names_for(*size):
            maps = noise((2, *size))
            np.testing.assert_array_equal(transformed(maps, name), slowly_moved(maps, name))


def test_which_transforms_a_size_allows() -> None:
    assert transform_names(3, 3) == tuple(SOURCES)
    assert transform_names(2, 2) == tuple(SOURCES)
    assert transform_names(5, 3) == tuple(names_for(5, 3))
    assert transform_names(1, 7) == transform_names(7, 1) == ("identity", "rotate 180")
    assert transform_names(1, 1) == ("identity",)


@given(st.floats(1e-6, 1e-2), st.integers(1, 10_000))
@settings(max_examples=25)
def test_chance_where_it_has_a_closed_form(share: float, comparisons: int) -> None:
    expected = share * comparisons
    # A point on a sphere: the cosine to an axis is uniform. On a circle the angle is.
    assert chance_similarity(3, comparisons, expected=expected) == pytest.approx(1 - share)
    circle = math.cos(share * math.pi / 2)
    assert chance_similarity(2, comparisons, expected=expected) == pytest.approx(circle, abs=1e-9)


def test_chance_against_random_directions() -> None:
    for entries in (4, 9, 27):
        one, other = noise((2, 100_000, entries), seed=entries)
        cosines = np.abs((one * other).sum(1)) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        limit = chance_similarity(entries, 100_000, expected=500)
        assert abs((cosines > limit).sum() - 500) < 5 * math.sqrt(500)


def test_the_threshold_is_the_larger_of_both() -> None:
    assert duplicate_threshold((64, 64, 3, 3)) == 0.9
    assert duplicate_threshold((64, 64, 3, 3), min_similarity=0.97) == 0.97
    pairs = 64 * 63 // 2
    assert duplicate_threshold((64, 1, 3, 3)) == chance_similarity(9, 8 * pairs) > 0.9
    assert duplicate_threshold((64, 1, 3, 5)) == max(0.9, chance_similarity(15, 4 * pairs))
    assert duplicate_threshold((64, 1, 1, 1)) == 1
    assert duplicate_threshold((1, 1, 3, 3)) == 0.9


def planted(shape: tuple[int, ...], seed: int, amount: float) -> tuple[np.ndarray, dict[int, tuple]]:
    """Return noise in which kernel 2k + 1 is kernel 2k transformed, with noise of its own."""
    kernels = noise(shape, seed)
    done = {}
    choices = itertools.cycle(itertools.product(transform_names(*shape[2:]), (False, True)))
    for index in range(0, shape[0] // 2, 2):
        name, negated = next(choices)
        copy = slowly_moved(kernels[index], name) * (-3 if negated else 3)
        kernels[index + 1] = copy + amount * 3 * noise(copy.shape, seed + index + 1)
        done[index] = (name, negated)
    return kernels, done


@pytest.mark.parametrize("shape", [each for each in SHAPES if math.prod(each[1:]) > 4 and each[0] > 2])
@pytest.mark.parametrize("amount", [0.0, 0.02])
def test_planted_duplicates_are_found_and_only_those(shape: tuple[int, ...], amount: float) -> None:
    kernels, done = planted(shape, 11, amount)
    groups = find_duplicates(kernels, duplicate_threshold(shape))
    assert [group.members.tolist() for group in groups] == [[index, index + 1] for index in done]
    for group, (name, negated) in zip(groups, done.values(), strict=True):
        assert group.transforms == ("identity", name)
        assert group.negated.tolist() == [False, negated]
        assert group.similarity[0] == pytest.approx(1)
        if not amount:
            assert group.similarity[1] == pytest.approx(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_random_layers_hold_no_duplicates(shape: tuple[int, ...]) -> None:
    found = [
        find_duplicates(noise(shape, seed, uniform=uniform), duplicate_threshold(shape))
        for seed in range(10)
        for uniform in (False, True)
    ]
    # Chance leaves 0.05 a layer, so 1 in all of these; 6 or more have a probability of 0.0006.
    assert sum(len(groups) for groups in found) < 6


@given(st.integers(2, 12), st.sampled_from(SHAPES), st.integers(0, 99), st.sampled_from([0.3, 0.6, 0.9]))
@settings(max_examples=40)
def test_groups_against_plain_loops(count: int, shape: tuple[int, ...], seed: int, threshold: float) -> None:
    kernels = noise((count, *shape[1:]), seed)
    alike = np.zeros((count, count), np.bool_)
    for one, other in itertools.permutations(range(count), 2):
        for name in names_for(*shape[2:]):
            moved = slowly_moved(kernels[one], name)
            cosine = (moved * kernels[other]).sum() / np.linalg.norm(moved) / np.linalg.norm(kernels[other])
            alike[one, other] |= abs(cosine) > threshold
    groups = find_duplicates(kernels, threshold)
    seen: list[int] = []
    for group in groups:
        first, *others = group.members.tolist()
        assert all(alike[first, other] for other in others)
        assert others == sorted(others)
        seen += group.members.tolist()
    assert len(seen) == len(set(seen))
    # No pair is left over: each has a member in some group.
    assert all(one in seen or other in seen for one, other in np.argwhere(alike))
    check_groups(kernels, groups)


def check_groups(kernels: np.ndarray, groups: tuple) -> None:
    for group in groups:
        first = kernels[group.members[0]]
        rows = zip(group.members, group.transforms, group.negated, group.similarity, strict=True)
        for member, name, negated, similarity in rows:
            other = kernels[member]
            cosines = {
                each: (slowly_moved(first, each) * other).sum()
                / np.linalg.norm(first)
                / np.linalg.norm(other)
                for each in names_for(*kernels.shape[2:])
            }
            assert similarity == pytest.approx(max(map(abs, cosines.values())))
            assert cosines[name] * (-1 if negated else 1) == pytest.approx(similarity)


def test_the_kernel_with_most_likenesses_comes_first_and_chains_are_cut() -> None:
    angles = np.radians([0, 20, 40, 60, 150])
    kernels = np.stack([np.cos(angles), np.sin(angles)], axis=1)[:, :, None, None]
    groups = find_duplicates(kernels, math.cos(math.radians(25)))
    # 1 and 2 have two neighbors each; 3 resembles 2 alone, which is taken.
    assert [group.members.tolist() for group in groups] == [[1, 0, 2]]
    # 150 is -30 degrees the other way round: 30 away from 0, negated.
    groups = find_duplicates(kernels, math.cos(math.radians(31)))
    assert [group.members.tolist() for group in groups] == [[0, 1, 4], [2, 3]]
    assert groups[0].negated.tolist() == [False, False, True]
    assert groups[0].similarity == pytest.approx([1, math.cos(math.radians(20)), math.cos(math.radians(30))])


def test_more_kernels_than_a_block_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels, done = planted((60, 3, 3, 3), 5, 0.0)
    whole = find_duplicates(kernels, 0.95)
    monkeypatch.setattr("cnnviz_widgets.engine.duplicates._BLOCK", 7)
    assert find_duplicates(kernels, 0.95) == whole
    assert len(whole) == len(done)


def test_zero_kernels_have_no_direction() -> None:
    kernels = noise((6, 2, 3, 3))
    kernels[[1, 4]] = 0
    kernels[5] = kernels[0] * 1e-200
    (group,) = find_duplicates(kernels, 0.9)
    assert group.members.tolist() == [0, 5]
    assert find_duplicates(kernels, 0.9, counted=np.arange(6) < 5) == ()
    assert find_duplicates(np.zeros((3, 2, 3, 3)), 0.9) == ()


def test_a_threshold_of_one_finds_nothing() -> None:
    kernels = np.repeat(noise((1, 3, 3, 3)), 4, axis=0)
    assert find_duplicates(kernels, 1.0) == ()
    threshold = duplicate_threshold((4, 3, 3, 3), min_similarity=1)
    assert [group.members.tolist() for group in find_duplicates(kernels, threshold)] == [[0, 1, 2, 3]]


def test_a_symmetric_kernel_keeps_the_simplest_name() -> None:
    kernels = noise((4, 1, 3, 3))
    kernels[0] = kernels[0] + kernels[0, :, ::-1]
    kernels[2] = kernels[0]
    (group,) = find_duplicates(kernels, 0.999)
    assert group.transforms == ("identity", "identity")
    assert str(group) == "0 = 2 (identity, 1.000)"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: transformed(np.ones((2, 2)), "rotate 45"),
            "no transform is called 'rotate 45'; there are ident",
        ),
        (lambda: chance_similarity(0, 5), "entries from 1"),
        (lambda: chance_similarity(9, 5, expected=0), "expected number above 0"),
        (lambda: duplicate_threshold((4, 3, 3, 3), min_similarity=0), "above 0 and up to 1; got 0"),
        (lambda: duplicate_threshold((4, 3, 3, 3), min_similarity=1.5), "above 0 and up to 1; got 1.5"),
        (lambda: find_duplicates(np.ones((3, 3)), 0.9), r"\[O, I, kH, kW\]; got the shape \[3, 3\]"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
