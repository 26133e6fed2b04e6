"""Watch a network dream: what its layers see in a photo grows, octave after octave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.coarse_to_fine import prepared
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.methods.deepdream import DeepDream, deepdream, layer_weights
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._layer_choices import layer_choices
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
    *guide* the features of another picture grow. Settings that are changed hold for the next run; after a pause,
    *Resume* dreams on with the picture as it is, and *Branch from here* with any kept frame: that picture becomes the
    photo, and all octaves are climbed again.

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
    image
        The photo. Set it to take another, or call `set_image` to give it a name, too.
    options
        What is chosen, for the next run; `set` changes it.
    result
        The `DeepDream` of the run on show: ``cv.deepdream(net, *player.inputs, **player.params)``; of a run that
        was stopped, after the steps it took. ``None`` before its end.
    inputs, params
        See there: the photo that the run began with, or the frame it branched from, and its options.
        A branch has the size of its picture in ``size``.
    results
        The results of all runs, by number.
    state
        ``"ready"``, ``"running"``, ``"paused"``, ``"stopped"``, ``"failed"`` or ``"done"``.
    view
        The frames: ``view.run``, ``view.step`` (-1: the latest) and ``view.other`` are on show; `branch`, `compare` and
        `export` begin with these.

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
    _curve = "what grows"

    def __init__(self, net: Network, image: Any, layers: Any = None, **options: Any) -> None:
        check_network(net, "DeepDreamPlayer")
        self.net = net
        self._layers = list(layer_choices(net, only_maps=True).values())
        if layers is None:
            if not self._layers:
                raise InputError("this network has no layer with maps; say which layers to dream of")
            layers = self._layers[len(self._layers) // 2].key
        self._offer(image)
        self._still, self._guide_still = Still(), Still()
        self._stills_of: tuple[Any, ...] = ()
        self._picker: LayerWeights | None = None
        super().__init__(net, {**options, "layers": layers})

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
            number_field("zoom", "Zoom", "How much each frame is enlarged", width="130px"),
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
        guide = self._options["guide"]
        parts = (self._image, self._options["size"], guide)
        if len(self._stills_of) != len(parts) or any(
            one is not other for one, other in zip(parts, self._stills_of, strict=True)
        ):
            original = pictures_of(self.net, self._prepared(self._image, self._options["size"]))[0]
            seen = None if guide is None else pictures_of(self.net, self._prepared(guide, None))[0]
            self._still.show(original, "the photo")
            self._guide_still.show(seen, "the guide")
            self._stills_of = parts

    def _prepared(self, image: Any, size: Any) -> Any:
        pair = None if size is None else checked_pair("size", size)
        return prepared(self.net, image, pair, type(self).__name__)

    def _title(self, options: Mapping[str, Any]) -> str:
        return weights_text(layer_weights(options["layers"]))

    def _said_of(self, run: Run) -> list[str]:
        if not isinstance(run.result, DeepDream):
            return []
        sizes = ", ".join(f"{height} x {width}" for height, width in run.result.sizes)
        return [f"Sizes of the octaves, in pixels: {sizes}."]
