"""Long work as one generator, used two ways: run to the end, or taken step by step."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cnnviz_widgets.engine.progress import progress_file

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


_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_hearer: ContextVar[Callable[[str], None] | None] = ContextVar("hearer", default=None)


def remark(text: str) -> None:
    """Warn of what a person must know about a result, or tell it to who listens on this thread.

    The warning points to the line that called the package, whatever lies between: warnings of one line are shown once.
    """
    hearer = _hearer.get()
    if hearer is not None:
        hearer(text)
        return
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, UserWarning, stacklevel=level)


def listen(hearer: Callable[[str], None]) -> None:
    """Be told the remarks of what runs on this thread from now on: a warning would be printed beside the widget."""
    _hearer.set(hearer)


class Streamed(Protocol[P, R]):
    """A function that runs a method to its end, with `steps` to take it step by step instead."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run every step with a progress bar (shown after half a second) and return the result."""
        ...

    def steps(self, *args: P.args, **kwargs: P.kwargs) -> Generator[Step, None, R]:
        """Return a generator instead: ask for a step, pause by not asking, stop by closing it."""
        ...

    def finish(self, steps: Generator[Step, None, R]) -> R:
        """Stop a generator that `steps` gave, and return its result of what is done so far.

        Of one that has come to its end, return the result as it is.

        Raises
        ------
        TypeError
            It is no such generator.
        RuntimeError
            A step is being taken, on another thread.
        ValueError
            It has not yet taken a step, was closed, or failed; or the method has no result before its end.
        """
        ...


_HELP = """
Called, it shows how far it is after half a second, and clears that when it is done; start Python with
``TQDM_DISABLE=1`` in its environment to see nothing. ``{name}.steps(...)``, with the same arguments, returns a
generator of `Step` instead, to be taken one by one; ``{name}.finish`` stops it and returns what it has come to.
"""
_STEPS_HELP = """Return a generator of `Step`; its arguments are those of ``{name}``.

Ask for a step with ``next``, or in a loop; pause by not asking. ``{name}.finish`` stops it and returns the result of
what is done so far; ``close`` ends it without one.
"""
# What generators have returned, for as long as somebody has them.
_results: WeakKeyDictionary[Generator[Step, None, Any], list[Any]] = WeakKeyDictionary()


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

    @functools.wraps(function)
    def steps(*args: P.args, **kwargs: P.kwargs) -> Generator[Step, None, R]:
        returned: list[R] = []
        generator: Any = _taken(function(*args, **kwargs), returned)
        generator.__name__, generator.__qualname__ = function.__name__, function.__qualname__
        _results[generator] = returned
        return cast(Generator[Step, None, R], generator)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        generator = steps(*args, **kwargs)
        with tqdm(desc=function.__name__, delay=0.5, leave=False, file=progress_file()) as bar:
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

    # A function, not an object that is called: `help` and ? tell the arguments and their defaults of functions.
    made: Any = run
    made.steps, made.finish = steps, _finish
    steps.__doc__ = _STEPS_HELP.format(name=function.__name__)
    # What the function is annotated to return is the generator, not what a call returns.
    made.__signature__ = inspect.signature(function).replace(return_annotation=inspect.Signature.empty)
    made.__doc__ = f"{inspect.getdoc(function) or ''}\n{_HELP.format(name=function.__name__)}".lstrip()
    return cast(Streamed[P, R], run)


def _taken(steps: Generator[Step, None, R], returned: list[R]) -> Generator[Step, None, R]:
    """Yield from steps, each of them taken outside of inference mode, where nothing has a gradient; note the result.

    Nothing of a step, nor of an error, is held meanwhile.
    """
    go_on: Callable[[], Step] = functools.partial(next, steps)
    todo = [go_on]
    while True:
        try:
            with _outside_of_inference():
                taken = [todo.pop()()]
        except StopIteration as end:
            returned.append(end.value)
            return returned[0]
        try:
            yield taken.pop()
            todo.append(go_on)
        except GeneratorExit:
            with _outside_of_inference():
                steps.close()
            raise
        except BaseException as error:  # noqa: BLE001 -- handed on
            todo.append(functools.partial(steps.throw, error))


@contextmanager
def _outside_of_inference() -> Iterator[None]:
    """Leave inference mode inside. That would turn gradients on, too: they stay off."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def _finish(steps: Generator[Step, None, R]) -> R:
    given: Any = steps
    if not isinstance(given, Generator) or given not in _results:
        raise TypeError(f"finish takes the generator that .steps(...) gave, got {given!r}")
    returned = _results[steps]
    if returned:
        result: R = returned[0]
        return result
    if inspect.getgeneratorstate(steps) == inspect.GEN_RUNNING:
        raise RuntimeError("a step is being taken, on another thread; wait for it, then finish")
    if inspect.getgeneratorstate(steps) == inspect.GEN_CLOSED:
        raise ValueError("there is no result: the generator was closed, or a step of it failed")
    try:
        steps.throw(StopEarly())
    except StopIteration:
        return cast(R, returned[0])
    except StopEarly:
        pass
    steps.close()
    raise ValueError("there is no result yet: no step was taken, or this method has one only at its end")


_finish.__doc__ = Streamed.finish.__doc__
