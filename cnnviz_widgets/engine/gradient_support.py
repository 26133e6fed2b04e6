"""Which pixels the units of a layer depend on, found from gradients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from cnnviz_widgets.engine.capture import capture, check_channels_first
from cnnviz_widgets.engine.errors import (
    LayerNotFoundError,
    OutputError,
    TargetError,
    UnsupportedModuleError,
)
from cnnviz_widgets.engine.generic_gradients import Openings, Support, Watch, generic_copy, positive
from cnnviz_widgets.engine.layer_reached import layer_reached
from cnnviz_widgets.engine.layers import LayerKey, main_tensor

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

Edges: TypeAlias = tuple[int, int, int, int]

# Images that take different ways through a network that looks at the numbers: u is uniform in [0.5, 1.5].
_IMAGES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda u: u,
    lambda u: -u,
    lambda u: 4 * (u - 1),
    lambda u: 1e-3 * u,
    lambda u: 30 * u,
)


class GradientProbe:
    """A private copy of a network with generic weights, in which one layer is asked what it depends on."""

    @torch.inference_mode(False)
    def __init__(self, net: Network, layer: LayerKey, seed: int = 0) -> None:
        from cnnviz_widgets.engine.network import Network

        self._net = Network(generic_copy(net.core, torch.Generator().manual_seed(seed)), input=net.input)
        self._layer = layer
        self._seed = seed + 1

    @torch.inference_mode(False)
    def support(self, size: tuple[int, int]) -> GradientSupport:
        """Return what the layer's units depend on in images of this size (height, width).

        Raises
        ------
        TargetError
            The layer does not depend on the image.
        UnsupportedModuleError
            The network does not run with gradients.
        OutputError
            What it returns is not finite, or has another shape for another image.
        """
        random = torch.Generator().manual_seed(self._seed)
        passes: list[tuple[Tensor, Tensor]] = []
        missing: LayerNotFoundError | None = None
        for image in _IMAGES:
            u = positive(torch.Size([1, self._net.input.channels or 3, *size]), random)
            x = image(u).to(self._net.device, self._net.dtype).requires_grad_()
            try:
                value, looked = self._run(x)
            except LayerNotFoundError as error:
                # A network that looks at the numbers may call the layer for some images only.
                missing = error
                continue
            passes.append((x, value))
            if not looked:
                break
        if missing is not None and not passes:
            raise missing
        return GradientSupport(self._checked(passes), random, (self, size))

    def support_if_runs(self, size: tuple[int, int]) -> GradientSupport | None:
        """Return the same, or ``None`` if the network does not take images of this size."""
        try:
            return self.support(size)
        except Exception:  # noqa: BLE001 - whatever it raises, it is the answer: not this size
            return None

    def _run(self, x: Tensor) -> tuple[Tensor, bool]:
        """Return the layer's value and whether anything on the way looked at the numbers."""
        watch, openings = Watch(), Openings()

        def finish(output: object) -> None:
            watch.finished = openings.finished = True

        # What is saved for the way back is copied, since the network may overwrite it: without gradients it
        # may do that, and then nothing else is wrong with it.
        saved = saved_tensors_hooks(Tensor.clone, lambda tensor: tensor)
        seen = capture(self._net, [self._layer], gradients=True, stop=True)
        reached = layer_reached(self._net, self._layer, finish)
        with reached, seen, torch.enable_grad(), saved, sdpa_kernel(SDPBackend.MATH), openings, watch:
            try:
                self._net(x)
            except RuntimeError as error:
                raise UnsupportedModuleError(
                    "the receptive field can't be found: operations on the way to the layer are not known, "
                    f"and the network does not run with gradients ({error})"
                ) from error
        check_channels_first(seen, self._layer)
        return main_tensor(seen[self._layer]), watch.looked

    def _checked(self, passes: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
        if not all(bool(torch.isfinite(value).all()) for _, value in passes):
            raise OutputError(f"layer {self._layer!r} returns NaN or infinity for random weights and images")
        if len({value.shape for _, value in passes}) > 1:
            raise OutputError(
                f"the shape of what layer {self._layer!r} returns depends on the image's content"
            )
        connected = [(x, value) for x, value in passes if value.requires_grad]
        if not connected:
            raise TargetError(
                f"layer {self._layer!r} does not depend on the image (no gradient reaches it), "
                "so it has no receptive field"
            )
        return connected


class GradientSupport:
    """Which pixels the units of one layer depend on, for images of one size; asked unit by unit.

    It can be pickled as far as the module can: what is sent is the private copy, which is run again.

    Attributes
    ----------
    map_size
        Height and width of the layer's map, ``None`` where it has no spatial axes.
    """

    def __init__(
        self,
        passes: list[tuple[Tensor, Tensor]],
        random: torch.Generator,
        origin: tuple[GradientProbe, tuple[int, int]],
    ) -> None:
        self._passes, self._random, self._origin = passes, random, origin
        # Its own: the copy of the network is private, and a box may be asked for while the network runs.
        self._lock = threading.Lock()
        self._known: dict[tuple[int | None, int | None], Edges | None] = {}
        value = passes[0][1]
        self.map_size = (int(value.shape[2]), int(value.shape[3])) if value.ndim == 4 else None

    def __reduce__(self) -> tuple[Callable[..., GradientSupport], tuple[GradientProbe, tuple[int, int]]]:
        # What autograd has recorded can't be sent.
        return GradientProbe.support, self._origin

    def edges(self, row: int | None = None, column: int | None = None) -> Edges | None:
        """Return (top, left, bottom, right) of what a unit, or the whole layer, depends on; ``None``: nothing."""
        with self._lock:
            if (row, column) not in self._known:
                self._known[row, column] = self._find_edges(row, column)
            return self._known[row, column]

    @torch.inference_mode(False)
    def _find_edges(self, row: int | None, column: int | None) -> Edges | None:
        support = None
        for x, value in self._passes:
            start = positive(value.shape, self._random).to(value)
            if row is not None and column is not None:
                kept = torch.zeros_like(start)
                kept[:, :, row, column] = 1
                start = start * kept
            with Support(self._random):
                (gradient,) = torch.autograd.grad(value, x, start, retain_graph=True, allow_unused=True)
            if gradient is not None:
                found = (gradient != 0).any(1)[0].cpu()
                support = found if support is None else support | found
        if support is None or not bool(support.any()):
            return None
        rows, columns = (support.any(1 - axis).nonzero().flatten() for axis in (0, 1))
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
