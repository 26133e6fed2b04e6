"""Watch a network dream: what its layers see in a photo grows, octave after octave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.methods.deepdream import DeepDream, DreamPlan, deepdream, layer_weights
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._layer_choices import layer_choices, middle_layer
from cnnviz_widgets.widgets._layer_weights import LayerWeights, weights_text
from cnnviz_widgets.widgets._photo_player import PhotoPlayer
from cnnviz_widgets.widgets._photos import PhotoPicker
from cnnviz_widgets.widgets._player_controls import (
    Control,
    number_field,
    pair_field,
    slider,
    whole_field,
)
from cnnviz_widgets.widgets._player_parts import Still, side_by_side
from cnnviz_widgets.widgets._player_runs import Run, changed

_NO_GUIDE = "no guide"


class DeepDreamPlayer(PhotoPlayer):
    """See a photo fill with what the network sees in it anyway, large things first: eyes, fur, towers.

    Choose one layer or several, or single channels of them, each with a weight, and press *Start*. The chart shows how
    what was asked for grows; it falls back where the next octave, a larger version of the picture, begins. With a
    *guide* the features of another picture grow. As all players it can be paused, changed and branched (see `set`,
    `resume` and `branch`): the picture it goes on from becomes the photo, and all octaves are climbed again.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image. Any of them can also be the guide.
    layers
        What `deepdream` takes: a layer, a `Target`, a list of them, or weights by these. Left out, a layer in the
        middle.
    options
        Those of `deepdream`.

    Attributes
    ----------
    result
        The `DeepDream` of the run on show: ``cv.deepdream(net, *player.inputs, **player.params)``.
    image, options, inputs, params, results, state, error, view
        As of all players: the photo; what is chosen for the next run, the call of `result`, those of all runs by
        number, how it goes, and the frames.

    Raises
    ------
    LayerNotFoundError, InputError, ZeroGradientError, TypeError, ValueError
        What `deepdream` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, photo = cv.samples.squeezenet(), cv.samples.photo("grass")
    >>> player = cv.DeepDreamPlayer(net, photo, "features.5", size=64, octaves=2, steps=2)
    >>> player.start()
    >>> player.wait()
    True
    >>> player.result.steps, player.result.sizes
    (4, ((46, 46), (64, 64)))
    """

    _method = deepdream
    _call = "cv.deepdream"
    _rules = DreamPlan
    _curve = "what grows"

    def __init__(self, net: Network, image: Any, layers: Any = None, **options: Any) -> None:
        self._take_network(net)
        self._layers = list(layer_choices(net, only_maps=True).values())
        self._still, self._guide_still = Still(), Still()
        self._picker: LayerWeights | None = None
        if layers is None:
            layers = middle_layer(self._layers, "maps; say which layers to dream of")
        super().__init__(image, {**options, "layers": layers})

    def _inputs_from(self, picture: NDArray[np.uint8]) -> tuple[Any, ...]:
        return (picture,)

    def _begin_from(self, picture: NDArray[np.uint8], run: Run, done: int) -> dict[str, Any]:
        """Return the options of a run that dreams on: all steps again, at the size chosen, without cutting again."""
        size = self._options["size"]
        if not changed({"size": run.call.options["size"]}, {"size": size}):
            size = run.call.params["size"]
        # A frame of an early octave is smaller than what it grows to.
        height, width = self._prepared(run.call.inputs[0], size).shape[2:]
        return {**self._options, "size": (height, width)}

    def _is_pending(self, run: Run) -> bool:
        """Return whether something was chosen that a run does not have: what goes on takes its picture for photo."""
        return bool(changed(run.call.options, self._options))

    def _pending(self) -> list[str]:
        is_other = self._current is not None and self._current.call.chosen[0] is not self._image
        return super()._pending() + (["The photo that was chosen is for Start."] if is_other else [])

    def _make_controls(self) -> Sequence[Control]:
        return (
            whole_field("steps", "Steps", "For each octave"),
            whole_field("octaves", "Octaves", "How many sizes, the smallest first", most=20),
            slider(
                "octave_scale", "Octave scale", "How much larger each is than the one before", 1.1, 2, 0.05
            ),
            number_field("rate", "Rate", "How far a pixel moves in a step"),
            whole_field("jitter", "Jitter", "Pixels by which the picture is rolled in each step", least=0),
            pair_field("size", "Size", "Pixels of the picture", default="the network's"),
            whole_field("frames", "Frames", "Of a zoom: each begins with the one before, enlarged"),
            number_field("zoom", "Zoom", "How much each frame is enlarged"),
            whole_field("seed", "Seed", "Of the jitter", least=0),
        )

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        guides = {_NO_GUIDE: None, **self._photos.images}
        self._guides = PhotoPicker(guides, self._pick_guide, "Guide")
        if self._options["guide"] is not None:
            self._guides.add(self._options["guide"], "guide")
        self._picker = LayerWeights(
            self.net, self._layers, lambda layers: self.set(layers=layers), self.show_error
        )
        for part in (self._picker, controls):
            part.add_class("cnnviz-part")
        return (
            self._photos,
            self._guides,
            side_by_side([self._still, self._guide_still]),
            self._picker,
            controls,
        )

    @shown
    def _pick_guide(self, image: Any, name: str) -> None:
        self.set(guide=image)
        self._guides.add(image, name)
        self.clear_error()

    def _show_options(self) -> None:
        weights = layer_weights(self._options["layers"])
        for key in weights:
            if isinstance(key, str | tuple):
                self.net.layer(key)  # says what is wrong with it
        super()._show_options()
        if self._picker is not None:
            self._picker.show(weights)
        self._show_still(self._still, self._image, self._options["size"], "the photo")
        self._show_still(self._guide_still, self._options["guide"], None, "the guide")

    def _title(self, options: Mapping[str, Any]) -> str:
        return weights_text(layer_weights(options["layers"]))

    def _said_of(self, run: Run) -> list[str]:
        if not isinstance(run.result, DeepDream):
            return []
        sizes = ", ".join(f"{height} x {width}" for height, width in run.result.sizes)
        return [f"Sizes of the octaves, in pixels: {sizes}."]
