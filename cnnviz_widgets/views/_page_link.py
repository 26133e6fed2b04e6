"""What a player sends to its pages: live frames as fast as they are painted, kept ones on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cnnviz_widgets.views import _frame_messages as messages
from cnnviz_widgets.views._frames import Frame, Run
from cnnviz_widgets.views._live import CARRIED, HEAVY, STALE, LiveGate, Speed


class _Made(NamedTuple):
    """A live frame that is to be sent, and when it was made; none where the page shows others."""

    run: Run
    frame: Frame | None
    when: float


class PageLink:
    """Sends frames to the pages of a player, and knows what they lack; not safe by itself for several threads.

    Parameters
    ----------
    tell
        Sends a message with its buffers to all pages.

    Attributes
    ----------
    gate
        When they may be sent the next live frame.
    speed
        Of the run under way, in steps.
    """

    def __init__(self, tell: Callable[[Mapping[str, Any], Sequence[bytes]], None]) -> None:
        self.gate, self.speed = LiveGate(), Speed()
        self._tell = tell
        self._near: set[str] = set()  # pages
        # The live ones of two messages, with their run: those on the page, and those on their way.
        self._live: deque[tuple[int, list[Frame]]] = deque(maxlen=2)
        self._outbox: deque[_Made] = deque()
        self._unsent: list[tuple[Run, Frame]] = []  # kept, and not on the page that watches
        self._untold: dict[int, list[int]] = {}  # of each run of which others are kept since: which

    def hear(self, page: str, content: Mapping[str, Any], now: float) -> None:
        """Take note of whether a page is seen, and of what it has painted: what waits for that is sent."""
        painted = content.get("painted")
        painted = painted if isinstance(painted, int) else None
        self.gate.hear(page, visible=content["visible"] is True, painted=painted)
        self._send_live(now)
        (self._near.add if content.get("near") is True else self._near.discard)(page)

    @property
    def is_near(self) -> bool:
        """Whether a page shows anything of the widget that the frames are part of: it may be larger than the page."""
        return bool(self._near)

    def welcome(self, page: str, runs: Sequence[Run], have: Mapping[str, Any]) -> None:
        """Send a page all that it lacks."""
        self._tell(*messages.everything(page, runs, have))

    def send_runs(self, runs: Sequence[Run]) -> None:
        """Tell what has become of runs."""
        self._tell(messages.known(runs), [])

    def send_begun(self, run: Run, runs: Sequence[Run]) -> None:
        """Tell that a run begins, and send the frame of its parent that it begins with."""
        self.speed = Speed()
        while self._outbox:
            self._give_up()
        self.send_runs(runs)
        for frame in run.frames.values():
            self.send_kept(run, frame, {})

    def send_kept(self, run: Run, frame: Frame, steps: Mapping[int, list[int]]) -> None:
        """Send a kept frame; ``steps`` are those that are kept now of each run of which other ones are."""
        self._tell(messages.kept(run, frame, steps, self.speed.rate), [frame.encoded])

    def is_due(self, run: Run, now: float, *, kept: bool) -> bool:
        """Take note of a run's latest step, done now; return whether a live frame of it is to be made.

        One that is not kept may as well be the next one that is.
        """
        self.speed.note(now, run.latest)
        if not self.gate.is_due(now, early=kept):
            return False
        if len(self._outbox) >= self._room and not self.gate.is_open(now):
            return False
        return kept or not self.gate.may_wait(now, self.speed.seconds(run.steps_to_kept(run.latest)))

    def note_kept(self, steps: Mapping[int, list[int]]) -> None:
        """Take note of the steps that are kept now of each run of which other ones are."""
        self._untold |= steps

    def put_off(self, run: Run, frame: Frame) -> None:
        """Send a kept frame with the next live one: a page that is not done with the last has no use for a message."""
        if self.gate.is_watched:
            self._unsent.append((run, frame))

    def drop_put_off(self) -> None:
        """Send nothing of what was put off, nor what waits: the pages get it another way."""
        self._unsent.clear()
        self._untold = {}
        self._outbox.clear()

    def send_live(self, run: Run, frame: Frame | None, now: float) -> None:
        """Send a live frame with what was put off; before the page has painted the last, have it wait for that.

        ``None`` where the page shows others: it is told only how far the run is.
        """
        self.gate.make(now)
        self._outbox.append(_Made(run, frame, now))
        self._send_live(now)

    def _send_live(self, now: float) -> None:
        """Send what waits, if the page is ready; a frame that it was not ready for in time, no more."""
        while self._outbox and now - self._outbox[0].when > STALE:
            self._give_up()
        if not self._outbox or not self.gate.is_open(now):
            return
        run = self._outbox[-1].run
        frames = [frame for _, frame, _ in self._outbox if frame is not None]
        if frames:
            self._live.append((run.number, frames))
        kept = [(of, frame) for of, frame in self._unsent if of.has_kept(frame)]
        content, buffers = messages.live(run, frames, kept, self._untold)
        content |= {"rate": self.speed.rate, "room": self._room}
        self.drop_put_off()
        self._tell(content | {"serial": self.gate.send(now)}, buffers)

    @property
    def _room(self) -> int:
        """How many frames such as the latest one may go with one message."""
        latest = self._outbox[-1].frame if self._outbox else None
        return CARRIED if latest is None else max(1, min(CARRIED, HEAVY // messages.weight(latest)))

    def _give_up(self) -> None:
        """Send the frame that waits longest as a kept one, if it is one, or not at all."""
        run, frame, _ = self._outbox.popleft()
        if frame is not None and run.has_kept(frame):
            self.put_off(run, frame)

    def live_frames(self, run: int) -> dict[int, Frame]:
        """Return the last frames of a run that were live, by step."""
        return {frame.step: frame for number, frames in self._live if number == run for frame in frames}
