"""Threads that torch keeps ready: counted in a process of its own, by what the system says."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from cnnviz_widgets.engine import idle_threads

pytestmark = pytest.mark.skipif(
    idle_threads._pause() is None or os.cpu_count() == 1, reason="not GNU's OpenMP, or nothing to share"
)

THREADS = 2  # torch takes no more where there are no more processors
START = f"""
import os
import threading
import torch
from cnnviz_widgets.engine.idle_threads import release_threads
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.widgets._job import Job

def count():
    return len(os.listdir("/proc/self/task"))

def compute():
    torch.rand(1000, 1000).exp()

alone = count()
compute()
assert count() == alone + {THREADS - 1}
"""


def _run(code: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_they_are_let_go_of_and_come_back() -> None:
    _run(f"""
        release_threads()
        assert count() == alone
        release_threads()  # there is nothing left
        whole = torch.arange(1_000_000).sum()
        compute()
        assert count() == alone + {THREADS - 1}
        assert whole == 499_999_500_000
        assert torch.get_num_threads() == {THREADS}
    """)


def test_other_threads_keep_theirs() -> None:
    _run(f"""
        computed, ended = threading.Event(), threading.Event()

        def work():
            compute()
            computed.set()
            ended.wait()

        other = threading.Thread(target=work)
        other.start()
        computed.wait()
        assert count() == alone + {THREADS - 1} + {THREADS}
        release_threads()
        assert count() == alone + {THREADS}
        ended.set()
        other.join()
        while count() != alone:  # they end by themselves, as their owner did
            pass
    """)


def test_a_job_computes_as_the_only_one() -> None:
    _run(f"""
        counts = []

        def steps():
            for number in range(3):
                compute()
                counts.append(count())
                yield Step(number, None)

        paused, first = threading.Event(), threading.Event()

        def on_step(step):
            if step.index == 0:
                first.set()
                job.pause()

        job = Job(steps(), on_step=on_step, on_pause=lambda: (compute(), paused.set()))
        job.start()
        paused.wait()
        while count() != alone + 1:  # the worker alone: it has let go of its own
            pass
        compute()
        assert count() == alone + {THREADS}
        job.resume()
        assert job.wait(60)
        assert job.error is None
        assert counts == [alone + {THREADS}] * 3
    """)
