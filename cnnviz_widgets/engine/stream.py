"""Long work as one generator, used two ways: run to the end, or taken step by step."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Step:
    """What one step of a long method shows: how far it is, the picture so far, and its numbers.

    Attributes
    ----------
    index
        Steps done before this one, from 0.
    total
        Steps in all, or ``None`` where that is not known.
    image
        The picture at this step, uint8 or float32 in [0, 1], H x W x 3; ``None`` where there is none.
    values
        Named numbers at this step, such as ``{"loss": 0.3}``.
    """

    index: int
    total: int | None
    image: NDArray[Any] | None = None
    values: Mapping[str, float | NDArray[Any]] = field(default_factory=dict)


class StopEarly(Exception):  # noqa: N818  it is no error
    """Thrown into a generator of steps to have the result so far: see `Streamed.finish`."""


class Streamed(Generic[P, R]):
    """A method that can be run to its end (call it) or step by step (`steps`)."""

    def __init__(self, function: Callable[P, Generator[Step, None, R]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)
        # What the function is annotated to return is the generator, not what a call returns.
        self.__signature__ = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)

    def steps(self, *args: P.args, **kwargs: P.kwargs) -> Generator[Step, None, R]:
        """Return the generator itself: ask for a step, pause by not asking, stop by closing it."""
        return self._function(*args, **kwargs)

    @staticmethod
    def finish(steps: Generator[Step, None, R]) -> R:
        """Stop a generator that `steps` gave, and return its result of what is done so far.

        Raises
        ------
        ValueError
            It has not yet taken a step, or the method has no result before its end: then close it.
        """
        try:
            steps.throw(StopEarly())
        except StopIteration as end:
            result: R = end.value
            return result
        except StopEarly:
            pass
        steps.close()
        raise ValueError("there is no result yet: no step was taken, or this method has one only at its end")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run every step with a progress bar (shown after half a second) and return the result."""
        generator = self.steps(*args, **kwargs)
        with tqdm(desc=self._function.__name__, delay=0.5, leave=False) as bar:
            try:
                while True:
                    step = next(generator)
                    bar.total = step.total
                    bar.set_postfix(_scalars(step.values), refresh=False)
                    bar.update(step.index + 1 - bar.n)
            except StopIteration as end:
                result: R = end.value
                return result
            finally:
                generator.close()

    def __repr__(self) -> str:
        return f"<streamed method {self._function.__name__}{self.__signature__}>"


def _scalars(values: Mapping[str, float | NDArray[Any]]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if np.ndim(value) == 0}


def streamed(function: Callable[P, Generator[Step, None, R]]) -> Streamed[P, R]:
    """Turn a generator of `Step` that returns its result into a method with two uses.

    The generator must hold nothing across a ``yield``: no hook, no mode, no lock. A paused method must leave
    the model as it found it, and the next step may be asked for by another thread.

    Examples
    --------
    >>> @streamed
    ... def halve(value: float, *, times: int = 3) -> Generator[Step, None, float]:
    ...     for index in range(times):
    ...         value = value / 2
    ...         yield Step(index, times, values={"value": value})
    ...     return value
    >>> halve(8.0)
    1.0
    >>> [step.values["value"] for step in halve.steps(8.0, times=2)]
    [4.0, 2.0]
    """
    if not inspect.isgeneratorfunction(function):
        raise TypeError(f"@streamed needs a generator function, got {function!r}: yield a Step for each step")
    return Streamed(function)
