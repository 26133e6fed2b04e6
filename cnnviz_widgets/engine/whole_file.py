"""Files that appear whole or not at all, also where the process is killed while it writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which takes the place of ``path`` at the end of the block, and only then.

    It is called as ``path``, with ``.part`` behind; what a killed process leaves of it is written over by the next.
    """
    part = path.with_name(f"{path.name}.part")
    with open(part, "wb") as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            file.close()
            part.unlink()
            raise
    os.replace(part, path)
