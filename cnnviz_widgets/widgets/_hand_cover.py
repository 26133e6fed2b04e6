"""Cover a part of the photo on a stage by dragging, and ask what the network answers then: the newest cover only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.covering import Covered, Covering
from cnnviz_widgets.views.image_stage import ImageStage
from cnnviz_widgets.widgets._drawer import Drawer
from cnnviz_widgets.widgets._occluder import ERASE, MOVE, Occluder, Position

_GRAY = 128


class HandCover:
    """Links a stage, an `Occluder` and what answers to it.

    An answer takes longer than a pointer takes to move on: of the covers that come while one is asked about, only the
    newest is asked about next.

    Parameters
    ----------
    stage
        Where a person drags.
    lock
        Taken while anything changes.
    on_answer
        Called, under the lock, with the newest answer and the share of the photo that is covered.
    on_error
        Called with what went wrong while asking.

    Attributes
    ----------
    tool, brush, window
        What a drag does, the brush's width, and (height, width) of the window, in pixels.
    """

    def __init__(
        self,
        stage: ImageStage,
        lock: threading.RLock,
        *,
        on_answer: Callable[[Covered, float], None],
        on_error: Callable[[BaseException], None],
    ) -> None:
        self.tool, self.brush, self.window = MOVE, 1, (1, 1)
        self._stage, self._lock = stage, lock
        self._on_answer = on_answer
        self._asker = Drawer(self._ask, on_error=on_error)
        self.take_photo()
        stage.observe(self._on_drag, ["pressed", "pointer"])
        # A click, which the drag has seen already, and the stage's fields for row and column.
        stage.on_click(self._on_click)

    def take_photo(self) -> None:
        """Begin with the stage's photo, nothing of it covered."""
        with self._lock:
            height, width = self._stage.image.shape[:2]
            self._occluder = Occluder((height, width))
            self._stage.clear_cover()
            self.answer_with(None, None)

    def answer_with(self, covering: Covering | None, instead: NDArray[np.uint8] | None) -> None:
        """Let this one answer from now on, and show that picture under the cover; or nothing answers any more."""
        with self._lock:
            self._covering = covering
            self._instead = np.full_like(self._stage.image, _GRAY) if instead is None else instead
            if covering is not None:
                if self.mask.any():
                    self._show()
                else:
                    self._on_answer(covering.clean, 0.0)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What is covered, bool [H, W]; not to be changed."""
        return self._occluder.mask

    def cover(self, mask: Any) -> None:
        """Cover what a mask says."""
        given, size = np.asarray(mask), self._occluder.size
        if given.dtype != np.bool_ or given.shape != size:
            raise ValueError(
                f"a mask is a bool array of the image's size {list(size)}; got {given.dtype} {list(given.shape)}"
            )
        with self._lock:
            self._occluder.cover(given.copy())
            self._show()

    def clear(self) -> None:
        """Cover nothing."""
        with self._lock:
            self._occluder.clear()
            self._show()

    def resize_window(self, window: tuple[int, int]) -> None:
        """Take a window of another size, also where it lies."""
        with self._lock:
            self.window = window
            if self._occluder.center is not None:
                self._occluder.place(self._occluder.center, window)
                self._show()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the answer to the newest cover, and return whether that came in time."""
        return self._asker.wait(timeout)

    def close(self) -> None:
        """Ask no more."""
        self._asker.close()

    def _on_drag(self, change: Any) -> None:
        stage = self._stage
        if change["name"] == "pressed" and not change["new"]:
            self._occluder.lift()
            # The mark, and the fields for those without a pointer, say where the drag has ended.
            stage.clicked = stage.pointer
        if stage.pressed and stage.pointer is not None:
            self._touch(stage.pointer)

    def _on_click(self, position: Position) -> None:
        self._touch(position)
        self._occluder.lift()

    def _touch(self, position: Position) -> None:
        """Move the window to a pixel, or the brush."""
        with self._lock:
            if self.tool == MOVE:
                self._occluder.place(position, self.window)
            else:
                self._occluder.stroke(position, self.brush, erase=self.tool == ERASE)
            self._show()

    def _show(self) -> None:
        # Asked before it is drawn, which takes some ms: the answer comes from another thread.
        if self._covering is not None:
            self._asker.request(urgent=True)
        self._stage.set_cover(self.mask, self._instead)

    def _ask(self, live: bool) -> None:
        """Ask about the newest cover, on the asker's thread."""
        with self._lock:
            covering, mask = self._covering, self.mask
        if covering is None:
            return
        covering.take_threads()
        answer = covering.answer(mask) if mask.any() else covering.clean
        with self._lock:
            # Something else may be asked by now, of which this is no answer.
            if covering is self._covering:
                self._on_answer(answer, float(mask.mean()))
