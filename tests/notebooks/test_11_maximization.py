"""What the lesson on maximization says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "11_maximization.ipynb")


def test_pixels_alone_do_not_survive_a_shift(run: Run) -> None:
    kept = run.value("kept")
    assert kept["pixels"] < 0.75 * kept["fourier"]


def test_class_images_are_of_their_class(run: Run) -> None:
    assert run.value("net.predict(cup.images[0], k=1).labels[0]") == "espresso"
    assert run.value("float(natural.curves['target'][-1, 0] - natural.curves['target'][0, 0])") > 20


def test_what_is_taken_away_is_less(run: Run) -> None:
    assert run.value("float(both[1] - alone[1])") < 0
    assert run.value("copies.images.shape[0]") == 3


def test_the_player_s_branch_is_the_call_too(run: Run) -> None:
    assert run.text("11-player-python").splitlines()[-1] == "the same as the call: True"
    # The branch goes where it was told.
    assert run.value("[each.targets[0] for each in player.results.values()]") == [
        "Target(layer='features.7', channel=5)",
        "Target(layer='features.7', channel=20)",
    ]
