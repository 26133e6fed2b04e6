"""The loop that optimizes pictures, against the same steps written out."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import cnnviz_widgets as cv
from cnnviz_widgets.engine import climber
from cnnviz_widgets.engine.ascent import Ascent, ascend
from cnnviz_widgets.engine.climber import judged
from cnnviz_widgets.engine.errors import OutputError
from cnnviz_widgets.engine.gram import ContentDistance
from cnnviz_widgets.engine.objectives import Objective, OneEach, Seen, as_objective
from cnnviz_widgets.engine.optimizers import Optimizer, _adam_mover
from cnnviz_widgets.engine.parameterizations import Fourier, Pixels
from cnnviz_widgets.engine.stream import Step
from cnnviz_widgets.engine.transforms import Jitter, Rotate, Transform
from tests.random_networks import RandomNetwork
from tests.untouched import untouched


class Bowl(Objective):
    """-|x - goal|^2 / 2 of the picture, without a network's help."""

    def __init__(self, goal: Tensor) -> None:
        self.goal = goal

    def values(self, seen: Seen) -> Tensor:
        return -0.5 * (seen.picture - self.goal).square().flatten(1).sum(1)


class Of(Objective):
    """Any function of the picture."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def values(self, seen: Seen) -> Tensor:
        return self.function(seen.picture)


SPEC = cv.InputSpec(size=6, channels=3)


def network() -> cv.Network:
    torch.manual_seed(0)
    return cv.Network(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)), input=SPEC
    )


def start(pictures: int = 1) -> Tensor:
    return torch.rand(pictures, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def climb(net: cv.Network, x: Tensor, objective: Objective, **options: Any) -> tuple[Ascent, list[Any]]:
    options = {
        "steps": 5,
        "optimizer": Optimizer("adam", 0.1),
        "random": torch.Generator().manual_seed(0),
    } | options
    steps = ascend(net, Pixels(net.input, x, bounded=False), {"value": objective}, **options)
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as end:
            return end.value, seen


def written_out(name: str, module: nn.Module, start: Tensor, steps: int) -> Tensor:
    x = start.clone().requires_grad_()
    chosen: Any = {
        "adam": lambda: torch.optim.Adam([x], lr=0.1),
        "momentum": lambda: torch.optim.SGD([x], lr=0.1, momentum=0.9),
    }.get(name, lambda: None)()
    for _ in range(steps):
        x.grad = None
        (-module(x)[:, 2].sum()).backward()
        if chosen is not None:
            chosen.step()
            continue
        slope = -x.grad if x.grad is not None else torch.zeros(())
        size = slope.abs().mean((1, 2, 3), keepdim=True)
        with torch.no_grad():
            x += 0.1 * (slope.sign() if name == "sign" else slope / size)
    return x.detach()


@pytest.mark.parametrize("name", ["adam", "momentum", "sign", "normalized"])
def test_steps_are_those_of_the_optimizer(name: Any) -> None:
    net = network()
    with untouched(net.module):
        found, steps = climb(net, start(2), as_objective(2), steps=6, optimizer=Optimizer(name, 0.1))
    torch.testing.assert_close(found.x, written_out(name, net.module, start(2), 6), atol=1e-5, rtol=1e-5)
    assert [step.index for step in steps] == list(range(6))
    assert found.steps == 6
    first = net.module(start(2))[:, 2].detach()
    np.testing.assert_allclose(found.values["value"][0], first, rtol=1e-5)
    np.testing.assert_allclose(
        judged(net, as_objective(2), found.x), net.module(found.x)[:, 2].detach(), rtol=1e-5
    )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_of_adam_are_to_the_last_bit_those_of_torch(dtype: torch.dtype, fused: bool) -> None:
    random = torch.Generator().manual_seed(0)
    ours = torch.randn(2, 3, 5, 4, generator=random, dtype=dtype)
    theirs = ours.clone()
    move = _adam_mover(Optimizer("adam", lambda index: 0.1 / (index + 1)), ours, fused)
    chosen = torch.optim.Adam([theirs], lr=1.0, maximize=True, foreach=False, fused=fused)
    for index in range(20):
        # As gradients of convolutions come.
        gradient = torch.randn(2, 5, 4, 3, generator=random, dtype=dtype).permute(0, 3, 1, 2)
        move(index, ({}, gradient), lambda: pytest.fail("it asks for nothing elsewhere"))
        chosen.param_groups[0]["lr"] = 0.1 / (index + 1)
        theirs.grad = gradient.contiguous()
        chosen.step()
        assert torch.equal(ours, theirs)


def test_lbfgs_takes_the_steps_of_one_long_run() -> None:
    """Each of ours is one iteration of torch's, which also keeps what it has learned from one to the next."""
    goal = torch.randn(1, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    scale = torch.linspace(0.1, 3.0, goal.numel()).view_as(goal)

    def steep(x: Tensor) -> Tensor:
        return -(scale * (x - goal) ** 2 + 0.1 * (x - goal) ** 4).flatten(1).sum(1)

    x = start().requires_grad_()
    whole = torch.optim.LBFGS(
        [x],
        max_iter=12,
        max_eval=999,
        history_size=20,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        x.grad = None
        value = -steep(x).sum()
        value.backward()
        return value

    whole.step(loss)  # type: ignore[arg-type]
    found, _ = climb(network(), start(), Of(steep), steps=12, optimizer=Optimizer("lbfgs", 1.0))
    torch.testing.assert_close(found.x, x.detach(), atol=1e-3, rtol=1e-3)
    assert float(-steep(found.x).sum()) < 1e-2 * float(-steep(start()).sum())


def test_rates_may_change_from_step_to_step() -> None:
    goal = torch.zeros(1, 3, 6, 6)
    found, _ = climb(
        network(), start(), Bowl(goal), steps=3, optimizer=Optimizer("momentum", lambda n: 0.5 / (n + 1), 0.0)
    )
    torch.testing.assert_close(found.x, start() * 0.5 * 0.75 * (1 - 0.5 / 3))


def test_terms_add_up_and_combine() -> None:
    net = network()
    a, b = cv.Target(2), cv.Target(layer="1", channel=1, position=(0, 3))
    x = start(2)
    scores, maps = net.module(x).detach(), net.module[:2](x).detach()
    for objective, expected in (
        (a + 0.5 * b, scores[:, 2] + 0.5 * maps[:, 1, 0, 3]),
        (a - b, scores[:, 2] - maps[:, 1, 0, 3]),
        (-(2 * a), -2 * scores[:, 2]),
        (as_objective(3) - (a + a), scores[:, 3] - 2 * scores[:, 2]),
        (OneEach([as_objective(a), as_objective(b)]), torch.stack([scores[0, 2], maps[1, 1, 0, 3]])),
        (cv.Direction("1", [3.0, 0, -4.0, 0]), ((3 * maps[:, 0] - 4 * maps[:, 2]) / 5).mean((1, 2))),
        (cv.Direction("1", [0, 1.0, 0, 0], position=(1, 2)), maps[:, 1, 1, 2]),
        (cv.Direction("3", [0, 1.0, 0, 0, 0]), scores[:, 1]),
    ):
        np.testing.assert_allclose(judged(net, objective, x), expected, rtol=1e-5, err_msg=objective.text)
    image = np.full((6, 6, 3), 200, np.uint8)
    reference = net.module[:1](net.prepare(image)).detach()
    own = net.module[:1](x).detach()
    alike = torch.cosine_similarity(own, reference, dim=1)
    expected = ((own * reference).sum(1) * alike.clamp(min=0.1) ** 2).mean((1, 2))
    bound = cv.Caricature("0", image, power=2).bound(net, (6, 6))
    np.testing.assert_allclose(judged(net, bound, x), expected, rtol=1e-4)


@pytest.mark.parametrize("count", [3, 50])
def test_the_last_good_pictures_are_left_where_the_value_becomes_nan(count: int) -> None:
    """Also where that is seen only after the last step."""

    def cliff(x: Tensor) -> Tensor:
        return (1.25 - x.amax((1, 2, 3))).sqrt() + 10 * x.amax((1, 2, 3))

    x = start() * 0
    with torch.no_grad():
        x += 1
    found, steps = climb(network(), x, Of(cliff), steps=count, optimizer=Optimizer("sign", 0.1))
    assert len(steps) == 3  # at 1.1, 1.2, and 1.3, where it is seen
    assert found.x.max().item() == pytest.approx(1.2)
    assert "NaN" in found.ended
    # The last step is undone, and does not count.
    assert found.steps == 2
    assert found.values["value"].shape == (2, 1)
    assert found.last["value"][0] == pytest.approx(0.05**0.5 + 12, abs=1e-4)


def test_class_scores_that_become_nan_are_noticed_in_the_same_way() -> None:
    class Cliff(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            top = x.amax((1, 2, 3))
            return torch.stack([(1.25 - top).sqrt() + 10 * top, top], 1)

    found, steps = climb(
        cv.Network(Cliff(), input=SPEC),
        start() * 0 + 1,
        as_objective(0),
        steps=50,
        optimizer=Optimizer("sign", 0.1),
    )
    assert len(steps) == 3
    assert found.x.max().item() == pytest.approx(1.2)
    assert "NaN" in found.ended


def test_a_value_that_falls_without_end_is_noticed() -> None:
    found, steps = climb(
        network(), start(), Bowl(torch.zeros(1, 3, 6, 6)), steps=500, optimizer=Optimizer("momentum", 30.0)
    )
    assert "diverged" in found.ended
    assert len(steps) < 10
    assert found.x.isfinite().all()


@pytest.mark.parametrize(
    ("steps", "pace", "taken", "left"),
    [(60, 3.0, 13, 1), (5, 2.5, 5, 1), (3, 2.5, 3, 3)],
    ids=["grows without end", "is left larger", "is left about as large"],
)
def test_losses_that_grow_end_with_the_picture_that_has_the_least(
    steps: int, pace: float, taken: int, left: int
) -> None:
    """Steps of a rate r take a picture to (1 - r) times its distance from the goal."""
    goal = torch.zeros(1, 3, 6, 6)
    rates = [0.5] + [pace] * steps
    options = {"optimizer": Optimizer("momentum", lambda index: rates[index], momentum=0.0), "losses": True}
    found, seen = climb(network(), 5 * start(), Bowl(goal), steps=steps, **options)
    assert (len(seen), found.steps) == (taken, left)
    factors = np.cumprod([1.0, *(1 - rate for rate in rates)])
    torch.testing.assert_close(found.x, 5 * start() * factors[left])
    least = -0.5 * float((5 * start()).square().sum()) * factors**2
    np.testing.assert_allclose(found.values["value"][:, 0], least[:taken], rtol=1e-5)
    np.testing.assert_allclose(found.last["value"], least[left], rtol=1e-5)
    assert ("diverged" in found.ended) == ("of step 1" in found.ended) == (left == 1)


def test_a_first_value_that_is_nan_is_an_error() -> None:
    with pytest.raises(OutputError, match="first value is NaN"):
        climb(network(), start(), Of(lambda x: (x * float("nan")).sum((1, 2, 3))))


def test_a_zero_gradient_ends_it_where_it_is() -> None:
    found, steps = climb(network(), start(), Bowl(start()))
    assert not steps
    assert torch.equal(found.x, start())
    assert "gradient is zero" in found.ended
    assert found.steps == 0
    assert found.values["value"].shape == (0, 1)
    assert found.last["value"].tolist() == [0.0]


def hidden_corner() -> tuple[cv.Network, Objective]:
    """A unit that sees one pixel, in the corner."""
    torch.manual_seed(0)
    net = cv.Network(nn.Sequential(nn.Conv2d(3, 2, 1)), input=SPEC)
    return net, as_objective(cv.Target(layer="0", channel=1, position=(0, 0)))


def test_a_draw_that_hides_everything_is_drawn_again() -> None:
    """The corner is shown to the unit in 9 of 25 shifts only, and all steps go by these."""
    net, corner = hidden_corner()
    found, steps = climb(
        net, start(), corner, steps=30, transforms=[Jitter(2)], optimizer=Optimizer("sign", 0.1)
    )
    assert (found.steps, found.ended, len(steps)) == (30, "", 30)
    moves = ((found.x - start()).abs() / 0.1).round()
    assert moves[:, :, 3:].sum() == moves[..., 3:].sum() == 0
    assert moves.sum((2, 3)).tolist() == [[30, 30, 30]]


class Hide(Transform):
    """Shows nothing at all."""

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        return x * 0


def test_where_all_draws_hide_it_the_picture_itself_is_shown() -> None:
    net, corner = hidden_corner()
    found, _ = climb(net, start(), corner, transforms=[Hide()])
    assert torch.equal(found.x, climb(net, start(), corner)[0].x)


def dead_network() -> cv.Network:
    """A rectifier far below zero for every picture near black."""
    net = network()
    with torch.no_grad():
        net.module[0].weight.copy_(net.module[0].weight.abs())
        net.module[0].bias.fill_(-0.5)
    return net


def test_dead_units_are_woken_by_relaxed_rectifiers_and_this_is_counted() -> None:
    net, x = dead_network(), torch.zeros(2, 3, 6, 6)
    x[1] += 2.0
    unit = as_objective(cv.Target(layer="1", channel=0))
    stuck, _ = climb(net, x[:1], unit, steps=20)
    assert stuck.steps == 0
    found, _ = climb(net, x, unit, steps=20, relax=16)
    assert found.relaxed[0] > 0
    assert found.relaxed[1] == 0
    assert judged(net, unit, found.x)[0] > 0
    # The one that was not dead went as ever.
    alone, _ = climb(net, x[1:], unit, steps=20)
    torch.testing.assert_close(found.x[1:], alone.x)


def test_a_penalty_does_not_hide_that_a_unit_is_dead() -> None:
    """Not even within one objective."""
    net, x = dead_network(), torch.zeros(2, 3, 6, 6)
    x[1] += 2.0
    unit = as_objective(cv.Target(layer="1", channel=0)) + 0.01 * Bowl(torch.full((1, 3, 6, 6), -1.0))
    stuck, _ = climb(net, x[:1], unit, steps=20)
    assert stuck.steps == 0
    assert "gradient is zero" in stuck.ended
    found, _ = climb(net, x, unit, steps=20, relax=16)
    assert found.relaxed[0] > found.relaxed[1] == 0
    assert judged(net, as_objective(cv.Target(layer="1", channel=0)), found.x)[0] > 0
    # Beside one that lives, what stays dead is named.
    beside, _ = climb(net, x, unit, steps=20)
    assert beside.dead.tolist() == [True, False]


def test_losses_that_are_reached_leave_the_rest_to_the_penalties() -> None:
    net = network()
    reached = -ContentDistance({"0": net.module[0](start()).detach()}, 1.0)
    terms = {"error": reached, "penalty": Bowl(start() * 0)}
    steps = ascend(
        net,
        image := Pixels(SPEC, start(), bounded=False),
        terms,
        steps=1,
        optimizer=Optimizer("momentum", 0.5),
        random=torch.Generator(),
        losses=True,
    )
    assert len(list(steps)) == 1
    torch.testing.assert_close(image.leaf, start() * 0.5)


def test_lbfgs_does_not_relax_since_it_needs_the_values_own_gradient() -> None:
    unit = as_objective(cv.Target(layer="1", channel=0))
    found, _ = climb(
        dead_network(), torch.zeros(1, 3, 6, 6), unit, optimizer=Optimizer("lbfgs", 1.0), relax=16
    )
    assert (found.steps, found.relaxed.tolist()) == (0, [0])


def test_pictures_of_a_batch_have_each_their_own_line_search() -> None:
    scale = torch.tensor([1.0, 300.0]).view(2, 1, 1, 1)

    def valley(share: Tensor) -> Objective:
        return Of(lambda x: -(share * (x - 0.3) ** 2 + (x - 0.3) ** 4).flatten(1).sum(1))

    options: dict[str, Any] = {"steps": 4, "optimizer": Optimizer("lbfgs", 0.01)}
    both, _ = climb(network(), start(2), valley(scale), **options)
    for index in range(2):
        one = slice(index, index + 1)
        alone, _ = climb(network(), start(2)[one], valley(scale[one]), **options)
        torch.testing.assert_close(both.x[one], alone.x, atol=1e-5, rtol=1e-4)


def test_steps_have_their_size_in_half_precision_too() -> None:
    net = network()
    half = cv.Network(copy.deepcopy(net.module).half(), input=SPEC)
    expected, _ = climb(net, start(), as_objective(2))
    found, _ = climb(half, start().half(), as_objective(2))
    assert found.x.dtype == torch.float16
    torch.testing.assert_close(found.x.float(), expected.x, atol=0.02, rtol=0.0)


def test_the_model_may_be_trained_between_two_steps() -> None:
    net = network()
    expected, _ = climb(net, start(), as_objective(2))
    steps = ascend(
        net,
        image := Pixels(SPEC, start(), bounded=False),
        {"value": as_objective(2)},
        steps=5,
        optimizer=Optimizer("adam", 0.1),
        random=torch.Generator().manual_seed(0),
    )
    next(steps)
    with torch.no_grad():
        for parameter in net.module.parameters():
            parameter += 1
    net.module.train()
    worker = threading.Thread(target=lambda: [None for _ in steps])
    worker.start()
    worker.join()
    assert torch.equal(image.leaf, expected.x)


class Locked(nn.Module):
    """A module that can't be copied."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.lock = inner, threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x)
        return found


def test_a_module_that_cannot_be_copied_gives_the_same_and_is_untouched() -> None:
    net = network()
    locked = cv.Network(Locked(net.module), input=SPEC)
    locked.module.train()
    with untouched(locked.module):
        found, _ = climb(locked, start(), as_objective(2))
    assert torch.equal(found.x, climb(net, start(), as_objective(2))[0].x)


@pytest.mark.parametrize("seed", range(8))
def test_gradients_are_those_of_finite_differences_on_random_networks(seed: int) -> None:
    """One plain step of rate 1 moves by the gradient, whatever the network is made of."""
    module = RandomNetwork(seed, smooth=True).double()
    net = cv.Network(
        module,
        input=cv.InputSpec(size=tuple(module.example().shape[-2:]), channels=module.example().shape[1]),
    )
    x = module.example()[:1].double()
    objective = as_objective(1)
    with untouched(module):
        found, _ = climb(net, x, objective, steps=1, optimizer=Optimizer("momentum", 1.0, 0.0))
    gradient = found.x - x
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    reach = 1e-5
    ahead, behind = (float(net.scores(x + sign * reach * direction)[0, 1]) for sign in (1, -1))
    slope = (ahead - behind) / (2 * reach)
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-4, abs=1e-7)


class Checkpointed(nn.Module):
    """Runs its beginning again in the backward pass, in the way that refuses `torch.autograd.grad`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner[2:](checkpoint(self.inner[:2], x, use_reentrant=True))
        return found


def test_modules_that_checkpoint_climb_as_others_do() -> None:
    net = network()
    expected, _ = climb(net, start(), as_objective(2))
    found, _ = climb(cv.Network(Checkpointed(net.module), input=SPEC), start(), as_objective(2))
    torch.testing.assert_close(found.x, expected.x)


def test_the_same_seed_gives_the_same_bytes_and_global_random_states_stay() -> None:
    net = network()
    options = {"transforms": [Jitter(1), Rotate(10)], "steps": 4}
    state = torch.get_rng_state()
    one, _ = climb(net, start(), as_objective(2), **options)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    two, _ = climb(net, start(), as_objective(2), **options)
    other, _ = climb(net, start(), as_objective(2), random=torch.Generator().manual_seed(7), **options)
    assert torch.equal(one.x, two.x)
    assert not torch.equal(one.x, other.x)


def test_pictures_of_steps_are_made_when_they_are_looked_at() -> None:
    made: list[Tensor] = []

    def picturing(x: Tensor) -> np.ndarray:
        made.append(x)
        return np.full((2, 2, 3), len(made), np.uint8)

    _, steps = climb(network(), start(), Bowl(start() + 1), picturing=picturing)
    assert not made
    assert steps[1].image[0, 0, 0] == steps[1].image[0, 0, 0] == 1
    assert steps[3].image[0, 0, 0] == 2
    # Each is that of its own step, although the pictures have moved on since.
    assert torch.all(made[0] < made[1])


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_who_looks_at_pictures_changes_nothing(name: Any) -> None:
    net, made = network(), []

    def run(look: Callable[[list[Step]], None]) -> Ascent:
        image = Fourier(SPEC, start(2), random=torch.Generator().manual_seed(3), deviation=0.3)
        steps = ascend(
            net,
            image,
            {"target": as_objective(2)},
            steps=5,
            optimizer=Optimizer(name, 0.2),
            random=torch.Generator().manual_seed(2),
            transforms=[Jitter(1)] if name == "adam" else [],
            picturing=lambda x: net.restore(x)[0],
            relax=3,
        )
        taken: list[Step] = []
        while True:
            try:
                taken.append(next(steps))
            except StopIteration as end:
                return end.value
            look(taken)

    def now(taken: list[Step]) -> None:
        with torch.inference_mode():
            made.append(taken[-1].image)

    later: list[Step] = []
    alone = run(lambda taken: None)
    watched = run(now)
    run(lambda taken: later.extend(taken) if len(taken) == 5 else None)
    late = run(lambda taken: taken[len(taken) // 2].image)
    for other in (watched, late):
        assert torch.equal(other.x, alone.x)
        np.testing.assert_array_equal(other.values["target"], alone.values["target"])
    for one, other in zip(made, later, strict=True):
        np.testing.assert_array_equal(one, other.image)


def test_who_looks_while_a_step_is_taken_changes_nothing_either() -> None:
    net = network()
    taken: list[Step] = []

    class Peeking(Objective):
        """Another thread may look at any moment, also within a line search."""

        def values(self, seen: Seen) -> Tensor:
            if taken:
                taken[-1].__dict__["_picture"]()
            return -(seen.picture - 0.3).square().flatten(1).sum(1)

    def run(*, peek: bool) -> Ascent:
        taken.clear()
        image = Fourier(SPEC, start(2), random=torch.Generator().manual_seed(3), deviation=0.3)
        steps = ascend(
            net,
            image,
            {"target": Peeking()},
            steps=6,
            optimizer=Optimizer("lbfgs", 1.0),
            random=torch.Generator(),
            picturing=lambda x: net.restore(x)[0],
        )
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            if peek:
                taken.append(step)

    found, alone = run(peek=True), run(peek=False)
    assert alone.steps == 6
    assert torch.equal(found.x, alone.x)


def test_a_step_that_is_kept_does_not_keep_the_networks_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    real = climber.private_network

    def noted(net: cv.Network) -> cv.Network:
        copied = real(net)
        copies.append(weakref.ref(copied.core))
        return copied

    monkeypatch.setattr(climber, "private_network", noted)
    net = network()
    ascent, steps = climb(net, start(), as_objective(2), picturing=lambda x: net.restore(x)[0])
    kept = steps[-1]
    assert kept.image is not None
    del ascent, steps
    gc.collect()
    assert [copied() for copied in copies] == [None]
    assert kept.image.shape == (6, 6, 3)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda: Optimizer("magic"), "got 'magic'"),  # type: ignore[arg-type]
        (lambda: Optimizer("adam", 0.0), "above 0, got 0"),
        (
            lambda: climb(
                network(), start(), as_objective(2), optimizer=Optimizer("lbfgs", 1), transforms=[Jitter(1)]
            ),
            "leave out the transforms",
        ),
        (lambda: cv.Direction("1", [0.0, 0.0]), "not all of them 0"),
        (lambda: judged(network(), cv.Direction("1", [1.0, 2.0]), start()), "a direction has 4 numbers"),
    ],
)
def test_what_is_wrong_is_said(wrong: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        wrong()
