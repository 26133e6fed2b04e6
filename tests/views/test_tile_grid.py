"""The Python side of the tile grid: what is sent, what is refused, and what a saved notebook holds."""

from __future__ import annotations

import base64
import io
import itertools
import json
import math

import ipywidgets
import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from cnnviz_widgets.render.colormaps import DIVERGING, SEQUENTIAL, table
from cnnviz_widgets.render.mosaic import mosaic_png
from cnnviz_widgets.views._payload import _smallest_factor, check_order, pack
from cnnviz_widgets.views.tile_grid import TileGrid

random = np.random.default_rng(0)
maps = random.normal(size=(12, 5, 7)).astype(np.float32)


def carried(grid):
    """The values as the page decodes them, written from the format's description."""
    count, rows, columns = grid._shape
    bits = {"uint8": 8, "uint16": 16}[grid._encoding]
    codes = np.frombuffer(grid._data, f"<u{bits // 8}").reshape(count, rows, columns).astype(int)
    low, high = np.frombuffer(grid._ranges, "<f4").reshape(count, 2).astype(float).T[..., None, None]
    levels = 2**bits - 5
    values = low + codes / levels * (high - low)
    specials = np.array([0.0, -np.inf, np.inf, np.nan])
    return np.where(codes > levels, specials[np.maximum(codes - levels - 1, 0)], values)


def saved_bytes(grid):
    """What the widget takes in a notebook file."""
    return len(json.dumps(grid._get_embed_state()))


def sent_states(grid):
    """Record each message with state that the grid sends."""
    messages = []
    send = grid._send

    def recorded(message, buffers=None):
        messages.append(message)
        send(message, buffers=buffers)

    grid._send = recorded
    return messages


@given(
    arrays(
        np.float32,
        array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_the_page_can_restore_every_value(values):
    grid = TileGrid(values)
    error = np.ptp(values.astype(float), axis=(1, 2), keepdims=True) / 65531 * 0.51 + np.abs(values) * 2e-7
    assert (np.abs(carried(grid) - values) <= error).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.uint8, bool])
def test_any_real_type_is_shown(dtype):
    values = (maps * 50).astype(dtype)
    error = np.ptp(values.astype(float)) / 65531 + 1e-4
    assert np.abs(carried(TileGrid(values)) - values.astype(float)).max() <= error


def test_nan_and_infinities_travel():
    values = maps.copy()
    values[0, 0, :3] = np.nan, np.inf, -np.inf
    values[1] = np.nan
    np.testing.assert_array_equal(carried(TileGrid(values))[0, 0, :3], values[0, 0, :3])
    assert np.isnan(carried(TileGrid(values))[1]).all()


def test_pictures_travel_as_they_are():
    pictures = random.integers(0, 256, (3, 4, 5, 3), np.uint8)
    grid = TileGrid(pictures, noun="image")
    assert grid._encoding == "rgb"
    assert grid._data == pictures.tobytes()
    assert not grid.zero_centered


SHAPES = [
    (64, 224, 224),
    (2048, 7, 7),
    (4096, 28, 28),
    (64, 512, 512),
    (512, 28, 28),
    (65_536, 3, 3),
    (1, 3000, 2000),
    (30_000, 11, 11),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_saved_grid_stays_under_four_megabytes(shape):
    values = np.resize(random.normal(size=100_003).astype(np.float32), shape)
    grid = TileGrid(values)
    assert saved_bytes(grid) < 4_000_000
    size = len(values) * -(-shape[1] // grid._factor) * -(-shape[2] // grid._factor)
    assert len(grid._data) == size * {"uint8": 1, "uint16": 2}[grid._encoding]
    # 16 bits wherever they fit, no shrinking where 8 bits do
    if 2 * values.size <= 2_500_000:
        assert (grid._encoding, grid._factor) == ("uint16", 1)
    elif grid._factor == 1:
        assert grid._encoding == "uint8"
    else:
        assert values.size > 2_000_000


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 900), st.integers(900, 10**6))
def test_maps_are_shrunk_no_more_than_they_must(count, height, width, pixels):
    fitting = (
        factor
        for factor in itertools.count(1)
        if count * math.ceil(height / factor) * math.ceil(width / factor) <= pixels
    )
    assert _smallest_factor(count, height, width, pixels) == next(fitting)


