"""The maps that the saliency explorer shows side by side: which calls they are, and computing them one by one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cnnviz_widgets.engine.errors import InputError, OutputError, UnsupportedModuleError, ZeroGradientError
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.engine.random_weights import CascadingRandomization
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.targets import Target
from cnnviz_widgets.methods.faithfulness import Faithfulness, faithfulness
from cnnviz_widgets.methods.grad_cam import GradCam, grad_cam
from cnnviz_widgets.methods.gradients import GradientMap, gradient_map
from cnnviz_widgets.methods.integrated_gradients import IntegratedGradients, integrated_gradients
from cnnviz_widgets.methods.randomization import RandomizationCheck, randomization_check
from cnnviz_widgets.widgets._layer_choices import layer_choices

GRAD_CAM = "Grad-CAM"
LIKELIEST = 5
BATCH = 4  # small ones: one sees how far a map is, and it ends soon when it is stopped
# They pass on what they get, or stand for their last part: not what a person would name a layer by.
_PASSING = ("Dropout", "Dropout2d", "Flatten", "Identity", "Sequential")

Explained: TypeAlias = "GradientMap | IntegratedGradients | GradCam"


@dataclass(frozen=True)
class Call:
    """A map as a call: ``function(net, image, target, **options)``."""

    function: Callable[..., Explained]
    options: Mapping[str, Any]

    def steps(self, net: Network, image: Any, target: Target) -> Generator[Step, None, Explained]:
        """Make the call step by step; in none, where the method has no steps."""
        steps = getattr(self.function, "steps", None)
        if steps is None:
            return self.function(net, image, target, **self.options)
        found: Explained = yield from steps(net, image, target, **self.options)
        return found


def calls_of(samples: int, steps: int, layer: LayerKey | None) -> dict[str, Call]:
    """Return all maps there are, by name; Grad-CAM only where there is a layer for it."""
    calls = {
        "gradient": Call(gradient_map, {}),
        "gradient \u00d7 input": Call(gradient_map, {"times_input": True}),
        "SmoothGrad": Call(gradient_map, {"samples": samples, "batch_size": BATCH}),
        "guided": Call(gradient_map, {"rule": "guided"}),
        "DeconvNet": Call(gradient_map, {"rule": "deconvnet"}),
        "integrated": Call(integrated_gradients, {"steps": steps, "batch_size": BATCH}),
    }
    if layer is not None:
        calls[GRAD_CAM] = Call(grad_cam, {"layer": layer})
    return calls


def usual_layer(net: Network, classes: int) -> LayerKey | None:
    """Return the layer that Grad-CAM looks at if none is named: the last one with maps of features.

    Maps of one position say nothing of where; those with a channel for each class are answers already.
    """
    kinds = {info.name: info.kind for info in net.layers}
    found: LayerKey | None = None
    for key, (_, shape) in layer_choices(net, only_maps=True).items():
        name = key if isinstance(key, str) else key[0]
        if shape[1] * shape[2] > 1 and shape[0] != classes and kinds.get(name) not in _PASSING:
            found = key
    return found


@dataclass
class Progress:
    """What is known so far of one image and one target; filled while a job runs.

    Its dicts are replaced, never written to: others may be reading them.

    Attributes
    ----------
    target
        What is explained; ``None`` for the image's most probable class, until that is known.
    prediction
        The image's most probable classes.
    results
        The maps, by name.
    failures
        Why there is none, by name.
    measured
        Their deletion and insertion curves.
    checks
        Their randomization checks, by name.
    """

    target: Target | None = None
    prediction: Prediction | None = None
    results: dict[str, Explained] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    measured: Faithfulness | None = None
    checks: dict[str, RandomizationCheck] = field(default_factory=dict)

    def without(self, name: str) -> Progress:
        """Return the same without one map, and without what compares it with the others."""

        def kept(found: Mapping[str, Any]) -> dict[str, Any]:
            return {key: each for key, each in found.items() if key != name}

        return Progress(
            self.target,
            self.prediction,
            kept(self.results),
            kept(self.failures),
            checks=kept(self.checks),
        )


def explain(
    net: Network,
    image: Any,
    calls: Mapping[str, Call],
    known: Progress,
    measure: Mapping[str, Any],
    classes: int,
) -> Generator[Step, None, Progress]:
    """Find out what is not known yet, a step each: the prediction, the maps, their deletion and insertion curves."""
    if known.prediction is None and classes:
        known.prediction = net.predict(image, k=LIKELIEST)
    if known.target is None:
        known.target = Target(int((known.prediction or net.predict(image)).indices[0]))
    target = known.target
    for index, (name, call) in enumerate(calls.items()):
        yield Step(index, len(calls))
        if name in known.results or name in known.failures:
            continue
        try:
            found = yield from _within(call.steps(net, image, target), index, len(calls))
            known.results = {**known.results, name: found}
        except (ZeroGradientError, UnsupportedModuleError, OutputError, InputError) as error:
            # Of this map alone: the others are still to be seen.
            known.failures = {**known.failures, name: str(error)}
    if known.measured is not None:
        return known
    # A constant map gives pixels no order.
    maps = {name: known.results[name] for name in calls if is_varied(known.results.get(name))}
    if maps:
        known.measured = yield from faithfulness.steps(net, image, measured_target(target), maps, **measure)
    return known


def _within(
    steps: Generator[Step, None, Explained], index: int, total: int
) -> Generator[Step, None, Explained]:
    """Take the steps of one map as parts of a step that is one of several maps; ``part`` of it is done."""
    try:
        while True:
            step = next(steps)
            yield Step(index, total, values={"part": (step.index + 1) / (step.total or 1)})
    except StopIteration as end:
        found: Explained = end.value
        return found
    finally:
        steps.close()


def _at_once(steps: Generator[Step, None, Explained]) -> Explained:
    """Return the end of a map's steps, without the progress bar of a plain call."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        found: Explained = end.value
        return found


def is_varied(found: Explained | None) -> bool:
    """Return whether a map is there and is not the same everywhere."""
    return found is not None and bool(found.heatmap.min() < found.heatmap.max())


def measured_target(target: Target) -> Target:
    """Return what deletion and insertion ask for: of a class the probability, which has a scale of its own."""
    is_class = target.layer is None and not callable(target.what)
    return Target(target.what, of="probability") if is_class else target


def check_all(
    net: Network, image: Any, target: Target, calls: Mapping[str, Call], known: Progress, stages: int
) -> Generator[Step, None, Progress]:
    """Check each map that there is against random weights, a step for each map of a random network."""
    stages = min(stages, len(CascadingRandomization(net, 0).layers))
    for name, call in calls.items():
        if name in known.results and name not in known.checks:

            def again(private: Network, call: Call = call) -> Explained:
                return _at_once(call.steps(private, image, target))

            found = yield from randomization_check.steps(net, again, stages=stages)
            known.checks = {**known.checks, name: found}
    return known
