"""The training timeline without a page: what it draws against the history, live or not, and what it refuses."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import LayerNotFoundError, TargetError
from cnnviz_widgets.widgets._drawer import Drawer
from cnnviz_widgets.widgets._training_pictures import (
    LIVE_BYTES,
    LIVE_FRAMES,
    MAXIMUM_FRAMES,
    MAXIMUM_STOPS,
    chart_lines,
    evenly,
    kernel_frames,
    map_frames,
    step_texts,
)

LAYERS = ("relu1", ("relu", 1))


def history(
    records: int = 5,
    *,
    kernels: tuple[int, ...] = (6, 1, 5, 5),
    maps: tuple[int, ...] = (4, 8, 9),
    spacing: int = 10,
    layers: tuple[Any, ...] = LAYERS,
) -> cv.TrainingHistory:
    rng = np.random.default_rng(records)
    names = ("conv.weight", "conv.bias")
    activations = {
        key: np.maximum(rng.normal(size=(records, 2, *maps)), 0).astype(np.float16) for key in layers
    }
    for values in activations.values():
        values[:, :, 1] = 0
    return cv.TrainingHistory(
        steps=np.arange(records, dtype=np.int64) * spacing,
        loss=np.linspace(2.0, 1.0, records),
        kernels=rng.normal(size=(records, *kernels)).astype(np.float32),
        roughness=rng.uniform(size=(records, kernels[0])),
        activations=activations,
        sparsity={key: rng.uniform(size=records) for key in layers},
        dead_channels={key: rng.uniform(size=(records, maps[0])) < 0.4 for key in layers},
        weight_norms={name: rng.uniform(1, 2, records) for name in names},
        gradient_norms={name: rng.uniform(1, 2, records) for name in names},
        update_norms={name: rng.uniform(0.01, 0.02, records) for name in names},
        images=rng.integers(0, 256, (2, 12, 12, 3), dtype=np.uint8),
        image_count=2,
        kernels_layer="conv",
        parameters={},
    )


def tiles_on_show(grid: Any) -> Any:
    """The values that the page draws at the grid's step, found as the page finds them."""
    steps = list(grid._steps)
    frame = len(steps) - 1
    if grid.step >= 0:
        frame = min(range(len(steps)), key=lambda index: abs(steps[index] - grid.step))
    return grid._payload().carried(slice(frame * grid.count, (frame + 1) * grid.count))


def saved_bytes(widget: ipywidgets.Widget) -> int:
    state = ipywidgets.Widget.get_manager_state(widgets=_models(widget))["state"]
    return len(json.dumps(state))


def _models(widget: Any) -> list[Any]:
    found: dict[str, Any] = {}
    waiting = [widget]
    while waiting:
        each = waiting.pop()
        if each.model_id not in found:
            found[each.model_id] = each
            for name in each.keys:
                value = getattr(each, name)
                values = value if isinstance(value, (list, tuple)) else [value]
                values = list(value.values()) if isinstance(value, dict) else values
                waiting += [other for other in values if isinstance(other, ipywidgets.Widget)]
    return list(found.values())


def test_the_step_moves_tiles_and_slider_and_none_is_the_latest() -> None:
    told = history()
    timeline = cv.TrainingTimeline(told)
    assert (timeline.step, timeline.shown_step, timeline.parts.first.index) == (None, 40, 4)
    for step, index in ((0, 0), (20, 2), (None, 4)):
        timeline.step = step
        assert timeline.parts.first.index == index
        shown = tiles_on_show(timeline.parts.kernels)
        assert np.abs(shown - told.kernels[index, :, 0]).max() < 1e-3
        maps = tiles_on_show(timeline.parts.maps)
        assert np.abs(maps - told.activations["relu1"][index, 0]).max() < 1e-3
    timeline.layer, timeline.image = ("relu", 1), 1
    assert timeline.wait(60)
    maps = tiles_on_show(timeline.parts.maps)
    assert np.abs(maps - told.activations["relu", 1][4, 1]).max() < 1e-3
    assert set(timeline.parts.maps._badges.values()) == {"all zero"}
    assert sorted(map(int, timeline.parts.maps._badges)) == [1, 5, 9, 13, 17]  # channel 1 of each frame


