"""Deletion and insertion: which map to believe, measured on the network itself."""

from __future__ import annotations

import html
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.attribution_maps import map_of
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.fills import Fill, checked_fill, filled
from cnnviz_widgets.engine.input_gradients import one_image, target_values
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.targets import Target, TargetLike, as_target
from cnnviz_widgets.engine.whole_numbers import checked_whole

CHANCE = "chance"

_NOISE = 0.01  # of the largest answer: a smaller difference between areas tells nothing
_MOST = 0.75


@dataclass(frozen=True, eq=False)
class Faithfulness(Result):
    """How fast the answer goes, and comes back, with the pixels that a map calls important.

    Rows stand for the maps, in the order they were given; the last one is chance, pixels in random order.

    Attributes
    ----------
    names
        The maps' names [M], the last of them ``"chance"``.
    fractions
        Which share of the pixels is deleted, or inserted [S + 1], from 0 to 1.
    deletion
        The target's value with these pixels deleted, the most important first [M, S + 1], float32.
    insertion
        The target's value with these pixels, the most important first, inserted into the empty image [M, S + 1].
    target
        The target, as text.
    deletion_fill, insertion_fill
        What is put in place of deleted pixels, and what pixels are inserted into.
    seed
        Of the random order.
    """

    names: tuple[str, ...]
    fractions: NDArray[np.float32]
    deletion: NDArray[np.float32]
    insertion: NDArray[np.float32]
    target: str
    deletion_fill: Fill
    insertion_fill: Fill
    seed: int

    @property
    def deletion_area(self) -> NDArray[np.float64]:
        """The area under each deletion curve [M], by trapezoids: the smaller, the better the map."""
        return _area(self.deletion, self.fractions)

    @property
    def insertion_area(self) -> NDArray[np.float64]:
        """The area under each insertion curve [M], by trapezoids: the larger, the better the map."""
        return _area(self.insertion, self.fractions)

    def best(self, kind: str) -> str | None:
        """Return which map does best by ``"deletion"`` or by ``"insertion"``; ``None``: none is better than chance.

        A difference below 1 % of the largest answer on the curves counts as none.
        """
        areas, row = self._losses(kind)
        noise = _NOISE * float(np.abs(getattr(self, kind)).max())
        return self.names[row] if areas[-1] - areas[row] > noise else None

    def _losses(self, kind: str) -> tuple[NDArray[np.float64], int]:
        """Return areas of which the smaller is the better one, and the row of the best map."""
        if kind not in ("deletion", "insertion"):
            raise ValueError(f"kind is 'deletion' or 'insertion'; got {kind!r}")
        areas = self.deletion_area if kind == "deletion" else -self.insertion_area
        return areas, int(areas[:-1].argmin())

    @property
    def message(self) -> str:
        """Which maps do best, beside pixels in random order, in words."""
        return f"{self._said('deletion')} {self._said('insertion')}"

    def _said(self, kind: str) -> str:
        row = self._losses(kind)[1]
        found = self.deletion_area if kind == "deletion" else self.insertion_area
        areas = f"area {found[row]:.3g}, by chance {found[-1]:.3g}"
        if self.best(kind) is not None:
            how = "goes fastest without" if kind == "deletion" else "comes back fastest with"
            return f"The answer {how} the pixels that {self.names[row]} calls important ({areas})."
        said = f"By {kind} no map is better than pixels in random order ({areas})"
        curve = self.deletion[-1]
        if kind == "deletion" and curve[0] - curve[1] > _MOST * (curve[0] - curve.min()) > 0:
            said += ": these take most of the answer away in the first step, so take more steps"
        return said + "."

    def __str__(self) -> str:
        width = max(len(name) for name in self.names)
        lines = [f"{'':{width}}  deletion  insertion"]
        for name, lost, won in zip(self.names, self.deletion_area, self.insertion_area, strict=True):
            lines.append(f"{name:{width}}  {lost:8.4g}  {won:9.4g}")
        return "\n".join(
            [
                *lines,
                "(areas; a good map has a small one for deletion and a large one for insertion)",
                self.message,
            ]
        )

    def _repr_html_(self) -> str:
        """Return the areas as a notebook shows them for the bare result; names are text, whatever is in them."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def __repr__(self) -> str:
        return f"Faithfulness({self.target}, maps {self.names}, {len(self.fractions) - 1} steps)"


@streamed
def faithfulness(
    net: Network,
    image: Images,
    target: TargetLike,
    maps: Mapping[str, Any] | Any,
    *,
    steps: int = 32,
    deletion_fill: Fill = 0.0,
    insertion_fill: Fill = "blur",
    seed: int = 0,
    batch_size: int = 16,
) -> Generator[Step, None, Faithfulness]:
    """See which of several maps to believe: how fast the answer goes with the pixels that each calls important.

    *Deletion* takes pixels away from the image, the most important first, and *insertion* adds them to an
    empty one; after each step the network is asked again [1]_. If a map is right, few pixels make a great
    difference: the area under its deletion curve is small, that under its insertion curve is large. A random order
    goes along for comparison. Equal pixels are ordered row by row.

    The two need not agree. Coarse maps, as of `grad_cam` and `occlusion`, delete whole regions, of which a network may
    make do with the rest; fine ones delete scattered pixels, which disturb it wherever they are. So by deletion compare
    maps that are alike, and mind chance.

    Parameters
    ----------
    net
        The network.
    image
        One image, in any form that `InputSpec.prepare` takes.
    target
        A class label or index, whose probability is meant, or a `Target`: that value.
    maps
        A map, or several by name. Each is an array [H, W] of the size of the network's input, or a result with such
        a ``heatmap``. Larger values are more important; negative ones come last.
    steps
        In how many steps, of equal numbers of pixels.
    deletion_fill, insertion_fill
        What stands in for pixels that are not there: a number in the network's input space (0.0: the mean color of
        a normalized input), one for each channel, ``"black"``, ``"gray"``, ``"blur"`` or ``"noise"``. A plain color
        makes speckled images, which no network knows: by deletion all fine maps then look good, and so does chance;
        ``"blur"`` tells more.
    seed
        Of the random order, and of noise.
    batch_size
        How many images go through the network at once.

    Returns
    -------
    Faithfulness
        The curves ``deletion`` and ``insertion`` [M, steps + 1], and the areas under them.

    Raises
    ------
    LabelNotFoundError, LayerNotFoundError, TargetError
        No such class (with the nearest names), layer or unit.
    InputError
        A map of another size, with NaN in it, or one that is constant, which gives no order.

    References
    ----------
    .. [1] Petsiuk, Das and Saenko, "RISE: randomized input sampling for explanation of black-box models", BMVC 2018.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    >>> shown = cv.integrated_gradients(net, image, "Ankle boot", baseline="black")
    >>> found = cv.faithfulness(net, image, "Ankle boot", {"integrated": shown}, deletion_fill="black")
    >>> bool(found.deletion_area[0] < found.deletion_area[1])
    True
    """
    check_network(net, "faithfulness")
    count = checked_whole("steps", steps)
    size = checked_whole("batch_size", batch_size)
    number = checked_whole("seed", seed, least=0)
    deletion_fill = checked_fill("deletion_fill", deletion_fill)
    insertion_fill = checked_fill("insertion_fill", insertion_fill)
    what = (
        as_target(target)
        if callable(target) or isinstance(target, Target)
        else Target(target, of="probability")
    )
    x = one_image(net, image, "faithfulness")
    height, width = x.shape[2:]
    if count > height * width:
        raise ValueError(f"steps={count} is more than the image has pixels: {height * width}")
    named = maps if isinstance(maps, Mapping) else {"map": maps}
    orders = _orders(named, (height, width), number)
    fills = [filled(net, x, each, seed=number) for each in (deletion_fill, insertion_fill)]
    ends = [round(index * height * width / count) for index in range(count + 1)]
    curves = np.zeros((2, len(orders), count + 1), np.float32)
    # Row by row: a map's deletion, its insertion, those of the next map.
    jobs = [(kind, row, step) for row in range(len(orders)) for kind in (0, 1) for step in range(count + 1)]
    batches = [jobs[start : start + size] for start in range(0, len(jobs), size)]
    for index, batch in enumerate(batches):
        images = [_altered(x, fills[kind], orders[row], ends[step], kind) for kind, row, step in batch]
        values = target_values(net, torch.cat(images), what).float().cpu().numpy()
        for place, value in zip(batch, values, strict=True):
            curves[place] = value
        yield Step(index, len(batches))
    return Faithfulness(
        names=(*named, CHANCE),
        fractions=(np.array(ends) / (height * width)).astype(np.float32),
        deletion=curves[0],
        insertion=curves[1],
        target=what.text,
        deletion_fill=deletion_fill,
        insertion_fill=insertion_fill,
        seed=number,
    )


def _orders(maps: Mapping[str, Any], size: tuple[int, int], seed: int) -> list[Tensor]:
    """Return, for each map and for chance, at which place in the order each pixel comes [H, W]."""
    if not maps or not all(isinstance(name, str) for name in maps) or CHANCE in maps:
        raise InputError(
            f"maps is a map, or maps by their names (text, and not {CHANCE!r}, which is added); got {list(maps)}"
        )
    found = []
    for name, each in maps.items():
        values = map_of(each, f"maps[{name!r}]", size)
        if values.min() == values.max():
            raise InputError(
                f"maps[{name!r}] is constant at {values.flat[0]:.4g}, which gives pixels no order"
            )
        found.append(np.argsort(-values.ravel(), kind="stable"))
    found.append(np.random.default_rng(seed).permutation(size[0] * size[1]))
    places = [np.empty_like(order) for order in found]
    for place, order in zip(places, found, strict=True):
        place[order] = np.arange(len(order))
    return [torch.from_numpy(place.reshape(size)) for place in places]


def _altered(x: Tensor, fill: Tensor, order: Tensor, end: int, kind: int) -> Tensor:
    """Return the image [1, C, H, W] without its first pixels (kind 0), or the fill with them (kind 1)."""
    first = (order < end).to(x.device)
    return torch.where(first, fill, x) if kind == 0 else torch.where(first, x, fill)


def _area(curves: NDArray[np.float32], fractions: NDArray[np.float32]) -> NDArray[np.float64]:
    widths = np.diff(fractions.astype(np.float64))
    middles = (curves[:, 1:].astype(np.float64) + curves[:, :-1]) / 2
    area: NDArray[np.float64] = (middles * widths).sum(axis=1)
    return area
