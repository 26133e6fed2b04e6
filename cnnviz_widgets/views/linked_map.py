"""The points of an embedding map at other places: two embeddings of the same images, side by side."""

from __future__ import annotations

from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from cnnviz_widgets.views._bundle import bundle
from cnnviz_widgets.views._described import Bundle, described
from cnnviz_widgets.views._map_data import check_points
from cnnviz_widgets.views._moving_points import MovingPoints
from cnnviz_widgets.views.embedding_map import EmbeddingMap


class LinkedMap(MovingPoints, anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """See the points of another map once more, elsewhere: what is selected or found in one is so in both.

    It has only places of its own. Classes, thumbnails and colors, the selection, the current point and the
    search are those of the other map, which travel and are saved once; what is done in either is done in both,
    in the page alone. Where the other map is given other points (`set_data`), give this one their places with
    `set_points`; it shows none as long as it has not as many.

    Parameters
    ----------
    map : EmbeddingMap
        The other map. Set and observe `selected`, `current`, `color_by` and `query` there.
    points : array [N, 2]
        As many as the other map has, in the same order.
    height : int
        Of this map in CSS pixels.
    layout : ipywidgets.Layout or dict, optional

    Raises
    ------
    TypeError, ValueError
        Where the points are none, or not as many.

    Examples
    --------
    >>> chart = EmbeddingMap([[0, 0], [1, 1]], labels=["cat", "dog"])
    >>> LinkedMap(chart, [[5, 2], [3, 3]]).to_text()
    'LinkedMap: 2 points, 2 classes, colored by label'
    """

    _esm = bundle("linked_map")

    map = traitlets.Instance(EmbeddingMap).tag(sync=True, **ipywidgets.widget_serialization)

    def __init__(
        self,
        map: EmbeddingMap,
        points: ArrayLike,
        *,
        height: int = 460,
        layout: ipywidgets.Layout | dict[str, Any] | None = None,
    ) -> None:
        if not isinstance(map, EmbeddingMap):
            raise TypeError(f"a linked map goes along with an EmbeddingMap; got {type(map).__name__}")
        places = check_points(points, map.count).astype("<f4").tobytes()
        options = {} if layout is None else {"layout": layout}
        super().__init__(map=map, _points=places, height=height, **options)

    @property
    def count(self) -> int:
        """The number of points: that of the other map."""
        return self.map.count

    @property
    def points(self) -> NDArray[np.float32]:
        """Where the points are, float32 [N, 2]: a copy; [0, 2] where the other map was given more or fewer."""
        found = super().points
        return found if len(found) == self.count else found[:0]

    def to_png(self) -> bytes:
        """Return a picture of the whole map with its legend."""
        return self.map.picture_of(self.points)

    def to_text(self) -> str:
        """Return what there is to see in one line, for viewers that show no pictures."""
        return self.map.to_text().replace("EmbeddingMap", "LinkedMap", 1)

    def _repr_mimebundle_(self, **options: Any) -> Bundle:
        return described(super()._repr_mimebundle_(**options), self.to_text, self.to_png)
