"""Kernels: trained ones are told from noise on the networks that ship, planted ones are found."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.duplicates import transformed
from cnnviz_widgets.engine.errors import LayerNotFoundError, WeightsError
from cnnviz_widgets.methods.kernels import Kernels, kernels

SCRIPT = Path(__file__).parents[2] / "scripts" / "measure_roughness.py"
LATER = [each.name for each in cv.samples.fashion_cnn_checkpoints() if each.epoch >= 1]


@pytest.fixture(scope="module")
def squeezenet() -> cv.Network:
    return cv.samples.squeezenet()


@pytest.fixture(scope="module")
def first(squeezenet: cv.Network) -> Kernels:
    return kernels(squeezenet, "features.0")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("measure_roughness", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network_of(weights: np.ndarray, **options) -> cv.Network:
    groups = options.get("groups", 1)
    count, channels, *size = weights.shape
    layer = nn.utils.skip_init(nn.Conv2d, channels * groups, count, tuple(size), **options)
    layer.weight.data = torch.tensor(weights, dtype=torch.float32)
    layer.bias.data.zero_()
    return cv.Network(nn.Sequential(layer), input=cv.InputSpec(size=64, channels=channels * groups))


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def waves(count: int, channels: int, size: int, seed: int = 0) -> np.ndarray:
    """Draw smooth kernels: slow waves in any direction, in one color each."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    angle, phase = generator.uniform(0, 2 * np.pi, (2, count, 1, 1))
    maps = np.cos(3 * (rows * np.cos(angle) + columns * np.sin(angle)) + phase)
    return (generator.normal(size=(count, channels, 1, 1)) * maps[:, None]).astype(np.float32)


# Trained and random


@pytest.mark.parametrize(
    ("layer", "least"),
    [
        ("features.0", 0.97),
        ("features.3.expand3x3", 0.96),
        ("features.6.expand3x3", 0.98),
        ("features.12.expand3x3", 0.98),
    ],
)
def test_percentiles_tell_single_kernels_of_squeezenet_from_random_ones(
    squeezenet: cv.Network, script, layer: str, least: float
) -> None:
    trained = kernels(squeezenet, layer)
    random = network_of(script.random_kernels((300, *trained.weights.shape[1:]), seed=1))
    assert area(trained, kernels(random, "0", min_similarity=1)) > least


def area(trained: Kernels, random: Kernels) -> float:
    """Return the area under the curve: how often a random kernel stands above a trained one."""
    above = 0.0
    for one in trained.percentile:
        for other in random.percentile:
            above += 1 if other > one else 0.5 if other == one else 0
    return above / len(trained.percentile) / len(random.percentile)


@pytest.mark.parametrize(
    ("checkpoint", "least"), [("epoch-1", 0.93), ("epoch-2", 0.95), ("epoch-8", 0.95), ("trained", 0.95)]
)
def test_percentiles_tell_single_kernels_of_fashion_cnn_from_random_ones(
    script, checkpoint: str, least: float
) -> None:
    trained = kernels(cv.samples.fashion_cnn(checkpoint), "conv1")
    random = kernels(network_of(script.random_kernels((300, 1, 7, 7), seed=1)), "0")
    assert area(trained, random) > least


def test_the_script_measures_the_same_area(script) -> None:
    trained = kernels(cv.samples.fashion_cnn("epoch-1"), "conv1")
    random = kernels(network_of(script.random_kernels((1000, 1, 7, 7), seed=1)), "0", min_similarity=1)
    measured, alone = script.measure(trained.weights)
    assert measured == pytest.approx(area(trained, random))
    # One channel: roughness is the high-frequency share.
    assert alone == pytest.approx(measured, abs=0.02)


def test_first_layers_of_trained_networks_are_structured(first: Kernels) -> None:
    assert first.layer_verdict == "structured"
    for checkpoint in LATER:
        for layer in ("conv1", "conv2"):
            result = kernels(cv.samples.fashion_cnn(checkpoint), layer)
            assert (result.layer_verdict, result.layer_p_value) == ("structured", 0.005)
    assert len(LATER) >= 10


