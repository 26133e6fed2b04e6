"""Look at what makes a unit fire: patches that excite a channel, beside what a DeconvNet sends back of each."""

from __future__ import annotations

from typing import Any

import traitlets

from cnnviz_widgets.engine.back_projection import Position
from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.receptive_field import ReceptiveField, receptive_field
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import row_and_column
from cnnviz_widgets.methods.deconvnet import Reconstruction
from cnnviz_widgets.methods.top_patches import TopPatches
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views._traits import Int
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._deconv_parts import (
    DeconvParts,
    doubt_text,
    found_text,
    projection_tiles,
    size_of,
    still,
)
from cnnviz_widgets.widgets._deconv_sources import Found, ImageSource, PatchSource, is_patches, projections
from cnnviz_widgets.widgets._job import once
from cnnviz_widgets.widgets._layer_browser_parts import alignment
from cnnviz_widgets.widgets._patch_explorer_parts import (
    box_of,
    channels_in_words,
    patch_text,
    row_of,
    summary_html,
    summary_text,
    tiles_of,
)
from cnnviz_widgets.widgets._photos import PhotoPicker

FIRST_RESULT_SECONDS = 5.0


class DeconvExplorer(Viewer):
    """See the patches that excite a channel most beside what in each of them made the unit fire.

    On the left stand the patches, on the right their projections: the unit's activation sent back to the pixels by a
    DeconvNet, as in the figures of Zeiler and Fergus (ECCV 2014). Gray is zero there; each projection has a scale of
    its own. Click one to see it in its whole image, with a box around what the unit sees: its receptive field. Go
    through the channels with the buttons, or by typing a number.

    Without top patches, one image is shown beside the projection of the unit that it excites most; click the image to
    send back another unit.

    Parameters
    ----------
    net
        The network.
    shown
        What `top_patches` returns: of one layer, or of several. Or one image in any form that `InputSpec.prepare`
        takes, or several to choose from: a list, or a dict from name to image.
    layer
        The layer to begin with; left out, the first of the patches, or for an image the rectifier half way through
        the network.
    channel
        The channel to begin with; left out, the first one.

    Attributes
    ----------
    layer, channel
        What is chosen. Observe them, or set them; a wrong value raises at once.
    rank
        Which of the channel's patches is shown in its image: 0 is the strongest, which another channel begins with.
    position
        With an image: which unit is sent back, ``"max"``, ``"all"`` or (row, column), as in `deconvnet`.
    image
        The image of the chosen unit. Without top patches, set it to show another.
    results
        For each patch, best first, the `Reconstruction`, or why there is none, as text; empty until they are there.
    result
        The chosen `Reconstruction`, equal to ``cv.deconvnet(explorer.net, explorer.image, **explorer.params)``;
        ``None`` where there is none, or none yet.
    net
        The network; with top patches, one around the same module that takes their images as they are, cut already.

    Raises
    ------
    LayerNotFoundError, AmbiguousLayerError
        (a LookupError) No such layer, here or in the network; or several calls of it.
    TargetError
        (a ValueError) No such channel, patch or unit.
    InputError
        (a ValueError) Patches without pictures or of another network; an image that can't be used.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, images = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0]
    >>> explorer = cv.DeconvExplorer(net, cv.top_patches(net, images[:200], "relu2"))
    >>> explorer.channel = 5
    >>> explorer.wait()
    True
    >>> len(explorer.results), explorer.result.box == tuple(explorer.patches.boxes[5, 0])
    (9, True)
    """

    layer = traitlets.Any(help="The chosen layer: a name, or (name, call).")
    channel = Int(0, help="The chosen channel, as the network counts it, from 0.")
    rank = Int(0, help="The chosen patch, 0 for the strongest.")
    position = traitlets.Any("max", help="With an image: max, all, or (row, column).")

    def __init__(
        self, net: Network, shown: Any, *, layer: LayerKey | None = None, channel: int | None = None
    ) -> None:
        check_network(net, "DeconvExplorer")
        self._photos = None if is_patches(shown) else PhotoPicker(shown, self._pick_image)
        first = None if self._photos is None else next(iter(self._photos.images.values()))
        self.source = PatchSource(net, shown) if self._photos is None else ImageSource(net, first)
        self.net = self.source.net
        self.results: tuple[Found, ...] = ()
        self._is_choosing = False
        self._field: ReceptiveField | None = None
        self.parts = DeconvParts(list(self.source.layers), self._pick_channel, self._photos)
        super().__init__(layer=self.source.first_layer if layer is None else layer)
        self.channel = self.source.channels(self.layer)[0] if channel is None else channel
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-deconv")
        self._link()
        self._run()
        # So that the picture for viewers without widgets, which the cell stores, shows something.
        self.wait(timeout=FIRST_RESULT_SECONDS)

    @property
    def patches(self) -> TopPatches | None:
        """The patches of the chosen layer; ``None`` with an image."""
        return self.source.found[self.layer] if isinstance(self.source, PatchSource) else None

    @property
    def params(self) -> dict[str, Any]:
        """The options of `deconvnet` that give `result`."""
        positions = self.source.positions(self.layer, self.channel)
        position = positions[self.rank] if positions else "max"
        return {"layer": self.layer, "channel": self.channel, "position": position}

    @property
    def result(self) -> Reconstruction | None:
        """The chosen projection; ``None`` where there is none, or none yet."""
        found = self._found()
        return found if isinstance(found, Reconstruction) else None

    def _found(self) -> Found | None:
        return self.results[self.rank] if self.results else None

    @property
    def image(self) -> Any:
        """The image of the chosen unit; ``None`` for a channel without patches."""
        images = self.source.images(self.layer, self.channel)
        return images[self.rank] if images else None

    @image.setter
    def image(self, image: Any) -> None:
        given = (image,) if self._photos is None else self._photos.named(image)
        self.set_image(*given)

    def set_image(self, image: Any, name: str = "image") -> None:
        """Show another image; it joins the list under its name. Raises where it can't be used."""
        if self._photos is None or isinstance(self.source, PatchSource):
            raise InputError(
                "this explorer shows top patches; for an image make cv.DeconvExplorer(net, image)"
            )
        with self.lock:
            self.source.take(image)
            self._photos.add(image, name)
            self._run()

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> LayerKey:
        return self.source.layers[proposal["value"]]

    @traitlets.validate("channel")
    def _check_channel(self, proposal: Any) -> int:
        channel, there = int(proposal["value"]), self.source.channels(self.layer)
        if channel not in there:
            raise TargetError(
                f"layer {self.layer!r} has {channels_in_words(list(there))} here, got {channel}"
            )
        return channel

    @traitlets.validate("rank")
    def _check_rank(self, proposal: Any) -> int:
        rank, count = int(proposal["value"]), self.source.count(self.layer, self.channel)
        if not 0 <= rank < max(count, 1):
            raise TargetError(
                f"channel {self.channel} has {count} patches, the strongest of rank 0, got rank {rank}"
            )
        return rank

    @traitlets.validate("position")
    def _check_position(self, proposal: Any) -> Position:
        position = proposal["value"]
        if isinstance(self.source, PatchSource):
            raise TargetError("the patches say which units are sent back; choose one by its rank")
        if isinstance(position, str):
            if position not in ("max", "all"):
                raise TargetError(f"position is 'max', 'all' or (row, column), got {position!r}")
            return position  # type: ignore[return-value]
        row, column = row_and_column(position)
        shape = self.source.shapes[self.layer].shape
        # Without a size only the network can tell how large the map is.
        if self.net.input.size is not None and not (
            len(shape) == 3 and 0 <= row < shape[1] and 0 <= column < shape[2]
        ):
            size = f"{shape[1]} rows and {shape[2]} columns" if len(shape) == 3 else "no positions"
            raise TargetError(f"the map of layer {self.layer!r} has {size}, got {position!r}")
        return row, column

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        parts.layers.observe(self._on_dropdown, "value")
        parts.positions.observe(self._on_dropdown, "value")
        for grid in (parts.patches, parts.sent_back):
            grid.observe(self._on_tile, "selected")
            # A click chooses a patch; the pixel it met means nothing, and is not marked.
            grid.observe(lambda change: change["owner"].set_trait("position", [-1, -1]), "position")
        for stage in (parts.stage, parts.projection):
            stage.on_click(self._on_click)
        self.observe(self._on_layer, "layer")
        self.observe(self._on_channel, "channel")
        self.observe(lambda change: self._show_unit(), "rank")
        self.observe(self._on_position, "position")
        self.observe(lambda change: self._show_busy(), "busy")

    @shown
    def _on_dropdown(self, change: Any) -> None:
        with self.lock:  # what a job's thread fills in meanwhile is no choice
            if self.filling:
                return
            name = "layer" if change["owner"] is self.parts.layers else "position"
            setattr(self, name, change["new"])

    @shown
    def _pick_channel(self, channel: int) -> None:
        self.channel = channel

    @shown
    def _pick_image(self, image: Any, name: str) -> None:
        self.set_image(image, name)

    @shown
    def _on_tile(self, change: Any) -> None:
        with self.lock:
            if not self.filling and change["new"] >= 0:
                self.rank = change["new"]

    @shown
    def _on_click(self, point: tuple[int, int]) -> None:
        """Send back the unit that looks at a pixel of the image: the one whose window has its middle nearest."""
        if isinstance(self.source, PatchSource):
            return
        net, key, size = self.net, self.layer, self.parts.stage.image.shape[:2]
        if len(self.source.shapes[key].shape) != 3:
            raise TargetError(
                f"layer {key!r} returns a vector: its units have no places in the image to click"
            )
        self.start_job(
            once(lambda: receptive_field(net, key, image_size=size)),
            on_result=lambda field: self._choose_unit(field, point),
            on_failure=self._run_if_cut_short,
        )

    def _run_if_cut_short(self) -> None:
        """Go on with what a click that came to nothing has ended."""
        if not self.results:
            self._run()

    def _choose_unit(self, field: ReceptiveField, point: tuple[int, int]) -> None:
        # Those found from gradients are remembered for as long as somebody has them.
        self._field = field
        if field.map_size is None:
            raise TargetError(
                f"layer {field.layer!r} returns a vector: its units have no places in the image to click"
            )
        stride, center = alignment(field, field.map_size, field.image_size)
        unit = tuple(
            min(max(round((pixel + 0.5 - middle) / step), 0), units - 1)
            for pixel, middle, step, units in zip(point, center, stride, field.map_size, strict=True)
        )
        if unit == self.position:
            self._run()
        else:
            self.position = unit

    def _on_layer(self, change: Any) -> None:
        with self.lock:
            there = self.source.channels(self.layer)
            self._is_choosing = True
            try:
                if self.channel not in there:
                    self.channel = there[0]
                if not isinstance(self.position, str):
                    self.position = "max"  # units of another map have other places
                self._begin_anew()
            finally:
                self._is_choosing = False
            self._run()

    def _on_channel(self, change: Any) -> None:
        if not self._is_choosing:
            with self.lock:
                self._begin_anew()
                self._run()

    def _begin_anew(self) -> None:
        """Go to the strongest unit, of which nothing is known yet."""
        self.results = ()
        self.rank = 0

    def _on_position(self, change: Any) -> None:
        with self.lock:
            if isinstance(self.source, ImageSource):
                self.source.position = self.position
            if not self._is_choosing:
                self._run()

    # -- running ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Send the units back on a worker; the views follow when it is done."""
        source, layer, channel = self.source, self.layer, self.channel
        with self.lock:
            self.results = ()
            self._show()
            images, positions = source.images(layer, channel), source.positions(layer, channel)
            if images:
                steps = projections(self.net, images, layer, channel, positions)
                self.start_job(steps, on_result=self._take)
            else:
                self.stop_job()
                self.clear_error()

    def _take(self, found: tuple[Found, ...]) -> None:
        self.results = found
        self._show_projections()
        self._show_unit()

    # -- showing ----------------------------------------------------------------------------------------

    def _show_busy(self) -> None:
        self.parts.running.value = '<span role="status">sending back \u2026</span>' if self.busy else ""

    def _show(self) -> None:
        """Show what is chosen, and what is known of it before anything is sent back."""
        parts, patches = self.parts, self.patches
        with self.filling:
            parts.layers.value = self.layer
            parts.show_position(self.position)
        parts.channels.show(self.channel, self.source.channels(self.layer))
        if patches is None:
            text = f"channel {self.channel}. Click the image to send back another unit."
            parts.summary.value = f"<p><b>{as_html(key_text(self.layer))}</b> {text}</p>"
        else:
            parts.summary.value = summary_html(patches, self.channel)
            self._show_tiles(parts.patches, tiles_of(patches, self.channel))
        self._show_projections()
        self._show_unit()

    def _show_projections(self) -> None:
        if self.patches is not None:
            tiles = tiles_of(self.patches, self.channel)["maps"]
            self._show_tiles(self.parts.sent_back, projection_tiles(len(tiles), self.results, tiles))

    def _show_tiles(self, grid: TileGrid, tiles: dict[str, Any]) -> None:
        with self.filling:
            grid.tile_size = size_of(tiles)
            grid.set_maps(**tiles, selected=self.rank if len(tiles["maps"]) else -1)

    def _show_unit(self) -> None:
        """Show the chosen unit's image, and what is sent back, whole."""
        with self.lock:
            layer, channel, parts, patches = self.layer, self.channel, self.parts, self.patches
            is_empty = self.source.count(layer, channel) == 0
            parts.chosen.layout.display = "none" if is_empty else None
            if is_empty:
                return
            found = self._found()
            box = None if patches is None else box_of(patches, channel, self.rank)
            parts.show_unit(self.source.picture(layer, channel, self.rank), found, box)
            lines = [] if found is None else [found_text(found)]
            if patches is not None:
                for grid in (parts.patches, parts.sent_back):
                    grid.selected = self.rank
                score = float(patches.scores[row_of(patches, channel), self.rank])
                lines = [patch_text(patches, channel, self.rank)]
                lines += [] if found is None else [doubt_text(found, score)]
            parts.reading.value = "<br>".join(as_html(line) for line in lines if line)

    def to_png(self) -> bytes | None:
        """Return the patches beside their projections; of one image, itself beside its projection."""
        with self.lock:
            if self.patches is None:
                return None if self.result is None else self.result._repr_png_()
            tiles = tiles_of(self.patches, self.channel)["maps"]
            if not len(tiles):
                return None
            sent_back = projection_tiles(len(tiles), self.results, tiles)["maps"]
        return png(still(tiles, sent_back), effort=3, max_bytes=PNG_BYTES)

    def to_text(self) -> str:
        """Return what is shown, in words."""
        with self.lock:
            patches, found = self.patches, self.results
            what = f"channel {self.channel} of layer {self.layer!r}"
            lines = [f"DeconvExplorer: {what}"]
            if patches is not None:
                lines = [f"DeconvExplorer: {patches!r}", summary_text(patches, self.channel)]
            return "\n".join([*lines, *(found_text(each) for each in found)])
