"""The patch explorer without a page: what it shows, what can be set, how it goes with a browser, where errors go."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from traitlets import TraitError

import cnnviz_widgets as cv

IMAGES = np.random.default_rng(1).integers(0, 256, (7, 12, 12, 3), np.uint8)


class Small(nn.Module):
    """Two convolutions of which channel 1 is dead, a ReLU that is called twice, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.out = nn.Linear(150, 5)
        with torch.no_grad():
            self.first.weight[1] = 0
            self.first.bias[1] = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.relu(self.second(self.relu(self.first(x)))).flatten(1))


@pytest.fixture(scope="module")
def net() -> cv.Network:
    return cv.Network(Small(), input=cv.InputSpec(size=12, mean=0.4, std=0.2))


@pytest.fixture(scope="module")
def found(net: cv.Network) -> Any:
    return cv.top_patches(net, IMAGES, ["first", "relu", "second", "out"], k=4)


def _tiles(explorer: cv.PatchExplorer) -> np.ndarray:
    """The pictures as they travel to the page."""
    return explorer.parts.grid._payload().carried()


def test_tiles_are_cut_where_a_plain_loop_over_the_maps_finds_the_largest_values(
    net: cv.Network, found: Any
) -> None:
    explorer = cv.PatchExplorer(found["second"])
    explorer.channel = 4
    with torch.no_grad():
        maps = [cv.activations(net, image, "second").maps[4] for image in IMAGES]
    best = sorted(range(7), key=lambda index: -maps[index].max())[:4]
    tiles = _tiles(explorer)
    for rank, index in enumerate(best):
        row, column = np.unravel_index(maps[index].argmax(), maps[index].shape)
        # Two 3 x 3 windows, the second with a stride of 2: 5 x 5 pixels from one before twice the position.
        top, left = max(2 * row - 1, 0), max(2 * column - 1, 0)
        bottom, right = 2 * row + 4, 2 * column + 4
        patch = IMAGES[index, top:bottom, left:right]
        height, width = patch.shape[:2]
        y, x = (tiles.shape[1] - height) // 2, (tiles.shape[2] - width) // 2
        np.testing.assert_array_equal(tiles[rank, y : y + height, x : x + width], patch)
        assert (tiles[rank].astype(int).sum() - patch.astype(int).sum()) == 128 * 3 * (
            tiles[rank].size // 3 - patch.size // 3
        )
        value = f"{maps[index].max():.4g}".replace("-", "\u2212")
        short = f"{maps[index].max():.3g}".replace("-", "\u2212")
        assert explorer.parts.grid._labels[rank] == f"{short} \u00b7 image {index} ({row}, {column})"
        explorer.rank = rank
        np.testing.assert_array_equal(explorer.parts.stage.image, IMAGES[index])
        (box,) = explorer.parts.stage._boxes
        assert (box.top, box.left, box.bottom, box.right, box.label) == (top, left, bottom, right, value)
        told = f"rank {rank}: {value} in image {index}, unit ({row}, {column}); "
        told += f"sees rows {top} to {bottom - 1}, columns {left} to {right - 1}"
        assert explorer.parts.reading.value == told
        assert told in explorer.to_text()


def test_a_click_chooses_a_patch_and_another_channel_begins_with_the_strongest(found: Any) -> None:
    explorer = cv.PatchExplorer(found["second"])
    explorer.parts.grid.selected = 3
    assert explorer.rank == 3
    index = int(found["second"].image_indices[0, 3])
    np.testing.assert_array_equal(explorer.parts.stage.image, IMAGES[index])
    explorer.channel = 2
    assert (explorer.rank, explorer.parts.grid.selected) == (0, 0)
    # Set from Python, it is marked on the page.
    explorer.rank = 2
    assert explorer.parts.grid.selected == 2


def test_buttons_and_the_field_go_through_the_channels(found: Any) -> None:
    explorer = cv.PatchExplorer(found["second"])
    parts = explorer.parts
    assert (parts.channels.previous.disabled, parts.channels.next.disabled) == (True, False)
    parts.channels.next.click()
    parts.channels.next.click()
    parts.channels.previous.click()
    assert (explorer.channel, parts.channels.field.value) == (1, 1)
    parts.channels.field.value = 5
    assert (explorer.channel, parts.channels.previous.disabled, parts.channels.next.disabled) == (
        5,
        False,
        True,
    )
    assert (parts.channels.field.min, parts.channels.field.max) == (0, 5)