def test_random_starts_are_like_noise() -> None:
    starts = [kernels(cv.samples.fashion_cnn("random"), layer) for layer in ("conv1", "conv2")]
    assert [each.layer_verdict for each in starts] == ["like noise"] * 2
    structured = smooth = noisy = count = 0
    for seed in range(150):
        result = kernels(cv.Network(cv.samples.fashion_cnn_module(seed=seed)), "conv1", seed=seed)
        structured += result.layer_verdict == "structured"
        smooth += result.verdicts.count("smooth")
        noisy += result.verdicts.count("noisy")
        count += len(result.verdicts)
    # 1 %, 2 % and 90 % are the rates by construction; 150 layers and 2400 kernels leave this much to chance.
    assert structured <= 6
    assert smooth / count < 0.035
    assert 0.87 < noisy / count < 0.93


def test_verdicts_on_trained_kernels(first: Kernels) -> None:
    assert first.verdicts.count("smooth") > 36
    assert first.verdicts.count("noisy") <= 3
    trained = kernels(cv.samples.fashion_cnn(), "conv1")
    assert trained.verdicts.count("smooth") >= 14
    random = kernels(cv.samples.fashion_cnn("random"), "conv1")
    assert random.verdicts.count("smooth") == 0


def test_planted_noise_is_found_and_only_that() -> None:
    found = wrong = 0
    for seed in range(20):
        weights = waves(24, 3, 5, seed)
        places = np.random.default_rng(seed).choice(24, 5, replace=False)
        weights[places] = noise((5, 3, 5, 5), seed)
        result = kernels(network_of(weights), "0", seed=seed)
        noisy = {index for index, verdict in enumerate(result.verdicts) if verdict == "noisy"}
        found += len(noisy & set(places.tolist()))
        wrong += len(noisy - set(places.tolist()))
        assert all(result.verdicts[index] == "smooth" for index in set(range(24)) - set(places.tolist()))
        assert result.layer_verdict == "structured"
    assert wrong == 0
    assert found > 82  # of 100; 90 by construction


def test_a_pattern_shared_by_all_channels_is_ordered_but_not_smooth() -> None:
    board = (-1.0) ** np.add.outer(np.arange(5), np.arange(5))
    result = kernels(network_of(np.stack([board, 2 * board, -board])[None].astype(np.float32)), "0")
    assert result.incoherence[0] == pytest.approx(0, abs=1e-6)
    assert result.verdicts == ("mixed",)
    assert "ordered" in result.reasons[0]


# All kinds of layers


def test_little_evidence_gives_no_verdict() -> None:
    small = kernels(network_of(noise((64, 1, 3, 3), 3), groups=1), "0")
    assert set(small.verdicts) <= {"cannot tell", "smooth", "mixed"}
    assert small.verdicts.count("cannot tell") > 58
    assert small.layer_verdict == "like noise"
    assert "9 entries" in small.reasons[small.verdicts.index("cannot tell")]
    tiny = kernels(network_of(noise((2, 1, 2, 2))), "0")
    assert tiny.verdicts == ("cannot tell",) * 2
    assert tiny.layer_verdict == "cannot tell"


def test_smooth_depthwise_kernels_are_told_together() -> None:
    result = kernels(network_of(waves(32, 1, 3), groups=32), "0")
    assert result.layer_verdict == "structured"
    assert "noisy" not in result.verdicts


def test_1x1_layers_are_matrices(squeezenet: cv.Network) -> None:
    result = kernels(squeezenet, "features.3.squeeze")
    assert result.matrix.shape == (16, 64)
    np.testing.assert_array_equal(
        result.matrix, squeezenet.core.features[3].squeeze.weight[:, :, 0, 0].detach()
    )
    assert set(result.verdicts) == {"cannot tell"}
    assert result.layer_verdict == "cannot tell"
    assert np.isnan(result.layer_p_value)
    assert np.isnan(result.percentile).all()


