"""What the lesson on gradients says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "09_gradients.ipynb")


def test_the_slope_by_hand_is_the_gradient(run: Run) -> None:
    by_gradient, by_hand = (float(line.split()[-1]) for line in run.text("hand").splitlines())
    assert by_hand == pytest.approx(by_gradient, rel=0.02)


def test_the_clearer_the_map_the_less_it_asks_for_the_class(run: Run) -> None:
    plain, guided, deconvnet = run.value("[float(alike[rule]) for rule in ('plain', 'guided', 'deconvnet')]")
    assert plain < 0.6
    assert guided > 0.8
    assert deconvnet > 0.98
    assert run.value("guided.rectifiers") == 26


def test_the_gap_closes(run: Run) -> None:
    gaps = [abs(float(line.split()[-1])) for line in run.text("integrated").splitlines()[:3]]
    assert gaps == sorted(gaps, reverse=True)
    shares, difference = (float(line.split()[-1]) for line in run.text("integrated").splitlines()[3:])
    assert shares == pytest.approx(difference, rel=0.02)
    assert abs(shares - difference) == pytest.approx(gaps[-1], abs=0.02)


def test_grad_cam_brings_the_answer_back_and_all_beat_chance_by_deletion(run: Run) -> None:
    names = run.value("list(measured.names)")
    won, lost = run.value("[measured.insertion_area.tolist(), measured.deletion_area.tolist()]")
    assert names[-2:] == ["Grad-CAM", "chance"]
    assert won[-2] > 1.2 * max(won[:-2])
    assert max(lost[:-1]) < 0.8 * lost[-1]
    assert won[names.index("gradient")] == pytest.approx(won[-1], abs=0.05)
    # The two measures disagree: what brings least of the answer back is among the best at taking it away.
    integrated = names.index("integrated")
    assert won[integrated] == min(won)
    assert lost[integrated] == pytest.approx(min(lost), abs=0.02)


def test_gray_pixels_end_it_at_once_for_every_fine_map(run: Run) -> None:
    fine = "{name: each for name, each in maps.items() if name != 'Grad-CAM'}"
    curves = run.value(f"cv.faithfulness(net, photo, 'espresso', {fine}, steps=8).deletion[:-1, 1].tolist()")
    assert max(curves) < 0.1


def test_the_deconvnet_does_not_notice_that_the_network_forgets(run: Run) -> None:
    first = run.value("{name: float(each[0]) for name, each in survives.items()}")
    assert first["deconvnet"] > 0.95
    assert first["guided"] > 0.8
    assert first["plain"] < 0.6
    assert abs(first["Grad-CAM"]) < 0.2
    assert run.value("check.layers[0]") == "features.11.squeeze"


def test_the_explorer_shows_the_same_maps_and_how_good_they_are(run: Run) -> None:
    same = "[float(np.abs(explorer.results[name].heatmap - each.heatmap).max()) for name, each in %s.items()]"
    assert max(run.value(same % "{'gradient': gradient, 'guided': guided, 'Grad-CAM': cam}")) < 1e-3
    assert run.value("[explorer.target.what, explorer.params['layer']]") == [967, "features.12"]
    names, won = run.value("[list(explorer.measured.names), explorer.measured.insertion_area.tolist()]")
    assert names[won.index(max(won))] == "Grad-CAM"
    assert "Grad-CAM" in run.text("explore-python")
