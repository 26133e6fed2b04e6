"""One pass over whatever a data set is: every image once, in order, named when it can't be read."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from torchvision.datasets import ImageFolder

import cnnviz_widgets as cv
from cnnviz_widgets.engine import scan as scan_module
from cnnviz_widgets.engine import scan_pass
from cnnviz_widgets.engine.collector import Batch
from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.image_reader import Scanned
from cnnviz_widgets.engine.scan import scan
from tests.small_networks import CallCounter, chain, small
from tests.untouched import fingerprint

COUNT = 7
PICTURES = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
LABELS = list("abcdefg")


class Keeper:
    """A collector that keeps all it is given."""

    def __init__(self, *layers: Any) -> None:
        self.layers = layers
        self.indices: list[int] = []
        self.labels: list[Any] = []
        self.images: list[Tensor] = []
        self.values: dict[Any, list[Tensor]] = {}
        self.sizes: list[int] = []

    def collect(self, batch: Batch) -> None:
        self.sizes.append(len(batch.x))
        self.indices += batch.indices.tolist()
        self.labels += batch.labels
        self.images += batch.x
        for layer in self.layers:
            for key, value in batch.of(layer).items():
                self.values.setdefault(key, []).extend(value.clone())

    def fresh(self) -> Any:
        raise NotImplementedError

    def merge(self, other: Any) -> None:
        raise NotImplementedError

    def arrays(self) -> dict[str, Any]:
        raise NotImplementedError

    def restore(self, arrays: Mapping[str, Any]) -> None:
        raise NotImplementedError


def run(images: Any, *keepers: Any, net: cv.Network | None = None, **options: Any) -> Scanned:
    """Run a scan to its end."""
    generator = scan(net or small(chain()), images, keepers, **options)
    while True:
        try:
            next(generator)
        except StopIteration as end:
            result: Scanned = end.value
            return result


class Pairs(Dataset):  # type: ignore[type-arg]
    """A data set of (picture, label), one of whose pictures may be damaged."""

    def __init__(self, broken: int | None = None) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Image.Image, str]:
        if index == self.broken:
            raise OSError("truncated")
        return Image.fromarray(PICTURES[index]), LABELS[index]


class Listed(Pairs):
    """One that lists the paths of its pictures alone, without labels."""

    samples = tuple(f"/photos/{index}.png" for index in range(COUNT))


class Stream(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        return zip(PICTURES, LABELS, strict=True)


class MeasuredStream(Stream):
    """As torch allows, one that tells how long it is, and still can't be asked for its third image."""

    def __len__(self) -> int:
        return COUNT


def as_files(folder: Path) -> list[Path]:
    paths = []
    for index, each in enumerate(PICTURES):
        path = folder / LABELS[index] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(each).save(path)
        paths.append(path)
    return paths


def as_folder(folder: Path) -> ImageFolder:
    as_files(folder)
    return ImageFolder(folder)


