"""What it costs a run that it is watched."""

from __future__ import annotations

import json
import queue
import statistics
import time
from itertools import pairwise
from typing import Any

from jupyter_client.manager import start_new_kernel

from benchmarks._page import run_unattended
from benchmarks._timing import Row, pairs
from cnnviz_widgets import Target, maximize, samples
from cnnviz_widgets.widgets._job import Job
from tests.browser._jupyter import NotebookPage

LAYER, CHANNEL, STEPS = "features.5", 3, 4500
FRAMES_A_SECOND = 10
SECONDS, LEAST_STEPS = 4.0, 20  # of a part
CHANGE = 1.0  # seconds at its beginning that are left out: a page that comes back is sent what it lacks
# The page is in turn seen and hidden, a part of the run each: so a machine that slows down slows both.
CELL = f"""
import json, time
import cnnviz_widgets as cv
player = cv.MaximizationPlayer(
    cv.samples.squeezenet(), cv.Target(layer="{LAYER}", channel={CHANNEL}), steps={STEPS}
)
steps, sent = [], []
show, send = player.view.show, player.view.send

def noted(step, values, picture):
    show(step, values, picture)
    steps.append((time.perf_counter(), player.view._link.gate.is_watched))

def counted(content, *more):
    if "live" in content:
        sent.append((time.perf_counter(), len(content["live"])))
    send(content, *more)

player.view.show, player.view.send = noted, counted
"""


def _row(page: str, steps: list[tuple[float, bool]], sent: list[tuple[float, int]], note: str) -> Row:
    """Compare each part of a run with the next, of which one was watched and the other was not."""
    parts: list[list[tuple[float, bool]]] = [[]]
    for when, watched in steps:
        if parts[-1] and parts[-1][-1][1] != watched:
            parts.append([])
        parts[-1].append((when, watched))
    # The first of all begins with the watched pass of a run.
    settled = [[step for step in part if step[0] >= part[0][0] + CHANGE] for part in parts[1:]]
    whole = [part for part in settled if len(part) >= LEAST_STEPS]
    means = [(part[0][1], (part[-1][0] - part[0][0]) / (len(part) - 1)) for part in whole]
    ratios = [
        other / one if watched else one / other
        for (watched, one), (other_is, other) in pairwise(means)
        if other_is != watched
    ]
    rates = [rate for part in whole if part[0][1] for rate in _frames_a_second(part, sent)]
    return Row(
        f"a step of maximization of SqueezeNet's {LAYER}, 224 pixels, streaming to {page}",
        "the same while the page is hidden",
        statistics.median(mean for watched, mean in means if watched),
        statistics.median(mean for watched, mean in means if not watched),
        statistics.median(ratios),
        target=0.95,
        note=f"{STEPS} steps, {SECONDS} s of each in turn, {statistics.median(rates):.1f} frames a second of the "
        f"{FRAMES_A_SECOND} asked for; {note}",
    )


def _frames_a_second(part: list[tuple[float, bool]], sent: list[tuple[float, int]]) -> list[float]:
    """Return how fast frames came in a part, if any did: what was made at its end went to nobody."""
    within = [(when, count) for when, count in sent if part[0][0] <= when <= part[-1][0]]
    if len(within) < 2:
        return []
    return [sum(count for _, count in within[1:]) / (within[-1][0] - within[0][0])]


# Run in the page: it hides itself and comes back, in turn.
ALTERNATE = """milliseconds => {
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden, configurable: true });
    setInterval(() => {
        hidden = !hidden;
        document.dispatchEvent(new Event("visibilitychange"));
    }, milliseconds);
}"""
WRITTEN = """
import pathlib

def written(change):
    if change["new"] == "done":
        pathlib.Path("part.json").write_text(json.dumps([steps, sent]))
        pathlib.Path("part.json").rename("result.json")

player.view.observe(written, "state")
player
"""
START = "panel.sessionContext.session.kernel.requestExecute({code: 'player.start()'})"
LONGEST = 600.0  # seconds


def _begin(page: NotebookPage) -> None:
    page.output(0).locator(".cvz-player canvas").first.scroll_into_view_if_needed()
    page.settle()
    page.page.evaluate(ALTERNATE, 1000 * SECONDS)
    page.in_page(START)


