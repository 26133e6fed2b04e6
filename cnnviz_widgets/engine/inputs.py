"""What a network takes for an image, and how to get from pictures to its numbers and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode  # type: ignore[import-untyped, unused-ignore]
from torchvision.transforms import functional as transforms

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.pictures import Picture, load_picture, split_images

Images: TypeAlias = Any
"""One image or many: PIL images, paths, uint8 or float arrays, float CHW tensors, or a list of these."""

_FILTERS = {
    "nearest": InterpolationMode.NEAREST,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
}


@dataclass(frozen=True)
class InputSpec:
    """What a network takes for an image: size, channels, scaling, and how a picture is brought to that size.

    A picture's values v in [0, 1] become (v - mean) / std, channel by channel.

    Parameters
    ----------
    size
        Height and width of the network's input, or one number for both. ``None``: images keep their size.
    channels
        Number of channels; left out, as many as there are values in ``mean`` or ``std``, otherwise 3.
    mean, std
        One number, or one for each channel, on the scale where black is 0 and white is 1.
    resize
        How a picture is brought to ``size``. A number: its short side gets this length, then the middle is
        cut out. A pair: it gets exactly this height and width (its proportions may change), then the middle
        is cut out. ``None``: it is scaled until it just covers ``size``, then the middle is cut out.
    interpolation
        ``"bilinear"``, ``"bicubic"``, ``"lanczos"`` (pictures only) or ``"nearest"``; always with
        antialiasing.

    Raises
    ------
    InputError
        Sizes below 1, a standard deviation that is not positive, counts that do not fit each other.

    Examples
    --------
    >>> InputSpec(size=28, channels=1, mean=0.29, std=0.35).prepare(np.zeros((28, 28), np.uint8)).shape
    torch.Size([1, 1, 28, 28])
    """

    size: int | tuple[int, int] | None = None
    channels: int | None = None
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    resize: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        lengths = [len(each) for each in (self.mean, self.std) if isinstance(each, Sequence | np.ndarray)]
        # One value is good for any number of channels.
        channels = self.channels if self.channels is not None else max([*lengths, 1])
        if self.channels is None and channels == 1 and not lengths:
            channels = 3
        _set(self, "channels", _whole(channels, "channels"))
        for name in ("mean", "std"):
            _set(self, name, _per_channel(getattr(self, name), channels, name))
        if min(self.std) <= 0:  # type: ignore[arg-type]
            raise InputError(f"std must be positive, got {self.std}")
        if self.size is not None:
            _set(self, "size", _pair(self.size, "size"))
        if self.resize is not None:
            pair = _pair(self.resize, "resize")
            _set(self, "resize", pair if isinstance(self.resize, Sequence) else pair[0])
            if self.size is None and isinstance(self.resize, int):
                pass  # segmentation networks: the short side is set, the long one is free
        if self.interpolation not in _FILTERS:
            raise InputError(f"interpolation is one of {', '.join(_FILTERS)}; got {self.interpolation!r}")

    @classmethod
    def from_torchvision(cls, weights: Any) -> InputSpec:
        """Return the spec of torchvision weights, or of what their ``.transforms()`` returns.

        Raises
        ------
        InputError
            For transforms that are not an image classifier's or a segmenter's.
        """
        preset = weights.transforms() if hasattr(weights, "transforms") else weights
        if hasattr(preset, "func"):
            preset = preset()
        missing = [name for name in ("resize_size", "mean", "std") if not hasattr(preset, name)]
        if missing:
            raise InputError(
                f"can't read an input spec from {type(preset).__name__}: it has no {', '.join(missing)}; "
                "write it out: cv.InputSpec(size=..., mean=..., std=...)"
            )
        crop = getattr(preset, "crop_size", None)
        resize = list(preset.resize_size)
        return cls(
            size=None if crop is None else _both(crop),
            mean=tuple(preset.mean),
            std=tuple(preset.std),
            resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
            interpolation=preset.interpolation.value,
        )

    @classmethod
    def from_timm(cls, model: Any) -> InputSpec:
        """Return the spec of a timm model, or of its ``pretrained_cfg`` (a dict or an object).

        Raises
        ------
        InputError
            For a configuration without ``input_size``, or a crop mode other than center and squash.
        """
        config = getattr(model, "pretrained_cfg", model)
        config = config.to_dict() if hasattr(config, "to_dict") else config
        if not isinstance(config, dict) or "input_size" not in config:
            raise InputError(f"can't read an input spec from {type(model).__name__}: no 'input_size' in it")
        channels, height, width = config["input_size"]
        mode = config.get("crop_mode") or "center"
        if mode not in ("center", "squash"):
            raise InputError(f"timm's crop_mode {mode!r} is not supported; write out cv.InputSpec(...)")
        share = config.get("crop_pct") or 0.875
        scaled = (math.floor(height / share), math.floor(width / share))
        square = height == width and mode == "center"
        return cls(
            size=(height, width),
            channels=channels,
            mean=tuple(config.get("mean") or (0.485, 0.456, 0.406)),
            std=tuple(config.get("std") or (0.229, 0.224, 0.225)),
            resize=scaled[0] if square else (scaled if mode == "squash" else None),
            interpolation=config.get("interpolation") or "bicubic",
        )

    def prepare(self, images: Images) -> Tensor:
        """Return pictures as the network's numbers: float32 [N, C, H, W] on the CPU.

        Parameters
        ----------
        images
            One image or a list of images, each of them a `PIL.Image` (turned upright by its EXIF tag; alpha
            laid on white; 16 bits scaled to 8), a path, a NumPy array H x W, H x W x 1, 3 or 4 (uint8,
            uint16, or float in [0, 1]), or a torch tensor C x H x W (uint8, or float in [0, 1]). Or a batch:
            an array N x H x W x C or N x H x W, a tensor N x C x H x W.

        Raises
        ------
        InputError
            An empty list, a wrong shape or range, NaN, an unreadable or too large file, images of several
            sizes where ``size`` is ``None``: with the number of the image.
        InputTypeError
            Something that is not an image.
        """
        items = split_images(images)
        tensors = []
        for index, item in enumerate(items):
            where = "the image" if len(items) == 1 else f"image {index} of {len(items)}"
            tensors.append(self._prepare_one(item, where))
        sizes = {tuple(each.shape[1:]) for each in tensors}
        if len(sizes) > 1:
            listed = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
            raise InputError(f"the images have several sizes ({listed}); give the network InputSpec(size=...)")
        return torch.stack(tensors)

    def restore(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the network's numbers as pictures: uint8 [N, H, W, 3], the inverse of `prepare`.

        Values beyond black and white are clipped. One channel is shown as gray.

        Raises
        ------
        InputError
            Another number of channels than the spec has, or one that makes no picture (not 1 or 3); NaN.
        """
        if not isinstance(x, Tensor) or x.ndim != 4 or x.shape[1] != self.channels:
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"restore takes a batch (images, {self.channels}, rows, columns), got {got}")
        if self.channels not in (1, 3):
            raise InputError(f"{self.channels} channels make no picture; only 1 or 3 do")
        mean, std = self._scaling()
        values = x.detach().cpu().float() * std + mean
        if not bool(torch.isfinite(values).all()):
            raise InputError("can't show an image with NaN or infinity in it")
        pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8)
        return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()

    def view(self, image: Images) -> NDArray[np.uint8]:
        """Return one picture as the network sees it, uint8 [H, W, 3]: resized and cut."""
        return self.restore(self.prepare(image))[0]

    def example(self, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Return one input of zeros (the mean picture), 224 x 224 where the spec has no size."""
        height, width = self.size_or(224)
        return torch.zeros(1, self.channels or 3, height, width, device=device, dtype=dtype)

    def size_or(self, default: int) -> tuple[int, int]:
        """Return (height, width), or the default for both where the spec leaves the size free."""
        return _both(self.size if self.size is not None else default)

    def _scaling(self) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(each, dtype=torch.float32) for each in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]

    def _prepare_one(self, item: Any, where: str) -> Tensor:
        picture = load_picture(item, self.channels or 3, where)
        resized = self._resize(picture)
        values = resized if isinstance(resized, Tensor) else transforms.pil_to_tensor(resized)
        values = transforms.convert_image_dtype(values, torch.float32)
        mean, std = self._scaling()
        if mean.any() or (std != 1).any():
            self._check_range(values, where)
        return (values - mean) / std

    def _check_range(self, values: Tensor, where: str) -> None:
        """A float image that was normalized already would be normalized twice."""
        low, high = float(values.min()), float(values.max())
        if low < -1e-3 or high > 1 + 1e-3:
            raise InputError(
                f"{where} has values from {low:.3g} to {high:.3g}; float images go from 0 (black) to 1 (white). "
                "If it is prepared already, call net(x) with it; if it goes to 255, make it uint8"
            )

    def _resize(self, picture: Picture) -> Picture:
        size = picture.shape[-2:] if isinstance(picture, Tensor) else picture.size[::-1]
        if self.resize is not None:
            target = [self.resize] if isinstance(self.resize, int) else list(self.resize)
        elif self.size is not None and tuple(size) != self.size:
            height, width = self.size_or(0)
            scale = max(height / size[0], width / size[1])
            target = [max(height, round(size[0] * scale)), max(width, round(size[1] * scale))]
        else:
            target = []
        if target:
            mode = _FILTERS[self.interpolation]
            if isinstance(picture, Tensor) and self.interpolation == "lanczos":
                raise InputError("interpolation='lanczos' works on pictures, not on float tensors; use 'bicubic'")
            antialias = self.interpolation != "nearest"
            picture = transforms.resize(picture, target, interpolation=mode, antialias=antialias)
        return picture if self.size is None else transforms.center_crop(picture, list(self.size_or(0)))


def _set(spec: InputSpec, name: str, value: Any) -> None:
    object.__setattr__(spec, name, value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {value!r}")
    return int(value)


def _both(value: Any) -> tuple[int, int]:
    """Return a pair from a number, a sequence of one, or a pair."""
    values = list(value) if isinstance(value, Sequence) else [value]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _pair(value: Any, name: str) -> tuple[int, int]:
    if isinstance(value, Sequence) and len(value) not in (1, 2):
        raise InputError(f"{name} is a number or (height, width), got {value!r}")
    height, width = _both(value)
    return _whole(height, name), _whole(width, name)


def _per_channel(value: Any, channels: int, name: str) -> tuple[float, ...]:
    values = [float(each) for each in value] if np.ndim(value) else [float(value)]
    if len(values) == 1:
        values *= channels
    if len(values) != channels:
        raise InputError(f"{name} has {len(values)} values for {channels} channels: {value!r}")
    if not all(math.isfinite(each) for each in values):
        raise InputError(f"{name} must be finite, got {value!r}")
    return tuple(values)
