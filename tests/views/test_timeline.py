"""The timeline's Python half: which record is meant, and what is refused."""

from __future__ import annotations

import pytest
import traitlets

from cnnviz_widgets.views.timeline import Timeline


@pytest.mark.parametrize(("value", "index"), [(-1, 2), (0, 0), (20, 0), (21, 1), (70, 1), (71, 2), (9999, 2)])
def test_the_record_nearest_to_the_value_is_meant(value: int, index: int) -> None:
    timeline = Timeline()
    timeline.set_steps([0, 41, 100])
    timeline.value = value
    assert timeline.index == index


def test_new_steps_leave_the_value_alone() -> None:
    timeline = Timeline()
    assert timeline.index is None
    timeline.set_steps([0, 10], ["a\nb", "<b>"])
    assert timeline._texts == ["a b", "<b>"]
    timeline.value = 10
    timeline.set_steps([0, 10, 20])
    assert (timeline.value, timeline.index, timeline.steps) == (10, 1, [0, 10, 20])


@pytest.mark.parametrize("steps", [[3, 2], [1, 1], [-1], [0.5], ["a"]])
def test_steps_that_do_not_ascend_are_refused(steps: list[object]) -> None:
    timeline = Timeline()
    with pytest.raises(ValueError, match=r"steps must ascend|one whole number"):
        timeline.set_steps(steps)
    assert timeline.steps == []


def test_texts_must_match_and_values_be_steps() -> None:
    timeline = Timeline()
    with pytest.raises(ValueError, match="one text a record, 2; got 1"):
        timeline.set_steps([0, 1], ["a"])
    with pytest.raises(traitlets.TraitError):
        timeline.value = -2


def test_viewers_without_widgets_read_where_it_stands() -> None:
    timeline = Timeline()
    assert timeline._repr_mimebundle_()[0]["text/plain"] == "Timeline: nothing recorded yet"
    timeline.set_steps([0, 5])
    assert timeline._repr_mimebundle_()[0]["text/plain"] == "Timeline: step 5, record 2 of 2"


def test_the_page_tells_when_it_has_painted_and_when_nobody_sees_it() -> None:
    timeline = Timeline()
    told: list[object] = []
    timeline.on_page(lambda: told.append("painted"), lambda hidden: told.append(hidden))

    def page(**content: object) -> None:
        timeline._handle_custom_msg(content, [])

    timeline.set_steps([0])
    timeline.set_steps([0, 5])
    page(view="a", hidden=False, painted=1)  # what came before the last
    assert told == []
    page(view="a", hidden=False, painted=2)
    assert told == ["painted"]
    page(view="b", hidden=False)
    page(view="a", hidden=True)  # the other one is still seen
    assert told == ["painted"]
    page(view="b", hidden=True)
    page(view="b", hidden=False, painted=2)
    assert told == ["painted", True, False, "painted"]
    page(picked=3)
    assert len(told) == 4
