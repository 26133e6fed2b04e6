"""The line chart without a page: what is sent to be drawn, the axes, the words, and colors that all can tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from cnnviz_widgets.views._chart_data import log_ticks, step_limits, value_limits
from cnnviz_widgets.views.line_chart import LINE_COLORS, MAXIMUM_LINES, LineChart

# Machado, Oliveira and Fernandes (2009), severity 1.0, on linear RGB; "all" is full color vision.
BLINDNESS = {
    "all": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(color: str) -> NDArray[np.float64]:
    share = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* of linear RGB, white D65."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1.0, 1.089]
    x, y, z = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colors_are_told_apart_with_any_color_blindness(blindness: str) -> None:
    seen = [lab(np.asarray(BLINDNESS[blindness]) @ linear(color)) for color in LINE_COLORS]
    # 2.3 is just noticeable; 20 is plain even for thin lines.
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 20


@pytest.mark.parametrize("color", LINE_COLORS)
def test_colors_stand_out_on_light_and_dark_pages(color: str) -> None:
    luminance = float(linear(color) @ [0.2126, 0.7152, 0.0722])
    dark = float(linear("#111111") @ [0.2126, 0.7152, 0.0722])
    assert 1.05 / (luminance + 0.05) >= 3  # WCAG 2.1, 1.4.11
    assert (luminance + 0.05) / (dark + 0.05) >= 3


def test_lines_are_drawn_as_they_are_with_gaps_for_what_has_no_place() -> None:
    chart = LineChart("loss", unit="nats")
    chart.set_lines([0, 5, 20, 30], {"a": [3, np.nan, np.inf, 1], "b": [1, 2, 3, 4]})
    mark = chart._marks[0]
    np.testing.assert_array_equal(mark.x, [0, 5, 20, 30])
    np.testing.assert_array_equal(mark.y, [[3, np.nan, np.nan, 1], [1, 2, 3, 4]])
    assert mark.colors == list(LINE_COLORS[:2])
    # The 3 and the 1 of "a" have no neighbor.
    np.testing.assert_array_equal([chart._points.x, chart._points.y], [[0, 30], [3, 1]])
    assert chart._points.colors == [LINE_COLORS[0]] * 2
    assert [each.visible for each in chart._marks] == [True, False, False, False]
    assert chart.to_text().splitlines() == [
        "loss (nats) by step",
        "a: 3 at step 0, 1 at step 30, lowest 1 at step 30, highest 3 at step 0, 2 not drawn",
        "b: 1 at step 0, 4 at step 30, lowest 1 at step 0, highest 4 at step 30",
    ]
    chart.set_lines([0, 5], {"a": [3, 2]})
    assert chart._marks[0] is mark
    assert not chart._points.visible


def test_lines_that_belong_together_have_a_color_and_dashes_tell_them_apart() -> None:
    chart = LineChart("loss", names_one=True)
    lines = {"style, run 2": [1, 2], "content, run 1": [3, 4], "style, run 1": [np.nan, 6]}
    chart.set_lines([0, 5], lines, looks=[0, 7, 6])
    solid, dashed = chart._marks[:2]
    np.testing.assert_array_equal(np.ravel(solid.y), [1, 2])
    np.testing.assert_array_equal(dashed.y, [[3, 4], [np.nan, 6]])
    assert (solid.colors, dashed.colors) == ([LINE_COLORS[0]], [LINE_COLORS[1], LINE_COLORS[0]])
    assert chart._points.colors == [LINE_COLORS[0]]
    assert [
        each in chart._legend.value for each in (f"dashed {LINE_COLORS[1]}", f"dotted {LINE_COLORS[0]}")
    ] == [
        True,
        False,
    ]
    for wrong in ([0, 0, 1], [0, 1], [0, 1, 24]):
        with pytest.raises(ValueError, match="another one for each of the 3 lines"):
            chart.set_lines([0, 5], lines, looks=wrong)
    chart.set_lines([0, 5], {"<b>style": [1, 2]})
    assert "&lt;b&gt;style" in chart._legend.value
    plain = LineChart("style")
    plain.set_lines([0, 5], {"style": [1, 2]})
    assert plain._legend.value == ""


def test_a_logarithmic_axis_has_gaps_at_zero_and_below() -> None:
    chart = LineChart("ratio", log=True)
    chart.set_lines([0, 1, 2], {"a": [0.0, -1.0, 0.001]})
    np.testing.assert_allclose(np.ravel(chart._marks[0].y), [np.nan, np.nan, -3], rtol=1e-6)
    assert chart._upward.min < -3 < chart._upward.max
    assert "lowest 0.001" in chart.to_text()
    chart.set_lines([0, 1, 2], {"a": [0.0, 0.0, 0.0]})
    assert chart.is_empty


def test_a_spike_makes_the_axis_logarithmic_and_its_end_linear_again() -> None:
    chart = LineChart("loss", unit="nats", log=None)
    calm = [2.0, 1.0, 0.5]
    chart.set_lines([0, 1, 2], {"a": calm})
    assert chart._y_axis.label == "loss (nats)"
    np.testing.assert_array_equal(np.ravel(chart._marks[0].y), calm)
    assert (chart._upward.max, chart._y_axis.tick_labels) == (2.1, {})
    chart.set_lines([0, 1, 2, 3, 4, 5], {"a": [1.0, 0.1, 4e6, np.nan, np.inf, 10.0]})
    assert chart._y_axis.label == "loss (nats, log scale)"
    expected = [0, -1, np.log10(4e6), np.nan, np.nan, 1]
    np.testing.assert_allclose(np.ravel(chart._marks[0].y), expected, rtol=1e-6)
    assert chart._upward.min < -1 < np.log10(4e6) < chart._upward.max
    # Of the powers from -1 to 6 each second one has a tick; the names are written as JavaScript writes numbers.
    np.testing.assert_array_equal(chart._y_axis.tick_values, [-1, 1, 3, 5])
    assert chart._y_axis.tick_labels == {"-1": "0.1", "1": "10", "3": "1000", "5": "100000"}
    assert "highest 4e+06 at step 2, 2 not drawn" in chart.to_text()
    # A value at or below zero has no place on such an axis, so all stay on a linear one.
    for value in (0.0, -1.0, 1e-60):
        chart.set_lines([0, 1], {"a": [4e6, value]})
        assert chart._y_axis.label == "loss (nats)"
        assert not chart._y_axis.tick_labels
    chart.set_lines([0, 1], {"a": [np.nan, np.inf]})
    assert chart.is_empty


def test_more_than_six_lines_differ_in_their_dashes() -> None:
    chart = LineChart("zeros", limits=(0, 1))
    lines = {f"line {index}": [0.1, 0.2] for index in range(MAXIMUM_LINES)}
    chart.set_lines([0, 1], lines)
    looks = [
        (mark.line_style, color) for mark in chart._marks for color in mark.colors[: np.shape(mark.y)[0]]
    ]
    assert len(set(looks)) == MAXIMUM_LINES == 24
    with pytest.raises(ValueError, match="at most 24 lines apart, got 25"):
        chart.set_lines([0, 1], {**lines, "one more": [0, 1]})


def test_the_marker_stands_at_its_step() -> None:
    chart = LineChart("loss")
    chart.set_lines([0, 10, 100], {"a": [1, 2, 3]})
    for step in (0, 10, 100):
        chart.set_marker(step)
        scale = chart._marker_scales[0]
        share = -scale.min / (scale.max - scale.min)
        left, right = chart._across.min, chart._across.max
        assert left + share * (right - left) == pytest.approx(step, abs=1e-9)


def test_markup_in_names_is_text() -> None:
    chart = LineChart("<b>loss</b>")
    chart.set_lines([0], {"<img src=x>": [1.0], "b": [2.0]})
    assert "<img" not in chart._legend.value + chart._spoken.value
    assert "&lt;img" in chart._legend.value


def test_one_step_shows_as_points() -> None:
    chart = LineChart("loss")
    chart.set_lines([7], {"a": [1.0], "b": [2.0]})
    mark = chart._marks[0]
    assert np.shape(mark.y) == (2, 2)
    np.testing.assert_array_equal([chart._points.x, chart._points.y], [[7, 7], [1, 2]])
    assert chart._points.colors == list(LINE_COLORS[:2])
    np.testing.assert_array_equal(mark.y, [[1, np.nan], [2, np.nan]])
    assert chart._across.min < 7 < chart._across.max


@pytest.mark.parametrize(
    ("steps", "lines", "message"),
    [
        ([1, 0], {}, "ascending"),
        ([0, np.nan], {}, "ascending"),
        ([[0, 1]], {}, "one row"),
        ([0, 1], {"a": [1]}, "line 'a' needs one value for each of the 2 steps"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(steps, lines, message) -> None:
    chart = LineChart("loss")
    chart.set_lines([0, 1], {"before": [1, 2]})
    with pytest.raises(ValueError, match=message):
        chart.set_lines(steps, lines)
    assert "before: 1 at step 0" in chart.to_text()


@pytest.mark.parametrize("limits", [(1, 1), (2, 1)])
def test_limits_must_rise(limits: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="limits must rise"):
        LineChart("a", limits=limits)
    with pytest.raises(ValueError, match="above 0 on a logarithmic axis"):
        LineChart("a", limits=(0, 1), log=True)


def test_long_numbers_beside_the_axis_push_its_name_away() -> None:
    chart = LineChart("answer")
    rooms = []
    for values in ([0.0, 0.5, 1.0], [0.1241, 0.12413, 0.12416], [0.0, 0.5, 1.0]):
        chart.set_lines([0, 50, 100], {"map": values})
        rooms.append((int(chart._y_axis.label_offset.removesuffix("px")), chart._figure.fig_margin["left"]))
    assert rooms[0] == rooms[2] == (48, 64)
    # "0.12416" is about 46 pixels wide at 11 pixels, and bqplot puts it 9 pixels beside the axis.
    assert rooms[1][0] >= 46 + 9 + 4
    assert rooms[1][1] == rooms[1][0] + 16


def test_axes_hold_what_they_show() -> None:
    rng = np.random.default_rng(0)
    for log in (False, True):
        for exponent in (-6, 0, 5):
            values = rng.lognormal(size=20) * 10.0**exponent
            low, high = value_limits(values, log=log)
            assert low <= values.min() < values.max() <= high
            ticks = log_ticks(low, high) if log else []
            assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
            assert not log or 1 <= len(ticks) <= 9
    assert value_limits(np.array([5.0, 5.0]), log=False) == (4.75, 5.25)
    assert value_limits(np.array([np.nan]), log=False) == (0, 1)
    assert step_limits(np.array([7.0])) == (6.0, 8.0)
    np.testing.assert_allclose(log_ticks(1e-7, 10), 10.0 ** np.arange(-7, 2, 2))
