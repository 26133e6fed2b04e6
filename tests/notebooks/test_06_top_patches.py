"""What the lesson on top patches tells its readers, checked in the kernel that has just run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import cnnviz_widgets as cv
from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "06_top_patches.ipynb")


def test_the_value_by_hand_is_the_one_found(run: Run) -> None:
    found, by_hand = (
        line.split(maxsplit=1)[1] for line in run.text("hand").replace("by hand", "hand").splitlines()
    )
    assert found == by_hand


def test_channel_3_likes_red_and_channel_0_is_bright_above(run: Run) -> None:
    red, green, blue = run.value(
        "np.mean([p.reshape(-1, 3).mean(axis=0) for p in first.patches[3]], axis=0).tolist()"
    )
    assert red > 1.5 * max(green, blue)
    above, below = run.value(
        "np.mean([p.mean(axis=(1, 2)) for p in first.patches[0]], axis=0)[[0, 2]].tolist()"
    )
    assert above > 2 * below


def test_channel_367_likes_round_things_of_several_photos(run: Run) -> None:
    photos = run.value("photo_of[found['features.9'].image_indices[367]].tolist()")
    assert photos[:2] == ["hubble_deep_field"] * 2
    assert {"hubble_deep_field", "astronaut", "coffee"} <= set(photos)
    assert "chelsea" not in photos
    assert run.value("[together.layer, together.channel, browser.channel]") == ["features.9", 367, 367]


def test_favorites_are_less_alike_the_deeper_and_come_from_more_photos(run: Run) -> None:
    likeness, photos = run.value("[list(likeness.values()), list(photos.values())]")
    assert likeness == sorted(likeness, reverse=True)
    assert likeness[0] > 0.7
    assert likeness[-1] < 0.2
    assert photos[-1] > photos[0] + 0.5


def test_the_deeper_the_more_of_one_class(run: Run) -> None:
    shares = run.value("[float(each) for each in one_class.values()]")
    assert shares == sorted(shares)
    assert shares[-1] < 9
    # By chance: the largest of ten counts of nine images.
    random = np.random.default_rng(0)
    chance = [np.bincount(random.integers(0, 10, 9)).max() for _ in range(2000)]
    assert 2 < np.mean(chance) < 3
    assert shares[0] > 1.5 * np.mean(chance)


def test_all_nine_are_bags_and_dresses_get_more(run: Run) -> None:
    images, labels = cv.samples.fashion_mnist("test")
    bag, dress = (cv.samples.FASHION_LABELS.index(name) for name in ("Bag", "Dress"))
    assert set(run.value("labels[nine].tolist()")) == {bag}
    net, kept = cv.samples.fashion_cnn(), []
    hook = net.module.relu3.register_forward_hook(lambda module, inputs, output: kept.append(output[:, 12]))
    kinds = labels[np.isin(labels, (bag, dress))]
    with torch.no_grad():
        net.module(net.prepare(list(images[np.isin(labels, (bag, dress))])))
    hook.remove()
    answers = kept[0].numpy()
    assert answers[kinds == dress].sum() > 1.2 * answers[kinds == bag].sum()
    assert answers[kinds == dress].max() < answers[kinds == bag].max()
    assert run.value("int(shares.argmax())") == dress
    assert (answers[kinds == dress] > 0).sum() > (answers[kinds == bag] > 0).sum()
    dead = run.value("(liked['relu3'].scores[:, 0] == 0).tolist()")
    assert (len(dead), sum(dead)) == (48, 1)


def test_the_cell_for_one_s_own_images_runs(run: Run, tmp_path: Path) -> None:
    source = run.cells["own"].source
    assert source.startswith("folder = None")
    for kind, names in (("stone", ("brick", "gravel")), ("cat", ("chelsea", "coffee"))):
        (tmp_path / kind).mkdir()
        for name in names:
            photo = cv.samples.photo(name)
            for turn in (0, 90, 180):
                photo.rotate(turn).save(tmp_path / kind / f"{name}{turn}.jpg")
    (tmp_path / "cat" / "broken.jpg").write_bytes(b"none")
    changed = source.replace("folder = None", f"folder = {str(tmp_path)!r}")
    changed = changed.replace("display(cv.PatchExplorer(own))", "own_explorer = cv.PatchExplorer(own)")
    assert run.value(f"exec({changed!r}, globals())") is None
    assert (
        run.value("[[each.images, each.skipped, len(each.patches[0])] for each in own.values()]")
        == [[12, 1, 9]] * 2
    )
    assert run.value("own_explorer.result is not None")
