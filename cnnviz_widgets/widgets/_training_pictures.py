"""What of a training history goes to the page: frames, lines and texts, within a budget of bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.methods.training import TrainingHistory
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.kernels import color_kernels
from cnnviz_widgets.render.mosaic import color_tiles, fit_tiles, mosaic

KERNEL_BYTES, MAP_BYTES = 450_000, 550_000
"""What the frames of one tile grid may take; there are two of each when steps are compared."""

LIVE_BYTES, LIVE_FRAMES = 110_000, 8
"""While a training is followed few frames are sent, and few bytes: what is sent each time anew costs its time."""

MAXIMUM_FRAMES, FEWEST_FRAMES = 100, 12
MAXIMUM_TILES = 60_000
MAXIMUM_POINTS = 400
MAXIMUM_STOPS = 1_000
MAXIMUM_BADGES = 8_000
MAXIMUM_LINES = 12
_READABLE = 16  # a map of fewer rows or columns than that has lost what there was to see
_TILE_BYTES = 12
_LISTED = 20

Lines = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Frames:
    """Tiles at several steps.

    Attributes
    ----------
    values : [F, N, H, W] or [F, N, H, W, 3]
    steps : [F]
    unit, noun
        What the values are, and what a tile is.
    badges
        For each frame a mapping from tile to remark.
    """

    values: NDArray[np.float32]
    steps: NDArray[np.int64]
    unit: str
    noun: str
    badges: list[dict[int, str]]


def evenly(count: int, most: int) -> NDArray[np.intp]:
    """Return at most so many of ``count`` indices, evenly spread, the first and the last among them.

    >>> evenly(9, 5).tolist()
    [0, 2, 4, 6, 8]
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp))


