from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import RecorderError, ResultFileError
from cnnviz_widgets.engine.history_file import MAGIC, HistoryReader
from tests.training_loops import OPTIMIZERS, network, pictures, take_step

ROOT = Path(__file__).parents[2]
FRAME = struct.Struct("<QI")
CHILD = """
import sys
from tests.methods.test_history_files import recorded
recorded(sys.argv[1], steps=100_000, told=lambda step: print(step, flush=True))
"""


def recorded(
    path: Path | str | None, steps: int, *, taken: int = 0, told: Any = None, **options: Any
) -> cv.TrainingRecorder:
    """Train, every step after those ``taken`` recorded and then ``told`` of, and leave the recorder open."""
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    options = {"every": 1, "images": pictures(), **options}
    for step in range(taken):
        take_step(net, optimizer, step)
        optimizer.step()
    recorder = cv.TrainingRecorder(net, optimizer, path=path, **options)
    for step in range(taken, taken + steps):
        recorder.note_loss(take_step(net, optimizer, step))
        optimizer.step()
        if told is not None:
            told(step + 1)
    return recorder


def first(history: cv.TrainingHistory, count: int) -> list[bytes]:
    """Return the bytes of the first records."""
    arrays = [history.steps, history.loss, history.kernels, history.roughness]
    for each in (history.activations, history.sparsity, history.dead_channels, history.weight_norms):
        arrays += list(each.values())
    arrays += [*history.gradient_norms.values(), *history.update_norms.values()]
    return [each[:count].tobytes() for each in arrays]


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return where each frame of a file begins, and its content: read by the words of the format."""
    found, place = [], len(MAGIC)
    while place < len(data):
        size, checksum = FRAME.unpack_from(data, place)
        content = data[place + FRAME.size :][:size]
        assert zlib.crc32(content) == checksum
        found.append((place, content))
        place += FRAME.size + size
    return found


def with_header(data: bytes, **changes: Any) -> bytes:
    """Return the file with other words in its header, its checksum right."""
    (start, content), (rest, _) = frames(data)[:2]
    header = json.loads(content)
    header |= changes
    text = json.dumps(header).encode()
    return data[:start] + FRAME.pack(len(text), zlib.crc32(text)) + text + data[rest:]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("history") / "history"
    recorded(path, steps=2).close()
    return path.read_bytes()


def test_a_file_holds_what_the_recorder_does(tmp_path: Path) -> None:
    recorder = recorded(tmp_path / "history", steps=4)
    assert cv.load_history(tmp_path / "history") == recorder.history
    recorder.close()
    assert cv.load_history(tmp_path / "history") == recorder.history
    assert recorder.history.steps.tolist() == [0, 1, 2, 3, 4]
    assert [each.name for each in tmp_path.iterdir()] == ["history"]


@pytest.mark.slow
def test_a_killed_process_loses_at_most_the_last_record(tmp_path: Path) -> None:
    path = tmp_path / "history"
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            told = 0
            for line in child.stdout:
                told = int(line)
                # Read while it is being written: at least all that was told.
                steps = cv.load_history(path).steps
                assert steps.tolist() == list(range(len(steps)))
                assert len(steps) >= told + 1
                if told >= 5:
                    break
        finally:
            child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    history = cv.load_history(path)
    assert history.steps.tolist() == list(range(len(history)))
    assert len(history) >= told + 1
    again = recorded(None, steps=len(history) - 1)
    assert first(history, len(history)) == first(again.history, len(history))
    size = path.stat().st_size
    with recorded(path, steps=0, taken=len(history) - 1) as recorder:
        assert recorder.step == len(history) - 1
    assert path.stat().st_size <= size


def test_cut_anywhere_in_its_last_record_a_file_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    recorded(path, steps=2, images=None).close()
    file = path.read_bytes()
    last = frames(file)[-1][0]
    kernels = cv.load_history(path).kernels
    assert len(kernels) == 3
    begin = last + FRAME.size
    # Every byte of the frame's head, the first and last ones of its content, and some in between.
    ends = {*range(last, begin + 8), *range(begin, len(file), 31), *range(len(file) - 8, len(file))}
    for end in sorted(ends):
        path.write_bytes(file[:end])
        np.testing.assert_array_equal(cv.load_history(path).kernels, kernels[:2])


def test_a_file_cut_short_before_its_first_record_says_so(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    start = frames(file)[2][0]
    for end in range(0, start, 7):
        path.write_bytes(file[:end])
        with pytest.raises(
            ResultFileError, match=r"cut should be a history of a training, but is cut short .*record again"
        ):
            cv.load_history(path)
    path.write_bytes(file[:start])
    assert len(cv.load_history(path)) == 0


@pytest.mark.parametrize("cut", [1, 400])
def test_a_torn_record_is_cut_off_and_the_recording_goes_on(file: bytes, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "torn"
    path.write_bytes(file[:-cut])
    with recorded(path, steps=2, taken=1) as recorder:
        assert recorder.step == 3
    history = cv.load_history(path)
    assert history.steps.tolist() == [0, 1, 2, 3]
    assert history == recorder.history
    with recorded(None, steps=3) as uninterrupted:
        assert first(uninterrupted.history, 4) == first(history, 4)
    assert path.read_bytes()[: frames(file)[-1][0]] == file[: frames(file)[-1][0]]


def test_a_training_that_is_taken_back_drops_what_came_later(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "back"
    path.write_bytes(file)
    with pytest.warns(UserWarning, match=r"1 record of a later step, 2, is dropped"):
        recorder = recorded(path, steps=1, taken=1, first_step=1)
    assert recorder.history.steps.tolist() == [0, 1, 2]
    recorder.close()
    assert len(frames(path.read_bytes())) == 2 + 3
    with pytest.warns(UserWarning, match="2 records"):
        recorded(path, steps=0, first_step=0).close()
    assert len(frames(path.read_bytes())) == 2 + 1
    recorder = recorded(path, steps=1, first_step=7)
    assert recorder.history.steps.tolist() == [0, 7, 8]
    recorder.close()


def test_files_of_other_trainings_are_refused(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(file)
    net = network()
    for options, text in (
        ({"net": network("random")}, "other network .*'Classic' there, 'Random' here"),
        ({"layers": ["conv"]}, "other layers"),
        ({"images": pictures()[::-1]}, "other images"),
        ({"images": None}, "other layers"),
        ({"kernels_layer": "more"}, "other layer whose kernels"),
        ({"map_images": 2}, "other sizes"),
    ):
        with pytest.raises(RecorderError, match=f"(?s){text}.*another file"):
            cv.TrainingRecorder(**{"net": net, "images": pictures(), "path": path, **options})
    assert path.read_bytes() == file
    wider = network()
    wider.module.last = type(wider.module.last)(5, 4)
    with pytest.raises(RecorderError, match="other parameters"):
        cv.TrainingRecorder(cv.Network(wider.module, input=wider.input), images=pictures(), path=path)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"PK\x03\x04" * 99, MAGIC.replace(b"1", b"2")])
def test_other_files_are_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ResultFileError, match="should be a history of a training, but is not one"):
        cv.load_history(path)
    with pytest.raises(FileNotFoundError):
        cv.load_history(tmp_path / "none")


def test_damage_is_told_unless_it_is_the_last_record(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    places = [start for start, _ in frames(file)]
    for index, start in enumerate(places):
        broken = bytearray(file)
        broken[start + FRAME.size + 100] ^= 1
        path.write_bytes(broken)
        if index == len(places) - 1:
            assert len(cv.load_history(path)) == 2
        else:
            with pytest.raises(ResultFileError, match=r"is damaged .*checksum") as caught:
                cv.load_history(path)
        if index == len(places) - 2:
            with pytest.warns(
                UserWarning, match="checksum is wrong; of its records those to step 0 are kept"
            ):
                assert cv.load_history(path, on_damage="keep").steps.tolist() == [0]
            assert 'cv.load_history(path, on_damage="keep")' in str(caught.value)
            with pytest.raises(ResultFileError, match="A recorder goes on in another file"):
                recorded(path, steps=0)
        if index < 2:
            with pytest.raises(ResultFileError, match=r"in its first bytes, so nothing .*record again"):
                cv.load_history(path, on_damage="keep")
    with pytest.raises(ValueError, match="'raise' or 'keep', got 'drop'"):
        cv.load_history(path, on_damage="drop")  # type: ignore[arg-type]
    longer = bytearray(file)
    longer[places[-1] + 6] = 1
    path.write_bytes(longer)
    with pytest.raises(ResultFileError, match="is the most"):
        cv.load_history(path)
    path.write_bytes(file + file[places[-2] : places[-1]])
    with pytest.raises(ResultFileError, match="do not rise"):
        cv.load_history(path)
    # An interrupt between writing and taking note has the same record written once more.
    path.write_bytes(file + file[places[-1] :])
    twice = cv.load_history(path)
    path.write_bytes(file)
    assert twice == cv.load_history(path)
    # What a machine that lost its power leaves behind the last record.
    path.write_bytes(file + bytes(4096))
    assert twice == cv.load_history(path)


def test_what_a_file_says_of_itself_is_not_believed(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    schema = json.loads(frames(file)[0][1])["schema"]
    for changes, text in (
        ({"schema": schema | {"kernels": ["<f4", [4, 3, 10**9, 10**9]]}}, "the limit was"),
        ({"schema": schema | {"kernels": ["|O", [4, 3, 3, 3]]}}, "makes no sense"),
        ({"schema": schema | {"kernels": ["<f4", [4, 3, 3, -3]]}}, "makes no sense"),
        ({"schema": schema | {"kernels": ["<f4", [4, 3, 9, 1]]}}, "holds a record that is none"),
        ({"schema": schema | {"more": ["<f4", [4]]}}, "makes no sense"),
        ({"layers": ["relu"]}, "makes no sense"),
        ({"layers": 3}, "makes no sense"),
        ({"pictures": ["|u1", [4, 8, 8, 10**12]]}, "the limit was"),
        ({"shapes": None}, "makes no sense"),
        ({"image_count": float("inf")}, "makes no sense"),
    ):
        path.write_bytes(with_header(file, **changes))
        with pytest.raises(ResultFileError, match=text):
            cv.load_history(path)
    path.write_bytes(file)
    size = HistoryReader(path, max_bytes=10**6).header.record_bytes
    with pytest.raises(RecorderError, match="no room for 3 records"):
        cv.load_history(path, byte_budget=2 * size)


def test_a_record_with_objects_or_compression_is_none(file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    last = frames(file)[-1][0]
    with np.load(_saved(tmp_path, frames(file)[-1][1]), allow_pickle=False) as archive:
        arrays = dict(archive)
    for change in ("objects", "compressed", "missing", "encrypted"):
        changed: dict[str, Any] = dict(arrays)
        if change == "objects":
            changed["loss"] = np.array({"a": 1}, dtype=object)
        if change == "missing":
            del changed["dead0"]
        save = np.savez_compressed if change == "compressed" else np.savez
        save(tmp_path / "record.npz", **changed)
        content = (tmp_path / "record.npz").read_bytes()
        if change == "encrypted":
            entry = bytearray(content)
            entry[entry.index(b"PK\x01\x02") + 8] |= 1  # bit 0 of the flags in the archive's directory
            content = bytes(entry)
        path.write_bytes(file[:last] + FRAME.pack(len(content), zlib.crc32(content)) + content)
        with pytest.raises(ResultFileError, match="holds a record that is none"):
            cv.load_history(path)


def _saved(folder: Path, content: bytes) -> Path:
    (folder / "content.npz").write_bytes(content)
    return folder / "content.npz"


def test_a_long_file_is_thinned_out_to_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "long"
    recorded(path, steps=20, images=None).close()
    whole = cv.load_history(path)
    assert whole.steps.tolist() == list(range(21))
    size = HistoryReader(path, max_bytes=10**7).header.memory_bytes
    few = cv.load_history(path, byte_budget=6 * size)
    assert few.steps.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(few.kernels, whole.kernels[::4])


def test_a_file_of_every_so_many_steps_is_thinned_out_evenly(tmp_path: Path) -> None:
    recorder = cv.TrainingRecorder(network(), path=tmp_path / "long")
    for step in range(0, 1150, 50):
        recorder.record(step)
    few = 5 * recorder._log.header.memory_bytes
    recorder.close()
    assert cv.load_history(tmp_path / "long", byte_budget=few).steps.tolist() == [0, 400, 800, 1100]
    recorder = cv.TrainingRecorder(network(), byte_budget=few)
    for step in range(23):
        recorder.record(step)  # by hand: nobody knows of a distance
    assert recorder.history.steps.tolist() == [0, 8, 16, 22]


def test_a_record_that_can_not_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    recorder = recorded(tmp_path / "full", steps=1)
    before = (tmp_path / "full").read_bytes()
    writer = recorder._log._writer
    assert writer is not None
    real = writer._file

    class Full:
        """A disk with room for the first hundred bytes."""

        def write(self, data: memoryview) -> int:
            if len(data) <= 100:
                raise OSError(28, "No space left on device")
            return int(real.write(data[: len(data) - 100]) or 0)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    writer._file = Full()  # type: ignore[assignment]
    recorder._step += 1
    with pytest.raises(OSError, match="No space"):
        recorder.record()
    assert (tmp_path / "full").read_bytes() == before
    assert len(recorder.history) == 2
    writer._file = real
    recorder.record()
    assert cv.load_history(tmp_path / "full").steps.tolist() == [0, 1, 2]
    recorder.close()
