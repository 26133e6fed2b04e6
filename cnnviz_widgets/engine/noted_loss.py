"""The loss that goes with each step of a training, as its loop tells it."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
from torch import Tensor
from torch._C._autograd import _get_sequence_nr

from cnnviz_widgets.engine.errors import RecorderError

Loss = float | Tensor

_RIGHT = "call note_loss(loss) before optimizer.step(), or in its closure"


class NotedLoss:
    """Holds the loss of the coming step, and that of the step before it. The value of a tensor is not read.

    Attributes
    ----------
    coming
        What was noted last, for the step that comes; NaN if nothing was.
    taken
        What had been noted for the step that was taken last.
    """

    def __init__(self) -> None:
        self.coming: Loss = float("nan")
        self.taken: Loss = float("nan")
        self._steps = self._notes = 0
        self._graphs_before: tuple[int, int] | None = None

    def note(self, loss: Any) -> None:
        """Take note of the loss of the coming step.

        Raises
        ------
        RecorderError
            It was computed before the last step: it is that one's.
        """
        checked = checked_loss(loss)
        if isinstance(loss, Tensor) and loss.grad_fn is not None:
            # Each thread counts the nodes of its graphs, so a node tells whether it is older than a step.
            thread, count = self._graphs_before or (0, 0)
            if thread == threading.get_ident() and loss.grad_fn._sequence_nr() < count:
                raise RecorderError(
                    "this loss was computed before the step that the optimizer has just taken, and would be "
                    f"recorded with the next one; {_RIGHT}"
                )
        elif self._steps == 1 and self._notes == 0:
            warnings.warn(
                "the first loss was noted between the first step and the second, and counts as the second's; if it "
                f"is the first's, {_RIGHT}",
                stacklevel=3,
            )
        self._notes += 1
        self.coming = checked

    def take(self) -> None:
        """Let the loss of the coming step be that of the last one, in a loop whose steps nobody counts."""
        self.taken, self.coming = self.coming, float("nan")

    def step(self) -> None:
        """Take note that the optimizer has taken the coming step."""
        self.take()
        self._steps += 1
        self._graphs_before = threading.get_ident(), _get_sequence_nr()


def checked_loss(loss: Any) -> Loss:
    """Return a loss without its graph, or say why it is none."""
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(
                f"a loss is one number, got a tensor of shape {tuple(loss.shape)}; take its mean"
            )
        return loss.detach()
    if not isinstance(loss, int | float | np.integer | np.floating):
        raise TypeError(f"a loss is a number or a tensor with one, got {type(loss).__name__}")
    return float(loss)
