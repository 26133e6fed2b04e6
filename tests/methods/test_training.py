from __future__ import annotations

import gc
import logging
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import RecorderError
from cnnviz_widgets.engine.roughness import roughness
from cnnviz_widgets.engine.training_log import read_log
from tests.training_loops import NETWORKS, OPTIMIZERS, everything, network, pictures, take_step


def train(
    kind: str, optimizer_kind: str, *, folder: Path | None, autocast: bool = False, frozen: bool = False
) -> dict[str, Any]:
    """Train 7 steps, recorded if there is a folder, and return what came of it."""
    net = network(kind)
    net.module.more.bias.requires_grad_(not frozen)
    net.module.norm.train(not frozen)
    optimizer = OPTIMIZERS[optimizer_kind](net.module.parameters())
    recorder = None
    for step in range(7):
        # The whole step under autocast: its cache of weights must not be filled by the recorder.
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if folder is not None and recorder is None:
                path = folder / "history"
                recorder = cv.TrainingRecorder(net, optimizer, every=2, images=pictures(), path=path)
            loss = take_step(net, optimizer, step, autocast=autocast)
            if recorder is not None:
                recorder.note_loss(loss)
            optimizer.step()
        if recorder is not None and step == 4:
            recorder.record()
    if recorder is not None:
        recorder.close()
        assert recorder.history.steps.tolist() == [0, 2, 4, 5, 6, 7]
    return everything(net, optimizer)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_recording_changes_nothing(kind: str, optimizer: str, tmp_path: Path) -> None:
    assert train(kind, optimizer, folder=tmp_path) == train(kind, optimizer, folder=None)


@pytest.mark.parametrize("option", ["autocast", "frozen"])
def test_recording_changes_nothing_in_mixed_trainings(option: str, tmp_path: Path) -> None:
    recorded = train("classic", "momentum", folder=tmp_path, **{option: True})
    assert recorded == train("classic", "momentum", folder=None, **{option: True})


def test_autocast_around_a_recorder_does_not_reach_it() -> None:
    histories = []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            recorder = cv.TrainingRecorder(network(), images=pictures())
            recorder.record()
        histories.append(recorder.history)
    assert histories[0] == histories[1]


def test_what_is_recorded_is_what_a_slow_loop_finds() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    images = pictures(70)  # more than run at a time
    recorder = cv.TrainingRecorder(net, optimizer, every=2, images=images, map_images=3)
    seen: list[dict[str, Any]] = [{"step": 0, "copy": deepcopy(net.module)}]
    for step in range(5):
        loss = take_step(net, optimizer, step)
        before = {name: each.detach().numpy().copy() for name, each in net.module.named_parameters()}
        recorder.note_loss(loss)
        optimizer.step()
        if step % 2:
            gradients = {name: each.grad.numpy() for name, each in net.module.named_parameters()}
            norms = {name: np.sqrt((each.astype(float) ** 2).sum()) for name, each in gradients.items()}
            seen.append(
                {
                    "step": step + 1,
                    "copy": deepcopy(net.module),
                    "loss": loss.item(),
                    "before": before,
                    "gradients": norms,
                }
            )
    seen.append({"step": 5, "copy": deepcopy(net.module), "loss": loss.item()})
    recorder.close()
    history = recorder.history
    assert history.steps.tolist() == [each["step"] for each in seen] == [0, 2, 4, 5]
    assert history.kernels_layer == "conv"
    assert history.layers == (("relu", 0), ("relu", 1))
    assert history.image_count == 70
    np.testing.assert_array_equal(history.images, images[:3])
    for index, record in enumerate(seen):
        check_record(history, index, record, net.prepare(images))


