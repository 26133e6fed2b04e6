"""A burst of requests becomes few runs, and the last state is always seen."""

from __future__ import annotations

import threading

import pytest

from cnnviz_widgets.views._pacing import Pacer

LONG = 60.0


def test_a_lone_request_runs_at_once_on_the_callers_thread():
    threads = []
    pacer = Pacer(lambda: threads.append(threading.current_thread()), LONG)
    pacer.request()
    assert threads == [threading.current_thread()]
    pacer.close()


def test_a_later_request_runs_on_another_thread():
    ran = threading.Event()
    lock = threading.Lock()

    def job():
        with lock:
            ran.set()

    pacer = Pacer(job, LONG)
    with lock:
        pacer.request(later=True)
    assert ran.wait(60)
    pacer.close()


def test_a_burst_is_one_run_now_and_one_that_sees_the_last_state():
    state, seen, done = [0], [], threading.Event()

    def job():
        seen.append(state[0])
        if state[0] == 1000:
            done.set()

    pacer = Pacer(job, 0.2)
    for state[0] in range(1, 1001):
        pacer.request()
    assert done.wait(60)
    pacer.close()
    assert seen == [1, 1000]


def test_a_state_set_during_a_late_run_is_not_lost():
    state, seen = ["first"], []
    entered, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def job():
        now = state[0]
        seen.append(now)
        if now == "second":
            entered.set()
            assert go_on.wait(60)
        if now == "third":
            done.set()

    pacer = Pacer(job, 0.01)
    pacer.request()
    state[0] = "second"
    pacer.request()
    assert entered.wait(60)
    state[0] = "third"  # the run under way has read the state already
    pacer.request()
    go_on.set()
    assert done.wait(60)
    pacer.close()
    assert seen == ["first", "second", "third"]


def test_runs_never_overlap():
    inside, worst, runs = [0], [0], [0]

    def job():
        inside[0] += 1
        worst[0] = max(worst[0], inside[0])
        runs[0] += 1
        sum(range(20_000))
        inside[0] -= 1

    pacer = Pacer(job, 0.0)
    threads = [threading.Thread(target=lambda: [pacer.request() for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pacer.close()
    assert runs[0] >= 50
    assert worst[0] == 1


def test_after_close_nothing_runs():
    runs = []
    pacer = Pacer(lambda: runs.append(1), 0.0)
    pacer.request()
    pacer.close()
    pacer.request()
    assert runs == [1]


def test_close_forgets_the_run_that_was_to_come():
    before = set(threading.enumerate())
    runs = []
    pacer = Pacer(lambda: runs.append(1), LONG)
    pacer.request()
    pacer.request()
    (timer,) = set(threading.enumerate()) - before
    pacer.close()
    timer.join(10)
    assert not timer.is_alive()
    assert runs == [1]


def test_errors_of_a_run_at_once_reach_the_caller():
    def job():
        raise ValueError("broken")

    pacer = Pacer(job, LONG)
    with pytest.raises(ValueError, match="broken"):
        pacer.request()
    pacer.close()


def test_an_error_on_the_timers_thread_is_told():
    told, done = [], threading.Event()

    def job():
        if len(told) == 0 and done.is_set():
            raise ValueError("late")
        done.set()

    heard = threading.Event()
    pacer = Pacer(job, 0.05, on_error=lambda error: (told.append(str(error)), heard.set()))
    pacer.request()
    pacer.request()
    assert heard.wait(60)
    assert told == ["late"]
    pacer.close()