def test_zero_kernels_count_for_nothing() -> None:
    weights = np.concatenate(
        [waves(10, 3, 5), 1e-4 * noise((20, 3, 5, 5)), np.zeros((2, 3, 5, 5), np.float32)]
    )
    weights[25] = 1e-4 * weights[3]  # a copy, but of no weight
    result = kernels(network_of(weights), "0")
    assert result.verdicts[10:] == ("zero",) * 22
    assert result.verdicts[:10] == ("smooth",) * 10
    assert result.layer_verdict == "structured"
    members = {int(member) for group in result.duplicates for member in group.members}
    assert members <= set(range(10))
    assert np.isnan(result.roughness[30:]).all()
    hidden = np.concatenate([noise((10, 3, 5, 5)), 1e-4 * waves(40, 3, 5)])
    assert kernels(network_of(hidden), "0").layer_verdict == "like noise"
    assert kernels(network_of(hidden), "0", zero_below=0).layer_verdict == "structured"
    nothing = kernels(network_of(np.zeros((3, 3, 5, 5), np.float32)), "0")
    assert (nothing.verdicts, nothing.layer_verdict) == (("zero",) * 3, "cannot tell")
    assert nothing.duplicates == ()


def test_constant_kernels_are_flat_in_any_order() -> None:
    weights = np.ones((3, 1, 5, 5), np.float32)
    weights[1] += 0.001 * noise((1, 5, 5))
    result = kernels(network_of(weights), "0")
    assert result.verdicts == ("cannot tell",) * 3
    assert "flat in any order" in result.reasons[0]


def test_channels_of_groups_count_over_the_layer() -> None:
    weights = noise((6, 2, 3, 3))
    result = kernels(network_of(weights, groups=3), "0")
    assert result.groups == 3
    assert result.readers(3).tolist() == [2, 3]
    np.testing.assert_array_equal(result.by_input(3), weights[2:4, 1])
    np.testing.assert_array_equal(result.by_input(4), weights[4:6, 0])
    for outside in (6, -1):
        with pytest.raises(IndexError, match=f"input channel {outside} is out of range; there are 6"):
            result.by_input(outside)


def test_norms_against_loops(first: Kernels) -> None:
    assert first.norms.shape == (64, 3)
    for output, channel in ((0, 0), (63, 2)):
        assert first.norms[output, channel] == pytest.approx(np.linalg.norm(first.weights[output, channel]))
    np.testing.assert_array_equal(first.by_input(1), first.weights[:, 1])


# Duplicates


@pytest.mark.parametrize("shape", [(48, 3, 5, 5), (48, 1, 7, 7), (64, 16, 3, 3)])
def test_planted_duplicates_are_found_and_only_those(shape: tuple[int, ...]) -> None:
    weights = noise(shape, 2)
    weights[7] = -2 * transformed(weights[3], "rotate 90")
    weights[30] = transformed(weights[3], "flip up-down") + 0.05 * noise(shape[1:], 5)
    weights[40] = transformed(weights[21], "rotate 270") + 0.05 * noise(shape[1:], 6)
    one, other = kernels(network_of(weights), "0").duplicates
    assert one.members.tolist() == [3, 7, 30]
    assert one.transforms == ("identity", "rotate 90", "flip up-down")
    assert one.negated.tolist() == [False, True, False]
    assert other.members.tolist() == [21, 40]
    assert other.transforms[1] == "rotate 270"
    assert 0.99 < other.similarity[1] < 1


def test_random_layers_hold_no_duplicates_and_trained_ones_do(first: Kernels) -> None:
    assert sum(len(kernels(network_of(noise((64, 3, 3, 3), seed)), "0").duplicates) for seed in range(8)) <= 2
    assert len(first.duplicates) > 5
    assert first.duplicate_threshold == 0.9


# The result


def test_the_same_seed_gives_the_same_result_and_reads_back(first: Kernels, squeezenet, tmp_path) -> None:
    again = kernels(squeezenet, "features.0")
    assert again == first
    assert cv.load_result(first.save(tmp_path / "kernels.npz")) == first
    other = kernels(squeezenet, "features.0", seed=1)
    assert (other.shuffled_roughness != first.shuffled_roughness).any()
    np.testing.assert_array_equal(other.roughness, first.roughness)


