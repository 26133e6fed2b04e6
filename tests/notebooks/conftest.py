"""Each notebook is executed once, for all tests of this folder; its kernel lives until the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.notebooks._execute import Run, executed


@pytest.fixture(scope="package")
def run_of(
    tmp_path_factory: pytest.TempPathFactory, jupyter_path: Path | None
) -> Iterator[Callable[[Path], Run]]:
    """A function that executes a notebook, or finds it executed."""
    runs: dict[Path, Run] = {}
    failures: dict[Path, Exception] = {}
    with ExitStack() as stack:

        def run_of_one(path: Path) -> Run:
            if path in failures:
                raise failures[path]
            if path not in runs:
                try:
                    folder = tmp_path_factory.mktemp(path.stem)
                    runs[path] = stack.enter_context(executed(path, folder, jupyter_path))
                except Exception as error:
                    # Its other tests fail the same way, without waiting for it again.
                    failures[path] = error
                    raise
            return runs[path]

        yield run_of_one
