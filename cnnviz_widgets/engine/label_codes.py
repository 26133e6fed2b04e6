"""Labels of a data set, whole numbers or names, as whole numbers and the names that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError, InputTypeError
from cnnviz_widgets.engine.image_source import ImageSource
from cnnviz_widgets.engine.whole_numbers import whole_number

UNKNOWN = -1
"""The label of an image without one."""


class LabelCodes:
    """Turns labels into codes, image by image; what the names are is settled in the end.

    Attributes
    ----------
    names
        Names by code, in the order in which they were met. Empty where labels are whole numbers.
    """

    def __init__(self, names: Sequence[str] = ()) -> None:
        self.names = [str(each) for each in names]
        self._codes = {name: code for code, name in enumerate(self.names)}
        self._numbers = False

    def add(
        self, labels: Sequence[Any], indices: NDArray[np.int64], classes: int | None = None
    ) -> NDArray[np.int64]:
        """Return the codes of labels, -1 for ``None``; ``indices`` tells an error which image it is.

        ``classes`` is how many the data set names, if it names any.

        Raises
        ------
        InputTypeError
            A label that is neither a whole number nor text.
        InputError
            A number below -1, or beyond the classes; numbers and text in one data set.
        """
        pairs = zip(labels, indices, strict=True)
        codes = np.array([self._code(label, int(index)) for label, index in pairs], dtype=np.int64)
        if classes and not self.names and codes.max(initial=UNKNOWN) >= classes:
            beyond = int(np.argmax(codes >= classes))
            raise InputError(
                f"the label of image {indices[beyond]} is {codes[beyond]}, but the data set names {classes} classes"
            )
        return codes

    def _code(self, label: Any, index: int) -> int:
        if label is None:
            return UNKNOWN
        if getattr(label, "shape", None) == ():  # a number in a tensor or array
            label = label.item()
        code = int(label) if isinstance(label, bool) else whole_number(label)
        if code is None and not isinstance(label, str):
            raise InputTypeError(
                f"the label of image {index} is {label!r:.80}, of type {type(label).__name__}; a label is the "
                "number or the name of a class: give pairs (image, label), or the images alone"
            )
        if code is None:
            code = self._codes.setdefault(label, len(self.names))
            if code == len(self.names):
                self.names.append(label)
        elif code < UNKNOWN:
            raise InputError(f"the label of image {index} is {code}; classes count from 0, -1 is unknown")
        else:
            self._numbers |= code != UNKNOWN
        if self._numbers and self.names:
            raise InputError(
                f"the label of image {index} is {label!r}, but others are of the other kind: "
                "give either numbers or names of classes to all images"
            )
        return code

    def merged(
        self, codes: NDArray[np.int64], names: Sequence[str], indices: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return the codes here for those of another one that had such ``names``; else as `add`."""
        labels = codes.tolist()
        if names:
            labels = [None if code == UNKNOWN else names[code] for code in labels]
        return self.add(labels, indices)

    def settled(
        self, codes: NDArray[np.int64], classes: Sequence[str]
    ) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return codes and names that do not depend on the order of the images.

        Names are those of the data set's own ``classes``, in their order, where all labels are among them;
        other names are sorted; numbers without classes have none.

        Raises
        ------
        InputError
            A number that is beyond the classes.
        """
        if not self.names:
            highest = int(codes.max(initial=UNKNOWN))
            if classes and highest >= len(classes):
                raise InputError(f"there is a label {highest}, but the data set names {len(classes)} classes")
            return codes, tuple(classes) if highest > UNKNOWN else ()
        known = set(classes)
        order = list(classes) if known.issuperset(self.names) else sorted(self.names)
        place = {name: code for code, name in reversed(list(enumerate(order)))}
        table = np.array([place[name] for name in self.names], dtype=np.int64)
        return np.where(codes == UNKNOWN, UNKNOWN, table[codes]), tuple(order)


def check_listed(source: ImageSource, classes: int) -> None:
    """Find out before a long scan whether a data set lists a label that is beyond its classes.

    Raises
    ------
    InputError
        It does, and gives its image that very label.
    """
    for index, label in enumerate(source.listed_labels() or ()):
        number = whole_number(label)
        if number is None or number < classes:
            continue
        # What is listed may become another label when the image is read, so that one is asked for.
        [(place, entry)] = source.entries([(index, index + 1)])
        try:
            _, given = source.read(place, entry)
        except InputError:
            return  # for the scan to say
        LabelCodes().add([given], np.array([place]), classes)
        return


def classes_of(images: Any) -> tuple[str, ...]:
    """Return the names in a data set's ``.classes`` (also those of what it is a subset of); empty without.

    >>> from types import SimpleNamespace
    >>> classes_of(SimpleNamespace(dataset=SimpleNamespace(classes=["cat", ("dog", "hound")])))
    ('cat', 'dog, hound')
    """
    while images is not None:
        classes = getattr(images, "classes", None)
        if isinstance(classes, list | tuple):
            return tuple(", ".join(each) if isinstance(each, tuple) else str(each) for each in classes)
        images = getattr(images, "dataset", None)
    return ()
