"""The records of a training, in bounded memory and, if wanted, in a file that outlives the process."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import RecorderError, ResultFileError
from cnnviz_widgets.engine.history_file import HistoryReader, HistoryWriter, create_history
from cnnviz_widgets.engine.history_header import Arrays, HistoryHeader, schema_of
from cnnviz_widgets.engine.thinning import Thinned

# First, last, and one between.
_FEWEST = 3
_ELSEWHERE = "For a new training give another path, or delete the file"


class TrainingLog:
    """Keeps records by step: thinned out evenly where they are too many; read from any thread.

    Parameters
    ----------
    header, pictures
        What all records have in common.
    byte_budget
        How many bytes the records in memory may take.
    present
        A record of the network as it is now.
    unit
        Steps between records, where they are even.
    path
        A file to append to. One that is there already is gone on with: what was being written last when its
        writer was killed is cut off.
    first_step
        Where the training is now. What a file has of later steps is cut off, with a warning: the training was
        taken back. ``None``: where the file ends, or at 0.

    Raises
    ------
    RecorderError
        The budget is too small; the file is of another network, of other layers or images, or another one is
        writing to it; its record of ``first_step`` (or its last one, where that is ``None``) has other weights than
        there are now; it has nothing but later steps.
    ResultFileError
        The file is no history, or damaged.
    """

    def __init__(
        self,
        header: HistoryHeader,
        pictures: NDArray[np.uint8],
        *,
        byte_budget: int,
        present: Arrays,
        unit: int | None = None,
        path: str | os.PathLike[str] | None = None,
        first_step: int | None = None,
    ) -> None:
        self.header = header
        self.pictures = pictures
        self._lock = threading.Lock()
        self._records: Thinned[Arrays] = Thinned(capacity_of(header, byte_budget), unit)
        self._writer: HistoryWriter | None = None
        if path is not None:
            place = Path(path)
            if not place.exists():
                create_history(place, header, pictures)
            self._writer = HistoryWriter(place)
            try:
                self._go_on(place, first_step, byte_budget, present)
            except BaseException:
                self.close()
                raise
        self.first_step = (self.last_step or 0) if first_step is None else first_step

    def _go_on(self, path: Path, first_step: int | None, byte_budget: int, present: Arrays) -> None:
        reader = HistoryReader(path, max_bytes=max(byte_budget, self.pictures.nbytes))
        difference = reader.header.difference(self.header)
        if difference is not None:
            raise RecorderError(f"{path} was recorded with {difference}; record into another file")
        end, alike, later = reader.start, None, []
        for record, after in _advised(reader.records()):
            if first_step is not None and record["step"] > first_step:
                later.append(int(record["step"]))
                continue
            self._keep(record)
            alike = int(record["step"]) if _same_weights(record, present) else alike
            end = after
        if first_step is None and self.last_step != alike:
            raise RecorderError(_other_weights(path, self.last_step, alike))
        if first_step is not None:
            self._check_taken_back(path, first_step, alike, later)
        if self._writer is not None:
            self._writer.cut(end)

    def _check_taken_back(self, path: Path, first_step: int, alike: int | None, later: list[int]) -> None:
        """Refuse weights that are not those of that step, and tell of the later records, which are dropped."""
        if self.last_step is None and later:
            raise RecorderError(
                f"{path} begins with step {later[0]}, after first_step={first_step}, so nothing of it would stay. "
                + _ELSEWHERE
            )
        if self.last_step == first_step != alike:
            are = f"; they are those of step {alike} there" if alike is not None else ""
            raise RecorderError(
                f"{path} has a record of step {first_step}, but the network's weights are not those recorded then"
                f"{are}. To go on from there, load that step's weights first. {_ELSEWHERE}"
            )
        if later:
            one = len(later) == 1
            count = (
                f"1 record of a later step, {later[0]}, is"
                if one
                else (f"{len(later):,} records of later steps, {later[0]} to {later[-1]}, are")
            )
            unsure = (
                "" if self.last_step == first_step else "; it has none of that step to compare weights with"
            )
            # Before they are: where warnings are errors, nothing is lost.
            warnings.warn(
                f"the training is taken back to step {first_step}, so {count} dropped from {path}{unsure}",
                stacklevel=5,
            )

    @property
    def last_step(self) -> int | None:
        """The step of the last record, ``None`` if there is none."""
        with self._lock:
            steps = self._records.steps
        return steps[-1] if steps else None

    @property
    def spacing(self) -> int:
        """How many steps there are at least between records that stay."""
        return self._records.spacing

    def records(self) -> list[Arrays]:
        """Return what is kept by now."""
        with self._lock:
            return self._records.items

    def add(self, record: Arrays) -> None:
        """Write a record to the file, if there is one, and keep it.

        Raises
        ------
        RecorderError
            Its arrays have other sizes than those of the records before, and nothing is written.
        """
        made = schema_of(record)
        if made != self.header.schema:
            name = next(
                each
                for each in {**made, **self.header.schema}
                if made.get(each) != self.header.schema.get(each)
            )
            raise RecorderError(
                f"the network has changed since the recorder was attached: what is recorded as {name} was "
                f"{self.header.schema.get(name)} and is {made.get(name)}; attach a new recorder, with another path"
            )
        if self._writer is not None:
            self._writer.append(record)
        self._keep(record)

    def _keep(self, record: Arrays) -> None:
        with self._lock:
            self._records.add(int(record["step"]), record)

    def close(self) -> None:
        """Close the file; the records stay."""
        if self._writer is not None:
            self._writer.close()


def capacity_of(header: HistoryHeader, byte_budget: int) -> int:
    """Return how many records fit into a budget, or say that it is too small."""
    capacity = byte_budget // header.memory_bytes
    if capacity < _FEWEST:
        raise RecorderError(
            f"byte_budget={byte_budget:,} has no room for {_FEWEST} records of {header.memory_bytes:,} bytes; "
            f"give at least {_FEWEST * header.memory_bytes:,}, or fewer layers"
        )
    return capacity


def read_log(
    path: str | os.PathLike[str], *, byte_budget: int, keep_before_damage: bool = False
) -> tuple[HistoryHeader, NDArray[np.uint8], list[Arrays]]:
    """Return what a file holds by now, thinned out evenly where that is more than the budget."""
    reader = HistoryReader(path, max_bytes=byte_budget)
    kept: Thinned[Arrays] = Thinned(capacity_of(reader.header, byte_budget))
    try:
        for record, _ in reader.records():
            kept.add(int(record["step"]), record)
    except ResultFileError as error:
        if not keep_before_damage:
            raise _damaged(error) from error
        last = f"those to step {kept.steps[-1]} are kept" if kept.steps else "none are kept"
        warnings.warn(f"{error}; of its records {last}", stacklevel=3)
    return reader.header, reader.pictures, kept.items


def _advised(records: Iterator[tuple[Arrays, int]]) -> Iterator[tuple[Arrays, int]]:
    try:
        yield from records
    except ResultFileError as error:
        raise _damaged(error) from error


def _damaged(error: ResultFileError) -> ResultFileError:
    return ResultFileError(
        f'{error}; cv.load_history(path, on_damage="keep") returns the records before that. A recorder goes on in '
        "another file only"
    )


def _same_weights(one: Arrays, two: Arrays) -> bool:
    """Return whether two records are of the same weights, as far as they tell."""
    # The last digits of a norm depend on the device, and on how many threads have added it up.
    return np.array_equal(one["kernels"], two["kernels"], equal_nan=True) and np.allclose(
        one["weight_norms"], two["weight_norms"], rtol=1e-9, atol=0, equal_nan=True
    )


def _other_weights(path: Path, last: int | None, alike: int | None) -> str:
    are = f"; they are those of step {alike} there" if alike is not None else ""
    return (
        f"{path} ends with step {last}, but the network's weights are not those recorded then{are}. To go on, load "
        "the weights of that step first, or say of which step these are, with first_step=... (what the file has "
        f"of later steps is then dropped). {_ELSEWHERE}"
    )
