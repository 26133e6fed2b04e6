"""What the players that begin with a photo share: which one it is, and how it is chosen again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cnnviz_widgets.widgets._photos import PhotoViewer
from cnnviz_widgets.widgets._player import Player


class PhotoPlayer(Player, PhotoViewer):
    """Base of the players whose method takes a photo; a subclass calls `_offer` before ``super().__init__``."""

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
