"""The frames of a run as a file: a picture, an animation, or the method's result with all its numbers."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.views.frame_player import FramePlayer
from cnnviz_widgets.widgets._job import Job, once
from cnnviz_widgets.widgets._player_runs import Run

MIME_TYPES = {
    "png": "image/png",
    "gif": "image/gif",
    "webp": "image/webp",
    "npz": "application/x-npz",
}
FRAME_MILLISECONDS = 80
LAST_MILLISECONDS = 1_000
SMALL_SIDE, SHOWN_SIDE = 112, 448


def checked_format(name: Any) -> str:
    """Return the format of an export, or say which there are."""
    if name not in MIME_TYPES:
        raise ValueError(f"an export is one of {', '.join(map(repr, MIME_TYPES))}; got {name!r}")
    return str(name)


def animation(frames: Sequence[NDArray[np.uint8]], kind: str) -> bytes:
    """Return frames as an animation that begins anew after a second: WebP without loss, or GIF in 256 colors a frame.

    Frames of other sizes than the last one, of a run from coarse to fine, are brought to its size. Small ones are
    enlarged in whole pixels, as the page does.
    """
    if not frames:
        raise ValueError("there is no frame to export yet; start the player first")
    height, width = (side * _zoom(frames[-1]) for side in frames[-1].shape[:2])
    pictures = [Image.fromarray(each) for each in frames]
    pictures = [
        each if each.size == (width, height) else each.resize((width, height), Image.Resampling.NEAREST)
        for each in pictures
    ]
    times = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    options: dict[str, Any] = {"lossless": True, "quality": 30, "method": 0} if kind == "webp" else {}
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        kind.upper(),
        save_all=True,
        append_images=pictures[1:],
        duration=times,
        loop=0,
        **options,
    )
    return buffer.getvalue()


def _zoom(frame: NDArray[np.uint8]) -> int:
    longest = max(frame.shape[:2])
    return SHOWN_SIDE // longest if longest <= SMALL_SIDE else 1


def result_bytes(result: Result) -> bytes:
    """Return what `Result.save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        return result.save(Path(folder) / "result.npz").read_bytes()


class Exporter:
    """Makes files of a player's runs: at once, or for a page to download.

    Parameters
    ----------
    view
        The frames.
    run_of
        Returns the run of a number, or says which there are.
    picture_now
        Returns what a run has come to so far.
    """

    def __init__(
        self,
        view: FramePlayer,
        run_of: Callable[[int], Run],
        picture_now: Callable[[Run], NDArray[np.uint8] | None],
    ) -> None:
        self._view, self._run_of, self._picture_now = view, run_of, picture_now
        self._job: Job[bytes] | None = None  # the download that was asked for last

    def file(self, kind: str, number: int, seen: NDArray[np.uint8] | None = None) -> bytes:
        """Return a run as a file of this kind; ``seen`` is its picture, where that is known already."""
        run = self._run_of(number)
        if kind == "npz":
            if run.result is None:
                raise ValueError(f"run {number} has no result yet; wait for its end, or stop it")
            return result_bytes(run.result)
        if kind == "png":
            return png(self._frame_seen(number) if seen is None else seen)
        return animation([frame.image for frame in self._view.frames(number)], kind)

    def offer(self, name: str, details: Mapping[str, Any], on_error: Callable[[BaseException], None]) -> None:
        """Make a file and have the page that asks download it; on its own thread, as an animation takes a while."""
        kind = checked_format(details.get("format"))
        if self._job is not None and self._job.state == "running":
            raise ValueError("a download is being made; ask for the next one when it has come")
        number = details.get("run", self._view.run)

        def made(job: Job[bytes]) -> None:
            if job.error is not None or job.result is None:
                on_error(job.error or RuntimeError("the export was stopped"))
            else:
                page = details.get("page", "")
                self._view.offer(f"{name}-run-{number}.{kind}", job.result, MIME_TYPES[kind], page=page)

        # What is on show now, not what is when the thread begins.
        seen = self._frame_seen(number, details.get("step")) if kind == "png" else None
        self._job = Job(once(lambda: self.file(kind, number, seen)), on_end=made)
        self._job.start()

    def _frame_seen(self, number: int, step: int | None = None) -> NDArray[np.uint8]:
        """Return the picture that the page shows of a run; the latest of one that is under way is its last step's."""
        run, step = self._run_of(number), self._view.step if step is None else step
        if step < 0 and run.state == "running":
            latest = self._picture_now(run)
            if latest is not None:
                return latest
        return self._view.seen(number, step).image
