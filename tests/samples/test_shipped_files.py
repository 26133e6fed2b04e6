"""What ships beside the code: its origin is told, its licenses are whole, nothing in it is pickled."""

from __future__ import annotations

import doctest
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from cnnviz_widgets import samples
from cnnviz_widgets.samples._files import DATA

ARCHIVES = sorted(DATA.rglob("*.npz"))


def test_every_data_file_is_in_the_table_of_origins() -> None:
    text = (DATA / "PROVENANCE.md").read_text(encoding="utf-8")
    files = [path for path in DATA.rglob("*") if path.is_file() and path.name != "PROVENANCE.md"]
    assert len(files) > 20
    for path in files:
        relative = path.relative_to(DATA).as_posix()
        patterns = (f"`{relative}`", f"`{path.name}`", f"`{path.parent.name}/*{path.suffix}`")
        assert any(pattern in text for pattern in patterns), relative


def test_every_photo_has_a_license_of_its_own() -> None:
    rows = [
        line for line in (DATA / "PROVENANCE.md").read_text(encoding="utf-8").splitlines() if ".jpg`" in line
    ]
    for name in samples.photo_names():
        row = next(line for line in rows if f"`{name}.jpg`" in line)
        assert ("CC0" in row) != ("public domain" in row)


@pytest.mark.parametrize(
    ("name", "passages"),
    [
        ("SqueezeNet-BSD-2-Clause", ["Redistributions in binary form", "EVEN IF ADVISED"]),
        (
            "ndf-MIT",
            ["Copyright (c) 2019 Primoz Godec", "WITHOUT WARRANTY OF ANY KIND", "OTHER DEALINGS IN THE"],
        ),
        ("Fashion-MNIST-MIT", ["2017 Zalando SE", "The above copyright notice", "OTHER DEALINGS IN THE"]),
        ("photos-CC0-1.0", ["CC0 1.0 Universal", "4. Limitations and Disclaimers"]),
        ("photos-public-domain", ["astronaut.jpg", "hubble_deep_field.jpg", "rocket.jpg"]),
    ],
)
def test_licenses_are_whole(name: str, passages: list[str]) -> None:
    text = (DATA / "licenses" / f"{name}.txt").read_text(encoding="utf-8")
    for passage in passages:
        assert passage in text
    assert f"licenses/{name}.txt" in (DATA / "PROVENANCE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.name)
def test_archives_hold_plain_numbers(path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays.files
        for name in arrays.files:
            assert arrays[name].dtype in (np.float16, np.uint8)


def test_all_data_together_leaves_room_in_an_eight_megabyte_wheel() -> None:
    total = sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file())
    assert total < 7_200_000


def test_checkpoint_list_names_its_recipe() -> None:
    content = json.loads((DATA / "fashion_cnn" / "checkpoints.json").read_text(encoding="utf-8"))
    assert content["recipe"]["script"] == "scripts/train_fashion_cnn.py"
    assert content["recipe"]["seed"] == 0
    assert content["recipe"]["torch"]


@pytest.mark.parametrize("name", ["", ".pictures", ".imagenet", ".fashion"])
def test_examples_in_the_docstrings_run(name: str) -> None:
    module = importlib.import_module(f"cnnviz_widgets.samples{name}")
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert tests
    runner = doctest.DocTestRunner(verbose=False)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