def check_record(history: cv.TrainingHistory, index: int, record: dict[str, Any], x: torch.Tensor) -> None:
    module = record["copy"]
    now = {name: each.detach().numpy() for name, each in module.named_parameters()}
    np.testing.assert_array_equal(history.kernels[index], now["conv.weight"])
    np.testing.assert_array_equal(history.roughness[index], roughness(now["conv.weight"]))
    np.testing.assert_equal(history.loss[index], record.get("loss", np.nan))
    for name, value in now.items():
        length = np.sqrt((value.astype(float) ** 2).sum())
        np.testing.assert_allclose(history.weight_norms[name][index], length, rtol=1e-9)
        gradient = record["gradients"][name] if "gradients" in record else np.nan
        np.testing.assert_allclose(history.gradient_norms[name][index], gradient, rtol=1e-9)
        moved = value.astype(float) - record["before"][name] if "before" in record else np.full(1, np.nan)
        np.testing.assert_allclose(history.update_norms[name][index], np.sqrt((moved**2).sum()), rtol=1e-5)
    module.eval()
    with torch.no_grad():
        first = torch.relu(module.norm(module.conv(x)))
        second = torch.relu(module.more(first))
    for key, maps in zip(history.layers, (first.numpy(), second.numpy()), strict=True):
        np.testing.assert_allclose(history.activations[key][index], maps[:3], rtol=2e-3, atol=1e-4)
        zeros = [value == 0 for image in maps for channel in image for row in channel for value in row]
        np.testing.assert_allclose(history.sparsity[key][index], sum(zeros) / len(zeros), atol=1e-5)
        dead = [all((image[channel] == 0).all() for image in maps) for channel in range(maps.shape[1])]
        assert history.dead_channels[key][index].tolist() == dead
        assert history.dead[key][index] == np.mean(dead)


def test_dead_channels_are_told_from_sparse_ones() -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2), nn.ReLU())
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1, 1)
        module[0].bias[:] = torch.tensor([0.0, 0.0, -0.7])
        module[3].weight.zero_()
        module[3].bias[:] = torch.tensor([1.0, -1.0])
    net = cv.Network(module, input=cv.InputSpec(size=2, channels=1))
    # Channel 0 is above zero on white pixels, channel 1 never, channel 2 on one pixel of the second image.
    images = np.array([[[0, 0], [0, 100]], [[0, 0], [0, 255]]], np.uint8)
    recorder = cv.TrainingRecorder(net, images=images)
    recorder.record()
    history = recorder.history
    assert history.layers == ("1", "4")
    assert history.dead_channels["1"].tolist() == [[False, True, False]]
    assert history.dead["1"].tolist() == [1 / 3]
    assert history.sparsity["1"].tolist() == [(6 + 8 + 7) / 24]
    assert (history.dead["4"].tolist(), history.sparsity["4"].tolist()) == ([0.5], [0.5])
    assert history.activations["4"].shape == (1, 2, 2, 1, 1)


@pytest.mark.parametrize("rectifier", [nn.LeakyReLU(), nn.GELU(), nn.SiLU(), nn.ReLU6(), nn.Hardtanh(0, 1)])
def test_only_where_no_gradient_passes_channels_are_dead(rectifier: nn.Module) -> None:
    module = nn.Sequential(nn.Conv2d(1, 3, 1), rectifier)
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([1.0, -1.0, 1.0]).reshape(3, 1, 1, 1)
        module[0].bias[:] = torch.tensor([0.0, -0.1, 0.5])
    net = cv.Network(module, input=cv.InputSpec(size=2, channels=1))
    images = np.array([[[9, 60], [120, 255]], [[8, 8], [8, 8]]], np.uint8)
    x = net.prepare(list(images))
    module(x).sum().backward()
    # The slope of the rectifier, at all places of all images, as autograd has it.
    dead = [bool(gradient == 0) for gradient in module[0].bias.grad]
    assert dead == [False, isinstance(rectifier, nn.ReLU6 | nn.Hardtanh), False]
    recorder = cv.TrainingRecorder(net, images=images)
    recorder.record()
    assert recorder.history.dead_channels["1"].tolist() == [dead]
    found = cv.activation_statistics(net, images)
    assert found.dead["1"].tolist() == dead
    assert found.active_share["1"].tolist() == [1, 0, 1]
    assert not found.near_dead["1"].any()
    assert ("learning rate" in found.message) is any(dead)
    assert ("1 is never above zero, but not zero either" in found.message) is not any(dead)