@pytest.mark.parametrize("shape", [(900, 64, 64, 3), (3, 2000, 2000, 3), (60_000, 4, 4, 3)], ids=str)
def test_saved_pictures_stay_under_four_megabytes(shape):
    grid = TileGrid(np.zeros(shape, np.uint8))
    assert saved_bytes(grid) < 4_000_000
    assert grid._factor > 1


def test_labels_and_badges_count_in_the_budget():
    values = np.resize(random.normal(size=100_003).astype(np.float32), (500, 60, 60))
    labels = ["\N{SNOWMAN}" * 400] * 500
    grid = TileGrid(values, labels=labels, badges=["x" * 500] * 500)
    assert saved_bytes(grid) < 4_000_000
    assert TileGrid(values)._factor == 1
    assert grid._factor > 1
    with pytest.raises(ValueError, match="shorten them or show fewer tiles"):
        TileGrid(values, labels=["x" * 10_000] * 500)


def test_shrunk_maps_are_means_of_blocks():
    values = random.normal(size=(40, 301, 300)).astype(np.float32)
    grid = TileGrid(values)
    assert (grid._shape, grid._extent, grid._factor) == ([40, 151, 150], [301, 300], 2)
    blocks = values[:, :300].reshape(40, 150, 2, 150, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(carried(grid)[:, :150], blocks, atol=np.ptp(blocks) / 250)


def test_what_is_negative_is_zero_centered_unless_told_otherwise():
    assert TileGrid(maps).zero_centered
    assert not TileGrid(np.abs(maps)).zero_centered
    assert not TileGrid(maps, zero_centered=False).zero_centered
    assert TileGrid(np.abs(maps), zero_centered=True).zero_centered


def test_the_color_tables_are_sent_in_the_order_of_their_names():
    grid = TileGrid(maps)
    sent = np.frombuffer(grid._tables, np.uint8).reshape(-1, 256, 3)
    names = grid._sequential_names + grid._diverging_names
    assert names == [*SEQUENTIAL, *DIVERGING]
    for index, name in enumerate(names):
        np.testing.assert_array_equal(sent[index], table(name))


def test_everything_is_swapped_in_one_message():
    grid = TileGrid(maps, labels=[str(index) for index in range(12)], badges={3: "dead"}, selected=3)
    messages = sent_states(grid)
    grid.set_maps(np.ones((4, 2, 2)), badges=["", None, "dead", ""], order=[3, 2], unit="weight")
    assert [message["method"] for message in messages] == ["update"]
    (message,) = messages
    assert message["state"]["_shape"] == [4, 2, 2]
    assert message["state"]["_labels"] == []
    assert message["state"]["_badges"] == {"2": "dead"}
    assert {"unit", "_serial", "zero_centered"} <= message["state"].keys()
    assert {"_data", "_ranges", "_order"} == {path[0] for path in message["buffer_paths"]}
    assert grid.selected == 3
    assert grid.order.tolist() == [3, 2]


def test_what_the_new_maps_do_not_have_is_given_up():
    grid = TileGrid(maps, selected=9)
    grid.position = [4, 6]
    grid.enlarged = 9
    grid.set_maps(maps * 2)
    assert (grid.selected, grid.enlarged, grid.position) == (9, 9, [4, 6])
    grid.set_maps(maps[:, :3])
    assert (grid.selected, grid.position) == (9, [-1, -1])
    grid.set_maps(maps[:5])
    assert (grid.selected, grid.enlarged) == (-1, -1)
    grid.set_maps(maps, selected=2)
    assert grid.selected == 2


def test_a_refused_swap_changes_nothing():
    grid = TileGrid(maps, labels=[str(index) for index in range(12)], selected=3)
    before = grid.get_state()
    for options in ({"labels": ["a"]}, {"badges": {99: "x"}}, {"order": [99]}, {"selected": 99}):
        with pytest.raises((ValueError, IndexError)):
            grid.set_maps(maps * 2, **options)
    with pytest.raises(ValueError, match="maps"):
        grid.set_maps(np.zeros((2, 2)))
    after = grid.get_state()
    assert all(before[name] == after[name] for name in before if name != "layout")


@pytest.mark.parametrize("name", ["selected", "zero_centered", "_shape"])
def test_observers_see_all_of_the_new_maps_or_none(name):
    grid = TileGrid(maps, selected=9)
    seen = []
    grid.observe(lambda change: seen.append((grid.count, grid.zero_centered, grid.selected)), name)
    grid.set_maps(np.abs(maps[:5]))
    assert seen == [(5, False, -1)]


def test_order_sorts_and_filters():
    grid = TileGrid(maps)
    assert grid.order.tolist() == list(range(12))
    grid.order = np.argsort(-maps.mean(axis=(1, 2)))
    assert grid.order.tolist() == np.argsort(-maps.mean(axis=(1, 2))).tolist()
    grid.order = []
    assert grid.order.tolist() == []
    assert grid.count == 12
    grid.order = None
    assert grid.order.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ([12], IndexError, r"0 \.\.\. 11; got 12"),
        ([-1], IndexError, "got -1"),
        ([1, 1], ValueError, "twice"),
        ([0.5], TypeError, "list of tile indices"),
        ([[1]], TypeError, r"\[1, 1\]"),
    ],
)
def test_impossible_orders_are_refused(order, error, message):
    with pytest.raises(error, match=message):
        check_order(order, 12)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"labels": ["a"]}, ValueError, "one label a tile, 12; got 1"),
        ({"labels": "channels"}, TypeError, "single text"),
        ({"labels": [*"abcdefghijk", 5]}, TypeError, "label 11 is a int"),
        ({"badges": ["x"]}, ValueError, "one badge a tile, 12"),
        ({"badges": {12: "x"}}, IndexError, r"0 \.\.\. 11; got 12"),
        ({"badges": {"1": "x"}}, TypeError, "whole number"),
        ({"badges": {1: 5}}, TypeError, "tile 1 is a int"),
        ({"badges": "dead"}, TypeError, "'dead'"),
        ({"scale": "both"}, ValueError, "'both'"),
        ({"selected": 12}, IndexError, "`selected`"),
        ({"selected": True}, TypeError, "whole number"),
        ({"badge_colors": {"dead": "red"}}, ValueError, "#rrggbb.*'red'"),
        ({"axes": ["row"]}, traitlets.TraitError, "axes"),
    ],
)
def test_what_does_not_fit_the_maps_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        TileGrid(maps, **options)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros((2, 2)), ValueError, r"\[2, 2\]"),
        (np.zeros((2, 2, 2, 2)), ValueError, r"\[2, 2, 2, 2\]"),
        (np.zeros((2, 2, 2, 4), np.uint8), ValueError, r"\[2, 2, 2, 4\]"),
        (np.zeros((2, 0, 2)), ValueError, "one row and one column"),
        (np.zeros((65_537, 1, 1)), ValueError, "65,536"),
        (np.array([[["a"]]]), TypeError, "real numbers"),
        (np.zeros((1, 1, 1), complex), TypeError, "complex"),
        (5, ValueError, "maps"),
        (None, ValueError, "maps"),
    ],
)
def test_what_is_no_tile_is_refused(values, error, message):
    with pytest.raises(error, match=message):
        TileGrid(values)


