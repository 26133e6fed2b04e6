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


def test_what_is_refused_stays_to_be_mended_and_is_said_beside_the_field() -> None:
    def pick(what: int | str) -> None:
        if isinstance(what, str):
            raise ValueError(f"<b>no {what}</b>")
        picker.show(what)

    picker = ClassPicker(["cat", "dog", "fox"], pick)
    picker.show(0)
    picker.value = "dig"
    assert picker.value == "dig"
    assert "&lt;b&gt;no dig&lt;/b&gt;. It is still &#x27;cat&#x27;." in picker.said.value
    assert picker.said.layout.display is None
    assert "cnnviz-wrong" in picker._dom_classes
    picker.show(0)  # as other fields are changed
    assert picker.value == "dig"
    for mended, shown in (("dog", "dog"), ("cow", "cow"), ("dog", "dog")):
        picker.value = mended
        assert picker.value == shown
        assert (
            (picker.said.layout.display == "none")
            == (mended == "dog")
            == ("cnnviz-wrong" not in picker._dom_classes)
        )
    picker.value = "cow"
    picker.show(2)
    assert (picker.value, picker.said.value) == ("fox", "")


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
