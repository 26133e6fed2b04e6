"""What the lesson on DeepDream says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "13_deepdream.ipynb")


def test_what_the_layer_finds_grows(run: Run) -> None:
    assert run.value("float(last[-1] / last[0])") > 1.5


def test_octaves_make_coarse_structure(run: Run) -> None:
    assert run.value("coarse(dream)") > 1.2 * run.value("coarse(single)")


def test_a_zoom_has_frames(run: Run) -> None:
    assert run.value("list(zoom.frames.shape)") == [3, 96, 96, 3]
    assert run.value("mixed.steps") == 24
