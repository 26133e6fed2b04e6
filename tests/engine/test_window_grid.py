"""Places of windows, and the map that they make together, against matrices written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from cnnviz_widgets.engine.window_grid import checked_pair, coarse_to_fine, combined, filled_in, placed


@pytest.mark.parametrize(
    ("size", "window", "stride", "starts"),
    [
        (224, 16, 8, [*range(0, 209, 8)]),  # 27 places
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),
        (5, 5, 2, [0]),
        (6, 5, 4, [0, 1]),
        (4, 1, 1, [0, 1, 2, 3]),
    ],
)
def test_places(size: int, window: int, stride: int, starts: list[int]) -> None:
    assert placed(size, window, stride).tolist() == starts


# Windows of 2 rows x 2 columns over 3 x 5 pixels, at rows 0 and 1 and columns 0, 2 and 3 (the last one moved back).
DROPS = np.array([[8.0, 4.0, 0.0], [2.0, -4.0, 6.0]])
MAPS = {
    "mean": [[8, 8, 4, 2, 0], [5, 5, 0, 1.5, 3], [2, 2, -4, 1, 6]],
    "sum": [[8, 8, 4, 4, 0], [10, 10, 0, 6, 6], [2, 2, -4, 2, 6]],
    # Centers of windows: rows 1 and 2, columns 1, 3 and 4. Of two that are as near, the upper or left one.
    "none": [[8, 8, 4, 4, 0], [8, 8, 4, 4, 0], [2, 2, -4, -4, 6]],
}


@pytest.mark.parametrize("combine", MAPS)
def test_overlapping_windows_become_one_map(combine: str) -> None:
    tops, lefts = placed(3, 2, 1), placed(5, 2, 2)
    assert (tops.tolist(), lefts.tolist()) == ([0, 1], [0, 2, 3])
    found = combined(DROPS, tops, lefts, (2, 2), (3, 5), combine)
    assert found.dtype == np.float32
    assert found.tolist() == MAPS[combine]


def test_the_mean_against_a_loop() -> None:
    draw = np.random.default_rng(0)
    tops, lefts, window, size = placed(23, 6, 4), placed(17, 3, 2), (6, 3), (23, 17)
    drops = draw.normal(size=(len(tops), len(lefts)))
    total, count = np.zeros(size), np.zeros(size)
    for row, top in enumerate(tops):
        for column, left in enumerate(lefts):
            total[top : top + 6, left : left + 3] += drops[row, column]
            count[top : top + 6, left : left + 3] += 1
    np.testing.assert_allclose(combined(drops, tops, lefts, window, size, "mean"), total / count, rtol=1e-6)
    np.testing.assert_allclose(combined(drops, tops, lefts, window, size, "sum"), total, rtol=1e-5, atol=1e-6)


def test_what_is_not_measured_takes_the_nearest_number() -> None:
    nan = np.nan
    grid = np.array([[1.0, nan, nan, 2.0], [nan, nan, nan, nan], [nan, nan, 3.0, nan]])
    found = filled_in(grid)
    assert found[0].tolist()[0::3] == [1.0, 2.0]
    assert found[1, 0] == 1.0
    assert found[1, 2] == 3.0
    assert found[2].tolist()[1:] == [3.0, 3.0, 3.0]
    assert np.isnan(filled_in(np.full((2, 2), nan))).all()


@pytest.mark.parametrize(
    ("rows", "columns"), [(27, 27), (1, 40), (5, 5), (1, 1), (2, 3), (9, 4), (64, 2), (193, 193)]
)
def test_coarse_to_fine_visits_each_place_once(rows: int, columns: int) -> None:
    visits = np.zeros((rows, columns), int)
    sets = coarse_to_fine(rows, columns, 16)
    for down, along in sets:
        visits[np.ix_(down, along)] += 1
    assert (visits == 1).all()
    first = len(sets[0][0]) * len(sets[0][1])
    assert first <= 16
    assert first <= max(1, rows * columns / 8)
    if (rows, columns) == (27, 27):
        down, along = coarse_to_fine(rows, columns, 100)[0]
        assert down.tolist() == along.tolist() == [*range(1, 27, 3)]


@pytest.mark.parametrize("places", [27, 97, 193])
def test_whoever_stops_early_has_a_map_of_the_whole_image(places: int) -> None:
    measured = np.zeros((places, places), bool)
    for down, along in coarse_to_fine(places, places, 16):
        measured[np.ix_(down, along)] = True
        # Each place is as near to a measured one as so many, spread evenly, would let it be, but for a factor.
        farthest = ndimage.distance_transform_edt(~measured).max()
        assert farthest <= 2 * places / np.sqrt(measured.sum())
    eighth = np.zeros_like(measured)
    sets = coarse_to_fine(places, places, 16)
    for down, along in sets[:-2]:
        eighth[np.ix_(down, along)] = True
    assert places**2 / 12 < eighth.sum() <= places**2 / 8
    rows = np.flatnonzero(eighth.any(axis=1))
    assert set(np.diff(rows)) == {3}
    assert eighth[np.ix_(rows, rows)].sum() == eighth.sum()


@pytest.mark.parametrize("value", [0, -1, 2.5, True, (3,), (3, 4, 5), (3, 0), "ab", None])
def test_what_is_no_size_of_a_window(value: object) -> None:
    with pytest.raises(ValueError, match="stride is a whole number from 1, or two of them"):
        checked_pair("stride", value)


def test_a_number_or_a_pair() -> None:
    assert checked_pair("window", np.int64(4)) == (4, 4)
    assert checked_pair("window", [3, 5]) == (3, 5)
