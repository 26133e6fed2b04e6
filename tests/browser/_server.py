"""A real Jupyter server of its own, and the kernels it runs, seen from the test's side."""

from __future__ import annotations

import ast
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import websocket

# As `jupyter lab`, without the checks of addresses that take more than two seconds to load.
START = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyterlab.labapp import main; main()"
START_TIMEOUT = 60.0  # seconds; the first start of JupyterLab on a cold disk is slow

BASE_SETTINGS: dict[str, dict[str, Any]] = {
    # Neither may ask the network, nor put a dialog over the page.
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
}
NO_BUILD_CHECK = {"page_config_data": {"buildCheck": False, "buildAvailable": False}}


class KernelError(AssertionError):
    """Code run in the kernel raised; the message is the kernel's traceback."""


class JupyterServer:
    """One server process that serves JupyterLab at /lab and Notebook 7 at /notebooks.

    It reads no settings and no data of the person who runs the tests: config, data, runtime and IPython
    folders all lie in `folder`. Notebooks lie in ``server.root``. `jupyter_path` is a folder with kernels to use
    in the place of the environment's own. Use it as a context.
    """

    def __init__(self, folder: Path, jupyter_path: Path | None = None) -> None:
        self.folder = folder
        self.jupyter_path = jupyter_path
        self.root = folder / "notebooks"
        self.token = secrets.token_hex(16)
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = folder / "config" / "lab" / "user-settings"
        self._log = folder / "server.log"

    def __enter__(self) -> Self:
        for name in ("notebooks", "config", "data", "runtime", "ipython"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.reset_settings()
        command = [
            *(sys.executable, "-c", START, "--no-browser", "--allow-root", "--expose-app-in-browser"),
            "--JupyterNotebookApp.expose_app_in_browser=True",
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={_free_port()}", "--ServerApp.port_retries=50"),
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.root}",
            "--LabApp.extension_manager=readonly",
            # Otherwise each page that opens has the server look with node whether Lab should be built anew.
            f"--ServerApp.tornado_settings={NO_BUILD_CHECK}",
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.root, env=self._environment(), stdout=log, stderr=subprocess.STDOUT
            )
        self._wait_until_it_answers()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            for kernel in self.request("GET", "/api/kernels"):
                self.request("DELETE", f"/api/kernels/{kernel['id']}")
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
        return {
            **environment,
            "IPYTHONDIR": str(self.folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_NO_CONFIG": "",
            "JUPYTER_PATH": "" if self.jupyter_path is None else str(self.jupyter_path),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self._settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "config" / "lab" / "workspaces"),
        }

    def _wait_until_it_answers(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"The Jupyter server did not start:\n{self.log()}")
            try:
                # Another process may have taken the port meanwhile: the server writes down the one it got.
                runtime = self.folder / "runtime" / f"jpserver-{self._process.pid}.json"
                self.url = f"http://127.0.0.1:{json.loads(runtime.read_text('utf-8'))['port']}"
                self.request("GET", "/api/status")
            except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError):
                time.sleep(0.1)  # a process that is still starting sends no event to wait for
            else:
                return
        raise RuntimeError(f"The Jupyter server did not answer within {START_TIMEOUT:g} s:\n{self.log()}")

    def log(self) -> str:
        """Return what the server has printed."""
        return self._log.read_text("utf-8", errors="replace")

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Call the server's REST interface and return the JSON it answers with, or None."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def set_settings(self, plugin: str, values: dict[str, Any]) -> None:
        """Set a person's settings of one Lab plugin; pages opened afterwards read them."""
        package, _, name = plugin.partition(":")
        path = self._settings / package / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), "utf-8")

    def reset_settings(self) -> None:
        """Forget all settings but those that keep the pages quiet."""
        shutil.rmtree(self._settings, ignore_errors=True)
        for plugin, values in BASE_SETTINGS.items():
            self.set_settings(plugin, values)

    def kernel_of(self, notebook: str) -> Kernel:
        """Return the kernel that the notebook at this path is connected to."""
        for session in self.request("GET", "/api/sessions"):
            if session["path"] == notebook and session["kernel"]:
                return Kernel(self, session["kernel"]["id"])
        raise LookupError(f"no kernel runs for {notebook!r}")

    def shut_down_kernel(self, notebook: str) -> None:
        """End the notebook's kernel and its session, as 'Shut Down Kernel' does."""
        for session in self.request("GET", "/api/sessions"):
            if session["path"] == notebook:
                self.request("DELETE", f"/api/sessions/{session['id']}")


class Kernel:
    """A running kernel: run code in it beside the page, as a second client does."""

    def __init__(self, server: JupyterServer, kernel_id: str) -> None:
        self.id = kernel_id
        self._session = uuid.uuid4().hex
        address = server.url.replace("http://", "ws://", 1)
        self._socket = websocket.create_connection(
            f"{address}/api/kernels/{kernel_id}/channels?session_id={self._session}",
            header={"Authorization": f"token {server.token}"},
            timeout=30,
        )

    def close(self) -> None:
        """Close the connection; the kernel goes on."""
        self._socket.close()

    def start(self, code: str) -> str:
        """Send code and return at once, with the id to give to `finish`. To make the kernel busy, for one."""
        return self._send(code, {})

    def finish(self, message_id: str, timeout: float = 60.0) -> str:
        """Wait until the code that `start` sent is done; return what it printed, or raise its error."""
        return self._receive(message_id, timeout)[0]

    def run(self, code: str, timeout: float = 60.0) -> str:
        """Run code and return what it printed. An error in it is raised as `KernelError`."""
        return self.finish(self.start(code), timeout)

    def value(self, expression: str, timeout: float = 60.0) -> Any:
        """Evaluate an expression whose value JSON can hold (`.tolist()` an array) and return that value."""
        message_id = self._send("", {"value": f"__import__('json').dumps({expression})"})
        answer = self._receive(message_id, timeout)[1]["value"]
        if answer["status"] != "ok":
            raise KernelError(f"{expression}\n" + "\n".join(answer["traceback"]))
        return json.loads(ast.literal_eval(answer["data"]["text/plain"]))

    def wait_for(self, expression: str, timeout: float = 20.0) -> Any:
        """Ask until the expression is true, and return its value; the last one goes in the error."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.value(expression)
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"after {timeout:g} s, `{expression}` is still {value!r} in the kernel")
            time.sleep(0.03)  # what a worker thread in the kernel does sends this client no event

    def _send(self, code: str, expressions: dict[str, str]) -> str:
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id,
            "msg_type": "execute_request",
            "session": self._session,
            "username": "test",
            "version": "5.3",
            "date": datetime.now(UTC).isoformat(),
        }
        content = {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": expressions,
            "allow_stdin": False,
            "stop_on_error": False,
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self._socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        return message_id

    def _receive(self, message_id: str, timeout: float) -> tuple[str, dict[str, Any]]:
        deadline = time.monotonic() + timeout
        printed: list[str] = []
        reply: dict[str, Any] | None = None
        idle = False
        while reply is None or not idle:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                frame = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                raise AssertionError(f"the kernel did not finish within {timeout:g} s") from None
            if isinstance(frame, bytes):
                continue  # a message with buffers: for the page, not for us
            message = json.loads(frame)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream":
                printed.append(content["text"])
            elif kind == "execute_reply":
                reply = content
            elif kind == "status":
                idle = content["execution_state"] == "idle"
        if reply["status"] != "ok":
            raise KernelError("\n".join(reply.get("traceback") or [reply["status"]]))
        return "".join(printed), reply["user_expressions"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
