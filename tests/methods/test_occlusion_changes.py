"""Occlusion of networks that change, that look at their batch, or that refuse to be followed; beside other passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import cnnviz_widgets as cv
from cnnviz_widgets.engine.covering import Covering
from cnnviz_widgets.engine.incremental import Question, WindowPasses

SPEC = cv.InputSpec(size=24, channels=3)


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def plain(net: cv.Network, x: Tensor, found: cv.OcclusionMap, target: int) -> np.ndarray:
    """Each place alone, in the plain way."""
    scores = np.zeros_like(found.scores)
    for row, column in np.ndindex(scores.shape):
        box = found.box(row, column)
        covered = x.clone()
        covered[:, :, box.top : box.bottom, box.left : box.right] = 0.0
        scores[row, column] = float(net.scores(covered)[0, target])
    return scores


def small(norm: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        norm or nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 8, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 4),
    )


def test_batch_norm_without_running_statistics_sees_each_image_alone() -> None:
    net = cv.Network(small(nn.BatchNorm2d(6, track_running_stats=False)), input=SPEC)
    image = picture()
    found = cv.occlusion(net, image, 1, window=6, stride=6)
    np.testing.assert_allclose(found.scores, plain(net, net.prepare(image), found, 1), atol=1e-5)
    one, many = (cv.integrated_gradients(net, image, 1, steps=9, batch_size=size) for size in (1, 8))
    np.testing.assert_allclose(one.attributions, many.attributions, atol=1e-6)
    one, many = (cv.gradient_map(net, image, 1, samples=5, batch_size=size) for size in (1, 5))
    np.testing.assert_allclose(one.attributions, many.attributions, atol=1e-6)
    curves = [cv.faithfulness(net, image, 1, one, steps=4, batch_size=size).deletion for size in (1, 16)]
    np.testing.assert_allclose(*curves, atol=1e-6)


def test_a_cover_is_answered_by_the_network_as_it_is_now() -> None:
    """Also where weights were changed in place since: not by some old and some new ones."""
    module = small()
    net = cv.Network(module, input=SPEC)
    x = net.prepare(picture())
    covering = Covering(net, x, cv.Target(2), 0.0)
    mask = np.zeros((24, 24), bool)
    mask[3:9, 5:11] = True
    for step in range(3):
        if step:
            with torch.no_grad():
                for each in [*module.parameters()][::step]:
                    each += 0.1 * torch.randn(each.shape, generator=torch.Generator().manual_seed(step))
        if step == 2:
            module[1].running_mean += 0.3
        expected = float(net.scores(x.masked_fill(torch.from_numpy(mask), 0.0))[0, 2])
        assert covering.answer(mask).value == pytest.approx(expected, abs=1e-5)
        assert covering.clean.value == pytest.approx(float(net.scores(x)[0, 2]), abs=1e-5)


def test_a_map_under_way_stays_that_of_the_network_as_it_was() -> None:
    module = small()
    net = cv.Network(module, input=SPEC)
    x = net.prepare(picture())
    passes = WindowPasses(net, x, torch.zeros_like(x), [Question()])
    assert not passes.reason
    starts = np.arange(0, 18, 6)
    expected = passes.answers(starts, starts, (6, 6))[0]
    with torch.no_grad():
        for each in module.parameters():
            each.mul_(1.5)
    assert passes.is_stale
    found = torch.cat([each[2][0] for each in passes.batches(starts, starts, (6, 6), quick=True)])
    torch.testing.assert_close(found.sort(0).values, expected.sort(0).values)


class Gated(nn.Module):
    """A convolution whose kernel hangs on the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        self.weight = nn.Parameter(torch.randn(6, 6, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        gates = x.mean((2, 3)).sigmoid()
        seen = [
            functional.conv2d(one[None], self.weight * gate[:, None, None, None])
            for one, gate in zip(x, gates, strict=True)
        ]
        return self.last(torch.cat(seen).mean((2, 3)))


def test_kernels_made_of_the_image_are_run_plainly() -> None:
    net = cv.Network(Gated(), input=SPEC)
    image = picture()
    found = cv.occlusion(net, image, 1, window=6, stride=6)
    assert not found.way.startswith("incremental")
    np.testing.assert_allclose(found.scores, plain(net, net.prepare(image), found, 1), atol=1e-6)


def test_the_way_says_when_whole_images_were_run() -> None:
    net = cv.Network(small(), input=SPEC)
    found = cv.occlusion(net, picture(), 1, window=23, stride=1)
    assert found.way.endswith("but whole images, which cost less")


@pytest.mark.parametrize("mode", ["inference", "capture"])
def test_inside_other_contexts_it_answers_the_same_and_leaves_them_alone(mode: str) -> None:
    net = cv.Network(small(), input=SPEC)
    image = picture()

    def everything() -> list[np.ndarray]:
        return [
            cv.occlusion(net, image, 1, window=6, stride=6, most_probable=True).scores,
            cv.occlusion(net, image, 1, window=2, stride=1, exact=False).heatmap,
            cv.gradient_map(net, image, 1).attributions,
            cv.grad_cam(net, image, 1, "2").map,
            cv.deconvnet(net, image, "2", 1).image,
        ]

    expected = everything()
    if mode == "inference":
        with torch.inference_mode():
            found = everything()
    else:
        with cv.capture(net, ["3"]) as seen:
            net(net.prepare(picture(5)))
            kept = seen["3"].clone()
            found = everything()
            assert torch.equal(seen["3"], kept)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "module",
    [nn.Sequential(nn.Flatten(), nn.Linear(24 * 24 * 3, 4)), small()],
    ids=["without a convolution", "without a gradient"],
)
def test_where_nothing_can_be_cut_off_an_approximate_map_is_exact(module: nn.Module) -> None:
    net = cv.Network(module, input=SPEC)

    def target(output: Tensor) -> Tensor:
        return (output.argmax(1) == 2).float()

    what = 1 if len(module) == 2 else target
    exact, other = (
        cv.occlusion(net, picture(), what, window=3, stride=1, exact=each) for each in (True, False)
    )
    np.testing.assert_array_equal(exact.scores, other.scores)
    assert other.sample is None
    assert "exact: " in other.way
    assert exact.target == other.target
    assert "0x" not in exact.target


def test_a_target_for_one_image_only_is_named() -> None:
    net = cv.Network(small(), input=SPEC)
    with pytest.raises(ValueError, match="one number for each image"):
        cv.occlusion(net, picture(), lambda output: output[:1, 1], window=6, stride=6)
    with pytest.raises(ValueError, match=r"seed .* got 1\.5"):
        cv.occlusion(net, picture(), 1, window=6, stride=6, seed=1.5)
    with pytest.raises(ValueError, match="got 'blak'; did you mean 'black'"):
        cv.integrated_gradients(net, picture(), 1, baseline="blak")
    assert cv.occlusion(net, picture(), 1, window=6, stride=6, fill=np.float32(0.5)).fill == 0.5


def test_reentrant_checkpoints_send_gradients_back() -> None:
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(nn.Module):
        def __init__(self, reentrant: bool | None) -> None:
            super().__init__()
            self.inner, self.reentrant = small(), reentrant

        def forward(self, x: Tensor) -> Tensor:
            if self.reentrant is None:
                return self.inner(x)
            first = checkpoint(self.inner[:4], x, use_reentrant=self.reentrant)
            return self.inner[4:](first)

    for rule in ("plain", "guided"):
        expected, *others = (
            cv.gradient_map(cv.Network(Checkpointed(each), input=SPEC), picture(), 1, rule=rule).attributions
            for each in (None, True, False)
        )
        for other in others:
            np.testing.assert_allclose(other, expected, atol=1e-7)


def test_the_memory_cap_holds_for_images_larger_than_the_example() -> None:
    """A network of any size is surveyed at 224 pixels; maps of twice the side take four times that."""
    net = cv.Network(
        nn.Sequential(*small()[:6], nn.Flatten(), nn.Linear(32, 4)), input=cv.InputSpec(channels=3)
    )
    sizes = []
    for side in (224, 448):
        x = torch.zeros(1, 3, side, side)
        limit = (
            4 * 16 * 8 * 224 * 224 * 4
        )  # sixteen images of the example's largest map, and its scratch space
        passes = WindowPasses(net, x, x, [Question()], memory_limit=limit, incremental=False)
        sizes.append(passes._plain_batch_size())
    assert sizes == [16, 4]
