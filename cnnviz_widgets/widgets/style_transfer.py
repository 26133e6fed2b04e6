"""Watch one picture being painted as another: content, style and roughness pull, and weights say how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets

from cnnviz_widgets.engine.coarse_to_fine import checked_weights
from cnnviz_widgets.engine.gram import checked_layers
from cnnviz_widgets.engine.input_gradients import pictures_of
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.pictures import split_images
from cnnviz_widgets.engine.style_terms import StyleWeights, content_layers
from cnnviz_widgets.methods.style_transfer import STARTS, transfer_style
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._controls import row
from cnnviz_widgets.widgets._layer_choices import layer_choices
from cnnviz_widgets.widgets._photos import free_name, named_images, sample_photos
from cnnviz_widgets.widgets._player_controls import Control, check, choice, layers_field, weight_slider
from cnnviz_widgets.widgets._player_runs import is_other
from cnnviz_widgets.widgets._scaled_player import ScaledPlayer, Size, size_of
from cnnviz_widgets.widgets._style_mix import StyleMix, only


class StylePlayer(ScaledPlayer):
    """See a photo turn into a painting of itself: its things, in the colors, strokes and textures of other pictures.

    Content and styles stand beside it, and the three terms, content, style and variation, each times its weight, are
    drawn for each step. More style for the same content is another ratio of the first two weights; of several styles,
    each has a weight, too. As all players it can be paused, changed and branched: see `set`, `resume` and `branch`. It
    then goes through the scales that remain.

    Parameters
    ----------
    net
        The network.
    content
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict from name to
        image. Left out, shipped photos.
    style
        One image, or several to blend: a list, or a dict from name to image. Left out, shipped photos, of which the
        first has all the weight.
    options
        Those of `transfer_style`.

    Attributes
    ----------
    content
        The content. Set it to take another, or call `set_image` to give it a name, too.
    styles
        All styles, with their weights in the option ``blend``; `add_style` adds one.
    result
        The `StyleTransfer` of the run on show: ``cv.transfer_style(net, *player.inputs, **player.params)``.
    options, inputs, params, results, state, error, view
        As of all players: what is chosen for the next run, the call of `result`, those of all runs by
        number, how it goes, and the frames.

    Raises
    ------
    LayerNotFoundError, InputError, TargetError, ZeroGradientError, TypeError, ValueError
        What `transfer_style` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> cat, gravel = cv.samples.photo("chelsea"), cv.samples.photo("gravel")
    >>> player = cv.StylePlayer(
    ...     cv.samples.squeezenet(), cat, gravel, size=(40, 56), style_layers=["features.1", "features.3"], steps=3
    ... )
    >>> player.start()
    >>> player.wait()
    True
    >>> player.set(style_weight=10.0)
    >>> player.start()
    >>> player.wait()
    True
    >>> {number: result.style_weight for number, result in player.results.items()}
    {1: 3.0, 2: 10.0}
    """

    _method = transfer_style
    _call = "cv.transfer_style"
    _curve = "weighted term"
    _main = (
        "style_weight",
        "content_weight",
        "variation_weight",
        "start",
        "keep_colors",
        "steps",
        "size",
        "scales",
    )
    _words = STARTS

    def __init__(self, net: Network, content: Any = None, style: Any = None, **options: Any) -> None:
        self._take_network(net)
        self._layers = list(layer_choices(net, only_maps=True).values())
        named = self._named(style)
        self._styles, self._names_known = list(named.values()), list(named)
        if style is None:
            options = {"blend": only(0, len(named)), **options}
        self._mix = StyleMix(self._pick_blend, self._pick_style)
        self._mixed_of: tuple[Any, ...] = ()
        content = sample_photos("chelsea", "astronaut", "rocket") if content is None else content
        super().__init__(content, options, "Content")

    def _named(self, style: Any) -> dict[str, Any]:
        if style is None:
            return sample_photos("hubble_deep_field", "retina", "gravel", "brick")
        if isinstance(style, Mapping):
            return named_images(style)
        return named_images(split_images(style, self.net.input.channels or 3))

    @property
    def content(self) -> Any:
        """The content."""
        return self._image

    @content.setter
    def content(self, image: Any) -> None:
        self.set_image(image, "content")

    @property
    def styles(self) -> list[Any]:
        """All styles; how much there is of each says ``blend``."""
        return self._styles

    @property
    def _style_names(self) -> list[str]:
        # Styles are only ever added: an earlier run has the first of them.
        return self._names_known[: len(self._styles)]

    def add_style(self, image: Any, name: str = "style") -> None:
        """Add a style, and take it alone; raises where it can't be used."""
        with self.lock:
            self._prepared(image, self._options["size"])
            names = self._style_names
            self._styles, self._names_known = [*self._styles, image], [*names, free_name(name, names)]
            self.set(blend=only(len(self._styles) - 1, len(self._styles)))

    @shown
    def _pick_style(self, image: Any, name: str) -> None:
        self.add_style(image, name)
        self.clear_error()

    @shown
    def _pick_blend(self, weights: tuple[float, ...]) -> None:
        try:
            self.set(blend=weights)
            self.clear_error()
        finally:
            self._show_options()

    def _inputs(self) -> tuple[Any, ...]:
        return self._image, self._styles

    def _choose_inputs(self, inputs: Sequence[Any]) -> None:
        super()._choose_inputs(inputs)
        self._styles = inputs[1]

    def _make_controls(self) -> Sequence[Control]:
        starts = [("the content", "content"), ("the style", "style"), ("noise", "noise")]
        return (
            weight_slider("style_weight", "Style weight", "Weight of the style"),
            weight_slider("content_weight", "Content weight", "Weight of the content"),
            weight_slider(
                "variation_weight",
                "Variation weight",
                "Weight of the variation of neighboring pixels: more is smoother",
            ),
            choice("start", "Start with", "Where a run begins", starts),
            check("keep_colors", "Keep colors", "Whether the content's colors are kept"),
            *self._scale_controls("Pixels of the picture", "the content's"),
            layers_field(
                "style_layers", "Style layers", "Where styles are compared", self._layers, self._of_style
            ),
            layers_field(
                "content_layers",
                "Content layers",
                "Where contents are compared",
                self._layers,
                self._of_content,
            ),
        )

    def _of_style(self, layers: Any) -> tuple[LayerKey, ...]:
        return checked_layers(self.net, "style_layers", layers, self._usual_layers)

    def _of_content(self, layers: Any) -> tuple[LayerKey, ...]:
        def usual(net: Network) -> tuple[LayerKey, ...]:
            return content_layers(self._of_style(self._options["style_layers"]))

        return checked_layers(self.net, "content_layers", layers, usual)

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        self._still.layout.flex = "0 1 150px"
        pictures = row([self._still, self._mix])
        pictures.layout.align_items = "flex-start"
        return (self._photos, pictures, self._fields())

    def _check_options(self) -> None:
        super()._check_options()
        options = self._options
        StyleWeights(options["content_weight"], options["style_weight"], options["variation_weight"])
        layers = self._of_style(options["style_layers"])
        checked_weights("style_layer_weights", options["style_layer_weights"], len(layers), "style layers")

    def _show_options(self) -> None:
        super()._show_options()
        size = self._options["size"]
        weights = self._weights(self._options["blend"])
        self._show_still(self._still, self._image, size, "the content")
        if is_other(self._mixed_of, (self._styles, size)):
            pictures = [pictures_of(self.net, self._prepared(each, size))[0] for each in self._styles]
            self._mix.show_styles(dict(zip(self._style_names, pictures, strict=True)))
            self._mixed_of = (self._styles, size)
        self._mix.show_weights(weights)

    def _weights(self, blend: Any) -> tuple[float, ...]:
        return checked_weights("blend", blend, len(self._styles), "styles")

    def _title(self, options: Mapping[str, Any]) -> str:
        used = [
            name
            for name, weight in zip(self._style_names, self._weights(options["blend"]), strict=True)
            if weight
        ]
        return f"{self._photos.chosen} as {' + '.join(used)}"

    def _wanted_sizes(self, inputs: Sequence[Any], params: Mapping[str, Any]) -> tuple[Size, list[Size]]:
        content, styles = inputs
        weights = checked_weights("blend", params["blend"], len(styles), "styles")
        used = [style for style, weight in zip(styles, weights, strict=True) if weight]
        size = params["size"]
        return size_of(self._prepared(content, size)), [size_of(self._prepared(each, size)) for each in used]
