"""The DeconvNet explorer as a person uses it, in JupyterLab, against what Python knows."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_filter_grid import click
from tests.browser.test_filter_grid import top_grid_of as grid_of
from tests.browser.test_patch_explorer import WIDE, expect_box

SOURCE = """
import cnnviz_widgets as cv
net = cv.samples.fashion_cnn()
images, _ = cv.samples.fashion_mnist("test")
found = cv.top_patches(net, images[:300], "relu2")
explorer = cv.DeconvExplorer(net, found, channel=6)
explorer
"""


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_sees_patches_beside_their_projections(open_notebook):
    images, _ = cv.samples.fashion_mnist("test")
    net = cv.samples.fashion_cnn()
    found = cv.top_patches(net, images[:300], "relu2")
    nb = open_notebook([SOURCE], **WIDE)
    nb.run_all()
    output = nb.output(0)
    expect(output).to_contain_text("Channel 6: the 9 strongest answers in 300 images.")

    # The next channel; the tiles have the colors of its patches and of its projections.
    output.get_by_role("button", name="Next").click()
    nb.kernel.wait_for("explorer.channel == 7 and not explorer.busy and len(explorer.results) == 9")
    expect(output).to_contain_text("Channel 7: the 9 strongest answers")
    sent_back = [
        cv.deconvnet(net, images[index], "relu2", 7, tuple(place))
        for index, place in zip(found.image_indices[7].tolist(), found.positions[7].tolist(), strict=True)
    ]
    shape = {"rows": 16, "columns": 16}
    nb.settle()
    for index, tiles in enumerate((list(found.patches[7]), [each.patch for each in sent_back])):
        grid = grid_of(nb, index)
        colors = np.array(nb.colors_around(*grid.place(0, 8, 5, **shape), reach=3), float)
        np.testing.assert_allclose(colors[3, 3], tiles[0][8, 5], atol=4)
    nb.screenshot("first")

    # A click on a projection: its image, with the box of what the unit sees, here and in the projection.
    click(grid_of(nb, 1), 3, **shape)
    nb.kernel.wait_for("explorer.rank == 3")
    top, left, bottom, right = sent_back[3].box
    expect(output).to_contain_text(f"sees rows {top} to {bottom - 1}, columns {left} to {right - 1}")
    expect_box(nb, output.locator(".cnnviz-unasked").nth(0), found.boxes[7, 3])
    expect_box(nb, output.locator(".cnnviz-unasked").nth(1), found.boxes[7, 3])

    # What goes wrong is said here, and the next channel takes it away.
    nb.kernel.run("hook = net.module.conv1.register_forward_hook(lambda *_: 1 / 0)")
    output.get_by_role("button", name="Next").click()
    expect(output.get_by_role("alert")).to_contain_text("ZeroDivisionError")
    nb.kernel.run("hook.remove()")
    output.get_by_role("button", name="Previous").click()
    expect(output.get_by_role("alert")).to_have_count(0)
    nb.kernel.wait_for("explorer.result is not None and explorer.channel == 7")
