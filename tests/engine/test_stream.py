"""One generator, two ways to use it."""

from __future__ import annotations

import gc
import inspect
import io
import pydoc
import sys
import threading
import time
import weakref
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tqdm import tqdm

from cnnviz_widgets.engine import stream
from cnnviz_widgets.engine.progress import progress_file
from cnnviz_widgets.engine.stream import Step, StopEarly, streamed

LOG: list[str] = []


@pytest.fixture(autouse=True)
def empty_log() -> None:
    LOG.clear()


@streamed
def count(start: int, *, steps: int = 3, fail_at: int | None = None) -> Generator[Step, None, str]:
    """Watch a number grow.

    A second paragraph.
    """
    LOG.append("begun")
    try:
        for index in range(steps):
            if index == fail_at:
                raise RuntimeError(f"step {index} failed")
            yield Step(index, steps, values={"number": start + index, "curve": np.zeros(3)})
        return f"counted to {start + steps}"
    finally:
        LOG.append("tidied")


def test_a_call_runs_to_the_end_and_returns_the_result() -> None:
    assert count(5) == "counted to 8"
    assert count(5, steps=0) == "counted to 5"
    assert LOG == ["begun", "tidied"] * 2


def test_steps_are_taken_one_by_one_and_the_result_comes_last() -> None:
    steps = count.steps(5, steps=2)
    assert LOG == []  # nothing runs before the first step is asked for
    first, second = next(steps), next(steps)
    assert (first.index, first.total, first.values["number"]) == (0, 2, 5)
    assert (second.index, second.values["number"]) == (1, 6)
    assert LOG == ["begun"]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == "counted to 7"
    assert LOG == ["begun", "tidied"]


def test_both_ways_give_the_same() -> None:
    def drain(generator: Generator[Step, None, str]) -> str:
        return (yield from generator)

    def last(generator: Generator[Step, None, str]) -> str:
        while True:
            try:
                next(generator)
            except StopIteration as end:
                return end.value

    assert last(drain(count.steps(1, steps=9))) == count(1, steps=9)


def test_closing_stops_and_tidies() -> None:
    steps = count.steps(5)
    next(steps)
    steps.close()
    assert LOG == ["begun", "tidied"]
    with pytest.raises(StopIteration):
        next(steps)


def test_a_paused_method_goes_on_in_another_thread() -> None:
    steps = count.steps(5, steps=2)
    next(steps)
    seen: list[Any] = []
    thread = threading.Thread(target=lambda: seen.append(next(steps).index))
    thread.start()
    thread.join()
    assert seen == [1]
    steps.close()


def test_an_exception_comes_through_after_tidying() -> None:
    with pytest.raises(RuntimeError, match="step 1 failed"):
        count(5, fail_at=1)
    assert LOG == ["begun", "tidied"]


def test_an_interrupt_in_the_method_tidies() -> None:
    @streamed
    def interrupted() -> Generator[Step, None, None]:
        try:
            yield Step(0, 2)
            raise KeyboardInterrupt
        finally:
            LOG.append("tidied")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert LOG == ["tidied"]


