"""The frame player's Python half: what is kept, what is sent when, and what a saved notebook holds."""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cnnviz_widgets.views import frame_player
from cnnviz_widgets.views._frames import FRAME_LIMIT, SHOWN_SIDE
from cnnviz_widgets.views._kept_frames import KeptFrames
from cnnviz_widgets.views.frame_player import FramePlayer


def picture(step: int, side: int = 6) -> NDArray[np.uint8]:
    """A picture that no other step has."""
    return np.full((side, side, 3), (step % 256, step // 256, 90), np.uint8)


def noise(seed: int, side: int) -> NDArray[np.uint8]:
    """A picture that no encoding makes small."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


class Clock:
    """A clock that a test turns."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The player's clock."""
    clock = Clock()
    monkeypatch.setattr(frame_player.time, "monotonic", clock)
    return clock


class FakePage:
    """A page: what it was sent, and what it says."""

    def __init__(self, player: FramePlayer, name: str = "page", have: dict[str, list[int]] | None = None):
        self.player, self.name = player, name
        self.inbox: list[tuple[dict[str, Any], list[bytes]]] = []
        player.send = lambda content, buffers: self.inbox.append((content, buffers))
        self.say(visible=True, have=have or {})

    def say(self, **content: Any) -> None:
        self.player._handle_custom_msg({"page": self.name, **content}, [])

    def messages(self, kind: str) -> list[tuple[dict[str, Any], list[bytes]]]:
        return [(content, buffers) for content, buffers in self.inbox if content["kind"] == kind]

    def live_steps(self) -> list[list[int]]:
        """The steps of the live frames of each message."""
        return [[live["step"] for live in content["live"]] for content, _ in self.messages("live")]

    def paint(self) -> None:
        """Say that the last live frame is painted."""
        self.say(visible=True, painted=self.messages("live")[-1][0]["serial"])


def run_steps(player: FramePlayer, steps: Any, clock: Clock | None = None, pace: float = 0.001) -> list[int]:
    """Show steps; return those whose pictures were looked at."""
    looked = []
    for step in steps:
        if clock is not None:
            clock.now += pace
        player.show(step, {"loss": 1.0 / step}, lambda step=step: (looked.append(step), picture(step))[1])
    return looked


# What is kept.


def test_every_kth_step_is_kept_exactly_and_no_other_picture_is_looked_at() -> None:
    player = FramePlayer()
    player.begin(total=1000)
    looked = run_steps(player, range(1, 1001))
    expected = [1, *range(16, 1001, 16), 1000]  # ceil(1000 / 64) = 16
    assert looked == expected == [frame.step for frame in player.frames(1)]
    for frame in player.frames(1):
        np.testing.assert_array_equal(frame.image, picture(frame.step))
        assert frame.values == {"loss": 1.0 / frame.step}
        with pytest.raises(ValueError, match="read-only"):
            frame.image[0] = 0
    assert player.frame(1, -1).step == 1000
    assert player.frame(1, 24).step == 16  # the earlier of two
    assert player.frame(1, 25).step == 32


def test_of_a_run_without_known_end_every_second_frame_goes_again_and_again() -> None:
    player = FramePlayer()
    player.begin(total=None)
    run_steps(player, range(1, 1000))
    player.finish("stopped", picture(999))
    steps = [frame.step for frame in player.frames(1)]
    assert (steps[0], steps[-1]) == (1, 999)
    assert 32 <= len(steps) <= 66
    stride = steps[2] - steps[1]
    assert math.log2(stride).is_integer()
    assert steps[1:-1] == list(range(stride, 999, stride))


def test_the_last_frame_is_kept_for_being_the_last_only_as_long_as_it_is() -> None:
    player = FramePlayer()
    player.begin(total=640)
    run_steps(player, range(1, 14))
    player.finish("paused", picture(13))
    assert [frame.step for frame in player.frames(1)] == [1, 10, 13]
    player.state = "running"
    run_steps(player, range(14, 25))
    assert [frame.step for frame in player.frames(1)] == [1, 10, 20]


def test_a_step_shown_while_paused_is_kept_and_saved() -> None:
    player = FramePlayer()
    player.begin(total=640)
    run_steps(player, range(1, 13))
    assert player._kept["runs"] == []  # not with each frame
    player.state = "paused"
    run_steps(player, [13])
    assert [frame["step"] for frame in player._kept["runs"][0]["frames"]] == [1, 10, 13]


@pytest.mark.parametrize("page_bytes", [300_000, 30_000])
def test_the_budget_is_shared_evenly_and_never_passed(page_bytes: int) -> None:
    kept = KeptFrames(page_bytes=page_bytes)
    runs = []
    for number in range(3):
        runs.append(run := kept.begin(total=40, first=0, parent=None, text=""))
        for step in range(1, 41):
            if run.wants(step):
                kept.keep(run, run.frame(step, noise(100 * number + step, 64 + 8), {"loss": 1.0}))
            if step % 3 == 0 or step == 40:
                kept.encode_all()
                assert all(frame.is_encoded for each in runs for frame in each.frames.values())
            assert sum(each.page_bytes for each in runs) <= page_bytes
    for number, run in enumerate(runs):
        steps = list(run.frames)
        assert (steps[0], steps[-1]) == (1, 40)
        assert kept.encode_all() == {}
        # Even where the page's copies are smaller the pictures are what they were.
        for step, frame in run.frames.items():
            np.testing.assert_array_equal(frame.image, noise(100 * number + step, 72))
    counts = [len(run.frames) for run in runs]
    assert max(counts) <= 2 * min(counts) + 1
    if page_bytes == 300_000:
        assert min(counts) >= 5
        assert sum(run.page_bytes for run in runs) > page_bytes / 3  # not thrown away for nothing
    else:
        assert counts == [2, 2, 2]


def test_exact_pictures_have_a_budget_of_their_own() -> None:
    kept = KeptFrames(exact_bytes=10 * 72 * 72 * 3)
    run = kept.begin(total=40, first=0, parent=None, text="")
    for step in range(1, 41):
        if run.wants(step):
            kept.keep(run, run.frame(step, np.zeros((72, 72, 3), np.uint8), {}))
        assert run.exact_bytes <= 10 * 72 * 72 * 3
    assert len(run.frames) >= 5
    assert (min(run.frames), max(run.frames)) == (1, 40)


def test_the_saved_state_stays_below_four_megabytes_and_holds_every_frame() -> None:
    player = FramePlayer()
    names = [f"a term with a long name {index}" for index in range(6)]
    for number in range(4):
        player.begin(total=40, text="x" * 2000)
        for step in range(1, 41):
            values = dict.fromkeys(names, 1 / 3)
            player.show(step, values, lambda seed=number * 100 + step: noise(seed, 160))
        player.finish("done")
    state = player.get_state()
    data = state["_kept"]["data"]
    rest = json.dumps(state | {"_kept": state["_kept"]["runs"], "layout": ""})
    assert len(base64.b64encode(data)) + len(rest) < 4_000_000
    assert len(data) > 1_000_000
    start = 0
    for run in state["_kept"]["runs"]:
        assert len(run["frames"]) == len(player.frames(run["number"]))
        for label in run["frames"]:
            image = np.asarray(Image.open(io.BytesIO(data[start : start + label["bytes"]])).convert("RGB"))
            start += label["bytes"]
            exact = player.frame(run["number"], label["step"]).image
            assert label["size"] == [160, 160]
            assert np.abs(image.astype(float) - exact).mean() < 20  # noise, as JPEG: others differ by 85
    assert start == len(data)


@pytest.mark.parametrize(("side", "kind"), [(28, "PNG"), (80, "JPEG"), (1000, "JPEG")])
def test_small_pictures_go_to_the_page_as_they_are_and_large_ones_smaller(side: int, kind: str) -> None:
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (side, 1))] * 3, axis=2)
    run = KeptFrames().begin(total=9, first=0, parent=None, text="")
    with Image.open(io.BytesIO(run.frame(1, image, {}).encoded)) as encoded:
        assert encoded.format == kind
        assert max(encoded.size) == min(side, SHOWN_SIDE)
        there = np.asarray(encoded.resize((side, side)), dtype=float)
    assert np.abs(there - image).max() <= (0 if kind == "PNG" else 6)


