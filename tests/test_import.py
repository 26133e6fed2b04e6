"""Importing the package costs next to nothing; each name loads what it needs when it is first used."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import cnnviz_widgets

HEAVY = [
    "torch",
    "torchvision",
    "ipywidgets",
    "anywidget",
    "ipycanvas",
    "bqplot",
    "IPython",
    "numpy",
    "PIL",
    "sklearn",
    "openTSNE",
]


def loaded_after(code: str) -> list[str]:
    """Which of the heavy modules a fresh process has loaded after running the code."""
    script = f"{code}\nimport json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_import_loads_nothing_heavy():
    assert loaded_after("import cnnviz_widgets; dir(cnnviz_widgets); cnnviz_widgets.__version__") == []


def test_the_errors_load_nothing_heavy():
    assert loaded_after("import cnnviz_widgets; cnnviz_widgets.errors.InputError") == []


def test_the_engine_and_the_methods_load_no_notebook_library():
    loaded = loaded_after("import cnnviz_widgets as cv; cv.import_methods(); cv.samples.fashion_cnn()")
    assert "torch" in loaded
    assert not {"ipywidgets", "anywidget", "ipycanvas", "bqplot", "IPython"} & set(loaded)


def test_a_network_of_ones_own_runs_without_torchvision():
    run = "x = __import__('numpy').zeros((9, 12, 3), 'uint8'); net = cv.samples.fashion_cnn(); net.predict(x)"
    widget = "cv.LayerBrowser(net, x)"
    loaded = loaded_after(f"import cnnviz_widgets as cv; {run}; {widget}")
    assert {"torch", "ipywidgets"} <= set(loaded)
    assert "torchvision" not in loaded


@pytest.mark.parametrize("name", cnnviz_widgets.__all__)
def test_every_public_name_is_there(name):
    assert getattr(cnnviz_widgets, name) is not None
    assert name in dir(cnnviz_widgets)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        cnnviz_widgets.absent  # noqa: B018
