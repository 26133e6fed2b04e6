"""Each thing that the first lesson tells its readers, checked in the kernel that has just run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnviz_widgets as cv
from tests.notebooks._execute import NOTEBOOKS, Run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def run(run_of: Callable[[Path], Run]) -> Run:
    return run_of(NOTEBOOKS / "01_layer_activations.ipynb")


def test_the_activation_by_hand_is_the_network_s(run: Run) -> None:
    by_hand, by_network = run.value("[float(by_hand), float(first.maps[49, 53, 28])]")
    assert by_hand == pytest.approx(by_network, rel=1e-5)
    # Printed with three decimals, so a reader sees them agree.
    assert run.text("by-hand").split()[-1] == run.text("by-package").split()[2]
    assert run.value("[window.top, window.left, window.height, window.width]") == [106, 56, 3, 3]
    assert run.value("[top, left]") == [106, 56]


def test_filter_49_is_dark_above_and_bright_below(run: Run) -> None:
    above, _, below = np.array(run.value("net.module.features[0].weight[49].detach().sum(dim=0).tolist()"))
    assert above.max() < -50
    assert below.min() > 50


def test_the_relu_only_clips(run: Run) -> None:
    assert "the ReLU only clips: True" in run.text("relu")
    assert run.value("[bool((first.maps < 0).any()), bool((rectified.maps < 0).any())]") == [True, False]


def test_the_browser_follows_python_and_can_be_run_again(run: Run) -> None:
    chosen = "[browser.layer, browser.channel, browser.position, browser.result.layer, browser.busy]"
    assert run.value(chosen) == ["features.9", 367, [4, 3], "features.9", False]
    assert run.value("visited") == [["features.9", 367]]
    assert "the same maps: True" in run.text("params")


def _receptive_field_of_stages() -> dict[str, int]:
    """Size along the longest path of SqueezeNet 1.1: each kernel of k adds k - 1 of the former steps."""
    size, step, sizes = 1, 1, {}
    for index, (kernel, stride) in enumerate(
        [
            (3, 2),
            (1, 1),
            (3, 2),
            (3, 1),
            (3, 1),
            (3, 2),
            (3, 1),
            (3, 1),
            (3, 2),
            (3, 1),
            (3, 1),
            (3, 1),
            (3, 1),
        ]
    ):
        size, step = size + (kernel - 1) * step, step * stride
        sizes[f"features.{index}"] = size
    return sizes


def test_receptive_fields_grow_as_the_table_says(run: Run) -> None:
    expected = _receptive_field_of_stages()
    sees = run.value("sees")
    assert sees == {name: expected[name] for name in sees}
    assert (sees["features.0"], sees["features.12"]) == (3, 207)
    rows = [line.split() for line in run.text("depth").splitlines()[1:]]
    assert [int(row[3]) for row in rows] == [111, 55, 55, 27, 27, 13, 13, 13, 13]


def test_the_eye_channel_likes_round_things_and_the_deeper_one_the_cat(run: Run) -> None:
    round_things = run.value("dict(zip(photos, round_things.tolist()))")
    assert sorted(round_things, key=round_things.get)[::-1][:3] == ["coffee", "astronaut", "chelsea"]
    cat_eyes = run.value("dict(zip(photos, cat_eyes.tolist()))")
    ranked = sorted(cat_eyes, key=cat_eyes.get)[::-1]
    assert ranked[:2] == ["chelsea", "astronaut"]
    assert cat_eyes["chelsea"] > 1.5 * cat_eyes["astronaut"]
    # Where the eye, the spoon and the badge lie in the three photos, as a person sees them.
    places = [line.replace(",", "").split() for line in run.text("crops").splitlines()]
    assert [(place[0], int(place[4]), int(place[6])) for place in places] == [
        ("chelsea", 4, 3),
        ("coffee", 9, 9),
        ("astronaut", 10, 4),
    ]


@pytest.mark.parametrize(("layer", "channel"), [("features.9", 367), ("features.11", 131)])
def test_both_channels_are_bright_on_the_cat_s_eyes_and_dark_elsewhere(layer: str, channel: int) -> None:
    maps = cv.activations(cv.samples.squeezenet(), cv.samples.photo("chelsea"), layer).maps[channel]
    rows, columns = (np.indices(maps.shape) + 0.5) * 224 / 13
    left = np.hypot(rows - 82, columns - 65) < 28
    right = np.hypot(rows - 100, columns - 192) < 24
    assert maps[left].max() > 0
    assert maps[right].max() > 0
    assert maps[left | right].sum() > 0.9 * maps.sum()
    assert (left | right).mean() < 0.1


def test_sparsity_grows_with_training_and_depth_and_has_the_exceptions_named(run: Run) -> None:
    zeros, random_zeros = run.value("zeros"), run.value("random_zeros")
    assert all(0.4 < share < 0.6 for share in random_zeros.values())
    assert 0.4 < zeros["features.1"] < 0.6
    assert zeros["features.12"] > 0.9
    ordered = [
        "features.1",
        "features.3",
        "features.4",
        "features.6",
        "features.9",
        "features.10",
        "features.12",
    ]
    shares = [zeros[name] for name in ordered]
    assert shares == sorted(shares)
    assert zeros["features.11"] < min(zeros["features.9"], zeros["features.10"])
    assert min(zeros, key=zeros.get) == "classifier.2"
    favorite, random_favorite = run.value("favorite"), run.value("random_favorite")
    assert 0.2 < favorite["features.1"] < 0.3
    assert 0.45 < favorite["features.12"] < 0.6
    assert random_favorite["features.12"] < random_favorite["features.1"]
    evidence = "[((cv.activations(net, p, 'classifier.2').maps > 0).mean(axis=(1, 2)) > .5).mean() for p in"
    assert min(run.value(f"{evidence} photos.values()]")) > 0.7


def test_silent_is_not_dead(run: Run) -> None:
    assert run.value("int(silent['brick'].sum())") > 256
    assert run.value("int(on_every_photo.sum())") == 0
    assert run.value("suspects") == [["features.7.expand1x1_activation", 9]]
    lengths = run.value("lengths.sort().values[:2].tolist()")
    assert run.value("int(lengths.argmin())") == 9
    assert lengths[1] > 200 * lengths[0]
    in_the_stage = "[bool(cv.activations(net, p, 'features.7').all_zero[9]) for p in photos.values()]"
    assert run.value(in_the_stage) == [True] * 10


def test_the_killed_filter_is_marked_and_gets_no_gradient(run: Run) -> None:
    assert run.value("[accuracy(trained), accuracy(broken)]") == pytest.approx([0.894, 0.869], abs=0.01)
    ((_, output),) = [pair for pair in run.widgets() if pair[0] == "broken-browser"]
    marks = [
        model["state"]["_badges"]
        for model in run.widget_state(output).values()
        if "_badges" in model["state"]
    ]
    assert marks == [{"3": "all zero"}]
    everywhere = "[[bool(cv.activations(broken, p, 'relu1').all_zero[3]) for p in clothes.values()],"
    everywhere += (
        " [float(cv.activations(broken, p, 'conv1').maps[3].max()) < -50 for p in clothes.values()]]"
    )
    assert run.value(everywhere) == [[True] * 10] * 2
    gradient = np.array(run.value("gradient.tolist()"))
    assert np.flatnonzero(gradient == 0).tolist() == [3]
    assert run.value("bool((trained.module.conv1.bias[3] > -10).item())")


def test_the_probabilities_by_hand_are_those_of_predict(run: Run) -> None:
    by_hand = run.value("probabilities[prediction.indices].tolist()")
    assert by_hand == pytest.approx(run.value("prediction.probabilities.tolist()"), rel=1e-4)
    assert run.value("net.label(loudest)") == "bullfrog"
    assert run.value("rank") > 100
    # "Loud at a few positions only": half of its maximum.
    assert run.value("int((class_maps[loudest] > class_maps[loudest].max() / 2).sum())") < 17


def test_training_raises_accuracy_and_zeros_as_the_lesson_says(run: Run) -> None:
    training = {name: np.array(values) for name, values in run.value("training").items()}
    assert 0.05 < training["random"][0] < 0.15
    assert training["trained"][0] >= 0.85
    first, second, third = (training["trained"] - training["random"])[1:]
    assert second > first > 0.05
    assert abs(third) < 0.03


def test_a_reused_layer_has_two_calls(run: Run) -> None:
    assert run.value("[relu.calls, own.layer('layer1').kind]") == [2, "Sequential"]
    assert run.text("own-calls").count("64 channels of 56x56") == 2


def test_exercise_1_has_two_opposite_vertical_edges() -> None:
    net = cv.samples.squeezenet()
    brick = cv.activations(net, cv.samples.photo("brick"), "features.1").maps
    strongest = np.argsort(-brick.max(axis=(1, 2)))[:4].tolist()
    assert {49, 55, 60} <= set(strongest)
    kernels: Any = net.module.features[0].weight.detach().sum(dim=1).numpy()
    bright_left, bright_right = kernels[55].mean(axis=0), kernels[60].mean(axis=0)
    assert bright_left[0] > 40 > -40 > bright_left[2]
    assert bright_right[0] < -40 < 40 < bright_right[2]


def test_exercise_2_the_channel_answers_a_hundredth_of_what_others_do() -> None:
    net = cv.samples.squeezenet()
    found = cv.activations(net, cv.samples.photo("chelsea"), "features.3")
    assert not found.all_zero[4]
    maxima = found.maps.max(axis=(1, 2))
    assert maxima[4] < 0.03 * np.median(maxima)
    lengths = net.module.features[3].expand1x1.weight.detach().flatten(1).norm(dim=1)  # type: ignore[union-attr, operator]
    assert lengths[4] < 0.03 * lengths.median()


def test_exercise_3_the_window_in_the_corner_is_cut_off() -> None:
    field = cv.receptive_field(cv.samples.squeezenet(), "features.12")
    inside, corner = field.box(6, 6), field.box(0, 0)
    assert (inside.height, inside.width) == (207, 207)
    assert (corner.top, corner.left, corner.height, corner.width) == (0, 0, 119, 119)


def test_exercise_4_squeeze_layers_are_dense(run: Run) -> None:
    share = "(seen[f'features.{i}.{name}_activation'] == 0).float().mean().item()"
    for index in (3, 4, 6, 7, 9, 10, 11, 12):
        code = f"[{share} for i in [{index}] for name in ('squeeze', 'expand3x3')]"
        squeeze, expand = run.value(code)
        assert squeeze < expand - 0.15, index
    assert run.value("seen['features.9.squeeze_activation'].shape[1]") == 48


def test_exercise_5_one_unit_of_the_trained_network_is_dead() -> None:
    images, labels = cv.samples.fashion_mnist("test")
    ten = np.stack([images[np.flatnonzero(labels == index)[0]] for index in range(10)])

    def silent(checkpoint: str, chosen: Any) -> list[int]:
        net = cv.samples.fashion_cnn(checkpoint)
        with cv.capture(net, ["relu3"]) as seen:
            net(net.prepare(chosen))
        return (seen["relu3"] == 0).all(dim=0).nonzero().flatten().tolist()

    assert silent("trained", ten) == silent("trained", images) == [16]
    assert len(silent("random", ten)) > len(silent("random", images)) > 0
