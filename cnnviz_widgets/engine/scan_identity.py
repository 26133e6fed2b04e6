"""What tells one scan from another: network, layers, options and data set, as plain values."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.image_source import ImageSource
from cnnviz_widgets.engine.image_stamps import listed_items
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.picture_marks import is_same_mark, picture_mark

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

_SAMPLE = 8
_WORDS = {
    "structure": "another network",
    "weights": "another network (the same structure with other weights)",
    "input": "the network takes other images",
    "layers": "other layers",
    "options": "other options",
    "count": "another data set (another number of images)",
    "paths": "another data set (other files)",
    "labels": "another data set (other labels)",
    "marks": "another data set, or one that changes its images at random",
}


def scan_identity(
    net: Network,
    source: ImageSource,
    images: Any,
    layers: Sequence[LayerKey],
    options: Mapping[str, Any],
    with_labels: bool = False,
) -> dict[str, Any]:
    """Return what must be the same for a scan to go on, as values that JSON keeps.

    A network counts by its structure and its weights, a data set by its length, the paths of its files where it
    tells them, and how eight of its images look, spread over it (the first, where they come only once); where
    labels are collected, by the labels of these, too, and by all that it lists. That images which are done have
    not changed since is told by their stamps: see `image_stamps`.
    """
    samples = [_mark_and_label(net, source, index, entry) for index, entry in source.sample(_SAMPLE)]
    return {
        "structure": re.sub(r"0x[0-9a-f]+", "", str(net.core)),
        "weights": _weights_digest(net),
        "input": f"{net.input!r}, output {_output_text(net.output)}, {net.dtype}",
        "layers": [each if isinstance(each, str) else [each[0], int(each[1])] for each in layers],
        "options": dict(options),
        "count": source.count,
        "paths": _paths_digest(images),
        "labels": _labels_digest(source, [label for _, label in samples]) if with_labels else None,
        "marks": [mark for mark, _ in samples],
    }


def difference(there: Mapping[str, Any], here: Mapping[str, Any], changed: str | None = None) -> str | None:
    """Return in words what is not the same (``changed`` is which images are not); ``None`` if all is."""
    for name, words in _WORDS.items():
        if name == "marks" and changed:
            return changed
        one, two = there.get(name), here[name]
        if name == "marks" and isinstance(one, list) and len(one) == len(two):
            if all(_is_same(*pair) for pair in zip(one, two, strict=True)):
                continue
            return words
        if one != two:
            is_short = name not in ("structure", "weights", "paths", "labels", "marks")
            return f"{words}: {one!r:.200} there, {two!r:.200} here" if is_short else words
    return None


def _is_same(one: list[float] | None, two: list[float] | None) -> bool:
    if one is None or two is None:
        return True  # one that could not be read tells nothing, and may have been mended
    return is_same_mark(np.array(one, np.float32), np.array(two, np.float32))


def _mark_and_label(
    net: Network, source: ImageSource, index: int, entry: Any
) -> tuple[list[float] | None, Any]:
    """Return the mark of an image and its label, ``None`` for what can't be read: the scan will tell."""
    label = None
    try:
        image, label = source.read(index, entry)
        numbers = net.input.prepare_one(image, source.where(index))
    except InputError:
        return None, label
    return [round(float(each), 6) for each in picture_mark(numbers)], label


def _weights_digest(net: Network) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in net.core.state_dict().items():
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            content: Any = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest.update(content)
    return digest.hexdigest()


def _paths_digest(images: Any) -> str | None:
    """Return the hash of all paths, where the data set is a list of them, or lists them as torchvision's do."""
    listed = listed_items(images)
    if not isinstance(listed, list):
        return None
    digest = hashlib.blake2b(digest_size=16)
    for each in listed:
        path = each[0] if isinstance(each, tuple) and each else each
        if not isinstance(path, str | os.PathLike):
            return None
        digest.update(os.fsencode(path) + b"\0")
    return digest.hexdigest()


def _labels_digest(source: ImageSource, sample: Sequence[Any]) -> str:
    """Return the hash of labels: numbers and names, of all others the type alone."""
    digest = hashlib.blake2b(digest_size=16)
    for label in chain(source.listed_labels() or (), sample):
        each = label.item() if getattr(label, "shape", None) == () else label
        is_plain = each is None or isinstance(each, int | float | str)
        digest.update(f"{each!r}\0".encode() if is_plain else type(each).__name__.encode())
    return digest.hexdigest()


def _output_text(output: Any) -> str:
    return str(getattr(output, "__qualname__", output))
