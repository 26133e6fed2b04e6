"""Compare attacks with torchattacks: how far the changed pictures of 100 images are apart.

In float32 they differ where the network is nearly sure: 1 - p, and with it a part of the gradient of the cross-entropy,
is lost in rounding there, while the log odds that are followed here keep it. In float64 neither loses it.

torchattacks asks for a `requests` of 2020, which JupyterLab does not go with, so it can be no dependency of the tests.
Install it beside: `pip install --no-deps --target DIR torchattacks`, then
`PYTHONPATH=DIR python -m benchmarks.quality.attacks`.
"""

from __future__ import annotations

import numpy as np
import torch
import torchattacks

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attacks import checked_plan, levels_of, pixels_of, push

IMAGES, EPSILON, RATE, STEPS = 100, 8 / 255, 2 / 255, 10


class Scaled(torch.nn.Module):
    """A network that takes pixels from 0 to 1, as torchattacks needs it."""

    def __init__(self, net: cv.Network) -> None:
        super().__init__()
        self.core = net.core
        self.mean, self.deviation = net.input.scaling()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.core((pixels - self.mean.to(pixels)) / self.deviation.to(pixels))


def ours(net: cv.Network, center: torch.Tensor, start: torch.Tensor, classes: torch.Tensor, **options):
    reach = options.pop("reach", False)
    plan = checked_plan(**{"epsilon": EPSILON, "norm": "inf", **options})
    steps = push(net, center, start, classes, plan, reach=reach)
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value.pixels


def report(name: str, one: torch.Tensor, other: torch.Tensor) -> None:
    apart = (one - other).abs().flatten(1)
    same = float((apart <= 1e-6).float().mean())
    exactly = int((apart.amax(1) <= 1e-6).sum())
    print(f"{name:28} equal numbers {same:9.4%}, equal images {exactly:3d} of {len(one)}")


def main() -> None:
    for kind in (torch.float32, torch.float64):
        print(kind)
        compare(kind)


def compare(kind: torch.dtype) -> None:
    net = cv.samples.fashion_cnn()
    net.core.to(kind)
    pictures, _ = cv.samples.fashion_mnist("test")
    center = pixels_of(net, levels_of(net, list(np.asarray(pictures[:IMAGES]))))
    model = Scaled(net).eval()
    classes = model(center.to(kind)).argmax(1)
    goals = (classes + 1) % 10

    def theirs(attack: type, *, goal: torch.Tensor | None = None, **options) -> torch.Tensor:
        made = attack(model, **options)
        if goal is None:
            return made(center.to(kind), classes)
        made.set_mode_targeted_by_label(quiet=True)
        return made(center.to(kind), goal)

    report("FGSM", ours(net, center, center, classes, method="fgsm"), theirs(torchattacks.FGSM, eps=EPSILON))
    found = theirs(torchattacks.FGSM, eps=EPSILON, goal=goals)
    report("FGSM, targeted", ours(net, center, center, goals, method="fgsm", reach=True), found)
    options = {"rate": RATE, "steps": STEPS}
    found = theirs(torchattacks.BIM, eps=EPSILON, alpha=RATE, steps=STEPS)
    report("I-FGSM", ours(net, center, center, classes, method="ifgsm", **options), found)
    # Their random start is drawn from the global state.
    torch.manual_seed(0)
    drawn = torch.empty_like(center.to(kind)).uniform_(-EPSILON, EPSILON)
    start = (center + drawn).clamp(0, 1).to(center)
    torch.manual_seed(0)
    found = theirs(torchattacks.PGD, eps=EPSILON, alpha=RATE, steps=STEPS, random_start=True)
    report("PGD", ours(net, center, start, classes, method="pgd", **options), found)
    torch.manual_seed(0)
    found = theirs(torchattacks.PGD, eps=EPSILON, alpha=RATE, steps=STEPS, random_start=True, goal=goals)
    report("PGD, targeted", ours(net, center, start, goals, method="pgd", reach=True, **options), found)
    # What theirs adds to the gradient's length is not little where the network is nearly sure.
    length = {"eps": 1.0, "alpha": 0.2, "eps_for_division": 1e-30}
    found = theirs(torchattacks.PGDL2, **length, steps=STEPS, random_start=False)
    options = {"rate": 0.2, "steps": STEPS, "norm": "2", "epsilon": 1.0}
    report("PGD, norm 2", ours(net, center, center, classes, method="pgd", **options), found)


if __name__ == "__main__":
    main()
