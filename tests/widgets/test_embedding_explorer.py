"""The embedding explorer without a page: its maps against the method, the course of a run, what is chosen, errors."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ipywidgets.embed import dependency_state
from PIL import Image

import cnnviz_widgets as cv
from cnnviz_widgets.engine import nearest, tsne_steps
from cnnviz_widgets.engine.stream import StopEarly, streamed
from cnnviz_widgets.widgets import embedding as module
from cnnviz_widgets.widgets._embedding_classes import Chosen
from cnnviz_widgets.widgets._embedding_parts import time_text

DRAW = np.random.default_rng(4)
CODES = DRAW.integers(0, 3, 40)
TOLD = np.where(np.arange(40) % 8 == 0, (CODES + 1) % 3, CODES)
NAMES = ("cat", "dog", "<b>owl</b>")
TABLE = cv.FeatureTable(
    vectors=(5 * np.eye(6)[CODES] + DRAW.normal(size=(40, 6))).astype(np.float32),
    labels=CODES,
    label_names=NAMES,
    ids=np.arange(40),
    thumbnails=DRAW.integers(0, 256, (40, 8, 6, 3), dtype=np.uint8),
    predicted=TOLD,
    confidence=DRAW.random(40).astype(np.float32),
    class_names=NAMES,
    layer="fc",
    pooling="flatten",
    skipped=0,
    skipped_reasons=(),
)
SOON = 60.0


class Gate:
    """Lets t-SNE take one step at a time: a run waits before each until it is let go."""

    def __init__(self) -> None:
        self.passes = threading.Semaphore(0)

    def let(self, steps: int) -> None:
        self.passes.release(steps)

    def __call__(self, table: Any, **options: Any) -> Iterator[cv.Step]:
        steps = embed_steps(table, **options)
        if options.get("method") != "tsne":
            return (yield from steps)
        try:
            while True:
                assert self.passes.acquire(timeout=SOON)
                try:
                    step = next(steps)
                except StopIteration as end:
                    return end.value
                try:
                    yield step
                except StopEarly as stop:
                    try:
                        steps.throw(stop)
                    except StopIteration as end:
                        return end.value
        finally:
            steps.close()


embed_steps = cv.embed.steps


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(module, "embed", streamed(gate.__call__))
    yield gate
    gate.let(10_000)


def explorer_of(table: Any = TABLE, **options: Any) -> cv.EmbeddingExplorer:
    made = cv.EmbeddingExplorer(table, **{"iterations": 60, **options})
    assert made.wait(SOON)
    return made


def until(explorer: cv.EmbeddingExplorer, true: Callable[[], bool]) -> None:
    """Wait until a heading of t-SNE says so."""
    said = threading.Event()
    check = lambda change=None: true() and said.set()  # noqa: E731
    explorer.parts.headings["tsne"].observe(check, "value")
    check()
    assert said.wait(SOON)


def test_both_maps_are_those_of_the_method() -> None:
    explorer = explorer_of(perplexity=7, seed=3)
    assert explorer.params == {"method": "tsne", "perplexity": 7.0, "iterations": 60, "seed": 3}
    assert explorer.result == cv.embed(TABLE, **explorer.params)
    assert explorer.pca == cv.embed(TABLE)
    np.testing.assert_array_equal(explorer.parts.map.points, explorer.pca.points.astype(np.float32))
    np.testing.assert_array_equal(explorer.parts.linked.points, explorer.result.points.astype(np.float32))
    assert explorer.state == "done"
    left, right = (explorer.parts.headings[name].value for name in ("pca", "tsne"))
    across, up = explorer.pca.explained_variance_ratio
    assert f"of the variance: {across:.1%} left to right, {up:.1%} upwards" in left
    assert f"{explorer.pca.trustworthiness:.3f}" in left
    assert f"{explorer.result.trustworthiness:.3f}" in right
    assert f"60 iterations, KL divergence {explorer.result.kl_divergence:.3f}" in right
    assert "perplexity 7, seed 3" in right
    text = explorer.parts.map.to_text()
    assert "3 classes, 35 of 40 predictions right" in text
    explorer.parts.map.color_by = "value"
    assert explorer.parts.map.value_name == "confidence"


def test_a_run_is_watched_paused_resumed_and_stopped(gate: Gate) -> None:
    explorer = cv.EmbeddingExplorer(TABLE, iterations=60)
    parts = explorer.parts
    assert (explorer.state, explorer.result) == ("running", None)
    # Before the first step there is nothing to see, and another run would only get in the way.
    assert "looking for neighbors" in parts.headings["tsne"].value
    assert (parts.run.disabled, parts.pause.disabled, parts.stop.disabled) == (True, False, False)
    np.testing.assert_array_equal(parts.linked.points, explorer.pca.points.astype(np.float32))
    gate.let(1)
    until(explorer, lambda: "iteration 10 of 60" in parts.headings["tsne"].value)
    steps = embed_steps(TABLE, **explorer.params)
    first = next(steps)
    np.testing.assert_array_equal(parts.linked.points, first.values["points"].astype(np.float32))
    assert f"KL divergence {first.values['kl_divergence']:.3f}" in parts.headings["tsne"].value
    assert "12 times as hard" in parts.headings["tsne"].value
    assert " s left" in parts.headings["tsne"].value
    assert not parts.run.disabled

    parts.pause.click()
    assert explorer.state == "paused"
    assert parts.pause.description == "Resume"
    gate.let(1)  # the step that it was at
    until(explorer, lambda: "iteration 20 of 60" in parts.headings["tsne"].value)
    gate.let(10)
    assert not explorer.wait(0.2)
    assert "paused" in parts.headings["tsne"].value
    assert "iteration 20 of 60" in parts.headings["tsne"].value
    parts.stop.click()
    assert explorer.wait(SOON)
    assert explorer.state == "stopped"
    assert explorer.result is not None
    assert explorer.result.iterations_done == 20
    next(steps)
    assert explorer.result == cv.embed.finish(steps)
    assert "stopped after 20 of 60 iterations" in parts.headings["tsne"].value
    assert "stopped after 20 of 60 iterations" in explorer.to_text()
    np.testing.assert_array_equal(parts.linked.points, explorer.result.points.astype(np.float32))
    assert (parts.pause.disabled, parts.stop.disabled, parts.run.disabled) == (True, True, False)

    parts.run.click()
    assert (explorer.state, explorer.result) == ("running", None)
    parts.pause.click()
    parts.pause.click()
    gate.let(100)
    assert explorer.wait(SOON)
    assert explorer.result == cv.embed(TABLE, **explorer.params)


def test_what_is_chosen_counts_with_the_next_run() -> None:
    explorer = explorer_of()
    # No more than 3 x 13 neighbors each are there to look at.
    assert explorer.perplexity == 13
    before, result = explorer.params, explorer.result
    assert explorer.parts.run.button_style == ""
    explorer.parts.perplexity.value = 5
    explorer.parts.seed.value = 2
    assert (explorer.perplexity, explorer.seed) == (5, 2)
    assert explorer.params == before
    assert explorer.result is result
    assert explorer.parts.run.button_style == "primary"
    explorer.parts.run.click()
    assert explorer.parts.run.button_style == ""
    assert explorer.wait(SOON)
    assert explorer.params == {**before, "perplexity": 5, "seed": 2}
    assert explorer.result == cv.embed(TABLE, **explorer.params) != result
    explorer.iterations = np.int64(30)
    assert explorer.parts.iterations.value == 30


def test_a_search_for_neighbors_can_be_stopped(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsne_steps, "_SEARCH_STEP", 400)
    monkeypatch.setattr(nearest, "_BLOCK_VALUES", 400)  # ten queries at a time
    explorer = cv.EmbeddingExplorer(TABLE, iterations=60)
    parts = explorer.parts
    gate.let(2)
    until(explorer, lambda: "done for 20 images" in parts.headings["tsne"].value)
    assert parts.run.disabled
    assert "0 of 60 iterations" in explorer.to_text()
    parts.stop.click()
    gate.let(1)
    assert explorer.wait(SOON)
    assert (explorer.state, explorer.result) == ("ended", None)
    np.testing.assert_array_equal(parts.linked.points, explorer.pca.points.astype(np.float32))
    parts.run.click()
    gate.let(100)
    assert explorer.wait(SOON)
    monkeypatch.undo()
    assert explorer.result == cv.embed(TABLE, **explorer.params)


def test_closing_or_a_new_run_of_the_cell_ends_the_run(gate: Gate) -> None:
    for end in ("close", "stop_job"):
        explorer = cv.EmbeddingExplorer(TABLE, iterations=60)
        job = explorer._job
        assert job is not None
        explorer.pause()
        getattr(explorer, end)()
        assert explorer.state == "ended"
        gate.let(1)
        assert job.wait(SOON)
        assert explorer.result is None
        assert "ended before there was a map" in explorer.parts.headings["tsne"].value


def test_a_run_that_fails_is_shown_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    explorer = explorer_of()
    points = explorer.parts.linked.points

    def full(*arguments: Any, **options: Any) -> Iterator[cv.Step]:
        raise MemoryError("no <room>")
        yield

    with monkeypatch.context() as patched:
        patched.setattr(module, "embed", streamed(full))
        explorer.run()
        assert explorer.wait(SOON)
    assert explorer.state == "failed"
    assert "no &lt;room&gt;" in explorer.status.value
    np.testing.assert_array_equal(explorer.parts.linked.points, points)
    explorer.run()
    assert explorer.wait(SOON)
    assert explorer.state == "done"
    assert "room" not in explorer.status.value


def test_the_selection_is_shown_and_counted() -> None:
    explorer = explorer_of()
    rows = [8, 3, 16, 30, 31]
    explorer.parts.map.selected = rows  # as the page does
    assert explorer.selected == rows
    grid = explorer.parts.grid
    np.testing.assert_array_equal(grid._payload().carried(), TABLE.thumbnails[rows])
    assert grid._labels == [f"{NAMES[CODES[row]]} \u00b7 #{row}" for row in rows]
    assert list(grid._badges.values()) == ["right" if row % 8 else "wrong" for row in rows]
    said = explorer.parts.chosen.value
    assert "<b>5 selected</b>" in said
    for code, name in enumerate(["cat", "dog", "&lt;b&gt;owl&lt;/b&gt;"]):
        mine = [row for row in rows if CODES[row] == code]
        wrong = sum(row % 8 == 0 for row in mine)
        row = f'<th scope="row">{name}</th><td>{len(mine)}</td><td>{f"{wrong} wrong" if wrong else ""}</td>'
        assert (row in said) == bool(mine)
    grid.selected = 2
    assert explorer.current == explorer.parts.map.current == 16
    explorer.selected = np.array([5])
    assert explorer.parts.map.selected == [5]
    explorer.selected = []
    assert (explorer.parts.chosen.value, grid.count, grid.layout.display) == ("", 0, "none")


def test_of_many_and_large_ones_some_are_shown_and_smaller() -> None:
    pictures = DRAW.integers(0, 256, (300, 64, 40, 3), dtype=np.uint8)
    codes = np.arange(300) % 20
    many = replace(
        TABLE,
        vectors=DRAW.normal(size=(300, 6)).astype(np.float32),
        labels=codes,
        label_names=(),
        ids=np.arange(300),
        thumbnails=pictures,
        predicted=None,
        confidence=None,
        class_names=(),
    )
    explorer = explorer_of(many, iterations=10)
    explorer.selected = range(1, 300)
    tiles = explorer.parts.grid._payload().carried()
    assert tiles.shape == (96, 32, 20, 3)
    rows = [round(1 + 298 * place / 95) for place in range(96)]
    expected = pictures[rows].reshape(96, 32, 2, 20, 2, 3).mean(axis=(2, 4))
    assert np.abs(tiles - expected).max() <= 0.5
    assert explorer.parts.grid._labels == [f"{codes[row]} \u00b7 #{row}" for row in rows]
    assert "96 of them, evenly chosen, are shown" in explorer.parts.chosen.value
    assert "and 8 more classes" in explorer.parts.chosen.value
    state = json.dumps(dependency_state([explorer], drop_defaults=False))
    assert len(state) < 4_000_000


def test_gray_pictures_travel_as_gray_ones() -> None:
    gray = np.repeat(TABLE.thumbnails[..., :1], 3, axis=3)
    explorer = explorer_of(replace(TABLE, thumbnails=gray), iterations=1)
    explorer.selected = [4]
    np.testing.assert_array_equal(explorer.parts.grid._payload().carried(), gray[[4]])
    page = Image.open(io.BytesIO(explorer.parts.map._pages[0])).convert("RGB")
    tile = np.asarray(page)[:8, :6]
    np.testing.assert_array_equal(tile, gray[0])


def test_the_saved_state_of_the_largest_table_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 50_000
    some = DRAW.integers(0, 256, (50, 32, 32, 3), np.uint8)  # noise: nothing compresses worse
    codes = DRAW.integers(0, 10, count)
    table = replace(
        TABLE,
        vectors=DRAW.normal(size=(count, 2)).astype(np.float32),
        labels=codes,
        label_names=tuple("abcdefghij"),
        ids=np.arange(count),
        thumbnails=some[np.arange(count) % 50],
        predicted=codes,
        confidence=DRAW.random(count).astype(np.float32),
        class_names=tuple("abcdefghij"),
    )
    monkeypatch.setattr(cv.EmbeddingExplorer, "run", lambda self: None)  # that would take minutes
    explorer = cv.EmbeddingExplorer(table)
    explorer.selected = range(count)
    assert len(json.dumps(dependency_state([explorer], drop_defaults=False))) < 4_000_000
    assert "keep a saved notebook small" in explorer.parts.map.note


def test_tables_that_lack_something_say_so() -> None:
    bare = explorer_of(TABLE.vectors)
    assert bare.parts.map.to_text() == "EmbeddingMap: 40 points"
    bare.selected = [1, 2]
    assert bare.parts.chosen.value == "<p><b>2 selected</b></p>"
    assert bare.parts.grid.count == 0
    unlabeled = replace(TABLE, labels=np.full(40, -1), label_names=())
    explorer = explorer_of(unlabeled)
    assert explorer.parts.map.color_by == "prediction"
    explorer.selected = [0, 1]
    assert "by what the network takes them for" in explorer.parts.chosen.value
    assert explorer.parts.grid._labels == ["#0", "#1"]
    assert explorer.parts.grid._badges == {}
    for table, said in (
        (TABLE.vectors, "bare vectors"),
        (unlabeled, "no labels"),
        (replace(TABLE, predicted=None, confidence=None), "predictions=True"),
        (replace(TABLE, thumbnails=np.zeros((40, 0, 0, 3), np.uint8)), "thumbnail_size=32"),
    ):
        assert said in explorer_of(table, iterations=1).children[-1].value
    loss = explorer_of(TABLE.vectors, values=np.arange(40.0), value_name="loss", color_by="value")
    assert "colored by loss" in loss.parts.map.to_text()


def test_labels_and_predictions_are_compared_in_the_same_names() -> None:
    numbers = explorer_of(replace(TABLE, label_names=()))
    assert "35 of 40 predictions right" in numbers.parts.map.to_text()
    unnamed = explorer_of(replace(TABLE, label_names=(), class_names=()))
    assert "35 of 40 predictions right" in unnamed.parts.map.to_text()
    strange = explorer_of(replace(TABLE, class_names=("n01", "n<b>", "n03")))
    assert "predictions" not in strange.parts.map.to_text()
    note = strange.children[-1].value
    assert "The data set calls its classes" in note
    assert "n&lt;b&gt;" in note
    assert "labels=[...]" in note


@pytest.mark.parametrize(
    ("name", "value", "kind", "said"),
    [
        ("perplexity", 14, ValueError, "14 is too large for 40 images; use 13 or less"),
        ("perplexity", "many", ValueError, "a number from 1, got 'many'"),
        ("iterations", 0, ValueError, "whole number from 1, got 0"),
        ("iterations", 2**40, ValueError, "at most"),
        ("seed", -1, ValueError, "whole number from 0, got -1"),
        ("selected", [40], IndexError, "lies in 0 ... 39; got 40"),
        ("selected", "cat", TypeError, "list of point indices; got 'cat'"),
        ("current", 40, IndexError, "lies in 0 ... 39; got 40"),
    ],
)
def test_wrong_values_raise_and_change_nothing(
    name: str, value: Any, kind: type[Exception], said: str
) -> None:
    explorer = explorer_of(iterations=1)
    before, result = getattr(explorer, name), explorer.result
    with pytest.raises(kind, match=said):
        setattr(explorer, name, value)
    assert getattr(explorer, name) == before
    assert explorer.result is result
    if name in explorer.params:
        with pytest.raises(kind, match=said):
            cv.EmbeddingExplorer(TABLE, **{name: value})


def test_tables_that_can_t_be_shown_are_refused() -> None:
    spoiled = TABLE.vectors.copy()
    spoiled[3, 1] = np.nan
    for table, kind, said in (
        ([1, 2], TypeError, "FeatureTable .* or an array"),
        (spoiled, ValueError, "NaN or infinity in row 3"),
        (TABLE.vectors[:0], ValueError, "one at least"),
        (TABLE.vectors[:3], ValueError, "t-SNE needs four images or more"),
        (np.ones((9, 4)), ValueError, "all 9 vectors are equal"),
        (TABLE.vectors[:, :1], ValueError, "plot that value itself"),
    ):
        with pytest.raises(kind, match=said):
            cv.EmbeddingExplorer(table)
    with pytest.raises(ValueError, match="expected one value a point"):
        cv.EmbeddingExplorer(TABLE, values=[1.0, 2.0])
    with pytest.raises(ValueError, match="can be colored by 'none'"):
        cv.EmbeddingExplorer(TABLE.vectors, color_by="label")
    with pytest.raises(ValueError, match="at most 50,000 images, got 50,001"):
        cv.EmbeddingExplorer(np.zeros((50_001, 2)))


def test_viewers_without_widgets_see_it_too() -> None:
    explorer = explorer_of()
    with Image.open(io.BytesIO(explorer.to_png())) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    halves = [
        np.asarray(Image.open(io.BytesIO(each.to_png())).convert("RGB"))
        for each in (explorer.parts.map, explorer.parts.linked)
    ]
    # Below a line with their titles: black letters on white, others on the right than on the left.
    np.testing.assert_array_equal(pixels[28:], np.concatenate(halves, axis=1))
    titles = np.split(pixels[:28], 2, axis=1)
    assert all(each.min() < 50 and each.max() == 255 for each in titles)
    assert (titles[0] != titles[1]).any()
    assert (halves[0] != halves[1]).any()
    said = explorer.to_text()
    assert "40 images of layer fc" in said
    assert explorer.pca.message in said
    assert explorer.result is not None
    assert explorer.result.message in said
    assert "colored by label" in said
    # A mask of the table selects as its rows do.
    explorer.selected = TABLE.labels == 1
    assert explorer.selected == np.flatnonzero(CODES == 1).tolist()
    wrong = sum(row % 8 == 0 for row in explorer.selected)
    count = f"{len(explorer.selected)} {NAMES[1]}" + (f" ({wrong} wrong)" if wrong else "")
    assert explorer.to_text().endswith(f"\n{len(explorer.selected)} selected: {count}")
    with pytest.raises(ValueError, match=r"a mask of points has the shape \[40\]; got \[39\]"):
        explorer.selected = TABLE.labels[1:] == 1
    assert repr(explorer) == "<EmbeddingExplorer: 40 images of layer fc>"


def test_images_keep_the_number_and_the_file_that_the_data_set_gave_them() -> None:
    names = tuple(f"/pets/{row}\n<b>.png" for row in range(40))
    explorer = explorer_of(
        replace(TABLE, ids=np.arange(40) + 3, names=names, class_names=("cat", "dog", "yak"))
    )
    chart = explorer.parts.map
    assert np.frombuffer(chart._ids, "<u4").tolist() == list(range(3, 43))
    assert chart._names[5] == "5 <b>.png"
    explorer.selected = [5]
    assert explorer.parts.grid._labels[0].endswith(" \u00b7 #8 5 <b>.png")
    # The network knows no owl: it is neither right nor wrong about any.
    assert [chart._class_names[code] for code in chart._unjudged] == ["<b>owl</b>"]
    judged = [row for row in range(40) if CODES[row] != 2]
    assert f"of {len(judged)} predictions right" in chart.to_text()
    right = [Chosen(explorer.parts.subjects, []).right(row) for row in range(40)]
    assert [row for row in range(40) if right[row] is not None] == judged


def test_other_images_are_shown_among_these() -> None:
    explorer = explorer_of()
    new = replace(
        TABLE,
        **{
            name: getattr(TABLE, name)[:3] for name in ("vectors", "labels", "ids", "predicted", "confidence")
        },
        thumbnails=TABLE.thumbnails[37:],
        names=("a.png", "b.png", "c.png"),
    )
    for on, chart in (("tsne", explorer.result), ("pca", explorer.pca)):
        assert chart is not None
        placed = explorer.place(new, on)
        expected = np.concatenate([chart.points, chart.transform(new)]).astype(np.float32)
        np.testing.assert_array_equal(placed.points, expected)
        assert (placed.selected, placed._names[39:41]) == ([40, 41, 42], ["", "new a.png"])
        assert np.frombuffer(placed._ids, "<u4").tolist() == [*range(40), 0, 1, 2]
    bare = explorer.place(TABLE.vectors[:2])
    assert (bare.count, bare._pages) == (42, [])
    with pytest.raises(ValueError, match="'tsne' or 'pca', got 'umap'"):
        explorer.place(new, "umap")
    explorer.run()
    explorer.stop_job()
    with pytest.raises(ValueError, match="no t-SNE map yet"):
        explorer.place(new)


def test_times_in_words() -> None:
    assert [time_text(seconds) for seconds in (0, 59.4, 61, 7205)] == [
        "1 s",
        "59 s",
        "1 min 1 s",
        "2 h 0 min",
    ]
