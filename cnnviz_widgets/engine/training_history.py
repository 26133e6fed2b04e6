"""What became of a network while it trained: the records of a recorder or of checkpoints, side by side."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.by_layer import ByLayer
from cnnviz_widgets.engine.history_header import Arrays, HistoryHeader, schema_of
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.training_probe import TrainingProbe, norms

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingHistory(Result):
    """What became of a network while it trained: S records, one for each of ``steps``, in their order.

    A record shows the network after so many steps of the optimizer: 0 is the start. Layers are named as
    everywhere: by dotted name, or ``(name, call)`` where a module is called more than once.

    Attributes
    ----------
    steps
        Steps taken by the time of each record [S], int64, rising.
    loss
        The loss that was noted for each of them [S], float64; NaN where none was.
    kernels
        Those of ``kernels_layer`` [S, O, I, kH, kW], float32; [S, 0, 0, 0, 0] where there is no such layer.
        They may hold NaN or infinity: a training that diverges is recorded as it is.
    roughness
        Of each kernel [S, O], float64, 0 is flat: `cnnviz_widgets.engine.roughness.roughness`. NaN for 1x1
        kernels and for those of zeros, NaN or infinity.
    activations
        For each layer the maps of ``images`` [S, N, C, H, W], float16 (clipped to its range); H and W are 1
        for layers without maps. Of large layers the first channels alone are kept, so C may be smaller than
        the layer's. Empty where no images were given.
    sparsity
        For each layer the share of its values that are exactly zero [S], float64, in [0, 1], over all
        ``image_count`` images. NaN where the layer returned a NaN.
    dead_channels
        For each layer whether each of its channels is exactly zero, everywhere on all ``image_count`` images
        [S, C], bool: at which step it died, and whether it came back. Of all channels, also where ``activations``
        keeps the first ones alone. Such a channel may still answer to other images. A channel that is never
        above zero without being zero (leaky ReLU, GELU) is not dead: gradients pass through it. False where
        the channel returned a NaN.
    weight_norms, gradient_norms, update_norms
        For each parameter, by name, L2 norms [S], float64: of its values, of its gradient as the optimizer
        used it, and of what this one step has changed. Gradients and updates are NaN at the start, at the
        end (unless that step was to be recorded anyway), for checkpoints, and for parameters that are not
        trained; a record made by hand has the gradient there is at that moment, but no update.
    images
        The pictures whose maps are kept, as the network sees them, uint8 [N, H, W, 3].
    image_count
        How many images ``sparsity`` and ``dead_channels`` are about: at least N.
    kernels_layer
        Name of the convolution whose kernels are kept, ``None`` where there is none.
    parameters
        The options used.
    """

    steps: NDArray[np.int64]
    loss: FloatArray
    kernels: NDArray[np.float32]
    roughness: FloatArray
    activations: ByLayer[NDArray[np.float16]]
    sparsity: ByLayer[FloatArray]
    dead_channels: ByLayer[NDArray[np.bool_]]
    weight_norms: dict[str, FloatArray]
    gradient_norms: dict[str, FloatArray]
    update_norms: dict[str, FloatArray]
    images: NDArray[np.uint8]
    image_count: int
    kernels_layer: str | None
    parameters: dict[str, Any]

    @property
    def dead(self) -> ByLayer[FloatArray]:
        """For each layer the share of its channels that are dead [S], float64; NaN where it returned a NaN."""
        return ByLayer(
            {
                key: np.where(np.isnan(self.sparsity[key]), np.nan, each.mean(axis=1))
                for key, each in self.dead_channels.items()
            }
        )

    @property
    def layers(self) -> tuple[LayerKey, ...]:
        """The layers whose activations were recorded."""
        return tuple(self.sparsity)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        if not len(self):
            return "TrainingHistory(no records yet)"
        parts = [f"{len(self)} records of steps {self.steps[0]} to {self.steps[-1]}"]
        if self.kernels_layer is not None:
            count, channels, height, width = self.kernels.shape[1:]
            parts.append(f"{count} kernels of {channels}x{height}x{width} of {self.kernels_layer!r}")
        if self.layers:
            shown = ", ".join(map(repr, self.layers[:4])) + (" ..." if len(self.layers) > 4 else "")
            parts.append(
                f"{len(self.layers)} layers on {self.image_count} images, {len(self.images)} with maps: {shown}"
            )
        noted = self.loss[~np.isnan(self.loss)]
        parts.append(f"loss {noted[0]:.3g} to {noted[-1]:.3g}" if len(noted) else "no loss noted")
        return f"TrainingHistory({'; '.join(parts)})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows for the bare result; names are text, whatever is in them."""
        return f"<pre>{html.escape(str(self))}</pre>"


def take_record(
    probe: TrainingProbe,
    step: int,
    *,
    loss: float | Tensor = float("nan"),
    before: dict[str, Tensor] | None = None,
    gradients: bool = False,
) -> Arrays:
    """Return one record of a training; the weights before the step give the size of the update."""
    named = dict(probe.net.core.named_parameters())
    earlier = before or {}
    with torch.no_grad():
        updates = [each - earlier[name] if name in earlier else None for name, each in named.items()]
        sizes = norms(updates)
    return {
        "step": np.array(step, np.int64),
        "loss": np.array(float(loss), np.float64),
        "gradient_norms": norms([each.grad if gradients else None for each in named.values()]),
        "update_norms": sizes,
        **probe.measure(),
    }


def header_of(probe: TrainingProbe, record: Arrays, options: dict[str, Any]) -> HistoryHeader:
    """Return what this record and all that follow have in common."""
    named = probe.net.core.named_parameters()
    return HistoryHeader(
        module=type(probe.net.core).__name__,
        shapes={name: list(each.shape) for name, each in named},
        layers=list(probe.layers),
        kernels_layer=probe.kernels_layer,
        image_count=probe.image_count,
        digest=probe.digest,
        pictures=(probe.pictures.dtype.str, probe.pictures.shape),
        schema=schema_of(record),
        options=options,
    )


def history_of(header: HistoryHeader, pictures: NDArray[np.uint8], records: list[Arrays]) -> TrainingHistory:
    """Return the records side by side."""

    def all_of(name: str) -> NDArray[Any]:
        kind, shape = header.schema[name]
        found = np.empty((len(records), *shape), kind)
        for index, record in enumerate(records):
            found[index] = record[name]
        return found

    def by_parameter(name: str) -> dict[str, FloatArray]:
        return dict(zip(header.shapes, np.ascontiguousarray(all_of(name).T), strict=True))

    def by_layer(name: str) -> dict[LayerKey, NDArray[Any]]:
        return {key: all_of(f"{name}{index}") for index, key in enumerate(header.layers)}

    zeros = np.ascontiguousarray(all_of("sparsity").T) if header.layers else ()
    return TrainingHistory(
        steps=all_of("step"),
        loss=all_of("loss"),
        kernels=all_of("kernels"),
        roughness=all_of("roughness"),
        activations=ByLayer(by_layer("maps")),
        sparsity=ByLayer(dict(zip(header.layers, zeros, strict=True))),
        dead_channels=ByLayer({key: each.astype(bool) for key, each in by_layer("dead").items()}),
        weight_norms=by_parameter("weight_norms"),
        gradient_norms=by_parameter("gradient_norms"),
        update_norms=by_parameter("update_norms"),
        images=pictures,
        image_count=header.image_count,
        kernels_layer=header.kernels_layer,
        parameters=dict(header.options),
    )
