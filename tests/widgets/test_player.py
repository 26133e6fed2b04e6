"""What all players do: runs that begin, pause, branch and end on one thread, whatever is asked meanwhile."""

from __future__ import annotations

import io
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import cnnviz_widgets as cv
from cnnviz_widgets.engine.errors import InputError, TargetError
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.stream import Step, StopEarly, remark, streamed
from cnnviz_widgets.widgets import _base
from cnnviz_widgets.widgets._player import Player
from cnnviz_widgets.widgets._player_controls import Control, number_field, whole_field

SOON = 60.0


@dataclass(frozen=True, eq=False)
class Count(Result):
    """What `count` has come to."""

    images: np.ndarray
    steps: int
    rate: float
    ended: str


class Gate:
    """Lets steps go one by one where it is closed, and counts those that were asked for."""

    def __init__(self) -> None:
        self.permits: threading.Semaphore | None = None
        self.asked = threading.Semaphore(0)
        self.count, self.closed, self.fails_at = 0, 0, 10**9

    def close(self) -> None:
        self.permits = threading.Semaphore(0)

    def let(self, steps: int) -> None:
        """Let so many steps go, and wait until the last of them was asked for."""
        assert self.permits is not None
        self.permits.release(steps)
        for _ in range(steps):
            self.await_one()

    def await_one(self) -> None:
        """Wait until one more step is under way."""
        assert self.asked.acquire(timeout=SOON)

    def begin(self, player: Player, steps: int) -> None:
        """Start a player and let so many steps go."""
        self.close()
        player.start()
        self.let(steps)

    def pause(self, player: Player) -> None:
        """Pause a player, and let the step go that is under way."""
        player.pause()
        self.open(player, steps=1)

    def open(self, player: Player, steps: int = 50) -> None:
        """Let all steps go, or so many, and wait until none is taken any more."""
        assert self.permits is not None
        self.permits.release(steps)
        assert player.wait(SOON)

    def pass_one(self) -> None:
        self.count += 1
        self.asked.release()
        if self.permits is not None and not self.permits.acquire(timeout=SOON):
            raise RuntimeError("the test never let the step go")


GATE = Gate()


@pytest.fixture(autouse=True)
def gate() -> Iterator[Gate]:
    GATE.__init__()
    yield GATE
    GATE.permits = None


@streamed
def count(
    net: Any, *, steps: int = 6, rate: float = 10.0, start: Any = None, label: str = ""
) -> Generator[Step, None, Count]:
    """Grow brighter by a rate with each step."""
    if rate <= 0:
        raise ValueError(f"rate must be above 0, got {rate}")
    level, done, ended = 0.0 if start is None else float(start[0, 0, 0]), 0, ""
    if rate == 99:
        remark("nothing to do")
        return Count(np.full((1, 4, 4, 3), level, np.uint8), 0, rate, "nothing to do")
    try:
        for index in range(steps):
            GATE.pass_one()
            if GATE.count >= GATE.fails_at:
                raise RuntimeError("<b>the method broke</b>")
            level, done = level + rate, index + 1
            image = np.full((4, 4, 3), level, np.uint8)
            image[0, 0, 1:] = 200, index
            yield Step(index, steps, image, {"level": level, "map": np.zeros(3)})
    except StopEarly:
        ended = "told to stop"
        remark("it was told to stop")
    finally:
        GATE.closed += 1
    return Count(np.full((1, 4, 4, 3), level, np.uint8), done, rate, ended)


class CountPlayer(Player):
    """A player of `count`."""

    _method = count
    _call = "cv.count"
    _curve = "level"

    def __init__(self, net: cv.Network, **options: Any) -> None:
        self._take_network(net)
        super().__init__(options)

    def _make_controls(self) -> list[Control]:
        return [whole_field("steps", "Steps", ""), number_field("rate", "Rate", "")]


@pytest.fixture(scope="module")
def net() -> cv.Network:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    return cv.Network(module, input=cv.InputSpec(size=4))


@pytest.fixture
def player(net: cv.Network) -> Iterator[CountPlayer]:
    made = CountPlayer(net)
    GATE.__init__()
    yield made
    GATE.permits = None
    made.close()


