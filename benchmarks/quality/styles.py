"""Whether a stylized photo's nearest neighbor among all sample photos is still its content.

``python -m benchmarks.quality.styles [pixels] [steps]``: neighbors by the cosine of SqueezeNet's last feature maps,
which no term of the loss compares. Beside them those by the same maps' means over all places: these no longer tell what
is where, as a style does not, and follow a strong style.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

import cnnviz_widgets as cv
from cnnviz_widgets.engine.gram import maps_of

MEASURES = ("maps", "means")
_LAYER = "features.12"
_PAIRS = (
    ("chelsea", "hubble_deep_field"),
    ("coffee", "hubble_deep_field"),
    ("astronaut", "hubble_deep_field"),
    ("coffee", "brick"),
    ("camera", "brick"),
    ("rocket", "gravel"),
    ("retina", "gravel"),
    ("astronaut", "grass"),
)


def describe(net: cv.Network, picture: object, size: int) -> dict[str, NDArray[np.float64]]:
    """Return a picture's features by measure, each as a vector of length 1."""
    x = cv.InputSpec(size=size, mean=net.input.mean, std=net.input.std).prepare(picture)
    maps = maps_of(net, x, [_LAYER], "the picture")[_LAYER][0].double().numpy()
    found = zip(MEASURES, (maps.ravel(), maps.mean((1, 2))), strict=True)
    return {name: each / np.linalg.norm(each) for name, each in found}


def known_photos(net: cv.Network, size: int) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the features of all sample photos by name."""
    return {name: describe(net, cv.samples.photo(name), size) for name in cv.samples.photo_names()}


def neighbors(
    found: dict[str, NDArray[np.float64]], known: dict[str, dict[str, NDArray[np.float64]]], measure: str
) -> list[tuple[str, float]]:
    """Return all photos and their cosines, the nearest first."""
    likeness = {name: float(found[measure] @ each[measure]) for name, each in known.items()}
    return sorted(likeness.items(), key=lambda pair: -pair[1])


def main(size: int = 224, steps: int = 150) -> int:
    """Print each transfer's nearest neighbors, and how many are right; return 0 if all are by their maps."""
    net = cv.samples.squeezenet()
    known = known_photos(net, size)
    right = dict.fromkeys(MEASURES, 0)
    for content, style in _PAIRS:
        began = time.process_time()
        made = cv.transfer_style(
            net, cv.samples.photo(content), cv.samples.photo(style), size=size, steps=steps
        )
        found = describe(net, made.image, size)
        told = []
        for measure in MEASURES:
            first, second = neighbors(found, known, measure)[:2]
            right[measure] += first[0] == content
            told.append(f"by {measure} {first[0]} {first[1]:.2f}, then {second[0]} {second[1]:.2f}")
        print(
            f"{content} as {style}: {'; '.join(told)}; {made!r}, {time.process_time() - began:.0f} s",
            flush=True,
        )
    shares = ", ".join(f"{each} of {len(_PAIRS)} by {measure}" for measure, each in right.items())
    print(f"nearest to their content: {shares} ({size} pixels, {steps} steps)")
    return int(right["maps"] < len(_PAIRS))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
