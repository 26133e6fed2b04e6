"""Read what a person calls an image: files, PIL images, arrays, tensors. One picture at a time."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError, InputTypeError

Picture: TypeAlias = Image.Image | Tensor
"""A PIL image of mode L or RGB, or a float tensor C x H x W."""


def split_images(images: Any) -> list[Any]:
    """Return the single images in one image, a list of images, or a batch."""
    if isinstance(images, list | tuple):
        if not images:
            raise InputError("the list of images is empty; give at least one image")
        return list(images)
    if isinstance(images, Tensor) and images.ndim == 4:
        items: list[Any] = list(images)
    elif isinstance(images, np.ndarray) and (images.ndim == 4 or _is_gray_batch(images)):
        items = list(images)
    else:
        return [images]
    if not items:
        raise InputError(f"the batch holds no image: its shape is {tuple(images.shape)}")
    return items


def _is_gray_batch(array: NDArray[Any]) -> bool:
    """An N x H x W array; H x W x 1, 3 and 4 are single pictures."""
    return array.ndim == 3 and array.shape[-1] not in (1, 3, 4)


def load_picture(item: Any, channels: int, where: str) -> Picture:
    """Return one picture with the number of channels that a network takes.

    Parameters
    ----------
    item
        A PIL image, a path, the bytes of an image file, an array or a tensor.
    channels
        1 makes it gray, 3 color; any other number must be there already.
    where
        How an error names it, such as ``"image 3 of 10"``.
    """
    if isinstance(item, str | os.PathLike):
        where = f"{where} ({os.fspath(item)!r})"
        item = _open(Path(item), where)
    elif isinstance(item, bytes | bytearray | memoryview):
        item = _open(io.BytesIO(item), where)
    if isinstance(item, Image.Image):
        return _with_channels(_flat(item, where), channels, where)
    if isinstance(item, np.ndarray):
        return _from_array(item, channels, where)
    if isinstance(item, Tensor):
        return _from_tensor(item, channels, where)
    if isinstance(item, list | tuple):
        raise InputTypeError(f"{where} is a {type(item).__name__}; give one flat list of images")
    raise InputTypeError(
        f"{where} is a {type(item).__name__}; an image is a PIL image, a path, an array H x W x 3 or "
        "a float tensor C x H x W"
    )


def _open(path: Path | io.BytesIO, where: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow only warns of a picture up to twice its limit; for us the limit is the limit.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
            image.load()
            return image
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{where} is too large ({error}); make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except FileNotFoundError as error:
        raise InputError(f"{where} does not exist (web addresses are not fetched)") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{where} can't be read as an image: {error}") from error


def _flat(image: Image.Image, where: str) -> Image.Image:
    """Return the picture upright, without alpha or palette, in mode L or RGB."""
    if 0 in image.size:
        raise InputError(f"{where} is empty: {image.width} x {image.height} pixels")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _from_deep(image, where)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")
    if image.mode in ("L", "1"):
        return image.convert("L")
    return image.convert("RGB")


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


def _with_channels(image: Image.Image, channels: int, where: str) -> Image.Image:
    if channels == 1:
        return image.convert("L")
    if channels == 3:
        return image.convert("RGB")
    raise InputError(
        f"{where} is a picture, but the network takes {channels} channels; give a tensor {channels} x H x W"
    )


def _from_array(array: NDArray[Any], channels: int, where: str) -> Picture:
    shape = " x ".join(map(str, array.shape)) or "a single number"
    pictured = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4, channels))
    if not pictured:
        hint = "; a tensor C x H x W goes through torch.from_numpy" if array.ndim == 3 else ""
        raise InputError(f"{where} is an array {shape}; expected H x W or H x W x 3{hint}")
    if 0 in array.shape:
        raise InputError(f"{where} is empty: an array {shape}")
    if array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    if array.dtype == np.uint8:
        if array.ndim == 3 and array.shape[2] == channels and channels not in (1, 3):
            return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
        flat = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
        return _with_channels(_flat(Image.fromarray(np.ascontiguousarray(flat)), where), channels, where)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputTypeError(f"{where} is an array of {array.dtype}; expected uint8, uint16 or float in [0, 1]")
    planes = array[:, :, None] if array.ndim == 2 else array
    return _from_tensor(torch.from_numpy(np.ascontiguousarray(planes.transpose(2, 0, 1))), channels, where)


def _from_tensor(tensor: Tensor, channels: int, where: str) -> Tensor:
    shape = " x ".join(map(str, tensor.shape)) or "a single number"
    if tensor.ndim != 3:
        raise InputError(f"{where} is a tensor {shape}; expected C x H x W")
    if 0 in tensor.shape:
        raise InputError(f"{where} is empty: a tensor {shape}")
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.uint8:
        tensor = tensor.float() / 255
    if not tensor.is_floating_point():
        raise InputTypeError(f"{where} is a tensor of {tensor.dtype}; expected uint8 or float in [0, 1]")
    tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{where} holds NaN or infinity")
    return _convert_channels(tensor, channels, where)


def _convert_channels(tensor: Tensor, channels: int, where: str) -> Tensor:
    """Make a float tensor gray or color as the network wants it (luma as Pillow's ``convert('L')``)."""
    given = len(tensor)
    if given == channels:
        return tensor
    if given == 1 and channels == 3:
        return tensor.expand(3, -1, -1)
    if given == 3 and channels == 1:
        weights = tensor.new_tensor([0.299, 0.587, 0.114])
        return torch.einsum("c,chw->hw", weights, tensor)[None]
    if given == 4 and channels in (1, 3):
        alpha = tensor[3:]
        return _convert_channels(tensor[:3] * alpha + (1 - alpha), channels, where)
    raise InputError(
        f"{where} has {given} channels (it is {' x '.join(map(str, tensor.shape))}), "
        f"but the network takes {channels}"
    )
