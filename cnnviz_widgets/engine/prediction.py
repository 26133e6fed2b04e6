"""The most probable classes of an image."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.results import Result


@dataclass(frozen=True, eq=False)
class Prediction(Result):
    """The most probable classes of one image, best first.

    Attributes
    ----------
    indices
        Class indices [k], int64.
    labels
        Their names, as text.
    probabilities
        Their probabilities [k], float32, summing to at most 1.
    """

    indices: NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]

    def __str__(self) -> str:
        lines = zip(self.labels, self.probabilities, strict=True)
        return "\n".join(f"{probability:6.1%}  {label}" for label, probability in lines)

    def _repr_html_(self) -> str:
        """Return the list that a notebook shows for the bare result; labels are text, whatever is in them."""
        return f"<pre>{html.escape(str(self))}</pre>"
