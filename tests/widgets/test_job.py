"""The worker thread: what it runs, when it stops, and where its errors go."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.widgets._job import Job, once

SOON = 60.0  # seconds that no test should take, however busy the machine


class Stepper:
    """A generator of steps that goes on only when told, and tells when it was closed."""

    def __init__(self, total: int = 1000) -> None:
        self.total = total
        self.go = threading.Semaphore(0)
        self.closed = threading.Event()
        self.asked = 0

    def steps(self) -> Generator[Step, None, str]:
        try:
            for index in range(self.total):
                self.asked += 1
                if not self.go.acquire(timeout=SOON):
                    raise RuntimeError("the test never let the step go")
                yield Step(index, self.total)
            return "result"
        finally:
            self.closed.set()


def test_runs_every_step_and_keeps_the_result() -> None:
    stepper, seen, ended = Stepper(3), [], []
    job: Job[str] = Job(stepper.steps(), on_step=lambda step: seen.append(step.index), on_end=ended.append)
    stepper.go.release(3)
    assert job.state == "ready"
    job.start()
    assert job.wait(SOON)
    assert (job.state, job.result, job.error) == ("done", "result", None)
    assert seen == [0, 1, 2]
    assert ended == [job]
    assert stepper.closed.is_set()


def test_stop_is_honored_before_the_next_step() -> None:
    stepper = Stepper()
    stepped = threading.Event()
    job: Job[str] = Job(stepper.steps(), on_step=lambda step: stepped.set())
    job.start()
    stepper.go.release()
    assert stepped.wait(SOON)
    # The second step is under way at most; stopping returns at once and lets only that one end.
    job.stop()
    stepper.go.release(5)
    assert job.wait(SOON)
    assert job.state == "stopped"
    assert job.result is None
    assert stepper.asked <= 2
    assert stepper.closed.is_set()


def test_pause_asks_for_no_step_until_resumed() -> None:
    stepper = Stepper(4)
    steps: list[int] = []
    second = threading.Event()
    job: Job[str] = Job(stepper.steps())

    def on_step(step: Step) -> None:
        steps.append(step.index)
        if step.index == 1:
            job.pause()
            second.set()

    job._on_step = on_step
    stepper.go.release(4)
    job.start()
    assert second.wait(SOON)
    assert job.state == "paused"
    assert not job.wait(0.2)
    assert steps == [0, 1]
    assert stepper.asked == 2
    job.resume()
    assert job.wait(SOON)
    assert steps == [0, 1, 2, 3]
    assert job.state == "done"


def test_it_tells_when_it_waits_and_not_before() -> None:
    stepper, waiting = Stepper(2), threading.Event()
    asked = []

    def on_pause() -> None:
        asked.append(stepper.asked)
        waiting.set()

    job: Job[str] = Job(stepper.steps(), on_pause=on_pause)
    job.start()
    job.pause()
    stepper.go.release(2)
    assert waiting.wait(SOON)
    assert asked[0] <= 1  # the step under way, if it had begun
    job.resume()
    assert job.wait(SOON)
    assert (job.state, len(asked)) == ("done", 1)


def test_a_paused_job_can_be_stopped() -> None:
    stepper = Stepper()
    job: Job[str] = Job(stepper.steps(), on_step=lambda step: job.pause())
    stepper.go.release()
    job.start()
    assert not job.wait(0.1)
    job.stop()
    assert job.wait(SOON)
    assert job.state == "stopped"
    assert stepper.closed.is_set()


def test_stop_before_start_closes_the_generator_and_ends_the_job() -> None:
    job: Job[str] = Job(Stepper().steps())
    job.stop()
    assert job.wait(SOON)
    assert job.state == "stopped"
    with pytest.raises(RuntimeError, match="stopped"):
        job.start()


def _failing(error: BaseException) -> Generator[Step, None, None]:
    yield Step(0, 2)
    raise error


@pytest.mark.parametrize("error", [ValueError("bad image"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_is_kept_and_not_printed(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    ended: list[Any] = []
    job: Job[None] = Job(_failing(error), on_end=lambda job: ended.append(job.state))
    job.start()
    assert job.wait(SOON)
    assert job.state == "failed"
    assert job.error is error
    assert ended == ["failed"]
    assert capfd.readouterr() == ("", "")


def test_an_error_of_a_callback_is_kept_too(capfd: pytest.CaptureFixture[str]) -> None:
    def broken(anything: object) -> None:
        raise LookupError("no such view")

    for options in ({"on_step": broken}, {"on_end": broken}):
        stepper = Stepper(1)
        stepper.go.release()
        job: Job[str] = Job(stepper.steps(), **options)  # type: ignore[arg-type]
        job.start()
        assert job.wait(SOON)
        assert job.state == "failed"
        assert isinstance(job.error, LookupError)
        assert stepper.closed.is_set()
    assert capfd.readouterr() == ("", "")


def test_a_plain_call_runs_on_the_worker_and_only_when_started() -> None:
    ran_on: list[threading.Thread] = []
    job = Job(once(lambda: ran_on.append(threading.current_thread()) or 42))
    assert not ran_on
    job.start()
    assert job.wait(SOON)
    assert job.result == 42
    assert ran_on[0] is not threading.current_thread()


def test_a_job_runs_once() -> None:
    job = Job(once(lambda: None))
    job.start()
    assert job.wait(SOON)
    with pytest.raises(RuntimeError, match="runs once"):
        job.start()
