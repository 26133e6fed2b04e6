"""A slider over the recorded steps of a training, with a play button: it moves other views in the page alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anywidget
import traitlets
from numpy.typing import ArrayLike

from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._payload import check_steps, nearest_frame
from cnnviz_widgets.views._text import printable


class Timeline(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See at which of the recorded steps you are, and go to another by slider, by keys or by playing.

    Other views follow in the page, also while the kernel is busy, where they are linked:
    ``ipywidgets.jsdlink((timeline, "value"), (grid, "step"))`` for a tile grid, and ``marker_low`` and
    ``marker_high`` for the marker of a `LineChart`.

    Parameters
    ----------
    label : str
        What stands before the slider.
    playable : bool
        Whether there is a play button.
    interval : int
        Milliseconds that each record is shown when played.

    Attributes
    ----------
    value : int
        The step on show; the record nearest to it is meant. -1 is the latest, also when more are recorded:
        who drags the slider to its end follows a training.
    marker_low, marker_high : float
        Ends of a scale on which 0 lies where the step lies on a chart; set by the page.

    Examples
    --------
    >>> timeline = Timeline()
    >>> timeline.set_steps([0, 20, 40], ["the start", "", "the end"])
    >>> timeline.value = 20
    >>> timeline.index
    1
    """

    _esm = bundle("timeline")

    _steps = traitlets.List(traitlets.Int()).tag(sync=True)
    _texts = traitlets.List(traitlets.Unicode()).tag(sync=True)
    value = traitlets.Int(-1, min=-1).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    playable = traitlets.Bool(True).tag(sync=True)
    interval = traitlets.Int(250, min=20).tag(sync=True)
    _serial = traitlets.Int(0).tag(sync=True)  # counts the changes of the records
    marker_low = traitlets.Float(-0.5).tag(sync=True)
    marker_high = traitlets.Float(0.5).tag(sync=True)

    def __init__(self, *, label: str = "", playable: bool = True, interval: int = 250) -> None:
        super().__init__(label=printable(label), playable=playable, interval=interval)

    def set_steps(self, steps: ArrayLike, texts: Sequence[str] | None = None) -> None:
        """Show other records; ``texts`` has a line on each, which stands below the slider."""
        chosen = check_steps(steps, len(steps)) if len(steps) else []  # type: ignore[arg-type]
        if texts is not None and len(texts) != len(chosen):
            raise ValueError(f"expected one text a record, {len(chosen)}; got {len(texts)}")
        with self.hold_sync():
            self._steps = chosen
            self._texts = [printable(text) for text in texts or ()]
            self._serial += 1

    def on_page(self, painted: Callable[[], None], hidden: Callable[[bool], None]) -> None:
        """Listen to the page: what `set_steps` has sent, and all before it, is painted; nobody sees it.

        Parameters
        ----------
        painted
            Called each time a page has painted what it was sent last.
        hidden
            Called with whether all pages that show this are hidden, when that changes: of a page that is
            closed nothing is heard.
        """
        unseen: dict[str, bool] = {}

        def received(widget: Timeline, content: Any, buffers: Any) -> None:
            if not isinstance(content, dict) or not isinstance(content.get("view"), str):
                return
            before = bool(unseen) and all(unseen.values())
            unseen[content["view"]] = content.get("hidden") is True
            now = all(unseen.values())
            if now is not before:
                hidden(now)
            if content.get("painted") == self._serial:
                painted()

        self.on_msg(received)

    @property
    def steps(self) -> list[int]:
        """The recorded steps."""
        return list(self._steps)

    @property
    def index(self) -> int | None:
        """The index of the record on show; ``None`` where there is none."""
        return nearest_frame(self._steps, self.value) if self._steps else None

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundled = super()._repr_mimebundle_(**options)
        if bundled is not None:
            index = self.index
            text = "nothing recorded yet"
            if index is not None:
                text = f"step {self._steps[index]}, record {index + 1} of {len(self._steps)}"
            bundled[0]["text/plain"] = f"Timeline: {text}"
        return bundled
