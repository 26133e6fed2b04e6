"""The DeconvNet explorer without a page: what is sent back, what can be chosen, what is late, and where errors go."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import cnnviz_widgets as cv
from cnnviz_widgets.engine import receptive_field
from tests.widgets.test_patch_explorer import IMAGES, Small


@pytest.fixture(scope="module")
def net() -> cv.Network:
    return cv.Network(Small(), input=cv.InputSpec(size=12, mean=0.4, std=0.2))


@pytest.fixture(scope="module")
def found(net: cv.Network) -> Any:
    return cv.top_patches(net, IMAGES, ["first", "relu", "second", "out"], k=4)


def _tiles(grid: Any) -> np.ndarray:
    """The pictures as they travel to the page."""
    return grid._payload().carried()


def _explorer(*arguments: Any, **options: Any) -> cv.DeconvExplorer:
    explorer = cv.DeconvExplorer(*arguments, **options)
    assert explorer.wait(20)
    return explorer


def test_each_patch_stands_beside_its_own_projection(net: cv.Network, found: Any) -> None:
    # Several of one image: not all are the largest of their map.
    patches = cv.top_patches(net, IMAGES, ("relu", 1), k=4, per_image=None)
    assert len(set(patches.image_indices[4].tolist())) < 4
    explorer = _explorer(net, {"first": found["first"], "relu": patches})
    explorer.layer = ("relu", 1)
    explorer.channel = 4
    assert explorer.wait(20)
    tiles = _tiles(explorer.parts.sent_back)
    for rank, index in enumerate(patches.image_indices[4].tolist()):
        place = tuple(patches.positions[4, rank].tolist())
        # By another way: one image, and the position looked up again by the method.
        alone = cv.deconvnet(net, IMAGES[index], ("relu", 1), 4, place)
        assert alone.activation == pytest.approx(patches.scores[4, rank], rel=1e-5)
        shown = explorer.results[rank]
        assert isinstance(shown, cv.Reconstruction)
        np.testing.assert_allclose(shown.pixels, alone.pixels, rtol=1e-4, atol=1e-6)
        assert shown.box == tuple(patches.boxes[4, rank].tolist())
        height, width = alone.patch.shape[:2]
        top, left = (tiles.shape[1] - height) // 2, (tiles.shape[2] - width) // 2
        part = tiles[rank, top : top + height, left : left + width].astype(int)
        assert np.abs(part - alone.patch).max() <= 1
        explorer.rank = rank
        assert (explorer.parts.stage.image == IMAGES[index]).all()
        assert np.abs(explorer.parts.projection.image.astype(int) - alone.image).max() <= 1
        for stage in (explorer.parts.stage, explorer.parts.projection):
            (box,) = stage._boxes
            assert (box.top, box.left, box.bottom, box.right) == shown.box
        again = cv.deconvnet(explorer.net, explorer.image, **explorer.params)
        np.testing.assert_allclose(again.pixels, shown.pixels, rtol=1e-4, atol=1e-6)
        assert explorer.result is shown
    explorer.close()


def test_what_was_cut_already_is_not_resized_again() -> None:
    net = cv.Network(Small(), input=cv.InputSpec(size=12, resize=17, mean=0.4, std=0.2))
    large = np.random.default_rng(5).integers(0, 256, (4, 20, 26, 3), np.uint8)
    patches = cv.top_patches(net, large, "second", [0, 3], k=3)
    explorer = _explorer(net, patches, channel=3)
    activations = [each.activation for each in explorer.results]
    # Resized once more they would be other images. Pictures are rounded to 8 bits, and so were these.
    assert activations == pytest.approx(patches.scores[1].tolist(), rel=1e-4)
    assert "another network" not in explorer.parts.reading.value
    assert (explorer.net.module, net.input.resize) == (net.module, 17)
    explorer.close()


def test_layers_without_maps_and_clicks_in_either_grid(net: cv.Network, found: Any) -> None:
    explorer = _explorer(net, found["out"], channel=2)
    assert explorer.params["position"] == "max"
    assert [each.activation for each in explorer.results] == pytest.approx(found["out"].scores[2].tolist())
    for grid, rank in ((explorer.parts.sent_back, 3), (explorer.parts.patches, 1)):
        grid.selected = rank
        assert (explorer.rank, explorer.parts.sent_back.selected, explorer.parts.patches.selected) == (
            rank,
        ) * 3
        assert (explorer.parts.stage.image == IMAGES[found["out"].image_indices[2, rank]]).all()
    explorer.parts.channels.next.click()
    assert (explorer.channel, explorer.rank) == (3, 0)
    explorer.close()


def test_where_nothing_is_sent_back_it_is_said_and_the_others_are_seen(net: cv.Network, found: Any) -> None:
    # Channel 1 is zero everywhere; of another one some units are, and of a third one none was found at all.
    explorer = _explorer(net, found["first"], channel=1)
    assert all("is 0 at position" in each for each in explorer.results)
    assert explorer.result is None
    assert explorer.parts.sent_back._badges == {str(rank): "nothing" for rank in range(4)}
    assert (_tiles(explorer.parts.sent_back) == 128).all()
    assert "nothing to send back" in explorer.parts.reading.value
    assert "Error" not in explorer.status.value
    explorer.close()

    one = found["relu", 0]
    with torch.no_grad():
        maps = [cv.activations(net, image, ("relu", 0)).maps[2] for image in IMAGES]
    row, column = np.argwhere(maps[0] == 0)[0]
    positions, indices, scores = one.positions.copy(), one.image_indices.copy(), one.scores.copy()
    positions[2, 3], indices[2, 3], scores[2, 3] = (row, column), one.picture_indices[0], 0
    indices[3] = -1
    if one.picture_indices[0] != 0:
        pytest.fail("the first image is no longer among the patches; take another one here")
    mixed = replace(one, positions=positions, image_indices=indices, scores=scores)
    explorer = _explorer(net, mixed, channel=2)
    assert [isinstance(each, cv.Reconstruction) for each in explorer.results] == [True, True, True, False]
    assert explorer.parts.sent_back._badges == {"3": "nothing"}
    explorer.channel = 3
    assert (explorer.busy, explorer.results, explorer.image, explorer.to_png()) == (False, (), None, None)
    assert explorer.parts.chosen.layout.display == "none"
    assert "has no patch" in explorer.to_text()
    explorer.close()


def test_another_network_is_told(net: cv.Network, found: Any) -> None:
    torch.manual_seed(9)
    other = cv.Network(Small(), input=net.input)
    with torch.no_grad():
        other.module.second.weight.mul_(2)
    explorer = _explorer(other, found["second"], channel=3)
    assert "they are of another network" in explorer.parts.reading.value
    explorer.close()


class Waits(Small):
    """Waits in the first layer until it is let go, and says when it has arrived there."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.go, self.asks = threading.Event(), threading.Event(), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.asks:
            self.arrived.set()
            assert self.go.wait(20)
        return super().forward(x)


