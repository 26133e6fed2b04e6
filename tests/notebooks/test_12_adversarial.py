"""What the lesson on adversarial examples says is what its cells compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "12_adversarial.ipynb")


def test_one_step_is_the_sign_of_a_gradient_and_noise_is_not(run: Run) -> None:
    assert run.value("[found.success, found.label_before]") == [True, "Egyptian cat"]
    assert run.value("float(difference)") < 1e-6
    assert run.value("[each.labels[0] for each in by_noise]") == ["Egyptian cat"] * 4


def test_one_level_makes_an_espresso_of_the_cat(run: Run) -> None:
    assert run.value("[espresso.success, espresso.norm_inf * 255, espresso.label_after]") == [
        True,
        1,
        "espresso",
    ]
    assert run.value("float(espresso.probabilities[1].max())") > 0.99
    assert run.value("[half.label_after, further.label_after]") == ["espresso", "strawberry"]
    assert run.value("half.steps") < 20


def test_the_nearest_boundary_takes_few_numbers(run: Run) -> None:
    assert run.value("[nearest.success, int(abs(nearest.change).max())]") == [True, 1]
    assert run.value("float(share)") < 0.01


def test_many_steps_find_what_one_misses(run: Run) -> None:
    one, many = run.value("[list(curves[each].accuracy) for each in ('fgsm', 'pgd')]")
    assert one == sorted(one, reverse=True)
    assert all(many <= one for many, one in zip(many, one, strict=True))
    assert many[-1] < one[-1]


def test_the_trick_does_not_survive_resizing_and_jpeg(run: Run) -> None:
    answers = run.value("{name: answer.labels[0] for name, answer in answers.items()}")
    assert answers == {"as PNG": "espresso", "resized": "Egyptian cat", "as JPEG": "Egyptian cat"}
