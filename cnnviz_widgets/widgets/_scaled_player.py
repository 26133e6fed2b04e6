"""What the players of textures and styles share: a photo, and a picture that is made from coarse to fine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import ipywidgets
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.coarse_to_fine import Settings, scales_left, sizes_of, steps_by_scale
from cnnviz_widgets.engine.gram import texture_layers
from cnnviz_widgets.widgets._photo_player import PhotoPlayer
from cnnviz_widgets.widgets._player_controls import (
    Control,
    choice,
    fields,
    number_field,
    pair_field,
    whole_field,
)
from cnnviz_widgets.widgets._player_parts import Still
from cnnviz_widgets.widgets._player_runs import Call, Run

Size = tuple[int, int]


class ScaledPlayer(PhotoPlayer):
    """Base of the players whose method takes ``scales`` and ``size``: what goes on takes the scales that remain."""

    _rules = Settings
    _may_go_back = True
    _main: tuple[str, ...]  # the options whose fields stand in front; the others fold up

    def __init__(self, image: Any, options: Mapping[str, Any], label: str) -> None:
        self._still = Still()
        self._known: WeakKeyDictionary[Call, list[Size]] = WeakKeyDictionary()
        # A pass through the network, asked for with each change of an option.
        self._usual_layers = cache(texture_layers)
        super().__init__(image, options, label)

    @abstractmethod
    def _wanted_sizes(self, inputs: Sequence[Any], params: Mapping[str, Any]) -> tuple[Size, list[Size]]:
        """Return rows and columns of the picture, and those of the others that shrink with it."""

    def _sizes(self, call: Call) -> list[Size]:
        """Return the sizes that a run goes through."""
        if call not in self._known:
            wanted, others = self._wanted_sizes(call.inputs, call.params)
            start, scales = call.params["start"], call.params["scales"]
            has_picture = start is not None and not (isinstance(start, str) and start in self._words)
            scales = 1 if has_picture and scales is None else scales
            self._known[call] = sizes_of(wanted, scales, call.params["steps"], *others)
        return self._known[call]

    _words: tuple[str, ...] = ()  # what ``start`` may say in place of a picture

    def _scale_controls(self, size_tooltip: str, size_default: str) -> tuple[Control, ...]:
        """Return the fields of what both methods take."""
        optimizers = [("L-BFGS", "lbfgs"), ("Adam", "adam")]
        parameterizations = [("spectrum (fourier)", "fourier"), ("pixels", "pixels")]
        pools = [("the largest", "max"), ("the average", "average")]
        scales = [("as many as fit", None), *((str(count), count) for count in range(1, 6))]
        return (
            whole_field("steps", "Steps", "How many steps, for all scales together"),
            pair_field("size", "Size", size_tooltip, default=size_default),
            choice("scales", "Scales", "How many sizes to go through, from coarse to fine", scales),
            choice("optimizer", "Optimizer", "How it moves", optimizers),
            number_field("rate", "Rate", "How far a step goes", default="the optimizer's"),
            choice("parameterization", "Made of", "What is optimized", parameterizations),
            choice("pooling", "Pools", "What the network's max pools return", pools),
            whole_field("seed", "Seed", "Of the noise to begin with", least=0),
        )

    def _fields(self) -> ipywidgets.Widget:
        """Return the fields: the main ones, and the others folded up below them."""
        main = fields([self.controls[name].widget for name in self._main])
        others = [control.widget for name, control in self.controls.items() if name not in self._main]
        more = ipywidgets.Accordion([fields(others)], titles=("More options",), selected_index=None)
        chosen = ipywidgets.VBox([main, more])
        chosen.add_class("cnnviz-part")
        return chosen

    def _begin_from(self, picture: NDArray[np.uint8], run: Run, done: int) -> dict[str, Any]:
        """Return the options of a run that goes on from a picture, through the scales that remain."""
        found = super()._begin_from(picture, run, done)
        if self._options["scales"] == run.call.options["scales"]:
            scales = len(self._sizes(run.call))
            left = scales_left(run.call.params["steps"], scales, done - run.call.first)
            found["scales"] = min(left, found["steps"])
        return found

    def _said_of(self, run: Run) -> list[str]:
        return [self._scale_text(run.call)] if len(self._sizes(run.call)) > 1 else []

    def _scale_text(self, call: Call) -> str:
        sizes = self._sizes(call)
        ends = call.first + np.cumsum(steps_by_scale(call.params["steps"], len(sizes)))
        parts = [
            f"{rows} x {columns} up to step {end}" for (rows, columns), end in zip(sizes, ends, strict=True)
        ]
        return f"From coarse to fine: {', '.join(parts)}. The terms begin anew with each size."


def size_of(x: Tensor) -> Size:
    """Return rows and columns of prepared pictures [N, C, H, W]."""
    return x.shape[2], x.shape[3]
