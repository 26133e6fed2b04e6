"""The Python side of the embedding map: what is sent, what is refused, what a saved notebook holds."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets import samples
from cnnviz_widgets.render.colormaps import table
from cnnviz_widgets.render.map_still import GRAY, class_colors, point_colors
from cnnviz_widgets.views._atlas import LOSSLESS, Atlas, _area_weights, _shrink, pack_thumbnails
from cnnviz_widgets.views._map_data import read_codes
from cnnviz_widgets.views.embedding_map import EmbeddingMap
from cnnviz_widgets.views.linked_map import LinkedMap

random = np.random.default_rng(0)
points = random.normal(size=(12, 2)).astype(np.float32)


def unpack(atlas, count):
    """Cut all tiles from the decoded pages, written from the description of the format."""
    across, down = atlas.grid
    tiles = []
    for page in atlas.pages:
        picture = np.asarray(Image.open(io.BytesIO(page)).convert("RGB"))
        assert max(picture.shape[:2]) <= 1024
        for top in range(0, picture.shape[0], atlas.pitch[0]):
            for left in range(0, across * atlas.pitch[1], atlas.pitch[1]):
                tiles.append(picture[top : top + atlas.tile[0], left : left + atlas.tile[1]])
        assert len(tiles) <= len(atlas.pages) * across * down
    return np.stack(tiles[:count])


def atlas_of(chart):
    numbers = chart._atlas
    return Atlas(tuple(chart._pages), *(tuple(numbers[i : i + 2]) for i in (0, 2, 4)), (0, 0), 0)


def numbered(count, height, width, colored):
    """Thumbnails no two of which are alike: each tells its own number in bright and dark quarters."""
    bits = (np.arange(count)[:, None] >> np.arange(16)) & 1
    cells = bits.reshape(count, 4, 4).repeat(height // 4, axis=1).repeat(width // 4, axis=2)
    gray = (40 + 155 * cells + random.integers(0, 40, cells.shape)).astype(np.uint8)
    return np.stack([gray, gray // 2 + 60, 255 - gray // 3], axis=-1) if colored else gray


@pytest.mark.parametrize("colored", [False, True], ids=["gray", "color"])
@pytest.mark.parametrize("count", [1, 2, 35, 36, 37, 1295, 1296, 1297, 3001])
def test_every_thumbnail_comes_back_as_it_was(count, colored):
    # 28 pixels: 36 tiles a row, 1,296 a page.
    pictures = random.integers(0, 256, (count, 28, 28, 3) if colored else (count, 28, 28), np.uint8)
    atlas = pack_thumbnails(pictures, 10**9)
    assert (atlas.quality, atlas.tile, atlas.note) == (LOSSLESS, (28, 28), "")
    expected = pictures if colored else pictures[..., None].repeat(3, axis=3)
    np.testing.assert_array_equal(unpack(atlas, count), expected)
    np.testing.assert_array_equal(atlas.decode(count - 1), expected[-1])


@pytest.mark.parametrize("bytes_each", [130, 60])
@pytest.mark.parametrize(("count", "colored"), [(5003, False), (4099, True)])
def test_a_lossy_thumbnail_is_still_that_of_its_point(count, colored, bytes_each):
    pictures = numbered(count, 20, 28, colored)
    atlas = pack_thumbnails(pictures, bytes_each * count)
    assert atlas.quality < LOSSLESS
    tiles = unpack(atlas, count)[..., 0].astype(int)
    # Read each tile's number back from the middles of its sixteen cells.
    rows, columns = ((np.arange(4) * 2 + 1) * side // 8 for side in atlas.tile)
    bits = tiles[:, rows][:, :, columns].reshape(count, 16) > 127
    np.testing.assert_array_equal(bits @ (1 << np.arange(16)), np.arange(count))


def test_the_budget_makes_thumbnails_lossy_then_smaller_and_says_so():
    pictures = np.asarray(samples.fashion_mnist("test")[0]).reshape(-1, 28, 28)
    sizes = []
    for budget in (10**6, 150_000, 60_000, 20_000, 3_000):
        atlas = pack_thumbnails(pictures, budget)
        assert sum(map(len, atlas.pages)) <= budget
        assert bool(atlas.note) == (atlas.tile != (28, 28))
        sizes.append((atlas.tile[0], atlas.quality))
    assert sizes[0] == (28, LOSSLESS)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == len(sizes)
    with pytest.raises(ValueError, match="1,000 thumbnails don't fit in 100 bytes"):
        pack_thumbnails(pictures, 100)


def test_shrinking_takes_the_mean_of_the_area():
    picture = random.integers(0, 256, (3, 7, 10, 3), np.uint8)
    weights = _area_weights(10, 4)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights[0], np.r_[0.4, 0.4, 0.2, np.zeros(7)], atol=1e-6)
    expected = np.empty((3, 3, 4, 3))
    fine = picture.repeat(3, axis=1).repeat(4, axis=2).astype(float)  # 21 x 40: whole blocks of 7 x 10
    for row in range(3):
        for column in range(4):
            block = fine[:, 7 * row : 7 * row + 7, 10 * column : 10 * column + 10]
            expected[:, row, column] = block.mean(axis=(1, 2))
    assert np.abs(_shrink(picture, 4).astype(float) - expected).max() <= 0.51


def test_large_thumbnails_and_flat_ones_are_carried():
    tall = pack_thumbnails(random.integers(0, 256, (3, 400, 100), np.uint8), 10**6)
    assert (tall.tile, tall.extent) == ((128, 32), (400, 100))
    line = random.integers(0, 256, (9, 1, 30), np.uint8)
    np.testing.assert_array_equal(unpack(pack_thumbnails(line, 10**6), 9)[..., 0], line)


def test_points_travel_as_one_buffer():
    chart = EmbeddingMap(points.astype(float))
    np.testing.assert_array_equal(np.frombuffer(chart._points, "<f4").reshape(-1, 2), points)
    np.testing.assert_array_equal(chart.points, points)
    assert chart.count == 12


def test_classes_are_named_in_order_and_shared():
    chart = EmbeddingMap(points[:4], labels=["dog", None, "cat", ""], predictions=["cat", "ape", "cat", None])
    assert chart._class_names == ["ape", "cat", "dog"]
    assert read_codes(chart._labels, 4).tolist() == [2, 65_535, 1, 65_535]
    assert read_codes(chart._predictions, 4).tolist() == [1, 0, 1, 65_535]
    numbers = EmbeddingMap(points, labels=np.arange(12)[::-1])
    assert numbers._class_names == [str(number) for number in range(12)]
    many = EmbeddingMap(random.normal(size=(300, 2)), labels=range(300))
    assert read_codes(many._labels, 300).tolist() == list(range(300))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": np.zeros((0, 2))}, ValueError, "points are empty"),
        ({"points": np.zeros((5, 3))}, ValueError, r"\[N, 2\].*got \[5, 3\]"),
        ({"points": [["a", "b"]]}, TypeError, "real numbers"),
        ({"points": [[0, 1], [np.nan, 2], [3, np.inf]]}, ValueError, r"2 of 3 are not.*point 1 at \(nan"),
        ({"points": [[0, 1e300]]}, ValueError, "fit in float32"),
        ({"points": np.zeros((50_001, 2))}, ValueError, "at most 50,000 points; got 50,001"),
        ({"thumbnails": np.zeros((11, 4, 4), np.uint8)}, ValueError, "one thumbnail a point, 12; got 11"),
        ({"thumbnails": np.zeros((12, 4, 4))}, ValueError, "uint8.*got float64"),
        ({"thumbnails": np.zeros((12, 0, 4), np.uint8)}, ValueError, "at least one row"),
        ({"thumbnails": np.zeros((12, 4, 4), np.uint8), "max_bytes": 1000}, ValueError, "`max_bytes`"),
        ({"labels": ["a"] * 11}, ValueError, "one of `labels` a point, 12; got 11"),
        ({"labels": "abcdefghijkl"}, TypeError, "single text"),
        ({"predictions": [1.5] * 12}, TypeError, "number 0 is a float"),
        ({"values": np.zeros((12, 1))}, ValueError, r"\[12\]; got \[12, 1\]"),
        ({"values": ["x"] * 12}, TypeError, "real numbers"),
        ({"names": ["a"]}, ValueError, "12; got 1"),
        ({"color_by": "label"}, ValueError, "can be colored by 'none'; got 'label'"),
        ({"selected": [3, 12]}, IndexError, "0 ... 11; got 12"),
        ({"selected": [0.5]}, TypeError, "whole number"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    chart = EmbeddingMap(points, labels=["a"] * 12, selected=[1])
    before = chart.get_state()
    with pytest.raises(error, match=message):
        EmbeddingMap(**({"points": points} | arguments))
    with pytest.raises(error, match=message):
        chart.set_data(**({"points": points} | arguments))
    assert chart.get_state() == before


def test_the_selection_is_checked_and_may_be_an_array():
    chart = EmbeddingMap(points)
    seen = []
    chart.observe(lambda change: seen.append(change.new), "selected")
    chart.selected = np.array([5, 2, 5])
    assert chart.selected == [5, 2]
    assert seen == [[5, 2]]
    with pytest.raises(IndexError, match="got -1"):
        chart.selected = [-1]
    with pytest.raises(IndexError, match="got 12"):
        chart.current = 12
    assert chart.selected == [5, 2]
    # The page clicked just before other points were shown.
    chart.set_data(points[:3])
    chart.set_state({"selected": [7], "current": 7, "query": "x"})
    assert (chart.selected, chart.current, chart.query) == ([], -1, "x")


def test_moving_points_sends_nothing_else():
    chart = EmbeddingMap(points, thumbnails=np.zeros((12, 4, 4), np.uint8), selected=[3])
    sent = []
    chart._send = lambda message, buffers=None: sent.append((message, buffers))
    chart.set_points(points + 1)
    [(message, buffers)] = sent
    assert set(message["state"]) == {"_serial"}
    assert [len(buffer) for buffer in buffers] == [8 * 12]
    assert chart.selected == [3]
    with pytest.raises(ValueError, match="same 12 points at other places; got 11"):
        chart.set_points(points[:11])
    with pytest.raises(ValueError, match="finite"):
        chart.set_points(points * np.nan)


def test_live_frames_wait_for_the_page_and_the_last_one_always_comes():
    chart = EmbeddingMap(points)
    sent = []
    chart.observe(lambda change: sent.append(np.frombuffer(change.new, "<f4")[0] - points[0, 0]), "_points")
    chart.set_state({"_drawn": 0})
    for step in range(1, 6):
        chart.set_points(points + np.float32(step), live=True)
    assert np.round(sent) == [1]
    np.testing.assert_array_equal(chart.points, points + np.float32(5))
    chart.set_state({"_drawn": 1})  # the page has drawn the first: the newest follows, those between don't
    assert np.round(sent).tolist() == [1, 5]
    chart.set_points(points + np.float32(6), live=True)
    chart.set_points(points + np.float32(7))
    assert np.round(sent).tolist() == [1, 5, 7]
    chart.set_state({"_drawn": chart._serial})
    assert len(sent) == 3


def test_a_linked_map_has_only_places_of_its_own():
    chart = EmbeddingMap(points, labels=["cat", "dog"] * 6, thumbnails=np.zeros((12, 5, 4), np.uint8))
    linked = LinkedMap(chart, points[::-1], height=200)
    assert {"_points", "_serial", "_drawn", "height", "map"} == {
        name for name in linked.get_state() if name != "layout" and not name.startswith(("_model", "_view"))
    } - {"_dom_classes", "tabbable", "tooltip", "_esm", "_css", "_anywidget_id"}
    assert linked.get_state("map")["map"] == f"IPY_MODEL_{chart.model_id}"
    np.testing.assert_array_equal(linked.points, points[::-1].astype(np.float32))
    linked.set_points(points * [-1, 1])
    np.testing.assert_array_equal(chart.points, points.astype(np.float32))
    assert (
        linked.to_png()
        == EmbeddingMap(points * [-1, 1], labels=["cat", "dog"] * 6).to_png()
        != chart.to_png()
    )
    chart.selected = [3]
    assert linked.to_text() == "LinkedMap: 12 points, 2 classes, colored by label, 1 selected"
    with pytest.raises(ValueError, match="same 12 points at other places; got 11"):
        LinkedMap(chart, points[:11])
    with pytest.raises(TypeError, match="EmbeddingMap; got ndarray"):
        LinkedMap(points, points)


@pytest.mark.parametrize("count", [5, 20])
def test_a_linked_map_shows_none_of_the_points_that_are_gone(count):
    chart = EmbeddingMap(points, labels=["cat", "dog"] * 6)
    linked = LinkedMap(chart, points[::-1])
    more = np.arange(2.0 * count).reshape(count, 2)
    chart.set_data(more, labels=range(count))
    assert linked.points.shape == (0, 2)
    blank = np.asarray(Image.open(io.BytesIO(linked.to_png())).convert("RGB"))[:, : 640 - 150]
    assert (blank == 255).all()
    with pytest.raises(ValueError, match=f"same {count} points at other places; got 12"):
        linked.set_points(points)
    linked.set_points(more[::-1])
    np.testing.assert_array_equal(linked.points, more[::-1])
    assert linked.to_png() == EmbeddingMap(more[::-1], labels=range(count)).to_png()


@pytest.mark.parametrize(
    ("count", "height", "names"), [(1000, 28, True), (2000, 64, False), (50_000, 28, True)]
)
def test_a_saved_map_stays_under_four_megabytes(count, height, names):
    some = random.integers(0, 256, (50, height, height), np.uint8)  # noise: nothing compresses worse
    chart = EmbeddingMap(
        random.normal(size=(count, 2)),
        thumbnails=some[np.arange(count) % 50],
        labels=np.arange(count) % 200,
        predictions=np.arange(count) % 199,
        values=random.random(count),
        names=[f"picture {i}.png" for i in range(count)] if names else None,
    )
    chart.selected = range(count)
    assert len(json.dumps(chart._get_embed_state())) < 4_000_000
    assert len(unpack(atlas_of(chart), count)) == count
    assert bool(chart.note) == (count > 1000)


def test_colors_are_those_of_class_judgment_and_value():
    labels = np.array([0, 11, 65_535], np.uint16)
    told = np.array([0, 10, 1], np.uint16)
    values = np.array([-1.0, 4.0, np.nan], np.float32)
    palette = class_colors()
    assert len(np.unique(palette, axis=0)) == 10
    by_label = point_colors("label", labels, told, values)
    np.testing.assert_array_equal(by_label, [palette[0], palette[1], GRAY])
    by_judgment = point_colors("correct", labels, told, values)
    np.testing.assert_array_equal(by_judgment, [palette[0], palette[6], GRAY])
    by_value = point_colors("value", labels, told, values)
    np.testing.assert_array_equal(by_value, [table("vik")[96], table("vik")[255], GRAY])


def test_other_viewers_get_a_picture_and_a_line():
    corners = [[0, 0], [100, 50], [0, 50], [100, 0]]
    chart = EmbeddingMap(corners, labels=["a", "b", "a", None], predictions=["a", "a", "a", "a"])
    data, _ = chart._repr_mimebundle_()
    assert data["text/plain"] == (
        "EmbeddingMap: 4 points, 2 classes, 2 of 3 predictions right, colored by label"
    )
    picture = np.asarray(Image.open(io.BytesIO(chart.to_png())).convert("RGB"))
    left, width, height = 14, 640 - 150 - 28, 460
    scale = width / 100
    for (x, y), color in zip(corners, [*class_colors()[[0, 1, 0]].tolist(), GRAY], strict=True):
        place = picture[round(height / 2 - (y - 25) * scale), round(left + x * scale)]
        np.testing.assert_array_equal(place, color)


def test_class_colors_are_told_apart() -> None:
    # Distances in OKLab (Ottosson 2020), where 0.02 is just seen side by side.
    linear = (class_colors() / 255.0) ** 2.2
    cones = [[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]
    lab = [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
    places = np.cbrt(linear @ np.transpose(cones)) @ np.transpose(lab)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert apart[np.triu_indices(10, 1)].min() > 0.1
