from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cnnviz_widgets import samples
from cnnviz_widgets.engine.errors import CnnvizError

CHECKPOINTS = samples.fashion_cnn_checkpoints()
LAYERS = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "fc1", "relu3", "dropout", "fc2")


@pytest.fixture(scope="module")
def test_set() -> tuple[Tensor, Tensor]:
    images, labels = samples.fashion_mnist("test")
    return samples.fashion_cnn().prepare(list(images)), torch.from_numpy(labels)


def stored(name: str) -> dict[str, np.ndarray]:
    path = next(each.path for each in CHECKPOINTS if each.name == name)
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def test_input_is_normalized_by_the_training_images() -> None:
    images, _ = samples.fashion_mnist("train")
    assert abs(samples.FASHION_MEAN - images.mean() / 255) < 1e-4
    assert abs(samples.FASHION_STD - images.std() / 255) < 1e-4
    x = samples.fashion_input().prepare(list(images[:50]))
    assert x.shape == (50, 1, 28, 28)
    expected = (images[:50, None] / 255.0 - samples.FASHION_MEAN) / samples.FASHION_STD
    np.testing.assert_allclose(x.numpy(), expected, atol=1e-6)


def test_there_are_enough_checkpoints_and_they_are_small() -> None:
    assert len(CHECKPOINTS) >= 10
    files = [each.path for each in CHECKPOINTS]
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert sorted(files[0].parent.glob("*.npz")) == sorted(files)
    assert len({each.name for each in CHECKPOINTS}) == len(CHECKPOINTS)


def test_checkpoints_run_from_the_random_start_to_the_end_closer_together_early_on() -> None:
    assert CHECKPOINTS[0].name == "random"
    assert CHECKPOINTS[-1].name == "trained"
    assert CHECKPOINTS[0].step == 0
    gaps = np.diff([each.step for each in CHECKPOINTS])
    assert (gaps > 0).all()
    assert (np.diff(gaps) >= 0).all()
    for each in CHECKPOINTS:
        assert each.epoch == pytest.approx(each.step / 200)


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda each: each.name)
def test_stored_accuracy_is_what_all_test_images_give(
    checkpoint: samples.FashionCheckpoint, test_set: tuple[Tensor, Tensor]
) -> None:
    x, labels = test_set
    scores = samples.fashion_cnn(checkpoint.name)(x)
    right = int((scores.argmax(1) == labels).sum())
    # Another processor rounds differently: an image or two on the border may go the other way.
    assert abs(right - round(1000 * checkpoint.test_accuracy)) <= 2


def test_training_pays(test_set: tuple[Tensor, Tensor]) -> None:
    accuracy = {each.name: each.test_accuracy for each in CHECKPOINTS}
    assert accuracy["trained"] >= 0.85
    assert accuracy["trained"] == max(accuracy.values())
    assert accuracy["random"] < 0.2
    assert 0.5 < accuracy["epoch-1"] < accuracy["trained"]


def test_layers_have_readable_names_and_the_classic_order() -> None:
    net = samples.fashion_cnn()
    assert tuple(layer.name for layer in net.layers) == LAYERS
    kinds = [type(each) for each in net.module.children()]
    assert kinds == [
        *(nn.Conv2d, nn.ReLU, nn.MaxPool2d) * 2,
        *(nn.Linear, nn.ReLU, nn.Dropout, nn.Linear),
    ]
    shapes = [layer.output_shape for layer in net.layers]
    assert shapes == [
        *[(16, 28, 28)] * 2,
        (16, 14, 14),
        *[(32, 10, 10)] * 2,
        (32, 5, 5),
        *[(48,)] * 3,
        (10,),
    ]
    # 16*49+16, 32*16*25+32, 48*800+48, 10*48+10
    assert sum(layer.parameters for layer in net.layers) == 52_570
    assert net.labels == samples.FASHION_LABELS


def test_module_is_in_evaluation_mode_and_float32() -> None:
    module = samples.fashion_cnn().module
    assert not any(each.training for each in module.modules())
    assert all(each.dtype == torch.float32 and each.requires_grad for each in module.parameters())


