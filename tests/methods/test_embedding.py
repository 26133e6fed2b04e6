"""Maps of a data set: PCA against its formula, t-SNE against openTSNE's own course and the exact divergence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openTSNE
import pytest
import torch
from openTSNE.affinity import PerplexityBasedNN
from sklearn.manifold import trustworthiness

import cnnviz_widgets as cv
from cnnviz_widgets.engine import tsne
from cnnviz_widgets.methods import embedding
from tests.methods.test_neighbors import table_of

DRAW = np.random.default_rng(0)
CENTERS = DRAW.normal(size=(4, 8)) * 6
CLASSES = np.arange(120) % 4
VECTORS = (CENTERS[CLASSES] + DRAW.normal(size=(120, 8))).astype(np.float32)
TABLE = table_of(VECTORS, CLASSES)
NEW = (CENTERS[CLASSES[:12]] + DRAW.normal(size=(12, 8))).astype(np.float32)


def tsne_map(vectors: Any = TABLE, **options: Any) -> cv.Embedding:
    return cv.embed(vectors, **{"method": "tsne", "perplexity": 12, "iterations": 150, **options})


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("solver", ["full", "arpack"])
def test_pca_against_its_formula(solver: str, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "_FULL_DECOMPOSITION", 1e10 if solver == "full" else 0)
    vectors = VECTORS[:20] @ DRAW.normal(size=(8, 50)).astype(np.float32) if wide else VECTORS
    found = cv.embed(vectors)
    centered = vectors.astype(float) - vectors.astype(float).mean(axis=0)
    values, axes = np.linalg.eigh(centered.T @ centered / (len(vectors) - 1))
    for place in (0, 1):
        axis = axes[:, -1 - place]
        axis = axis * np.sign(axis[np.abs(axis).argmax()])
        np.testing.assert_allclose(found.components[place], axis, atol=1e-6)
        np.testing.assert_allclose(found.points[:, place], centered @ axis, atol=1e-5)
        assert found.explained_variance[place] == pytest.approx(values[-1 - place], rel=1e-8)
        assert found.explained_variance_ratio[place] == pytest.approx(
            values[-1 - place] / values.sum(), rel=1e-8
        )
    assert found.components[0, np.abs(found.components[0]).argmax()] > 0
    np.testing.assert_allclose(found.points.var(axis=0, ddof=1), found.explained_variance, rtol=1e-8)
    np.testing.assert_allclose(found.transform(vectors), found.points, atol=1e-9)


def test_pca_places_new_images(tmp_path: Path) -> None:
    found = cv.embed(TABLE)
    expected = (NEW - found.mean) @ found.components.T
    np.testing.assert_allclose(found.transform(NEW), expected, atol=1e-9)
    np.testing.assert_array_equal(found.transform(table_of(NEW)), found.transform(NEW))
    loaded = cv.load_result(found.save(tmp_path / "map.npz"))
    assert loaded == found
    np.testing.assert_array_equal(loaded.transform(NEW), found.transform(NEW))


def test_vectors_on_a_line() -> None:
    """Only one axis has any variance, and there are too many vectors to decompose all of it."""
    line = np.outer(np.linspace(-1, 1, 1500), np.ones(30))
    found = cv.embed(line)
    np.testing.assert_allclose(found.explained_variance_ratio, [1, 0], atol=1e-9)
    np.testing.assert_allclose(found.points[:, 0], np.linspace(-1, 1, 1500) * 30**0.5, atol=1e-9)


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_trustworthiness_is_that_of_scikit_learn(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = tsne_map(method=method, perplexity=None)
    expected = trustworthiness(VECTORS.astype(float), found.points, n_neighbors=5)
    assert found.trustworthiness == pytest.approx(expected, abs=1e-12)
    assert (found.trustworthiness_neighbors, found.trustworthiness_images) == (5, 120)
    assert f"{expected:.3f}" in repr(found)
    monkeypatch.setattr(embedding, "_TRUST_IMAGES", 40)
    sampled = tsne_map(method=method, perplexity=None, seed=3)
    rows = np.sort(np.random.default_rng(3).choice(120, 40, replace=False))
    expected = trustworthiness(VECTORS[rows].astype(float), sampled.points[rows], n_neighbors=5)
    assert sampled.trustworthiness == pytest.approx(expected, abs=1e-12)
    assert "on 40 of them drawn at random" in sampled.message
    assert cv.embed(VECTORS[:3]).trustworthiness_neighbors == 1


@pytest.mark.parametrize("way", ["bh", "fft"])
def test_tsne_takes_the_course_of_open_tsne(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same start and the same options, with openTSNE's own exact neighbors."""
    for name in ("_INTERPOLATE_SMALL", "_INTERPOLATE_ALWAYS"):
        monkeypatch.setattr(tsne, name, 0 if way == "fft" else 1000)
    start = cv.embed(VECTORS).points
    ours = tsne.TSNE(VECTORS, 12.0, 45, start, seed=0)
    begun = ours.points
    assert begun[:, 0].std() == pytest.approx(1e-4, rel=1e-2)
    assert np.abs(np.corrcoef(begun[:, 0], start[:, 0])[0, 1]) > 0.999
    theirs = openTSNE.TSNE(
        perplexity=12,
        early_exaggeration=12,
        early_exaggeration_iter=15,
        n_iter=30,
        initial_momentum=0.8,
        neighbors="exact",
        initialization=begun,
        negative_gradient_method=way,
    ).fit(VECTORS)
    while ours.done < 45:
        divergence = ours.advance(7)
    np.testing.assert_allclose(ours.points, theirs, atol=1e-5 * np.abs(theirs).max())
    assert divergence == pytest.approx(theirs.kl_divergence, rel=1e-6)
    # Trees tell the final divergence, whichever way was taken.
    assert ours.kl_divergence() == pytest.approx(theirs.kl_divergence, abs=1e-6 if way == "bh" else 0.01)


