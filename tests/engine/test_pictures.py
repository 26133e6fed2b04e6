"""Whatever a person calls an image becomes the right numbers, or an error that says which one is wrong."""

from __future__ import annotations

import io
import os
import random
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile, features

from cnnviz_widgets.engine.errors import CnnvizError, InputError, InputTypeError
from cnnviz_widgets.engine.inputs import InputSpec

COLOR = InputSpec()
GRAY = InputSpec(channels=1)

RGB = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
PLANE = RGB[..., 0]


def pixels(images: Any, spec: InputSpec = COLOR) -> NDArray[np.uint8]:
    """What the spec makes of images, as [N, H, W, C] whole numbers from 0 to 255."""
    prepared = spec.prepare(images)
    assert prepared.dtype == torch.float32
    scaled = prepared.numpy() * 255
    np.testing.assert_allclose(scaled, scaled.round(), atol=1e-3)
    return scaled.round().astype(np.uint8).transpose(0, 2, 3, 1)


def luma(rgb: NDArray[Any]) -> NDArray[np.uint8]:
    """Pillow's own integer formula for gray (ITU-R 601)."""
    red, green, blue = (rgb[..., each].astype(np.int64) for each in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(np.uint8)


def on_white(rgb: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    share = alpha[..., None] / 255
    return rgb * share + 255 * (1 - share)


# --- kinds of images ---


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RGB),
        RGB,
        RGB.astype(np.uint16) * 257,
        (RGB.astype(np.uint16) * 257).astype(">u2"),
        RGB / 255,
        (RGB / 255).astype(np.float32),
        (RGB / 255).astype(np.longdouble),
        (RGB / 255).astype(">f8"),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB.astype(np.uint16) * 257).permute(2, 0, 1),
        torch.from_numpy(RGB / 255).permute(2, 0, 1),
        (torch.from_numpy(RGB).float() / 255).permute(2, 0, 1).requires_grad_(),
        RGB[None],
        RGB[None] / 255,
        torch.from_numpy(RGB).permute(2, 0, 1)[None],
        [RGB],
        (Image.fromarray(RGB),),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'dtype', '')}-{getattr(image, 'shape', '')}",
)
def test_the_same_picture_in_any_form_gives_the_same_numbers(image: Any) -> None:
    np.testing.assert_array_equal(pixels(image), RGB[None])
    np.testing.assert_allclose(GRAY.prepare(image)[0, 0].detach().numpy() * 255, luma(RGB), atol=0.51)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PLANE),
        PLANE,
        PLANE[..., None],
        PLANE / 255,
        PLANE.astype(np.uint16) * 257,
        torch.from_numpy(PLANE)[None],
        torch.from_numpy(PLANE / 255)[None],
        Image.fromarray(PLANE.astype(np.uint16) * 257),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'dtype', '')}-{getattr(image, 'shape', '')}",
)
def test_gray_pictures_for_gray_and_for_color_networks(image: Any) -> None:
    np.testing.assert_array_equal(pixels(image, GRAY), PLANE[None, ..., None])
    np.testing.assert_array_equal(pixels(image), np.stack([PLANE] * 3, axis=-1)[None])