def test_the_charts_draw_the_history() -> None:
    told = history(7)
    timeline = cv.TrainingTimeline(told)
    charts = timeline.parts.charts
    np.testing.assert_allclose(np.ravel(charts["loss"]._marks[0].y), told.loss, rtol=1e-6)
    np.testing.assert_allclose(charts["dead"]._marks[0].y, list(told.dead.values()), rtol=1e-6)
    assert list(charts["dead"]._lines) == ["relu1", "relu (call 1)"]
    median = charts["roughness"]._lines["median"]
    np.testing.assert_allclose(median, [sorted(row)[2:4] @ np.full(2, 0.5) for row in told.roughness], 1e-6)
    ratio = told.update_norms["conv.weight"] / told.weight_norms["conv.weight"]
    np.testing.assert_allclose(charts["update"]._lines["conv.weight"], ratio, 1e-6)
    assert "conv.bias" not in charts["update"]._lines


def test_a_click_in_the_page_is_the_trait() -> None:
    timeline = cv.TrainingTimeline(history())
    parts = timeline.parts
    parts.first.set_state({"value": 20})
    assert timeline.step == 20
    parts.first.set_state({"value": 27})  # on a page whose records have been thinned out since
    assert timeline.step == 30
    parts.first.set_state({"value": -1})
    assert timeline.step is None
    parts.compare.set_state({"value": True})
    assert timeline.compare == 0
    assert timeline.wait(60)
    parts.second.set_state({"value": 10})
    parts.kernels_second.set_state({"step": 10})  # which the page's link does
    assert timeline.compare == 10
    assert np.abs(tiles_on_show(parts.kernels_second) - timeline.history.kernels[1, :, 0]).max() < 1e-3
    parts.layer.set_state({"index": 1})
    assert timeline.layer == ("relu", 1)
    parts.image.set_state({"index": 1})
    assert timeline.image == 1
    timeline.compare = None
    assert timeline.wait(60)
    assert not parts.compare.value
    assert parts.kernels_second.count == 0  # takes no room in the notebook
    assert parts.second.layout.display == "none"


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        ("step", 15, TargetError, r"step 15 was not recorded; the nearest that was is 10 .*all 5, from 0 to 40"),
        ("compare", 99, TargetError, "step 99 was not recorded; the nearest that was is 40"),
        ("layer", "fc", LayerNotFoundError, r"no activations of 'fc' were recorded; .*'relu1', \('relu', 1\)"),
        ("image", 2, TargetError, "images 0 to 1 are kept, got 2"),
        ("image", -1, TargetError, "images 0 to 1 are kept, got -1"),
    ],
)  # fmt: skip
def test_what_was_not_recorded_is_refused(name: str, value: Any, error: type, message: str) -> None:
    timeline = cv.TrainingTimeline(history())
    before = getattr(timeline, name)
    with pytest.raises(error, match=message):
        setattr(timeline, name, value)
    assert getattr(timeline, name) == before
    with pytest.raises(error, match=message):
        cv.TrainingTimeline(history(), **{name: value})


def test_only_histories_and_recorders_are_taken() -> None:
    with pytest.raises(TypeError, match=r"TrainingRecorder or a cv.TrainingHistory, got list"):
        cv.TrainingTimeline([])  # type: ignore[arg-type]


def test_without_activations_there_are_kernels_and_charts() -> None:
    timeline = cv.TrainingTimeline(history(layers=()))
    assert timeline.layer is None
    assert timeline.parts.activations.layout.display == "none"
    assert timeline.parts.charts["dead"].layout.display == "none"
    assert timeline.parts.charts["loss"].layout.display is None
    with pytest.raises(LayerNotFoundError, match="none were recorded; give the recorder images="):
        timeline.layer = "relu1"


