"""What all tests share: deterministic hypothesis, and markers by folder."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.forked_kernels import forking_kernels

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
# These come first, one after another: a worker that goes on to one of the same folder has its server running.
LONG_FOLDERS = ("notebooks", "packaging", "browser")
KERNELS = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def jupyter_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path | None]:
    """A folder for `JUPYTER_PATH` whose kernels start quickly, where processes can be forked for it."""
    of_all_workers = getattr(request.config, "workerinput", {}).get("jupyter_path")
    if of_all_workers is not None:
        yield Path(of_all_workers)
    elif sys.platform != "linux":
        yield None
    else:
        with forking_kernels(tmp_path_factory.mktemp("kernels")) as folder:
            yield folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Let the workers share one process that forks kernels: what kernels need is loaded once."""
    if sys.platform != "linux":
        return
    if KERNELS not in node.config.stash:
        stack = ExitStack()
        node.config.add_cleanup(stack.close)
        folder = stack.enter_context(TemporaryDirectory())
        node.config.stash[KERNELS] = stack.enter_context(forking_kernels(Path(folder)))
    node.workerinput["jupyter_path"] = str(node.config.stash[KERNELS])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """Look for no garbage among the tests and the libraries that they load: there is next to none."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let Python clear away at its end what it keeps from its looks for garbage meanwhile."""
    gc.unfreeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of tests/browser and tests/packaging, and put what takes long before all else."""
    for item in items:
        for folder in MARKED_FOLDERS:
            if item.path.is_relative_to(HERE / folder):
                item.add_marker(folder)
    places = {HERE / folder: place for place, folder in enumerate(LONG_FOLDERS)}
    items.sort(key=lambda item: places.get(item.path.parent, len(places)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have each group of tests run by one worker, in the order of collection, and all others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
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