def test_by_hand_without_an_optimizer() -> None:
    net = network()
    recorder = cv.TrainingRecorder(net)
    assert len(recorder.history) == 0
    assert str(recorder.history) == "TrainingHistory(no records yet)"
    take_step(net, torch.optim.SGD(net.module.parameters()), 0)
    recorder.record(10, loss=2.5)
    recorder.record()
    recorder.record(30)
    history = recorder.history
    assert history.steps.tolist() == [10, 11, 30]
    np.testing.assert_equal(history.loss, [2.5, np.nan, np.nan])
    expected = float(net.module.conv.weight.grad.double().norm())
    np.testing.assert_allclose(history.gradient_norms["conv.weight"], expected)
    assert np.isnan(history.update_norms["conv.weight"]).all()
    assert history.activations == history.sparsity == history.dead == {}
    assert history.images.shape[0] == history.image_count == 0
    with pytest.raises(RecorderError, match="step 30 can't follow step 30"):
        recorder.record(30)
    recorder.close()
    with pytest.raises(RecorderError, match="closed"):
        recorder.record()
    with pytest.raises(RecorderError, match=r"this recorder is closed; make a new one"):
        recorder.note_loss(0.5)


def test_a_training_that_diverges_is_recorded_as_it_is() -> None:
    net = network()
    recorder = cv.TrainingRecorder(net, images=pictures())
    with torch.no_grad():
        net.module.conv.weight[1] = torch.nan
        net.module.more.weight.fill_(1e9)
    recorder.record()
    history = recorder.history
    assert np.isnan(history.roughness[0]).tolist() == [False, True, False, False]
    assert np.isnan(history.kernels[0, 1]).all()
    assert np.isnan(history.weight_norms["conv.weight"][0])
    assert np.isnan([history.dead["relu", 0][0], history.sparsity["relu", 0][0]]).all()
    assert not history.dead_channels["relu", 0][0, 1]


def test_maps_beyond_their_range_are_clipped() -> None:
    net = network()
    with torch.no_grad():
        net.module.more.bias.fill_(1e9)
    recorder = cv.TrainingRecorder(net, images=pictures(), layers=[("relu", 1)])
    recorder.record()
    assert set(np.unique(recorder.history.activations["relu", 1])) == {np.float16(65504)}


def test_memory_is_bounded_and_records_stay_even() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    # Maps get a hundredth of it, so here only two channels of one image.
    budget = 30_000
    recorder = cv.TrainingRecorder(
        net, optimizer, every=2, images=pictures(), layers=["conv"], byte_budget=budget
    )
    assert recorder.history.activations["conv"].shape == (1, 1, 2, 8, 8)
    record = recorder._log.records()[0]
    assert set(record) == {
        "step",
        "loss",
        "kernels",
        "roughness",
        "weight_norms",
        "gradient_norms",
        "update_norms",
        "sparsity",
        "dead0",
        "maps0",
    }
    capacity = budget // recorder._log.header.memory_bytes
    assert 7 < capacity < 15
    for step in range(61):
        take_step(net, optimizer, step)
        optimizer.step()
        assert len(recorder._log.records()) <= capacity
    recorder.close()
    steps = recorder.history.steps
    gaps = np.diff(steps)
    assert (steps[0], steps[-1]) == (0, 61)
    assert capacity / 2 <= len(steps) <= capacity
    assert len(set(gaps[:-1])) == 1
    assert gaps[-1] <= gaps[0]
    assert sum(each.nbytes for record in recorder._log.records() for each in record.values()) <= budget


def test_the_budget_counts_what_python_keeps_beside_the_values(tmp_path: Path) -> None:
    budget, path = 30_000, tmp_path / "history"
    recorder = cv.TrainingRecorder(network(), path=path, byte_budget=budget)
    for _ in range(40):
        recorder.record()
    assert 40 * recorder._log.header.record_bytes < budget  # the values alone would fit
    kept = recorder._log.records()
    arrays = [each for record in kept for each in record.values()]
    taken = sum(map(sys.getsizeof, kept)) + sum(map(sys.getsizeof, arrays))
    assert budget / 3 < taken < budget
    read_log(path, byte_budget=budget)
    tracemalloc.start()
    read = read_log(path, byte_budget=budget)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(read[2]) == len(kept)
    assert budget / 2 < taken < budget