def test_numbers_are_scaled_by_255_then_by_mean_and_deviation() -> None:
    spec = InputSpec(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    expected = (RGB / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0]
    np.testing.assert_allclose(spec.prepare(RGB)[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_floats_keep_what_lies_between_two_gray_values() -> None:
    values = np.linspace(0, 1, 1000, dtype=np.float32).reshape(25, 40)
    np.testing.assert_array_equal(GRAY.prepare(values)[0, 0].numpy(), values)


def test_gray_from_float_colors_is_the_luma() -> None:
    expected = RGB[..., 0] / 255 * 0.299 + RGB[..., 1] / 255 * 0.587 + RGB[..., 2] / 255 * 0.114
    np.testing.assert_allclose(GRAY.prepare(RGB / 255)[0, 0].numpy(), expected, atol=1e-6)


def test_alpha_is_laid_on_white() -> None:
    alpha = np.linspace(0, 255, 20).round().astype(np.uint8).reshape(4, 5)
    rgba = np.dstack([RGB, alpha])
    expected = on_white(RGB, alpha)
    as_tensor = torch.from_numpy(rgba).permute(2, 0, 1)
    for image in (Image.fromarray(rgba), rgba, as_tensor, as_tensor / 255, rgba / 255):
        np.testing.assert_allclose(
            COLOR.prepare(image)[0].permute(1, 2, 0).numpy() * 255, expected, atol=0.51
        )
        np.testing.assert_allclose(GRAY.prepare(image)[0, 0].numpy() * 255, luma(expected), atol=1.1)
    gray_alpha = Image.merge("LA", [Image.fromarray(PLANE), Image.fromarray(alpha)])
    expected = on_white(PLANE[..., None], alpha)
    np.testing.assert_allclose(
        GRAY.prepare(gray_alpha)[0].permute(1, 2, 0).numpy() * 255, expected, atol=0.51
    )


def test_palette_with_and_without_a_transparent_color(tmp_path: Path) -> None:
    indices = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3
    colors = np.array([[255, 0, 0], [10, 200, 30], [0, 0, 90]], np.uint8)
    image = Image.fromarray(indices).convert("P")
    image = Image.fromarray(indices, mode="P") if image.mode != "P" else image
    image.putdata(indices.ravel().tolist())
    image.putpalette(colors.ravel().tolist())
    np.testing.assert_array_equal(pixels(image)[0], colors[indices])
    image.save(tmp_path / "transparent.png", transparency=1)
    expected = np.array([[255, 0, 0], [255, 255, 255], [0, 0, 90]])[indices]
    np.testing.assert_array_equal(pixels(tmp_path / "transparent.png")[0], expected)
    image.save(tmp_path / "half.png", transparency=bytes([255, 51, 0]))
    expected = np.array([[255, 0, 0], [206, 244, 210], [255, 255, 255]])[indices]
    np.testing.assert_array_equal(pixels(tmp_path / "half.png")[0], expected)


def test_one_color_of_an_rgb_or_gray_file_may_be_transparent(tmp_path: Path) -> None:
    rgb = np.array([[[9, 8, 7], [1, 2, 3]]], np.uint8)
    Image.fromarray(rgb).save(tmp_path / "rgb.png", transparency=(1, 2, 3))
    np.testing.assert_array_equal(pixels(tmp_path / "rgb.png")[0], [[[9, 8, 7], [255, 255, 255]]])
    Image.fromarray(rgb[..., 0]).save(tmp_path / "gray.png", transparency=9)
    np.testing.assert_array_equal(pixels(tmp_path / "gray.png", GRAY)[0, ..., 0], [[255, 1]])


def test_one_bit_pictures() -> None:
    bits = PLANE > 127
    image = Image.fromarray(bits)
    assert image.mode == "1"
    np.testing.assert_array_equal(pixels(image, GRAY)[0, ..., 0], bits * 255)


def test_cmyk() -> None:
    cmyk = np.random.default_rng(1).integers(0, 256, (4, 5, 4), np.uint8)
    image = Image.frombytes("CMYK", (5, 4), cmyk.tobytes())
    inks = cmyk.astype(float)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    np.testing.assert_allclose(pixels(image)[0], expected, atol=1)
    np.testing.assert_allclose(pixels(image, GRAY)[0, ..., 0], luma(expected), atol=2)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_sixteen_bits_are_scaled_to_eight(mode: str) -> None:
    values = np.array([[0, 128, 129, 257], [32768, 65535, 65407, 65406]], np.uint16)
    stored = values.astype(">u2" if mode == "I;16B" else "<u2")
    image = Image.frombytes(mode, (4, 2), stored.tobytes())
    expected = [[0, 0, 1, 1], [128, 255, 255, 254]]  # rounded value / 257
    np.testing.assert_array_equal(pixels(image, GRAY)[0, ..., 0], expected)
    np.testing.assert_array_equal(pixels(values, GRAY)[0, ..., 0], expected)


def test_sixteen_bit_files(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.uint16).reshape(4, 5) * 3000
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(values).save(tmp_path / name)
        np.testing.assert_array_equal(pixels(tmp_path / name, GRAY)[0, ..., 0], np.rint(values / 257))


def test_whole_number_and_float_pictures() -> None:
    deep = Image.fromarray(np.array([[0, 65535, 257]], np.int32))
    assert deep.mode == "I"
    np.testing.assert_array_equal(pixels(deep, GRAY)[0, ..., 0], [[0, 255, 1]])
    floats = Image.fromarray(np.array([[0, 1, 0.5]], np.float32))
    assert floats.mode == "F"
    np.testing.assert_array_equal(pixels(floats, GRAY)[0, ..., 0], [[0, 255, 128]])


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA"])
def test_other_modes_are_what_pillow_makes_of_them(mode: str) -> None:
    bands = len(Image.new(mode, (1, 1)).getbands())
    raw = np.random.default_rng(2).integers(0, 256, (4, 5, bands), np.uint8)
    if bands == 4 or mode == "PA":
        raw[..., -1] = 255
    image = Image.frombytes(mode, (5, 4), raw.tobytes())
    colors = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels(image)[0], colors)
    np.testing.assert_array_equal(pixels(image, GRAY)[0, ..., 0], luma(colors))


def test_a_mode_that_pillow_cannot_convert_is_named() -> None:
    with pytest.raises(InputError, match=r"image 1 of 2 \(mode La\) can't be turned into RGB"):
        COLOR.prepare([RGB, Image.new("La", (2, 2))])


# Each EXIF orientation, as the turn that brings the stored pixels upright (TIFF 6.0, tag 274).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright(orientation: int, kind: str, tmp_path: Path) -> None:
    if kind == "webp" and not features.check("webp"):
        pytest.skip("this Pillow has no WebP")
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    path = tmp_path / f"turned.{kind}"
    image.save(path, exif=exif, **options)
    expected = UPRIGHT[orientation](RGB)
    np.testing.assert_array_equal(pixels(path)[0], expected)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(pixels(opened)[0], expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "I;16"])
def test_other_modes_are_turned_upright_too(mode: str, tmp_path: Path) -> None:
    image = (
        Image.fromarray(PLANE.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(PLANE).convert(mode)
    )
    exif = Image.Exif()
    exif[274] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(pixels(tmp_path / "turned.png", GRAY)[0, ..., 0], np.rot90(PLANE, -1))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(PLANE), Image.fromarray(255 - PLANE)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(pixels(tmp_path / "moving.gif", GRAY)[0, ..., 0], PLANE)


def test_paths(tmp_path: Path) -> None:
    path = tmp_path / "a name <b>&amp;\n with ünusual signs.png"
    Image.fromarray(RGB).save(path)
    for image in (path, str(path), [path, str(path)]):
        for each in pixels(image):
            np.testing.assert_array_equal(each, RGB)


def test_the_bytes_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(RGB).save(path, exif=exif)
    np.testing.assert_array_equal(pixels(path.read_bytes())[0], np.rot90(RGB, -1))
    with pytest.raises(InputError, match="image 1 of 2 can't be decoded: image file is truncated"):
        COLOR.prepare([RGB, path.read_bytes()[:-30]])


def test_a_list_may_mix_kinds(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    mixed = [
        (tmp_path / "rgb.png").read_bytes(),
        tmp_path / "rgb.png",
        Image.fromarray(RGB),
        tensor,
        tensor / 255,
        RGB / 255,
    ]
    np.testing.assert_array_equal(pixels(mixed), np.stack([RGB] * 6))


def test_batches() -> None:
    many = np.random.default_rng(3).integers(0, 256, (6, 4, 5, 3), np.uint8)
    tensor = torch.from_numpy(many).permute(0, 3, 1, 2)
    for batch in (
        many,
        many / 255,
        tensor,
        tensor / 255,
        list(many),
        list(tensor),
        many.astype(np.uint16) * 257,
    ):
        np.testing.assert_array_equal(pixels(batch), many)
    for batch in (many[..., 0], many[..., :1], tensor[:, :1], many[..., 0] / 255):
        np.testing.assert_array_equal(pixels(batch, GRAY), many[..., :1])
    # Three gray images 28 x 28 are no image of three channels for a gray network.
    np.testing.assert_array_equal(pixels(many[:3, ..., 0], GRAY), many[:3, ..., :1])


@pytest.mark.parametrize("channels", [2, 4, 5, 12])
def test_networks_with_any_number_of_channels(channels: int) -> None:
    values = np.random.default_rng(4).integers(0, 256, (2, 4, 6, channels), np.uint8)
    tensor = torch.from_numpy(values).permute(0, 3, 1, 2)
    spec = InputSpec(channels=channels, mean=0.5, std=np.linspace(0.1, 1, channels))
    expected = (values / 255 - 0.5) / np.linspace(0.1, 1, channels)
    for batch in (values, values / 255, tensor, tensor / 255, list(values)):
        np.testing.assert_allclose(spec.prepare(batch).permute(0, 2, 3, 1).numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(spec.prepare(values[1])[0].permute(1, 2, 0).numpy(), expected[1], atol=2e-6)


def test_a_network_of_other_channels_takes_no_picture() -> None:
    with pytest.raises(
        InputError, match="is a picture, but the network takes 5 channels; give a tensor 5 x H x W"
    ):
        InputSpec(channels=5).prepare(Image.fromarray(RGB))


# --- the user's image stays as it is ---


def writable_and_not(array: NDArray[Any]) -> list[NDArray[Any]]:
    frozen = array.copy()
    frozen.flags.writeable = False
    return [array.copy(), frozen, np.asfortranarray(array), array[::-1][::-1]]


@pytest.mark.parametrize("array", [RGB, PLANE, PLANE[..., None], RGB / 255, (PLANE / 255).astype(np.float32)])
def test_arrays_are_neither_changed_nor_shared(array: NDArray[Any]) -> None:
    spec = InputSpec(mean=0.5, std=0.5) if array.shape[-1] == 3 else InputSpec(channels=1, mean=0.5)
    for image in writable_and_not(array):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            prepared = spec.prepare(image)
        prepared.zero_()
        np.testing.assert_array_equal(image, array)


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4, 5), (1, 3, 4, 5)])
def test_tensors_are_neither_changed_nor_shared(shape: tuple[int, ...]) -> None:
    tensor = torch.rand(shape)
    before = tensor.clone()
    for spec in (InputSpec(), InputSpec(mean=0.5, std=0.5), InputSpec(size=2), InputSpec(channels=1)):
        spec.prepare(tensor).zero_()
        assert torch.equal(tensor, before)


def test_pil_images_are_not_changed() -> None:
    exif = Image.Exif()
    exif[274] = 6
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG", exif=exif)
    image = Image.open(buffer)
    COLOR.prepare(image)
    assert image.getexif()[274] == 6
    assert image.size == (5, 4)
    np.testing.assert_array_equal(np.asarray(image), RGB)


# --- what is refused ---


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], InputError, "the list of images is empty"),
        ((), InputError, "the list of images is empty"),
        (torch.empty(0, 3, 4, 4), InputError, "the batch holds no image: its shape is 0 x 3 x 4 x 4"),
        (np.empty((0, 4, 4, 3)), InputError, "the batch holds no image: its shape is 0 x 4 x 4 x 3"),
        (np.empty((0, 28, 28)), InputError, "the batch holds no image: its shape is 0 x 28 x 28"),
        ([RGB, [RGB]], InputTypeError, "image 1 of 2 is a list; give one flat list of images"),
        ([RGB, (RGB, 3)], InputTypeError, "image 1 of 2 is a tuple"),
        ([RGB, None], InputTypeError, "image 1 of 2 is of type NoneType; an image is a PIL image, a path"),
        (3, InputTypeError, "the image is of type int"),
        ({"image": RGB}, InputTypeError, "the image is of type dict"),
        (b"\x89PNG", InputError, "the image is no image, or of a kind that Pillow does not know"),
        (bytearray(b"\x89PNG"), InputTypeError, "the image is of type bytearray"),
        (iter([RGB]), InputTypeError, "the image is of type list_iterator"),
        (np.float32(1), InputTypeError, "the image is of type float32"),
        (np.array(0.5), InputError, "the image is an array without axes"),
        (np.zeros(5), InputError, "the image is an array 5; expected H x W or H x W x 3"),
        (np.zeros((1, 1, 4, 4, 3)), InputError, "the image is an array 1 x 1 x 4 x 4 x 3"),
        (np.zeros((7, 3, 4, 5)), InputError, "image 0 of 7 is an array 3 x 4 x 5; .*torch.from_numpy"),
        (
            np.zeros((3, 4, 5)),
            InputError,
            "an array 3 x 4 x 5 may be 3 gray images or one image, channels first",
        ),
        (np.zeros((4, 0, 3)), InputError, "the image is empty: an array 4 x 0 x 3"),
        (torch.zeros(3, 0, 4), InputError, "the image is empty: a tensor 3 x 0 x 4"),
        (Image.new("RGB", (0, 4)), InputError, "the image is empty: 0 x 4 pixels"),
        (torch.zeros(4, 4), InputError, "the image is a tensor 4 x 4; expected C x H x W"),
        (torch.tensor(0.5), InputError, "the image is a tensor without axes"),
        ([RGB, torch.zeros(1, 3, 4, 4)], InputError, "image 1 of 2 is a tensor 1 x 3 x 4 x 4"),
        (torch.zeros(6, 5, 3), InputError, "has 6 channels, but the network takes 3; .*tensors C x H x W"),
        (
            torch.zeros(2, 4, 5),
            InputError,
            "the image has 2 channels, but the network takes 3; .*tensors C x H x W",
        ),
        (
            torch.zeros(2, 4, 5, dtype=torch.uint8),
            InputError,
            "the image has 2 channels, but the network takes 3",
        ),
        ([RGB, RGB > 5], InputTypeError, "image 1 of 2 is an array of bool; expected uint8 or float"),
        (RGB.astype(object), InputTypeError, "an array of object"),
        (RGB.astype(np.int64), InputTypeError, "an array of int64"),
        (RGB.astype(np.uint32), InputTypeError, "an array of uint32"),
        (RGB.astype(complex), InputTypeError, "an array of complex128"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), InputTypeError, "a tensor of torch.bool"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), InputTypeError, "a tensor of torch.int64"),
        (torch.zeros(3, 4, 4, dtype=torch.complex64), InputTypeError, "a tensor of torch.complex64"),
        (torch.zeros(3, 4, 4).to_sparse(), InputTypeError, r"is sparse; give tensor.to_dense\(\)"),
        (torch.zeros(3, 4, 4, device="meta"), InputTypeError, "on the device 'meta', without values"),
        ([RGB, np.full((4, 5, 3), np.nan)], InputError, "image 1 of 2 holds NaN or infinity"),
        (torch.full((3, 4, 5), -torch.inf), InputError, "the image holds NaN or infinity"),
        (Image.fromarray(np.full((4, 5), np.nan, np.float32)), InputError, "the image holds NaN"),
        (RGB.astype(float), InputError, "values from 4 to 248; float images go from 0 .* make it uint8"),
        ([RGB, RGB / 255 - 0.5], InputError, "image 1 of 2 has values from -0.*call net"),
        (torch.randn(3, 9, 9), InputError, "the image has values from -"),
        (
            Image.new("F", (2, 2), 255.0),
            InputError,
            r"\(mode F\) has values from 255 to 255; expected 0 to 1",
        ),
        (Image.new("I", (2, 2), 70000), InputError, r"\(mode I\) has values from 70000 .* 0 to 65535"),
        (Image.new("I", (2, 2), -1), InputError, r"\(mode I\) has values from -1"),
        (
            [RGB, RGB, RGB[1:]],
            InputError,
            r"image 2 of 3 is 3 x 5 pixels, those before it are 4 x 5; .*size=",
        ),
    ],
)
def test_what_is_no_image_is_named(images: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        COLOR.prepare(images)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.png"
    with pytest.raises(InputError, match=r"image 1 of 2 \('.*nowhere.png'\) does not exist$"):
        COLOR.prepare([RGB, path])
    with pytest.raises(InputError, match="does not exist; web addresses are not fetched, download it first"):
        COLOR.prepare("https://example.org/cat.jpg")
    with pytest.raises(
        InputError, match=r"\('grass'\) does not exist; the photo .* is cv.samples.photo\('grass'\)$"
    ):
        COLOR.prepare("grass")
    with pytest.raises(InputError, match=r"\('moss'\) does not exist$"):
        COLOR.prepare("moss")


def test_files_that_are_no_images(tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no pixels here")
    (tmp_path / "empty.png").touch()
    for path in (text, tmp_path / "empty.png"):
        with pytest.raises(InputError, match=f"image 0 of 2 .*{path.name}'. is no image"):
            COLOR.prepare([path, RGB])
    with pytest.raises(InputError, match="can't be read as an image: Is a directory"):
        COLOR.prepare(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "forbidden.png"
    Image.fromarray(RGB).save(path)
    path.chmod(0)
    with pytest.raises(InputError, match=r"forbidden.png'\) can't be read as an image: Permission denied"):
        COLOR.prepare(path)


@pytest.mark.parametrize(
    "name",
    [
        "nul\0byte.png",
        "\x1b[2J<script>alert(1)</script>.png",
        "\udcff.png",
        "data:image/png;base64," + "QUJD" * 9999,
    ],
    ids=["nul", "escapes", "surrogate", "base64"],
)
def test_hostile_names_are_shown_escaped_and_short(name: str) -> None:
    with pytest.raises(InputError) as raised:
        COLOR.prepare([RGB, name])
    message = str(raised.value)
    assert "image 1 of 2" in message
    assert message.isprintable()
    assert len(message) < 400


def noise(height: int, width: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_files_fail(kind: str, tmp_path: Path) -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    whole = tmp_path / f"whole.{kind}"
    noise(64, 64).save(whole)
    content = whole.read_bytes()
    assert COLOR.prepare(whole).shape == (1, 3, 64, 64)
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=rf"image 1 of 2 .*cut\.{kind}'"):
        COLOR.prepare([whole, cut])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_a_picture_that_was_opened_but_not_read_fails_by_its_number() -> None:
    buffer = io.BytesIO()
    noise(64, 64).save(buffer, "PNG")
    lazy = Image.open(io.BytesIO(buffer.getvalue()[:6000]))
    with pytest.raises(InputError, match="image 1 of 2 can't be decoded: image file is truncated"):
        COLOR.prepare([RGB, lazy])


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico", "pcx"])
def test_damaged_files_never_fail_in_another_way(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6
    options = {"exif": exif} if kind in ("png", "jpeg", "tiff", "webp") else {}
    noise(16, 16).save(buffer, kind, **options)
    dice = random.Random(0)
    refused = accepted = 0
    for _ in range(60):
        content = bytearray(buffer.getvalue())
        for _ in range(dice.choice([1, 4, 20])):
            content[dice.randrange(min(len(content), dice.choice([64, 10**6])))] = dice.randrange(256)
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of damage it can live with
            try:
                COLOR.prepare(path)
            except InputError as error:
                refused += path.name in str(error)
            else:
                accepted += 1
    assert refused > 0
    assert refused + accepted == 60


def giant_png(width: int, height: int) -> bytes:
    """A file of a few bytes that claims to hold width x height pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100)))
        + chunk(b"IEND", b"")
    )


def test_a_file_that_claims_an_enormous_size(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(giant_png(60_000, 60_000))
    with pytest.raises(
        InputError, match=r"image 1 of 2 .*bomb.png'\) is too large .*MAX_IMAGE_PIXELS if you trust"
    ):
        COLOR.prepare([RGB, path])


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_pillows_limit_is_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.png"
    noise(10, 10).save(path)
    for limit, fits in ((100, True), (99, False), (49, False), (None, True)):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        if fits:
            assert COLOR.prepare(path).shape == (1, 3, 10, 10)
        else:
            with pytest.raises(InputError, match="is too large"):
                COLOR.prepare(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError, match="is too large"):
            COLOR.prepare(path)


def test_the_limit_ships_switched_on() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None


def test_files_are_closed(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tiff"
    noise(8, 8).save(path)
    cut = tmp_path / "cut.tiff"
    cut.write_bytes(path.read_bytes()[:150])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        COLOR.prepare(path)
        with pytest.raises(CnnvizError):
            COLOR.prepare(cut)