def act(player: Player, name: str, **details: Any) -> None:
    """Press a button, as the page tells of it."""
    player.view._hear(player.view, {"page": "test", "act": name, **details}, [])


def run_to_end(player: Player) -> None:
    """Start a player, and wait for the end."""
    player.start()
    assert player.wait(SOON)


def levels(player: Player, run: int) -> dict[int, int]:
    """Return the brightness of each kept frame."""
    return {frame.step: int(frame.image[1, 1, 0]) for frame in player.view.frames(run)}


def test_a_run_is_the_call_and_its_frames_and_curve_are_its_steps(
    net: cv.Network, player: CountPlayer
) -> None:
    assert player.state == "ready"
    assert player.result is None
    assert player.chart not in player.parts._measured.children  # there is nothing to draw yet
    # In its place, in a notebook without a kernel: what a first step gives.
    assert np.asarray(Image.open(io.BytesIO(player.to_png())))[1, 1, 0] == 10
    run_to_end(player)
    assert (player.state, player.busy) == ("done", False)
    assert player.result == count(net, **player.params)
    assert player.params == {"steps": 6, "rate": 10.0, "start": None, "label": ""}
    assert levels(player, 1) == {step: 10 * step for step in range(1, 7)}
    assert player.view.frame(1, 3).values == {"level": 30.0}
    np.testing.assert_array_equal(player.chart._steps, np.arange(1, 7))
    np.testing.assert_array_equal(player.chart._lines["level"], np.arange(10, 70, 10))
    assert player.chart in player.parts._measured.children
    assert player.to_text().startswith("CountPlayer: \nFramePlayer: run 1 of 1, done, step 6 of 6\nCount(")
    assert player.to_png()[:4] == b"\x89PNG"


def test_curves_wait_for_a_page_that_shows_them(player: CountPlayer, gate: Gate) -> None:
    def near(is_near: bool) -> None:
        player.view._hear(player.view, {"page": "test", "visible": is_near, "near": is_near}, [])

    sent: list[Any] = []
    gate.close()
    player.start()
    gate.let(1)
    for model in (*player.chart.models, player.parts.said):
        model.observe(lambda change: sent.append(change["name"]))
    gate.let(2)
    assert gate.asked.acquire(timeout=SOON)  # for the fourth step: three were shown by now
    assert sent == []
    near(True)
    np.testing.assert_array_equal(player.chart._lines["level"], [10, 20, 30])
    near(False)
    sent.clear()
    near(True)  # what came meanwhile is on show already
    assert sent == []
    near(False)
    gate.permits.release(10)
    assert player.wait(SOON)
    np.testing.assert_array_equal(player.chart._lines["level"], np.arange(10, 70, 10))


def test_stop_ends_within_one_step_and_keeps_the_result_so_far(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 2)
    gate.await_one()  # the third step is under way
    player.stop()
    gate.open(player)
    assert gate.count == 3
    assert player.state == "stopped"
    assert (player.result.steps, int(player.result.images[0, 0, 0, 0])) == (3, 30)
    assert max(levels(player, 1)) == 3
    assert gate.closed == 1
    assert (
        "it was told to stop" in player.parts.said.value
    )  # and no warning was printed: they are errors here


def test_a_pause_is_one_and_resume_goes_on_with_the_same_run(player: CountPlayer, gate: Gate) -> None:
    gate.close()
    act(player, "start")
    gate.let(1)
    act(player, "pause")
    gate.open(player)
    assert player.state == "paused"
    done = gate.count
    assert done <= 3
    assert levels(player, 1)[done] == 10 * done  # the last frame is kept, and drawn
    assert player.chart._lines["level"][-1] == 10 * done
    assert player.result is None
    act(player, "resume")
    assert player.wait(SOON)
    assert (player.state, gate.count, list(player.results)) == ("done", 6, [1])


