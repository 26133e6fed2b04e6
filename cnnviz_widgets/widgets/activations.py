"""Browse the layers of a network and the channels of each, on a photo."""

from __future__ import annotations

import html
import operator
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import LayerNotFoundError, OutputError, TargetError
from cnnviz_widgets.engine.layers import (
    LayerInfo,
    LayerKey,
    check_call,
    find_module,
    key_text,
    split_key,
)
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.engine.receptive_field import ReceptiveField, receptive_field
from cnnviz_widgets.methods.activations import ActivationMaps, activations
from cnnviz_widgets.render.mosaic import mosaic_png
from cnnviz_widgets.views._boxes import StageBox
from cnnviz_widgets.views._traits import Enum, Int
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._job import once
from cnnviz_widgets.widgets._layer_browser_parts import (
    BrowserParts,
    alignment,
    channel_text,
    first_layer,
    predict_or_reason,
    summary_html,
)
from cnnviz_widgets.widgets._photos import PhotoViewer

FIRST_RESULT_SECONDS = 5.0
_ORDERS: dict[str, Callable[[ActivationMaps], NDArray[np.float32]]] = {
    # What the tiles are sorted by, the smallest first.
    "channel index": lambda result: np.arange(len(result.maps), dtype=np.float32),
    "mean": lambda result: -result.maps.mean(axis=(1, 2)),
    "maximum": lambda result: -result.maps.max(axis=(1, 2)),
    "sparsity": lambda result: -result.sparsity,
}


