"""Scans that are killed, stopped, refused and gone on with; and the same in parts."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from joblib.parallel import ThreadingBackend
from PIL import Image
from torch import nn
from torch.utils.data import Subset
from torchvision.datasets import ImageFolder

import cnnviz_widgets as cv
from cnnviz_widgets.engine import scan_checkpoint, scan_jobs
from cnnviz_widgets.engine.channel_tally import TallyCollector
from cnnviz_widgets.engine.collector import Batch
from cnnviz_widgets.engine.errors import CheckpointError, InputError, InputTypeError
from cnnviz_widgets.engine.feature_collector import FeatureCollector
from cnnviz_widgets.engine.image_reader import Progress
from cnnviz_widgets.engine.mapped_arrays import mapped_arrays
from cnnviz_widgets.engine.stream import StopEarly
from tests.engine.scan_settings import (
    COUNT,
    LAYERS,
    METHODS,
    PICTURES,
    Images,
    how_sent,
    network,
    patches,
    statistics,
    stream,
)
from tests.small_networks import CallCounter

ROOT = Path(__file__).parents[2]


@functools.cache
def whole(method: str, batch_size: int = 2) -> Any:
    """Return what a method finds in one go."""
    return METHODS[method](PICTURES, batch_size=batch_size)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let checkpoints be written after every pass."""
    monkeypatch.setattr(scan_checkpoint, "_SECONDS", 0.0)
    monkeypatch.setattr(scan_checkpoint, "_TIMES_WRITING", 0.0)


