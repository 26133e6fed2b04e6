"""The charts' numbers, labels and selection; how they look is for the browser tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from traitlets import TraitError

from cnnviz_widgets.views._chart_data import outline_of_bars, round_ticks, unique_names
from cnnviz_widgets.views.charts import ProbabilityBars, UnitBars

finite = st.floats(-1e6, 1e6, width=32)


@given(arrays.arrays(np.float32, st.integers(1, 40), elements=finite))
def test_the_outline_encloses_the_values(values):
    x, y = outline_of_bars(values)
    # The area under a polyline that begins and ends at zero, by the trapezoid rule in double precision.
    x, y = x.astype(np.float64), y.astype(np.float64)
    area = np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2)
    np.testing.assert_allclose(
        area, 0.84 * values.astype(np.float64).sum(), rtol=1e-4, atol=1e-2 * len(values)
    )
    assert y[0] == y[-1] == 0
    assert np.all(np.diff(x) >= 0)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 50))
def test_ticks_are_round_and_inside(low, width, about):
    high = low + width
    ticks = round_ticks(low, high, about)
    assert len(ticks) <= about + 1
    slack = 1e-6 * max(abs(low), abs(high))
    assert np.all((ticks >= low - slack) & (ticks <= high + slack))
    if len(ticks) > 1 and width > 1e-3 * abs(low):
        step = ticks[1] - ticks[0]
        mantissa = step / 10.0 ** np.floor(np.log10(step * 1.0000001))
        assert min(abs(mantissa - factor) for factor in (1, 2, 5, 10)) < 1e-3
        assert step <= 2.5000001 * width / about or step / 2.5 <= width / about * 1.0000001


def test_ticks_of_one_value():
    assert round_ticks(0, 0, 4).tolist() == [0]
    assert round_ticks(0, 9, 5).tolist() == [0, 2, 4, 6, 8]


@given(st.lists(st.sampled_from(["a", "a (2)", "b", ""]), max_size=8))
def test_names_become_unique_and_stay_where_they_can(names):
    unique = unique_names(names)
    assert len(set(unique)) == len(names)
    assert all(new == old or new.startswith(old + " (") for new, old in zip(unique, names, strict=True))
    assert unique[:1] == names[:1]


LABELS = ["tabby", "crane", "crane", "<script>alert(1)</script>", "two\nlines " + "long" * 40]


def test_probabilities_are_drawn_as_they_are():
    bars = ProbabilityBars(LABELS, [0.5, 0.25, 0.125, 0.0001, 0.0])
    assert bars._bars.y.dtype == np.float32
    np.testing.assert_array_equal(bars._bars.y, np.float32([0.5, 0.25, 0.125, 0.0001, 0.0]))
    assert list(bars._bars.x[:4]) == ["tabby", "crane", "crane (2)", "<script>alert(1)</script>"]
    names, shares = bars._names.tick_labels, bars._shares.tick_labels
    assert list(shares.values()) == ["50.0%", "25.0%", "12.5%", "<0.1%", "0.0%"]
    assert names["crane (2)"] == "crane (2)"
    long = bars._bars.x[4]
    assert long.startswith("two lines long")
    assert names[long].endswith("\u2026")
    assert long.startswith(names[long][:-1])


def test_new_probabilities_change_the_same_chart():
    bars = ProbabilityBars(["a", "b"], [0.9, 0.1])
    mark, figure = bars._bars, bars._figure
    bars.set_values(["c"], [1.0])
    assert (bars._bars, bars._figure) == (mark, figure)
    assert list(mark.x) == ["c"]
    assert bars._repr_mimebundle_()["text/plain"] == "100.0%  c"
    bars.set_values([], [])
    assert bars._repr_mimebundle_()["text/plain"] == "no classes"


@pytest.mark.parametrize(
    ("labels", "shares", "said"),
    [
        (["a"], [0.5, 0.5], "1 labels and probabilities of shape"),
        (["a"], [1.5], "in \\[0, 1\\]"),
        (["a"], [float("nan")], "in \\[0, 1\\]"),
    ],
)
def test_wrong_probabilities_are_refused(labels, shares, said):
    bars = ProbabilityBars(["a"], [0.5])
    with pytest.raises(ValueError, match=said):
        bars.set_values(labels, shares)
    assert list(bars._bars.y) == [0.5]


def press(bars, unit):
    """What bqplot's page sends when a column is clicked."""
    bars._columns._handle_custom_msgs(bars._columns, {"event": "element_click", "data": {"index": unit}})


