"""One worker thread that runs a method's steps: started, paused, resumed, stopped; never blocking the page."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Generator
from typing import Any, Generic, Literal, TypeVar

from cnnviz_widgets.engine.idle_threads import release_threads
from cnnviz_widgets.engine.stream import Step

R = TypeVar("R")
LAST_STEP_SECONDS = 10.0
State = Literal["ready", "running", "paused", "stopped", "failed", "done"]


class Job(Generic[R]):
    """Runs a ``.steps()`` generator on a thread of its own.

    Parameters
    ----------
    generator
        What to run. It is closed at the end, however it ends.
    on_step
        Called on the worker with each step.
    on_end
        Called on the worker once, with the job, when it is done, failed or stopped.
    on_pause
        Called on the worker when it begins to wait, after the step that was under way; it may have been told to go on
        by then.

    Notes
    -----
    Stop and pause are honored before the next step begins. Nothing is printed: an error, of the generator or of
    ``on_step``, is kept in ``error`` and the state becomes ``"failed"``. Of the thread that starts or resumes a job,
    and of the worker of a paused one, torch's idle threads are let go of, which would slow the other down.
    """

    def __init__(
        self,
        generator: Generator[Step, None, R],
        *,
        on_step: Callable[[Step], None] | None = None,
        on_end: Callable[[Job[R]], None] | None = None,
        on_pause: Callable[[], None] | None = None,
    ) -> None:
        self._generator = generator
        self._on_step = on_step
        self._on_end = on_end
        self._on_pause = on_pause
        self._condition = threading.Condition()
        self._state: State = "ready"
        self._thread = threading.Thread(target=self._run, name="cnnviz-job", daemon=True)
        self._ended = threading.Event()
        self.result: R | None = None
        self.error: BaseException | None = None

    @property
    def state(self) -> State:
        """``"ready"``, ``"running"``, ``"paused"``, ``"stopped"``, ``"failed"`` or ``"done"``."""
        return self._state

    def start(self) -> None:
        """Begin; a job runs once."""
        with self._condition:
            if self._state != "ready":
                raise RuntimeError(f"this job is {self._state}; a job runs once, so make a new one")
            self._state = "running"
            _running.add(self)
        release_threads()
        self._thread.start()

    def pause(self) -> None:
        """Ask for no further step until `resume`."""
        self._change("running", "paused")

    def resume(self) -> None:
        """Go on after `pause`."""
        release_threads()
        self._change("paused", "running")

    def stop(self) -> None:
        """End before the next step; returns at once. A job that was never started ends here, too."""
        with self._condition:
            never_started = self._state == "ready"
            if self._state in ("ready", "running", "paused"):
                self._state = "stopped"
            self._condition.notify_all()
        if never_started:
            self._generator.close()
            self._ended.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end and return whether it came; not to be called by the job's own callbacks."""
        return self._ended.wait(timeout)

    def _change(self, before: State, after: State) -> None:
        with self._condition:
            if self._state == before:
                self._state = after
            self._condition.notify_all()

    def _may_go_on(self) -> bool:
        if self._state == "paused":
            if self._on_pause is not None:
                self._on_pause()
            release_threads()
        with self._condition:
            while self._state == "paused":
                self._condition.wait()
            return self._state == "running"

    def _run(self) -> None:
        try:
            self._take_steps()
        except BaseException as error:
            self._fail(error)
        try:
            self._generator.close()
            if self._on_end is not None:
                self._on_end(self)
        except BaseException as error:
            self._fail(error)
        finally:
            _running.discard(self)
            self._ended.set()

    def _take_steps(self) -> None:
        while self._may_go_on():
            try:
                step = next(self._generator)
            except StopIteration as end:
                self.result = end.value
                self._change("running", "done")
                # Paused or not, there is nothing left to do.
                self._change("paused", "done")
                return
            if self._on_step is not None:
                self._on_step(step)

    def _fail(self, error: BaseException) -> None:
        with self._condition:
            self.error = error
            self._state = "failed"


_running: set[Job[Any]] = set()


@atexit.register
def _end_with_python() -> None:
    """Let running jobs end: Python aborts when it takes a thread away in the middle of torch's work."""
    jobs = list(_running)
    for job in jobs:
        job.stop()
    for job in jobs:
        job.wait(LAST_STEP_SECONDS)


def once(function: Callable[[], R]) -> Generator[Step, None, R]:
    """Make a generator without steps of a plain call, so that a job can run it.

    >>> job = Job(once(lambda: 6 * 7))
    >>> job.start(); job.wait()
    True
    >>> job.result
    42
    """
    yield from ()
    return function()
