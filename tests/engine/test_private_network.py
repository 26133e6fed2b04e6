"""A copy of a module for one run: nothing in common with the user's, one for all of it, and gone afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import UnsupportedModuleError
from cnnviz_widgets.engine.private_copy import private_copy
from tests.untouched import untouched

SPEC = cv.InputSpec(size=6, channels=3)


class Shared(nn.Module):
    """A module whose copies have something in common with it."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        self.inner = nn.Conv2d(3, 2, 3)
        self.register_buffer("offset", torch.zeros(1))

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared:
        if self.what == "module":
            return self
        copied = Shared(self.what)
        if self.what == "part":
            copied.inner = self.inner
        if self.what == "parameter":
            copied.inner.weight = self.inner.weight
        if self.what == "memory":
            copied.inner.weight = nn.Parameter(self.inner.weight.data)
        if self.what == "buffer":
            copied.offset = self.offset
        return copied

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x) + self.offset
        return found


@pytest.mark.parametrize("what", ["module", "part", "parameter", "memory", "buffer"])
def test_a_copy_that_shares_anything_is_none(what: str) -> None:
    module = nn.Sequential(Shared(what)).train()
    net = cv.Network(module, input=SPEC)
    with untouched(module):
        cv.maximize(net, cv.Target(layer="0", channel=1), steps=2, seed=1)
    with pytest.raises(UnsupportedModuleError, match="shares modules or weights"):
        private_copy(module, "it is changed")


def test_a_copy_that_shares_nothing_is_one() -> None:
    module = nn.Sequential(Shared("nothing"), nn.BatchNorm2d(2))
    assert private_copy(module, "it is changed") is not module
