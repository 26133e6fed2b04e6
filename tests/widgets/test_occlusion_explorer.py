"""The occlusion explorer without a page: what it shows, what can be set, what a drag asks, where errors go."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from traitlets import TraitError

import cnnviz_widgets as cv
from cnnviz_widgets.engine.covering import Covering
from cnnviz_widgets.engine.incremental import WindowPasses
from cnnviz_widgets.widgets._occluder import Occluder
from cnnviz_widgets.widgets._occlusion_parts import change_text, target_text
from cnnviz_widgets.widgets._target_fields import unit_position

LABELS = ["cat", "<b>dog</b>", "fox"]
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)
SIZE = (20, 16)


def made_net(*, classes: bool = True) -> cv.Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers: list[nn.Module] = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2)]
        if classes:
            layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)]
        module = nn.Sequential(*layers)
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    spec = cv.InputSpec(size=SIZE, resize=SIZE, mean=0.5, std=0.2)
    return cv.Network(module, input=spec, labels=LABELS if classes else None)


@pytest.fixture(scope="module")
def net() -> cv.Network:
    return made_net()


@pytest.fixture
def explorer(net: cv.Network) -> Iterator[cv.OcclusionExplorer]:
    made = cv.OcclusionExplorer(net, IMAGE, "fox", window=4, stride=4)
    assert made.wait(30)
    yield made
    made.close()


def press(explorer: cv.OcclusionExplorer, *places: tuple[int, int]) -> None:
    """Press at the first place, move over the others, and let go, as the page tells of it."""
    stage = explorer.parts.stage
    stage.pointer = places[0]
    stage.pressed = True
    for place in places[1:]:
        stage.pointer = place
    stage.pressed = False
    assert explorer.wait_for_answer(30)


def by_hand(net: cv.Network, mask: np.ndarray, fill: float = 0.0) -> torch.Tensor:
    """Return the scores of the image with a number wherever the mask is true."""
    x = net.prepare(IMAGE)
    return net.scores(torch.where(torch.from_numpy(mask), fill, x))[0]


def test_the_map_is_the_call_s(net: cv.Network, explorer: cv.OcclusionExplorer) -> None:
    expected = cv.occlusion(net, explorer.image, **explorer.params)
    assert explorer.params == {"target": cv.Target("fox"), "window": 4, "stride": 4, "fill": 0.0}
    np.testing.assert_allclose(explorer.result.scores, expected.scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(explorer.parts.stage._heat.values, explorer.result.heatmap)
    marks = {box.label: (box.top, box.left, box.bottom, box.right) for box in explorer.parts.stage._boxes}
    row, column = np.unravel_index(expected.scores.argmin(), expected.scores.shape)
    assert marks["strongest"] == (4 * row, 4 * column, 4 * row + 4, 4 * column + 4)
    row, column = np.unravel_index(expected.scores.argmax(), expected.scores.shape)
    assert marks["weakest"] == (4 * row, 4 * column, 4 * row + 4, 4 * column + 4)
    assert "all 20 places measured" in explorer.parts.progress.value
    assert explorer.to_text().startswith("OcclusionExplorer: logit of fox, window 4, stride 4\nOcclusionMap(")
    assert explorer.to_png()[:4] == b"\x89PNG"


def test_it_begins_with_the_most_probable_class_and_a_window_that_fits(net: cv.Network) -> None:
    explorer = cv.OcclusionExplorer(net, {"first": IMAGE})
    best = net.predict(IMAGE, k=1)
    assert explorer.target == cv.Target(int(best.indices[0]), of="probability")
    assert (explorer.window, explorer.stride) == (2, 1)
    assert explorer.wait(30)
    assert explorer.result.baseline == pytest.approx(float(best.probabilities[0]), rel=1e-5)
    explorer.close()


def test_a_drag_moves_the_window_and_the_answer_follows(net: cv.Network, explorer: Any) -> None:
    press(explorer, (3, 3), (9, 8))
    mask = np.zeros(SIZE, bool)
    mask[7:11, 6:10] = True
    np.testing.assert_array_equal(explorer.mask, mask)
    scores = by_hand(net, mask)
    assert explorer.answer.value == pytest.approx(float(scores[2]), rel=1e-4)
    np.testing.assert_allclose(explorer.answer.probabilities, torch.softmax(scores, 0), rtol=1e-4, atol=1e-6)
    shown = dict(explorer.parts.bars._rows)
    assert shown["fox"] == pytest.approx(float(torch.softmax(scores, 0)[2]), rel=1e-4, abs=1e-6)
    assert len(shown) == 3
    assert f"\u2192 {scores[2]:.4g}".replace("-", "\u2212") in explorer.parts.answer.value
    assert "<b>dog" not in explorer.parts.answer.value
    # Where the drag ended stands in the fields, by which a keyboard moves the window as well; within the image.
    assert explorer.parts.stage.clicked == (9, 8)
    explorer.parts.stage._row.value = 19
    assert explorer.wait_for_answer(30)
    assert np.argwhere(explorer.mask)[0].tolist() == [16, 6]
    explorer.window = 6
    assert np.argwhere(explorer.mask)[0].tolist() == [14, 5]
    explorer.parts.clear.click()
    assert explorer.wait_for_answer(30)
    assert not explorer.mask.any()
    assert "Drag over the photo" in explorer.parts.answer.value


def test_a_brush_paints_any_shape_and_another_one_takes_it_away(net: cv.Network, explorer: Any) -> None:
    explorer.tool, explorer.brush = "paint", 3
    press(explorer, (4, 3), (4, 12))
    assert explorer.mask[3:6, 2:14].all()
    assert explorer.mask.sum() == 3 * 12
    press(explorer, (15, 3))
    assert not explorer.mask[6:14].any()  # a stroke of its own
    explorer.tool = "erase"
    press(explorer, (4, 8))
    assert not explorer.mask[3:6, 7:10].any()
    assert explorer.answer.value == pytest.approx(float(by_hand(net, explorer.mask)[2]), rel=1e-4)
    explorer.mask = np.eye(20, 16, dtype=bool)
    assert explorer.wait_for_answer(30)
    assert explorer.answer.value == pytest.approx(float(by_hand(net, explorer.mask)[2]), rel=1e-4)
    explorer.fill = 1.5
    assert explorer.wait(30)
    assert explorer.wait_for_answer(30)
    assert explorer.answer.value == pytest.approx(float(by_hand(net, explorer.mask, 1.5)[2]), rel=1e-4)
    assert explorer.parts.fill.value == 1.5


def test_of_many_covers_only_the_newest_is_asked_about_next(
    explorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[np.ndarray] = []
    began, go_on, answer = threading.Event(), threading.Event(), Covering.answer

    def slowly(self: Covering, mask: np.ndarray) -> Any:
        asked.append(mask)
        began.set()
        assert go_on.wait(30)
        return answer(self, mask)

    monkeypatch.setattr(Covering, "answer", slowly)
    stage = explorer.parts.stage
    stage.pointer = (3, 3)
    stage.pressed = True
    assert began.wait(30)
    for column in range(4, 13):  # while the network works, and without waiting for it
        stage.pointer = (9, column)
    stage.pressed = False
    go_on.set()
    assert explorer.wait_for_answer(30)
    assert len(asked) == 2
    np.testing.assert_array_equal(asked[1], explorer.mask)
    # An answer to what is not asked any more is dropped.
    began.clear(), go_on.clear()
    stage.pointer = (5, 5)
    stage.pressed = True
    assert began.wait(30)
    monkeypatch.setattr(Covering, "answer", answer)
    told: list[float] = []
    tell = explorer._hand._on_answer
    explorer._hand._on_answer = lambda found, share: told.append(found.value) or tell(found, share)
    stage.pressed = False
    explorer.target = "cat"
    assert explorer.wait(30)  # by now the other question can be answered
    go_on.set()
    assert explorer.wait_for_answer(30)
    assert told == [pytest.approx(float(by_hand(explorer.net, explorer.mask)[0]), rel=1e-4)]


def slow_steps(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Semaphore, threading.Semaphore]:
    """Let each step of a map, a single place, wait for a permit, and tell when it is asked for."""
    permits, asked, batches = threading.Semaphore(0), threading.Semaphore(0), WindowPasses.batches

    def paced(*arguments: Any, **options: Any) -> Any:
        for batch in batches(*arguments, **options):
            asked.release()
            assert permits.acquire(timeout=30)
            yield batch

    monkeypatch.setattr(WindowPasses, "batches", paced)
    monkeypatch.setattr("cnnviz_widgets.widgets.occlusion.BATCH_MEMORY", 1)
    return permits, asked


def test_stopped_half_way_the_coarse_map_stays(net: cv.Network, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cv.occlusion(net, IMAGE, "fox", window=4, stride=1).heatmap
    permits, asked = slow_steps(monkeypatch)
    permits.release(40)
    explorer = cv.OcclusionExplorer(net, IMAGE, "fox", window=4, stride=1)
    for _ in range(41):
        assert asked.acquire(timeout=30)
    assert explorer.parts.run.description == "Stop"
    assert explorer.result is None
    assert "<progress" in explorer.parts.progress.value
    assert "s left" in explorer.parts.progress.value
    coarse = explorer.parts.stage._heat.values.copy()
    assert np.corrcoef(coarse.ravel(), whole.ravel())[0, 1] > 0.5
    explorer.parts.run.click()
    permits.release()
    assert explorer.wait(30)
    part = explorer.result
    assert part.measured == 41 / 221
    np.testing.assert_array_equal(explorer.parts.stage._heat.values, part.heatmap)
    assert np.corrcoef(coarse.ravel(), part.heatmap.ravel())[0, 1] > 0.9
    assert explorer.parts.progress.value == "stopped after 41 of 221 places"
    assert explorer.parts.run.description == "Run again"
    assert {box.label for box in explorer.parts.stage._boxes} == {"strongest", "weakest"}
    monkeypatch.undo()
    explorer.parts.run.click()
    assert explorer.wait(30)
    assert explorer.result.measured == 1
    explorer.close()


def test_the_map_waits_while_the_window_is_dragged_and_ends_with_the_widget(
    net: cv.Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    permits, _ = slow_steps(monkeypatch)
    permits.release()
    explorer = cv.OcclusionExplorer(net, IMAGE, "fox", window=4, stride=1)
    job, stage = explorer._job, explorer.parts.stage
    stage.pointer = (3, 3)
    stage.pressed = True
    assert job.state == "paused"
    assert explorer.wait_for_answer(30)
    assert explorer.answer.value == pytest.approx(float(by_hand(net, explorer.mask)[2]), rel=1e-4)
    stage.pressed = False
    assert job.state == "running"
    # A page that is loaded anew while the button is down never tells that it was let go.
    drawing, pointer = stage._overlay.canvases
    pointer._handle_custom_msg({"event": "mouse_down", "x": 40, "y": 40}, [])
    assert job.state == "paused"
    mask = explorer.mask
    drawing._handle_custom_msg({"event": "client_ready"}, [])
    assert job.state == "running"
    pointer._handle_custom_msg({"event": "mouse_move", "x": 400, "y": 400}, [])
    np.testing.assert_array_equal(explorer.mask, mask)
    explorer.close()
    permits.release(5)
    assert job.wait(30)
    assert job.state == "stopped"


@pytest.mark.parametrize("end", ["close", "let_go"])
def test_closed_or_its_cell_run_again_it_holds_no_prepared_passes(net: cv.Network, end: str) -> None:
    explorer = cv.OcclusionExplorer(net, IMAGE, "fox", window=4, stride=4)
    assert explorer.wait(30)
    press(explorer, (3, 3))
    held = weakref.ref(explorer._covering)
    getattr(explorer, end)()
    gc.collect()
    assert held() is None
    if end == "let_go":
        # Somebody may still have it under a name.
        explorer.run()
        assert explorer.wait(30)
        assert explorer.wait_for_answer(30)
        assert explorer.answer.value == pytest.approx(float(by_hand(net, explorer.mask)[2]), rel=1e-4)
        explorer.close()


def test_a_unit_is_chosen_by_its_fields(net: cv.Network, explorer: Any) -> None:
    picker = explorer.parts.target
    picker.about.value = "unit"
    assert explorer.target == cv.Target(layer="0", channel=0)
    picker.layers.value = "2"
    picker.channel.field.value = 3
    picker.position.value = "5, 2"
    assert explorer.target == cv.Target(layer="2", channel=3, position=(5, 2))
    assert explorer.wait(30)
    expected = cv.occlusion(net, IMAGE, explorer.target, window=4, stride=4)
    np.testing.assert_allclose(explorer.result.scores, expected.scores, rtol=1e-4, atol=1e-5)
    assert "unit (5, 2) of channel 3 of 2" in explorer.parts.answer.value
    picker.position.value = "5, 99"
    assert "8 rows and 6 columns" in explorer.status.value
    assert picker.position.value == "5, 2"
    picker.about.value = "class"
    assert explorer.target == cv.Target(2)
    picker.scale.value = "probability"
    picker.classes.value = "cat"
    assert explorer.target == cv.Target(0, of="probability")
    picker.classes.value = "catt"
    assert "did you mean &#x27;cat&#x27;" in picker.classes.said.value
    assert (picker.classes.value, explorer.target) == ("catt", cv.Target(0, of="probability"))
    explorer.target = 2
    assert (picker.classes.value, picker.classes.said.value) == ("fox", "")
    assert explorer.wait(30)


def test_a_dead_unit_is_the_same_wherever_the_window_lies() -> None:
    net = made_net()
    with torch.no_grad():
        net.module[0].bias[1] = -1e6
    explorer = cv.OcclusionExplorer(net, IMAGE, cv.Target(layer="1", channel=1), window=4, stride=4)
    assert explorer.wait(30)
    assert "mean of channel 1 of 1 is the same wherever the window lies" in explorer.parts.found.value
    assert explorer.parts.stage._boxes == ()
    explorer.close()


def test_values_are_told_apart_and_an_index_from_a_value() -> None:
    unnamed = cv.Network(made_net().module, input=made_net().input)
    assert target_text(unnamed, cv.Target(2)) == "logit of class 2"
    assert target_text(made_net(), cv.Target(0, of="probability")) == "probability of cat"
    chance = cv.Target(2, of="probability")
    assert change_text(chance, 0.45, 0.116) == "45.0% \u2192 11.6%"
    assert change_text(chance, 0.124161, 0.124153) == "12.416% \u2192 12.415%"
    assert change_text(cv.Target(2), 28.62, 28.62) == "28.62 \u2192 28.62"
    assert change_text(cv.Target(2), 1e6 + 1 / 16, 1e6) == "1000000 \u2192 1000000"  # no float32 tells more


def test_a_network_without_classes(explorer: Any) -> None:
    net = made_net(classes=False)
    with pytest.raises(cv.errors.InputError, match=r"this network returns torch.float32 .* or give a target"):
        cv.OcclusionExplorer(net, IMAGE)
    mislabeled = cv.Network(made_net().module, input=net.input, labels=["cat"])
    with pytest.raises(cv.errors.InputError, match=r"classes, but 1 labels were given; or give a target"):
        cv.OcclusionExplorer(mislabeled, IMAGE)
    made = cv.OcclusionExplorer(net, IMAGE, cv.Target(layer="2", channel=1), window=4)
    assert made.wait(30)
    press(made, (5, 5))
    assert made.answer.probabilities is None
    assert made.parts.bars.layout.display == "none"
    assert [value for _, value in made.parts.target.about.options] == ["unit"]
    made.close()


def test_a_wrong_number_of_labels_is_said_where_the_class_bars_would_be() -> None:
    net = made_net()
    named = cv.Network(net.module, input=net.input, labels=["cat", "<b>dog"])
    explorer = cv.OcclusionExplorer(named, IMAGE, cv.Target(layer="0", channel=1), window=4, stride=4)
    assert explorer.wait(30)
    assert explorer.parts.bars.layout.display == "none"
    assert "No class bars: the network has 3 classes, but 2 labels" in explorer.parts.answer.value
    explorer.close()


def test_another_photo(net: cv.Network, explorer: Any) -> None:
    press(explorer, (5, 5))
    other = 255 - IMAGE
    explorer.set_image(other, "<i>negative</i>")
    assert not explorer.mask.any()
    assert explorer.wait(30)
    expected = cv.occlusion(net, other, **explorer.params)
    np.testing.assert_allclose(explorer.result.scores, expected.scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(explorer.parts.stage.image, net.restore(net.prepare(other))[0])
    with pytest.raises(cv.errors.InputError, match="OcclusionExplorer"):
        explorer.image = [IMAGE, IMAGE]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("window", 17, "larger than the image, which the network sees as 20 x 16"),
        ("window", 0, "whole number from 1"),
        ("stride", 5, "larger than window=4"),
        ("stride", 0, "whole number from 1"),
        ("fill", "green", "'black', 'gray', 'blur' or 'noise'"),
        ("target", "dog", "'dog' not found"),
        ("target", 3, "class 3 does not exist"),
        ("target", cv.Target(layer="2", channel=9), "channels 0 to 3, got 9"),
        ("target", cv.Target(layer="9", channel=0), "layer '9' not found"),
        ("mask", np.zeros((3, 3), bool), r"bool array of the image's size \[20, 16\]"),
        ("mask", np.zeros(SIZE), "got float64"),
        ("brush", 0, "brush"),
        ("tool", "hammer", "tool"),
    ],
)
def test_a_wrong_value_raises_at_once(explorer: Any, name: str, value: Any, text: str) -> None:
    before = getattr(explorer, name)
    with pytest.raises((ValueError, LookupError, TraitError), match=text):
        setattr(explorer, name, value)
    np.testing.assert_array_equal(getattr(explorer, name), before)


def test_a_smaller_window_takes_its_stride_along(explorer: Any) -> None:
    explorer.parts.window.value = 8
    explorer.parts.stride.value = 6
    assert (explorer.window, explorer.stride) == (8, 6)
    explorer.parts.window.value = 3
    assert (explorer.window, explorer.stride) == (3, 3)
    assert explorer.parts.stride.value == explorer.parts.stride.max == 3
    explorer.window = (6, 2)
    assert explorer.stride == (3, 2)
    assert explorer.wait(30)
    assert explorer.result.window == (6, 2)


def test_an_error_of_the_network_is_shown_and_takes_the_map_away(net: cv.Network, explorer: Any) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("<b>no</b>")

    handle = net.module.register_forward_pre_hook(fail)
    try:
        explorer.target = "cat"
        explorer.wait(30)
    finally:
        handle.remove()
    assert "&lt;b&gt;no&lt;/b&gt;" in explorer.status.value
    assert explorer.result is None
    assert explorer.parts.stage._heat is None
    explorer.run()
    assert explorer.wait(30)
    assert explorer.result is not None
    assert "no" not in explorer.status.value.split("</style>")[1]


def test_a_window_lies_within_the_image_and_a_stroke_is_a_capsule() -> None:
    occluder = Occluder((10, 12))
    occluder.place((0, 11), (3, 4))
    assert np.argwhere(occluder.mask).tolist() == [[r, c] for r in range(3) for c in range(8, 12)]
    occluder.clear()
    occluder.stroke((2, 2), 5)
    occluder.stroke((7, 9), 5)
    rows, columns = np.mgrid[:10, :12]
    share = np.clip(((rows - 2) * 5 + (columns - 2) * 7) / 74, 0, 1)
    distance = np.hypot(rows - 2 - 5 * share, columns - 2 - 7 * share)
    np.testing.assert_array_equal(occluder.mask, distance <= 2.5)
    occluder.clear()
    occluder.stroke((4, 4), 1)
    assert np.argwhere(occluder.mask).tolist() == [[4, 4]]


@pytest.mark.parametrize("text", ["3", "3, 4, 5", "a, b", "-1, 2"])
def test_what_is_no_unit(text: str) -> None:
    with pytest.raises(ValueError, match="a row and a column"):
        unit_position(text)


def test_another_photo_is_asked_about_its_own_class_unless_one_was_chosen() -> None:
    net = cv.samples.fashion_cnn()
    images, _ = cv.samples.fashion_mnist("test")
    first, second = images[0], images[1]
    explorer = cv.OcclusionExplorer(net, first, window=14, stride=14)
    own = [int(net.predict(each, k=1).indices[0]) for each in (first, second)]
    assert own[0] != own[1]
    assert explorer.target.what == own[0]
    explorer.image = second
    assert explorer.target.what == own[1]
    explorer.target = own[0]
    explorer.image = first
    explorer.image = second
    assert explorer.target.what == own[0]
    assert explorer.wait(60)
    explorer.close()
