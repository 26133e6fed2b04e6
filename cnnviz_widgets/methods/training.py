"""How a network changes while it trains: its kernels, its activations, and the sizes of its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.results import Result

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
    dead
        For each layer the share of its channels that are nowhere above zero on any of the ``image_count``
        images [S], float64, in [0, 1]. Such a channel may still answer to other images. NaN as above.
    weight_norms, gradient_norms, update_norms
        For each parameter, by name, L2 norms [S], float64: of its values, of its gradient as the optimizer
        used it, and of what this one step has changed. NaN where there is none: at the start, in a record
        made by hand or at the end, and for checkpoints.
    images
        The pictures whose maps are kept, as the network sees them, uint8 [N, H, W, 3].
    image_count
        How many images ``sparsity`` and ``dead`` are about: at least N.
    kernels_layer
        Name of the convolution whose kernels are kept, ``None`` where there is none.
    parameters
        The options used.
    """

    steps: NDArray[np.int64]
    loss: FloatArray
    kernels: NDArray[np.float32]
    roughness: FloatArray
    activations: dict[LayerKey, NDArray[np.float16]]
    sparsity: dict[LayerKey, FloatArray]
    dead: dict[LayerKey, FloatArray]
    weight_norms: dict[str, FloatArray]
    gradient_norms: dict[str, FloatArray]
    update_norms: dict[str, FloatArray]
    images: NDArray[np.uint8]
    image_count: int
    kernels_layer: str | None
    parameters: dict[str, Any]

    @property
    def layers(self) -> tuple[LayerKey, ...]:
        """The layers whose activations were recorded."""
        return tuple(self.sparsity)

    def __len__(self) -> int:
        return len(self.steps)
