"""The fields of a player, each for one option of its method."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np

from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.whole_numbers import whole_number
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.views._text import printable
from cnnviz_widgets.widgets._controls import PLAIN, Filling
from cnnviz_widgets.widgets._layer_choices import LayerChoice

_AS_IS = "as given"
_SHORT = 16  # characters


class Control:
    """A field for one option.

    Attributes
    ----------
    name
        The option.
    widget
        What a person sees.
    read
        Makes the option's value of the field's.
    """

    def __init__(
        self,
        name: str,
        widget: ipywidgets.Widget,
        show: Callable[[Any], None],
        read: Callable[[Any], Any] = lambda value: value,
    ) -> None:
        self.name, self.widget = name, widget
        self._show, self.read = show, read
        self._filling = Filling(threading.RLock())

    def on_pick(self, handler: Callable[[str, Callable[[], Any]], None]) -> None:
        """Call this with the option and what reads its value, which may raise, when a person changes the field."""

        def picked(change: Any) -> None:
            if not self._filling:
                handler(self.name, lambda: self.read(change["new"]))

        self.widget.observe(picked, "value")

    def show(self, value: Any) -> None:
        """Show a value, which is no pick; raises where it is of another kind."""
        try:
            with self._filling:
                self._show(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name} can't be {value!r}: {error}") from error


def fields(children: Sequence[ipywidgets.Widget]) -> ipywidgets.Box:
    """Return fields in columns of the same width, each with its name above it."""
    columns = {
        "grid_template_columns": "repeat(auto-fill, minmax(116px, 1fr))",
        "grid_gap": "6px 12px",
        "align_items": "flex-end",
        "margin": "0 2px 4px",
    }
    box = ipywidgets.Box(children, layout={"display": "grid", "grid_auto_flow": "row dense", **columns})
    box.add_class("cnnviz-fields")
    for child in children:
        if _is_wide(child):
            child.add_class("cnnviz-wide")
    return box


def _is_wide(field: ipywidgets.Widget) -> bool:
    """Return whether a field needs the room of two: to be moved finely, or for its texts."""
    if isinstance(field, ipywidgets.Dropdown):
        return max(len(str(text)) for text, _ in field.options) > _SHORT
    return isinstance(field, ipywidgets.FloatSlider | ipywidgets.SelectionSlider | ipywidgets.SelectMultiple)


def whole_field(name: str, label: str, tooltip: str, *, least: int = 1, most: int = 1_000_000) -> Control:
    """Return a field for a whole number, which reaches as far as one that is set from Python."""
    field = ipywidgets.BoundedIntText(
        least,
        min=least,
        max=most,
        description=label,
        tooltip=tooltip,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        number = whole_number(value)
        if number is None or number < least:
            # The field would show another one.
            raise ValueError(f"it is a whole number from {least}")
        field.max = max(field.max, number)
        field.value = number

    return Control(name, field, show)


def number_field(
    name: str,
    label: str,
    tooltip: str,
    *,
    default: str | None = None,
    whole: bool = False,
) -> Control:
    """Return a field for a number, maybe a whole one; where there is a ``default``, an empty field stands for it."""
    field = ipywidgets.Text(
        placeholder=default or "",
        description=label,
        tooltip=tooltip if default is None else f"{tooltip}; empty for {default}",
        continuous_update=False,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        field.value = "" if value is None else number_text(value)

    def read(text: str) -> Any:
        if not text.strip():
            if default is None:
                raise ValueError(f"{label} needs a number")
            return None
        number = typed_number(label, text)
        if whole and not number.is_integer():
            raise ValueError(f"{label} is a whole number, got {text!r}")
        return int(number) if whole else number

    return Control(name, field, show, read)


def pair_field(name: str, label: str, tooltip: str, *, default: str) -> Control:
    """Return a field for a whole number, or for height and width; an empty field stands for ``default``."""
    field = ipywidgets.Text(
        placeholder=default,
        description=label,
        tooltip=f"{tooltip}: one number, or height and width as in 96, 128; empty for {default}",
        continuous_update=False,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        if value is not None:
            checked_pair(name, value)
        both = value if isinstance(value, tuple | list) else () if value is None else (value,)
        field.value = ", ".join(map(str, both))

    def read(text: str) -> Any:
        parts = text.replace(",", " ").replace("x", " ").split()
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            raise ValueError(f"{label} is one whole number, or height and width as in 96, 128; got {text!r}")
        numbers = tuple(int(part) for part in parts)
        return numbers if len(numbers) == 2 else numbers[0] if numbers else None

    return Control(name, field, show, read)


def slider(name: str, label: str, tooltip: str, low: float, high: float, step: float) -> Control:
    """Return a slider for a number, which reaches as far as a value that is set from Python."""
    field = ipywidgets.FloatSlider(
        low,
        min=low,
        max=high,
        step=step,
        description=label,
        tooltip=tooltip,
        readout_format=".3g",
        continuous_update=False,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        number = float(value)
        with field.hold_sync():
            field.min, field.max = min(field.min, number), max(field.max, number)
            field.value = number

    return Control(name, field, show)


def weight_slider(name: str, label: str, tooltip: str) -> Control:
    """Return a slider for a weight: 0, and from 0.01 to 1000 as many places for each decade."""
    weights = [
        0.0,
        *(digit * 10.0**power for power in range(-2, 3) for digit in (1, 1.5, 2, 3, 5, 7)),
        1000.0,
    ]
    weights = [float(f"{each:.3g}") for each in weights]
    field = ipywidgets.SelectionSlider(
        options=_numbered(weights),
        description=label,
        tooltip=tooltip,
        continuous_update=False,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        number = float(value)
        if number not in weights:
            if not np.isfinite(number):
                raise ValueError("it is no finite number")
            bisect.insort(weights, number)
            with field.hold_sync():
                field.options = _numbered(weights)
        field.value = number

    return Control(name, field, show)


def _numbered(numbers: Sequence[float]) -> list[tuple[str, float]]:
    return [(number_text(each), each) for each in numbers]


def choice(name: str, label: str, tooltip: str, options: Sequence[tuple[str, Any]]) -> Control:
    """Return a list to choose from; a value that is not in it, set from Python, is shown as it is."""
    offered = [value for _, value in options]
    field = ipywidgets.Dropdown(
        options=[(text, index) for index, (text, _) in enumerate(options)],
        description=label,
        tooltip=tooltip,
        style=PLAIN,
    )

    def show(value: Any) -> None:
        is_short = isinstance(value, str | int | float | tuple)
        # Arrays are told apart by what they are: they are equal to nothing.
        places = [
            index for index, each in enumerate(offered) if each is value or (is_short and each == value)
        ]
        if not places:
            offered.append(value)
            text = printable(str(value)) if is_short else f"{_AS_IS} ({len(offered) - len(options)})"
            places = [len(offered) - 1]
            field.options = [*field.options, (text, places[0])]
        field.value = places[0]

    return Control(name, field, show, lambda index: offered[index])


def layer_field(name: str, label: str, tooltip: str, layers: Sequence[LayerChoice]) -> Control:
    """Return a list of layers to choose from."""
    control = choice(name, label, tooltip, [(key_text(each.key), each.key) for each in layers])
    # Of a layer called once, the call may be left out.
    same = {(each.key, 0): each.key for each in layers}
    return Control(name, control.widget, lambda value: control.show(same.get(value, value)), control.read)


def layers_field(
    name: str,
    label: str,
    tooltip: str,
    layers: Sequence[LayerChoice],
    resolved: Callable[[Any], Sequence[LayerKey]],
) -> Control:
    """Return a list to choose several layers from; with none chosen, those that ``resolved`` makes of ``None``."""
    keys = [each.key for each in layers]
    field = ipywidgets.SelectMultiple(
        options=[(key_text(each), each) for each in keys],
        rows=5,
        description=label,
        tooltip=f"{tooltip}; several with Ctrl or Shift",
        style=PLAIN,
    )

    def show(value: Any) -> None:
        same: dict[Any, LayerKey] = {(key, 0): key for key in keys}
        chosen = [same.get(key, key) for key in resolved(value)]
        new = [key for key in chosen if key not in keys]
        if new:
            keys.extend(new)
            field.options = [(key_text(each), each) for each in keys]
        field.value = tuple(key for key in keys if key in chosen)

    return Control(name, field, show, lambda picked: tuple(picked) or None)


def check(name: str, label: str, tooltip: str) -> Control:
    """Return a box to check."""
    field = ipywidgets.Checkbox(
        False, description=label, tooltip=tooltip, indent=False, layout={"width": "auto"}
    )

    def show(value: Any) -> None:
        field.value = bool(value)

    return Control(name, field, show)


def number_text(value: Any) -> str:
    """Return a number as it is typed.

    >>> number_text(0.05), number_text(30.0), number_text(1e-6)
    ('0.05', '30', '1e-06')
    """
    number = float(value)
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def typed_number(label: str, text: str) -> float:
    """Return a number that was typed, or say what was got."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{label} is a number, such as 0.05; got {text!r}") from None
