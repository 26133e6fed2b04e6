"""Watch what a layer still knows of a photo: a picture that is made from nothing but the layer's features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.coarse_to_fine import prepared
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.methods.inversion import Inversion, invert
from cnnviz_widgets.render.mosaic import tiles_of
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.widgets._layer_choices import layer_choices
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
    runs. Settings that are changed hold for the next run; after a pause, *Resume* goes on from the picture with them,
    and *Branch from here* from any kept frame.

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
    image
        The photo. Set it to take another, or call `set_image` to give it a name, too.
    options
        What is chosen, for the next run; `set` changes it.
    result
        The `Inversion` of the run on show: ``cv.invert(net, *player.inputs, **player.params)``; of a run that was
        stopped, after the steps it took. ``None`` before its end.
    inputs, params
        See there: the photo that the run began with, and its options.
        A branch has the picture it began with in ``start``, and the steps that remained in ``steps``.
    results
        The results of all runs, by number.
    state
        ``"ready"``, ``"running"``, ``"paused"``, ``"stopped"``, ``"failed"`` or ``"done"``.
    view
        The frames: ``view.run``, ``view.step`` (-1: the latest) and ``view.other`` are on show; `branch`, `compare` and
        `export` begin with these.

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
    _call = "cv.invert"
    _curve = "loss"
    _log = None

    def __init__(self, net: Network, image: Any, layer: LayerKey | None = None, **options: Any) -> None:
        check_network(net, "InversionPlayer")
        self.net = net
        self._layers = list(layer_choices(net).values())
        if layer is None and not self._layers:
            raise InputError("this network has no layer with maps or vectors; say which layer to invert")
        self._offer(image)
        self._still = Still()
        self._still_of: tuple[Any, ...] = ()
        layer = self._layers[len(self._layers) // 2].key if layer is None else layer
        super().__init__(net, {**options, "layer": layer})

    def _make_controls(self) -> Sequence[Control]:
        optimizers = [(name or "default", name) for name in (None, "momentum", "adam", "lbfgs")]
        return (
            layer_field("layer", "Layer", "The layer whose features are all that is known", self._layers),
            whole_field("steps", "Steps", "How many steps"),
            pair_field("size", "Size", "Pixels of the picture", default="the network's"),
            number_field(
                "total_variation",
                "Smoothness",
                "Weight of the total variation",
                default="the layer's",
                width="190px",
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
        shown = (self._image, self._options["size"])
        if len(self._still_of) != 2 or any(
            one is not other for one, other in zip(shown, self._still_of, strict=True)
        ):
            self._still.show(
                pictures_of(self.net, self._prepared(*shown))[0], "the photo, as the network sees it"
            )
            self._still_of = shown

    def _prepared(self, image: Any, size: Any) -> Any:
        return prepared(
            self.net, image, None if size is None else checked_pair("size", size), type(self).__name__
        )

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
