"""Whether a stylized photo's nearest neighbor among the photos is still its content.

``python -m benchmarks.quality.styles [pixels] [steps]``: each sample photo in the style of another, compared by the
cosine of the mean features of SqueezeNet's last layers but one.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

import cnnviz_widgets as cv
from cnnviz_widgets.engine.gram import maps_of

_LAYER = "features.9"


def describe(net: cv.Network, picture: object, size: int) -> NDArray[np.float64]:
    """Return a picture's mean features, of length 1."""
    x = cv.InputSpec(size=size, mean=net.input.mean, std=net.input.std).prepare(picture)
    mean = maps_of(net, x, [_LAYER], "the picture")[_LAYER][0].flatten(1).mean(1).double().numpy()
    return np.asarray(mean / np.linalg.norm(mean))


def main(size: int = 112, steps: int = 20) -> int:
    """Print each transfer's nearest neighbors, and how many are right; return 0 if all are."""
    net = cv.samples.squeezenet()
    photos = {name: cv.samples.photo(name) for name in cv.samples.photo_names()}
    known = {name: describe(net, each, size) for name, each in photos.items()}
    pairs = [
        ("chelsea", "hubble_deep_field"),
        ("coffee", "brick"),
        ("rocket", "gravel"),
        ("astronaut", "grass"),
    ]
    right = 0
    for content, style in pairs:
        began = time.process_time()
        made = cv.transfer_style(net, photos[content], photos[style], size=size, steps=steps)
        likeness = {name: float(describe(net, made.image, size) @ each) for name, each in known.items()}
        first, second = sorted(likeness, key=likeness.__getitem__, reverse=True)[:2]
        right += first == content
        print(
            f"{content:10} as {style:18} nearest {first:18} {likeness[first]:.2f}, then {second:18} "
            f"{likeness[second]:.2f}; {made!r}, {time.process_time() - began:.0f} s"
        )
    print(f"{right} of {len(pairs)} are nearest to their content ({size} pixels, {steps} steps)")
    return int(right < len(pairs))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
