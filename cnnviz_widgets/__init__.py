"""Jupyter widgets to look inside a convolutional network.

>>> import cnnviz_widgets as cv
>>> net = cv.samples.squeezenet()
>>> cv.activations(net, cv.samples.photo("chelsea"), "features.3").maps.shape
(128, 55, 55)

Importing the package loads neither torch nor ipywidgets: each name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# Where each public name lives. The only list of them.
_PUBLIC = {
    "Network": "engine.network",
    "Prediction": "engine.prediction",
    "InputSpec": "engine.inputs",
    "LayerInfo": "engine.layers",
    "Capture": "engine.capture",
    "capture": "engine.capture",
    "preserved": "engine.state",
    "Target": "engine.targets",
    "Step": "engine.stream",
    "streamed": "engine.stream",
    "load_result": "engine.results",
    "Result": "engine.results",
    "errors": "engine.errors",
    "receptive_field": "engine.receptive_field",
    "ReceptiveField": "engine.receptive_field",
    "Box": "engine.receptive_field",
    "activations": "methods.activations",
    "ActivationMaps": "methods.activations",
    "activation_statistics": "methods.statistics",
    "ActivationStatistics": "engine.activation_statistics",
    "top_patches": "methods.top_patches",
    "TopPatches": "methods.top_patches",
    "deconvnet": "methods.deconvnet",
    "Reconstruction": "methods.deconvnet",
    "gradient_map": "methods.gradients",
    "GradientMap": "methods.gradients",
    "integrated_gradients": "methods.integrated_gradients",
    "IntegratedGradients": "methods.integrated_gradients",
    "grad_cam": "methods.grad_cam",
    "GradCam": "methods.grad_cam",
    "faithfulness": "methods.faithfulness",
    "Faithfulness": "methods.faithfulness",
    "randomization_check": "methods.randomization",
    "RandomizationCheck": "methods.randomization",
    "FeatureTable": "engine.feature_table",
    "extract_features": "methods.features",
    "nearest_neighbors": "methods.neighbors",
    "Neighbors": "methods.neighbors",
    "neighbor_agreement": "methods.neighbor_agreement",
    "NeighborAgreement": "methods.neighbor_agreement",
    "embed": "methods.embedding",
    "Embedding": "methods.embedding",
    "kernels": "methods.kernels",
    "Kernels": "methods.kernels",
    "occlusion": "methods.occlusion",
    "OcclusionMap": "methods.occlusion",
    "attack": "methods.adversarial",
    "Attack": "methods.adversarial",
    "attack_curve": "methods.adversarial_curve",
    "AttackCurve": "methods.adversarial_curve",
    "maximize": "methods.maximization",
    "Maximization": "methods.maximization",
    "Direction": "engine.directions",
    "Caricature": "engine.directions",
    "invert": "methods.inversion",
    "invert_layers": "methods.inversion",
    "Inversion": "methods.inversion",
    "LayerInversions": "methods.inversion",
    "deepdream": "methods.deepdream",
    "DeepDream": "methods.deepdream",
    "synthesize_texture": "methods.texture",
    "Texture": "methods.texture",
    "transfer_style": "methods.style_transfer",
    "StyleTransfer": "methods.style_transfer",
    "TrainingRecorder": "methods.training",
    "TrainingHistory": "engine.training_history",
    "load_history": "methods.history_files",
    "history_from_checkpoints": "methods.checkpoints",
    "LayerBrowser": "widgets.activations",
    "TrainingTimeline": "widgets.training",
    "FilterGrid": "widgets.kernels",
    "PatchExplorer": "widgets.top_patches",
    "DeconvExplorer": "widgets.deconvnet",
    "SaliencyExplorer": "widgets.gradients",
    "OcclusionExplorer": "widgets.occlusion",
    "NeighborExplorer": "widgets.neighbors",
    "EmbeddingExplorer": "widgets.embedding",
    "InversionPlayer": "widgets.inversion",
    "MaximizationPlayer": "widgets.maximization",
    "AttackPlayer": "widgets.adversarial",
    "DeepDreamPlayer": "widgets.deepdream",
    "TexturePlayer": "widgets.texture",
    "StylePlayer": "widgets.style_transfer",
    "samples": "samples",
    "transforms": "engine.transforms",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    place = _PUBLIC[name]
    module = importlib.import_module(f"{__name__}.{place}")
    value = (
        module if place.rsplit(".", 1)[-1] == name and not hasattr(module, name) else getattr(module, name)
    )
    # A submodule of the same name would hide the function once it is imported.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def import_methods() -> None:
    """Import every method, so that each kind of result is known (for `load_result`)."""
    for place in dict.fromkeys(_PUBLIC.values()):
        if place.startswith(("methods.", "engine.")):
            importlib.import_module(f"{__name__}.{place}")
