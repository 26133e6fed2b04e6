"""The attack player without a page: what it shows of both pictures, branches, and an answer when epsilon moves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import LabelNotFoundError, OutputError, TargetError

SOON = 60.0
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 12, 10, 3), np.uint8)
LABELS = ["cat", "<b>dog</b>", "fox", "owl", "elk", "bat", "cow"]


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(480, 7))
    return cv.Network(module, input=cv.InputSpec(size=(12, 10), mean=0.5, std=0.2), labels=LABELS)


@pytest.fixture
def player(net: cv.Network) -> Iterator[Any]:
    made = cv.AttackPlayer(net, {"first": IMAGES[0], "second": IMAGES[1]}, method="ifgsm", epsilon=16 / 255)
    yield made
    made.close()


def check_call(net: cv.Network, player: Any) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result == cv.attack(net, *player.inputs, **player.params)


def picture_of(still: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(still._picture.value)).convert("RGB"))


def odds(net: cv.Network, picture: Any) -> Any:
    """The probabilities, written out."""
    x = ((torch.from_numpy(picture / 255).float() - 0.5) / 0.2).permute(2, 0, 1)[None]
    with torch.no_grad():
        return torch.softmax(net.module(x), dim=1)[0].numpy()


def check_bars(player: Any, found: Any) -> None:
    for name, value in player.report.bars._rows:
        label = name.removeprefix("leave: ").removeprefix("reach: ")
        assert value == pytest.approx(float(found[LABELS.index(label)]), abs=1e-6)


def test_a_run_is_the_call_with_what_the_network_says_beside_it(net: cv.Network, player: Any) -> None:
    before = odds(net, IMAGES[0])
    check_bars(player, before)
    assert player.report.bars._rows[0][0] == f"leave: {LABELS[before.argmax()]}"
    np.testing.assert_array_equal(picture_of(player.report.original), IMAGES[0])
    assert player.report.difference.layout.display == "none"
    player.start()
    check_call(net, player)
    result = player.result
    assert result.success
    assert "<b>Success</b>" in player.report.verdict.value
    np.testing.assert_array_equal(player.view.frame(1, -1).image, result.adversarial)
    np.testing.assert_array_equal(picture_of(player.report.difference), result.difference())
    assert "the difference \u00d7 8" in player.report.difference._text.value
    after = odds(net, result.adversarial)
    check_bars(player, after)
    rows = player.report.bars._rows
    assert rows[0][0] == f"leave: {LABELS[before.argmax()]}"
    assert rows[1][0] == LABELS[after.argmax()]
    assert len(rows) == 5
    shown = np.asarray(Image.open(io.BytesIO(player.to_png())))
    np.testing.assert_array_equal(shown, np.asarray(Image.open(io.BytesIO(result._repr_png_()))))
    # An earlier frame: its own numbers.
    player.view.step = 1
    player._draw_curves()
    early = player.view.frame(1, 1).image
    check_bars(player, odds(net, early))
    assert f"by more than {np.abs(early.astype(int) - IMAGES[0]).max()}/255" in player.report.verdict.value


@pytest.mark.parametrize("method", ["ifgsm", "pgd", "deepfool", "fgsm"])
def test_a_branch_takes_the_steps_that_remain_as_long_as_before(
    net: cv.Network, player: Any, method: str
) -> None:
    options = {"epsilon": 2 / 255, "steps": 8} if method in ("ifgsm", "pgd") else {"epsilon": None}
    player.set(method=method, **options)
    player.start()
    check_call(net, player)
    done = min(3, player.result.steps)
    player.branch(step=done)
    check_call(net, player)
    np.testing.assert_array_equal(player.params["start"], player.view.frame(1, done).image)
    if method in ("ifgsm", "pgd"):
        assert player.params["steps"] == 5
        assert player.params["rate"] == pytest.approx(2.5 * 2 / 255 / 8)
    elif method == "deepfool":
        assert player.params["steps"] == 50 - done


def test_the_last_frame_is_the_best_of_all_restarts(net: cv.Network, player: Any) -> None:
    player.set(method="pgd", restarts=4, steps=2, epsilon=1 / 255)
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, -1).image, player.result.adversarial)
    player.branch()
    check_call(net, player)
    np.testing.assert_array_equal(player.params["start"], player.results[1].adversarial)


def test_a_move_of_epsilon_is_answered_at_once_by_one_step(net: cv.Network, player: Any) -> None:
    slider = player.controls["epsilon"].widget
    slider.value = 3
    assert player.options["epsilon"] == 3 / 255
    assert player.view.runs == []  # ten steps wait for Start
    player.controls["method"].widget.value = 0
    assert player.view.runs == []
    for levels in range(4, 16):
        slider.value = levels
        check_call(net, player)
        assert player.result.epsilon == levels / 255
        assert player.result.norm_inf == pytest.approx(levels / 255)
    assert len(player.view.runs) <= 8
    assert player.view.run == 12
    # What is refused is said, and nothing is begun.
    slider.max = 600
    slider.value = 510
    assert "epsilon" in player.status.value
    assert player.wait(SOON)
    assert (player.view.run, player.options["epsilon"]) == (12, 15 / 255)


def test_a_norm_and_a_method_come_with_what_goes_with_them(net: cv.Network, player: Any) -> None:
    player.set(steps=4, rate=0.001)
    player.controls["norm"].widget.value = 1
    assert (player.options["epsilon"], player.options["rate"]) == (None, None)
    slider = player.controls["epsilon"].widget
    assert (slider.value, slider.description) == (1.0, "Epsilon (length)")
    slider.value = 2.5
    player.start()
    check_call(net, player)
    assert (player.result.norm, player.result.epsilon, player.result.steps) == ("2", 2.5, 4)
    assert player.result.norm_2 <= 2.5
    player.controls["steps"].widget.value = "4.5"
    assert "Steps is a whole number" in player.status.value
    player._goals.kind.value = "this class"
    player.controls["method"].widget.value = 3
    assert (player.options["target"], player.options["epsilon"]) == (None, None)
    assert slider.layout.display == player._goals.layout.display == "none"
    assert player.to_text().startswith("AttackPlayer: deepfool\n")
    player.start()
    check_call(net, player)


def test_a_class_to_reach_has_its_bar(net: cv.Network, player: Any) -> None:
    order = np.argsort(-odds(net, IMAGES[0]))
    player._goals.kind.value = "this class"
    assert player.options["target"] == order[1]
    player._goals.classes.value = LABELS[order[-1]]
    assert player.options["target"] == order[-1]
    assert [name for name, _ in player.report.bars._rows][:2] == [
        f"leave: {LABELS[order[0]]}",
        f"reach: {LABELS[order[-1]]}",
    ]
    player.set(epsilon=20 / 255)
    player.start()
    check_call(net, player)
    assert (player.result.success, player.result.class_after) == (True, order[-1])
    # A probability, of the picture before each step.
    assert player.view.frame(1, 1).values["probability to reach"] == pytest.approx(
        float(odds(net, IMAGES[0])[order[-1]]), rel=1e-4
    )
    assert list(player.chart._lines) == ["probability to reach"]
    player._goals.classes.value = "wolf"
    assert "&#x27;wolf&#x27; not found" in player._goals.classes.said.value
    assert f"It is still &#x27;{LABELS[order[-1]]}&#x27;" in player._goals.classes.said.value
    assert (player._goals.classes.value, player.options["target"]) == ("wolf", order[-1])
    # What the network already answers is refused when it begins, and nothing is lost.
    player._goals.classes.value = LABELS[order[0]]
    player.start()
    assert player.wait(SOON)
    assert "already takes the image for" in player.status.value
    assert list(player.results) == [1]
    player._goals.kind.value = "anything else"
    assert player.options["target"] is None


def test_another_photo_is_shown_until_a_frame_is(net: cv.Network, player: Any) -> None:
    player.start()
    check_call(net, player)
    player._photos._list.value = "second"
    check_bars(player, odds(net, IMAGES[1]))
    np.testing.assert_array_equal(picture_of(player.report.original), IMAGES[1])
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.result.original, IMAGES[1])
    player.view.run = 1
    np.testing.assert_array_equal(picture_of(player.report.original), IMAGES[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epsilon": -1}, ValueError, "epsilon must be a number from 0"),
        ({"method": "cw"}, ValueError, "method is one of"),
        ({"method": "fgsm", "steps": 3}, ValueError, "single step"),
        ({"target": "wolf"}, LabelNotFoundError, "wolf"),
        ({"target": cv.Target(layer="0", channel=1)}, TargetError, "a class"),
        ({"image": 1}, TypeError, "image"),
    ],
)
def test_what_attack_refuses_is_refused_at_once(
    net: cv.Network, player: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cv.AttackPlayer(net, IMAGES[0], **options)
    before = player.options
    with pytest.raises(error, match=message):
        player.set(**options)
    assert player.options == before


def test_a_network_without_classes_is_refused() -> None:
    net = cv.Network(nn.Conv2d(3, 2, 3), input=cv.InputSpec(size=4))
    with pytest.raises(OutputError):
        cv.AttackPlayer(net, IMAGES[0])
