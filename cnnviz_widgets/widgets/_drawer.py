"""Drawing beside a running training: on a thread of its own, seldom enough not to slow it, the newest state only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable


class Drawer:
    """Runs a job on a thread after it was asked for; of requests that come meanwhile only one is kept.

    The job must read the newest state itself. There is a thread only while there is something to do.

    Parameters
    ----------
    job
        What to do; two runs never overlap. It is told whether it is *live*: beside other work, where it may
        leave out what nobody watches. A live run is followed by a whole one as soon as no more are asked for.
    on_error
        Called with what the job raised. What it raises itself goes to the log of this package.
    interval
        Shortest time between the beginnings of two runs, in seconds; `request` with ``urgent`` cuts it short.
    share
        Largest share of a processor's time that runs may take: after a costly one the next one waits longer.
    page_share
        Largest share of the time in which a page may be busy with what a run has sent: from the end of the
        run until `painted`.
    patience
        Longest wait for `painted`, in seconds: there may be no page, or a kernel that hears nothing from it
        while a cell runs.
    growth
        Nor is it waited for longer than this many times as long as live runs have gone on: at first, when most
        happens, they follow each other faster.
    settle
        So long after the last live run with no other asked for, the whole one follows, in seconds.
    """

    def __init__(
        self,
        job: Callable[[bool], None],
        *,
        on_error: Callable[[BaseException], None],
        interval: float = 0.5,
        share: float = 0.025,
        page_share: float = 0.05,
        patience: float = 6.0,
        growth: float = 2.0,
        settle: float = 3.0,
    ) -> None:
        self._job, self._on_error = job, on_error
        self._interval, self._share, self._page_share = interval, share, page_share
        self._patience, self._growth, self._settle = patience, growth, settle
        self._changed = threading.Condition()
        self._wanted = self._urgent = self._owed = self._closed = self._hidden = False
        self._not_before = self._ended = 0.0
        self._unpainted = False
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

    def painted(self) -> None:
        """Take note that the page has painted what the last run has sent, and leave it time for other things."""
        with self._changed:
            if self._unpainted:
                self._unpainted = False
                now = time.monotonic()
                rest = (now - self._ended) / self._page_share
                self._not_before = max(self._due, self._ended + min(rest, 2 * self._patience))
                self._changed.notify_all()

    def hide(self, hidden: bool) -> None:
        """Stop live runs while nobody can see the page, and go on when it is back."""
        with self._changed:
            self._hidden = hidden
            self._changed.notify_all()

    def close(self) -> None:
        """Drop what was asked for and run no more; a run that is under way is not waited for."""
        with self._changed:
            self._closed, self._wanted, self._owed = True, False, False
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Have what was asked for done at once, wait for it, and return whether that came in time."""
        with self._changed:
            # Also what a live run that is under way will owe.
            self._urgent = self._thread is not None
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    _due = _since = 0.0
    _in_row = False

    def _run(self) -> None:
        while (live := self._next_is_live()) is not None:
            begun, worked = time.monotonic(), time.thread_time()
            try:
                self._job(live)
            except Exception as error:
                self._tell(error)
            # What it took of the processor, which it shares with the training.
            took = time.thread_time() - worked
            with self._changed:
                self._ended, self._unpainted = time.monotonic(), True
                self._due = begun + max(self._interval, took / self._share)
                if not self._in_row:
                    self._since = begun
                self._in_row = live
                wait = min(self._patience, self._growth * (self._ended - self._since))
                self._not_before = max(self._due, self._ended + wait)
                self._owed = live and not self._closed

    def _tell(self, error: Exception) -> None:
        try:
            self._on_error(error)
        except Exception:
            # Nobody else would hear of it, and the thread must live on: `wait` waits for its end.
            logging.getLogger("cnnviz_widgets").exception("an error while drawing could not be shown")

    def _next_is_live(self) -> bool | None:
        """Wait for the moment of the next run and return whether it is live; ``None``: there is none."""
        with self._changed:
            while not self._urgent and (self._wanted or self._owed):
                due = self._not_before if self._wanted else self._ended + self._settle
                remaining = due - time.monotonic()
                if self._hidden and self._wanted:
                    self._changed.wait()
                elif remaining > 0:
                    self._changed.wait(remaining)
                else:
                    break
            live = (self._wanted and not self._urgent) if self._wanted or self._owed else None
            self._wanted = self._urgent = self._owed = False
            if live is None:
                self._thread = None
                self._changed.notify_all()
            return live
