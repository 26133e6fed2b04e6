"""What an attack is to reach, and what it has come to: the original, the difference, what the network says of both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.attacks import checked_plan, levels_of, pixels_of
from cnnviz_widgets.engine.class_odds import class_probabilities
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.norm_balls import network_numbers
from cnnviz_widgets.render.mosaic import signed_colors
from cnnviz_widgets.views._text import as_html, format_number, format_share
from cnnviz_widgets.views.charts import ProbabilityBars
from cnnviz_widgets.widgets._class_picker import ClassPicker, class_names
from cnnviz_widgets.widgets._controls import PLAIN, Filling
from cnnviz_widgets.widgets._player_controls import Control
from cnnviz_widgets.widgets._player_parts import Still, side_by_side

BARS = 5
_ANY, _ONE = "anything else", "this class"
_LEVELS = 255
_TOO_LITTLE = "No number changed by half of 1/255 yet, which would be seen in 8 bits."


class GoalPicker(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """A switch between any other class and one that is chosen by its name.

    Parameters
    ----------
    names
        One for each class.
    on_pick
        Called with the index of a class, a text that is no name, or ``None`` for any class; may raise.
    on_error
        Called with what it raised.
    """

    def __init__(
        self,
        names: list[str],
        on_pick: Callable[[int | str | None], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._on_pick, self._on_error = on_pick, on_error
        self._filling, self._shown, self._last = Filling(threading.RLock()), None, 0
        self.kind = ipywidgets.ToggleButtons(
            options=[_ANY, _ONE],
            description="Make it",
            tooltips=["Any class but the present answer", "The class that is named beside"],
            style={"button_width": "auto", **PLAIN},
            layout={"width": "auto"},
        )
        self.classes = ClassPicker(names, self._pick_class)
        super().__init__([self.kind, self.classes, self.classes.said], layout={"min_width": "0"})
        self.kind.observe(self._on_kind, "value")

    _shown: int | None

    def suggest(self, index: int) -> None:
        """Take this class when one is asked for, until another is chosen."""
        self._last = index

    def show(self, goal: int | None) -> None:
        """Show which class is to be reached, if one is."""
        with self._filling:
            self._shown = goal
            self._last = self._last if goal is None else goal
            self.kind.value = _ANY if goal is None else _ONE
            self.classes.show(goal)
            self.classes.layout.display = "none" if goal is None else None

    def _on_kind(self, change: Any) -> None:
        self._pick(None if change["new"] == _ANY else self._last)

    def _pick_class(self, goal: int | str) -> None:
        if not self._filling:
            self._on_pick(goal)

    def _pick(self, goal: int | None) -> None:
        if self._filling:
            return
        try:
            self._on_pick(goal)
        except (TypeError, ValueError, LookupError) as error:
            self._on_error(error)
            self.show(self._shown)


class AttackReport(ipywidgets.VBox):  # type: ignore[misc, unused-ignore]
    """The original and the amplified difference, whether the network is fooled, and its probabilities as bars.

    Parameters
    ----------
    net
        The network.
    classes
        How many classes there are.
    """

    def __init__(self, net: Network, classes: int) -> None:
        self.names = class_names(net, classes)
        self.original, self.difference = Still(), Still()
        self.verdict = ipywidgets.HTML()
        self.bars = ProbabilityBars()
        super().__init__(
            [side_by_side([self.original, self.difference]), self.verdict, self.bars],
            layout={"min_width": "0"},
        )

    def show_original(self, picture: NDArray[np.uint8], odds: NDArray[np.float32], goal: int | None) -> None:
        """Show a picture that is not attacked yet."""
        before = int(odds.argmax())
        self.original.show(picture, "the original")
        self.difference.show(None, "")
        self.verdict.value = f"<p>{as_html(self._answer('It is', odds, before))}.</p>"
        self._show_bars(odds, before, goal)

    def show(
        self,
        original: NDArray[np.uint8],
        changed: NDArray[np.uint8],
        odds: tuple[NDArray[np.float32], NDArray[np.float32]],
        goal: int | None,
        said: str = "",
    ) -> None:
        """Show a changed picture beside the original; ``odds`` are those of both, ``said`` is said of its end."""
        before, now = (int(each.argmax()) for each in odds)
        largest = int(np.abs(changed.astype(np.int16) - original).max(initial=0))
        times = f" \u00d7 {127.5 / largest:.0f}" if 0 < largest < 64 else ""
        self.original.show(original, "the original")
        self.difference.show(difference_of(original, changed), f"the difference{times}")
        is_fooled = now != before if goal is None else now == goal
        text = said or (
            f"{self._answer('Before', odds[0], before)}; {self._answer('now', odds[1], now)}. "
            + (f"No number changed by more than {largest}/255." if largest else _TOO_LITTLE)
        )
        verdict = "Success" if is_fooled else "No success" if said else "No success yet"
        self.verdict.value = f"<p><b>{verdict}</b>, with this picture in 8 bits. {as_html(text)}</p>"
        self._show_bars(odds[1], before, goal)

    def _answer(self, when: str, odds: NDArray[np.float32], index: int) -> str:
        return f"{when} {self.names[index]!r} ({format_share(float(odds[index]))})"

    def _show_bars(self, odds: NDArray[np.float32], before: int, goal: int | None) -> None:
        """Show the class to leave, the one to reach, and the most probable others."""
        told = [before] if goal is None or goal == before else [before, goal]
        others = [int(index) for index in np.argsort(-odds, kind="stable") if index not in told]
        rows = (told + others)[: max(BARS, len(told))]
        marks = {before: "leave: ", **({} if goal is None else {goal: "reach: "})}
        names = [marks.get(index, "") + self.names[index] for index in rows]
        self.bars.set_values(names, np.clip(odds[rows], 0, 1).tolist())


def difference_of(original: NDArray[np.uint8], changed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what has changed as a picture: gray where nothing has, the largest change at the end of the scale."""
    change = changed.astype(np.int16) - original
    return signed_colors(change, np.abs(change).max(initial=0))


def original_of(net: Network, image: Any) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return an image as the network sees it, in 8 bits, and the probabilities of all classes."""
    return _judged(net, levels_of(net, image))


def odds_of(net: Network, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the probabilities of all classes for a picture in 8 bits, of the network's size, as it is."""
    return _judged(net, levels_of(net, picture, keep_size=True))[1]


def _judged(net: Network, levels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    x = network_numbers(net, pixels_of(net, levels))
    return pictures_of(net, x)[0], class_probabilities(net, x)[0].float().cpu().numpy()


def epsilon_slider(norm: Callable[[], str]) -> Control:
    """Return a slider for epsilon: in levels of 255 for the largest change, else as long as the change may be.

    ``norm`` tells which norm is chosen.
    """
    field = ipywidgets.FloatSlider(
        readout_format=".3g",
        continuous_update=False,
        style=PLAIN,
    )

    def unit() -> int:
        return _LEVELS if norm() == "inf" else 1

    def show(value: Any) -> None:
        is_levels = unit() == _LEVELS
        epsilon = checked_plan("pgd", value, norm()).ball.epsilon * unit()
        field.description = "Epsilon (of 255)" if is_levels else "Epsilon (length)"
        field.tooltip = "How large the change may be" + (
            f": {format_number(epsilon)} of 255" if is_levels else ""
        )
        with field.hold_sync():
            field.step = 1.0 if is_levels else 0.1
            field.max = max(32.0 if is_levels else 8.0, epsilon)
            field.value = epsilon

    return Control("epsilon", field, show, lambda number: float(number) / unit())
