"""Activation maximization, where the answer is known; and its options."""

from __future__ import annotations

import html
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnviz_widgets as cv
from benchmarks.quality.channel_images import best_means, crops, network
from cnnviz_widgets.engine.class_odds import exclusive_probabilities
from cnnviz_widgets.engine.errors import InputError
from cnnviz_widgets.engine.optimizers import OPTIMIZERS
from cnnviz_widgets.engine.transforms import Jitter

SPEC = cv.InputSpec(size=7, channels=3, mean=0.5, std=0.25)


def linear_unit(seed: int = 0) -> tuple[cv.Network, torch.Tensor]:
    """A convolution as large as the picture, and the weights of its channel 1."""
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 2, 7))
    return cv.Network(module, input=SPEC), module[0].weight[1].detach()


TARGET = cv.Target(layer="0", channel=1)


def test_under_a_penalty_of_the_norm_a_linear_unit_gives_its_weights() -> None:
    """w x - c |s x|^2 is largest where x is along w: the ball that the penalty stands for has some radius."""
    net, weights = linear_unit()
    found = cv.maximize(
        net, TARGET, parameterization="pixels", transforms=[], weight_decay=2.0, steps=300, rate=0.01
    )
    x = found.inputs[0].ravel()
    w = weights.numpy().ravel()
    assert x @ w / (np.linalg.norm(x) * np.linalg.norm(w)) > 0.9999
    np.testing.assert_allclose(x, w / (2 * 2.0 * 0.25**2), atol=2e-3)


def test_within_black_and_white_a_linear_unit_gives_the_sign_of_its_weights() -> None:
    net, weights = linear_unit()
    found = cv.maximize(net, TARGET, parameterization="pixels", transforms=[], steps=100, rate=0.1)
    white = (weights > 0).permute(1, 2, 0).numpy()
    assert np.array_equal(found.images[0], np.where(white, 255, 0))
    np.testing.assert_allclose(
        found.values, [weights.abs().sum().item() * 2 + net.module[0].bias[1].item()], rtol=1e-5
    )


@pytest.mark.parametrize("parameterization", ["fourier", "phase"])
def test_spectra_come_close_to_it(parameterization: Any) -> None:
    net, weights = linear_unit()
    found = cv.maximize(net, TARGET, parameterization=parameterization, transforms=[], steps=300)
    agree = np.sign(found.inputs[0]) == np.sign(weights.numpy())
    assert agree.mean() > 0.75
    assert found.curves["target"][-1] > 5 * abs(found.curves["target"][0])


def test_class_images_of_the_sample_network_are_of_their_class() -> None:
    """From pixels of 8 bits. All hundred classes: python -m benchmarks.quality.class_images."""
    net = cv.samples.squeezenet()
    classes = [207, 340]
    found = cv.maximize(net, classes, steps=48, size=160)
    for index, image in zip(classes, found.images, strict=True):
        top = net.predict(image, k=1)
        assert top.indices.tolist() == [index]
    assert found.targets == ("207", "340")


def test_channel_images_excite_their_channel_more_than_any_crop_of_the_photos() -> None:
    """Three channels and 50 crops. Sixty and 1,000: python -m benchmarks.quality.channel_images."""
    net, layer = network(64), "features.7"
    best = best_means(net, crops(50, 64), layer)
    channels = np.random.default_rng(0).choice(len(best), 3, replace=False).tolist()
    found = cv.maximize(net, [cv.Target(layer=layer, channel=each) for each in channels], steps=48)
    for channel, image in zip(channels, found.images, strict=True):
        assert best_means(net, [image], layer)[channel] > best[channel] > 0


def test_values_are_those_of_the_pictures_shown() -> None:
    net = cv.samples.fashion_cnn()
    found = cv.maximize(net, [cv.Target(1), cv.Target(2, of="probability"), 2], steps=20)
    scores = net.class_scores(net.prepare(list(found.images)))
    odds = scores[1:, 2] - torch.cat([scores[1:, :2], scores[1:, 3:]], 1).logsumexp(1)
    expected = [scores[0, 1], odds[0], odds[1] + scores[2, 2]]
    np.testing.assert_allclose(found.values, [each.item() for each in expected], rtol=1e-4)
    assert scores.argmax(1).tolist() == [1, 2, 2]


