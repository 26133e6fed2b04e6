"""The runs of a player: what was asked for, the numbers of each step, and what came of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.render.mosaic import mosaic
from cnnviz_widgets.views.line_chart import LINE_COLORS, MAXIMUM_LINES

MAXIMUM_POINTS = 400
_PLAIN = (bool, int, float, str, Target)


@dataclass(frozen=True, eq=False)
class Call:
    """A run as it was asked for.

    Attributes
    ----------
    options
        What was chosen, by the names of the method's options.
    inputs, params
        What the method is called with: ``method(net, *inputs, **params)``. They differ from what was chosen where the
        run goes on from a picture.
    chosen
        The inputs that were chosen.
    first
        Steps done before, of the run that it goes on from.
    parent
        Number of that run.
    text
        What it is, in words.
    paused
        Whether another run was paused when it was asked for.
    """

    options: Mapping[str, Any]
    inputs: tuple[Any, ...]
    params: dict[str, Any]
    chosen: tuple[Any, ...]
    first: int = 0
    parent: int | None = None
    text: str = ""
    paused: bool = False


@dataclass(eq=False)
class Run:
    """A run that has begun.

    Attributes
    ----------
    number
        By which a person knows it.
    call
        What was asked for.
    session
        The work of a thread that it is part of: what one that was let go still does is not shown.
    steps
        The method's generator.
    last
        The step taken last.
    result
        What the method returned; of a run that was stopped, for the steps it took. ``None`` before its end.
    state
        ``"running"``, ``"stopped"``, ``"failed"`` or ``"done"``.
    taken
        The number of each step taken, counted with those before its beginning.
    curves
        By name, a number for each of them.
    remarks
        What the method has said of it.
    """

    number: int
    call: Call
    session: object
    steps: Generator[Step, None, Any]
    last: Step
    result: Result | None = None
    state: str = "running"
    taken: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """How many steps are done, those before its beginning included."""
        return self.call.first + self.last.index + 1

    def note(self, step: Step, values: Mapping[str, float]) -> None:
        """Take note of a step that was taken, and of its numbers."""
        self.last = step
        self.taken.append(self.done)
        for name, value in values.items():
            curve = self.curves.setdefault(name, [])
            # A term that came later, or paused, has gaps.
            curve += [np.nan] * (len(self.taken) - 1 - len(curve))
            curve.append(value)

    def at(self, steps: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Return each curve at some steps; NaN where it has no value."""
        found = {}
        taken = np.array(self.taken)
        places = np.searchsorted(taken, steps).clip(0, len(taken) - 1)
        for name, curve in self.curves.items():
            values = np.full(len(taken), np.nan)
            values[: len(curve)] = curve
            found[name] = np.where(taken[places] == steps, values[places], np.nan)
        return found


def numbers(step: Step) -> dict[str, float]:
    """Return the single numbers among a step's values."""
    return {name: float(value) for name, value in step.values.items() if np.ndim(value) == 0}


def picture_of(step: Step) -> NDArray[np.uint8] | None:
    """Return a step's picture in 8 bits."""
    image = step.image
    if image is None or image.dtype == np.uint8:
        return image
    levels: NDArray[np.uint8] = (image.clip(0, 1) * 255).round().astype(np.uint8)
    return levels


def picture_of_result(result: Any) -> NDArray[np.uint8] | None:
    """Return the picture, or the pictures side by side, of a result to which no step has led."""
    images = getattr(result, "images", None)
    if images is not None and images.size:
        return mosaic(images) if len(images) > 1 else images[0]
    return getattr(result, "image", None)


def curves_of(runs: Sequence[Run]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Return steps, evenly chosen of very many, and each run's curves there; of several runs with their numbers."""
    runs = [run for run in runs if run.taken]
    taken = [np.array(run.taken, np.int64) for run in runs]
    if not runs:
        return np.zeros(0, np.int64), {}
    steps = np.unique(np.concatenate(taken))
    chosen = np.linspace(0, len(steps) - 1, min(len(steps), MAXIMUM_POINTS)).round().astype(np.int64)
    # The ends of each run are among them.
    steps = np.unique(np.concatenate([steps[chosen], *(each[[0, -1]] for each in taken)]))
    lines = {}
    for run in runs:
        for name, line in run.at(steps).items():
            lines[name if len(runs) == 1 else f"{name}, run {run.number}"] = line
    return steps, lines


def looks_of(runs: Sequence[Run]) -> list[int] | None:
    """Return how a `LineChart` draws those curves: a term in the same color for each run; ``None`` for too many."""
    names = [list(run.curves) for run in runs if run.taken]
    terms = {name: place for place, name in enumerate(dict.fromkeys(chain.from_iterable(names)))}
    colors = len(LINE_COLORS)
    apart = colors * -(-len(terms) // colors)
    if apart * len(names) > MAXIMUM_LINES:
        return None
    return [terms[name] + apart * place for place, run in enumerate(names) for name in run]


def changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of options that are not as before."""
    return [name for name, value in now.items() if name not in before or is_other(before[name], value)]


def is_other(one: Any, other: Any) -> bool:
    """Return whether a value was exchanged for another: pictures by what they are, not by what is in them."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) != len(other) or any(map(is_other, one, other))
    return one is not other and not (isinstance(one, _PLAIN) and type(one) is type(other) and one == other)


def in_words(options: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return some options in a few words.

    >>> in_words({"rate": 0.1, "start": np.zeros((2, 2, 3)), "steps": 8, "norm": "inf"}, ["rate", "start", "norm"])
    'rate 0.1, another start, norm inf'
    """
    return ", ".join(_option_text(name, options[name]) for name in names)


def _option_text(name: str, value: Any) -> str:
    label = name.replace("_", " ")
    if value is None:
        return f"default {label}"
    if isinstance(value, float):
        return f"{label} {value:.4g}"
    if isinstance(value, bool | int | str):
        return f"{label} {value}"
    return f"other {label}" if label.endswith("s") else f"another {label}"
