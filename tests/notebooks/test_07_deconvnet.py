"""What the lesson on the DeconvNet says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "07_deconvnet.ipynb")


def test_the_unit_sees_the_eye_and_nothing_is_sent_beyond_its_box(run: Run) -> None:
    assert run.value("list(shown.position)") == [4, 3]
    assert run.value("list(shown.box)") == [24, 8, 135, 119]
    everywhere, inside = run.value(
        "[int(np.count_nonzero(each)) for each in (shown.pixels, shown.pixels[:, 24:135, 8:119])]"
    )
    assert everywhere == inside > 1000
    assert run.value("shown.rectifiers") == 16


def test_the_first_layer_sends_back_its_kernel(run: Run) -> None:
    assert float(run.text("kernel").split()[-1]) < 1e-4
    assert run.value("float(np.abs(by_hand).max())") > 1
    apart = run.value(
        "max(int(np.abs(each.patch.astype(int) - first.patch).max()) for each in "
        "cv.DeconvExplorer(net, found, layer='features.1', channel=3).results)"
    )
    assert apart <= 1


def test_the_explorer_shows_what_the_method_returns(run: Run) -> None:
    assert "the same: True" in run.text("python")
    names = run.value("[cv.samples.photo_names()[i] for i in found['features.9'].image_indices[367][:3]]")
    assert names == ["coffee", "astronaut", "chelsea"]
    assert run.value("of_cat.result.box == shown.box")


def test_the_deeper_the_smaller_the_part_that_counts(run: Run) -> None:
    parts = run.value("[float(each) for each in parts.values()]")
    assert parts == sorted(parts, reverse=True)
    assert parts[0] > 0.3
    assert parts[-1] < 0.1


def test_other_channels_send_back_much_the_same_from_there(run: Run) -> None:
    alike = run.value("[float(each) for each in alike.values()]")
    assert len(alike) == 5
    assert min(alike) > 0.7