def test_while_the_network_computes_one_goes_on_and_what_is_late_is_dropped(found: Any) -> None:
    module = Waits()
    net = cv.Network(module, input=cv.InputSpec(size=12, mean=0.4, std=0.2))
    explorer = _explorer(net, found["second"])
    before = explorer.results
    module.asks = True
    explorer.channel = 2
    assert module.arrived.wait(20)
    # The patches are those of the new channel already, and no projection of the old one is left.
    assert (explorer.busy, explorer.results, explorer.result) == (True, (), None)
    assert "sending back" in explorer.parts.running.value
    assert (_tiles(explorer.parts.sent_back) == 128).all()
    assert "Channel 2" in explorer.parts.summary.value
    late = explorer._job
    explorer.channel = 5
    module.asks = False
    module.go.set()
    assert explorer.wait(20)
    assert late is not None
    assert late.wait(20)
    assert {each.channel for each in explorer.results} == {5}
    assert explorer.parts.running.value == ""
    assert before != explorer.results

    module.arrived.clear()
    module.go.clear()
    module.asks = True
    explorer.channel = 4
    assert module.arrived.wait(20)
    job = explorer._job
    explorer.close()
    module.go.set()
    assert job is not None
    assert job.wait(20)
    assert (job.state, explorer.results) == ("stopped", ())


