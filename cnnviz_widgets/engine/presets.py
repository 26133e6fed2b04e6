"""Read from torchvision and timm what their networks take for an image."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from torch import nn

from cnnviz_widgets.engine.errors import InputError

_WRITE_OUT = "write it out: cv.InputSpec(size=..., channels=..., mean=..., std=...)"


def torchvision_options(weights: Any) -> dict[str, Any]:
    """Return the options of `InputSpec` in torchvision weights or in what their ``.transforms()`` returns."""
    preset = getattr(weights, "transforms", weights)
    preset = preset() if isinstance(preset, functools.partial) else preset
    needed = ("resize_size", "mean", "std", "interpolation")
    if type(preset).__name__ == "VideoClassification" or not all(hasattr(preset, name) for name in needed):
        raise InputError(
            f"can't read an input spec from {type(preset).__name__}: it is no image classifier's or "
            f"segmenter's; {_WRITE_OUT}"
        )
    # A classifier's crop is a list of one; a segmenter has none.
    crop = getattr(preset, "crop_size", None)
    resize = tuple(preset.resize_size)
    return {
        "size": None if crop is None else (crop[0], crop[-1]),
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "resize": resize[0] if len(resize) == 1 else resize,
        "interpolation": preset.interpolation.value,
    }


def timm_options(model: Any) -> dict[str, Any]:
    """Return the options of `InputSpec` in a timm model or in its ``pretrained_cfg``."""
    config = getattr(model, "pretrained_cfg", model)
    config = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(config, dict) or "input_size" not in config:
        raise InputError(f"can't read an input spec from {type(model).__name__}: no 'input_size' in it")
    channels, height, width = config["input_size"]
    # timm's own defaults, for what a configuration leaves out.
    mean, std = config.get("mean") or (0.485, 0.456, 0.406), config.get("std") or (0.229, 0.224, 0.225)
    taken = _channels_taken(model, config.get("first_conv"))
    if taken == 1 and channels != 1:
        channels, mean, std = 1, (float(np.mean(mean)),), (float(np.mean(std)),)
    # A stem that folds blocks of pixels into channels takes a multiple of the picture's.
    elif taken is not None and taken % channels:
        raise InputError(f"the model takes {taken} channels, its configuration has {channels}; {_WRITE_OUT}")
    return {
        "size": (height, width),
        "channels": channels,
        "mean": tuple(mean),
        "std": tuple(std),
        "resize": _timm_resize(height, width, config.get("crop_mode"), config.get("crop_pct")),
        "interpolation": config.get("interpolation") or "bicubic",
    }


def _channels_taken(model: Any, first: Any) -> int | None:
    """Return the channels that the convolution named in the configuration takes, if it names one."""
    name = first[0] if isinstance(first, list | tuple) and first else first
    if not isinstance(model, nn.Module) or not isinstance(name, str):
        return None
    layer = dict(model.named_modules()).get(name)
    return layer.in_channels if isinstance(layer, nn.Conv2d) else None


def _timm_resize(
    height: int, width: int, mode: str | None, share: float | None
) -> int | tuple[int, int] | None:
    """Return the ``resize`` of a timm configuration: it scales to 1 / share of the size, then cuts."""
    mode, share = mode or "center", share or 0.875
    scaled = math.floor(height / share), math.floor(width / share)
    if mode == "squash":
        return scaled
    if mode == "center" and scaled[0] == scaled[1]:
        return scaled[0]
    if mode == "center" and scaled == (height, width):
        return None
    raise InputError(
        f"timm's crop_mode {mode!r} with crop_pct {share} for {height} x {width} is not supported; "
        + _WRITE_OUT
    )
