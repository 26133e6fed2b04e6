"""Compare what explains an answer: all gradient maps side by side, and what tells which of them to believe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from cnnviz_widgets.engine.errors import InputError, did_you_mean
from cnnviz_widgets.engine.fills import Fill, checked_fill
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import TargetLike, class_index
from cnnviz_widgets.engine.whole_numbers import checked_whole
from cnnviz_widgets.methods.faithfulness import Faithfulness
from cnnviz_widgets.methods.randomization import RandomizationCheck
from cnnviz_widgets.render.mosaic import mosaic_png
from cnnviz_widgets.views._pacing import Pacer
from cnnviz_widgets.views._text import as_html
from cnnviz_widgets.views._traits import Float, TraitValueError
from cnnviz_widgets.widgets._base import shown
from cnnviz_widgets.widgets._class_picker import class_names
from cnnviz_widgets.widgets._layer_choices import layer_choices
from cnnviz_widgets.widgets._occlusion_parts import target_text
from cnnviz_widgets.widgets._saliency_maps import (
    GRAD_CAM,
    Call,
    Explained,
    Progress,
    calls_of,
    check_all,
    explain,
    usual_layer,
)
from cnnviz_widgets.widgets._saliency_parts import ANOTHER, SaliencyParts
from cnnviz_widgets.widgets._saliency_report import in_gray, map_tiles, said_of, stopped_text
from cnnviz_widgets.widgets._target_viewer import TargetViewer

FIRST_MAPS_SECONDS = 5.0
TILE_INTERVAL = 0.1


class SaliencyExplorer(TargetViewer):
    """See all gradient maps of one answer side by side over the photo, and measure which of them to believe.

    The maps share one scale: the share of each map's largest value, red for what speaks for the target, blue for what
    speaks against it (maps without a sign are red alone). Click one to see it large, with its values under the pointer
    and what it reports of itself. Below, deletion and insertion curves tell how fast the answer goes and comes with
    the pixels that each map calls important, beside pixels in random order. One click more checks which maps survive
    when the network's weights become random, layer by layer: those don't show what it has learned.

    Parameters
    ----------
    net
        The network.
    image
        One image in any form that `InputSpec.prepare` takes, or several to choose from: a list, or a dict
        from name to image.
    target
        A class (label or index), or a `Target`: a logit, a unit, a function of the output. Left out, the photo's most
        probable class.
    layer
        What Grad-CAM looks at; left out, the last layer with maps of features.
    samples, steps
        Noisy copies for SmoothGrad, and points of the way for integrated gradients.
    measure_steps, deletion_fill
        In how many steps pixels are deleted and inserted, and what is put in place of deleted ones, as `faithfulness`
        takes it: with a plain color, speckled photos are none that a network knows, and any fine map does well.
    stages
        At how many points of a network that forgets, layer by layer, the maps are checked; at most one a layer.

    Attributes
    ----------
    target, layer
        What is asked. Observe them, or set them; a wrong value raises at once.
    map
        The name of the map that is shown large, one of `calls`.
    opacity
        Of all maps over the photo, from 0 to 1.
    image
        The photo. Set it to show another, or call `set_image` to give it a name, too.
    calls
        For each map's name the call that makes it: ``.function`` and ``.options``.
    result, params, function
        The chosen map, equal to ``explorer.function(net, explorer.image, **explorer.params)``; ``None`` where there is
        none, or none yet.
    results, failures
        All maps by name, and why there is none, by name.
    measured
        The `Faithfulness` of all maps, with `measure_params`; ``None`` until it is there.
    checks
        The `RandomizationCheck` of each map by name, after `check`.
    prediction
        The photo's most probable classes; ``None`` where the network returns no class scores.

    Raises
    ------
    TargetError, LabelNotFoundError, LayerNotFoundError
        A target or layer that is not there.
    InputError
        Images that can't be used; no target for a network that returns no class scores.
    ValueError
        Counts below 1.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> explorer = cv.SaliencyExplorer(cv.samples.fashion_cnn(), images[0], "Ankle boot", measure_steps=7)
    >>> explorer.wait()
    True
    >>> explorer.map = "Grad-CAM"
    >>> explorer.result.map.shape, explorer.params["layer"]
    ((5, 5), 'pool2')
    >>> explorer.measured.names[-2:], explorer.measured.insertion_area.shape
    (('Grad-CAM', 'chance'), (8,))
    """

    layer = traitlets.Any(None, allow_none=True, help="What Grad-CAM looks at.")
    map = traitlets.Unicode(help="The map that is shown large.")
    opacity = Float(0.7, min=0.0, max=1.0, help="Of the maps over the photo.")

    _recolor: Pacer | None = None  # an explorer that could not be made is closed, too

    def __init__(
        self,
        net: Network,
        image: Any,
        target: TargetLike | None = None,
        *,
        layer: LayerKey | None = None,
        samples: int = 8,
        steps: int = 16,
        measure_steps: int = 8,
        deletion_fill: Fill = "blur",
        stages: int = 4,
    ) -> None:
        deletion_fill = checked_fill("deletion_fill", deletion_fill)
        self._counts = {
            "samples": checked_whole("samples", samples),
            "steps": checked_whole("steps", steps),
            "stages": checked_whole("stages", stages),
        }
        self.measure_params: dict[str, Any] = {
            "steps": checked_whole("measure_steps", measure_steps),
            "deletion_fill": deletion_fill,
        }
        self._ask(net, image, target)
        self._choices = layer_choices(net, only_maps=True)
        self._known = Progress()
        self._recolor = Pacer(self._show_tiles, TILE_INTERVAL, on_error=self.show_error)
        names = class_names(net, self._classes)
        self.parts = SaliencyParts(self._picture, names, list(self._choices), self._pick_class)
        super().__init__()
        self.layer = usual_layer(net, self._classes) if layer is None else layer
        self.map = next(iter(self.calls))
        if target is not None:
            self.target = target
        self._known.target = self.target
        self.children = self.parts.arranged(self._photos, self.status)
        self.add_class("cnnviz-saliency")
        self._link()
        self._run()
        # So that the picture for viewers without widgets, which the cell stores, shows something.
        self.wait(timeout=FIRST_MAPS_SECONDS)

    # -- what was found ---------------------------------------------------------------------------------

    @property
    def calls(self) -> dict[str, Call]:
        """For each map's name the call that makes it."""
        return calls_of(self._counts["samples"], self._counts["steps"], self.layer)

    @property
    def function(self) -> Callable[..., Explained]:
        """The method that makes the chosen map."""
        return self.calls[self.map].function

    @property
    def params(self) -> dict[str, Any]:
        """The options of `function` that give `result`."""
        return {"target": self.target, **self.calls[self.map].options}

    @property
    def result(self) -> Explained | None:
        """The chosen map."""
        return self._known.results.get(self.map)

    @property
    def results(self) -> dict[str, Explained]:
        """All maps, by name."""
        return dict(self._known.results)

    @property
    def failures(self) -> dict[str, str]:
        """Why there is no map, by name."""
        return dict(self._known.failures)

    @property
    def measured(self) -> Faithfulness | None:
        """The deletion and insertion curves of all maps."""
        return self._known.measured

    @property
    def checks(self) -> dict[str, RandomizationCheck]:
        """The randomization check of each map, by name."""
        return dict(self._known.checks)

    @property
    def prediction(self) -> Prediction | None:
        """The photo's most probable classes."""
        return self._known.prediction

    # -- what is chosen ---------------------------------------------------------------------------------

    def _show_image(self) -> None:
        self.parts.stage.image = in_gray(self._picture)
        self._known = Progress(None if self._follows else self.target)
        self._run()

    @traitlets.validate("layer")
    def _check_layer(self, proposal: Any) -> LayerKey | None:
        key = proposal["value"]
        return None if key is None else self._choices[key].key

    @traitlets.validate("map")
    def _check_map(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name not in self.calls:
            raise TraitValueError(
                f"there is no map {name!r}{did_you_mean(name, self.calls)}; there are {list(self.calls)}"
            )
        return name

    # -- the page's acts --------------------------------------------------------------------------------

    def _link(self) -> None:
        """Pass on what is chosen, from the page to the traits and from the traits to the page."""
        parts = self.parts
        parts.likeliest.observe(self._on_dropdown, "value")
        parts.layers.observe(self._on_dropdown, "value")
        parts.grid.observe(self._on_tile, "selected")
        # A click chooses a map; the pixel it met means nothing, and is not marked.
        parts.grid.observe(lambda change: parts.grid.set_trait("position", [-1, -1]), "position")
        parts.stop.on_click(lambda button: self._on_stop())
        parts.check.on_click(lambda button: self._on_check())
        ipywidgets.link((self, "opacity"), (parts.opacity, "value"))
        ipywidgets.link((self, "opacity"), (parts.stage, "opacity"))
        self.observe(self._on_opacity, "opacity")
        self.observe(self._on_target, "target")
        self.observe(self._on_layer, "layer")
        self.observe(lambda change: self._show_map(), "map")
        self.observe(lambda change: self._show_busy(), "busy")

    def _pick_class(self, what: int | str) -> None:
        # What is no class is said beside the field.
        self.target = what

    @shown
    def _on_dropdown(self, change: Any) -> None:
        with self.lock:  # what a job's thread fills in meanwhile is no choice
            if not self.filling and change["new"] != ANOTHER:
                setattr(self, "layer" if change["owner"] is self.parts.layers else "target", change["new"])

    @shown
    def _on_tile(self, change: Any) -> None:
        with self.lock:
            if not self.filling and change["new"] >= 0:
                self.map = list(self.calls)[change["new"]]

    @shown
    def _on_stop(self) -> None:
        if self.busy:
            self.stop()
        else:
            self._run()

    @shown
    def _on_check(self) -> None:
        self.check()

    def _on_opacity(self, change: Any) -> None:
        if self._recolor is not None:
            self._recolor.request()

    def _on_target(self, change: Any) -> None:
        with self.lock:
            if self.target == self._known.target:
                return
            self._follows = False
            self._known = Progress(self.target, self._known.prediction)
            self._run()

    def _on_layer(self, change: Any) -> None:
        with self.lock:
            if self.map not in self.calls:
                self.map = next(iter(self.calls))
            self._known = self._known.without(GRAD_CAM)
            self._run()

    # -- running ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Find out on a worker what is not known yet; the views follow step by step."""
        with self.lock:
            known = self._known
            self.clear_error()
            self._show()
            steps = explain(self.net, self._image, self.calls, known, self.measure_params, self._classes)
            self.start_job(steps, on_step=self._show_step, on_result=lambda known: self._show())

    def stop(self) -> None:
        """End with the maps so far, as soon as the batch under way is done."""
        with self.lock:
            was_busy = self.busy
            self.stop_job()
            self._show_busy()
            if was_busy:
                self.parts.say(stopped_text(list(self.calls), self._known))

    def check(self) -> None:
        """Check all maps against random weights; where they are not all there yet, after them."""
        with self.lock:
            known, target = self._known, self.target
            if self.busy or target is None:
                raise InputError("the maps are not all there yet; call explorer.wait() first")
            self.clear_error()
            self.start_job(
                check_all(self.net, self._image, target, self.calls, known, self._counts["stages"]),
                on_step=self._show_check_step,
                on_result=lambda known: self._show(),
            )

    # -- showing ----------------------------------------------------------------------------------------

    def _show_step(self, step: Step) -> None:
        """Show what is known by now: the maps one by one, then how far their curves are."""
        known = self._known
        done = len(known.results) + len(known.failures)
        if "part" in step.values:
            name, share = list(self.calls)[step.index], float(step.values["part"])
            self.parts.say(f"computing the maps: {done} of {len(self.calls)}, {name} {share:.0%} \u2026")
            return
        if done < len(self.calls) or step.index == 0:
            self._show()
        is_measuring = done == len(self.calls)
        part = _percent(step) if is_measuring else f"{done} of {len(self.calls)}"
        self.parts.say(f"{'measuring' if is_measuring else 'computing the maps'}: {part} \u2026")

    def _show_check_step(self, step: Step) -> None:
        known = self._known
        name = next(each for each in self.calls if each in known.results and each not in known.checks)
        if step.index == 0:
            self._show()
        self.parts.say(f"checking {name}: {_percent(step)} \u2026")

    def _show(self) -> None:
        """Show what is asked, and all that is known of it."""
        with self.lock:
            known, names = self._known, list(self.calls)
            if known.target is not None and self.target != known.target:
                # The most probable class, now that it is known.
                self.target = known.target
            self._show_asked()
            self._show_tiles()
            self._show_map()
            self.parts.show_numbers(names, known)
            self._show_busy()

    def _show_busy(self) -> None:
        self.parts.show_buttons(list(self.calls), self._known, self.busy)
        if not self.busy:
            self.parts.say("")

    def _show_asked(self) -> None:
        target, chosen = self._known.target, None
        if target is not None and target.layer is None and not callable(target.what):
            chosen = class_index(self.net, target.what, self._classes)
        with self.filling:
            self.parts.show_classes(self._known.prediction, chosen)
            self.parts.layers.value = self.layer
        said = f"<p>Explained: <b>{as_html(self._target_text())}</b></p>"
        if self._no_classes:
            said += f"<p>No classes to choose from: {as_html(self._no_classes)}</p>"
        self.parts.said.value = said

    def _show_tiles(self) -> None:
        with self.filling:
            names = list(self.calls)
            tiles, labels, badges = map_tiles(names, in_gray(self._picture), self._known, self.opacity)
            self.parts.grid.set_maps(tiles, labels=labels, badges=badges, selected=names.index(self.map))

    def _show_map(self) -> None:
        with self.filling:
            self.parts.grid.selected = list(self.calls).index(self.map)
            self.parts.show_map(self.map, self._known, self._target_text())

    def _target_text(self) -> str:
        target = self._known.target
        return "the most probable class" if target is None else target_text(self.net, target)

    def to_png(self) -> bytes | None:
        """Return the maps over the photo as one picture."""
        with self.lock:
            if not self._known.results:
                return None
            return mosaic_png(
                map_tiles(list(self.calls), in_gray(self._picture), self._known, self.opacity)[0]
            )

    def to_text(self) -> str:
        """Return what is shown, in words."""
        with self.lock:
            known, target = self._known, self._target_text()
            lines = [f"SaliencyExplorer: {target}"]
            lines += [f"{name}: {said_of(found, target)}" for name, found in known.results.items()]
            lines += [f"{name}: {why}" for name, why in known.failures.items()]
            lines += [] if known.measured is None else [str(known.measured)]
            lines += [f"{name}: {check.message}" for name, check in known.checks.items()]
        return "\n".join(lines)

    def close(self) -> None:
        """End the job and take the widget off the page."""
        if self._recolor is not None:
            self._recolor.close()
        super().close()


def _percent(step: Step) -> str:
    return f"{(step.index + 1) / (step.total or 1):.0%}"
