"""Go through the channels of a layer: buttons to the previous and the next one, and a field for a number."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import ipywidgets

from cnnviz_widgets.widgets._controls import PLAIN, Filling


class ChannelPicker(ipywidgets.HBox):  # type: ignore[misc, unused-ignore]
    """Two buttons and a number field, which go through the channels that there are.

    Parameters
    ----------
    on_pick
        Called with the channel that a person picks; it then calls `show`. Where it doesn't, the field returns to
        what is on show.
    """

    def __init__(self, on_pick: Callable[[int], None]) -> None:
        self._filling = Filling(threading.RLock())
        self._on_pick = on_pick
        self._there, self._shown = [0], 0
        self.field = ipywidgets.BoundedIntText(description="Channel", style=PLAIN, layout={"width": "150px"})
        self.previous = _button("\u2039 Previous", "Previous channel")
        self.next = _button("Next \u203a", "Next channel")
        self.field.observe(lambda change: self._on_field(change["new"]), "value")
        self.previous.on_click(lambda button: self._move(-1))
        self.next.on_click(lambda button: self._move(1))
        super().__init__(
            [self.previous, self.field, self.next], layout={"flex_flow": "row wrap", "grid_gap": "2px 6px"}
        )

    def show(self, channel: int, channels: Sequence[int]) -> None:
        """Show which channel is chosen, of these; the buttons go through them in their order."""
        with self._filling:
            self._shown, self._there = channel, list(channels)
            field = self.field
            # In this order the value is never out of range, which would change it.
            with field.hold_sync():
                field.min, field.max = -1, max(*channels, field.value)
                field.value = channel
                field.min, field.max = min(channels), max(channels)
            self.previous.disabled, self.next.disabled = channel == channels[0], channel == channels[-1]

    def _on_field(self, channel: int) -> None:
        if self._filling:
            return
        step = channel - self._shown
        if abs(step) == 1:
            # An arrow key: to the next channel that there is, where not all were asked for.
            self._move(step)
        else:
            self._pick(channel)

    def _move(self, step: int) -> None:
        place = self._there.index(self._shown) + step
        self._pick(self._there[min(max(place, 0), len(self._there) - 1)])

    def _pick(self, channel: int) -> None:
        self._on_pick(channel)
        self.show(self._shown, self._there)


def _button(text: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": "auto"})
