from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.checkpoints import read_checkpoint
from cnnviz_widgets.engine.errors import CheckpointError, ResultFileError
from tests.training_loops import Classic, network, pictures


class Bomb:
    """Does something when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return (Path.touch, (self.place,))


def test_the_shipped_checkpoints() -> None:
    checkpoints = cv.samples.fashion_cnn_checkpoints()
    images, _ = cv.samples.fashion_mnist("test")
    history = cv.history_from_checkpoints(
        lambda: cv.samples.fashion_cnn("random"),
        [each.path for each in checkpoints],
        steps=[each.step for each in checkpoints],
        images=images[:20],
    )
    assert history.steps.tolist() == [each.step for each in checkpoints]
    assert history.layers == ("relu1", "relu2", "relu3")
    assert (history.image_count, history.images.shape) == (20, (4, 28, 28, 3))
    for index, each in enumerate(checkpoints):
        with np.load(each.path) as arrays:
            np.testing.assert_array_equal(history.kernels[index], arrays["conv1.weight"].astype(np.float32))
            for name, norms in history.weight_norms.items():
                length = np.sqrt((arrays[name].astype(float) ** 2).sum())
                np.testing.assert_allclose(norms[index], length, rtol=1e-9)
        net = cv.samples.fashion_cnn(each.step)
        maps = cv.activations(net, images[0], "relu2").maps
        np.testing.assert_allclose(history.activations["relu2"][index, 0], maps, rtol=1e-3, atol=1e-4)
    assert np.isnan(history.loss).all()
    assert all(np.isnan(each).all() for each in history.update_norms.values())


def saved(folder: Path, kind: str, state: dict[str, torch.Tensor]) -> Path:
    path = folder / f"weights.{'npz' if kind == 'npz' else 'pth'}"
    if kind == "npz":
        np.savez(path, **{name: each.numpy() for name, each in state.items()})  # type: ignore[arg-type]
        return path
    content: Any = {
        "plain": state,
        "old format": state,
        "state_dict": {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        "model": {"model": state},
        "model_state_dict": {"model_state_dict": state, "optimizer_state_dict": {"state": {}}, "loss": 0.5},
        "nested": {"state_dict": {"model": state}, "model": {"name": "classic"}},
        "data parallel": {f"module.{name}": each for name, each in state.items()},
        "compiled": {"model": {f"_orig_mod.{name}": each for name, each in state.items()}},
    }[kind]
    torch.save(content, path, _use_new_zipfile_serialization=kind != "old format")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "npz",
        "plain",
        "old format",
        "state_dict",
        "model",
        "model_state_dict",
        "nested",
        "data parallel",
        "compiled",
    ],
)
def test_kinds_of_files(kind: str, tmp_path: Path) -> None:
    module = network().module
    path = saved(tmp_path, kind, module.state_dict())
    built = []

    def build() -> nn.Module:
        built.append(Classic())
        return built[-1]

    history = cv.history_from_checkpoints(build, [path], layers=None)
    np.testing.assert_array_equal(history.kernels[0], module.conv.weight.detach().numpy())
    assert history.steps.tolist() == [0]
    assert history.parameters["checkpoints"] == [str(path)]
    assert len(built) == 1
    for name, value in built[0].state_dict().items():
        torch.testing.assert_close(value, module.state_dict()[name], rtol=0, atol=0)


def test_images_and_layers_are_the_recorders(tmp_path: Path) -> None:
    net = network()
    path = saved(tmp_path, "plain", net.module.state_dict())
    history = cv.history_from_checkpoints(network, [path], images=pictures(), layers=[("relu", 1)])
    recorder = cv.TrainingRecorder(net, images=pictures(), layers=[("relu", 1)])
    recorder.record()
    np.testing.assert_array_equal(history.dead_channels["relu", 1], recorder.history.dead_channels["relu", 1])
    np.testing.assert_array_equal(history.activations["relu", 1], recorder.history.activations["relu", 1])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    state = network().module.state_dict()
    for changed in (
        {name: each for name, each in state.items() if name != "last.bias"},
        state | {"more.extra": torch.zeros(2)},
        state | {"last.bias": torch.zeros(7)},
    ):
        path = saved(tmp_path, "plain", changed)
        with pytest.raises(
            CheckpointError, match=r"weights.pth are not those of Classic.*(last.bias|more.extra)"
        ):
            cv.history_from_checkpoints(Classic, [path])


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    trap = tmp_path / "unpickled"
    for content in (pickle.dumps(Bomb(trap)), b"", b"no checkpoint", b"PK\x03\x04broken"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"odd\.pt"):
            read_checkpoint(path)
    for value, text in (
        ({"model": {"a": 1}}, "no state dict.*holds: 'model'; save"),
        ([torch.zeros(2)], "no state dict.*list"),
        ({}, "no state dict.*save the weights alone"),
        (
            {"model": {"a": torch.zeros(2)}, "state_dict": {"a": torch.ones(2)}},
            r"several state dicts, \['state_dict'\], \['model'\]; save",
        ),
        (held := {"net": torch.zeros(2)}, "no state dict.*holds: 'model'"),
        (Bomb(trap), "more than tensors"),
        ({"model": {"a": torch.zeros(2)}, "config": Bomb(trap)}, "more than tensors"),
    ):
        if isinstance(value, dict) and "net" in value:
            held.clear()
            held["model"] = held
        torch.save(value, path)
        with pytest.raises(CheckpointError, match=f"(?s)odd.pt.*{text}"):
            read_checkpoint(path)
    arrays = tmp_path / "odd.npz"
    np.savez(arrays, a=np.array(Bomb(trap), dtype=object))
    with pytest.raises(CheckpointError, match=r"odd\.npz"):
        read_checkpoint(arrays)
    np.savez_compressed(arrays, a=np.zeros(10**6))
    with pytest.raises(CheckpointError, match="unpacks to 8,000,"):
        read_checkpoint(arrays, max_bytes=10**6)
    assert not trap.exists()
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("count", "steps", "text"),
    [
        (0, None, "paths is empty: give one checkpoint at least"),
        (2, [1], "got 2 paths and 1 steps"),
        (2, [3, 3], r"must rise.*\[3, 3\]"),
        (1, [-1], "each step must be a whole number from 0"),
    ],
)
def test_steps_fit_the_paths(count: int, steps: Any, text: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "plain", network().module.state_dict())
    with pytest.raises(ValueError, match=text):
        cv.history_from_checkpoints(Classic, [path] * count, steps=steps)


def test_kinds_of_arguments_are_told(tmp_path: Path) -> None:
    net = network()
    path = saved(tmp_path, "plain", net.module.state_dict())
    for build in (net, net.module, None):
        with pytest.raises(TypeError, match=rf"such as build=lambda: .*; got {type(build).__name__}"):
            cv.history_from_checkpoints(build, [path])  # type: ignore[arg-type]
    for paths in (path, str(path)):
        with pytest.raises(TypeError, match=r"takes a list of files, such as \['.*weights\.pth'\]"):
            cv.history_from_checkpoints(Classic, paths)
    with pytest.raises(TypeError, match="got int"):
        cv.history_from_checkpoints(Classic, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a number for each file, got 5"):
        cv.history_from_checkpoints(Classic, [path], steps=5)  # type: ignore[arg-type]
    recorded = tmp_path / "run.cnnviz"
    cv.TrainingRecorder(net, path=recorded).close()
    with pytest.raises(CheckpointError, match=r"run\.cnnviz is no checkpoint.* cv\.load_history"):
        cv.history_from_checkpoints(Classic, [recorded])
    with pytest.raises(ResultFileError, match=r"run\.cnnviz is no saved result.* cv\.load_history"):
        cv.load_result(recorded)