def test_copies_that_must_differ_do() -> None:
    net = cv.samples.fashion_cnn()
    target = cv.Target(layer="conv2", channel=3)
    alike, different = (
        cv.maximize(net, target, copies=3, diversity=weight, steps=30) for weight in (1e-6, 3.0)
    )

    def alikeness(images: np.ndarray) -> float:
        with cv.capture(net, ["conv2"]) as seen:
            net(net.prepare(list(images)))
        flat = seen["conv2"].flatten(2)
        grams = torch.stack([one @ one.T for one in flat]).flatten(1)
        cosines = torch.cosine_similarity(grams[:, None], grams[None], dim=2)
        return float(cosines.sum() - 3) / 6

    assert alikeness(different.images) < alikeness(alike.images) - 0.05
    first = different.curves["alikeness"][0] / 3.0
    assert first.shape == (3,)
    assert (first <= 2 + 1e-5).all()  # two others, each with a cosine of at most 1


def test_it_goes_on_from_a_picture() -> None:
    net = cv.samples.fashion_cnn()
    half = cv.maximize(net, 4, steps=15)
    more = cv.maximize(net, 4, steps=1, start=half.images, transforms=[])
    assert more.curves["target"][0, 0] == pytest.approx(half.values[0], rel=0.05)
    stay = cv.maximize(
        net, 4, steps=1, rate=1e-9, start=half.images, parameterization="pixels", transforms=[]
    )
    assert np.array_equal(stay.images, half.images)


def test_stopped_half_way_there_is_a_result() -> None:
    net = cv.samples.fashion_cnn()
    steps = cv.maximize.steps(net, 4, steps=50)
    taken = [next(steps) for _ in range(3)]
    found = cv.maximize.finish(steps)
    assert found.steps == 3
    assert found.curves["target"].shape == (3, 1)
    assert np.array_equal(taken[-1].image, found.images[0])


def test_a_unit_that_nothing_can_wake_is_an_error() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    nn.init.zeros_(module[0].weight)
    nn.init.constant_(module[0].bias, -1.0)
    net = cv.Network(module, input=SPEC)
    with pytest.raises(ValueError, match=r"gradient of Target.* is zero everywhere"):
        cv.maximize(net, cv.Target(layer="1", channel=0), steps=20)


def test_networks_of_other_channels_have_numbers_but_no_pictures() -> None:
    net = cv.Network(
        nn.Sequential(nn.Conv2d(5, 2, 3)), input=cv.InputSpec(size=6, channels=5, mean=0.5, std=0.2)
    )
    found = cv.maximize(net, cv.Target(layer="0", channel=1), steps=3)
    assert found.images.shape == (1, 0, 0, 3)
    assert found.inputs.shape == (1, 5, 6, 6)
    assert found._repr_png_() is None
    assert found._repr_html_() is None


def test_a_bare_result_shows_each_target_and_its_value() -> None:
    net, _ = linear_unit()
    found = cv.maximize(net, [TARGET, cv.Target(layer="0", channel=0)], steps=2)
    captions = re.findall("<figcaption[^>]*>(.*?)</figcaption>", found._repr_html_())
    assert [html.unescape(each) for each in captions] == [
        f"Target(layer='0', channel={channel})<br>value {value:.4g}"
        for channel, value in zip((1, 0), found.values, strict=True)
    ]


