"""The frames that a player keeps of its runs: spread evenly over the steps, and no more than a page can hold."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.render.encode import jpeg, png

FRAMES_A_RUN = 64
"""About so many frames are kept of a run, its first and last one aside."""

PAGE_BYTES = 2_400_000
"""What the frames of all runs may take on the page and in a saved notebook, where a third is added (base64)."""

EXACT_BYTES = 128_000_000
"""What the exact pictures of all runs of a player may take in memory."""

FRAME_BYTES = 90
"""What a frame's step, size and place take beside its picture, and each of its values."""

SHOWN_SIDE = 768
"""Larger pictures are made smaller for the page, which shows none larger."""

FRAME_LIMIT = 66_000
"""A frame of more bytes is made smaller for the page: thirty less sharp ones tell more of a run than five."""

SMALLEST_SIDE = 8
"""Pictures are made no smaller than that for want of room: less tells nothing."""

LOSSLESS_PIXELS = 4096
"""Pictures of so few pixels are shown enlarged, where the marks of a JPEG would be seen."""


@dataclass(frozen=True)
class Frame:
    """A picture that was kept.

    Attributes
    ----------
    step : int
    image : uint8 array [H, W, 3]
        The exact picture; it can't be written to.
    values : mapping from name to number
        What was measured at that step.
    """

    step: int
    image: NDArray[np.uint8] = field(repr=False)
    values: Mapping[str, float]
    encode: Callable[[NDArray[np.uint8]], bytes] = field(repr=False, compare=False)

    @cached_property
    def encoded(self) -> bytes:
        """The picture as the page has it, PNG or JPEG: not made before it is asked for, as it costs time."""
        return self.encode(self.image)

    @property
    def is_encoded(self) -> bool:
        """Whether that is done."""
        return "encoded" in self.__dict__

    @property
    def page_bytes(self) -> int:
        """What it takes on the page, as far as that is known by now."""
        picture = len(self.encoded) if self.is_encoded else 0
        return picture + FRAME_BYTES * (1 + len(self.values))


def encode(image: NDArray[np.uint8], longest: int = SHOWN_SIDE) -> bytes:
    """Encode a picture for the page: small ones without loss, the longer side of large ones shortened."""
    shown = shrunk(image, longest)
    lossless = shown.shape[0] * shown.shape[1] <= LOSSLESS_PIXELS
    return png(shown, effort=3) if lossless else jpeg(shown)


def shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """Return a picture whose longer side is no longer than that."""
    height, width = image.shape[:2]
    share = longest / max(height, width)
    if share >= 1:
        return image
    size = (max(round(width * share), 1), max(round(height * share), 1))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


class Run:
    """One run and its kept frames.

    Parameters
    ----------
    number : int
    total : int, optional
        The step at which it will end.
    first : int
        The steps done before it.
    parent : int, optional
        The run it was branched from, at step ``first``.
    text : str
        What it is.
    """

    def __init__(self, number: int, *, total: int | None, first: int, parent: int | None, text: str) -> None:
        self.number, self.total, self.first, self.parent, self.text = number, total, first, parent, text
        self.state, self.ended = "running", ""
        self.latest = first
        self.stride = 1 if total is None else max(1, math.ceil((total - first) / FRAMES_A_RUN))
        self.frames: dict[int, Frame] = {}
        self._side = SHOWN_SIDE

    def frame(
        self, step: int, image: NDArray[np.uint8], values: Mapping[str, float], *, sharp: bool = False
    ) -> Frame:
        """Return a frame of a picture that nobody else changes; a sharp one is as large as the page shows it."""
        image.setflags(write=False)
        return Frame(step, image, dict(values), encode if sharp else self._encode)

    def _encode(self, image: NDArray[np.uint8]) -> bytes:
        encoded = encode(image, self._side)
        if len(encoded) > FRAME_LIMIT:
            # Those that come next are alike, so that they need not be encoded twice.
            carried = min(self._side, max(image.shape[:2]))
            self._side = max(1, int(0.95 * carried * math.sqrt(FRAME_LIMIT / len(encoded))))
            encoded = encode(image, self._side)
        return encoded

    def wants(self, step: int) -> bool:
        """Whether the picture of a step is to be kept."""
        return not self.frames or self._is_due(step) or step == self.total

    def steps_to_kept(self, step: int) -> int:
        """Return how many steps after one the next is kept."""
        due = self.stride - (step - self.first) % self.stride
        return due if self.total is None else min(due, self.total - step)

    def _is_due(self, step: int) -> bool:
        return (step - self.first) % self.stride == 0

    def keep(self, frame: Frame) -> None:
        """Keep a frame; the last one before it goes if it was kept for being the last only."""
        last = next(reversed(self.frames), None)
        # The first stays, and one of the same step is replaced.
        if last is not None and (last == frame.step or (len(self.frames) > 1 and not self._is_due(last))):
            del self.frames[last]
        self.frames[frame.step] = frame
        self.latest = max(self.latest, frame.step)
        if len(self.frames) > FRAMES_A_RUN + 2:
            self.thin()

    def thin(self) -> bool:
        """Drop every second frame, never the first nor the last; return whether any was there to drop."""
        before = len(self.frames)
        while before > 2 and len(self.frames) == before:
            self.stride *= 2
            ends = (next(iter(self.frames)), next(reversed(self.frames)))
            self.frames = {
                step: frame for step, frame in self.frames.items() if step in ends or self._is_due(step)
            }
        return len(self.frames) < before

    def drop_all_but_last(self) -> None:
        """Drop all frames but the last one."""
        while len(self.frames) > 1:
            del self.frames[next(iter(self.frames))]

    @property
    def page_bytes(self) -> int:
        """What its frames take on the page."""
        return sum(frame.page_bytes for frame in self.frames.values())

    @property
    def exact_bytes(self) -> int:
        """What its exact pictures take in memory."""
        return sum(frame.image.nbytes for frame in self.frames.values())

    def info(self) -> dict[str, Any]:
        """Return what the page is told of it, its frames aside."""
        names = ("number", "total", "first", "parent", "text", "state", "ended", "latest")
        return {name: getattr(self, name) for name in names}

    def nearest(self, step: int) -> Frame | None:
        """Return the kept frame nearest to a step, the earlier one of two; the last one for -1."""
        if not self.frames:
            return None
        last = next(reversed(self.frames))
        return self.frames[last if step < 0 else min(self.frames, key=lambda each: abs(each - step))]


