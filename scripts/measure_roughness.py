"""Measure how well kernel verdicts tell trained kernels from random ones, on the networks that ship.

    python scripts/measure_roughness.py

Takes about two minutes on one core. The figures in the documentation of `cnnviz_widgets.kernels` are its output.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz_widgets import samples
from cnnviz_widgets.engine.roughness import high_frequency_share, shuffle_test
from cnnviz_widgets.engine.verdicts import Thresholds, all_but_zero, judge_kernels, judge_layer
from cnnviz_widgets.engine.weights import read_kernels

Weights = NDArray[np.float32]
LAYERS = ("features.0", *(f"features.{index}.expand3x3" for index in (3, 4, 6, 7, 9, 10, 11, 12)))
RANDOM_KERNELS = 1000


def random_kernels(shape: tuple[int, ...], *, seed: int, kind: str = "default") -> Weights:
    """Return kernels as torch starts them: uniform by default, or normal, or orthogonal."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.empty(shape)
    if kind == "orthogonal":
        torch.nn.init.orthogonal_(weights, generator=generator)
    elif kind == "normal":
        torch.nn.init.kaiming_normal_(weights, generator=generator)
    else:
        torch.nn.init.kaiming_uniform_(weights, a=math.sqrt(5), generator=generator)
    return weights.numpy()


def area_under_curve(trained: NDArray[np.float64], random: NDArray[np.float64]) -> float:
    """Return the chance that a trained kernel has the lower value than a random one; ties count one half."""
    lower = (trained[:, None] < random).mean()
    return float(lower + (trained[:, None] == random).mean() / 2)


def trained_layers() -> Iterator[tuple[str, Weights]]:
    """Yield kernels of the sample networks with a name for each."""
    network = samples.squeezenet().core
    for name in LAYERS:
        yield f"squeezenet {name}", read_kernels(network, name)
    for checkpoint in samples.fashion_cnn_checkpoints():
        network = samples.fashion_cnn(checkpoint.name).core
        for name in ("conv1", "conv2"):
            yield f"fashion_cnn {checkpoint.name} {name}", read_kernels(network, name)


def small_kernels() -> Iterator[tuple[str, Weights]]:
    """Yield small pieces of trained first-layer kernels, to see how much so few entries can tell."""
    first = read_kernels(samples.squeezenet().core, "features.0")
    yield "features.0, single channels", first.reshape(-1, 1, 3, 3)
    yield "features.0, two channels", np.concatenate([first[:, :2], first[:, 1:]])
    for checkpoint in ("epoch-1", "epoch-5", "trained"):
        whole = read_kernels(samples.fashion_cnn(checkpoint).core, "conv1")
        for size in (3, 4, 5, 6):
            ends = (0, 7 - size)
            corners = [whole[:, :, top : top + size, left : left + size] for top in ends for left in ends]
            yield f"{checkpoint} conv1, corners of {size}x{size}", np.concatenate(corners)


def verdicts_on(weights: Weights) -> Counter[str]:
    zero = all_but_zero(weights, Thresholds().zero_below)
    return Counter(judge_kernels(weights, shuffle_test(weights), zero, Thresholds())[0])


def layer_p_value(weights: Weights, *, seed: int = 0) -> float:
    zero = all_but_zero(weights, Thresholds().zero_below)
    return judge_layer(weights.shape, shuffle_test(weights, seed=seed), zero, Thresholds())[1]


def measure(weights: Weights) -> tuple[float, float]:
    """Return the AUC of the percentile, and that of the percentile of the high-frequency share alone."""
    random = random_kernels((RANDOM_KERNELS, *weights.shape[1:]), seed=1)
    both = [shuffle_test(each).percentile for each in (weights, random)]
    alone = [frequency_percentile(each) for each in (weights, random)]
    return area_under_curve(*both), area_under_curve(*alone)


def frequency_percentile(weights: Weights, shuffles: int = 199) -> NDArray[np.float64]:
    """Return percentiles as `shuffle_test` does, for the high-frequency share alone."""
    generator = np.random.default_rng(0)
    flat = weights.reshape(len(weights), -1)
    own = high_frequency_share(weights)
    below = np.zeros(len(weights))
    for _ in range(shuffles):
        order = generator.permutation(flat.shape[1])
        below += high_frequency_share(flat[:, order].reshape(weights.shape)) <= own + 1e-9
    return 100 * (1 + below) / (1 + shuffles)


def report(name: str, weights: Weights) -> None:
    area, alone = measure(weights)
    counts = verdicts_on(weights)
    shares = "  ".join(
        f"{counts[each] / len(weights):>6.0%}" for each in ("smooth", "mixed", "noisy", "cannot tell")
    )
    size = "x".join(map(str, weights.shape))
    print(
        f"{name:<36} {size:>12}  {area:.3f}  {alone:.3f}  {shares}  {layer_p_value(weights):.3f}", flush=True
    )


def report_false_alarms() -> None:
    print(f"\n{'layers of noise':<36} {'':>12}  {'p <= .01':>8}  {'p <= .05':>8}  of 1000 seeds")
    for shape in ((16, 1, 7, 7), (64, 3, 3, 3), (32, 1, 3, 3)):
        for kind in ("default", "normal", "orthogonal"):
            values = [
                layer_p_value(random_kernels(shape, seed=seed, kind=kind), seed=seed) for seed in range(1000)
            ]
            few, more = (np.mean(np.array(values) <= level) for level in (0.01, 0.05))
            size = "x".join(map(str, shape))
            print(f"{kind:<36} {size:>12}  {few:>8.1%}  {more:>8.1%}", flush=True)


def main() -> None:
    print(f"{'':<36} {'':>12}  AUC    alone  smooth   mixed   noisy  can't tell   p")
    for name, weights in trained_layers():
        report(name, weights)
    print()
    for name, weights in small_kernels():
        report(name, weights)
    print()
    for shape in ((1, 7, 7), (3, 3, 3), (16, 5, 5), (64, 3, 3)):
        report("noise", random_kernels((2000, *shape), seed=2))
    report_false_alarms()


if __name__ == "__main__":
    main()