def _frame_indices(shape: tuple[int, ...], budget: int, frames: int) -> NDArray[np.intp]:
    """Return which records to show as frames of that shape [S, N, H, W, ...]: many, but each one readable."""
    records, tiles, height, width = shape[:4]
    values = min(height, _READABLE) * min(width, _READABLE) * int(np.prod(shape[4:], dtype=int))
    most = budget // max(1, tiles * (values + _TILE_BYTES))
    most = min(max(most, FEWEST_FRAMES), frames, max(2, MAXIMUM_TILES // max(1, tiles)))
    return evenly(records, most)


def kernel_frames(history: TrainingHistory, *, frames: int = MAXIMUM_FRAMES) -> Frames | None:
    """Return the kernels at each step: in color, as signed maps, or as their norms over many input channels."""
    kernels = history.kernels
    if kernels.size == 0:
        return None
    inputs = kernels.shape[2]
    shape = (*kernels.shape[:2], *kernels.shape[3:])
    chosen = _frame_indices((*shape, 3) if inputs == 3 else shape, KERNEL_BYTES, frames)
    kernels = kernels[chosen]
    unit = "weight"
    if inputs == 3:
        values = np.ascontiguousarray(np.moveaxis(kernels, 2, -1))
    elif inputs == 1:
        values = kernels[:, :, 0]
    else:
        values = np.sqrt(np.square(kernels).sum(axis=2))
        unit = f"norm of the weights of {inputs} inputs"
    return Frames(values, history.steps[chosen], unit, "kernel", [])


def map_frames(
    history: TrainingHistory, layer: LayerKey, image: int, *, frames: int = MAXIMUM_FRAMES
) -> Frames:
    """Return a layer's maps of one image at each step; those that are zero everywhere say so.

    ``dead 40+``: since the record of step 40, on all images of the recording.
    """
    maps = history.activations[layer]
    shape = (maps.shape[0], *maps.shape[2:])
    chosen = _frame_indices(shape, MAP_BYTES, frames)
    values = maps[chosen, image].astype(np.float32)
    silent = np.all(values == 0, axis=(2, 3))
    badges: list[dict[int, str]] = []
    if silent.sum() <= MAXIMUM_BADGES:
        badges = [
            {
                int(tile): "all zero" if died[tile] < 0 else f"dead {died[tile]}+"
                for tile in np.flatnonzero(row)
            }
            for row, died in zip(silent, dead_since(history, layer)[chosen], strict=True)
        ]
    noun = "unit" if values.shape[2:] == (1, 1) else "channel"
    return Frames(values, history.steps[chosen], "activation", noun, badges)


def dead_since(history: TrainingHistory, layer: LayerKey) -> NDArray[np.int64]:
    """Return for each record the step since which each channel is dead [S, C]; -1 where it is not."""
    dead = history.dead_channels[layer]
    since = np.full(dead.shape, -1, np.int64)
    before = np.full(dead.shape[1], -1, np.int64)
    for index, row in enumerate(dead):
        before = np.where(row, np.where(before < 0, history.steps[index], before), -1)
        since[index] = before
    return since


def dead_text(history: TrainingHistory, layer: LayerKey, record: int) -> str:
    """Return which channels of a layer are dead, and since when; nothing where none is."""
    since = dead_since(history, layer)[record]
    dead = np.flatnonzero(since >= 0)
    listed = [f"{channel} (since step {since[channel]})" for channel in dead[:_LISTED]]
    listed += [f"and {len(dead) - _LISTED} more"] if len(dead) > _LISTED else []
    return f"dead in {key_text(layer)}: {', '.join(listed)}" if listed else ""


def chart_lines(history: TrainingHistory, points: NDArray[np.intp]) -> dict[str, Lines]:
    """Return the lines of each chart, by the chart's name and the line's."""
    ratios = {
        name: history.update_norms[name] / np.where(norms > 0, norms, np.nan)
        for name, norms in history.weight_norms.items()
        if name.endswith("weight") and name in history.update_norms
    }
    charts: dict[str, Lines] = {
        "loss": {"loss": history.loss},
        "zeros": {key_text(key): row for key, row in history.sparsity.items()},
        "dead": {key_text(key): row for key, row in history.dead.items()},
        "roughness": _roughness_lines(history.roughness),
        "update": ratios,
    }
    return {
        name: {line: values[points] for line, values in _some(lines).items()}
        for name, lines in charts.items()
    }


def _some(lines: Lines) -> Lines:
    names = list(lines)
    return {names[index]: lines[names[index]] for index in evenly(len(names), MAXIMUM_LINES)} if names else {}


def _roughness_lines(roughness: NDArray[np.float64]) -> Lines:
    """Return the roughest, the middle and the smoothest kernel's; NaN in records where no kernel has any."""
    lines = {name: np.full(len(roughness), np.nan) for name in ("roughest", "median", "smoothest")}
    for index, row in enumerate(roughness):
        known = row[np.isfinite(row)]
        if len(known):
            values = (known.max(), np.median(known), known.min())
            for name, value in zip(lines, values, strict=True):
                lines[name][index] = value
    return lines


def slider_stops(history: TrainingHistory, *shown: int | None) -> NDArray[np.intp]:
    """Return which records the slider stops at: all or many, evenly chosen, and those of the steps on show."""
    found = np.flatnonzero(np.isin(history.steps, [step for step in shown if step is not None]))
    return np.union1d(evenly(len(history), MAXIMUM_STOPS), found)


def step_texts(history: TrainingHistory, records: NDArray[np.intp]) -> list[str]:
    """Return a line on each of these records: loss, zeros and dead channels, as far as they are known."""
    texts = []
    for index in records:
        loss = history.loss[index]
        parts = [f"loss {loss:.4g}"] if not np.isnan(loss) else []
        for word, shares in (("zeros", history.sparsity), ("dead", history.dead)):
            if shares:
                parts.append(f"{word} {_shares_text({key: row[index] for key, row in shares.items()})}")
        texts.append(" \u00b7 ".join(parts))
    return texts


def _shares_text(shares: dict[LayerKey, Any]) -> str:
    if len(shares) > 4:
        values = np.array(list(shares.values()))
        highest = list(shares)[int(np.nanargmax(values))] if not np.isnan(values).all() else None
        mean = (
            "unknown" if highest is None else f"{np.nanmean(values):.0%} in the mean of {len(shares)} layers"
        )
        return mean if highest is None else f"{mean}, most in {key_text(highest)} ({shares[highest]:.0%})"
    return ", ".join(
        f"{key_text(key)} {'unknown' if np.isnan(share) else f'{share:.0%}'}" for key, share in shares.items()
    )


def film_strip(history: TrainingHistory, shown: int) -> bytes | None:
    """Return a PNG with the first kernels in columns, at some steps from top to bottom, all on one scale."""
    frames = kernel_frames(history)
    if frames is None:
        return None
    rows = np.unique(np.append(evenly(len(frames.steps), 5), np.abs(frames.steps - shown).argmin()))
    values = frames.values[rows, :16]
    columns = values.shape[1]
    tiles = values.reshape(-1, *values.shape[2:])
    if tiles.ndim == 4:
        finite = np.isfinite(tiles)
        limit = float(np.abs(tiles[finite]).max(initial=0.0))
        known = np.where(finite, tiles, 0).transpose(0, 3, 1, 2)  # gray, as zero is: there is no other color
        colored = color_kernels(known, limit=limit or None)
    else:
        colored = color_tiles(tiles, zero_centered=frames.unit == "weight")
    return png(mosaic(fit_tiles(colored), columns=columns, gap=2), effort=3, max_bytes=600_000)
