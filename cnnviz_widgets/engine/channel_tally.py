"""What a layer's channels have answered so far: whole numbers and extremes, which merge exactly."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.exact_sums import add_exactly, no_sum
from cnnviz_widgets.engine.layers import LayerKey, describe, main_tensor

if TYPE_CHECKING:
    from cnnviz_widgets.engine.collector import Batch

# Bins of magnitudes: two an octave from 2**-16 to 2**16, one below and one above.
LOWEST_EXPONENT, HIGHEST_EXPONENT = -16, 16
_MAGNITUDES = 2 * (HIGHEST_EXPONENT - LOWEST_EXPONENT) + 2
BINS = 2 * _MAGNITUDES + 1
# Elements looked at in one go, so that what is worked out in between stays small.
_PIECE = 2**19

_MERGED_BY: dict[str, Callable[[Any, Any], Any]] = {"maximum": np.maximum, "minimum": np.minimum}


# Of floats seen as whole numbers: how many bits follow the first one after the octave, and the bias of the octave.
_BITS = {torch.float32: (torch.int32, 22, 127), torch.float64: (torch.int64, 51, 1023)}


def bin_edges() -> NDArray[np.float64]:
    """Return the edges of the bins of a histogram [BINS + 1], in increasing order, from -inf to inf.

    Magnitudes have two bins an octave: from 2**e to 1.5 * 2**e and from there to 2**(e + 1), for e from -16
    to 15, mirrored for negative values, and one bin each for what is closer to zero and further away. The one in
    the middle, whose two edges are both 0, counts exact zeros. Positive bins hold their lower edge, negative
    bins their upper one (the edge closer to zero).

    >>> edges = bin_edges()
    >>> edges[:3].tolist(), edges[66:69].tolist(), len(edges)
    ([-inf, -65536.0, -49152.0], [0.0, 0.0, 1.52587890625e-05], 134)
    """
    powers = 2.0 ** np.arange(LOWEST_EXPONENT, HIGHEST_EXPONENT)
    positive = np.append(np.stack([powers, 1.5 * powers], axis=1).ravel(), 2.0**HIGHEST_EXPONENT)
    return np.concatenate([[-np.inf], -positive[::-1], [0.0, 0.0], positive, [np.inf]])


def empty_tally(channels: int, extremes: Any = np.float32) -> dict[str, NDArray[Any]]:
    """Return the state before the first image: see `ChannelTally`."""
    return {
        "values": np.zeros(channels, dtype=np.int64),
        "zeros": np.zeros(channels, dtype=np.int64),
        "not_finite": np.zeros(channels, dtype=np.int64),
        "active_images": np.zeros(channels, dtype=np.int64),
        "maximum": np.full(channels, -np.inf, dtype=extremes),
        "minimum": np.full(channels, np.inf, dtype=extremes),
        "histogram": np.zeros((channels, BINS), dtype=np.int64),
        "sums": no_sum(channels),
        "squares": no_sum(channels),
    }


def merged(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the state of two tallies of different images together; the order does not matter, to the bit."""
    return {name: _MERGED_BY.get(name, np.add)(one[name], other[name]) for name in one}


