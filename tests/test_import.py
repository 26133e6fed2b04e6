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
    "torch._dynamo",
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


# What one process does in turn, and how it ends: while a job of a widget runs.
STEPS = """
import cnnviz_widgets as cv; dir(cv); cv.__version__
cv.errors.InputError
cv.import_methods(); net = cv.samples.fashion_cnn()
x = __import__('numpy').zeros((9, 12, 3), 'uint8'); net.predict(x); cv.LayerBrowser(net, x)
browser = cv.LayerBrowser(cv.samples.squeezenet(), cv.samples.photo('chelsea')); browser.layer = 'features.12'
""".strip().splitlines()


def test_each_step_loads_what_it_needs_and_a_running_job_does_not_abort_the_end():
    report = f"import json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    script = "\n".join(line for step in STEPS for line in (step, report))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    imported, errors, methods, widget, torchvision_s = map(json.loads, done.stdout.splitlines())
    assert imported == []
    assert errors == []
    assert "torch" in methods
    assert not {"ipywidgets", "anywidget", "ipycanvas", "bqplot", "IPython"} & set(methods)
    # A network of one's own runs and is looked at without torchvision, and without torch's compiler.
    assert {"torch", "ipywidgets"} <= set(widget)
    assert not {"torchvision", "torch._dynamo"} & set(widget)
    assert "torchvision" in torchvision_s


@pytest.mark.parametrize("name", cnnviz_widgets.__all__)
def test_every_public_name_is_there(name):
    assert getattr(cnnviz_widgets, name) is not None
    assert name in dir(cnnviz_widgets)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        cnnviz_widgets.absent  # noqa: B018