def test_an_interrupt_between_two_steps_tidies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(values: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(stream, "_scalars", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        count(5)
    # The traceback still holds the frame with the generator: it was closed, not collected.
    assert caught.tb is not None
    assert LOG == ["begun", "tidied"]


def test_arguments_are_checked_at_the_call_as_python_does() -> None:
    for use in (count, count.steps):
        for arguments, options, message in (
            ((), {}, "missing 1 required positional argument: 'start'"),
            ((1, 2), {}, "takes 1 positional argument but 2"),
            ((1,), {"step": 3}, "unexpected keyword argument 'step'"),
        ):
            with pytest.raises(TypeError, match=message):
                use(*arguments, **options)
    assert LOG == []


def test_name_documentation_and_signature_are_those_of_the_function() -> None:
    assert count.__name__ == "count"
    assert count.__qualname__ == "count"
    assert count.__module__ == __name__
    assert inspect.getdoc(count).startswith("Watch a number grow.\n\nA second paragraph.\n\nCalled, it shows")
    expected = "(start: 'int', *, steps: 'int' = 3, fail_at: 'int | None' = None)"
    assert str(inspect.signature(count)) == expected
    # What `help` prints begins with the call, defaults and all.
    told = pydoc.plain(pydoc.render_doc(count))
    assert told.startswith(
        f"Python Library Documentation: function count in module {__name__}\n\ncount{expected}\n"
    )
    assert "TQDM_DISABLE=1" in told
    assert "count.steps(...)" in told


def test_in_a_notebook_the_bar_is_an_output_of_its_own_and_empty_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published: list[dict[str, Any]] = []
    display = SimpleNamespace(publish=lambda **message: published.append(message))
    shell = SimpleNamespace(kernel=object(), display_pub=display)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    error = io.StringIO()
    monkeypatch.setattr("sys.stderr", error)
    with tqdm(desc="work", total=2, leave=False, file=progress_file(), mininterval=0) as bar:
        bar.update(1)
    assert [message["update"] for message in published] == [False, True, True]
    assert len({message["transient"]["display_id"] for message in published}) == 1
    assert "work:  50%" in published[1]["data"]["text/plain"]
    assert published[-1]["data"] == {}
    assert error.getvalue() == ""
    shell.kernel = None  # IPython in a terminal
    assert progress_file() is None


def test_only_generators_can_be_streamed() -> None:
    with pytest.raises(
        TypeError, match=r"@streamed needs a generator function, got .*: yield a Step for each"
    ):
        streamed(lambda: None)  # type: ignore[arg-type, return-value]


class Bar:
    """Stands in for tqdm and remembers."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, **options: Any) -> None:
        self.options, self.n, self.total, self.open = options, 0, None, True
        self.history: list[Any] = []
        Bar.made.append(self)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: Any) -> None:
        self.open = False

    def set_postfix(self, values: Any, refresh: bool) -> None:
        self.history.append(values)

    def update(self, number: int) -> None:
        self.n += number
        self.history.append((self.n, self.total))


def test_the_bar_follows_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "tqdm", Bar)
    Bar.made.clear()
    count(5, steps=2)
    (bar,) = Bar.made
    assert bar.options["desc"] == "count"
    assert bar.history == [{"number": 5.0}, (1, 2), {"number": 6.0}, (2, 2)]
    assert not bar.open
    with pytest.raises(RuntimeError):
        count(5, fail_at=0)
    assert not Bar.made[-1].open


def test_a_bar_appears_for_long_work_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real bar, with a clock of our own: three steps of a second each, then of a millisecond."""
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    @streamed
    def work(seconds: float) -> Generator[Step, None, None]:
        for index in range(3):
            now[0] += seconds
            yield Step(index, 3, values={"loss": 0.25})

    for seconds, shown in ((1.0, True), (0.001, False)):
        output = io.StringIO()
        monkeypatch.setattr("sys.stderr", output)
        work(seconds)
        assert ("work" in output.getvalue()) is shown
        assert ("loss=0.25" in output.getvalue()) is shown
        assert ("2/3" in output.getvalue()) is shown


@streamed
def halved(value: float, *, steps: int = 3) -> Generator[Step, None, float]:
    """Halve a number."""
    index = 0
    try:
        for index in range(steps):
            value = value / 2
            yield Step(index, steps, values={"value": value})
    except StopEarly:
        return value
    return value


def test_finish_gives_the_result_whenever_there_is_one() -> None:
    part = halved.steps(8.0)
    next(part), next(part)
    assert halved.finish(part) == halved.finish(part) == 2.0
    whole = halved.steps(8.0)
    assert len(list(whole)) == 3
    assert halved.finish(whole) == 1.0  # a loop that looked for something, and did not find it


def test_finish_says_why_there_is_no_result() -> None:
    with pytest.raises(ValueError, match="no result yet: no step was taken"):
        halved.finish(halved.steps(8.0))
    closed = halved.steps(8.0)
    next(closed)
    closed.close()
    with pytest.raises(ValueError, match="was closed, or a step of it failed"):
        halved.finish(closed)
    failed = count.steps(1, fail_at=1)
    with pytest.raises(RuntimeError, match="step 1 failed"):
        list(failed)
    with pytest.raises(ValueError, match="was closed, or a step of it failed"):
        count.finish(failed)
    for other in ([1], (each for each in ())):
        with pytest.raises(TypeError, match=r"the generator that \.steps\(\.\.\.\) gave, got "):
            halved.finish(other)


def test_what_a_generator_returned_goes_with_it() -> None:
    class Large:
        pass

    @streamed
    def made() -> Generator[Step, None, Large]:
        yield Step(0, 1)
        return Large()

    steps = made.steps()
    list(steps)
    kept = weakref.ref(made.finish(steps))
    assert kept() is not None
    del steps
    assert kept() is None


@pytest.mark.parametrize("ending", ["finish", "throw", "close", "run"])
def test_what_a_method_works_with_goes_when_it_ends(ending: str) -> None:
    """At once, not when the garbage is collected: it may be a copy of a network."""

    class Large:
        pass

    made: list[weakref.ref[Large]] = []

    @streamed
    def works() -> Generator[Step, None, int]:
        large = Large()
        made.append(weakref.ref(large))
        try:
            for index in range(3):
                yield Step(index, 3)
        except StopEarly:
            pass
        return 3

    gc.collect()
    gc.disable()
    try:
        steps = works.steps()
        step: Any = next(steps)
        held = weakref.ref(step)
        del step
        assert held() is None
        if ending == "finish":
            assert works.finish(steps) == 3
        elif ending == "throw":
            with pytest.raises(KeyError):
                steps.throw(KeyError("x"))
        elif ending == "close":
            steps.close()
        else:
            list(steps)
        assert made[0]() is None
    finally:
        gc.enable()


def test_finish_while_a_step_is_taken_says_so() -> None:
    begun, go_on = threading.Event(), threading.Event()

    @streamed
    def slow() -> Generator[Step, None, int]:
        yield Step(0, 2)
        begun.set()
        go_on.wait(10)
        yield Step(1, 2)
        return 2

    steps = slow.steps()
    next(steps)
    worker = threading.Thread(target=next, args=(steps,))
    worker.start()
    try:
        assert begun.wait(10)
        with pytest.raises(RuntimeError, match="a step is being taken, on another thread"):
            slow.finish(steps)
    finally:
        go_on.set()
        worker.join()


@pytest.mark.parametrize("gradients", [True, False])
def test_a_step_is_taken_outside_of_inference_mode(gradients: bool) -> None:
    """Where nothing has a gradient; gradients are on or off as they were."""

    @streamed
    def modes() -> Generator[Step, None, tuple[bool, bool]]:
        yield Step(0, 1, values={"inference": torch.is_inference_mode_enabled()})
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    with torch.set_grad_enabled(gradients):
        assert modes() == (False, gradients)
        with torch.inference_mode():
            assert modes() == (False, False)
            steps = modes.steps()
            assert next(steps).values["inference"] is False
            assert torch.is_inference_mode_enabled()
            assert not torch.is_grad_enabled()
            steps.close()
        assert torch.is_grad_enabled() is gradients


def test_help_tells_of_steps_and_finish() -> None:
    assert "its arguments are those of ``count``" in pydoc.render_doc(count.steps)
    assert "return its result of what is done so far" in pydoc.render_doc(count.finish)
    assert list(inspect.signature(count.steps).parameters) == ["start", "steps", "fail_at"]