PLANES = torch.from_numpy(PICTURES.transpose(0, 3, 1, 2).copy())
# What a data set can be, and the labels it gives.
SOURCES: dict[str, tuple[Callable[[Path], Any], list[Any] | None]] = {
    "list of arrays": (lambda folder: list(PICTURES), None),
    "list of pictures": (lambda folder: [Image.fromarray(each) for each in PICTURES], None),
    "list of pairs": (lambda folder: list(zip(PICTURES, LABELS, strict=True)), LABELS),
    "tuple of arrays": (lambda folder: tuple(PICTURES), None),
    "array": (lambda folder: PICTURES, None),
    "array and labels": (lambda folder: (PICTURES, np.arange(COUNT)), list(range(COUNT))),
    "bytes": (lambda folder: PLANES, None),
    "floats": (lambda folder: PLANES / 255, None),
    "data set": (lambda folder: Pairs(), LABELS),
    "subset": (lambda folder: Subset(Pairs(), range(COUNT)), LABELS),
    "tensors": (lambda folder: TensorDataset(PLANES, torch.arange(COUNT)), list(range(COUNT))),
    "folder": (as_folder, list(range(COUNT))),
    "paths": (as_files, None),
    "names of files": (lambda folder: list(map(str, as_files(folder))), None),
    "generator": (lambda folder: (each for each in PICTURES), None),
    "stream": (lambda folder: Stream(), LABELS),
    "stream with a length": (lambda folder: MeasuredStream(), LABELS),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("batch_size", [None, 3])
def test_every_image_comes_once_and_in_order(kind: str, batch_size: int | None, tmp_path: Path) -> None:
    make, labels = SOURCES[kind]
    net = small(chain())
    keeper = Keeper("relu")
    found = run(make(tmp_path), keeper, net=net, batch_size=batch_size)
    assert found == Scanned(COUNT, 0, ())
    assert keeper.indices == list(range(COUNT))
    assert keeper.labels == (labels or [None] * COUNT)
    expected = net.prepare(list(PICTURES))
    torch.testing.assert_close(torch.stack(keeper.images), expected)
    with torch.no_grad():
        value = net.core.conv(expected).relu()
    torch.testing.assert_close(torch.stack(keeper.values["relu"]), value)
    assert keeper.sizes == ([4, 3] if batch_size is None else [3, 3, 1])


def test_gray_arrays_and_single_images() -> None:
    net = cv.Network(nn.Conv2d(1, 2, 3), input=cv.InputSpec(size=8, channels=1))
    gray = PICTURES[..., 0]
    for images, count in ((gray, COUNT), (gray[0], 1), (list(gray), COUNT), (Image.fromarray(gray[0]), 1)):
        assert run(images, net=net).images == count
    assert run(PICTURES[0]).images == 1


def test_no_layers_means_no_passes() -> None:
    net = small(chain())
    counter = CallCounter(net.core)
    keeper = Keeper()
    run(PICTURES, keeper, net=net)
    assert not counter.calls
    assert keeper.indices == list(range(COUNT))


def test_one_pass_feeds_all_collectors_and_ends_at_the_deepest_layer() -> None:
    net = small(chain(last=nn.Conv2d(4, 2, 1)))
    one, two = Keeper("conv"), Keeper("relu", "conv")
    counter = CallCounter(net.core)
    run(PICTURES[:3], one, two, net=net, batch_size=3)  # learns
    counter.calls.clear()
    run(PICTURES[:3], one, two, net=net, batch_size=3)
    assert counter.calls == {"": 1, "conv": 1, "relu": 1}
    assert torch.equal(torch.stack(one.values["conv"]), torch.stack(two.values["conv"]))


def test_calls_of_a_reused_layer_have_keys_of_their_own() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    module.append(module[1])
    keeper = Keeper("1", ("1", 1))
    run(PICTURES, keeper, net=small(module))
    assert list(keeper.values) == [("1", 0), ("1", 1)]


def test_steps_count_images_and_hold_nothing_between_them() -> None:
    net = small(chain())
    before = fingerprint(net.core)
    steps = []
    for step in scan(net, PICTURES, [Keeper("relu")], batch_size=3):
        steps.append(step)
        assert fingerprint(net.core) == before
        assert net.captures == []
    assert [(each.index, each.total) for each in steps] == [(2, 7), (5, 7), (6, 7)]
    assert all(each.values["images_per_second"] > 0 for each in steps)
    assert steps[0].values["seconds_left"] > 0
    assert steps[-1].values["seconds_left"] == 0
    *_, streamed = scan(net, iter(PICTURES), [])
    assert (streamed.index, streamed.total) == (6, None)
    assert "seconds_left" not in streamed.values


def test_pauses_do_not_count_as_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(scan_module.time, "perf_counter", lambda: now)

    class Slow(Keeper):
        def collect(self, batch: Batch) -> None:
            nonlocal now
            now += 2.0

    for step in scan(small(chain()), PICTURES[:6], [Slow()], batch_size=3):
        now += 1000.0
        assert step.values["images_per_second"] == pytest.approx(1.5)
        assert step.values["seconds_left"] == pytest.approx((5 - step.index) / 1.5)


@pytest.mark.parametrize(("size", "most"), [(8, 4), (16, 2)])  # those to be scaled down do not wait
def test_no_more_than_a_batch_is_held(size: int, most: int) -> None:
    given: list[weakref.ref[Image.Image]] = []
    held: list[int] = []

    def pictures() -> Any:
        for index in range(23):
            held.append(sum(each() is not None for each in given))
            picture = Image.fromarray(PICTURES[index % COUNT]).resize((size, size))
            given.append(weakref.ref(picture))
            yield picture
            del picture

    run(pictures(), batch_size=4)
    assert max(held) <= most


def test_batches_of_their_own_choice_keep_to_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_pass, "_FIRST_BATCH", 2)
    per_image = (3 * 64 + 4 * 64 + 4 * 64) * 4  # the image, and what two layers return for it
    for limit, sizes in ((3 * per_image, [2, 3, 2]), (1, [2, 1, 1, 1, 1, 1]), (2**30, [2, 5])):
        monkeypatch.setattr(scan_pass, "_VALUE_BYTES", limit)
        keeper = Keeper("conv", "relu")
        run(PICTURES, keeper)
        assert keeper.sizes == sizes


def test_images_of_several_sizes_never_share_a_pass() -> None:
    net = cv.Network(nn.Conv2d(3, 2, 3), input=cv.InputSpec())
    keeper = Keeper("")
    keeper.layers = ()
    images = [PICTURES[0], PICTURES[1], PICTURES[2][:5], PICTURES[3][:5], PICTURES[4]]
    run(images, keeper, net=net, batch_size=4)
    assert keeper.sizes == [2, 2, 1]
    assert keeper.indices == [0, 1, 2, 3, 4]