def test_results_come_back_from_a_file(tmp_path: Any) -> None:
    found = cv.maximize(cv.samples.fashion_cnn(), [0, 1], steps=2, total_variation=0.01, smoothness=0.1)
    assert cv.load_result(found.save(tmp_path / "found.npz")) == found
    assert set(found.curves) == {"target", "total variation", "roughness"}
    assert (found.curves["total variation"] >= 0).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"parameterization": "wavelet"}, "got 'wavelet'"),
        ({"steps": 0}, "got 0"),
        ({"copies": 2, "diversity": -1.0}, "diversity .* got -1"),
        ({"copies": 2, "diversity": "a"}, "diversity must be a number from 0, got 'a'"),
        ({"copies": 2, "diversity": float("nan")}, "diversity .* got nan"),
        ({"smoothness": "a"}, "smoothness .* got 'a'"),
        ({"optimizer": "climb"}, "got 'climb'"),
        ({"rate": "fast"}, "rate must be a number above 0, got 'fast'"),
        ({"rate": lambda index: 0.1}, "rate must be a number above 0, got <function"),
        ({"diversity": 1.0}, "copies=1"),
        ({"rate": -1.0}, "got -1"),
        ({"total_variation": -1.0}, "got -1"),
        ({"optimizer": "lbfgs", "transforms": [Jitter(1)]}, "leave out the transforms"),
        ({"copies": 1000}, "1000 pictures at once"),
        ({"size": (1, 2, 3)}, "height and width"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    net, _ = linear_unit()
    with pytest.raises(ValueError, match=text):
        cv.maximize(net, TARGET, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_works_or_is_refused(name: Any) -> None:
    net, _ = linear_unit()
    if name == "adaptive":  # of inversion alone
        with pytest.raises(ValueError, match=r"optimizer is one of 'adam', .*; got 'adaptive'"):
            cv.maximize(net, TARGET, optimizer=name)
    else:
        assert cv.maximize(net, TARGET, optimizer=name, steps=1).optimizer == name


def test_what_is_no_transform_and_no_target_is_said() -> None:
    net, _ = linear_unit()
    with pytest.raises(TypeError, match=r"transforms takes a list.* got Jitter\(pixels=2"):
        cv.maximize(net, TARGET, transforms=Jitter(2))
    with pytest.raises(TypeError, match="got 'jitter' among them"):
        cv.maximize(net, TARGET, transforms=["jitter"])
    with pytest.raises(TypeError, match=r"a label, an index or a function, got array\(3\)"):
        cv.maximize(net, np.array(3))


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        ("adam", (0.05, 0.3, 0.05)),
        ("sign", (0.05, 0.3, 0.05)),
        ("normalized", (0.02, 0.02, 0.02)),
        ("unit", (5.0, 5.0, 5.0)),
        ("momentum", (0.01, 0.01, 0.001)),
        ("lbfgs", (1.0, 1.0, 1.0)),
    ],
)
def test_rates_left_out_are_those_that_the_docstring_says(optimizer: Any, rates: tuple[float, ...]) -> None:
    net, _ = linear_unit()
    for name, rate in zip(("fourier", "phase", "pixels"), rates, strict=True):
        options: dict[str, Any] = {
            "parameterization": name,
            "optimizer": optimizer,
            "steps": 1,
            "transforms": [],
        }
        found = cv.maximize(net, TARGET, **options)
        assert found.rate == rate
        assert np.array_equal(found.inputs, cv.maximize(net, TARGET, rate=rate, **options).inputs)


def test_log_odds_are_log_odds_within_a_combination_too() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 49, 3))
    net = cv.Network(module, input=SPEC)
    odds = cv.Target(0, of="probability")
    alone, twice = (cv.maximize(net, each, steps=2, transforms=[], rate=0.001) for each in (odds, 1.0 * odds))
    assert alone.targets == twice.targets == ("log odds of 0",)
    assert np.array_equal(alone.curves["target"], twice.curves["target"])
    both = cv.maximize(net, odds - cv.Target(1, of="probability"), steps=1, transforms=[])
    assert both.targets == ("log odds of 0 + -1 * log odds of 1",)
    p = module(torch.from_numpy(net.prepare(both.images[0]).numpy())).softmax(1)[0].tolist()
    assert both.values[0] == pytest.approx(np.log(p[0] / (1 - p[0])) - np.log(p[1] / (1 - p[1])), rel=1e-4)


def test_a_result_carries_what_made_it() -> None:
    net, _ = linear_unit()
    options: dict[str, Any] = {
        "copies": 2,
        "diversity": 1.0,
        "total_variation": 0.1,
        "weight_decay": 0.2,
        "smoothness": 0.3,
        "seed": 4,
        "rate": 0.01,
    }
    running = cv.maximize.steps(net, TARGET, steps=5, transforms=[Jitter(1)], **options)
    next(running)
    found = cv.maximize.finish(running)
    assert {name: getattr(found, name) for name in options} == options
    assert (found.steps, found.planned_steps, found.start) == (1, 5, "noise")
    assert found.transforms == ("Jitter(pixels=1, roll=False)",)
    again = cv.maximize(net, TARGET, start=found.images[0], steps=1)
    assert (again.start, len(again.transforms)) == ("picture", 6)


@pytest.mark.parametrize("target", [1, cv.Target(layer="0", channel=1)])
def test_a_size_for_which_the_network_fails_is_named(target: Any) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = cv.Network(module, input=SPEC)
    with pytest.raises(InputError, match=r"fails for a picture of 5 x 6 pixels .*; it may be too small"):
        cv.maximize(net, target, size=(5, 6), steps=2)
    assert cv.maximize(net, target, size=(9, 8), steps=2).images.shape == (1, 9, 8, 3)


