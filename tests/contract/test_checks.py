"""Each check notices a method that breaks its promise: what can't fail checks nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.state import evaluation
from tests.contract import checks
from tests.contract.settings import NETWORKS, Setting

MAKE = NETWORKS["in-place"]


def good(s: Setting) -> Any:
    return cv.activations(s.net, s.image, s.layer)


def raw(s: Setting) -> Any:
    """Run the bare module, as no method may."""
    return s.module(s.net.prepare(s.image))


CHANGES: dict[str, Callable[[Setting], Any]] = {
    "hook": lambda s: s.module.conv.register_forward_hook(print),
    "mode": lambda s: s.module.eval(),
    "frozen": lambda s: s.module.requires_grad_(False),
    "gradient": lambda s: s.module.zero_grad(),
    "weight": lambda s: s.module.conv.weight.data.mul_(2),
    "buffer": lambda s: s.module.norm.running_mean.fill_(3),
    "attribute": lambda s: setattr(s.module, "seen", 1),
    "list": lambda s: s.module.log.append(1),
    "run": raw,
    "image": lambda s: s.image.fill(3),
    "torch": lambda s: torch.rand(1),
    "numpy": lambda s: np.random.rand(),  # noqa: NPY002
    "python": lambda s: random.random(),
    "fused attention": lambda s: torch.backends.mha.set_fastpath_enabled(False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(change: str) -> None:
    def bad(s: Setting) -> Any:
        CHANGES[change](s)
        return good(s)

    def bad_when_it_fails(s: Setting) -> Any:
        try:
            return good(s)
        except ValueError:
            CHANGES[change](s)
            raise

    checks.check_untouched_and_repeatable(good, MAKE)
    checks.check_module_that_raises(good, MAKE, ValueError, runs=True)
    try:
        with pytest.raises(AssertionError):
            checks.check_untouched_and_repeatable(bad, MAKE)
        torch.backends.mha.set_fastpath_enabled(True)
        with pytest.raises(AssertionError):
            checks.check_module_that_raises(bad_when_it_fails, MAKE, ValueError, runs=True)
        torch.backends.mha.set_fastpath_enabled(True)
        with pytest.raises(AssertionError):
            checks.check_refused(bad_when_it_fails, failing_setting(), ValueError, "on purpose")
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def failing_setting() -> Setting:
    def fail(*arguments: Any) -> None:
        raise ValueError("on purpose, as it is written here")

    s = MAKE()
    s.module.conv.register_forward_pre_hook(fail)
    return s


def test_results_that_differ_are_noticed() -> None:
    count = iter(range(9))
    bad: list[checks.Run] = [lambda s: torch.rand(2), lambda s: next(count), lambda s: id(s), lambda s: []]
    for each in bad:
        with pytest.raises(AssertionError):
            checks.check_untouched_and_repeatable(each, MAKE)


def test_an_error_that_is_swallowed_is_noticed() -> None:
    def quiet(s: Setting) -> Any:
        try:
            return good(s)
        except ValueError:
            return None

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        checks.check_module_that_raises(quiet, MAKE, ValueError, runs=True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        checks.check_refused(good, MAKE(), ValueError, "x")


def raising(error: Exception) -> checks.Run:
    def refuse(s: Setting) -> Any:
        raise error

    return refuse


def test_poor_errors_are_noticed() -> None:
    checks.check_refused(raising(ValueError("k must be at least 1, got 0")), MAKE(), ValueError, "got 0")
    poor = [
        (ValueError("something is wrong here"), ValueError),
        (ValueError("got 0"), ValueError),
        (KeyError("k must be at least 1, got 0"), LookupError),
        (RuntimeError("k must be at least 1, got 0"), RuntimeError),
    ]
    for error, kind in poor:
        with pytest.raises(AssertionError):
            checks.check_refused(raising(error), MAKE(), kind, "got 0")


def streamed(body: Callable[[Setting], Generator[Any, None, Any]]) -> Any:
    return lambda s: body(s)


def test_steps_that_hold_on_to_the_module_are_noticed() -> None:
    def fine(s: Setting) -> Generator[int, None, None]:
        for index in range(4):
            good(s)
            yield index

    def holds(s: Setting) -> Generator[int, None, None]:
        with evaluation(s.net.core):
            yield from fine(s)

    def hooks(s: Setting) -> Generator[int, None, None]:
        with cv.capture(s.net, [s.layer]):
            yield from fine(s)

    def forgets(s: Setting) -> Generator[int, None, None]:
        try:
            yield from fine(s)
        except GeneratorExit:
            s.module.log.append(1)
            raise

    def goes_on(s: Setting) -> Generator[int, None, None]:
        try:
            yield from fine(s)
        except KeyboardInterrupt:
            yield 9

    checks.check_stopped_half_way(fine, MAKE)
    for bad in (holds, hooks, forgets):
        with pytest.raises(AssertionError):
            checks.check_stopped_half_way(bad, MAKE)
    with pytest.raises(pytest.fail.Exception):
        checks.check_stopped_half_way(goes_on, MAKE)


def test_passes_that_go_too_far_are_noticed() -> None:
    def further(s: Setting) -> Any:
        with cv.capture(s.net, [s.layer], stop=False) as seen:
            s.net(s.net.prepare(s.image))
        return seen[s.layer]

    def with_gradients(s: Setting) -> Any:
        with cv.capture(s.net, [s.layer], gradients=True, stop=True) as seen:
            s.net(s.net.prepare(s.image))
        return seen[s.layer]

    options = {"runs": True, "ends_at_layer": True, "gradients": False}
    checks.check_only_as_far_as_needed(good, MAKE, **options)
    for bad in (further, with_gradients, lambda s: None):
        with pytest.raises(AssertionError):
            checks.check_only_as_far_as_needed(bad, MAKE, **options)
    with pytest.raises(AssertionError):
        checks.check_only_as_far_as_needed(good, MAKE, **{**options, "runs": False})


def test_results_of_the_wrong_kind_are_noticed(tmp_path: Path) -> None:
    @dataclass(frozen=True, eq=False)
    class Bare(Result):
        values: Any

    checks.check_plain_results(lambda s: {"a": (np.zeros(2), 1, "x", None)}, MAKE(), tensors=False)
    checks.check_plain_results(lambda s: torch.zeros(2), MAKE(), tensors=True)
    bad = [torch.zeros(2), nn.ReLU(), {"a": [object()]}, Bare(torch.zeros(1))]
    for value in bad:
        with pytest.raises(AssertionError):
            checks.check_plain_results(lambda s, value=value: value, MAKE(), tensors=False)
    with pytest.raises(AssertionError):
        checks.check_plain_results(lambda s: torch.zeros(2, requires_grad=True), MAKE(), tensors=True)
    with pytest.raises(AssertionError, match="shows itself"):
        checks.check_can_be_kept(Bare(np.zeros(2)), tmp_path)
    del Result.kinds["Bare"]
