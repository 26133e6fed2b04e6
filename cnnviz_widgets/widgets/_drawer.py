"""Drawing beside a running training: on a thread of its own, seldom enough not to slow it, the newest state only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Drawer:
    """Runs a job on a thread after it was asked for; of requests that come meanwhile only one is kept.

    The job must read the newest state itself. There is a thread only while there is something to do.

    Parameters
    ----------
    job
        What to do. Two runs never overlap.
    on_error
        Called with what the job raised.
    interval
        Shortest time between the beginnings of two runs, in seconds; `request` with ``urgent`` cuts it short.
    share
        Largest share of a processor's time that runs may take: after a costly one the next one waits longer.
    """

    def __init__(
        self,
        job: Callable[[], None],
        *,
        on_error: Callable[[BaseException], None],
        interval: float = 0.5,
        share: float = 0.025,
    ) -> None:
        self._job, self._on_error = job, on_error
        self._interval, self._share = interval, share
        self._changed = threading.Condition()
        self._wanted = self._urgent = self._closed = False
        self._not_before = 0.0
        self._thread: threading.Thread | None = None

    def request(self, *, urgent: bool = False) -> None:
        """Have the job run soon, or at once where a person waits for it. Returns immediately."""
        with self._changed:
            if self._closed:
                return
            self._wanted, self._urgent = True, self._urgent or urgent
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cnnviz-drawer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what was asked for and run no more; a run that is under way is not waited for."""
        with self._changed:
            self._closed, self._wanted = True, False
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Have what was asked for done at once, wait for it, and return whether that came in time."""
        with self._changed:
            self._urgent = self._wanted
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def _run(self) -> None:
        while self._next_is_due():
            begun, worked = time.monotonic(), time.thread_time()
            try:
                self._job()
            except Exception as error:
                self._on_error(error)
            # What it took of the processor, which it shares with the training.
            took = time.thread_time() - worked
            with self._changed:
                self._not_before = begun + max(self._interval, took / self._share)

    def _next_is_due(self) -> bool:
        """Wait for the moment of the next run; ``False`` ends the thread, as there is none."""
        with self._changed:
            while self._wanted and not self._urgent:
                remaining = self._not_before - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(remaining)
            due = self._wanted
            self._wanted = self._urgent = False
            if not due:
                self._thread = None
                self._changed.notify_all()
            return due
