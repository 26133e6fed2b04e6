"""The neighbor explorer without a page: what it shows against the method, walking, errors, saved states."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

import cnnviz_widgets as cv
from cnnviz_widgets.engine import nearest
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.widgets import neighbors as module

DRAW = np.random.default_rng(4)
CODES = DRAW.integers(0, 3, 30)
# Features lie by class, pixels do not.
TABLE = cv.FeatureTable(
    vectors=(np.eye(3)[CODES] + DRAW.normal(0, 0.4, (30, 3))).astype(np.float32),
    labels=CODES,
    label_names=("cat", "dog", "<b>owl</b>"),
    ids=np.arange(30),
    thumbnails=DRAW.integers(0, 256, (30, 8, 6, 3), dtype=np.uint8),
    predicted=None,
    confidence=None,
    class_names=(),
    layer="fc",
    pooling="flatten",
    skipped=0,
    skipped_reasons=(),
)


@pytest.fixture
def explorer() -> cv.NeighborExplorer:
    made = cv.NeighborExplorer(TABLE, 4, k=6)
    assert made.wait(60)
    return made


def _pick(explorer: cv.NeighborExplorer, space: str, tile: int) -> None:
    """Click a tile, as the page tells of it."""
    grid = explorer.parts.grids[space]
    grid._handle_custom_msg({"picked": tile, "serial": grid._serial}, [])
    assert explorer.wait(60)


def _ranked(space: str, query: int, metric: str) -> np.ndarray:
    base = TABLE.vectors if space == "features" else TABLE.thumbnails.reshape(30, -1)
    distances = cdist(base[[query]].astype(float), base.astype(float), metric)[0]
    distances[query] = np.inf
    return np.argsort(distances, kind="stable")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_it_shows_the_neighbors_that_a_plain_search_finds(metric: str) -> None:
    explorer = cv.NeighborExplorer(TABLE, 4, k=6, metric=metric)
    assert explorer.wait(60)
    assert explorer.params == {"query": 4, "k": 6, "metric": metric}
    assert explorer.result == cv.nearest_neighbors(TABLE, **explorer.params)
    assert explorer.pixels == cv.nearest_neighbors(TABLE, **explorer.params, space="pixels")
    for space, grid in explorer.parts.grids.items():
        rows = _ranked(space, 4, metric)[:6]
        np.testing.assert_array_equal(grid._payload().carried(), TABLE.thumbnails[rows])
        marks = ["same class" if CODES[row] == CODES[4] else "other class" for row in rows]
        assert [grid._badges[str(tile)] for tile in range(6)] == marks
        assert set(marks) <= set(grid._badge_colors)
        names = [TABLE.label_names[CODES[row]] for row in rows]
        assert [label.split(" \u00b7 ")[1] for label in grid._labels] == names
        distances = [float(label.split(" \u00b7 ")[0].replace(",", "")) for label in grid._labels]
        shown = explorer.result if space == "features" else explorer.pixels
        assert distances == pytest.approx(shown.distances[0], rel=0.005)
        assert f"{marks.count('same class')} of 6 same class" in explorer.parts.headings[space].value
    # Both kinds of neighbors are among them, or this test would tell little.
    assert len({*explorer.parts.grids["pixels"]._badges.values()}) == 2


def test_the_agreement_of_the_whole_table_stands_on_top(explorer: cv.NeighborExplorer) -> None:
    shares = {}
    for space in ("features", "pixels"):
        same = [np.mean(CODES[_ranked(space, row, "cosine")[:6]] == CODES[row]) for row in range(30)]
        shares[space] = np.mean(same)
    assert explorer.agreement is not None
    assert explorer.agreement.features == pytest.approx(shares["features"])
    assert explorer.agreement.pixels == pytest.approx(shares["pixels"])
    text = explorer.parts.agreement.value
    assert f"<td>{shares['features']:.1%}</td>" in text
    assert f"<td>{shares['pixels']:.1%}</td>" in text
    assert f"<td>{explorer.agreement.chance:.1%}</td>" in text


def test_a_picked_neighbor_becomes_the_query(explorer: cv.NeighborExplorer) -> None:
    assert explorer.pixels is not None
    chosen = int(explorer.pixels.indices[0, 2])
    _pick(explorer, "pixels", 2)
    assert explorer.query == chosen
    assert explorer.parts.query.value == chosen
    assert f"image {chosen}" in explorer.parts.picture.value
    assert explorer.result == cv.nearest_neighbors(TABLE, chosen, k=6)
    nearest = int(explorer.result.indices[0, 0])
    _pick(explorer, "features", 0)
    assert explorer.query == nearest


def test_back_and_forward_as_among_pages(explorer: cv.NeighborExplorer) -> None:
    back, forward = explorer.parts.back, explorer.parts.forward
    assert (back.disabled, forward.disabled) == (True, True)
    explorer.query = 10
    explorer.query = np.int64(20)
    assert isinstance(explorer.query, int)
    assert (back.disabled, forward.disabled) == (False, True)
    back.click()
    back.click()
    assert explorer.query == 4
    assert (back.disabled, forward.disabled) == (True, False)
    back.click()  # sent by the page before it knew
    assert explorer.query == 4
    forward.click()
    assert explorer.query == 10
    explorer.query = 7
    assert forward.disabled
    with pytest.raises(LookupError, match="no query after this one; 3 were visited"):
        explorer.forward()
    explorer.back()
    assert explorer.query == 10
    assert explorer.wait(60)
    assert explorer.result == cv.nearest_neighbors(TABLE, 10, k=6)
    # What is chosen besides does not count as a step.
    explorer.k = 3
    explorer.back()
    assert explorer.query == 4


def test_the_controls_and_the_traits_are_one(explorer: cv.NeighborExplorer) -> None:
    explorer.parts.k.value = 4
    explorer.parts.metric.value = "euclidean"
    explorer.parts.query.value = 11
    assert explorer.wait(60)
    assert explorer.params == {"query": 11, "k": 4, "metric": "euclidean"}
    assert explorer.result == cv.nearest_neighbors(TABLE, 11, k=4, metric="euclidean")
    assert explorer.agreement == cv.neighbor_agreement(TABLE, k=4, metric="euclidean")
    assert "4 nearest" in explorer.parts.agreement.value
    explorer.k = 29
    assert explorer.parts.k.value == 29
    assert explorer.wait(60)
    assert explorer.parts.grids["features"].count == 29


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("query", 30, LookupError, "row 30 is not in the table; its rows are 0 to 29"),
        ("query", -1, LookupError, "its rows are 0 to 29"),
        ("query", "cat", TypeError, "a row of the table, 0 to 29, got 'cat'"),
        ("query", True, TypeError, "got True"),
        ("k", 30, ValueError, "29 neighbors to find in a table of 30 images, got k=30"),
        ("k", 0, ValueError, "whole number from 1, got 0"),
        ("k", 2.5, ValueError, "got 2.5"),
        ("metric", "manhattan", ValueError, "'cosine' or 'euclidean', got 'manhattan'"),
    ],
)
def test_wrong_values_raise_and_change_nothing(
    explorer: cv.NeighborExplorer, name: str, value: Any, kind: type[Exception], said: str
) -> None:
    before, result = explorer.params, explorer.result
    with pytest.raises(kind, match=said):
        setattr(explorer, name, value)
    assert explorer.params == before
    assert explorer.result is result
    with pytest.raises(kind, match=said):
        cv.NeighborExplorer(TABLE, **{name: value})


def test_tables_that_can_t_be_shown_are_refused() -> None:
    with pytest.raises(TypeError, match=r"FeatureTable is needed \(cv.extract_features\), got ndarray"):
        cv.NeighborExplorer(TABLE.vectors)
    with pytest.raises(ValueError, match="no thumbnails"):
        cv.NeighborExplorer(replace(TABLE, thumbnails=np.zeros((30, 0, 0, 3), np.uint8)))
    spoiled = TABLE.vectors.copy()
    spoiled[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or infinity in row 3"):
        cv.NeighborExplorer(replace(TABLE, vectors=spoiled))


def test_images_without_labels_have_neighbors_but_no_agreement() -> None:
    codes = CODES.copy()
    codes[[4, 9]] = -1
    explorer = cv.NeighborExplorer(replace(TABLE, labels=codes), 4, k=29)
    assert explorer.wait(60)
    assert set(explorer.parts.grids["features"]._badges.values()) == {"no label"}
    assert explorer.agreement is None
    assert "2 of 30 images have no label" in explorer.parts.agreement.value
    explorer.query = 0
    assert explorer.wait(60)
    assert list(explorer.parts.grids["features"]._badges.values()).count("no label") == 2
    assert "2 no label" in explorer.parts.headings["features"].value


def test_images_are_called_by_their_place_in_the_data_set_and_their_file() -> None:
    names = tuple(f"/pets/{row}<b>.png" for row in range(30))
    table = replace(TABLE, ids=np.arange(30) + 3, names=names, labels=np.full(30, -1))
    explorer = cv.NeighborExplorer(table, 4, k=2)
    assert "image 7 (4&lt;b&gt;.png), row 4 of the table: no label" in explorer.parts.picture.value
    assert explorer.result is not None
    row, distance = explorer.result.indices[0, 0], explorer.result.distances[0, 0]
    called = f"image {row + 3} ({row}<b>.png)"
    assert explorer.parts.grids["features"]._labels[0] == f"{distance:.3g} \u00b7 #{called[6:]}"
    assert f"by features: {called}: no label, {distance:.3g}, image" in explorer.to_text()


def test_a_large_table_is_not_counted_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGREEMENT_IMAGES", 29)
    explorer = cv.NeighborExplorer(TABLE)
    assert explorer.wait(60)
    assert explorer.agreement is None
    assert (
        "cv.neighbor_agreement(table, k=5, metric=&#x27;cosine&#x27;) tells" in explorer.parts.agreement.value
    )
    assert explorer.result is not None


class SlowCount:
    """The count of the agreement, which can be held after its first step, and tells what was asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.calls: list[dict[str, Any]] = []
        self.taken = 0
        monkeypatch.setattr(module, "neighbor_agreement", self)
        # One query at a time: a block of so few values holds no two.
        monkeypatch.setattr(nearest, "_BLOCK_VALUES", 1)

    def steps(self, table: cv.FeatureTable, **options: Any) -> Generator[Step, None, cv.NeighborAgreement]:
        self.calls.append(options)
        steps = cv.neighbor_agreement.steps(table, **options)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: cv.NeighborAgreement = end.value
                return found
            assert step == Step(self.taken, 60)
            self.taken += 1
            self.begun.set()
            assert self.go_on.wait(60)
            yield step


