"""The checks that every row of the table goes through; each is a function, so that it can be checked itself.

``call`` makes the ordinary call of a method on a `Setting`, ``make`` returns a new setting.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor

import cnnviz_widgets as cv
from cnnviz_widgets.engine.results import Result
from tests.contract.settings import Setting
from tests.untouched import fingerprint, untouched

Run: TypeAlias = Callable[[Setting], Any]
Make: TypeAlias = Callable[[], Setting]


def inputs(s: Setting) -> list[Tensor]:
    """Return the pictures that a method is given, as tensors over the same memory."""
    given = [s.image, *(s.images if isinstance(s.images, list) else [])]
    return [torch.from_numpy(each) for each in given if isinstance(each, np.ndarray)]


def parts(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays, tensors and plain values in a result, each with its place."""
    if is_dataclass(value) and not isinstance(value, type):
        names = [each.name for each in fields(value) if not each.name.startswith("_")]
        value = {each: getattr(value, each) for each in names}
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from parts(each, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from parts(each, f"{path}[{index}]")
    else:
        yield path, value


def content(value: Any) -> list[tuple[str, Any]]:
    """Return a result as something to compare byte by byte."""
    found: list[tuple[str, Any]] = []
    for path, each in parts(value):
        if isinstance(each, Tensor):
            each = each.detach().double().cpu().numpy()
        array = (each.dtype.str, each.shape, each.tobytes()) if isinstance(each, np.ndarray) else repr(each)
        found.append((path, array))
    return found


def stir() -> None:
    """Move the global random states, which no method may depend on."""
    torch.rand(7)
    np.random.rand(3)  # noqa: NPY002
    random.random()


def check_untouched_and_repeatable(call: Run, make: Make) -> None:
    """Check promises 3 and 5: nothing is changed, and the same call gives the same bytes."""
    s = make()
    results = []
    for _ in range(2):
        with untouched(s.module, *inputs(s)):
            results.append(content(call(s)))
        stir()
    results.append(content(call(make())))
    assert results[0], "the call returned nothing to compare"
    assert results[0] == results[1] == results[2]
    assert s.net.captures == []


def check_same_in_inference_mode(call: Run, make: Make) -> None:
    """Check promise 5 where somebody looks at a network as at test time, without autograd."""
    expected = content(call(make()))
    s = make()
    with untouched(s.module, *inputs(s)), torch.inference_mode():
        found = call(s)
    assert content(found) == expected


def check_module_that_raises(
    call: Run, make: Make, error: type[BaseException], *, runs: bool, remembers: bool = False
) -> None:
    """Check promise 3 where the user's module raises: at the first pass, and once a call has gone well."""
    s = make()
    for _ in range(1 if remembers else 2):
        with s.failing(error), untouched(s.module, *inputs(s)):
            if runs:
                with pytest.raises(error, match="on purpose"):
                    call(s)
            else:
                call(s)
        assert s.net.captures == []
        call(s)


def check_stopped_half_way(steps: Callable[[Setting], Generator[Any, None, Any]], make: Make) -> None:
    """Check promise 3 of a streamed method: between steps, closed, and interrupted."""
    s = make()
    before = fingerprint(s.module)
    for count in (1, 2):
        with untouched(s.module, *inputs(s)):
            generator = steps(s)
            for _ in range(count):
                next(generator)
                assert fingerprint(s.module) == before, "a paused method must leave the module as it found it"
            generator.close()
    generator = steps(s)
    next(generator)
    with pytest.raises(KeyboardInterrupt), untouched(s.module, *inputs(s)):
        generator.throw(KeyboardInterrupt)
    assert s.net.captures == []


def check_refused(call: Run, s: Setting, kind: type[Exception], text: str) -> None:
    """Check promise 6: an error of that kind, which says that text (a regular expression), and more."""
    with untouched(s.module, *inputs(s)), pytest.raises(kind) as caught:
        call(s)
    error = caught.value
    assert isinstance(error, TypeError | ValueError | LookupError)
    assert not isinstance(error, IndexError | KeyError | UnicodeError), "an error of Python's, not of ours"
    assert re.search(text, str(error), re.DOTALL), f"{text!r} is not in: {error}"
    assert len(str(error)) > len(text) + 10, "the message must say more than the value"
    assert s.net.captures == []


def check_only_as_far_as_needed(
    call: Run, make: Make, *, runs: bool, ends_at_layer: bool, gradients: bool
) -> None:
    """Check promise 4: what runs, how far, and that no gradients are recorded in vain."""
    s = make()
    later = s.later_layers()
    assert later
    s.watch()
    call(s)  # what there is to learn about the module is learned here
    s.calls.clear()
    s.recorded.clear()
    call(s)
    assert runs or not s.calls
    if ends_at_layer:
        assert s.layer in s.calls
        assert not later & set(s.calls), f"ran on to {sorted(later & set(s.calls))}"
    assert gradients or not any(s.recorded), "gradients were recorded"


def check_plain_results(call: Run, s: Setting, tensors: bool) -> None:
    """Check promise 7: results are NumPy arrays and plain values; tensors only where that is the point."""
    with untouched(s.module, *inputs(s)):
        result = call(s)
    for path, each in parts(result):
        if isinstance(each, Tensor):
            assert tensors, f"{path} is a tensor"
            assert not each.requires_grad
        else:
            assert each is None or isinstance(each, np.ndarray | np.generic | int | float | str | bool), path


def check_can_be_kept(result: Any, folder: Path) -> None:
    """Check that a result is read back as it was saved, and shows itself."""
    if not isinstance(result, Result):
        return
    saved = result.save(folder / "result.npz")
    assert content(cv.load_result(saved)) == content(result)
    assert "object at" not in repr(result)
    shown = [getattr(result, each) for each in ("_repr_png_", "_repr_html_") if hasattr(result, each)]
    assert shown, "a bare result shows itself"
    assert all(each() for each in shown)