def test_settings_changed_while_paused_begin_a_run_from_the_picture(
    net: cv.Network, player: CountPlayer, gate: Gate
) -> None:
    gate.begin(player, 1)
    player.set(rate=20.0)  # while it runs: nothing happens
    assert "After a pause, Resume begins a new run" in player.parts.pending.value
    gate.pause(player)
    done = max(levels(player, 1))
    assert levels(player, 1)[done] == 10 * done
    assert "Resume begins a new run from this picture: rate 20" in player.parts.pending.value
    player.resume()
    gate.open(player)
    assert player.parts.pending.value == ""
    assert (player.view.runs, player.view.run, player.state) == ([1, 2], 2, "done")
    assert (player.results[1].steps, player.results[1].rate) == (done, 10.0)
    assert (player.results[2].steps, player.results[2].rate) == (6 - done, 20.0)
    assert player.params["steps"] == 6 - done
    assert player.result == count(net, **player.params)
    assert levels(player, 2)[6] == 10 * done + 20 * (6 - done)
    # The run before is told by its own settings.
    player.view.run = 1
    assert player.params["rate"] == 10.0
    assert player.result is player.results[1]


def test_a_branch_begins_at_an_earlier_frame_and_compares_with_it(
    net: cv.Network, player: CountPlayer
) -> None:
    run_to_end(player)
    act(player, "branch", run=1, step=2)
    assert player.wait(SOON)
    assert levels(player, 2) == {step: 10 * step for step in range(2, 7)}
    player.branch(step=4, run=1, rate=3.0)
    assert player.wait(SOON)
    assert player.result == count(net, **player.params)
    assert levels(player, 3) == {4: 40, 5: 43, 6: 46}
    assert (player.params["start"][1, 1, 0], player.params["steps"], player.options["steps"]) == (40, 2, 6)
    player.compare(1)
    lines = player.chart._lines
    np.testing.assert_array_equal(lines["level, run 1"], np.arange(10, 70, 10))
    np.testing.assert_array_equal(lines["level, run 3"], [np.nan] * 4 + [43, 46])
    # The same term in the same color, of the run beside in dashes.
    assert (list(lines), player.chart._looks) == (["level, run 3", "level, run 1"], [0, 6])
    # From the end: as many steps as are chosen.
    player.branch(step=-1, run=3)
    assert player.wait(SOON)
    assert levels(player, 4)[12] == 46 + 6 * 3
    player.compare(None)
    act(player, "remove", run=3)
    assert list(player.results) == [1, 2, 4]


def test_a_branch_from_an_earlier_run_has_its_options(player: CountPlayer) -> None:
    run_to_end(player)
    player.set(rate=5.0)
    run_to_end(player)
    assert player.parts.pending.value == ""
    player.view.run = 1
    assert "Branch from here takes what run 1 was made with: rate 10." in player.parts.pending.value
    assert player.options["rate"] == 5.0  # to look at a run changes nothing
    with pytest.raises(ValueError, match="steps can't be 0"):
        player.branch(step=3, steps=0)
    assert player.options["rate"] == 5.0
    act(player, "branch", run=1, step=3)
    assert player.wait(SOON)
    assert levels(player, 3) == {3: 30, 4: 40, 5: 50, 6: 60}
    assert (player.options["rate"], player.parts.pending.value) == (10.0, "")
    # What was changed since a run was begun holds for any.
    player.set(steps=8)
    player.branch(step=4, run=2)
    assert player.wait(SOON)
    assert levels(player, 4) == {4: 20, 5: 25, 6: 30, 7: 35, 8: 40}
    assert player.result == count(player.net, *player.inputs, **player.params)


def test_a_stopped_run_is_the_first_steps_of_its_call(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 2)
    player.stop()
    gate.open(player)
    gate.permits = None
    steps = count.steps(player.net, *player.inputs, **player.params)
    for _ in range(player.result.steps):
        next(steps)
    with pytest.warns(UserWarning, match="it was told to stop"):
        assert count.finish(steps) == player.result


def test_a_branch_while_it_runs_ends_the_run_with_its_result(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 3)
    player.branch(step=1)
    gate.open(player)
    assert player.results[1].steps in (3, 4)
    assert player.results[1].ended == "told to stop"
    assert levels(player, 2)[6] == 60


