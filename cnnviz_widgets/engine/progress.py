"""Where a progress bar is drawn: on standard error, or in a notebook in an output of its own that ends up empty."""

from __future__ import annotations

import sys
import uuid
from typing import Any, TextIO, cast


def progress_file() -> TextIO | None:
    """Return what ``tqdm`` takes as its ``file``: in a notebook one that leaves nothing in the cell.

    Elsewhere ``None``, which is standard error. What is written there stays in a notebook, and in its file:
    a bar that is cleared with blanks is a line of blanks.
    """
    # It is loaded already wherever there is a kernel, and nowhere else is it needed.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # In a terminal IPython has no kernel, and its standard error is that of the terminal.
    if getattr(shell, "kernel", None) is None:
        return None
    return cast(TextIO, _CellLine(shell))


class _CellLine:
    """A file with one line, the one last written, as an output of the running cell."""

    encoding = "utf-8"

    def __init__(self, shell: Any) -> None:
        self._shell, self._line = shell, ""
        self._transient = {"display_id": uuid.uuid4().hex}
        self._begun = False

    def write(self, text: str) -> int:
        line = text.strip()  # tqdm goes back to the start of the line, and clears it with blanks
        if line != self._line:
            # Without any form that could be shown, the output takes no room.
            data = {"text/plain": line} if line else {}
            self._shell.display_pub.publish(
                data=data, metadata={}, transient=self._transient, update=self._begun
            )
            self._begun, self._line = True, line
        return len(text)

    def flush(self) -> None:
        """Do nothing: what is written is on its way."""
