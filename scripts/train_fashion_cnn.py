"""Train the small network of `cnnviz_widgets.samples` and write its checkpoints.

    python scripts/train_fashion_cnn.py [--output FOLDER]

Takes about two minutes on one core, and prints the accuracy on the test images at each checkpoint. The same
version of torch on the same kind of processor writes the same bytes: everything is seeded, on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cnnviz_widgets import samples
from cnnviz_widgets.samples import FASHION_MEAN, FASHION_STD, FashionCNN

SEED = 0
EPOCHS = 40
BATCH = 25
STEPS_PER_EPOCH = 5000 // BATCH
STEPS = EPOCHS * STEPS_PER_EPOCH

LEARNING_RATE = 0.02
WARM_UP = 50  # steps in which the learning rate rises from 0
MOMENTUM = 0.9
WEIGHT_DECAY = 3e-3  # strong: it wears off the noise that the kernels started from

# Closer together early on, when most happens.
MOMENTS = {0: "random", 20: "step-20", 60: "step-60"}
MOMENTS |= {epoch * STEPS_PER_EPOCH: f"epoch-{epoch}" for epoch in (1, 2, 3, 5, 8, 12, 16, 22, 30)}
MOMENTS |= {STEPS: "trained"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    package = Path(samples.__file__).parent
    parser.add_argument("--output", type=Path, default=package / "data" / "fashion_cnn", metavar="FOLDER")
    folder: Path = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    # Sums in another order round otherwise, so the number of threads is part of the recipe.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    test_images, test_labels = load("test")
    records = []
    print(f"{'checkpoint':<10}  {'step':>5}  {'test accuracy':>13}")
    for step, module in train(*load("train")):
        if step not in MOMENTS:
            continue
        file = f"step-{step:05d}.npz"
        save(module, folder / file)
        name, accuracy = MOMENTS[step], measure(folder / file, test_images, test_labels)
        epoch = round(step / STEPS_PER_EPOCH, 3)
        records.append({"name": name, "step": step, "epoch": epoch, "test_accuracy": accuracy, "file": file})
        print(f"{name:<10}  {step:>5}  {accuracy:>13.1%}", flush=True)
    recipe = {"script": "scripts/train_fashion_cnn.py", "seed": SEED, "torch": str(torch.__version__)}
    text = json.dumps({"recipe": recipe, "checkpoints": records}, indent=2)
    (folder / "checkpoints.json").write_text(text + "\n", encoding="utf-8")


def load(split: str) -> tuple[Tensor, Tensor]:
    """Return images [N, 1, 28, 28], normalized as `samples.fashion_input` says, and labels [N]."""
    images, labels = samples.fashion_mnist(split)
    return normalize(torch.from_numpy(images)[:, None]), torch.from_numpy(labels)


def normalize(values: Tensor) -> Tensor:
    """Return gray values in 0..255 as the network takes them."""
    return (values.float() / 255 - FASHION_MEAN) / FASHION_STD


def train(images: Tensor, labels: Tensor) -> Iterator[tuple[int, FashionCNN]]:
    """Train a new network; yield it with the number of steps taken, before the first and after each."""
    torch.manual_seed(SEED)  # for dropout
    generator = torch.Generator().manual_seed(SEED)
    module = samples.fashion_cnn_module(seed=SEED)
    module.train()
    black = float(normalize(torch.tensor(0)))
    optimizer = make_optimizer(module)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_at)
    yield 0, module
    for step in range(STEPS):
        position = step % STEPS_PER_EPOCH
        if position == 0:
            order = torch.randperm(len(images), generator=generator)
        chosen = order[position * BATCH : (position + 1) * BATCH]
        scores = module(augment(images[chosen], black, generator))
        loss = functional.cross_entropy(scores, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        yield step + 1, module


def make_optimizer(module: FashionCNN) -> torch.optim.Optimizer:
    """Return plain gradient descent with momentum; weights decay, biases do not."""
    biases = [each for name, each in module.named_parameters() if name.endswith("bias")]
    weights = [each for name, each in module.named_parameters() if name.endswith("weight")]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True)


def rate_at(step: int) -> float:
    """Return the learning rate as a share of the highest: a short rise, then half a cosine down to 0."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / STEPS))


def augment(images: Tensor, black: float, generator: torch.Generator) -> Tensor:
    """Return the images, half of them mirrored, each moved by up to one pixel; black comes in."""
    count, _, height, width = images.shape
    mirrored = torch.rand(count, generator=generator) < 0.5
    images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    down, right = torch.randint(0, 3, (2, count), generator=generator)
    padded = functional.pad(images, (1, 1, 1, 1), value=black)
    rows = down[:, None] + torch.arange(height)
    columns = right[:, None] + torch.arange(width)
    return padded[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def save(module: FashionCNN, path: Path) -> None:
    """Write the weights as float16 arrays, named as in the state dict."""
    state = {name: each.detach().numpy().astype(np.float16) for name, each in module.state_dict().items()}
    np.savez_compressed(path, **state)


def measure(path: Path, images: Tensor, labels: Tensor) -> float:
    """Return the share of images told right by the weights as they were stored."""
    module = samples.fashion_cnn_module()
    with np.load(path, allow_pickle=False) as arrays:
        module.load_state_dict(
            {name: torch.from_numpy(arrays[name].astype(np.float32)) for name in arrays.files}
        )
    with torch.no_grad():
        return float((module(images).argmax(1) == labels).double().mean())


if __name__ == "__main__":
    main()
