"""Read what a person calls an image: files, PIL images, arrays, tensors. One picture at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError, InputTypeError

Picture: TypeAlias = Image.Image | Tensor
"""A PIL image of mode L or RGB, or a float32 tensor C x H x W with values in [0, 1]."""

_ALPHA_MODES = ("LA", "La", "PA", "RGBA", "RGBa")


def split_images(images: Any, channels: int) -> list[Any]:
    """Return the single images in one image, a list of images, or a batch."""
    if isinstance(images, list | tuple):
        if not images:
            raise InputError("the list of images is empty; give at least one image")
        return list(images)
    if not is_batch(images, channels):
        return [images]
    if not len(images):
        raise InputError(f"the batch holds no image: its shape is {_shape(images)}")
    return list(images)


def is_batch(images: Any, channels: int) -> bool:
    """Return whether these are many images in one array N x H x W (x C) or one tensor N x C x H x W."""
    if isinstance(images, Tensor):
        return images.ndim == 4
    return isinstance(images, np.ndarray) and (images.ndim == 4 or _is_gray_batch(images, channels))


def _is_gray_batch(array: NDArray[Any], channels: int) -> bool:
    """Tell N x H x W arrays from single pictures: H x W x 1, 3, 4 or as many as the network takes."""
    if array.ndim != 3 or array.shape[2] in (1, 3, 4, channels):
        return False
    if len(array) == channels > 1:
        raise InputError(
            f"an array {_shape(array)} may be {channels} gray images or one image, channels first: "
            "give list(array) for the first, torch.from_numpy(array) for the second"
        )
    return True


def stack_pixels(items: Sequence[Any], channels: int) -> Tensor | None:
    """Return pictures as one uint8 tensor N x C x H x W, where they need no more than to be put together.

    These are uint8 arrays, tensors and PIL images made in memory, all of one kind and shape, gray or in color,
    that the network takes as they are (gray ones also in color). For all else the answer is ``None``.
    """
    first = items[0]
    if channels not in (1, 3) or any(type(each) is not type(first) for each in items):
        return None
    if type(first) is Image.Image:
        # Without any info there is neither transparency nor an EXIF tag.
        if first.mode not in ("L", "RGB") or any(each.info or each.mode != first.mode for each in items):
            return None
        items = [np.asarray(each) for each in items]
        first = items[0]
    if isinstance(first, np.ndarray):
        pixels = _stacked_arrays(items)
    elif type(first) is Tensor:
        pixels = _stacked_tensors(items)
    else:
        return None
    if pixels is None or not pixels.numel() or pixels.shape[1] not in (1, channels):
        return None
    # In this memory order, in which networks compute the same whichever way the pictures came.
    return pixels.expand(-1, channels, -1, -1).contiguous()


def _stacked_arrays(items: Sequence[NDArray[Any]]) -> Tensor | None:
    first = items[0]
    alike = all(each.dtype == np.uint8 and each.shape == first.shape for each in items)
    if not alike or not (first.ndim == 2 or (first.ndim == 3 and first.shape[2] in (1, 3))):
        return None
    stacked = torch.from_numpy(np.stack(items))
    return stacked[:, None] if first.ndim == 2 else stacked.permute(0, 3, 1, 2)


def _stacked_tensors(items: Sequence[Tensor]) -> Tensor | None:
    plain = all(
        each.dtype == torch.uint8 and each.device.type == "cpu" and each.layout is torch.strided
        for each in items
    )
    alike = plain and all(each.ndim == 3 and each.shape == items[0].shape for each in items)
    return torch.stack(list(items)) if alike else None


def load_picture(item: Any, channels: int, where: str) -> Picture:
    """Return one picture with the number of channels that a network takes.

    Parameters
    ----------
    item
        A PIL image, a path, the bytes of an image file, an array or a tensor. It is not changed, and the
        picture shares no memory with it, unless it is a float tensor.
    channels
        1 makes it gray, 3 color; any other number must be there already.
    where
        How an error names it, such as ``"image 3 of 10"``.
    """
    if isinstance(item, str | os.PathLike):
        name = os.fsdecode(item)
        where = f"{where} ({_shortened(repr(name))})"
        return _to_mode(_open(name, where), channels, where)
    if isinstance(item, bytes):
        return _to_mode(_open(io.BytesIO(item), where), channels, where)
    if isinstance(item, Image.Image):
        return _to_mode(_upright(item, where), channels, where)
    if isinstance(item, np.ndarray):
        return _from_array(item, channels, where)
    if isinstance(item, Tensor):
        return _from_tensor(item, channels, where)
    kind = type(item).__name__
    if isinstance(item, list | tuple):
        raise InputTypeError(f"{where} is a {kind}; give one flat list of images")
    raise InputTypeError(
        f"{where} is of type {kind}; an image is a PIL image, a path, an array H x W x 3 or "
        "a float tensor C x H x W"
    )


def _open(name: str | io.BytesIO, where: str) -> Image.Image:
    try:
        with Image.open(name) as image:
            # Pillow only warns of a picture up to twice its limit; for us the limit is the limit.
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            return _upright(image, where)
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{where} is too large ({error}); make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS "
            "if you trust it"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{where} does not exist{_missing_hint(str(name))}") from error
    except UnidentifiedImageError as error:
        raise InputError(f"{where} is no image, or of a kind that Pillow does not know") from error
    except Exception as error:  # whatever Pillow's readers make of a damaged file
        raise InputError(f"{where} can't be read as an image: {reason_of(error)}") from error


def _missing_hint(name: str) -> str:
    """Say what was meant in place of a file that does not exist, if that can be known."""
    if "://" in name:
        return "; web addresses are not fetched, download it first"
    samples = files("cnnviz_widgets") / "samples" / "data" / "photos"
    if name.isidentifier() and (samples / f"{name}.jpg").is_file():
        return f"; the photo that comes with this package is cv.samples.photo({name!r})"
    return ""


def _upright(image: Image.Image, where: str) -> Image.Image:
    """Return a copy, decoded and turned by its EXIF tag."""
    if 0 in image.size:
        raise InputError(f"{where} is empty: {image.width} x {image.height} pixels")
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # whatever Pillow's readers make of a damaged file
        raise InputError(f"{where} can't be decoded: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return what an error says, without the name of the file, which is said beside it."""
    if isinstance(error, UnidentifiedImageError):
        return "it is no image, or of a kind that Pillow does not know"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shortened(text: str) -> str:
    """Cut the middle out: some people hand over a whole base64 text where a path is expected."""
    return text if len(text) <= 200 else f"{text[:150]}...{text[-40:]}"


