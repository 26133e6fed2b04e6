"""The thread of a player: it takes the steps of one run after the other, as they are asked for."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Generator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, Streamed, listen
from cnnviz_widgets.views.frame_player import FramePlayer
from cnnviz_widgets.widgets._base import Viewer
from cnnviz_widgets.widgets._player_runs import Call, Run, numbers, picture_of, picture_of_result

RUNNING, PAUSED = "running", "paused"


class Worker(Viewer):
    """Base of `Player`: begins and ends runs on one thread, and shows their steps.

    Only this thread begins, ends, advances or pauses a run. Others leave a wish, and wake it: the step under way is the
    last one that is not as they wish. To stop comes before all else, to pause after all else. The lock is held only
    while what both sides know is changed.
    """

    _method: ClassVar[Streamed[Any, Any]]
    _may_go_back: ClassVar[bool] = (
        False  # whether a result may be of an earlier step than the last, by its `steps`
    )
    _runs: dict[int, Run]
    _wish: Call | None
    _stopping: bool
    _pausing: bool  # wished for, or so by now
    _error: BaseException | None
    _asked: Call | None  # the last one, whatever became of it
    _at_work: object | None  # the session whose thread takes steps
    _changed: threading.Condition
    _remarks: list[str]  # what the method has said since the last run began or ended

    def __new__(cls, *arguments: Any, **options: Any) -> Worker:
        """Prepare what the threads share."""
        self: Worker = super().__new__(cls, *arguments, **options)
        self._runs, self._wish, self._stopping, self._at_work = {}, None, False, None
        self._pausing, self._error, self._asked = False, None, None
        self._changed, self._remarks = threading.Condition(self.lock), []
        return self

    @property
    @abstractmethod
    def view(self) -> FramePlayer:
        """The frames."""

    @abstractmethod
    def _steps_of(self, call: Call) -> Generator[Step, None, Any]:
        """Return the generator of a call's steps."""

    def _numbers(self, step: Step) -> dict[str, float]:
        """Return the numbers of a step, as a person reads them."""
        return numbers(step)

    @abstractmethod
    def _note_step(self) -> None:
        """Show the numbers of a step, soon."""

    @abstractmethod
    def _note_state(self) -> None:
        """Show the numbers as they are now, and what else depends on the state."""

    @property
    def state(self) -> str:
        """``"ready"``, ``"running"``, ``"paused"``, ``"stopped"``, ``"failed"`` or ``"done"``."""
        return str(self.view.state)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no step is taken any more, be it that the run ended or paused; return whether that came.

        It is true of a run that failed or could not begin, too: ``state`` says so, and ``error`` why.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(lambda: self._at_work is None or self.state == PAUSED, timeout):
                return False
            if self._at_work is not None:
                return True
        # What the thread has yet to do takes no step.
        return super().wait(None if end is None else max(0.0, end - time.monotonic()))

    @property
    def error(self) -> BaseException | None:
        """What went wrong last, as it is shown; ``None`` once something else has been asked for."""
        return self._error

    def show_error(self, error: BaseException) -> None:
        """Show an error's message in the widget, with its traceback folded."""
        self._error = error
        super().show_error(error)

    def clear_error(self) -> None:
        """Take the error away."""
        self._error = None
        super().clear_error()

    @property
    def _current(self) -> Run | None:
        """The run under way."""
        return next((run for run in self._runs.values() if run.state == RUNNING), None)

    def _ask(self, call: Call) -> None:
        """Have a run begin as soon as the step under way is done."""
        self.clear_error()
        if self._at_work is None:
            session = object()
            self.start_job(self._work(session), on_result=lambda nothing: None, on_pause=self._note_pause)
            self._at_work = session
        self._asked = call
        self._wish, self._stopping = replace(call, paused=self._pausing), False
        self._go_on()

    def _go_on(self) -> None:
        self._pausing = False
        if self._job is not None:
            self._set_state(RUNNING)
            self._job.resume()

    def stop_job(self) -> None:
        """End the run before its next step, without a result: nobody sees the widget any more."""
        with self._changed:
            super().stop_job()
            self._wish = None
            if self._current is not None:
                self._current.state = "stopped"
            if self._at_work is not None:
                self._end_work(self._at_work)

    def _work(self, session: object) -> Generator[Step, None, None]:
        """Take the steps of one run after the other, as they are asked for; ends where no more are."""
        run: Run | None = None
        listen(self._remarks.append)
        try:
            while True:
                with self._changed:
                    if self._at_work is not session:
                        # Let go during its first step; what is wished now is for others.
                        return
                    call, self._wish = self._wish, None
                    stopping, self._stopping = self._stopping, False
                    if run is None and call is None:
                        self._end_work(session)
                        return
                if call is not None:
                    run = self._turned_to(call, run, session)
                elif run is not None and stopping:
                    self._finish(run)
                    run = None
                elif run is not None:
                    run = self._advanced(run)
                if run is not None:
                    self._pause_if_wished()
                    yield run.last
        except GeneratorExit:
            # By `stop_job`, which has said so.
            if run is not None:
                run.steps.close()
        finally:
            # Whatever went wrong, the next start finds nobody at work.
            self._end_work(session, "failed")

    def _pause_if_wished(self) -> None:
        with self.lock:
            if self._pausing and self._wish is None and not self._stopping and self._job is not None:
                self._job.pause()

    def _end_work(self, session: object, state: str | None = None) -> None:
        with self._changed:
            if self._at_work is session:
                self._at_work, self._pausing = None, False
                self._changed.notify_all()
                if self._current is not None:
                    self._current.state = state or "stopped"
                if self.state in (RUNNING, PAUSED):
                    # It was stopped before its first step.
                    self._set_state(state or ("stopped" if self._runs else "ready"))

    def _turned_to(self, call: Call, before: Run | None, session: object) -> Run | None:
        """Begin another run in place of the one before; where its first step fails, that one goes on."""
        try:
            steps = self._steps_of(call)
            first, result = _first(steps)
        except Exception as error:
            self._refuse(call, before, session, error)
            return before
        remarks = list(self._remarks)
        self._remarks.clear()
        if before is not None:
            self._finish(before)
        with self.lock:
            if self._at_work is not session:
                # The widget was let go meanwhile.
                steps.close()
                return None
            parent = call.parent if call.parent in self._runs else None
            total = None if first.total is None else call.first + first.total
            number = self.view.begin(total=total, first=call.first, parent=parent, text=call.text)
            run = self._runs[number] = Run(number, call, session, steps, first, remarks=remarks)
        if first.index < 0:
            self._end(run, "done", result)
            return None
        return self._shown(run, first)

    def _refuse(self, call: Call, before: Run | None, session: object, error: Exception) -> None:
        """Say why a run can't begin, and be as before: what ran goes on, what was paused stays so."""
        self._remarks.clear()
        self.show_error(error)
        with self.lock:
            if self._at_work is not session or self._job is None:
                return
            if before is None:
                self._set_state("failed")
            elif call.paused and self._wish is None and not self._stopping:
                self._pausing = True

    def _advanced(self, run: Run) -> Run | None:
        """Take a step and return the run; nothing where there is no step left, or it fails."""
        try:
            step = next(run.steps)
        except StopIteration as end:
            self._end(run, "done", end.value)
            return None
        except Exception as error:
            self._fail(run, error)
            return None
        return self._shown(run, step)

    def _shown(self, run: Run, step: Step) -> Run | None:
        """Show a step and return the run; nothing where that fails."""
        values = self._numbers(step)
        with self.lock:
            run.note(step, values)
        try:
            if run.session is self._at_work:
                self.view.show(run.done, values, lambda: _sure(picture_of(step)))
        except Exception as error:
            run.steps.close()
            self._fail(run, error)
            return None
        if run.session is self._at_work:
            self._note_step()
        return run

    def _finish(self, run: Run) -> None:
        """End a run with its result so far."""
        try:
            result = type(self)._method.finish(run.steps)
        except Exception as error:
            self._fail(run, error)
        else:
            self._end(run, "stopped", result)

    def _fail(self, run: Run, error: Exception) -> None:
        self._end(run, "failed", None)
        self.show_error(error)

    def _end(self, run: Run, state: str, result: Result | None) -> None:
        with self._changed:
            run.state, run.result = state, result
            run.remarks, self._remarks[:] = [*run.remarks, *self._remarks], []
            if run.session is self._at_work:
                self.view.finish(state, self._picture_now(run), getattr(result, "ended", ""))
                if self._may_go_back and run.taken and result is not None:
                    # Where losses grew, the result is of an earlier step: shown is what is kept next to it.
                    good = run.call.first + getattr(result, "steps", 0)
                    self.view.step = good if good < run.done else self.view.step
                self._note_state()

    def _picture_now(self, run: Run) -> NDArray[np.uint8] | None:
        """Return what a run has come to so far."""
        return picture_of(run.last) if run.taken else picture_of_result(run.result)

    def _note_pause(self) -> None:
        with self.lock:
            run = self._current
            if run is not None and self._pausing:
                self.view.finish(PAUSED, self._picture_now(run))
                self._set_state(PAUSED)

    def _set_state(self, state: str) -> None:
        with self._changed:
            self.view.state = state
            self._note_state()
            self._changed.notify_all()


def _first(steps: Generator[Step, None, Any]) -> tuple[Step, Any]:
    """Return the first step; where there is none to take, one before it, and the result."""
    try:
        return next(steps), None
    except StopIteration as end:
        return Step(-1, None), end.value


def _sure(picture: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    if picture is None:
        raise TypeError("a player's method must have a picture with each step")
    return picture
