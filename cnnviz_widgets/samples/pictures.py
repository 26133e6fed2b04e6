"""Photographs to look at networks with, and a small part of Fashion-MNIST."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.samples._files import DATA, check_name

_SPLITS = ("train", "test")


def photo_names() -> tuple[str, ...]:
    """Return the names that `photo` knows, in alphabetical order.

    >>> import cnnviz_widgets as cv
    >>> cv.samples.photo_names()[:4]
    ('astronaut', 'brick', 'camera', 'chelsea')
    """
    return tuple(sorted(path.stem for path in (DATA / "photos").glob("*.jpg")))


def photo(name: str) -> Image.Image:
    """Return one of the shipped photographs, upright, in color (RGB) and at most 512 pixels a side.

    A cat (``"chelsea"``), a cup of ``"coffee"``, a man with a ``"camera"`` (gray), an ``"astronaut"``, a
    ``"rocket"``, the ``"hubble_deep_field"``, a ``"retina"``, and three gray textures: ``"brick"``,
    ``"grass"`` and ``"gravel"``. Free of copyright: CC0 or in the public domain.

    Parameters
    ----------
    name
        One of `photo_names`.

    Returns
    -------
    PIL.Image.Image
        A fresh copy, free to be drawn on.

    Raises
    ------
    SampleNotFoundError
        (a LookupError) There is no such photograph; the message names the nearest.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> cat = cv.samples.photo("chelsea")
    >>> cat.size, cat.mode
    ((451, 300), 'RGB')
    """
    check_name("photo", name, photo_names())
    with Image.open(DATA / "photos" / f"{name}.jpg") as image:
        return image.copy()


def fashion_mnist(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return small gray pictures of clothes and what each shows: 5,000 to train on, 1,000 to test on.

    A balanced part of Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017, arXiv:1708.07747): the first 500
    images of each class of its training file, and the first 100 of its test file, in file order.

    Parameters
    ----------
    split
        ``"train"`` or ``"test"``.

    Returns
    -------
    images
        uint8 [N, 28, 28], white (255) clothes on black (0).
    labels
        int64 [N], indices into `FASHION_LABELS`.

    Raises
    ------
    SampleNotFoundError
        (a LookupError) There is no such split.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> images.shape, cv.samples.FASHION_LABELS[labels[0]]
    ((1000, 28, 28), 'Ankle boot')
    """
    check_name("split of Fashion-MNIST", split, _SPLITS)
    with np.load(DATA / "fashion_mnist_subset.npz", allow_pickle=False) as arrays:
        return arrays[f"{split}_images"], arrays[f"{split}_labels"].astype(np.int64)
