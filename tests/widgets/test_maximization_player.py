"""The maximization player without a page: what is excited, branches of one picture and of many, its fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, LabelNotFoundError, LayerNotFoundError, TargetError
from cnnviz_widgets.render.mosaic import mosaic, tiles_of
from cnnviz_widgets.widgets._maximization_target import ranges_text, target_text, typed_channels

SOON = 60.0
LABELS = ["cat", "<b>dog</b>", "fox"]


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 3)
        )  # fmt: skip
    return cv.Network(module, input=cv.InputSpec(size=(12, 10), mean=0.5, std=0.2), labels=LABELS)


@pytest.fixture
def player(net: cv.Network) -> Iterator[cv.MaximizationPlayer]:
    made = cv.MaximizationPlayer(net, "fox", steps=6)
    yield made
    made.close()


def run(player: cv.MaximizationPlayer) -> None:
    player.start()
    assert player.wait(SOON)
    assert player.state == "done", player.status.value


def check_call(net: cv.Network, player: cv.MaximizationPlayer) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result is not None
    assert player.result == cv.maximize(net, **player.params)


def test_a_class_a_branch_and_settings_changed_in_a_pause(net: cv.Network, player: Any) -> None:
    run(player)
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, 6).image, player.result.images[0])
    np.testing.assert_allclose(player.chart._lines["target"], player.result.curves["target"][:, 0])
    player.branch(step=2, run=1, parameterization="pixels", rate=0.2)
    check_call(net, player)
    assert (player.result.steps, player.result.parameterization) == (4, "pixels")
    np.testing.assert_array_equal(player.params["start"], player.view.frame(1, 2).image)
    # A pause in the middle of a long run, and other settings from there.
    player.set(steps=5000, parameterization="fourier", rate=None)
    player.start()
    player.pause()
    assert player.wait(SOON)
    done = player.view.frame(3, -1).step
    player.set(steps=done + 3, total_variation=1e-3, smoothness=0.0)
    player.resume()
    check_call(net, player)
    assert (player.result.steps, list(player.results)) == (3, [1, 2, 3, 4])
    assert set(player.chart._lines) == {"target", "total variation"}
    # What was stopped is what so many steps give.
    stopped, first = (
        player.results[3],
        {**player.params, "start": None, "total_variation": None, "smoothness": None},
    )
    assert replace(stopped, planned_steps=stopped.steps) == cv.maximize(
        net, **{**first, "steps": stopped.steps}
    )


@pytest.mark.parametrize("copies", [1, 2])
def test_a_branch_of_many_begins_with_each_picture(net: cv.Network, copies: int) -> None:
    targets = tuple(cv.Target(layer="2", channel=channel) for channel in (0, 3, 4))
    player = cv.MaximizationPlayer(net, targets, steps=4, copies=copies, size=(9, 14))
    run(player)
    assert player.view.frame(1, 4).image.shape == mosaic(player.result.images).shape
    player.branch(step=2)
    check_call(net, player)
    early = cv.maximize(net, targets, steps=2, copies=copies, size=(9, 14))
    np.testing.assert_array_equal(player.params["start"], early.images)
    player.close()


def test_tiles_come_out_of_any_mosaic() -> None:
    random = np.random.default_rng(0)
    for count in range(1, 14):
        for height, width in ((3, 3), (2, 7), (8, 3)):
            tiles = random.integers(0, 256, (count, height, width, 3), np.uint8)
            np.testing.assert_array_equal(tiles_of(mosaic(tiles), count, height, width), tiles)
    with pytest.raises(ValueError, match="mosaic of 4 tiles of 3 x 3 pixels"):
        tiles_of(mosaic(tiles), 4, 3, 3)


def test_the_picker_says_what_is_excited_and_changes_it(net: cv.Network, player: Any) -> None:
    picker = player._picker
    assert (picker.about.value, picker.classes.value) == ("a class", "fox")
    picker.classes.value = "<b>dog</b>"
    assert player.options["target"] == 1
    assert "dog" in player.to_text()
    picker.about.value = "several channels"
    assert player.options["target"] == tuple(cv.Target(layer="0", channel=channel) for channel in range(6))
    picker.channels.value = "0-2, 5"
    assert [each.channel for each in player.options["target"]] == [0, 1, 2, 5]
    picker.channels.value = "0-6"
    assert "channels 0 to 5; got &#x27;0-6&#x27;" in player.status.value
    assert picker.channels.value == "0-2, 5"
    picker.about.value = "a channel"
    picker.layers.value = "2"
    picker.channel.next.click()
    picker.position.value = "1, 2"
    assert player.options["target"] == cv.Target(layer="2", channel=1, position=(1, 2))
    run(player)
    check_call(net, player)
    player.set(target=cv.Target("cat") - cv.Target("fox"))
    assert picker.about.value == "as given"
    run(player)
    check_call(net, player)
    picker.about.value = "a class"
    assert player.options["target"] == 1


def test_texts_of_targets(net: cv.Network) -> None:
    several = [cv.Target(layer="2", channel=channel) for channel in (0, 1, 2, 4)]
    assert target_text(net, several) == "2, channels 0-2, 4"
    assert target_text(net, ["cat", 2]) == "cat and 1 more"
    assert (
        target_text(net, cv.Target(layer=("2", 0), channel=3, position=(1, 1)))
        == "2 (call 0), channel 3 at 1, 1"
    )
    assert typed_channels(ranges_text([3, 4, 5, 9]), 10) == [3, 4, 5, 9]
    for wrong in ("", "a", "3-", "5-2", "1--2"):
        with pytest.raises(ValueError, match="channels"):
            typed_channels(wrong, 8)


def test_without_a_target_it_takes_a_channel_in_the_middle(net: cv.Network) -> None:
    player = cv.MaximizationPlayer(net)
    assert player.options["target"] == cv.Target(layer="2", channel=0)
    assert player._picker.about.value == "a channel"
    player.close()
    flat = cv.Network(nn.Sequential(nn.Flatten(), nn.Linear(27, 2)), input=cv.InputSpec(size=3))
    with pytest.raises(InputError, match="say which target"):
        cv.MaximizationPlayer(flat)
    player = cv.MaximizationPlayer(flat, 1, steps=2)
    run(player)
    player.close()


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        ("wolf", {}, LabelNotFoundError, "wolf"),
        (cv.Target(layer="7", channel=0), {}, LayerNotFoundError, "7"),
        (cv.Target(layer="2", channel=9), {}, TargetError, "9"),
        ([], {}, TargetError, "empty list"),
        ("fox", {"steps": 0}, ValueError, "steps"),
        ("fox", {"rate": -1.0}, ValueError, "rate"),
        ("fox", {"diversity": 1.0}, ValueError, "diversity needs copies"),
        ("fox", {"step": 3}, TypeError, "options of cv.maximize"),
    ],
)
def test_what_maximize_refuses_is_refused_at_once(
    net: cv.Network, target: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cv.MaximizationPlayer(net, target, **options)


def test_a_layer_that_is_not_there_is_not_chosen(net: cv.Network, player: Any) -> None:
    before = player.options
    for wrong in (cv.Target(layer="7", channel=0), [cv.Target(layer="7", channel=0)]):
        with pytest.raises(LayerNotFoundError, match="7"):
            player.set(target=wrong)
    with pytest.raises(
        TypeError, match=r"got 'layer'; say it with target=cv.Target\(layer=..., channel=...\)"
    ):
        player.set(layer="2")
    for option in ({"rate": -1}, {"smoothness": "much"}, {"optimizer": "sgd"}, {"size": (1, 2, 3)}):
        with pytest.raises((TypeError, ValueError), match=next(iter(option))):
            player.set(**option)
    with pytest.raises(AttributeError, match=r"target is an option of cv.maximize"):
        player.target = "fox"
    assert player.options == before


def test_a_grid_that_does_not_fit_the_picture_to_go_on_from_is_said(net: cv.Network, player: Any) -> None:
    run(player)
    player.branch(copies=3)  # one picture is taken for all
    check_call(net, player)
    player.branch(step=6, run=2, copies=2)  # the picture it began with
    check_call(net, player)
    np.testing.assert_array_equal(player.params["start"], player.view.frame(1, 6).image)
    player.branch(step=9, run=2, copies=2)
    assert player.wait(SOON)
    assert player.state == "failed"
    assert "3 pictures to start from for 2" in player.status.value
    assert list(player.results) == [1, 2, 3]
