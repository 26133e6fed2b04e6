"""What lesson 3 claims: filters form, activations become sparse and local, and a high learning rate kills units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

# Limits are wide: rounding differs between machines, and a training that diverges magnifies it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "03_training.ipynb")


def test_the_network_learns_and_its_filters_become_smooth(run: Run) -> None:
    assert run.value("accuracy(module)") > 0.65
    start, end = run.value("np.nanmedian(history.roughness[[0, -1]], axis=1).tolist()")
    # noise is at its shuffled self, about 0.5 here, and edges are far below
    assert start > 0.4
    assert end < 0.75 * start


def test_deep_activations_become_sparse_and_local(run: Run) -> None:
    zeros = run.value("history.sparsity['relu2'][[0, -1]].tolist()")
    assert zeros[0] < 0.7
    assert zeros[1] > zeros[0] + 0.1
    start, end = run.value("local['relu2']")
    assert end < 0.7 * start
    # Counted anew, by a loop over maps and places.
    for index, told in ((0, start), (-1, end)):
        maps = np.array(run.value(f"history.activations['relu2'][{index}].astype(float).tolist()"))
        shares = []
        for answers in maps.reshape(-1, maps.shape[-2] * maps.shape[-1]):
            if answers.sum() > 0:
                total, places = 0.0, 0
                for answer in sorted(answers, reverse=True):
                    total, places = total + answer, places + 1
                    if total >= 0.5 * answers.sum():
                        break
                shares.append(places / len(answers))
        assert told == pytest.approx(np.mean(shares), abs=1e-6)


def test_the_high_learning_rate_kills_units_which_the_timeline_shows(run: Run) -> None:
    assert run.value("fate.dead['relu2'].tolist()")[0] < 0.2
    assert run.value("fate.dead['relu2'].max()") > 0.8
    # On all images of the training, too, and counted without the recorder.
    assert run.value("alive") < 16
    assert run.value("accuracy(fated)") < 0.3
    assert run.value("history.dead['relu2'][-1]") < 0.2
    first_dead = run.value("first_dead")
    assert len(first_dead) == round(run.value("fate.dead['relu2'][-1]") * run.value("dead.shape[1]"))
    for channel, step in first_dead.items():
        answers = run.value(f"bool(fate.activations['relu2'][fate.steps == {step}, :, {channel}].any())")
        assert not answers, "a map of a dead channel is zero"
    step, text = run.value("[fated_timeline.shown_step, fated_timeline.to_text()]")
    assert step == run.value("killed") > 0
    index = run.value("int(np.flatnonzero(fate.steps == killed)[0])")
    dead = run.value(f"fate.dead['relu2'][{index}]")
    assert f"relu2 {dead:.0%}" in text.split("dead")[1]


def test_the_timeline_watched_until_the_end(run: Run) -> None:
    assert run.value("[timeline.wait(60), timeline.history == recorder.history]") == [True, True]
    assert run.value("len(history)") == 21
    assert "recording ended" in run.value("timeline.to_text()")
