"""Style transfer: its terms against slow loops, its starts, blends and colors, and the content that stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import cnnviz_widgets as cv
from benchmarks.quality.styles import describe, known_photos, neighbors
from cnnviz_widgets.engine.errors import InputError, InputTypeError, LayerNotFoundError
from cnnviz_widgets.engine.gram import maps_of, mean_grams
from cnnviz_widgets.render.recolor import luminance
from tests.small_networks import small

DRAW = np.random.default_rng(0)
CONTENT, STYLE, OTHER = DRAW.integers(0, 256, (3, 8, 8, 3), np.uint8)


def net_of(channels: int = 3) -> cv.Network:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU())
    return small(module, channels)


def by_hand(net: cv.Network, x: NDArray[np.float32]) -> dict[str, float]:
    """The three terms of a picture [C, H, W], unweighted, one number after the other."""
    layers = ["1", "3"]
    content, style, picture = (
        {layer: each.numpy()[0] for layer, each in maps_of(net, batch, layers, "it").items()}
        for batch in (net.prepare(CONTENT), net.prepare(STYLE), torch.from_numpy(x)[None])
    )
    grams = [
        {layer: mean_grams(torch.from_numpy(maps)[None])[0].numpy() for layer, maps in each.items()}
        for each in (content, style, picture)
    ]
    ratios = [
        ((grams[2][layer] - grams[1][layer]) ** 2).sum() / ((grams[0][layer] - grams[1][layer]) ** 2).sum()
        for layer in layers
    ]
    rough = 0.0
    for channel, row, column in np.ndindex(*x.shape):
        here = x[channel, row, column]
        rough += (x[channel, row, column + 1] - here) ** 2 if column + 1 < x.shape[2] else 0.0
        rough += (x[channel, row + 1, column] - here) ** 2 if row + 1 < x.shape[1] else 0.0
    return {
        "content": ((picture["1"] - content["1"]) ** 2).sum() / (content["1"] ** 2).sum(),
        "style": float(np.mean(ratios)),
        "variation": rough / (x.shape[1] * x.shape[2]),
    }


def test_the_terms_are_those_of_the_formulas() -> None:
    net = net_of()
    weights = {"content": 2.0, "style": 5.0, "variation": 0.5}
    options = {f"{name}_weight": value for name, value in weights.items()}
    taken = list(cv.transfer_style.steps(net, CONTENT, STYLE, start=OTHER, steps=4, **options))
    made = cv.transfer_style(net, CONTENT, STYLE, start=OTHER, steps=4, **options)
    before = cv.transfer_style(net, CONTENT, STYLE, start=OTHER, steps=3, **options)
    for name, value in by_hand(net, before.x).items():
        assert made.losses[name][-1] == pytest.approx(weights[name] * value, rel=1e-4), name
        assert [step.values[name] for step in taken] == pytest.approx(made.losses[name].tolist())
    np.testing.assert_array_equal(taken[-1].image, made.image)
    np.testing.assert_allclose(made.loss, np.sum(list(made.losses.values()), axis=0))
    assert made.loss[-1] < made.loss[0]


def test_content_alone_stays_and_style_begins_at_one() -> None:
    net = net_of()
    alone = cv.transfer_style(
        net, CONTENT, STYLE, style_weight=0, variation_weight=0, parameterization="pixels", steps=4
    )
    np.testing.assert_array_equal(alone.image, CONTENT)
    assert list(alone.losses) == ["content"]
    made = cv.transfer_style(net, CONTENT, STYLE, style_weight=3.0, parameterization="pixels", steps=12)
    assert made.losses["style"][0] == pytest.approx(3.0, rel=1e-4)
    assert made.losses["content"][0] < 1e-9
    assert made.losses["style"][-1] < 1.5


def test_starts() -> None:
    net = net_of()
    first = {
        start: next(
            cv.transfer_style.steps(net, CONTENT, STYLE, start=start, variation_weight=0, steps=2)
        ).values
        for start in ("content", "style", "noise")
    }
    assert first["content"]["content"] < 1e-3 < first["noise"]["content"]
    # At the style itself, but for what the Fourier spectrum cuts off at black and white.
    assert first["style"]["style"] < 0.01 * first["noise"]["style"]
    given = cv.transfer_style(net, CONTENT, STYLE, start=STYLE, steps=2)
    named = cv.transfer_style(net, CONTENT, STYLE, start="style", steps=2)
    np.testing.assert_array_equal(given.image, named.image)
    assert (given.start, named.start) == ("picture", "style")
    # To go on from an earlier picture.
    on = cv.transfer_style(net, CONTENT, STYLE, start=named.image, steps=2)
    assert on.loss[0] < named.loss[0]


def test_a_blend_is_between_its_styles() -> None:
    net = net_of()
    options = {"content_weight": 0, "variation_weight": 0, "start": OTHER, "steps": 3}
    one = cv.transfer_style(net, CONTENT, STYLE, **options)
    weighted = cv.transfer_style(net, CONTENT, [STYLE, OTHER], blend=[2, 0], **options)
    np.testing.assert_array_equal(weighted.x, one.x)
    assert weighted.blend == (1.0, 0.0)
    halves = cv.transfer_style(net, CONTENT, [STYLE, OTHER], **options)
    assert halves.blend == (0.5, 0.5)
    assert len(halves.styles) == 2
    assert not np.array_equal(halves.x, one.x)


def test_a_style_without_a_share_is_not_looked_at() -> None:
    net, options = net_of(), {"steps": 2}
    for start in ("style", "noise"):
        alone = cv.transfer_style(net, CONTENT, OTHER, start=start, **options)
        beside = cv.transfer_style(net, CONTENT, [STYLE, OTHER], blend=[0, 5], start=start, **options)
        np.testing.assert_array_equal(beside.x, alone.x)
        assert (beside.blend, len(beside.styles)) == ((0.0, 1.0), 2)
        assert beside._repr_png_() == alone._repr_png_()


def test_colors_are_kept() -> None:
    calm = (CONTENT // 4 + 96).astype(np.uint8)
    made = cv.transfer_style(net_of(), calm, STYLE // 4 + 90, keep_colors=True, variation_weight=0, steps=6)
    chroma = [each[..., :1].astype(int) - each[..., 1:] for each in (made.image, calm)]
    np.testing.assert_array_equal(*chroma)
    assert np.abs(luminance(made.image) - luminance(calm)).mean() > 2
    with pytest.raises(InputError, match="keep_colors needs a network that sees colors; this one takes 1"):
        cv.transfer_style(cv.samples.fashion_cnn(), CONTENT, STYLE, keep_colors=True)


def test_with_colors_kept_it_begins_in_gray_as_well() -> None:
    options = {"keep_colors": True, "content_weight": 2.0, "style_weight": 5.0, "steps": 1}
    made = cv.transfer_style(net_of(), CONTENT, STYLE, **options)
    # The content itself, for which a style term is 1.
    assert (made.losses["content"][0], made.losses["style"][0]) == pytest.approx((0.0, 5.0), abs=1e-4)
    made = cv.transfer_style(net_of(), CONTENT, STYLE, start="style", **options)
    assert made.losses["style"][0] == pytest.approx(0.0, abs=1e-6)
    made = cv.transfer_style(net_of(), CONTENT, STYLE, start=CONTENT, **options)
    assert (made.losses["content"][0], made.losses["style"][0]) == pytest.approx((0.0, 5.0), abs=1e-4)


def test_a_style_that_the_content_has_already_asks_for_nothing() -> None:
    # With units of one pixel a mirror image has the same Gram matrices, but for rounding.
    torch.manual_seed(0)
    net = small(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()), 3)
    made = cv.transfer_style(net, CONTENT, CONTENT[:, ::-1], style_layers="1", content_layers="1", steps=5)
    assert made.losses["style"][0] < 1e-6
    assert made.losses["style"].max() < 0.1


def test_sizes_scales_and_stopping() -> None:
    net = net_of()
    running = cv.transfer_style.steps(net, CONTENT, STYLE, size=(24, 20), scales=2, steps=5)
    shapes = {next(running).image.shape for _ in range(2)}
    stopped = cv.transfer_style.finish(running)
    assert shapes == {(24, 20, 3)}
    assert stopped.planned_steps == 5
    assert (stopped.steps, stopped.sizes, stopped.image.shape) == (2, ((12, 10), (24, 20)), (24, 20, 3))
    # What is fine in the content comes back with the next size.
    fine = cv.transfer_style(
        net,
        CONTENT,
        STYLE,
        scales=2,
        style_weight=0,
        variation_weight=0,
        style_layers="1",
        content_layers="1",
        steps=2,
    )
    assert np.abs(fine.image.astype(int) - CONTENT).mean() < 4
    with pytest.raises(InputError, match=r"of 2 x 2 pixels .*too small"):
        cv.transfer_style(net, CONTENT, STYLE, size=2)


def test_gray_networks_and_networks_without_pictures(tmp_path: Path) -> None:
    gray = cv.transfer_style(cv.samples.fashion_cnn(), CONTENT, STYLE, steps=2)
    assert (gray.image[..., :1] == gray.image).all()
    five = cv.transfer_style(net_of(5), torch.rand(5, 8, 8), torch.rand(1, 5, 8, 8), steps=2)
    assert (five.image.shape, five.x.shape) == ((0, 0, 3), (5, 8, 8))
    for made in (gray, five):
        assert cv.load_result(made.save(tmp_path / "style.npz")) == made
        assert made._repr_png_()[:4] == made.to_png()[:4] == b"\x89PNG"
    assert repr(gray).startswith("StyleTransfer(28x28, 1 style, 2 steps: content ")


def test_what_can_not_be() -> None:
    net = net_of()
    with pytest.raises(LayerNotFoundError, match="content_layers is empty"):
        cv.transfer_style(net, CONTENT, STYLE, content_layers=[])
    with pytest.raises(ValueError, match=r"blend\[1\] must be a number from 0, got -1"):
        cv.transfer_style(net, CONTENT, [STYLE, OTHER], blend=[1, -1])
    with pytest.raises(ValueError, match="blend are all 0"):
        cv.transfer_style(net, CONTENT, [STYLE, OTHER], blend=[0, 0])
    with pytest.raises(ValueError, match="each of the 2 style layers, got 1"):
        cv.transfer_style(net, CONTENT, STYLE, style_layer_weights=[1])
    with pytest.raises(ValueError, match=r"variation_weight .* got nan"):
        cv.transfer_style(net, CONTENT, STYLE, variation_weight=float("nan"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda net, bad: cv.transfer_style(net, bad, STYLE), "content: the image holds NaN"),
        (lambda net, bad: cv.transfer_style(net, CONTENT, bad), "style: the image holds NaN"),
        (lambda net, bad: cv.transfer_style(net, CONTENT, [STYLE, bad]), r"style\[1\]: the image holds NaN"),
        (lambda net, bad: cv.transfer_style(net, CONTENT, []), "style: the list of images is empty"),
        (lambda net, bad: cv.transfer_style(net, CONTENT, STYLE, start=bad), "start: the image holds NaN"),
        (lambda net, bad: cv.synthesize_texture(net, STYLE, start=bad), "start: the image holds NaN"),
        (lambda net, bad: cv.deepdream(net, CONTENT, "1", guide=bad), "guide: the image holds NaN"),
        (lambda net, bad: cv.maximize(net, 0, start=bad), "start: the image holds NaN"),
        (lambda net, bad: cv.invert(net, bad, "1"), "invert: the image holds NaN"),
    ],
)
def test_of_several_images_the_one_that_is_wrong_is_named(
    call: Callable[[cv.Network, NDArray[np.float64]], object], said: str
) -> None:
    with pytest.raises(InputError, match=f"^{said}"):
        call(net_of(), np.full((8, 8, 3), np.nan))
    with pytest.raises(InputTypeError, match=r"^style: the image is of type NoneType"):
        cv.transfer_style(net_of(), CONTENT, None)


def test_the_content_stays_its_nearest_neighbor() -> None:
    """By the maps of a layer that no term compares, among all photos, also in a style as strong as stars on black.

    All pairs, and what the maps' means say: ``python -m benchmarks.quality.styles``.
    """
    net = cv.samples.squeezenet()
    known = known_photos(net, 96)
    for content, style in (("chelsea", "hubble_deep_field"), ("coffee", "brick")):
        made = cv.transfer_style(net, cv.samples.photo(content), cv.samples.photo(style), size=96, steps=12)
        assert made.losses["style"][-1] < 0.5 * made.losses["style"][0]
        assert neighbors(describe(net, made.image, 96), known, "maps")[0][0] == content
