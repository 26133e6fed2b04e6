"""DeconvNet against a chain of unpoolings, rectifications and transposed convolutions, written out."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.back_projection import project_back
from cnnviz_widgets.methods.deconvnet import deconvnet_of_many
from tests.untouched import untouched
from tests.written_out import IMAGE, NETWORKS, STYLES, Written, backward, forward, unpooled


def network(name: str, style: str = "function") -> tuple[cv.Network, str]:
    """Return a network in one style, and the name of its last layer, a convolution."""
    module = Written(NETWORKS[name], style).eval()
    last = len(module.parts) - 1
    return cv.Network(module, input=cv.InputSpec(size=(19, 22))), f"parts.{last}"


def chain(name: str, x: Tensor, channel: int, position: Any) -> tuple[Tensor, float, Any]:
    """Return the projection [C, H, W] of one image, the activation and its position."""
    with torch.no_grad():
        value, trail = forward(NETWORKS[name], x[None])
        seed = torch.zeros_like(value)
        if position == "max":
            place = np.unravel_index(int(value[0, channel].argmax()), value.shape[2:])
            position = tuple(int(each) for each in place)
        where = (0, channel) if position == "all" else (0, channel, *position)
        seed[where] = value[where]
        pixels = backward(NETWORKS[name], trail, seed, "deconvnet")
    return pixels[0], float(seed.sum()), None if position == "all" else position


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", NETWORKS)
def test_against_the_chain(name: str, style: str) -> None:
    net, layer = network(name, style)
    with untouched(net.module, IMAGE):
        found = project_back(net, IMAGE[[0, 1, 0, 0]], layer, [0, 1, 2, 3], ["max", "max", (1, 0), "all"])
    rectifiers = sum(
        each == "relu" for part in NETWORKS[name] for each in (part if isinstance(part, list) else [part])
    )
    # A view of the first two channels, and one of the others.
    assert found.rectifiers == rectifiers * (2 if style == "view" else 1)
    for index, (image, position) in enumerate([(0, "max"), (1, "max"), (0, (1, 0)), (0, "all")]):
        pixels, activation, place = chain(name, IMAGE[image], index, position)
        one = found.each[index]
        assert one.position == place
        assert one.activation == pytest.approx(activation, rel=1e-5)
        assert pixels.abs().max() > 0
        torch.testing.assert_close(one.pixels, pixels, rtol=1e-4, atol=1e-6 * float(pixels.abs().max()))


def test_switches_that_are_shared_add_up() -> None:
    # What an unpooling that overwrites would give is another thing, here.
    _value, trail = forward(NETWORKS["overlapping pools"], IMAGE)
    for size, switches in (
        each for each in trail if isinstance(each, tuple) and isinstance(each[0], torch.Size)
    ):
        ones = torch.ones(switches.shape)
        overwritten = functional.max_unpool2d(ones, switches, 3, 2, output_size=size[2:])
        assert float(unpooled(ones, size, switches).max()) >= 2
        assert float(overwritten.max()) == 1


def test_one_image() -> None:
    net, layer = network("residual sum", "in-place function")
    picture = torch.rand(3, 19, 22, generator=torch.Generator().manual_seed(1))
    for position in ("max", (0, 1)):
        shown = cv.deconvnet(net, picture, layer, 2, position)
        pixels, _activation, place = chain("residual sum", picture, 2, position)
        np.testing.assert_allclose(shown.pixels, pixels, rtol=1e-4, atol=1e-6 * float(pixels.abs().max()))
        assert (shown.position, shown.layer, shown.channel, shown.rectifiers) == (place, layer, 2, 4)
        box = cv.receptive_field(net, layer).box(*place)
        assert shown.box == (box.top, box.left, box.bottom, box.right)
        outside = shown.pixels.copy()
        outside[:, box.top : box.bottom, box.left : box.right] = 0
        assert not outside.any()
        # Gray is zero, and the largest magnitude is 0 or 255.
        assert shown.image.shape == (19, 22, 3)
        assert (shown.image[np.abs(shown.pixels).max(axis=0) == 0] == 128).all()
        peak = np.unravel_index(np.abs(shown.pixels).argmax(), shown.pixels.shape)
        assert shown.image[(*peak[1:], peak[0])] == (255 if shown.pixels[peak] > 0 else 0)
        assert shown.patch.shape == (box.height, box.width, 3)
    whole = cv.deconvnet(net, picture, layer, 2, "all")
    assert (whole.position, whole.box) == (None, (0, 0, 19, 22))


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    net = cv.samples.fashion_cnn()
    images = list(np.asarray(cv.samples.fashion_mnist("test")[0][:5]))
    positions = ["max", "max", "all", "max", (3, 2)]
    many = deconvnet_of_many(net, images, "conv2", [1, 2, 3, 2, 5], positions, batch_size=2)
    for image, channel, position, each in zip(images, [1, 2, 3, 2, 5], positions, many, strict=True):
        one = cv.deconvnet(net, image, "conv2", channel, position)
        np.testing.assert_allclose(each.pixels, one.pixels, rtol=1e-4, atol=1e-5 * np.abs(one.pixels).max())
        assert (each.position, each.box, each.rectifiers) == (one.position, one.box, 1)
        assert (each.picture == one.picture).all()
    with pytest.raises(ValueError, match="5 images, 2 channels and 5 positions"):
        deconvnet_of_many(net, images, "relu2", [1, 2], positions)


def test_layers_without_maps_and_before_the_first_rectifier() -> None:
    net = cv.samples.fashion_cnn()
    image = cv.samples.fashion_mnist("test")[0][0]
    full = cv.deconvnet(net, image, "fc1", 3)
    assert full.position is None
    x = net.prepare(image)
    with torch.no_grad():
        value = net.core.conv1(x)
    first = cv.deconvnet(net, image, "conv1", 2)
    assert first.rectifiers == 0
    assert first.activation == pytest.approx(float(value[0, 2].max()), rel=1e-5)
    seed = torch.zeros_like(value)
    seed[0, 2][first.position] = first.activation
    expected = functional.conv_transpose2d(seed, net.core.conv1.weight, padding=net.core.conv1.padding)
    np.testing.assert_allclose(first.pixels, expected[0].detach(), rtol=1e-4, atol=1e-6)


def test_ties_go_to_the_first_position() -> None:
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU()), input=cv.InputSpec(size=4))
    shown = cv.deconvnet(net, np.full((4, 4, 3), 200, np.uint8), "0", 0)
    assert shown.position == (0, 0)


class Unknown(nn.Module):
    """Rectifies by hand, which nobody recognizes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y * (y > 0)


