"""The saliency explorer without a page: its maps and numbers are those of the methods, and what goes wrong is told."""

from __future__ import annotations

import io
import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.render.colormaps import table
from cnnviz_widgets.widgets._saliency_maps import Progress
from cnnviz_widgets.widgets._saliency_report import shares_of, stopped_text

PHOTOS = np.random.default_rng(4).integers(0, 256, (3, 12, 12, 3), np.uint8)
LABELS = ("cat", "dog", "<b>fox</b>")
NAMES = ["gradient", "gradient \u00d7 input", "SmoothGrad", "guided", "DeconvNet", "integrated", "Grad-CAM"]
FEW = {"samples": 2, "steps": 3, "measure_steps": 3, "stages": 2}


class Classifier(nn.Module):
    """Two convolutions with rectifiers, and three classes from the second one's means and places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(5, 4, 3, stride=2, padding=1)
        self.last = nn.ReLU(inplace=True)
        self.out = nn.Linear(144, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.last(self.second(self.relu(self.first(x)))).flatten(1))


@pytest.fixture
def net() -> cv.Network:
    return cv.Network(Classifier(), input=cv.InputSpec(size=12, mean=0.4, std=0.2), labels=LABELS)


def _explorer(*arguments: Any, **options: Any) -> cv.SaliencyExplorer:
    explorer = cv.SaliencyExplorer(*arguments, **{**FEW, **options})
    assert explorer.wait(30)
    return explorer


def _tiles(grid: Any) -> np.ndarray:
    """The pictures as they travel to the page."""
    return grid._payload().carried()


def test_each_map_is_that_of_its_call_and_the_numbers_are_those_of_the_method(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "dog")
    photo = PHOTOS[0]
    by_hand = {
        "gradient": cv.gradient_map(net, photo, "dog"),
        "gradient \u00d7 input": cv.gradient_map(net, photo, "dog", times_input=True),
        "SmoothGrad": cv.gradient_map(net, photo, "dog", samples=2),
        "guided": cv.gradient_map(net, photo, "dog", rule="guided"),
        "DeconvNet": cv.gradient_map(net, photo, "dog", rule="deconvnet"),
        "integrated": cv.integrated_gradients(net, photo, "dog", steps=3),
        "Grad-CAM": cv.grad_cam(net, photo, "dog", "last"),
    }
    assert list(explorer.results) == list(by_hand) == NAMES
    for name, found in by_hand.items():
        np.testing.assert_allclose(explorer.results[name].heatmap, found.heatmap, rtol=1e-4, atol=1e-6)
        explorer.map = name
        again = explorer.function(net, explorer.image, **explorer.params)
        np.testing.assert_allclose(again.heatmap, explorer.result.heatmap, rtol=1e-4, atol=1e-6)
        heat = explorer.parts.stage._heat
        assert (heat.values == explorer.result.heatmap).all()
        assert heat.low == -heat.high
    # Curves of the probability, as the method takes them by itself.
    measured = cv.faithfulness(net, photo, "dog", by_hand, steps=3, deletion_fill="blur")
    np.testing.assert_allclose(explorer.measured.deletion, measured.deletion, rtol=1e-4)
    np.testing.assert_allclose(explorer.measured.insertion, measured.insertion, rtol=1e-4)
    assert explorer.measured.names == (*NAMES, "chance")
    assert explorer.parts.curves["deleted"].to_text().count("at % of pixels deleted 100") >= 8
    table_html = explorer.parts.table.value
    lost, won = measured.deletion_area, measured.insertion_area
    for kind, best in (("deletion", lost[:-1].min()), ("insertion", won[:-1].max())):
        assert (f"<b>{best:.3g}</b>" in table_html) == (measured.best(kind) is not None)
    assert measured.message in table_html
    assert "logit of dog" in explorer.parts.said.value
    assert f"but for a gap of {by_hand['integrated'].completeness_gap:.2g}" in explorer.to_text()
    explorer.close()


def test_all_tiles_share_one_scale_and_follow_the_opacity(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], 1)
    explorer.parts.opacity.value = 1.0
    explorer._recolor._run()  # what is asked for soon after another change waits for its turn
    assert (explorer.opacity, explorer.parts.stage.opacity) == (1.0, 1.0)
    colors, tiles = table("berlin"), _tiles(explorer.parts.grid)
    for tile, name in zip(tiles, NAMES, strict=True):
        values = explorer.results[name].heatmap
        # By hand: half a percent at either end is cut off, then -1 to 1 over 256 colors.
        limit = np.abs(np.percentile(values, [0.5, 99.5])).max()
        shares = np.clip(values / limit, -1, 1)
        steps = np.clip(np.round((shares + 1) / 2 * 255), 0, 255).astype(int)
        nearest = np.abs(tile.astype(int)[..., None, :] - colors[None, None].astype(int)).sum(axis=-1)
        chosen = np.take_along_axis(nearest, steps[..., None], axis=-1)
        beside = np.take_along_axis(nearest, np.clip(steps + 1, 0, 255)[..., None], axis=-1)
        before = np.take_along_axis(nearest, np.clip(steps - 1, 0, 255)[..., None], axis=-1)
        assert (np.minimum(np.minimum(chosen, beside), before) == 0).all()
    explorer.opacity = 0.0
    explorer._recolor._run()
    gray = np.rint(PHOTOS[0] @ np.array([0.299, 0.587, 0.114])).astype(int)
    assert np.abs(_tiles(explorer.parts.grid)[3] - gray[..., None]).max() <= 1
    assert shares_of(np.zeros((2, 2), np.float32)).tolist() == [[0, 0], [0, 0]]
    explorer.close()


def test_the_class_is_picked_and_begins_with_the_most_probable_one(net: cv.Network) -> None:
    explorer = _explorer(net, {"one": PHOTOS[0], "two": PHOTOS[1]})
    first = net.predict(PHOTOS[0])
    assert explorer.target == cv.Target(int(first.indices[0]))
    assert [index for _, index in explorer.parts.likeliest.options] == first.indices.tolist()
    assert explorer.parts.classes.value == first.labels[0].replace("\n", " ")
    # With another photo it is that one's, until a class is chosen.
    explorer._photos._list.value = "two"
    assert explorer.wait(30)
    assert explorer.target == cv.Target(int(net.predict(PHOTOS[1]).indices[0]))
    least = int(net.predict(PHOTOS[1]).indices[-1])
    explorer.parts.likeliest.value = least
    assert explorer.wait(30)
    assert explorer.target == cv.Target(least)
    np.testing.assert_allclose(
        explorer.results["guided"].heatmap,
        cv.gradient_map(net, PHOTOS[1], least, rule="guided").heatmap,
        rtol=1e-4,
        atol=1e-6,
    )
    explorer.parts.classes.value = "dog"
    assert (explorer.wait(30), explorer.target) == (True, cv.Target(1))
    explorer.image = PHOTOS[2]
    assert (explorer.wait(30), explorer.target) == (True, cv.Target(1))
    # What is typed and is no class stays to be mended, and nothing else changes.
    explorer.parts.classes.value = "dgo"
    assert "did you mean &#x27;dog&#x27;" in explorer.parts.classes.said.value
    assert explorer.parts.classes.said in explorer.children
    assert (explorer.target, explorer.parts.classes.value) == (cv.Target(1), "dgo")
    explorer.target = "<b>fox</b>"
    assert explorer.wait(30)
    assert "&lt;b&gt;fox" in explorer.parts.said.value
    assert "<b>fox" not in explorer.parts.said.value
    explorer.target = cv.Target(layer="second", channel=2)
    assert explorer.wait(30)
    assert "mean of channel 2 of second" in explorer.to_text()
    assert (explorer.parts.likeliest.value, explorer.parts.classes.value) == (-1, "")
    explorer.close()


def test_another_layer_for_grad_cam_leaves_the_other_maps_alone(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "dog")
    before = explorer.results
    explorer.map = "Grad-CAM"
    explorer.parts.layers.value = "first"
    assert explorer.wait(30)
    assert explorer.params == {"target": cv.Target("dog"), "layer": "first"}
    assert explorer.result.map.shape == (12, 12)
    assert all(explorer.results[name] is before[name] for name in NAMES[:-1])
    assert explorer.measured.names == (*NAMES, "chance")
    explorer.close()


def test_one_click_checks_all_maps_against_random_weights(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "dog")
    weights = [each.clone() for each in net.module.parameters()]
    assert (explorer.parts.check.disabled, explorer.parts.random.children) == (False, ())
    explorer.map = "guided"
    explorer.parts.check.click()
    assert explorer.wait(30)
    alone = cv.randomization_check(
        net, lambda net: cv.gradient_map(net, PHOTOS[0], "dog", rule="guided"), stages=2
    )
    assert list(explorer.checks) == NAMES
    assert explorer.checks["guided"].layers == alone.layers
    np.testing.assert_allclose(explorer.checks["guided"].rank_correlation, alone.rank_correlation, atol=1e-5)
    assert all(map(torch.equal, weights, net.module.parameters()))
    assert alone.message in explorer.parts.checked.value.replace("&#x27;", "'")
    assert explorer.parts.stages.count == 3
    assert "survives random weights" in explorer.parts.table.value
    assert f"{alone.rank_correlation[-1]:.2f}".replace("-", "\u2212") in explorer.parts.table.value
    assert explorer.parts.check.disabled
    # Of another class nothing is known yet.
    explorer.target = "cat"
    assert explorer.wait(30)
    assert (explorer.checks, explorer.parts.random.children, explorer.parts.check.disabled) == ({}, (), False)
    explorer.close()


def test_a_map_that_can_not_be_is_told_in_its_place() -> None:
    torch.manual_seed(2)
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(400, 3))
    net = cv.Network(smooth, input=cv.InputSpec(size=12))
    explorer = _explorer(net, PHOTOS[0], 0)
    assert set(explorer.failures) == {"guided", "DeconvNet"}
    assert set(explorer.results) == set(NAMES) - {"guided", "DeconvNet"}
    assert explorer.parts.grid._badges == {"3": "none", "4": "none"}
    explorer.map = "guided"
    assert "calls none that is recognized" in explorer.parts.reading.value
    assert (explorer.result, explorer.parts.stage._heat) == (None, None)
    assert "Error" not in explorer.status.value
    explorer.close()

    flat = cv.Network(nn.Sequential(nn.Flatten(), nn.Linear(432, 3)), input=cv.InputSpec(size=12))
    explorer = _explorer(flat, PHOTOS[0])
    assert "Grad-CAM" not in explorer.calls
    assert explorer.layer is None
    assert explorer.measured is not None
    explorer.close()


class Waits(Classifier):
    """Waits until it is let go, and says when it has arrived there."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.go, self.asks = threading.Event(), threading.Event(), False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.asks:
            self.arrived.set()
            assert self.go.wait(20)
        return super().forward(x)


