"""Neighbors in a table, and how often they are of one class, against loops over all pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnviz_widgets as cv
from tests.small_networks import chain, small

DRAW = np.random.default_rng(0)


def table_of(vectors: np.ndarray, labels: Any = None, **parts: Any) -> cv.FeatureTable:
    """Return a table of given vectors; thumbnails of 2 x 2 pixels at random."""
    count = len(vectors)
    filled = {
        "vectors": vectors.astype(np.float32),
        "labels": np.full(count, -1) if labels is None else np.asarray(labels),
        "label_names": (),
        "ids": np.arange(count) * 2,
        "thumbnails": DRAW.integers(0, 256, (count, 2, 2, 3), dtype=np.uint8),
        "predicted": None,
        "confidence": None,
        "class_names": (),
        "layer": "fc",
        "pooling": "flatten",
        "skipped": 0,
        "skipped_reasons": (),
    }
    return cv.FeatureTable(**{**filled, **parts})


TABLE = table_of(DRAW.normal(size=(40, 6)), DRAW.integers(0, 3, 40))


def ranked(base: np.ndarray, query: np.ndarray, metric: str, without: int | None) -> list[int]:
    """Return the rows by rising distance, by its formula, pair by pair."""

    def distance(row: int) -> float:
        a, b = base[row].astype(float), query.astype(float)
        if metric == "euclidean":
            return float(((a - b) ** 2).sum() ** 0.5)
        return 1 - float(a @ b) / float((a @ a) ** 0.5 * (b @ b) ** 0.5)

    return sorted((row for row in range(len(base)) if row != without), key=distance)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("space", ["features", "pixels"])
def test_queries_by_row(space: str, metric: str) -> None:
    base = TABLE.vectors if space == "features" else TABLE.thumbnails.reshape(40, -1)
    rows = [7, 0, 39]
    found = cv.nearest_neighbors(TABLE, rows, k=4, metric=metric, space=space)
    for place, row in enumerate(rows):
        assert found.indices[place].tolist() == ranked(base, base[row], metric, row)[:4]
        single = cv.nearest_neighbors(TABLE, np.int64(row), k=4, metric=metric, space=space)
        np.testing.assert_array_equal(single.indices[0], found.indices[place])
    assert found.queries.tolist() == rows
    np.testing.assert_array_equal(found.labels, TABLE.labels[found.indices])
    np.testing.assert_array_equal(found.query_labels, TABLE.labels[rows])
    np.testing.assert_array_equal(found.pictures[:, 0], TABLE.thumbnails[rows])
    np.testing.assert_array_equal(found.pictures[:, 1:], TABLE.thumbnails[found.indices])
    for same in (tuple(rows), np.array(rows, dtype=np.uint8)):
        assert cv.nearest_neighbors(TABLE, same, k=4, metric=metric, space=space) == found


def test_all_others_can_be_asked_for_but_no_more() -> None:
    found = cv.nearest_neighbors(TABLE, 5, k=39)
    assert sorted(found.indices[0].tolist()) == [row for row in range(40) if row != 5]
    with pytest.raises(ValueError, match="got k=40; use k=39 or less"):
        cv.nearest_neighbors(TABLE, 5, k=40)
    assert cv.nearest_neighbors(TABLE, TABLE.vectors[5], k=40).indices[0, 0] == 5


def test_queries_by_vector_and_by_table() -> None:
    vectors = TABLE.vectors[3:6] + np.float32(0.01)
    found = cv.nearest_neighbors(TABLE, vectors, k=2)
    assert found.queries.tolist() == [-1] * 3
    for row, vector in enumerate(vectors):
        assert found.indices[row].tolist() == ranked(TABLE.vectors, vector, "cosine", None)[:2]
        for given in (vector, vector.astype(float).tolist()):
            assert cv.nearest_neighbors(TABLE, given, k=2).indices[0].tolist() == found.indices[row].tolist()
    other = table_of(vectors)
    by_table = cv.nearest_neighbors(TABLE, other, k=2)
    np.testing.assert_array_equal(by_table.indices, found.indices)
    np.testing.assert_array_equal(by_table.pictures[:, 0], other.thumbnails)
    with pytest.raises(ValueError, match=r"of layer 'conv' .* the table of 'fc'"):
        cv.nearest_neighbors(TABLE, replace(other, layer="conv"))


def test_queries_by_image() -> None:
    net = small(chain())
    images = [DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(12)]
    table = cv.extract_features(net, images, "more", pooling="flatten", thumbnail_size=4)
    for space in ("features", "pixels"):
        by_image = cv.nearest_neighbors(table, images[4:6], k=3, net=net, space=space)
        assert by_image.indices[:, 0].tolist() == [4, 5]
        np.testing.assert_allclose(by_image.distances[:, 0], 0, atol=1e-6)
        by_row = cv.nearest_neighbors(table, [4, 5], k=2, space=space)
        np.testing.assert_array_equal(by_image.indices[:, 1:], by_row.indices)
        np.testing.assert_array_equal(by_image.pictures[:, 0], table.thumbnails[4:6])


def test_zeros_are_said() -> None:
    vectors = DRAW.normal(size=(6, 4))
    vectors[[1, 4]] = 0
    found = cv.nearest_neighbors(table_of(vectors), 0, k=5)
    assert found.zero_vectors == 2
    assert "2 zero vectors at distance 1" in repr(found)
    np.testing.assert_array_equal(found.distances[0][np.isin(found.indices[0], [1, 4])], 1.0)
    assert "zero" not in repr(cv.nearest_neighbors(table_of(vectors), 0, k=5, metric="euclidean"))


def test_vectors_that_are_all_equal_are_said() -> None:
    found = cv.nearest_neighbors(table_of(np.ones((6, 4))), [2, 3], k=3)
    assert found.indices.tolist() == [[0, 1, 3], [0, 1, 2]]
    assert "all at distance 0: nothing tells them apart" in repr(found)
    assert "distance 0" not in repr(cv.nearest_neighbors(TABLE, 0))


def test_labels_that_are_no_numbers() -> None:
    with pytest.raises(TypeError, match=r"labels are an array of whole numbers, got .*<U1.*as label_names"):
        replace(TABLE, labels=np.array(["a"] * len(TABLE)))
    with pytest.raises(TypeError, match="labels are an array of whole numbers, got list"):
        replace(TABLE, labels=TABLE.labels.tolist())


def test_what_it_shows_is_text(tmp_path: Path) -> None:
    table = table_of(DRAW.normal(size=(4, 3)), [0, 0, 1, 1], label_names=("<img src=x>", "b & c"))
    found = cv.nearest_neighbors(table, [0, 1, 2], k=2)
    shown = found._repr_html_()
    assert "<img src=x>" not in shown
    assert "&lt;img src=x&gt;" in shown
    assert shown.count("data:image/png;base64,") == 9
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    bare = replace(table, thumbnails=np.zeros((4, 0, 0, 3), np.uint8))
    assert "data:image" not in cv.nearest_neighbors(bare, 0, k=2)._repr_html_()
    with pytest.raises(ValueError, match="no thumbnails"):
        cv.nearest_neighbors(bare, 0, k=2, space="pixels")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_agreement_against_a_loop(metric: str) -> None:
    found = cv.neighbor_agreement(TABLE, k=4, metric=metric)
    pixels = TABLE.thumbnails.reshape(40, -1)
    shares: dict[str, list[float]] = {"features": [], "pixels": [], "chance": []}
    for row, label in enumerate(TABLE.labels):
        for name, base in (("features", TABLE.vectors), ("pixels", pixels)):
            near = ranked(base, base[row], metric, row)[:4]
            shares[name].append(sum(TABLE.labels[each] == label for each in near) / 4)
        others = [TABLE.labels[each] == label for each in range(40) if each != row]
        shares["chance"].append(sum(others) / 39)
    for name, each in shares.items():
        assert getattr(found, name) == pytest.approx(np.mean(each), abs=1e-12)
        by_class = [np.mean(np.array(each)[TABLE.labels == label]) for label in (0, 1, 2)]
        np.testing.assert_allclose(getattr(found, f"class_{name}"), by_class, atol=1e-12)
    assert found.counts.tolist() == [(TABLE.labels == label).sum() for label in (0, 1, 2)]
    assert (found.images, found.k, found.class_names) == (40, 4, ("0", "1", "2"))
    assert f"{found.features:.1%}" in found.message


def test_features_agree_more_than_pixels() -> None:
    images, labels = cv.samples.fashion_mnist("test")
    table = cv.extract_features(cv.samples.fashion_cnn(), (images, labels), "fc1")
    found = cv.neighbor_agreement(table)
    assert found.chance < 0.11 < 0.6 < found.pixels < found.features - 0.1
    black = replace(table, thumbnails=np.zeros_like(table.thumbnails))
    assert "1000 pictures are all zeros" in cv.neighbor_agreement(black, k=1).message


def test_labels_that_are_missing() -> None:
    labels = TABLE.labels.copy()
    labels[[3, 9]] = -1
    with pytest.raises(ValueError, match="2 of 40 images have no label"):
        cv.neighbor_agreement(replace(TABLE, labels=labels))
    with pytest.raises(ValueError, match="a table of 1 image has no neighbors"):
        cv.neighbor_agreement(table_of(np.ones((1, 2)), [0]))