def test_a_pause_right_after_resume_is_one(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 1)
    gate.pause(player)
    with player.lock:
        # Nothing is shown in between, however quick the thread is.
        player.resume()
        player.pause()
    gate.open(player, 1)
    assert player.state == "paused"
    player.resume()
    gate.open(player)
    assert (player.state, player.result.steps) == ("done", 6)


@pytest.mark.parametrize("wish", ["start", "branch", "stop"])
def test_a_pause_comes_after_what_was_wished_before(player: CountPlayer, gate: Gate, wish: str) -> None:
    gate.begin(player, 3)
    gate.await_one()  # the fourth step is under way
    if wish == "start":
        player.set(rate=5.0)
        player.start()
    else:
        {"branch": lambda: player.branch(step=1, rate=5.0), "stop": player.stop}[wish]()
    player.pause()
    gate.open(player, 2)
    assert player.results[1].steps == 4
    if wish == "stop":
        assert (player.state, player.view.runs) == ("stopped", [1])
        return
    assert (player.state, player.view.run) == ("paused", 2)
    player.resume()
    gate.open(player)
    # It is the one that was wished, and not a branch of what was before.
    assert levels(player, 2)[6] == {"start": 30, "branch": 35}[wish]
    assert (player.state, player.view.runs) == ("done", [1, 2])


def test_resume_before_the_pause_came_lets_what_was_wished_begin(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 2)
    player.set(rate=5.0)
    with player.lock:
        player.start()
        player.pause()
        player.resume()
    gate.open(player)
    assert (player.state, player.view.runs, levels(player, 2)[6]) == ("done", [1, 2], 30)


class Fragile(CountPlayer):
    """One whose numbers can't be drawn where a test says so."""

    breaks: Any = staticmethod(lambda run: False)

    def _show_numbers(self, run: Any) -> None:
        if self.breaks(run):
            raise RuntimeError("can't be drawn")


@pytest.mark.parametrize("moment", ["begin", "step", "end", "pause"])
def test_numbers_that_cannot_be_drawn_cost_no_run(net: cv.Network, gate: Gate, moment: str) -> None:
    player = Fragile(net)
    gate.__init__()
    player.breaks = {
        "begin": lambda run: not run,
        "step": lambda run: run is not None and run.taken,
        "end": lambda run: run is not None and run.state == "done",
        "pause": lambda run: player.state == "paused",
    }[moment]
    if moment == "pause":
        gate.begin(player, 1)
        player.pause()
        gate.open(player)
        player.resume()
    else:
        player.start()
    assert player.wait(SOON)
    assert (player.state, player.result.steps) == ("done", 6)
    player.breaks = Fragile.breaks
    run_to_end(player)
    assert (player.state, player.view.run) == ("done", 2)
    player.close()


def test_a_view_that_fails_ends_the_work_and_not_the_player(player: CountPlayer) -> None:
    begin = player.view.begin

    def broken(**options: Any) -> int:
        raise RuntimeError("no view")

    player.view.begin = broken
    run_to_end(player)
    assert player.state == "failed"
    assert "no view" in player.status.value
    player.view.begin = begin
    run_to_end(player)
    assert player.state == "done"


def test_settings_that_are_refused_cost_nothing(player: CountPlayer, gate: Gate) -> None:
    gate.begin(player, 2)
    gate.pause(player)
    player.set(rate=-1.0)
    for name in ("resume", "start"):
        act(player, name)
        assert player.wait(SOON)
        assert "rate must be above 0, got -1.0" in player.status.value
        assert (player.state, player.view.runs) == ("paused", [1])
    player.set(rate=10.0)
    player.resume()
    gate.open(player)
    assert (player.state, player.results[1].steps, gate.count) == ("done", 6, 6)
    assert "rate must" not in player.status.value
    # Without a run, too; and the next good one takes the error away.
    player.set(rate=-1.0)
    run_to_end(player)
    assert (player.state, player.view.runs) == ("failed", [1])
    assert "rate must" in player.status.value
    assert isinstance(player.error, ValueError)
    assert player.to_text().endswith("\nfailed: ValueError: rate must be above 0, got -1.0")
    player.set(rate=5.0)
    run_to_end(player)
    assert (player.state, player.view.run, player.error) == ("done", 2, None)
    assert "rate must" not in player.status.value


