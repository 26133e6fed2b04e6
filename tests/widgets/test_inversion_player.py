"""The inversion player without a page: layers, photos, branches, and what is said of the features."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError
from cnnviz_widgets.views._text import format_number

SOON = 60.0
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 20, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 3))
    return cv.Network(module, input=cv.InputSpec(size=(20, 16), mean=0.5, std=0.2))


@pytest.fixture
def player(net: cv.Network) -> Iterator[cv.InversionPlayer]:
    made = cv.InversionPlayer(net, {"first": IMAGES[0], "second": IMAGES[1]}, "2", steps=6)
    yield made
    made.close()


def check_call(net: cv.Network, player: Any) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result == cv.invert(net, *player.inputs, **player.params)


def test_a_run_is_the_call_with_the_photo_beside_it(net: cv.Network, player: Any) -> None:
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, 6).image, player.result.images[0])
    errors = player.result.curves["feature error"][:, 0]
    assert player.view.frame(1, 6).values["feature error"] == pytest.approx(float(errors[-1]))
    np.testing.assert_allclose(player.chart._lines["feature error"], errors, rtol=1e-6)
    assert f"feature error {format_number(float(player.result.errors[0]))}" in player.parts.said.value
    shown = np.asarray(player.result.original)
    still = player._still._picture.value
    assert still[:4] == b"\x89PNG"
    import io

    from PIL import Image

    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(still))), shown)
    # Another layer, beside the first run.
    player.controls["layer"].widget.value = 0
    player.start()
    check_call(net, player)
    assert (player.params["layer"], player.result.layer) == ("0", "0")
    player.compare(1)
    assert {"feature error, run 1", "feature error, run 2"} <= set(player.chart._lines)
    player.view.run = 1  # beside itself, as its tab does
    np.testing.assert_allclose(
        player.chart._lines["feature error"], player.results[1].curves["feature error"][:, 0]
    )


def test_of_a_run_that_diverges_the_picture_of_the_least_loss_is_on_show(
    net: cv.Network, player: Any
) -> None:
    player.set(optimizer="adam", rate=100.0)
    player.start()
    check_call(net, player)
    result = player.result
    assert "diverged" in result.ended
    assert (result.steps, player.view.step, player.view.frame(1, -1).step) == (0, 0, 6)
    # The last one stays what it was, and the result tells of all steps.
    assert not np.array_equal(player.view.frame(1, -1).image, result.images[0])
    assert result.curves["feature error"].shape == (6, 1)
    assert result.ended in player.to_text()


def test_a_branch_goes_on_and_copies_are_cut_out_of_their_mosaic(net: cv.Network, player: Any) -> None:
    player.set(copies=3, size=(11, 14))
    player.start()
    check_call(net, player)
    player.branch(step=2, total_variation=0.5)
    check_call(net, player)
    assert player.params["start"].shape == (3, 11, 14, 3)
    assert (player.params["steps"], player.result.total_variation) == (4, 0.5)
    # The schedule of momentum depends on all steps: the frames themselves tell what came after two of six.
    mosaic = player.view.frame(1, 2).image
    np.testing.assert_array_equal(player.params["start"][0], mosaic[:11, :14])


def test_another_photo_in_a_pause_begins_from_the_picture(net: cv.Network, player: Any) -> None:
    player.set(steps=5000)
    player.start()
    player.pause()
    assert player.wait(SOON)
    done = player.view.frame(1, -1)
    player._photos._list.value = "second"
    assert "another input" in player.parts.pending.value
    player.set(steps=done.step + 2)
    player.resume()
    check_call(net, player)
    assert player.image is player._photos.images["second"]
    np.testing.assert_array_equal(player.params["start"], done.image)
    np.testing.assert_array_equal(player.result.original, IMAGES[1])
    assert player.results[1].steps == done.step


def test_a_branch_from_an_earlier_run_has_its_photo(net: cv.Network, player: Any) -> None:
    player.start()
    check_call(net, player)
    first = player.image
    player._photos._list.value = "second"
    player.set(layer="0")
    assert player.inputs[0] is first  # of the run on show
    assert player.result == cv.invert(net, *player.inputs, **player.params)
    player.start()
    check_call(net, player)
    assert player.inputs[0] is player.image
    player.view.run = 1
    assert "what run 1 was made with: layer 2, its input." in player.parts.pending.value
    player.branch(step=3)
    check_call(net, player)
    assert player.image is first
    assert (player.inputs[0] is first, player.result.layer, player._photos._list.value) == (
        True,
        "2",
        "first",
    )


def test_wrong_uses_are_refused(net: cv.Network, player: Any) -> None:
    for layer, options, error, message in (
        ("9", {}, LayerNotFoundError, "9"),
        ("2", {"beta": -1}, ValueError, "beta"),
        ("2", {"optimizer": "momentum", "parameterization": "fourier"}, ValueError, "for a spectrum"),
        ("2", {"image": IMAGES[0]}, TypeError, "image"),
    ):
        with pytest.raises(error, match=message):
            cv.InversionPlayer(net, IMAGES[0], layer, **options)
    with pytest.raises(InputError, match="one image at a time"):
        cv.InversionPlayer(net, IMAGES)
    with pytest.raises(ValueError, match="size"):
        player.set(size=(0, 3))
    before = player.options
    for option in ({"beta": -1}, {"rate": 0}, {"copies": 100_000}):
        with pytest.raises(ValueError, match=next(iter(option))):
            player.set(**option)
    with pytest.raises(LayerNotFoundError, match="9"):
        player.set(layer="9")
    assert player.options == before
    assert player.options["size"] is None
    player._photos._path.value = "nowhere.png"
    assert "nowhere.png" in player.status.value
    assert player.image is player._photos.images["first"]


def test_left_out_the_layer_is_one_in_the_middle(net: cv.Network) -> None:
    player = cv.InversionPlayer(net, IMAGES[0], steps=2)
    assert player.options["layer"] == "1"
    assert player.to_text().startswith("InversionPlayer: 1\n")
    player.close()
