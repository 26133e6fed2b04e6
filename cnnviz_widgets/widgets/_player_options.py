"""What is chosen in a player, and the calls that are made of it: from the beginning, or from a run's picture."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import TargetError, did_you_mean
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.widgets._player_runs import (
    Call,
    Run,
    changed,
    in_words,
    is_other,
    picture_of,
    picture_of_result,
)
from cnnviz_widgets.widgets._player_work import PAUSED, Worker


class Chooser(Worker):
    """Base of `Player`: keeps the options for the next run, and makes the call of it.

    Options that are changed hold for the next run. One that goes on from a picture has the options and inputs of the
    run that made it, but for what was changed since a run was last asked for.
    """

    _call: ClassVar[str]  # as a person writes the method
    _hints: ClassVar[Mapping[str, str]] = {}  # by what a person may take for an option, what to say of it
    # Raises what the method says to those options that are its parameters, without a pass through the network.
    _rules: ClassVar[Callable[..., Any] | None] = None

    _options: dict[str, Any]

    # -- what a subclass tells --------------------------------------------------------------------------

    def _inputs(self) -> tuple[Any, ...]:
        """Return what the method is called with between the network and the options."""
        return ()

    def _choose_inputs(self, inputs: Sequence[Any]) -> None:
        """Choose what a method was called with before; the options are shown after."""

    @abstractmethod
    def _show_options(self) -> None:
        """Show the options; raises where that can't be."""

    def _title(self, options: Mapping[str, Any]) -> str:
        """Return what a run from the beginning is about, in a few words."""
        return ""

    def _begin_from(self, picture: NDArray[np.uint8], run: Run, done: int) -> dict[str, Any]:
        """Return the options of a run that goes on from a run's picture; ``done`` steps led to it.

        It takes the steps that remain, or as many as were chosen where none do.
        """
        steps, start = self._options["steps"], None
        if done == run.call.first:
            # This picture is the parent's.
            start = run.call.params.get("start")
        return {
            **self._options,
            "start": self._pictures(picture, run) if start is None else start,
            "steps": steps if steps is None or steps <= done else steps - done,
        }

    def _pictures(self, picture: NDArray[np.uint8], run: Run) -> Any:
        """Return a run's picture as ``start=`` takes it: of one that shows several side by side, each of them."""
        return picture

    def _inputs_from(self, picture: NDArray[np.uint8]) -> tuple[Any, ...]:
        """Return the inputs of such a run: of a method without ``start=``, the picture."""
        return self._inputs()

    # -- options ----------------------------------------------------------------------------------------

    @property
    def options(self) -> dict[str, Any]:
        """What is chosen, for the next run."""
        with self.lock:
            return dict(self._options)

    def set(self, **changes: Any) -> None:
        """Choose other options of the method: for the next run, and after a pause from `resume` on.

        What is wrong by itself, or can't be shown in the fields, is refused here. What only a pass through the network
        tells is tried when a run begins: see ``state`` and ``error``.
        """
        with self.lock:
            before = self._options
            self._options = self._all_options({**before, **changes})
            try:
                self._check_options()
                self._show_options()
            except Exception:
                # What is refused is not chosen.
                self._options = before
                self._show_options()
                raise

    def _check_options(self) -> None:
        """Raise what is wrong with the options by themselves."""
        rules, known = type(self)._rules, {"net": self.net, **self._options}
        if rules is not None:
            rules(**{name: known[name] for name in inspect.signature(rules).parameters})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_options", ()):
            raise AttributeError(
                f"{name} is an option of {self._call}: choose it with player.set({name}=...)"
            )
        super().__setattr__(name, value)

    def _all_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        parameters = inspect.signature(type(self)._method).parameters
        taken = {name: each.default for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY}
        known = {**taken, **self._options} if self._options else parameters
        unknown = [name for name in options if name not in known]
        if unknown:
            names = list(dict.fromkeys([*taken, *(name for name in options if name in known)]))
            hint = self._hints.get(unknown[0]) or did_you_mean(unknown[0], names)
            raise TypeError(
                f"{type(self).__name__} takes the options of {self._call}: {', '.join(names)}; got "
                f"{unknown[0]!r}{hint}"
            )
        return {**taken, **options}

    # -- calls ------------------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What stands before the options in the call that gives `result`: photos that the run on show began with."""
        with self.lock:
            run = self._runs.get(self.view.run)
            return self._inputs() if run is None else run.call.inputs

    @property
    def params(self) -> dict[str, Any]:
        """The options with which the method gives `result`; before the first run those that are chosen.

        A branch has the picture that it began with in ``start``, and what remained in ``steps`` and ``scales``; with
        ``cv.deepdream`` that picture is its input, and its size is in ``size``.

        A run that was stopped is the first steps of such a call. With ``cv.invert``: take as many steps of
        ``steps = cv.invert.steps(net, *player.inputs, **player.params)``, then call ``cv.invert.finish(steps)``.
        """
        with self.lock:
            run = self._runs.get(self.view.run)
            return dict(self._options if run is None else run.call.params)

    def _new_call(self) -> Call:
        options = dict(self._options)
        inputs = self._inputs()
        return Call(options, inputs, dict(options), inputs, text=self._title(options))

    def _steps_of(self, call: Call) -> Generator[Step, None, Any]:
        return type(self)._method.steps(self.net, *call.inputs, **call.params)

    def _check(self, call: Call) -> NDArray[np.uint8] | None:
        """Raise what the method says to these options: it does so with its first step, whose picture is returned."""
        steps = self._steps_of(call)
        try:
            return picture_of(next(steps))
        except StopIteration as end:
            return picture_of_result(end.value)
        finally:
            steps.close()

    def _branch_call(self, origin: Run, step: int) -> Call:
        """Return the call that goes on from a run's frame."""
        if step < 0 or step >= origin.done:
            done, picture = origin.done, self._picture_now(origin)
        else:
            frame = self.view.frame(origin.number, step)
            done, picture = frame.step, frame.image
        if picture is None:
            raise TargetError(f"run {origin.number} has no picture to go on from")
        return Call(
            options=dict(self._options),
            inputs=self._inputs_from(picture),
            params=self._begin_from(picture, origin, done),
            chosen=self._inputs(),
            first=done,
            parent=origin.number,
            text=in_words(self._options, changed(origin.call.options, self._options)),
        )

    def _choose_again(self, origin: Run, changes: Mapping[str, Any]) -> None:
        """Choose what a run was begun with, and some options anew."""
        before = self._inputs()
        options, inputs = self._kept(origin)
        self._choose_inputs(inputs)
        try:
            self.set(**{**options, **changes})
        except Exception:
            self._choose_inputs(before)
            self._show_options()
            raise

    def _kept(self, origin: Run) -> tuple[dict[str, Any], tuple[Any, ...]]:
        """Return a run's options and inputs, but for those that were changed since a run was last asked for."""
        now, inputs = self._options, self._inputs()
        last = self._asked
        if last is None:
            return dict(now), inputs
        since = changed(last.options, now)
        told = zip(last.chosen, inputs, origin.call.chosen, strict=True)
        return (
            {**origin.call.options, **{name: now[name] for name in since}},
            tuple(here if is_other(before, here) else then for before, here, then in told),
        )

    # -- what is chosen beside what a run has -----------------------------------------------------------

    def _is_pending(self, run: Run) -> bool:
        """Return whether something was chosen that a run does not have."""
        before = {**run.call.options, "": run.call.chosen}
        return bool(changed(before, {**self._options, "": self._inputs()}))

    def _pending(self) -> list[str]:
        """Say what becomes of options that were changed while a run is under way, and of those of the run on show."""
        run, said = self._current, []
        if run is not None and self._is_pending(run):
            names = changed(run.call.options, self._options)
            what = in_words(self._options, names) or "another input"
            when = "Resume begins" if self.state == PAUSED else "After a pause, Resume begins"
            said.append(f"{when} a new run from this picture: {what}.")
        shown = self._runs.get(self.view.run)
        if shown is not None and shown is not run:
            options, inputs = self._kept(shown)
            what = in_words(options, changed(self._options, options))
            what += ", its input" if is_other(self._inputs(), inputs) else ""
            if what:
                made = what.removeprefix(", ")
                said.append(f"Branch from here takes what run {shown.number} was made with: {made}.")
        return said
