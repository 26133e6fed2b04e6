"""Rows in memory or in a file: the same array, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cnnviz_widgets.engine.growing_array import GrowingArray

ROWS = np.random.default_rng(0).normal(size=(137, 3, 2)).astype(np.float32)
SIZES = [5, 1, 40, 0, 91]


def grown(spill_at: int | None, path: Path | None = None) -> GrowingArray:
    array, start = GrowingArray((3, 2), np.float32, path), 0
    for index, size in enumerate(SIZES):
        if index == spill_at:
            array.spill()
        array.append(ROWS[start : start + size])
        start += size
    return array


@pytest.mark.parametrize("spill_at", [None, 0, 2, 4])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
def test_the_rows_are_those_added(spill_at: int | None, named: bool, shuffled: bool, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.npy" if named else None
    order = np.random.default_rng(1).permutation(len(ROWS)) if shuffled else None
    expected = ROWS if order is None else ROWS[order]
    array = grown(spill_at, path)
    np.testing.assert_array_equal(array.so_far(), ROWS)
    assert (array.held_bytes == 0) == (spill_at is not None)
    found = array.finish(order)
    np.testing.assert_array_equal(found, expected)
    assert isinstance(found, np.memmap) == (spill_at is not None)
    if named and spill_at is not None:
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), expected)
        assert [each.name for each in path.parent.iterdir()] == ["rows.npy"]


def test_what_was_added_is_a_copy() -> None:
    rows = ROWS[:4].copy()
    array = GrowingArray((3, 2), np.float32)
    array.append(rows)
    rows[:] = 0
    np.testing.assert_array_equal(array.finish(), ROWS[:4])


def test_a_temporary_file_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = grown(0).finish()
    np.testing.assert_array_equal(array, ROWS)
    assert not list(tmp_path.iterdir())


def test_closing_removes_what_is_not_whole(tmp_path: Path) -> None:
    array = grown(0, tmp_path / "rows.npy")
    assert [each.name for each in tmp_path.iterdir()] == ["rows.npy.part"]
    array.close()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    first = grown(0, tmp_path / "rows.npy").finish()
    with pytest.raises(ValueError, match=r"rows.npy' exists already"):
        grown(0, tmp_path / "rows.npy")
    np.testing.assert_array_equal(first, ROWS)


def test_nothing_at_all() -> None:
    for spilled in (True, False):
        array = GrowingArray((0, 3), np.uint8)
        if spilled:
            array.spill()
        array.append(np.zeros((4, 0, 3), np.uint8))
        assert array.finish().shape == (4, 0, 3)