def test_what_is_late_is_dropped_what_is_stopped_can_go_on_and_closing_ends_it() -> None:
    module = Waits()
    net = cv.Network(module, input=cv.InputSpec(size=12, mean=0.4, std=0.2), labels=LABELS)
    explorer = _explorer(net, PHOTOS[0], "cat")
    module.asks = True
    explorer.target = "dog"
    assert module.arrived.wait(20)
    assert (explorer.busy, explorer.results, explorer.measured) == (True, {}, None)
    assert "computing the maps: 0 of 7" in explorer.parts.running.value
    assert "logit of dog" in explorer.parts.said.value
    late = explorer._job
    explorer.target = "<b>fox</b>"
    module.asks = False
    module.go.set()
    assert explorer.wait(30)
    assert late is not None
    assert late.wait(20)
    np.testing.assert_allclose(
        explorer.result.heatmap, cv.gradient_map(net, PHOTOS[0], 2).heatmap, rtol=1e-4, atol=1e-6
    )

    for act in (lambda: explorer.parts.stop.click(), explorer.close):
        module.arrived.clear()
        module.go.clear()
        module.asks = True
        explorer.target = "cat" if explorer.target != cv.Target("cat") else "dog"
        assert module.arrived.wait(20)
        job = explorer._job
        act()
        module.asks = False
        module.go.set()
        assert job is not None
        assert job.wait(20)
        assert (job.state, explorer.busy, explorer.measured) == ("stopped", False, None)
        if act != explorer.close:
            assert explorer.parts.stop.description == "Go on"
            assert "stopped after 0 of 7 maps" in explorer.parts.running.value
            explorer.parts.stop.click()
            assert explorer.wait(30)
            assert (list(explorer.results), explorer.measured is not None) == (NAMES, True)
            assert (explorer.parts.stop.description, explorer.parts.stop.disabled) == ("Stop", True)
            assert explorer.parts.running.value == ""
    every = Progress(failures=dict.fromkeys(NAMES, "gradient is zero"))
    assert stopped_text(NAMES, every) == "stopped before the curves were measured"