class KeptFrames:
    """The runs of a player, by number, with as many of their frames as the budgets allow.

    Parameters
    ----------
    page_bytes : int
        What all of them may take on the page.
    exact_bytes : int
        What their exact pictures may take in memory.
    """

    def __init__(self, page_bytes: int = PAGE_BYTES, exact_bytes: int = EXACT_BYTES) -> None:
        self._page_bytes, self._exact_bytes = page_bytes, exact_bytes
        self._runs: dict[int, Run] = {}
        self._numbers = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __contains__(self, number: object) -> bool:
        return number in self._runs

    def __getitem__(self, number: int) -> Run:
        if number not in self._runs:
            known = ", ".join(map(str, self._runs)) or "none"
            raise LookupError(f"there is no run {number!r}; the runs are: {known}")
        return self._runs[number]

    def begin(self, *, total: int | None, first: int, parent: int | None, text: str) -> Run:
        """Add a run; the parent's picture, where it was kept, is its first."""
        origin = None if parent is None else self[parent].frames.get(first)
        self._numbers += 1
        run = Run(self._numbers, total=total, first=first, parent=parent, text=text)
        self._runs[run.number] = run
        if origin is not None:
            run.keep(origin)
        return run

    def forget(self, number: int) -> None:
        """Drop a run with its frames."""
        self[number]
        del self._runs[number]

    def keep(self, run: Run, frame: Frame) -> dict[int, list[int]]:
        """Keep a frame; return, for each run whose frames are others now, which steps are kept."""
        run.keep(frame)
        changed = {run.number}
        while self._over(self._exact_bytes, "exact_bytes"):
            thinned = self._thin_largest("exact_bytes") or self._drop_oldest("exact_bytes")
            changed |= thinned
            if not thinned:
                break
        return self._steps(changed | self._fit())

    def encode_all(self) -> dict[int, list[int]]:
        """Encode what is not yet, within the budget of the page; return, as `keep` does, what is dropped for it."""
        changed: set[int] = set()
        for run in self:
            for frame in list(run.frames.values()):
                if run.frames.get(frame.step) is frame and not frame.is_encoded:
                    _ = frame.encoded
                    changed |= self._fit()
        return self._steps(changed | self._fit())

    def _fit(self) -> set[int]:
        """Drop frames, or make them smaller, until they fit on the page; return the numbers of their runs."""
        changed: set[int] = set()
        while self._over(self._page_bytes, "page_bytes"):
            fewer = (
                self._thin_largest("page_bytes") or self._shrink_largest() or self._drop_oldest("page_bytes")
            )
            changed |= fewer
            if not fewer:  # One picture a run is the least.
                break
        return changed

    def _steps(self, numbers: set[int]) -> dict[int, list[int]]:
        return {number: list(self._runs[number].frames) for number in numbers}

    def _over(self, budget: int, what: str) -> bool:
        return sum(int(getattr(run, what)) for run in self) > budget

    def _thin_largest(self, what: str) -> set[int]:
        """Thin out the run that takes most, so that all come to the same share; return its number."""
        for run in sorted(self, key=lambda run: int(getattr(run, what)), reverse=True):
            if run.thin():
                return {run.number}
        return set()

    def _drop_oldest(self, what: str) -> set[int]:
        """Drop all but the last frame of the oldest run that has more; return its number."""
        for run in self:
            if len(run.frames) > 1:
                run.drop_all_but_last()
                return {run.number}
        return set()

    def _shrink_largest(self) -> set[int]:
        """Halve the size that the largest picture has on the page; return its run's number, if it helps."""
        run, frame = max(
            ((run, frame) for run in self for frame in run.frames.values()),
            key=lambda pair: pair[1].page_bytes,
        )
        longest = max(_size(frame.encoded)) // 2
        if longest < SMALLEST_SIDE:
            return set()
        smaller = Frame(frame.step, frame.image, frame.values, partial(encode, longest=longest))
        if len(smaller.encoded) >= len(frame.encoded):
            return set()
        run.frames[frame.step] = smaller
        return {run.number}


def _size(encoded: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(encoded)) as picture:
        return picture.height, picture.width
