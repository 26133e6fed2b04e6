"""Each thing that the fourth lesson tells its readers, checked in the kernel that has just run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "04_nearest_neighbors.ipynb")


def test_the_search_by_hand_is_that_of_the_method(run: Run) -> None:
    assert run.value("by_hand.tolist()") == run.value("found.indices[0].tolist()")
    assert run.value("distances[by_hand].tolist()") == pytest.approx(
        run.value("found.distances[0].tolist()"), abs=1e-5
    )
    assert "image 4 is a Shirt" in run.text("table")


def test_the_explorer_is_where_the_lesson_leaves_it(run: Run) -> None:
    assert "gives the same: True" in run.text("params")
    assert run.value("[explorer.query, explorer.k, explorer.wait(60)]") == [4, 5, True]
    # "What do its pixels take it for?": for other things than a shirt.
    same = run.value("(explorer.pixels.labels[0] == explorer.pixels.query_labels[0]).tolist()")
    assert sum(same) < 3


def test_features_agree_more_than_pixels_for_every_class(run: Run) -> None:
    features, pixels, chance = run.value("[agreement.features, agreement.pixels, agreement.chance]")
    assert chance < 0.11
    assert 0.65 < pixels < 0.75
    assert 0.8 < features < 0.9
    gains = run.value("dict(zip(agreement.class_names, agreement.class_features - agreement.class_pixels))")
    assert min(gains.values()) > 0
    assert max(gains, key=gains.__getitem__) == "Sandal"
    shares = run.value("dict(zip(agreement.class_names, agreement.class_features))")
    assert min(shares, key=shares.__getitem__) == "Shirt"


def test_neighbors_by_pixels_are_of_one_brightness(run: Run) -> None:
    pixels, features = run.value("[by_space['pixels'], by_space['features']]")
    assert 1.7 * pixels < features < 0.5 * run.value("float(any_two)")


def test_depth_and_training_bring_classes_together(run: Run) -> None:
    shares = run.value("shares")
    assert shares["pixels"] < shares["pool2"] < shares["fc1"]
    assert abs(shares["fc2"] - shares["fc1"]) < 0.02
    assert shares["fc1, random"] < shares["pixels"]


def test_color_counts_less_and_less_in_the_photographs(run: Run) -> None:
    shares = run.value("{layer: each.features for layer, each in photo_shares.items()}")
    pixels = run.value("photo_shares['features.12'].pixels")
    assert pixels < shares["features.1"] < pixels + 0.25
    assert shares["features.1"] + 0.2 < shares["features.6"] < shares["features.12"]
    assert shares["features.12"] > 0.9
    names = {
        space: run.value(
            f"[photo_explorer.table.label_names[code] for code in photo_explorer.{space}.labels[0]]"
        )
        for space in ("result", "pixels")
    }
    assert names == {"result": ["coffee"] * 2, "pixels": ["retina"] * 2}


def test_in_the_dark_the_distance_decides(run: Run) -> None:
    shares = {
        (space, metric): run.value(f"float(dark_shares['{space}', '{metric}'])")
        for space in ("pixels", "features")
        for metric in ("euclidean", "cosine")
    }
    assert shares["pixels", "euclidean"] < 0.35
    assert shares["pixels", "euclidean"] + 0.2 < shares["features", "euclidean"] < 0.7
    assert shares["features", "cosine"] < shares["pixels", "cosine"]
    assert shares["pixels", "cosine"] == pytest.approx(run.value("agreement.pixels"), abs=0.01)


def test_the_cell_for_one_s_own_images_runs(run: Run, tmp_path: Path) -> None:
    source = run.cells["own"].source
    assert source.startswith("folder = None")
    # Photos of two kinds, and a file that is none.
    made = f"""[
        (__import__("pathlib").Path({str(tmp_path)!r}, kind).mkdir(exist_ok=True),
         cv.samples.photo(name).save({str(tmp_path)!r} + f"/{{kind}}/{{name}}.jpg"))
        for kind, name in (("stone", "brick"), ("stone", "gravel"), ("cat", "chelsea"), ("cat", "coffee"))
    ] and 0"""
    assert run.value(made) == 0
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"none")
    changed = source.replace("folder = None", f"folder = {str(tmp_path)!r}")
    changed = changed.replace("NeighborExplorer(own_table)", "NeighborExplorer(own_table, k=2)")
    ran = f"exec({changed!r}, globals())"
    assert run.value(ran) is None
    assert run.value("[own_table.skipped, own_explorer.wait(30), len(own_table)]") == [1, True, 4]
    assert run.value("own_table.label_texts") == ["cat", "cat", "stone", "stone"]


def test_exercise_3_neighbors_classify(run: Run) -> None:
    right = """[
        float(np.mean([np.bincount(row).argmax() == own for row, own in zip(near.labels, table.labels)]))
        for near in (
            cv.nearest_neighbors(train_table, table, k=5, space=space) for space in ("features", "pixels")
        )
    ]"""
    train = """(lambda pictures, codes: cv.extract_features(
        net, (pictures, [cv.samples.FASHION_LABELS[code] for code in codes]), "fc1"
    ))(*cv.samples.fashion_mnist("train"))"""
    assert run.value(f"globals().__setitem__('train_table', {train})") is None
    features, pixels = run.value(right)
    assert features > pixels > 0.7
