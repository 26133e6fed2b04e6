"""What the lesson on textures says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "14_texture_synthesis.ipynb")


def test_a_shuffled_map_has_the_same_gram_matrix(run: Run) -> None:
    assert run.value("difference") < 1e-14


def test_every_layer_comes_nearer_and_deeper_layers_say_more(run: Run) -> None:
    losses = run.value("{name: each.tolist() for name, each in made.losses.items()}")
    assert len(losses) == 5
    assert all(each[-1] < 0.2 * each[0] for each in losses.values())
    shallow, deep = run.value("list(apart.values())")
    assert deep < 0.9 * shallow


def test_colors_are_the_sources_and_a_run_goes_on(run: Run) -> None:
    assert run.value("wide.image.shape") == [64, 112, 3]
    assert run.value("bool((wide.image == wide.image[..., :1]).all())")
    assert run.value("half.steps") < 100
    assert run.value("float(on.loss[-1])") < run.value("float(on.loss[0])")


def test_the_player_s_branch_is_the_call_too(run: Run) -> None:
    steps, same = run.value(
        "[[each.steps for each in player.results.values()], "
        "cv.synthesize_texture(net, player.image, **player.params) == player.result]"
    )
    assert (steps, same) == ([12, 6], True)