def test_three_values_a_pixel_travel_as_values_and_are_seen_as_colors_around_gray():
    colored = (
        random.normal(size=(4, 5, 3, 3)).astype(np.float32) * np.array([1, 2, 3, 4])[:, None, None, None]
    )
    grid = TileGrid(colored)
    assert (grid._shape, grid._channels, grid._encoding) == ([4, 5, 3], 3, "uint16")
    assert grid.zero_centered
    codes = np.frombuffer(grid._data, "<u2").reshape(4, 5, 3, 3)
    low, high = np.frombuffer(grid._ranges, "<f4").reshape(4, 2).T[..., None, None, None].astype(float)
    np.testing.assert_allclose(low + codes / 65531 * (high - low), colored, atol=np.ptp(colored) / 65531)
    np.testing.assert_allclose(grid._payload().carried([2]), colored[[2]], atol=np.ptp(colored) / 65531)
    for scale, limits in (
        ("shared", np.full(4, abs(colored).max())),
        ("each", abs(colored).max(axis=(1, 2, 3))),
    ):
        grid.scale = scale
        picture = np.asarray(Image.open(io.BytesIO(grid.to_png())).convert("RGB")).astype(int)
        # The first tile is at the top left; few tiles are enlarged evenly.
        side = round(160 / 5)
        for row, column in ((0, 0), (4, 2), (2, 1)):
            seen = picture[row * side + side // 2, column * side + side // 2]
            np.testing.assert_allclose(seen, 127.5 + 127.5 * colored[0, row, column] / limits[0], atol=1.5)


def test_many_colored_tiles_keep_to_the_budget():
    grid = TileGrid(np.zeros((500, 40, 50, 3), np.float32))
    assert saved_bytes(grid) < 4_000_000
    assert grid._shape[1] < 40
    assert grid._payload().carried([3]).shape == (1, *grid._shape[1:], 3)


@pytest.mark.parametrize("name", ["selected", "enlarged"])
def test_tiles_that_are_not_there_can_not_be_selected(name):
    grid = TileGrid(maps)
    with pytest.raises(IndexError, match=f"`{name}` lies in 0 ... 11; got 12"):
        setattr(grid, name, 12)
    with pytest.raises(IndexError, match="got -2"):
        setattr(grid, name, -2)
    assert getattr(grid, name) == -1


def test_a_click_on_a_tile_that_is_gone_is_taken_back():
    grid = TileGrid(maps[:3])
    messages = sent_states(grid)
    grid.set_state({"selected": 9, "position": [1, 1]})
    assert grid.selected == -1
    assert grid.position == [1, 1]
    assert {"method": "update", "state": {"selected": -1}, "buffer_paths": []} in messages


def test_a_picked_tile_is_told_unless_it_is_one_of_the_former():
    grid, picked = TileGrid(maps[:3]), []
    assert not grid.picks
    grid.on_pick(picked.append)
    assert grid.picks
    grid._handle_custom_msg({"picked": 2, "serial": 0}, [])
    assert picked == [2]
    grid.set_maps(maps[:2])
    grid._handle_custom_msg({"picked": 2, "serial": 0}, [])
    assert picked == [2]
    grid._handle_custom_msg({"picked": 1, "serial": 1}, [])
    assert picked == [2, 1]


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="zero_centred"):
        TileGrid(maps, zero_centred=True)


