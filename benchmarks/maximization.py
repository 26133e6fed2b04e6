"""One step of activation maximization, against Lucent's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

import cnnviz_widgets as cv
from benchmarks._timing import Row, races, timed_parts

SIZE, STEPS, CHANNEL = 224, 60, 3
# A run begins with a watched pass and a copy of the network: some steps' time, once in hundreds of them.
UNTIMED = 10
LAYERS = {"features.0": 6.0, "features.5": 3.0, "features.12": 1.3}
# Lucent's constants: colors of ImageNet.
_COLORS = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]])
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def lucent(module: torch.nn.Module, layer: str, channel: int) -> Iterator[None]:
    """Lucent 0.1.8's ``render_vis`` with its defaults, step by step, written out from its source.

    It needs a kornia of 2020, which today's torch no longer runs, so the step is rebuilt of the same operations: a
    Fourier picture with decorrelated colors; pad, jitter, resize to a random scale, rotate, jitter, normalize; the
    whole forward pass with a hook on the layer; the backward pass, which also computes the weights' gradients; Adam.
    """
    seen: dict[str, Tensor] = {}
    module.get_submodule(layer).register_forward_hook(lambda _, __, output: seen.update({layer: output}))
    rows, columns = torch.fft.fftfreq(SIZE), torch.fft.rfftfreq(SIZE)
    frequency = torch.sqrt(rows[:, None] ** 2 + columns[None] ** 2)
    scale = (1 / frequency.clamp(min=1 / SIZE))[None, None, ..., None]
    spectrum = (torch.randn(1, 3, SIZE, SIZE // 2 + 1, 2) * 0.01).requires_grad_()
    colors = _COLORS / _COLORS.norm(dim=0).max()
    optimizer = torch.optim.Adam([spectrum], lr=5e-2)

    def picture() -> Tensor:
        planes = torch.fft.irfftn(
            torch.view_as_complex(scale * spectrum), s=(SIZE, SIZE), dim=(2, 3), norm="ortho"
        )
        planes = (planes / 4).permute(0, 2, 3, 1)
        return torch.sigmoid(torch.matmul(planes, colors.T).permute(0, 3, 1, 2))

    def jitter(x: Tensor, reach: int) -> Tensor:
        top, left = torch.randint(0, reach, (2,)).tolist()
        return x[:, :, top : x.shape[2] - reach + top, left : x.shape[3] - reach + left]

    def changed(x: Tensor) -> Tensor:
        x = jitter(functional.pad(x, (12,) * 4, value=0.5), 8)
        factor = 1 + (int(torch.randint(0, 11, ())) - 5) / 50
        shape = [math.ceil(length * factor) for length in x.shape[2:]]
        x = functional.interpolate(x, size=shape, mode="bilinear", align_corners=False)
        x = functional.pad(x, (4,) * 4, value=0.5)
        angle = math.radians(float(torch.randint(-10, 11, ())))
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle), 0.0], [math.sin(angle), math.cos(angle), 0.0]]
        )
        grid = functional.affine_grid(turn[None], list(x.shape), align_corners=False)
        return (jitter(functional.grid_sample(x, grid, align_corners=False), 4) - _MEAN) / _DEVIATION

    while True:
        optimizer.zero_grad()
        module(changed(picture()))
        loss = -seen[layer][:, channel].mean()
        loss.backward()
        optimizer.step()
        yield


def step(layer: str, target: float) -> Row:
    """A step of a channel's picture, with the default transforms of each."""
    net = cv.samples.squeezenet()
    peer = cv.samples.squeezenet().module.eval().requires_grad_()

    def limited(steps: Callable[[], Iterator[object]]) -> Iterator[object]:
        taken = steps()
        for _ in range(UNTIMED + STEPS):
            yield next(taken)

    ours = partial(cv.maximize.steps, net, cv.Target(layer=layer, channel=CHANNEL), steps=10 * STEPS)
    times = races(
        timed_parts(partial(limited, ours), untimed=UNTIMED),
        timed_parts(partial(limited, partial(lucent, peer, layer, CHANNEL)), untimed=UNTIMED),
        rounds=5,
    )
    per_step = [seconds / STEPS for seconds in times[:2]]
    return Row(
        f"a step of maximization, SqueezeNet {layer}, {SIZE} pixels",
        "Lucent's step, rebuilt",
        *per_step,
        times[2],
        target=target,
        note=f"{STEPS} steps of each in turn, after {UNTIMED}; both with their own default transforms",
    )


ROWS = {f"maximize-{layer}": partial(step, layer, target) for layer, target in LAYERS.items()}