def test_an_error_is_shown_in_the_widget_and_the_next_channel_takes_it_away(
    net: cv.Network, found: Any
) -> None:
    explorer = _explorer(net, found["second"])
    handle = net.module.second.register_forward_hook(lambda *_: {}["<b>gone</b>"])
    explorer.channel = 3
    assert explorer.wait(20)
    handle.remove()
    assert "KeyError" in explorer.status.value
    assert "&lt;b&gt;gone&lt;/b&gt;" in explorer.status.value
    assert (explorer.results, explorer.busy) == ((), False)
    # What the unit sees is known all the same.
    assert len(explorer.parts.stage._boxes) == 1
    explorer.channel = 4
    assert explorer.wait(20)
    assert "KeyError" not in explorer.status.value
    assert len(explorer.results) == 4
    explorer.close()


def test_of_one_image_units_are_chosen_by_click_and_by_hand(net: cv.Network) -> None:
    explorer = _explorer(net, IMAGES[0], layer="second", channel=3)
    assert "Click the image to send back another unit" in explorer.parts.summary.value
    a_map = cv.activations(net, IMAGES[0], "second").maps[3]
    strongest = np.unravel_index(a_map.argmax(), a_map.shape)
    assert explorer.result is not None
    assert explorer.result.position == strongest
    assert explorer.params == {"layer": "second", "channel": 3, "position": "max"}
    # Two windows of 3 x 3, the second with stride 2, from one pixel outside: unit 2 has its middle at 5.5.
    explorer.parts.stage._choose((5, 9))
    assert explorer.wait(20)
    assert explorer.position == (2, 4)
    assert explorer.result.position == (2, 4)
    assert explorer.result.activation == pytest.approx(float(a_map[2, 4]), rel=1e-5)
    (box,) = explorer.parts.stage._boxes
    assert (box.top, box.left, box.bottom, box.right) == (3, 7, 8, 12)
    assert explorer.parts.positions.value == (2, 4)
    # It stays for another channel, and goes with the layer.
    explorer.channel = 5
    assert (explorer.wait(20), explorer.result.channel, explorer.result.position) == (True, 5, (2, 4))
    explorer.parts.positions.value = "all"
    assert (explorer.wait(20), explorer.position, explorer.parts.stage._boxes) == (True, "all", ())
    assert explorer.result.activation == pytest.approx(
        cv.activations(net, IMAGES[0], "second").maps[5].sum(), rel=1e-4
    )
    explorer.position = (0, 1)
    explorer.parts.layers.value = ("relu", 0)
    assert (explorer.wait(20), explorer.layer, explorer.position, explorer.channel) == (
        True,
        ("relu", 0),
        "max",
        0,
    )
    explorer.layer = "out"
    explorer.parts.stage._choose((5, 9))
    assert explorer.wait(20)
    assert "its units have no places" in explorer.status.value
    explorer.close()


