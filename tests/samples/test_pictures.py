from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cnnviz_widgets import samples
from cnnviz_widgets.engine.errors import CnnvizError

NAMES = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "retina",
    "rocket",
)


def test_photo_names_lists_the_ten_photographs() -> None:
    assert samples.photo_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_photo_is_an_upright_rgb_image_of_at_most_512_pixels(name: str) -> None:
    image = samples.photo(name)
    assert type(image) is Image.Image
    assert image.mode == "RGB"
    assert 300 <= min(image.size) <= max(image.size) <= 512
    assert not image.getexif()
    assert np.asarray(image).std() > 10


@pytest.mark.parametrize("name", ["camera", "brick", "grass", "gravel"])
def test_gray_photos_have_equal_channels(name: str) -> None:
    pixels = np.asarray(samples.photo(name)).astype(int)
    assert abs(pixels - pixels[:, :, :1]).max() <= 2  # JPEG rounds the channels separately


def test_astronaut_is_not_upside_down() -> None:
    # The NASA portrait: dark curls and a bright shuttle above, the orange suit below.
    pixels = np.asarray(samples.photo("astronaut")).astype(float)
    redness = pixels[..., 0] - pixels[..., 2]
    assert redness[300:].mean() > redness[:150].mean() + 20


def test_photo_is_a_fresh_copy_each_time() -> None:
    first = samples.photo("coffee")
    before = np.asarray(first).copy()
    first.paste((0, 0, 0), (0, 0, *first.size))
    assert np.array_equal(np.asarray(samples.photo("coffee")), before)


def test_unknown_photo_names_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"no photo 'chelsae'; did you mean 'chelsea'\?.*rocket") as caught:
        samples.photo("chelsae")
    assert isinstance(caught.value, CnnvizError)


@pytest.mark.parametrize("name", ["../photos/chelsea", "chelsea.jpg", "", "Chelsea"])
def test_photo_takes_names_only_not_paths(name: str) -> None:
    with pytest.raises(samples.SampleNotFoundError, match="no photo"):
        samples.photo(name)


@pytest.mark.parametrize("name", [3, None, b"chelsea"])
def test_photo_name_must_be_text(name: object) -> None:
    with pytest.raises(TypeError, match="a photo is named by text such as 'astronaut', got"):
        samples.photo(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(("split", "count"), [("train", 5000), ("test", 1000)])
def test_fashion_mnist_is_balanced(split: str, count: int) -> None:
    images, labels = samples.fashion_mnist(split)
    assert images.shape == (count, 28, 28)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int64
    assert np.bincount(labels).tolist() == [count // 10] * 10
    assert images.min() == 0
    assert images.max() == 255


def test_fashion_mnist_labels_fit_the_images() -> None:
    # First labels of the original files, as the data set's own README shows them.
    _, train = samples.fashion_mnist("train")
    _, test = samples.fashion_mnist("test")
    assert train[:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    assert test[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert len(samples.FASHION_LABELS) == 10
    assert samples.FASHION_LABELS[9] == "Ankle boot"
    assert samples.FASHION_LABELS[1] == "Trouser"


def test_trousers_are_taller_than_wide_and_sneakers_wider_than_tall() -> None:
    images, labels = samples.fashion_mnist("train")
    lit = images > 40
    height, width = lit.any(2).sum(1), lit.any(1).sum(1)
    trousers = labels == samples.FASHION_LABELS.index("Trouser")
    sneakers = labels == samples.FASHION_LABELS.index("Sneaker")
    assert (height[trousers] > width[trousers]).mean() > 0.95
    assert (height[sneakers] < width[sneakers]).mean() > 0.95


def test_training_and_test_images_do_not_overlap() -> None:
    train = {image.tobytes() for image in samples.fashion_mnist("train")[0]}
    test = {image.tobytes() for image in samples.fashion_mnist("test")[0]}
    assert not train & test


def test_fashion_mnist_arrays_can_be_changed_without_harm() -> None:
    images, labels = samples.fashion_mnist("test")
    before = images.copy()
    images[:] = 0
    labels[:] = 0
    again, labels_again = samples.fashion_mnist("test")
    assert np.array_equal(again, before)
    assert labels_again.max() == 9


def test_wrong_split_says_which_there_are() -> None:
    with pytest.raises(
        LookupError, match=r"no split of Fashion-MNIST 'tset'; did you mean 'test'.*train, test"
    ):
        samples.fashion_mnist("tset")
    with pytest.raises(TypeError, match="named by text such as 'train', got int"):
        samples.fashion_mnist(1)  # type: ignore[arg-type]
