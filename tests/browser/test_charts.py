"""The charts: what is drawn against the numbers, hover, click, themes, and the notebook opened again."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

PROBABILITIES = """
from cnnviz_widgets.views.charts import ProbabilityBars, UnitBars
import numpy as np
long = "a name that goes on and on and on, far beyond its place"
bars = ProbabilityBars(["tabby", "crane", "crane", "<b>lynx</b>", long], [0.5, 0.25, 0.125, 0.0625, 0.0])
bars
"""
UNITS = """
from cnnviz_widgets.views.charts import UnitBars
import numpy as np
values = np.maximum(np.random.default_rng(0).normal(size={count}), 0).astype(np.float32)
units = UnitBars(values)
units
"""
SHARES = """chart => {
    const whole = chart.querySelector(".plotarea_background").getBoundingClientRect().width;
    return [...chart.querySelectorAll(".bar")].map(bar => bar.getBoundingClientRect().width / whole);
}"""


def open_chart(open_notebook, code, **options):
    nb = open_notebook([code], **options)
    nb.run_all()
    chart = nb.output(0).locator(".bqplot")
    expect(chart.locator(".bar").first).to_be_attached()
    nb.settle()  # bqplot lays a chart out once it is on the page
    return nb, chart


@pytest.mark.parametrize("front_end", ["lab"])
def test_probabilities_are_as_long_as_they_are_large_and_readable_in_both_themes(open_notebook):
    nb, chart = open_chart(open_notebook, PROBABILITIES)
    expect(chart.locator(".bar")).to_have_count(5)
    assert chart.evaluate(SHARES) == pytest.approx([0.5, 0.25, 0.125, 0.0625, 0.0], abs=0.005)
    for text in ("tabby", "crane (2)", "<b>lynx</b>", "50.0%", "6.2%", "0.0%"):
        expect(chart.get_by_text(text, exact=True)).to_be_visible()
    expect(chart.get_by_text("a name that goes", exact=False)).to_contain_text("\u2026")
    color = "node => getComputedStyle(node).fill.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    label = chart.get_by_text("tabby", exact=True)
    assert max(label.evaluate(color)) < 100
    nb.set_theme("dark")
    nb.screenshot("dark")
    assert min(label.evaluate(color)) > 180
    nb.kernel.run("bars.set_values([long], [1.0])")
    expect(chart.locator(".bar")).to_have_count(1)
    nb.page.wait_for_function(f"() => ({SHARES})(document.querySelector('.bqplot'))[0] > 0.995")
    chart.locator(".bar").hover()
    expect(nb.page.locator(".bqplot_mark_tooltip")).to_contain_text(
        "a name that goes on and on and on, far beyond its place"
    )
    nb.screenshot("probabilities")


def column(chart, unit):
    return chart.locator(".bargroup").nth(unit).locator(".bar")


@pytest.mark.parametrize("front_end", ["lab"])
def test_units_are_read_by_hover_and_selected_by_click_and_by_number(open_notebook):
    nb, chart = open_chart(open_notebook, UNITS.format(count=40))
    values = nb.kernel.value("values.tolist()")
    zero = values.index(0.0)
    tooltip = nb.page.locator(".bqplot_mark_tooltip")
    for unit in (zero, values.index(max(values))):
        column(chart, unit).hover()
        expect(tooltip.locator("tr").first).to_contain_text(str(unit))
        shown = float(tooltip.locator(".datavalue").last.inner_text())
        assert shown == pytest.approx(values[unit], rel=1e-3)
    column(chart, zero).click()
    nb.kernel.wait_for(f"units.selected == {zero}")
    field = nb.output(0).get_by_label("unit")
    expect(field).to_have_value(str(zero))
    field.press("ArrowUp")
    nb.kernel.wait_for(f"units.selected == {zero + 1}")
    nb.screenshot("units")
    nb.save()
    nb.reopen()
    chart = nb.output(0).locator(".bqplot")
    expect(chart.locator(".bargroup")).to_have_count(40)
    expect(nb.output(0).get_by_label("unit")).to_have_value(str(zero + 1))


@pytest.mark.parametrize("front_end", ["lab"])
def test_bars_are_as_high_as_their_values(open_notebook):
    nb, chart = open_chart(open_notebook, UNITS.format(count=16))
    heights = """chart => {
        const line = [...chart.querySelectorAll("path.line")].find(each => each.getAttribute("d").length > 200);
        const numbers = line.getAttribute("d").match(/-?[0-9.]+(?:e-?[0-9]+)?/g).map(Number);
        const y = numbers.filter((_, index) => index % 2 === 1);
        return Array.from({ length: 16 }, (_, unit) => y[4 * unit] - y[4 * unit + 1]);
    }"""
    values = nb.kernel.value("values.tolist()")
    drawn = chart.evaluate(heights)
    assert drawn == pytest.approx([value * max(drawn) / max(values) for value in values], abs=0.6)
    nb.kernel.run("units.set_values(-values)")
    nb.page.wait_for_function(
        f"() => ({heights})(document.querySelector('.bqplot')).every(height => height <= 0.5)"
    )
    nb.screenshot("negative")


PLACES = """chart => {
    const area = chart.querySelector(".plotarea_background").getBoundingClientRect();
    return [...chart.querySelectorAll(".bargroup .bar")].map(each => {
        const box = each.getBoundingClientRect();
        return [(box.left - area.left) / area.width, box.width, area.width];
    });
}"""


@pytest.mark.parametrize("front_end", ["lab"])
def test_every_place_on_the_strip_belongs_to_its_unit(open_notebook):
    nb, chart = open_chart(open_notebook, UNITS.format(count=1))
    for count in (1, 2, 10, 300):
        nb.kernel.run(f"units.set_values(np.zeros({count}))")
        expect(chart.locator(".bargroup")).to_have_count(count)
        nb.settle()
        for unit, (left, width, whole) in enumerate(chart.evaluate(PLACES)):
            assert left == pytest.approx(unit / count, abs=1 / whole)
            assert whole / count - 1 <= width <= whole / count + 0.1


@pytest.mark.parametrize("front_end", ["lab"])
def test_four_thousand_units_scroll_and_the_last_is_within_reach(open_notebook):
    nb, chart = open_chart(open_notebook, UNITS.format(count=4096))
    expect(chart.locator(".bargroup")).to_have_count(4096)
    last = column(chart, 4095)
    assert last.bounding_box()["width"] == pytest.approx(3, abs=0.1)
    last.scroll_into_view_if_needed()
    last.click()
    nb.kernel.wait_for("units.selected == 4095")
    nb.screenshot("many-units")
