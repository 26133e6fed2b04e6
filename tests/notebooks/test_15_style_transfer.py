"""What the lesson on style says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "15_style_transfer.ipynb")


def test_style_comes_at_the_expense_of_content(run: Run) -> None:
    content, style = run.value("[first.losses[name].tolist() for name in ('content', 'style')]")
    assert content[0] < 1e-3 < content[-1]
    assert style[0] == pytest.approx(3.0, rel=0.05)
    assert style[-1] < 0.2 * style[0]
    kept = run.value("list(kept.values())")
    assert kept == sorted(kept)
    assert kept[-1] > 3 * kept[0]


def test_colors_are_kept_and_styles_are_blended(run: Run) -> None:
    assert run.value("same") > 0.9
    assert run.value("list(blended.blend)") == [0.25, 0.75]
    assert run.value("len(blended.styles)") == 2


def test_it_goes_on_from_a_picture(run: Run) -> None:
    before, after = run.value("[float(again.losses['content'][index]) for index in (0, -1)]")
    assert after < 0.8 * before


def test_the_player_s_branch_is_the_call_too_and_has_more_style(run: Run) -> None:
    steps, same = run.value(
        "[[each.steps for each in player.results.values()], "
        "cv.transfer_style(net, player.content, player.styles, **player.params) == player.result]"
    )
    assert (steps, same) == ([16, 8], True)
    first, second = run.value(
        "[float(each.losses['style'][-1] / each.style_weight) for each in player.results.values()]"
    )
    assert second < 0.5 * first