def broken_folder(folder: Path) -> ImageFolder:
    as_files(folder)
    (folder / "c" / "2.png").write_bytes(b"no picture")
    return ImageFolder(folder)


def broken_paths(folder: Path) -> list[Path]:
    paths = as_files(folder)
    paths[2].write_bytes(b"no picture")
    return paths


NAN = PICTURES.astype(np.float32) / 255
NAN[2, 0, 0, 0] = np.nan
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "data set": (lambda folder: Pairs(broken=2), "image 2 of 7 can't be read: truncated"),
    "listed": (
        lambda folder: Listed(broken=2),
        r"image 2 of 7 \('/photos/2\.png'\) can't be read: truncated",
    ),
    # The path comes once, and what to do is said.
    "folder": (
        broken_folder,
        r"^image 2 of 7 \([^(<]*2\.png'\) can't be read: it is no image, or of a kind that Pillow does not know; "
        r'give on_error="skip" to pass over images that can\'t be read$',
    ),
    "paths": (broken_paths, "image 2 of 7 .*2.png.* is no image"),
    "floats": (lambda folder: NAN, "image 2 of 7 holds NaN"),
    "list": (lambda folder: [*PICTURES[:2], PICTURES[0, :0], *PICTURES[3:]], "image 2 of 7 is empty"),
    "generator": (
        lambda folder: iter([*PICTURES[:2], "gone.png", *PICTURES[3:]]),
        "image 2 .*gone.png.* not exist",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("batch_size", [1, 5])
def test_an_unreadable_image_is_named_and_skipped_only_when_asked(
    kind: str, batch_size: int, tmp_path: Path
) -> None:
    make, text = BROKEN[kind]
    images = make(tmp_path)
    with pytest.raises(InputError, match=text):
        run(images if kind != "generator" else make(tmp_path), Keeper("relu"), batch_size=batch_size)
    keeper = Keeper("relu")
    images = images if kind != "generator" else make(tmp_path)
    found = run(images, keeper, batch_size=batch_size, on_error="skip")
    assert (found.images, found.skipped) == (6, 1)
    assert "image 2" in found.reasons[0]
    assert "on_error" not in found.reasons[0]
    assert keeper.indices == [0, 1, 3, 4, 5, 6]
    assert len(keeper.values["relu"]) == 6


def test_reasons_are_kept_for_the_first_hundred() -> None:
    found = run([*["gone.png"] * 150, PICTURES[0]], on_error="skip")
    assert (found.images, found.skipped, len(found.reasons)) == (1, 150, 100)
    assert "image 99 of 151" in found.reasons[-1]


@pytest.mark.parametrize("images", [[], np.zeros((0, 8, 8, 3), np.uint8), iter([]), Subset(Pairs(), [])])
def test_an_empty_data_set_is_said(images: Any) -> None:
    with pytest.raises(InputError, match="the data set is empty"):
        run(images)


def test_a_data_set_of_which_nothing_can_be_read_is_said() -> None:
    with pytest.raises(
        InputError, match=r"none of the 2 images could be read; the first: image 0 of 2 .*gone"
    ):
        run(["gone.png", "lost.png"], on_error="skip")


@pytest.mark.parametrize(
    ("images", "error", "text"),
    [
        (7, InputTypeError, "got int: 7"),
        (None, InputTypeError, "NoneType"),
        ({"a": PICTURES}, InputTypeError, "got dict"),
        (DataLoader(Pairs()), InputTypeError, "loader.dataset"),
        ((PICTURES, [1, 2]), InputError, "7 images, but 2 labels"),
        ((["a.png", "b.png"], [0, 1]), InputTypeError, r"give list\(zip\(images, labels\)\)"),
        (".", InputError, "is a folder.*ImageFolder"),
        ([7], InputTypeError, "the image is of type int"),
        ([PICTURES[0], None], InputTypeError, "image 1 of 2 is of type NoneType"),
        ([PICTURES], InputError, "the image is an array 7 x 8 x 8 x 3"),
    ],
)
def test_what_is_no_set_of_images(images: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        run(images)


def test_what_is_no_image_is_never_skipped() -> None:
    with pytest.raises(InputTypeError, match="image 1 of 2"):
        run([PICTURES[0], 7], on_error="skip")


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_batch_sizes_are_whole_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        run(PICTURES, batch_size=value)


def test_a_scan_that_is_closed_leaves_what_was_collected() -> None:
    keeper = Keeper("relu")
    generator = scan(small(chain()), PICTURES, [keeper], batch_size=2)
    next(generator)
    generator.close()
    assert keeper.indices == [0, 1]