def test_two_recorders_at_one_optimizer_are_refused() -> None:
    net = network()
    optimizer = OPTIMIZERS["adam"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer)
    with pytest.raises(RecorderError, match="attached to this Adam already; close it first"):
        cv.TrainingRecorder(net, optimizer)
    recorder.close()
    recorder.close()
    with cv.TrainingRecorder(net, optimizer) as again:
        take_step(net, optimizer, 0)
        optimizer.step()
    assert again.history.steps.tolist() == [0, 1]
    assert recorder.history.steps.tolist() == [0]
    optimizer.step()
    assert again.history.steps.tolist() == [0, 1]


def test_a_recorder_that_is_refused_leaves_the_optimizer_free(tmp_path: Path) -> None:
    net = network()
    optimizer = OPTIMIZERS["adam"](net.module.parameters())
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not one"):
        cv.TrainingRecorder(net, optimizer, path=tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    cv.TrainingRecorder(net, optimizer).close()
    with pytest.raises(RecorderError, match="none of the network's parameters"):
        cv.TrainingRecorder(network(), optimizer)
    with pytest.raises(RecorderError, match="can't be set"):
        cv.TrainingRecorder(net, optimizer).record(5)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"images": [np.zeros((8, 8, 3), np.uint8)], "layers": []}, LookupError, "no layers"),
        ({"images": [np.zeros((8, 8, 3), np.uint8)], "layers": ["relu"]}, LookupError, "say which call"),
        ({"kernels_layer": "norm"}, ValueError, "BatchNorm2d, which has no two-dimensional kernels"),
        ({"first_step": -1}, ValueError, "first_step must be a whole number from 0"),
        ({"map_images": 0}, ValueError, "map_images"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        cv.TrainingRecorder(network(), **options)


def test_networks_without_rectifiers_or_convolutions() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    net = cv.Network(module, input=cv.InputSpec(size=2))
    with pytest.raises(LookupError, match=r"calls no rectifier.*layers=\[\.\.\.\]"):
        cv.TrainingRecorder(net, images=np.zeros((1, 2, 2, 3), np.uint8))
    recorder = cv.TrainingRecorder(net, images=np.zeros((1, 2, 2, 3), np.uint8), layers="1")
    recorder.record()
    assert recorder.history.kernels.shape == (1, 0, 0, 0, 0)
    assert recorder.history.kernels_layer is None


def test_a_loss_is_one_number() -> None:
    recorder = cv.TrainingRecorder(network())
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        recorder.note_loss(torch.zeros(2))
    with pytest.raises(TypeError, match="got str"):
        recorder.note_loss("0.5")  # type: ignore[arg-type]


def test_a_loss_that_was_noted_belongs_to_its_step_alone() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=1)
    for step in range(3):
        take_step(net, optimizer, step)
        if step != 1:
            recorder.note_loss(float(step))
        optimizer.step()
    np.testing.assert_equal(recorder.history.loss, [np.nan, 0.0, np.nan, 2.0])


def test_a_history_is_saved_and_read_back(tmp_path: Path) -> None:
    net = network()
    with cv.TrainingRecorder(net, OPTIMIZERS["adam"](net.module.parameters()), images=pictures()) as recorder:
        pass
    history = recorder.history
    again = cv.load_result(history.save(tmp_path / "history.npz"))
    assert again == history
    assert list(again.dead) == [("relu", 0), ("relu", 1)]
    for name in ("activations", "sparsity", "dead", "dead_channels"):
        with pytest.raises(LookupError, match=r"say which call: \('relu', 0\) or \('relu', 1\)"):
            getattr(again, name)["relu"]
    assert "4 kernels of 3x3x3 of 'conv'" in str(history)
    assert "2 layers on 6 images, 4 with maps" in str(history)


def test_names_are_shown_as_text() -> None:
    module = nn.Sequential()
    module.add_module("<b>", nn.Conv2d(1, 1, 1))
    recorder = cv.TrainingRecorder(cv.Network(module))
    recorder.record()
    assert "<b>" not in recorder.history._repr_html_()
    assert "&lt;b&gt;" in recorder.history._repr_html_()