def test_a_click_works_out_no_field_anew_and_one_that_comes_to_nothing_keeps_the_projection(
    net: cv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = _explorer(net, IMAGES[0], layer="second", channel=3)
    explorer.parts.stage._choose((5, 9))
    assert explorer.wait(20)
    measure = receptive_field._measure
    monkeypatch.setattr(receptive_field, "_measure", None)
    explorer.parts.stage._choose((9, 5))
    assert explorer.wait(20)
    assert (explorer.position, explorer.result.position) == ((4, 2), (4, 2))
    monkeypatch.setattr(receptive_field, "_measure", measure)
    # While units are sent back, a click ends that, finds no field, and what it has ended is done again.
    entered, go = threading.Event(), threading.Event()
    handle = net.module.second.register_forward_hook(lambda *_: [entered.set(), go.wait(20), None][2])
    explorer.channel = 4
    assert entered.wait(20)
    state, failed = receptive_field.module_state, threading.Event()

    def failing_once(net: cv.Network) -> Any:
        if not failed.is_set():
            failed.set()
            raise ValueError("no field")
        return state(net)

    monkeypatch.setattr(receptive_field, "module_state", failing_once)
    explorer.parts.stage._choose((5, 9))
    assert failed.wait(20)
    go.set()
    assert explorer.wait(20)
    handle.remove()
    assert (explorer.result.channel, explorer.result.position) == (4, (4, 2))
    assert "no field" in explorer.status.value
    # A vector has no units to click: that is said at once.
    explorer.layer = "out"
    assert explorer.wait(20)
    shown = explorer.results
    explorer.parts.stage._choose((5, 9))
    assert not explorer.busy
    assert "its units have no places" in explorer.status.value
    assert explorer.results is shown
    explorer.close()


def test_of_one_image_another_can_be_shown(net: cv.Network) -> None:
    explorer = _explorer(net, {"first": IMAGES[0], "second": IMAGES[1]})
    assert explorer.layer == ("relu", 1)
    explorer._photos._list.value = "second"
    assert explorer.wait(20)
    assert (explorer.parts.stage.image == IMAGES[1]).all()
    np.testing.assert_array_equal(
        explorer.result.pixels, cv.deconvnet(net, IMAGES[1], **explorer.params).pixels
    )
    third = IMAGES[2]
    explorer.image = third
    assert (explorer.wait(20), explorer.image is third) == (True, True)
    with pytest.raises(cv.errors.InputTypeError):
        explorer.image = object()
    assert explorer.image is third
    explorer.image = "first"  # by its name in the list
    assert explorer.wait(20)
    assert (explorer.parts.stage.image == IMAGES[0]).all()
    assert explorer._photos.chosen == "first"
    explorer.close()


def test_what_is_wrong_is_refused_and_changes_nothing(net: cv.Network, found: Any) -> None:
    explorer = _explorer(net, found)
    with pytest.raises(cv.errors.TargetError, match="channels 0 to 3 here, got 4"):
        explorer.channel = 4
    with pytest.raises(cv.errors.TargetError, match="got rank 4"):
        explorer.rank = 4
    with pytest.raises(cv.errors.LayerNotFoundError, match="second"):
        explorer.layer = "secnod"
    with pytest.raises(cv.errors.TargetError, match="by its rank"):
        explorer.position = (0, 0)
    with pytest.raises(cv.errors.InputError, match=r"cv.DeconvExplorer\(net, image\)"):
        explorer.image = IMAGES[0]
    assert (explorer.layer, explorer.channel, explorer.rank, explorer.position) == ("first", 0, 0, "max")
    explorer.close()

    explorer = _explorer(net, IMAGES[0], layer="second")
    with pytest.raises(cv.errors.TargetError, match=r"5 rows and 5 columns, got \(5, 0\)"):
        explorer.position = (5, 0)
    with pytest.raises(cv.errors.TargetError, match="'strongest'"):
        explorer.position = "strongest"
    explorer.close()
    small = cv.Network(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU()), input=net.input)
    with pytest.raises(cv.errors.LayerNotFoundError, match="does not have"):
        cv.DeconvExplorer(small, found)
    with pytest.raises(cv.errors.InputError, match="has 2 channels in this network"):
        cv.DeconvExplorer(small, replace(found["first"], layer="0"))
    with pytest.raises(TypeError, match=r"cv.Network"):
        cv.DeconvExplorer(small.module, found)  # type: ignore[arg-type]
    with pytest.raises(cv.errors.InputError, match="without patches=False"):
        cv.DeconvExplorer(net, cv.top_patches(net, IMAGES, "first", k=2, patches=False))
    with pytest.raises(cv.errors.TargetError, match="got 9"):
        cv.DeconvExplorer(net, found, channel=9)


def test_viewers_without_widgets_get_a_picture_and_a_text(net: cv.Network, found: Any) -> None:
    explorer = _explorer(net, found["second"])
    picture = np.asarray(Image.open(io.BytesIO(explorer.to_png() or b"")).convert("RGB"))
    patches, sent_back = (_tiles(grid) for grid in (explorer.parts.patches, explorer.parts.sent_back))
    factor = 96 // max(patches.shape[1:3])
    height, width = (size * factor for size in patches.shape[1:3])
    np.testing.assert_array_equal(picture[:height:factor, :width:factor], patches[0])
    beside = 3 * width + 2 * 2 + 16
    np.testing.assert_array_equal(picture[:height:factor, beside : beside + width : factor], sent_back[0])
    bundle = explorer._repr_mimebundle_()
    assert bundle["text/plain"].startswith("DeconvExplorer: TopPatches(6 channels x 4 patches")
    assert bundle["text/plain"].count("sent back: unit") == 4
    explorer.close()
