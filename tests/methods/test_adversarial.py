"""Attacks: against loops written from the papers, closed forms of linear networks, and their own promises."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.attacks import checked_plan, levels_of, pixels_of, push
from cnnviz_widgets.engine.errors import InputError, TargetError, ZeroGradientError
from tests.small_networks import Function

IMAGES = [np.asarray(each) for each in cv.samples.fashion_mnist("test")[0][:100]]
EPSILON = 8 / 255


@pytest.fixture(scope="module")
def net() -> cv.Network:
    return cv.samples.fashion_cnn()


def result_of(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def linear(weight: Tensor, bias: Tensor, **options: Any) -> cv.Network:
    """Return a network whose scores are linear in its pixels: weight [K, C, H, W]."""
    layer = nn.Linear(weight[0].numel(), len(weight)).double()
    with torch.no_grad():
        layer.weight.copy_(weight.flatten(1))
        layer.bias.copy_(bias)
    module = Function(lambda module, x: module.last(x.flatten(1)), last=layer)
    return cv.Network(module, input=cv.InputSpec(size=weight.shape[2:], channels=weight.shape[1]), **options)


WEIGHT = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0)).double()
BIAS = torch.tensor([0.1, -0.2, 0.3, 0.0]).double()
# Middling numbers, so that small changes meet neither black nor white.
MIDDLING = np.random.default_rng(0).integers(90, 160, (6, 5, 3), np.uint8)


def scores_of(pixels: np.ndarray) -> Tensor:
    return WEIGHT.flatten(1) @ torch.from_numpy(pixels).double().flatten() + BIAS


def loop(
    core: nn.Module,
    spec: cv.InputSpec,
    center: Tensor,
    start: Tensor,
    classes: Tensor,
    *,
    epsilon: float,
    rate: float,
    steps: int,
    norm: str = "inf",
    sign: int = 1,
) -> Tensor:
    """Madry et al. 2018, (2), as written: x <- projection of x + rate * sign(grad L(x, y)); one step of it is FGSM."""
    mean, deviation = (each.double() for each in spec.scaling())
    center, x = center.double(), start.double()
    for _ in range(steps):
        x = x.detach().requires_grad_()
        loss = nn.functional.cross_entropy(core((x - mean) / deviation), classes, reduction="sum")
        (gradient,) = torch.autograd.grad(sign * loss, x)
        with torch.no_grad():
            if norm == "inf":
                x = x + rate * gradient.sign()
                x = torch.max(torch.min(x, center + epsilon), center - epsilon)
            else:
                change = x + rate * gradient / gradient.flatten(1).norm(dim=1)[:, None, None, None] - center
                length = change.flatten(1).norm(dim=1)[:, None, None, None]
                x = center + change * torch.clamp(epsilon / length, max=1)
            x = x.clamp(0, 1)
    return x.detach()


@pytest.mark.parametrize("reach", [False, True])
@pytest.mark.parametrize(
    ("method", "norm", "options"),
    [
        ("fgsm", "inf", {"epsilon": EPSILON, "rate": EPSILON, "steps": 1}),
        ("fgsm", "2", {"epsilon": 1.0, "rate": 1.0, "steps": 1}),
        ("ifgsm", "inf", {"epsilon": EPSILON, "rate": 2 / 255, "steps": 6}),
        ("pgd", "inf", {"epsilon": EPSILON, "rate": 2 / 255, "steps": 6}),
        ("pgd", "2", {"epsilon": 1.0, "rate": 0.3, "steps": 6}),
    ],
)
def test_they_agree_with_loops_written_from_the_papers(
    method: str, norm: str, options: dict[str, Any], reach: bool
) -> None:
    # In float64, where the plain cross-entropy of the loop loses nothing.
    net = cv.samples.fashion_cnn()
    net.core.double()
    center = pixels_of(net, levels_of(net, IMAGES[:12]))
    given = {each: options[each] for each in options if each != "rate" or method != "fgsm"}
    plan = checked_plan(method, given.pop("epsilon"), norm, **given)
    start = torch.stack([plan.start(each, 0, index) for index, each in enumerate(center)])
    assert torch.equal(start, center) == (method != "pgd")
    classes = net.class_scores(net.prepare(IMAGES[:12])).argmax(1)
    classes = (classes + 3) % 10 if reach else classes
    found = result_of(push(net, center, start, classes, plan, reach=reach))
    wanted = loop(net.core, net.input, center, start, classes, norm=norm, sign=-1 if reach else 1, **options)
    torch.testing.assert_close(found.pixels.double(), wanted, rtol=0, atol=2e-5 if norm == "2" else 1e-6)
    assert (wanted - center).abs().max() > 0.02


def test_attack_is_that_loop_and_its_loss_is_the_cross_entropy(net: cv.Network) -> None:
    found = cv.attack(net, IMAGES[0], method="ifgsm", epsilon=EPSILON, steps=4, rate=2 / 255)
    center = pixels_of(net, levels_of(net, IMAGES[0]))
    classes = torch.tensor([found.class_before])
    core = cv.samples.fashion_cnn().core.double()
    options = {"epsilon": EPSILON, "rate": 2 / 255}
    for steps in range(4):
        x = loop(core, net.input, center, center, classes, steps=steps, **options)
        mean, deviation = (each.double() for each in net.input.scaling())
        entropy = nn.functional.cross_entropy(core((x - mean) / deviation), classes)
        assert found.curves["loss"][steps, 0] == pytest.approx(entropy.item(), rel=1e-4)
    wanted = loop(core, net.input, center, center, classes, steps=4, **options)
    np.testing.assert_allclose(found.exact, wanted[0], atol=1e-6)


def test_the_step_of_a_linear_network_is_epsilon_times_the_sign_of_its_weights() -> None:
    net = linear(WEIGHT[:2], BIAS[:2])
    pixels = MIDDLING.transpose(2, 0, 1) / 255
    current = int(scores_of(pixels)[:2].argmax())
    away = (WEIGHT[1 - current] - WEIGHT[current]).numpy()
    found = cv.attack(net, MIDDLING, epsilon=EPSILON)
    assert np.array_equal(found.change, 8 * np.sign(away))
    assert found.norm_inf == EPSILON
    assert found.norm_2 == pytest.approx(EPSILON * math.sqrt(90), rel=1e-12)
    found = cv.attack(net, MIDDLING, epsilon=0.5, norm="2")
    np.testing.assert_allclose(found.exact - pixels, 0.5 * away / np.linalg.norm(away), atol=1e-6)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_deepfool_projects_onto_the_nearest_boundary_of_a_linear_network(norm: str) -> None:
    net = linear(WEIGHT, BIAS)
    pixels = MIDDLING.transpose(2, 0, 1) / 255
    scores = scores_of(pixels)
    current = int(scores.argmax())
    ways = []
    for other in set(range(4)) - {current}:
        w, margin = (WEIGHT[other] - WEIGHT[current]).numpy(), float(scores[current] - scores[other])
        step = margin * w / (w**2).sum() if norm == "2" else margin * np.sign(w) / np.abs(w).sum()
        ways.append((np.linalg.norm(step.ravel(), ord=float(norm)), other, step))
    distance, other, step = min(ways, key=lambda way: way[0])
    found = cv.attack(net, MIDDLING, method="deepfool", norm=norm, overshoot=0.05)
    assert (found.class_after, found.steps, found.success) == (other, 1, True)
    assert found.overshoot == 0.05  # the rounded picture is another class without more of it
    np.testing.assert_allclose(found.exact - pixels, 1.05 * step, atol=1e-6)
    assert found.curves["distance"][0, 0] == pytest.approx(distance, rel=1e-5)
    on_boundary = scores_of(pixels + (found.exact - pixels) / 1.05)
    assert float(on_boundary[other] - on_boundary[current]) == pytest.approx(0, abs=1e-5)


def test_deepfool_fools_with_pictures_in_8_bits_and_changes_less_than_a_step_does(net: cv.Network) -> None:
    for image in IMAGES[:6]:
        found = cv.attack(net, image, method="deepfool", norm="2")
        assert found.success
        # A step of that length along the gradient, without rounding, does no more than that; a shorter one fails.
        shorter = cv.attack(net, image, norm="2", epsilon=0.8 * found.norm_2)
        assert not shorter.success


@pytest.mark.parametrize(("method", "steps"), [("fgsm", 1), ("ifgsm", 5), ("pgd", 5), ("deepfool", 5)])
@pytest.mark.parametrize(("norm", "epsilon"), [("inf", 5 / 255), ("inf", 0.03), ("2", 0.7)])
def test_the_norm_holds_exactly_for_the_picture_that_can_be_shown(
    net: cv.Network, method: str, steps: int, norm: str, epsilon: float
) -> None:
    for image in IMAGES[:2]:
        found = cv.attack(net, image, method=method, norm=norm, epsilon=epsilon, steps=steps)
        change = found.adversarial[..., 0].astype(int) - found.original[..., 0]
        assert np.array_equal(found.change[0], change)
        assert found.norm_inf == np.abs(change).max() / 255
        assert found.norm_2 == pytest.approx(np.sqrt((change**2).sum()) / 255, rel=1e-12)
        assert (found.norm_inf if norm == "inf" else found.norm_2) <= epsilon
        assert found.norm_inf > 0


def test_what_is_reported_is_what_the_network_says_of_both_pictures(net: cv.Network) -> None:
    found = cv.attack(net, IMAGES[0], epsilon=32 / 255)
    for picture, row, answer, label in (
        (found.original, found.probabilities[0], found.class_before, found.label_before),
        (found.adversarial, found.probabilities[1], found.class_after, found.label_after),
    ):
        said = net.predict(picture, k=10)
        assert (said.labels[0], said.indices[0]) == (label, answer)
        assert np.array_equal(row[said.indices], said.probabilities)
    assert np.array_equal(found.original[..., 0], IMAGES[0])
    assert found.success
    assert found.class_before != found.class_after
    assert repr(found.label_after) in str(found)


@pytest.mark.parametrize("method", ["fgsm", "ifgsm", "pgd", "deepfool"])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_epsilon_0_changes_nothing(net: cv.Network, method: str, norm: str) -> None:
    found = cv.attack(net, IMAGES[3], method=method, norm=norm, epsilon=0, steps=1)
    assert not found.change.any()
    assert np.array_equal(found.exact[0], (IMAGES[3] / np.float32(255)).astype(np.float32))
    assert np.array_equal(found.probabilities[0], found.probabilities[1])
    assert (found.success, found.norm_inf, found.norm_2) == (False, 0, 0)


def test_many_steps_are_at_least_as_strong_as_one_on_100_images(net: cv.Network) -> None:
    # Epsilons at which some images are fooled and others not.
    epsilons = [4 / 255, 12 / 255]
    one = cv.attack_curve(net, IMAGES, epsilons, batch_size=50)
    many = cv.attack_curve(net, IMAGES, epsilons, method="pgd", batch_size=100)
    fooled, more = (curve.answers != curve.labels for curve in (one, many))
    assert (many.accuracy < one.accuracy).any()
    assert (many.accuracy <= one.accuracy).all()
    assert not (fooled & ~more).any(), "an image that one step fools, and ten don't"
    assert 0 < one.accuracy.min() < one.accuracy.max() < 1


def test_a_target_is_reached(net: cv.Network) -> None:
    found = cv.attack(net, IMAGES[1], method="ifgsm", epsilon=64 / 255, steps=20, target="Bag")
    assert (found.success, found.label_after, found.target, found.target_label) == (True, "Bag", 8, "Bag")
    first = found.curves["log_probability"][0, 0]
    assert first == pytest.approx(np.log(found.probabilities[0][8]), rel=1e-4)
    assert first < found.curves["log_probability"][-1, 0] < 0
    short = cv.attack(net, IMAGES[1], epsilon=1 / 255, target=8)
    assert not short.success
    assert "'Bag', was not" in str(short)
    with pytest.raises(LookupError, match="did you mean 'Bag'"):
        cv.attack(net, IMAGES[1], target="Bags")


def test_one_logit_is_that_of_two_classes() -> None:
    pair = linear(WEIGHT[:2], BIAS[:2])
    single = linear(WEIGHT[1:2] - WEIGHT[:1], BIAS[1:2] - BIAS[:1])
    for method in ("fgsm", "deepfool"):
        one, other = (cv.attack(each, MIDDLING, method=method, norm="2") for each in (pair, single))
        np.testing.assert_allclose(one.exact, other.exact, atol=1e-6)
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_probabilities_are_attacked_as_the_logits_they_are_made_from(scale: float) -> None:
    weight, bias = WEIGHT * scale, BIAS * scale
    plain = linear(weight, bias)
    soft = cv.Network(nn.Sequential(plain.core, nn.Softmax(dim=1)), input=plain.input)
    for method in ("fgsm", "deepfool"):
        one, other = (cv.attack(each, MIDDLING, method=method) for each in (plain, soft))
        np.testing.assert_allclose(one.exact, other.exact, atol=1e-6)
        assert one.class_after == other.class_after


def test_a_network_that_is_sure_in_all_digits_is_attacked_like_another() -> None:
    # 1 - p is 0 in float32, and the cross-entropy's own gradient lost.
    sure = linear(torch.stack([WEIGHT[0], -WEIGHT[0]]) * 400, torch.zeros(2))
    sure.core.float()
    found = cv.attack(sure, MIDDLING)
    assert found.probabilities[0].max() == 1
    sign = 1 if found.class_before else -1
    assert np.array_equal(found.change, 8 * sign * np.sign(WEIGHT[0].numpy()))


def test_a_gradient_of_zero_is_said() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x.flatten(1)[:, :3] * 0).relu() + torch.tensor([1.0, 2.0, 3.0])

    constant = cv.Network(Constant(), input=cv.InputSpec(size=4))
    for method in ("fgsm", "pgd", "deepfool"):
        with pytest.raises(ZeroGradientError, match="gradient is zero for all"):
            cv.attack(constant, np.zeros((4, 4, 3), np.uint8), method=method)
    with pytest.warns(UserWarning, match="zero for 2 of 2 images"):
        curve = cv.attack_curve(constant, np.zeros((2, 4, 4, 3), np.uint8), [0, 0.1])
    assert curve.unmoved.all()
    assert curve.accuracy.tolist() == [1, 1]


def test_an_epsilon_below_one_level_is_said(net: cv.Network) -> None:
    with pytest.warns(UserWarning, match="less than one level"):
        found = cv.attack(net, IMAGES[0], epsilon=0.5 / 255)
    assert not found.change.any()
    assert found.exact.max() != found.original.max() / 255 or not found.success


def test_a_changed_picture_fools_the_network_as_it_is_and_that_is_said() -> None:
    net = linear(WEIGHT, BIAS)
    net.input = cv.InputSpec(size=(6, 5), resize=(12, 10))
    photo = np.random.default_rng(1).integers(90, 160, (24, 20, 3), np.uint8)
    found = cv.attack(net, photo, epsilon=EPSILON)
    as_it_is = net.without_resizing()
    assert found.success
    assert found.resized
    assert as_it_is.module is net.module
    # To the last digit what the attack says of them, and not what the network makes of them scaled and cut again.
    for picture, row in zip((found.original, found.adversarial), found.probabilities, strict=True):
        said = as_it_is.predict(picture, k=4)
        np.testing.assert_allclose(said.probabilities, row[said.indices], rtol=1e-5)
        assert np.abs(net.predict(picture, k=4).probabilities - said.probabilities).max() > 1e-3
    assert "net.without_resizing().predict does not" in found.message
    net.input = cv.InputSpec(size=(6, 5))
    found = cv.attack(net, MIDDLING, epsilon=EPSILON)
    assert not found.resized
    assert "without_resizing" not in found.message


def test_an_epsilon_in_levels_is_refused(net: cv.Network) -> None:
    with pytest.raises(ValueError, match=r"epsilon=8 is more than white .* did you mean 8/255\?"):
        cv.attack(net, IMAGES[0], epsilon=8)
    with pytest.raises(ValueError, match="did you mean 16/255"):
        cv.attack_curve(net, IMAGES[:2], [0, 16])
    assert cv.attack(net, IMAGES[0], epsilon=1).epsilon == 1
    assert cv.attack_curve(net, IMAGES[:2], [3.0], norm="2").epsilons == [3.0]


def test_restarts_keep_the_best_and_draw_from_the_seed(net: cv.Network) -> None:
    options: dict[str, Any] = {"method": "pgd", "epsilon": 4 / 255, "steps": 2}
    many = cv.attack(net, IMAGES[4], **options, restarts=4)
    assert many.curves["loss"].shape == (2, 4)
    assert len(set(many.curves["loss"][0].tolist())) == 4  # each begins elsewhere
    single = cv.attack(net, IMAGES[4], **options)
    assert (single.planned_steps, single.start) == (2, "noise")
    assert many.probabilities[1][many.class_before] <= single.probabilities[1][many.class_before] + 1e-6
    assert np.array_equal(single.curves["loss"][:, 0], many.curves["loss"][:, 0]) or np.allclose(
        single.curves["loss"][:, 0], many.curves["loss"][:, 0], rtol=1e-4
    )
    assert not np.array_equal(cv.attack(net, IMAGES[4], **options, seed=1).exact, single.exact)


def test_it_goes_on_from_a_picture_and_stops_half_way(net: cv.Network) -> None:
    options: dict[str, Any] = {"method": "ifgsm", "epsilon": EPSILON, "rate": 2 / 255}
    whole = cv.attack(net, IMAGES[5], **options, steps=4)
    steps = cv.attack.steps(net, IMAGES[5], **options, steps=4)
    first = [next(steps), next(steps)]
    half = cv.attack.finish(steps)
    assert (half.steps, half.planned_steps, half.curves["loss"].shape) == (2, 4, (2, 1))
    assert [each.values["loss"] for each in first] == pytest.approx(whole.curves["loss"][:2, 0].tolist())
    assert np.array_equal(first[-1].image, half.adversarial)
    rest = cv.attack(net, IMAGES[5], **options, steps=2, start=half.adversarial)
    np.testing.assert_allclose(rest.exact, whole.exact, atol=1e-6)
    assert (whole.start, rest.start) == ("image", "picture")
    # A picture beyond epsilon is brought back into it.
    far = cv.attack(net, IMAGES[5], epsilon=2 / 255, start=255 - whole.original)
    assert far.norm_inf <= 2 / 255
    with pytest.raises(InputError, match=r"one picture of 28 x 28 pixels.*got 1 of 14 x 28"):
        cv.attack(net, IMAGES[5], start=whole.original[:14])
    fool = cv.attack.steps(net, IMAGES[5], method="deepfool", norm="2")
    next(fool)
    found = cv.attack.finish(fool)
    assert (found.steps, found.planned_steps, found.start) == (1, 50, "image")


def test_the_difference_is_shown_as_asked(net: cv.Network) -> None:
    found = cv.attack(net, IMAGES[6], epsilon=EPSILON)
    shown = found.difference(amplify=10)
    # Middle gray, and ten times as many levels from it as there were; one less where a half is rounded.
    wanted = 128 + 10 * found.change.transpose(1, 2, 0).astype(int)
    assert shown.shape == (28, 28, 3)
    assert np.abs(shown - wanted).max() <= 1
    full = found.difference()
    assert (int(full.min()), int(full.max())) == (0, 255)
    with pytest.raises(ValueError, match="got -1"):
        found.difference(-1)
    many = cv.Network(nn.Sequential(nn.Conv2d(5, 3, 4), nn.Flatten()), input=cv.InputSpec(size=4, channels=5))
    hidden = cv.attack(many, torch.rand(5, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert hidden.original.shape == (0, 0, 3)
    assert np.abs(hidden.change).max() == 8
    assert hidden._repr_png_()
    assert hidden._repr_html_() is None
    with pytest.raises(ValueError, match="5 channels make no picture"):
        hidden.difference()


def test_a_bare_result_says_what_came_of_it() -> None:
    net = linear(WEIGHT, BIAS, labels=["<b>one</b>", "two", "three", "four"])
    found = cv.attack(net, MIDDLING, epsilon=EPSILON)
    captions = re.findall("<figcaption[^>]*>(.*?)</figcaption>", found._repr_html_())
    assert captions == [
        f"{html.escape(found.label_before)}<br>{found.probabilities[0].max():.1%}",
        f"{html.escape(found.label_after)}<br>{found.probabilities[1].max():.1%}",
        "the change<br>15.9 times",  # 8 levels to 127.5
    ]
    assert html.escape(found.message) in found._repr_html_()
    assert "<b>" not in found._repr_html_()
    assert "no change" in cv.attack(net, MIDDLING, epsilon=0)._repr_html_()
    curve = cv.attack_curve(net, MIDDLING, [0, EPSILON])
    assert 'alt="accuracy over epsilon, in levels of 1/255"' in curve._repr_html_()
    assert "(fgsm, 1 image)" in str(curve)


def test_only_classes_are_targets(net: cv.Network) -> None:
    for target in (cv.Target(layer="conv1", channel=0), cv.Target(lambda output: output[:, 0])):
        with pytest.raises(TargetError, match="a class, by label or index"):
            cv.attack(net, IMAGES[0], target=target)
    assert cv.attack(net, IMAGES[0], target=cv.Target("Bag")).target == 8


@pytest.mark.parametrize(("method", "steps"), [("fgsm", None), ("pgd", 3)])
def test_a_curve_is_many_attacks(net: cv.Network, method: str, steps: int | None) -> None:
    epsilons = [0, 4 / 255, 16 / 255]
    curve = cv.attack_curve(net, IMAGES[:5], epsilons, method=method, steps=steps, batch_size=2)
    assert np.array_equal(curve.clean, [net.predict(each, k=1).indices[0] for each in IMAGES[:5]])
    for row, epsilon in enumerate(epsilons):
        # Places of random starts are drawn image by image; that of the first is that of `attack`.
        for index in range(5 if method == "fgsm" else 1):
            alone = cv.attack(net, IMAGES[index], method=method, steps=steps, epsilon=epsilon)
            assert curve.answers[row, index] == alone.class_after
        assert curve.accuracy[row] == np.mean(curve.answers[row] == curve.clean)
    assert np.array_equal(curve.answers[0], curve.clean)
    other = cv.attack_curve(net, IMAGES[:5], epsilons, method=method, steps=steps, batch_size=5)
    assert np.array_equal(curve.answers, other.answers)


def test_right_is_what_the_labels_say(net: cv.Network) -> None:
    clean = net.class_scores(net.prepare(IMAGES[:4])).argmax(1).tolist()
    labels: list[Any] = [net.label(clean[0]), clean[1], (clean[2] + 1) % 10, clean[3]]
    curve = cv.attack_curve(net, IMAGES[:4], [0, 1], labels=labels)
    assert curve.accuracy[0] == 0.75
    assert curve.labels.tolist() == [clean[0], clean[1], labels[2], clean[3]]


def test_an_image_that_is_wrong_stays_wrong_whatever_an_attack_does_to_it() -> None:
    # The score of class 0 is a wave; a step down its slope goes past its bottom and up to where class 0 is right.
    def wave(module: Function, x: Tensor) -> Tensor:
        height = torch.cos(2 + 35 * (x.flatten(1)[:, :1] - 100 / 255))
        return torch.cat([height, torch.zeros_like(height)], dim=1)

    net = cv.Network(Function(wave), input=cv.InputSpec(size=1, channels=1))
    curve = cv.attack_curve(net, np.full((1, 1), 100, np.uint8), [0, 0.1], labels=[0], quantize=False)
    assert curve.clean.tolist() == [1]
    assert curve.answers.tolist() == [[1], [0]]
    assert curve.accuracy.tolist() == [0, 0]


def test_rounding_can_be_left_out_of_a_curve() -> None:
    # Below one level nothing is left in 8 bits, while exact numbers change an answer that is on the edge.
    level = scores_of(MIDDLING.transpose(2, 0, 1) / 255)[:2] - BIAS[:2]
    thin = linear(WEIGHT[:2], torch.tensor([0.01, 0.0]) - level)
    with pytest.warns(UserWarning, match="below one level, 1/255, leave .*: 0.00157; take") as said:
        rounded, exact = (
            cv.attack_curve(thin, MIDDLING, [0.4 / 255], quantize=each).accuracy[0] for each in (True, False)
        )
    assert (rounded, exact) == (1, 0)
    assert len(said) == 1


def test_a_curve_that_is_stopped_tells_what_it_has(net: cv.Network) -> None:
    for options in ({"method": "fgsm"}, {"method": "pgd", "steps": 2}):
        steps = cv.attack_curve.steps(net, IMAGES[:4], [0, 8 / 255], batch_size=2, **options)
        taken = []
        while len(taken) < (2 if options["method"] == "fgsm" else 4):
            taken.append(next(steps))
        assert [each.index for each in taken] == list(range(len(taken)))
        assert taken[-1].total == 2 * 2 * (1 if options["method"] == "fgsm" else 2)
        found = cv.attack_curve.finish(steps)
        assert found.accuracy[0] == 1
        assert (found.answers[:, 2:] == -1).all()
        assert (found.answers[0, :2] == found.clean[:2]).all()
    steps = cv.attack_curve.steps(net, IMAGES[:2], [0, 8 / 255])
    next(steps)
    assert np.isnan(cv.attack_curve.finish(steps).accuracy).all()
