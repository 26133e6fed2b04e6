"""Feature tables against plain loops over the images, on several networks."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset
from torchvision.datasets import ImageFolder

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import AmbiguousLayerError, CheckpointError, InputError, OutputError
from cnnviz_widgets.engine.feature_collector import FeatureCollector
from cnnviz_widgets.engine.scan import Scanned, scan
from tests.engine.scan_settings import COUNT, PICTURES, Images, network
from tests.random_networks import RandomNetwork
from tests.small_networks import CallCounter, chain, network_of, small

DRAW = np.random.default_rng(0)


def resnet() -> cv.Network:
    net = cv.Network.from_torchvision("resnet18", weights=None)
    return cv.Network(net.module, input=cv.InputSpec(size=64, mean=0.4, std=0.2))


# A network, the size of its pictures, and its layers: late, in branches, early.
NETWORKS: dict[str, tuple[Callable[[], cv.Network], tuple[int, ...], list[str]]] = {
    "resnet18": (resnet, (64, 64, 3), ["fc", "layer2.0.downsample.0", "avgpool"]),
    "fashion_cnn": (cv.samples.fashion_cnn, (28, 28), ["fc1", "conv2"]),
    "random": (lambda: network_of(RandomNetwork(3)), (), []),
    "chain": (lambda: small(chain()), (8, 8, 3), ["conv", "relu"]),
}


def setting(name: str) -> tuple[cv.Network, list[Any], list[str]]:
    make, shape, layers = NETWORKS[name]
    net = make()
    if not shape:
        shape = (*net.input.size_or(0), *((3,) if net.input.channels == 3 else ()))
        layers = [each.name for each in net.layers if each.calls == 1 and each.output_shape][-3:]
    return net, [DRAW.integers(0, 256, shape, dtype=np.uint8) for _ in range(5)], layers


def values_of(net: cv.Network, image: Any, layer: str) -> Tensor:
    """Return what a layer returns for one image, by a hook of torch's own on the bare module."""
    kept: list[Tensor] = []
    module = net.core.get_submodule(layer)
    handle = module.register_forward_hook(lambda module, given, output: kept.append(output.detach().clone()))
    net.core.eval()
    with torch.no_grad():
        net.core(net.prepare(image))
    handle.remove()
    return kept[0][0]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_vectors_against_a_loop(name: str, batch_size: int | None) -> None:
    net, images, layers = setting(name)
    assert layers
    for layer in layers:
        expected = [values_of(net, image, layer) for image in images]
        for pooling in ("flatten", "auto"):
            table = cv.extract_features(net, images, layer, pooling=pooling, batch_size=batch_size)
            is_mean = pooling == "auto" and expected[0].ndim == 3
            rows = [each.mean((1, 2)) if is_mean else each.flatten() for each in expected]
            np.testing.assert_allclose(table.vectors, torch.stack(rows), rtol=1e-4, atol=1e-5)
            assert (table.pooling, table.layer) == ("mean" if is_mean else "flatten", layer)
            assert table.vectors.dtype == np.float32
            assert table.ids.tolist() == list(range(5))
            assert table.labels.tolist() == [-1] * 5


def test_one_call_of_a_layer() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twin = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.twin(self.twin(x))

    net = small(Twice())
    images = [DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(2)]
    first = cv.extract_features(net, images, ("twin", 0), pooling="flatten").vectors
    with torch.no_grad():
        expected = net.core.twin(net.prepare(images))
    np.testing.assert_allclose(first, expected.flatten(1), rtol=1e-5, atol=1e-6)
    with pytest.raises(AmbiguousLayerError, match="say which call"):
        cv.extract_features(net, images, "twin")


def test_thumbnails() -> None:
    net, images, _ = setting("resnet18")
    table = cv.extract_features(net, images, "conv1", thumbnail_size=16)
    blocks = np.stack(images).reshape(5, 16, 4, 16, 4, 3).astype(float).mean((2, 4))
    assert np.abs(table.thumbnails - blocks).max() <= 1  # two roundings, of the picture and of the mean
    assert table.thumbnails.dtype == np.uint8
    as_seen = np.stack([net.input.view(image) for image in images])
    for size in (64, 99):
        np.testing.assert_array_equal(
            cv.extract_features(net, images, "conv1", thumbnail_size=size).thumbnails, as_seen
        )
    assert cv.extract_features(net, images, "conv1", thumbnail_size=0).thumbnails.shape == (5, 0, 0, 3)
    wide = cv.Network(chain(), input=cv.InputSpec(size=(20, 40)))
    assert cv.extract_features(wide, images, "conv", thumbnail_size=10).thumbnails.shape == (5, 5, 10, 3)


