"""Networks from torchvision's model zoo, with their own preprocessing and labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision import models  # type: ignore[import-untyped, unused-ignore]

from cnnviz_widgets.engine.errors import LayerNotFoundError, did_you_mean
from cnnviz_widgets.engine.inputs import InputSpec


def build_torchvision(name: str, weights: Any, seed: int) -> tuple[nn.Module, InputSpec, list[str] | None]:
    """Return the module in evaluation mode, what it takes for an image, and its labels if it has any."""
    known = models.list_models()
    if name not in known:
        raise LayerNotFoundError(f"torchvision has no network {name!r}{did_you_mean(str(name), known)}")
    choices = models.get_model_weights(name)
    described = _choose_weights(name, choices, "DEFAULT" if weights is None else weights)
    # Building a network draws its first weights from the global random state.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = models.get_model(name, weights=None if weights is None else described)
    for each in module.modules():
        each.training = False
    return module, InputSpec.from_torchvision(described), described.meta.get("categories")


def _choose_weights(name: str, choices: Any, weights: Any) -> Any:
    if not isinstance(weights, str):
        return weights
    key = weights.rsplit(".", 1)[-1]
    if key not in choices.__members__:
        listed = ", ".join(choices.__members__)
        raise LayerNotFoundError(
            f"{name} has no weights {weights!r}{did_you_mean(key, choices.__members__)}; there are {listed}"
        )
    return choices[key]
