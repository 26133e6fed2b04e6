"""Watch what a layer still knows of a photo: a picture that is made from nothing but the layer's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.inversion_task import InversionOptions
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.methods.inversion import Inversion, invert
from cnnviz_widgets.render.mosaic import tiles_of
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.widgets._layer_choices import layer_choices, middle_layer
from cnnviz_widgets.widgets._photo_player import PhotoPlayer
from cnnviz_widgets.widgets._player_controls import (
    Control,
    choice,
    layer_field,
    number_field,
    pair_field,
    whole_field,
)
from cnnviz_widgets.widgets._player_parts import Still
from cnnviz_widgets.widgets._player_runs import Run


class InversionPlayer(PhotoPlayer):
    """See a photo come back from a layer's features alone: what the layer has forgotten stays open, or comes out wrong.

    The photo stands beside it. The feature error, how far the picture's features are from the photo's, is drawn for
    each step, with what the picture's roughness costs. Choose a deeper layer, press *Start* again, and compare the two
    runs. As all players it can be paused, changed and branched: see `set`, `resume` and `branch`.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image.
    layer
        The layer; left out, one in the middle.
    options
        Those of `invert`.

    Attributes
    ----------
    result
        The `Inversion` of the run on show: ``cv.invert(net, *player.inputs, **player.params)``.
    image, options, inputs, params, results, state, error, view
        As of all players: the photo; what is chosen for the next run, the call of `result`, those of all runs by
        number, how it goes, and the frames.

    Raises
    ------
    LayerNotFoundError, InputError, TargetError, ZeroGradientError, TypeError, ValueError
        What `invert` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> player = cv.InversionPlayer(cv.samples.fashion_cnn(), images[0], "conv2", steps=8)
    >>> player.start()
    >>> player.wait()
    True
    >>> player.result.steps
    8
    """

    _method = invert
    _may_go_back = True
    _call = "cv.invert"
    _rules = InversionOptions
    _curve = "loss"
    _log = None

    def __init__(self, net: Network, image: Any, layer: LayerKey | None = None, **options: Any) -> None:
        self._take_network(net)
        self._layers = list(layer_choices(net).values())
        self._still = Still()
        if layer is None:
            layer = middle_layer(self._layers, "maps or vectors; say which layer to invert")
        super().__init__(image, {**options, "layer": layer})

    def _make_controls(self) -> Sequence[Control]:
        optimizers = [(name or "default", name) for name in (None, "momentum", "adam", "lbfgs")]
        return (
            layer_field("layer", "Layer", "The layer whose features are all that is known", self._layers),
            whole_field("steps", "Steps", "How many steps"),
            pair_field("size", "Size", "Pixels of the picture", default="the network's"),
            number_field(
                "total_variation", "Smoothness", "Weight of the total variation", default="the layer's"
            ),
            choice("parameterization", "Made of", "What is optimized", [("pixels",) * 2, ("fourier",) * 2]),
            choice("optimizer", "Optimizer", "How it moves", optimizers),
            number_field("rate", "Rate", "How far a step goes", default="its default"),
            whole_field("copies", "Copies", "Pictures from as much noise", most=64),
            whole_field("seed", "Seed", "Of the noise to begin with", least=0),
        )

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        controls.add_class("cnnviz-part")
        return (self._photos, self._still, controls)

    def _show_options(self) -> None:
        self.net.layer(self._options["layer"])  # says what is wrong with it
        super()._show_options()
        self._show_still(self._still, self._image, self._options["size"], "the photo, as the network sees it")

    def _title(self, options: Mapping[str, Any]) -> str:
        return key_text(options["layer"])

    def _pictures(self, picture: NDArray[np.uint8], run: Run) -> NDArray[np.uint8]:
        """Return a run's pictures: of several copies, a mosaic is cut up again."""
        before = run.call.options
        if before["copies"] == 1:
            return picture
        height, width = self._prepared(run.call.inputs[0], before["size"]).shape[2:]
        return tiles_of(picture, before["copies"], height, width)

    def _said_of(self, run: Run) -> list[str]:
        result = run.result
        if not isinstance(result, Inversion):
            return []
        best = int(result.errors.argmin())
        error, distance = (format_number(float(each[best])) for each in (result.errors, result.distances))
        return [
            f"As shown, in 8 bits: feature error {error}, and {distance} from the photo (white less black is 1)."
        ]