def test_images_of_several_sizes() -> None:
    net = cv.Network(chain(), input=cv.InputSpec())
    images = [np.full((height, width, 3), 90, np.uint8) for height, width in ((6, 9), (8, 4), (40, 20))]
    table = cv.extract_features(net, images, "conv", thumbnail_size=10)
    for row, (height, width) in enumerate(((6, 9), (8, 4), (10, 5))):
        inside = (table.thumbnails[row] == 90).all(axis=2)
        assert inside.sum() == height * width
        assert (inside.any(axis=1).sum(), inside.any(axis=0).sum()) == (height, width)
        assert (table.thumbnails[row][~inside] == 255).all()
        expected = values_of(net, images[row], "conv").mean((1, 2))
        np.testing.assert_allclose(table.vectors[row], expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(OutputError, match=r"128 values for image 1, and 216 .* pooling='mean'"):
        cv.extract_features(net, images, "conv", pooling="flatten")


def test_labels_and_what_was_skipped(tmp_path: Path) -> None:
    for index, kind in enumerate(["owl", "cat", "owl"]):
        (tmp_path / kind).mkdir(exist_ok=True)
        Image.fromarray(DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
            tmp_path / kind / f"{index}.png"
        )
    folder = ImageFolder(tmp_path)
    (tmp_path / "owl" / "0.png").write_bytes(b"broken")
    table = cv.extract_features(small(chain()), folder, "conv", on_error="skip")
    assert table.label_names == ("cat", "owl")
    assert (table.labels.tolist(), table.ids.tolist()) == ([0, 1], [0, 2])
    assert table.label_texts == ("cat", "owl")
    assert table.skipped == 1
    assert "0.png" in table.skipped_reasons[0]
    assert table.names == tuple(str(tmp_path / each) for each in ("cat/1.png", "owl/2.png"))
    assert [table.image_text(row) for row in (0, 1)] == ["image 0 (cat/1.png)", "image 2 (owl/2.png)"]
    table.save(tmp_path / "table.npz")
    assert cv.load_result(tmp_path / "table.npz") == table
    for listed in ([Path(table.names[1]), (table.names[0], "cat")], Subset(folder, [2, 0])):
        assert cv.extract_features(small(chain()), listed, "conv").names == table.names[::-1]
    with pytest.raises(InputError, match="2 vectors, but 1 names"):
        replace(table, names=("cat",))
    images = [DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(3)]
    named = cv.extract_features(small(chain()), list(zip(images, ["b", "a", "b"], strict=True)), "conv")
    assert (named.label_names, named.labels.tolist()) == (("a", "b"), [1, 0, 1])
    hostile = cv.extract_features(small(chain()), [(images[0], "<script>")], "conv")
    assert "<script>" not in hostile._repr_html_()
    assert "&lt;script&gt;" in hostile._repr_html_()


class Listed(Images):
    """Thirty pictures of three classes that lists labels, as torchvision's data sets do, and may give others."""

    classes = ("a", "b", "c")

    def __init__(self, labels: list[int] | None, given: Callable[[int], int] | None = None) -> None:
        super().__init__()
        if labels is not None:
            self.targets = labels
        self.given = given or (lambda index: self.targets[index])

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return super().__getitem__(index)[0], self.given(index)


def test_labels_beyond_the_classes_are_said_early() -> None:
    net = network()
    listed = [0] * (COUNT - 1) + [3]
    wrong = Listed(listed)
    with pytest.raises(ValueError, match="the label of image 29 is 3, but the data set names 3 classes"):
        cv.extract_features(net, wrong, "conv")
    assert wrong.read == [COUNT - 1]
    # What is listed need not be what is given, and what is given need not be listed.
    assert cv.extract_features(net, Listed(listed, lambda index: 2), "conv").labels.tolist() == [2] * COUNT
    unlisted = Listed(None, lambda index: index // 4)
    with pytest.raises(ValueError, match="the label of image 12 is 3"):
        cv.extract_features(net, unlisted, "conv", batch_size=2)
    assert unlisted.read == list(range(14))


def relabeled(kind: str, labels: list[int]) -> Any:
    """Return the same pictures with some labels, as one kind of data set or another."""
    if kind == "pairs":
        return list(zip(PICTURES, labels, strict=True))
    if kind == "array":
        return PICTURES, np.array(labels)
    if kind == "tensors":
        planes = torch.from_numpy(PICTURES).permute(0, 3, 1, 2)
        return TensorDataset(planes, torch.tensor(labels))
    if kind == "subset":
        return Subset(Listed(labels), list(range(COUNT)))
    return Listed(labels if kind == "listed" else None, labels.__getitem__)


@pytest.mark.parametrize("kind", ["pairs", "array", "tensors", "subset", "listed", "given"])
def test_a_checkpoint_of_other_labels_is_refused(kind: str, tmp_path: Path) -> None:
    net, labels = network(), [index % 3 for index in range(COUNT)]
    options: dict[str, Any] = {"thumbnail_size": 0, "checkpoint": tmp_path / "kept"}
    table = cv.extract_features(net, relabeled(kind, labels), "full", **options)
    assert cv.extract_features(net, relabeled(kind, labels), "full", **options) == table
    # One that is read before the scan, or is in no sample of eight but in the list.
    other = list(labels)
    other[4 if kind == "given" else 5] = 0 if labels[4] else 2
    with pytest.raises(CheckpointError, match="other labels"):
        cv.extract_features(net, relabeled(kind, other), "full", **options)


def test_class_scores_that_are_nan_predict_nothing() -> None:
    net = network()
    with torch.no_grad():
        net.core.full.bias[0] = torch.nan
    with pytest.raises(OutputError, match=r"NaN or infinity.*\(images 0 to 3 of the scan\)"):
        cv.extract_features(net, PICTURES, "conv", predictions=True)
    with pytest.raises(OutputError, match="NaN or infinity"):
        net.predict(PICTURES[0])


def test_predictions() -> None:
    net = cv.samples.fashion_cnn()
    images, labels = cv.samples.fashion_mnist("test")
    table = cv.extract_features(net, (images[:20], labels[:20]), "conv1", predictions=True)
    for row in range(20):
        expected = net.predict(images[row], k=1)
        assert table.predicted[row] == expected.indices[0]
        assert table.predicted_texts[row] == expected.labels[0]
        assert table.confidence[row] == pytest.approx(expected.probabilities[0], rel=1e-4)
    np.testing.assert_array_equal(
        table.vectors, cv.extract_features(net, (images[:20], labels[:20]), "conv1").vectors
    )
    plain = cv.extract_features(net, images[:3], "fc1")
    assert plain.predicted is plain.confidence is plain.predicted_texts is None


def test_each_image_takes_one_pass() -> None:
    module = chain(pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    net = small(module)
    images = [DRAW.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(6)]
    counter = CallCounter(module)
    cv.extract_features(net, images[:2], "conv", batch_size=2)  # runs to its end, to learn
    counter.calls.clear()
    cv.extract_features(net, images, "conv", batch_size=2)
    assert counter.calls.get("conv") == 3
    assert "more" not in counter.calls
    cv.extract_features(net, images, "conv", batch_size=2, predictions=True)
    assert (counter.calls["conv"], counter.calls["flat"]) == (6, 3)


@pytest.mark.parametrize("named", [True, False])
def test_beyond_the_memory_limit(named: bool, tmp_path: Path) -> None:
    net, images, _ = setting("chain")
    expected = cv.extract_features(net, images, "conv", batch_size=2)
    assert not isinstance(expected.vectors, np.memmap)
    path = tmp_path / "kept" if named else None
    table = cv.extract_features(net, images, "conv", batch_size=2, memory_limit=500, path=path)
    for name in ("vectors", "thumbnails"):
        assert isinstance(getattr(table, name), np.memmap)
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))
        if named:
            np.testing.assert_array_equal(np.load(path / f"{name}.npy"), getattr(expected, name))
    loaded = cv.load_result(table.save(tmp_path / "table.npz"))
    assert loaded == expected == table
    other = replace(expected, vectors=np.concatenate([expected.vectors[:-1], expected.vectors[:1]]))
    assert table != other
    if named:
        for options in ({}, {"checkpoint": tmp_path / "another scan"}):
            with pytest.raises(ValueError, match=r"vectors.npy' exists already"):
                cv.extract_features(net, images, "conv", path=path, **options)


def test_memory_stays_bounded() -> None:
    net = cv.Network(nn.Sequential(nn.Identity()), input=cv.InputSpec(size=32))
    one = DRAW.integers(0, 256, (32, 32, 3), dtype=np.uint8)

    def peak(count: int, limit: int) -> int:
        """Return the most memory that NumPy held (what torch holds is not traced)."""
        gc.collect()
        tracemalloc.start()
        table = cv.extract_features(
            net, (one for _ in range(count)), "0", pooling="flatten", batch_size=16, memory_limit=limit
        )
        assert table.vectors.shape == (count, 3072)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    in_memory = peak(400, 2**30)
    assert in_memory > 400 * 3072 * 5  # what is measured is what is meant
    assert peak(400, 2**20) < 0.5 * in_memory
    assert peak(1200, 2**20) < 1.3 * peak(400, 2**20)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_scan_that_fails_leaves_no_file(error: type[BaseException], tmp_path: Path) -> None:
    net, images, _ = setting("chain")

    def some() -> Iterator[Any]:
        yield from images
        raise error("on purpose")

    with pytest.raises((error, ValueError)):
        cv.extract_features(net, some(), "conv", batch_size=2, path=tmp_path)
    assert not list(tmp_path.iterdir())
    steps = cv.extract_features.steps(net, images, "conv", batch_size=2, path=tmp_path)
    next(steps)
    assert list(tmp_path.iterdir())
    steps.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [0, 2**30])