def test_what_is_refused() -> None:
    net, layer = network("ceil mode")
    picture = torch.rand(3, 19, 22, generator=torch.Generator().manual_seed(1))
    for channel in (4, -1, 1.5, True):
        with pytest.raises(ValueError, match=f"has channels 0 to 3, got {channel}"):
            cv.deconvnet(net, picture, layer, channel)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"\(9, 0\) is outside of the map of layer 'parts.4', channel 1: it has 3 rows"
    ):
        cv.deconvnet(net, picture, layer, 1, (9, 0))
    with pytest.raises(ValueError, match=r"'max', 'all' or .* got 'strongest'"):
        cv.deconvnet(net, picture, layer, 1, "strongest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"position is \(row, column\).* got 3"):
        cv.deconvnet(net, picture, layer, 1, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"calls none that is recognized.*0 calls were changed"):
        cv.deconvnet(
            cv.Network(Unknown(), input=cv.InputSpec(size=8)), np.zeros((8, 8, 3), np.uint8), "conv", 0
        )
    fashion = cv.samples.fashion_cnn()
    black = np.zeros((28, 28), np.uint8)
    with pytest.raises(ValueError, match="a vector, which has no positions"):
        cv.deconvnet(fashion, black, "fc1", 0, (0, 0))
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    with torch.no_grad():
        module[0].bias.fill_(-100)
    dead = cv.Network(module, input=cv.InputSpec(size=8))
    with pytest.raises(
        ValueError, match=r"channel 1 of layer '1' is 0 at position \(3, 4\) .* before the last rectifier"
    ):
        cv.deconvnet(dead, picture, "1", 1, (3, 4))
    with pytest.raises(
        ValueError, match=r"nothing in this image excites channel 1 of layer '1': .* or image, or"
    ):
        cv.deconvnet(dead, picture, "1", 1)


def test_saved_and_shown(tmp_path: Path) -> None:
    net, layer = network("padded pool")
    shown = cv.deconvnet(net, torch.rand(3, 19, 22, generator=torch.Generator().manual_seed(1)), layer, 0)
    assert cv.load_result(shown.save(tmp_path / "shown.npz")) == shown
    drawn = np.asarray(Image.open(io.BytesIO(shown._repr_png_())))
    side = (drawn.shape[1] - 4) // 2
    factor = side // 22
    assert (drawn[::factor, :side:factor] == shown.picture).all()
    assert (drawn[::factor, side + 4 :: factor] == shown.image).all()