def test_dropout_drops_in_training_and_not_in_evaluation(test_set: tuple[Tensor, Tensor]) -> None:
    module = samples.fashion_cnn().module
    x = test_set[0][:50]
    with torch.no_grad():
        assert torch.equal(module(x), module(x))
        with torch.random.fork_rng(devices=[]):
            module.train()
            assert not torch.equal(module(x), module(x))


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda each: each.name)
def test_weights_are_the_stored_float16_ones(checkpoint: samples.FashionCheckpoint) -> None:
    state = samples.fashion_cnn(checkpoint.step).module.state_dict()
    arrays = stored(checkpoint.name)
    assert set(state) == set(arrays)
    for key, values in arrays.items():
        assert values.dtype == np.float16
        assert np.isfinite(values).all()
        assert np.array_equal(state[key].numpy(), values.astype(np.float32))


def test_a_step_and_a_name_give_the_same_network() -> None:
    by_name = samples.fashion_cnn("epoch-1").module.state_dict()
    for step in (200, np.int64(200)):
        by_step = samples.fashion_cnn(step).module.state_dict()  # type: ignore[arg-type]
        assert all(torch.equal(by_name[key], by_step[key]) for key in by_name)


def test_the_random_checkpoint_is_the_untrained_module() -> None:
    fresh = samples.fashion_cnn_module().state_dict()
    for key, values in stored("random").items():
        assert np.array_equal(fresh[key].numpy().astype(np.float16), values)


def test_untrained_weights_follow_the_stated_distribution() -> None:
    # Pooled over seeds, so that the standard deviation is known to about one percent.
    expected = {
        "conv1": 0.3 * (2 / 49) ** 0.5,
        "conv2": (2 / (16 * 25)) ** 0.5,
        "fc1": (2 / 800) ** 0.5,
        "fc2": (2 / 48) ** 0.5,
    }
    modules = [samples.fashion_cnn_module(seed=seed) for seed in range(12)]
    for name, std in expected.items():
        layers = [getattr(module, name) for module in modules]
        weights = torch.stack([layer.weight.detach() for layer in layers])
        assert float(weights.std()) == pytest.approx(std, rel=0.03)
        assert abs(float(weights.mean())) < 0.05 * std
        assert all(not layer.bias.any() for layer in layers)


def test_a_seed_decides_the_start() -> None:
    first, again, other = (samples.fashion_cnn_module(seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)
    with pytest.raises(TypeError):
        samples.fashion_cnn_module(seed="5")  # type: ignore[arg-type]


def neighbor_correlation(kernels: np.ndarray) -> float:
    """Correlation of values that lie beside or below each other in a kernel."""
    centered = kernels - kernels.mean((1, 2), keepdims=True)
    products = (centered[:, 1:] * centered[:, :-1]).mean() + (centered[:, :, 1:] * centered[:, :, :-1]).mean()
    return float(products / 2 / (centered**2).mean())


def test_first_kernels_start_as_noise_and_end_smooth() -> None:
    start = neighbor_correlation(stored("random")["conv1.weight"][:, 0].astype(float))
    epoch = neighbor_correlation(stored("epoch-1")["conv1.weight"][:, 0].astype(float))
    end = neighbor_correlation(stored("trained")["conv1.weight"][:, 0].astype(float))
    # 16 kernels of 49 values: the correlation of noise is within about 3 / sqrt(1344) of zero.
    assert abs(start) < 0.09
    assert epoch > 0.3
    assert end > 0.4


def test_no_unit_of_the_trained_network_is_dead(test_set: tuple[Tensor, Tensor]) -> None:
    module = samples.fashion_cnn().module
    with torch.no_grad():
        first = module.relu1(module.conv1(test_set[0]))
        second = module.relu2(module.conv2(module.pool1(first)))
    assert (first.amax((0, 2, 3)) > 0).all()
    assert (second.amax((0, 2, 3)) > 0).all()


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ("traind", r"no checkpoint 'traind'; did you mean 'trained'.*random, step-20"),
        ("epoch-4", r"no checkpoint 'epoch-4'; did you mean 'epoch-"),
        (3, r"no checkpoint at step 3 \(there are 0, 20, 60, 200,.*'epoch-1'"),
        (-1, r"no checkpoint at step -1"),
    ],
)
def test_unknown_checkpoint_says_which_there_are(checkpoint: str | int, message: str) -> None:
    with pytest.raises(LookupError, match=message) as caught:
        samples.fashion_cnn(checkpoint)
    assert isinstance(caught.value, CnnvizError)


@pytest.mark.parametrize("checkpoint", [True, 20.0, None])
def test_checkpoint_must_be_a_name_or_a_step(checkpoint: object) -> None:
    with pytest.raises(TypeError, match="a checkpoint is a name such as 'trained' or a number of steps, got"):
        samples.fashion_cnn(checkpoint)  # type: ignore[arg-type]