def test_pictures_that_take_much_are_less_sharp_on_the_page_but_for_the_last_one() -> None:
    player = FramePlayer()
    player.begin(total=64)
    for step in range(1, 65):
        player.show(step, {}, lambda step=step: noise(step, 300))
    frames = player.frames(1)
    assert len(frames) >= 32  # as they are, 160 kB each, the page would have 15 of them
    with Image.open(io.BytesIO(frames[-1].encoded)) as last, Image.open(io.BytesIO(frames[5].encoded)) as one:
        assert last.size == (300, 300)
        assert 160 < one.width < 300
    assert max(len(frame.encoded) for frame in frames[:-1]) <= FRAME_LIMIT
    assert all(np.array_equal(frame.image, noise(frame.step, 300)) for frame in frames)


def test_very_large_live_frames_are_sent_smaller(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=9)
    page = FakePage(player)
    image = np.repeat(
        np.repeat(noise(0, 350), 2, axis=0), 2, axis=1
    )  # each mean of four is one of its values
    player.show(1, {}, lambda: image)
    ((content, (raw,)),) = page.messages("live")
    (live,) = content["live"]
    assert (live["size"], live["carried"]) == ([700, 700], [350, 350])
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8).reshape(350, 350, 3), noise(0, 350))


def test_a_branch_begins_with_its_parents_picture() -> None:
    player = FramePlayer()
    player.begin(total=128)
    run_steps(player, range(1, 61))
    player.finish("stopped")
    assert player.begin(total=128, first=40, parent=1, text="from <b>") == 2
    assert (player.run, player.step, player.state) == (2, -1, "running")
    assert player.frame(2, -1).step == 40
    np.testing.assert_array_equal(player.frame(2, 40).image, picture(40))
    run_steps(player, range(41, 45))
    assert [frame.step for frame in player.frames(2)] == [40, 42, 44]  # ceil(88 / 64) = 2
    info = player._runs[2].info()
    assert (info["parent"], info["first"], info["text"]) == (1, 40, "from <b>")


