"""The layer browser without a page: what it shows, what can be set, and where errors go."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.views._closing import parts_of

SOON = 60.0


class Branching(nn.Module):
    """One in-place rectifier used three times, a branch, and a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.left = nn.Conv2d(6, 4, 3, padding=1, stride=2)
        self.right = nn.Conv2d(6, 4, 5, padding=2, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Linear(2, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.first(x))
        x = torch.cat([self.relu(self.left(x)), self.relu(self.right(x))], dim=1)
        return self.fc(x.mean(dim=(2, 3)))


def _network(module: nn.Module | None = None, **options: Any) -> cv.Network:
    torch.manual_seed(3)
    return cv.Network(module or Branching(), input=cv.InputSpec(size=(20, 24), mean=0.4, std=0.2), **options)


def _photo(seed: int = 0, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def browser() -> cv.LayerBrowser:
    return cv.LayerBrowser(_network(), [_photo(0), _photo(1)], layer="first")


def _shown(grid: Any) -> np.ndarray:
    """The tiles' values as they travel to the page, in their own order."""
    return grid._payload().carried(np.arange(grid._shape[0]))


def test_it_shows_what_the_method_returns_and_its_params_give_it_again(browser: cv.LayerBrowser) -> None:
    again = cv.activations(browser.net, browser.image, **browser.params)
    assert browser.result is not None
    np.testing.assert_array_equal(browser.result.maps, again.maps)
    # 16-bit steps of each tile's own range.
    step = np.ptp(again.maps, axis=(1, 2)).max() / 65535
    np.testing.assert_allclose(_shown(browser.parts.grid), again.maps, atol=step)
    assert browser.prediction is not None
    expected = browser.net.predict(_photo(0))
    np.testing.assert_array_equal(browser.prediction.indices, expected.indices)
    assert [row[0] for row in browser.parts.bars._rows] == list(expected.labels)


def test_setting_a_layer_runs_it_and_keeps_the_channel_where_there_is_one(browser: cv.LayerBrowser) -> None:
    browser.channel = 5
    browser.layer = "left"
    assert browser.channel == 0
    assert browser.wait(SOON)
    assert browser.result is not None
    np.testing.assert_array_equal(browser.result.maps, cv.activations(browser.net, _photo(0), "left").maps)
    assert (browser.parts.tree.selected, browser.parts.tree.selected_call) == ("left", -1)
    assert not browser.busy


def test_a_channel_chosen_while_a_result_comes_in_stays(
    browser: cv.LayerBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.channel = 5
    assert browser.wait(SOON)
    set_maps = browser.parts.grid.set_maps
    choosing = threading.Thread(target=setattr, args=(browser, "channel", 3))

    def late(*arguments: Any, **options: Any) -> None:
        choosing.start()
        while browser.channel != 3:  # chosen, but not shown: that waits for this result to be
            choosing.join(0.001)
        set_maps(*arguments, **options)

    monkeypatch.setattr(browser.parts.grid, "set_maps", late)
    browser.layer = "left"  # there is no channel 5: the tile of channel 0 is selected
    assert browser.wait(SOON)
    choosing.join(SOON)
    assert (browser.channel, browser.parts.grid.selected) == (3, 3)


def test_each_call_of_a_reused_layer_is_a_layer(browser: cv.LayerBrowser) -> None:
    for call, name in enumerate(["first", "left", "right"]):
        browser.layer = ("relu", call)
        assert browser.wait(SOON)
        assert browser.result is not None
        before = cv.activations(browser.net, _photo(0), name).maps
        np.testing.assert_array_equal(browser.result.maps, np.maximum(before, 0))
        assert (browser.parts.tree.selected, browser.parts.tree.selected_call) == ("relu", call)


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("layer", "frist", LookupError, "did you mean 'first'"),
        ("layer", "relu", LookupError, r"\('relu', 0\)"),
        ("layer", ("relu", 3), LookupError, "0 to 2"),
        ("layer", "unused", LookupError, "never calls"),
        ("layer", 3, TypeError, "3"),
        ("channel", 6, ValueError, "channels 0 to 5, got 6"),
        ("channel", -1, ValueError, "got -1"),
        ("position", (20, 0), ValueError, "20 rows and 24 columns"),
        ("sort", "color", ValueError, "color"),
        ("channel", "3", ValueError, "int"),
        ("position", 3, ValueError, "got 3"),
    ],
)
def test_a_wrong_value_raises_at_once_and_changes_nothing(
    browser: cv.LayerBrowser, name: str, value: Any, error: type[Exception], text: str
) -> None:
    before = getattr(browser, name)
    with pytest.raises(error, match=text):
        setattr(browser, name, value)
    assert getattr(browser, name) == before
    assert browser._job is None or browser._job.state == "done"


@pytest.mark.parametrize("sort", ["mean", "maximum", "sparsity", "channel index"])
def test_sorting_orders_the_tiles_by_what_it_says(browser: cv.LayerBrowser, sort: str) -> None:
    browser.layer = ("relu", 0)
    assert browser.wait(SOON)
    browser.sort = sort
    maps = cv.activations(browser.net, _photo(0), ("relu", 0)).maps
    keys: dict[str, Callable[[np.ndarray], float]] = {
        "mean": lambda each: -float(np.mean(each, dtype=np.float64)),
        "maximum": lambda each: -float(each.max()),
        "sparsity": lambda each: -sum(value == 0 for value in each.ravel()) / each.size,
    }
    if sort in keys:
        expected = sorted(range(len(maps)), key=lambda index: keys[sort](maps[index]))
    else:
        expected = list(range(len(maps)))
    assert browser.parts.grid.order.tolist() == expected


def test_channels_that_are_zero_on_this_image_are_marked() -> None:
    module = Branching()
    with torch.no_grad():
        module.first.bias[2] = -100.0
    browser = cv.LayerBrowser(_network(module), _photo(), layer=("relu", 0))
    assert browser.parts.grid._badges == {"2": "all zero"}
    browser.channel = 2
    assert "zero everywhere on this image" in browser.parts.reading.value


def test_the_unit_under_the_pointer_shows_its_receptive_field_and_its_value(browser: cv.LayerBrowser) -> None:
    browser.layer = "left"
    assert browser.wait(SOON)
    # Unit (r, c) of a stride 2 layer over a 3x3 layer looks at rows 2r - 2 to 2r + 2.
    browser.parts.stage.pointer = (8, 13)
    assert browser.position == (4, 6)
    box = browser.parts.stage._boxes[0]
    assert (box.top, box.left, box.bottom, box.right) == (6, 10, 11, 15)
    assert browser.result is not None
    assert f"{browser.result.maps[0, 4, 6]:.4g}" in browser.parts.reading.value
    assert browser.parts.grid.position == [4, 6]
    # The pointer on a tile says the same.
    browser.parts.grid.pointer = [3, 0, 0]
    assert browser.position == (0, 0)
    box = browser.parts.stage._boxes[0]
    assert (box.top, box.left, box.bottom, box.right) == (0, 0, 3, 3)
    browser.position = None
    assert browser.parts.stage._boxes == ()


def test_the_map_lies_where_its_units_look(browser: cv.LayerBrowser) -> None:
    browser.layer = "left"
    assert browser.wait(SOON)
    heat = browser.parts.stage._heat
    assert heat is not None
    # Unit 0 looks at pixels -2 to 2: its middle is that of pixel 0. Stretched evenly, it would be at 1.
    assert (heat.stride, heat.center) == ((2.0, 2.0), (0.5, 0.5))


def test_a_fully_connected_layer_shows_as_bars(browser: cv.LayerBrowser) -> None:
    browser.layer = "fc"
    assert browser.wait(SOON)
    scores = browser.net.class_scores(browser.net.prepare(_photo(0)))[0].numpy()
    np.testing.assert_allclose(browser.parts.units._values, scores, rtol=1e-6)
    assert browser.parts.units.layout.display is None
    assert browser.parts.grid.layout.display == "none"
    browser.parts.units.selected = 3
    assert browser.channel == 3
    browser.layer = "first"
    assert browser.wait(SOON)
    assert browser.parts.grid.layout.display is None
    assert browser.parts.units.layout.display == "none"


def test_the_page_selects_tiles_and_layers(browser: cv.LayerBrowser) -> None:
    seen: list[Any] = []
    browser.observe(lambda change: seen.append((change["name"], change["new"])), ["layer", "channel"])
    browser.parts.grid.selected = 4
    browser.parts.tree.select("relu", 1)
    assert browser.wait(SOON)
    # The new layer has four channels, so there is no channel 4.
    assert sorted(seen, key=str) == [("channel", 0), ("channel", 4), ("layer", ("relu", 1))]


def test_another_photo_from_the_list_by_path_and_by_upload(browser: cv.LayerBrowser, tmp_path: Any) -> None:
    browser._photos._list.value = "image 1"
    assert browser.wait(SOON)
    _same_maps(browser, _photo(1))
    path = tmp_path / "<b>photo.png"
    Image.fromarray(_photo(2)).save(path)
    browser._photos._path.value = str(path)
    assert browser.wait(SOON)
    _same_maps(browser, _photo(2))
    assert browser._photos._path.value == ""
    buffer = io.BytesIO()
    Image.fromarray(_photo(3, 40, 48)).save(buffer, "PNG")
    file = {"name": "upload.png", "type": "image/png", "size": 1, "content": memoryview(buffer.getvalue())}
    browser._photos._upload.value = ({**file, "last_modified": __import__("datetime").datetime.now()},)
    assert browser.wait(SOON)
    _same_maps(browser, _photo(3, 40, 48))
    assert browser._photos._upload.value == ()
    assert list(browser._photos.images) == ["image 0", "image 1", str(path), "upload.png"]
    assert browser._photos._list.value == "upload.png"


def _same_maps(browser: cv.LayerBrowser, photo: np.ndarray) -> None:
    assert browser.result is not None
    np.testing.assert_array_equal(browser.result.maps, cv.activations(browser.net, photo, "first").maps)
    np.testing.assert_array_equal(browser.parts.stage.image, browser.net.input.view(photo))


def test_a_photo_that_cannot_be_read_is_said_in_the_widget_and_nothing_is_lost(
    browser: cv.LayerBrowser, tmp_path: Any
) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG not really")
    browser._photos._path.value = str(path)
    assert "broken.png" in browser.status.value
    _same_maps(browser, _photo(0))
    assert len(browser._photos.images) == 2


def test_a_module_that_fails_is_said_in_the_widget_and_the_next_layer_works() -> None:
    broken = threading.Event()

    class Fragile(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if broken.is_set():
                raise ArithmeticError("<script>overheated</script>")
            return super().forward(x)

    browser = cv.LayerBrowser(_network(Fragile()), _photo(), layer="first")
    broken.set()
    browser.layer = "left"
    assert browser.wait(SOON)
    assert "ArithmeticError" in browser.status.value
    assert "<script>" not in browser.status.value
    broken.clear()
    browser.layer = "right"
    assert browser.wait(SOON)
    assert "ArithmeticError" not in browser.status.value


def test_a_slow_network_does_not_block_and_only_the_last_choice_is_shown() -> None:
    slow, go, entered = threading.Event(), threading.Event(), threading.Event()

    class Slow(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if slow.is_set():
                entered.set()
                if not go.wait(SOON):
                    raise TimeoutError
            return super().forward(x)

    browser = cv.LayerBrowser(_network(Slow()), _photo(), layer="first")
    slow.set()
    browser.layer = "left"
    assert entered.wait(SOON)
    browser.layer = "right"
    browser.layer = ("relu", 2)
    assert browser.busy
    assert "running" in browser.parts.running.value
    go.set()
    assert browser.wait(SOON)
    assert browser.result is not None
    assert browser.result.layer == ("relu", 2)
    assert browser.parts.running.value == ""


def test_channel_and_position_can_be_set_while_their_layer_is_still_running() -> None:
    gate = threading.Event()

    class Gated(Branching):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert gate.wait(SOON)
            return super().forward(x)

    gate.set()
    net = _network(Gated())
    browser = cv.LayerBrowser(net, _photo(), layer="left")
    gate.clear()
    # `left` has 4 channels of 10 x 12, `first` has 6 of 20 x 24: none of this is there yet.
    browser.layer, browser.channel, browser.position = "first", 5, (19, 23)
    reading = browser.parts.reading.value
    gate.set()
    assert browser.wait(SOON)
    assert reading == "channel 5"
    assert (browser.layer, browser.channel, browser.position) == ("first", 5, (19, 23))
    value = cv.activations(net, _photo(), "first").maps[5, 19, 23]
    assert f"unit (19, 23): {value:.4g}" in browser.parts.reading.value


def test_a_network_without_class_scores_is_browsed_all_the_same() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    browser = cv.LayerBrowser(_network(module), _photo())
    assert browser.layer == "0"
    assert browser.prediction is None
    assert "class scores" in browser.parts.no_classes.value


def test_labels_are_text() -> None:
    labels = ["<img src=x onerror=alert(1)>", "a&b", "c", "d", "e"]
    browser = cv.LayerBrowser(_network(labels=labels), {"<b>cat</b>": _photo()}, layer="fc")
    assert "<img" not in "".join(child.value for child in _htmls(browser))
    bundle = browser._repr_mimebundle_()
    assert "a&b" in bundle["text/plain"]


def _htmls(widget: Any) -> list[ipywidgets.HTML]:
    if isinstance(widget, ipywidgets.HTML):
        return [widget]
    return [each for child in getattr(widget, "children", ()) for each in _htmls(child)]


def test_gray_and_many_channel_networks() -> None:
    for channels in (1, 5):
        net = cv.Network(
            nn.Sequential(nn.Conv2d(channels, 4, 3)), input=cv.InputSpec(size=12, channels=channels)
        )
        image = torch.rand(channels, 12, 12, generator=torch.Generator().manual_seed(0))
        browser = cv.LayerBrowser(net, image)
        assert browser.parts.stage.image.shape == (12, 12, 3)
        np.testing.assert_array_equal(
            browser.result.maps,  # type: ignore[union-attr]
            net.module(net.prepare(image))[0].detach().numpy(),
        )


def test_wrong_arguments_raise_at_once() -> None:
    with pytest.raises(TypeError, match=r"cv\.Network"):
        cv.LayerBrowser(Branching(), _photo())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        cv.LayerBrowser(_network(), [])
    with pytest.raises(LookupError, match="did you mean"):
        cv.LayerBrowser(_network(), _photo(), layer="frist")
    with pytest.raises(ValueError, match="got 99"):
        cv.LayerBrowser(_network(), _photo(), layer="first", channel=99)
    with pytest.raises(TypeError):
        cv.LayerBrowser(_network(), _photo(), color="red")  # type: ignore[call-arg]


def test_the_output_carries_a_picture_and_a_text(browser: cv.LayerBrowser) -> None:
    bundle = browser._repr_mimebundle_()
    assert "6 channels of 20x24" in bundle["text/plain"]
    assert len(bundle["image/png"]) > 100


def test_the_module_is_untouched(browser: cv.LayerBrowser) -> None:
    module = browser.net.module
    assert all(each.training for each in module.modules())
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    assert all(each.requires_grad and each.grad is None for each in module.parameters())


def test_a_module_with_two_names_goes_by_one() -> None:
    module = nn.Sequential()
    shared = nn.ReLU()
    for name, part in (("conv", nn.Conv2d(3, 4, 3)), ("a", shared), ("pool", nn.AvgPool2d(2)), ("b", shared)):
        module.add_module(name, part)
    browser = cv.LayerBrowser(_network(module), _photo(), layer=("b", 1))
    assert browser.layer == ("a", 1)
    assert browser.wait(SOON)
    assert browser.result is not None
    assert browser.result.maps.shape == (4, 9, 11)
    browser.layer = ("b", 0)
    assert browser.layer == ("a", 0)
    assert (browser.parts.tree.selected, browser.parts.tree.selected_call) == ("a", 0)


def test_setting_the_image_shows_it_under_a_name_of_its_own(browser: cv.LayerBrowser) -> None:
    browser.image = _photo(7)
    browser.image = _photo(8)
    assert browser.wait(SOON)
    _same_maps(browser, _photo(8))
    assert list(browser._photos.images) == ["image 0", "image 1", "image", "image (2)"]
    with pytest.raises(ValueError, match="empty"):
        browser.image = []
    _same_maps(browser, _photo(8))
    browser.image = "image"  # by the name that it has there
    assert browser.wait(SOON)
    _same_maps(browser, _photo(7))
    assert browser._photos.chosen == "image"
    assert len(browser._photos.images) == 4


def test_a_path_is_a_path_also_where_a_photo_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(_photo(5)).save(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    browser = cv.LayerBrowser(_network(), {"cat.png": _photo(7)}, layer="first")
    browser._photos._path.value = "cat.png"
    assert browser.wait(SOON)
    _same_maps(browser, _photo(5))
    assert list(browser._photos.images) == ["cat.png", "cat.png (2)"]
    browser.image = "cat.png"
    assert browser.wait(SOON)
    _same_maps(browser, _photo(7))


def test_after_a_failure_nothing_old_is_left_on_show() -> None:
    class Tokens(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(2)

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Tokens(), nn.Flatten())
    browser = cv.LayerBrowser(_network(module), _photo(), layer="0")
    browser.layer = "1"
    assert browser.wait(SOON)
    assert browser.result is None
    assert browser.parts.grid.layout.display == "none"
    assert "activations shows maps" in browser.status.value
    browser.layer = "0"
    assert browser.wait(SOON)
    assert browser.result is not None
    assert browser.parts.grid.layout.display is None
    assert "activations shows maps" not in browser.status.value


def test_a_position_that_another_photo_does_not_have_is_forgotten() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(2))
    browser = cv.LayerBrowser(cv.Network(module), _photo(0, 50, 60), layer="0")
    browser.position = (40, 40)
    assert browser.wait(SOON)
    browser.set_image(_photo(1, 30, 30))
    assert browser.wait(SOON)
    assert browser.position is None
    with pytest.raises(ValueError, match="28 rows and 28 columns"):
        browser.position = (40, 40)
    assert browser.status.value.count("Error") == 0


def test_what_one_browser_saves_stays_small() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3))
    browser = cv.LayerBrowser(cv.Network(module), _photo(0, 1500, 1500), layer="0")
    assert browser.wait(SOON)
    state = ipywidgets.Widget.get_manager_state(widgets=[browser, *parts_of(browser)])["state"]
    assert len(json.dumps(state)) < 4_000_000


def test_closing_it_closes_all_it_is_made_of() -> None:
    known = set(ipywidgets.widgets.widget._instances)
    browser = cv.LayerBrowser(_network(), _photo(), layer="first")
    assert browser.wait(SOON)
    browser.close()
    instances = ipywidgets.widgets.widget._instances
    left = {type(instances[each]).__name__ for each in set(instances) - known}
    assert left <= {"_CanvasManager"}


def test_it_begins_with_a_layer_that_has_no_parts() -> None:
    module = nn.Sequential()
    module.add_module("trunk", nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
    browser = cv.LayerBrowser(_network(module), _photo())
    assert browser.layer == "trunk.0"
