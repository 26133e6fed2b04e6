"""Look through the kernels of a network's convolutions, with a verdict on each and the evidence for it."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import TargetError, WeightsError
from cnnviz_widgets.engine.layers import LayerKey, split_key
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.verdicts import VERDICTS
from cnnviz_widgets.engine.weights import ConvolutionInfo, find_convolution, list_convolutions
from cnnviz_widgets.methods.kernels import Kernels, kernels
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._filter_grid_parts import (
    FilterParts,
    duplicates_html,
    group_of,
    local_channel,
    members_of,
    numbers_html,
    summary_html,
    tiles_of,
    views_of,
)
from cnnviz_widgets.widgets._job import once

_ORDERS: dict[str, Callable[[Kernels], NDArray[np.float64]]] = {
    # What the tiles are sorted by, the smallest first; NaN comes last.
    "kernel index": lambda result: np.arange(len(result.weights), dtype=np.float64),
    "verdict": lambda result: np.array([VERDICTS.index(each) for each in result.verdicts], np.float64),
    "roughness percentile": lambda result: result.percentile,
    "norm": lambda result: -np.square(result.norms).sum(axis=1),
}
_OPTIONS = [
    name
    for name, parameter in inspect.signature(kernels).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
]


class FilterGrid(Viewer):
    """See the kernels of a layer as tiles, each with a verdict: smooth, mixed, noisy, zero or cannot tell.

    On top stands the verdict on the layer as a whole with its p-value. Kernels of the first layer are shown
    in color, where gray is zero; others by input channel or as the norms of all their maps; those of 1x1 as a
    matrix. Click one to read its numbers and the reason for its verdict. Near-duplicates stand side by side
    below, each with how it is turned and its cosine. `kernels` defines all of these numbers.

    Parameters
    ----------
    net
        The network.
    layer
        The layer to begin with; left out, the first convolution.
    kernel
        The kernel to begin with.
    **options
        Those of `kernels`, such as ``smooth_percentile`` and ``min_similarity``.

    Attributes
    ----------
    layer, kernel
        What is chosen: a layer's name and a kernel's index. Observe them, or set them; a wrong value raises
        at once.
    sort
        Order of the tiles: ``"kernel index"``, ``"verdict"``, ``"roughness percentile"`` (the smoothest
        first) or ``"norm"`` (the largest first).
    verdict
        The one verdict whose kernels are shown, or ``"all"``.
    view
        How they are shown: ``"color"``, ``"input channel"``, ``"norms"`` or ``"matrix"``, as far as the layer
        has it. Norms and matrix are one picture of all kernels, whatever ``sort`` and ``verdict`` say.
    input_channel
        Whose weights are shown, with the view ``"input channel"``: an index over the whole layer.
    group
        Which group of ``result.duplicates`` is shown, or ``None``; it follows the chosen kernel.
    result
        The `Kernels` on show, equal to ``cv.kernels(net, **widget.params)``; ``None`` until they are judged.

    Raises
    ------
    LayerNotFoundError
        (a LookupError) No such layer.
    WeightsError
        (a ValueError) The layer, or the whole network, has no kernels.
    TargetError
        (a ValueError) No such kernel, input channel or group.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> filters = cv.FilterGrid(cv.samples.squeezenet(), "features.0")
    >>> filters.verdict, filters.sort = "noisy", "roughness percentile"
    >>> filters.result.layer_verdict
    'structured'
    """

    layer = traitlets.Any(help="Name of the chosen layer.")
    kernel = traitlets.Int(0, help="The chosen kernel, from 0.")
    sort = traitlets.Enum(list(_ORDERS), default_value="kernel index", help="Order of the tiles.")
    verdict = traitlets.Enum(["all", *VERDICTS], default_value="all", help="Which kernels are shown.")
    view = traitlets.Unicode("", help="How the kernels are shown.")
    input_channel = traitlets.Int(0, help="The input channel whose weights are shown, from 0.")
    group = traitlets.Int(None, allow_none=True, help="Which group of near-duplicates is shown, from 0.")

    def __init__(
        self, net: Network, layer: LayerKey | None = None, *, kernel: int = 0, **options: Any
    ) -> None:
        check_network(net, "FilterGrid")
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise TypeError(f"FilterGrid has no option {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
        self.net = net
        self.result: Kernels | None = None
        self._options = options
        layers = list_convolutions(net.core)
        self.parts = FilterParts(layers, list(_ORDERS))
        self.parts.clear()
        super().__init__(layer=layers[0].name if layer is None else layer)
        self.kernel = kernel
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-filters")
        self._show_layer()
        self._link()
        self.refresh()
        # A notebook that is converted as soon as it ran must hold the pictures.
        self.wait(timeout=30)
        self._raise_wrong_option()

    @property
    def params(self) -> dict[str, Any]:
        """The options of `kernels` that give `result`."""
        return {"layer": self.layer, **self._options}

    def refresh(self) -> None:
        """Read the kernels again, say after some more training, and judge them anew.

        This takes a moment, in which the cell goes on: ``result`` is ``None`` until `wait` returns.
        """
        net, params = self.net, self.params
        with self.lock:
            self.result = None
            self.start_job(once(lambda: kernels(net, **params)), on_result=self._show)

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> str:
        name, _ = split_key(proposal["value"])
        return self._info(name).name

    @traitlets.validate("kernel")
    def _check_kernel(self, proposal: Any) -> int:
        return self._in_range("kernels", proposal["value"], self._info(self.layer).shape[0])

    @traitlets.validate("input_channel")
    def _check_input_channel(self, proposal: Any) -> int:
        info = self._info(self.layer)
        return self._in_range("input channels", proposal["value"], _channels(info))

    @traitlets.validate("group")
    def _check_group(self, proposal: Any) -> int | None:
        group: int | None = proposal["value"]
        if group is None:
            return None
        if self.result is None:
            raise TargetError("no groups are known before the kernels are judged; wait() until they are")
        return self._in_range("groups of near-duplicates", group, len(self.result.duplicates))

    @traitlets.validate("view")
    def _check_view(self, proposal: Any) -> str:
        view: str = proposal["value"]
        views = views_of(self._info(self.layer), self.net.input.channels)
        if view not in views:
            raise ValueError(f"the kernels of layer {self.layer!r} can be shown as {views}, got {view!r}")
        return view

    def _in_range(self, what: str, index: int, count: int) -> int:
        if not 0 <= index < count:
            there = f"{what} 0 to {count - 1}" if count else f"no {what}"
            raise TargetError(f"layer {self.layer!r} has {there}, got {index}")
        return index

    def _info(self, name: str) -> ConvolutionInfo:
        """Return what is known of a layer without running anything."""
        module = find_convolution(self.net.core, name)
        named = dict(self.net.core.named_modules())
        return next(each for each in list_convolutions(self.net.core) if named[each.name] is module)

    def _raise_wrong_option(self) -> None:
        """Raise what the first run says against the options; a layer that can't be read is shown instead."""
        error = None if self._job is None else self._job.error
        if error is not None and not isinstance(error, WeightsError):
            raise error

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        parts.tree.observe(self._on_tree, "selected")
        parts.grid.observe(self._on_tile, ["selected", "position"])
        parts.members.observe(self._on_member, "selected")
        parts.groups.observe(self._on_group_chosen, "value")
        parts.views.observe(self._on_view_chosen, "value")
        parts.channel.observe(self._on_channel_chosen, "value")
        ipywidgets.link((self, "sort"), (parts.sorting, "value"))
        ipywidgets.link((self, "verdict"), (parts.verdicts, "value"))
        self.observe(self._on_layer, "layer")
        self.observe(self._on_kernel, "kernel")
        self.observe(lambda change: self._show_order(), ["sort", "verdict"])
        self.observe(lambda change: self._show_tiles(), ["view", "input_channel"])
        self.observe(lambda change: self._show_group(), ["group", "view"])
        self.observe(lambda change: self._show_busy(), "busy")

    @shown
    def _on_tree(self, change: Any) -> None:
        if change["new"]:
            self.layer = change["new"]

    @shown
    def _on_tile(self, change: Any) -> None:
        if self.result is None:
            return
        if change["name"] == "selected" and not self._is_matrix() and change["new"] >= 0:
            self.kernel = change["new"]
        elif change["name"] == "position" and self._is_matrix() and change["new"][0] >= 0:
            self.kernel = change["new"][0]

    @shown
    def _on_member(self, change: Any) -> None:
        if self.result is not None and self.group is not None and change["new"] >= 0:
            self.kernel = int(self.result.duplicates[self.group].members[change["new"]])

    @shown
    def _on_group_chosen(self, change: Any) -> None:
        if self.result is not None and change["new"] is not None:
            self.group = change["new"]

    @shown
    def _on_view_chosen(self, change: Any) -> None:
        if change["new"]:
            self.view = change["new"]

    @shown
    def _on_channel_chosen(self, change: Any) -> None:
        self.input_channel = change["new"]

    def _on_layer(self, change: Any) -> None:
        with self.lock:
            # What is on show is that of the layer before, until the new kernels are judged.
            self.result = None
            info = self._info(self.layer)
            self.kernel = self.kernel if self.kernel < info.shape[0] else 0
            self.input_channel = 0
            self.group = None
            self._show_layer()
            self.refresh()

    def _on_kernel(self, change: Any) -> None:
        with self.lock:
            if self.result is not None:
                found = group_of(self.result, self.kernel)
                self.group = self.group if found is None else found
                self._show_kernel()
                self._show_member()

    # -- showing ----------------------------------------------------------------------------------------

    def _is_matrix(self) -> bool:
        return self.view in ("matrix", "norms")

    def _show_busy(self) -> None:
        text = f"judging the kernels of {self.layer} …" if self.busy else ""
        self.parts.running.value = f'<span role="status">{html.escape(text)}</span>'

    def _show_layer(self) -> None:
        """Mark the layer in the tree, and offer what can be chosen in it."""
        info = self._info(self.layer)
        views = views_of(info, self.net.input.channels)
        self.parts.tree.select(self.layer)
        self.parts.views.options = views
        self.view = views[0]
        self.parts.channel.max = _channels(info) - 1

    def _show(self, result: Kernels) -> None:
        """Show what a job found."""
        self.result = result
        kind = self._info(result.layer).kind
        self.parts.summary.value = summary_html(result, kind)
        self.parts.duplicates.value = duplicates_html(result)
        # In this order: an option that is taken away takes its group with it.
        self.group = None
        options = [
            (f"{index + 1}: kernels {', '.join(map(str, sorted(group.members)))}", index)
            for index, group in enumerate(result.duplicates)
        ]
        self.parts.groups.options = options
        found = group_of(result, self.kernel)
        self.group = found if found is not None else (0 if options else None)
        self._show_tiles()
        self._show_group()
        self._show_kernel()

    def _show_tiles(self) -> None:
        with self.lock:
            result, parts, matrix = self.result, self.parts, self._is_matrix()
            several = self.view == "input channel" and _channels(self._info(self.layer)) > 1
            parts.views.value = self.view
            parts.views.layout.display = None if len(parts.views.options) > 1 else "none"
            parts.channel.layout.display = None if several else "none"
            parts.channel.value = self.input_channel
            parts.sorting.layout.display = parts.verdicts.layout.display = "none" if matrix else None
            if result is None:
                return
            if matrix is not (parts.grid.noun == "matrix"):
                parts.grid.enlarged = -1
            parts.grid.set_maps(
                **tiles_of(result, self.view, self.input_channel),
                order=None if matrix else self._order(result),
                selected=0 if matrix else self.kernel,
            )
            if matrix:
                # Large, with its rows and columns numbered.
                parts.grid.enlarged = 0
            self._mark_kernel(result)

    def _order(self, result: Kernels) -> NDArray[np.intp]:
        """Return the kernels on show: those with the verdict, that read the input channel, sorted."""
        kept = np.array([self.verdict in ("all", each) for each in result.verdicts])
        if self.view == "input channel" and result.weights.shape[1] > 1:
            kept &= np.isin(np.arange(len(kept)), result.readers(self.input_channel))
        order: NDArray[np.intp] = np.argsort(_ORDERS[self.sort](result), kind="stable")
        shown: NDArray[np.intp] = order[kept[order]]
        return shown

    def _show_order(self) -> None:
        with self.lock:
            if self.result is not None and not self._is_matrix():
                self.parts.grid.order = self._order(self.result)

    def _mark_kernel(self, result: Kernels) -> None:
        if self._is_matrix():
            row, column = self.parts.grid.position
            column = column if row == self.kernel else local_channel(result, self.input_channel)
            self.parts.grid.position = [self.kernel, column]
        else:
            self.parts.grid.selected = self.kernel

    def _show_kernel(self) -> None:
        """Show the numbers of the chosen kernel, and all of its weights."""
        result, parts = self.result, self.parts
        if result is None:
            return
        self._mark_kernel(result)
        parts.numbers.value = numbers_html(result, self.kernel)
        weights = result.weights[self.kernel]
        points = weights.shape[1:] == (1, 1)
        parts.bars.layout.display = None if points else "none"
        parts.inputs.layout.display = "none" if points else None
        if points:
            parts.bars.set_values(weights[:, 0, 0])
            return
        first = self.kernel // (len(result.weights) // result.groups) * len(weights)
        names = ["red", "green", "blue"] if result.in_color else [f"{first + i}" for i in range(len(weights))]
        parts.inputs.set_maps(weights, labels=names, zero_centered=True, selected=-1)

    def _show_group(self) -> None:
        """Show the chosen group's kernels side by side."""
        with self.lock:
            result, parts = self.result, self.parts
            if result is None:
                return
            for part in (parts.groups, parts.members):
                part.layout.display = None if result.duplicates else "none"
            if self.group is None:
                return
            parts.groups.value = self.group
            members = members_of(result, result.duplicates[self.group], "color" if result.in_color else "")
            parts.members.set_maps(**members, selected=-1)
            self._show_member()

    def _show_member(self) -> None:
        if self.result is not None and self.group is not None:
            members = self.result.duplicates[self.group].members.tolist()
            self.parts.members.selected = members.index(self.kernel) if self.kernel in members else -1

    def show_error(self, error: BaseException) -> None:
        """Show an error's message, and nothing of a layer that could not be read."""
        super().show_error(error)
        if self.result is None:
            self.parts.clear()

    def to_png(self) -> bytes | None:
        """Return the tiles on show as one picture."""
        picture: bytes | None = self.parts.grid.to_png()
        return picture

    def to_text(self) -> str:
        """Return what is shown, in words."""
        result = self.result
        if result is None:
            return f"FilterGrid: the kernels of layer {self.layer!r}, not judged yet"
        lines = [f"FilterGrid: {result!r}", result.layer_reason]
        lines.append(f"kernel {self.kernel}: {result.verdicts[self.kernel]}; {result.reasons[self.kernel]}")
        return "\n".join(lines + [f"near-duplicates: {group}" for group in result.duplicates])


def _channels(info: ConvolutionInfo) -> int:
    """Return how many input channels there are to choose from; of one a kernel, all are shown at once."""
    return info.shape[1] * info.groups if info.shape[1] > 1 else 1
