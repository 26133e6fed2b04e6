"""Capture what layers return, and the gradients that reach them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnviz_widgets.engine.errors import LayerNotFoundError
from cnnviz_widgets.engine.layers import (
    LayerKey,
    Survey,
    check_call,
    find_module,
    map_tensors,
    split_key,
    tensors_in,
    version,
)
from cnnviz_widgets.engine.state import engine_lock

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network


class ForwardStopped(BaseException):
    """Ends a forward pass once everything asked for is there.

    Not an `Exception`: a module that catches those must not catch this one.
    """


@dataclass
class _Watched:
    """One module of a capture: the calls asked for (``None``: all) and what each has returned."""

    name: str
    module: nn.Module
    calls: set[int] | None
    count: int = 0
    outputs: dict[int, Any] = field(default_factory=dict)
    versions: dict[int, list[tuple[Tensor, int]]] = field(default_factory=dict)
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def clear(self) -> None:
        self.count = 0
        self.outputs, self.versions, self.gradients = {}, {}, {}

    def wants(self, call: int) -> bool:
        return self.calls is None or call in self.calls

    def complete(self, survey: Survey) -> bool:
        wanted = range(survey.calls(self.module)) if self.calls is None else self.calls
        return bool(wanted) and all(call in self.outputs for call in wanted)


class Capture(Mapping[LayerKey, Any]):
    """What the layers of one forward pass returned: a mapping from layer to value. Made by `capture`.

    ``seen["features.3"]`` is the value of a layer that is called once, ``seen["relu", 1]`` of the second
    call of a layer that is used more than once. Values stay readable after the ``with`` block.

    Attributes
    ----------
    gradients
        With ``gradients=True``: a mapping like this one, of the gradient with respect to each value; filled
        by ``.backward()`` on anything computed from the network's output or from the values themselves.
    """

    def __init__(
        self, network: Network, layers: Iterable[LayerKey] | None, gradients: bool, stop: bool
    ) -> None:
        self._network = network
        self._with_gradients = gradients
        self._stop = stop
        self._watched = _watch(network.core, layers)
        self._handles: list[RemovableHandle] = []
        self._thread: int | None = None
        self.gradients: Mapping[LayerKey, Tensor] = _Gradients(self)

    def __enter__(self) -> Capture:
        if self._handles:
            raise RuntimeError("this capture is already active; call cv.capture again for a second one")
        self._thread = threading.get_ident()
        with engine_lock:
            # The root's pre-hook tells one forward pass from the next.
            self._handles.append(self._network.core.register_forward_pre_hook(self._begin))
            for module, watched in self._watched.items():
                self._handles.append(module.register_forward_hook(self._recorder(watched)))
            self._network.captures.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with engine_lock:
            self._network.captures.remove(self)
            while self._handles:
                self._handles.pop().remove()

    @property
    def with_gradients(self) -> bool:
        """Whether the forward pass must record gradients."""
        return self._with_gradients

    def belongs_here(self) -> bool:
        """Return whether this thread opened the capture (others may run the same module meanwhile)."""
        return self._thread == threading.get_ident()

    def wants_more(self) -> bool:
        """Return whether the forward pass must go on for this capture."""
        survey = self._network.survey_if_known
        if not self._stop or survey is None:
            return True
        return not all(watched.complete(survey) for watched in self._watched.values())

    def overwritten(self) -> set[tuple[nn.Module, int]]:
        """Return the calls whose value was written to after it was captured without a copy."""
        return {
            (watched.module, call)
            for watched in self._watched.values()
            for call, pairs in watched.versions.items()
            if any(version(tensor) != then for tensor, then in pairs)
        }

    def _begin(self, module: nn.Module, arguments: Any) -> None:
        if self.belongs_here():
            for watched in self._watched.values():
                watched.clear()

    def _recorder(self, watched: _Watched) -> Any:
        def record(module: nn.Module, arguments: Any, output: Any) -> Any:
            if not self.belongs_here():
                return None
            call, watched.count = watched.count, watched.count + 1
            if not watched.wants(call):
                return None
            if self._with_gradients:
                return self._record_with_gradients(watched, call, output)
            watched.outputs[call] = output
            if self._network.can_stop():
                raise ForwardStopped
            self._keep_from_change(watched, call, output)
            return None

        return record

    def _keep_from_change(self, watched: _Watched, call: int, output: Any) -> None:
        """Copy the value if something later in the pass writes to it; else note how to tell that later.

        Copying everything would double the memory traffic of a pass. Which values are overwritten (by an
        in-place rectifier, a residual ``+=``) is known from the survey, and checked after the pass.
        """
        survey = self._network.survey_if_known
        known = survey is not None and self._network.running
        versions = [(tensor, version(tensor)) for tensor in tensors_in(output)]
        copied = not known or (survey is not None and (watched.module, call) in survey.overwritten)
        if copied or any(each is None or isinstance(tensor, nn.Parameter) for tensor, each in versions):
            watched.outputs[call] = map_tensors(output, Tensor.clone)
        else:
            watched.versions[call] = [(tensor, each) for tensor, each in versions if each is not None]

    def _record_with_gradients(self, watched: _Watched, call: int, output: Any) -> Any:
        """Keep the value in the graph and hand a copy on, so that what overwrites it overwrites the copy."""
        watched.outputs[call] = output
        tensors = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        if tensors:
            first = tensors[0]

            def keep(gradient: Tensor) -> None:
                watched.gradients[call] = gradient.detach()

            first.register_hook(keep)
        if self._network.can_stop():
            raise ForwardStopped
        return map_tensors(output, Tensor.clone)

    def _find(self, key: LayerKey) -> tuple[_Watched, int]:
        name, call = split_key(key)
        module = find_module(self._network.core, name)
        watched = self._watched.get(module)
        if watched is None:
            raise LayerNotFoundError(
                f"layer {name!r} was not captured; name it in cv.capture(net, [..., {name!r}])"
            )
        survey = self._network.survey_if_known
        calls = max(watched.count, survey.calls(module) if survey else 0)
        if not watched.count and calls:
            raise LayerNotFoundError(
                f"layer {name!r} holds nothing yet; run net(x) inside the with block first"
            )
        call = check_call(name, call, calls)
        if call not in watched.outputs:
            raise LayerNotFoundError(f"call {call} of layer {name!r} was not captured; ask for ({name!r}, {call})")
        return watched, call

    def __getitem__(self, key: LayerKey) -> Any:
        watched, call = self._find(key)
        return watched.outputs[call]

    def __iter__(self) -> Iterator[LayerKey]:
        for watched in self._watched.values():
            for call in sorted(watched.outputs):
                single = watched.calls is None and watched.count == 1
                yield watched.name if single else (watched.name, call)

    def __len__(self) -> int:
        return sum(len(watched.outputs) for watched in self._watched.values())

    def __repr__(self) -> str:
        return f"<capture of {', '.join(repr(watched.name) for watched in self._watched.values())}>"


class _Gradients(Mapping[LayerKey, Tensor]):
    """The gradients of a `Capture`."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def __getitem__(self, key: LayerKey) -> Tensor:
        if not self._capture.with_gradients:
            raise LayerNotFoundError(
                "no gradients were kept; open the capture with cv.capture(net, layers, gradients=True)"
            )
        watched, call = self._capture._find(key)
        if call not in watched.gradients:
            raise LayerNotFoundError(
                f"no gradient has reached layer {watched.name!r}; call .backward() on a value that depends on it"
            )
        return watched.gradients[call]

    def __iter__(self) -> Iterator[LayerKey]:
        for key in self._capture:
            watched, call = self._capture._find(key)
            if call in watched.gradients:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _watch(root: nn.Module, layers: Iterable[LayerKey] | None) -> dict[nn.Module, _Watched]:
    if layers is None:
        keys: list[LayerKey] = [name for name, _ in root.named_modules() if name]
    elif isinstance(layers, str):
        keys = [layers]
    elif isinstance(layers, tuple) and len(layers) == 2 and isinstance(layers[1], int):
        keys = [layers]
    else:
        keys = list(layers)
    if not keys:
        raise LayerNotFoundError("no layers to capture: name at least one, such as ['features.3']")
    watched: dict[nn.Module, _Watched] = {}
    for key in keys:
        name, call = split_key(key)
        module = find_module(root, name)
        entry = watched.setdefault(module, _Watched(name, module, set()))
        if call is None:
            entry.calls = None
        elif entry.calls is not None:
            entry.calls.add(call)
    return watched


