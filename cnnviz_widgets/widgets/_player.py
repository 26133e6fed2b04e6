"""What all players share: a picture that is optimized before one's eyes, and may be paused, changed and branched."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets

from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES
from cnnviz_widgets.views._pacing import Pacer
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.views.frame_player import FramePlayer
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._player_controls import Control, fields
from cnnviz_widgets.widgets._player_export import Exporter, checked_format
from cnnviz_widgets.widgets._player_options import Chooser
from cnnviz_widgets.widgets._player_parts import PlayerParts
from cnnviz_widgets.widgets._player_runs import Run, curves_of, looks_of
from cnnviz_widgets.widgets._player_work import PAUSED, RUNNING

# A chart costs the page as much as five frames.
CHART_SECONDS = 1.0


class Player(Chooser):
    """Base of the players: the viewer of a method's call that takes steps, one run at a time.

    Runs are numbered. One is on show, and what `params` and `result` tell is about that one. Options that are changed
    hold for the next run; after a pause, `resume` begins it from the picture on show, as `branch` does.

    A run goes by the network as it was when the run began, on a copy if `copy.deepcopy` can make one: you may train
    your module, or change its weights and hooks, meanwhile. The next run sees that.

    A subclass names its method and overrides what it needs of ``_inputs``, ``_make_controls``, ``_begin_from``,
    ``_title``, ``_said_of`` and ``_show_numbers``. It calls ``_take_network`` before ``super().__init__``.

    Attributes
    ----------
    net
        The network.
    chart
        Each term over the steps.
    """

    _curve: ClassVar[str] = "value"  # what the chart's axis says
    _log: ClassVar[bool | None] = False  # whether it is logarithmic, as `LineChart` takes it
    _pacer: Pacer | None
    _are_curves_late: bool  # as nobody saw them

    def __new__(cls, *arguments: Any, **options: Any) -> Player:
        """Prepare what `close` needs, as the base does."""
        self: Player = super().__new__(cls, *arguments, **options)
        self._pacer, self._are_curves_late = None, False
        return self

    def _take_network(self, net: Network) -> None:
        super()._take_network(net)
        if net.input.channels not in (1, 3):
            raise InputError(
                f"{type(self).__name__} shows pictures, which the {net.input.channels} channels of this network's "
                f"input do not make; call {self._call} for the numbers"
            )

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options: dict[str, Any] = {}
        self._options = self._all_options(options)
        self._tried = self._check(self._new_call())
        super().__init__()
        self.parts = PlayerParts(self._curve, self._log)
        self.chart = self.parts.chart
        self._exporter = Exporter(self.view, self._run, self._picture_now)
        self.controls = {control.name: control for control in self._make_controls()}
        chosen = fields([control.widget for control in self.controls.values()])
        self.children = self.parts.arranged(self.status, self._arranged(chosen))
        self.add_class("cnnviz-player")
        self._pacer = Pacer(self._draw_curves, CHART_SECONDS)
        self._link()
        self._show_options()
        self._draw()

    # -- what a subclass tells --------------------------------------------------------------------------

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

    def _show_numbers(self, run: Run | None) -> None:
        """Show what is known of the run on show beside its terms, at most once a second; a subclass shows more."""
        self.parts.say([] if run is None else [*run.remarks, *self._said_of(run)])

    def _said_of(self, run: Run) -> list[str]:
        """Return what else there is to say of a run, line by line."""
        return []

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
        ValueError
            The step is no whole number from -1 on.
        """
        with self.lock:
            origin = self._run(self.view.run if run is None else run)
            step = self.view.step if step is None else checked_whole("step", step, least=-1)
            self._choose_again(origin, changes)
            self._ask(self._branch_call(origin, step))

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
    def view(self) -> FramePlayer:
        """The frames: ``view.run``, ``view.step`` (-1: the latest) and ``view.other`` are on show, and may be set.

        `branch`, `compare` and `export` begin with these.
        """
        return self.parts.view

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

    # -- the page ---------------------------------------------------------------------------------------

    def _link(self) -> None:
        self.view.on_act(self._on_act)
        self.view.observe(lambda change: self._note_state(), ["run", "other"])
        self.view.observe(lambda change: self._on_sight(), "is_near")
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
        self._are_curves_late = True
        self._on_sight()

    def _on_sight(self) -> None:
        """Draw the curves as far as they have come, if a page shows the widget: else they wait for one, or the end."""
        if self._are_curves_late and self.view.is_near and self._pacer is not None:
            self._pacer.request()

    def _note_state(self) -> None:
        self._draw_curves()
        self._show_pending()

    def _show_pending(self) -> None:
        self.parts.say_pending(self._pending())

    @shown
    def _draw_curves(self) -> None:
        """Draw what is known of the runs on show; where that fails, they go on."""
        self._draw()

    def _draw(self) -> None:
        self._are_curves_late = False
        with self.lock:
            numbers = dict.fromkeys((self.view.run, self.view.other))
            shown = [self._runs[each] for each in numbers if each in self._runs]
            steps, lines = curves_of(shown)
            self.parts.show_curves(steps, lines, looks_of(shown))
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
