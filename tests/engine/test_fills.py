"""What stands in for pixels that are taken away, against SciPy and plain arithmetic."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import cnnviz_widgets as cv
from cnnviz_widgets.engine.fills import blurred, checked_fill, filled

NET = cv.Network(torch.nn.ReLU(), input=cv.InputSpec(size=(12, 9), mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3)))
X = torch.randn(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))


def test_one_value_everywhere() -> None:
    assert torch.equal(filled(NET, X, 0.25), torch.full((2, 3, 12, 9), 0.25))
    black, gray = (filled(NET, X, each) for each in ("black", "gray"))
    for channel, (mean, std) in enumerate([(0.4, 0.1), (0.5, 0.2), (0.6, 0.3)]):
        assert torch.allclose(black[:, channel], torch.tensor(-mean / std))
        assert torch.allclose(gray[:, channel], torch.tensor((0.5 - mean) / std), atol=1e-6)
    assert (NET.restore(black) == 0).all()
    assert (abs(NET.restore(gray).astype(int) - 127.5) <= 0.5).all()


@pytest.mark.parametrize("deviation", [0.7, 2.0])
def test_blur_against_scipy(deviation: float) -> None:
    reach = math.ceil(3 * deviation)
    expected = X.double().numpy()
    for axis in (2, 3):
        expected = ndimage.gaussian_filter1d(expected, deviation, axis, mode="nearest", radius=reach)
    torch.testing.assert_close(blurred(X.double(), deviation), torch.from_numpy(expected))
    assert torch.equal(filled(NET, X, "blur"), blurred(X, 1.0))  # no less than a pixel


def test_noise_is_that_of_its_seed_and_looks_like_the_image() -> None:
    x = torch.randn(1, 3, 100, 90, generator=torch.Generator().manual_seed(1)) * 2 + 5
    noise = filled(NET, x, "noise", seed=3)
    assert torch.equal(noise, filled(NET, x, "noise", seed=3))
    assert not torch.equal(noise, filled(NET, x, "noise", seed=4))
    assert torch.allclose(noise.mean(dim=(2, 3)), x.mean(dim=(2, 3)), atol=0.1)
    assert torch.allclose(noise.std(dim=(2, 3)), x.std(dim=(2, 3)), atol=0.1)


@pytest.mark.parametrize("fill", [(0.5, -1.0, 2.0), [0.5, -1, 2], np.array([0.5, -1, 2], np.float32)])
def test_a_color_for_each_channel(fill: Any) -> None:
    for channel, value in enumerate((0.5, -1.0, 2.0)):
        assert (filled(NET, X, fill)[:, channel] == value).all()
    assert checked_fill("fill", fill) == (0.5, -1.0, 2.0)
    with pytest.raises(ValueError, match="a fill of 2 numbers for 3 channels"):
        filled(NET, X, fill[:2])


@pytest.mark.parametrize("fill", ["red", float("nan"), True, None, (), [0.5, None], [[0.5]]])
def test_what_is_no_fill(fill: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"'blur' or 'noise'; got {fill!r}")):
        filled(NET, X, fill)
