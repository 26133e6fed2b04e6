"""The deep dream player without a page: layers and their weights, guides, and branches whose picture is the photo."""

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
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError
from cnnviz_widgets.widgets._layer_weights import weights_text

SOON = 60.0
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3))
    # Resizing cuts: a branch must not be cut again.
    return cv.Network(module, input=cv.InputSpec(size=(16, 12), resize=18, mean=0.5, std=0.2))


@pytest.fixture
def player(net: cv.Network) -> Iterator[Any]:
    made = cv.DeepDreamPlayer(net, {"first": IMAGES[0], "second": IMAGES[1]}, "2", steps=3, octaves=2)
    yield made
    made.close()


def check_call(net: cv.Network, player: Any) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result == cv.deepdream(net, *player.inputs, **player.params)


def picture_of(still: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(still._picture.value)).convert("RGB"))


def test_a_run_is_the_call_and_a_branch_dreams_on_with_the_frame(net: cv.Network, player: Any) -> None:
    assert player.inputs[0] is IMAGES[0] or np.shares_memory(player.inputs[0], IMAGES[0])
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, 6).image, player.result.image)
    np.testing.assert_allclose(player.chart._lines["value"], player.result.values, rtol=1e-6)
    np.testing.assert_array_equal(picture_of(player._still), player.result.original)
    assert "Sizes of the octaves, in pixels: 11 x 9, 16 x 12." in player.parts.said.value
    player.branch(step=2, rate=0.1)
    check_call(net, player)
    np.testing.assert_array_equal(player.inputs[0], player.view.frame(1, 2).image)
    # The frame as it is, neither resized nor cut.
    np.testing.assert_array_equal(player.result.original, player.view.frame(1, 2).image)
    assert (player.result.steps, player.result.rate) == (6, 0.1)
    assert player.view.frame(2, -1).step == 8
    player.view.run = 1
    assert player.inputs[0] is player.image
    # A branch of another size.
    player.set(size=(21, 18))
    player.branch()
    check_call(net, player)
    assert player.result.image.shape == (21, 18, 3)


def test_layers_have_weights_and_channels(net: cv.Network, player: Any) -> None:
    picker = player._picker
    line = picker._lines[0]
    assert (line.layer.value, line.channel.value, line.weight.value) == (2, "", "1")
    assert line.remove.layout.display == "none"
    picker.add.click()
    assert player.options["layers"] == {"2": 1.0, "0": 1.0}
    picker._lines[1].channel.value = "4"
    picker._lines[1].weight.value = "-0.5"
    assert player.options["layers"] == {"2": 1.0, cv.Target(layer="0", channel=4): -0.5}
    assert player.to_text().startswith("DeepDreamPlayer: 2 - 0.5 * 0, channel 4\n")
    player.start()
    check_call(net, player)
    for field, wrong, message in (
        ("channel", "6", "channels 0 to 5; got &#x27;6&#x27;"),
        ("weight", "0", "finite number other than 0"),
        ("weight", "much", "Weight is a number"),
    ):
        getattr(picker._lines[1], field).value = wrong
        assert message in player.status.value
        assert (picker._lines[1].channel.value, picker._lines[1].weight.value) == ("4", "-0.5")
    picker._lines[0].remove.click()
    assert player.options["layers"] == {cv.Target(layer="0", channel=4): -0.5}
    assert len(picker._lines) == 1
    picker.add.click()
    picker.add.click()
    picker._lines[2].layer.value = picker._lines[1].layer.value
    assert "is there twice" in player.status.value
    player.set(layers=cv.Target(layer="2", channel=1) + 0.5 * cv.Target(layer="0", channel=0))
    assert picker._lines == []
    assert "channel" in picker._other.value
    player.start()
    check_call(net, player)
    picker.add.click()
    assert player.options["layers"] == {"0": 1.0}


def test_a_guide_is_one_of_the_photos_or_none(net: cv.Network, player: Any) -> None:
    assert player._guide_still.layout.display == "none"
    player._guides._list.value = "second"
    np.testing.assert_array_equal(picture_of(player._guide_still), net.input.view(IMAGES[1]))
    player.start()
    check_call(net, player)
    assert player.params["guide"] is not None
    player._guides._list.value = "no guide"
    assert player.options["guide"] is None
    player._guides._path.value = "nowhere.png"
    assert "nowhere.png" in player.status.value
    assert player.options["guide"] is None


def test_another_photo_in_a_pause_dreams_on_with_the_frame(net: cv.Network, player: Any) -> None:
    player.set(steps=5000)
    player.start()
    player.pause()
    assert player.wait(SOON)
    done = player.view.frame(1, -1)
    # A photo of another size is for the next start: what is dreamed on is this picture, as large as it is.
    player.set_image(np.zeros((20, 30, 3), np.uint8), "night")
    assert player.parts.pending.value == "<p>The photo that was chosen is for Start.</p>"
    player.set(steps=2)
    assert "Resume begins a new run from this picture: steps 2." in player.parts.pending.value
    player.resume()
    check_call(net, player)
    np.testing.assert_array_equal(player.inputs[0], done.image)
    assert player.view.frame(2, -1).step == done.step + 4
    assert player.params["size"] == player.results[1].image.shape[:2]


@pytest.mark.parametrize(
    ("layers", "options", "error", "message"),
    [
        ([], {}, LayerNotFoundError, "empty list"),
        ("9", {}, LayerNotFoundError, "9"),
        ({"2": 0.0}, {}, ValueError, "other than 0"),
        ("2", {"octaves": 0}, ValueError, "octaves"),
        ("2", {"octave_scale": 0.5}, ValueError, "above 1"),
        (cv.Target(layer="2", channel=0), {"guide": IMAGES[0]}, InputError, "guide"),
        ("2", {"image": 1}, TypeError, "image"),
    ],
)
def test_what_deepdream_refuses_is_refused_at_once(
    net: cv.Network, layers: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        cv.DeepDreamPlayer(net, IMAGES[0], layers, **options)


def test_left_out_the_layer_is_one_in_the_middle(net: cv.Network, player: Any) -> None:
    made = cv.DeepDreamPlayer(net, IMAGES[0], steps=1, octaves=1)
    assert made.options["layers"] == "1"
    made.close()
    with pytest.raises(LayerNotFoundError, match="9"):
        player.set(layers=["2", "9"])
    before = player.options
    for option in ({"rate": -1}, {"octave_scale": 0.9, "octaves": 2}, {"zoom": 0.5, "frames": 2}):
        with pytest.raises(ValueError, match=next(iter(option))):
            player.set(**option)
    assert player.options == before
    assert before["layers"] == "2"


def test_weights_in_words() -> None:
    assert weights_text({"a": 1.0, ("b", 1): 0.5}) == "a + 0.5 * b (call 1)"
    assert weights_text({"a": -1.0, cv.Target(layer="b", channel=3): -2.0}) == "-1 * a - 2 * b, channel 3"
