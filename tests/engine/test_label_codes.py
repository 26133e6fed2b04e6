"""Labels as codes and names: whatever order they come in."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cnnviz_widgets.engine.label_codes import LabelCodes, classes_of


def coded(labels: list[Any], classes: tuple[str, ...] = ()) -> tuple[list[int], tuple[str, ...]]:
    codes = LabelCodes()
    found, names = codes.settled(codes.add(labels, np.arange(len(labels))), classes)
    return found.tolist(), names


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([3, np.int8(0), torch.tensor(2), np.array(1), True, None], (), [3, 0, 2, 1, 1, -1]),
        ([1, 0, -1], ("cat", "dog"), [1, 0, -1]),
        (["dog", "cat", None, "dog"], (), [1, 0, -1, 1]),
        (["dog", "cat"], ("eel", "dog", "cat"), [1, 2]),
        (["dog", "yak"], ("eel", "dog", "cat"), [0, 1]),
        ([None, None], ("cat",), [-1, -1]),
    ],
)
def test_codes(labels: list[Any], classes: tuple[str, ...], expected: list[int]) -> None:
    codes, names = coded(labels, classes)
    assert codes == expected
    for label, code in zip(labels, codes, strict=True):
        if isinstance(label, str):
            assert names[code] == label
    if classes and isinstance(labels[0], int):
        assert names == classes
    if labels == [None, None]:
        assert names == ()


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        ([0, 1.5], TypeError, r"image 1 is 1\.5, of type float"),
        ([{"boxes": []}], TypeError, "dict"),
        ([torch.zeros(3)], TypeError, "Tensor"),
        ([-2], ValueError, "-2"),
        (["cat", 1], ValueError, "image 1 is 1, but others"),
        ([1, "cat"], ValueError, "image 1 is 'cat', but others"),
    ],
)
def test_what_is_no_label(labels: list[Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        coded(labels)


def test_a_number_beyond_the_classes() -> None:
    with pytest.raises(ValueError, match="a label 2, but the data set names 2 classes"):
        coded([0, 2], ("cat", "dog"))


def test_parts_in_any_order_give_the_same() -> None:
    labels = ["owl", "cat", None, "dog", "cat", "owl"]
    whole = coded(labels)
    for parts in ([slice(0, 2), slice(2, 6)], [slice(4, 6), slice(0, 4)]):
        merged = LabelCodes()
        found = np.full(6, -9)
        for part in parts:
            other = LabelCodes()
            codes = other.add(labels[part], np.arange(6)[part])
            found[part] = merged.merged(codes, other.names, np.arange(6)[part])
        codes, names = merged.settled(found, ())
        assert (codes.tolist(), names) == whole


def test_parts_of_two_kinds_name_the_image() -> None:
    named, numbered = LabelCodes(), LabelCodes()
    texts = named.add(["owl", None, "cat"], np.array([40, 41, 42]))
    numbers = numbered.add([None, 7], np.array([50, 51]))
    with pytest.raises(ValueError, match="the label of image 51 is 7, but others"):
        named.merged(numbers, numbered.names, np.array([50, 51]))
    with pytest.raises(ValueError, match="the label of image 42 is 'cat', but others"):
        numbered.merged(texts[1:], ["owl", "cat"], np.array([41, 42]))


def test_the_classes_of_a_data_set() -> None:
    inner = SimpleNamespace(classes=["cat", ("dog", "hound")])
    assert classes_of(SimpleNamespace(dataset=SimpleNamespace(dataset=inner))) == ("cat", "dog, hound")
    assert classes_of([1, 2]) == classes_of(SimpleNamespace(classes=7)) == ()
