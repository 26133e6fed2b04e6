"""Watch a picture become something else to the network while it stays the same to the eye."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
from numpy.typing import NDArray

from cnnviz_widgets.engine.attacks import Plan, checked_plan
from cnnviz_widgets.engine.errors import TargetError
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import as_target, class_index
from cnnviz_widgets.methods.adversarial import Attack, attack
from cnnviz_widgets.render.encode import png
from cnnviz_widgets.render.mosaic import PNG_BYTES, fit_tiles, mosaic
from cnnviz_widgets.views._text import format_number
from cnnviz_widgets.widgets._attack_parts import (
    AttackReport,
    GoalPicker,
    difference_of,
    epsilon_slider,
    odds_of,
    original_of,
)
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._photo_player import PhotoPlayer
from cnnviz_widgets.widgets._player_controls import Control, choice, number_field, whole_field
from cnnviz_widgets.widgets._player_runs import Run

_METHODS = [
    ("FGSM: one step", "fgsm"),
    ("I-FGSM: many steps", "ifgsm"),
    ("PGD: from random places", "pgd"),
    ("DeepFool: the shortest way", "deepfool"),
]
_NORMS = [("the largest change", "inf"), ("the length of the change (L2)", "2")]
# What an attack can't have, as it is left out.
_NOT_OF: dict[str, dict[str, Any]] = {
    "fgsm": {"steps": None, "rate": None, "restarts": 1},
    "ifgsm": {"restarts": 1},
    "pgd": {},
    "deepfool": {"rate": None, "restarts": 1, "target": None, "epsilon": None},
}
_OF_SOME = {
    "steps": ("ifgsm", "pgd", "deepfool"),
    "rate": ("ifgsm", "pgd"),
    "restarts": ("pgd",),
    "seed": ("pgd",),
    "overshoot": ("deepfool",),
    "candidates": ("deepfool",),
}
_QUICK_RUNS = 8
_KNOWN = 4
_PLAN = ("steps", "rate", "restarts", "seed", "overshoot", "candidates")
_Shown = tuple[NDArray[np.uint8], NDArray[np.float32]]


class AttackPlayer(PhotoPlayer):
    """See a picture that stays as it was, while the network's answer changes step by step.

    The original stands beside it, and the difference, amplified. Bars tell how probable the class to leave, the one to
    reach and the others are for the picture on show, in 8 bits; whether the network is fooled stands above them. Press
    *Start*, or with FGSM just move *Epsilon*: one step is taken at once; of such runs the last few are kept. As all
    players it can be paused, changed and branched: see `set`, `resume` and `branch`. The last frame of a run is its
    result's picture.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image.
    options
        Those of `attack`.

    Attributes
    ----------
    result
        The `Attack` of the run on show: ``cv.attack(net, *player.inputs, **player.params)``.
    image, options, inputs, params, results, state, error, view
        As of all players: the photo; what is chosen for the next run, the call of `result`, those of all runs by
        number, how it goes, and the frames.

    Raises
    ------
    LabelNotFoundError, TargetError, ZeroGradientError, InputError, TypeError, ValueError
        What `attack` raises: a first step is tried.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net, images = cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0]
    >>> player = cv.AttackPlayer(net, images[0], method="pgd", epsilon=32 / 255)
    >>> player.start()
    >>> player.wait()
    True
    >>> player.result.success, player.result.label_before
    (True, 'Ankle boot')
    """

    _method = attack
    _call = "cv.attack"
    _rules = checked_plan
    _curve = "value"

    def __init__(self, net: Network, image: Any, **options: Any) -> None:
        self._take_network(net)
        self._goals: GoalPicker | None = None
        self._known: list[tuple[Any, _Shown]] = []
        self._judged: tuple[Any, Any] = (None, None)
        self._not_begun: tuple[int, int] | None = None
        self._pictures_on_show: tuple[NDArray[np.uint8], ...] = ()
        super().__init__(image, options)
        # Scrubbing shows the difference and the answer of each frame; the base has its curves drawn for each run.
        self.view.observe(self._on_step, "step")
        self._draw_curves()

    def _make_controls(self) -> Sequence[Control]:
        return (
            choice("method", "Method", "Which attack", _METHODS),
            choice("norm", "Norm", "What epsilon is the bound of", _NORMS),
            epsilon_slider(lambda: str(self._options["norm"])),
            number_field("steps", "Steps", "How many steps", default="its default", whole=True),
            number_field(
                "rate", "Rate", "How long a step is, in the norm (white is 1)", default="its default"
            ),
            whole_field("restarts", "Restarts", "From how many random places", most=64),
            whole_field("seed", "Seed", "Of the random places", least=0),
            number_field("overshoot", "Overshoot", "By which share it goes beyond the boundary"),
            whole_field(
                "candidates", "Classes", "How many classes it looks at, the present one included", least=2
            ),
        )

    def _arranged(self, controls: ipywidgets.Widget) -> Sequence[ipywidgets.Widget]:
        self.report = AttackReport(self.net, len(self._seen(self._image)[1]))
        self._goals = GoalPicker(self.report.names, self._pick_goal, self.show_error)
        chosen = ipywidgets.VBox([self._goals, controls], layout={"min_width": "0"})
        chosen.add_class("cnnviz-part")
        return (self._photos, self.report, chosen)

    # -- what is chosen ---------------------------------------------------------------------------------

    def _show_image(self) -> None:
        if self._current is None:
            # It is on show until another frame is.
            self._not_begun = (self.view.run, self.view.step)
        self._show_options()
        self._draw_curves()

    def _show_options(self) -> None:
        super()._show_options()
        if self._goals is None:
            return
        method = _plan(self._options).method
        self._goals.suggest(int(np.argsort(-self._seen(self._image)[1], kind="stable")[1]))
        self._goals.show(self._goal(self._options["target"]))
        is_bounded = method != "deepfool" or self._options["epsilon"] is not None
        shown = {name: method in methods for name, methods in _OF_SOME.items()} | {"epsilon": is_bounded}
        for name, is_shown in shown.items():
            self.controls[name].widget.layout.display = None if is_shown else "none"
        self._goals.layout.display = "none" if method == "deepfool" else None

    def _goal(self, target: Any) -> int | None:
        """Return the class to reach, if one is."""
        if target is None:
            return None
        what = as_target(target)
        if what.layer is not None or callable(what.what):
            raise TargetError(f"an attack's target is a class, by label or index; got {what.text}")
        return class_index(self.net, what.what, len(self.report.names))

    def _pick_goal(self, goal: int | str | None) -> None:
        self.set(target=None if goal is None else class_index(self.net, goal, len(self.report.names)))
        self.clear_error()
        self._draw_curves()

    def _on_control(self, name: str, read: Callable[[], Any]) -> None:
        super()._on_control(name, read)
        if name == "epsilon" and self.error is None:
            self._answer_at_once()

    def _changes(self, name: str, value: Any) -> dict[str, Any]:
        """Return what becomes of the options: another norm has other lengths, another method not all options."""
        others = {"epsilon": None, "rate": None} if name == "norm" else {}
        return {**others, **(_NOT_OF[value] if name == "method" else {}), name: value}

    @shown
    def _on_step(self, change: Any) -> None:
        if self._pacer is not None:
            # The lock may be held, for which who draws now may wait.
            self._pacer.request(later=True)

    @shown
    def _answer_at_once(self) -> None:
        """Take the one step of FGSM; of such runs only the last few are kept."""
        with self.lock:
            if self._options["method"] != "fgsm" or self._at_work is not None:
                return
            on_show = (self.view.run, self.view.other)
            quick = [
                run.number
                for run in self._runs.values()
                if run.call.options["method"] == "fgsm"
                and run.call.parent is None
                and run.number not in on_show
            ]
            for number in quick[: max(0, len(quick) - _QUICK_RUNS + 2)]:
                self.remove(number)
            self.start()

    def _title(self, options: Mapping[str, Any]) -> str:
        ball, text = _plan(options).ball, options["method"]
        if ball.epsilon < np.inf:
            length = (
                f"{format_number(ball.epsilon * 255)}/255"
                if ball.norm == "inf"
                else format_number(ball.epsilon)
            )
            text += f", epsilon {length}"
        goal = None if self._goals is None else self._goal(options["target"])
        return text if goal is None else f"{text}, to {self.report.names[goal]}"

    def _begin_from(self, picture: NDArray[np.uint8], run: Run, done: int) -> dict[str, Any]:
        """Return the options of a run that goes on from a picture, with steps as long as of a run of all steps."""
        found = super()._begin_from(picture, run, done)
        plan = _plan(self._options)
        if plan.method != "fgsm":
            found["steps"] = plan.steps - done if done < plan.steps else plan.steps
        if plan.method in ("ifgsm", "pgd") and plan.rate:
            found["rate"] = plan.rate
        return found

    def _numbers(self, step: Step) -> dict[str, float]:
        found = super()._numbers(step)
        if "log_probability" in found:
            found["probability to reach"] = float(np.exp(found.pop("log_probability")))
        return found

    # -- what it has come to ----------------------------------------------------------------------------

    def _picture_now(self, run: Run) -> NDArray[np.uint8] | None:
        """Return the picture that the result is about, which was rounded within epsilon, or that of the last step."""
        return run.result.adversarial if isinstance(run.result, Attack) else super()._picture_now(run)

    def _show_numbers(self, run: Run | None) -> None:
        super()._show_numbers(run)
        if self._not_begun != (self.view.run, self.view.step):
            self._not_begun = None
        if run is None or self._not_begun is not None:
            self._pictures_on_show = (self._seen(self._image)[0],)
            self.report.show_original(*self._seen(self._image), self._goal(self._options["target"]))
            return
        is_latest = not 0 <= self.view.step < run.done
        changed = self._picture_now(run) if is_latest else self.view.frame(run.number, self.view.step).image
        if changed is None:
            return
        if self._judged[0] is not changed:
            self._judged = (changed, odds_of(self.net, changed))
        original, before = self._seen(run.call.inputs[0])
        said = run.result.message if is_latest and isinstance(run.result, Attack) else ""
        goal = self._goal(run.call.params["target"])
        self._pictures_on_show = (original, changed, difference_of(original, changed))
        self.report.show(original, changed, (before, self._judged[1]), goal, said)

    def to_png(self) -> bytes | None:
        """Return the original, the picture on show and their difference, amplified."""
        with self.lock:
            tiles = fit_tiles(np.stack(self._pictures_on_show))
        return png(mosaic(tiles, columns=3, gap=2), max_bytes=PNG_BYTES)

    def _seen(self, image: Any) -> _Shown:
        """Return an image as the network sees it, and the probabilities of all classes; those of some are known."""
        for known, found in self._known:
            if known is image:
                return found
        found = original_of(self.net, image)
        self._known = [(image, found), *self._known[: _KNOWN - 1]]
        return found


def _plan(options: Mapping[str, Any]) -> Plan:
    """Return how an attack goes, or say which option is wrong."""
    named = {name: options[name] for name in _PLAN}
    return checked_plan(options["method"], options["epsilon"], options["norm"], **named)
