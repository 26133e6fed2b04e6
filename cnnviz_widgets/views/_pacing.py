"""Doing a repeated job no more often than the eye can follow, and always once for the last request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pacer:
    """Runs a job soon after it is asked for, at most once per interval; requests in between are merged.

    The job must read the newest state itself: of a burst of requests the first runs at once, on the
    caller's thread, and one more runs when the interval is over, on a timer's. May be used from any thread.

    Parameters
    ----------
    job
        What to do. Two runs never overlap.
    interval
        Shortest time between the beginnings of two runs, in seconds.
    on_error
        Told what a run on the timer's thread raises: there, nobody else would hear of it.
    """

    def __init__(
        self,
        job: Callable[[], None],
        interval: float = 1 / 30,
        *,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._job = job
        self._on_error = on_error
        self._interval = interval
        self._lock = threading.Lock()
        self._running = threading.RLock()
        self._timer: threading.Timer | None = None
        self._not_before = 0.0
        self._closed = False

    def request(self, *, later: bool = False) -> None:
        """Have the job run now, or when the interval since its last run is over; ``later``, on the timer's thread.

        A caller with a lock that the job takes, too, must ask for ``later``: two runs wait for each other.
        """
        with self._lock:
            if self._closed or self._timer is not None:
                return
            wait = self._not_before - time.monotonic()
            if wait > 0 or later:
                self._timer = threading.Timer(max(0.0, wait), self._run_late)
                self._timer.daemon = True
                self._timer.start()
                return
            self._not_before = time.monotonic() + self._interval
        self._run()

    def close(self) -> None:
        """Forget what was asked for and run no more."""
        with self._lock:
            self._closed = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _run_late(self) -> None:
        with self._lock:
            if self._closed:
                return
            # From here on a new request means a state this run may not have seen.
            self._timer = None
            self._not_before = time.monotonic() + self._interval
        try:
            self._run()
        except Exception as error:
            if self._on_error is None:
                raise
            self._on_error(error)

    def _run(self) -> None:
        with self._running:
            self._job()
