"""The layer browser as a person uses it, in JupyterLab and Notebook 7, against what Python knows."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_tile_grid import Tiles

SQUEEZENET = """
import cnnviz_widgets as cv
net = cv.samples.squeezenet()
photos = {name: cv.samples.photo(name) for name in ["chelsea", "coffee"]}
browser = cv.LayerBrowser(net, photos, layer="features.3")
browser
"""
WIDE = {"viewport": {"width": 1500, "height": 1250}}


@pytest.fixture(scope="module")
def net():
    return cv.samples.squeezenet()


def shown_value(text):
    """The activation in a hover text."""
    found = re.search(r"(−?[\d.]+) activation", text)
    return float(found[1].replace("−", "-"))


def row_of(nb, name):
    """The row of a layer in the tree, by the last part of its name."""
    return nb.output(0).get_by_role("treeitem").filter(has_text=re.compile(rf"^\W*{re.escape(name)}\b")).first


def test_a_person_browses_layers_and_channels(open_notebook, net):
    nb = open_notebook([SQUEEZENET], **WIDE)
    nb.run_all()
    output = nb.output(0)
    expect(output).to_contain_text("Egyptian cat")
    expect(output).to_contain_text("128 channels of 55 x 55")
    nb.screenshot("first")

    # A value on hover is the tensor's.
    maps = cv.activations(net, cv.samples.photo("chelsea"), "features.3").maps
    tiles = _tiles(nb)
    text = tiles.hover(2, 30, 20, rows=55, columns=55)
    assert "channel 2" in text
    assert shown_value(text) == pytest.approx(float(maps[2, 30, 20]), rel=1e-3, abs=1e-2)
    # ... and the photo shows what that unit looks at.
    nb.kernel.wait_for("browser.position == (30, 20)")
    field = cv.receptive_field(net, "features.3", image_size=(224, 224)).box(30, 20)
    nb.kernel.wait_for("len(browser.parts.stage._boxes) == 1")
    sides = (
        "[int(getattr(browser.parts.stage._boxes[0], side)) for side in ('top', 'left', 'bottom', 'right')]"
    )
    box = nb.kernel.value(sides)
    assert box == [field.top, field.left, field.bottom, field.right]

    # A layer by mouse, and its tiles come.
    output.get_by_role("treeitem").filter(has_text="Fire").nth(4).click()
    nb.kernel.wait_for("browser.layer == 'features.9' and not browser.busy")
    expect(output).to_contain_text("384 channels of 13 x 13")
    expect(output.get_by_role("grid")).to_have_attribute("aria-label", re.compile("384"))

    # The next layer by keyboard.
    focused = nb.page.locator(":focus")
    focused.press("ArrowDown")
    nb.page.locator(":focus").press("Enter")
    nb.kernel.wait_for("browser.layer == 'features.10' and not browser.busy")
    nb.page.keyboard.press("h")  # a list of keys, where the notebook hears it
    nb.page.keyboard.press("Home")
    expect(output.get_by_role("treeitem").first).to_be_focused()

    # Sorting, and a channel by mouse.
    output.get_by_label("Sort by").select_option("mean")
    nb.kernel.wait_for("browser.sort == 'mean'")
    nb.settle()
    deep = cv.activations(net, cv.samples.photo("chelsea"), "features.10").maps
    strongest, second = deep.mean(axis=(1, 2)).argsort()[:-3:-1].tolist()
    nb.page.mouse.click(*_tiles(nb).place(0, 5, 5, rows=13, columns=13))
    nb.kernel.wait_for(f"browser.channel == {strongest}")
    nb.page.keyboard.press("ArrowRight")
    nb.kernel.wait_for(f"browser.channel == {second}")
    nb.page.keyboard.press("ArrowLeft")
    nb.kernel.wait_for(f"browser.channel == {strongest}")
    # The notebook has heard none of the keys: its cells are as they were.
    assert len(nb.cells()) == 1

    # One scale each.
    output.get_by_text("Each its own", exact=True).click()
    nb.kernel.wait_for("browser.parts.grid.scale == 'each'")
    nb.screenshot("chosen")

    # Opened again (in Notebook 7 the page is loaded anew), everything is found.
    nb.save()
    nb.reopen()
    output = nb.output(0)
    expect(output).to_contain_text("384 channels of 13 x 13")
    expect(output.get_by_role("treeitem", selected=True)).to_contain_text("10")
    expect(output.get_by_role("grid").get_by_role("gridcell", selected=True)).to_contain_text(
        f"channel {strongest}"
    )
    expect(output.get_by_label("Sort by")).to_have_value("mean")
    assert nb.kernel.value("(browser.layer, browser.channel, browser.sort)") == [
        "features.10",
        strongest,
        "mean",
    ]
    nb.screenshot("reloaded")
    text = _tiles(nb).hover(0, 6, 7, rows=13, columns=13)
    assert shown_value(text) == pytest.approx(float(deep[strongest, 6, 7]), rel=1e-3, abs=1e-2)


def _tiles(nb):
    """The tiles without waiting for the first picture: there have been others since."""
    tiles = object.__new__(Tiles)
    tiles.nb = nb
    tiles.root = nb.output(0).locator(".cvz-tiles")
    tiles.area = tiles.root.get_by_role("grid")
    expect(tiles.root).to_have_attribute("data-painted", re.compile(r"\d"))
    return tiles


@pytest.mark.parametrize("front_end", ["lab"])
def test_hover_works_in_the_saved_notebook_without_a_kernel_and_while_it_is_busy(
    open_notebook, net, tmp_path
):
    nb = open_notebook([SQUEEZENET], save_widget_state=True, **WIDE)
    nb.run_all()
    maps = cv.activations(net, cv.samples.photo("chelsea"), "features.3").maps
    expect(nb.output(0)).to_contain_text("Egyptian cat")
    release = tmp_path / "go"
    busy = nb.kernel.start(f"import os, time\nwhile not os.path.exists({str(release)!r}): time.sleep(0.05)")
    text = _tiles(nb).hover(2, 10, 12, rows=55, columns=55)
    assert shown_value(text) == pytest.approx(float(maps[2, 10, 12]), rel=1e-3, abs=1e-2)
    release.touch()
    nb.kernel.finish(busy)
    nb.save()
    nb.reopen_without_kernel()
    expect(nb.output(0)).to_contain_text("Egyptian cat")
    text = _tiles(nb).hover(2, 30, 20, rows=55, columns=55)
    assert shown_value(text) == pytest.approx(float(maps[2, 30, 20]), rel=1e-3, abs=1e-2)
    nb.screenshot("without-kernel")


@pytest.mark.parametrize("front_end", ["lab"])
def test_an_error_and_a_running_network_show_in_the_page(open_notebook):
    nb = open_notebook(
        [
            """
