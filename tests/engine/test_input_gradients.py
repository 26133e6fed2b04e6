"""The gradient of a number with respect to a tensor, wherever it stands in the graph."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cnnviz_widgets.engine.input_gradients import sent_back


@pytest.mark.parametrize("is_leaf", [True, False])
@pytest.mark.parametrize("reentrant", [True, False])
def test_what_arrives_at_a_tensor_and_nothing_is_left_behind(is_leaf: bool, reentrant: bool) -> None:
    leaf = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    leaf.grad = torch.full_like(leaf, 7.0)
    x = leaf if is_leaf else leaf * 3

    def value(x: Tensor) -> Tensor:
        again = checkpoint(torch.sin, x, use_reentrant=reentrant)
        return (x.square() * again).sum() + x[0].sum()  # by three ways

    expected = 2 * x * x.sin() + x.square() * x.cos()
    expected[0] += 1
    torch.testing.assert_close(sent_back(value(x), x), expected.detach())
    assert leaf.grad is not None
    assert (leaf.grad == 7.0).all() == is_leaf  # what goes on from `x` is added as ever
    assert not leaf._backward_hooks
    assert not leaf._post_accumulate_grad_hooks


def test_zeros_where_it_does_not_hang_on_it() -> None:
    x = torch.ones(2, requires_grad=True)
    assert (sent_back(torch.tensor(2.0), x) == 0).all()
    assert (sent_back(torch.ones(1, requires_grad=True).sum(), x) == 0).all()
