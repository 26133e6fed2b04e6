"""Attacks on modules that run again while gradients flow back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attacks import AttackName
from tests.untouched import untouched

SPEC = cv.InputSpec(size=6, channels=3, mean=0.5, std=0.25)
PHOTO = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)


class Checkpointed(nn.Module):
    """Runs its beginning again in the backward pass, in the way that refuses `torch.autograd.grad`."""

    def __init__(self, inner: nn.Sequential) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner[2:](checkpoint(self.inner[:2], x, use_reentrant=True))
        return found


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("method", ["fgsm", "ifgsm", "pgd", "deepfool"])
def test_modules_that_checkpoint_are_attacked_as_others_are(method: AttackName) -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(64, 5))
    plain, other = cv.Network(inner, input=SPEC), cv.Network(Checkpointed(inner), input=SPEC)
    with untouched(other.module):
        found = cv.attack(other, PHOTO, method=method)
    np.testing.assert_allclose(found.exact, cv.attack(plain, PHOTO, method=method).exact, atol=1e-6)
    if method != "deepfool":
        curves = [
            cv.attack_curve(net, [PHOTO, PHOTO[::-1]], [0.02, 0.1], method=method) for net in (plain, other)
        ]
        np.testing.assert_array_equal(curves[1].answers, curves[0].answers)