def test_the_divergence_against_its_formula() -> None:
    found = tsne_map()
    p = PerplexityBasedNN(VECTORS, 12, method="exact").P.toarray()
    apart = ((found.points[:, None] - found.points) ** 2).sum(axis=2)
    q = 1 / (1 + apart)
    np.fill_diagonal(q, 0)
    q /= q.sum()
    exact = float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
    assert found.kl_divergence == pytest.approx(exact, abs=0.01)  # Barnes-Hut trees are approximate


def test_tsne_can_be_watched_and_stopped() -> None:
    seen = []
    generator = cv.embed.steps(TABLE, method="tsne", perplexity=12, iterations=150, every=20)
    while True:
        try:
            seen.append(next(generator))
        except StopIteration as end:
            found = end.value
            break
    # The exaggeration ends after a third.
    assert [step.index + 1 for step in seen] == [20, 40, 50, 70, 90, 110, 130, 150]
    assert [step.values["exaggeration"] for step in seen] == [12.0] * 3 + [1.0] * 5
    assert all(step.total == 150 for step in seen)
    np.testing.assert_array_equal(seen[-1].values["points"], found.points)
    assert not any(np.shares_memory(step.values["points"], found.points) for step in seen)
    assert seen[3].values["kl_divergence"] > seen[-1].values["kl_divergence"]
    assert seen[-1].values["kl_divergence"] == pytest.approx(found.kl_divergence, rel=1e-9)
    assert found == tsne_map(every=20)  # pausing between steps makes no difference
    stopped = cv.embed.steps(TABLE, method="tsne", perplexity=12)
    next(stopped)
    stopped.close()


def test_a_stopped_tsne_has_the_map_so_far(tmp_path: Path) -> None:
    whole = cv.embed.steps(TABLE, method="tsne", perplexity=12, iterations=150, every=20)
    seen = [next(whole) for _ in range(5)]
    whole.close()
    steps = cv.embed.steps(TABLE, method="tsne", perplexity=12, iterations=150, every=20)
    for _ in range(5):
        step = next(steps)
        spent = step.index + 1
        assert step.values["seconds_left"] > 0
    found = cv.embed.finish(steps)
    np.testing.assert_array_equal(found.points, seen[-1].values["points"])
    assert (found.iterations_done, found.iterations) == (spent, 150) == (90, 150)
    assert found.trustworthiness == pytest.approx(trustworthiness(VECTORS.astype(float), found.points))
    assert "stopped after 90 of 150 iterations" in found.message
    assert cv.load_result(found.save(tmp_path / "map.npz")) == found
    assert found.transform(NEW).shape == (12, 2)
    unbegun = cv.embed.steps(TABLE, method="tsne", perplexity=12)
    with pytest.raises(ValueError, match="no step was taken"):
        cv.embed.finish(unbegun)


def test_seeds() -> None:
    one, same, other = tsne_map(), tsne_map(), tsne_map(seed=1)
    assert one == same
    assert (one.points != other.points).any()


