"""The field in which a class is picked by its name."""

from __future__ import annotations

import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.widgets._class_picker import ClassPicker, class_names
from tests.small_networks import chain


def test_equal_names_are_told_apart_by_their_index() -> None:
    def named(*labels: str) -> list[str]:
        return class_names(cv.Network(chain(), labels=labels), len(labels))

    assert named("crane", "dog", "crane") == ["crane (0)", "dog", "crane (2)"]
    assert named("a", "a", "a (1)") == ["a (0)", "a (1)", "a (1) (2)"]
    assert class_names(cv.Network(chain()), 2) == ["0", "1"]


@pytest.mark.parametrize(("typed", "picked"), [("dog", 1), (" 2 ", 2), ("dig", "dig")])
def test_a_name_an_index_or_a_text_is_picked(typed: str, picked: int | str) -> None:
    found: list[int | str] = []
    picker = ClassPicker(["cat", "dog", "fox"], found.append)
    picker.show(0)
    assert found == []
    picker.value = typed
    assert found == [picked]
    assert picker.value == "cat"  # nobody has shown another one


def test_the_shown_one_and_an_empty_field_pick_nothing() -> None:
    found: list[int | str] = []
    picker = ClassPicker(["cat", "dog"], lambda what: found.append(what) or picker.show(1))
    picker.show(0)
    picker.value = ""
    picker.value = "cat"
    assert found == []
    picker.value = "dog"
    assert (found, picker.value) == ([1], "dog")
    picker.show(None)
    assert picker.value == ""