def test_maps_of_many_gradients_tell_how_far_they_are_and_can_be_stopped_between_them(
    net: cv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = _explorer(net, PHOTOS[0], "cat", samples=10, steps=8)
    said: list[str] = []
    monkeypatch.setattr(explorer.parts, "say", said.append)
    explorer.target = "dog"
    assert explorer.wait(30)
    for text in ("2 of 7, SmoothGrad 33%", "2 of 7, SmoothGrad 67%", "5 of 7, integrated 50%"):
        assert f"computing the maps: {text} \u2026" in said
    monkeypatch.setattr(explorer.parts, "say", lambda text: "SmoothGrad 67%" in text and explorer.stop())
    explorer.target = "cat"
    assert explorer.wait(30)
    assert list(explorer.results) == NAMES[:2]
    explorer.close()


def test_an_error_is_shown_in_the_widget(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "cat")
    handle = net.module.second.register_forward_hook(lambda *_: {}["<i>gone</i>"])
    explorer.target = "dog"
    assert explorer.wait(30)
    handle.remove()
    assert "KeyError" in explorer.status.value
    assert "&lt;i&gt;gone&lt;/i&gt;" in explorer.status.value
    explorer.parts.stop.click()
    assert explorer.wait(30)
    assert "KeyError" not in explorer.status.value
    assert list(explorer.results) == NAMES
    explorer.close()


def test_what_is_wrong_is_refused(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "cat")
    for wrong, error, text in (
        ("dgo", cv.errors.LabelNotFoundError, "did you mean 'dog'"),
        (3, cv.errors.LabelNotFoundError, "classes are 0 to 2"),
        (cv.Target(layer="second", channel=4), cv.errors.TargetError, "channels 0 to 3"),
    ):
        with pytest.raises(error, match=text):
            explorer.target = wrong
    with pytest.raises(cv.errors.LayerNotFoundError, match="second"):
        explorer.layer = "secnod"
    with pytest.raises(ValueError, match="did you mean 'guided'"):
        explorer.map = "guded"
    with pytest.raises(cv.errors.InputTypeError):
        explorer.image = object()
    assert (explorer.target, explorer.layer, explorer.map) == (cv.Target("cat"), "last", "gradient")
    explorer.close()
    with pytest.raises(ValueError, match="samples"):
        cv.SaliencyExplorer(net, PHOTOS[0], samples=0)
    with pytest.raises(ValueError, match="deletion_fill"):
        cv.SaliencyExplorer(net, PHOTOS[0], deletion_fill="white")
    with pytest.raises(TypeError, match=r"cv.Network"):
        cv.SaliencyExplorer(net.module, PHOTOS[0])  # type: ignore[arg-type]


def test_without_classes_a_target_is_needed() -> None:
    maps = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), input=cv.InputSpec(size=12))
    with pytest.raises(cv.errors.InputError, match=r"this network returns torch.float32 .* or give a target"):
        _explorer(maps, PHOTOS[0])
    explorer = _explorer(maps, PHOTOS[0], cv.Target(layer="0", channel=1, position=(3, 4)))
    assert explorer.wait(30)
    assert set(explorer.results) | set(explorer.failures) == set(NAMES)
    assert explorer.parts.classes.layout.display == "none"
    assert "No classes to choose from: class scores are floats of shape" in explorer.parts.said.value
    explorer.close()


def test_viewers_without_widgets_get_a_picture_and_a_text(net: cv.Network) -> None:
    explorer = _explorer(net, PHOTOS[0], "dog")
    bundle = explorer._repr_mimebundle_()
    with Image.open(io.BytesIO(explorer.to_png() or b"")) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50
    assert bundle["text/plain"].startswith("SaliencyExplorer: logit of dog\ngradient: logit of dog is ")
    assert "chance" in bundle["text/plain"]
    explorer.close()
