"""Watch a new piece of a texture come out of a cloud, beside the photo that it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.coarse_to_fine import checked_weights
from cnnviz_widgets.engine.gram import checked_layers
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.window_grid import checked_pair
from cnnviz_widgets.methods.texture import synthesize_texture
from cnnviz_widgets.widgets._layer_choices import layer_choices
from cnnviz_widgets.widgets._photos import sample_photos
from cnnviz_widgets.widgets._player_controls import Control, check, layers_field
from cnnviz_widgets.widgets._scaled_player import ScaledPlayer, Size, size_of


class TexturePlayer(ScaledPlayer):
    """See a new picture of the same stuff grow out of a cloud: the source's stones, or bricks, at other places.

    The source stands beside it, and the loss of each layer is drawn for each step. Choose fewer layers, or other ones,
    and see what each of them adds. As all players it can be paused, changed and branched: see `set`, `resume` and
    `branch`. It then goes through the scales that remain.

    Parameters
    ----------
    net
        The network.
    image
        The source in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict from name to
        image. Left out, the textures among the shipped photos.
    options
        Those of `synthesize_texture`.

    Attributes
    ----------
    result
        The `Texture` of the run on show: ``cv.synthesize_texture(net, *player.inputs, **player.params)``.
    image, options, inputs, params, results, state, error, view
        As of all players: the source; what is chosen for the next run, the call of `result`, those of all runs by
        number, how it goes, and the frames.

    Raises
    ------
    LayerNotFoundError, InputError, TargetError, ZeroGradientError, TypeError, ValueError
        What `synthesize_texture` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> player = cv.TexturePlayer(cv.samples.squeezenet(), layers="features.1", size=(40, 56), steps=3)
    >>> player.start()
    >>> player.wait()
    True
    >>> player.result.image.shape
    (40, 56, 3)
    """

    _method = synthesize_texture
    _call = "cv.synthesize_texture"
    _curve = "loss"
    _log = None
    _main = ("layers", "steps", "size", "scales", "match_histogram")

    def __init__(self, net: Network, image: Any = None, **options: Any) -> None:
        self._take_network(net)
        self._layers = list(layer_choices(net, only_maps=True).values())
        super().__init__(
            sample_photos("gravel", "brick", "grass") if image is None else image, options, "Source"
        )

    def _make_controls(self) -> Sequence[Control]:
        def chosen(layers: Any) -> Any:
            return checked_layers(self.net, "layers", layers, self._usual_layers)

        return (
            layers_field("layers", "Layers", "Whose features to keep", self._layers, chosen),
            *self._scale_controls("Pixels of the texture", "the source's"),
            check(
                "match_histogram", "Source's colors", "Whether what is shown gets exactly the source's colors"
            ),
            check("balanced", "Balanced", "Whether each layer's loss is relative; else it is the paper's"),
        )

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        return (self._photos, self._still, self._fields())

    def _check_options(self) -> None:
        super()._check_options()
        layers = checked_layers(self.net, "layers", self._options["layers"], self._usual_layers)
        checked_weights("layer_weights", self._options["layer_weights"], len(layers), "layers")

    def _show_options(self) -> None:
        super()._show_options()
        # The source keeps its own size, whatever that of the texture.
        self._show_still(self._still, self._image, None, "the source, as the network sees it")

    def _title(self, options: Mapping[str, Any]) -> str:
        return self._photos.chosen

    def _wanted_sizes(self, inputs: Sequence[Any], params: Mapping[str, Any]) -> tuple[Size, list[Size]]:
        own, size = size_of(self._prepared(inputs[0], None)), params["size"]
        return own if size is None else checked_pair("size", size), [own]
