"""The stage's pictures, positions and drawing commands; how they look is for the browser tests."""

from __future__ import annotations

import base64
import io
import json
import threading

import ipycanvas.canvas
import numpy as np
import pytest
from PIL import Image
from traitlets import TraitError

from cnnviz_widgets.render.overlay import overlay
from cnnviz_widgets.render.resize import resize_map
from cnnviz_widgets.views._heat import make_heat
from cnnviz_widgets.views._overlay import DENSITY
from cnnviz_widgets.views._pacing import Pacer
from cnnviz_widgets.views.image_stage import ImageStage, StageBox

HOSTILE = "<img src=x onerror=alert(1)>"
DEFAULTS = {
    "low": None,
    "high": None,
    "colormap": None,
    "zero_centered": None,
    "interpolation": "bilinear",
    "stride": None,
    "center": None,
    "name": "",
    "unit": "",
}


def picture(height=20, width=30, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture
def unpaced(monkeypatch):
    """Every request is a run: so a test sees the effect of each call."""
    monkeypatch.setattr(Pacer, "request", lambda self: self._run())


@pytest.fixture
def sent(monkeypatch):
    """The batches of drawing commands sent to the page, each a list of [name, arguments]."""
    batches = []

    def keep(_manager, commands, buffers=()):
        if commands and not isinstance(commands[0], list):
            commands = [commands]
        names = ipycanvas.canvas._CMD_LIST
        batches.append([[names[command[0]], command[1] if len(command) > 1 else []] for command in commands])

    monkeypatch.setattr(ipycanvas.canvas._CanvasManager, "_send_custom", keep)
    return batches


class Page:
    """Stands for the page: sends what ipycanvas's page sends, in CSS pixels of the shown picture."""

    def __init__(self, stage):
        self.stage = stage

    def send(self, event, x=0.0, y=0.0):
        content = {"event": event, "x": DENSITY * x, "y": DENSITY * y}
        if event.startswith("touch"):
            content = {"event": event, "touches": [] if event == "touch_end" else [content]}
        _, pointer = self.stage._overlay.canvases
        pointer._handle_custom_msg(content, [])

    def load(self):
        drawing, _ = self.stage._overlay.canvases
        drawing._handle_custom_msg({"event": "client_ready"}, [])


# Pictures


def test_the_photo_reaches_the_page_unchanged_and_takes_its_place():
    image = picture()
    stage = ImageStage(image, width=300)
    np.testing.assert_array_equal(decoded(stage._photo.value), image)
    image[:] = 0
    assert stage.image.any()
    other = picture(seed=1)
    stage.image = other
    np.testing.assert_array_equal(decoded(stage._photo.value), other)


def test_a_large_photo_travels_small_but_keeps_its_own_pixels():
    stage = ImageStage(picture(1500, 3000), width=400)
    assert stage._photo.format == "webp"
    assert decoded(stage._photo.value).shape[:2] == (400, 800)
    Page(stage).send("mouse_move", 399.9, 199.9)
    assert stage.pointer == (1499, 2999)


@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_the_heat_map_over_the_photo_is_what_render_draws(unpaced, interpolation):
    image = picture(40, 60)
    values = np.random.default_rng(1).normal(size=(4, 5))
    stage = ImageStage(image, width=60)  # not enlarged, so the layer has the photo's pixels
    stage.set_heat(values, interpolation=interpolation, opacity=0.3, stride=(11, 12), center=(4.5, 7.0))
    layer = decoded(stage._heat_view.value).astype(float)
    alpha = layer[..., 3:] / 255
    shown = image * (1 - alpha) + layer[..., :3] * alpha
    wanted = overlay(
        image, values, opacity=0.3, interpolation=interpolation, stride=(11, 12), center=(4.5, 7.0)
    )
    assert np.abs(shown - wanted).max() <= 1.5  # alpha travels as one byte


def test_missing_values_let_the_photo_through(unpaced):
    stage = ImageStage(picture(4, 4), width=32)
    stage.set_heat([[0.0, np.nan], [1.0, 2.0]], interpolation="nearest", opacity=1.0)
    alpha = decoded(stage._heat_view.value)[..., 3]
    half = alpha.shape[0] // 2
    assert np.all(alpha[:half, half:] == 0)
    assert np.all(alpha[half:] == 255)


def test_opacity_colors_the_same_map_anew(unpaced):
    stage = ImageStage(picture(8, 8), width=32)
    stage.set_heat([[0.0, 1.0]])
    before = decoded(stage._heat_view.value)
    stage.opacity = 0.25
    after = decoded(stage._heat_view.value)
    np.testing.assert_array_equal(before[..., :3], after[..., :3])
    assert set(before[..., 3].ravel()) == {128}
    assert set(after[..., 3].ravel()) == {64}


def test_small_photos_have_square_pixels_and_a_smooth_heat_map(unpaced):
    stage = ImageStage(picture(28, 28), width=448)
    assert "cvz-pixelated" in stage._photo._dom_classes
    stage.set_heat([[0.0, 1.0]])
    assert decoded(stage._heat_view.value).shape[:2] == (448, 448)
    stage.image = picture(224, 224)
    assert "cvz-pixelated" not in stage._photo._dom_classes


@pytest.mark.parametrize("seed", range(5))
def test_the_value_read_is_that_of_the_nearest_cell(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(5, 40, 2)
    values = random.normal(size=random.integers(1, 9, 2))
    places = (
        {}
        if seed == 0
        else {"stride": tuple(random.uniform(1, 9, 2)), "center": tuple(random.uniform(-9, 9, 2))}
    )
    heat = make_heat(values, **{**DEFAULTS, **places})
    nearest = resize_map(values, int(height), int(width), interpolation="nearest", **places)
    read = [[heat.value_at((row, column), height, width) for column in range(width)] for row in range(height)]
    np.testing.assert_array_equal(np.float32(read), nearest)


def test_the_legend_names_ends_unit_and_what_is_missing(unpaced):
    stage = ImageStage(picture())
    stage.set_heat([[-1.0, 3.0, np.nan]], name=HOSTILE, unit="a.u.")
    assert HOSTILE not in stage._legend.value
    assert "&lt;img src=x" in stage._legend.value
    for text in ("\u22123", ">3 a.u.<", "(1 NaN)"):
        assert text in stage._legend.value
    stage.clear_heat()
    assert stage._legend.value == ""
    assert stage._heat_view.layout.display == "none"


def test_a_growing_map_may_begin_empty_when_its_scale_is_given(unpaced):
    stage = ImageStage(picture())
    cells = np.full((3, 3), np.nan)
    stage.set_heat(cells, low=0.0, high=1.0)
    assert decoded(stage._heat_view.value)[..., 3].max() == 0
    cells[0, 0] = 1.0  # the stage keeps its own copy
    assert np.isnan(stage._heat.values).all()


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        ([1.0, 2.0], {}, r"\[h, w\]"),
        ([[np.nan]], {}, "no finite value"),
        ([[1.0]], {"low": 2.0, "high": 1.0}, "low end"),
        ([[1.0]], {"colormap": "virids"}, "viridis"),
        ([[1.0]], {"interpolation": "cubic"}, "cubic"),
        ([[1.0]], {"opacity": 1.5}, "opacity"),
    ],
)
def test_a_wrong_heat_map_is_refused_and_the_old_one_stays(unpaced, values, options, said):
    stage = ImageStage(picture())
    stage.set_heat([[0.0, 1.0]], name="old")
    before = stage._heat_view.value
    with pytest.raises(ValueError, match=said):
        stage.set_heat(values, **options)
    assert stage._heat_view.value == before
    assert "old" in stage._legend.value


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(ValueError, match="uint8 array"):
        ImageStage(image)