def test_the_history_is_read_from_other_threads_while_training_runs() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=1, images=pictures(), byte_budget=30_000)
    done, stepped = threading.Event(), threading.Event()

    def read() -> list[int]:
        counts = []
        while not done.is_set():
            stepped.wait(60)
            stepped.clear()
            history = recorder.history
            assert (np.diff(history.steps) > 0).all()
            assert len(history.kernels) == len(history.dead["relu", 0]) == len(history)
            counts.append(int(history.steps[-1]))
        return counts

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read)
        for step in range(30):
            take_step(net, optimizer, step)
            stepped.set()
            optimizer.step()
        done.set()
        stepped.set()
        counts = reading.result()
    assert counts == sorted(counts)
    assert len(set(counts)) > 2


def test_observers_do_not_hold_up_the_training() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    recorder = cv.TrainingRecorder(net, optimizer, every=1)
    entered, leave, closed = threading.Event(), threading.Event(), threading.Event()
    seen: list[tuple[int, bool]] = []

    def slow(given: cv.TrainingRecorder) -> None:
        seen.append((int(given.history.steps[-1]), given.is_closed))
        entered.set()
        leave.wait(60)
        if given.is_closed and len(seen) > 1:
            closed.set()

    recorder.observe(slow)
    for step in range(10):
        take_step(net, optimizer, step)
        optimizer.step()
        assert entered.wait(60)
    assert not leave.is_set()
    assert len(seen) == 1
    recorder.close()
    leave.set()
    assert closed.wait(60)
    assert seen[1:] == [(10, True)]
    recorder.unobserve(slow)
    recorder.unobserve(slow)


def test_an_observer_that_raises_is_logged_and_called_no_more(caplog: pytest.LogCaptureFixture) -> None:
    recorder = cv.TrainingRecorder(network())
    called, told = [], threading.Event()

    def bad(given: cv.TrainingRecorder) -> None:
        called.append(given)
        raise RuntimeError("on purpose")

    with caplog.at_level(logging.ERROR, logger="cnnviz_widgets"):
        recorder.observe(bad)
        recorder.observe(lambda given: told.set())
        for _ in range(2):
            recorder.record()
            assert told.wait(60)
            told.clear()
    assert called == [recorder]
    assert [record.exc_info[1].args for record in caplog.records if record.exc_info] == [("on purpose",)]
    with pytest.raises(TypeError, match="got int"):
        recorder.observe(3)  # type: ignore[arg-type]


def test_the_end_is_recorded_after_an_interrupt() -> None:
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())

    def interrupted() -> None:
        for step in range(3):
            take_step(net, optimizer, step)
            optimizer.step()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), cv.TrainingRecorder(net, optimizer) as recorder:
        interrupted()
    assert recorder.history.steps.tolist() == [0, 3]


def test_parameters_that_are_exchanged_are_noticed() -> None:
    net = network()
    recorder = cv.TrainingRecorder(net)
    net.module.extra = nn.Linear(2, 2)
    with pytest.raises(RecorderError, match="no longer those"):
        recorder.record()


def test_a_layer_that_is_exchanged_for_a_wider_one_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    net = network()
    recorder = cv.TrainingRecorder(net, path=tmp_path / "history")
    recorder.record()
    before = (tmp_path / "history").read_bytes()
    old = net.module.conv
    net.module.conv = nn.Conv2d(old.in_channels, old.out_channels + 2, old.kernel_size)
    with pytest.raises(RecorderError, match=r"kernels was .* attach a new recorder, with another path"):
        recorder.record()
    assert (tmp_path / "history").read_bytes() == before
    net.module.conv = old
    recorder.record()
    recorder.close()
    assert len(cv.load_history(tmp_path / "history")) == 2


def test_a_loss_that_comes_after_its_step_is_recorded_is_refused() -> None:
    net = network()
    optimizer = torch.optim.SGD(net.module.parameters(), lr=0.1)
    recorder = cv.TrainingRecorder(net, optimizer, every=2)
    for step in range(3):
        take_step(net, optimizer, step)
        optimizer.step()
        if step == 1:
            with pytest.raises(RecorderError, match=r"step 2 is recorded already.* call note_loss"):
                recorder.record(loss=0.5)
    recorder.record(loss=0.25)  # of step 3, which was not due
    recorder.close()
    assert recorder.history.steps.tolist() == [0, 2, 3]
    assert np.isnan(recorder.history.loss[:2]).all()
    assert recorder.history.loss[2] == 0.25
