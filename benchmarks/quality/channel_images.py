"""Channel images of the offline SqueezeNet: do they excite their channel more than the best of 1,000 photo crops?"""

from __future__ import annotations

import numpy as np

import cnnviz_widgets as cv

LAYERS = ("features.3", "features.5", "features.7", "features.9", "features.11")
EACH, CROPS, SIZE, STEPS = 12, 1000, 128, 128


def crops(count: int, size: int, seed: int = 0) -> list[np.ndarray]:
    """Return square parts of the sample photos of many sizes, all resized to one."""
    random = np.random.default_rng(seed)
    photos = [cv.samples.photo(name).convert("RGB") for name in cv.samples.photo_names()]
    found = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(random.integers(min(size, *photo.size), min(photo.size) + 1))
        left, top = (int(random.integers(0, length - side + 1)) for length in photo.size)
        found.append(np.asarray(photo.crop((left, top, left + side, top + side)).resize((size, size))))
    return found


def network(size: int) -> cv.Network:
    """Return the offline SqueezeNet for pictures of another size."""
    net = cv.samples.squeezenet()
    return cv.Network(net.module, input=cv.InputSpec(size=size, mean=net.input.mean, std=net.input.std))


def best_means(net: cv.Network, pictures: list[np.ndarray], layer: str) -> np.ndarray:
    """Return each channel's largest mean over all places [channels], of any of the pictures."""
    best: list[np.ndarray] = []
    for start in range(0, len(pictures), 50):
        with cv.capture(net, [layer]) as seen:
            net(net.prepare(pictures[start : start + 50]))
        best.append(seen[layer].mean((2, 3)).max(0).values.numpy())
    return np.max(best, axis=0)


def main() -> None:
    """Print the share of channels, layer by layer."""
    net = network(SIZE)
    pictures = crops(CROPS, SIZE)
    random, won, all_of_them = np.random.default_rng(1), 0, 0
    for layer in LAYERS:
        best = best_means(net, pictures, layer)
        channels = random.choice(len(best), EACH, replace=False).tolist()
        found = cv.maximize(net, [cv.Target(layer=layer, channel=each) for each in channels], steps=STEPS)
        above = found.values > best[channels]
        won, all_of_them = won + int(above.sum()), all_of_them + EACH
        print(f"{layer}: {above.sum()} of {EACH}; failed: {np.array(channels)[~above].tolist()}", flush=True)
    print(f"{won} of {all_of_them}")


if __name__ == "__main__":
    main()