def test_what_covers_the_picture_is_shown_instead_of_it_within_a_line(unpaced):
    image, other = picture(40, 60), picture(40, 60, seed=1)
    stage = ImageStage(image, width=60)
    mask = np.zeros((40, 60), bool)
    mask[0:12, 30:50] = True
    mask[20:30, 4:9] = True
    stage.set_cover(mask, other)
    layer = decoded(stage._cover_view.value)
    np.testing.assert_array_equal(layer[..., 3] == 255, mask)
    np.testing.assert_array_equal(layer[2:10, 32:48, :3], other[2:10, 32:48])
    assert (layer[20:30, 4, :3] == 255).all()
    assert (layer[0, 30:50, :3] == 255).all()  # at the border of the picture, too
    assert (layer[21:29, 5, :3] == 0).all()
    assert stage._cover_view.layout.display is None
    clean = decoded(ImageStage(image, width=60).to_png()).astype(int)
    changed = (np.abs(decoded(stage.to_png()) - clean) > 4).any(axis=2)
    assert changed[mask].mean() > 0.9
    assert not changed[14:18].any()
    mask[:] = False
    stage.set_cover(mask, other)
    assert stage._cover_view.layout.display == "none"


def test_a_cover_is_enlarged_as_the_picture_is_and_goes_with_its_size(unpaced):
    stage = ImageStage(picture(10, 20), width=200)
    stage.set_cover(np.ones((10, 20), bool), picture(10, 20, seed=1))
    assert decoded(stage._cover_view.value).shape == (100, 200, 4)
    stage.image = picture(10, 20, seed=2)
    assert stage._cover_view.layout.display is None
    stage.image = picture(12, 20)
    assert stage._cover_view.layout.display == "none"
    stage.set_cover(np.ones((12, 20), bool), picture(12, 20, seed=1))
    stage.clear_cover()
    assert stage._cover_view.layout.display == "none"
    with pytest.raises(ValueError, match=r"bool array of the picture's size \[12, 20\]; got bool \[2, 2\]"):
        stage.set_cover(np.ones((2, 2), bool), picture(12, 20))
    with pytest.raises(ValueError, match=r"uint8 array \[12, 20, 3\]; got uint8 \[5, 5, 3\]"):
        stage.set_cover(np.ones((12, 20), bool), picture(5, 5))


