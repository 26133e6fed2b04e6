"""Watch a network draw what it looks for: a class, a channel or many at once, growing out of noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.covering import class_count
from cnnviz_widgets.engine.maximization_task import checked_options
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.methods.maximization import Maximization, Wanted, maximize
from cnnviz_widgets.render.mosaic import tiles_of
from cnnviz_widgets.widgets._layer_choices import layer_choices, middle_layer
from cnnviz_widgets.widgets._maximization_target import MaximizationTarget, target_text
from cnnviz_widgets.widgets._player import Player
from cnnviz_widgets.widgets._player_controls import (
    Control,
    choice,
    number_field,
    pair_field,
    slider,
    whole_field,
)
from cnnviz_widgets.widgets._player_runs import Run


class MaximizationPlayer(Player):
    """See a picture grow out of noise until a class, a channel or a unit responds to it as much as it can.

    Press *Start*. It can be stopped, paused, and gone back in: the slider shows each kept frame, and *Branch from here*
    goes on from that one with other settings: see `set`, `resume` and `branch`. *Several channels* gives a grid with a
    picture for each.

    Parameters
    ----------
    net
        The network.
    target
        What `maximize` takes: a class (label or index), a `Target`, another objective, or a list of them. Left out,
        channel 0 of a layer in the middle.
    options
        Those of `maximize`.

    Attributes
    ----------
    result
        The `Maximization` of the run on show: ``cv.maximize(net, **player.params)``.
    options, params, results, state, error, view
        As of all players: what is chosen for the next run, the call of `result`, those of all runs by number, how it
        goes, and the frames.

    Raises
    ------
    TargetError, LabelNotFoundError, LayerNotFoundError, InputError, ZeroGradientError, TypeError, ValueError
        What `maximize` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> player = cv.MaximizationPlayer(cv.samples.fashion_cnn(), "Sandal", steps=8)
    >>> player.start()
    >>> player.wait()
    True
    >>> player.branch(step=4, rate=0.1)
    >>> player.wait()
    True
    >>> {number: result.steps for number, result in player.results.items()}
    {1: 8, 2: 4}
    """

    _method = maximize
    _call = "cv.maximize"
    _rules = checked_options
    _curve = "value"
    _hints = dict.fromkeys(
        ("layer", "channel", "unit", "label"),
        "; say it with target=cv.Target(layer=..., channel=...), or a label",
    )

    def __init__(self, net: Network, target: Wanted | Sequence[Wanted] | None = None, **options: Any) -> None:
        self._take_network(net)
        self._layers = list(layer_choices(net).values())
        self._picker: MaximizationTarget | None = None
        self._default_size = net.input.size_or(224)
        if target is None:
            maps = [each for each in self._layers if len(each.shape) == 3]
            target = Target(layer=middle_layer(maps, "maps; say which target to maximize"), channel=0)
        super().__init__({**options, "target": target})

    def _make_controls(self) -> Sequence[Control]:
        parameterizations = [
            ("spectrum (fourier)", "fourier"),
            ("phases (MACO)", "phase"),
            ("pixels", "pixels"),
        ]
        return (
            whole_field("steps", "Steps", "How many steps"),
            pair_field("size", "Size", "Pixels of the picture", default="the network's"),
            choice("parameterization", "Made of", "What is optimized", parameterizations),
            number_field("rate", "Rate", "How far a step goes", default="its default"),
            whole_field("copies", "Copies", "Pictures for each target", most=64),
            slider("diversity", "Diversity", "What it costs when copies are alike; needs copies", 0, 100, 1),
            whole_field("seed", "Seed", "Of the noise to begin with", least=0),
        )

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        classes = class_count(self.net, self.net.input.example(device=self.net.device, dtype=self.net.dtype))
        self._picker = MaximizationTarget(
            self.net, classes, self._layers, lambda target: self.set(target=target), self.show_error
        )
        controls.add_class("cnnviz-part")
        return (self._picker, controls)

    def _show_options(self) -> None:
        target = self._options["target"]
        for each in target if isinstance(target, list | tuple) else [target]:
            if isinstance(each, Target) and each.layer is not None:
                self.net.layer(each.layer)  # says what is wrong with it
        super()._show_options()
        if self._picker is not None:
            self._picker.show(self._options["target"])

    def _said_of(self, run: Run) -> list[str]:
        text = run.result.help_text if isinstance(run.result, Maximization) else ""
        return [f"{text[0].upper()}{text[1:]}."] if text else []

    def _title(self, options: Mapping[str, Any]) -> str:
        return target_text(self.net, options["target"])

    def _pictures(self, picture: NDArray[np.uint8], run: Run) -> NDArray[np.uint8]:
        """Return a run's pictures: a mosaic is cut up again."""
        before = run.call.options
        count = (len(before["target"]) if _is_list(before["target"]) else 1) * before["copies"]
        size = self._default_size if before["size"] is None else checked_pair("size", before["size"])
        return tiles_of(picture, count, *size) if count > 1 else picture


def _is_list(target: Any) -> bool:
    """Whether `maximize` makes several pictures of it."""
    return isinstance(target, list | tuple | range | np.ndarray)