def test_a_failure_is_shown_and_keeps_the_last_good_frames(player: CountPlayer, gate: Gate) -> None:
    gate.fails_at = 4
    run_to_end(player)
    assert player.state == "failed"
    assert "&lt;b&gt;the method broke" in player.status.value
    assert levels(player, 1) == {1: 10, 2: 20, 3: 30}
    assert player.result is None
    gate.fails_at = 10**9
    player.branch()
    assert player.wait(SOON)
    assert player.state == "done"
    assert levels(player, 2) == {3: 30, 4: 40, 5: 50, 6: 60}
    assert "the method broke" not in player.status.value


def test_a_method_that_has_nothing_to_do_shows_its_result(player: CountPlayer) -> None:
    player.set(rate=99.0)
    run_to_end(player)
    assert (player.state, player.result.steps) == ("done", 0)
    assert levels(player, 1) == {0: 0}
    assert "nothing to do" in player.parts.said.value


def test_two_players_run_at_once(net: cv.Network, gate: Gate) -> None:
    first, second = CountPlayer(net), CountPlayer(net, rate=7.0)
    gate.__init__()
    gate.close()
    first.start()
    second.start()
    gate.await_one()
    gate.await_one()  # both are in their first step
    gate.permits.release(50)
    for player, rate in ((first, 10.0), (second, 7.0)):
        assert player.wait(SOON)
        assert player.result == count(net, rate=rate)
        player.close()


@pytest.mark.parametrize("is_paused", [False, True])
def test_running_the_cell_again_ends_the_run(
    net: cv.Network, gate: Gate, monkeypatch: pytest.MonkeyPatch, is_paused: bool
) -> None:
    run = {"metadata": {"cellId": "cell-1"}, "header": {"msg_id": "run-1"}}
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(get_parent=lambda: run))
    monkeypatch.setattr(_base, "_by_cell", {})
    player = CountPlayer(net)
    gate.__init__()
    gate.begin(player, 2)
    gate.await_one()  # the third step is under way
    if is_paused:
        gate.pause(player)
    job = player._job
    run = {"metadata": {"cellId": "cell-1"}, "header": {"msg_id": "run-2"}}
    # Also where what is made now fails.
    with pytest.raises(ValueError, match="rate must"):
        CountPlayer(net, rate=-1)
    gate.permits.release(9)
    assert job.wait(SOON)
    assert (player.state, player.wait(SOON)) == ("stopped", True)
    assert (gate.count, gate.closed) == (3, 1)
    assert max(levels(player, 1)) >= 2


def test_a_player_that_is_closed_at_once_comes_to_rest(player: CountPlayer, gate: Gate) -> None:
    gate.close()
    player.start()
    player.stop_job()
    gate.open(player)
    assert player.state in ("ready", "stopped")
    player.start()
    gate.open(player)
    assert player.state == "done"


def test_exports_read_back_are_the_exact_frames(player: CountPlayer, tmp_path: Any) -> None:
    run_to_end(player)
    player.view.step = 3
    frames = [frame.image for frame in player.view.frames(1)]
    shown = np.asarray(Image.open(player.export(tmp_path / "a.png")))
    np.testing.assert_array_equal(shown, frames[2])
    for kind in ("webp", "gif"):  # a GIF is exact, too, up to 256 colors
        with Image.open(player.export(tmp_path / f"a.{kind}")) as film:
            read = [np.asarray(each.convert("RGB")) for each in ImageSequence.Iterator(film)]
            assert film.info["loop"] == 0
        # Small ones are as large as on the page: each pixel a square.
        np.testing.assert_array_equal(read, [frame.repeat(112, 0).repeat(112, 1) for frame in frames])
    path = player.export(tmp_path / "a.NPZ")
    Result.kinds["Count"] = Count
    assert cv.load_result(path) == player.result
    with pytest.raises(ValueError, match="one of 'png', 'gif', 'webp', 'npz'; got 'mp4'"):
        player.export(tmp_path / "a.mp4")


