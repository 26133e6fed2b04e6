"""Pictures that change while they are computed: watched live, played back, and compared, run beside run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from cnnviz_widgets.render.encode import png
from cnnviz_widgets.views import _frame_messages as messages
from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._described import Bundle, described
from cnnviz_widgets.views._frames import Frame, Run
from cnnviz_widgets.views._kept_frames import KeptFrames
from cnnviz_widgets.views._page_link import PageLink
from cnnviz_widgets.views._pictures import STILL_BYTES, checked_image
from cnnviz_widgets.views._text import printable
from cnnviz_widgets.views._traits import Enum, Int

STATES = ("ready", "running", "paused", "stopped", "failed", "done")
ACTS = ("start", "pause", "resume", "stop", "branch", "export", "remove")
TEXT_LENGTH = 500


class FramePlayer(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See a picture change step by step, go back to any kept step, and look at two runs side by side.

    Below the picture stand buttons to start, pause, resume and stop, how far it is and how fast it goes, and a slider
    over the kept frames, which can be played. These work in the page alone: with the kernel busy, and in a saved
    notebook. What the other buttons ask for, `on_act` hands over.

    Live frames, some ten a second, are sent only when the page has painted the last ones and asks for others, about
    once a second (sooner at first, and where fewer than twelve fit into a message), and while somebody sees it: the
    picture seen is about a second old. Every k-th frame is kept,
    about 64 a run and within a budget of bytes: exact here, encoded for the page at a pause or the end, or when a page
    comes. Where both are due within a few steps, one picture serves as both.

    Steps count what is done: the picture after the first step is that of step 1, the last one that of ``total``; a
    picture from before the first step may be shown as step ``first``.

    Attributes
    ----------
    state : str
        "ready", "running", "paused", "stopped", "failed" or "done": of the latest run.
    run : int
        Number of the run on show, from 1; 0 while there is none.
    step : int
        The step on show; the kept frame nearest to it is meant. -1 is the latest, also as the run goes on.
    other : int
        Number of the run shown beside it, at the same step; -1 for none.
    is_near : bool
        Whether a page shows anything of the widget that this is part of; set as pages tell it, not sent to them.
    marker_low, marker_high : float
        Ends of a scale on which 0 lies where the step lies on a chart of the runs on show; set by the page.

    Examples
    --------
    >>> player = FramePlayer()
    >>> player.begin(total=2)
    1
    >>> for step in (1, 2):
    ...     player.show(step, {"loss": 1 / step}, lambda: np.full((8, 8, 3), step, np.uint8))
    >>> player.finish("done")
    >>> player.frame(1, 2).values
    {'loss': 0.5}
    """

    _esm = bundle("frame_player")

    _kept = traitlets.Dict({"runs": [], "data": b""}).tag(sync=True)
    state = Enum(STATES, "ready").tag(sync=True)
    run = Int(0, min=0).tag(sync=True)
    step = Int(-1, min=-1).tag(sync=True)
    other = Int(-1, min=-1).tag(sync=True)
    marker_low = traitlets.Float(-0.5).tag(sync=True)
    marker_high = traitlets.Float(0.5).tag(sync=True)
    is_near = traitlets.Bool(False)

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._runs = KeptFrames()
        self._current: Run | None = None
        self._values: dict[str, float] = {}
        self._link = PageLink(self._tell)
        self._unsaved = False
        self._handlers: list[Callable[[str, dict[str, Any]], None]] = []
        super().__init__()
        self.on_msg(self._hear)

    # What the worker calls. Nobody else's code runs while the lock is held, but for `picture`.

    def begin(self, *, total: int | None, first: int = 0, parent: int | None = None, text: str = "") -> int:
        """Begin a new run, show its latest frame, and return its number.

        Parameters
        ----------
        total : int or None
            The step at which it will end; ``None`` where that is not known.
        first : int
            The steps done before it: for a branch, those of its parent.
        parent : int, optional
            The run it is branched from at step ``first``. If that step's frame was kept, it is the run's first.
        text : str
            What it is, for the page.

        Raises
        ------
        ValueError, LookupError
            Where the numbers make no sense, or there is no such parent.
        """
        if first < 0 or (total is not None and total <= first):
            raise ValueError(f"a run goes from first >= 0 to a total beyond it; got {first!r} and {total!r}")
        with self._lock:
            words = printable(text)[:TEXT_LENGTH]
            run = self._runs.begin(total=total, first=first, parent=parent, text=words)
            if self._current is not None and self._current.state in ("running", "paused"):
                self._current.state = "stopped"
            self._current, self._values, self._unsaved = run, {}, True
            self._link.send_begun(run, list(self._runs))
        with self.hold_sync():
            self.run, self.step, self.state = run.number, -1, "running"
        return run.number

    def show(self, step: int, values: Mapping[str, float], picture: Callable[[], NDArray[np.uint8]]) -> None:
        """Take note of a step that is done; costs microseconds, unless a frame of it is due.

        Parameters
        ----------
        step : int
            Steps done by now.
        values : mapping from name to number
            What was measured.
        picture
            Makes the picture, uint8 [H, W, 3]; called at most once, and only if it is sent or kept.

        Raises
        ------
        RuntimeError
            Where no run has begun.
        ValueError
            Where what ``picture`` returns is none, or the steps do not ascend.
        """
        with self._lock:
            run, now = self._running(), time.monotonic()
            if step < run.latest:
                raise ValueError(f"steps ascend; got {step!r} after {run.latest}")
            run.latest, self._values = step, dict(values)
            paused = self.state == "paused"
            kept = paused or run.wants(step)
            live = self._link.is_due(run, now, kept=kept)
            if not kept and not live:
                return
            frame = None
            if kept or self._is_watched(run):
                sharp = paused or step == run.total
                frame = run.frame(step, checked_image(picture()), values, sharp=sharp)
            if kept and frame is not None:
                self._link.note_kept(self._keep(run, frame))
            if live:
                self._link.send_live(run, frame, now)
            elif frame is not None:
                self._link.put_off(run, frame)
            if paused:
                self._save()

    def finish(self, state: str, picture: NDArray[np.uint8] | None = None, text: str = "") -> None:
        """End the run, or pause it, and bring what a saved notebook holds up to date.

        Parameters
        ----------
        state : str
            What has become of it: "done", "stopped", "failed"; "paused" leaves it open.
        picture : uint8 array [H, W, 3], optional
            The picture after the last step shown, which is kept whatever the step.
        text : str
            Why it ended, for the page.
        """
        if state not in STATES:
            raise ValueError(f"state is one of {', '.join(STATES)}; got {state!r}")
        with self._lock:
            run = self._running()
            if picture is not None:
                frame = run.frame(run.latest, checked_image(picture), self._values, sharp=True)
                self._link.send_kept(run, frame, self._keep(run, frame))
            run.state, run.ended = state, printable(text)[:TEXT_LENGTH]
            self._unsaved = True
            self._link.send_runs([run])
            self._save()
        self.state = state

    # What is kept.

    @property
    def runs(self) -> list[int]:
        """The numbers of the runs."""
        with self._lock:
            return [run.number for run in self._runs]

    def frame(self, run: int, step: int) -> Frame:
        """Return the kept frame of a run that is nearest to a step, the latest one for -1.

        Raises
        ------
        LookupError
            Where there is no such run, or nothing is kept of it yet.
        """
        with self._lock:
            frame = self._runs[run].nearest(step)
        if frame is None:
            raise LookupError(f"no frame of run {run} is kept yet")
        return frame

    def seen(self, run: int, step: int) -> Frame:
        """Return the frame that the page shows for a step, exactly: a kept one, or one that was live just now.

        Raises
        ------
        LookupError
            Where there is no such run, or nothing of it is to be seen yet.
        """
        with self._lock:
            frames = self._link.live_frames(run) | self._runs[run].frames
        if not frames:
            raise LookupError(f"there is no frame of run {run} yet")
        return frames[max(frames) if step < 0 else min(frames, key=lambda each: abs(each - step))]

    def frames(self, run: int) -> list[Frame]:
        """Return the kept frames of a run, in the order of their steps."""
        with self._lock:
            return list(self._runs[run].frames.values())

    def forget(self, run: int) -> None:
        """Drop a run with its frames; if it was on show, the newest of the others is.

        Raises
        ------
        LookupError, ValueError
            Where there is no such run, or it is still going on.
        """
        with self._lock:
            if self._runs[run] is self._current and self.state in ("running", "paused"):
                raise ValueError(f"run {run} is {self.state}; stop it before it is removed")
            self._runs.forget(run)
            if self._current is not None and self._current.number == run:
                self._current = None
            self._unsaved = True
            self._save()
            left: list[int] = [each.number for each in self._runs]
        if self.other == run or self.other not in left:
            self.other = -1
        if self.run == run:
            shown = max((number for number in left if number != self.other), default=max(left, default=0))
            with self.hold_sync():
                self.run, self.step, self.other = shown, -1, -1 if self.other == shown else self.other

    # What passes between here and the page.

    def on_act(self, handler: Callable[[str, dict[str, Any]], None]) -> None:
        """Call a function with what a button asks for and with its details, from now on.

        "start", "pause", "resume", "stop"; "branch" with ``run`` and ``step``; "export" with ``format`` ("png", "gif",
        "webp" or "npz"), ``run`` and ``step``; "remove" with ``run``. ``page`` is the one that asks.
        """
        self._handlers.append(handler)

    def offer(self, name: str, data: bytes, mime: str, *, page: str = "") -> None:
        """Have a page download a file, the one that asked for it; all that are seen where none is said."""
        self._tell({"kind": "offer", "name": printable(name), "mime": mime, "page": page}, [data])

    def _hear(self, widget: Any, content: Any, buffers: Any) -> None:
        """Take what a page says: that it is here, whether it is seen, what it has painted, what is asked for."""
        if not isinstance(content, dict) or not isinstance(content.get("page"), str):
            return
        page = content["page"]
        if "visible" in content:
            with self._lock:
                self._link.hear(page, content, time.monotonic())
                is_near = self._link.is_near
            self.is_near = is_near
        if isinstance(content.get("have"), dict):
            with self._lock:
                self._runs.encode_all()
                self._link.welcome(page, list(self._runs), content["have"])
        if content.get("act") in ACTS:
            details = {name: content[name] for name in ("run", "step", "format", "page") if name in content}
            try:
                for handler in self._handlers:
                    handler(content["act"], details)
            finally:
                self._tell({"kind": "heard", "page": page, "act": content["act"]}, [])

    def _keep(self, run: Run, frame: Frame) -> dict[int, list[int]]:
        """Keep a frame; return what is kept now of each run of which other frames are."""
        self._unsaved = True
        return self._runs.keep(run, frame)

    def _tell(self, content: Mapping[str, Any], buffers: Sequence[bytes]) -> None:
        if self.comm is not None:
            self.send(content, buffers)

    def _running(self) -> Run:
        if self._current is None:
            raise RuntimeError("no run has begun; call begin() first")
        return self._current

    def _is_watched(self, run: Run) -> bool:
        """Whether the page shows what is new of a run."""
        return self.step < 0 and run.number in (self.run, self.other)

    def _save(self) -> None:
        """Put what is kept where a saved notebook has it."""
        if self._unsaved:
            self._unsaved = False
            self._link.drop_put_off()
            self._runs.encode_all()
            kept: dict[str, Any] = messages.saved(list(self._runs))
            self._kept = kept

    @traitlets.observe("state")
    def _state_changed(self, change: Any) -> None:
        with self._lock:
            self._link.speed.rest()
            if self._current is not None and self._current.state in ("running", "paused"):
                self._current.state = change["new"]
                self._unsaved = True
            if change["new"] != "running":
                self._save()

    @traitlets.validate("run", "other")
    def _check_run(self, proposal: Any) -> int:
        value: int = proposal["value"]
        none = 0 if proposal["trait"].name == "run" else -1
        if value != none:
            with self._lock:
                self._runs[value]
        return value

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take the page's changes; a run that it chose may have been removed meanwhile."""
        nones = {"run": 0, "other": -1}
        gone = [
            name
            for name, none in nones.items()
            if name in sync_data and sync_data[name] != none and sync_data[name] not in self._runs
        ]
        super().set_state({name: value for name, value in sync_data.items() if name not in gone})
        if gone:
            self.send_state(gone)

    # What viewers without widgets show.

    def to_png(self) -> bytes | None:
        """Return the picture on show, with the one beside it; ``None`` where there is none."""
        with self._lock:
            frames = [
                self._runs[number].nearest(self.step)
                for number in dict.fromkeys((self.run, self.other))
                if number in self._runs
            ]
        images = [frame.image for frame in frames if frame is not None]
        return png(messages.side_by_side(images), max_bytes=STILL_BYTES) if images else None

    def to_text(self) -> str:
        """Return what there is to see in one line, for viewers that show no pictures."""
        with self._lock:
            if self.run not in self._runs:
                return "FramePlayer: no run yet"
            run = self._runs[self.run]
            frame = run.nearest(self.step)
            total = "" if run.total is None else f" of {run.total}"
            shown = "nothing to see yet" if frame is None else f"step {frame.step}{total}"
            return f"FramePlayer: run {run.number} of {len(list(self._runs))}, {run.state}, {shown}"

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        return described(super()._repr_mimebundle_(**options), self.to_text, self.to_png)
