"""Windows run by what they change, against whole images: one pass of the network for each window."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import cnnviz_widgets as cv
from cnnviz_widgets.engine import incremental_winograd as winograd
from cnnviz_widgets.engine.incremental import Question, WindowPasses
from tests.random_networks import SEEDS, RandomNetwork, main_of, slow_values
from tests.untouched import untouched

EXACT = 1e-5


def passes(
    module: nn.Module, x: Tensor, questions: Iterable[Question] = (Question(),), **options: Any
) -> Any:
    net = cv.Network(module, input=cv.InputSpec(size=x.shape[2:], channels=x.shape[1]))
    instead = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    return WindowPasses(net, x, instead, list(questions), **options)


def quick(made: WindowPasses, tops: list[int], lefts: list[int], window: tuple[int, int]) -> list[Tensor]:
    """Return the answers of the incremental way, whatever it costs."""
    assert not made.reason
    count = len(tops) * len(lefts)
    found: list[list[Tensor]] = [[] for _ in range(count)]
    for rows, columns, values in made.batches(tops, lefts, window, quick=True):
        for index, place in enumerate((rows[:, None] * len(lefts) + columns).flatten()):
            found[place] = [each[index] for each in values]
    return [torch.stack(each) for each in zip(*found, strict=True)]


def slowly(
    made: WindowPasses,
    tops: list[int],
    lefts: list[int],
    window: tuple[int, int],
    ask: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return what a copy of the image says for each window, one after the other."""
    answers = []
    for top in tops:
        for left in lefts:
            x = made.x.clone()
            there = (..., slice(top, top + window[0]), slice(left, left + window[1]))
            x[there] = made.instead[there]
            answers.append(ask(x))
    return torch.cat(answers)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch have so many threads: with several, batches run side by side."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def assert_near(found: Tensor, expected: Tensor, share: float = EXACT) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0.0, atol=share * float(expected.abs().max()))


