"""What a player tells its page: which runs there are, and their frames, kept or live."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.views._frames import Frame, Run
from cnnviz_widgets.views._text import printable

LIVE_SIDE = 640
"""Larger live frames are halved, or more: encoded, they would take much of the worker's time."""

NAME_LENGTH = 100
GAP = 8  # pixels between two pictures of the still


def known(runs: Sequence[Run]) -> dict[str, Any]:
    """Tell what becomes of runs."""
    return {"kind": "runs", "runs": [run.info() for run in runs]}


def kept(run: Run, frame: Frame, steps: Mapping[int, list[int]], rate: float | None) -> dict[str, Any]:
    """Tell of a frame that goes with this; ``steps`` are those still kept of each run that was thinned out."""
    return {
        "kind": "kept",
        "run": run.info(),
        "rate": rate,
        "steps": _by_run(steps),
        "frame": {"run": run.number, **_label(frame)},
    }


def live(
    run: Run,
    frames: Sequence[Frame],
    kept: Sequence[tuple[Run, Frame]],
    steps: Mapping[int, list[int]],
) -> tuple[dict[str, Any], list[bytes]]:
    """Tell how far a run is, with its latest pictures as they are, but for very large ones, and with what is kept.

    The files of ``kept`` come first; ``steps`` are those that are kept now of each run of which others are.
    """
    carried = [_reduced(frame.image) for frame in frames]
    content = {
        "kind": "live",
        "run": run.info(),
        "live": [
            _label(frame) | {"carried": _size(small), "kept": run.has_kept(frame)}
            for frame, small in zip(frames, carried, strict=True)
        ],
        "frames": [{"run": of.number, **_label(frame)} for of, frame in kept],
        "steps": _by_run(steps),
    }
    return content, [*(frame.encoded for _, frame in kept), *(small.tobytes() for small in carried)]


def everything(page: str, runs: Sequence[Run], have: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Tell a page of all runs, and send it the frames that it lacks; ``have`` are the steps it has of each."""
    lacking = [
        (run, frame)
        for run in runs
        for frame in run.frames.values()
        if frame.step not in have.get(str(run.number), ())
    ]
    content = {
        "kind": "all",
        "page": page,
        "runs": [run.info() for run in runs],
        "steps": {str(run.number): list(run.frames) for run in runs},
        "frames": [{"run": run.number, **_label(frame)} for run, frame in lacking],
    }
    return content, [frame.encoded for _, frame in lacking]


def saved(runs: Sequence[Run]) -> dict[str, Any]:
    """Return what a saved notebook holds: the runs, and all their frames one after another."""
    return {
        "runs": [
            run.info()
            | {"frames": [_label(frame) | {"bytes": len(frame.encoded)} for frame in run.frames.values()]}
            for run in runs
        ],
        "data": b"".join(frame.encoded for run in runs for frame in run.frames.values()),
    }


def side_by_side(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return one picture of several, on white."""
    height = max(image.shape[0] for image in images)
    parts: list[NDArray[np.uint8]] = []
    for image in images:
        if parts:
            parts.append(np.full((height, GAP, 3), 255, np.uint8))
        padding = ((0, height - image.shape[0]), (0, 0), (0, 0))
        parts.append(np.pad(image, padding, constant_values=255))
    return np.concatenate(parts, axis=1)


def _by_run(steps: Mapping[int, list[int]]) -> dict[str, list[int]]:
    return {str(number): each for number, each in steps.items()}


def _label(frame: Frame) -> dict[str, Any]:
    return {"step": frame.step, "size": _size(frame.image), "values": _plain(frame.values)}


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON holds them, to six digits; it has neither NaN nor infinities."""
    return {
        printable(name)[:NAME_LENGTH]: float(f"{value:.6g}") if math.isfinite(value) else None
        for name, value in values.items()
    }


def _size(image: NDArray[np.uint8]) -> list[int]:
    """Return width and height."""
    return [image.shape[1], image.shape[0]]


def weight(frame: Frame) -> int:
    """Return how many bytes a live frame takes in a message."""
    factor = _reduction(frame.image)
    width, height = _size(frame.image)
    return 3 * math.ceil(width / factor) * math.ceil(height / factor)


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    factor = _reduction(image)
    return image if factor == 1 else np.asarray(Image.fromarray(image).reduce(factor))


def _reduction(image: NDArray[np.uint8]) -> int:
    return math.ceil(max(_size(image)) / LIVE_SIDE)
