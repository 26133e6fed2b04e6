"""The texture player without a page: the source beside it, branches through the scales that remain, its layers."""

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
from cnnviz_widgets.engine import coarse_to_fine
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError

SOON = 60.0
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        second = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1))
        module = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), second, nn.ReLU())
    return cv.Network(module, input=cv.InputSpec(size=(20, 16), mean=0.5, std=0.2))


@pytest.fixture
def player(net: cv.Network) -> Iterator[cv.TexturePlayer]:
    made = cv.TexturePlayer(net, {"first": IMAGES[0], "second": IMAGES[1]}, steps=6)
    yield made
    made.close()


def check_call(net: cv.Network, player: Any) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result == cv.synthesize_texture(net, *player.inputs, **player.params)


def test_a_run_is_the_call_with_the_source_beside_it(net: cv.Network, player: Any) -> None:
    player.set(size=(12, 18))
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, 6).image, player.result.image)
    for layer in ("1", "3"):
        np.testing.assert_allclose(player.chart._lines[layer], player.result.losses[layer], rtol=1e-6)
    # The source has its own size, whatever the texture's.
    shown = Image.open(io.BytesIO(player._still._picture.value))
    np.testing.assert_array_equal(np.asarray(shown), IMAGES[0])
    assert player.view._runs[1].text == "first"
    player._photos._list.value = "second"
    shown = Image.open(io.BytesIO(player._still._picture.value))
    np.testing.assert_array_equal(np.asarray(shown), IMAGES[1])
    player.controls["layers"].widget.value = ("3",)
    player.controls["pooling"].widget.value = 1
    player.start()
    check_call(net, player)
    assert (player.result.layers, player.result.pooling) == (("3",), "average")
    np.testing.assert_array_equal(player.result.source, IMAGES[1])


@pytest.mark.parametrize(("step", "left"), [(2, 3), (3, 2), (7, 1)])
def test_a_branch_takes_the_scales_that_remain(net: cv.Network, player: Any, step: int, left: int) -> None:
    player.set(scales=3, steps=8)
    player.start()
    check_call(net, player)
    assert "5 x 4 up to step 3, 10 x 8 up to step 6, 20 x 16 up to step 8" in player.parts.said.value
    frame = player.view.frame(1, step)
    assert frame.image.shape == (20, 16, 3)
    player.branch(step=step, match_histogram=True)
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"]) == (left, 8 - step)
    assert len(player.result.sizes) == left
    np.testing.assert_array_equal(player.params["start"], frame.image)
    # A branch of the branch counts from where that began; what is chosen holds.
    player.branch(step=step + 1, run=2)
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"]) == (left, 7 - step or 8)
    player.branch(step=step, run=1, scales=1)
    check_call(net, player)
    assert player.params["scales"] == 1


def test_the_scales_it_takes_by_itself_remain_too(
    net: cv.Network, player: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coarse_to_fine, "_SHORTEST", 8)
    player.start()
    check_call(net, player)
    assert player.result.sizes == ((10, 8), (20, 16))
    player.branch(step=2, steps=5)
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"]) == (2, 3)
    player.branch(step=3, run=1)  # which was to take 6
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"]) == (1, 3)


def test_settings_changed_in_a_pause_begin_from_the_picture(net: cv.Network, player: Any) -> None:
    player.set(steps=5000, optimizer="adam")
    player.start()
    player.pause()
    assert player.wait(SOON)
    done = player.view.frame(1, -1)
    player.set(steps=done.step + 2, layer_weights=[1.0, 0.5])
    assert "layer weights" in player.parts.pending.value
    player.resume()
    check_call(net, player)
    np.testing.assert_array_equal(player.params["start"], done.image)
    assert player.results[1].steps == done.step


def test_the_list_of_layers_shows_those_that_are_taken(net: cv.Network, player: Any) -> None:
    field = player.controls["layers"].widget
    assert field.value == ("1", "3")
    player.set(layers=("0", 0))
    assert field.value == ("0",)
    field.value = ()
    assert player.options["layers"] is None
    assert field.value == ("1", "3")


def test_wrong_uses_are_refused(net: cv.Network, player: Any) -> None:
    for options, error, message in (
        ({"layers": "9"}, LayerNotFoundError, "9"),
        ({"layers": []}, LayerNotFoundError, "empty"),
        ({"layer_weights": [1.0]}, ValueError, "2 layers"),
        ({"scales": 7, "steps": 6}, ValueError, "scales=7"),
        ({"optimizer": "sgd"}, ValueError, "lbfgs"),
        ({"style": IMAGES[0]}, TypeError, "style"),
    ):
        with pytest.raises(error, match=message):
            cv.TexturePlayer(net, IMAGES[0], **options)
    with pytest.raises(InputError, match="one image at a time"):
        cv.TexturePlayer(net, IMAGES)
    before = player.options
    for option in ({"rate": -1.0}, {"layer_weights": [1.0]}, {"size": (0, 3)}, {"pooling": "min"}):
        with pytest.raises(ValueError, match=next(iter(option))):
            player.set(**option)
    assert player.options == before
    # What only the method can tell is shown when it begins, and nothing is lost.
    player.start()
    assert player.wait(SOON)
    player.set(scales=7)
    player.start()
    assert player.wait(SOON)
    assert "scales=7" in player.status.value
    assert list(player.results) == [1]


def test_without_a_photo_it_offers_textures(net: cv.Network) -> None:
    player = cv.TexturePlayer(net, steps=1)
    assert list(player._photos.images) == ["gravel", "brick", "grass"]
    assert player.image.tobytes() == cv.samples.photo("gravel").tobytes()
    player.close()
