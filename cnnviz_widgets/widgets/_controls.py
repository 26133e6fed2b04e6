"""What the widgets' controls share: how lists and rows are made, and telling what is filled in from what is chosen."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import ipywidgets

PLAIN = {"description_width": "initial"}
# Beside each other, or below where there is no room.
ROW = {"flex_flow": "row wrap", "align_items": "center", "grid_gap": "2px 8px"}


class Filling:
    """True while a widget fills in its own controls, which is no choice of a person's.

    Use it as a context to fill in, and ask it in the handlers. A handler on another thread, where a choice arrives
    just then, waits for the end instead of taking the choice for something that was filled in.

    Examples
    --------
    >>> filling = Filling(threading.RLock())
    >>> with filling:
    ...     bool(filling)
    True
    >>> bool(filling)
    False
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._lock, self._depth = lock, 0

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        self._lock.release()

    def __bool__(self) -> bool:
        with self._lock:
            return self._depth > 0


def row(children: Sequence[ipywidgets.Widget]) -> ipywidgets.HBox:
    """Return controls side by side, in several lines where they don't fit into one."""
    return ipywidgets.HBox(children, layout=ROW)


def dropdown(
    label: str, options: Sequence[Any] = (), *, is_shown: bool = True, **layout: str
) -> ipywidgets.Dropdown:
    """Return a list to choose from, with its name beside it; ``layout`` such as ``width="130px"``."""
    shown = {} if is_shown else {"display": "none"}
    return ipywidgets.Dropdown(
        options=options, description=label, style=PLAIN, layout={"width": "auto", **layout, **shown}
    )


def text_field(label: str, placeholder: str, tooltip: str, *, width: str = "225px") -> ipywidgets.Text:
    """Return a field for a few numbers."""
    return ipywidgets.Text(
        placeholder=placeholder,
        description=label,
        tooltip=tooltip,
        continuous_update=False,
        style=PLAIN,
        layout={"width": width},
    )
