"""The image stage's pictures as bytes: the photo for the page, the whole stage for other viewers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cnnviz_widgets.render.encode import png, webp
from cnnviz_widgets.render.overlay import blend
from cnnviz_widgets.views._boxes import Scene, draw_with_pillow
from cnnviz_widgets.views._heat import Heat

LOSSLESS_PIXELS = 300_000
STILL_BYTES = 1_000_000
HEAT_BYTES = 300_000


def checked_image(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy of a picture, or refuse what is none."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise ValueError(f"an image is a uint8 array [H, W, 3]; got {array.dtype} {list(array.shape)}")
    return array.copy()


def encode_photo(image: NDArray[np.uint8], longest: int) -> tuple[bytes, str]:
    """Return the photo's bytes and their format, made smaller where a side is longer than `longest`.

    Small photos are kept without loss, large ones as WebP: a saved notebook holds these bytes.
    """
    if max(image.shape[:2]) > longest:
        smaller = Image.fromarray(image)
        smaller.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        image = np.asarray(smaller)
    if image.shape[0] * image.shape[1] <= LOSSLESS_PIXELS:
        return png(image), "png"
    return webp(image, quality=90), "webp"


def encode_heat(layer: NDArray[np.uint8]) -> tuple[bytes, str]:
    """Return a heat map's bytes [H, W, 4] and their format: without loss unless that takes too many."""
    data = png(layer)
    return (data, "png") if len(data) <= HEAT_BYTES else (webp(layer, quality=85), "webp")


def draw_still(
    image: NDArray[np.uint8],
    heat: Heat | None,
    opacity: float,
    scene: Scene,
    *,
    cover: NDArray[np.uint8] | None = None,
    pixelated: bool,
) -> bytes:
    """Return photo, heat map, cover, boxes and mark as one PNG of the size it has on the page."""
    if heat is not None:
        image = blend(image, heat.layer(image.shape[0], image.shape[1], 1), opacity)
    size = (round(scene.width * scene.scale), max(round(scene.height * scene.scale), 1))
    picture = Image.fromarray(image).resize(
        size, Image.Resampling.NEAREST if pixelated else Image.Resampling.BICUBIC
    )
    if cover is not None:
        over = Image.fromarray(cover).resize(size, Image.Resampling.NEAREST)
        picture.paste(over, mask=over)
    draw_with_pillow(scene, ImageDraw.Draw(picture))
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    return png(np.asarray(picture.resize(half, Image.Resampling.BOX)), max_bytes=STILL_BYTES)
