"""Texture synthesis: closed cases, any size, colors, early ends, and textures that are told from others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from benchmarks.quality.textures import describe, textures
from cnnviz_widgets.engine.coarse_to_fine import cloud, sizes_of
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, ZeroGradientError
from cnnviz_widgets.engine.gram import maps_of, mean_grams
from tests.small_networks import chain, small

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


def rectified(channels: int = 3) -> cv.Network:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU())
    return small(module, channels)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("parameterization", ["fourier", "pixels"])
def test_the_loss_falls_and_is_that_of_the_picture(optimizer: str, parameterization: str) -> None:
    net = rectified()
    options = {"optimizer": optimizer, "parameterization": parameterization, "size": (7, 8)}
    steps = cv.synthesize_texture.steps(net, IMAGE, steps=12, **options)
    taken = [next(steps) for _ in range(12)]
    with pytest.raises(StopIteration) as end:
        next(steps)
    made = end.value.value
    assert made.layers == ("1", "3")
    assert list(made.losses) == ["1", "3"]
    assert [step.values["3"] for step in taken] == pytest.approx(made.losses["3"].tolist())
    np.testing.assert_array_equal(taken[-1].image, made.image)
    assert made.image.shape == (7, 8, 3)
    assert made.loss[-1] < 0.5 * made.loss[0]
    # What the curve says is what the formula gives for the picture of the step before.
    before = torch.from_numpy(cv.synthesize_texture(net, IMAGE, steps=11, **options).x)[None]
    source = maps_of(net, net.prepare(IMAGE), ["1", "3"], "the source")
    for layer, maps in maps_of(net, before, ["1", "3"], "the picture").items():
        aim = mean_grams(source[layer])[0].numpy()
        by_hand = ((mean_grams(maps)[0].numpy() - aim) ** 2).sum() / (aim**2).sum()
        assert made.losses[layer][-1] == pytest.approx(by_hand, rel=0.02)


def test_a_source_in_its_own_place_stays() -> None:
    made = cv.synthesize_texture(rectified(), IMAGE, start=IMAGE, parameterization="pixels", steps=5)
    np.testing.assert_array_equal(made.image, IMAGE)
    assert made.loss.max() < 1e-9


def test_weights_and_the_papers_scale() -> None:
    net = rectified()
    options = {"steps": 1, "size": (9, 9)}
    balanced = cv.synthesize_texture(net, IMAGE, layer_weights=[2.0, 0.0], **options)
    assert list(balanced.losses) == ["1"]
    alone = cv.synthesize_texture(net, IMAGE, layers="1", **options)
    assert balanced.loss[0] == pytest.approx(2 * alone.loss[0])
    paper = cv.synthesize_texture(net, IMAGE, layers="1", balanced=False, **options)
    aim = mean_grams(maps_of(net, net.prepare(IMAGE), ["1"], "the source")["1"])
    assert paper.loss[0] == pytest.approx(alone.loss[0] * float(aim.square().sum()) / (4 * 6**2), rel=1e-4)


def test_coarse_to_fine_shares_the_steps_and_shows_one_size() -> None:
    net = rectified()
    steps = list(cv.synthesize_texture.steps(net, IMAGE, size=(24, 16), scales=2, steps=7))
    assert [(step.index, step.total) for step in steps] == [(index, 7) for index in range(7)]
    assert {step.image.shape for step in steps} == {(24, 16, 3)}
    running = cv.synthesize_texture.steps(net, IMAGE, size=(24, 16), scales=2, steps=7)
    for _ in range(4):
        next(running)
    stopped = cv.synthesize_texture.finish(running)
    assert (stopped.steps, stopped.image.shape, stopped.ended) == (4, (24, 16, 3), "")
    assert (stopped.planned_steps, stopped.start) == (7, "noise")
    assert stopped.sizes == ((12, 8), (24, 16))
    assert sizes_of((224, 300), None, 9) == [(112, 150), (224, 300)]
    assert sizes_of((191, 300), None, 9) == sizes_of((191, 300), 1, 9) == [(191, 300)]
    assert sizes_of((224, 300), None, 9, (300, 100)) == [(224, 300)]


def test_the_histogram_is_the_sources() -> None:
    made = cv.synthesize_texture(rectified(), IMAGE, steps=2, match_histogram=True)
    for channel in range(3):
        values = [np.sort(each[..., channel], axis=None) for each in (made.image, made.source)]
        np.testing.assert_array_equal(*values)


def test_the_cloud_has_the_sources_colors_and_none_of_its_structure() -> None:
    draw = torch.Generator().manual_seed(0)
    palette = torch.randn(1, 3, 40, 40, generator=draw) * torch.tensor([1.0, 2.0, 0.1])[:, None, None] + 3
    palette[:, 1] += palette[:, 0]
    x = cloud(palette, (64, 96), draw)[0].flatten(1).double()
    source = palette[0].flatten(1).double()
    assert x.mean(1).tolist() == pytest.approx(source.mean(1).tolist(), abs=1e-5)
    np.testing.assert_allclose(torch.cov(x), torch.cov(source) / 4, atol=0.15)


def test_gray_networks_and_networks_without_pictures() -> None:
    gray = cv.synthesize_texture(cv.samples.fashion_cnn(), np.asarray(IMAGE), steps=2)
    assert gray.image.shape == (28, 28, 3)
    assert (gray.image[..., :1] == gray.image).all()
    five = cv.synthesize_texture(rectified(5), torch.rand(5, 8, 8), steps=2)
    assert (five.image.shape, five.x.shape) == ((0, 0, 3), (5, 8, 8))
    assert five._repr_png_()


def test_what_has_no_way_on_is_said() -> None:
    dead = small(chain(last=nn.ReLU()))
    with torch.no_grad():
        dead.core.more.weight.zero_()
        dead.core.more.bias.fill_(1.0)
    # Constant features: at the goal wherever one is.
    assert cv.synthesize_texture(dead, IMAGE, layers="last", steps=3).steps == 0
    stuck = small(nn.Sequential(nn.Threshold(0.9, 0.0), nn.Conv2d(3, 2, 1)))
    with torch.no_grad():
        stuck.core[1].bias.fill_(1.0)
    with pytest.raises(ZeroGradientError, match=r"gradient is zero .* another one \(start="):
        cv.synthesize_texture(stuck, np.full((8, 8, 3), 255, np.uint8), start=0 * IMAGE, layers="1", steps=3)


def test_what_can_not_be() -> None:
    net = rectified()
    with pytest.raises(InputError, match=r"a picture of 2 x 2 pixels .*too small"):
        cv.synthesize_texture(net, IMAGE, size=2)
    with pytest.raises(InputError, match="takes one size only"):
        cv.synthesize_texture(cv.samples.fashion_cnn(), IMAGE, size=40)
    with pytest.raises(LayerNotFoundError, match="did you mean"):
        cv.synthesize_texture(cv.samples.fashion_cnn(), IMAGE, layers=["relu9"])
    for options in (
        {"layers": ["1", "1"]},
        {"scales": 0},
        {"rate": 0},
        {"parameterization": "cells"},
        {"seed": -1},
    ):
        with pytest.raises(ValueError):  # noqa: PT011 -- the words are checked one by one in the contract
            cv.synthesize_texture(net, IMAGE, **options)
    with pytest.raises(TypeError, match="list of numbers"):
        cv.synthesize_texture(net, IMAGE, layer_weights=2.0)


def test_it_is_kept_and_shown(tmp_path: Path) -> None:
    made = cv.synthesize_texture(rectified(), IMAGE, size=(10, 6), steps=2, seed=4)
    assert cv.load_result(made.save(tmp_path / "texture.npz")) == made
    assert made._repr_png_()[:4] == made.to_png()[:4] == b"\x89PNG"
    assert repr(made).startswith("Texture(10x6, 2 layers, 2 steps, loss ")
    assert not np.array_equal(
        cv.synthesize_texture(rectified(), IMAGE, size=(10, 6), steps=2, seed=5).x, made.x
    )


def test_its_nearest_neighbor_among_ten_textures_is_its_source() -> None:
    """A photo, and stripes, which are taken for noise once their colors are changed afterwards.

    All ten: ``python -m benchmarks.quality.textures``.
    """
    net, sources = cv.samples.squeezenet(), textures()
    known = {name: describe(net, each, 224) for name, each in sources.items()}
    for name in ("brick", "stripes"):
        made = cv.synthesize_texture(net, sources[name], size=96, steps=16)
        found = describe(net, made.image, 96)
        distances = {other: float(np.linalg.norm(found - each)) for other, each in known.items()}
        assert min(distances, key=distances.__getitem__) == name
