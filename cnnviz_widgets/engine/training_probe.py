"""What is measured of a network at one moment of its training, the network left as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnviz_widgets.engine.capture import apart, capture, maps_in
from cnnviz_widgets.engine.errors import LayerNotFoundError, OutputError, RecorderError
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey, describe
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.rectifiers import rectifiers
from cnnviz_widgets.engine.roughness import roughness
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.watch_list import watch_list
from cnnviz_widgets.engine.weights import copy_kernels, find_convolution

Measures: TypeAlias = dict[str, NDArray[Any]]
"""One record: named arrays of the same shapes and kinds each time."""

# What runs at a time: so many images, and so many bytes of activations that are looked at.
_BATCH = 64
_BATCH_BYTES = 256 * 1024**2
_LARGEST = float(np.finfo(np.float16).max)


class TrainingProbe:
    """Measures a network again and again in the same way.

    Parameters
    ----------
    net
        The network.
    images
        What to run through it; ``None``: nothing runs, and there are no layers.
    layers
        Whose activations are measured; ``None``: all rectifiers, by call, that return maps
        or vectors.
    kernels_layer
        Whose kernels are copied; ``None``: the first convolution, if there is one.
    map_images, map_bytes
        Maps of the first images are kept, of as many as asked for and as fit into so many bytes together;
        where those of one image do not, only the first channels of each layer.

    Attributes
    ----------
    layers, names, kernels_layer
        The layers, the parameters' names, and the layer with the kernels.
    pictures
        The images whose maps are kept, uint8 [N, H, W, 3].
    image_count, digest
        How many images run, and a hash of what the network is given of them.
    """

    def __init__(
        self,
        net: Network,
        images: Images | None,
        layers: Iterable[LayerKey] | None,
        kernels_layer: str | None,
        *,
        map_images: int,
        map_bytes: int,
    ) -> None:
        check_network(net, "a recording of a training")
        if images is None and layers is not None:
            raise RecorderError(
                "layers= says whose activations to record, but there are no images=; give some"
            )
        self.net = net
        self.names = tuple(name for name, _ in net.core.named_parameters())
        self.kernels_layer = _first_convolution(net.core) if kernels_layer is None else kernels_layer
        if self.kernels_layer is not None:
            find_convolution(net.core, self.kernels_layer)
        self.layers: tuple[LayerKey, ...] = ()
        self.pictures = np.zeros((0, 1, 1, 3), np.uint8)
        self.image_count, self.digest = 0, ""
        self._x: Tensor | None = None
        self._channels: list[int] = []
        self._at_once = 1
        if images is not None:
            self._x = net.prepare(images)
            self.image_count = len(self._x)
            self.digest = hashlib.sha256(self._x.cpu().float().numpy().tobytes()).hexdigest()
            self._choose(layers, map_images, map_bytes)

    def _choose(self, layers: Iterable[LayerKey] | None, map_images: int, map_bytes: int) -> None:
        """Settle which layers there are, how many images have maps, and of how many channels."""
        wanted = self._rectifiers() if layers is None else _keys(self.net, layers)
        shapes: dict[LayerKey, tuple[int, ...]] = {}
        with apart(self.net), capture(self.net, wanted) as seen, _no_autocast(self.net):
            self.net(self._batch(0, 1))
        for key in wanted:
            value = maps_in(seen, key)
            if value.ndim not in (2, 4):
                raise OutputError(
                    f"layer {key!r} returns {describe(value)}; a recorder takes maps (images, channels, rows, "
                    "columns) and vectors (images, channels)"
                )
            shapes[key] = (*value.shape[1:], 1, 1)[:3]
        self.layers = tuple(shapes)
        size = 2 * sum(int(np.prod(shape)) for shape in shapes.values())
        count = max(1, min(map_images, self.image_count, map_bytes // max(size, 1)))
        fitting = [
            map_bytes // (2 * len(shapes) * max(rows * columns, 1)) for _, rows, columns in shapes.values()
        ]
        self._channels = [
            shape[0] if size <= map_bytes else min(shape[0], max(1, fits))
            for shape, fits in zip(shapes.values(), fitting, strict=True)
        ]
        self._at_once = max(1, min(_BATCH, _BATCH_BYTES // max(2 * size, 1)))
        self.pictures = _pictures(self.net, self._batch(0, count))

    def _rectifiers(self) -> list[LayerKey]:
        """Return all rectifiers that a pass of the images calls, also as functions."""
        with _no_autocast(self.net):
            found = list(rectifiers(self.net.survey, self.net.core))
        if not found:
            raise LayerNotFoundError(
                "a pass of this network calls no rectifier that returns maps or vectors; say whose activations "
                "to record: layers=[...] (net.layers lists all modules)"
            )
        return found

    def _batch(self, start: int, count: int) -> Tensor:
        if self._x is None:
            raise RuntimeError("there are no images to run")
        return self._x[start : start + count]

    def measure(self) -> Measures:
        """Return kernels and their roughness, norms of weights, shares of zeros, dead channels, and maps."""
        core = self.net.core
        named = dict(core.named_parameters())
        if tuple(named) != self.names:
            raise RecorderError(
                "the network's parameters are no longer those that the recording began with; close the "
                "recorder and begin a new one"
            )
        kernels = np.zeros((0, 0, 0, 0), np.float32)
        if self.kernels_layer is not None:
            kernels = copy_kernels(core, self.kernels_layer)
        return {
            "kernels": kernels,
            "roughness": _roughness(kernels),
            "weight_norms": norms([each.detach() for each in named.values()]),
            **(self._measure_layers() if self._x is not None else {}),
        }

    def _measure_layers(self) -> Measures:
        tallies = [_Tally(len(self.pictures), channels) for channels in self._channels]
        for start in range(0, self.image_count, self._at_once):
            with apart(self.net), capture(self.net, self.layers) as seen, _no_autocast(self.net):
                self.net(self._batch(start, self._at_once))
            for key, tally in zip(self.layers, tallies, strict=True):
                tally.add(maps_in(seen, key))
        return {
            "sparsity": np.array([tally.sparsity for tally in tallies]),
            **{f"dead{index}": tally.dead for index, tally in enumerate(tallies)},
            **{f"maps{index}": tally.maps for index, tally in enumerate(tallies)},
        }


class _Tally:
    """What is counted of one layer, over batch after batch."""

    def __init__(self, images: int, channels: int) -> None:
        self._keep = images, channels
        self._kept: list[NDArray[np.float16]] = []
        self._zeros = self._values = 0
        self._dead: Tensor | None = None
        self._is_spoiled = False

    def add(self, value: Tensor) -> None:
        maps = value.detach().reshape(*value.shape[:2], *(value.shape[2:] or (1, 1)))
        self._zeros += int((maps == 0).sum())  # three times as fast as `count_nonzero` on a processor
        self._values += maps.numel()
        # A NaN carries through the largest value; few channels are nowhere above zero, and may be below it.
        highest = maps.amax(dim=(0, 2, 3))
        self._is_spoiled |= bool(highest.isnan().any())
        dead = highest == 0
        dead[dead.clone()] = maps[:, dead].amin(dim=(0, 2, 3)) == 0
        self._dead = dead if self._dead is None else self._dead & dead
        images, channels = self._keep
        missing = images - sum(map(len, self._kept))
        if missing:
            kept = maps[:missing, :channels].float().clamp(-_LARGEST, _LARGEST)
            self._kept.append(kept.to("cpu", torch.float16).numpy())

    @property
    def maps(self) -> NDArray[np.float16]:
        return np.ascontiguousarray(np.concatenate(self._kept))

    @property
    def sparsity(self) -> float:
        return float("nan") if self._is_spoiled else self._zeros / max(self._values, 1)

    @property
    def dead(self) -> NDArray[np.uint8]:
        """Whether each channel was zero everywhere, 0 or 1 [C]; of NaN nothing is known, so it was not."""
        if self._dead is None:
            raise RuntimeError("nothing was counted yet")
        return self._dead.to("cpu", torch.uint8).numpy()


def norms(tensors: Iterable[Tensor | None]) -> NDArray[np.float64]:
    """Return the L2 norm of each tensor, float64; NaN for ``None``."""
    found: list[Tensor] = []
    for each in tensors:
        if each is None:
            found.append(torch.tensor(float("nan")))
            continue
        values = each.detach()
        if values.layout is not torch.strided:
            values = values.coalesce().values() if values.is_sparse else values.to_dense()
        # Not every device has float64.
        values = values.float() if values.device.type == "mps" else values
        exact = torch.float32 if values.device.type == "mps" else torch.float64
        exact = torch.complex128 if values.is_complex() else exact
        found.append(torch.linalg.vector_norm(values, dtype=exact))
    return np.array([float(each) for each in found], dtype=np.float64)


def _roughness(kernels: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the roughness of each kernel [O]; NaN where it holds NaN or infinity."""
    found = np.full(len(kernels), np.nan)
    good = np.isfinite(kernels).all(axis=(1, 2, 3))
    if good.any():
        found[good] = roughness(kernels[good])
    return found


