"""What the lesson on inversion says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "10_inversion.ipynb")


def test_the_error_by_hand_is_the_one_found(run: Run) -> None:
    by_hand, found = (float(line.split()[-1]) for line in run.text("hand").splitlines())
    assert found == pytest.approx(by_hand, rel=0.01)
    assert found < 0.1


def test_deeper_layers_leave_more_open(run: Run) -> None:
    errors, distances = run.value("[deeper.errors.tolist(), deeper.distances.tolist()]")
    assert errors[0] == min(errors)
    assert errors[-1] == max(errors)
    assert distances == sorted(distances)


def test_pictures_that_fit_alike_differ(run: Run) -> None:
    errors, apart = run.value("[several.errors.tolist(), float(apart)]")
    assert max(errors) < 0.3
    assert apart > 0.03


def test_waves_fit_better_in_a_deep_layer(run: Run) -> None:
    waves, pixels = run.value("[float(waves.errors[0]), float(deeper.errors[-1])]")
    assert waves < pixels


def test_the_player_s_branch_is_the_call_too(run: Run) -> None:
    steps, same = run.value(
        "[[each.steps for each in player.results.values()], cv.invert(net, photo, **player.params) == player.result]"
    )
    assert (steps, same) == ([40, 20], True)