def _to_mode(image: Image.Image, channels: int, where: str) -> Image.Image:
    """Return the picture without alpha or palette, gray or in color as the network takes it."""
    if channels not in (1, 3):
        raise InputError(
            f"{where} is a picture, but the network takes {channels} channels; "
            f"give a tensor {channels} x H x W"
        )
    if image.mode.startswith(("I", "F")):
        image = _from_deep(image, where)
    try:
        if image.mode in _ALPHA_MODES or "transparency" in image.info:
            image = image.convert("RGBA")
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        # Gray is the luma of the colors: Pillow takes some modes, such as CMYK, to L only in this way.
        if image.mode not in ("1", "L"):
            image = image.convert("RGB")
        return image.convert("L" if channels == 1 else "RGB")
    except ValueError as error:
        raise InputError(f"{where} (mode {image.mode}) can't be turned into RGB: {error}") from error


def _from_deep(image: Image.Image, where: str) -> Image.Image:
    """Scale 16-bit and float pictures to 8 bits (Pillow's own conversion cuts them off at 255)."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{where} holds NaN or infinity")
    low, high = values.min(), values.max()
    top = 1.0 if image.mode == "F" else 65535.0
    if low < 0 or high > top:
        raise InputError(
            f"{where} (mode {image.mode}) has values from {low:g} to {high:g}; expected 0 to {top:g}"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _from_array(array: NDArray[Any], channels: int, where: str) -> Picture:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4, channels)):
        hint = "; a tensor C x H x W goes through torch.from_numpy" if array.ndim == 3 else ""
        raise InputError(f"{where} is an array {_shape(array)}; expected H x W or H x W x 3{hint}")
    if not array.size:
        raise InputError(f"{where} is empty: an array {_shape(array)}")
    pixels = array[:, :, None] if array.ndim == 2 else array
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        return _from_pixels(pixels, channels, where)
    if array.dtype.kind != "f":
        raise InputTypeError(f"{where} is an array of {array.dtype}; expected uint8 or float in [0, 1]")
    # A copy, since torch takes neither read-only arrays nor foreign byte orders.
    planes = np.array(pixels.transpose(2, 0, 1), dtype=np.float32, order="C")
    return _from_floats(torch.from_numpy(planes), channels, where)


def _from_tensor(tensor: Tensor, channels: int, where: str) -> Picture:
    if tensor.ndim != 3:
        raise InputError(f"{where} is a tensor {_shape(tensor)}; expected C x H x W")
    if not tensor.numel():
        raise InputError(f"{where} is empty: a tensor {_shape(tensor)}")
    if tensor.is_meta or tensor.layout is not torch.strided:
        kind = "on the device 'meta', without values" if tensor.is_meta else "sparse; give tensor.to_dense()"
        raise InputTypeError(f"{where} is a tensor that is {kind}")
    tensor = tensor.detach().cpu()
    if tensor.dtype in (torch.uint8, torch.uint16):
        return _from_pixels(tensor.permute(1, 2, 0).numpy(), channels, where)
    if not tensor.is_floating_point():
        raise InputTypeError(f"{where} is a tensor of {tensor.dtype}; expected uint8 or float in [0, 1]")
    return _from_floats(tensor.float(), channels, where)


def _from_pixels(pixels: NDArray[Any], channels: int, where: str) -> Picture:
    """Take H x W x C whole numbers the way of PIL images, so that the same picture gives the same numbers."""
    if pixels.dtype.itemsize == 2:
        pixels = np.rint(pixels / 257.0).astype(np.uint8)
    given = pixels.shape[2]
    if given == channels and channels not in (1, 3):
        return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)
    if given not in (1, 3, 4) or channels not in (1, 3):
        raise _wrong_channels(given, channels, where)
    pixels = np.ascontiguousarray(pixels[:, :, 0] if given == 1 else pixels)
    return _to_mode(Image.fromarray(pixels), channels, where)


def _from_floats(planes: Tensor, channels: int, where: str) -> Tensor:
    """Take a C x H x W float tensor with values in [0, 1]."""
    if not bool(torch.isfinite(planes).all()):
        raise InputError(f"{where} holds NaN or infinity")
    low, high = float(planes.min()), float(planes.max())
    # What was normalized already would be normalized twice.
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f"{where} has values from {low:.3g} to {high:.3g}; float images go from 0 (black) to 1 (white). "
            "If it is prepared already, call net(x) with it; if it goes to 255, make it uint8"
        )
    return _convert_channels(planes, channels, where)


def _convert_channels(planes: Tensor, channels: int, where: str) -> Tensor:
    """Make a float tensor gray or color as the network wants it (luma as Pillow's ``convert('L')``)."""
    given = len(planes)
    if given == channels:
        return planes
    if given == 1 and channels == 3:
        return planes.expand(3, -1, -1)
    if given == 3 and channels == 1:
        weights = planes.new_tensor([0.299, 0.587, 0.114])
        return torch.einsum("c,chw->hw", weights, planes)[None]
    if given == 4 and channels in (1, 3):
        alpha = planes[3:]
        return _convert_channels(planes[:3] * alpha + (1 - alpha), channels, where)
    raise _wrong_channels(given, channels, where)


def _wrong_channels(given: int, channels: int, where: str) -> InputError:
    return InputError(
        f"{where} has {given} channels, but the network takes {channels}; "
        "arrays are H x W x C, tensors C x H x W"
    )


def _shape(array: NDArray[Any] | Tensor) -> str:
    return " x ".join(map(str, array.shape)) or "without axes"