def test_the_picture_of_a_run_under_way_is_its_last_step_s(
    player: CountPlayer, gate: Gate, tmp_path: Any
) -> None:
    player.set(steps=20_000, rate=0.5)
    gate.begin(player, 40)
    gate.await_one()  # the 41st: what the 40th gave is shown
    assert player.view.frame(1, -1).step == 1
    assert np.asarray(Image.open(player.export(tmp_path / "a.png")))[1, 1, 0] == 20


def test_the_page_downloads_what_it_asks_for(
    player: CountPlayer, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.begin(player, 3)
    offered: list[Any] = []
    came, failed = threading.Event(), threading.Event()
    monkeypatch.setattr(
        player.view, "offer", lambda *given, page: (offered.append((*given, page)), came.set())
    )
    act(player, "export", format="png", run=1, step=2)
    assert came.wait(SOON)
    name, data, mime, page = offered[0]
    assert (name, mime, page) == ("count-run-1.png", "image/png", "test")  # the page that asked
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), player.view.frame(1, 2).image)
    player.status.observe(lambda change: failed.set(), "value")
    act(player, "export", format="npz", run=1)
    assert failed.wait(SOON)
    assert "run 1 has no result yet; wait for its end, or stop it" in player.status.value
    act(player, "export", format="exe", run=1)
    assert "got &#x27;exe&#x27;" in player.status.value


def test_wrong_uses_are_refused(net: cv.Network, player: CountPlayer, gate: Gate) -> None:
    with pytest.raises(TypeError, match=r"options of cv.count: steps, rate, start, label; got 'stops'"):
        CountPlayer(net, stops=3)
    with pytest.raises(ValueError, match="rate must be above 0, got -2"):
        CountPlayer(net, rate=-2)
    with pytest.raises(TypeError, match="got 'net'"):
        player.set(net=net)
    with pytest.raises(ValueError, match="rate can't be 'fast'"):
        player.set(rate="fast")
    assert player.options["rate"] == 10.0
    for wrong_steps in (0, 2.5, True, None):
        with pytest.raises(ValueError, match=r"steps can't be .*: it is a whole number from 1"):
            player.set(steps=wrong_steps)
    with pytest.raises(TypeError, match=r"steps, rate, start, label; got 'stepz'; did you mean 'steps'\?"):
        player.set(stepz=3)
    with pytest.raises(
        AttributeError, match=r"rate is an option of cv.count: choose it with player.set\(rate"
    ):
        player.rate = 2.0
    assert player.options["steps"] == 6
    two = cv.Network(torch.nn.Conv2d(2, 2, 3), input=cv.InputSpec(size=4, channels=2))
    with pytest.raises(InputError, match="2 channels"):
        CountPlayer(two)
    for wrong in (lambda: player.branch(), lambda: player.compare(3), lambda: player.remove(1)):
        with pytest.raises(TargetError, match="there are: none yet"):
            wrong()
    act(player, "remove", run=7)
    assert "there is no run 7" in player.status.value
    gate.begin(player, 1)
    gate.pause(player)
    with pytest.raises(ValueError, match="step must be a whole number from -1, got 'x'"):
        player.branch(step="x")
    with pytest.raises(ValueError, match="run 1 is under way"):
        player.remove(1)


def test_fields_change_their_option_and_return_where_it_is_wrong(player: CountPlayer) -> None:
    rate, steps = (player.controls[name].widget for name in ("rate", "steps"))
    assert (rate.value, steps.value) == ("10", 6)
    rate.value = "2.5"
    steps.value = 3
    assert (player.options["rate"], player.options["steps"]) == (2.5, 3)
    for wrong in ("fast", ""):
        rate.value = wrong
        assert "Rate" in player.status.value
        assert (rate.value, player.options["rate"]) == ("2.5", 2.5)
    player.set(rate=4, steps=2_000_000)
    assert (rate.value, steps.value) == ("4", 2_000_000)
    shown: list[int] = []
    player._show_options = lambda: shown.append(1)
    rate.value = "3"
    assert (player.options["rate"], shown) == (3.0, [1])
