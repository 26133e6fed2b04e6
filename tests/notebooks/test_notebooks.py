"""What holds for every notebook: it runs offline without an error, and is stored clean."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from PIL import Image

from tests.notebooks._execute import NOTEBOOKS, Run, executed, notebook_paths, png

WIDGET_BYTES = 4_000_000  # the saved state of one widget

every_notebook = pytest.mark.parametrize(
    "path", notebook_paths(), ids=lambda path: path.relative_to(NOTEBOOKS).with_suffix("").as_posix()
)
# The first test that asks for a notebook waits for all of it.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
RunOf = Callable[[Path], Run]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS / "01_layer_activations.ipynb" in notebook_paths()


@every_notebook
def test_it_runs_from_top_to_bottom_and_asks_no_network(path: Path, run_of: RunOf) -> None:
    run = run_of(path)
    assert run.value("network_requests") == []
    warnings = [
        output.text
        for cell in run.notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert warnings == []


@every_notebook
def test_each_widget_also_carries_a_picture_and_a_text(path: Path, run_of: RunOf) -> None:
    run = run_of(path)
    for cell, output in run.widgets():
        with Image.open(io.BytesIO(png(output))) as picture:
            colors = picture.convert("RGB").getcolors(maxcolors=1 << 24)
        assert len(colors or ()) > 1, f"cell {cell}: the picture is blank"
        text = output.data["text/plain"]
        # ipywidgets' own text is a constructor call with everything in it.
        assert "children=" not in text, f"cell {cell}: {text[:80]!r} says nothing to a person"
        assert len(text) > 20, f"cell {cell}: {text!r}"


@every_notebook
def test_the_saved_state_of_each_widget_is_small(path: Path, run_of: RunOf) -> None:
    run = run_of(path)
    for cell, output in run.widgets():
        models = run.widget_state(output)
        assert len(models) > 1
        size = len(json.dumps(models).encode())
        assert size < WIDGET_BYTES, f"cell {cell}: {size:,} bytes"


@every_notebook
def test_it_is_stored_without_outputs_and_with_clean_metadata(path: Path) -> None:
    stored: dict[str, Any] = json.loads(path.read_text("utf-8"))
    nbformat.validate(stored)
    assert stored["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in stored["cells"]:
        assert cell["metadata"] in ({}, {"tags": cell["metadata"].get("tags")}), cell["id"]
        assert "attachments" not in cell, cell["id"]
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], cell["id"]
            assert cell["execution_count"] is None, cell["id"]


@every_notebook
def test_it_begins_with_a_title_and_uses_public_names_only(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].source.startswith("# ")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    for line in code.splitlines():
        assert "cnnviz_widgets." not in line, f"not by way of cv: {line}"
        assert "._" not in line, f"a private name: {line}"


def _notebook(folder: Path, *sources: str) -> Path:
    path = folder / "made.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in sources]), path
    )
    return path


def test_a_cell_that_raises_fails(tmp_path: Path) -> None:
    path = _notebook(tmp_path, "a = 1", "a / 0", "a = 2")
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"), executed(path, tmp_path / "run"):
        pass


def test_the_network_is_out_of_reach_and_a_try_is_noted(tmp_path: Path) -> None:
    # 192.0.2.1 is nobody's address: RFC 5737.
    quiet = """
import socket, urllib.request
errors = []
for ask in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: urllib.request.urlopen("http://cnnviz.invalid/weights", timeout=1),
):
    try:
        ask()
    except OSError as error:
        errors.append(str(error))
"""
    with executed(_notebook(tmp_path, quiet), tmp_path / "run") as run:
        first, second = run.value("errors")
        assert run.value("network_requests") == ["'192.0.2.1'", "'cnnviz.invalid'"]
    assert "asked the network" in first
    assert "asked the network" in second