def test_the_layout_is_passed_on():
    assert TileGrid(maps, layout={"width": "50%"}).layout.width == "50%"


def test_traits_hold_no_lists_of_numbers_and_no_base64():
    state = TileGrid(maps, badges={1: "x"}, labels=list("abcdefghijkl")).get_state()
    for name, value in state.items():
        if isinstance(value, list):
            assert not any(isinstance(item, float | list) for item in value), name
            assert len(value) <= 12, name
    assert isinstance(state["_data"], bytes)


def test_an_empty_grid_says_so():
    grid = TileGrid(np.zeros((0, 4, 4)))
    assert grid.to_text() == "TileGrid: no tiles"
    assert grid.to_png() is None
    assert "image/png" not in grid._repr_mimebundle_()[0]


def test_viewers_without_widgets_get_a_picture_and_a_text():
    grid = TileGrid(maps, unit="weight", badges={3: "dead"}, order=[5, 3, 1])
    data, _ = grid._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == grid.model_id
    low, high = f"{maps.min():.4g}", f"{maps.max():.4g}"
    expected = f"TileGrid: 12 tiles of 5 x 7, weight from {low} to {high}, 3 of them shown, 1 with a badge"
    assert data["text/plain"] == expected
    picture = base64.b64decode(data["image/png"], validate=True)
    assert picture == grid.to_png()
    shown = np.asarray(Image.open(io.BytesIO(picture)), dtype=int)
    original = np.asarray(Image.open(io.BytesIO(mosaic_png(maps[[5, 3, 1]]))), dtype=int)
    assert shown.shape == original.shape
    assert np.abs(shown - original).max() <= 6  # 16 bits may push a value over the edge of a color


