"""Execute a notebook as a person does, from top to bottom, in a kernel of this environment without a network.

with executed(path, folder) as run:                  # raises what a cell raises
    run.cells["sparsity"]                            # a cell by its id, outputs included
    run.value("zeros['features.1']")                 # any expression, in the kernel after the last cell
"""

from __future__ import annotations

import ast
import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
WIDGET = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
CELL_TIMEOUT = 90

# Runs before the first cell. What a notebook asks of another host is refused, and noted: a refusal may be caught.
OFFLINE = """
import socket as _socket

network_requests = []

def _refuse(name):
    original = getattr(_socket.socket, name)
    def connect(self, address):
        inside = self.family not in (_socket.AF_INET, _socket.AF_INET6) or address[0] in ("127.0.0.1", "::1")
        if not inside:
            network_requests.append(repr(address))
            raise OSError(f"a notebook asked the network for {address!r}")
        return original(self, address)
    setattr(_socket.socket, name, connect)

_refuse("connect")
_refuse("connect_ex")

def _refuse_lookup(host, *rest, _original=_socket.getaddrinfo, **options):
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        network_requests.append(repr(host))
        raise OSError(f"a notebook asked the network for {host!r}")
    return _original(host, *rest, **options)

_socket.getaddrinfo = _refuse_lookup
"""


def notebook_paths() -> list[Path]:
    """Return every notebook of the repository, the assignments included."""
    return sorted(path for path in NOTEBOOKS.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)


class Run:
    """An executed notebook and its kernel, still alive."""

    def __init__(self, client: NotebookClient) -> None:
        self.client = client
        self.notebook: NotebookNode = client.nb
        self.cells: dict[str, NotebookNode] = {cell.id: cell for cell in self.notebook.cells}

    def value(self, expression: str) -> Any:
        """Evaluate an expression in the kernel; its value must be one that JSON can hold."""
        probe = nbformat.v4.new_code_cell(f"__import__('json').dumps({expression})")
        self.notebook.cells.append(probe)  # a cell is executed at its place
        try:
            self.client.execute_cell(probe, len(self.notebook.cells) - 1, store_history=False)
        finally:
            self.notebook.cells.pop()
        (output,) = probe.outputs
        return json.loads(ast.literal_eval(output.data["text/plain"]))

    def text(self, cell_id: str) -> str:
        """Return what a cell printed."""
        return "".join(
            output.text for output in self.cells[cell_id].outputs if output.output_type == "stream"
        )

    def widgets(self) -> list[tuple[str, NotebookNode]]:
        """Return the (cell id, output) of every output that shows a widget."""
        return [
            (cell.id, output)
            for cell in self.notebook.cells
            for output in cell.get("outputs", [])
            if WIDGET in output.get("data", {})
        ]

    def widget_state(self, output: NotebookNode) -> dict[str, Any]:
        """Return the saved models that the widget of an output consists of, by their ids."""
        models = self.notebook.metadata.widgets[WIDGET_STATE]["state"]
        found: dict[str, Any] = {}
        waiting = [output.data[WIDGET]["model_id"]]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = models[name]
                waiting += _references(models[name]["state"])
        return found


def _references(value: Any) -> list[str]:
    """Return the ids of the models that a model's state names."""
    if isinstance(value, str):
        return [value.removeprefix("IPY_MODEL_")] if value.startswith("IPY_MODEL_") else []
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [name for child in children for name in _references(child)]


@contextmanager
def executed(path: Path, folder: Path, jupyter_path: Path | None = None) -> Iterator[Run]:
    """Execute the notebook in an empty working directory, without settings, caches or network."""
    notebook = nbformat.read(path, as_version=4)
    # Without a folder of kernels "python3" is this interpreter's own, whatever the machine has installed.
    kernels = KernelSpecManager(kernel_dirs=[] if jupyter_path is None else [str(jupyter_path / "kernels")])
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    work, startup = folder / "work", folder / "ipython" / "profile_default" / "startup"
    for each in (work, startup):
        each.mkdir(parents=True)
    (startup / "offline.py").write_text(OFFLINE, "utf-8")
    environment = {
        **os.environ,
        "IPYTHONDIR": str(folder / "ipython"),
        # Other tests run meanwhile: threads that wait for each other's core take several times as long.
        "OMP_NUM_THREADS": "1",
        # A progress bar is written where warnings are; whether one shows up is a matter of time.
        "TQDM_DISABLE": "1",
        "TORCH_HOME": str(folder / "torch"),
        "HF_HOME": str(folder / "huggingface"),
    }
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=CELL_TIMEOUT,
        startup_timeout=CELL_TIMEOUT,
        resources={"metadata": {"path": str(work)}},
    )
    with client.setup_kernel(cleanup_kc=True, env=environment):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        client.set_widgets_metadata()
        yield Run(client)


def png(output: NotebookNode) -> bytes:
    """Return the PNG of an output."""
    return base64.b64decode(output.data["image/png"])