class LayerBrowser(PhotoViewer):
    """See every layer of a network as a tree, the chosen layer's channels as tiles, one channel on the photo.

    Move the pointer over the photo to see which pixels the unit under it depends on (its receptive field)
    and what it answers. Channels that are zero everywhere on this photo are marked. A fully connected layer
    shows as a strip of bars. The five most probable classes stand below the tree.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image.
    layer
        The layer to begin with; left out, the first that returns maps.
    channel
        The channel to begin with.

    Attributes
    ----------
    layer, channel, position
        What is chosen: a layer's name or ``(name, call)``, a channel's index, and the ``(row, column)`` of a
        unit in its map, or ``None``. Observe them, or set them; a wrong value raises at once.
    sort
        Order of the tiles: ``"channel index"``, ``"mean"``, ``"maximum"`` or ``"sparsity"``; the largest
        first.
    image
        The image that is shown. Set it to show another, or call `set_image` to give it a name, too.
    result
        The `ActivationMaps` on show, equal to ``cv.activations(net, browser.image, **browser.params)``.
    prediction
        The `Prediction` of the image; ``None`` where the network returns no class scores.

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError, TargetError, InputError
        A layer, channel or image that is not there or can't be used.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> browser = cv.LayerBrowser(cv.samples.squeezenet(), cv.samples.photo("chelsea"), layer="features.3")
    >>> browser.channel = 5
    >>> browser.result.maps.shape
    (128, 55, 55)
    """

    layer = traitlets.Any(help="The chosen layer: a name, or (name, call).")
    channel = Int(0, help="The chosen channel, from 0.")
    position = traitlets.Any(None, allow_none=True, help="(row, column) of a unit in the map, or None.")
    sort = Enum(list(_ORDERS), default_value="channel index", help="Order of the tiles.")

    def __init__(self, net: Network, image: Any, *, layer: LayerKey | None = None, channel: int = 0) -> None:
        self._take_network(net)
        # Asked once: the network could only tell again when it is not running.
        layers = net.layers
        modules = dict(net.core.named_modules())
        self._infos = {modules[info.name]: info for info in layers}
        self._last_layer = layers[-1].name if layers else ""
        self.result: ActivationMaps | None = None
        self.prediction: Prediction | None = None
        self._field: ReceptiveField | None = None
        self._offer(image)
        self.parts = BrowserParts(net, self._picture, list(_ORDERS))
        super().__init__(layer=first_layer(net) if layer is None else layer)
        self.channel = channel
        self.children = self.parts.arranged(self._photos, self.status)
        self.add_class("cnnviz-browser")
        self._show_layer()
        self._link()
        self._run(new_image=True)
        # So that the picture for viewers without widgets, which the cell stores, shows something.
        self.wait(timeout=FIRST_RESULT_SECONDS)

    @property
    def params(self) -> dict[str, Any]:
        """The options of `activations` that give `result`."""
        return {"layer": self.layer}

    def _show_image(self) -> None:
        self.parts.stage.image = self._picture
        self._run(new_image=True)

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> LayerKey:
        key: LayerKey = proposal["value"]
        info = self._info(key)
        name, call = split_key(key)
        check_call(name, call, info.calls)
        if info.output_shape is None:
            raise LayerNotFoundError(
                f"layer {key!r} has nothing to show: the forward pass gets no tensor from it"
            )
        # One name for a module that has several.
        return info.name if call is None else (info.name, call)

    @traitlets.validate("channel")
    def _check_channel(self, proposal: Any) -> int:
        channel = int(proposal["value"])
        shape = self._info(self.layer).map_shape or (0,)
        if not 0 <= channel < shape[0]:
            raise TargetError(f"layer {self.layer!r} has channels 0 to {shape[0] - 1}, got {channel}")
        return channel

    @traitlets.validate("position")
    def _check_position(self, proposal: Any) -> tuple[int, int] | None:
        position = proposal["value"]
        if position is None:
            return None
        try:
            row, column = (operator.index(each) for each in position)
        except (TypeError, ValueError) as error:
            raise TargetError(
                f"position is (row, column) in whole numbers or None, got {position!r}"
            ) from error
        height, width = self._map_size()
        if not (0 <= row < height and 0 <= column < width):
            raise TargetError(
                f"the map of layer {self.layer!r} has {height} rows and {width} columns, counted from 0; "
                f"got {position!r}"
            )
        return row, column

    def _info(self, key: LayerKey) -> LayerInfo:
        """Return what is known of a layer, with the shape of the call that is meant."""
        name, call = split_key(key)
        info = self._infos.get(find_module(self.net.core, name))
        if info is None:
            raise LayerNotFoundError(f"layer {name!r} is newer than this browser; make a new cv.LayerBrowser")
        if call is None:
            return info
        check_call(name, call, info.calls)
        return info.of_call(check_call(name, call, info.calls))

    def _map_size(self) -> tuple[int, int]:
        """Return height and width of the layer's maps; of a fully connected layer, 1 and 1."""
        result = self._result_on_show()
        if result is not None:
            return result.maps.shape[1], result.maps.shape[2]
        if self.net.input.size is None:
            raise TargetError(f"the map of layer {self.layer!r} is not there yet; call browser.wait() first")
        shape = self._info(self.layer).map_shape or ()
        return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        self.parts.tree.observe(self._on_tree, ["selected", "selected_call"])
        self.parts.grid.observe(self._on_tile, "selected")
        self.parts.grid.observe(self._on_tile_pointer, "pointer")
        self.parts.units.observe(self._on_tile, "selected")
        self.parts.stage.on_pointer(self._on_pointer)
        # Clicks, and the row and column fields for those without a pointer.
        self.parts.stage.on_click(self._on_pointer)
        ipywidgets.link((self, "sort"), (self.parts.sorting, "value"))
        ipywidgets.link((self.parts.opacity, "value"), (self.parts.stage, "opacity"))
        self.observe(self._on_layer, "layer")
        self.observe(self._on_channel, "channel")
        self.observe(lambda change: self._show_position(), "position")
        self.observe(lambda change: self._show_order(), "sort")
        self.observe(lambda change: self._show_busy(), "busy")

    @shown
    def _on_tree(self, change: Any) -> None:
        call = self.parts.tree.selected_call
        self.layer = self.parts.tree.selected if call < 0 else (self.parts.tree.selected, call)

    @shown
    def _on_tile(self, change: Any) -> None:
        with self.lock:
            # What a result that comes in selects is no choice: another one may just have been made.
            if self.filling:
                return
        if change["new"] is not None and change["new"] >= 0:
            self.channel = change["new"]

    @shown
    def _on_pointer(self, point: tuple[int, int] | None) -> None:
        result = self._result_on_show()
        if point is None or result is None or result.is_vector:
            return
        stride, center = self._alignment()
        self.position = tuple(
            min(max(round((pixel + 0.5 - middle) / step), 0), units - 1)
            for pixel, middle, step, units in zip(point, center, stride, self._map_size(), strict=True)
        )

    @shown
    def _on_tile_pointer(self, change: Any) -> None:
        tile, row, column = change["new"]
        if tile >= 0:
            self.position = (row, column)

    def _on_layer(self, change: Any) -> None:
        with self.lock:
            self.position = None
            shape = self._info(self.layer).map_shape or (0,)
            if self.channel >= shape[0]:
                self.channel = 0
            self._show_layer()
            self._run()

    def _on_channel(self, change: Any) -> None:
        with self.lock:
            self._show_channel()

    # -- running ----------------------------------------------------------------------------------------

    def _run(self, *, new_image: bool = False) -> None:
        """Run the network on a worker; the views follow when it is done."""
        net, image, layer = self.net, self.image, self.layer
        self._field = None

        def look() -> tuple[Prediction | OutputError | None, ActivationMaps]:
            return (predict_or_reason(net, image) if new_image else None), activations(net, image, layer)

        self.start_job(once(look), on_result=self._show, on_failure=self._show_nothing)

    def _show(self, answer: tuple[Prediction | OutputError | None, ActivationMaps]) -> None:
        prediction, result = answer
        if prediction is not None:
            self._show_prediction(prediction)
        self.result = result
        if self.position is not None and not np.less(self.position, result.maps.shape[1:]).all():
            self.position = None  # there is no such unit for an image of this size
        self._show_maps()
        size = self.parts.stage.image.shape[:2]
        net, layer = self.net, self.layer
        self.start_job(once(lambda: receptive_field(net, layer, image_size=size)), on_result=self._show_field)

    def _show_field(self, field: ReceptiveField) -> None:
        self._field = field
        # Now it is known where the units lie: the map, too, moves to its place.
        self._show_channel()

    # -- showing ----------------------------------------------------------------------------------------

    def _alignment(self) -> tuple[tuple[float, float], tuple[float, float]]:
        return alignment(self._field, self._map_size(), self.parts.stage.image.shape[:2])

    def _show_busy(self) -> None:
        self.parts.running.value = '<span role="status">running the network …</span>' if self.busy else ""

    def _show_layer(self) -> None:
        """Mark the layer in the tree."""
        name, call = split_key(self.layer)
        calls = self._info(name).calls
        self.parts.tree.select(name, call if call is not None and calls > 1 else -1)

    def _show_nothing(self) -> None:
        """Take away what was shown: it is not the answer to what was asked."""
        self.result = None
        self.parts.clear(key_text(self.layer))

    def _show_maps(self) -> None:
        with self.filling:
            self._fill()

    def _fill(self) -> None:
        result = self.result
        if result is None:
            return
        self.parts.make_room(bars=result.is_vector)
        if result.is_vector:
            labels = self.net.labels
            values = result.maps[:, 0, 0]
            named = labels is not None and len(labels) == len(values) and self.layer == self._last_layer
            self.parts.units.set_values(values, labels=labels if named else None)
            self.parts.stage.clear_heat()
        else:
            badges = {int(index): "all zero" for index in np.flatnonzero(result.all_zero)}
            self.parts.grid.set_maps(
                result.maps, badges=badges, order=self._order(result), selected=self.channel
            )
        self.parts.summary.value = summary_html(self.layer, self._info(self.layer).kind, result)
        self._show_channel()

    def _order(self, result: ActivationMaps) -> NDArray[np.intp]:
        return np.argsort(_ORDERS[self.sort](result), kind="stable")

    def _show_order(self) -> None:
        if self.result is not None and not self.result.is_vector:
            self.parts.grid.order = self._order(self.result)

    def _result_on_show(self) -> ActivationMaps | None:
        """Return the result, unless it is still that of a layer chosen before."""
        return self.result if self.result is not None and self.result.layer == self.layer else None

    def _show_channel(self) -> None:
        result = self._result_on_show()
        if result is None:
            return
        if result.is_vector:
            self.parts.units.selected = self.channel
        else:
            self.parts.grid.selected = self.channel
            stride, center = self._alignment()
            values = result.maps[self.channel]
            self.parts.stage.set_heat(
                values,
                low=float(min(values.min(), 0)),
                stride=stride,
                center=center,
                name=f"channel {self.channel}",
            )
        self._show_position()

    def _show_position(self) -> None:
        """Draw the receptive field of the unit, and say what it answers."""
        result, field, position = self._result_on_show(), self._field, self.position
        boxes, text = [], channel_text(result, self.channel)
        if result is not None and position is not None and not result.is_vector:
            value = result.maps[self.channel, position[0], position[1]]
            self.parts.grid.position = list(position)
            text = f"channel {self.channel}, unit ({position[0]}, {position[1]}): {value:.4g}"
            box = None if field is None else field.box(*position)
            # A unit at the border may see nothing but padding.
            if box is not None and box.height and box.width:
                boxes = [StageBox(box.top, box.left, box.bottom, box.right)]
                text += f"; sees rows {box.top} to {box.bottom - 1}, columns {box.left} to {box.right - 1}"
        self.parts.stage.set_boxes(boxes)
        self.parts.reading.value = html.escape(text)

    def _show_prediction(self, prediction: Prediction | OutputError) -> None:
        self.prediction = None if isinstance(prediction, OutputError) else prediction
        if self.prediction is not None:
            labels, shares = self.prediction.labels, self.prediction.probabilities
            self.parts.bars.set_values(list(labels), [float(share) for share in shares])
        self.parts.bars.layout.display = "none" if self.prediction is None else None
        self.parts.no_classes.value = (
            "" if self.prediction is not None else html.escape(f"No class bars: {prediction}")
        )

    def to_png(self) -> bytes | None:
        """Return the channels as one picture."""
        return None if self.result is None else mosaic_png(self.result.maps)

    def to_text(self) -> str:
        """Return what is shown, in words."""
        lines = [f"LayerBrowser: {self.result!r}"]
        return "\n".join(lines + ([str(self.prediction)] if self.prediction is not None else []))
