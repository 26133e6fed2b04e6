"""The fixtures themselves, on a plain slider of ipywidgets, in both front ends."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser._jupyter import CellError
from tests.browser._server import KernelError

SLIDER = "import ipywidgets as widgets; slider = widgets.IntSlider(3, description='steps'); slider"


def test_page_and_kernel_follow_each_other(open_notebook):
    nb = open_notebook([SLIDER])
    nb.run_all()
    handle = nb.output(0).get_by_role("slider")
    expect(handle).to_have_attribute("aria-valuenow", "3.0")
    nb.output(0).locator(".noUi-target").click()  # the middle of the track, from 0 to 100
    nb.kernel.wait_for("abs(slider.value - 50) <= 2")
    nb.kernel.run("slider.value = 9")
    expect(handle).to_have_attribute("aria-valuenow", "9.0")
    nb.screenshot("slider")


@pytest.mark.parametrize("front_end", ["lab"])
def test_state_survives_a_reload(open_notebook):
    nb = open_notebook([SLIDER])
    nb.run_all()
    nb.save()
    nb.kernel.run("slider.value = 7")
    nb.reload()
    expect(nb.output(0).get_by_role("slider")).to_have_attribute("aria-valuenow", "7.0")
    assert nb.kernel.value("slider.value") == 7


@pytest.mark.parametrize("front_end", ["notebook"])
def test_saved_state_shows_without_a_kernel(open_notebook):
    nb = open_notebook([SLIDER], save_widget_state=True)
    nb.run_all()
    nb.kernel.run("slider.value = 8")
    expect(nb.output(0).get_by_role("slider")).to_have_attribute("aria-valuenow", "8.0")
    nb.save()
    nb.reopen_without_kernel()
    expect(nb.output(0).get_by_role("slider")).to_have_attribute("aria-valuenow", "8.0")
    with pytest.raises(LookupError, match="no kernel runs"):
        nb.kernel.value("1")
    assert "application/vnd.jupyter.widget-state+json" in nb.stored()["metadata"]["widgets"]


@pytest.mark.parametrize("front_end", ["lab"])
def test_themes_switch(open_notebook):
    nb = open_notebook(["1"])
    background = "() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color1').trim()"
    light = nb.page.evaluate(background)
    nb.set_theme("dark")
    assert nb.page.evaluate(background) != light
    nb.set_theme("light")
    assert nb.page.evaluate(background) == light


@pytest.mark.parametrize("front_end", ["lab"])
def test_errors_are_raised(open_notebook):
    nb = open_notebook(["1 / 0"])
    with pytest.raises(CellError, match="ZeroDivisionError"):
        nb.run_all()
    with pytest.raises(KernelError, match="NameError"):
        nb.kernel.run("absent")
    with pytest.raises(KernelError, match="NameError"):
        nb.kernel.value("absent")
    with pytest.raises(AssertionError, match="still False"):
        nb.kernel.wait_for("1 == 2", timeout=0.1)
    with pytest.raises(AssertionError, match="did not finish within"):
        nb.kernel.run("import time; time.sleep(2)", timeout=0.2)


@pytest.mark.parametrize("front_end", ["lab"])
def test_page_errors_and_foreign_requests_are_collected(open_notebook):
    nb = open_notebook(["1"])
    with nb.page.expect_event("pageerror"):
        nb.page.evaluate("() => { setTimeout(() => { throw new Error('thrown on purpose'); }); }")
    with nb.page.expect_event("requestfailed"):
        nb.page.evaluate("() => { new Image().src = 'http://somewhere.invalid/picture.png'; }")
    problems = nb.problems()
    assert len(problems) == 2
    assert "thrown on purpose" in problems[0]
    assert "somewhere.invalid" in problems[1]
    nb.errors.clear()  # else the fixture fails this test at its end, as it should any other
    nb.foreign_requests.clear()