def capture(
    net: Network,
    layers: Iterable[LayerKey] | None = None,
    *,
    gradients: bool = False,
    stop: bool | None = None,
) -> Capture:
    """See exactly what layers return: values as they left the layer, whatever overwrites them later.

    Use it as a context; inside, run ``net(x)``. The forward pass ends at the deepest layer asked for, and
    ``net(x)`` then returns ``None``.

    Parameters
    ----------
    net
        The network.
    layers
        Names, or ``(name, call)`` for one call of a layer that is used more than once. A bare name captures
        every call. ``None`` captures all layers.
    gradients
        Keep the graph, so that ``.backward()`` fills ``seen.gradients``. Gradients flow to the input and to
        the captured values, never to the parameters.
    stop
        End the pass at the deepest layer. Default: yes, unless gradients are kept (they usually come from
        the network's output).

    Returns
    -------
    Capture
        A context that is a mapping from layer to what it returned: a tensor [N, ...] on the network's
        device, or the tuple or dict that the layer returns.

    Raises
    ------
    LayerNotFoundError
        No such layer (with the nearest names), or it was never called.
    AmbiguousLayerError
        On reading a bare name of a layer that is called more than once.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> net = cv.samples.fashion_cnn()
    >>> images, labels = cv.samples.fashion_mnist("test")
    >>> with cv.capture(net, ["conv1"]) as seen:
    ...     net(net.prepare(images[:2]))
    >>> seen["conv1"].shape[0]
    2
    """
    from cnnviz_widgets.engine.network import Network

    if not isinstance(net, Network):
        raise TypeError(f"capture needs a cv.Network, got {type(net).__name__}; wrap it: cv.Network(module)")
    return Capture(net, layers, gradients, (not gradients) if stop is None else stop)


