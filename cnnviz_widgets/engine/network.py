"""A network to look into: a module together with what it takes for an image and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnviz_widgets.engine.capture import Capture, ForwardStopped
from cnnviz_widgets.engine.errors import InputError, InputTypeError, OutputError, UnsupportedModuleError
from cnnviz_widgets.engine.inputs import Images, InputSpec
from cnnviz_widgets.engine.layers import (
    LayerInfo,
    LayerKey,
    Survey,
    check_call,
    find_module,
    layer_info,
    list_layers,
    main_tensor,
    split_key,
    survey,
)
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.state import evaluation
from cnnviz_widgets.engine.targets import probabilities


@dataclass(frozen=True)
class Prediction(Result):
    """The most probable classes of one image, best first.

    Attributes
    ----------
    indices
        Class indices [k], int64.
    labels
        Their names, as text.
    probabilities
        Their probabilities [k], float32, summing to at most 1.
    """

    indices: NDArray[np.int64]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]

    def __str__(self) -> str:
        lines = zip(self.labels, self.probabilities, strict=True)
        return "\n".join(f"{probability:6.1%}  {label}" for label, probability in lines)


class Network:
    """A module that takes images, ready to be looked into. The module itself is never changed.

    Parameters
    ----------
    module
        Any `torch.nn.Module` that takes a batch of images [N, C, H, W]. ``DataParallel`` is seen through:
        its layers are named without the leading ``module.``.
    input
        What the module expects of an image. Left out, it is read from a timm model's own configuration;
        otherwise images keep their size and values in [0, 1], with as many channels as the first
        convolution takes.
    labels
        Class names in the order of the outputs.
    device
        Where the module is expected to be; its own device if left out. The module is never moved.
    output
        Which tensor counts where the module returns several: an index, a key, or a function of what it
        returns. Left out: the first of a tuple, ``"logits"`` or ``"out"`` of a dict, or its only tensor.

    Raises
    ------
    UnsupportedModuleError
        For compiled, scripted, exported or quantized modules, and for modules with uninitialized weights,
        with what to do.

    Examples
    --------
    >>> import torch, cnnviz_widgets as cv
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU())
    >>> net = cv.Network(module, input=cv.InputSpec(size=8, channels=1))
    >>> [(layer.name, layer.kind, layer.output_shape) for layer in net.layers]
    [('0', 'Conv2d', (4, 6, 6)), ('1', 'ReLU', (4, 6, 6))]
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input: InputSpec | None = None,
        labels: Sequence[str] | None = None,
        device: torch.device | str | None = None,
        output: str | int | Callable[[Any], Tensor] | None = None,
    ) -> None:
        check_supported(module)
        self.module = module
        self.core = _unwrap(module)
        if input is not None and not isinstance(input, InputSpec):
            raise TypeError(f"input= takes a cv.InputSpec, got {type(input).__name__}")
        self.input = input if input is not None else _guess_input(self.core)
        self.labels = None if labels is None else tuple(str(label) for label in labels)
        self.output = output
        self.device, self.dtype = _device_and_dtype(self.core, device)
        self.captures: list[Capture] = []
        self.running = False
        self._survey: Survey | None = None
        self._layers: dict[nn.Module, LayerInfo] | None = None

    @classmethod
    def from_torchvision(
        cls,
        name: str,
        *,
        weights: Any = "DEFAULT",
        device: torch.device | str | None = None,
        seed: int = 0,
    ) -> Network:
        """Return a torchvision classifier with its own preprocessing and labels.

        Parameters
        ----------
        name
            Such as ``"vgg16"`` or ``"resnet18"``.
        weights
            ``"DEFAULT"``, a name such as ``"IMAGENET1K_V1"``, a weights object, or ``None`` for random ones
            (drawn from ``seed``; the global random state is left alone).
        device
            Where to put the module, which is new and nobody else's.

        Raises
        ------
        LookupError
            Unknown network or weights, with the nearest names.
        """
        from cnnviz_widgets.engine.zoo import build_torchvision

        module, spec, labels = build_torchvision(name, weights, seed)
        if device is not None:
            module = module.to(device)
        return cls(module, input=spec, labels=labels)

    def prepare(self, images: Images) -> Tensor:
        """Return a batch [N, C, H, W] as the module expects it, on its device: see `InputSpec.prepare`."""
        return self.input.prepare(images).to(self.device, self.dtype)

    def restore(self, x: Tensor) -> NDArray[np.uint8]:
        """Return prepared images as pictures, uint8 [N, H, W, 3]: see `InputSpec.restore`."""
        return self.input.restore(x)

    def __call__(self, x: Tensor) -> Any:
        """Run a prepared batch [N, C, H, W] in evaluation mode and return what the module returns.

        Gradients are recorded only if ``x`` asks for them (``x.requires_grad``) or an open `capture` does,
        and never for parameters. Within `capture` the pass ends at the deepest layer asked for, and the
        answer is then ``None``. Neither the module nor ``x`` is changed.
        """
        x = self._check_batch(x)
        captures = [each for each in self.captures if each.belongs_here()]
        if captures and self._survey is None:
            self._survey = survey(self.core, x[:1].detach())
        gradients = x.requires_grad or any(each.with_gradients for each in captures)
        if gradients and not x.requires_grad:
            x = x.detach().requires_grad_()
        output = self._forward(x, gradients)
        overwritten = {call for each in captures for call in each.overwritten()}
        if overwritten and self._survey is not None:
            # The survey did not see these overwritten (the module may branch on its input): copy them now.
            self._survey.overwritten |= overwritten
            output = self._forward(x, gradients)
        return output

    def _forward(self, x: Tensor, gradients: bool) -> Any:
        with evaluation(self.core, gradients=gradients):
            self.running = True
            try:
                # A copy, since a module may begin with an in-place operation.
                return self.core(x.clone())
            except ForwardStopped:
                return None
            finally:
                self.running = False

    def can_stop(self) -> bool:
        """Return whether every open capture of this thread has all it wants (asked by the captures)."""
        return self.running and not any(each.wants_more() for each in self.captures if each.belongs_here())

    def scores(self, x: Tensor) -> Tensor:
        """Return the main output tensor for a prepared batch: class scores [N, K] of a classifier."""
        output = self(x)
        if output is None and any(each.belongs_here() for each in self.captures):
            raise OutputError(
                "the forward pass ended at the deepest captured layer, so there is no output; "
                "ask outside of the capture, or open it with cv.capture(net, layers, stop=False)"
            )
        return main_tensor(output, self.output)

    def predict(self, image: Images, k: int = 5) -> Prediction:
        """Return the ``k`` most probable classes of one image (all of them if there are fewer).

        Probabilities are the softmax of the scores; a single score is taken as the logit of class 1 of two;
        scores that are probabilities already are left alone.

        Raises
        ------
        OutputError
            The network returns no class scores, NaN, or another number of scores than there are labels.

        Examples
        --------
        >>> import cnnviz_widgets as cv
        >>> net = cv.samples.squeezenet()
        >>> net.predict(cv.samples.photo("coffee"), k=1).labels
        ('espresso',)
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ValueError(f"k must be a whole number from 1, got {k!r}")
        x = self.prepare(image)
        if len(x) != 1:
            raise InputError(f"predict takes one image, got {len(x)}; call it once for each")
        values = probabilities(self.class_scores(x))[0].float().cpu()
        best = torch.sort(values, descending=True, stable=True)
        indices = best.indices[:k].numpy()
        return Prediction(
            indices=indices,
            labels=tuple(self.label(int(index)) for index in indices),
            probabilities=best.values[:k].numpy(),
        )

    def class_scores(self, x: Tensor) -> Tensor:
        """Return class scores [N, K] for a prepared batch, checked: two axes, finite, one per label."""
        scores = self.scores(x)
        if scores.ndim != 2:
            raise OutputError(
                f"class scores have shape (images, classes), but this network returns {tuple(scores.shape)}; "
                "give cv.Network(module, output=<function that returns scores>)"
            )
        if not bool(torch.isfinite(scores).all()):
            raise OutputError("the network returned NaN or infinity for this image")
        classes = max(scores.shape[1], 2)
        if self.labels is not None and len(self.labels) != classes:
            raise OutputError(f"the network has {classes} classes, but {len(self.labels)} labels were given")
        return scores

    def label(self, index: int) -> str:
        """Return the name of a class; its index as text where there are no labels."""
        return str(index) if self.labels is None else self.labels[index]

    @property
    def survey_if_known(self) -> Survey | None:
        """What a forward pass of this network does, if one was watched already."""
        return self._survey

    @property
    def survey(self) -> Survey:
        """What a forward pass of this network does; watches one at first need."""
        if self._survey is None:
            self._survey = survey(self.core, self.input.example(device=self.device, dtype=self.dtype))
        return self._survey

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Every layer: name, kind, output shape, parameters, number of calls; in the order of definition."""
        if self._layers is None:
            self._layers = list_layers(self.core, self.survey)
        return tuple(self._layers.values())

    def layer(self, key: LayerKey) -> LayerInfo:
        """Return the layer of that name, or one call of it: then ``output_shape`` is that call's."""
        name, call = split_key(key)
        module = find_module(self.core, name)
        if self._layers is None:
            self._layers = list_layers(self.core, self.survey)
        layer = self._layers.get(module) or layer_info(name, module, self.survey)
        if call is None:
            return layer
        return replace(layer, output_shape=layer.output_shapes[check_call(name, call, layer.calls)])

    def _check_batch(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise InputTypeError(
                f"net(x) takes a prepared batch, got {type(x).__name__}; use net(net.prepare(image))"
            )
        if x.ndim != 4 or not len(x):
            raise InputError(f"net(x) takes a batch (images, channels, rows, columns), got shape {tuple(x.shape)}")
        if x.shape[1] != self.input.channels:
            raise InputError(f"this network takes {self.input.channels} channels, got {x.shape[1]}")
        if not x.is_floating_point():
            raise InputTypeError(f"net(x) takes floats, got {x.dtype}; use net(net.prepare(image))")
        return x.to(self.device, self.dtype)

    def __repr__(self) -> str:
        parameters = sum(each.numel() for each in self.core.parameters())
        return f"Network({type(self.core).__name__}, {parameters:,} parameters, input={self.input!r})"


def _unwrap(module: nn.Module) -> nn.Module:
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(module, wrappers):
        module = cast(nn.Module, module.module)
    return module


def check_supported(module: object) -> None:
    """Raise `UnsupportedModuleError`, with what to do, for what can't be looked into."""
    if not isinstance(module, nn.Module):
        what = f"{type(module).__module__}.{type(module).__name__}"
        hint = "call its .module() first" if type(module).__name__ == "ExportedProgram" else "give the module"
        raise UnsupportedModuleError(f"cv.Network takes a torch.nn.Module, got {what}; {hint}")
    for name, each in module.named_modules():
        problem = _problem_of(each)
        if problem:
            where = f"its part {name!r}" if name else "the module"
            raise UnsupportedModuleError(f"{where} ({type(each).__name__}) {problem}")


def _problem_of(module: nn.Module) -> str | None:
    kind = type(module)
    if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
        return (
            "is compiled, so hooks may not be called; pass the module from before torch.compile "
            "(compiled._orig_mod, or a fresh copy if module.compile() was used)"
        )
    if isinstance(module, torch.jit.ScriptModule):
        return "is scripted or traced by torch.jit; pass the Python module it was made from"
    if "quantized" in kind.__module__.split(".") or any(
        "quantized" in type(each).__module__ or type(each).__module__.split(".")[0] == "torchao" or each.is_quantized
        for each in (*module._parameters.values(), *module._buffers.values())
        if each is not None
    ):
        return "is quantized; pass the floating-point module it was made from"
    if any(torch.nn.parameter.is_lazy(each) for each in module._parameters.values()):
        return "has uninitialized weights; run one batch through the module first"
    return None


def _guess_input(module: nn.Module) -> InputSpec:
    if isinstance(getattr(module, "pretrained_cfg", None), dict):
        return InputSpec.from_timm(module)
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            return InputSpec(channels=each.in_channels)
    return InputSpec()


def _device_and_dtype(
    module: nn.Module, device: torch.device | str | None
) -> tuple[torch.device, torch.dtype]:
    tensors = [each for each in (*module.parameters(), *module.buffers()) if each.is_floating_point()]
    if not tensors:
        return torch.device(device or "cpu"), torch.get_default_dtype()
    actual = tensors[0].device
    if device is not None and torch.device(device).type != actual.type:
        raise UnsupportedModuleError(
            f"the module is on {actual}, not on {device}; move it yourself, since it is yours: module.to({str(device)!r})"
        )
    return actual, tensors[0].dtype
