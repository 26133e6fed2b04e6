"""The script that made the checkpoints still makes them, as far as a test may take the time for it."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from cnnviz_widgets import samples

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_fashion_cnn.py"
CHECKPOINTS = samples.fashion_cnn_checkpoints()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_fashion_cnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first_steps_lead_to_the_shipped_checkpoints(script: ModuleType) -> None:
    images, labels = script.load("train")
    with torch.random.fork_rng(devices=[]):
        for step, module in script.train(images, labels):
            if step not in (0, 20):
                continue
            shipped = samples.fashion_cnn(step).module
            for name, values in module.state_dict().items():
                # float16 keeps 11 bits; another processor adds rounding of its own.
                torch.testing.assert_close(values, shipped.state_dict()[name], rtol=2e-3, atol=2e-4)
            if step == 20:
                break


def test_training_by_twenty_steps_moves_every_weight_array() -> None:
    # Otherwise the comparison above could not fail.
    start, later = samples.fashion_cnn(0).module.state_dict(), samples.fashion_cnn(20).module.state_dict()
    for name in start:
        assert float((start[name] - later[name]).abs().max()) > 2e-3, name


def test_moments_are_the_shipped_ones(script: ModuleType) -> None:
    assert {each.step: each.name for each in CHECKPOINTS} == script.MOMENTS
    assert [each.epoch for each in CHECKPOINTS] == pytest.approx([step / 200 for step in script.MOMENTS])


def test_learning_rate_rises_then_falls_to_zero(script: ModuleType) -> None:
    rates = np.array([script.rate_at(step) for step in range(script.STEPS + 1)])
    assert rates[0] == pytest.approx(1 / script.WARM_UP)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    peak = int(rates.argmax())
    assert abs(peak - script.WARM_UP) <= 1
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()


def test_augmented_images_are_mirrored_and_moved_copies(script: ModuleType) -> None:
    pixels, _ = samples.fashion_mnist("train")
    images = torch.from_numpy(pixels[:300]).float()[:, None]
    augmented = script.augment(images, 0.0, torch.Generator().manual_seed(1))
    seen = set()
    for original, result in zip(images[:, 0].numpy(), augmented[:, 0].numpy(), strict=True):
        variants = {}
        for mirrored in (False, True):
            padded = np.pad(original[:, ::-1] if mirrored else original, 1)
            for down in range(3):
                for right in range(3):
                    variants[mirrored, down, right] = padded[down : down + 28, right : right + 28]
        matching = [key for key, variant in variants.items() if np.array_equal(variant, result)]
        assert matching
        seen.add(matching[0])
    assert len(seen) == 18  # every mirror and shift occurs among 300 images


def test_saved_weights_are_float16_and_the_same_bytes_each_time(script: ModuleType, tmp_path: Path) -> None:
    module = samples.fashion_cnn_module()
    for name in ("one.npz", "two.npz"):
        script.save(module, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:
        assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())
    with np.load(tmp_path / "one.npz", allow_pickle=False) as arrays:
        assert {arrays[name].dtype for name in arrays.files} == {np.dtype(np.float16)}


def test_measure_reads_what_was_stored(script: ModuleType) -> None:
    images, labels = script.load("test")
    trained = CHECKPOINTS[-1]
    assert script.measure(trained.path, images, labels) == pytest.approx(trained.test_accuracy, abs=0.002)


def test_script_normalizes_as_the_network_does(script: ModuleType) -> None:
    x, labels = script.load("test")
    images, expected = samples.fashion_mnist("test")
    prepared = samples.fashion_cnn().prepare(list(images[:100]))
    torch.testing.assert_close(x[:100], prepared, rtol=0, atol=1e-6)
    assert labels.tolist() == expected.tolist()