import threading, torch, cnnviz_widgets as cv
broken, go = threading.Event(), threading.Event()
go.set()
class Touchy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.fc = torch.nn.Linear(6, 4)
    def forward(self, x):
        go.wait(30)
        if broken.is_set():
            raise ArithmeticError("<b>too hot</b>")
        return self.fc(self.conv(x).mean(dim=(2, 3)))
net = cv.Network(Touchy(), input=cv.InputSpec(size=32))
browser = cv.LayerBrowser(net, cv.samples.photo("coffee"))
browser
"""
        ],
        **WIDE,
    )
    nb.run_all()
    output = nb.output(0)
    nb.kernel.run("broken.set(); go.clear()")
    output.get_by_role("treeitem").filter(has_text="Linear").click()
    expect(output.get_by_text("running the network")).to_be_visible()
    # The page and the kernel stay usable meanwhile.
    assert nb.kernel.value("1 + 1") == 2
    nb.screenshot("running")
    nb.kernel.run("go.set()")
    expect(output.get_by_role("alert")).to_contain_text("ArithmeticError: <b>too hot</b>")
    expect(output.get_by_text("running the network")).to_have_count(0)
    nb.screenshot("error")
    nb.kernel.run("broken.clear()")
    output.get_by_role("treeitem").filter(has_text="Conv2d").click()
    output.get_by_role("treeitem").filter(has_text="Linear").click()
    nb.kernel.wait_for("browser.result.layer == 'fc' and not browser.busy")
    expect(output.get_by_role("alert")).to_have_count(0)
    expect(output).to_contain_text("4 units")
    nb.screenshot("bars")


@pytest.mark.parametrize("front_end", ["lab"])
def test_another_photo_by_list_and_by_upload(open_notebook, tmp_path):
    path = tmp_path / "uploaded.png"
    cv.samples.photo("rocket").save(path)
    nb = open_notebook([SQUEEZENET], **WIDE)
    nb.run_all()
    output = nb.output(0)
    # Too narrow for three good columns: the tiles are below, as wide as all, and no place is left beside the tree.
    whole, tiles, tree, photo = (
        output.locator(name).first.bounding_box()
        for name in (".cnnviz-browser", ".cnnviz-tiles", ".cnnviz-layers", ".cvz-frame")
    )
    assert whole["width"] < 1200
    assert tiles["width"] == pytest.approx(whole["width"], abs=2)
    assert tiles["y"] >= tree["y"] + tree["height"]
    assert photo["x"] - tree["x"] - tree["width"] == pytest.approx(12, abs=2)
    output.get_by_label("Photo").select_option("coffee")
    expect(output).to_contain_text("espresso")
    with nb.page.expect_file_chooser() as chooser:
        output.get_by_role("button", name="Upload").click()
    chooser.value.set_files(path)
    nb.kernel.wait_for("'uploaded.png' in browser._photos.images and not browser.busy")
    expected = cv.samples.squeezenet().predict(cv.samples.photo("rocket")).labels[0]
    expect(output).to_contain_text(expected)
    expect(output.get_by_label("Photo")).to_have_value("uploaded.png")
    nb.set_theme("dark")
    nb.screenshot("dark")
