"""FGSM, I-FGSM and PGD against torchattacks, to rounding."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attacks import checked_plan
from tests.random_networks import RandomNetwork, main_of
from tests.small_networks import network_of

EPSILON, RATE, STEPS = 8 / 255, 2 / 255, 5
FAR, STRIDE = 1.0, 0.4
# By name: our options, what theirs is called, and its own. What theirs adds to the gradient's length is not little
# where the network is nearly sure.
ATTACKS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "FGSM": ({"method": "fgsm", "epsilon": EPSILON}, "FGSM", {"eps": EPSILON}),
    "I-FGSM": (
        {"method": "ifgsm", "epsilon": EPSILON, "rate": RATE, "steps": STEPS},
        "BIM",
        {"eps": EPSILON, "alpha": RATE, "steps": STEPS},
    ),
    "PGD": (
        {"method": "pgd", "epsilon": EPSILON, "rate": RATE, "steps": STEPS, "seed": 3},
        "PGD",
        {"eps": EPSILON, "alpha": RATE, "steps": STEPS, "random_start": True},
    ),
    "PGD, norm 2": (
        {"method": "pgd", "norm": "2", "epsilon": FAR, "rate": STRIDE, "steps": STEPS},
        "PGDL2",
        {"eps": FAR, "alpha": STRIDE, "steps": STEPS, "random_start": False, "eps_for_division": 1e-30},
    ),
}


class FromPixels(nn.Module):
    """A copy of a network's module that takes pixels from 0 to 1 and returns scores, as torchattacks needs it."""

    def __init__(self, net: cv.Network) -> None:
        super().__init__()
        self.core = deepcopy(net.core)
        self.mean, self.deviation = (each.double() for each in net.input.scaling())

    def forward(self, pixels: Tensor) -> Tensor:
        return main_of(self.core((pixels - self.mean) / self.deviation))


def fashion() -> tuple[cv.Network, list[np.ndarray]]:
    return cv.samples.fashion_cnn(), [np.asarray(each) for each in cv.samples.fashion_mnist("test")[0][:2]]


def drawn(seed: int) -> tuple[cv.Network, list[np.ndarray]]:
    net = network_of(RandomNetwork(seed))
    random = np.random.default_rng(seed)
    shape = (*net.core.size, net.core.channels)
    return net, [random.integers(0, 256, shape, np.uint8).squeeze()]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("network", ["fashion_cnn", "random 1", "random 2"])
def test_they_agree_with_torchattacks(
    network: str, targeted: bool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torchattacks  # and half of SciPy with it, which only the workers that need it load

    net, images = fashion() if network == "fashion_cnn" else drawn(int(network.split()[1]))
    # In float64: in float32 the cross-entropy that theirs follows loses the gradient where p is nearly 1.
    net.core.double()
    model = FromPixels(net).eval()
    options, kind, given = ATTACKS[name]
    for image in images:
        pixels = torch.from_numpy(image.reshape(*image.shape[:2], -1)).permute(2, 0, 1)[None].double() / 255
        current = model(pixels).argmax(1)
        classes = (current + 1) % model(pixels).shape[1] if targeted else current
        attack = getattr(torchattacks, kind)(model, **given)
        if targeted:
            attack.set_mode_targeted_by_function(lambda _, labels: labels)
        if kind == "PGD":
            begin_alike(monkeypatch, pixels, options)
        wanted = attack(pixels, classes)
        # Not at random, since theirs draws otherwise than evenly from the ball.
        begin = {"start": image} if kind == "PGDL2" else {}
        found = cv.attack(net, image, target=int(classes) if targeted else None, **options, **begin)
        assert found.class_before == int(current)
        np.testing.assert_allclose(found.exact, wanted[0].numpy(), rtol=0, atol=2e-6)
        assert np.abs(found.exact - pixels[0].numpy()).max() > 0.02


def begin_alike(monkeypatch: pytest.MonkeyPatch, pixels: Tensor, options: dict[str, Any]) -> None:
    """Have torchattacks' PGD begin where `attack` does: what it draws evenly is the change that is drawn here."""
    plan = checked_plan("pgd", options["epsilon"], "inf", seed=options["seed"])
    start = plan.start(pixels[0].float(), 0).double()

    def uniform(into: Tensor, low: float, high: float) -> Tensor:
        assert (low, high) == (-options["epsilon"], options["epsilon"])
        return into.copy_(start - pixels)

    monkeypatch.setattr(Tensor, "uniform_", uniform)
