"""The frames that a player keeps of all its runs: no more than a page can hold, shared evenly by the runs."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial

from PIL import Image

from cnnviz_widgets.views._frames import Frame, Run, encode

PAGE_BYTES = 2_400_000
"""What the frames of all runs may take on the page and in a saved notebook, where a third is added (base64)."""

EXACT_BYTES = 128_000_000
"""What the exact pictures of all runs of a player may take in memory."""

SMALLEST_SIDE = 8
"""Pictures are made no smaller than that for want of room: less tells nothing."""


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
