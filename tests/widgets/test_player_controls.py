"""The fields of a player: each kind shows an option's value, and reads what a person makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from cnnviz_widgets.widgets._layer_choices import LayerChoice
from cnnviz_widgets.widgets._player_controls import (
    Control,
    check,
    choice,
    layer_field,
    number_field,
    pair_field,
    slider,
)


@pytest.mark.parametrize(
    ("control", "shown", "picked"),
    [
        (number_field("a", "A", "", default="its own"), [(None, ""), (0.05, "0.05")], [("", None), ("1e-3", 1e-3)]),
        (pair_field("a", "A", "", default="all"), [(None, ""), ((3, 4), "3, 4")], [("5", 5), ("5x6", (5, 6))]),
        (slider("a", "A", "", 0, 1, 0.1), [(0.5, 0.5), (7.0, 7.0)], [(0.2, 0.2)]),
        (check("a", "A", ""), [(True, True)], [(False, False)]),
        (
            choice("a", "A", "", [("x", None), ("y", "why")]),
            [("why", 1), (None, 0), ("given", 2)],
            [(1, "why"), (2, "given")],
        ),
        (
            layer_field("a", "A", "", [LayerChoice("conv", (1, 2, 2)), LayerChoice(("relu", 1), (1, 2, 2))]),
            [(("conv", 0), 0), (("relu", 1), 1)],
            [(0, "conv"), (1, ("relu", 1))],
        ),
    ],
)  # fmt: skip
def test_each_kind_of_field_shows_an_option_and_reads_it(control: Control, shown: Any, picked: Any) -> None:
    read: list[Any] = []
    control.on_pick(lambda name, value: read.append((name, value())))
    for value, expected in shown:
        control.show(value)
        assert control.widget.value == expected
    assert read == []  # to show is no pick
    for typed, expected in picked:
        control.widget.value = typed
        assert control.read(control.widget.value) == expected
    assert read[-1] == ("a", picked[-1][1])
