"""Backward rules of rectifiers: what a rectifier does with a gradient that comes back to it.

==============  ==================================  ==================================================
rule            sends back, for a gradient g        paper
==============  ==================================  ==================================================
``plain``       g f'(x)                             the derivative
``guided``      max(g f'(x), 0)                     Springenberg et al., ICLR workshop 2015
``deconvnet``   max(g, 0), whatever x was           Zeiler & Fergus, ECCV 2014
``relaxed``     g, whatever x was                   to leave a place where the derivative is zero
==============  ==================================  ==================================================

Rules are put on the calls of rectifiers, not on modules: ``nn.ReLU``, ``F.relu``, ``x.relu_()``, in place or not,
one module used ten times. All that `cnnviz_widgets.engine.rectifiers` recognizes is a rectifier, the leaky and the
smooth ones too: the DeconvNet rule treats each as it treats a ReLU. Everything else keeps its derivative. For a
convolution that is its transposed filters; for max pooling it puts values where the maxima came from (the switches)
and adds up where windows overlap; batch norm in evaluation mode is a scaling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from cnnviz_widgets.engine.rectifiers import rectifier_name

Rule: TypeAlias = Literal["plain", "guided", "deconvnet"]
RULES: tuple[str, ...] = get_args(Rule)
RELAXED = "relaxed"
"""The rule that no picture is made with: it only helps an optimization to begin."""


def check_rule(rule: object) -> None:
    """Say what there is, for what is no rule."""
    if rule not in RULES:
        raise ValueError(f"rule is 'plain', 'guided' or 'deconvnet', got {rule!r}")


def _same(value: Any) -> Any:
    return value


class _Ruled(torch.autograd.Function):
    """A rectifier with another backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectify: Callable[[Tensor], Tensor], calls: RuledCalls) -> Tensor:
        ctx.calls = calls
        if calls.rule == "deconvnet":
            return rectify(x.detach().clone())
        # Hooks of our own, which do nothing: those of a module that checkpoints would run it again right here.
        with torch.enable_grad(), saved_tensors_hooks(_same, _same):
            given = x.detach().requires_grad_()
            # A copy, since the rectifier may write to what it is given.
            value = rectify(given.clone())
            (slope,) = torch.autograd.grad(value.sum(), given)
        ctx.save_for_backward(slope)
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        ctx.calls.changed += 1
        # Autograd sends zeros as well, down ways that the value does not hang on.
        ctx.calls.reached += int(bool((gradient != 0).any()))
        if ctx.calls.rule == "guided":
            (slope,) = ctx.saved_tensors
            gradient = gradient * slope
        return gradient if ctx.calls.rule == RELAXED else gradient.clamp(min=0), None, None


class RuledCalls(TorchFunctionMode):
    """Has rectifiers that this thread calls obey another rule in the backward pass, and counts them.

    Attributes
    ----------
    changed
        How many calls have sent a gradient back by the rule.
    reached
        How many of them got one that is not zero all over.
    """

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule
        self.changed = self.reached = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if (
            rectifier_name(func, args, kwargs) is None
            or not isinstance(x, Tensor)
            or not (x.requires_grad and torch.is_grad_enabled())
        ):
            return func(*args, **kwargs)
        return self._ruled(
            func, x, args[1:], {name: each for name, each in kwargs.items() if name != "input"}
        )

    def _ruled(self, func: Any, x: Tensor, more: tuple[Any, ...], options: Mapping[str, Any]) -> Tensor:
        in_place = False

        def rectify(given: Tensor) -> Tensor:
            nonlocal in_place
            value: Tensor = func(given, *more, **options)
            in_place = value is given
            return value

        value: Tensor = _Ruled.apply(x, rectify, self)
        # Whoever else holds this memory, under another name or as a part of it, sees the change as well.
        return x.copy_(value) if in_place else value


@contextmanager
def ruled(rule: str) -> Iterator[RuledCalls]:
    """Have the rectifiers that are called inside, on values with gradients, obey a rule in the backward pass.

    Nothing is hung on any module. Open it before a `capture` of the same pass, and keep it open during the backward
    pass: modules that checkpoint their activations run once more there.

    Examples
    --------
    >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
    >>> with ruled("deconvnet") as calls:
    ...     y = torch.relu(x) @ torch.tensor([3.0, -4.0])
    ...     y.backward()
    >>> x.grad, calls.changed
    (tensor([3., 0.]), 1)
    """
    if rule != RELAXED:
        check_rule(rule)
    calls = RuledCalls(rule)
    with nullcontext() if rule == "plain" else calls:
        yield calls
