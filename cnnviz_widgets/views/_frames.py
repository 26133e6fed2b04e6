"""One run of a player and the frames kept of it: spread evenly over its steps, exact here, encoded for the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.render.encode import jpeg, png

FRAMES_A_RUN = 64
"""About so many frames are kept of a run, its first and last one aside."""

FRAME_BYTES = 90
"""What a frame's step, size and place take beside its picture, and each of its values."""

SHOWN_SIDE = 768
"""Larger pictures are made smaller for the page, which shows none larger."""

FRAME_LIMIT = 66_000
"""A frame of more bytes is made smaller for the page: thirty less sharp ones tell more of a run than five."""

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

    def has_kept(self, frame: Frame) -> bool:
        """Whether a frame is kept, and not another of its step."""
        return self.frames.get(frame.step) is frame

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