def test_units_show_their_values_and_columns_of_one_height():
    values = np.random.default_rng(0).normal(size=4096)
    bars = UnitBars(values)
    np.testing.assert_array_equal(bars._columns.color, values.astype(np.float32))
    np.testing.assert_array_equal(bars._columns.x, np.arange(4096))
    assert set(bars._columns.y) == {1}
    _, heights = outline_of_bars(values.astype(np.float32))
    np.testing.assert_array_equal(bars._outline.y, heights)
    assert bars._heights.min == np.float32(values.min())
    assert bars._heights.max == np.float32(values.max())
    sent = [bars._outline.x, bars._outline.y, bars._columns.x, bars._columns.y, bars._columns.color]
    assert all(array.dtype.itemsize <= 4 for array in sent)


def test_clicking_typing_and_setting_select_the_same():
    bars = UnitBars([0.0, 2.5, -1.0], labels=["a", "<b>", "c"], unit="logit")
    seen = []
    bars.observe(lambda change: seen.append(change["new"]), "selected")
    press(bars, 1)
    assert bars._number.value == 1
    assert bars._mark.visible
    np.testing.assert_array_equal(bars._mark.x, np.float32([0.5, 0.5, 1.5, 1.5]))
    assert bars._readout.value == "activation 2.5 logit \u00b7 &lt;b&gt;"
    bars._number.value = 2
    bars.selected = 0
    bars.selected = None
    assert not bars._mark.visible
    assert seen == [1, 2, 0, None]


def test_new_values_keep_the_selected_unit_while_there_is_one():
    bars = UnitBars([1.0, 2.0, 3.0])
    columns = bars._columns
    bars.selected = 2
    bars.set_values([4.0, 5.0, 6.0])
    assert bars.selected == 2
    assert bars._readout.value == "activation 6"
    bars.set_values([7.0])
    assert bars.selected is None
    assert bars._columns is columns
    assert len(columns.x) == 1


def test_all_zeros_stand_on_the_base_line():
    bars = UnitBars(np.zeros(4))
    assert (bars._heights.min, bars._heights.max) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([], {}, "1 to 65536"),
        ([[1.0]], {}, "shape \\(1, 1\\)"),
        ([1.0, np.nan], {}, "unit 1 is nan"),
        ([1.0], {"labels": ["a", "b"]}, "got 2 for 1"),
    ],
)
def test_wrong_values_are_refused(values, options, said):
    bars = UnitBars([5.0])
    with pytest.raises(ValueError, match=said):
        bars.set_values(values, **options)
    assert list(bars._columns.color) == [5.0]


@pytest.mark.parametrize("unit", [-1, 3])
def test_units_that_are_not_there_cannot_be_selected(unit):
    bars = UnitBars([1.0, 2.0, 3.0])
    with pytest.raises(TraitError, match="from 0 to 2"):
        bars.selected = unit


def test_other_viewers_read_the_values():
    bars = UnitBars([0.0, 2.5, -1.0], unit="logit")
    bars.selected = 1
    assert bars._repr_mimebundle_()["text/plain"].splitlines() == [
        "3 units, activation (logit) from \u22121 to 2.5",
        "unit 1: activation 2.5 logit",
    ]


def test_values_belong_to_what_is_said():
    bars = UnitBars([0.0, 2.5], name="weight", noun="input channel")
    bars.selected = 1
    assert bars._repr_mimebundle_()["text/plain"].splitlines() == [
        "2 input channels, weight from 0 to 2.5",
        "input channel 1: weight 2.5",
    ]
    assert (bars._number.description, bars._across.label) == ("input channel", "input channel")
    assert bars._columns.tooltip.labels == ["input channel", "weight"]
