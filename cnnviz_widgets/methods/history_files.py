"""Read what a recorder of a training has written to a file."""

from __future__ import annotations

import os
from typing import Literal

from cnnviz_widgets.engine.training_history import TrainingHistory, history_of
from cnnviz_widgets.engine.training_log import read_log
from cnnviz_widgets.engine.whole_numbers import checked_whole


def load_history(
    path: str | os.PathLike[str],
    *,
    byte_budget: int = 1024**3,
    on_damage: Literal["raise", "keep"] = "raise",
) -> TrainingHistory:
    """See what a `TrainingRecorder` has written to a file by now, also while it goes on writing.

    A last record that is not whole, since it is just being written or its writer was killed, is left out.

    Parameters
    ----------
    path
        The file.
    byte_budget
        How many bytes the records may take; if there are more, they are thinned out evenly.
    on_damage
        Where a record is damaged, and not just the last one cut short: ``"raise"`` an error, or ``"keep"``
        those before it, with a warning.

    Returns
    -------
    TrainingHistory

    Raises
    ------
    ResultFileError
        (a ValueError) Not such a file, cut short before its first record, or damaged.
    ValueError
        Another ``on_damage``.
    RecorderError
        The budget has no room for three records.
    OSError
        There is no such file, or it may not be read.
    """
    if on_damage not in ("raise", "keep"):
        raise ValueError(f"on_damage is 'raise' or 'keep', got {on_damage!r}")
    budget = checked_whole("byte_budget", byte_budget)
    return history_of(*read_log(path, byte_budget=budget, keep_before_damage=on_damage == "keep"))