def streaming() -> Row:
    """What the kernel and a browser on the same cores take from a run that is watched."""
    steps, sent = json.loads(run_unattended(CELL + WRITTEN, _begin, "result.json", LONGEST))
    return _row(
        "a page",
        [tuple(step) for step in steps],
        [tuple(each) for each in sent],
        "the browser on the same two cores",
    )


ASKING = 0.96  # seconds: as the page asks at most where nothing else happens


class _LonePage:
    """What a page says to a player, without a browser: the machine's cores are the kernel's."""

    def __init__(self) -> None:
        self._manager, self._client = start_new_kernel(kernel_name="python3")
        self._comm = self._run(f"{CELL}\nprint(player.view.comm.comm_id)").strip()
        self._asked = 0.0

    def watch(self) -> tuple[list[tuple[float, bool]], list[tuple[float, int]]]:
        """Have the run go on to its end; return when each step was done, whether watched, and what was sent when."""
        self._say(visible=True, near=True, have={})
        request, seen, turn = self._client.execute("player.start()"), True, time.monotonic() + SECONDS
        while True:
            if time.monotonic() >= turn:
                seen, turn = not seen, turn + SECONDS
                self._say(visible=seen, near=seen, **({"have": {}} if seen else {}))
            try:
                message = self._client.get_iopub_msg(timeout=max(0.0, turn - time.monotonic()))
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] == "error" and message["parent_header"]["msg_id"] == request:
                raise RuntimeError("\n".join(content["traceback"]))
            if message["msg_type"] != "comm_msg" or content["comm_id"] != self._comm:
                continue
            told = content["data"].get("content", {})
            if told.get("kind") == "live":
                time.sleep(max(0.0, self._asked + ASKING - time.monotonic()))
                self._asked = time.monotonic()
                if seen:
                    self._say(visible=True, near=True, painted=told["serial"])
            elif content["data"].get("state", {}).get("state") == "done":
                steps, sent = json.loads(self._run("print(json.dumps([steps, sent]))"))
                return [tuple(step) for step in steps], [tuple(each) for each in sent]

    def close(self) -> None:
        self._manager.shutdown_kernel(now=True)

    def _say(self, **content: Any) -> None:
        data = {"method": "custom", "content": {"page": "page", **content}}
        self._client.shell_channel.send(
            self._client.session.msg("comm_msg", {"comm_id": self._comm, "data": data})
        )

    def _run(self, code: str) -> str:
        """Run code and return what it prints."""
        printed: list[str] = []
        self._client.execute_interactive(
            code, timeout=120, output_hook=lambda told: printed.append(told["content"].get("text", ""))
        )
        return "".join(printed)


def kernel_streaming() -> Row:
    """What the kernel pays by itself."""
    page = _LonePage()
    try:
        steps, sent = page.watch()
    finally:
        page.close()
    return _row("a page on another machine", steps, sent, "no browser")


def thread() -> Row:
    """What it costs steps that they are done on a thread of their own, as players do, and not by a cell."""
    net, first, last = samples.squeezenet(), 10, 59
    target = Target(layer=LAYER, channel=CHANNEL)

    def by_cell() -> float:
        times = []
        for _ in maximize.steps(net, target, steps=last + 1):
            times.append(time.perf_counter())
        return times[last] - times[first]

    def by_thread() -> float:
        times: list[float] = []
        steps = maximize.steps(net, target, steps=last + 1)
        job = Job(steps, on_step=lambda step: times.append(time.perf_counter()))
        job.start()
        job.wait()
        if job.error is not None:
            raise job.error
        return times[last] - times[first]

    ours, theirs, ratio = pairs(by_thread, by_cell, rounds=8)
    return Row(
        f"{last - first} steps of maximization of SqueezeNet's {LAYER}, 224 pixels, on a job's thread",
        "the same in a cell",
        ours,
        theirs,
        ratio,
        target=0.95,
    )


ROWS = {
    "player-streaming": streaming,
    "player-streaming-kernel": kernel_streaming,
    "player-thread": thread,
}
