"""One row for every public method: all that tests/contract has to know of it.

To add a method, add a row under its public name (``"deepdream"``; methods of `Network` as
``"Network.predict"``)::

    "saliency": Row(
        lambda method, s: method(s.net, s.image, s.target, seed=s.seed),   # an ordinary call, small and quick
        uses=("image", "target"),      # which fields of the Setting it takes: bad ones must be refused
        gradients=True,                # it needs gradients; otherwise none may be recorded
        wrong={"steps": (lambda method, s: method(s.net, s.image, s.target, steps=0), ValueError, "got 0")},
    )

``method`` is the method itself (or, for streamed ones that are stopped half way, its ``.steps``); ``s`` is a
`tests.contract.settings.Setting`. What is checked of it stands in checks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

import cnnviz_widgets as cv
from tests.contract.settings import Setting

Call: TypeAlias = Callable[[Any, Setting], Any]


@dataclass(frozen=True)
class Row:
    """How one public method is called, and what may be expected of it.

    Attributes
    ----------
    call
        An ordinary call, as a function of the method and a `Setting`.
    uses
        Which of ``image``, ``images``, ``layer``, ``target`` it takes from the setting.
    wrong
        What is refused beyond that: a call, the error, and a text (regular expression) in its message.
    runs
        Whether it runs the module at all.
    remembers
        Whether what it has learned from a pass makes the next one needless.
    per_call
        Whether it is about one call of a layer, so that of a layer called twice it must be told which.
    ends_at_layer
        Whether the pass ends at the setting's layer (``False``: it needs the network's output).
    gradients
        Whether it needs gradients.
    tensors
        Whether it returns tensors, on the network's device, in place of NumPy arrays.
    """

    call: Call
    uses: tuple[str, ...] = ()
    wrong: Mapping[str, tuple[Call, type[Exception], str]] = field(default_factory=dict)
    runs: bool = True
    remembers: bool = False
    per_call: bool = False
    ends_at_layer: bool = False
    gradients: bool = False
    tensors: bool = False


def _captured(method: Any, s: Setting) -> Any:
    with method(s.net, [s.layer]) as seen:
        s.net(s.net.prepare(s.image))
    return {s.layer: seen[s.layer]}


def _field(method: Any, s: Setting) -> Any:
    field = method(s.net, s.layer)
    return field, field.box(1, 2)


def _recorded(method: Any, s: Setting) -> Any:
    recorder = method(s.net, images=s.images, layers=[s.layer])
    recorder.record(loss=0.5)
    return recorder.history


_VECTORS = np.random.default_rng(0).normal(size=(16, 5))


def _features(s: Setting) -> cv.FeatureTable:
    return cv.extract_features(s.net, list(zip(s.images, "aba", strict=True)), s.layer)


def _ramp(s: Setting) -> np.ndarray:
    height, width = s.net.prepare(s.image).shape[2:]
    return np.arange(height * width, dtype=np.float32).reshape(height, width)


def _labelled() -> cv.Network:
    return cv.Network(torch.nn.ReLU(), labels=["a", "b"])


def _prepared(s: Setting) -> torch.Tensor:
    return s.net.prepare(s.image)


TABLE: dict[str, Row] = {
    "capture": Row(
        _captured,
        uses=("image", "layer"),
        per_call=True,
        ends_at_layer=True,
        tensors=True,
        wrong={
            "module": (lambda method, s: method(s.module, [s.layer]), TypeError, "wrap it: cv.Network"),
            "none": (lambda method, s: method(s.net, []), LookupError, "no layers to capture"),
        },
    ),
    "receptive_field": Row(
        _field,
        uses=("layer",),
        per_call=True,
        wrong={
            "size": (lambda method, s: method(s.net, s.layer, image_size=0), ValueError, "0"),
            "method": (lambda method, s: method(s.net, s.layer, method="magic"), ValueError, "magic"),
        },
    ),
    "activations": Row(
        lambda method, s: method(s.net, s.image, s.layer),
        uses=("image", "layer"),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "images": (lambda method, s: method(s.net, s.images, s.layer), ValueError, "one image, got 3")
        },
    ),
    "activation_statistics": Row(
        lambda method, s: method(s.net, s.images, [s.layer], batch_size=2),
        uses=("images", "layer"),
        ends_at_layer=True,
        wrong={
            "batch_size": (
                lambda method, s: method(s.net, s.images, s.layer, batch_size=0),
                ValueError,
                "batch_size .* got 0",
            ),
            "on_error": (
                lambda method, s: method(s.net, s.images, s.layer, on_error="ignore"),
                ValueError,
                "'skip', got 'ignore'",
            ),
            "near_dead_share": (
                lambda method, s: method(s.net, s.images, near_dead_share=1.0),
                ValueError,
                "got 1.0",
            ),
            "module": (lambda method, s: method(s.module, s.images), TypeError, "wrap it: cv.Network"),
            "layers": (lambda method, s: method(s.net, s.images, []), LookupError, "name at least one"),
        },
    ),
    "top_patches": Row(
        lambda method, s: method(
            s.net, s.images, s.layer, k=2, batch_size=2, patches=s.net.input.channels in (1, 3)
        ),
        uses=("images", "layer"),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "k": (
                lambda method, s: method(s.net, s.images, s.layer, k=4),
                ValueError,
                r"k is over the data set's size: 3 images, each with 1 patch of .* k=4; use k=3",
            ),
            "zero": (lambda method, s: method(s.net, s.images, s.layer, k=0), ValueError, "got 0"),
            "per_image": (
                lambda method, s: method(s.net, s.images, s.layer, k=1, per_image=1.5),
                ValueError,
                r"per_image .* got 1\.5",
            ),
            "channel": (
                lambda method, s: method(s.net, s.images, s.layer, 99, k=1),
                ValueError,
                "no channel 99",
            ),
            "channels": (
                lambda method, s: method(s.net, s.images, s.layer, "all", k=1),
                ValueError,
                "got 'all'",
            ),
            "memory": (
                lambda method, s: method(s.net, s.images, s.layer, k=1, memory_limit=1),
                ValueError,
                "more than memory_limit=1",
            ),
            "jobs": (lambda method, s: method(s.net, s.images, s.layer, k=1, jobs=0), ValueError, "got 0"),
            "shards": (
                lambda method, s: method(s.net, s.images, s.layer, k=1, shards=-1),
                ValueError,
                "shards .* got -1",
            ),
            "checkpoint": (
                lambda method, s: method(s.net, s.images, s.layer, k=1, checkpoint="no/such/folder/file"),
                ValueError,
                "no/such/folder/file",
            ),
            "module": (
                lambda method, s: method(s.module, s.images, s.layer),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "extract_features": Row(
        lambda method, s: method(s.net, s.images, s.layer, batch_size=2),
        uses=("images", "layer"),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "batch_size": (
                lambda method, s: method(s.net, s.images, s.layer, batch_size=0),
                ValueError,
                "batch_size .* got 0",
            ),
            "pooling": (
                lambda method, s: method(s.net, s.images, s.layer, pooling="max"),
                ValueError,
                "got 'max'",
            ),
            "thumbnail_size": (
                lambda method, s: method(s.net, s.images, s.layer, thumbnail_size=-1),
                ValueError,
                "thumbnail_size .* got -1",
            ),
            "memory_limit": (
                lambda method, s: method(s.net, s.images, s.layer, memory_limit=0.5),
                ValueError,
                r"memory_limit .* got 0\.5",
            ),
            "module": (
                lambda method, s: method(s.module, s.images, s.layer),
                TypeError,
                "wrap it: cv.Network",
            ),
            "label": (
                lambda method, s: method(s.net, [(s.image, 2.5)], s.layer),
                TypeError,
                r"image 0 is 2\.5, of type float",
            ),
        },
    ),
    "nearest_neighbors": Row(
        lambda method, s: method(_features(s), s.image, k=2, net=s.net),
        uses=("image", "layer"),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "k": (lambda method, s: method(_features(s), 0, k=3), ValueError, "got k=3; use k=2 or less"),
            "zero": (lambda method, s: method(_features(s), 0, k=0), ValueError, "got 0"),
            "metric": (lambda method, s: method(_features(s), 0, metric="dot"), ValueError, "got 'dot'"),
            "space": (
                lambda method, s: method(_features(s), 0, k=1, space="color"),
                ValueError,
                "got 'color'",
            ),
            "row": (lambda method, s: method(_features(s), 3, k=1), LookupError, "row 3 .* 0 to 2"),
            "width": (
                lambda method, s: method(_features(s), np.zeros(999)),
                ValueError,
                "a vector of .* values.*got 999 values",
            ),
            "NaN": (lambda method, s: method(_features(s), np.array([np.nan])), ValueError, "NaN .* row 0"),
            "image": (lambda method, s: method(_features(s), s.image), TypeError, "net=net"),
            "table": (lambda method, s: method(s.net, 0), TypeError, "got Network"),
        },
    ),
    "neighbor_agreement": Row(
        lambda method, s: method(_features(s), k=1),
        uses=("layer",),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "k": (lambda method, s: method(_features(s), k=3), ValueError, "got k=3"),
            "metric": (lambda method, s: method(_features(s), k=1, metric=2), ValueError, "got 2"),
            "labels": (
                lambda method, s: method(cv.extract_features(s.net, s.images, s.layer), k=1),
                ValueError,
                "3 of 3 images have no label",
            ),
        },
    ),
    "embed": Row(
        lambda method, s: method(_VECTORS, method="tsne", perplexity=4, iterations=30),
        runs=False,
        wrong={
            "method": (lambda method, s: method(_VECTORS, method="umap"), ValueError, "got 'umap'"),
            "perplexity": (
                lambda method, s: method(_VECTORS, method="tsne", perplexity=30),
                ValueError,
                "30 is too large for 16 .*use 5 or",
            ),
            "perplexity of PCA": (
                lambda method, s: method(_VECTORS, perplexity=4),
                ValueError,
                "perplexity is of t-SNE.*got 4",
            ),
            "negative": (
                lambda method, s: method(_VECTORS, method="tsne", perplexity=-1),
                ValueError,
                "got -1",
            ),
            "iterations": (
                lambda method, s: method(_VECTORS, method="tsne", perplexity=4, iterations=0),
                ValueError,
                "iterations .* got 0",
            ),
            "seed": (lambda method, s: method(_VECTORS, seed=-2), ValueError, "seed .* got -2"),
            "NaN": (lambda method, s: method(_VECTORS * np.nan), ValueError, "NaN .* row 0"),
            "constant": (lambda method, s: method(np.ones((9, 4))), ValueError, "all 9 vectors are equal"),
            "empty": (lambda method, s: method(_VECTORS[:0]), ValueError, r"got shape \[0, 5\]"),
            "few": (lambda method, s: method(_VECTORS[:2]), ValueError, "three images or more, got 2"),
            "narrow": (lambda method, s: method(_VECTORS[:, :1]), ValueError, "two values or more, got one"),
            "table": (lambda method, s: method(s.net), TypeError, "got Network"),
        },
    ),
    "deconvnet": Row(
        lambda method, s: method(s.net, s.image, s.layer, 1),
        uses=("image", "layer"),
        per_call=True,
        ends_at_layer=True,
        gradients=True,
        wrong={
            "images": (lambda method, s: method(s.net, s.images, s.layer, 0), ValueError, "one image, got 3"),
            "channel": (lambda method, s: method(s.net, s.image, s.layer, 99), ValueError, "got 99"),
            "position": (
                lambda method, s: method(s.net, s.image, s.layer, 0, (99, 0)),
                ValueError,
                r"\(99, 0\) is outside of the map",
            ),
            "module": (
                lambda method, s: method(s.module, s.image, s.layer, 0),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "gradient_map": Row(
        lambda method, s: method(
            s.net, s.image, s.target, rule="guided", samples=3, batch_size=2, seed=s.seed
        ),
        uses=("image", "target"),
        gradients=True,
        wrong={
            "rule": (lambda method, s: method(s.net, s.image, 1, rule="magic"), ValueError, "got 'magic'"),
            "samples": (
                lambda method, s: method(s.net, s.image, 1, samples=-1),
                ValueError,
                "samples .* got -1",
            ),
            "noise": (lambda method, s: method(s.net, s.image, 1, noise=0), ValueError, "noise .* got 0"),
            "seed": (lambda method, s: method(s.net, s.image, 1, seed=-1), ValueError, "seed .* got -1"),
            "batch_size": (lambda method, s: method(s.net, s.image, 1, batch_size=0), ValueError, "got 0"),
            "images": (lambda method, s: method(s.net, s.images, 1), ValueError, "one image, got 3"),
            "module": (lambda method, s: method(s.module, s.image, 1), TypeError, "wrap it: cv.Network"),
        },
    ),
    "integrated_gradients": Row(
        lambda method, s: method(s.net, s.image, s.target, steps=3, batch_size=2),
        uses=("image", "target"),
        gradients=True,
        wrong={
            "steps": (lambda method, s: method(s.net, s.image, 1, steps=0), ValueError, "steps .* got 0"),
            "baseline": (
                lambda method, s: method(s.net, s.image, 1, baseline=float("nan")),
                ValueError,
                "baseline .* got nan",
            ),
            "images": (lambda method, s: method(s.net, s.images, 1), ValueError, "one image, got 3"),
            "module": (lambda method, s: method(s.module, s.image, 1), TypeError, "wrap it: cv.Network"),
        },
    ),
    "grad_cam": Row(
        lambda method, s: method(s.net, s.image, s.target, s.layer),
        uses=("image", "target", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "images": (lambda method, s: method(s.net, s.images, 1, s.layer), ValueError, "one image, got 3"),
            "module": (
                lambda method, s: method(s.module, s.image, 1, s.layer),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "faithfulness": Row(
        lambda method, s: method(s.net, s.image, s.target, {"ramp": _ramp(s)}, steps=3, batch_size=3),
        uses=("image", "target"),
        wrong={
            "steps": (lambda method, s: method(s.net, s.image, 1, _ramp(s), steps=0), ValueError, "got 0"),
            "many": (
                lambda method, s: method(s.net, s.image, 1, _ramp(s), steps=9999),
                ValueError,
                "steps=9999",
            ),
            "size": (
                lambda method, s: method(s.net, s.image, 1, np.ones((3, 4))),
                ValueError,
                "map is 3 x 4",
            ),
            "constant": (
                lambda method, s: method(s.net, s.image, 1, 0 * _ramp(s)),
                ValueError,
                "constant at 0, which gives pixels no order",
            ),
            "NaN": (lambda method, s: method(s.net, s.image, 1, np.nan * _ramp(s)), ValueError, "NaN"),
            "name": (
                lambda method, s: method(s.net, s.image, 1, {"chance": _ramp(s)}),
                ValueError,
                r"not 'chance', which is added.*\['chance'\]",
            ),
            "text": (lambda method, s: method(s.net, s.image, 1, "ramp"), TypeError, "got str"),
            "fill": (
                lambda method, s: method(s.net, s.image, 1, _ramp(s), deletion_fill="red"),
                ValueError,
                "deletion_fill .* got 'red'",
            ),
            "module": (
                lambda method, s: method(s.module, s.image, 1, _ramp(s)),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "randomization_check": Row(
        lambda method, s: method(
            s.net, lambda net: cv.gradient_map(net, s.image, s.target), stages=2, seed=s.seed
        ),
        uses=("image", "target"),
        gradients=True,
        wrong={
            "explain": (lambda method, s: method(s.net, _ramp(s)), TypeError, "got ndarray; give lambda net"),
            "map": (
                lambda method, s: method(s.net, lambda net: 3),
                TypeError,
                "explain: a map is .* got int",
            ),
            "stages": (
                lambda method, s: method(s.net, lambda net: _ramp(s), stages=999),
                ValueError,
                "stages=999",
            ),
            "none": (
                lambda method, s: method(s.net, lambda net: _ramp(s), stages=0),
                ValueError,
                "stages .* got 0",
            ),
            "seed": (
                lambda method, s: method(s.net, lambda net: _ramp(s), seed=-1),
                ValueError,
                "seed .* got -1",
            ),
            "module": (
                lambda method, s: method(s.module, lambda net: _ramp(s)),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "kernels": Row(
        lambda method, s: method(s.net, s.layer, shuffles=99),
        uses=("layer",),
        runs=False,
        wrong={"shuffles": (lambda method, s: method(s.net, s.layer, shuffles=-3), ValueError, "-3")},
    ),
    "attack": Row(
        lambda method, s: method(
            s.net, s.image, method="pgd", epsilon=16 / 255, steps=2, restarts=2, seed=s.seed
        ),
        uses=("image",),
        gradients=True,
        wrong={
            "epsilon": (lambda method, s: method(s.net, s.image, epsilon=-0.1), ValueError, r"got -0\.1"),
            "endless": (lambda method, s: method(s.net, s.image, epsilon=np.inf), ValueError, "got inf"),
            "method": (
                lambda method, s: method(s.net, s.image, method="cw"),
                ValueError,
                "'deepfool'; got 'cw'",
            ),
            "norm": (lambda method, s: method(s.net, s.image, norm=2), ValueError, "'inf', '2'; got 2"),
            "steps": (
                lambda method, s: method(s.net, s.image, method="pgd", steps=0),
                ValueError,
                "steps .* got 0",
            ),
            "steps of fgsm": (lambda method, s: method(s.net, s.image, steps=2), ValueError, "steps=2"),
            "rate": (
                lambda method, s: method(s.net, s.image, method="pgd", rate=-1),
                ValueError,
                "rate .* got -1",
            ),
            "restarts": (lambda method, s: method(s.net, s.image, restarts=2), ValueError, "got 2"),
            "overshoot": (
                lambda method, s: method(s.net, s.image, method="deepfool", overshoot=-1),
                ValueError,
                "overshoot .* got -1",
            ),
            "candidates": (lambda method, s: method(s.net, s.image, candidates=1), ValueError, "got 1"),
            "seed": (lambda method, s: method(s.net, s.image, seed=-1), ValueError, "seed .* got -1"),
            "start": (
                lambda method, s: method(s.net, s.image, start=np.zeros((5, 4, 3), np.uint8)),
                ValueError,
                "1 of 5 x 4",
            ),
            "target": (lambda method, s: method(s.net, s.image, target="no such"), LookupError, "no such"),
            "index": (lambda method, s: method(s.net, s.image, target=99), LookupError, "class 99"),
            "present": (
                lambda method, s: method(s.net, s.image, target=int(s.net.predict(s.image, k=1).indices[0])),
                ValueError,
                "already takes the image for",
            ),
            "unit": (
                lambda method, s: method(s.net, s.image, target=cv.Target(layer=s.layer, channel=0)),
                ValueError,
                "target is a class.*channel=0",
            ),
            "target of deepfool": (
                lambda method, s: method(s.net, s.image, method="deepfool", target=1),
                ValueError,
                "no target.*got 1",
            ),
            "images": (lambda method, s: method(s.net, s.images), ValueError, "one image, got 3"),
            "module": (lambda method, s: method(s.module, s.image), TypeError, "wrap it: cv.Network"),
        },
    ),
    "attack_curve": Row(
        lambda method, s: method(s.net, s.images, [0, 16 / 255], labels=[0, 1, 1], batch_size=2, seed=s.seed),
        uses=("images",),
        gradients=True,
        wrong={
            "epsilons": (lambda method, s: method(s.net, s.images, []), ValueError, "epsilons is empty"),
            "epsilon": (lambda method, s: method(s.net, s.images, [0, -0.1]), ValueError, r"got -0\.1"),
            "number": (lambda method, s: method(s.net, s.images, 0.1), ValueError, r"got 0\.1"),
            "labels": (
                lambda method, s: method(s.net, s.images, labels=[0]),
                ValueError,
                "3 images, got 1 of them",
            ),
            "label": (
                lambda method, s: method(s.net, s.images, labels=[0, "no such", 1]),
                LookupError,
                "no such",
            ),
            "kind": (
                lambda method, s: method(s.net, s.images, labels=[0, 0.5, 1]),
                TypeError,
                r"label 1 is 0\.5",
            ),
            "target": (
                lambda method, s: method(s.net, s.images, target="no such"),
                LookupError,
                "no such",
            ),
            "targets": (
                lambda method, s: method(s.net, s.images, target=[0, 1]),
                ValueError,
                "3 images; got 2 of them",
            ),
            "index": (lambda method, s: method(s.net, s.images, target=[0, 1, 99]), LookupError, "class 99"),
            "present": (
                lambda method, s: method(
                    s.net, s.images, target=int(s.net.predict(s.images[2], k=1).indices[0])
                ),
                ValueError,
                "already takes image .* 2",
            ),
            "unit": (
                lambda method, s: method(s.net, s.images, target=cv.Target(layer=s.layer, channel=0)),
                ValueError,
                "target is a class.*channel=0",
            ),
            "part": (lambda method, s: method(s.net, s.images, target=0.5), TypeError, r"got 0\.5"),
            "deepfool": (
                lambda method, s: method(s.net, s.images, method="deepfool"),
                ValueError,
                "no epsilon",
            ),
            "method": (lambda method, s: method(s.net, s.images, method="cw"), ValueError, "got 'cw'"),
            "batch_size": (lambda method, s: method(s.net, s.images, batch_size=0), ValueError, "got 0"),
            "module": (lambda method, s: method(s.module, s.images), TypeError, "wrap it: cv.Network"),
        },
    ),
    "occlusion": Row(
        lambda method, s: method(
            s.net, s.image, s.target, window=5, stride=4, fill="noise", seed=s.seed, most_probable=True
        ),
        uses=("image", "target"),
        wrong={
            "window": (
                lambda method, s: method(s.net, s.image, s.target, window=99),
                ValueError,
                "99 x 99 pixels is larger than the image",
            ),
            "stride": (
                lambda method, s: method(s.net, s.image, s.target, stride=0),
                ValueError,
                "stride .* got 0",
            ),
            "gaps": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=5),
                ValueError,
                "never be covered",
            ),
            "fill": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=4, fill="red"),
                ValueError,
                "got 'red'",
            ),
            "combine": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=4, combine="max"),
                ValueError,
                "got 'max'",
            ),
            "budget": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=4, budget=0),
                ValueError,
                "seconds.* got 0",
            ),
            "feature_map": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=4, feature_map=3),
                ValueError,
                "got 3",
            ),
            "exact": (
                lambda method, s: method(
                    s.net, s.image, s.target, window=4, stride=4, exact=False, most_probable=True
                ),
                ValueError,
                "exact=False is for the target's scores alone",
            ),
            "memory_limit": (
                lambda method, s: method(s.net, s.image, s.target, window=4, stride=4, memory_limit=0),
                ValueError,
                "memory_limit .* got 0",
            ),
            "images": (
                lambda method, s: method(s.net, s.images, s.target),
                ValueError,
                "one image, got 3",
            ),
            "module": (
                lambda method, s: method(s.module, s.image, s.target),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "synthesize_texture": Row(
        lambda method, s: method(s.net, s.image, layers=[s.layer], steps=3, seed=s.seed),
        uses=("image", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "layers": (
                lambda method, s: method(s.net, s.image, layers=[]),
                LookupError,
                "layers is empty; name at least one",
            ),
            "size": (
                lambda method, s: method(s.net, s.image, layers=s.layer, size=(8, 0)),
                ValueError,
                r"size .* got \(8, 0\)",
            ),
            "negative": (
                lambda method, s: method(s.net, s.image, layers=s.layer, layer_weights=[-1]),
                ValueError,
                "from 0, got -1",
            ),
            "weights": (
                lambda method, s: method(s.net, s.image, layers=s.layer, layer_weights=[1, 2]),
                ValueError,
                "each of the 1 layers, got 2",
            ),
            "scales": (
                lambda method, s: method(s.net, s.image, layers=s.layer, scales=4, steps=3),
                ValueError,
                "steps=3 are too few for scales=4",
            ),
            "pooling": (
                lambda method, s: method(s.net, s.image, layers=s.layer, pooling="mean"),
                ValueError,
                "'average', got 'mean'",
            ),
            "optimizer": (
                lambda method, s: method(s.net, s.image, layers=s.layer, optimizer="sgd"),
                ValueError,
                "got 'sgd'",
            ),
            "steps": (
                lambda method, s: method(s.net, s.image, layers=s.layer, steps=0),
                ValueError,
                "steps .* got 0",
            ),
            "images": (lambda method, s: method(s.net, s.images), ValueError, "one image, got 3"),
            "module": (lambda method, s: method(s.module, s.image), TypeError, "wrap it: cv.Network"),
        },
    ),
    "transfer_style": Row(
        lambda method, s: method(
            s.net, s.image, s.images[1:], content_layers=s.layer, style_layers=[s.layer], steps=3, seed=s.seed
        ),
        uses=("image", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "style_layers": (
                lambda method, s: method(s.net, s.image, s.image, style_layers=[]),
                LookupError,
                "style_layers is empty",
            ),
            "content_layers": (
                lambda method, s: method(s.net, s.image, s.image, style_layers=s.layer, content_layers="no"),
                LookupError,
                "'no' not found",
            ),
            "style": (
                lambda method, s: method(s.net, s.image, [], style_layers=s.layer),
                ValueError,
                "list of images is empty",
            ),
            "blend": (
                lambda method, s: method(s.net, s.image, s.images, style_layers=s.layer, blend=[1, 2]),
                ValueError,
                "each of the 3 styles, got 2",
            ),
            "negative": (
                lambda method, s: method(s.net, s.image, s.image, style_layers=s.layer, style_weight=-1),
                ValueError,
                "style_weight .* got -1",
            ),
            "nothing": (
                lambda method, s: method(s.net, s.image, s.image, content_weight=0, style_weight=0),
                ValueError,
                "both 0",
            ),
            "start": (
                lambda method, s: method(s.net, s.image, s.image, style_layers=s.layer, start="middle"),
                ValueError,
                "got 'middle'",
            ),
            "images": (lambda method, s: method(s.net, s.images, s.image), ValueError, "one image, got 3"),
            "module": (
                lambda method, s: method(s.module, s.image, s.image),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "invert": Row(
        lambda method, s: method(s.net, s.image, s.layer, steps=3, seed=s.seed),
        uses=("image", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "steps": (
                lambda method, s: method(s.net, s.image, s.layer, steps=0),
                ValueError,
                "steps .* got 0",
            ),
            "negative": (
                lambda method, s: method(s.net, s.image, s.layer, total_variation=-1),
                ValueError,
                "total_variation .* got -1",
            ),
            "alpha": (
                lambda method, s: method(s.net, s.image, s.layer, alpha=0),
                ValueError,
                "alpha .* above 0, got 0",
            ),
            "parameterization": (
                lambda method, s: method(s.net, s.image, s.layer, parameterization="phase"),
                ValueError,
                "got 'phase'",
            ),
            "optimizer": (
                lambda method, s: method(s.net, s.image, s.layer, optimizer="sign"),
                ValueError,
                "got 'sign'",
            ),
            "momentum": (
                lambda method, s: method(
                    s.net, s.image, s.layer, optimizer="momentum", parameterization="fourier"
                ),
                ValueError,
                "for a spectrum take 'adam'",
            ),
            "size": (
                lambda method, s: method(s.net, s.image, s.layer, size=(8, 0)),
                ValueError,
                r"size .* got \(8, 0\)",
            ),
            "several": (
                lambda method, s: method(s.net, s.images, s.layer),
                ValueError,
                "takes one image, got 3",
            ),
            "start": (
                lambda method, s: method(s.net, s.image, s.layer, start=s.images),
                ValueError,
                "3 pictures to start from for 1",
            ),
        },
    ),
    "invert_layers": Row(
        lambda method, s: method(s.net, s.image, [s.layer], steps=3, seed=s.seed),
        uses=("image", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "empty": (
                lambda method, s: method(s.net, s.image, []),
                LookupError,
                "layers is empty; name at least one",
            ),
            "unknown": (
                lambda method, s: method(s.net, s.image, [s.layer, "nowhere"]),
                LookupError,
                "'nowhere' not found",
            ),
            "twice": (
                lambda method, s: method(s.net, s.image, [s.layer, s.layer]),
                ValueError,
                "a layer twice",
            ),
            "negative": (
                lambda method, s: method(s.net, s.image, [s.layer], alpha_norm=-0.5),
                ValueError,
                "alpha_norm .* got -0.5",
            ),
        },
    ),
    "maximize": Row(
        lambda method, s: method(
            s.net,
            [s.target, cv.Target(layer=s.layer, channel=0)],
            steps=2,
            size=s.net.input.size,
            seed=s.seed,
        ),
        uses=("target",),
        gradients=True,
        wrong={
            "steps": (lambda method, s: method(s.net, s.target, steps=0), ValueError, "steps .* got 0"),
            "parameterization": (
                lambda method, s: method(s.net, s.target, steps=1, parameterization="wavelet"),
                ValueError,
                "got 'wavelet'",
            ),
            "rate": (lambda method, s: method(s.net, s.target, steps=1, rate=0), ValueError, "got 0"),
            "layer": (
                lambda method, s: method(s.net, cv.Target(layer="nowhere", channel=0), steps=1),
                LookupError,
                "'nowhere' not found",
            ),
            "channel": (
                lambda method, s: method(s.net, cv.Target(layer=s.layer, channel=999), steps=1),
                ValueError,
                "got 999",
            ),
            "start": (
                lambda method, s: method(s.net, s.target, steps=1, start=s.images),
                ValueError,
                "3 pictures to start from for 1",
            ),
            "module": (
                lambda method, s: method(s.module, s.target, steps=1),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "deepdream": Row(
        lambda method, s: method(s.net, s.image, s.layer, steps=2, octaves=1, seed=s.seed),
        uses=("image", "layer"),
        per_call=True,
        gradients=True,
        wrong={
            "none": (lambda method, s: method(s.net, s.image, []), LookupError, "needs a layer"),
            "steps": (lambda method, s: method(s.net, s.image, s.layer, steps=0), ValueError, "got 0"),
            "octaves": (lambda method, s: method(s.net, s.image, s.layer, octaves=0), ValueError, "got 0"),
            "octave_scale": (
                lambda method, s: method(s.net, s.image, s.layer, octave_scale=0.5),
                ValueError,
                "above 1, got 0.5",
            ),
            "rate": (lambda method, s: method(s.net, s.image, s.layer, rate=-1), ValueError, "got -1"),
            "jitter": (lambda method, s: method(s.net, s.image, s.layer, jitter=-1), ValueError, "got -1"),
            "zoom": (
                lambda method, s: method(s.net, s.image, s.layer, octaves=1, frames=2, zoom=0.5),
                ValueError,
                "at least 1; got 0.5",
            ),
            "weight": (
                lambda method, s: method(s.net, s.image, {s.layer: 0.0}),
                ValueError,
                "other than 0, got 0.0",
            ),
            "images": (lambda method, s: method(s.net, s.images, s.layer), ValueError, "one image, got 3"),
            "module": (
                lambda method, s: method(s.module, s.image, s.layer),
                TypeError,
                "wrap it: cv.Network",
            ),
        },
    ),
    "TrainingRecorder": Row(
        _recorded,
        uses=("images", "layer"),
        per_call=True,
        ends_at_layer=True,
        wrong={
            "module": (lambda method, s: method(s.module), TypeError, "cv.Network"),
            "optimizer": (lambda method, s: method(s.net, s.module), TypeError, r"torch\.optim"),
            "every": (lambda method, s: method(s.net, every=0), ValueError, "got 0"),
            "no images": (lambda method, s: method(s.net, layers=[s.layer]), ValueError, "images="),
            "kernels": (
                lambda method, s: method(s.net, kernels_layer="none"),
                LookupError,
                "'none' not found",
            ),
            "budget": (lambda method, s: method(s.net, byte_budget=9), ValueError, "no room for 3 records"),
        },
    ),
    "Network.__call__": Row(
        lambda method, s: method(_prepared(s)),
        tensors=True,
        wrong={
            "image": (lambda method, s: method(s.image), TypeError, "got ndarray; use net"),
            "shape": (lambda method, s: method(torch.zeros(2, 3)), ValueError, r"got shape \(2, 3\)"),
            "channels": (lambda method, s: method(torch.zeros(1, 9, 8, 8)), ValueError, "got 9"),
            "integers": (lambda method, s: method(_prepared(s).int()), TypeError, "got torch.int32"),
        },
    ),
    "Network.scores": Row(
        lambda method, s: method(_prepared(s)),
        tensors=True,
        wrong={"image": (lambda method, s: method(s.image), TypeError, "got ndarray")},
    ),
    "Network.class_scores": Row(
        lambda method, s: method(_prepared(s)),
        tensors=True,
        wrong={"image": (lambda method, s: method(s.image), TypeError, "got ndarray")},
    ),
    "Network.predict": Row(
        lambda method, s: method(s.image, k=2),
        uses=("image",),
        wrong={
            "k": (lambda method, s: method(s.image, k=0), ValueError, "got 0"),
            "images": (lambda method, s: method(s.images), ValueError, "one image, got 3"),
        },
    ),
    "Network.prepare": Row(lambda method, s: method(s.images), uses=("images",), runs=False, tensors=True),
    "Network.restore": Row(
        lambda method, s: method(_prepared(s)),
        runs=False,
        wrong={
            "channels": (
                lambda method, s: method(torch.zeros(1, 9, 8, 8)),
                ValueError,
                r"got shape \(1, 9, 8, 8\)",
            ),
            "NaN": (lambda method, s: method(_prepared(s) * torch.nan), ValueError, "NaN"),
        },
    ),
    "Network.layer": Row(lambda method, s: method(s.layer), uses=("layer",), remembers=True),
    "Network.layers": Row(lambda method, s: method, remembers=True),
    "Network.without_resizing": Row(lambda method, s: method().input, runs=False),
    "Network.knows": Row(lambda method, s: method(_prepared(s)), runs=False),
    "Network.label": Row(
        lambda method, s: method(s.target),
        runs=False,
        wrong={"index": (lambda method, s: _labelled().label(5), LookupError, "class 5 .* 0 to 1")},
    ),
}

# Public callables that look into no network that was given to them.
ELSEWHERE = {
    "load_history": "reads a file: tests/methods/test_history_files.py",
    "history_from_checkpoints": "runs what build() returns: tests/methods/test_checkpoints.py",
    "Network.from_torchvision": "makes a network: tests/engine/test_zoo.py",
}

BAD: dict[str, list[tuple[Any, type[Exception], str]]] = {
    "image": [
        (None, TypeError, "NoneType"),
        ([], ValueError, "empty"),
        (np.zeros(5), ValueError, "array 5"),
        (np.full((12, 12, 3), np.nan, dtype=np.float32), ValueError, "NaN"),
        (Path("no_such_picture.png"), ValueError, "no_such_picture.png"),
    ],
    "images": [
        (7, TypeError, "int"),
        ([], ValueError, "empty"),
        (
            [np.zeros((12, 12, 3), np.uint8), "no_such_picture.png"],
            ValueError,
            "image 1 of 2.*no_such_picture",
        ),
    ],
    "layer": [
        ("no_such_layer", LookupError, "no_such_layer"),
        ("convv", LookupError, "convv"),
        (3.5, TypeError, r"3\.5"),
        (None, TypeError, "None"),
    ],
    "target": [
        ("no such class", LookupError, "no such class"),
        (99, LookupError, "99"),
        (-1, LookupError, "-1"),
        (2.5, TypeError, "float"),
        (cv.Target(layer="no_such_layer", channel=0), LookupError, "no_such_layer"),
    ],
}
