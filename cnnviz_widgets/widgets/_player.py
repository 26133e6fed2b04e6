"""What all players share: a picture that is optimized before one's eyes, and may be paused, changed and branched."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.errors import InputError, TargetError, did_you_mean
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES
from cnnviz_widgets.views._pacing import Pacer
from cnnviz_widgets.views._text import as_html, format_number
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._player_controls import Control, row
from cnnviz_widgets.widgets._player_export import Exporter, checked_format
from cnnviz_widgets.widgets._player_parts import PlayerParts
from cnnviz_widgets.widgets._player_runs import (
    Call,
    Run,
    changed,
    curves_of,
    in_words,
    is_other,
    picture_of,
    picture_of_result,
)
from cnnviz_widgets.widgets._player_work import PAUSED, RUNNING, Worker

# A chart costs the page as much as five frames.
CHART_SECONDS = 1.0


class Player(Worker):
    """Base of the players: the viewer of a method's call that takes steps, one run at a time.

    Runs are numbered. One is on show, and what `params` and `result` tell is about that one. Options that are changed
    hold for the next run; after a pause, `resume` begins it from the picture on show, as `branch` does.

    A subclass names its method and overrides what it needs of ``_inputs``, ``_make_controls``, ``_begin_from``,
    ``_title`` and ``_show_numbers``.

    Attributes
    ----------
    net
        The network.
    view
        The frames: ``player.view.run``, ``step`` and ``other`` say what is on show, and may be set.
    chart
        Each term over the steps.
    """

    _curve: ClassVar[str] = "value"  # what the chart's axis says
    _log: ClassVar[bool | None] = False  # whether it is logarithmic, as `LineChart` takes it
    _call: ClassVar[str]  # as a person writes the method
    _hints: ClassVar[Mapping[str, str]] = {}  # by what a person may take for an option, what to say of it

    net: Network

    def __new__(cls, *arguments: Any, **options: Any) -> Player:
        """Prepare what `close` needs, as the base does."""
        self: Player = super().__new__(cls, *arguments, **options)
        self._pacer = None
        return self

    _pacer: Pacer | None

    def __init__(self, net: Network, options: Mapping[str, Any]) -> None:
        who = type(self).__name__
        check_network(net, who)
        if net.input.channels not in (1, 3):
            raise InputError(
                f"{who} shows pictures, which the {net.input.channels} channels of this network's input do not make; "
                f"call {self._call} for the numbers"
            )
        self.net = net
        self._options: dict[str, Any] = {}
        self._options = self._all_options(options)
        self._tried = self._check(self._new_call())
        super().__init__()
        self.parts = PlayerParts(self._curve, self._log)
        self.view, self.chart = self.parts.view, self.parts.chart
        self._exporter = Exporter(self.view, self._run, self._picture_now)
        self.controls = {control.name: control for control in self._make_controls()}
        fields = row([control.widget for control in self.controls.values()])
        self.children = self.parts.arranged(self.status, self._arranged(fields))
        self.add_class("cnnviz-player")
        self._pacer = Pacer(self._draw_curves, CHART_SECONDS)
        self._link()
        self._show_options()
        self._draw()

    # -- what a subclass tells --------------------------------------------------------------------------

    def _inputs(self) -> tuple[Any, ...]:
        """Return what the method is called with between the network and the options."""
        return ()

    def _choose_inputs(self, inputs: Sequence[Any]) -> None:
        """Choose what a method was called with before; the options are shown after."""

    def _make_controls(self) -> Sequence[Control]:
        """Return the fields for the main options."""
        return ()

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        """Return what stands beside the frames: the fields, and what else there is to choose and to see."""
        return (controls,)

    def _show_options(self) -> None:
        """Let the fields show the options; a subclass shows its own, too."""
        with self.lock:
            for control in self.controls.values():
                control.show(self._options[control.name])
            self._show_pending()

    def _changes(self, name: str, value: Any) -> dict[str, Any]:
        """Return what becomes of the options when a person picks one: others may not go with it."""
        return {name: value}

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

    def _show_numbers(self, run: Run | None) -> None:
        """Show what is known of the run on show beside its terms, at most twice a second; a subclass shows more."""
        remarks = [] if run is None else run.remarks
        self.parts.said.value = "".join(f"<p>{as_html(each)}</p>" for each in remarks)

    # -- options ----------------------------------------------------------------------------------------

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

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_options", ()):
            raise AttributeError(
                f"{name} is an option of {self._call}: choose it with player.set({name}=...)"
            )
        super().__setattr__(name, value)

    @property
    def options(self) -> dict[str, Any]:
        """What is chosen, for the next run."""
        with self.lock:
            return dict(self._options)

    def set(self, **changes: Any) -> None:
        """Choose other options of the method: for the next run, and after a pause from `resume` on.

        What the fields can't show is refused here. The rest is tried when a run begins: see ``state`` and ``error``.
        """
        with self.lock:
            before = self._options
            self._options = self._all_options({**before, **changes})
            try:
                self._show_options()
            except Exception:
                # What can't be shown is not chosen.
                self._options = before
                self._show_options()
                raise

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

    # -- acts -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a run with the options that are chosen; one that is under way ends, its result so far is kept."""
        with self.lock:
            self._ask(self._new_call())

    def pause(self) -> None:
        """Take no further step until `resume`."""
        with self.lock:
            if self.state == RUNNING and self._at_work is not None:
                self._pausing = True

    def resume(self) -> None:
        """Go on after `pause`; with options that were changed meanwhile as a new run from the picture on show."""
        with self.lock:
            run = self._current
            if self._at_work is None or not self._pausing:
                return
            if run is not None and self._wish is None and self._is_pending(run):
                self._ask(self._branch_call(run, -1))
            else:
                # What was wished before the pause still comes first.
                self.clear_error()
                self._go_on()

    def stop(self) -> None:
        """End the run before its next step; its result so far is kept."""
        with self.lock:
            if self.state in (RUNNING, PAUSED) and self._job is not None:
                self._wish, self._stopping = None, True
                self._go_on()

    def branch(self, step: int | None = None, run: int | None = None, **changes: Any) -> None:
        """Begin a new run from an earlier picture: an undo, with other options if you like.

        It has the options and inputs of the run that it goes on from, but for those that were changed since a run was
        last begun; they are chosen from then on. It takes the steps that remain; from a last step as many as are
        chosen. What runs ends, its result so far is kept.

        Parameters
        ----------
        step
            The nearest kept frame to this one; -1 for the latest. Left out, the frame on show.
        run
            Number of the run; left out, the one on show.
        changes
            Options to change before.

        Raises
        ------
        TargetError
            There is no such run, or it has no frame yet.
        TypeError
            An option that the method does not have.
        """
        with self.lock:
            origin = self._run(self.view.run if run is None else run)
            step = self.view.step if step is None else step
            self._choose_again(origin, changes)
            self._ask(self._branch_call(origin, step))

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

    def compare(self, run: int | None) -> None:
        """Show another run beside the one on show, at the same step; ``None`` for no comparison."""
        with self.lock:
            self.view.other = -1 if run is None else self._run(run).number

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write what is on show to a file, of the kind that its name's ending says, and return its path.

        ``.png``: the frame on show. ``.gif`` and ``.webp``: the kept frames of its run, as an animation, small ones
        enlarged in whole pixels; WebP without loss. ``.npz``: its result, which `load_result` reads.

        Raises
        ------
        ValueError
            Another ending; no frame or no result yet.
        """
        target = Path(path)
        data = self._exporter.file(checked_format(target.suffix[1:].lower()), self.view.run)
        target.write_bytes(data)
        return target

    def remove(self, run: int) -> None:
        """Forget a run with its frames, unless it is under way."""
        with self.lock:
            found = self._run(run)
            if found.state == RUNNING:
                raise ValueError(f"run {run} is under way; stop it first")
            self.view.forget(run)
            del self._runs[run]
            self._draw_curves()

    # -- what there is ----------------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What stands before the options in the call that gives `result`: photos that the run on show began with."""
        with self.lock:
            run = self._runs.get(self.view.run)
            return self._inputs() if run is None else run.call.inputs

    @property
    def params(self) -> dict[str, Any]:
        """The options with which the method gives `result`; before the first run those that are chosen.

        A run that was stopped is the first steps of such a call. With ``cv.invert``: take as many steps of
        ``steps = cv.invert.steps(net, *player.inputs, **player.params)``, then call ``cv.invert.finish(steps)``.
        """
        with self.lock:
            run = self._runs.get(self.view.run)
            return dict(self._options if run is None else run.call.params)

    @property
    def result(self) -> Any:
        """The method's result of the run on show; stopped, of the steps it took; ``None`` before its end."""
        with self.lock:
            run = self._runs.get(self.view.run)
            return None if run is None else run.result

    @property
    def results(self) -> dict[int, Any]:
        """The results by number of the run, as far as they have ended."""
        with self.lock:
            return {number: run.result for number, run in self._runs.items() if run.result is not None}

    def _run(self, number: int) -> Run:
        with self.lock:
            if number not in self._runs:
                known = ", ".join(map(str, self._runs)) or "none yet"
                raise TargetError(f"there is no run {number}; there are: {known}")
            return self._runs[number]

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

    def _is_pending(self, run: Run) -> bool:
        """Return whether something was chosen that a run does not have."""
        before = {**run.call.options, "": run.call.chosen}
        return bool(changed(before, {**self._options, "": self._inputs()}))

    # -- the page ---------------------------------------------------------------------------------------

    def _link(self) -> None:
        self.view.on_act(self._on_act)
        self.view.observe(lambda change: self._note_state(), ["run", "other"])
        for control in self.controls.values():
            control.on_pick(self._on_control)

    @shown
    def _on_control(self, name: str, read: Callable[[], Any]) -> None:
        try:
            value = read()
        except Exception:
            # The field says what is chosen, as it does where `set` refuses.
            self._show_options()
            raise
        self.set(**self._changes(name, value))
        self.clear_error()

    @shown
    def _on_act(self, act: str, details: Mapping[str, Any]) -> None:
        if act == "branch":
            self.branch(details.get("step"), details.get("run"))
        elif act == "remove":
            self.remove(details["run"])
        elif act == "export":
            self._exporter.offer(self._call.removeprefix("cv."), details, self.show_error)
        else:
            {"start": self.start, "pause": self.pause, "resume": self.resume, "stop": self.stop}[act]()

    def _note_step(self) -> None:
        if self._pacer is not None:
            self._pacer.request()

    def _note_state(self) -> None:
        self._draw_curves()
        self._show_pending()

    def _show_pending(self) -> None:
        """Say what becomes of options that were changed while a run is under way."""
        run, text = self._current, ""
        if run is not None and self._is_pending(run):
            names = changed(run.call.options, self._options)
            what = in_words(self._options, names) or "another input"
            when = "Resume begins" if self.state == PAUSED else "After a pause, Resume begins"
            text = f"<p>{when} a new run from this picture: {as_html(what)}.</p>"
        shown = self._runs.get(self.view.run)
        if shown is not None and shown is not run:
            options, inputs = self._kept(shown)
            names = changed(self._options, options)
            what = in_words(options, names) + (", its input" if is_other(self._inputs(), inputs) else "")
            if what:
                what = what.removeprefix(", ")
                text += (
                    f"<p>Branch from here takes what run {shown.number} was made with: {as_html(what)}.</p>"
                )
        self.parts.pending.value = text

    @shown
    def _draw_curves(self) -> None:
        """Draw what is known of the runs on show; where that fails, they go on."""
        self._draw()

    def _draw(self) -> None:
        with self.lock:
            shown = [self._runs[each] for each in (self.view.run, self.view.other) if each in self._runs]
            steps, lines = curves_of(shown)
            self.chart.set_lines(steps, lines)
            self.chart.show_marker(not self.chart.is_empty)
            # A single step makes no curve.
            self.parts.show_chart(len(steps) > 1)
            self._show_numbers(shown[0] if shown else None)

    def close(self) -> None:
        """End the job and take the widget off the page."""
        if self._pacer is not None:
            self._pacer.close()
        super().close()

    def to_png(self) -> bytes | None:
        """Return the frame on show, and the one beside it; before the first run what a first step gives."""
        picture: bytes | None = self.view.to_png()
        if picture is None and self._tried is not None:
            picture = png(self._tried, max_bytes=PNG_BYTES)
        return picture

    def to_text(self) -> str:
        """Return what is shown, in words."""
        with self.lock:
            run = self._runs.get(self.view.run)
            lines = [f"{type(self).__name__}: {self._title(self._options)}", self.view.to_text()]
            if run is not None:
                lines.append(repr(run.result) if run.result is not None else self._numbers_text(run))
            if self.error is not None:
                lines.append(f"{self.state}: {type(self.error).__name__}: {self.error}")
        return "\n".join(lines)

    def _numbers_text(self, run: Run) -> str:
        return "; ".join(f"{name} {format_number(value)}" for name, value in self._numbers(run.last).items())