# Loads all of torch that a scan needs once, and is then one process after another, each to be killed.
CHILD = """
import json, os, sys
import cnnviz_widgets as cv
import torch
from cnnviz_widgets.engine import scan_checkpoint
from tests.engine import scan_settings

torch.set_num_threads(1)  # what has run on several threads can't be forked
for method in scan_settings.METHODS.values():
    method(scan_settings.PICTURES[:4])
scan_checkpoint._SECONDS = scan_checkpoint._TIMES_WRITING = 0.0

def run(method, path, place):
    images = scan_settings.Images()
    if place == "reading":
        images = scan_settings.Waiting(17)
    else:
        replace, written = os.replace, []

        def replace_some(part, whole):
            written.append(part)
            if len(written) == 5 if place == "writing" else whole.name == "thumbnails.npy":
                scan_settings.wait()
            replace(part, whole)

        os.replace = replace_some
    scan_settings.METHODS[method](images, checkpoint=path)

while line := sys.stdin.readline():
    child = os.fork()
    if child == 0:
        run(*json.loads(line))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_and_called_again(tmp_path: Path, always: None) -> None:
    rounds = [
        ("top_patches", "reading"),
        ("top_patches", "writing"),
        ("activation_statistics", "reading"),
        ("extract_features", "reading"),
        ("extract_features", "between the two files"),
    ]
    command = [sys.executable, "-c", CHILD]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        for number, (method, place) in enumerate(rounds):
            folder = tmp_path / str(number)
            folder.mkdir()
            _kill(parent, method, folder / "scan", place)
            _check_called_again(method, folder / "scan", place)
        parent.communicate()
    assert parent.returncode == 0


def _kill(parent: subprocess.Popen[str], method: str, path: Path, place: str) -> None:
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(json.dumps([method, str(path), place]), file=parent.stdin, flush=True)
    word, process = parent.stdout.readline().split()
    assert word == "here"
    os.kill(int(process), signal.SIGKILL)
    assert int(parent.stdout.readline()) == -signal.SIGKILL


def _check_called_again(method: str, path: Path, place: str) -> None:
    assert path.exists()
    images = Images()
    found = METHODS[method](images, checkpoint=path)
    assert found == whole(method)
    # Some are read to see whether it is the same data set; but what was done is not done again.
    first = {"reading": 16, "writing": 8}.get(place, COUNT)
    assert images.read[len(images.read) - (COUNT - first) :] == list(range(first, COUNT))
    assert len(images.read) <= COUNT - first + 8
    assert {each.name for each in path.parent.iterdir()} - {"table"} == {"scan"}
    assert {each.name for each in path.parent.glob("table/*")} in (set(), {"vectors.npy", "thumbnails.npy"})


@pytest.mark.parametrize("method", METHODS)
def test_stopped_in_any_way(method: str, tmp_path: Path) -> None:
    path = tmp_path / "scan"
    for ending in (GeneratorExit, KeyboardInterrupt, StopEarly):
        steps = getattr(cv, method).steps(
            network(),
            Images(),
            "conv" if method == "extract_features" else LAYERS,
            batch_size=2,
            checkpoint=path,
            **{"top_patches": {"k": 3}, "extract_features": {"predictions": True}}.get(method, {}),
        )
        count = next(steps).index + 1
        count = next(steps).index + 1
        with pytest.raises((ending, StopIteration)):
            steps.throw(ending())
    assert count == 12
    images = Images()
    assert METHODS[method](images, checkpoint=path) == whole(method)
    assert images.read[-18:] == list(range(12, COUNT))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_finished_is_there_at_once(method: str, tmp_path: Path) -> None:
    net = network()
    found = METHODS[method](PICTURES, net, checkpoint=tmp_path / "scan")
    counter = CallCounter(net.core)
    assert METHODS[method](PICTURES, net, checkpoint=tmp_path / "scan") == found
    # The windows of patches are found anew, by a pass each.
    assert counter.calls.get("conv", 0) <= (12 if method == "top_patches" else 0)


def test_a_stream_goes_on(tmp_path: Path, always: None) -> None:
    steps = cv.top_patches.steps(network(), stream(), LAYERS, k=3, batch_size=2, checkpoint=tmp_path / "scan")
    next(steps)
    steps.close()
    assert patches(stream(), checkpoint=tmp_path / "scan") == whole("top_patches")
    with pytest.raises(CheckpointError, match="another data set"):
        patches((each for each in PICTURES[::-1]), checkpoint=tmp_path / "scan")


def test_an_unreadable_image_does_not_lose_what_was_found(tmp_path: Path, always: None) -> None:
    broken = [*PICTURES[:11], np.full((4, 4, 3), np.nan), *PICTURES[12:]]
    with pytest.raises(InputError, match="image 11 of 30"):
        statistics(broken, checkpoint=tmp_path / "scan")
    found = statistics(broken, checkpoint=tmp_path / "scan", on_error="skip")
    assert found == statistics(broken, on_error="skip")
    assert (found.images, found.skipped) == (29, 1)
    assert "image 11 of 30" in found.skipped_reasons[0]


@pytest.mark.parametrize("part", ["reading", "collecting"])
def test_what_ends_in_the_middle_of_a_pass(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Images):
        def __getitem__(self, index: int) -> Any:
            if index == 17:
                if part == "reading":
                    raise KeyboardInterrupt
                monkeypatch.setattr(TallyCollector, "collect", interrupted)
            return super().__getitem__(index)

    collect = TallyCollector.collect

    def interrupted(self: TallyCollector, batch: Batch) -> None:
        collect(self, batch)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        statistics(Ended(), checkpoint=tmp_path / "scan")
    monkeypatch.setattr(TallyCollector, "collect", collect)
    # What was half taken in is not kept: it would count twice.
    assert (tmp_path / "scan").exists() == (part == "reading")
    images = Images()
    assert statistics(images, checkpoint=tmp_path / "scan") == whole("activation_statistics")
    assert min(images.read[8:]) == (16 if part == "reading" else 0)


def test_of_a_chunk_of_several_sizes_what_was_collected_counts(tmp_path: Path) -> None:
    net = cv.Network(nn.Conv2d(3, 2, 6), input=cv.InputSpec())
    small = PICTURES[0, :4, :4]  # too small for the kernels
    images = [PICTURES[0], np.full((10, 10, 3), np.nan), PICTURES[1], "gone.png", small, PICTURES[2]]
    with pytest.raises(RuntimeError, match="Kernel size"):
        cv.activation_statistics(
            net, images, [""], batch_size=6, checkpoint=tmp_path / "scan", on_error="skip"
        )
    header = json.loads(mapped_arrays(tmp_path / "scan")["header"].tobytes())
    assert (header["spans"], header["skipped"], [index for index, _ in header["reasons"]]) == (
        [[0, 3]],
        1,
        [1],
    )


def test_a_large_table_is_not_read_into_memory(tmp_path: Path) -> None:
    def collector() -> FeatureCollector:
        return FeatureCollector(cv.InputSpec(size=10), "conv", memory_limit=2**20)

    large, vectors = collector(), np.arange(2000 * 1000, dtype=np.float32).reshape(8000, 250)
    large.restore(
        {
            **large.arrays(),
            "vectors": vectors,
            "thumbnails": np.zeros((8000, 0, 0, 3), np.uint8),
            "ids": np.arange(8000),
            "labels": np.full(8000, -1),
        }
    )
    identity = dict.fromkeys(("structure", "weights", "input", "layers", "options"), "")
    identity |= dict.fromkeys(("count", "paths", "labels", "marks"), "")
    saved, again = scan_checkpoint.ScanCheckpoint(tmp_path / "scan", identity), collector()
    saved.write(Progress([(0, 8000)]), [large])
    tracemalloc.start()
    assert saved.load([again]).seen == 8000
    assert tracemalloc.get_traced_memory()[1] < vectors.nbytes / 2
    tracemalloc.stop()
    np.testing.assert_array_equal(again.arrays()["vectors"], vectors)
    content = bytearray((tmp_path / "scan").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "scan").write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no scan, or was cut short"):
        saved.load([collector()])


def other_structure() -> cv.Network:
    net = network()
    net.core.conv.padding = (0, 0)
    return net


def other_input() -> cv.Network:
    return cv.Network(network().module, input=cv.InputSpec(size=10, mean=0.4, std=0.25))


SHORT = list(PICTURES[:-1])
OTHER = np.concatenate([PICTURES[:-1], PICTURES[:1]])
REFUSED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "weights": (lambda path: patches(PICTURES, network(1), checkpoint=path), "with other weights"),
    "structure": (lambda path: patches(PICTURES, other_structure(), checkpoint=path), "another network;"),
    "input": (lambda path: patches(PICTURES, other_input(), checkpoint=path), r"takes other images: .*0\.4"),
    "layers": (
        lambda path: cv.top_patches(network(), PICTURES, ["conv"], k=3, checkpoint=path),
        r"other layers: \['conv', 'relu', 'full'\] there, \['conv'\] here",
    ),
    "options": (lambda path: patches(PICTURES, k=4, checkpoint=path), "'k': 3.* there, .*'k': 4.* here"),
    "method": (lambda path: statistics(PICTURES, checkpoint=path), "other options: .*activation_statistics"),
    "count": (lambda path: patches(SHORT, checkpoint=path), "another number of images.: 30 there, 29 here"),
    "images": (lambda path: patches(OTHER, checkpoint=path), r"\(image 29 of 30 was changed since\)"),
    "unlisted images": (
        lambda path: patches(Subset(Images(), [*range(29), 0]), checkpoint=path),
        "another data set, or one that changes",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_checkpoint_of_another_scan_is_refused(what: str, tmp_path: Path) -> None:
    path = tmp_path / "scan"
    patches(PICTURES, checkpoint=path)
    before = path.read_bytes()
    call, text = REFUSED[what]
    with pytest.raises(CheckpointError, match=f"(?s)is the checkpoint of another scan: .*{text}"):
        call(path)
    assert path.read_bytes() == before


def test_other_files_are_another_data_set(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(PICTURES[0]).save(paths[-1])
    statistics([paths[0]], checkpoint=tmp_path / "scan")
    with pytest.raises(CheckpointError, match="other files"):
        statistics([paths[1]], checkpoint=tmp_path / "scan")


def test_files_that_are_overwritten_are_another_data_set(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    for index, each in enumerate(PICTURES[:20]):
        Image.fromarray(each).save(tmp_path / "c" / f"{index:02}.png")
    tell = tmp_path / "scan"
    for images in (ImageFolder(tmp_path), Subset(ImageFolder(tmp_path), range(20))):
        found = statistics(images, checkpoint=tell)
        assert statistics(images, checkpoint=tell) == found
        # None of the eight that are looked at.
        Image.fromarray(PICTURES[20]).save(tmp_path / "c" / "07.png")
        with pytest.raises(CheckpointError, match=r"\(image 7 of 20.* was changed since\)"):
            statistics(images, checkpoint=tell)
        tell.unlink()
        Image.fromarray(PICTURES[7]).save(tmp_path / "c" / "07.png")


def test_a_damaged_file_can_be_mended_before_the_scan_goes_on(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    for path, each in zip(paths, PICTURES, strict=False):
        Image.fromarray(each).save(path)
    paths[5].write_bytes(b"no picture")
    with pytest.raises(InputError, match="image 5 of 8"):
        statistics(paths, checkpoint=tmp_path / "scan")
    assert (tmp_path / "scan").exists()
    Image.fromarray(PICTURES[5]).save(paths[5])
    assert statistics(paths, checkpoint=tmp_path / "scan") == statistics(PICTURES[:8])


def test_the_first_checkpoint_comes_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(scan_checkpoint.time, "monotonic", lambda: now[0])
    saved = scan_checkpoint.ScanCheckpoint(tmp_path / "scan", {})
    written = []
    for now[0] in (101.9, 102.1, 121.9, 122.2, 142.3):
        saved.keep(Progress(), [])
        written.append(saved.path.exists())
        saved.path.unlink(missing_ok=True)
    assert written == [False, True, False, True, True]


def packed(compression: int, header: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        content = io.BytesIO()
        np.save(content, np.frombuffer(json.dumps(header).encode(), np.uint8))
        archive.writestr("header.npy", content.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nothing",
        pickle.dumps(print),
        packed(zipfile.ZIP_DEFLATED, {}),
        packed(zipfile.ZIP_STORED, {}),
        packed(zipfile.ZIP_STORED, []),
        packed(zipfile.ZIP_STORED, {"format": "another"}),
    ],
)
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "scan"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no scan, or was cut short"):
        statistics(PICTURES, checkpoint=path)
    assert path.read_bytes() == content
    with pytest.raises(CheckpointError, match="a file in a folder that exists"):
        statistics(PICTURES, checkpoint=tmp_path)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shards", [1, 4, 15, 99])
def test_parts_give_the_same(method: str, shards: int) -> None:
    assert METHODS[method](PICTURES, batch_size=1, shards=shards) == whole(method, 1)
    with joblib.parallel_config(backend="threading", n_jobs=3):
        assert METHODS[method](Images(), batch_size=1, shards=shards) == whole(method, 1)


class OnlyLists(ThreadingBackend):  # type: ignore[misc]
    """As that of Spark, tells nothing of its tasks before the last of them is done."""

    supports_return_generator = False


def test_a_backend_that_returns_only_lists() -> None:
    with joblib.parallel_config(backend=OnlyLists(), n_jobs=3):
        assert statistics(Images(), batch_size=1, shards=7) == whole("activation_statistics", 1)
        steps = cv.activation_statistics.steps(network(), PICTURES, LAYERS, batch_size=1, shards=7)
        assert [each.index + 1 for each in steps][-1] == COUNT


@pytest.mark.parametrize("ways", [({"shards": 10}, {}), ({}, {"shards": 4})])
def test_what_was_begun_in_one_way_goes_on_in_another(ways: tuple[Any, Any], tmp_path: Path) -> None:
    steps = cv.top_patches.steps(
        network(), PICTURES, LAYERS, k=3, batch_size=3, checkpoint=tmp_path / "scan", **ways[0]
    )
    for _ in range(3):
        next(steps)
    steps.close()
    found = patches(PICTURES, batch_size=3, checkpoint=tmp_path / "scan", **ways[1])
    assert found == whole("top_patches", 3)


@pytest.mark.slow
def test_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in METHODS.items():
        assert method(Images(), batch_size=1, jobs=2) == whole(name, 1)
    # The network and the data set go through a file, and not along with each part.
    with monkeypatch.context() as patched:
        patched.setattr(scan_jobs, "_run_elsewhere", how_sent)
        assert list(scan_jobs.spread(repr, bytes(2**21), range(4), 2)) == ["memmap"] * 4
    # Parts that were done in one way are gone on with in another.
    steps = cv.activation_statistics.steps(
        network(), PICTURES, LAYERS, batch_size=1, jobs=2, shards=10, checkpoint=tmp_path / "scan"
    )
    next(steps)
    steps.close()
    images = Images()
    assert statistics(images, checkpoint=tmp_path / "scan", batch_size=1) == statistics(
        PICTURES, batch_size=1
    )
    assert len(images.read) <= COUNT - 3 + 8


def test_what_cannot_be_cut_or_sent() -> None:
    with pytest.raises(InputError, match=r"come only once.*generator.*jobs=1"):
        patches(stream(), shards=2)
    images = Images()
    images.lock = threading.Lock()  # type: ignore[attr-defined]
    with pytest.raises(InputTypeError, match=r"can't be sent: .*jobs=1"):
        statistics(images, jobs=2)


def test_pictures_that_change_are_noticed() -> None:
    class Changing(Images):
        def __getitem__(self, index: int) -> Any:
            image, label = super().__getitem__(index)
            return np.roll(image, len(self.read), axis=0), label

    with pytest.raises(InputError, match=r"was another picture when it was read again.*jobs=1"):
        patches(Changing(), shards=3)
    assert len(patches(Changing())) == 4


def test_pictures_that_come_only_once_can_not_be_read_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"k": 3, "checkpoint": tmp_path / "scan"}
    found = cv.top_patches(network(), stream(), "conv", patches=False, **options)
    with pytest.raises(InputError, match=r"begun with patches=False.*only once \(generator\)"):
        cv.top_patches(network(), stream(), "conv", **options)
    assert cv.top_patches(network(), stream(), "conv", patches=False, **options) == found


def test_finish_gives_what_was_found_so_far() -> None:
    steps = cv.top_patches.steps(network(), PICTURES, LAYERS, k=3, batch_size=2)
    for _ in range(4):
        step = next(steps)
    assert step.index == 7
    assert cv.top_patches.finish(steps) == cv.top_patches(network(), PICTURES[:8], LAYERS, k=3, batch_size=2)
    counted = cv.activation_statistics.steps(network(), PICTURES, LAYERS, batch_size=2)
    with pytest.raises(ValueError, match="no result yet"):
        cv.activation_statistics.finish(counted)


def test_a_network_that_is_sent_is_the_same() -> None:
    net = cv.Network(network().module, input=cv.InputSpec(size=10), labels=list("abcd"), output=None)
    assert net.layers  # whatever was learned stays here
    sent = pickle.loads(pickle.dumps(net))
    x = torch.rand(2, 3, 10, 10)
    assert torch.equal(sent(x), net(x))
    assert (sent.labels, sent.input) == (net.labels, net.input)
    assert [each.name for each in sent.layers] == [each.name for each in net.layers]
