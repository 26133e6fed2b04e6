"""Tell others that something is new, on a thread of their own, so that they can't hold up who tells it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Notifier(Generic[T]):
    """Calls callbacks with ``subject`` after `notify`, one at a time, on a thread that lives as long as there are any.

    What comes in while callbacks run is told once, afterwards. A callback that raises is called no more; its
    error goes to the log of this package (without other settings, to the error output).
    """

    def __init__(self, subject: T) -> None:
        self._subject = subject
        self._callbacks: list[Callable[[T], object]] = []
        self._changed = threading.Condition()
        self._news = False
        self._thread: threading.Thread | None = None

    def observe(self, callback: Callable[[T], object]) -> None:
        """Call it with the subject after each `notify` from now on."""
        if not callable(callback):
            raise TypeError(f"observe takes a function of the recorder, got {type(callback).__name__}")
        with self._changed:
            if callback not in self._callbacks:
                self._callbacks.append(callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="cnnviz notifier", daemon=True)
                self._thread.start()

    def unobserve(self, callback: Callable[[T], object]) -> None:
        """Call it no more; nothing happens if it was not observing. A call that is under way is not waited for."""
        with self._changed:
            if callback in self._callbacks:
                self._callbacks.remove(callback)
            self._changed.notify()

    def notify(self) -> None:
        """Let the callbacks know. Returns at once."""
        with self._changed:
            self._news = bool(self._callbacks)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._news or not self._callbacks)
                if not self._callbacks:
                    self._thread = None
                    return
                self._news = False
                callbacks = list(self._callbacks)
            for callback in callbacks:
                try:
                    callback(self._subject)
                except Exception:
                    self.unobserve(callback)
                    logging.getLogger("cnnviz_widgets").exception("a callback raised and is called no more")
