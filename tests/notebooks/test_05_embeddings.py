"""Each thing that the fifth lesson tells its readers, checked in the kernel that has just run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import cnnviz_widgets as cv
from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "05_embeddings.ipynb")


def test_the_map_by_hand_is_that_of_the_method(run: Run) -> None:
    assert "the same map: True" in run.text("pca")
    assert run.value("shares[:2].tolist()") == pytest.approx(
        run.value("pca.explained_variance_ratio.tolist()")
    )
    assert 0.38 < run.value("float(shares[:2].sum())") < 0.46
    assert run.value("float(shares[:10].sum())") > 0.9


def test_the_explorer_can_be_run_again(run: Run) -> None:
    assert "gives the same: True" in run.text("params")
    assert "48 selected" in run.text("params")
    assert run.value("[explorer.state, explorer.color_by, len(explorer.selected)]") == [
        "done",
        "correct",
        53,
    ]


def test_tsne_keeps_neighbors_where_pca_can_not(run: Run) -> None:
    pca, tsne = run.value("[pca.trustworthiness, tsne.trustworthiness]")
    assert tsne > 0.98 > 0.94 > pca
    shares = run.value("agreement")
    assert 0.55 < shares["PCA"] < 0.65
    assert abs(shares["t-SNE"] - shares["all 48 numbers"]) < 0.03


def test_tsne_shows_neither_distances_nor_sizes(run: Run) -> None:
    measures = run.value("{name: [float(each) for each in two] for name, two in measures.items()}")
    for name in ("vectors", "PCA"):
        farther, wider = measures[name]
        assert 8 < farther < 10
        assert 4.5 < wider < 7
    assert measures["t-SNE"] == pytest.approx([1, 1], abs=0.15)


def test_noise_has_clumps_and_can_not_be_trusted(run: Run) -> None:
    # How far the second nearest is, as a share of how far the tenth is: small where there are clumps.
    closeness = """(lambda near: float(np.median(near[:, 2] / near[:, 10])))(
        np.sort(np.linalg.norm({0}[:, None] - {0}, axis=2), axis=1))"""
    calm = "cv.embed(noise, method='tsne', perplexity=30).points"
    clumped, even = (run.value(closeness.format(f"({points})")) for points in ("noise_map.points", calm))
    assert clumped < 0.85 * even
    assert run.value("noise_map.trustworthiness") < 0.8
    assert min(run.value("[each.trustworthiness for each in by_perplexity.values()]")) > 0.98
    two, thirty = run.value("[each.kl_divergence for each in by_perplexity.values()]")
    assert two > thirty


def test_another_seed_gives_nearly_the_same_map(run: Run) -> None:
    assert run.value("float(moved.mean() / width)") < 0.05
    assert run.value("float(kept)") > 0.8


def test_pixels_make_a_faithful_map_of_poor_vectors(run: Run) -> None:
    assert run.value("pixel_map.trustworthiness") > 0.98
    assert run.value("float(same_class(pixel_map.points) - same_class(tsne.points))") < -0.1


def test_errors_stand_among_other_classes(run: Run) -> None:
    assert run.value("int(wrong.sum())") == 53
    among = "float((others[{}] > 0.5).mean())"
    assert run.value(among.format("wrong")) > 0.75
    assert run.value(among.format("~wrong")) < 0.1
    classes = run.value("[names[row] for row in wrong.nonzero()[0]]")
    assert sum(name in ("Shirt", "Pullover", "Coat") for name in classes) > len(classes) / 2


def test_new_images_come_among_their_class(run: Run) -> None:
    assert run.value("float(placed_well)") > 0.8


def test_the_cell_for_one_s_own_images_runs(run: Run, tmp_path: Path) -> None:
    source = run.cells["own"].source
    assert source.startswith("folder = None")
    for kind, names in (("stone", ("brick", "gravel")), ("cat", ("chelsea", "coffee"))):
        (tmp_path / kind).mkdir()
        for name in names:
            photo = cv.samples.photo(name)
            photo.save(tmp_path / kind / f"{name}.jpg")
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"none")
    changed = source.replace("folder = None", f"folder = {str(tmp_path)!r}")
    assert run.value(f"exec({changed!r}, globals())") is None
    assert run.value("[own_explorer.wait(60), own_table.skipped, own_table.label_texts]") == [
        True,
        1,
        ["cat", "cat", "stone", "stone"],
    ]
    assert run.value("list(own_explorer.result.points.shape)") == [4, 2]
