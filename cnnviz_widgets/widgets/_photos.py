"""The photo of a widget, and how to choose another one: from a list, by path, or by upload."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, count
from typing import Any

import ipywidgets
import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._controls import PLAIN

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
            named[free_name(name, named)] = image
    else:
        named = {_name_of(images, "image"): images}
    if not named:
        raise ValueError("the list of images is empty; give at least one image")
    return named


def sample_photos(*names: str) -> dict[str, Any]:
    """Return shipped photos by name: what a widget shows where it was given none."""
    from cnnviz_widgets.samples import photo

    return {name: photo(name) for name in names}


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
    label
        What the image is.
    is_listing
        Whether there is the list, or only what adds an image.
    """

    def __init__(
        self, images: Any, on_pick: Handler, label: str = "Photo", *, is_listing: bool = True
    ) -> None:
        self.images = named_images(images)
        self._chosen = next(iter(self.images))
        self._on_pick = on_pick
        self._list = ipywidgets.Dropdown(
            options=list(self.images),
            description=label,
            style=PLAIN,
            layout={"width": "auto", "flex": "3 1 150px", "max_width": "230px", "min_width": "0"},
            tooltip=f"Choose a {label.lower()}",
        )
        self._path = ipywidgets.Text(
            placeholder="path, then Enter",
            continuous_update=False,
            layout={"width": "auto", "flex": "2 1 120px", "max_width": "250px", "min_width": "0"},
            tooltip="Path of another image file, as the kernel sees it",
        )
        self._upload = ipywidgets.FileUpload(
            accept="image/*",
            multiple=False,
            description="Upload",
            tooltip="Upload an image",
            layout={"width": "auto"},
        )
        self._list.observe(lambda change: self._pick(change["new"]), "value")
        self._path.observe(lambda change: self._pick_path(change["new"]), "value")
        self._upload.observe(lambda change: self._pick_upload(change["new"]), "value")
        parts = [self._list, self._path, self._upload] if is_listing else [self._path, self._upload]
        super().__init__(parts, layout={"flex_flow": "row wrap"})

    @property
    def chosen(self) -> str:
        """The name of the image on show, of a file without its folders."""
        return os.path.basename(self._chosen) or self._chosen

    def named(self, image: Any) -> tuple[Any, str]:
        """Return an image and its name: that of the list, if it is the name of one there."""
        if isinstance(image, str) and image in self.images:
            return self.images[image], image
        return image, "image"

    def add(self, image: Any, name: str) -> None:
        """Put an image into the list, as the chosen one, without calling ``on_pick``.

        Where another image has that name, it gets a number.
        """
        name = free_name(name, {known: each for known, each in self.images.items() if each is not image})
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


class PhotoViewer(Viewer):
    """Base of the widgets that look at one photo: ``image`` and `set_image`, and a list to choose another from.

    A subclass calls `_offer` before it makes its parts, and shows in `_show_image` what `_take_image` has kept.
    """

    _photos: PhotoPicker
    _image: Any
    _x: torch.Tensor  # the photo as the network takes it [1, C, H, W]
    _picture: NDArray[np.uint8]  # and as a person sees it

    def _offer(self, images: Any, label: str = "Photo") -> None:
        """Let a person choose among these images, and take the first one."""
        self._photos = PhotoPicker(images, self._pick_image, label=label)
        self._take_image(next(iter(self._photos.images.values())))

    @property
    def image(self) -> Any:
        """The photo. Set it to take another, which may be a name in the list; or call `set_image` to name it, too."""
        return self._image

    @image.setter
    def image(self, image: Any) -> None:
        self.set_image(*self._photos.named(image))

    def set_image(self, image: Any, name: str = "image") -> None:
        """Show another photo; it joins the list under its name. Raises where it can't be used."""
        with self.lock:
            self._take_image(image)
            self._photos.add(image, name)
            self._show_image()

    @shown
    def _pick_image(self, image: Any, name: str) -> None:
        self.set_image(image, name)

    def _take_image(self, image: Any) -> None:
        """Go on with another photo; nothing changes where it can't be used."""
        x, self._picture = view_of(self.net, image, type(self).__name__)
        self._image, self._x = image, x

    def _show_image(self) -> None:
        """Show the photo that was taken, and what there is to say of it."""
        raise NotImplementedError


def view_of(net: Network, image: Any, who: str) -> tuple[torch.Tensor, NDArray[np.uint8]]:
    """Return the one image as the network takes it, and as a picture; of channels that make none, their mean.

    ``who`` shows it, for errors.
    """
    x = net.prepare(image)
    if len(x) != 1:
        raise InputError(
            f"{who} shows one image at a time, got a batch of {len(x)}; give a list to choose from"
        )
    if net.input.channels in (1, 3):
        return x, net.restore(x)[0]
    gray = x[0].mean(dim=0).float().cpu().numpy()
    span = float(gray.max() - gray.min()) or 1.0
    return x, np.repeat((255 * (gray - gray.min()) / span).astype(np.uint8)[:, :, None], 3, axis=2)


def free_name(name: str, taken: Collection[str]) -> str:
    """Return the name, with a number where it is taken."""
    numbered = (f"{name} ({number})" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def _ignore(image: Any, name: str) -> None:
    """Take the place of a handler while the list changes from Python."""