@pytest.mark.parametrize(
    ("kernels", "unit"),
    [((4, 3, 5, 5), "weight"), ((4, 8, 5, 5), "norm of the weights of 8 inputs"), ((4, 1, 1, 1), "weight")],
)
def test_kernels_of_any_depth_are_shown(kernels: tuple[int, ...], unit: str) -> None:
    told = history(kernels=kernels)
    told.kernels[3, 2] = np.nan  # a training that diverged
    timeline = cv.TrainingTimeline(told)
    assert timeline.parts.kernels.unit == unit
    frames = kernel_frames(told)
    assert frames is not None
    expected = {
        1: lambda weights: weights[0],
        3: lambda weights: weights.transpose(1, 2, 0),
        8: lambda weights: np.sqrt((weights**2).sum(axis=0)),
    }[kernels[1]]
    np.testing.assert_allclose(frames.values[1, 2], expected(told.kernels[1, 2]), rtol=1e-6)
    with Image.open(io.BytesIO(timeline.to_png() or b"")) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 10


def test_many_records_of_large_layers_stay_within_four_megabytes_and_keep_both_ends() -> None:
    told = history(300, kernels=(64, 3, 7, 7), maps=(64, 28, 28), spacing=7, layers=("relu1",))
    timeline = cv.TrainingTimeline(told, compare=0)
    assert saved_bytes(timeline) < 4_000_000
    for grid in (timeline.parts.kernels, timeline.parts.maps, timeline.parts.maps_second):
        assert grid._steps[0] == 0
        assert grid._steps[-1] == told.steps[-1]
        assert 12 <= len(grid._steps) <= MAXIMUM_FRAMES
    assert len(timeline.parts.first.steps) == 300
    timeline.step = 7  # not among the pictures: the nearest one is shown, and says so
    assert "step 0," in timeline.parts.maps.to_text()
    assert evenly(300, 12)[[0, -1]].tolist() == [0, 299]


