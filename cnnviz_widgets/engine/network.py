"""A network to look into: a module together with what it takes for an image and what its outputs mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnviz_widgets.engine.capture import Capture, apart
from cnnviz_widgets.engine.errors import (
    InputError,
    InputTypeError,
    LabelNotFoundError,
    OutputError,
    UnsupportedModuleError,
)
from cnnviz_widgets.engine.field_memory import FieldMemory
from cnnviz_widgets.engine.forward import ForwardPass
from cnnviz_widgets.engine.inputs import Images, InputSpec
from cnnviz_widgets.engine.layers import (
    LayerInfo,
    LayerKey,
    Place,
    check_call,
    describe,
    has_rivals,
    layer_info,
    list_layers,
    main_tensor,
    split_key,
)
from cnnviz_widgets.engine.prediction import Prediction
from cnnviz_widgets.engine.rectifiers import find_place
from cnnviz_widgets.engine.state import HasMemory, engine_lock, evaluation
from cnnviz_widgets.engine.stream import remark
from cnnviz_widgets.engine.support import check_supported, unwrapped
from cnnviz_widgets.engine.survey import Survey, Surveys, watched
from cnnviz_widgets.engine.targets import checked_scores, probabilities
from cnnviz_widgets.engine.whole_numbers import checked_whole


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
        self.core = unwrapped(module)
        if input is not None and not isinstance(input, InputSpec):
            raise TypeError(f"input= takes a cv.InputSpec, got {type(input).__name__}")
        self.input = input if input is not None else _guess_input(self.core)
        self.labels = None if labels is None else _checked_labels(labels)
        self.output = output
        self._has_told = False
        self._expected_device = _checked_device(device)
        if device is not None and not _same_device(self.device, self._expected_device):
            raise UnsupportedModuleError(
                f"the module is on {self.device}, not on {device}; "
                f"move it yourself, since it is yours: module.to({str(device)!r})"
            )
        # Replaced, never written to: other threads go through it meanwhile.
        self.captures: list[Capture] = []
        self._surveys = Surveys(self.core)
        self.fields = FieldMemory(self._surveys)

    @classmethod
    def from_torchvision(
        cls,
        name: str,
        *,
        weights: Any = "DEFAULT",
        device: torch.device | str | None = None,
        seed: int = 0,
    ) -> Network:
        """Return a torchvision classifier or segmenter with its own preprocessing and labels.

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
        NetworkNotFoundError
            Unknown network or weights, with the nearest names.
        InputError
            A network that does not take single images: a detector, or one for video or optical flow.
        """
        from cnnviz_widgets.engine.zoo import build_torchvision

        module, spec, labels = build_torchvision(name, weights, seed)
        if device is not None:
            module = module.to(device)
        return cls(module, input=spec, labels=labels)

    def __getstate__(self) -> dict[str, Any]:
        # What was learned about the module stays here: it knows the parts of this very module.
        left_out = ("captures", "_surveys", "fields")
        return {name: value for name, value in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.captures = []
        self._surveys = Surveys(self.core)
        self.fields = FieldMemory(self._surveys)

    @property
    def device(self) -> torch.device:
        """Where the module is: its first parameter or buffer."""
        first = self._first_tensor()
        return self._expected_device if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """What the module computes in: the kind of its first parameter or buffer of floats."""
        first = self._first_tensor()
        return torch.get_default_dtype() if first is None else first.dtype

    def _first_tensor(self) -> Tensor | None:
        tensors = chain(self.core.parameters(), self.core.buffers())
        return next((each for each in tensors if each.is_floating_point()), None)

    def prepare(self, images: Images) -> Tensor:
        """Return a batch [N, C, H, W] as the module expects it, on its device: see `InputSpec.prepare`."""
        return self.input.prepare(images).to(self.device, self.dtype)

    def without_resizing(self) -> Network:
        """Return the same network, over the same module, for pictures that are as it sees them already.

        A photo is scaled and cut before the network sees it. A picture that came out of here, such as
        ``attack(...).adversarial`` or ``net.input.view(photo)``, would be scaled and cut a second time.

        Examples
        --------
        >>> import numpy as np, cnnviz_widgets as cv
        >>> net, photo = cv.samples.squeezenet(), cv.samples.photo("coffee")
        >>> seen, as_it_is = net.input.view(photo), net.without_resizing()
        >>> bool((as_it_is.input.view(seen) == seen).all()), bool((net.input.view(seen) == seen).all())
        (True, False)
        """
        other = copy(self)
        other.input = replace(self.input, resize=None)
        return other

    def restore(self, x: Tensor) -> NDArray[np.uint8]:
        """Return prepared images as pictures, uint8 [N, H, W, 3]: see `InputSpec.restore`."""
        return self.input.restore(x)

    def __call__(self, x: Tensor) -> Any:
        """Run a prepared batch [N, C, H, W] in evaluation mode and return what the module returns.

        Gradients are recorded only if ``x`` asks for them (``x.requires_grad``) or an open `capture` does,
        and never for parameters. Within `capture` the pass ends at the deepest layer asked for, and the
        answer is ``None``, unless a capture is open that does not stop. Neither the module nor ``x`` is
        changed.
        """
        x = self._check_batch(x)
        with engine_lock:
            captures = [each for each in self.captures if each.listens()]
            gradients = x.requires_grad or any(each.with_gradients for each in captures)
            exact = False
            while not exact:
                try:
                    output, exact = self._forward(x, captures, gradients)
                except RuntimeError as error:
                    error.add_note(
                        f"(the batch was {describe(x)}; if the network takes another shape, "
                        "give cv.Network(module, input=cv.InputSpec(size=..., channels=...)))"
                    )
                    raise
            return output

    def _guarded(self, gradients: bool) -> AbstractContextManager[HasMemory]:
        """Return what a pass runs in."""
        return evaluation(self.core, gradients=gradients)

    def _forward(self, x: Tensor, captures: Sequence[Capture], gradients: bool) -> tuple[Any, bool]:
        """Return the output, and whether all that was captured is right (otherwise: run it again)."""
        with self._guarded(gradients) as state:
            if gradients and not x.requires_grad:
                x = (x.clone() if x.is_inference() else x.detach()).requires_grad_()
            # A copy, since a module may begin with an in-place operation.
            batch = x.clone()
            if not captures:
                return self.core(batch), True
            kind = (tuple(x.shape), gradients)
            survey = self._surveys.find(kind)
            if survey is None:
                with watched(self.core) as survey:
                    run = ForwardPass(captures, survey, learning=True)
                    output = run.run(self.core, batch)
                self._surveys.add(kind, survey)
            else:
                run = ForwardPass(captures, survey, learning=False)
                output = run.run(self.core, batch)
            return run.settle(output, state)

    def knows(self, x: Tensor) -> bool:
        """Return whether a pass of such a batch was watched, so that the next one can end early."""
        return self._surveys.find((tuple(x.shape), x.requires_grad)) is not None

    def scores(self, x: Tensor) -> Tensor:
        """Return the main output tensor for a prepared batch: class scores [N, K] of a classifier."""
        return main_tensor(self._returned(x), self.output)

    def _returned(self, x: Tensor) -> Any:
        output = self(x)
        if output is None and any(each.listens() for each in self.captures):
            raise OutputError(
                "the forward pass ended at the deepest captured layer, so there is no output; "
                "ask outside of the capture, or open it with cv.capture(net, layers, stop=False)"
            )
        return output

    def predict(self, image: Images, k: int = 5) -> Prediction:
        """Return the ``k`` most probable classes of one image (all of them if there are fewer).

        Probabilities are the softmax of the scores; a single score is taken as the logit of class 1 of two;
        scores that are probabilities already are left alone.

        Raises
        ------
        OutputError
            The network returns no class scores, NaN, or another number of scores than there are labels.

        Warns
        -----
        UserWarning
            The network returns several tensors that may be class scores, and neither ``output=`` nor labels tell which.

        Examples
        --------
        >>> import cnnviz_widgets as cv
        >>> net = cv.samples.squeezenet()
        >>> net.predict(cv.samples.photo("coffee"), k=1).labels
        ('espresso',)
        """
        count = checked_whole("k", k)
        x = self.prepare(image)
        if len(x) != 1:
            raise InputError(f"predict takes one image, got {len(x)}; call it once for each")
        values = probabilities(self.class_scores(x))[0].cpu()
        best = torch.sort(values, descending=True, stable=True)
        indices = best.indices[:count].numpy()
        return Prediction(
            indices=indices,
            labels=tuple(self.label(int(index)) for index in indices),
            probabilities=best.values[:count].float().numpy(),
        )

    def class_scores(self, x: Tensor) -> Tensor:
        """Return class scores [N, K] for a prepared batch, checked: two axes, finite, one per label."""
        output = self._returned(x)
        scores = checked_scores(self, main_tensor(output, self.output))
        # With labels their number has decided.
        if self.output is None and self.labels is None and not self._has_told and has_rivals(output):
            self._has_told = True
            remark(
                f"the network returns {describe(output)}, of which the first tensor is taken for the class scores; say "
                "which one it is: cv.Network(module, output=<index>)"
            )
        return scores

    def label(self, index: int) -> str:
        """Return the name of a class; its index as text where there are no labels."""
        if self.labels is None:
            return str(index)
        if not 0 <= index < len(self.labels):
            raise LabelNotFoundError(f"class {index} does not exist; classes are 0 to {len(self.labels) - 1}")
        return self.labels[index]

    @property
    def survey(self) -> Survey:
        """What a forward pass of one image does; watched at first need and after the module has changed."""
        example = self.input.example(device=self.device, dtype=self.dtype)
        kind = (tuple(example.shape), False)
        with engine_lock:
            found = self._surveys.find(kind)
            if found is None:
                try:
                    with apart(self), evaluation(self.core), watched(self.core) as found:
                        self.core(example)
                except Exception as error:
                    advice = (
                        f"a batch {describe(example)} was run to learn about the layers; if that is the wrong "
                        "shape, give cv.Network(module, input=cv.InputSpec(size=..., channels=...))"
                    )
                    # Without a size the shape was our guess.
                    if self.input.size is None and isinstance(error, RuntimeError):
                        raise InputError(f"the network failed ({error}): {advice}") from error
                    error.add_note(f"({advice})")
                    raise
                self._surveys.add(kind, found)
        return found

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """Every module: name, kind, output shape, parameters, number of calls; in the order of definition.

        Rectifiers that are called as functions (``"relu()"``, see `capture`) are layers, too, but no modules: they are
        not listed here; ``net.survey.functions`` has their names.
        Changes of the module are noticed, except for settings that lie deeper than its own attributes (inside
        a configuration object): make a new `Network` after these.
        """
        return list_layers(self.core, self.survey)

    def layer(self, key: LayerKey) -> LayerInfo:
        """Return the layer of that name, or one call of it: then ``output_shape`` is that call's.

        It may be a rectifier called as a function, such as ``"relu()"``.
        """
        name, call = split_key(key)
        place = find_place(self.core, name)
        names: dict[Place, str] = {each: own for own, each in self.core.named_modules()}
        layer = layer_info(place if isinstance(place, str) else names[place], place, self.survey)
        if call is None:
            return layer
        return layer.of_call(check_call(name, call, layer.calls))

    def _check_batch(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise InputTypeError(
                f"net(x) takes a prepared batch, got {type(x).__name__}; use net(net.prepare(image))"
            )
        if x.ndim != 4 or not len(x):
            raise InputError(
                f"net(x) takes a batch (images, channels, rows, columns), got shape {tuple(x.shape)}"
            )
        if x.shape[1] != self.input.channels:
            raise InputError(f"this network takes {self.input.channels} channels, got {x.shape[1]}")
        if not x.is_floating_point():
            raise InputTypeError(f"net(x) takes floats, got {x.dtype}; use net(net.prepare(image))")
        return x.to(self.device, self.dtype)

    def __repr__(self) -> str:
        parameters = sum(each.numel() for each in self.core.parameters())
        return f"Network({type(self.core).__name__}, {parameters:,} parameters, input={self.input!r})"


def _checked_device(device: torch.device | str | None) -> torch.device:
    try:
        return torch.device("cpu" if device is None else device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is no device: {error}") from error


def _same_device(actual: torch.device, expected: torch.device) -> bool:
    # "cuda" is any of them; a CPU has no number, or 0.
    anywhere = "cpu" in (actual.type, expected.type) or expected.index in (None, actual.index)
    return actual.type == expected.type and anywhere


def _checked_labels(labels: Any) -> tuple[str, ...]:
    if isinstance(labels, str | Mapping | Set):
        raise TypeError(
            f"labels= takes a list of class names in the order of the outputs, got {type(labels).__name__}"
        )
    return tuple(str(label) for label in labels)


def _guess_input(module: nn.Module) -> InputSpec:
    if isinstance(getattr(module, "pretrained_cfg", None), dict):
        return InputSpec.from_timm(module)
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            return InputSpec(channels=each.in_channels)
    return InputSpec()
