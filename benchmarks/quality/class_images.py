"""Class images of 100 random classes of the offline SqueezeNet: how many are that class, from 8-bit pixels?"""

from __future__ import annotations

import random

import cnnviz_widgets as cv

CLASSES, TOGETHER = 100, 10
SIZE, STEPS = 160, 64


def main() -> None:
    """Print the share, and which classes fail."""
    net = cv.samples.squeezenet()
    classes = random.Random(0).sample(range(1000), CLASSES)
    failed = []
    for start in range(0, CLASSES, TOGETHER):
        some = classes[start : start + TOGETHER]
        found = cv.maximize(net, some, size=SIZE, steps=STEPS)
        # The picture that is shown goes the way of any picture: it is resized to the network's own size.
        best = net.class_scores(net.prepare(list(found.images))).argmax(1).tolist()
        failed += [each for each, top in zip(some, best, strict=True) if each != top]
        print(f"{start + len(some) - len(failed)} of {start + len(some)}, failed: {failed}", flush=True)


if __name__ == "__main__":
    main()
