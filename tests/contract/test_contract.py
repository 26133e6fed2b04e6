"""The promises of the engine, checked of every public method in the table on every network of the settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cnnviz_widgets as cv
from tests.contract import checks
from tests.contract.settings import NETWORKS, Setting
from tests.contract.table import BAD, TABLE

FEW = ("in-place", "dict", "random 2")
ALL_CALLS = [(name, network) for name in TABLE for network in NETWORKS]
# An interrupt, which no `except Exception` sees, on all networks; an ordinary error on those that differ most.
RAISING_CALLS = [(*call, KeyboardInterrupt) for call in ALL_CALLS]
RAISING_CALLS += [(*call, ValueError) for call in ALL_CALLS if call[1] in FEW]
STREAMED = [name for name in TABLE if hasattr(getattr(cv, name, None), "steps")]
BAD_CALLS = [
    (name, used, n) for name, row in TABLE.items() for used in row.uses for n in range(len(BAD[used]))
]
WRONG_CALLS = [(name, option) for name, row in TABLE.items() for option in row.wrong]


def method_of(name: str, s: Setting) -> Any:
    """Return the public method of that name: of the package, or of the setting's network."""
    kind, _, attribute = name.rpartition(".")
    return getattr(s.net, attribute) if kind else getattr(cv, name)


def call_of(name: str) -> checks.Run:
    """Return the ordinary call of a row."""
    return lambda s: TABLE[name].call(method_of(name, s), s)


@contextmanager
def naming(network: str) -> Iterator[None]:
    """Say on which network it was that a test failed that tries several."""
    try:
        yield
    except BaseException as error:  # also pytest's own failures
        error.add_note(f"on the network {network!r}")
        raise


@pytest.mark.parametrize(("name", "network"), ALL_CALLS)
def test_promises_3_and_5_untouched_and_repeatable(name: str, network: str) -> None:
    checks.check_untouched_and_repeatable(call_of(name), NETWORKS[network])


@pytest.mark.parametrize(("name", "network"), [call for call in ALL_CALLS if call[1] in FEW])
def test_promise_5_the_same_in_inference_mode(name: str, network: str) -> None:
    checks.check_same_in_inference_mode(call_of(name), NETWORKS[network])


@pytest.mark.parametrize(("name", "network", "error"), RAISING_CALLS)
def test_promise_3_after_a_module_that_raises(name: str, network: str, error: type[BaseException]) -> None:
    row = TABLE[name]
    checks.check_module_that_raises(
        call_of(name), NETWORKS[network], error, runs=row.runs, remembers=row.remembers
    )


@pytest.mark.parametrize(("name", "network"), [(name, network) for name in STREAMED for network in FEW])
def test_promise_3_stopped_half_way(name: str, network: str) -> None:
    checks.check_stopped_half_way(lambda s: TABLE[name].call(getattr(cv, name).steps, s), NETWORKS[network])


@pytest.mark.parametrize(("name", "used", "number"), BAD_CALLS)
def test_promise_6_bad_values_are_refused(name: str, used: str, number: int) -> None:
    value, kind, text = BAD[used][number]
    for network in FEW:
        with naming(network):
            checks.check_refused(call_of(name), replace(NETWORKS[network](), **{used: value}), kind, text)


@pytest.mark.parametrize(("name", "option"), WRONG_CALLS)
def test_promise_6_wrong_options_are_refused(name: str, option: str) -> None:
    call, kind, text = TABLE[name].wrong[option]
    for network in FEW:
        with naming(network):
            checks.check_refused(lambda s: call(method_of(name, s), s), NETWORKS[network](), kind, text)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.per_call])
def test_promise_6_a_layer_called_twice(name: str) -> None:
    s = NETWORKS["reused"]()
    call = call_of(name)
    checks.check_refused(call, replace(s, layer=s.ambiguous), LookupError, "say which call")
    first, second = (checks.content(call(replace(s, layer=(s.ambiguous, which)))) for which in (0, 1))
    assert first != second
    for which in (2, -1):
        checks.check_refused(call, replace(s, layer=(s.ambiguous, which)), LookupError, f"got call {which}")


@pytest.mark.parametrize(("name", "network"), ALL_CALLS)
def test_promise_4_only_as_far_as_needed(name: str, network: str) -> None:
    row = TABLE[name]
    checks.check_only_as_far_as_needed(
        call_of(name),
        NETWORKS[network],
        runs=row.runs and not row.remembers,
        ends_at_layer=row.ends_at_layer,
        gradients=row.gradients,
    )


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_promise_7_any_kind_of_numbers(name: str, dtype: torch.dtype) -> None:
    s = NETWORKS["in-place"]()
    s.module.to(dtype)
    checks.check_plain_results(call_of(name), s, TABLE[name].tensors)


@pytest.mark.parametrize("name", TABLE)
def test_promise_7_the_module_is_used_where_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s = NETWORKS["functional"]()

    def move(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        pytest.fail("the user's module was moved")

    monkeypatch.setattr(nn.Module, "_apply", move)
    call_of(name)(s)


@pytest.mark.parametrize("name", TABLE)
def test_results_can_be_kept_and_shown(name: str, tmp_path: Path) -> None:
    checks.check_can_be_kept(call_of(name)(NETWORKS["functional"]()), tmp_path)
