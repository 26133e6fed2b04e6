"""The style player without a page: what stands beside the picture, its weights, blends of styles, and branches."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError
from cnnviz_widgets.views._closing import parts_of

SOON = 60.0
CONTENT, OTHER, STARS, STONES = np.random.default_rng(0).integers(0, 256, (4, 20, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def net() -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        module = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, padding=1), nn.ReLU()
        )
    return cv.Network(module, input=cv.InputSpec(size=(20, 16), mean=0.5, std=0.2))


@pytest.fixture
def player(net: cv.Network) -> Iterator[cv.StylePlayer]:
    contents = {"first": CONTENT, "second": OTHER}
    made = cv.StylePlayer(net, contents, {"stars": STARS, "stones": STONES}, steps=6)
    yield made
    made.close()


def check_call(net: cv.Network, player: Any) -> None:
    """The result is the call's, byte for byte."""
    assert player.wait(SOON)
    assert player.state == "done", player.status.value
    assert player.result == cv.transfer_style(net, *player.inputs, **player.params)


def pixels(widget: Any) -> Any:
    return np.asarray(Image.open(io.BytesIO(widget.value)))


def stills(tile: Any) -> Any:
    return pixels(tile.children[0]._picture)


def test_a_run_is_the_call_with_content_and_styles_beside_it(net: cv.Network, player: Any) -> None:
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.view.frame(1, 6).image, player.result.image)
    assert set(player.chart._lines) == {"content", "style", "variation"}
    for name, losses in player.result.losses.items():
        np.testing.assert_allclose(player.chart._lines[name], losses, rtol=1e-6)
    np.testing.assert_array_equal(pixels(player._still._picture), CONTENT)
    for tile, style in zip(player._mix.tiles, (STARS, STONES), strict=True):
        np.testing.assert_array_equal(stills(tile), style)
    assert player.result.blend == (0.5, 0.5)
    assert player.view._runs[1].text == "first as stars + stones"
    player._photos._list.value = "second"
    np.testing.assert_array_equal(pixels(player._still._picture), OTHER)
    player.controls["keep_colors"].widget.value = True
    player.start()
    check_call(net, player)
    np.testing.assert_array_equal(player.result.content, OTHER)
    player.set(size=(10, 12), keep_colors=False)
    assert pixels(player._still._picture).shape == stills(player._mix.tiles[1]).shape == (10, 12, 3)


def test_styles_are_blended_taken_alone_and_added(net: cv.Network, player: Any) -> None:
    mix = player._mix
    mix.tiles[1].weight.value = 0.25
    assert player.options["blend"] == (1.0, 0.25)
    player.start()
    check_call(net, player)
    assert player.result.blend == (0.8, 0.2)
    mix.tiles[1].alone.click()
    assert [tile.weight.value for tile in mix.tiles] == [0.0, 1.0]
    player.start()
    check_call(net, player)
    alone = cv.transfer_style(net, CONTENT, STONES, steps=6)
    np.testing.assert_array_equal(player.result.image, alone.image)
    # Nothing of any style is no style: it is said, and the slider goes back.
    mix.tiles[1].weight.value = 0
    assert "blend are all 0" in player.status.value
    assert mix.tiles[1].weight.value == 1.0
    mix.adding._on_pick(OTHER, "stones")
    assert "are all 0" not in player.status.value
    assert player._style_names == ["stars", "stones", "stones (2)"]
    assert player.options["blend"] == (0.0, 0.0, 1.0)
    np.testing.assert_array_equal(stills(mix.tiles[2]), OTHER)
    player.start()
    check_call(net, player)
    player.set(blend=[1, 2, 3])
    assert [(tile.weight.value, tile.weight.max) for tile in mix.tiles] == [
        (1.0, 1.0),
        (2.0, 2.0),
        (3.0, 3.0),
    ]
    # Another size shows the same tiles; another style closes those that were there.
    tiles, widgets = mix.tiles, set(ipywidgets.widgets.widget._instances)
    player.set(size=(20, 24))
    assert mix.tiles is tiles
    assert stills(tiles[2]).shape == (20, 24, 3)
    assert set(ipywidgets.widgets.widget._instances) == widgets
    former = [part for tile in tiles for part in (tile, *parts_of(tile))]
    mix.show_styles({"one": OTHER})
    assert not any(part.comm for part in former)
    mix.show_styles(dict.fromkeys(player._style_names, OTHER))
    mix.adding._path.value = "nowhere.png"
    assert "nowhere.png" in player.status.value
    assert len(player.styles) == len(mix.tiles) == 3


