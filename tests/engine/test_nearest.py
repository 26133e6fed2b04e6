"""The nearest vectors, against a loop over all pairs and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from cnnviz_widgets.engine import nearest as module
from cnnviz_widgets.engine.nearest import nearest

DRAW = np.random.default_rng(0)
CLOUD = DRAW.normal(size=(60, 7)).astype(np.float32)
# Many equal rows, rows that differ in length alone, and rows of zeros.
ALIKE = np.concatenate([CLOUD[:20], CLOUD[:10], CLOUD[:5], 2 * CLOUD[:8], np.zeros((3, 7), np.float32)])
# Far from the origin, where the difference of two products loses nearly all digits.
FAR = (CLOUD + 1e5).astype(np.float32)
TABLES = {"cloud": CLOUD, "alike": ALIKE, "far": FAR, "pixels": (CLOUD * 60 + 128).astype(np.uint8)}


def distance(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    """Return the distance by its formula, in exact sums of Python's floats."""
    a, b = a.astype(float).tolist(), b.astype(float).tolist()
    if metric == "euclidean":
        return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    lengths = math.hypot(*a) * math.hypot(*b)
    return 1 - math.fsum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 1.0


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("own", [True, False])
def test_against_a_loop(kind: str, metric: str, own: bool) -> None:
    base = TABLES[kind]
    queries = base if own else base[::-1][:9] * 0.5
    excluded = np.arange(len(base)) if own else None
    indices, distances = nearest(base, queries, 6, metric=metric, excluded=excluded)
    slack = 1e-9 if metric == "euclidean" else 1e-12
    for row, query in enumerate(queries):
        all_of_them = [distance(query, each, metric) for each in base]
        others = [each for each in range(len(base)) if not (own and each == row)]
        order = sorted(others, key=lambda each: (all_of_them[each], each))[:6]
        np.testing.assert_allclose(
            distances[row], [all_of_them[each] for each in order], atol=slack, rtol=1e-9
        )
        if metric == "euclidean":  # where equal rows are exactly equal, in the loop as well
            assert indices[row].tolist() == order
        assert not own or row not in indices[row]
        assert len(set(indices[row].tolist())) == 6


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_against_scikit_learn(metric: str) -> None:
    base = DRAW.normal(size=(500, 40))
    found = (
        NearestNeighbors(n_neighbors=9, metric=metric, algorithm="brute")
        .fit(base)
        .kneighbors(base[:50] + 0.1)
    )
    indices, distances = nearest(base, base[:50] + 0.1, 9, metric=metric)
    np.testing.assert_array_equal(indices, found[1])
    np.testing.assert_allclose(distances, found[0], atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_ties_go_to_the_lower_row(metric: str) -> None:
    base = np.repeat(CLOUD[:2], 40, axis=0)[DRAW.permutation(80)]
    indices, distances = nearest(base, base, 10, metric=metric, excluded=np.arange(80))
    for row in range(80):
        same = [each for each in range(80) if each != row and (base[each] == base[row]).all()]
        assert indices[row].tolist() == same[:10]
    assert not distances.any()


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_blocks_make_no_difference(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = nearest(ALIKE, ALIKE, 5, metric=metric, excluded=np.arange(len(ALIKE)))
    for values in (1, 50, 333):
        monkeypatch.setattr(module, "_BLOCK_VALUES", values)
        cut = nearest(ALIKE, ALIKE, 5, metric=metric, excluded=np.arange(len(ALIKE)))
        assert [each.tobytes() for each in cut] == [each.tobytes() for each in whole]
        assert module.is_zero(ALIKE).sum() == 3


def test_zeros_are_at_distance_one_by_cosine() -> None:
    _, distances = nearest(ALIKE, np.zeros((1, 7)), len(ALIKE), metric="cosine")
    np.testing.assert_allclose(distances, 1, atol=1e-12)
    indices, distances = nearest(ALIKE, CLOUD[:1], len(ALIKE), metric="cosine")
    np.testing.assert_allclose(distances[0][indices[0] >= len(ALIKE) - 3], 1, atol=1e-12)


def test_tiny_and_huge_vectors_have_a_direction() -> None:
    small = nearest(CLOUD * np.float32(1e-30), CLOUD[:3] * 1e-30, 4, metric="cosine")
    large = nearest(CLOUD * np.float32(1e30), CLOUD[:3] * 1e30, 4, metric="cosine")
    plain = nearest(CLOUD, CLOUD[:3], 4, metric="cosine")
    for each in (small, large):
        np.testing.assert_array_equal(each[0], plain[0])
        np.testing.assert_allclose(each[1], plain[1], atol=1e-6)
