"""What the methods return that make a picture from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.coarse_to_fine import Descent, Settings
from cnnviz_widgets.engine.results import Result


@dataclass(frozen=True, eq=False)
class ScaledPicture(Result):
    """A picture made from coarse to fine, so that losses became small.

    Attributes
    ----------
    image
        The picture, uint8 [H, W, 3]; [0, 0, 3] where the network's channels make no picture.
    x
        What was optimized, in the network's numbers [C, H, W], float32.
    losses
        By name: the loss before each step [steps], float32, times its weight, at the scale at which the step was taken.
    sizes
        Rows and columns of each scale, from coarse to fine.
    steps
        How many steps were taken, at all scales together.
    planned_steps
        The option ``steps``, of which each scale had an even share: see `steps_by_scale`.
    optimizer, rate, parameterization, pooling, seed
        As they were given.
    ended
        Why before the last step, in words; empty if it was not.
    """

    image: NDArray[np.uint8]
    x: NDArray[np.float32]
    losses: dict[str, NDArray[np.float32]]
    sizes: tuple[tuple[int, int], ...]
    steps: int
    planned_steps: int
    optimizer: str
    rate: float | None
    parameterization: str
    pooling: str
    seed: int
    ended: str

    @property
    def loss(self) -> NDArray[np.float32]:
        """What was minimized, before each step [steps]: the sum of the losses."""
        total: NDArray[np.float32] = np.sum(list(self.losses.values()), axis=0)
        return total


def shared_fields(
    found: Descent,
    settings: Settings,
    sizes: Sequence[tuple[int, int]],
    picture: Callable[[Tensor], NDArray[np.uint8]],
) -> dict[str, Any]:
    """Return the values of the fields of a `ScaledPicture`; ``picture`` makes one of prepared numbers."""
    return {
        "image": picture(found.x),
        "x": found.x[0].float().cpu().numpy(),
        "losses": found.losses,
        "sizes": tuple(sizes),
        "steps": found.steps,
        "planned_steps": settings.steps,
        "optimizer": settings.optimizer,
        "rate": settings.rate,
        "parameterization": settings.parameterization,
        "pooling": settings.pooling,
        "seed": settings.seed,
        "ended": found.ended,
    }
