"""Pictures with captions: all that is in them is text, they are the pictures, and the curve goes where it should."""

from __future__ import annotations

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets.render.captioned import captioned, share_curve

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), np.uint8)


def data_of(shown: str, kind: str) -> list[bytes]:
    return [base64.b64decode(each) for each in re.findall(rf'data:image/{kind};base64,([^"]*)"', shown)]


def test_each_picture_has_its_caption_and_texts_are_no_markup() -> None:
    captions = ['"><script>\nsecond line', "b", "c"]
    shown = captioned(PICTURES, captions, "<i>said</i>")
    found = [np.asarray(Image.open(io.BytesIO(each))) for each in data_of(shown, "png")]
    factor = found[0].shape[0] // 8
    for picture, drawn in zip(PICTURES, found, strict=True):
        assert np.array_equal(drawn, picture.repeat(factor, 0).repeat(factor, 1))
    texts = re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", shown)
    assert texts == ["&quot;&gt;&lt;script&gt;<br>second line", "b", "c"]
    assert "<p>&lt;i&gt;said&lt;/i&gt;</p>" in shown
    assert "<script" not in shown


def test_all_together_they_stay_within_the_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 80, 80, 3), np.uint8)
    shown = captioned(noise, ["x"] * 40, max_bytes=100_000)
    assert sum(map(len, data_of(shown, "png"))) <= 100_000
    with pytest.raises(ValueError, match="with a caption each"):
        captioned(noise, ["x"])


def test_a_curve_goes_through_its_points() -> None:
    shown = share_curve([0, 4, 2, 8], [1.0, 0.25, 0.5, float("nan")], x_title="<x>", y_title="share")
    (drawing,) = data_of(shown, r"svg\+xml")
    root = ElementTree.fromstring(drawing)
    circles = [(float(each.get("cx")), float(each.get("cy"))) for each in root.findall(".//{*}circle")]
    assert len(circles) == 3  # none for the NaN
    (x0, top), (x2, y2), (x4, y4) = circles
    # In proportion, from the left, and down from 100%.
    assert x4 - x0 == pytest.approx(2 * (x2 - x0), abs=0.2)
    assert y4 - top == pytest.approx(1.5 * (y2 - top), abs=0.2)
    texts = {each.text for each in root.findall(".//{*}text")}
    assert texts == {"0%", "50%", "100%", "0", "2", "4", "8", "<x>", "share"}
