"""What the saliency explorer shows of its maps: as tiles over the photo, in words, and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.methods.gradients import GradientMap
from cnnviz_widgets.methods.randomization import RandomizationCheck
from cnnviz_widgets.render.attribution import heat_scale
from cnnviz_widgets.render.overlay import blend, heat_map
from cnnviz_widgets.render.resize import block_mean
from cnnviz_widgets.views._text import MINUS, as_html, format_number
from cnnviz_widgets.widgets._saliency_maps import Explained, Progress

COLORS = "berlin"  # dark where a map is zero: what counts shines on the dimmed photo
LARGEST_TILE = 256  # pixels of a tile that travel to the page, at most
LARGEST_STAGE = 128


def in_gray(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a photo in gray, [H, W, 3]: the colors over it are those of a map alone."""
    luma = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(np.rint(luma).astype(np.uint8)[..., None], 3, axis=2)


def shares_of(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a map as shares of its largest magnitude, from -1 to 1; a few huge values are cut off (`heat_scale`)."""
    limit = heat_scale(values)[1]
    return np.clip(values / limit, -1, 1).astype(np.float32) if limit > 0 else np.zeros_like(values)


def over_picture(
    picture: NDArray[np.uint8], values: NDArray[np.float32], opacity: float, largest: int = LARGEST_TILE
) -> NDArray[np.uint8]:
    """Return a map over its picture, [h, w, 3], at most ``largest`` pixels long."""
    height, width = values.shape
    layer = heat_map(shares_of(values), height, width, low=-1.0, high=1.0, colormap=COLORS)
    shown = blend(picture, layer, opacity) if picture.size else layer[..., :3]
    small: NDArray[np.uint8] = block_mean(shown[None], -(-max(height, width) // largest))[0]
    return small


def map_tiles(
    names: Sequence[str], picture: NDArray[np.uint8], known: Progress, opacity: float
) -> tuple[NDArray[np.uint8], list[str], dict[int, str]]:
    """Return the tiles, labels and badges of all maps; where there is no map yet, or none at all, the picture."""
    tiles, badges = [], {}
    nothing = np.zeros(picture.shape[:2], np.float32)
    for index, name in enumerate(names):
        found = known.results.get(name)
        if found is None:
            badges[index] = "none" if name in known.failures else "\u2026"
        values, weight = (nothing, 0.0) if found is None else (found.heatmap, opacity)
        tiles.append(over_picture(picture, values, weight))
    return np.stack(tiles), list(names), badges


def stage_tiles(check: RandomizationCheck) -> tuple[NDArray[np.uint8], list[str]]:
    """Return the maps of a randomization check as tiles, with how far the network is random in each."""
    nothing = np.zeros((0, 0, 3), np.uint8)
    tiles = [over_picture(nothing, values, 1.0, LARGEST_STAGE) for values in check.maps]
    return np.stack(tiles), [
        "as trained",
        *(f"{index + 1}: to {layer}" for index, layer in enumerate(check.layers)),
    ]


def said_of(found: Explained, target: str) -> str:
    """Return what a map is, in words, with what it reports of itself; ``target`` is what is explained, in words."""
    if not isinstance(found, GradientMap):
        return found.message.replace(found.target, target)
    said = f"{target} is {format_number(found.value)}"
    if found.samples:
        said += f"; the mean over {found.samples} noisy copies of the image"
    if found.rule != "plain":
        said += f"; {found.rectifiers} calls of rectifiers send back by the rule {found.rule!r}"
    return said + "."


def stopped_text(names: Sequence[str], known: Progress) -> str:
    """Return how far it was when it was stopped."""
    done = len(known.results) + len(known.failures)
    if done < len(names):
        return f"stopped after {done} of {len(names)} maps"
    if known.measured is None:
        return "stopped before the curves were measured"
    return f"stopped after {len(known.checks)} of {len(known.results)} checks"


def table_html(names: Sequence[str], known: Progress) -> str:
    """Return the areas of all maps, and of chance, with the best in bold; and what is left under random weights."""
    measured = known.measured
    if measured is None:
        return ""
    lost, won = measured.deletion_area.tolist(), measured.insertion_area.tolist()
    best = (measured.best("deletion"), measured.best("insertion"))
    head = "<th></th><th>deletion (less is better)</th><th>insertion (more is better)</th>"
    head += "<th>survives random weights</th>" if known.checks else ""
    rows = []
    for name, down, up in zip(measured.names, lost, won, strict=True):
        cells = [_cell(down, name == best[0]), _cell(up, name == best[1])]
        if known.checks:
            check = known.checks.get(name)
            left = "" if check is None else f"{check.rank_correlation[-1]:.2f}".replace("-", MINUS)
            cells.append(f"<td>{left}</td>")
        rows.append(f'<tr><th scope="row">{as_html(name)}</th>{"".join(cells)}</tr>')
    left_out = [name for name in names if name in known.results and name not in measured.names]
    note = (
        f"<p>Constant, so without an order of pixels: {as_html(', '.join(left_out))}.</p>" if left_out else ""
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<p>{as_html(measured.message)}</p><div class="cnnviz-scrolls">{table}</div>{note}'


def _cell(value: float, is_best: bool) -> str:
    text = format_number(value, 3)
    return f"<td>{f'<b>{text}</b>' if is_best else text}</td>"


def survival_lines(
    checks: Mapping[str, RandomizationCheck],
) -> tuple[list[int], dict[str, NDArray[np.float32]]]:
    """Return the stages and each map's rank correlation with itself; as trained, it is 1."""
    first = next(iter(checks.values()))
    lines = {
        name: np.concatenate([np.ones(1, np.float32), check.rank_correlation])
        for name, check in checks.items()
    }
    return list(range(len(first.layers) + 1)), lines
