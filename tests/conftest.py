"""What all tests share: deterministic hypothesis, and markers by folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    derandomize=True,  # the same examples in every run: a failure here fails everywhere
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")

# What this loads checks addresses that no test has, and takes more than two seconds: in each worker and server.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

HERE = Path(__file__).parent
MARKED_FOLDERS = ("browser", "packaging")


@pytest.fixture(scope="session")
def jupyter_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A folder for `JUPYTER_PATH` whose kernels start quickly, where processes can be forked for it."""
    if sys.platform != "linux":
        yield None
        return
    from tests.forked_kernels import forking_kernels

    with forking_kernels(tmp_path_factory.mktemp("kernels")) as folder:
        yield folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/browser and tests/packaging, so that `-m "not browser"` leaves them out."""
    for item in items:
        for folder in MARKED_FOLDERS:
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have each group of tests run by one worker, with the large groups first, and all others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def group_of(nodeid: str) -> str:
    """Name the group of a test: what builds the package does so in one place, and a notebook is executed once.

    (Not by xdist's own marks for groups: with pytest 9.2 its version 3.8 passes them over.)

    >>> group_of("tests/notebooks/test_notebooks.py::test_it_runs[02_filters]")
    '02_filters'
    >>> group_of("tests/notebooks/test_02_filters.py::test_the_layers_are_told_apart")
    '02_filters'
    """
    file, _, test = nodeid.partition("::")
    folder = Path(file).parent.name
    if folder == "notebooks":
        parameter = test.partition("[")[2].removesuffix("]")
        return parameter or Path(file).stem.removeprefix("test_")
    # A worker that runs one browser test has a server and a browser running for the next one.
    return {"packaging": "packaging", "browser": file}.get(folder, nodeid)
