"""The neighbor explorer as a person uses it, against what Python knows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import expect

import cnnviz_widgets as cv
from tests.browser.test_tile_grid import Tiles

SETUP = """
import cnnviz_widgets as cv
images, labels = cv.samples.fashion_mnist("test")
names = [cv.samples.FASHION_LABELS[label] for label in labels]
table = cv.extract_features(cv.samples.fashion_cnn(), (images, names), "fc1", predictions=True)
explorer = cv.NeighborExplorer(table, 4)
"""
COLORS = {"same class": (0x00, 0x61, 0xA3), "other class": (0xB3, 0x26, 0x1E)}
SHAPE = {"rows": 28, "columns": 28}


@pytest.fixture(scope="module")
def table() -> cv.FeatureTable:
    images, labels = cv.samples.fashion_mnist("test")
    names = [cv.samples.FASHION_LABELS[label] for label in labels]
    return cv.extract_features(cv.samples.fashion_cnn(), (images, names), "fc1")


def grid_of(nb, space):
    """The neighbors in one of the spaces."""
    tiles = object.__new__(Tiles)
    tiles.nb = nb
    tiles.root = nb.output(1).locator(".cvz-tiles").nth(["features", "pixels"].index(space))
    tiles.area = tiles.root.get_by_role("grid")
    expect(tiles.root).to_have_attribute("data-painted", re.compile(r"[1-9]"))
    nb.settle()
    return tiles


def check_tiles(nb, table, row, k=5):
    """Each tile in the page is the thumbnail, the label and the mark of the neighbor that Python finds."""
    own = table.labels[row]
    for space in ("features", "pixels"):
        found = cv.nearest_neighbors(table, row, k=k, space=space).indices[0]
        tiles = grid_of(nb, space)
        for slot in (0, k - 1):
            text = tiles.hover(slot, 14, 14, **SHAPE)
            mark = "same class" if table.labels[found[slot]] == own else "other class"
            assert table.label_texts[found[slot]] in text
            assert mark in text
            x, y = tiles.place(slot, 14, 14, **SHAPE)
            np.testing.assert_allclose(nb.color(x, y), table.thumbnails[found[slot], 14, 14], atol=2)
            # The left end of the badge, below the caption of 15 pixels; "same class" is some 55 wide.
            left, top = tiles.place(slot, -0.5, -0.5, **SHAPE)
            width, height = (
                float(tiles.root.get_attribute(f"data-tile-{side}")) for side in ("width", "height")
            )
            badge = nb.color(left + width / 2 - 25, top + height + 15 + 2.5)
            np.testing.assert_allclose(badge, COLORS[mark], atol=3)


@pytest.mark.parametrize("front_end", ["lab"])
def test_a_person_walks_from_image_to_image(open_notebook, table):
    nb = open_notebook([SETUP, "explorer"], viewport={"width": 1280, "height": 1000})
    nb.run_all()
    output = nb.output(1)
    agreement = cv.neighbor_agreement(table)
    expect(output).to_contain_text("nearest neighbors of all 1,000 images")
    for name in ("features", "pixels", "chance"):
        row = output.get_by_role("row", name=f"by {name}")
        expect(row).to_contain_text(f"{getattr(agreement, name):.1%}")
    expect(output).to_contain_text(f"image 4: {table.label_texts[4]}")
    back, forward = (output.get_by_role("button", name=name) for name in ("Back", "Forward"))
    expect(back).to_be_disabled()
    nb.screenshot("first")
    check_tiles(nb, table, 4)

    # A click on a neighbor makes it the query; a double click is one click.
    pixels = cv.nearest_neighbors(table, 4, space="pixels").indices[0].tolist()
    nb.page.mouse.dblclick(*grid_of(nb, "pixels").place(3, 14, 14, **SHAPE))
    expect(output).to_contain_text(f"image {pixels[3]}: {table.label_texts[pixels[3]]}")
    nb.kernel.wait_for(f"explorer.query == {pixels[3]} and not explorer.busy")
    check_tiles(nb, table, pixels[3])

    # By keyboard: arrows only walk, Enter chooses; the grid keeps the focus.
    features = cv.nearest_neighbors(table, pixels[3]).indices[0].tolist()
    area = grid_of(nb, "features").area
    area.focus()
    for key in ("ArrowRight", "ArrowRight"):
        nb.page.keyboard.press(key)
    expect(area.get_by_role("gridcell", selected=True)).to_contain_text(table.label_texts[features[1]])
    assert nb.kernel.value("explorer.query") == pixels[3]
    nb.page.keyboard.press("Enter")
    expect(output).to_contain_text(f"image {features[1]}: ")
    nb.kernel.wait_for(f"explorer.query == {features[1]} and not explorer.busy")
    expect(area).to_be_focused()

    back.click()
    expect(output).to_contain_text(f"image {pixels[3]}: ")
    back.click()
    expect(output).to_contain_text("image 4: ")
    expect(back).to_be_disabled()
    forward.click()
    nb.kernel.wait_for(f"explorer.query == {pixels[3]}")

    # From Python, and in the dark on a narrow page, nothing is lost.
    nb.set_theme("dark")
    nb.page.set_viewport_size({"width": 640, "height": 1200})
    nb.kernel.run("explorer.query, explorer.k, explorer.metric = 20, 9, 'euclidean'")
    expect(output).to_contain_text("image 20: ")
    expect(output).to_contain_text("9 nearest neighbors of all 1,000 images (euclidean)")
    box, frame = output.bounding_box(), output.locator(".cnnviz-neighbors").bounding_box()
    assert frame["x"] + frame["width"] <= box["x"] + box["width"] + 1
    grid_of(nb, "pixels").hover(8, 14, 14, **SHAPE)
    nb.screenshot("narrow")
    nb.page.set_viewport_size({"width": 1280, "height": 1000})
    nb.output(1).get_by_text("Class by class").click()
    expect(output.get_by_role("row", name="Ankle boot")).to_be_visible()
    nb.screenshot("dark")
