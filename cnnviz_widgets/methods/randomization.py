"""The parameter-randomization check: whether a map depends on what the network has learned."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.attribution_maps import map_of
from cnnviz_widgets.engine.errors import OutputError, ZeroGradientError
from cnnviz_widgets.engine.map_similarity import rank_correlation, structural_similarity
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.random_weights import CascadingRandomization
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, streamed
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.mosaic import mosaic_png

Explain: TypeAlias = Callable[[Network], Any]
"""From a network to a map: an array [H, W], or a result with a ``heatmap``."""


@dataclass(frozen=True, eq=False)
class RandomizationCheck(Result):
    """How a map changes while the network loses what it has learned; shows itself as the maps, the first one first.

    Attributes
    ----------
    layers
        At each stage [S], the layer down to which all weights, from the output on, are random.
    rank_correlation
        Spearman's rank correlation of the map then with the original one [S], float32.
    absolute_rank_correlation
        That of their magnitudes [S].
    similarity
        Their structural similarity, SSIM [S].
    maps
        The maps [S + 1, H, W], float32; the first is that of the network as it was trained.
    vanished
        The stages [S] at which the gradient was zero everywhere: the map is zero, and like nothing (NaN).
    failures
        For each stage [S] why the random network gave no map, such as values that became infinite; empty where it
        gave one. The map is zero then, and like nothing (NaN).
    seed
        Of the random weights.
    """

    layers: tuple[str, ...]
    rank_correlation: NDArray[np.float32]
    absolute_rank_correlation: NDArray[np.float32]
    similarity: NDArray[np.float32]
    maps: NDArray[np.float32]
    vanished: NDArray[np.bool_]
    failures: tuple[str, ...]
    seed: int

    @property
    def message(self) -> str:
        """What was found, in words."""
        said = (
            f"With all weights from the output down to layer {self.layers[-1]!r} random, the map still has a rank "
            f"correlation of {self.rank_correlation[-1]:.2f} (of magnitudes: "
            f"{self.absolute_rank_correlation[-1]:.2f}) and a structural similarity of {self.similarity[-1]:.2f} "
            "with the original one. A map that stays the same "
            "does not show what the network has learned."
        )
        if self.vanished.any():
            said += f" At {int(self.vanished.sum())} stages the gradient was zero everywhere, so there was no map."
        failed = [each for each in self.failures if each]
        if failed:
            said += f" At {len(failed)} stages the random network gave no map: {failed[0]}."
        return said

    def _repr_png_(self) -> bytes:
        """Return the maps, each on a scale of its own, as a notebook shows them for the bare result."""
        return mosaic_png(self.maps, scale="each")

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return (
            f"RandomizationCheck({len(self.layers)} stages, rank correlation {self.rank_correlation[-1]:.2f}, "
            f"similarity {self.similarity[-1]:.2f} at the end)"
        )


@streamed
def randomization_check(
    net: Network, explain: Explain, *, stages: int | None = None, seed: int = 0
) -> Generator[Step, None, RandomizationCheck]:
    """See whether a map survives when the network forgets: layer by layer, from the output on, weights become random.

    A map that explains what the network has learned must change; one that does not is a picture of the image [1]_.
    Everything is done to a private copy of the network. Kernels and matrices are drawn anew from a normal distribution
    with mean 0 and the root mean square of their trained values, so that signals keep about their size; vectors
    (biases, scales) from one with their mean and standard deviation.

    Parameters
    ----------
    net
        The network.
    explain
        A function from a network to a map, such as
        ``lambda net: cv.gradient_map(net, image, "tabby", rule="guided")``. It is called for the private copy, once
        as it was trained and once at each stage.
    stages
        At how many points, evenly over the layers and the last after all of them, to look; after every layer if left
        out.
    seed
        Of the random weights.

    Returns
    -------
    RandomizationCheck
        Rank correlations and structural similarities with the original map, one for each stage.

    Raises
    ------
    UnsupportedModuleError
        The module can't be copied.
    WeightsError
        The network has no weights.
    TypeError, InputError
        ``explain`` does not return a map.

    References
    ----------
    .. [1] Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, image = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]
    >>> found = cv.randomization_check(net, lambda net: cv.gradient_map(net, image, "Ankle boot"))
    >>> found.layers
    ('fc2', 'fc1', 'conv2', 'conv1')
    """
    check_network(net, "randomization_check")
    if not callable(explain):
        raise TypeError(
            f"explain is a function from a network to a map, got {type(explain).__name__}; "
            "give lambda net: cv.gradient_map(net, image, target)"
        )
    cascade = CascadingRandomization(net, checked_whole("seed", seed, least=0))
    ends = _stage_ends(len(cascade.layers), stages)
    original = map_of(explain(cascade.net), "explain")
    found = [original]
    scores: list[tuple[float, float, float]] = []
    vanished: list[bool] = []
    failures: list[str] = []
    yield Step(0, len(ends) + 1)
    for index, end in enumerate(ends):
        begin = ends[index - 1] if index else 0
        for layer in cascade.layers[begin:end]:
            cascade.randomize(layer)
        now, is_zero, failure = _map_of_random(explain, cascade.net, original)
        vanished.append(is_zero)
        failures.append(failure)
        found.append(now)
        scores.append(_likeness(original, now))
        values = dict(zip(("rank_correlation", "absolute", "similarity"), scores[-1], strict=True))
        yield Step(index + 1, len(ends) + 1, values=values)
    table = np.array(scores, np.float32)
    return RandomizationCheck(
        layers=tuple(cascade.layers[end - 1] for end in ends),
        rank_correlation=table[:, 0].copy(),
        absolute_rank_correlation=table[:, 1].copy(),
        similarity=table[:, 2].copy(),
        maps=np.stack(found),
        vanished=np.array(vanished),
        failures=tuple(failures),
        seed=int(seed),
    )


def _map_of_random(
    explain: Explain, net: Network, original: NDArray[np.float32]
) -> tuple[NDArray[np.float32], bool, str]:
    """Return the map of a random network, whether the gradient was zero, and why there is none otherwise."""
    try:
        return map_of(explain(net), "explain", original.shape), False, ""
    except ZeroGradientError:
        # No error here: a random network may well be silent.
        return np.zeros_like(original), True, ""
    except OutputError as error:
        # Of these weights: as it was trained, the same network gave a map.
        return np.zeros_like(original), False, str(error)


def _stage_ends(layers: int, stages: int | None) -> list[int]:
    """Return how many layers are random at each stage."""
    count = layers if stages is None else checked_whole("stages", stages)
    if count > layers:
        raise ValueError(
            f"stages={count} is more than there are layers with weights: {layers}; leave it out for all"
        )
    return [-(-(index + 1) * layers // count) for index in range(count)]


def _likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float, float]:
    return (
        rank_correlation(one, other),
        rank_correlation(np.abs(one), np.abs(other)),
        structural_similarity(one, other),
    )
