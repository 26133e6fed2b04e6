"""Parts of a job on threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from cnnviz_widgets.engine.side_by_side import side_by_side, take_threads, workers_for


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_share_what_torch_has() -> None:
    both = threading.Barrier(2, timeout=30)

    def work(part: int) -> tuple[int, int, str]:
        both.wait()  # nobody passes alone
        return part, torch.get_num_threads(), threading.current_thread().name

    found = list(side_by_side(work, range(6), workers=2))
    assert [part for part, *_ in found] == list(range(6))
    assert {count for _, count, _ in found} == {2}
    assert len({name for *_, name in found}) == 2


def test_other_threads_keep_their_share() -> None:
    later: list[int] = []
    running = side_by_side(lambda part: part, range(8), workers=2)
    next(running)
    one = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    one.start()
    one.join()
    assert later == [4]
    assert torch.get_num_threads() == 4
    assert list(running) == list(range(1, 8))


def test_one_part_or_worker_needs_no_thread() -> None:
    here = threading.get_ident()
    assert list(side_by_side(lambda _: threading.get_ident(), range(3), workers=1)) == [here] * 3
    assert list(side_by_side(lambda _: threading.get_ident(), [0], workers=4)) == [here]
    assert workers_for(torch.device("cpu")) == 4
    assert workers_for(torch.device("meta")) == 1


def test_parts_are_asked_for_as_they_are_needed_by_the_thread_of_the_caller() -> None:
    here, asked = threading.get_ident(), []

    def parts() -> Iterator[int]:
        for part in range(1000):
            asked.append(threading.get_ident())
            yield part

    running = side_by_side(lambda part: part, parts(), workers=2)
    assert [next(running) for _ in range(3)] == [0, 1, 2]
    running.close()
    assert set(asked) == {here}
    assert 3 <= len(asked) <= 8


@pytest.mark.parametrize("how", ["closed", "failed"])
def test_what_ends_early_waits_for_what_runs_and_begins_no_more(how: str) -> None:
    begun: list[int] = []
    ended: list[int] = []
    go_on = threading.Event()

    def work(part: int) -> int:
        begun.append(part)
        if part == 0:
            if how == "failed":
                raise ValueError("part 0")
            return part
        go_on.wait(30)
        ended.append(part)
        return part

    running = side_by_side(work, range(1000), workers=2)
    timer = threading.Timer(0.05, go_on.set)
    timer.start()
    if how == "closed":
        assert next(running) == 0
        running.close()
    else:
        with pytest.raises(ValueError, match="part 0"):
            next(running)
    timer.join()
    assert sorted(ended) == sorted(set(begun) - {0})
    # Two were under way; the next one had been given to the threads, but had to wait for one.
    assert 3 not in begun


def test_a_thread_takes_as_many_as_it_asks_for_and_others_keep_theirs() -> None:
    seen: list[int] = []

    def alone() -> None:
        take_threads(1)
        seen.append(torch.get_num_threads())
        take_threads(3)
        seen.append(torch.get_num_threads())

    one = threading.Thread(target=alone)
    one.start()
    one.join()
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [1, 3, 4]
    assert torch.get_num_threads() == 4
