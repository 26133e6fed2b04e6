"""Convolution kernels: what they look like, and whether that is more than noise."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.duplicates import DuplicateGroup, duplicate_threshold, find_duplicates
from cnnviz_widgets.engine.layers import LayerKey, split_key
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.roughness import shuffle_test
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.verdicts import (
    VERDICTS,
    LayerVerdict,
    Thresholds,
    Verdict,
    all_but_zero,
    judge_kernels,
    judge_layer,
)
from cnnviz_widgets.engine.weights import find_convolution, read_kernels
from cnnviz_widgets.engine.whole_numbers import checked_whole

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kernels(Result):
    """The kernels of one layer with what can be said of them; shows itself as a picture of all.

    First-layer kernels of color networks are shown in color, others as signed maps around zero, 1x1 ones as a
    matrix, and layers too large for that by the norms of their maps. Arrays [O] have one value a kernel.

    Attributes
    ----------
    weights
        Kernels [O, I, kH, kW], float32; with groups, I counts the channels of one group.
    roughness
        [O] float64, 0 is flat: `cnnviz_widgets.engine.roughness.roughness`. NaN for 1x1 and for zeros.
    high_frequency, incoherence
        The two parts of it [O]: share of fine detail, and disagreement of input channels.
    percentile
        Where each kernel's roughness stands among its shuffles [O], in percent; uniform for noise.
    shuffled_roughness
        Mean roughness of each kernel's shuffles [O].
    frequency_ratio
        ``high_frequency`` in units of the mean of its shuffles [O].
    verdicts
        ``"smooth"``, ``"mixed"``, ``"noisy"``, ``"zero"`` or ``"cannot tell"`` for each kernel.
    reasons
        A sentence with the evidence for each of them.
    duplicates
        Groups of near-duplicates: members, what turns the first into each, and their cosines.
    duplicate_threshold
        The absolute cosine above which kernels count as near-duplicates; 1 means that none could.
    layer_verdict
        ``"structured"``, ``"like noise"`` or ``"cannot tell"`` for all kernels together.
    layer_p_value
        How probable it is that noise is as smooth; NaN where nothing can be told.
    layer_reason
        A sentence with the evidence.
    layer, groups
        The layer's name and its number of groups.
    in_color
        Whether the three input channels are those of the image.
    thresholds, min_similarity, max_chance, shuffles, seed
        The options used, those that part verdicts in one dictionary.
    """

    weights: NDArray[np.float32]
    roughness: FloatArray
    high_frequency: FloatArray
    incoherence: FloatArray
    percentile: FloatArray
    shuffled_roughness: FloatArray
    frequency_ratio: FloatArray
    verdicts: tuple[Verdict, ...]
    reasons: tuple[str, ...]
    duplicates: tuple[DuplicateGroup, ...]
    duplicate_threshold: float
    layer_verdict: LayerVerdict
    layer_p_value: float
    layer_reason: str
    layer: str
    groups: int
    in_color: bool
    thresholds: dict[str, float]
    min_similarity: float
    max_chance: float
    shuffles: int
    seed: int

    @property
    def norms(self) -> FloatArray:
        """How strongly each kernel reads each input channel: L2 norms of the maps [O, I]."""
        norms: FloatArray = np.sqrt(np.square(self.weights.astype(np.float64)).sum(axis=(2, 3)))
        return norms

    @property
    def matrix(self) -> NDArray[np.float32]:
        """The weights of a layer of 1x1 kernels as a matrix [O, I]; a `ValueError` for others."""
        if self.weights.shape[2:] != (1, 1):
            height, width = self.weights.shape[2:]
            raise ValueError(
                f"layer {self.layer!r} has kernels of {height}x{width}; only those of 1x1 are a matrix "
                "(norms is one for all, by_input gives maps)"
            )
        return self.weights[:, :, 0, 0]

    def readers(self, channel: int) -> NDArray[np.int64]:
        """Return which kernels read an input channel of the layer: all, or those of its group."""
        count, per_group = self.weights.shape[:2]
        index = _index("input channel", channel, per_group * self.groups)
        size = count // self.groups
        first = index // per_group * size
        return np.arange(first, first + size)

    def by_input(self, channel: int) -> NDArray[np.float32]:
        """Return what each kernel that reads an input channel looks for in it: maps [readers, kH, kW].

        Channels count over the whole layer, from 0 to I * groups - 1; `readers` tells which kernels these are.
        """
        maps: NDArray[np.float32] = self.weights[self.readers(channel), channel % self.weights.shape[1]]
        return maps

    def colors(self, *, limit: float | None = None) -> NDArray[np.uint8]:
        """See kernels of three input channels in color, uint8 [O, kH, kW, 3].

        Gray is zero, one scale for all: ``0.5 + weight / (2 * limit)`` of each channel, with the largest
        absolute weight for ``limit`` if left out. The channels are taken for red, green and blue in this
        order, as the network takes its image; weights are shown as they are, not divided by the deviations
        that an image was normalized with.
        """
        from cnnviz_widgets.render.kernels import color_kernels

        if self.weights.shape[1] != 3:
            raise ValueError(
                f"only kernels of 3 input channels have colors; those of {self.layer!r} have "
                f"{self.weights.shape[1]} (use by_input or norms)"
            )
        return color_kernels(self.weights, limit=limit)

    def picture(self) -> NDArray[np.uint8]:
        """See all kernels at once, as the bare result shows them: uint8 [H, W, 3]."""
        from cnnviz_widgets.render.kernels import kernel_picture

        return kernel_picture(self.weights, in_color=self.in_color)

    def _repr_png_(self) -> bytes:
        """Return the picture that a notebook shows for the bare result."""
        from cnnviz_widgets.render.encode import png

        return png(self.picture(), max_bytes=600_000)

    def __repr__(self) -> str:
        count, channels, height, width = self.weights.shape
        found = Counter(self.verdicts)
        verdicts = ", ".join(f"{found[each]} {each}" for each in VERDICTS if found[each])
        return (
            f"Kernels(layer={self.layer!r}, {count} of {channels}x{height}x{width}: {verdicts}; "
            f"together {self.layer_verdict}; {len(self.duplicates)} groups of near-duplicates)"
        )


def kernels(
    net: Network,
    layer: LayerKey,
    *,
    shuffles: int = 199,
    seed: int = 0,
    min_similarity: float = 0.9,
    max_chance: float = 0.05,
    smooth_percentile: float = 2.0,
    noisy_percentile: float = 10.0,
    smooth_ratio: float = 0.9,
    min_entries: int = 25,
    flat_share: float = 0.9,
    zero_below: float = 0.01,
    layer_level: float = 0.01,
    min_layer_entries: int = 100,
) -> Kernels:
    r"""See the kernels of a convolution, and for each whether it is smooth, mixed or noise, and by what evidence.

    **Roughness** is the share of a kernel's energy in high spatial frequencies (DCT-II, weighted from 0 for the
    mean to 1 for the highest), averaged with the incoherence of its input channels,
    :math:`1 - \sum_j p_j^2` over the energy shares :math:`p_j` of its singular components. A kernel's
    ``percentile`` is where it stands among shuffles of its own entries, so it depends neither on scale nor on
    the distribution of weights; for noise it is uniform. Verdicts:

    - *smooth*: percentile up to 2, and at most 0.9 times the high-frequency share of its shuffles;
    - *mixed*: ordered but not smooth (fine stripes, a single dot), or between the percentiles 2 and 10;
    - *noisy*: above the percentile 10: its entries could as well stand in any order;
    - *zero*: a norm of at most 0.01 times the largest one of the layer;
    - *cannot tell*: 1x1; flat in any order (more than 0.9 of the energy in the mean); or no sign of order, but
      fewer than 25 entries, too few to expect one.

    The layer as a whole is *structured* if noise is as smooth with a probability of 0.01 or less (an exact
    permutation test), otherwise *like noise*, or *cannot tell* below 100 entries. Structure means an order
    that random numbers don't have; it need not come from training.

    Kernels are **near-duplicates** if they agree, also turned by 90, 180 or 270 degrees, mirrored or negated,
    to a cosine above ``min_similarity`` and above what chance reaches among that many kernels.

    Parameters
    ----------
    net
        The network.
    layer
        Name of a ``Conv2d`` (of any kind: grouped, depthwise, dilated, 1x1) or ``ConvTranspose2d``. A call of
        it, ``(name, call)``, has the same kernels as any other.
    shuffles
        Orders to compare with; percentiles come in steps of ``100 / (shuffles + 1)``.
    seed
        For the private generator of these orders.
    min_similarity
        Smallest absolute cosine of near-duplicates.
    max_chance
        How many pairs may be taken for near-duplicates by chance in a layer of random kernels, on average.
    smooth_percentile, noisy_percentile, smooth_ratio, min_entries, flat_share, zero_below
        Where one verdict on a kernel ends and the next begins: the numbers above.
    layer_level, min_layer_entries
        The same for the verdict on the layer.

    Returns
    -------
    Kernels

    Raises
    ------
    LayerNotFoundError
        (a LookupError) No such layer.
    WeightsError
        (a ValueError) The layer has no kernels (with the convolutions that are near), or NaN in them.
    ValueError
        A value that an option can't have, or thresholds finer than that many shuffles can tell.

    Notes
    -----
    How well the percentile tells single trained kernels from random ones, as area under the ROC curve (0.5 is
    guessing, 1 is always right), as ``python scripts/measure_roughness.py`` measures it:

    ====================================  =========  ============  ========================================
    Layer                                 Kernels    Area          With the high-frequency share alone
    ====================================  =========  ============  ========================================
    SqueezeNet ``features.0``             3x3x3      0.98          0.75
    its other 3x3 layers                  16x3x3 on  0.98 to 1.00  0.71 to 1.00
    ``fashion_cnn`` ``conv1``, 1 epoch    1x7x7      0.96          the same
    ``conv1``, 2 epochs or more           1x7x7      0.97 to 0.99  the same
    ``conv2``, 1 epoch                    16x5x5     0.86          0.86
    ``conv2``, 2 epochs or more           16x5x5     0.90 to 0.98  0.90 to 0.97
    ====================================  =========  ============  ========================================

    Of noise, 2 % of the kernels are called smooth, 8 % mixed and 90 % noisy; that follows from the percentiles.
    Of ``features.0``, 66 % are smooth, 31 % mixed and 3 % noisy (two kernels that are a single dot); of
    the trained ``conv1``, 94 % smooth and 6 % noisy. In 9 entries there is little evidence: the area is 0.67 to
    0.90 for 3x3 pieces of trained kernels, 0.79 to 0.97 for 4x4 and 0.89 to 0.97 for 5x5. All of the layers
    above are structured (p = 0.005, the smallest that 199 shuffles can show), and of random ones 1 % are, by
    construction (1.2 % of 9,000 in the measurement).

    Takes 2 to 4 seconds for 512x512x3x3 on one core, in bounded memory, and less in proportion.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> found = cv.kernels(cv.samples.squeezenet(), "features.0")
    >>> found.weights.shape, found.layer_verdict, found.verdicts[0]
    ((64, 3, 3, 3), 'structured', 'smooth')
    >>> print(found.duplicates[1])
    3 = 6 (negated anti-transpose, 0.927), 21 (rotate 270, 0.923)
    """
    check_network(net, "kernels")
    name, _ = split_key(layer)
    module = find_convolution(net.core, name)
    limits = Thresholds(
        smooth_percentile=smooth_percentile,
        noisy_percentile=noisy_percentile,
        smooth_ratio=smooth_ratio,
        min_entries=min_entries,
        flat_share=flat_share,
        zero_below=zero_below,
        layer_level=layer_level,
        min_layer_entries=min_layer_entries,
    )
    count = checked_whole("shuffles", shuffles)
    limits.check(count)
    weights = read_kernels(net.core, name)
    return Kernels(
        layer=name,
        groups=module.groups,
        in_color=module.groups == 1 and weights.shape[1] == 3 == net.input.channels,
        weights=weights,
        **_duplicates(weights, limits.zero_below, min_similarity, max_chance),
        **_verdicts(weights, limits, count, checked_whole("seed", seed, least=0)),
    )


def _verdicts(weights: NDArray[np.float32], limits: Thresholds, shuffles: int, seed: int) -> dict[str, Any]:
    """Return the fields of `Kernels` that tell smooth kernels from noise."""
    test = shuffle_test(weights, shuffles=shuffles, seed=seed)
    zero = all_but_zero(weights, limits.zero_below)
    verdicts, reasons = judge_kernels(weights, test, zero, limits)
    layer_verdict, p_value, layer_reason = judge_layer(weights.shape, test, zero, limits)
    return {
        "roughness": test.roughness,
        "high_frequency": test.high_frequency,
        "incoherence": test.incoherence,
        "percentile": test.percentile,
        "shuffled_roughness": test.shuffled.mean(axis=0),
        "frequency_ratio": test.frequency_ratio,
        "verdicts": verdicts,
        "reasons": reasons,
        "layer_verdict": layer_verdict,
        "layer_p_value": p_value,
        "layer_reason": layer_reason,
        "thresholds": asdict(limits),
        "shuffles": shuffles,
        "seed": seed,
    }


def _duplicates(
    weights: NDArray[np.float32], zero_below: float, min_similarity: float, max_chance: float
) -> dict[str, Any]:
    """Return the fields of `Kernels` that tell which kernels are nearly the same."""
    counted = ~all_but_zero(weights, zero_below)
    shape = (int(counted.sum()), *weights.shape[1:])
    threshold = duplicate_threshold(shape, min_similarity=min_similarity, expected=max_chance)
    return {
        "duplicates": find_duplicates(weights, threshold, counted=counted),
        "duplicate_threshold": threshold,
        "min_similarity": float(min_similarity),
        "max_chance": float(max_chance),
    }


def _index(what: str, given: int, count: int) -> int:
    index = operator.index(given)
    if not 0 <= index < count:
        raise IndexError(f"{what} {given} is out of range; there are {count}, counted from 0")
    return index
