"""The saliency explorer as a person uses it, in JupyterLab, against what Python knows."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from cnnviz_widgets.widgets._saliency_report import over_picture
from tests.browser.test_filter_grid import click
from tests.browser.test_filter_grid import top_grid_of as grid_of
from tests.browser.test_patch_explorer import WIDE

SOURCE = """
import cnnviz_widgets as cv
net = cv.samples.fashion_cnn()
image = cv.samples.fashion_mnist("test")[0][0]
explorer = cv.SaliencyExplorer(net, image, samples=2, steps=4, measure_steps=4, stages=2)
explorer
"""

# The job waits in the network once it has made two of the checks.
HELD = """
import threading
held, go = threading.Event(), threading.Event()
def wait(*_):
    if len(explorer.checks) == 2:
        held.set()
        go.wait(30)
hook = net.module.conv1.register_forward_hook(wait)
"""


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_compares_maps_and_finds_out_which_to_believe(open_notebook):
    net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    nb = open_notebook([SOURCE], **WIDE)
    nb.run_all()
    output = nb.output(0)
    expect(output).to_contain_text("logit of Ankle boot")
    expect(output).to_contain_text("The answer goes fastest without the pixels that")

    # Another class, by its name: the maps and the numbers are those of that class.
    field = output.get_by_label("Class", exact=True)
    field.fill("Sneaker")
    field.press("Enter")
    nb.kernel.wait_for("explorer.target.what == 7 and explorer.measured is not None and not explorer.busy")
    expect(output).to_contain_text("logit of Sneaker")
    cam = cv.grad_cam(net, image, "Sneaker", "pool2")
    gray = np.repeat(image[:, :, None], 3, axis=2)
    shape = {"rows": 28, "columns": 28}
    nb.settle()
    colors = np.array(nb.colors_around(*grid_of(nb).place(6, 14, 9, **shape), reach=3), float)
    np.testing.assert_allclose(colors[3, 3], over_picture(gray, cam.heatmap, 0.7)[14, 9], atol=4)
    lost = nb.kernel.value("explorer.measured.deletion_area[-2].item()")
    expect(output.get_by_role("row").filter(has_text="Grad-CAM")).to_contain_text(f"{lost:.3g}")

    # A click shows a map large, with what it reports; the slider fades all maps.
    click(grid_of(nb), 5, **shape)
    nb.kernel.wait_for("explorer.map == 'integrated'")
    expect(output).to_contain_text("but for a gap of")
    output.get_by_role("slider").first.press("Home")
    nb.kernel.wait_for("explorer.opacity == 0 and explorer.parts.stage.opacity == 0")
    nb.screenshot("faded")

    # One click, and what the maps know is told; stopped half way, it leaves what is there, and can go on.
    nb.kernel.run(HELD)
    output.get_by_role("button", name="Check with random weights").click()
    nb.kernel.wait_for("held.is_set()")
    output.get_by_role("button", name="Stop").click()
    expect(output).to_contain_text("stopped after 2 of 7 checks")
    nb.kernel.run("hook.remove(), go.set()")
    nb.kernel.wait_for("not explorer.busy")
    assert nb.kernel.value("(len(explorer.results), len(explorer.checks))") == [7, 2]
    assert nb.kernel.value("explorer.measured.deletion_area[-2].item()") == lost
    nb.screenshot("stopped")
    output.get_by_role("button", name="Check with random weights").click()
    nb.kernel.wait_for("len(explorer.checks) == 7 and not explorer.busy")
    expect(output).to_contain_text("survives random weights")
    expect(output).to_contain_text("the map still has a rank correlation of")
    nb.screenshot("checked")
