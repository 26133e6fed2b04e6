"""The frames of a run as a file: a picture, an animation, or the method's result with all its numbers."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.render.encode import png

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


def picture_bytes(picture: NDArray[np.uint8]) -> bytes:
    """Return one frame as a PNG, without loss."""
    return png(picture)
