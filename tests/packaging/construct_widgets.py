"""Run in the environment that holds the wheel: construct every widget and every view, and print which.

Each public one needs a line here, which says how it is made; `test_distributions.py` compares.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys

import ipywidgets
import numpy as np

import cnnviz_widgets as cv
import cnnviz_widgets.views
from cnnviz_widgets.views.embedding_map import EmbeddingMap

MAPS = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
PICTURE = np.zeros((8, 8, 3), np.uint8)


def fashion():
    """The smaller of the sample networks, and an image for it."""
    return cv.samples.fashion_cnn(), cv.samples.fashion_mnist("test")[0][0]


def feature_table():
    """The features of some images, with their labels."""
    images, labels = cv.samples.fashion_mnist("test")
    return cv.extract_features(fashion()[0], (images[:4], labels[:4]), "fc1")


def patches():
    """The patches that excite a layer most, of some images."""
    return cv.top_patches(fashion()[0], cv.samples.fashion_mnist("test")[0][:9], "conv1", k=2)


WIDGETS = {
    "LayerBrowser": lambda: cv.LayerBrowser(*fashion()),
    "PatchExplorer": lambda: cv.PatchExplorer(patches()),
    "DeconvExplorer": lambda: cv.DeconvExplorer(fashion()[0], patches()),
    "OcclusionExplorer": lambda: cv.OcclusionExplorer(*fashion(), window=14),
    "FilterGrid": lambda: cv.FilterGrid(fashion()[0]),
    "EmbeddingExplorer": lambda: cv.EmbeddingExplorer(feature_table()),
    "InversionPlayer": lambda: cv.InversionPlayer(*fashion(), "conv2", steps=2),
    "MaximizationPlayer": lambda: cv.MaximizationPlayer(fashion()[0], "Sandal", steps=2),
    "AttackPlayer": lambda: cv.AttackPlayer(*fashion()),
    "DeepDreamPlayer": lambda: cv.DeepDreamPlayer(*fashion(), steps=1, octaves=1),
    "NeighborExplorer": lambda: cv.NeighborExplorer(feature_table(), k=2),
    "SaliencyExplorer": lambda: cv.SaliencyExplorer(*fashion(), measure_steps=2),
    "StylePlayer": lambda: cv.StylePlayer(*fashion(), PICTURE + 9, steps=2),
    "TexturePlayer": lambda: cv.TexturePlayer(*fashion(), steps=2),
    "TrainingTimeline": lambda: cv.TrainingTimeline(cv.TrainingRecorder(fashion()[0])),
}
VIEWS = {
    "FramePlayer": lambda view: view(),
    "ImageStage": lambda view: view(PICTURE),
    "EmbeddingMap": lambda view: view([[0.0, 1.0], [2.0, 3.0]], thumbnails=np.zeros((2, 4, 4), np.uint8)),
    "LayerTree": lambda view: view(fashion()[0].layers),
    "LinkedMap": lambda view: view(VIEWS["EmbeddingMap"](EmbeddingMap), [[3.0, 1.0], [0.0, 0.0]]),
    "LineChart": lambda view: view("loss"),
    "ProbabilityBars": lambda view: view(),
    "TileGrid": lambda view: view(MAPS),
    "Timeline": lambda view: view(),
    "UnitBars": lambda view: view([1.0, 2.0]),
}


def is_widget(value):
    return isinstance(value, type) and issubclass(value, ipywidgets.DOMWidget)


def public_widgets():
    """The widget classes among the package's public names."""
    return {name for name in cv.__all__ if is_widget(getattr(cv, name))}


def public_views():
    """The widget classes that the modules of views define."""
    found = {}
    for info in pkgutil.iter_modules(cnnviz_widgets.views.__path__):
        module = importlib.import_module(f"cnnviz_widgets.views.{info.name}")
        for name, value in vars(module).items():
            if is_widget(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                found[name] = value
    return found


def main():
    views = public_views()
    bundles = {
        name: len(made._esm) for name, make in VIEWS.items() if hasattr(made := make(views[name]), "_esm")
    }
    for make in WIDGETS.values():
        make().close()
    answer = {
        "file": cv.__file__,
        "widgets": sorted(public_widgets()),
        "constructed widgets": sorted(WIDGETS),
        "views": sorted(views),
        "constructed views": sorted(VIEWS),
        "bundle sizes": bundles,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
