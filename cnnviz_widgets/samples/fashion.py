"""A small classic network for 28x28 pictures of clothes, at several moments of its training."""

from __future__ import annotations

import json
import math
import operator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from cnnviz_widgets.engine.inputs import InputSpec
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.samples._files import DATA, SampleNotFoundError, check_name, read_weights

FASHION_LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""What the classes of Fashion-MNIST are called, in the order of their indices."""

FASHION_MEAN, FASHION_STD = 0.2873, 0.3544
"""Mean and standard deviation of all pixels of the 5,000 training images, where black is 0 and white is 1."""


class FashionCNN(nn.Module):
    """A network as textbooks draw it: convolution, ReLU and max-pooling, twice, then two full layers.

    Input [N, 1, 28, 28], output [N, 10]. 52,570 parameters. The kernels of ``conv1`` are 7x7, large enough
    to see what each looks for.

    Examples
    --------
    >>> import torch, cnnviz_widgets as cv
    >>> module = cv.samples.FashionCNN()
    >>> module(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=7, padding=3)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=5)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(32 * 5 * 5, 48)
        self.relu3 = nn.ReLU()
        self.dropout = nn.Dropout(0.3)
        self.fc2 = nn.Linear(48, len(FASHION_LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores [N, 10] for prepared images [N, 1, 28, 28]."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu3(self.fc1(x.flatten(1)))
        scores: Tensor = self.fc2(self.dropout(x))
        return scores


def fashion_cnn_module(*, seed: int = 0) -> FashionCNN:
    """Return a new, untrained network whose kernels are pure noise, in evaluation mode.

    Weights are drawn as He et al. (2015, arXiv:1502.01852) propose for rectifiers: normal with variance
    2 / (inputs of a unit); biases are 0. Those of ``conv1`` are 0.3 times that, so that what training adds
    soon outweighs the noise it started from. The seed 0 is the start of the shipped checkpoints.

    Parameters
    ----------
    seed
        For a generator of its own: the global random state is neither used nor changed.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> module = cv.samples.fashion_cnn_module()
    >>> optimizer = torch.optim.SGD(module.train().parameters(), lr=0.01)
    """
    generator = torch.Generator().manual_seed(operator.index(seed))
    # `meta`, then `to_empty`: so that torch does not draw first weights from the global random state.
    with torch.device("meta"):
        module = FashionCNN()
    module.to_empty(device="cpu")
    with torch.no_grad():
        for layer in (module.conv1, module.conv2, module.fc1, module.fc2):
            scale = 0.3 if layer is module.conv1 else 1.0
            inputs = layer.weight[0].numel()
            layer.weight.normal_(0.0, scale * math.sqrt(2 / inputs), generator=generator)
        for name, each in module.named_parameters():
            if name.endswith("bias"):
                each.zero_()
    return module.eval()


def fashion_input() -> InputSpec:
    """Return what `FashionCNN` takes for an image: 28x28, gray, normalized by the training images.

    >>> import cnnviz_widgets as cv
    >>> images, _ = cv.samples.fashion_mnist("test")
    >>> cv.samples.fashion_input().prepare(images[0]).shape
    torch.Size([1, 1, 28, 28])
    """
    return InputSpec(size=28, channels=1, mean=(FASHION_MEAN,), std=(FASHION_STD,))


@dataclass(frozen=True)
class FashionCheckpoint:
    """One moment in the training of `fashion_cnn`.

    Attributes
    ----------
    name
        ``"random"``, ``"step-20"``, ``"epoch-1"``, ..., ``"trained"``.
    step
        Optimizer steps taken by then.
    epoch
        The same in passes over the 5,000 training images.
    test_accuracy
        Share of the 1,000 test images that are told right.
    path
        An NPZ file with one float16 array for each entry of the state dict.
    """

    name: str
    step: int
    epoch: float
    test_accuracy: float
    path: Path


def fashion_cnn_checkpoints() -> tuple[FashionCheckpoint, ...]:
    """Return the shipped moments of training, from the random start to the end, closer together early on.

    >>> import cnnviz_widgets as cv
    >>> for checkpoint in cv.samples.fashion_cnn_checkpoints()[:2]:
    ...     print(checkpoint.name, checkpoint.step)
    random 0
    step-20 20
    """
    folder = DATA / "fashion_cnn"
    records = json.loads((folder / "checkpoints.json").read_text(encoding="utf-8"))["checkpoints"]
    return tuple(
        FashionCheckpoint(
            name=record["name"],
            step=record["step"],
            epoch=record["epoch"],
            test_accuracy=record["test_accuracy"],
            path=folder / record["file"],
        )
        for record in records
    )


def fashion_cnn(checkpoint: str | int = "trained") -> Network:
    """Return a small network that tells ten kinds of clothes apart, as it was at one moment of its training.

    Two convolutions (``conv1`` with 16 kernels of 7x7, ``conv2`` with 32 of 5x5), each with a ReLU and
    max-pooling, two fully connected layers and dropout: see `FashionCNN`. Trained on the 5,000 images of
    ``fashion_mnist("train")`` by ``scripts/train_fashion_cnn.py``.

    Parameters
    ----------
    checkpoint
        A name from `fashion_cnn_checkpoints` (``"random"`` is the start, ``"trained"`` the end,
        ``"epoch-1"`` one pass over the images), or a number of optimizer steps from that list.

    Raises
    ------
    SampleNotFoundError
        (a LookupError) There is no such checkpoint; the message lists those there are.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> cv.samples.fashion_cnn().predict(images[0], k=1).labels
    ('Ankle boot',)
    """
    chosen = _find_checkpoint(checkpoint)
    with torch.device("meta"):
        module = FashionCNN()
    module.load_state_dict(read_weights(chosen.path), assign=True)
    return Network(module.eval(), input=fashion_input(), labels=FASHION_LABELS)


def _find_checkpoint(checkpoint: str | int) -> FashionCheckpoint:
    known = fashion_cnn_checkpoints()
    if isinstance(checkpoint, str):
        name = check_name("checkpoint", checkpoint, (each.name for each in known))
        return next(each for each in known if each.name == name)
    if isinstance(checkpoint, bool) or not hasattr(checkpoint, "__index__"):
        raise TypeError(
            f"a checkpoint is a name such as 'trained' or a number of steps, "
            f"got {type(checkpoint).__name__}: {checkpoint!r}"
        )
    step = operator.index(checkpoint)
    for each in known:
        if each.step == step:
            return each
    steps = ", ".join(str(each.step) for each in known)
    raise SampleNotFoundError(
        f"no checkpoint at step {step} (there are {steps}); after a whole epoch write 'epoch-1'"
    )