def test_a_branch_has_other_weights_and_takes_the_scales_that_remain(net: cv.Network, player: Any) -> None:
    player.set(scales=2, start="noise")
    player.start()
    check_call(net, player)
    player.branch(step=2, style_weight=30.0)
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"], player.result.start) == (2, 4, "picture")
    assert (player.options["start"], player.options["scales"]) == ("noise", 2)
    np.testing.assert_array_equal(player.params["start"], player.view.frame(1, 2).image)
    player.branch(step=4, run=1, blend=(0.0, 1.0))
    check_call(net, player)
    assert (player.params["scales"], player.params["steps"]) == (1, 2)
    player.start()
    check_call(net, player)
    assert player.result.start == "noise"


def test_weights_reach_over_decades_and_down_to_zero(net: cv.Network, player: Any) -> None:
    slider = player.controls["style_weight"].widget
    values = [value for _, value in slider.options]
    assert (slider.value, values[:3], values[-1], len(values)) == (3.0, [0.0, 0.01, 0.015], 1000.0, 32)
    np.testing.assert_allclose(np.array(values[7::6]) / values[1:-1:6], 10)
    player.set(style_weight=2.5)
    assert (slider.value, slider.label) == (2.5, "2.5")
    assert [value for _, value in slider.options] == sorted([*values, 2.5])
    player.controls["variation_weight"].widget.value = 0.0
    player.start()
    check_call(net, player)
    assert (set(player.result.losses), player.result.style_weight) == ({"content", "style"}, 2.5)
    for wrong in (float("nan"), "much"):
        with pytest.raises(ValueError, match="style_weight must be a number"):
            player.set(style_weight=wrong)
    assert player.options["style_weight"] == 2.5


def test_the_usual_layers_are_shown(net: cv.Network, player: Any) -> None:
    style, content = (player.controls[name].widget for name in ("style_layers", "content_layers"))
    assert (style.value, content.value) == (("1", "3"), ("1",))
    style.value = ("3",)
    assert content.value == ("3",)
    player.start()
    check_call(net, player)
    assert (player.result.style_layers, player.result.content_layers) == (("3",), ("3",))


def test_wrong_uses_are_refused(net: cv.Network, player: Any) -> None:
    for options, error, message in (
        ({"style_layers": "9"}, LayerNotFoundError, "9"),
        ({"blend": [1, 2]}, ValueError, "1 styles"),
        ({"style_weight": -1}, ValueError, "style_weight"),
        ({"content_weight": 0, "style_weight": 0}, ValueError, "nothing to follow"),
        ({"start": "nothing"}, ValueError, "'content', 'style', 'noise' or a picture"),
        ({"layers": ["1"]}, TypeError, "layers"),
    ):
        with pytest.raises(error, match=message):
            cv.StylePlayer(net, CONTENT, STARS, **options)
    with pytest.raises(InputError, match="one image at a time"):
        cv.StylePlayer(net, np.stack([CONTENT, OTHER]), STARS)
    with pytest.raises(InputError, match="takes one image, got 2"):
        player.add_style(np.stack([STARS, STONES]))
    with pytest.raises(ValueError, match="size"):
        player.set(size=(0, 3))
    before = player.options
    for option in ({"style_weight": -1.0}, {"style_layer_weights": [1.0]}, {"rate": 0}, {"optimizer": "sgd"}):
        with pytest.raises(
            ValueError, match=next(iter(option)).replace("style_layer_weights", "style layers")
        ):
            player.set(**option)
    assert player.options == before
    assert len(player.styles) == 2


def test_one_style_has_nothing_to_weigh_and_none_offers_samples(net: cv.Network) -> None:
    player = cv.StylePlayer(net, CONTENT, STARS, steps=1)
    (tile,) = player._mix.tiles
    assert tile.alone.layout.display == tile.weight.layout.display == "none"
    player.add_style(STONES)
    assert [each.weight.layout.display for each in player._mix.tiles] == [None, None]
    player.close()
    player = cv.StylePlayer(net, steps=1)
    assert list(player._photos.images) == ["chelsea", "astronaut", "rocket"]
    assert player._style_names == ["hubble_deep_field", "retina", "gravel", "brick"]
    assert player.options["blend"] == (1.0, 0.0, 0.0, 0.0)
    player.close()
