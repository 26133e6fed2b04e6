"""A recorder that finds a file at its place: whether it may write to it, and from which step."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import RecorderError
from cnnviz_widgets.engine.history_file import HistoryWriter, create_history
from tests.training_loops import OPTIMIZERS, network, take_step


def trained(steps: int) -> tuple[cv.Network, object]:
    """Return a network after so many steps, the same each time, and its optimizer."""
    net = network()
    optimizer = OPTIMIZERS["momentum"](net.module.parameters())
    for step in range(steps):
        take_step(net, optimizer, step)
        optimizer.step()
    return net, optimizer


def recorded(path: Path, taken: int, steps: int, **options: int) -> list[int]:
    """Record steps of a training that has ``taken`` some already; return those that the history has then."""
    net, optimizer = trained(taken)
    with cv.TrainingRecorder(net, optimizer, every=2, path=path, **options) as recorder:
        for step in range(taken, taken + steps):
            take_step(net, optimizer, step)
            optimizer.step()
    return recorder.history.steps.tolist()


def test_a_fresh_network_does_not_go_on_with_the_file_of_a_trained_one(tmp_path: Path) -> None:
    path = tmp_path / "history"
    assert recorded(path, 0, 5) == [0, 2, 4, 5]
    before = path.read_bytes()
    net, optimizer = trained(0)
    # As a cell of a notebook that runs once more.
    with pytest.raises(
        RecorderError, match=r"step 5, .* not those recorded then; they are those of step 0 .*path"
    ):
        cv.TrainingRecorder(net, optimizer, path=path)
    with pytest.raises(RecorderError, match="step 5"):
        cv.TrainingRecorder(net, path=path)
    with pytest.raises(RecorderError, match=r"not those recorded then\. To go on, load"):
        recorded(path, 3, 1)
    assert path.read_bytes() == before
    assert recorded(path, 5, 2) == [0, 2, 4, 5, 7]
    with pytest.warns(UserWarning, match=r"step 0, so 4 records of later steps, 2 to 7, are dropped") as told:
        assert recorded(path, 0, 2, first_step=0) == [0, 2]
    assert [each.filename for each in told] == [__file__]


def test_weights_that_are_not_those_of_the_first_step_are_refused_and_the_file_is_left(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history"
    assert recorded(path, 0, 5) == [0, 2, 4, 5]
    before = path.read_bytes()
    other = cv.Network(type(network().module)(), input=network().input)  # other random weights
    for options, text in (
        ({"first_step": 0}, r"record of step 0, but .* not those recorded then\. .* another path"),
        ({"first_step": 4}, r"record of step 4, .* load that step's weights first"),
        ({"first_step": 5}, "record of step 5"),
    ):
        with pytest.raises(RecorderError, match=text):
            cv.TrainingRecorder(other, path=path, **options)
    with pytest.raises(RecorderError, match=r"step 4, .*; they are those of step 2 there"):
        recorded(path, 2, 1, first_step=4)
    # Where warnings are errors nothing is dropped either.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="1 record of a later step, 5,"):
            recorded(path, 4, 1, first_step=4)
    assert path.read_bytes() == before
    late = tmp_path / "late"
    recorded(late, 4, 2, first_step=4)
    with pytest.raises(RecorderError, match="begins with step 4, after first_step=1, so nothing"):
        recorded(late, 1, 1, first_step=1)


def test_after_a_kill_a_checkpoint_of_another_step_says_which(tmp_path: Path) -> None:
    path = tmp_path / "history"
    recorded(path, 0, 4)
    # The file ends with step 4; there is a checkpoint of step 3, and one of step 6.
    with pytest.raises(RecorderError, match="first_step="):
        recorded(path, 6, 1)
    assert recorded(path, 6, 1, first_step=6) == [0, 2, 4, 6, 7]
    # Between two records there is nothing to compare with, and what is later goes.
    with pytest.warns(
        UserWarning, match=r"3 records of later steps, 4 to 7, .* none of that step to compare"
    ):
        assert recorded(path, 3, 2, first_step=3) == [0, 2, 3, 5]


def test_weights_of_another_sign_are_others(tmp_path: Path) -> None:
    net = network()
    with cv.TrainingRecorder(net, path=tmp_path / "history") as recorder:
        recorder.record()
    cv.TrainingRecorder(net, path=tmp_path / "history").close()
    net.module.conv.weight.data.neg_()  # the norms are the same
    with pytest.raises(RecorderError, match="step 0"):
        cv.TrainingRecorder(net, path=tmp_path / "history")


def test_a_file_has_one_writer_and_any_number_of_readers(tmp_path: Path) -> None:
    path = tmp_path / "history"
    recorder = cv.TrainingRecorder(network(), path=path)
    recorder.record()
    with pytest.raises(RecorderError, match=r"another recorder is writing to .*recorder\.close\(\)"):
        cv.TrainingRecorder(network(), path=path)
    assert len(cv.load_history(path)) == 1
    if sys.platform != "win32":
        # Nor may another process; reading the file above has not let go of it.
        code = f"import fcntl; fcntl.flock(open({str(path)!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        child = subprocess.run(
            [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False
        )
        assert "BlockingIOError" in child.stderr
    recorder.record()
    # A process that was forked meanwhile, such as one that loads data, has the file open, too.
    inherited = os.dup(recorder._log._writer._file.fileno())
    recorder.close()
    try:
        with cv.TrainingRecorder(network(), path=path) as again:
            again.record()
    finally:
        os.close(inherited)
    assert cv.load_history(path).steps.tolist() == [0, 1, 2]


def test_of_two_that_begin_at_once_the_slower_one_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "history"
    recorder = cv.TrainingRecorder(network(), path=path)
    recorder.record()
    before = path.read_bytes()
    create_history(path, recorder._log.header, recorder._log.pictures)  # having looked before it was there
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["history"]
    recorder.close()


def test_a_first_record_that_can_not_be_written_leaves_file_and_optimizer_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, optimizer = trained(0)

    def full(writer: HistoryWriter, record: object) -> None:
        raise OSError(28, "No space left on device")

    append = HistoryWriter.append
    monkeypatch.setattr(HistoryWriter, "append", full)
    with pytest.raises(OSError, match="No space") as caught:
        cv.TrainingRecorder(net, optimizer, path=tmp_path / "history")
    monkeypatch.setattr(HistoryWriter, "append", append)
    with cv.TrainingRecorder(net, optimizer, every=1, path=tmp_path / "history") as recorder:
        loss = take_step(net, optimizer, 0)
        recorder.note_loss(loss)
        monkeypatch.setattr(HistoryWriter, "append", full)
        with pytest.raises(OSError, match="No space"):
            optimizer.step()
        monkeypatch.setattr(HistoryWriter, "append", append)
        assert recorder._before is None
        take_step(net, optimizer, 1)
        optimizer.step()
    np.testing.assert_equal(recorder.history.loss, [np.nan, np.nan])  # not that of the step before
    assert recorder.history.steps.tolist() == [0, 2]
    assert caught.value.errno == 28