def test_parts_merge_in_any_order(limit: int) -> None:
    net, images, _ = setting("chain")
    pairs = list(zip(images, "caabc", strict=True))
    whole = cv.extract_features(net, pairs, "conv")

    def part(kept: list[int]) -> FeatureCollector:
        """Collect some of the images, as a shard does."""
        collector = FeatureCollector(net.input, "conv", memory_limit=limit)
        for each in kept:
            one = FeatureCollector(net.input, "conv")
            for _ in scan(net, [pairs[each]], [one]):
                pass
            collector.merge(moved(one, each))
        return collector

    def moved(one: FeatureCollector, index: int) -> FeatureCollector:
        arrays = one.arrays()
        result = FeatureCollector(net.input, "conv", memory_limit=limit)
        result.restore({**arrays, "ids": np.array([index])})
        return result

    for parts in ([[0, 1, 2], [3, 4]], [[4, 3], [1], [2, 0]]):
        total = FeatureCollector(net.input, "conv", memory_limit=limit)
        for each in parts:
            total.merge(part(each))
        found = total.table(Scanned(5, 0, ()), ())
        assert found.ids.tolist() == [0, 1, 2, 3, 4]
        assert (found.label_names, found.labels.tolist()) == (whole.label_names, whole.labels.tolist())
        np.testing.assert_allclose(found.vectors, whole.vectors, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.thumbnails, whole.thumbnails)


