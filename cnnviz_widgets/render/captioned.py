"""Pictures with a text below each, and a curve, as markup for results that show themselves."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, PNG_TILES, fit_tiles

_CAPTION_WIDTH = 200
"""Pixels that a caption may take below a narrower picture, before its lines are broken."""

_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 12, 44
_LABEL_GAP = 38
"""Pixels between two numbers on the axis, at least."""


def captioned(
    pictures: NDArray[np.uint8], captions: Sequence[str], message: str = "", *, max_bytes: int = PNG_BYTES
) -> str:
    r"""Lay out pictures in rows, each with its caption below, and a message above them.

    Parameters
    ----------
    pictures : uint8 array [N, H, W, 3]
        Only the first 256 are shown, enlarged or shrunk as `fit_tiles` does.
    captions : sequence of text
        One for each picture; a line break begins a new line. They are text, whatever is in them.
    message : str
        As the captions.
    max_bytes : int
        What all pictures may take together; they are shrunk to fit.

    Returns
    -------
    str
        Markup of HTML, with the pictures in it.

    Examples
    --------
    >>> shown = captioned(np.zeros((1, 2, 2, 3), np.uint8), ["<b>\n99%"])
    >>> "&lt;b&gt;<br>99%" in shown, shown.count("<img")
    (True, 1)
    """
    if pictures.ndim != 4 or len(pictures) != len(captions) or not pictures.size:
        raise ValueError(
            f"pictures are [N, H, W, 3] with a caption each; got {list(pictures.shape)} and {len(captions)} captions"
        )
    tiles = fit_tiles(pictures[:PNG_TILES])
    share = max_bytes // len(tiles)
    figures = [
        f'<figure style="margin:0;max-width:{max(tile.shape[1], _CAPTION_WIDTH)}px">'
        f"{image_markup(png(tile, effort=3, max_bytes=share), 'png', caption)}"
        f'<figcaption style="overflow-wrap:anywhere">{as_markup(caption)}</figcaption></figure>'
        for tile, caption in zip(tiles, captions, strict=False)
    ]
    above = f"<p>{as_markup(message)}</p>" if message else ""
    return f'{above}<div style="display:flex;flex-wrap:wrap;gap:12px">{"".join(figures)}</div>'


def share_curve(x: Sequence[float], shares: Sequence[float], *, x_title: str, y_title: str) -> str:
    """Draw shares from 0% to 100% over numbers from 0, as a picture of lines and points in HTML.

    Parameters
    ----------
    x : sequence of numbers
        Where the points are, in any order.
    shares : sequence of numbers
        From 0 to 1; a NaN has no point.
    x_title, y_title : str
        What the axes are, as text.
    """
    points = sorted((a, b) for a, b in zip(x, shares, strict=True) if not math.isnan(b))
    largest = max([*x, 0.0]) or 1.0
    across, down = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    places = [(_LEFT + across * a / largest, _TOP + down * (1 - b)) for a, b in points]
    parts = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>']
    for share in (0.0, 0.5, 1.0):
        y = _TOP + down * (1 - share)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_label(f"{share:.0%}", _LEFT - 6, y + 4, "end"))
    last = -math.inf
    for a in sorted(set(x)):
        place = _LEFT + across * a / largest
        if place - last >= _LABEL_GAP:
            parts.append(_label(f"{a:.4g}", place, _HEIGHT - _BOTTOM + 16, "middle"))
            last = place
    parts.append(_label(x_title, _LEFT + across / 2, _HEIGHT - 8, "middle"))
    parts.append(
        f'<g transform="rotate(-90 12 {_TOP + down / 2})">{_label(y_title, 12, _TOP + down / 2, "middle")}</g>'
    )
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0072b2" stroke-width="2"/>')
    parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="#0072b2"/>' for a, b in places]
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="12" fill="#333">{"".join(parts)}</svg>'
    )
    return image_markup(drawing.encode(), "svg+xml", f"{y_title} over {x_title}")


def as_markup(text: str) -> str:
    """Return markup that shows this text and its line breaks."""
    return html.escape(text).replace("\n", "<br>")


def image_markup(data: bytes, kind: str, text: str = "") -> str:
    """Return markup that holds a picture, ``"png"`` or ``"svg+xml"``, with a text for those who do not see it."""
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{html.escape(" ".join(text.split()))}" src="data:image/{kind};base64,{encoded}">'


def _label(text: str, x: float, y: float, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'
