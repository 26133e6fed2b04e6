"""What patches are cut from, and where: the winning images once more, and the windows that units look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import AmbiguousLayerError, InputError
from cnnviz_widgets.engine.image_source import ImageSet, ImageSource
from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.patch_collector import FoundAgain, PatchCollector
from cnnviz_widgets.engine.picture_marks import picture_mark
from cnnviz_widgets.engine.receptive_field import ReceptiveField, receptive_field
from cnnviz_widgets.engine.scan_jobs import spread

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network

# Images that a worker reads again in one go.
_TOGETHER = 64
Size: TypeAlias = tuple[int, int]
_Shared: TypeAlias = tuple[InputSpec, torch.dtype, ImageSet]


def read_again(net: Network, images: ImageSet, collector: PatchCollector, jobs: int | None) -> None:
    """Read those winning images whose pictures were not kept while workers scanned them.

    Raises
    ------
    InputError
        One can't be read any more, or is another one than before; images that come only once.
    """
    missing = collector.missing()
    if len(missing) and not ImageSource(images, net.input.channels or 3).any_order:
        raise InputError(
            f"the checkpoint holds no pictures of {len(missing)} images, as it was begun with patches=False, and "
            f"images that come only once ({type(images).__name__}) can't be read again; give a list or a data set "
            "with a length, or patches=False, or another checkpoint"
        )
    parts = [missing[start : start + _TOGETHER].tolist() for start in range(0, len(missing), _TOGETHER)]
    shared: _Shared = (net.input, net.dtype, images)
    for found in spread(_read_part, shared, parts, jobs):
        collector.take(found)


def _read_part(shared: _Shared, indices: list[int]) -> list[FoundAgain]:
    spec, dtype, images = shared
    source = ImageSource(images, spec.channels or 3)
    found = []
    for index, entry in source.entries((each, each + 1) for each in indices):
        image, _ = source.read(index, entry)
        x = spec.prepare_one(image, source.where(index)).to(dtype)
        found.append((index, picture_mark(x), spec.restore(x[None])[0]))
    return found


class BoxFinder:
    """Finds the exact windows that units look at, for images of any size; remembers what it has found."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._fields: dict[tuple[LayerKey, Size], ReceptiveField] = {}

    def check(self, layers: Iterable[LayerKey]) -> None:
        """Find out before a long scan whether these layers have receptive fields, if the image size is known.

        Raises
        ------
        TargetError
            A layer that does not depend on the image.
        """
        if self._net.input.size is not None:
            for layer in layers:
                # Of a bare name, all calls may be meant.
                with suppress(AmbiguousLayerError):
                    self._field(layer, self._net.input.size_or(0))

    def _field(self, layer: LayerKey, size: Size) -> ReceptiveField:
        if (layer, size) not in self._fields:
            self._fields[layer, size] = receptive_field(self._net, layer, image_size=size)
        return self._fields[layer, size]

    def reason(self, layer: LayerKey) -> str | None:
        """Return why the units of a layer see the whole image; ``None`` where they do not. Ask after `boxes`."""
        fields = [field for (name, _), field in self._fields.items() if name == layer]
        found = [each.reason for each in fields if each.method == "analytic" and each.stride == (0, 0)]
        return found[0] if found else None

    def boxes(
        self,
        layer: LayerKey,
        sizes: Mapping[int, Size],
        images: NDArray[np.int64],
        positions: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Return the windows [C, k, 4] of units at some positions [C, k, 2] in images [C, k], -1 for none."""
        found = np.zeros((*images.shape, 4), np.int64)
        known: dict[tuple[Size, int, int], tuple[int, int, int, int]] = {}
        for place in np.ndindex(*images.shape):
            if images[place] < 0:
                continue
            row, column = positions[place].tolist()
            unit = (sizes[int(images[place])], row, column)
            if unit not in known:
                field = self._field(layer, unit[0])
                box = field.box() if field.map_size is None else field.box(row, column)
                known[unit] = (box.top, box.left, box.bottom, box.right)
            found[place] = known[unit]
        return found
