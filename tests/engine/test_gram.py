"""Gram matrices and distances by them, against slow loops, the paper's gradient and closed cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, LayerNotFoundError, TargetError
from cnnviz_widgets.engine.gram import (
    ContentDistance,
    GramDistance,
    gram_matrices,
    maps_of,
    mean_grams,
    texture_layers,
)
from cnnviz_widgets.engine.objectives import Seen
from tests.small_networks import chain, small


def whole(*shape: int, seed: int = 0) -> Tensor:
    """Small whole numbers, whose sums and products are exact in any order."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=draw).double()


def distance(maps: Tensor, target: Tensor, *, balanced: bool) -> Tensor:
    loss = GramDistance({"a": mean_grams(target)[0]}, {"a": 1.0}, balanced=balanced)
    return loss.values(Seen(None, maps, {"a": maps}))  # type: ignore[arg-type]


def test_gram_against_slow_loops() -> None:
    maps = whole(2, 3, 4, 5)
    found = gram_matrices(maps)
    for picture in range(2):
        for i in range(3):
            for j in range(3):
                by_hand = sum(
                    float(maps[picture, i, row, column]) * float(maps[picture, j, row, column])
                    for row in range(4)
                    for column in range(5)
                )
                assert float(found[picture, i, j]) == by_hand


def test_permuted_positions_change_nothing() -> None:
    maps = whole(1, 6, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(1))
    shuffled = maps.flatten(2)[:, :, order].view_as(maps)
    assert not torch.equal(shuffled, maps)
    assert torch.equal(gram_matrices(shuffled), gram_matrices(maps))
    for balanced in (True, False):
        assert float(distance(shuffled, maps, balanced=balanced)) == 0.0
        # Channels in another order are another texture.
        assert float(distance(maps.flip(1), maps, balanced=balanced)) > 0.0


def test_the_loss_and_its_gradient_are_the_papers() -> None:
    target = torch.relu(
        torch.randn(1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    )
    before = torch.randn(
        1, 4, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    ).requires_grad_()
    value = distance(before.relu(), target, balanced=False).sum()
    (found,) = torch.autograd.grad(value, before)

    features = before.detach().relu().reshape(4, 30).numpy()
    wanted = target.reshape(4, 30).numpy()
    gram, aim = features @ features.T, wanted @ wanted.T
    channels, places = features.shape
    assert float(value.detach()) == pytest.approx(
        ((gram - aim) ** 2).sum() / (4 * channels**2 * places**2), rel=1e-12
    )
    # Eq. 4: (F' (G - A))' / (N^2 M^2) where the unit is above 0, otherwise 0.
    by_paper = np.where(features > 0, (features.T @ (gram - aim)).T / (channels**2 * places**2), 0.0)
    np.testing.assert_allclose(found.reshape(4, 30).numpy(), by_paper, rtol=1e-10, atol=1e-14)


def test_each_gram_has_its_own_number_of_places() -> None:
    tile = whole(1, 3, 4, 4)
    # The same twice in a row is the same texture.
    assert float(distance(torch.cat([tile, tile], dim=3), tile, balanced=False)) == 0.0


def test_balanced_is_relative_to_nothing_at_all() -> None:
    target = whole(1, 3, 4, 4)
    assert float(distance(torch.zeros(1, 3, 4, 4).double(), target, balanced=True)) == pytest.approx(1.0)
    assert float(distance(2 * target, target, balanced=True)) == pytest.approx((4.0 - 1.0) ** 2)


def test_rounding_is_no_yardstick() -> None:
    gram = mean_grams(whole(1, 3, 4, 4))[0]
    zeros = torch.zeros(1, 3, 4, 4).double()
    size = float(gram.square().sum())
    for away, unit in ((gram * (1 + 1e-9), size), (gram * 1.009, size), (gram * 1.02, 0.02**2 * size)):
        loss = GramDistance({"a": gram}, {"a": 3.0}, away={"a": away})
        found = float(loss.values(Seen(None, zeros, {"a": zeros})))  # type: ignore[arg-type]
        assert found == pytest.approx(3.0 * size / unit)


def test_content_distance() -> None:
    target, maps = whole(1, 3, 4, 5, seed=1), whole(2, 3, 4, 5, seed=2)
    seen = Seen(None, maps, {"a": maps, "b": 2 * maps})  # type: ignore[arg-type]
    plain = ContentDistance({"a": target}, 3.0, balanced=False).values(seen)
    assert plain.tolist() == [3.0 * 0.5 * float((each - target[0]).square().sum()) for each in maps]
    both = ContentDistance({"a": target, "b": target}, 1.0).values(seen)
    size = float(target.square().sum())
    by_hand = [
        0.5 * sum(float((each * factor - target[0]).square().sum()) / size for factor in (1, 2))
        for each in maps
    ]
    assert both.tolist() == pytest.approx(by_hand)


def test_layers_of_zeros_and_without_places_are_refused() -> None:
    with pytest.raises(TargetError, match="nothing but zeros"):
        distance(whole(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), balanced=True)
    net = small(chain(flat=nn.Flatten(), last=nn.Linear(4 * 64, 3)))
    with pytest.raises(TargetError, match=r"'last' returns .*no maps with places"):
        maps_of(net, torch.zeros(1, 3, 8, 8), ["last"], "the source")
    with pytest.raises(InputError, match="fails for a picture of 4 x 4 pixels"):
        maps_of(net, torch.zeros(1, 3, 4, 4), ["conv"], "a picture")


def test_the_usual_layers() -> None:
    squeezenet = cv.samples.squeezenet()
    assert texture_layers(squeezenet) == (
        "features.1",
        "features.3",
        "features.6",
        "features.9",
        "features.11",
    )
    assert texture_layers(cv.samples.fashion_cnn()) == ("relu1", "relu2")
    modules = {
        # conv1_1 to conv5_1 of VGG-19, behind their rectifiers.
        ("1", "6", "11", "20", "29"): models.vgg.make_layers(models.vgg.cfgs["E"]),
        ("relu", "layer1.0", "layer2.0", "layer3.0", "layer4.0"): models.resnet18(),
        ("conv1", "conv2", "inception3a", "inception4a", "inception5a"): models.googlenet(
            init_weights=False, aux_logits=False
        ),
    }
    for layers, module in modules.items():
        assert texture_layers(cv.Network(module, input=cv.InputSpec(size=64))) == layers
    with pytest.raises(LayerNotFoundError, match=r"no layer .* returns maps"):
        texture_layers(small(nn.Sequential(nn.Flatten(), nn.Linear(192, 2))))
