"""Whether a synthesized texture's nearest neighbor in Gram space, among ten textures, is its source.

``python -m benchmarks.quality.textures [pixels] [steps]``: crops of the sample photos, and textures drawn by a rule.
The neighbors are looked for from the 8-bit picture, by the distances of Gram matrices of length 1 at each layer.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from numpy.typing import NDArray

import cnnviz_widgets as cv
from cnnviz_widgets.engine.gram import maps_of, mean_grams, texture_layers

_SIDE = 256


def textures() -> dict[str, NDArray[np.uint8]]:
    """Return ten textures by name, uint8 [256, 256, 3]."""
    crops = {
        "brick": (0, 0),
        "grass": (0, 0),
        "gravel": (0, 0),
        "hubble_deep_field": (60, 60),
        "chelsea": (44, 190),
    }
    found = {}
    for name, (top, left) in crops.items():
        photo = np.asarray(cv.samples.photo(name).convert("RGB"))
        found[name] = photo[top : top + _SIDE, left : left + _SIDE]
    return found | _drawn()


def _drawn() -> dict[str, NDArray[np.uint8]]:
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    dots = np.zeros((_SIDE, _SIDE))
    for top, left in draw.integers(0, _SIDE, (160, 2)):
        dots[np.hypot(rows - top, columns - left) < 6] = 1
    planes = {
        "stripes": np.sin(rows / 3),
        "diagonals": np.sign(np.sin((rows + columns) / 6)),
        "checks": np.sign(np.sin(rows / 5) * np.sin(columns / 5)),
        "dots": 2 * dots - 1,
        "noise": draw.uniform(-1, 1, (_SIDE, _SIDE)),
    }
    colors = draw.integers(0, 256, (len(planes), 2, 3))
    return {
        name: (low + (high - low) * ((plane + 1) / 2)[..., None]).round().astype(np.uint8)
        for (name, plane), (low, high) in zip(planes.items(), colors, strict=True)
    }


def describe(net: cv.Network, picture: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Return a picture's Gram matrices at all layers, each of length 1, as one vector."""
    x = cv.InputSpec(size=size, mean=net.input.mean, std=net.input.std).prepare(picture)
    grams = maps_of(net, x, texture_layers(net), "the picture").values()
    units = [each / each.norm() for each in (mean_grams(maps)[0].double() for maps in grams)]
    return torch.cat([each.flatten() for each in units]).numpy()


def main(size: int = 96, steps: int = 30) -> int:
    """Print each texture's nearest neighbors, and how many are right; return 0 if all are."""
    net = cv.samples.squeezenet()
    sources = textures()
    known = {name: describe(net, each, 224) for name, each in sources.items()}
    right = 0
    for name, source in sources.items():
        began = time.process_time()
        made = cv.synthesize_texture(net, source, size=size, steps=steps)
        found = describe(net, made.image, size)
        distances = {other: float(np.linalg.norm(found - each)) for other, each in known.items()}
        first, second = sorted(distances, key=distances.__getitem__)[:2]
        right += first == name
        print(
            f"{name:18} nearest {first:18} {distances[first]:.2f}, then {second:18} {distances[second]:.2f}; "
            f"loss {made.loss[0]:.2f} to {made.loss[-1]:.3f}, {time.process_time() - began:.0f} s"
        )
    print(f"{right} of {len(sources)} are nearest to their source ({size} pixels, {steps} steps)")
    return int(right < len(sources))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