def test_the_public_name_is_the_method() -> None:
    assert cv.kernels is kernels
    assert cv.Kernels is Kernels


def test_options_are_kept_and_used(squeezenet: cv.Network) -> None:
    result = kernels(squeezenet, "features.0", noisy_percentile=99, smooth_ratio=5, shuffles=99)
    assert "noisy" not in result.verdicts
    assert result.verdicts.count("smooth") > 55
    assert result.thresholds["noisy_percentile"] == 99
    assert result.thresholds["min_entries"] == 25
    assert result.shuffles == 99
    assert np.allclose(result.percentile % 1, 0)
    few = kernels(squeezenet, "features.0", min_entries=28)
    assert "noisy" not in few.verdicts
    strict = kernels(squeezenet, "features.0", min_similarity=0.99)
    assert strict.duplicate_threshold == strict.min_similarity == 0.99
    assert 0 < len(strict.duplicates) < len(kernels(squeezenet, "features.0").duplicates)
    assert all((group.similarity > 0.99).all() for group in strict.duplicates)


def test_a_call_of_a_layer_has_the_kernels_of_the_layer(first: Kernels, squeezenet: cv.Network) -> None:
    assert kernels(squeezenet, ("features.0", 0)) == first


def test_the_bare_result_shows_colors(first: Kernels) -> None:
    picture = Image.open(io.BytesIO(first._repr_png_()))
    np.testing.assert_array_equal(np.asarray(picture), first.picture())
    assert first.in_color
    assert first.colors().shape == (64, 3, 3, 3)
    assert "64 of 3x3x3" in repr(first)
    assert "structured" in repr(first)
    gray = kernels(cv.samples.fashion_cnn(), "conv1")
    assert not gray.in_color
    assert gray._repr_png_().startswith(b"\x89PNG")


def test_large_layers_show_a_small_picture(squeezenet: cv.Network) -> None:
    assert len(kernels(squeezenet, "features.12.expand3x3")._repr_png_()) < 600_000


def test_views_that_a_layer_does_not_have() -> None:
    gray = kernels(cv.samples.fashion_cnn(), "conv1")
    with pytest.raises(
        ValueError, match="only kernels of 3 input channels have colors; those of 'conv1' have 1"
    ):
        gray.colors()
    with pytest.raises(ValueError, match="has kernels of 7x7; only those of 1x1 are a matrix"):
        _ = gray.matrix


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (
            "features.1",
            WeightsError,
            "is a ReLU, .* nearest with kernels are 'features.0', 'features.3.squeeze'",
        ),
        ("feature.0", LayerNotFoundError, "did you mean 'features.0'"),
        (0, TypeError, "a layer is a name"),
    ],
)
def test_layers_without_kernels_are_refused(squeezenet, layer, error, message: str) -> None:
    with pytest.raises(error, match=message):
        kernels(squeezenet, layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shuffles": 0}, "shuffles must be a whole number from 1, got 0"),
        ({"shuffles": 9.5}, "shuffles must be a whole number from 1, got 9.5"),
        ({"shuffles": 20}, "give shuffles=99 or more"),
        ({"seed": -1}, "seed must be a whole number from 0, got -1"),
        ({"min_similarity": 0}, "min_similarity is a cosine above 0 and up to 1; got 0"),
        ({"max_chance": 0}, "expected number above 0; got .* 0"),
        ({"smooth_percentile": 30}, "smooth_percentile <= noisy_percentile"),
    ],
)
def test_options_that_make_no_sense_are_refused(squeezenet, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernels(squeezenet, "features.0", **options)


def test_the_network_and_the_random_states_stay_as_they_were() -> None:
    module = cv.samples.fashion_cnn().core.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    random = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    kernels(cv.Network(module), "conv1").weights[:] = 0
    assert module.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random[0])
    assert np.random.get_state()[1].tobytes() == random[1]  # noqa: NPY002