def test_with_channels_left_out_a_step_goes_to_the_next_one_there_is(net: cv.Network) -> None:
    explorer = cv.PatchExplorer(cv.top_patches(net, IMAGES, "second", [1, 3, 5], k=2))
    parts = explorer.parts
    assert explorer.channel == 1
    parts.channels.field.value = 2  # the arrow key
    assert (explorer.channel, parts.channels.field.value) == (3, 3)
    parts.channels.next.click()
    assert explorer.channel == 5
    # A number that is not there is refused where it was typed, and the field shows what is on show.
    parts.channels.field.value = 2
    assert "there are patches of channels 1, 3, 5 of layer &#x27;second&#x27;, got 2" in explorer.status.value
    assert (explorer.channel, parts.channels.field.value) == (5, 5)
    explorer.channel = 3
    assert "got 2" not in explorer.status.value


def test_layers_are_chosen_by_name_and_call(found: Any) -> None:
    explorer = cv.PatchExplorer(found)
    assert explorer.layer == "first"
    assert [key for _, key in explorer.parts.layers.options] == list(found)
    explorer.channel = 3
    explorer.layer = ("relu", 1)
    # The channel stays, as this layer has it, too.
    assert (explorer.channel, explorer.result.layer, explorer.parts.layers.value) == (
        3,
        ("relu", 1),
        ("relu", 1),
    )
    explorer.channel = 5
    explorer.parts.layers.value = "out"
    assert (explorer.layer, explorer.channel, explorer.parts.channels.field.max) == ("out", 0, 4)
    # A linear layer's units see the whole image.
    np.testing.assert_array_equal(_tiles(explorer), IMAGES[found["out"].image_indices[0]])


def test_what_is_wrong_is_refused_and_changes_nothing(net: cv.Network, found: Any) -> None:
    explorer = cv.PatchExplorer(found)
    explorer.channel, explorer.rank = 2, 1
    with pytest.raises(cv.errors.TargetError, match="channels 0 to 3 of layer 'first', got 4"):
        explorer.channel = 4
    with pytest.raises(cv.errors.TargetError, match=r"channel 2 has 4 patches, .* got rank 4"):
        explorer.rank = 4
    with pytest.raises(cv.errors.TargetError, match="got rank -1"):
        explorer.rank = -1
    with pytest.raises(cv.errors.LayerNotFoundError, match="second"):
        explorer.layer = "secnod"
    with pytest.raises(cv.errors.AmbiguousLayerError, match="say which call"):
        explorer.layer = "relu"
    for wrong in ("2", 1.5, None):
        with pytest.raises(ValueError, match="channel") as caught:
            explorer.channel = wrong
        assert isinstance(caught.value, TraitError)
    assert (explorer.layer, explorer.channel, explorer.rank) == ("first", 2, 1)

    with pytest.raises(TypeError, match=r"what cv.top_patches returns, got ndarray"):
        cv.PatchExplorer(IMAGES)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an empty mapping"):
        cv.PatchExplorer({})
    with pytest.raises(cv.errors.InputError, match="of one layer"):
        cv.PatchExplorer({"a": found["first"], "b": found["first"]})
    with pytest.raises(cv.errors.InputError, match="without patches=False"):
        cv.PatchExplorer(cv.top_patches(net, IMAGES, "first", k=2, patches=False))
    with pytest.raises(TypeError, match=r"cv.LayerBrowser, got FilterGrid"):
        cv.PatchExplorer(found, browser=cv.FilterGrid(net))