def test_of_very_many_records_the_slider_has_many_and_those_on_show() -> None:
    told = history(2_500, kernels=(1, 1, 1, 1), maps=(2, 1, 1), spacing=3, layers=("a" * 200,))
    timeline = cv.TrainingTimeline(told, compare=3)
    for parts in (timeline.parts.first, timeline.parts.second):
        assert len(parts.steps) == len(parts._texts) == MAXIMUM_STOPS + 1
        assert [parts.steps[index] for index in (0, 1, -1)] == [0, 3, 2_499 * 3]
        assert np.diff(parts.steps).max() == 9
    missed = next(step for step in told.steps.tolist() if step not in timeline.parts.first.steps)
    timeline.step = missed
    assert timeline.wait(60)
    assert timeline.parts.first.steps[timeline.parts.first.index or 0] == missed
    shown = timeline.parts.first._texts[timeline.parts.first.index or 0]
    assert shown == step_texts(told, np.array([missed // 3]))[0]


def test_texts_say_what_each_record_holds() -> None:
    told = history(2)
    told.sparsity["relu1"][:] = [0.25, np.nan]
    told.sparsity["relu", 1][:] = [0.5, 1.0]
    told.dead_channels["relu1"][:] = told.dead_channels["relu", 1][:] = False
    told.loss[1] = np.nan
    assert step_texts(told, np.arange(2)) == [
        "loss 2 \u00b7 zeros relu1 25%, relu (call 1) 50% \u00b7 dead relu1 0%, relu (call 1) 0%",
        "zeros relu1 unknown, relu (call 1) 100% \u00b7 dead relu1 unknown, relu (call 1) 0%",
    ]
    many = history(1, layers=tuple(f"r{index}" for index in range(30)))
    for index, row in enumerate(many.dead_channels.values()):
        row[:] = np.arange(4) < (1 if index < 29 else 3)
    assert "dead 27% in the mean of 30 layers, most in r29 (75%)" in step_texts(many, np.arange(1))[0]
    assert len(chart_lines(many, np.arange(1))["dead"]) == 12


def test_tiles_say_which_channels_are_dead_and_since_when() -> None:
    told = history(4)
    dead = told.dead_channels["relu1"]
    dead[:] = [[0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 0, 1]]
    maps = told.activations["relu1"]
    maps[:] = 1
    maps[:, :, 2] = 0  # silent on these images, not on all
    maps[dead[:, None].repeat(2, axis=1)] = 0
    silent = {2: "all zero"}
    assert map_frames(told, "relu1", 0).badges == [
        {3: "dead 0+"} | silent,
        {1: "dead 10+"} | silent,
        {1: "dead 10+", 3: "dead 20+"} | silent,
        {1: "dead 10+", 3: "dead 20+"} | silent,
    ]
    timeline = cv.TrainingTimeline(told, layer="relu1")
    assert timeline.to_text().splitlines()[2] == "dead in relu1: 1 (since step 10), 3 (since step 20)"
    assert "dead 40+: zero on all 2 images since step 40" in timeline.parts.maps_title.value
    told.dead_channels["relu", 1][:] = False
    timeline.layer = ("relu", 1)
    timeline.wait(60)
    assert "dead" not in timeline.parts.maps_title.value
    assert len(timeline.to_text().splitlines()) == 2


def test_maps_of_vectors_are_units() -> None:
    assert map_frames(history(maps=(4, 1, 1)), "relu1", 0).noun == "unit"


# -- live ------------------------------------------------------------------------------------------------


def a_training(**options: Any) -> tuple[cv.TrainingRecorder, Any]:
    module = cv.samples.fashion_cnn_module().train()
    net = cv.Network(module, input=cv.samples.fashion_input())
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05)
    images = list(cv.samples.fashion_mnist("test")[0][:4])
    recorder = cv.TrainingRecorder(net, optimizer, every=1, images=images, **options)
    x = net.prepare(images)

    def step() -> None:
        optimizer.zero_grad()
        loss = module(x).square().mean()
        loss.backward()
        recorder.note_loss(loss)
        optimizer.step()

    return recorder, step


def test_it_follows_a_recorder_until_someone_goes_back() -> None:
    recorder, step = a_training()
    timeline = cv.TrainingTimeline(recorder)
    assert "1 record, step 0, recording" in timeline.to_text()
    step()
    assert timeline.wait(60)
    assert (timeline.shown_step, timeline.parts.first.index) == (1, 1)
    timeline.step = 0
    step()
    assert timeline.wait(60)
    assert (timeline.shown_step, timeline.parts.first.index, len(timeline.history)) == (0, 0, 3)
    kernels = recorder.history.kernels
    assert np.abs(tiles_on_show(timeline.parts.kernels) - kernels[0, :, 0]).max() < 1e-4
    timeline.step = None
    assert np.abs(tiles_on_show(timeline.parts.kernels) - kernels[-1, :, 0]).max() < 1e-4
    timeline.parts.kernels.set_state({"zero_centered": False, "selected": 5})
    step()
    assert timeline.wait(60)
    # What was set in the page stays while records come.
    assert (timeline.parts.kernels.zero_centered, timeline.parts.kernels.selected) == (False, 5)
    timeline.step = 3  # recorded, though perhaps not drawn yet
    recorder.close()
    assert timeline.wait(60)
    assert "4 records, steps 0 to 3, recording ended" in timeline.to_text()


def test_new_records_come_by_themselves() -> None:
    recorder, step = a_training()
    timeline = cv.TrainingTimeline(recorder)
    came = threading.Event()
    timeline.parts.first.observe(lambda change: came.set(), "_steps")
    step()
    assert came.wait(60)


def test_beside_a_training_little_is_sent_and_afterwards_or_for_who_goes_back_all() -> None:
    recorder, step = a_training()
    timeline = cv.TrainingTimeline(recorder)
    for _ in range(20):
        step()
    assert timeline.wait(10)
    parts = timeline.parts
    spoken = parts.charts["loss"]._spoken.value
    step()
    timeline._draw(live=True)
    for grid, last in ((parts.kernels, recorder.history.kernels[-1, :, 0]), (parts.maps, None)):
        assert (len(grid._steps), grid._steps[0], grid._steps[-1]) == (LIVE_FRAMES, 0, 21)
        assert len(grid._data) <= LIVE_BYTES
        assert last is None or np.abs(tiles_on_show(grid) - last).max() < 1e-3
    assert len(parts.first.steps) == 22
    assert len(np.ravel(parts.charts["loss"]._marks[0].y)) == 22
    assert parts.charts["loss"]._spoken.value == spoken
    timeline.step = 3  # somebody goes back
    assert timeline.wait(10)
    assert len(parts.kernels._steps) == len(parts.maps._steps) == 22
    assert parts.charts["loss"]._spoken.value != spoken
    assert np.abs(tiles_on_show(parts.kernels) - recorder.history.kernels[3, :, 0]).max() < 1e-4


def test_all_is_sent_together_and_the_slider_last(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, step = a_training()
    timeline = cv.TrainingTimeline(recorder)
    step()
    timeline.stop_job()  # draws from here on only where this test does
    assert timeline.wait(60)  # what was begun before
    timeline._draw(live=True)
    sent: list[ipywidgets.Widget] = []
    monkeypatch.setattr(ipywidgets.Widget, "_send", lambda self, message, buffers=None: sent.append(self))
    at_the_end: list[int] = []
    set_steps = timeline.parts.first.set_steps
    monkeypatch.setattr(
        timeline.parts.first, "set_steps", lambda *given: (at_the_end.append(len(sent)), set_steps(*given))
    )
    step()
    timeline._draw(live=True)
    assert at_the_end == [0]  # nothing went out by then
    assert len(sent) == len({each.model_id for each in sent})  # each once
    assert sent[-1] is timeline.parts.first


def test_closing_it_lets_go_of_the_recorder_and_drawing_never_raises_into_the_training() -> None:
    recorder, step = a_training()
    timeline = cv.TrainingTimeline(recorder)
    timeline.parts.show_charts = None  # type: ignore[assignment, method-assign]
    step()
    assert timeline.wait(60)
    assert "TypeError" in timeline.status.value
    del timeline.parts.show_charts
    step()
    assert timeline.wait(60)
    assert "TypeError" not in timeline.status.value
    timeline.close()
    assert recorder._notifier._callbacks == []
    records = len(timeline.history)
    step()
    assert len(timeline.history) == records


def test_nothing_recorded_yet_is_said() -> None:
    module = cv.samples.fashion_cnn_module()
    recorder = cv.TrainingRecorder(cv.Network(module, input=cv.samples.fashion_input()))
    timeline = cv.TrainingTimeline(recorder)
    assert timeline.to_text() == "TrainingTimeline: nothing recorded yet"
    assert timeline.to_png() is None
    assert timeline.parts.body.layout.display == "none"
    with pytest.raises(TargetError, match="nothing is recorded yet, so there is no step 3"):
        timeline.step = 3
    parts = timeline.parts
    assert parts.compare.disabled
    recorder.record(0)
    recorder.record(3)
    assert timeline.wait(60)
    assert parts.body.layout.display is None
    assert not parts.compare.disabled
    timeline.step = 3
    assert timeline.shown_step == 3


def test_a_history_from_checkpoints() -> None:
    checkpoints = cv.samples.fashion_cnn_checkpoints()[:3]
    steps = [checkpoint.step for checkpoint in checkpoints]
    paths = [checkpoint.path for checkpoint in checkpoints]
    told = cv.history_from_checkpoints(cv.samples.fashion_cnn, paths, steps=steps)
    timeline = cv.TrainingTimeline(told)
    assert timeline.parts.first.steps == steps
    assert timeline.parts.charts["loss"].layout.display == "none"  # there is none to draw


# -- the drawer ------------------------------------------------------------------------------------------


def test_of_many_requests_the_last_is_done_and_none_is_queued() -> None:
    state, drawn = [0], []
    begun, go = threading.Event(), threading.Event()

    def job(live: bool) -> None:
        drawn.append(state[0])
        begun.set()
        go.wait(60)

    drawer = Drawer(job, on_error=lambda error: None, interval=0.0, share=1.0)
    drawer.request()
    assert begun.wait(60)
    for number in range(1, 100):
        state[0] = number
        drawer.request()
    go.set()
    assert drawer.wait(60)
    assert drawn == [0, 99]


class Runs:
    """A job that notes whether it was live, and that lets a test wait for so many runs."""

    def __init__(self) -> None:
        self.live: list[bool] = []
        self._changed = threading.Condition()

    def __call__(self, live: bool) -> None:
        with self._changed:
            self.live.append(live)
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = 10.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.live) >= count, timeout)


def a_drawer(**options: Any) -> tuple[Drawer, Runs]:
    runs = Runs()
    never = {"interval": 3600.0, "patience": 3600.0, "growth": 1e12, "settle": 3600.0}
    return Drawer(runs, on_error=lambda error: None, **{**never, **options}), runs


def test_it_waits_between_runs_unless_a_person_does() -> None:
    drawer, runs = a_drawer()
    drawer.request()
    assert runs.wait(1)
    drawer.request()  # is due in an hour
    drawer.request(urgent=True)
    assert drawer.wait(10)
    assert runs.live == [True, False]
    drawer.request()  # is due in an hour, and dropped
    drawer.close()
    assert drawer.wait(10)
    drawer.request(urgent=True)
    assert len(runs.live) == 2


def test_after_live_runs_comes_a_whole_one() -> None:
    drawer, runs = a_drawer(settle=0.0)
    drawer.request()
    assert runs.wait(2)
    assert runs.live == [True, False]
    # And where somebody waits, at once.
    drawer, runs = a_drawer()
    drawer.request()
    assert runs.wait(1)
    assert drawer.wait(10)
    assert runs.live == [True, False]


def test_who_waits_during_a_live_run_gets_the_whole_one_at_once() -> None:
    live: list[bool] = []
    begun, go = threading.Event(), threading.Event()

    def job(is_live: bool) -> None:
        live.append(is_live)
        begun.set()
        go.wait(60)

    drawer = Drawer(job, on_error=lambda error: None, interval=0.0, settle=3600.0)
    drawer.request()
    assert begun.wait(60)
    threading.Timer(0.05, go.set).start()
    assert drawer.wait(10)
    assert live == [True, False]


def test_the_next_run_waits_until_the_page_has_painted_or_patience_ends() -> None:
    drawer, runs = a_drawer(interval=0.0, share=1.0, page_share=1.0)
    for count in (1, 2, 3):
        drawer.request()
        assert runs.wait(count)
        drawer.request()
        assert not runs.wait(count + 1, timeout=0.05)  # would be due, but for the page
        drawer.painted()
    drawer.close()
    for soon in ({"patience": 0.0}, {"growth": 0.0}):
        drawer, runs = a_drawer(interval=0.0, share=1.0, **soon)
        for count in (1, 2, 3):
            drawer.request()
            assert runs.wait(count)
        drawer.close()


def test_live_runs_follow_each_other_faster_at_first() -> None:
    drawer, runs = a_drawer(interval=0.05, share=1.0, growth=2.0)
    times = []
    for count in range(1, 5):
        drawer.request()
        assert runs.wait(count)
        times.append(time.monotonic() - times[0] if times else time.monotonic())
    drawer.close()
    # 0, then after the interval, then each at three times the time of the one before.
    assert times[1] >= 0.04
    assert times[2] >= 3 * 0.04
    assert times[3] >= 9 * 0.04


def test_nothing_is_drawn_for_a_hidden_page_until_it_is_back() -> None:
    drawer, runs = a_drawer(interval=0.0, patience=0.0)
    drawer.hide(True)
    drawer.request()
    assert not runs.wait(1, timeout=0.05)
    drawer.hide(False)
    assert runs.wait(1)
    drawer.hide(True)
    drawer.request(urgent=True)  # somebody waits in Python
    assert drawer.wait(10)
    drawer.close()


def test_an_error_is_told_and_the_next_run_goes_on() -> None:
    errors: list[BaseException] = []
    drawer = Drawer(lambda live: [][0], on_error=errors.append, interval=0.0)
    for _ in range(2):
        drawer.request(urgent=True)
        assert drawer.wait(60)
    assert [type(error) for error in errors] == [IndexError, IndexError]


def test_an_error_that_can_not_be_told_is_logged_and_the_next_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    drawer = Drawer(lambda live: [][0], on_error=lambda error: {}[0], interval=0.0)
    for _ in range(2):
        drawer.request(urgent=True)
        assert drawer.wait(10)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError, KeyError]