@pytest.mark.parametrize("gradients", ["bh", "fft"])
def test_a_seed_gives_the_same_map_with_two_threads(gradients: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_INTERPOLATE_SMALL", "_INTERPOLATE_ALWAYS"):
        monkeypatch.setattr(tsne, name, 1 if gradients == "fft" else 10**6)
    before, maps = torch.get_num_threads(), []
    try:
        for threads in (2, 2, 1):
            torch.set_num_threads(threads)
            maps.append(tsne_map(VECTORS, iterations=30))
    finally:
        torch.set_num_threads(before)
    assert maps[0] == maps[1] == maps[2]


def separation(points: np.ndarray, classes: np.ndarray, centers: np.ndarray) -> float:
    """Return the share of points that are nearest to the center of their own class."""
    nearest = ((points[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1)
    return float((nearest == classes).mean())


def test_tsne_places_new_images(tmp_path: Path) -> None:
    found = tsne_map(iterations=300)
    before = found.points.copy()
    placed = found.transform(NEW)
    centers = np.stack([found.points[each == CLASSES].mean(axis=0) for each in range(4)])
    assert separation(found.points, CLASSES, centers) == 1
    assert separation(placed, CLASSES[:12], centers) == 1
    np.testing.assert_array_equal(found.points, before)
    # The middle of this map is not at zero: what is placed must not be moved by that.
    span = np.ptp(found.points, axis=0).max()
    again = found.transform(VECTORS)
    assert np.median(np.linalg.norm(again - found.points, axis=1)) < 0.02 * span
    away = np.array([1000, -500])
    shifted = replace(found, points=found.points + away)
    np.testing.assert_allclose(shifted.transform(NEW), placed + away, atol=0.01 * span)
    # Nobody's place depends on who else is placed.
    np.testing.assert_allclose(found.transform(NEW[5:6]), placed[5:6], atol=1e-9)
    loaded = cv.load_result(found.save(tmp_path / "map.npz"))
    assert loaded == found
    np.testing.assert_array_equal(loaded.transform(NEW), placed)


def test_what_can_not_be_placed() -> None:
    for found in (cv.embed(TABLE), tsne_map(iterations=10)):
        with pytest.raises(ValueError, match="vectors of 8 values, got 5"):
            found.transform(NEW[:, :5])
        with pytest.raises(ValueError, match="NaN or infinity in row 0"):
            found.transform(NEW * np.nan)
        with pytest.raises(TypeError, match="got list"):
            found.transform(NEW.tolist())
        with pytest.raises(ValueError, match=r"of layer 'fc' .* the table of 'conv'"):
            found.transform(replace(TABLE, layer="conv"))


def test_odd_tables() -> None:
    equal = np.repeat(VECTORS[:2], 60, axis=0)
    found = tsne_map(equal)
    assert np.isfinite(found.points).all()
    assert np.isfinite(found.transform(equal[:2])).all()
    one_value = tsne_map(VECTORS[:, :1])
    assert np.isfinite(one_value.points).all()
    smallest = tsne_map(VECTORS[:4], perplexity=1)
    assert smallest.points.shape == (4, 2)
    # (120 - 1) / 3 is 39.666...; what is advised must work, and so does leaving it out.
    with pytest.raises(ValueError, match=r"39\.67 is too large for 120 images; use 39\.66 or less"):
        tsne_map(perplexity=39.67)
    assert tsne_map(perplexity=39.66, iterations=1).perplexity == 39.66
    chosen = [tsne_map(VECTORS[:count], perplexity=None, iterations=1).perplexity for count in (4, 90, 91)]
    np.testing.assert_allclose(chosen, [1, 89 / 3, 30])
    with pytest.raises(ValueError, match="t-SNE needs four images or more"):
        tsne_map(VECTORS[:3], perplexity=1)
    with pytest.raises(ValueError, match="120 vectors, but 7 labels"):
        replace(TABLE, labels=TABLE.labels[:7])


def test_the_map_is_a_picture_of_its_classes() -> None:
    named = replace(TABLE, labels=np.where(CLASSES == 3, -1, CLASSES), label_names=("a", "b", "<c>"))
    pictures = {cv.embed(each)._repr_png_() for each in (TABLE, named, VECTORS)}
    assert len(pictures) == 3
    assert all(each.startswith(b"\x89PNG") for each in pictures)