def test_a_cover_of_a_large_photo_travels_small(unpaced):
    stage = ImageStage(picture(1500, 3000), width=400)
    stage.set_cover(np.ones((1500, 3000), bool), picture(1500, 3000, seed=1))
    assert max(decoded(stage._cover_view.value).shape) <= 800


# Positions


@pytest.mark.parametrize(("height", "width", "shown"), [(20, 30, 300), (28, 28, 448), (300, 40, 100)])
def test_the_pointer_is_told_in_image_pixels(height, width, shown):
    stage = ImageStage(picture(height, width), width=shown)
    scale = min(shown, 1.5 * shown * width / height) / width
    page = Page(stage)
    for row, column in [(0, 0), (height // 2, width // 3), (height - 1, width - 1)]:
        page.send("mouse_move", (column + 0.5) * scale, (row + 0.5) * scale)
        assert stage.pointer == (row, column)
    page.send("mouse_move", shown * 9, shown * 99)
    assert stage.pointer == (height - 1, width - 1)
    page.send("mouse_out")
    assert stage.pointer is None


def test_callbacks_hear_of_pixels_clicks_and_leaving():
    stage = ImageStage(picture(10, 10), width=100)
    heard, clicks, pressed = [], [], []
    stage.on_pointer(heard.append)
    stage.on_click(clicks.append)
    stage.observe(lambda change: pressed.append(change["new"]), "pressed")
    page = Page(stage)
    page.send("mouse_move", 11, 21)
    page.send("mouse_move", 19, 29)  # the same pixel
    for _ in range(2):
        page.send("mouse_down", 15, 25)
        page.send("mouse_up", 17, 25)
    page.send("mouse_out")
    assert heard == [(2, 1), None]
    assert clicks == [(2, 1), (2, 1)]
    assert pressed == [True, False, True, False]
    assert stage.clicked == (2, 1)


def test_a_drag_is_no_click():
    stage = ImageStage(picture(10, 10), width=100)
    page = Page(stage)
    page.send("mouse_down", 5, 5)
    page.send("mouse_move", 55, 5)
    assert stage.pressed
    assert stage.pointer == (0, 5)
    page.send("mouse_up", 55, 5)
    assert stage.clicked is None
    page.send("mouse_down", 5, 5)
    page.send("mouse_out", 5, -1)
    assert not stage.pressed
    page.send("mouse_up", 5, 5)  # released after it came back
    assert stage.clicked is None


def test_a_tap_of_a_finger_is_a_click():
    stage = ImageStage(picture(10, 10), width=100)
    page = Page(stage)
    page.send("touch_start", 35, 45)
    assert stage.pressed
    page.send("touch_move", 36, 45)
    page.send("touch_end")
    assert stage.clicked == (4, 3)
    assert stage.pointer is None


def test_row_and_column_can_be_entered_instead():
    stage = ImageStage(picture(10, 20), width=100)
    clicks = []
    stage.on_click(clicks.append)
    stage._row.value = 7
    stage._column.value = 12
    assert clicks == [(7, 0), (7, 12)]
    assert stage.clicked == (7, 12)
    stage._row.value = 99
    assert stage.clicked == (9, 12)


def test_a_position_set_in_python_fills_the_fields_and_calls_nobody():
    stage = ImageStage(picture(10, 20), width=100)
    clicks = []
    stage.on_click(clicks.append)
    stage.clicked = (3, 4)
    assert (stage._row.value, stage._column.value, clicks) == (3, 4, [])
    with pytest.raises(TraitError, match="10 x 20"):
        stage.clicked = (10, 0)


def test_the_reading_tells_the_value_under_the_pointer(unpaced):
    stage = ImageStage(picture(10, 10), width=100)
    stage.set_heat([[1.25, 2.5]], name="activation", unit="a.u.")
    Page(stage).send("mouse_move", 75, 5)
    assert stage._readout.value == "pixel (0, 7) \u00b7 activation: 2.5 a.u."


def test_a_picture_of_another_size_begins_anew(unpaced, sent):
    stage = ImageStage(picture(10, 20), width=100)
    stage.set_heat([[0.0, 1.0]])
    stage.set_boxes([(0, 0, 5, 5)])
    stage.clicked = (9, 19)
    stage.image = picture(10, 20, seed=2)
    assert stage.clicked == (9, 19)
    assert stage._heat is not None
    stage.image = picture(6, 6)
    assert stage.clicked is None
    assert stage._heat is None
    assert "strokeLine" not in [name for name, _ in sent[-1]]
    Page(stage).send("mouse_move", 99, 99)
    assert stage.pointer == (5, 5)


# Drawing


def lines(batch):
    return [arguments for name, arguments in batch if name == "strokeLine"]


def test_a_box_is_drawn_around_its_pixels(unpaced, sent):
    stage = ImageStage(picture(10, 20), width=100)  # 5 CSS pixels, 10 canvas pixels each
    stage.set_boxes([(2, 3, 6, 8)])
    corners = {tuple(point) for x0, y0, x1, y1 in lines(sent[-1]) for point in ((x0, y0), (x1, y1))}
    assert corners == {(30, 20), (80, 20), (80, 60), (30, 60)}


@pytest.mark.parametrize(
    ("box", "dashed", "solid"),
    [
        # On a canvas of 200 x 100 pixels; lines at the border keep DENSITY inside.
        ((-4, 3, 6, 99), {"y": DENSITY, "x": 200 - DENSITY}, {"y": 60, "x": 30}),
        ((2, -1, 11, 8), {"y": 100 - DENSITY, "x": DENSITY}, {"y": 20, "x": 80}),
    ],
)
def test_sides_outside_the_image_are_dashed_at_its_border(unpaced, sent, box, dashed, solid):
    stage = ImageStage(picture(10, 20), width=100)
    stage.set_boxes([box])
    seen, dashing = {True: {}, False: {}}, False
    for name, arguments in sent[-1]:
        if name == "setLineDash":
            dashing = bool(arguments[0])
        elif name == "strokeLine":
            x0, y0, _, y1 = arguments
            axis, place = ("y", y0) if y0 == y1 else ("x", x0)
            assert seen[dashing].setdefault(axis, place) == place
    assert seen == {True: dashed, False: solid}


def test_a_box_that_is_nowhere_on_the_image_is_not_drawn(unpaced, sent):
    stage = ImageStage(picture(10, 20), width=100)
    stage.set_boxes([(10, 0, 12, 5)])
    assert lines(sent[-1]) == []


def test_labels_are_text_and_short(unpaced, sent):
    stage = ImageStage(picture(10, 20), width=100)
    stage.set_boxes([StageBox(2, 3, 6, 8, label=HOSTILE + "\n" + "long" * 99)])
    (text,) = (arguments[0] for name, arguments in sent[-1] if name == "fillText")
    assert text.startswith("<img src=x")
    assert text.endswith("\u2026")
    assert "\n" not in text


def test_each_batch_names_its_canvas_first(unpaced, sent):
    """A page loaded anew knows no current canvas: a command before the first switch breaks it for good."""
    stages = [ImageStage(picture(), width=100) for _ in range(2)]
    for _ in range(2):
        for stage in stages:
            stage.set_boxes([(0, 0, np.random.default_rng().integers(1, 20), 9)])
            Page(stage).load()
            stage.clicked = (1, 1)
            stage.clicked = None
    assert len(sent) >= 16
    assert {batch[0][0] for batch in sent} == {"switchCanvas"}


def test_a_page_loaded_anew_gets_everything_again(unpaced, sent):
    stage = ImageStage(picture(), width=100)
    stage.set_boxes([(1, 1, 5, 5)])
    stage.clicked = (2, 2)
    whole = sent[-1]
    del sent[:]
    Page(stage).load()
    assert sent == [whole]


def test_moving_a_box_sends_no_picture_and_little_else(unpaced, sent):
    stage = ImageStage(picture(100, 100), width=448)
    stage.set_heat(np.ones((5, 5)))
    photo, heat = stage._photo.value, stage._heat_view.value
    stage.set_boxes([(1, 1, 50, 50)])
    del sent[:]
    stage.set_boxes([(2, 1, 51, 50)])
    assert len(sent) == 1
    assert len(json.dumps(sent[0])) < 2500
    assert (stage._photo.value, stage._heat_view.value) == (photo, heat)
    stage.set_boxes([(2, 1, 51, 50)])
    assert len(sent) == 1


def test_a_burst_of_moves_draws_the_last_box(sent, monkeypatch):
    drawn = threading.Event()
    draw = ImageStage._draw

    def noting(self):
        draw(self)
        if self._boxes and self._boxes[0].top == 199:
            drawn.set()

    monkeypatch.setattr(ImageStage, "_draw", noting)
    stage = ImageStage(picture(300, 300), width=300)
    del sent[:]
    for top in range(200):
        stage.set_boxes([(top, 0, top + 50, 50)])
    assert drawn.wait(60)
    stage.close()
    assert len(sent) < 100
    assert min(y for _, y, _, _ in lines(sent[-1])) == 199 * DENSITY


def test_a_closed_stage_draws_no_more(unpaced, sent):
    """A late command to a canvas that is gone would break the page's drawing for good."""
    stage = ImageStage(picture(10, 20), width=100)
    old = stage._overlay
    stage.image = picture(6, 6)
    stage.close()
    del sent[:]
    old.draw([StageBox(0, 0, 5, 5)], None)
    stage.set_boxes([(0, 0, 5, 5)])
    assert sent == []


def test_many_threads_leave_the_stage_in_a_state_one_of_them_set(sent):
    stage = ImageStage(picture(50, 50), width=100)
    page = Page(stage)

    def work(seed):
        random = np.random.default_rng(seed)
        for _ in range(20):
            stage.set_heat(random.normal(size=(3, 3)))
            stage.set_boxes([(0, 0, 1 + seed, 1 + seed)])
            page.send("mouse_move", *random.uniform(0, 100, 2))
            stage.clicked = (seed, seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stage.close()
    assert stage._boxes[0].bottom in range(1, 5)
    assert (stage._row.value, stage._column.value) == stage.clicked
    assert not ipycanvas.canvas._CANVAS_MANAGER._caching  # nobody left the canvases held


@pytest.mark.parametrize("box", [(5, 0, 5, 9), (0, 9, 5, 0), (float("nan"), 0, 5, 5)])
def test_empty_boxes_are_refused(box):
    stage = ImageStage(picture())
    with pytest.raises(ValueError, match="top < bottom"):
        stage.set_boxes([box])


@pytest.mark.parametrize("color", ["red", "#ff", "url(x)", "#12345g"])
def test_colors_are_written_one_way(color):
    with pytest.raises(ValueError, match="#rrggbb"):
        StageBox(0, 0, 1, 1, color=color)


# Other viewers


def test_other_viewers_get_a_picture_and_words(unpaced):
    image = np.full((20, 40, 3), 200, np.uint8)
    stage = ImageStage(image, width=80)
    stage.set_boxes([StageBox(5, 10, 15, 30, color="#00ff00", label="field")])
    stage.set_heat([[1.0, 2.0]], opacity=0.0, name="score")
    bundle = stage._repr_mimebundle_()
    assert bundle["text/plain"].splitlines() == [
        "ImageStage: image of 20 x 40 pixels",
        "heat map: score from 1 to 2",
        "field: rows 5 to 15, columns 10 to 30",
    ]
    still = decoded(base64.b64decode(bundle["image/png"]))
    assert still.shape == (40, 80, 3)
    np.testing.assert_array_equal(still[20, 40], [200, 200, 200])  # inside the box, the photo
    np.testing.assert_array_equal(still[2, 2], [200, 200, 200])
    assert still[20, 20, 1] > 200 > still[20, 20, 0]  # its left side, green
    assert "application/vnd.jupyter.widget-view+json" in bundle
