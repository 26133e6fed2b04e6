"""By what an image of a data set is seen to have changed since, without reading its file or running its code."""

from __future__ import annotations

import os
import zlib
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

Stamps: TypeAlias = NDArray[np.uint32]
Items: TypeAlias = list[Any] | NDArray[Any] | Tensor

# So many bytes of images in memory are summed up in a second or so: little beside a scan of them.
_SUMMED_BYTES = 2**30


def listed_items(images: Any) -> Items | None:
    """Return what a data set lists: paths, images in memory, or tuples that begin with one; ``None`` if nothing.

    That is a list itself, the `samples` or `imgs` of torchvision's folders, many images in one array or tensor
    (alone, with labels or in a `TensorDataset`), or a `Subset` of these. No image is read.
    """
    if isinstance(images, Subset):
        whole = listed_items(images.dataset)
        return None if whole is None else [whole[index] for index in images.indices]
    if isinstance(images, TensorDataset):
        return images.tensors[0]
    if isinstance(images, tuple) and images and isinstance(images[0], np.ndarray | Tensor):
        images = images[0]
    for name in ("samples", "imgs"):
        images = getattr(images, name, images)
    return images if isinstance(images, list | np.ndarray | Tensor) else None


def image_stamps(images: Any, count: int | None) -> Stamps | None:
    """Return a number for each of ``count`` images that is another one, in all likelihood, when the image is.

    Of a file it is made of size and time of the last change; of an image in memory, of its bytes (beyond 1 GiB
    in all: an equal share from the middle of each). It is 0 where neither is known, as for a file that is not
    there. ``None`` for data sets that list no images.
    """
    items = listed_items(images)
    if items is None or count is None or len(items) != count:
        return None
    share = max(1, _SUMMED_BYTES // count)
    return np.fromiter((_stamp(each, share) for each in items), np.uint32, count)


def _stamp(item: Any, share: int) -> int:
    if isinstance(item, tuple) and item:
        item = item[0]
    if isinstance(item, str | os.PathLike):
        try:
            status = os.stat(item)
        except (OSError, ValueError):  # the scan will tell
            return 0
        return zlib.crc32(f"{status.st_size} {status.st_mtime_ns}".encode())
    content = _content(item)
    if content is None:
        return 0
    start = max(0, (len(content) - share) // 2)
    return zlib.crc32(content[start : start + share])


def _content(item: Any) -> Any:
    """Return the bytes of an image in memory; ``None`` for what is none, or not all there yet."""
    if isinstance(item, bytes):
        return item
    if type(item) is Image.Image:  # those of a file are subclasses, and may not have been read yet
        item = np.asarray(item)
    if isinstance(item, Tensor):
        if item.is_meta or item.layout is not torch.strided:
            return None
        item = item.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if not isinstance(item, np.ndarray) or item.dtype.hasobject:
        return None
    return np.ascontiguousarray(item).reshape(-1).view(np.uint8)