def test_a_removed_run_leaves_the_page_and_another_is_shown() -> None:
    player = FramePlayer()
    for _ in range(3):
        player.begin(total=2)
        run_steps(player, [1, 2])
        player.finish("done")
    player.other = 2
    player.forget(3)
    assert (player.run, player.other, player.runs) == (1, 2, [1, 2])
    player.forget(1)
    assert (player.run, player.other, player.runs) == (2, -1, [2])
    assert [run["number"] for run in player._kept["runs"]] == [2]
    player.forget(2)
    assert (player.run, player.runs) == (0, [])
    assert player.begin(total=2) == 4  # no number comes again
    with pytest.raises(ValueError, match="run 4 is running; stop it"):
        player.forget(4)


# What is sent when.


def test_a_slow_page_is_sent_one_message_and_no_more_before_it_has_painted_it(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=1_000_000)
    page = FakePage(player)
    looked = run_steps(player, range(1, 2601), clock)
    assert page.live_steps() == [[1]]
    # Twelve more pictures wait for it, and nothing else is made for nothing.
    assert looked == [1, *(pytest.approx(1 + round(count / 0.0105), abs=2) for count in range(1, 13))]
    page.paint()
    assert len(page.messages("live")) == 1  # by now they are old
    assert run_steps(player, range(2601, 2650), clock) == [2601]
    _, (content, (raw,)) = page.messages("live")
    (live,) = content["live"]
    # The newest, not the next.
    assert (live["step"], live["size"], live["carried"]) == (2601, [6, 6], [6, 6])
    np.testing.assert_array_equal(np.frombuffer(raw, np.uint8).reshape(6, 6, 3), picture(2601))


