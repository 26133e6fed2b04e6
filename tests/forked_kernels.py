"""Kernels forked from one process that has loaded torch and the like, which take seconds of every kernel's start.

with forking_kernels(folder) as data:       # data/kernels/python3 is a kernel like ipykernel's own
    ...

The process that Jupyter starts (`stand_in`) asks the one that has loaded them (`serve`) for a fork, passes on
signals, and ends with the kernel, as the kernel ends with it. What a person's kernel does itself a forked one
does, too: no library that shows widgets, and nothing of this package, has been loaded before.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PRELOADED = (
    *("IPython", "ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.comm.manager"),
    *("torch", "torchvision.models", "numpy", "pandas", "PIL.Image"),
    *("scipy.ndimage", "scipy.optimize", "scipy.spatial", "scipy.stats"),
    *("sklearn.decomposition", "sklearn.manifold", "sklearn.neighbors", "openTSNE"),
)
NOT_FOR_MANY = ("cnnviz_widgets", "ipywidgets", "ipycanvas", "anywidget", "bqplot")
MESSAGE_BYTES = 1 << 17  # environment, folder and command of a kernel


@contextlib.contextmanager
def forking_kernels(folder: Path) -> Iterator[Path]:
    """Start the process that forks kernels, and yield a folder for ``JUPYTER_PATH`` whose kernels it forks."""
    from ipykernel.kernelspec import get_kernel_dict

    name = f"cnnviz-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(f"\0{name}")  # a name without a file, whose path could be too long
        listener.listen(8)
        # Threads do not survive a fork.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, "serve", str(listener.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            env=environment,
            start_new_session=True,
        )
    argv = [sys.executable, "-I", "-S", __file__, "stand_in", name, "-f", "{connection_file}"]
    kernel = folder / "kernels" / "python3" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    kernel.write_text(json.dumps({**get_kernel_dict(), "argv": argv}), "utf-8")
    try:
        yield folder
    finally:
        try:
            process.communicate(timeout=10)  # closes its input, and with that it ends
        finally:
            process.kill()


def serve(listener: socket.socket) -> None:
    """Fork a kernel for each that asks, with what many kernels need loaded, until the input is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the ends of kernels
    while True:
        readable, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in readable:
            os._exit(0)
        if "torch" not in sys.modules:
            load()  # not before the first kernel: many runs of a few tests ask for none
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            become_kernel(line)
            return
        line.close()


def load() -> None:
    """Load what many kernels need, once for all of them."""
    for name in PRELOADED:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"]:
        del sys.modules[name]  # it reads its settings as it is loaded
    loaded = [name for name in NOT_FOR_MANY if name in sys.modules]
    if loaded:
        raise RuntimeError(f"a kernel has to load {', '.join(loaded)} itself, with its own connections")
    gc.collect()
    gc.freeze()  # no kernel has to look through all this for garbage, and copy its pages


def become_kernel(line: socket.socket) -> None:
    """Do what ``python -m ipykernel_launcher`` does, in the place of the process at the other end of the line."""
    message, outputs, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 3)
    request: dict[str, Any] = json.loads(message)
    os.setsid()
    for number, output in enumerate(outputs):
        os.dup2(output, number)
        os.close(output)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["ipykernel_launcher", *request["arguments"], f"--IPKernelApp.parent_handle={os.getppid()}"]
    line.send(str(os.getpid()).encode())
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()
    # The rest of Python's end takes up to two seconds: it visits all that was loaded.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with(line: socket.socket) -> None:
    line.recv(1)  # nothing is sent: it returns when the other end is closed
    os._exit(1)


def stand_in(name: str, arguments: list[str]) -> None:
    """Have a kernel forked with this process's environment, folder and outputs, and live as long as it does."""
    request = {"environment": dict(os.environ), "folder": os.getcwd(), "arguments": arguments}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(f"\0{name}")
        socket.send_fds(line, [json.dumps(request).encode()], [0, 1, 2])
        kernel = int(line.recv(32))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda sent, _: os.kill(kernel, sent))
        line.recv(1)  # until it has ended


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        with socket.socket(fileno=int(sys.argv[2])) as received:
            serve(received)
    else:
        stand_in(sys.argv[2], sys.argv[3:])
