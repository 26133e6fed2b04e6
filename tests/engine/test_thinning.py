from __future__ import annotations

import pytest

from cnnviz_widgets.engine.thinning import Thinned


def kept(steps: list[int], capacity: int, unit: int = 1) -> Thinned[str]:
    found: Thinned[str] = Thinned(capacity, unit)
    for step in steps:
        found.add(step, str(step))
        assert len(found.steps) <= capacity
        assert (found.steps[0], found.steps[-1]) == (steps[0], step)
        assert found.items == [str(each) for each in found.steps]
    return found


@pytest.mark.parametrize("capacity", [3, 4, 7, 10])
@pytest.mark.parametrize("unit", [1, 5, 50])
def test_of_even_steps_every_so_many_remain(capacity: int, unit: int) -> None:
    for count in range(1, 90):
        steps = [unit * index for index in range(count)]
        # The smallest power of two that leaves few enough, counted out.
        stride = 1
        while len(expected := [*steps[:-1:stride], steps[-1]]) > capacity:
            stride *= 2
        found = kept(steps, capacity, unit)
        assert found.steps[:-2] == expected[:-2][: len(found.steps) - 2]
        assert found.spacing == (1 if stride == 1 else unit * stride)
        assert found.steps == expected


def test_uneven_steps_keep_their_distance() -> None:
    steps = [0, 1, 2, 50, 51, 90, 200, 201, 202, 203, 400, 401]
    found = kept(steps, capacity=6)
    # Room ends at 200 (2 steps apart from then on) and at 203 (4 steps apart); 401 is the last.
    assert (found.spacing, found.steps) == (4, [0, 50, 90, 200, 400, 401])


def test_what_is_added_between_stays_while_there_is_room() -> None:
    assert kept([0, 50, 100, 120, 150], capacity=9, unit=50).steps == [0, 50, 100, 120, 150]
    assert kept([0, 50, 100, 150, 170, 200], capacity=4, unit=50).steps == [0, 100, 200]


@pytest.mark.parametrize("unit", [1, 5, 50])
def test_an_unknown_distance_is_found(unit: int) -> None:
    for count in range(1, 90):
        steps = [unit * index for index in range(count)]
        found: Thinned[None] = Thinned(capacity=5)
        for step in steps:
            found.add(step, None)
        assert found.steps == kept(steps, 5, unit).steps


def test_one_that_stands_close_to_another_does_not_upset_the_rest() -> None:
    found: Thinned[None] = Thinned(capacity=5)
    for step in (0, 50, 100, 101, 150, 200):
        found.add(step, None)
    assert (found.steps, found.spacing) == ([0, 50, 100, 150, 200], 2)
