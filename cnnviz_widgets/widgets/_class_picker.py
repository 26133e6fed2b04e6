"""Pick one of many classes by typing a part of its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import ipywidgets

from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.views._text import as_html, printable


def class_names(net: Network, classes: int) -> list[str]:
    """Return a name for each class, by which it is told from all others; its index where there are no labels."""
    names = [printable(net.label(index)) for index in range(classes)]
    times = Counter(names)
    told = [name if times[name] == 1 else f"{name} ({index})" for index, name in enumerate(names)]
    # A class may be named like another one's name with its index.
    return told if len(set(told)) == len(told) else [f"{name} ({index})" for index, name in enumerate(names)]


class ClassPicker(ipywidgets.Combobox):  # type: ignore[misc, unused-ignore]
    """A field that offers the classes whose names hold what is typed.

    Parameters
    ----------
    names
        One for each class, all different.
    on_pick
        Called with the index of the class that a person picks, or with the text where there is no such name; it
        then calls `show`. Where it doesn't, the field returns to what is on show. Where it raises, the text stays to
        be mended, the field is marked, and ``said`` tells why.

    Attributes
    ----------
    said
        What is wrong with what was typed; to be put next to the field.
    """

    def __init__(self, names: list[str], on_pick: Callable[[int | str], None]) -> None:
        self._names, self._indices = names, {name: index for index, name in enumerate(names)}
        self._shown, self._on_pick, self._is_refused = "", on_pick, False
        self.said = ipywidgets.HTML(layout={"display": "none"})
        super().__init__(
            options=names,
            description="Class",
            placeholder="type a part of its name",
            continuous_update=False,
            tooltip="Name or index of a class",
            style={"description_width": "initial"},
            layout={"width": "250px"},
        )
        self.observe(lambda change: self._on_text(change["new"].strip()), "value")

    def show(self, index: int | None) -> None:
        """Show which class is chosen, or that none is."""
        shown = "" if index is None else self._names[index]
        # What was typed stays while nothing else is chosen.
        if not self._is_refused or shown != self._shown:
            self._shown = shown
            self.forgive()

    def forgive(self) -> None:
        """Show what is chosen in place of what was refused."""
        self._mark("")
        self.value = self._shown

    def _mark(self, said: str) -> None:
        self._is_refused = bool(said)
        self.said.value = f'<span role="alert">{as_html(said)}</span>' if said else ""
        self.said.layout.display = None if said else "none"
        (self.add_class if said else self.remove_class)("cnnviz-wrong")

    def _on_text(self, text: str) -> None:
        if text == self._shown:
            self._mark("")
        # An empty field is on its way to another name.
        if text in ("", self._shown):
            return
        self._is_refused = False
        try:
            self._on_pick(self._indices.get(text, int(text) if text.isdecimal() else text))
        except (TypeError, ValueError, LookupError) as error:
            told = str(error)
            told += "" if told.endswith((".", "?", "!")) else "."
            self._mark(told + (f" It is still {self._shown!r}." if self._shown else ""))
        else:
            self.forgive()
