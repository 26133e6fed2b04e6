"""What a network takes for an image, and how to get from pictures to its numbers and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.pictures import Picture, load_picture, split_images, stack_pixels
from cnnviz_widgets.engine.presets import timm_options, torchvision_options
from cnnviz_widgets.engine.resizing import FILTERS, middle, resized, values_of

Images: TypeAlias = Any
"""One image or many: PIL images, paths, bytes, uint8 or float arrays, CHW tensors, or a list of these."""

# No mean or deviation of numbers in [0, 1] comes near it, and those of numbers up to 255 are far above.
_LARGEST_SCALE = 5.0


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
        How a picture is brought to ``size``. A number: its short side gets this length. A pair: it gets
        exactly this height and width (its proportions may change). ``None``: it is scaled until it just
        covers ``size``. Then the middle is cut out, with black around it where it is smaller than ``size``.
    interpolation
        ``"bilinear"``, ``"bicubic"``, ``"lanczos"`` (not for float arrays and tensors) or ``"nearest"``;
        with antialiasing.

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
        counts = [np.shape(each)[0] for each in (self.mean, self.std) if np.ndim(each)]
        channels = self.channels if self.channels is not None else max(counts, default=3)
        _set(self, "channels", _whole(channels, "channels"))
        for name in ("mean", "std"):
            _set(self, name, _per_channel(getattr(self, name), channels, name))
        if any(each <= 0 for each in cast(tuple[float, ...], self.std)):
            raise InputError(f"std must be positive, got {self.std}")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if max(cast(tuple[float, ...], numbers)) > _LARGEST_SCALE:
                raise InputError(
                    f"{name} is that of pictures with values in [0, 1], got {numbers}; "
                    "divide by 255 if it is that of values up to 255"
                )
        if self.size is not None:
            _set(self, "size", _pair(self.size, "size"))
        if self.resize is not None:
            single = isinstance(self.resize, int | np.integer)
            _set(self, "resize", _whole(self.resize, "resize") if single else _pair(self.resize, "resize"))
        if self.interpolation not in FILTERS:
            raise InputError(f"interpolation is one of {', '.join(FILTERS)}; got {self.interpolation!r}")

    @classmethod
    def from_torchvision(cls, weights: Any) -> InputSpec:
        """Return the spec of torchvision weights, or of what their ``.transforms()`` returns.

        Raises
        ------
        InputError
            For transforms that are not an image classifier's or a segmenter's.
        """
        return cls(**torchvision_options(weights))

    @classmethod
    def from_timm(cls, model: Any) -> InputSpec:
        """Return the spec of a timm model, or of its ``pretrained_cfg`` (a dict or an object).

        A model that was made with ``in_chans=1`` has a configuration in color: gray gets the average of its
        means and of its standard deviations.

        Raises
        ------
        InputError
            For a configuration without ``input_size``, with another crop mode than center or squash, with
            a center crop that is neither square nor whole, or with another number of channels than the
            model takes.
        """
        return cls(**timm_options(model))

    def prepare(self, images: Images) -> Tensor:
        """Return pictures as the network's numbers: float32 [N, C, H, W] on the CPU.

        Parameters
        ----------
        images
            One image or a list of images, each of them a `PIL.Image` (turned upright by its EXIF tag; alpha
            laid on white; 16 bits, 0 to 65535, scaled to 8), a path, the bytes of an image file, a NumPy array
            H x W, H x W x 1, 3 or 4 (uint8, uint16, or float in [0, 1]), or a torch tensor C x H x W (uint8,
            uint16, or float in [0, 1]). Or a batch: an array N x H x W x C or N x H x W, a tensor
            N x C x H x W.

        Raises
        ------
        InputError
            An empty list, a wrong shape or range, NaN, an unreadable or too large file, images of several
            sizes where ``size`` is ``None``: with the number of the image.
        InputTypeError
            Something that is not an image.
        """
        items = split_images(images, self._channels)
        quickly = self.prepare_pixels(items)
        if quickly is not None:
            return quickly
        tensors: list[Tensor] = []
        for index, item in enumerate(items):
            where = "the image" if len(items) == 1 else f"image {index} of {len(items)}"
            tensors.append(self.prepare_one(item, where))
            if tensors[index].shape != tensors[0].shape:
                height, width = tensors[index].shape[1:]
                raise InputError(
                    f"{where} is {height} x {width} pixels, those before it are {tensors[0].shape[1]} x "
                    f"{tensors[0].shape[2]}; give the network InputSpec(size=...), or images of one size"
                )
        return torch.stack(tensors)

    def restore(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the network's numbers as pictures: uint8 [N, H, W, 3], the inverse of `prepare`.

        Values beyond black and white are clipped. One channel is shown as gray.

        Raises
        ------
        InputError
            Another number of channels than the spec has, or one that makes no picture (not 1 or 3); NaN.
        InputTypeError
            Not a tensor.
        """
        given: Any = x
        if not isinstance(given, Tensor):
            raise InputTypeError(f"restore takes a tensor that prepare made, got {type(given).__name__}")
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise InputError(
                f"restore takes a batch (images, {self.channels}, rows, columns), got shape {tuple(x.shape)}"
            )
        if self.channels not in (1, 3):
            raise InputError(f"{self.channels} channels make no picture; only 1 or 3 do")
        mean, std = self.scaling()
        # In place, from the product on: fresh memory for each operation takes longer than the operations do.
        values = (x.detach().cpu().float() * std).add_(mean)
        if values.numel() and not all(bool(each.isfinite()) for each in values.aminmax()):
            raise InputError("can't show an image with NaN or infinity in it")
        pixels = values.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        pictures: NDArray[np.uint8] = pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
        return pictures

    def view(self, image: Images) -> NDArray[np.uint8]:
        """Return one picture as the network sees it, uint8 [H, W, 3]: resized and cut."""
        x = self.prepare(image)
        if len(x) != 1:
            raise InputError(f"view takes one image, got {len(x)}; call it once for each")
        picture: NDArray[np.uint8] = self.restore(x)[0]
        return picture

    def example(self, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """Return one input of zeros (the mean picture), 224 x 224 where the spec has no size."""
        return torch.zeros(1, self._channels, *self.size_or(224), device=device, dtype=dtype)

    def size_or(self, default: int) -> tuple[int, int]:
        """Return (height, width), or the default for both where the spec leaves the size free."""
        return cast(tuple[int, int], self.size) if self.size is not None else (default, default)

    @property
    def deviation(self) -> Tensor:
        """The standard deviation, [C, 1, 1]: the network's numbers times it are values of pixels less their mean."""
        return self.scaling()[1]

    @property
    def _channels(self) -> int:
        return cast(int, self.channels)

    def scaling(self) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation as tensors [C, 1, 1]."""
        mean, std = (torch.tensor(each, dtype=torch.float32) for each in (self.mean, self.std))
        return mean[:, None, None], std[:, None, None]

    def prepare_one(self, item: Any, where: str) -> Tensor:
        """Return one picture as the network's numbers [C, H, W]; ``where`` is how an error names it."""
        return self._normalized(self._resized(load_picture(item, self._channels, where), where))

    def prepare_pixels(self, items: Sequence[Any]) -> Tensor | None:
        """Return uint8 pictures of one size as the network's numbers [N, C, H, W], all in one go.

        The same numbers as one by one, for a fraction of the time; ``None`` where there is more to do than to
        scale their values (or something is wrong, which then is found out one by one).
        """
        pixels = stack_pixels(items, self._channels)
        if pixels is None:
            return None
        return self._normalized(pixels) if self.keeps(*pixels.shape[2:]) else None

    def keeps(self, height: int, width: int) -> bool:
        """Return whether a picture of that size is neither scaled nor cut."""
        size = (height, width)
        return self._scaled_size(height, width) == size and self.size_or(0) in (size, (0, 0))

    def _normalized(self, picture: Picture) -> Tensor:
        mean, std = self.scaling()
        return (values_of(picture) - mean) / std

    def _resized(self, picture: Picture, where: str) -> Picture:
        height, width = picture.shape[1:] if isinstance(picture, Tensor) else picture.size[::-1]
        target = self._scaled_size(height, width)
        # A strip of 1 x 10,000 pixels passes Pillow's limit, and would grow to 256 x 2,560,000.
        if Image.MAX_IMAGE_PIXELS and math.prod(target) > max(Image.MAX_IMAGE_PIXELS, height * width):
            raise InputError(
                f"{where} is {height} x {width} pixels and would be scaled to {target[0]} x {target[1]}, "
                "more than PIL.Image.MAX_IMAGE_PIXELS; cut it to other proportions first"
            )
        if target != (height, width):
            if isinstance(picture, Tensor) and self.interpolation == "lanczos":
                raise InputError(
                    f"{where} is a float tensor, which interpolation='lanczos' can't resize; make it uint8"
                )
            picture = resized(picture, target, self.interpolation)
        return picture if self.size is None else middle(picture, self.size_or(0))

    def _scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the size before the middle is cut out, rounded as torchvision and timm do."""
        if isinstance(self.resize, tuple):
            return self.resize
        if isinstance(self.resize, int):
            longer = int(self.resize * max(height, width) / min(height, width))
            return (self.resize, longer) if height <= width else (longer, self.resize)
        if self.size is None:
            return height, width
        wanted_height, wanted_width = self.size_or(0)
        ratio = min(height / wanted_height, width / wanted_width)
        return round(height / ratio), round(width / ratio)


def _set(spec: InputSpec, name: str, value: Any) -> None:
    object.__setattr__(spec, name, value)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be a whole number from 1, got {value!r}")
    return int(value)


def _pair(value: Any, name: str) -> tuple[int, int]:
    """Return (height, width) from such a pair or from one number for both."""
    if not isinstance(value, Sequence):
        value = (value, value)
    if isinstance(value, str) or len(value) != 2:
        raise InputError(f"{name} is a number or (height, width), got {value!r}")
    return _whole(value[0], name), _whole(value[1], name)


def _per_channel(value: Any, channels: int, name: str) -> tuple[float, ...]:
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is a number or one for each channel, got {value!r}") from error
    if values.ndim > 1 or values.size not in (1, channels):
        raise InputError(
            f"{name} is one number, or one for each channel ({channels} here: channels={channels}); got {value!r}"
        )
    if not np.isfinite(values).all():
        raise InputError(f"{name} must be finite, got {value!r}")
    return tuple(np.broadcast_to(values, channels).tolist())