def test_a_channel_that_stays_below_0_is_said() -> None:
    net, _ = linear_unit()
    net.module[0].bias.data[1] = -1000
    with pytest.warns(
        UserWarning, match=r"below 0 after all steps: Target\(layer='0', channel=1\) -9\d\d; a"
    ):
        cv.maximize(net, [cv.Target(layer="0", channel=0), TARGET], steps=20)
    steps = cv.maximize.steps(net, TARGET, steps=20)
    next(steps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cv.maximize.finish(steps)
        cv.maximize(net, -TARGET, steps=2)


def test_a_picture_that_is_taken_for_another_class_is_said() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 7), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        module[0].bias.copy_(torch.tensor([1000.0, 0.0, 0.0]))
    net = cv.Network(module, input=SPEC, labels=["sky", "cat", "dog"])
    said = (
        r"taken for another class by the network \(probability\): 'cat' \(0\) for 'sky' \(1\); 'dog' \(0\) for "
        r"'sky' \(1\)\. Take more steps, total_variation below \d"
    )
    with pytest.warns(UserWarning, match=said):
        cv.maximize(net, ["sky", "cat", "dog", cv.Target("cat")], steps=4)
    with pytest.warns(UserWarning, match=r": 'cat' \(0\) for 'sky' \(1\)\. Take more steps, another seed"):
        cv.maximize(net, "cat", steps=4, parameterization="phase", copies=3)  # said once


class Answers(nn.Module):
    """Class scores that hang on the picture only a little."""

    def __init__(self, *scores: float) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, x: Tensor) -> Tensor:
        return torch.tensor(self.scores) + 1e-6 * x.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("scores", [(1.0, 1.0, 0.0), (1.0, 5.0, 0.0), (0.9, 0.5, 0.3), (2.0,)])
def test_nothing_is_said_where_no_other_class_is_more_probable(scores: tuple[float, ...]) -> None:
    """At a tie, and where classes do not exclude each other, either."""
    net = cv.Network(Answers(*scores), input=SPEC)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cv.maximize(net, 1, steps=2, total_variation=0, smoothness=0)


def test_probabilities_of_classes_that_exclude_each_other() -> None:
    def told(*scores: float) -> Any:
        return exclusive_probabilities(cv.Network(Answers(*scores), input=SPEC), torch.zeros(2, 3, 7, 7))

    expected = torch.tensor([1.0, 5.0, 0.0]).softmax(0).expand(2, 3)
    torch.testing.assert_close(told(1.0, 5.0, 0.0), expected)
    torch.testing.assert_close(told(0.2, 0.7, 0.1), torch.tensor([0.2, 0.7, 0.1]).expand(2, 3))
    torch.testing.assert_close(told(2.0), torch.tensor([-2.0, 2.0]).sigmoid().expand(2, 2))
    assert told(0.9, 0.5, 0.3).isnan().all()
    assert told(1.0, torch.nan, 0.0).isnan().all()


def test_class_images_have_a_prior_unless_it_is_given() -> None:
    net = cv.samples.fashion_cnn()

    def weights(target: Any, **options: Any) -> tuple[float, float]:
        found = cv.maximize(net, target, steps=1, **options)
        assert set(found.curves) == {"target"} | ({"total variation"} if found.total_variation else set()) | (
            {"roughness"} if found.smoothness else set()
        )
        return found.total_variation, found.smoothness

    noise = torch.randn((1, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    spread = float(net.module.eval()(noise).std())
    usual = weights("Bag")
    assert usual == weights([0, 1]) == pytest.approx((0.04 * spread, 0.012 * spread), rel=5e-3)
    assert weights("Bag", total_variation=0) == (0, usual[1])
    assert weights("Bag", total_variation=2.0, smoothness=0.0) == (2.0, 0)
    assert weights(cv.Target("Bag")) == (0, 0)
    # Beside another target it is that of the class alone.
    both = cv.maximize(net, ["Bag", cv.Target("Bag")], steps=1)
    assert (both.total_variation, both.smoothness) == usual
    for name in ("total variation", "roughness"):
        assert both.curves[name][0, 0] > both.curves[name][0, 1] == 0
    assert weights("Bag", parameterization="phase") == (0, 0)


def test_a_combination_shows_itself_as_one_writes_it() -> None:
    assert (
        repr(TARGET - 0.5 * cv.Target(layer="0", channel=0))
        == f"{TARGET!r} + -0.5 * {cv.Target(layer='0', channel=0)!r}"
    )


def test_targets_that_are_not_there_are_named() -> None:
    net = cv.samples.squeezenet()
    with pytest.raises(LookupError, match="did you mean 'tabby'"):
        cv.maximize(net, "taby", steps=1, size=64)
    with pytest.raises(LookupError, match=r"did you mean 'features\.3'"):
        cv.maximize(net, cv.Target(layer="feature.3", channel=1), steps=1, size=64)
    with pytest.raises(ValueError, match="channels 0 to"):
        cv.maximize(net, cv.Target(layer="features.3", channel=9999), steps=1, size=64)
    with pytest.raises(ValueError, match="empty list"):
        cv.maximize(net, [], steps=1)
