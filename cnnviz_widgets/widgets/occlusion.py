"""See which part of a photo an answer hangs on: a map of what covering it does, and a cover to move by hand."""

from __future__ import annotations

import functools
import operator
import threading
import time
from collections.abc import Generator
from typing import Any

import numpy as np
import traitlets
from numpy.typing import NDArray

from cnnviz_widgets.engine.covering import (
    Covered,
    Covering,
    check_classes,
)
from cnnviz_widgets.engine.fills import Fill, checked_fill
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import Target, TargetLike, class_index
from cnnviz_widgets.engine.window_grid import checked_pair, placed
from cnnviz_widgets.methods.occlusion import OcclusionMap, occlusion
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views._traits import Enum, Float, Int, TraitValueError
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._hand_cover import HandCover
from cnnviz_widgets.widgets._layer_choices import layer_choices
from cnnviz_widgets.widgets._occluder import ERASE, MOVE, PAINT
from cnnviz_widgets.widgets._occlusion_parts import (
    OcclusionParts,
    answer_html,
    bar_classes,
    class_text,
    default_window,
    extremes,
    found_html,
    marks,
    progress_html,
    target_text,
)
from cnnviz_widgets.widgets._target_picker import TargetPicker
from cnnviz_widgets.widgets._target_viewer import TargetViewer

FIRST_MAP_SECONDS = 5.0
# Small batches: the map grows smoothly, and a drag does not wait for a long one.
BATCH_MEMORY = 64 * 2**20


