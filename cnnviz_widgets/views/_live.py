"""When the page may be sent the next live frames: only when it has painted the last, and somebody sees it."""

from __future__ import annotations

import math

INTERVAL = 1 / 10.5
"""Time between two live frames, in seconds: on the average, as they come when a step is done."""

SLOWEST = 1 / 10
"""A live frame waits for the step of a kept one, which serves as both, if it is no rarer for that."""

CARRIED = 12
"""So many live frames go with one message at most: what else a message costs, it costs but once.

They take longer to make than a page waits between two askings (`ASKING` of the page's store); `STALE` is longer, too.
"""

HEAVY = 4_000_000
"""A message takes as many frames as fit into so many bytes, one at least: where they are few, a page asks sooner."""

STALE = 1.3
"""A frame that the page was not ready for after so many seconds is not sent any more: a newer one is."""

SILENCE = 3.0
"""A page that has not painted for so many seconds what another one has painted is taken for closed."""

PATIENCE = 5.0
"""Where no page has painted the last frame for so many seconds, another is tried: it may have been lost."""

SMOOTHING = 2.0
"""Over about so many seconds the speed is averaged."""


class LiveGate:
    """Opens when every page that is seen has painted what it was sent last.

    A page that is slow, or that is not heard because the kernel is busy, gets no further message before it has
    painted the last one: no queue ever grows. A page that was closed can't say so reliably: it is given up once
    another page paints and it does not. Where none does, a message now and then finds out whether one is there.
    Times are in seconds, of any clock.
    """

    def __init__(self) -> None:
        self._painted: dict[str, int] = {}  # by page that is seen: the last message
        self._serial = 0
        self._sent_at = self._made_at = self._due = -math.inf

    def hear(self, page: str, *, visible: bool, painted: int | None = None) -> None:
        """Take note of what a page says of itself.

        A page that was not seen before lacks no frame, whatever it has painted: it was sent none, or another store
        of the same page painted it.
        """
        if not visible:
            self._painted.pop(page, None)
        elif page not in self._painted:
            self._painted[page] = self._serial
        elif painted is not None:
            self._painted[page] = painted

    @property
    def is_watched(self) -> bool:
        """Whether any page is seen."""
        return bool(self._painted)

    def is_due(self, now: float, *, early: bool = False) -> bool:
        """Whether somebody waits for a next frame, sent or to be sent; ``early``, half the time before it is due."""
        return bool(self._painted) and now >= self._due - (INTERVAL / 2 if early else 0)

    def may_wait(self, now: float, seconds: float) -> bool:
        """Whether the next frame comes often enough if it is made only so many seconds from now."""
        return now + seconds - self._made_at <= SLOWEST

    def make(self, now: float) -> None:
        """Take note that a frame is made."""
        self._made_at = now
        # Counted from when it was due, unless that is long ago: else steps that take a while would make them rare.
        late = now - self._due
        self._due = now + INTERVAL - (late if late < INTERVAL else 0)

    def is_open(self, now: float) -> bool:
        """Whether the next message may be sent."""
        late = [page for page, painted in self._painted.items() if painted < self._serial]
        if not late:
            return bool(self._painted)
        if len(late) == len(self._painted):
            return now - self._sent_at >= PATIENCE
        if now - self._sent_at < SILENCE:
            return False
        for page in late:
            del self._painted[page]
        return True

    def send(self, now: float) -> int:
        """Take note that a message is sent, and return its serial number."""
        self._serial += 1
        self._sent_at = now
        return self._serial


class Speed:
    """Steps a second, averaged over the last seconds; pauses don't count."""

    def __init__(self) -> None:
        self.rate: float | None = None
        self._mark: tuple[float, int] | None = None

    def rest(self) -> None:
        """Take note that a pause begins, or ends."""
        self._mark = None

    def seconds(self, steps: int) -> float:
        """Return how long so many steps take."""
        return steps / self.rate if self.rate else math.inf

    def note(self, now: float, step: int) -> None:
        """Take note of a step that is done."""
        if self._mark is None:
            self._mark = (now, step)
            return
        passed = now - self._mark[0]
        if passed >= 0.2:
            rate = (step - self._mark[1]) / passed
            weight = 1.0 if self.rate is None else 1 - math.exp(-passed / SMOOTHING)
            self.rate = rate if self.rate is None else self.rate + weight * (rate - self.rate)
            self._mark = (now, step)
