"""Points of a map that may move while one looks: what all maps share."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.views._map_data import check_points


class MovingPoints(ipywidgets.Widget):  # type: ignore[misc, unused-ignore]
    """Where the points of a map are. `_serial` counts the changes; the page answers with the last it drew."""

    _points = traitlets.Bytes(b"").tag(sync=True)
    _serial = traitlets.Int(0).tag(sync=True)
    _drawn = traitlets.Int(-1).tag(sync=True)
    height = traitlets.Int(460, min=120, max=4000).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._moving = threading.RLock()
        self._waiting: bytes | None = None
        super().__init__(**traits)

    def set_points(self, points: ArrayLike, *, live: bool = False) -> None:
        """Move the points; colors, thumbnails and selection stay. Only the points are sent, 8 bytes each.

        Parameters
        ----------
        points : array [N, 2]
            As many as there are, in the same order.
        live : bool
            For a frame of many: where the page has not drawn the last one yet, this one waits until it has,
            or gives way to a newer one. End with a call that is not live, which is sent in any case.
        """
        data = check_points(points, self.count).astype("<f4").tobytes()
        with self._moving:
            if live and self._drawn != self._serial:
                self._waiting = data
                return
            self._send_points(data)

    def _send_points(self, data: bytes) -> None:
        self._waiting = None
        with self.hold_sync():
            self._points = data
            self._serial += 1

    @traitlets.observe("_drawn")
    def _send_waiting(self, change: Any) -> None:
        with self._moving:
            if self._waiting is not None and self._drawn == self._serial:
                self._send_points(self._waiting)

    @property
    def count(self) -> int:
        """The number of points."""
        return len(self._points) // 8

    @property
    def points(self) -> NDArray[np.float32]:
        """Where the points are, float32 [N, 2]: a copy."""
        with self._moving:
            newest = self._points if self._waiting is None else self._waiting
        return np.frombuffer(newest, "<f4").reshape(-1, 2).astype(np.float32)
