"""What all tests share: deterministic hypothesis, and markers by folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,  # the same examples in every run: a failure here fails everywhere
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

HERE = Path(__file__).parent
MARKED_FOLDERS = ("browser", "packaging")


@pytest.hookimpl(tryfirst=True)  # before the workers read the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/browser and tests/packaging, so that `-m "not browser"` leaves them out."""
    for item in items:
        for folder in MARKED_FOLDERS:
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)
        # Two workers share the tests, but what builds the package builds it in one place.
        if item.path.is_relative_to(HERE / "packaging"):
            item.add_marker(pytest.mark.xdist_group("packaging"))