def test_a_slow_count_is_made_once_and_holds_up_no_click(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = cv.NeighborExplorer(TABLE, k=3)
    assert explorer.wait(60)
    count = SlowCount(monkeypatch)
    explorer.k = 5
    assert count.begun.wait(60)
    found = threading.Event()
    explorer.parts.grids["features"].observe(lambda change: found.set(), "_serial")
    explorer.query = 12
    assert found.wait(60)
    assert explorer.agreement is None
    assert "Counting" in explorer.parts.agreement.value
    count.go_on.set()
    assert explorer.wait(60)
    assert explorer.agreement == cv.neighbor_agreement(TABLE, k=5)
    assert "5 nearest" in explorer.parts.agreement.value
    # The count that the click ended went on where it was.
    assert (count.calls, count.taken) == ([{"k": 5, "metric": "cosine"}], 60)
    assert explorer.result == cv.nearest_neighbors(TABLE, 12, k=5)


def test_a_widget_is_there_before_its_count_and_takes_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    count = SlowCount(monkeypatch)
    monkeypatch.setattr(module, "_COUNT_SECONDS", 0.01)
    explorer = cv.NeighborExplorer(TABLE, 4)
    assert explorer.result == cv.nearest_neighbors(TABLE, 4)
    assert count.begun.wait(60)
    job = explorer._job
    assert job is not None
    explorer.close()
    count.go_on.set()
    assert job.wait(60)
    assert (job.state, count.taken, explorer.agreement) == ("stopped", 1, None)


def test_a_search_that_fails_is_shown_and_leaves_nothing_old(
    explorer: cv.NeighborExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any, **options: Any) -> None:
        raise MemoryError("no <room>")

    with monkeypatch.context() as patched:
        patched.setattr(module, "nearest_neighbors", full)
        explorer.query = 8
        assert explorer.wait(60)
    assert "no &lt;room&gt;" in explorer.status.value
    assert [grid.count for grid in explorer.parts.grids.values()] == [0, 0]
    assert explorer.to_png() is None
    assert "not found yet" in explorer.to_text()
    explorer.query = 9
    assert explorer.wait(60)
    assert "room" not in explorer.status.value
    assert explorer.parts.grids["features"].count == 6


def test_labels_are_text_and_viewers_without_widgets_see_it_too(explorer: cv.NeighborExplorer) -> None:
    explorer.query = int(np.flatnonzero(CODES == 2)[0])
    assert explorer.wait(60)
    for text in (explorer.parts.picture, explorer.parts.agreement, *explorer.parts.headings.values()):
        assert "<b>owl" not in text.value
    assert "&lt;b&gt;owl" in explorer.parts.picture.value
    assert explorer.result is not None
    assert explorer.pixels is not None
    with Image.open(io.BytesIO(explorer.to_png() or b"")) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # Two rows of seven, each thumbnail of 8 x 6 eight times as large, two pixels apart.
    assert pixels.shape == (2 * 64 + 2, 7 * 48 + 6 * 2, 3)
    last = TABLE.thumbnails[explorer.pixels.indices[0, 5]]
    np.testing.assert_array_equal(pixels[-64::8, -48::8], last)
    said = explorer.to_text()
    assert f"image {explorer.result.indices[0, 0]}: " in said
    assert f"{explorer.agreement.features:.1%}" in said  # type: ignore[union-attr]
