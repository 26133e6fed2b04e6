"""A forked kernel is used, interrupted and ended as any other."""

from __future__ import annotations

import os
import select
import sys

import pytest
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

ASK = """
import os, sys
shown = ["torch" in sys.modules, "ipywidgets" in sys.modules, "cnnviz_widgets" in sys.modules]
print(*shown, os.environ.get("ASKED"), os.path.samefile(os.getcwd(), {folder!r}), os.getpid())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")
def test_it_has_the_environment_takes_signals_and_ends_with_its_process(jupyter_path, tmp_path):
    kernels = KernelSpecManager(kernel_dirs=[str(jupyter_path / "kernels")])
    manager = KernelManager(kernel_name="python3", kernel_spec_manager=kernels)
    manager.start_kernel(cwd=str(tmp_path), env={**os.environ, "ASKED": "for"})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(90)  # the first kernel of a run waits for all that is loaded for the next ones
        printed = _output(client, ASK.format(folder=str(tmp_path)))
        *told, pid = printed["text"].split()
        assert told == ["True", "False", "False", "for", "True"]

        asked = client.execute("import time\nprint('asleep', flush=True)\ntime.sleep(60)")
        assert _wait_for(client, asked, "stream")["text"] == "asleep\n"
        manager.interrupt_kernel()
        assert _wait_for(client, asked, "error")["ename"] == "KeyboardInterrupt"

        kernel = os.pidfd_open(int(pid))
        manager.shutdown_kernel(now=True)  # kills the process that Jupyter has started, and that alone
        ended, _, _ = select.select([kernel], [], [], 10)
        os.close(kernel)
        assert ended
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _output(client, code):
    return _wait_for(client, client.execute(code), "stream")


def _wait_for(client, message_id, kind):
    while True:
        message = client.get_iopub_msg(timeout=20)
        if message["parent_header"].get("msg_id") == message_id and message["msg_type"] == kind:
            return message["content"]
