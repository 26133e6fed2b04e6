"""The package's exceptions: each says what was wrong, what was got and what to do.

Every one of them is a `TypeError`, a `ValueError` or a `LookupError` as well, so code that knows nothing
of this package can catch it by the name it would expect.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class CnnvizError(Exception):
    """Base of all errors this package raises on purpose."""


class UnsupportedModuleError(CnnvizError, TypeError):
    """The module can't be looked into: compiled, scripted, quantized, or not a module at all."""


class NetworkNotFoundError(CnnvizError, LookupError):
    """No network of that name in a model zoo, or no such weights of it."""


class LayerNotFoundError(CnnvizError, LookupError):
    """No layer of that name, or the forward pass never called it."""


class AmbiguousLayerError(CnnvizError, LookupError):
    """The layer is called more than once in a forward pass: say which call."""


class InputError(CnnvizError, ValueError):
    """An image has the wrong shape, range or content."""


class InputTypeError(CnnvizError, TypeError):
    """Something was given that is not an image."""


class LabelNotFoundError(CnnvizError, LookupError):
    """No class of that name or index."""


class TargetError(CnnvizError, ValueError):
    """The target can't be evaluated: a unit outside its map, a wrong combination of options."""


class OutputError(CnnvizError, ValueError):
    """The network's output is not what was asked of it: no class scores, several tensors, NaN."""


class WeightsError(CnnvizError, ValueError):
    """A layer's kernels can't be looked at: it has none, or they hold NaN or infinity."""


class ZeroGradientError(CnnvizError, ValueError):
    """The gradient is exactly zero, so there is nothing to show or to follow."""


class CheckpointError(CnnvizError, ValueError):
    """A checkpoint can't be read, or belongs to another network or scan."""


class RecorderError(CnnvizError, ValueError):
    """A training can't be recorded so: two recorders, the file of another network, steps that go back."""


class MemoryLimitError(CnnvizError, ValueError):
    """What was asked for takes more memory than was allowed."""


class ResultFileError(CnnvizError, ValueError):
    """The file holds no result of this package, or was cut short."""


@contextmanager
def about(what: str) -> Iterator[None]:
    """Say which of several images it is that is wrong."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(f"{what}: {error}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known names, or an empty string.

    >>> did_you_mean("feature.3", ["features.3", "classifier"])
    "; did you mean 'features.3'?"
    >>> did_you_mean("AvgPool", ["features.1.avgpool", "avgpool"])
    "; did you mean 'avgpool' or 'features.1.avgpool'?"
    """
    names = list(dict.fromkeys(known))
    folded = name.casefold()
    near = [other for other in names if other.casefold() == folded]
    near += sorted((other for other in names if other.casefold().endswith(f".{folded}")), key=len)
    # "cat": the Egyptian and the tiger cat, rather than a crate.
    word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
    near += [other for other in names if word.search(other)]
    near += difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    near += [other for other in names if folded in other.casefold()]
    near = list(dict.fromkeys(near))[:3] if name else []
    if not near:
        return ""
    quoted = [repr(other) for other in near]
    listed = quoted[0] if len(quoted) == 1 else ", ".join(quoted[:-1]) + " or " + quoted[-1]
    return f"; did you mean {listed}?"