def test_the_picture_follows_the_choices_and_is_bounded():
    grid = TileGrid(maps)
    first = grid.to_png()
    grid.scale = "each"
    grid.diverging = "berlin"
    assert grid.to_png() != first
    many = TileGrid(random.normal(size=(4096, 28, 28)))
    assert len(many.to_png()) <= 600_000


def test_a_torch_tensor_is_taken():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(carried(TileGrid(torch.tensor(maps))), carried(TileGrid(maps)))


def test_the_input_is_left_alone():
    values = maps.copy()
    TileGrid(values)
    np.testing.assert_array_equal(values, maps)


def test_out_of_range_choices_are_refused():
    grid = TileGrid(maps)
    for name, value in {"scale": "both", "sequential": "jet", "tile_size": -1, "position": [1]}.items():
        with pytest.raises(traitlets.TraitError):
            setattr(grid, name, value)


def test_payload_bytes_are_little_endian():
    payload = pack(np.array([[[0.0, 1.0, 3.0]]]))
    assert payload.data[2:4] == round(65531 / 3).to_bytes(2, "little")
    assert payload.ranges == np.array([0.0, 3.0], "<f4").tobytes()


def test_it_is_a_widget_that_can_stand_in_a_box():
    box = ipywidgets.VBox([TileGrid(maps)])
    assert len(box.children) == 1


def test_frames_share_one_scale_and_the_step_chooses_the_nearest() -> None:
    frames = np.random.default_rng(3).normal(size=(3, 4, 5, 6)).astype(np.float32)
    frames[2] *= 50
    grid = TileGrid(np.zeros((1, 1, 1)))
    grid.set_frames(frames, [0, 10, 40], badges=[{}, {2: "dead"}, {}], unit="weight", noun="kernel")
    assert grid.count == 4
    assert grid._badges == {"6": "dead"}
    assert grid.zero_centered
    carried = grid._payload().carried().reshape(frames.shape)
    # 16 bits of each tile's own range
    assert np.abs(carried - frames).max() <= np.ptp(frames, axis=(2, 3)).max() / 65531
    for step, shown in [(-1, 40), (0, 0), (5, 0), (6, 10), (25, 10), (26, 40), (900, 40)]:
        grid.step = step
        assert f"step {shown}," in grid.to_text()
    grid.step = 10
    single = TileGrid(carried[1])
    assert grid.to_png() == single.to_png()
    grid.set_maps(frames[0])
    assert grid._steps == []
    assert grid._shape == [4, 5, 6]


def test_frames_keep_to_the_bytes_they_are_given() -> None:
    frames = np.random.default_rng(4).normal(size=(20, 8, 24, 24)).astype(np.float32)
    grid = TileGrid(np.zeros((1, 1, 1)))
    grid.set_frames(frames, np.arange(20), data_bytes=20_000)
    assert len(grid._data) <= 20_000
    assert grid._extent == [24, 24]
    assert grid._factor == 3  # 20 * 8 * 24 * 24 / 9 = 10240 values fit into 8 bits, with 12 bytes a tile


@pytest.mark.parametrize(
    ("shape", "steps", "message"),
    [
        ((2, 3, 4), [0, 1], r"\[F, N, H, W\]"),
        ((2, 3, 4, 4), [0], "one whole number a frame, 2 of them"),
        ((2, 3, 4, 4), [0.5, 1.5], "whole number"),
        ((2, 3, 4, 4), [5, 5], "ascend"),
        ((2, 3, 4, 4), [-1, 5], "ascend, from 0"),
        ((0, 3, 4, 4), [], "one at least"),
    ],
)
def test_frames_that_do_not_fit_their_steps_are_refused(shape, steps, message) -> None:
    grid = TileGrid(np.ones((2, 3, 3)))
    with pytest.raises(ValueError, match=message):
        grid.set_frames(np.zeros(shape, np.float32), steps)
    assert grid.count == 2