class OcclusionExplorer(TargetViewer):
    """See a heat map of what covering each part of a photo does grow over it, and cover a part by hand.

    Where the map is warm, the answer drops when a window covers the photo; the strongest and the weakest place are
    marked. It comes coarse to fine, and can be stopped with the map so far. Drag over the photo to move the window
    yourself, or to paint a cover of any shape: the class probabilities follow at once. The row and column fields below
    the photo do the same by keyboard.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image.
    target
        A class (label or index), or a `Target`: a class's probability, a unit, a function of the output. Left out,
        the probability of the photo's most probable class.
    window, stride
        As `occlusion` takes them, in pixels of the network's input. Left out, a seventh of the image's shorter side,
        and a quarter of the window.
    fill
        What the cover shows, as `occlusion` takes it.

    Attributes
    ----------
    target, window, stride, fill
        What is asked. Observe them, or set them; a wrong value raises at once. The map is measured anew.
    opacity
        Of the heat map, from 0 to 1.
    tool, brush
        What a drag does: ``"move"`` the window, ``"paint"`` or ``"erase"``; and the brush's width in pixels.
    mask
        What is covered by hand, bool [H, W] in pixels of the network's input; set it to cover any shape.
    answer
        What the network answers to the photo with that covered: ``.value`` of the target, and ``.probabilities`` of
        all classes (or ``None``). ``None`` before the first answer.
    image
        The photo. Set it to show another, or call `set_image` to give it a name, too.
    result
        The `OcclusionMap` on show, equal but for rounding to ``cv.occlusion(net, explorer.image,
        **explorer.params)``; after a stop, the places measured so far. ``None`` while it is measured.

    Raises
    ------
    ValueError
        A window larger than the image, a stride below 1 or above the window, an unknown fill, a wrong mask.
    TargetError, LabelNotFoundError, LayerNotFoundError
        A target that is not there.
    InputError
        Images that can't be used.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> explorer = cv.OcclusionExplorer(cv.samples.fashion_cnn(), images[0], "Ankle boot", window=8, stride=4)
    >>> explorer.wait()
    True
    >>> explorer.result.scores.shape
    (6, 6)
    """

    window = traitlets.Any(help="Pixels of the window's side, or (rows, columns).")
    stride = traitlets.Any(help="Pixels from one place to the next, or (rows, columns).")
    fill = traitlets.Any(help="What the cover shows.")
    opacity = Float(0.5, min=0.0, max=1.0, help="Of the heat map.")
    tool = Enum([MOVE, PAINT, ERASE], default_value=MOVE, help="What a drag does.")
    brush = Int(1, min=1, help="Width of the brush in pixels.")

    _hand: HandCover

    def __init__(
        self,
        net: Network,
        image: Any,
        target: TargetLike | None = None,
        *,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        fill: Fill = 0.0,
    ) -> None:
        self._ask(net, image, target)
        self.result: OcclusionMap | None = None
        self.answer: Covered | None = None
        self._stopping, self._first_map = threading.Event(), threading.Event()
        self._done = 0
        picker = TargetPicker(
            net, self._classes, list(layer_choices(net).values()), self._pick_target, self.show_error
        )
        self.parts = OcclusionParts(
            self._picture, picker, "mean color" if np.any(net.input.mean) else "0 (black)"
        )
        self._covering: Covering | None = None
        self._hand = HandCover(
            self.parts.stage, self.lock, on_answer=self._show_answer, on_error=self.show_error
        )
        super().__init__()
        side, step = default_window(self._size, window)
        with self.filling:
            self.window = side
            self.stride = step if stride is None else stride
            self.fill, self.brush = fill, max(1, min(self._size) // 10)
            self.target = self._most_probable() if target is None else target
        self.children = self.parts.arranged(self._photos, self.status)
        self.add_class("cnnviz-occlusion")
        self._link()
        self._show_controls()
        self.run()
        # So that the picture for viewers without widgets, which the cell stores, shows a coarse map at least.
        self._first_map.wait(FIRST_MAP_SECONDS)

    def _most_probable(self) -> Target:
        check_classes(self.net, self._x)
        index = int(self.net.predict(self._image, k=1).indices[0])
        return Target(index, of="probability")

    # -- what is chosen ---------------------------------------------------------------------------------

    @property
    def params(self) -> dict[str, Any]:
        """The options of `occlusion` that give `result`."""
        return {name: getattr(self, name) for name in ("target", "window", "stride", "fill")}

    @traitlets.validate("window")
    def _check_window(self, proposal: Any) -> int | tuple[int, int]:
        window, size = checked_pair("window", proposal["value"]), self._size
        if window[0] > size[0] or window[1] > size[1]:
            raise TraitValueError(
                f"the window of {window[0]} x {window[1]} pixels is larger than the image, which the network sees "
                f"as {size[0]} x {size[1]}; take a smaller one, such as window={default_window(size)[0]}"
            )
        return window[0] if window[0] == window[1] else window

    @traitlets.validate("stride")
    def _check_stride(self, proposal: Any) -> int | tuple[int, int]:
        stride, window = checked_pair("stride", proposal["value"]), checked_pair("window", self.window)
        if stride[0] > window[0] or stride[1] > window[1]:
            raise TraitValueError(
                f"stride={proposal['value']} is larger than window={self.window}: some pixels would never be covered"
            )
        return stride[0] if stride[0] == stride[1] else stride

    @traitlets.validate("fill")
    def _check_fill(self, proposal: Any) -> Fill:
        return checked_fill("fill", proposal["value"])

    def _show_image(self) -> None:
        self.parts.stage.image = self._picture
        self._covering = self.answer = None
        self.parts.answer.value = ""
        self._hand.take_photo()
        if self._follows:
            with self.filling:
                self.target = self._most_probable()
        if any(map(operator.gt, checked_pair("window", self.window), self._size)):
            with self.filling:
                self.window, self.stride = default_window(self._size)
        self._show_controls()
        self.run()

    @property
    def _size(self) -> tuple[int, int]:
        return self._x.shape[2], self._x.shape[3]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """What is covered by hand, bool [H, W]."""
        return self._hand.mask.copy()

    @mask.setter
    def mask(self, mask: Any) -> None:
        self._hand.cover(mask)
        self._show_controls()

    def clear(self) -> None:
        """Cover nothing by hand."""
        self._hand.clear()
        self._show_controls()

    # -- the map ----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Measure the map of what is asked, from the beginning."""
        with self.lock:
            self._stopping, self._first_map = threading.Event(), threading.Event()
            self.result, self._done = None, 0
            self.clear_error()
            self.parts.clear_map()
            self.start_job(
                self._measured(self._stopping, self._covering, self.params),
                on_result=self._show_result,
                on_step=self._show_step,
                on_failure=self._show_nothing,
            )

    def stop(self) -> None:
        """End with the map so far, as soon as the places under way are measured."""
        self._stopping.set()

    def _measured(
        self, stopping: threading.Event, covering: Covering | None, params: dict[str, Any]
    ) -> Generator[Step, None, OcclusionMap]:
        """Measure the map; before that, prepare what answers to the cover by hand."""
        net, image = self.net, self._image
        if covering is None:
            covering = Covering(net, self._x, params["target"], params["fill"])
            self._answer_with(covering, stopping)
        steps = occlusion.steps(net, image, memory_limit=BATCH_MEMORY, **params)
        # Those of this run: others may have been chosen when its steps are shown.
        window, stride = (checked_pair(name, params[name]) for name in ("window", "stride"))
        tops, lefts = (placed(self._x.shape[2 + axis], window[axis], stride[axis]) for axis in (0, 1))
        places, spent = {"tops": tops, "lefts": lefts, "window": np.array(window)}, 0.0
        try:
            while True:
                before = time.monotonic()
                try:
                    step = next(steps)
                except StopIteration as end:
                    found: OcclusionMap = end.value
                    return found
                spent += time.monotonic() - before
                total = step.total or 1
                left = spent * (total / (step.index + 1) - 1)
                yield Step(step.index, total, values={**step.values, **places, "seconds_left": left})
                if stopping.is_set():
                    return occlusion.finish(steps)
        finally:
            steps.close()

    def _answer_with(self, covering: Covering, run: threading.Event) -> None:
        """Let it answer to the cover by hand, unless another run has begun by now."""
        with self.lock:
            if run is self._stopping:
                self._covering = covering
                is_picture = self.net.input.channels in (1, 3)
                self._hand.answer_with(
                    covering, self.net.restore(covering.instead)[0] if is_picture else None
                )

    def _show_step(self, step: Step) -> None:
        self._done = step.index + 1
        values = step.values
        height, width = np.asarray(values["window"]).tolist()
        places = (values["tops"], values["lefts"], (height, width))
        self._show_map(values["heatmap"], values["scores"], places, float(values["seconds_left"]))

    def _show_result(self, found: OcclusionMap) -> None:
        self.result = found
        self._show_map(found.heatmap, found.scores, (found.tops, found.lefts, found.window), None)

    def _show_map(self, heatmap: Any, scores: Any, places: Any, seconds_left: float | None) -> None:
        tops, lefts, window = places
        unit = "activation" if self.target.layer is not None else self.target.of
        if callable(self.target.what):
            unit = "value"
        self.parts.stage.set_heat(heatmap, name="drop", unit=unit, low=min(float(heatmap.min()), 0.0))
        found = extremes(scores, tops, lefts, window)
        self.parts.stage.set_boxes(marks(found))
        done = int(np.isfinite(scores).sum())
        self.parts.progress.value = progress_html(done, scores.size, seconds_left)
        if self._covering is not None:
            clean = self._covering.clean.value
            self.parts.found.value = found_html(self.net, self.target, clean, found)
        self._first_map.set()

    def _show_nothing(self) -> None:
        self.parts.clear_map()
        self.parts.progress.value = ""
        self._first_map.set()

    # -- the cover by hand ------------------------------------------------------------------------------

    def _show_answer(self, answer: Covered, share: float) -> None:
        """Show what the network answers to the cover."""
        covering, index = self._covering, None
        if covering is None:
            return
        self.answer = answer
        if isinstance(self.target.what, str | int) and self._classes:
            index = class_index(self.net, self.target.what, self._classes)
        classes = bar_classes(index, covering.clean, answer)
        said = answer_html(self.net, self.target, covering.clean, answer, share)
        if self._no_classes:
            said += f"<p>No class bars: {as_html(self._no_classes)}</p>"
        # The line first: the page needs a while for the bars.
        self.parts.answer.value = said
        self.parts.bars.layout.display = None if classes else "none"
        if answer.probabilities is not None:
            labels = [class_text(self.net, each) for each in classes]
            self.parts.bars.set_values(labels, answer.probabilities[classes].clip(0, 1).tolist())
        self.parts.clear.disabled = not share

    def _on_press(self, change: Any) -> None:
        """Let the map wait for a drag: at once they would take the processor from each other."""
        with self.lock:
            job = self._job
        if job is not None:
            (job.pause if change["new"] else job.resume)()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is running any more; a map that a drag holds up goes on."""
        with self.lock:
            job = self._job
        if job is not None:
            job.resume()
        return super().wait(timeout)

    def wait_for_answer(self, timeout: float | None = None) -> bool:
        """Wait until `answer` is that to what is covered by hand, and return whether it came in time."""
        return self._hand.wait(timeout)

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        parts.stage.observe(self._on_press, "pressed")
        for view in (parts.opacity, parts.stage):
            traitlets.link((self, "opacity"), (view, "value" if view is parts.opacity else "opacity"))
        traitlets.link((self, "tool"), (parts.tool, "value"))
        parts.clear.on_click(lambda button: self.clear())
        parts.run.on_click(lambda button: self.stop() if self.busy else self.run())
        for name in ("window", "stride", "fill", "brush"):
            getattr(parts, name).observe(functools.partial(self._on_control, name), "value")
        self.observe(self._on_question, ["target", "fill"])
        self.observe(self._on_window, ["window", "stride"])
        self.observe(lambda change: self._show_controls(), ["tool", "brush"])
        self.observe(lambda change: parts.show_running(change["new"]), "busy")

    @shown
    def _on_control(self, name: str, change: Any) -> None:
        with self.lock:
            if self.filling:
                return
            try:
                setattr(self, name, change["new"])
            finally:
                self._show_controls()

    def _pick_target(self, target: Target) -> None:
        self.target = target

    def _on_question(self, change: Any) -> None:
        with self.lock:
            if self.filling:
                return
            self._follows = self._follows and change["name"] != "target"
            self._covering = self.answer = None
            self.parts.answer.value = ""
            self._hand.answer_with(None, None)
            self._show_controls()
            self.run()

    def _on_window(self, change: Any) -> None:
        with self.lock:
            if self.filling:
                return
            window, stride = checked_pair("window", self.window), checked_pair("stride", self.stride)
            with self.filling:
                self.stride = tuple(map(min, window, stride))
            self._show_controls()
            self.run()

    def _show_controls(self) -> None:
        """Let the controls, and what a drag does, follow the traits."""
        with self.lock:
            window, stride = checked_pair("window", self.window), checked_pair("stride", self.stride)
            hand, parts = self._hand, self.parts
            hand.tool, hand.brush = self.tool, self.brush
            if hand.window != window:
                hand.resize_window(window)
            with self.filling:
                parts.show_numbers(max(window), max(stride), self.brush, min(self._size))
                parts.show_fill(self.fill)
                parts.target.show(self.target)
            parts.brush.disabled = self.tool == MOVE
            parts.clear.disabled = not hand.mask.any()

    def let_go(self) -> None:
        """End the job and the answers, and give back the passes that were prepared for them: some 40 MB."""
        super().let_go()
        if hasattr(self, "_hand"):  # an explorer that could not be made is closed, too
            with self.lock:
                # A job that prepares others meanwhile is none of this run.
                self._stopping, self._covering = threading.Event(), None
                self._hand.answer_with(None, None)

    def close(self) -> None:
        """End the job and the answers, and take the widget off the page."""
        if hasattr(self, "_hand"):
            self._hand.close()
        super().close()

    def to_png(self) -> bytes | None:
        """Return the photo with the map, the marks and the cover as one picture."""
        picture: bytes = self.parts.stage.to_png()
        return picture

    def to_text(self) -> str:
        """Return what is shown, in words."""
        asked = target_text(self.net, self.target)
        lines = [f"OcclusionExplorer: {asked}, window {self.window}, stride {self.stride}"]
        if self.result is not None:
            lines.append(repr(self.result))
        elif self._done:
            lines.append(f"{self._done} places measured so far")
        return "\n".join(lines)