def test_what_no_features_can_be_made_of() -> None:
    net, images, _ = setting("chain")
    with pytest.raises(OutputError, match="pooling='flatten'"):
        cv.extract_features(cv.samples.fashion_cnn(), images[0][..., 0], "fc1", pooling="mean")
    deep = cv.Network(nn.Sequential(nn.Conv2d(5, 2, 1)), input=cv.InputSpec(size=4, channels=5))
    with pytest.raises(ValueError, match="thumbnail_size=0"):
        cv.extract_features(deep, torch.rand(2, 5, 4, 4), "0")
    assert cv.extract_features(deep, torch.rand(2, 5, 4, 4), "0", thumbnail_size=0).vectors.shape == (2, 2)
    table = cv.extract_features(net, images, "conv")
    with pytest.raises(ValueError, match="5 vectors, but 4 labels"):
        replace(table, labels=table.labels[:4])
    with pytest.raises(ValueError, match="a label 3, but only 2 label_names"):
        replace(table, labels=table.labels + 4, label_names=("a", "b"))


def test_shards_and_a_checkpoint_give_the_same_table(tmp_path: Path) -> None:
    net, images, _ = setting("chain")
    pairs = list(zip(images, "caabc", strict=True))
    whole = cv.extract_features(net, pairs, "conv", batch_size=1)
    for limit in (0, 2**30):
        parts = cv.extract_features(net, pairs, "conv", batch_size=1, shards=3, memory_limit=limit)
        np.testing.assert_array_equal(parts.vectors, whole.vectors)
        np.testing.assert_array_equal(parts.thumbnails, whole.thumbnails)
        assert (parts.labels.tolist(), parts.ids.tolist()) == (whole.labels.tolist(), whole.ids.tolist())
    kept: dict[str, Any] = {"batch_size": 1, "checkpoint": tmp_path / "kept"}
    steps = cv.extract_features.steps(net, pairs, "conv", **kept)
    next(steps), next(steps)
    steps.close()
    steps = cv.extract_features.steps(net, pairs, "conv", **kept)
    assert next(steps).index == 2  # it went on
    steps.close()
    assert cv.extract_features(net, pairs, "conv", **kept) == whole
    with pytest.raises(ValueError, match="pooling"):
        cv.extract_features(net, pairs, "conv", pooling="flatten", **kept)
