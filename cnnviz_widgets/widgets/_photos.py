"""Choose another photo: from a list, by path, or by upload."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, count
from typing import Any

import ipywidgets

Handler = Callable[[Any, str], None]


def named_images(images: Any) -> dict[str, Any]:
    """Return images by name: a mapping as it is, a list numbered or by file name, one image as one entry.

    >>> list(named_images(["photos/cat.jpg", "photos/dog.jpg"]))
    ['photos/cat.jpg', 'photos/dog.jpg']
    """
    if isinstance(images, Mapping):
        named = {str(name): image for name, image in images.items()}
    elif isinstance(images, Sequence) and not isinstance(images, str | bytes):
        named = {}
        for index, image in enumerate(images):
            name = _name_of(image, f"image {index}")
            named[_free_name(name, named)] = image
    else:
        named = {_name_of(images, "image"): images}
    if not named:
        raise ValueError("the list of images is empty; give at least one image")
    return named


def _name_of(image: Any, otherwise: str) -> str:
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    filename = getattr(image, "filename", "")
    return os.path.basename(filename) if isinstance(filename, str) and filename else otherwise


class PhotoPicker(ipywidgets.HBox):  # type: ignore[misc, unused-ignore]
    """A list of photos, a field for a path, and an upload button.

    Parameters
    ----------
    images
        What `named_images` takes.
    on_pick
        Called with an image and its name when a person picks one; may raise, and then nothing is added.
    """

    def __init__(self, images: Any, on_pick: Handler) -> None:
        self.images = named_images(images)
        self._chosen = next(iter(self.images))
        self._on_pick = on_pick
        self._list = ipywidgets.Dropdown(
            options=list(self.images),
            description="Photo",
            layout={"width": "230px"},
            tooltip="Choose a photo",
        )
        self._path = ipywidgets.Text(
            placeholder="path of another image, then Enter",
            continuous_update=False,
            layout={"width": "250px"},
            tooltip="Path of an image file, as the kernel sees it",
        )
        self._upload = ipywidgets.FileUpload(
            accept="image/*",
            multiple=False,
            description="Upload",
            tooltip="Upload an image",
            layout={"width": "100px"},
        )
        self._list.observe(lambda change: self._pick(change["new"]), "value")
        self._path.observe(lambda change: self._pick_path(change["new"]), "value")
        self._upload.observe(lambda change: self._pick_upload(change["new"]), "value")
        super().__init__([self._list, self._path, self._upload], layout={"flex_flow": "row wrap"})

    def add(self, image: Any, name: str) -> None:
        """Put an image into the list, as the chosen one, without calling ``on_pick``.

        Where another image has that name, it gets a number.
        """
        name = _free_name(name, {known: each for known, each in self.images.items() if each is not image})
        self.images[name] = image
        self._chosen = name
        handler, self._on_pick = self._on_pick, _ignore
        try:
            self._list.options = list(self.images)
            self._list.value = name
        finally:
            self._on_pick = handler

    def _pick(self, name: str) -> None:
        self._on_pick(self.images[name], name)
        if self._chosen != name:
            # It could not be shown: the list says what is.
            self.add(self.images[self._chosen], self._chosen)

    def _pick_path(self, path: str) -> None:
        if path.strip():
            self._on_pick(path.strip(), path.strip())
            self._path.value = ""

    def _pick_upload(self, files: Sequence[Mapping[str, Any]]) -> None:
        for file in files:
            self._on_pick(bytes(file["content"]), str(file["name"]))
        if files:
            # Taken: the bytes must not stay in the widget's saved state, nor be picked twice.
            self._upload.value = ()


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    numbered = (f"{name} ({number})" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _ignore(image: Any, name: str) -> None:
    """Take the place of a handler while the list changes from Python."""
