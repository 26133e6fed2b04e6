"""Networks from torchvision's model zoo, with their own preprocessing and labels."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torchvision import models  # type: ignore[import-untyped, unused-ignore]

from cnnviz_widgets.engine.errors import NetworkNotFoundError, did_you_mean
from cnnviz_widgets.engine.inputs import InputSpec


def build_torchvision(
    name: str, weights: Any, seed: int
) -> tuple[nn.Module, InputSpec, tuple[str, ...] | None]:
    """Return the module in evaluation mode, what it takes for an image, and its labels if it has any.

    Everything that can be wrong is found before anything is built or downloaded.
    """
    known = models.list_models()
    if name not in known:
        raise NetworkNotFoundError(f"torchvision has no network {name!r}{did_you_mean(str(name), known)}")
    choices = models.get_model_weights(name)
    # A network with random weights takes its images as one with trained weights does.
    chosen = _choose(name, choices, "DEFAULT" if weights is None else weights)
    spec = InputSpec.from_torchvision(chosen)
    options = _random_options(name) if weights is None else {"weights": chosen}
    # Building a network draws its first weights from the global random state.
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        module: nn.Module = models.get_model(name, **options)
    finally:
        torch.set_rng_state(before)
    for each in module.modules():
        each.training = False
    return module, spec, chosen.meta.get("categories")


def _random_options(name: str) -> dict[str, Any]:
    """Return what makes torchvision draw all weights of a network."""
    options: dict[str, Any] = {"weights": None}
    # Left to itself, a segmenter would download the trained weights of its backbone.
    if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
        options["weights_backbone"] = None
    # Asked for by name, since torchvision warns of those that draw their weights unasked.
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True
    return options


def _choose(name: str, choices: Any, weights: Any) -> Any:
    """Return the weights of that name, with or without the name of their enumeration in front."""
    if isinstance(weights, choices):
        return weights
    names = list(choices.__members__)
    key = weights.removeprefix(f"{choices.__name__}.") if isinstance(weights, str) else ""
    if key in names:
        return choices[key]
    raise NetworkNotFoundError(
        f"{name} has no weights {weights!r}{did_you_mean(key, names)}; there are {', '.join(names)}"
    )
