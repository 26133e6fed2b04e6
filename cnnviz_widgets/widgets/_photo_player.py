"""What the players that begin with a photo share: which one it is, and how it is chosen again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.coarse_to_fine import prepared
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.widgets._photos import PhotoViewer
from cnnviz_widgets.widgets._player import Player
from cnnviz_widgets.widgets._player_parts import Still


class PhotoPlayer(Player, PhotoViewer):
    """Base of the players whose method takes a photo.

    Parameters
    ----------
    image
        One image, or several to choose from.
    options
        Those of the method that were given, with what else belongs to them.
    label
        What the image is.
    """

    def __init__(self, image: Any, options: Mapping[str, Any], label: str = "Photo") -> None:
        self._offer(image, label)
        super().__init__(options)

    def _inputs(self) -> tuple[Any, ...]:
        return (self._image,)

    def _choose_inputs(self, inputs: Sequence[Any]) -> None:
        if inputs[0] is not self._image:
            self._take_image(inputs[0])
            images = self._photos.images
            self._photos.add(
                inputs[0], next((name for name, each in images.items() if each is inputs[0]), "image")
            )

    def _show_image(self) -> None:
        self._show_options()

    def _prepared(self, image: Any, size: Any) -> Tensor:
        """Return an image as the method takes it, at a size or its usual one."""
        pair = None if size is None else checked_pair("size", size)
        return prepared(self.net, image, pair, type(self).__name__)

    def _show_still(self, still: Still, image: Any, size: Any, text: str) -> None:
        """Show an image, if there is one, beside the frames, as the network sees it."""

        def seen() -> NDArray[np.uint8] | None:
            return None if image is None else pictures_of(self.net, self._prepared(image, size))[0]

        still.show_of((image, size), seen, text)
