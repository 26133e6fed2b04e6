"""Every operation that has a rule, against changing every pixel; by both ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import cnnviz_widgets as cv
from cnnviz_widgets.engine import tracing
from cnnviz_widgets.engine.extent_rules import _BY_RULE, rule_for

SIZE = (6, 7)
CHANNELS = 4


def _generic(*shape: int, seed: int = 5) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


MASK = torch.arange(42).reshape(6, 7) % 3 == 0
ORDER = torch.tensor([3, 0, 5, 1])
PLACES = torch.tensor([[2, 0, 6], [1, 1, 3]]).expand(1, 4, 2, 3)


def _sliced_in_place(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :2, 1:] += x[:, 2:, :-1]
    y[:, 0].mul_(x[:, 3])
    y[:, 1, :, 2] = 7.0
    return y.relu_()


def _written_through_a_transposed_view(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    turned = y.transpose(2, 3)
    turned[:, :, 2:5] = F.avg_pool2d(x, (1, 3), 1).transpose(2, 3)[:, :, :3]
    y += 1
    return y.t_() if y.ndim == 2 else y.unsqueeze_(0).squeeze_(0)


def _viewed_before_it_is_overwritten(x: Tensor) -> Tensor:
    y = x.clone()
    view = y[:, 1:3]
    y.mul_(x.flip(2))
    return view + 1


def _used_before_it_is_overwritten(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, 1:] += x[:, :, :-1]
    before = y * 2
    y[:, :, :, 1:] += x[:, :, :, :-1]
    return before + 1


def _written_into_out(x: Tensor) -> Tensor:
    y = x[:, :, :, 1:].contiguous()
    torch.add(x[:, :, :, :-1], 1.0, out=y)
    return y


def _patches(x: Tensor) -> Tensor:
    """As a vision transformer does it: cut into patches, one linear map for all, put together again."""
    n, c, h, _ = x.shape
    patches = x[..., :6].reshape(n, c, h // 2, 2, 2, 3).permute(0, 2, 4, 1, 3, 5).flatten(3)
    return F.linear(patches, _generic(5, c * 6), _generic(5)).permute(0, 3, 1, 2)


def _window_attention(x: Tensor) -> Tensor:
    """Attention within shifted windows of rows, as in Swin: rows 5 and 0 share a window."""
    rolled = x.roll(1, 2).permute(0, 2, 3, 1).unflatten(1, (3, 2)).flatten(2, 3)
    mixed = torch.softmax(rolled @ rolled.transpose(-2, -1), -1) @ rolled
    return mixed.unflatten(2, (2, 7)).flatten(1, 2).permute(0, 3, 1, 2).roll(-1, 2)


def _masked_softmax(x: Tensor) -> Tensor:
    logits = (x.mean(1) @ _generic(7, 6)).masked_fill(~torch.ones(6, 6).tril().bool(), -torch.inf)
    return (logits.softmax(-1) @ x.mean(1))[:, None]


def _squeeze_excite(x: Tensor) -> Tensor:
    return x * torch.sigmoid(F.conv2d(F.adaptive_avg_pool2d(x, 1), _generic(4, 4, 1, 1)))


OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "pointwise": lambda x: (
        F.gelu(x) + F.hardswish(x).neg() * F.leaky_relu(x) - F.elu(x) / (1 + F.silu(x) ** 2)
    ),
    "activations": lambda x: F.mish(
        F.softplus(F.relu6(F.selu(F.celu(x))) + F.hardsigmoid(x)) + F.logsigmoid(x)
    ),
    "prelu": lambda x: F.prelu(x, torch.tensor([0.2], dtype=x.dtype)),
    "rrelu": lambda x: F.rrelu(x) + F.softshrink(x, 0.1) + F.hardshrink(x, 0.1),
    "broadcast": lambda x: x[:, :1] * x[:, :, :1] + torch.arange(7.0, dtype=x.dtype),
    "where constant": lambda x: torch.where(MASK, x, x.flip(3)),
    "masked_fill": lambda x: x.masked_fill(MASK, 0.0),
    "glu": lambda x: F.glu(x, 1),
    "cat": lambda x: torch.cat([x, torch.ones_like(x), x.flip(2)], 1)[:, 2:7],
    "cat rows": lambda x: torch.cat([x[:, :, 4:], x[:, :, :1]], 2),
    "stack": lambda x: torch.stack([x, x.roll((1, 2), (2, 3))], 2).flatten(1, 2)[:, 1:2],
    "split": lambda x: sum(part * n for n, part in enumerate(x.split([3, 3], 2), 1)),
    "unbind": lambda x: torch.stack([x.unbind(3)[n] for n in (6, 2, 2)], 3),
    "index_select": lambda x: x.index_select(2, ORDER),
    "index": lambda x: x[:, :, ORDER],
    "gather": lambda x: x.gather(3, PLACES.expand(len(x), -1, -1, -1)),
    "repeat": lambda x: x[:, :, :2].repeat(1, 1, 2, 1),
    "triangle": lambda x: x.tril() + x.triu(3),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[..., :6], 2),
    "channel_shuffle": lambda x: F.channel_shuffle(torch.cat([x, x.flip(2)], 1), 2)[:, ::4],
    "unfold": lambda x: F.unfold(x, 3, padding=1).unflatten(2, (6, 7))[:, 2:5],
    "unfold view": lambda x: x.unfold(3, 3, 2).amax(-1),
    "as_strided": lambda x: x.contiguous().as_strided((len(x), 1, 3, 3), (168, 1, 15, 2), 3),
    "expand": lambda x: x[:, :, 2:3].expand(-1, -1, 4, -1) + 1,
    "in place through slices": _sliced_in_place,
    "in place through a transposed view": _written_through_a_transposed_view,
    "viewed before it is overwritten": _viewed_before_it_is_overwritten,
    "used before it is overwritten": _used_before_it_is_overwritten,
    "out=": _written_into_out,
    "fill": lambda x: x.clone().fill_(1.0) + F.dropout(x[:, :, :1], training=False),
    "copy": lambda x: torch.empty_like(x).copy_(x[:, 2:3]),
    "masked in place": lambda x: x.clone().masked_fill_(MASK, 3.0),
    "convolution": lambda x: F.conv2d(x, _generic(2, 4, 3, 2), None, (2, 1), (1, 2), (2, 3)),
    "grouped convolution": lambda x: F.conv2d(
        torch.cat([x, x.roll(1, 3)], 1), _generic(4, 2, 1, 3), groups=4
    )[:, 1:3],
    "transposed convolution": lambda x: F.conv_transpose2d(
        x, _generic(4, 2, 3, 2), None, (2, 3), (1, 0), (1, 2), 2
    ),
    "convolution over channels": lambda x: (
        x * F.conv1d(x[:, :, 2, 3][:, None], _generic(1, 1, 3), padding=1)[:, 0, :, None, None]
    ),
    "convolution in 3-D": lambda x: F.conv3d(x[:, None], _generic(1, 1, 2, 3, 2), padding=(0, 1, 1))[:, 0],
    "max pooling": lambda x: F.max_pool2d(x, (3, 2), (2, 3), (1, 0), (1, 2), ceil_mode=True),
    "average pooling": lambda x: F.avg_pool2d(x, (3, 2), (2, 3), (1, 1), ceil_mode=True),
    "power pooling": lambda x: F.lp_pool2d(x, 2, 3, 2),
    "local response norm": lambda x: F.local_response_norm(x, 3),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, (4, 3)),
    "adaptive average, rows": lambda x: F.adaptive_avg_pool2d(x, (4, 1)),
    "adaptive maximum": lambda x: F.adaptive_max_pool2d(x, (4, 5)),
    "nearest": lambda x: F.interpolate(x, size=(9, 5)),
    "nearest exact": lambda x: F.interpolate(x, scale_factor=(0.5, 1.7), mode="nearest-exact"),
    "bilinear": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "bilinear aligned": lambda x: F.interpolate(x, size=(11, 4), mode="bilinear", align_corners=True),
    "bilinear antialiased": lambda x: F.interpolate(x, size=(2, 3), mode="bilinear", antialias=True),
    "bicubic": lambda x: F.interpolate(x, size=(5, 10), mode="bicubic"),
    "zero padding": lambda x: F.conv2d(F.pad(x, (2, -1, -1, 3)), _generic(1, 4, 2, 2)),
    "reflection": lambda x: F.conv2d(F.pad(x, (3, 1, 0, 2), mode="reflect"), _generic(1, 4, 2, 2)),
    "replication": lambda x: F.pad(x, (0, 2, 1, 0), mode="replicate"),
    "circular padding": lambda x: F.pad(x, (1, 2, 0, 1), mode="circular"),
    "mean of rows": lambda x: x.mean(2, keepdim=True) + x.new_zeros(1, 4, 1, 7),
    "variance of channels": lambda x: x.var(1, keepdim=True),
    "maximum of columns": lambda x: x + x.amax(3, keepdim=True) * 0.1,
    "maximum with index": lambda x: x.max(2, keepdim=True).values,
    "sum of all": lambda x: x[:, :, :2] + x[:, :1, :3].sum((1, 2, 3), keepdim=True),
    "logsumexp": lambda x: x.logsumexp(1, keepdim=True),
    "norm": lambda x: F.normalize(x, dim=1) + torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "cumulative sum": lambda x: x.cumsum(3),
    "sorted": lambda x: x.sort(2).values,
    "softmax of columns": lambda x: x.softmax(3),
    "log softmax of channels": lambda x: F.log_softmax(x, 1),
    "batch norm": lambda x: F.batch_norm(x, _generic(4), _generic(4), _generic(4), _generic(4)),
    "instance norm": lambda x: F.instance_norm(x),
    "layer norm of channels": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)).permute(0, 3, 1, 2),
    "layer norm of columns": lambda x: F.layer_norm(x, (7,)),
    "rms norm of columns": lambda x: F.rms_norm(x, (7,)),
    "group norm": lambda x: F.group_norm(x, 2, _generic(4), _generic(4)),
    "matrix product": lambda x: x @ _generic(7, 3),
    "product of maps": lambda x: x[:, :, :3] @ x.transpose(2, 3)[..., 2:4],
    "einsum": lambda x: torch.einsum(
        "nchw,cd,wv->ndhv", x, _generic(4, 2), torch.eye(7, dtype=x.dtype)[:, :4] + 1
    ),
    "linear over channels": lambda x: F.linear(x.permute(0, 2, 3, 1), _generic(3, 4), _generic(3)).permute(
        0, 3, 1, 2
    ),
    "matrix and vector": lambda x: (x.flatten(0, 2) @ _generic(7)).reshape(len(x), 4, 6, 1),
    "patches": _patches,
    "window attention": _window_attention,
    "attention over columns": lambda x: F.scaled_dot_product_attention(x, x + 1, x * 2),
    "biased attention": lambda x: F.scaled_dot_product_attention(x[..., :2], x[..., 3:5], x, _generic(6, 6)),
    "squeeze and excitation": _squeeze_excite,
    "precision": lambda x: x.float().double().contiguous(memory_format=torch.channels_last),
}

# Traced or not, but never wrongly: these have no rule, or none for this case.
WITHOUT_RULE: dict[str, Callable[[Tensor], Tensor]] = {
    "fold": lambda x: F.fold(F.unfold(x, (3, 2), padding=1), SIZE, (3, 2), padding=1),
    "sampling at fixed places": lambda x: F.grid_sample(
        x,
        F.affine_grid(
            torch.tensor([[[0.7, 0.2, 0.1], [-0.1, 0.6, 0.0]]], dtype=x.dtype).expand(len(x), 2, 3),
            [len(x), 4, 3, 4],
            False,
        ),
        align_corners=False,
    ),
    "scatter": lambda x: torch.zeros_like(x).scatter(3, torch.arange(7).roll(3).expand_as(x), x),
    "index_put": lambda x: (
        x.index_put((torch.tensor([0]), torch.tensor([1])), x[0, 2] * 2) if len(x) == 1 else x
    ),
    "masked softmax": _masked_softmax,
    "causal attention": lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
    "convolution with a computed kernel": lambda x: F.conv2d(
        x.flatten(0, 1)[None], x[:, :, 1:3, 2:4].reshape(-1, 1, 2, 2), groups=4 * len(x)
    ).unflatten(1, (len(x), 4))[0],
}


# Those that the gradient way treats in its own manner, and some that overwrite what autograd would want kept.
BY_GRADIENT = (
    "pointwise, activations, prelu, rrelu, where constant, masked_fill, glu, split, unbind, unfold view, "
    "in place through slices, in place through a transposed view, masked in place, max pooling, "
    "adaptive maximum, bilinear, reflection, maximum of columns, maximum with index, norm, softmax of columns, "
    "log softmax of channels, layer norm of columns, group norm, window attention, attention over columns, "
    "squeeze and excitation"
)


class _Applied(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.operation = _Operation(function)

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x).sum((1, 2, 3))


class _Operation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _boxes_by_change(function: Callable[[Tensor], Tensor]) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return top, left, bottom, right of the pixels that change each position, in any of several images."""
    changes = None
    for seed in range(3):
        image = _generic(1, CHANNELS, *SIZE, seed=seed)
        before = function(image)
        for amount in (0.37, 5.0, -5.0):
            by_pixel = []
            for pixel in range(SIZE[0] * SIZE[1]):
                other = image.clone()
                # By another amount in each channel, lest a normalization takes it away again.
                other[0, :, pixel // SIZE[1], pixel % SIZE[1]] += amount * _generic(CHANNELS)
                by_pixel.append((function(other) != before).any(1)[0])
            found = torch.stack(by_pixel).unflatten(0, SIZE)
            changes = found if changes is None else changes | found
    assert changes is not None
    boxes = {}
    for row in range(changes.shape[2]):
        for column in range(changes.shape[3]):
            rows, columns = changes[:, :, row, column].nonzero(as_tuple=True)
            seen = len(rows) > 0
            boxes[row, column] = (
                (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
                if seen
                else (0,) * 4
            )
    return boxes


def _boxes(field: cv.ReceptiveField) -> dict[tuple[int, int], tuple[int, ...]]:
    assert field.map_size is not None
    height, width = field.map_size
    boxes = {(row, column): field.box(row, column) for row in range(height) for column in range(width)}
    return {place: (box.top, box.left, box.bottom, box.right) for place, box in boxes.items()}


def _network(function: Callable[[Tensor], Tensor]) -> cv.Network:
    module = _Applied(function).double().eval()
    return cv.Network(module, input=cv.InputSpec(size=SIZE, channels=CHANNELS))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_rule_of_an_operation_is_exact(name: str) -> None:
    field = cv.receptive_field(_network(OPERATIONS[name]), "operation", method="analytic")
    assert field.method == "analytic"
    assert _boxes(field) == _boxes_by_change(OPERATIONS[name])


@pytest.mark.parametrize("name", [*BY_GRADIENT.split(", "), *WITHOUT_RULE])
def test_the_gradient_way_is_exact_for_an_operation(name: str) -> None:
    function = {**OPERATIONS, **WITHOUT_RULE}[name]
    field = cv.receptive_field(
        _network(function), "operation", method=None if name in WITHOUT_RULE else "gradient"
    )
    assert field.method == "gradient"
    assert field.reason
    assert _boxes(field) == _boxes_by_change(function)


def test_every_rule_is_among_these(monkeypatch: pytest.MonkeyPatch) -> None:
    used = set()

    def noting(function: Any, name: str) -> Any:
        used.add(rule_for(function, name))
        return rule_for(function, name)

    monkeypatch.setattr(tracing, "rule_for", noting)
    for function in OPERATIONS.values():
        cv.receptive_field(_network(function), "operation")
    assert used == set(_BY_RULE)


@pytest.mark.parametrize("name", WITHOUT_RULE)
def test_an_operation_without_a_rule_is_not_guessed_at(name: str) -> None:
    with pytest.raises(ValueError, match="can't be traced"):
        cv.receptive_field(_network(WITHOUT_RULE[name]), "operation", method="analytic")
