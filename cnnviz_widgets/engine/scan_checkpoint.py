"""What a scan has found so far, in a file from which it can go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cnnviz_widgets.engine.collector import Collector
from cnnviz_widgets.engine.errors import CheckpointError
from cnnviz_widgets.engine.image_reader import Progress
from cnnviz_widgets.engine.image_stamps import Stamps
from cnnviz_widgets.engine.mapped_arrays import mapped_arrays
from cnnviz_widgets.engine.scan_identity import difference
from cnnviz_widgets.engine.whole_file import whole_file

_FORMAT = "cnnviz_widgets scan 3"
# Written as rarely as that, and so that writing takes a twentieth of the time at most; but soon for the first time.
_SECONDS, _TIMES_WRITING = 20.0, 20.0
_FIRST_SECONDS = 2.0


class ScanCheckpoint:
    """A file with the state of a scan: an NPZ with a JSON header, no pickle. It is replaced as a whole.

    Parameters
    ----------
    path
        The file; there need not be one yet.
    identity
        What must be the same when the scan goes on: see `scan_identity`.
    stamps
        By what images are seen to have changed (see `image_stamps`), where anything is known. Only those that are
        done must be the same: a damaged file can be mended before the scan goes on to it.
    where
        How an error names the image of an index.

    Raises
    ------
    CheckpointError
        There is no such folder, or the path is a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        identity: Mapping[str, Any],
        stamps: Stamps | None = None,
        where: Callable[[int], str] = "image {}".format,
    ) -> None:
        self.path = Path(path)
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise CheckpointError(f"checkpoint= is a file in a folder that exists, got {str(self.path)!r}")
        self._identity = json.loads(json.dumps(dict(identity)))  # as it is read back
        self._stamps, self._where = stamps, where
        self._written = time.monotonic()
        self._interval = min(_FIRST_SECONDS, _SECONDS)

    def load(self, collectors: Sequence[Collector]) -> Progress:
        """Give the collectors their state and return what is done; nothing, if there is no file.

        Raises
        ------
        CheckpointError
            Not such a file, or that of another network, data set, or of other layers or options.
        """
        if not self.path.exists():
            return Progress()
        try:
            header, states, stamps = self._read()
            progress = Progress(
                [(int(start), int(stop)) for start, stop in header["spans"]],
                int(header["skipped"]),
                [(int(index), str(reason)) for index, reason in header["reasons"]],
                header["finished"] is True,
            )
            identity = dict(header["identity"])
            changed = self._changed(stamps, progress)
        except Exception as error:  # whatever zip, NumPy and JSON make of a damaged file
            raise CheckpointError(f"{self.path} holds no scan, or was cut short: {error}") from error
        found = difference(identity, self._identity, changed)
        if found:
            raise CheckpointError(
                f"{self.path} is the checkpoint of another scan: {found}; give another path, or remove the file"
            )
        for each, state in zip(collectors, states, strict=True):
            each.restore(state)
        return progress

    def _changed(self, before: Stamps | None, progress: Progress) -> str | None:
        """Return which of the images that are done are others now, in words."""
        now = self._stamps
        # Of the same images in another form (a list of what was an array), as much is compared as both tell.
        if before is None or now is None or len(before) != len(now):
            return None
        changed = [
            start + int(place)
            for start, stop in progress.spans
            for place in np.flatnonzero(before[start:stop] != now[start:stop])
        ]
        if not changed:
            return None
        more = f" and {len(changed) - 1} more were" if len(changed) > 1 else " was"
        return f"another data set ({self._where(changed[0])}{more} changed since)"

    def _read(self) -> tuple[dict[str, Any], list[dict[str, Any]], Stamps | None]:
        # Mapped: a table may be larger than the memory.
        arrays = mapped_arrays(self.path)
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != _FORMAT:
            raise ValueError(f"its format is {header['format']!r:.80}, not {_FORMAT!r}")
        states = [
            {name: arrays[place] for name, place in collector.items()} for collector in header["collectors"]
        ]
        return header, states, arrays.get("stamps")

    def keep(self, progress: Progress, collectors: Sequence[Collector]) -> None:
        """Write the file if it is time to."""
        if time.monotonic() - self._written >= self._interval:
            self.write(progress, collectors)

    def write(self, progress: Progress, collectors: Sequence[Collector]) -> None:
        """Write the file."""
        start = time.monotonic()
        arrays: dict[str, Any] = {}
        names: list[dict[str, str]] = []
        for each in collectors:
            state = each.arrays()
            places = {name: f"array{len(arrays) + index}" for index, name in enumerate(state)}
            arrays |= {place: state[name] for name, place in places.items()}
            names.append(places)
        header = {
            "format": _FORMAT,
            "identity": self._identity,
            "collectors": names,
            **asdict(progress),
        }
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        if self._stamps is not None:
            arrays["stamps"] = self._stamps
        with whole_file(self.path) as file:
            np.savez(file, **arrays)
        self._written = time.monotonic()
        self._interval = max(_SECONDS, _TIMES_WRITING * (self._written - start))