def _first_convolution(root: nn.Module) -> str | None:
    name: str
    for name, each in root.named_modules():
        # Not `each.weight`: to read it may change buffers (spectral normalization) where training is on.
        if isinstance(each, nn.Conv2d | nn.ConvTranspose2d) and not any(
            w.is_complex() for w in each.parameters()
        ):
            return name
    return None


def _keys(net: Network, layers: Any) -> list[LayerKey]:
    """Return the layers asked for as a list, each once, having refused what is none."""
    watch_list(net.core, layers)
    is_one = isinstance(layers, str) or (
        isinstance(layers, tuple) and len(layers) == 2 and not isinstance(layers[1], str | tuple)
    )
    return list(dict.fromkeys([layers] if is_one else layers))


def _no_autocast(net: Network) -> torch.autocast:
    """Return a context without autocast: it would keep weights of this pass for the user's next one."""
    return torch.autocast(net.device.type, enabled=False)


def _pictures(net: Network, x: Tensor) -> NDArray[np.uint8]:
    """Return what the network sees, uint8 [N, H, W, 3]; of unusual channels, their mean from black to white."""
    if net.input.channels in (1, 3):
        return net.restore(x)
    mean = x.detach().cpu().float().mean(dim=1).numpy()
    low, high = mean.min(), mean.max()
    gray = ((mean - low) / max(high - low, 1e-12) * 255).round().astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)
