"""Look at the patches that excite a channel most, each in the image that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import traitlets

from cnnviz_widgets.engine.errors import TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.methods.top_patches import TopPatches
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views._traits import Int
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._patch_explorer_parts import (
    ExplorerParts,
    box_of,
    by_layer,
    channels_in_words,
    count_of,
    patch_text,
    row_of,
    summary_html,
    summary_text,
    tile_size,
    tiles_of,
)


class PatchExplorer(Viewer):
    """See the patches that excite a channel most side by side, and a clicked one in its whole image.

    Below each patch stand its value, its image's index in the data set, and the row and column of the unit in its
    map. In the image, a box marks what that unit sees: its receptive field. Go through the channels with the
    buttons, or by typing a number, or with the arrow keys in its field.

    Parameters
    ----------
    patches
        What `top_patches` returns: of one layer, or of several.
    browser
        A `LayerBrowser` to go along with: where it shows the layer of the patches, the channels of both are the
        same. With patches of several layers, the layers are, too.

    Attributes
    ----------
    layer, channel, rank
        What is chosen: a layer of the patches, one of its channels, and one of the channel's patches: 0 is the
        strongest, which another channel begins with. Observe them, or set them; a wrong value raises at once.
    result
        The `TopPatches` on show.

    Raises
    ------
    TypeError
        These are no top patches, or this is no browser.
    InputError
        (a ValueError) Patches without pictures.
    LayerNotFoundError, AmbiguousLayerError
        (a LookupError) No patches of such a layer, or of several calls of it.
    TargetError
        (a ValueError) No patches of such a channel, or no such patch.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> found = cv.top_patches(cv.samples.fashion_cnn(), images[:200], "conv2", k=4)
    >>> explorer = cv.PatchExplorer(found)
    >>> explorer.channel, explorer.rank = 5, 2
    >>> print(explorer.to_text().splitlines()[0])
    PatchExplorer: TopPatches(32 channels x 4 patches of layer 'conv2', out of 200 images)
    """

    layer = traitlets.Any(help="The chosen layer: a name, or (name, call).")
    channel = Int(0, help="The chosen channel, as the network counts it, from 0.")
    rank = Int(0, help="The chosen patch, 0 for the strongest.")

    _browser: Any = None  # an explorer that could not be made is closed, too

    def __init__(
        self, patches: TopPatches | Mapping[LayerKey, TopPatches], *, browser: Viewer | None = None
    ) -> None:
        self._found = by_layer(patches)
        self._browser = _checked_browser(browser)
        self._is_following = False
        self.parts = ExplorerParts(list(self._found), self._pick_channel)
        first = next(iter(self._found.values()))
        super().__init__(layer=first.layer)
        self.channel = int(first.channels[0])
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-patches")
        self._link()
        self._show()
        self._follow_browser(None)

    @property
    def result(self) -> TopPatches:
        """The patches of the chosen layer."""
        return self._found[self.layer]

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> LayerKey:
        return self._found[proposal["value"]].layer

    @traitlets.validate("channel")
    def _check_channel(self, proposal: Any) -> int:
        channel, there = int(proposal["value"]), self.result.channels
        if channel not in there:
            raise TargetError(
                f"there are patches of {channels_in_words(there.tolist())} of layer {self.layer!r}, got {channel}"
            )
        return channel

    @traitlets.validate("rank")
    def _check_rank(self, proposal: Any) -> int:
        rank, count = int(proposal["value"]), count_of(self.result, self.channel)
        # 0 also of a channel without patches, where it means nothing.
        if not 0 <= rank < max(count, 1):
            raise TargetError(
                f"channel {self.channel} has {count} patches, the strongest of rank 0, got rank {rank}"
            )
        return rank

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        parts.layers.observe(self._on_layer_chosen, "value")
        parts.grid.observe(self._on_tile, "selected")
        # A click chooses a patch; the pixel it met means nothing, and is not marked.
        parts.grid.observe(lambda change: parts.grid.set_trait("position", [-1, -1]), "position")
        self.observe(self._on_layer, "layer")
        self.observe(self._on_channel, "channel")
        self.observe(lambda change: self._show_patch(), "rank")
        if self._browser is not None:
            self._browser.observe(self._follow_browser, ["layer", "channel"])

    @shown
    def _on_layer_chosen(self, change: Any) -> None:
        if not self.filling:
            self.layer = change["new"]

    @shown
    def _pick_channel(self, channel: int) -> None:
        self.channel = channel

    @shown
    def _on_tile(self, change: Any) -> None:
        if not self.filling and change["new"] >= 0:
            self.rank = change["new"]

    def _on_layer(self, change: Any) -> None:
        if self.channel not in self.result.channels:
            self.channel = int(self.result.channels[0])
        self.rank = 0
        self._show()
        self._lead_browser(also_layer=True)

    def _on_channel(self, change: Any) -> None:
        self.rank = 0
        self._show()
        self._lead_browser()

    # -- the browser ------------------------------------------------------------------------------------

    def _follow_browser(self, change: Any) -> None:
        """Show what the browser shows, as far as there are patches of it."""
        browser = self._browser
        if browser is None or self._is_following:
            return
        self._is_following = True
        try:
            if browser.layer in self._found:
                self.layer = browser.layer
                if browser.channel in self.result.channels:
                    self.channel = browser.channel
        finally:
            self._is_following = False
        self._show_note()

    @shown
    def _lead_browser(self, *, also_layer: bool = False) -> None:
        """Make the browser show what was chosen here; not under the lock, as it has one of its own."""
        browser = self._browser
        if browser is None or self._is_following:
            return
        # While it changes its layer it also changes its channel, which is not to come back here.
        self._is_following = True
        try:
            if also_layer:
                browser.layer = self.layer
            if browser.layer in self._found and self._found[browser.layer].layer == self.layer:
                browser.channel = self.channel
        finally:
            self._is_following = False
            self._show_note()

    # -- showing ----------------------------------------------------------------------------------------

    def _show(self) -> None:
        """Show the patches of the chosen channel."""
        with self.lock:
            self.clear_error()
            tiles = tiles_of(self.result, self.channel)
            with self.filling:
                self.parts.grid.tile_size = tile_size(tiles["maps"])
                self.parts.grid.set_maps(**tiles, selected=self.rank if len(tiles["maps"]) else -1)
            self.parts.summary.value = summary_html(self.result, self.channel)
            self._show_controls()
            self._show_patch()

    def _show_controls(self) -> None:
        with self.filling:
            self.parts.layers.value = self.layer
            self.parts.channels.show(self.channel, self.result.channels.tolist())

    def _show_patch(self) -> None:
        """Show the image of the chosen patch, with its box."""
        with self.lock:
            patches, parts = self.result, self.parts
            is_empty = count_of(patches, self.channel) == 0
            parts.stage.layout.display = parts.reading.layout.display = "none" if is_empty else None
            if is_empty:
                return
            parts.grid.selected = self.rank
            index = int(patches.image_indices[row_of(patches, self.channel), self.rank])
            parts.stage.image = patches.picture(index)
            box = box_of(patches, self.channel, self.rank)
            parts.stage.set_boxes([] if box is None else [box])
            parts.reading.value = as_html(patch_text(patches, self.channel, self.rank))

    def _show_note(self) -> None:
        """Say where the browser shows something that there are no patches of."""
        browser, text = self._browser, ""
        if browser is not None and browser.layer not in self._found:
            text = f"The browser shows layer {key_text(browser.layer)}, of which there are no patches here."
        elif browser is not None and browser.channel != self.channel:
            text = f"The browser shows channel {browser.channel}, of which there are no patches here."
        self.parts.note.value = as_html(text)

    def close(self) -> None:
        """Take the widget off the page, and leave the browser alone."""
        if self._browser is not None:
            self._browser.unobserve(self._follow_browser, ["layer", "channel"])
            self._browser = None
        super().close()

    def to_png(self) -> bytes | None:
        """Return the patches of the channel as one picture."""
        picture: bytes | None = self.parts.grid.to_png()
        return picture

    def to_text(self) -> str:
        """Return what is shown, in words."""
        patches, channel = self.result, self.channel
        lines = [f"PatchExplorer: {patches!r}", summary_text(patches, channel)]
        return "\n".join(
            lines + [patch_text(patches, channel, rank) for rank in range(count_of(patches, channel))]
        )


def _checked_browser(browser: Any) -> Any:
    is_browser = isinstance(browser, Viewer) and browser.has_trait("layer") and browser.has_trait("channel")
    if browser is not None and not is_browser:
        raise TypeError(f"browser is a cv.LayerBrowser, got {type(browser).__name__}")
    return browser
