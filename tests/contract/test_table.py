"""A public method that is not in the table fails the build; and so does an `assert` for a user's input."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import cnnviz_widgets as cv
from cnnviz_widgets.engine.results import Result
from tests.contract.settings import Setting
from tests.contract.table import BAD, ELSEWHERE, TABLE

PACKAGE = Path(cv.__file__).parent


def public_methods() -> set[str]:
    """Return all that must be in the table.

    Every callable that lives in methods/ (except kinds of results), every function of the engine that takes a
    network, and every method of `Network`.
    """
    found = {name for name, place in cv._PUBLIC.items() if _is_method(getattr(cv, name), place)}
    members = {
        name: each for name, each in vars(cv.Network).items() if callable(getattr(each, "__func__", each))
    }
    return found | {f"Network.{name}" for name in members if name == "__call__" or not name.startswith("_")}


def _is_method(value: Any, place: str) -> bool:
    if place.startswith("methods."):
        return callable(value) and not (isinstance(value, type) and issubclass(value, Result))
    if not place.startswith("engine.") or not inspect.isfunction(value):
        return False
    return next(iter(inspect.signature(value).parameters), None) == "net"


def test_every_public_method_is_in_the_table() -> None:
    missing = public_methods() - TABLE.keys() - ELSEWHERE.keys()
    assert not missing, (
        f"no row for {sorted(missing)} in tests/contract/table.py: "
        "add one, as its first lines say, and the promises are checked"
    )


def test_the_table_has_nothing_else() -> None:
    properties = {f"Network.{name}" for name, each in vars(cv.Network).items() if isinstance(each, property)}
    assert TABLE.keys() <= public_methods() | properties
    assert ELSEWHERE.keys() <= public_methods()
    fields = set(Setting.__dataclass_fields__)
    for name, row in TABLE.items():
        assert set(row.uses) <= BAD.keys() & fields, name


def test_a_missing_method_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cv._PUBLIC, "spread", "methods.activations")
    monkeypatch.setattr(cv, "spread", lambda net, image: None, raising=False)
    monkeypatch.setattr(cv.Network, "shout", lambda self: None, raising=False)
    assert {"spread", "Network.shout"} == public_methods() - TABLE.keys() - ELSEWHERE.keys()


def asserts(source: str) -> list[int]:
    """Return the lines of a source that hold an `assert`."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_nothing_is_asserted(path: Path) -> None:
    assert not asserts(path.read_text("utf-8"))


def test_the_search_for_asserts_finds_them() -> None:
    assert asserts("def check(x):\n    assert x, 'assert'\n") == [2]