def test_dead_channels_and_free_places_are_told(net: cv.Network, found: Any) -> None:
    explorer = cv.PatchExplorer(found["first"])
    assert "All are the same" not in explorer.parts.summary.value
    explorer.channel = 1
    assert "All are the same" in explorer.parts.summary.value
    assert "Dead on these images" in explorer.parts.summary.value

    one = found["first"]
    scores, indices = one.scores.copy(), one.image_indices.copy()
    scores[2, 3:], indices[2, 3:] = np.nan, -1
    scores[3], indices[3] = np.nan, -1
    explorer = cv.PatchExplorer(replace(one, scores=scores, image_indices=indices))
    explorer.channel = 2
    assert explorer.parts.grid.count == 3
    assert "no more than 3 with a number, of 4 asked for" in explorer.to_text()
    with pytest.raises(cv.errors.TargetError, match="has 3 patches"):
        explorer.rank = 3
    explorer.channel = 3
    assert (explorer.parts.grid.count, explorer.parts.stage.layout.display) == (0, "none")
    assert "has no patch" in explorer.to_text()
    assert explorer.to_png() is None
    explorer.channel = 2
    assert explorer.parts.stage.layout.display is None


def test_units_that_see_padding_alone_have_no_box() -> None:
    far = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 1, padding=2)), input=cv.InputSpec(size=4))
    with torch.no_grad():
        far.module[0].weight.fill_(-1.0)  # pixels are never negative: padding answers most
        far.module[0].bias.fill_(1.0)
    explorer = cv.PatchExplorer(cv.top_patches(far, np.full((2, 4, 4, 3), 200, np.uint8), "0", k=2))
    assert explorer.parts.stage._boxes == ()
    assert "sees padding alone" in explorer.parts.reading.value
    assert explorer.parts.grid.count == 2


def test_the_browser_and_the_explorer_lead_each_other(net: cv.Network, found: Any) -> None:
    browser = cv.LayerBrowser(net, IMAGES[0], layer="second", channel=5)
    explorer = cv.PatchExplorer(found["second"], browser=browser)
    assert explorer.channel == 5
    explorer.channel = 1
    assert browser.channel == 1
    browser.channel = 4
    assert explorer.channel == 4
    # Of another layer, the channel says nothing.
    browser.layer = "first"
    assert "The browser shows layer first, of which there are no patches" in explorer.parts.note.value
    browser.channel = 2
    assert explorer.channel == 4
    explorer.channel = 5
    assert (browser.layer, browser.channel) == ("first", 2)
    browser.layer = "second"
    assert (explorer.channel, explorer.parts.note.value) == (2, "")
    explorer.close()
    browser.channel = 3
    assert explorer.channel == 2
    browser.close()


def test_of_several_layers_the_layer_goes_along(net: cv.Network, found: Any) -> None:
    browser = cv.LayerBrowser(net, IMAGES[0], layer=("relu", 1), channel=5)
    explorer = cv.PatchExplorer(found, browser=browser)
    assert (explorer.layer, explorer.channel) == (("relu", 1), 5)
    # There is no channel 5 in the browser's next layer: both are told the same.
    explorer.layer = "first"
    assert (explorer.channel, browser.layer, browser.channel) == (0, "first", 0)
    explorer.channel = 3
    browser.layer = "second"
    assert (explorer.layer, explorer.channel, browser.channel) == ("second", 3, 3)
    browser.close()
    explorer.close()


def test_a_channel_of_the_browser_without_patches_is_told(net: cv.Network) -> None:
    browser = cv.LayerBrowser(net, IMAGES[0], layer="second", channel=5)
    explorer = cv.PatchExplorer(cv.top_patches(net, IMAGES, "second", [1, 3], k=2), browser=browser)
    assert explorer.channel == 1
    assert "shows channel 5, of which there are no patches" in explorer.parts.note.value
    explorer.channel = 3
    assert (browser.channel, explorer.parts.note.value) == (3, "")
    browser.close()


def test_viewers_without_widgets_get_a_picture_and_a_text(found: Any) -> None:
    explorer = cv.PatchExplorer(found["second"])
    picture = np.asarray(Image.open(io.BytesIO(explorer.to_png() or b"")).convert("RGB"))
    # The strongest patch stands at the top left, enlarged.
    tile = _tiles(explorer)[0]
    scale = round(160 / max(tile.shape[:2]))
    np.testing.assert_array_equal(
        picture[: tile.shape[0] * scale : scale, : tile.shape[1] * scale : scale], tile
    )
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"].startswith(
        "PatchExplorer: TopPatches(6 channels x 4 patches of layer 'second'"
    )
    assert bundle["text/plain"].count("\n") == 5
