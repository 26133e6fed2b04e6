"""What the lesson on occlusion says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "08_occlusion.ipynb")


def test_one_square_makes_a_cheetah_of_the_cat(run: Run) -> None:
    whole, covered = run.text("hand").splitlines()
    assert "Egyptian cat 45%" in whole.split(",")[0]
    assert "cheetah" in covered.split(",")[0]


def test_the_strongest_place_is_the_square_covered_by_hand(run: Run) -> None:
    assert run.value("[*vars(found.strongest).values()]") == [80, 32, 128, 80]
    assert run.value("[found.way, found.scores.size]") == ["incremental", 144]
    assert run.value("float(difference)") < 1e-5


def test_the_explorer_shows_the_same_map(run: Run) -> None:
    assert run.value("explorer.wait(60)")
    shown, expected = run.value("[explorer.result.scores.tolist(), found.scores.tolist()]")
    np.testing.assert_allclose(shown, expected, atol=1e-4)
    assert run.value("float(explorer.result.scores.max())") > 0.5  # there is a place that makes it surer


def test_the_decision_hangs_elsewhere_than_the_evidence(run: Run) -> None:
    instead = run.value("instead")
    assert set(instead) == {"Egyptian cat", "tabby", "tiger cat", "cheetah"}
    assert sum(instead.values()) == 144
    assert 0.5 < run.value("float(alike)") < 0.8
    at_logit = run.value("float(found.scores.flat[logit.scores.argmin()])")
    assert at_logit == pytest.approx(0.45 / 2, abs=0.03)


def test_the_larger_the_window_the_less_is_left(run: Run) -> None:
    left = run.value("list(lowest.values())")
    assert left == sorted(left, reverse=True)
    assert left[0] > 0.75
    assert left[-1] < 0.1


def test_the_look_of_the_cover_changes_the_answer(run: Run) -> None:
    lowest = run.value("{str(fill): float(each.scores.min()) for fill, each in by_fill.items()}")
    assert lowest["noise"] < 0.5 * min(lowest[fill] for fill in ("0.0", "black", "blur"))
    assert run.value("len({str(each.strongest) for each in by_fill.values()})") >= 3


def test_a_unit_hangs_on_its_receptive_field_alone(run: Run) -> None:
    outside, inside = run.value("[float(outside), float(inside)]")
    assert outside < 1e-4 * inside


def test_the_planted_cup_is_found_and_an_eighth_is_a_map(run: Run) -> None:
    assert run.value("hits") == [True] * 4
    assert run.value("float(likeness)") > 0.85
    assert run.value("coarse.measured") < 0.2
