"""Watch how a network's filters, activations and dead units develop while it trains, or afterwards."""

from __future__ import annotations

import html
import weakref
from typing import Any

import numpy as np
import traitlets

from cnnviz_widgets.engine.errors import LayerNotFoundError, TargetError
from cnnviz_widgets.engine.layers import LayerKey, key_text
from cnnviz_widgets.methods.training import TrainingHistory, TrainingRecorder
from cnnviz_widgets.views.tile_grid import TileGrid
from cnnviz_widgets.views.timeline import Timeline
from cnnviz_widgets.widgets._base import Viewer, shown
from cnnviz_widgets.widgets._drawer import Drawer
from cnnviz_widgets.widgets._training_parts import TimelineParts, set_options
from cnnviz_widgets.widgets._training_pictures import (
    KERNEL_BYTES,
    LIVE_BYTES,
    LIVE_FRAMES,
    MAP_BYTES,
    MAXIMUM_FRAMES,
    MAXIMUM_POINTS,
    chart_lines,
    dead_text,
    evenly,
    film_strip,
    kernel_frames,
    map_frames,
    slider_stops,
    step_texts,
)


class TrainingTimeline(Viewer):
    """See a network train: a slider over the recorded steps moves its kernels, its activations and charts.

    The kernels of the first convolution and the maps of one layer, for one of the fixed images, stand as tiles,
    all steps on one scale, so that steps compare. Charts draw the loss, the share of zeros and of dead
    channels of each layer, the kernels' roughness, and the size of a step of the optimizer set against the
    weights; lines mark the step on show. *Compare two steps* shows two side by side. Slider, play button and
    tiles work in the page alone: while the kernel is busy, and in a saved notebook without one.

    Given a recorder, it shows new records while the training runs, on a thread of its own, every few seconds:
    drawing takes time from the training, in the page above all. It stays at the latest record until someone
    goes back.

    A tile says ``dead 40+`` where the channel is dead, on all images of the recording, and since which step;
    ``all zero`` where it is silent on the image on show.

    Parameters
    ----------
    source
        A `TrainingRecorder`, or a `TrainingHistory` such as `history_from_checkpoints` and `load_history`
        return.
    step, compare, layer, image
        What to show at first; see there.

    Attributes
    ----------
    step : int or None
        The recorded step on show. ``None`` is the latest, also when further ones are recorded.
    compare : int or None
        The recorded step shown beside it; ``None`` for no comparison.
    layer : layer name, or (name, call), or None
        Whose maps are shown; ``None`` where no activations were recorded.
    image : int
        Index of the fixed image whose maps are shown.
    history : TrainingHistory
        What is drawn: all records, or of a recorder those until it was last drawn. `wait` for the newest.

    Raises
    ------
    TypeError
        The source is neither a recorder nor a history.
    TargetError
        (a ValueError) A step that was not recorded, or no such image.
    LayerNotFoundError
        (a LookupError) The layer's activations were not recorded.

    Notes
    -----
    Of very many records, or of large maps, evenly chosen ones are sent to the page, and maps as means of
    blocks, so that the saved notebook stays small; each grid says which step it shows. The slider stops at
    1,000 of them; set ``step`` for another one.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> paths = [checkpoint.path for checkpoint in cv.samples.fashion_cnn_checkpoints()]
    >>> images, _ = cv.samples.fashion_mnist("test")
    >>> history = cv.history_from_checkpoints(cv.samples.fashion_cnn, paths, images=images[:4])
    >>> timeline = cv.TrainingTimeline(history, layer="relu2")
    >>> timeline.shown_step == len(paths) - 1
    True
    """

    step = traitlets.Int(None, allow_none=True, help="The recorded step on show; None is the latest.")
    compare = traitlets.Int(None, allow_none=True, help="The step shown beside it, or None.")
    layer = traitlets.Any(None, help="Whose maps are shown: a name, or (name, call).")
    image = traitlets.Int(0, help="Index of the fixed image whose maps are shown.")

    def __init__(
        self,
        source: TrainingRecorder | TrainingHistory,
        *,
        step: int | None = None,
        compare: int | None = None,
        layer: LayerKey | None = None,
        image: int = 0,
    ) -> None:
        if not isinstance(source, TrainingRecorder | TrainingHistory):
            raise TypeError(
                f"TrainingTimeline takes a cv.TrainingRecorder or a cv.TrainingHistory, "
                f"got {type(source).__name__}"
            )
        self.source = source
        self._recorder = source if isinstance(source, TrainingRecorder) else None
        self._follow = _follower(self)
        self.history = self._newest()
        self.parts = TimelineParts()
        super().__init__(step=step, compare=compare, layer=layer, image=image)
        if layer is None:
            self.layer = _first_layer(self.history)
        self.children = self.parts.arranged(self.status)
        self.add_class("cnnviz-training")
        self._drawer = drawer = Drawer(self._draw, on_error=self._fail)
        self.parts.first.on_page(drawer.painted, drawer.hide)
        self._draw()
        self._link()
        if self._recorder is not None:
            self._recorder.observe(self._follow)

    def __new__(cls, *arguments: Any, **options: Any) -> TrainingTimeline:
        """Prepare what `close` needs, as the base does."""
        self: TrainingTimeline = super().__new__(cls, *arguments, **options)
        self._recorder, self._drawer = None, None
        return self

    _recorder: TrainingRecorder | None
    _drawer: Drawer | None

    @property
    def shown_step(self) -> int | None:
        """The step on show, the latest as a number, too; ``None`` while nothing is recorded."""
        steps = self.history.steps
        if len(steps) == 0:
            return None
        return int(steps[-1] if self.step is None else steps[np.abs(steps - self.step).argmin()])

    # -- what is chosen ---------------------------------------------------------------------------------

    @traitlets.validate("step", "compare")
    def _check_step(self, proposal: Any) -> int | None:
        step: int | None = proposal["value"]
        steps = self.history.steps
        if step is None or step in steps:
            return step
        if self._recorder is not None:
            # What is drawn lags a little behind what is recorded.
            self.history = self._newest()
            steps = self.history.steps
        if step in steps:
            return step
        if len(steps) == 0:
            raise TargetError(f"nothing is recorded yet, so there is no step {step}; leave it at None")
        nearest = int(steps[np.abs(steps - step).argmin()])
        raise TargetError(
            f"step {step} was not recorded; the nearest that was is {nearest} "
            f"(timeline.history.steps lists all {len(steps)}, from {steps[0]} to {steps[-1]})"
        )

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> LayerKey | None:
        key: LayerKey | None = proposal["value"]
        known = list(self.history.activations)
        if key is None or key in known:
            return key
        if not known:
            raise LayerNotFoundError(
                f"no activations of {key!r}: none were recorded; give the recorder images=..."
            )
        listed = ", ".join(repr(each) for each in known)
        raise LayerNotFoundError(f"no activations of {key!r} were recorded; there are those of {listed}")

    @traitlets.validate("image")
    def _check_image(self, proposal: Any) -> int:
        image = int(proposal["value"])
        count = len(self.history.images)
        if image != 0 and not 0 <= image < count:
            raise TargetError(f"maps of images 0 to {count - 1} are kept, got {image}")
        return image

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        self.parts.first.observe(self._on_first, "value")
        self.parts.second.observe(self._on_second, "value")
        self.parts.compare.observe(self._on_compare_box, "value")
        self.parts.layer.observe(self._on_layer_box, "value")
        self.parts.image.observe(self._on_image_box, "value")
        self.observe(self._on_step, "step")
        self.observe(self._on_choice, ["compare", "layer", "image"])

    @shown
    def _on_first(self, change: Any) -> None:
        self.step = None if change["new"] < 0 else self._recorded(change["new"])

    @shown
    def _on_second(self, change: Any) -> None:
        if self.compare is not None:
            self.compare = self._recorded(change["new"])

    @shown
    def _on_compare_box(self, change: Any) -> None:
        if change["new"] != (self.compare is not None):
            steps = self.history.steps
            self.compare = int(steps[0]) if change["new"] and len(steps) else None

    @shown
    def _on_layer_box(self, change: Any) -> None:
        if change["new"] is not None:
            self.layer = change["new"]

    @shown
    def _on_image_box(self, change: Any) -> None:
        if change["new"] is not None:
            self.image = change["new"]

    def _recorded(self, step: int) -> int:
        """Return the recorded step nearest to one that was on the slider: records are thinned out in time."""
        steps = self.history.steps
        return int(steps[-1] if step < 0 else steps[np.abs(steps - step).argmin()])

    def _on_step(self, change: Any) -> None:
        with self.lock:
            self._place()
            if self.step is not None and (self._sparse or self.step not in self.parts.first.steps):
                self._ask_to_draw(urgent=True)

    def _on_choice(self, change: Any) -> None:
        with self.lock:
            self._place()
            self._ask_to_draw(urgent=True)

    # -- drawing ----------------------------------------------------------------------------------------

    def _newest(self) -> TrainingHistory:
        return self.source.history if isinstance(self.source, TrainingRecorder) else self.source

    def _ask_to_draw(self, *, urgent: bool = False) -> None:
        if self._drawer is not None:
            self._drawer.request(urgent=urgent)

    def _draw(self, live: bool = False) -> None:
        """Bring everything on the page to the newest records; on a thread of its own but for the first time.

        Beside a training that is followed, with few of the earlier frames and without words: each time anew all
        is sent.
        """
        history = self._newest()
        self._sparse = sparse = live and self.step is None and self.compare is None
        frames = LIVE_FRAMES if sparse else MAXIMUM_FRAMES
        kernels = kernel_frames(history, frames=frames)
        with self.lock:
            self.history = history
            if self.layer is None:
                self.layer = _first_layer(history)
            layer, image, both = self.layer, self.image, self.compare is not None
        maps = (
            None if layer is None or len(history) == 0 else map_frames(history, layer, image, frames=frames)
        )
        points = evenly(len(history), MAXIMUM_POINTS) if len(history) else np.zeros(0, np.intp)
        lines, stops = chart_lines(history, points), slider_stops(history, self.step, self.compare)
        steps, texts = history.steps[stops], step_texts(history, stops)
        with self.lock, self.parts.sent_together():
            self.parts.body.layout.display = None if len(history) else "none"
            self.parts.compare.disabled = len(history) < 2
            most = LIVE_BYTES if sparse else None
            self.parts.show_kernels(
                kernels, f"Kernels of {history.kernels_layer}", both=both, data_bytes=most or KERNEL_BYTES
            )
            self._show_maps(maps, most or MAP_BYTES)
            self.parts.show_charts(history.steps[points], lines, describe=not sparse)
            if self._recorder is not None and self._recorder.is_closed:
                self._recorder.unobserve(self._follow)
            self.parts.summary.value = html.escape(self._summary())
            # Last: the page tells when it has painted this, and all that came before.
            if both or not live:
                self.parts.second.set_steps(steps, texts if both else None)
            self.parts.first.set_steps(steps, texts)
            self._place()
            if self._failed:
                self._failed = False
                self.clear_error()

    _failed = _sparse = False

    def _fail(self, error: BaseException) -> None:
        self._failed = True
        self.show_error(error)

    def _show_maps(self, frames: Any, data_bytes: int) -> None:
        """Show the maps with the choice of layers and images."""
        history, parts = self.history, self.parts
        title = ""
        if frames is not None:
            layers = [(key_text(key), key) for key in history.activations]
            set_options(parts.layer, layers, self.layer)
            images = [(str(index), index) for index in range(len(history.images))]
            set_options(parts.image, images, self.image)
            parts.show_photo(history.images[self.image])
            title = f"Activations of {key_text(self.layer)} for image {self.image}"
        parts.show_maps(frames, title, both=self.compare is not None, data_bytes=data_bytes)
        if self.layer is not None and frames is not None and history.dead_channels[self.layer].any():
            # Beside the title, not in it: another title is another picture, whose colors begin anew.
            count = history.image_count
            parts.maps_title.value += f" (dead 40+: zero on all {count:,} images since step 40)"

    def _place(self) -> None:
        """Have slider, tiles and controls show what the traits say."""
        both = self.compare is not None
        parts = self.parts
        self._move(parts.first, -1 if self.step is None else self.step, parts.kernels, parts.maps)
        if self.compare is not None:
            self._move(parts.second, self.compare, parts.kernels_second, parts.maps_second)
        parts.compare.value = both
        if both is not self._comparing:
            self._comparing = both
            parts.show_comparison(both)

    _comparing: bool | None = None

    @staticmethod
    def _move(timeline: Timeline, step: int, *grids: TileGrid) -> None:
        # Where the page moved the slider, it has moved the tiles, too, and may be at a later step by now.
        if timeline.value != step:
            timeline.value = step
            for grid in grids:
                grid.step = step

    def _summary(self) -> str:
        count = len(self.history)
        if count == 0:
            return "nothing recorded yet"
        steps = self.history.steps
        text = f"{count:,} records, " if count > 1 else "1 record, "
        text += f"steps {steps[0]:,} to {steps[-1]:,}" if count > 1 else f"step {steps[0]:,}"
        if self._recorder is None:
            return text
        return text + (", recording ended" if self._recorder.is_closed else ", recording")

    # -- the end, and other viewers ---------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> bool:
        """Have the newest records drawn, and wait for it; return whether that came within ``timeout`` seconds."""
        if self._recorder is not None:
            self._ask_to_draw(urgent=True)
        return self._drawer is None or self._drawer.wait(timeout)

    def stop_job(self) -> None:
        """Let go of the recorder: records that come from now on are not shown."""
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            recorder.unobserve(self._follow)
        if self._drawer is not None:
            self._drawer.close()

    def to_png(self) -> bytes | None:
        """Return the first kernels at some steps, from top to bottom."""
        step = self.shown_step
        return None if step is None else film_strip(self.history, step)

    def to_text(self) -> str:
        """Return what is shown, in words."""
        step = self.shown_step
        lines = [f"TrainingTimeline: {self._summary()}"]
        if step is not None:
            text = step_texts(self.history, np.flatnonzero(self.history.steps == step)[:1])[0]
            lines.append(f"step {step}: {text}".rstrip(": "))
            if self.layer is not None:
                lines.append(
                    dead_text(self.history, self.layer, int(np.searchsorted(self.history.steps, step)))
                )
        return "\n".join(line for line in lines if line)


def _first_layer(history: TrainingHistory) -> LayerKey | None:
    """Return the first layer with maps of more than one position, or else the first one."""
    for key, maps in history.activations.items():
        if maps.shape[-2:] != (1, 1):
            return key
    return next(iter(history.activations), None)


def _follower(timeline: TrainingTimeline) -> Any:
    """Return what a recorder calls after each record. It does not keep the widget alive."""
    known = weakref.ref(timeline)

    def follow(recorder: TrainingRecorder) -> None:
        found = known()
        if found is not None:
            # Nothing is slowed down any more once the training is over.
            found._ask_to_draw(urgent=recorder.is_closed)

    return follow
