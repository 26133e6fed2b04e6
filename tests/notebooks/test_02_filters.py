"""Each thing that the second lesson tells its readers, checked in the kernel that has just run it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[..., Run]) -> Run:
    return run_of(NOTEBOOKS / "02_filters.ipynb")


def test_the_roughness_by_hand_is_that_of_the_method(run: Run) -> None:
    by_hand, by_method = run.value("[float(by_hand), float(kernels.roughness[chosen])]")
    assert by_hand == pytest.approx(by_method, abs=1e-6)
    # Written as sums of squared differences of neighbors, without a cosine transform (weights up to a factor).
    kernel = np.array(run.value("kernels.weights[chosen, 0].tolist()"))
    differences = sum((np.diff(kernel, axis=axis) ** 2).sum() for axis in (0, 1))
    highest = 2 * (2 - 2 * np.cos(np.pi * 6 / 7))
    assert by_hand == pytest.approx(differences / (kernel**2).sum() / highest, abs=1e-6)
    assert run.value("[as_smooth, percentile, float(kernels.percentile[chosen])]") == [0, 0.5, 0.5]


def test_the_one_noisy_kernel_is_made_of_vertical_lines(run: Run) -> None:
    assert run.value("[i for i, v in enumerate(kernels.verdicts) if v == 'noisy']") == [9]
    kernel = np.array(run.value("kernels.weights[9, 0].tolist()"))
    columns = kernel.mean(axis=0)
    # Most of its energy is in what its rows have in common, and neighboring columns differ in sign.
    assert 7 * (columns**2).sum() / (kernel**2).sum() > 0.6
    assert (columns[2:-1] * columns[3:] < 0).any()
    assert "kernel 9 is noisy" in run.text("reasons")


def test_the_layers_are_told_apart(run: Run) -> None:
    lines = run.text("layer").splitlines()
    assert lines[0].startswith("trained  structured: p = 0.005")
    assert lines[1].startswith("random   like noise: p = 0.7")


def test_the_grid_follows_python_and_its_call_can_be_run_again(run: Run) -> None:
    assert run.value("[filters.kernel, filters.sort, filters.busy]") == [9, "roughness percentile", False]
    assert "gives the same: True" in run.text("params")
    order = run.value("filters.parts.grid.order.tolist()")
    percentiles = np.array(run.value("kernels.percentile.tolist()"))
    assert order == np.argsort(percentiles, kind="stable").tolist()
    assert order[-1] == 9


def test_noise_wears_off_as_the_lesson_says(run: Run) -> None:
    history = run.value("history")
    first, second = history["random"], history["step-20"]
    assert min(first[1], first[3], second[1], second[3]) > 0.3
    later = [moment for name, moment in history.items() if name not in ("random", "step-20")]
    assert {p for moment in later for p in (moment[1], moment[3])} == {0.005}
    assert 0.4 < run.value("cv.samples.fashion_cnn_checkpoints()[1].test_accuracy") < 0.45
    in_second = [moment[2] for moment in history.values()]
    assert in_second == sorted(in_second, reverse=True)
    assert all(one / 16 <= two / 32 or one <= 1 for one, _, two, _ in later)


def test_the_four_trainings_end_as_the_lesson_says(run: Run) -> None:
    crimes = run.value("crimes")
    small, good, decayed, large = (
        crimes[name] for name in ("rate too small", "rate good", "and weight decay", "rate too large")
    )
    assert small[1] == "like noise"
    assert (small[2], small[3]) == (14, 29)
    assert good[0] > 0.65
    assert good[2] <= 4
    assert good[3] > decayed[3] + 1
    assert decayed[0] > 0.65
    assert large[0] == pytest.approx(0.1, abs=0.03)
    assert large[2] + large[3] <= 1
    assert large[4] == 1.0
    assert good[1] == decayed[1] == large[1] == "structured"


def test_filter_53_is_filter_11_turned(run: Run) -> None:
    assert run.value("cosine(weights[11], weights[53])") < 0.3
    turned = run.value("cosine(turned, weights[53])")
    assert f"53 (rotate 270, {turned:.3f})" in run.text("duplicates")
    assert "40 of 64 filters are in 12 groups" in run.text("duplicates")
    assert run.value("color_filters.result.duplicates[color_filters.group].members.tolist()")[0] == 11


def test_chance_reaches_what_the_lesson_says(run: Run) -> None:
    random = np.random.default_rng(0)
    # The largest cosine of two among 64 random kernels of 3x3, in any of eight positions.
    largest = []
    for _ in range(40):
        units = random.normal(size=(64, 3, 3))
        units /= np.sqrt((units**2).sum(axis=(1, 2), keepdims=True))
        turned = [
            np.rot90(each, turns, axes=(1, 2)) for each in (units, units[:, ::-1]) for turns in range(4)
        ]
        cosines = [np.abs(np.tril(units.reshape(64, 9) @ each.reshape(64, 9).T, -1)).max() for each in turned]
        largest.append(max(cosines))
    assert np.median(largest) > 0.9
    assert np.quantile(largest, 0.9) < 0.985


def test_deeper_and_pointwise_layers(run: Run) -> None:
    assert run.value("deeper.weights.shape[1]") == 16
    assert "matrix times channels is what the layer returns: True" in run.text("points")
    assert "verdict: cannot tell" in run.text("points")


def test_the_limits_are_those_that_are_told(run: Run) -> None:
    chance = run.value("chance")
    # Of 1,000: three deviations of a binomial share around what the percentiles promise.
    for verdict, share in (("smooth", 0.02), ("mixed", 0.08), ("noisy", 0.9)):
        assert chance[verdict] == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 1000))
    assert run.value("noise.layer_verdict") == "like noise"
    small = run.value("list(small.verdicts)")
    assert small.count("cannot tell") > 25
    assert "noisy" not in small
    assert run.value("[impostor.layer_verdict, impostor.verdicts.count('smooth')]") == ["structured", 16]
    assert run.value("[i for i, v in enumerate(first.verdicts) if v == 'noisy']") == [9, 50]


def test_exercise_2_fine_patterns_become_smooth(run: Run) -> None:
    found = "cv.kernels(net, 'features.0', smooth_ratio=10)"
    assert run.value(f"{found}.verdicts.count('smooth')") == 58
    assert run.value(f"{found}.layer_verdict") == "structured"