def places(size: int, length: int) -> list[int]:
    """Return places at both borders and between them, in no even steps."""
    return sorted({0, 1, (size - length) // 2, size - length} & set(range(size - length + 1)))


@pytest.mark.parametrize("seed", SEEDS)
def test_random_networks_against_whole_images(seed: int) -> None:
    module = RandomNetwork(seed)
    x = module.example(1)
    with threads(1 + seed % 2):
        made = passes(module, x)
    copied = RandomNetwork(seed).eval()
    height, width = module.size
    for window in [(1, 1), (3, 6), (height - 1, 2), module.size]:
        tops, lefts = places(height, window[0]), places(width, window[1])
        with torch.no_grad():
            expected = slowly(made, tops, lefts, window, lambda x: main_of(copied(x)))
        assert_near(quick(made, tops, lefts, window)[0], expected)


@pytest.mark.parametrize("seed", [0, 4, 11, 23])
def test_what_a_layer_returns(seed: int) -> None:
    module = RandomNetwork(seed)
    x = module.example(1)
    layer = "stem.1" if isinstance(module.stem[1], nn.Conv2d) else "stem.0"
    made = passes(module, x, [Question(layer, 2), Question(channel=1), Question("body"), Question()])
    tops, lefts, window = [0, 5, 9], [2, 10], (4, 3)
    answers = quick(made, tops, lefts, window)
    layers = [
        lambda x: slow_values(module, x)[layer, 0][:, 2:3],
        lambda x: main_of(slow_values(module, x)["body", 0]),
    ]
    assert_near(answers[0], slowly(made, tops, lefts, window, layers[0]))
    assert_near(answers[2], slowly(made, tops, lefts, window, layers[1]))
    copied = RandomNetwork(seed).eval()
    with torch.no_grad():
        scores = slowly(made, tops, lefts, window, lambda x: main_of(copied(x)))
    assert_near(answers[3], scores)
    assert_near(answers[1], scores[:, 1:2])


class Wide(nn.Module):
    """Convolutions of so many channels that Winograd's algorithm takes them, and pools with a ceil mode."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 128, 5, stride=2, padding=1)
            self.norm = nn.BatchNorm2d(128)
            self.more = nn.ModuleList(nn.Conv2d(128, 128, 3, padding=1) for _ in range(3))
            self.head = nn.Linear(128, 5)
            nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
            nn.init.normal_(self.norm.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm(self.stem(x)))
        y = functional.max_pool2d(y, 3, 2, ceil_mode=True)
        y = functional.relu(self.more[0](y))
        y = functional.avg_pool2d(y, 3, 2, padding=1, ceil_mode=True, count_include_pad=False)
        y = functional.relu_(self.more[1](y)) + y
        return self.head(functional.hardswish(self.more[2](y)).mean((2, 3)))


def test_wide_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    convolved = winograd.convolved
    monkeypatch.setattr(winograd, "convolved", lambda *given: calls.append(1) or convolved(*given))
    module, x = Wide().eval(), torch.randn(1, 3, 97, 90, generator=torch.Generator().manual_seed(0))
    made = passes(module, x)
    tops, lefts, window = list(range(0, 81, 8)), [*range(0, 70, 9), 74], (16, 16)
    answers = quick(made, tops, lefts, window)[0]
    assert calls
    with torch.no_grad():
        assert_near(answers, slowly(made, tops, lefts, window, module))


def test_winograd_is_a_convolution() -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 14, 10, generator=draw), torch.randn(7, 5, 3, 3, generator=draw)
    bias = torch.randn(7, generator=draw)
    kernels = winograd.transformed(weight)
    expected = torch.conv2d(x.double(), weight.double(), bias.double())
    for rows, columns in [(12, 8), (10, 5)]:
        found = winograd.convolved(x, kernels, bias, rows, columns)
        assert_near(found.double(), expected[:, :, :rows, :columns])
    assert_near(winograd.convolved(x, kernels, None, 12, 8).double(), expected - bias.double()[:, None, None])


def test_squeezenet_and_a_mask_of_any_shape() -> None:
    net = cv.samples.squeezenet()
    x = net.prepare(cv.samples.photo("chelsea"))
    made = WindowPasses(net, x, torch.zeros_like(x), [Question(channel=281), Question("features.3", 7)])
    tops, lefts, window = [0, 104, 208], [8, 100], (16, 24)
    scores, _ = quick(made, tops, lefts, window)
    assert_near(scores, slowly(made, tops, lefts, window, lambda x: net.scores(x)[:, 281:282]))
    mask = np.hypot(*np.mgrid[-90:134, -120:104]) < 31
    covered = torch.where(torch.from_numpy(mask), 0.0, x)
    assert_near(made.masked(mask)[0], net.scores(covered)[:, 281:282])
    with cv.capture(net, ["features.3"]) as seen:
        net(covered)
    assert_near(made.masked(mask)[1], seen["features.3"][:, 7:8])
    assert_near(made.masked(np.zeros_like(mask))[0], net.scores(x)[:, 281:282])


class Views(nn.Module):
    """Goes on with views of a map that is used again, and with gates, groups and transposed kernels."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.back = nn.Conv2d(3, 8, 3, stride=2), nn.ConvTranspose2d(8, 8, 2, stride=2)
            self.gate, self.norm = nn.Conv2d(8, 8, 1), nn.GroupNorm(4, 8)
            self.batch = nn.BatchNorm1d(8)
            nn.init.normal_(self.batch.running_mean)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        turned = functional.relu(y.transpose(2, 3)).transpose(2, 3)
        first, second = (turned + y).chunk(2, dim=1)
        z = torch.cat([second, first], 1)
        z = z * torch.sigmoid(self.gate(z.mean((2, 3), keepdim=True)))
        z = functional.interpolate(self.norm(self.back(z)), scale_factor=2)
        return torch.log_softmax(self.batch(z.amax((2, 3))), 1)


def test_views_gates_groups_and_transposed_kernels() -> None:
    module, x = Views().eval(), torch.randn(1, 3, 21, 17, generator=torch.Generator().manual_seed(0))
    made = passes(module, x)
    for tops, lefts, window in [([0, 3, 8, 16], [0, 5, 13], (5, 4)), ([0], [0], (21, 17))]:
        with torch.no_grad():
            assert_near(quick(made, tops, lefts, window)[0], slowly(made, tops, lefts, window, module))
    with pytest.raises(ValueError, match=r"size \(21, 17\), got \(5, 5\)"):
        made.masked(np.ones((5, 5), bool))


class Sorted(nn.Module):
    """Does what has no rule."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).sort(dim=1).values[:, :4]


class Steered(nn.Module):
    """Goes another way for bright images."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * (2 if float(x.mean()) > 0 else 3)


class Mixed(nn.Module):
    """Mixes the images of a batch, which only shows when there are several."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)).mean((2, 3)) + x.amax((2, 3))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (Sorted(), "sort"),
        (Steered(), "can't be written down|looks at numbers"),
        (Mixed(), "images of a batch"),
    ],
)
def test_the_plain_way_where_a_pass_cannot_be_followed(module: nn.Module, text: str) -> None:
    x = torch.randn(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    with untouched(module):
        made = passes(module, x)
        assert made.reason
        assert re.search(text, made.reason), made.reason
        tops, lefts, window = [0, 4], [1, 7], (5, 3)
        found = made.answers(tops, lefts, window)[0]
    if not isinstance(module, Mixed):
        assert_near(found, slowly(made, tops, lefts, window, module))


def test_one_way_or_the_other_by_cost() -> None:
    module = Wide().eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    made = passes(module, x)
    calls: list[int] = []
    handle = module.register_forward_pre_hook(lambda *given: calls.append(len(given[1][0])))
    made.answers(range(0, 57, 8), range(0, 57, 8), (8, 8))
    assert not calls  # what changes is little: the module itself is not run
    made.answers(range(2), range(2), (63, 63))
    assert calls[-1:] == [4]
    # Short rows of places share a batch.
    whole = passes(module, x, incremental=False).answers(range(3), range(6), (9, 9))[0]
    assert calls[-2:] == [12, 6]
    assert_near(quick(made, [0, 1, 2], [0, 1, 2, 3, 4, 5], (9, 9))[0], whole)
    handle.remove()


def test_sets_of_places_one_after_the_other_each_in_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = Wide().eval(), torch.randn(1, 3, 41, 38, generator=torch.Generator().manual_seed(2))
    with threads(2):
        made = passes(module, x)
    assert not made.reason
    tops, lefts = np.arange(0, 32, 4), np.arange(0, 29, 4)
    even, odd, all_along = np.arange(0, 8, 2), np.arange(1, 8, 2), np.arange(8)
    sets = [(even, even), (even, odd), (odd[:1], all_along), (odd[1:], all_along)]
    pays = iter([True, True, False, True])
    monkeypatch.setattr(made, "_pays", lambda layout, places: next(pays))
    found = torch.full((8, 8, *module(x).shape[1:]), torch.nan)
    for rows, columns, values in made.batches(tops, lefts, (8, 8), iter(sets)):
        place = np.ix_(rows, columns)
        assert found[place].isnan().all()  # each place once
        found[place] = values[0].unflatten(0, (len(rows), len(columns)))
    with torch.no_grad():
        expected = slowly(made, tops.tolist(), lefts.tolist(), (8, 8), module)
    assert_near(found.flatten(0, 1), expected)
    assert made.sets_by_way == {"incremental": 3, "whole": 1}


def test_a_set_counts_when_its_first_batch_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 3, 41, 38, generator=torch.Generator().manual_seed(2))
    with threads(2):  # so that it looks for a next part before the first one is there
        made = passes(Wide().eval(), x)
    assert not made.reason
    starts, one, two, three = np.array([0, 8, 16]), *(np.array([each]) for each in range(3))
    pays = iter([True, False, True])
    monkeypatch.setattr(made, "_pays", lambda layout, places: next(pays))
    batches = made.batches(starts, starts, (8, 8), [(one, one), (two, two), (three, three)])
    expected = [(1, 0), (1, 1)]
    for incremental, whole in expected:
        next(batches)
        assert made.sets_by_way == {"incremental": incremental, "whole": whole}
    batches.close()  # type: ignore[attr-defined]
    assert made.sets_by_way == {"incremental": 1, "whole": 1}


class _Held(TorchDispatchMode):
    """Measures how much memory the tensors that are alive take, those that were there before aside."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, Any] = {}
        self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, Tensor):
                storage = each.untyped_storage()
                self.held[storage.data_ptr()] = (StorageWeakRef(storage), storage.nbytes())
        self.held = {where: each for where, each in self.held.items() if not each[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.held.values()))
        return result


def test_memory_stays_below_the_limit() -> None:
    module, x = Wide().eval(), torch.randn(1, 3, 97, 90, generator=torch.Generator().manual_seed(0))
    small, tops, lefts = 12 * 2**20, range(0, 81, 8), range(0, 73, 8)
    most = {}
    for limit in (small, 2**30):
        with threads(1):  # what others allocate is not seen
            made = passes(module, x, memory_limit=limit)
        for watch in (False, True):  # the first time the maps of the clean image are brought into order
            with _Held() if watch else nullcontext() as held:
                batches = made.batches(tops, lefts, (16, 16), quick=True)
                assert sum(len(rows) * len(columns) for rows, columns, _ in batches) == 110
        most[limit] = held.most
    assert most[small] < small < most[2**30] < 2**30