class ChannelTally:
    """Counts what the channels of one layer answer, batch by batch.

    Attributes
    ----------
    arrays
        The state, one entry a channel: numbers of (finite) ``values``, of exact ``zeros`` among them, of
        values that are ``not_finite``, of ``active_images`` (above zero at one position or more),
        ``maximum`` and ``minimum`` (float64 where the layer returns that, else float32), ``histogram``
        [C, BINS] (see `bin_edges`), and the exact ``sums`` of values and of ``squares`` (see `exact_sums`).
        The sums over the positions of an image are rounded to float64 before they are added.
    """

    def __init__(self, layer: LayerKey, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        self._layer = layer
        self.arrays = {} if arrays is None else dict(arrays)

    def add(self, value: Any) -> None:
        """Count what the layer returned for a batch: maps [N, C, H, W] or vectors [N, C].

        Raises
        ------
        OutputError
            Something else, or another number of channels than before.
        """
        tensor = main_tensor(value)
        if tensor.ndim not in (2, 4) or tensor.is_complex():
            raise OutputError(
                f"layer {self._layer!r} returns {describe(tensor)} of {tensor.dtype}; statistics need maps "
                "(images, channels, rows, columns) or vectors (images, channels) of real numbers"
            )
        channels = tensor.shape[1]
        if not self.arrays:
            is_double = tensor.dtype == torch.float64
            self.arrays = empty_tally(channels, np.float64 if is_double else np.float32)
        if channels != len(self.arrays["values"]):
            raise OutputError(
                f"layer {self._layer!r} returns {channels} channels for some images and "
                f"{len(self.arrays['values'])} for others, so there are no statistics by channel"
            )
        maps = tensor.detach().reshape(len(tensor), channels, -1)
        if maps.numel():
            pieces = maps.split(max(1, _PIECE // maps[0].numel()))
            sums, squares = zip(*(self._add_piece(each.cpu().contiguous()) for each in pieces), strict=True)
            add_exactly(self.arrays["sums"], torch.cat(sums).numpy())
            add_exactly(self.arrays["squares"], torch.cat(squares).numpy())

    def _add_piece(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Count maps [N, C, P]; return the sums of their values and squares, float64 [N, C]."""
        numbers = maps if maps.dtype in _BITS else maps.float()
        highest, lowest = numbers.amax(2), numbers.amin(2)
        zeros = _count(maps == 0)
        stand_ins = np.zeros_like(zeros)
        active = (highest if numbers is maps else maps.amax(2)) > 0
        if not bool((highest.isfinite() & lowest.isfinite()).all()):
            odd = ~numbers.isfinite()
            stand_ins = _count(odd)
            active = (maps > 0).any(2)  # an infinity is above zero; a NaN is not
            highest = numbers.masked_fill(odd, -torch.inf).amax(2)
            lowest = numbers.masked_fill(odd, torch.inf).amin(2)
            numbers = numbers.masked_fill(odd, 0.0)
        state = self.arrays
        state["values"] += len(maps) * maps.shape[2] - stand_ins
        state["zeros"] += zeros
        state["not_finite"] += stand_ins
        state["active_images"] += active.sum(0).numpy()
        np.maximum(state["maximum"], highest.amax(0).numpy(), out=state["maximum"])
        np.minimum(state["minimum"], lowest.amin(0).numpy(), out=state["minimum"])
        state["histogram"] += _histogram(numbers, zeros, stand_ins, signed=bool((lowest < 0).any()))
        exact = numbers.double()
        sums = exact.sum(2)
        squares = exact.square() if exact is numbers else exact.square_()  # doubles are the layer's own
        return sums, squares.sum(2)


class TallyCollector:
    """A `Collector` of one `ChannelTally` for each call of each layer asked for.

    Attributes
    ----------
    layers
        The layers, as they were asked for.
    tallies
        By key: a layer's name, or (name, call) for each call of a layer that is called more than once.
    """

    def __init__(self, layers: Sequence[LayerKey]) -> None:
        self.layers = tuple(layers)
        self.tallies: dict[LayerKey, ChannelTally] = {}

    def collect(self, batch: Batch) -> None:
        """Count what the layers returned for a batch; see `ChannelTally.add` for what is refused."""
        # A layer may be asked for by its name and by a call of it.
        values = {key: value for layer in self.layers for key, value in batch.of(layer).items()}
        for key, value in values.items():
            self.tallies.setdefault(key, ChannelTally(key)).add(value)

    def fresh(self) -> Self:
        """Return one that has counted nothing yet."""
        return type(self)(self.layers)

    def merge(self, other: Self) -> None:
        """Take in what another one has counted on other images."""
        for key, tally in other.tallies.items():
            mine = self.tallies.get(key)
            arrays = merged(mine.arrays, tally.arrays) if mine else tally.arrays
            self.tallies[key] = ChannelTally(key, arrays)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all counts, each under a name such as ``'zeros "conv"'`` or ``'zeros ["relu", 1]'``."""
        return {
            array_name(name, key): array
            for key, tally in self.tallies.items()
            for name, array in tally.arrays.items()
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over counts that `arrays` returned."""
        self.tallies = {}
        for text, array in arrays.items():
            name, key = named_array(text)
            self.tallies.setdefault(key, ChannelTally(key)).arrays[name] = array.copy()


def array_name(name: str, layer: LayerKey) -> str:
    """Return the name of an array of a layer, such as ``'zeros ["relu", 1]'``."""
    return f"{name} {json.dumps(layer)}"


def named_array(text: str) -> tuple[str, LayerKey]:
    """Return what `array_name` was given.

    >>> named_array(array_name("zeros", ("relu", 1)))
    ('zeros', ('relu', 1))
    """
    name, _, layer = text.partition(" ")
    read = json.loads(layer)
    return name, read if isinstance(read, str) else (read[0], read[1])


def _count(mask: Tensor) -> NDArray[np.int64]:
    """Return how often a mask [N, C, P] is true, by channel."""
    # Floats are added much faster than booleans.
    exact = torch.float32 if mask.shape[2] < 2**24 else torch.float64
    return mask.to(exact).sum(2).double().sum(0).long().numpy()


def _histogram(
    numbers: Tensor, zeros: NDArray[np.int64], stand_ins: NDArray[np.int64], *, signed: bool
) -> NDArray[np.int64]:
    """Return how many of the numbers [N, C, P] are in each bin [C, BINS]; stand-ins are zeros, too."""
    channels = numbers.shape[1]
    # The first bits of a float are its sign, its exponent and whether it is in the upper half of its octave.
    # (Adding zero takes the sign off negative zeros.)
    kind, shift, bias = _BITS[numbers.dtype]
    below = 2 * (bias + LOWEST_EXPONENT) - 1
    codes = ((numbers + 0.0) if signed else numbers).view(kind) >> shift
    width = 2 * _MAGNITUDES if signed else _MAGNITUDES
    if signed:
        negative = (codes < 0).to(kind)
        codes &= 4 * bias + 3  # all but the sign
    codes.clamp_(below, below + _MAGNITUDES - 1).sub_(below)
    if signed:
        codes += negative.mul_(_MAGNITUDES)
    codes += (torch.arange(channels, dtype=torch.int32) * width)[:, None]
    counts = torch.bincount(codes.flatten(), minlength=channels * width).view(channels, width).numpy()
    found = np.zeros((channels, BINS), dtype=np.int64)
    found[:, _MAGNITUDES + 1 :] = counts[:, :_MAGNITUDES]
    found[:, _MAGNITUDES + 1] -= zeros + stand_ins
    found[:, _MAGNITUDES] = zeros
    if signed:
        found[:, :_MAGNITUDES] = counts[:, _MAGNITUDES:][:, ::-1]
    return found