@pytest.mark.parametrize(("side", "room"), [(6, 12), (500, 5), (640, 3), (641, 12), (1280, 3)])
def test_large_pictures_that_wait_for_a_page_are_few_and_say_so(clock: Clock, side: int, room: int) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    looked = []
    for step in range(1, 60):
        clock.now += 0.02
        player.show(step, {}, lambda step=step: (looked.append(step), noise(step, side))[1])
    assert len(looked) == 1 + room
    page.paint()
    (first, _), (second, buffers) = page.messages("live")
    assert (first["room"], second["room"]) == (room, room)
    assert [live["step"] for live in second["live"]] == looked[1:]
    assert sum(map(len, buffers)) <= 4_000_000
    assert room == 12 or sum(map(len, buffers)) + len(buffers[0]) > 4_000_000
    # What went with the last two messages is exact still, and nothing before.
    assert set(player._link.live_frames(1)) == set(looked)
    for _ in range(2):
        page.paint()
        clock.now += 0.2
        player.show(step := step + 1, {}, lambda step=step: noise(step, side))
    assert set(player._link.live_frames(1)) == {step - 1, step}


def test_a_quick_page_is_sent_some_ten_frames_a_second(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    for step in range(1, 3001):
        run_steps(player, [step], clock)
        if page.messages("live"):
            page.paint()
    assert 3 * 10 <= len(page.messages("live")) <= 3 * 11 + 1
    assert {len(steps) for steps in page.live_steps()} == {1}
    assert page.messages("live")[-1][0]["rate"] == pytest.approx(1000, rel=0.02)


@pytest.mark.parametrize("pace", [0.008, 0.036, 0.06])
def test_a_page_that_takes_its_time_is_sent_some_frames_at_once_the_moment_it_asks(
    clock: Clock, pace: float
) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    ask, steps = clock.now + 0.96, int(6 / pace)
    for step in range(1, steps + 1):
        run_steps(player, [step], clock, pace)
        if clock.now >= ask:
            ask += 0.96
            page.paint()
    assert 10 * 6 <= sum(map(len, page.live_steps())) <= 11 * 6 + 2
    assert len(page.messages("live")) <= 1 + 6 / 0.96
    assert max(map(len, page.live_steps())) in (10, 11)
    shown = [step for steps in page.live_steps() for step in steps]
    assert shown == sorted(set(shown))
    for content, buffers in page.messages("live")[-5:]:
        for live, raw in zip(content["live"], buffers, strict=True):
            np.testing.assert_array_equal(
                np.frombuffer(raw, np.uint8).reshape(6, 6, 3), picture(live["step"])
            )


def test_a_frame_larger_than_a_message_ought_to_be_goes_alone(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnviz_widgets.views._page_link.HEAVY", 100)
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    run_steps(player, range(1, 50), clock, 0.02)
    page.paint()
    assert list(map(len, page.live_steps())) == [1, 1]
    assert page.messages("live")[1][0]["room"] == 1


def test_what_was_live_stays_exact_while_the_page_shows_others(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    run_steps(player, range(1, 30), clock, 0.02)
    page.paint()
    exact = set(player._link.live_frames(1))
    assert len(exact) > 1
    player.step = 1
    for first in (30, 60, 90):
        run_steps(player, range(first, first + 30), clock, 0.02)
        page.paint()
    assert page.live_steps()[-2:] == [[], []]
    assert set(player._link.live_frames(1)) >= {max(exact)}


def test_what_waits_for_a_page_is_not_sent_once_the_run_is_over(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    run_steps(player, range(1, 190), clock)
    player.finish("stopped", picture(189))
    page.paint()
    assert page.live_steps() == [[1]]
    assert [content["frame"]["step"] for content, _ in page.messages("kept")] == [189]


def test_what_waits_for_a_page_when_another_run_begins_is_not_taken_for_its_own(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=640)
    page = FakePage(player)
    run_steps(player, range(1, 5), clock, 0.1)  # the first is sent, three wait
    player.begin(total=640)
    run_steps(player, [1], clock, 0.1)
    page.paint()
    assert page.live_steps() == [[1], [1]]
    assert [content["run"]["number"] for content, _ in page.messages("live")] == [1, 2]
    with pytest.raises(ValueError, match="ascend"):
        player.show(0, {}, lambda: picture(0))
    assert player.seen(2, 4).step == 1


def test_a_hidden_page_and_a_closed_one_cost_no_live_frames(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    page.say(visible=False)
    assert run_steps(player, range(1, 500), clock) == [1]  # the first is kept
    assert page.messages("live") == []
    page.say(visible=True)
    run_steps(player, range(500, 600), clock)
    assert len(page.messages("live")) == 1


def test_it_knows_whether_any_page_shows_the_widget_that_it_is_part_of() -> None:
    player, told = FramePlayer(), []
    player.observe(lambda change: told.append(change["new"]), "is_near")
    one, other = FakePage(player, "one"), FakePage(player, "other")
    assert not player.is_near
    one.say(visible=False, near=True)  # the frames are scrolled away, the curves below them are not
    other.say(visible=True, near=True)
    one.say(visible=False, near=False)
    assert player.is_near
    other.say(visible=False, near=False)
    assert told == [True, False]


def test_a_page_that_was_closed_does_not_block_the_next_one(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    closed = FakePage(player, "closed")
    run_steps(player, range(1, 101), clock)
    assert len(closed.messages("live")) == 1  # and is never acknowledged
    page = FakePage(player, "next")
    run_steps(player, range(101, 201), clock)
    clock.now += 3.5
    for step in range(201, 1201):
        run_steps(player, [step], clock)
        if page.messages("live"):
            page.paint()
    assert len(page.messages("live")) >= 10


def test_a_page_that_comes_into_sight_with_nothing_painted_is_sent_live_frames(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    before = FakePage(player, "before the reload")
    run_steps(player, [1], clock)
    before.paint()
    before.say(visible=False)
    page = FakePage(player, "after it")
    page.say(visible=False)
    page.say(visible=True, painted=0)
    run_steps(player, range(2, 200), clock)
    assert len(page.messages("live")) == 1


def test_a_live_frame_that_is_lost_does_not_end_the_stream(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    run_steps(player, [1], clock)  # and is never acknowledged
    run_steps(player, range(2, 50), clock, pace=0.1)
    assert len(page.messages("live")) == 1
    run_steps(player, range(50, 60), clock, pace=0.1)
    assert len(page.messages("live")) == 2
    page.paint()
    run_steps(player, range(60, 65), clock, pace=0.1)
    assert len(page.messages("live")) == 3


@pytest.mark.parametrize("pace", [0.024, 0.02, 0.027])
def test_one_picture_is_live_and_kept_where_both_are_due_within_a_few_steps(
    clock: Clock, pace: float
) -> None:
    player = FramePlayer()
    player.begin(total=240)
    page = FakePage(player)
    looked = []
    for step in range(1, 241):
        looked += run_steps(player, [step], clock, pace)
        if page.inbox[-1][0]["kind"] == "live":
            page.paint()
    lives = page.messages("live")
    assert 10 * 240 * pace <= len(lives) <= 11 * 240 * pace + 3
    # All 61 are kept; live ones come between where these are fewer than ten a second.
    assert {1, *range(4, 241, 4)} <= set(looked)
    assert len(looked) <= 61 + (8 if pace < 0.025 else 32)
    for content, (*_, raw) in lives:
        (live,) = content["live"]
        assert live["kept"] == (live["step"] % 4 == 0 or live["step"] == 1)
        assert np.array_equal(np.frombuffer(raw, np.uint8).reshape(6, 6, 3), picture(live["step"]))
    assert {content["kind"] for content, _ in page.inbox} == {"all", "live"}
    sent = [live["step"] for content, _ in lives for live in content["live"] if live["kept"]]
    for content, buffers in lives:
        assert len(buffers) == 1 + len(content["frames"])
        for label, buffer in zip(content["frames"], buffers, strict=False):
            sent.append(label["step"])
            there = np.asarray(Image.open(io.BytesIO(buffer)))
            np.testing.assert_array_equal(there, picture(label["step"]))
    assert sorted(sent)[:-1] == [1, *range(4, sorted(sent)[-1], 4)]
    assert sorted(sent)[-1] >= 232


def test_nothing_is_encoded_or_sent_while_nobody_sees_it(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=640)
    page = FakePage(player)
    page.say(visible=False)
    page.inbox.clear()
    run_steps(player, range(1, 41), clock)
    assert page.inbox == []
    assert not any(frame.is_encoded for frame in player.frames(1))
    page.say(visible=True, have={})
    ((content, buffers),) = page.messages("all")
    assert [frame["step"] for frame in content["frames"]] == [1, 10, 20, 30, 40]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(buffers[2]))), picture(20))


def test_what_is_seen_are_also_the_last_live_frames(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    page = FakePage(player)
    for step in range(1, 300):
        run_steps(player, [step], clock)
        if page.messages("live"):
            page.paint()
    *_, (shown,), (on_its_way,) = page.live_steps()
    assert player.frame(1, on_its_way).step == 1
    assert (player.seen(1, shown).step, player.seen(1, -1).step) == (shown, on_its_way)
    np.testing.assert_array_equal(player.seen(1, shown).image, picture(shown))
    with pytest.raises(LookupError, match="the runs are: 1"):
        player.seen(2, 1)


def test_however_many_runs_there_are_one_more_can_be_kept() -> None:
    kept = KeptFrames(page_bytes=60_000)
    for number in range(60):
        run = kept.begin(total=2, first=0, parent=None, text="")
        for step in (1, 2):
            kept.keep(run, run.frame(step, noise(2 * number + step, 24), {"loss": 1.0}))
        kept.encode_all()
    assert sum(run.page_bytes for run in kept) <= 60_000
    assert all(max(run.frames) == 2 for run in kept)  # the last one of each is there
    for number in range(60):  # and where not even these have room
        run = kept.begin(total=2, first=0, parent=None, text="")
        kept.keep(run, run.frame(1, noise(number, 24), {"loss": 1.0}))
    kept.encode_all()
    assert [len(run.frames) for run in kept] == [1] * 120


def test_two_pages_are_no_faster_than_the_slower_one(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    slow = FakePage(player, "slow")
    quick = FakePage(player, "quick")
    run_steps(player, [1], clock)
    quick.paint()
    run_steps(player, range(2, 1000), clock)
    assert len(quick.messages("live")) == 1
    slow.say(visible=True, painted=1)
    run_steps(player, range(1000, 1010), clock)
    assert len(quick.messages("live")) == 2


def test_a_page_that_comes_is_sent_what_it_lacks(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=640)
    run_steps(player, range(1, 36), clock)
    page = FakePage(player, have={"1": [1, 20], "7": [3]})
    ((content, buffers),) = page.messages("all")
    assert [(frame["run"], frame["step"]) for frame in content["frames"]] == [(1, 10), (1, 30)]
    assert content["steps"] == {"1": [1, 10, 20, 30]}
    assert (content["runs"][0]["latest"], content["runs"][0]["total"]) == (35, 640)
    for buffer, step in zip(buffers, (10, 30), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(buffer))), picture(step))
    run_steps(player, range(36, 45), clock)
    ((first, _),) = page.messages("live")
    page.paint()
    clock.now += 1
    run_steps(player, [45], clock)  # and from now on what is kept, with a live one
    _, (kept, buffers) = page.messages("live")
    assert [frame["step"] for frame in first["frames"] + kept["frames"]] == [40]
    assert (len(buffers), kept["steps"]["1"]) == (2, [1, 10, 20, 30, 40])


def test_while_an_earlier_frame_is_on_show_the_page_is_told_but_sent_no_picture(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=100_000)
    run_steps(player, [1], clock)
    player.step = 1
    page = FakePage(player)
    assert run_steps(player, range(2, 100), clock) == []
    ((content, buffers),) = page.messages("live")
    assert (content["run"]["latest"], content["live"], buffers) == (2, [], [])


def test_numbers_that_json_lacks_are_sent_as_none(clock: Clock) -> None:
    player = FramePlayer()
    player.begin(total=10)
    page = FakePage(player)
    player.show(1, {"loss": math.nan, "<i>": math.inf, "fine": 1 / 3}, lambda: picture(1))
    player.finish("failed", text="it\ndiverged")
    for content, _ in [*page.messages("live"), *page.messages("runs")]:
        json.dumps(content, allow_nan=False)
    assert page.messages("live")[0][0]["live"][0]["values"] == {"loss": None, "<i>": None, "fine": 0.333333}
    assert player._kept["runs"][0]["ended"] == "it diverged"
    assert math.isnan(player.frame(1, 1).values["loss"])


def test_what_the_buttons_ask_for_is_handed_over_and_answered() -> None:
    player = FramePlayer()
    page = FakePage(player)
    acts: list[object] = []

    def handle(act: str, details: dict[str, Any]) -> None:
        acts.append((act, details))
        if act == "stop":
            raise RuntimeError("it failed")

    player.on_act(handle)
    page.say(act="branch", run=1, step=40, evil="<b>")
    page.say(act="dance")
    page.say(act="export", format="gif")
    page.say(act="pause", page="another")
    acts.pop()
    player.offer("run 1.gif", b"bytes", "image/gif", page="page")
    page.say(act="stop")  # ipywidgets logs what a handler raises
    here = {"page": "page"}
    assert acts == [
        ("branch", {"run": 1, "step": 40, **here}),
        ("export", {"format": "gif", **here}),
        ("stop", here),
    ]
    assert [content["act"] for content, _ in page.messages("heard")] == ["branch", "export", "pause", "stop"]
    ((offer, (data,)),) = page.messages("offer")
    assert (offer["name"], offer["page"], data) == ("run 1.gif", "page", b"bytes")


# What is refused, and what other viewers show.


def test_what_makes_no_sense_is_refused_and_changes_nothing() -> None:
    player = FramePlayer()
    with pytest.raises(RuntimeError, match=r"call begin\(\) first"):
        player.show(1, {}, lambda: picture(1))
    with pytest.raises(ValueError, match="got 0 and 0"):
        player.begin(total=0)
    with pytest.raises(LookupError, match="no run 5; the runs are: none"):
        player.begin(total=9, first=3, parent=5)
    player.begin(total=9)
    with pytest.raises(LookupError, match="no frame of run 1 is kept yet"):
        player.frame(1, 0)
    with pytest.raises(ValueError, match=r"uint8 array \[H, W, 3\]"):
        player.show(1, {}, lambda: np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match="steps ascend; got 4 after 5"):
        run_steps(player, [5, 4])
    with pytest.raises(LookupError, match="the runs are: 1"):
        player.other = 2
    with pytest.raises(ValueError, match="state"):
        player.state = "asleep"
    with pytest.raises(ValueError, match="state is one of ready"):
        player.finish("asleep")
    assert (player.runs, player.run, player.other, player.state) == ([1], 1, -1, "running")


def test_a_page_that_shows_a_removed_run_is_told_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    player = FramePlayer()
    player.begin(total=9)
    told: list[object] = []
    monkeypatch.setattr(player, "send_state", told.append)
    player.set_state({"run": 3, "step": 7, "other": -1})
    assert (player.run, player.step) == (1, 7)
    assert told == [["run"]]


def test_viewers_without_widgets_see_the_pictures_on_show() -> None:
    player = FramePlayer()
    assert player._repr_mimebundle_()[0]["text/plain"] == "FramePlayer: no run yet"
    assert player.to_png() is None
    for number in (1, 2):
        player.begin(total=4)
        for step in (1, 2, 3, 4):
            player.show(step, {}, lambda value=40 * number + step: picture(value, 10))
        player.finish("done")
    player.step, player.other = 3, 1
    bundle = player._repr_mimebundle_()[0]
    assert bundle["text/plain"] == "FramePlayer: run 2 of 2, done, step 3 of 4"
    still = np.asarray(Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))))
    assert still.shape == (10, 28, 3)
    np.testing.assert_array_equal(still[:, :10], picture(83, 10))
    np.testing.assert_array_equal(still[:, 18:], picture(43, 10))
