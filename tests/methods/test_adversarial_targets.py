"""Curves of attacks that go to a class: against one attack for each image and size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, TargetError

IMAGES = [np.asarray(each) for each in cv.samples.fashion_mnist("test")[0][:4]]
EPSILONS = [0, 8 / 255, 40 / 255]
GOALS: list[Any] = ["Bag", 5, cv.Target("Bag"), np.int64(0)]
INDICES = [8, 5, 8, 0]


@pytest.fixture(scope="module")
def net() -> cv.Network:
    return cv.samples.fashion_cnn()


@pytest.mark.parametrize(
    "options",
    [
        {"method": "fgsm"},
        {"method": "fgsm", "norm": "2"},
        {"method": "ifgsm", "steps": 3},
        {"method": "pgd", "steps": 2, "restarts": 3},
    ],
)
def test_a_curve_with_targets_is_many_attacks(net: cv.Network, options: dict[str, Any]) -> None:
    epsilons = [0, 2, 5] if "norm" in options else EPSILONS
    curve = cv.attack_curve(net, IMAGES, epsilons, target=GOALS, batch_size=3, **options)
    assert curve.targets is not None
    assert curve.reached is not None
    assert curve.targets.tolist() == INDICES
    # Places of random starts are drawn image by image; those of the first are those of `attack`.
    images = IMAGES[:1] if options["method"] == "pgd" else IMAGES
    for row, epsilon in enumerate(epsilons):
        alone = [
            cv.attack(net, each, epsilon=epsilon, target=goal, **options)
            for each, goal in zip(images, GOALS, strict=False)
        ]
        assert curve.answers[row, : len(alone)].tolist() == [each.class_after for each in alone]
        if len(alone) == len(IMAGES):
            assert curve.reached[row] == np.mean([each.success for each in alone])
        assert curve.reached[row] == np.mean(curve.answers[row] == INDICES)
        assert curve.accuracy[row] == np.mean(curve.answers[row] == curve.clean)
    assert curve.reached[0] == 0
    assert (curve.answers[-1] != curve.clean).any()


def test_a_curve_keeps_the_best_restart_as_an_attack_does(net: cv.Network) -> None:
    # Of the four restarts neither the first nor the last one reaches the class.
    options: dict[str, Any] = {"target": 4, "method": "pgd", "steps": 1}
    epsilons = [44 / 255, 50 / 255]
    curve = cv.attack_curve(net, IMAGES[2], epsilons, restarts=4, **options)
    alone = [cv.attack(net, IMAGES[2], epsilon=each, restarts=4, **options) for each in epsilons]
    assert curve.answers[:, 0].tolist() == [each.class_after for each in alone] == [4, 4]
    assert (cv.attack_curve(net, IMAGES[2], epsilons, **options).answers != 4).all()


def test_one_target_is_that_of_all_images(net: cv.Network) -> None:
    options: dict[str, Any] = {"method": "ifgsm", "steps": 8}
    one = cv.attack_curve(net, IMAGES, EPSILONS, target="Bag", **options)
    assert one == cv.attack_curve(net, IMAGES, EPSILONS, target=[8] * 4, **options)
    assert one.reached is not None
    assert one.reached[-1] > 0
    plain = cv.attack_curve(net, IMAGES, EPSILONS, **options)
    assert (plain.targets, plain.reached) == (None, None)
    # To a class that was chosen it is farther than to any.
    assert (one.accuracy >= plain.accuracy).all()


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_arrays_and_tensors_are_targets_as_numbers_and_lists_are(net: cv.Network, kind: Any) -> None:
    given = [(kind(each), each) for each in (8, INDICES)]
    for target, plain in given:
        found = cv.attack_curve(net, IMAGES, [0.1], target=target, method="fgsm")
        assert found == cv.attack_curve(net, IMAGES, [0.1], target=plain, method="fgsm")
    with pytest.raises(InputError, match="each of the 4 images; got 3 of them"):
        cv.attack_curve(net, IMAGES, target=kind(INDICES[:3]))
    with pytest.raises(TypeError, match=r"a target is a label, an index or a function, got 8\.0"):
        cv.attack_curve(net, IMAGES, target=kind(8.0))


def test_an_array_of_labels_is_a_list_of_targets(net: cv.Network) -> None:
    found = cv.attack_curve(net, IMAGES[:2], [0.1], target=np.array(["Bag", "Sandal"]), method="fgsm")
    assert found.targets is not None
    assert found.targets.tolist() == [8, 5]


def test_what_is_reached_is_shown(net: cv.Network) -> None:
    curve = cv.attack_curve(net, IMAGES, EPSILONS, target="Bag", method="ifgsm")
    assert curve.reached is not None
    lines = str(curve).splitlines()
    assert lines[0].split() == ["epsilon", "accuracy", "reached"]
    assert lines[3].split() == ["40/255", f"{curve.accuracy[2]:.1%}", f"{curve.reached[2]:.1%}"]
    assert 'alt="targets reached over epsilon, in levels of 1/255"' in curve._repr_html_()
    assert f"targets reached 0.0% at 0, {curve.reached[2]:.1%} at 0.157" in repr(curve)


def test_a_curve_with_targets_that_is_stopped_tells_what_it_has(net: cv.Network) -> None:
    steps = cv.attack_curve.steps(net, IMAGES, [0, 40 / 255], target="Bag", batch_size=2)
    next(steps)
    next(steps)
    found = cv.attack_curve.finish(steps)
    assert found.answers[0].tolist() == [*found.clean[:2], -1, -1]
    assert found.reached is not None
    assert found.reached[0] == 0
    assert np.isnan(found.reached[1])


def test_images_that_are_there_already_are_named(net: cv.Network) -> None:
    images = [IMAGES[1], *[IMAGES[0]] * 7]
    with pytest.raises(
        TargetError, match=r"'Ankle boot' is .* image 1 for; .*: images 1, 2, 3, 4, 5 and 2 more"
    ):
        cv.attack_curve(net, images, target="Ankle boot")
