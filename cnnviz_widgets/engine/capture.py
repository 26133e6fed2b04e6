"""Capture what layers return, and the gradients that reach them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from cnnviz_widgets.engine.by_layer import LayerMapping
from cnnviz_widgets.engine.errors import LayerNotFoundError, OutputError
from cnnviz_widgets.engine.forward import ForwardPass, ForwardStopped, Record, detached, kept_in_graph
from cnnviz_widgets.engine.layers import (
    LayerKey,
    Place,
    check_call,
    describe,
    main_tensor,
    map_tensors,
    never_called,
    split_key,
    tensors_in,
)
from cnnviz_widgets.engine.rectifiers import find_place, is_function
from cnnviz_widgets.engine.state import engine_lock
from cnnviz_widgets.engine.support import check_network
from cnnviz_widgets.engine.watch_list import WatchedLayer, watch_list

if TYPE_CHECKING:
    from cnnviz_widgets.engine.network import Network
    from cnnviz_widgets.engine.survey import Survey


class _Live(LayerMapping[Any]):
    """A mapping whose values are others after each pass, so that it is compared by identity."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class Capture(_Live):
    """What the layers of one forward pass returned: a mapping from layer to value. Made by `capture`.

    ``seen["features.3"]`` is the value of a layer that is called once, ``seen["relu", 1]`` of the second
    call of a layer that is used more than once. Each ``net(x)`` inside the ``with`` block replaces what the
    one before has left; the values stay readable after the block.
    """

    def __init__(
        self, network: Network, layers: Iterable[LayerKey] | None, gradients: bool, stop: bool
    ) -> None:
        self._network = network
        self._with_gradients = gradients
        self._stop = stop
        self._watched = watch_list(network.core, layers)
        self._handles: list[RemovableHandle] = []
        self._thread: int | None = None
        self._run: ForwardPass | None = None
        self._recording = False
        self._suspensions = 0
        self._missing = 0
        self._survey: Survey | None = None
        self._calls: dict[Place, int] | None = None
        self._known_functions: list[str] = []
        self._functions: dict[str, Callable[..., Any]] = {
            place: self._recorder(each) for place, each in self._watched.items() if isinstance(place, str)
        }

    def __enter__(self) -> Capture:
        if self._handles:
            raise ValueError("this capture is already active; call cv.capture again for a second one")
        self._thread = threading.get_ident()
        with engine_lock:
            try:
                self._register_hooks()
                self._network.captures = [*self._network.captures, self]
            except BaseException:
                self._remove_hooks()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with engine_lock:
            self._remove_hooks()
            self._network.captures = [each for each in self._network.captures if each is not self]

    def _register_hooks(self) -> None:
        core = self._network.core
        # The root's own hooks tell where a pass of `module(x)`, without the network, begins and ends.
        self._handles.append(core.register_forward_pre_hook(self._root_begins))
        for place, watched in self._watched.items():
            if isinstance(place, nn.Module):
                self._handles.append(place.register_forward_hook(self._recorder(watched), with_kwargs=True))
        self._handles.append(core.register_forward_hook(self._root_ends, always_call=True))

    def _remove_hooks(self) -> None:
        while self._handles:
            self._handles.pop().remove()

    @property
    def with_gradients(self) -> bool:
        """Whether the forward pass must record gradients."""
        return self._with_gradients

    @property
    def gradients(self) -> Mapping[LayerKey, Any]:
        """With ``gradients=True``: the gradient with respect to each value, by layer.

        Filled by ``.backward()`` on anything computed from the network's output or from the values. For a
        layer that returns several tensors the gradients come in the same nest, ``None`` where none arrived.
        """
        return _Gradients(self)

    @property
    def stops(self) -> bool:
        """Whether the forward pass may end before the network's output, as far as this capture goes."""
        return self._stop

    @property
    def satisfied(self) -> bool:
        """Whether the forward pass may end here."""
        return self._stop and not self._missing

    def listens(self) -> bool:
        """Return whether passes of this thread are meant: it opened the capture, and nothing suspends it."""
        return self._thread == threading.get_ident() and not self._suspensions

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Keep what is held, whatever runs inside."""
        self._suspensions += 1
        try:
            yield
        finally:
            self._suspensions -= 1

    def begin(self, run: ForwardPass | None) -> None:
        """Get ready for a pass; ``None`` for one of the bare module."""
        self._run, self._recording, self._calls = run, True, None
        self._survey = None if run is None else run.survey
        for watched in self._watched.values():
            watched.begin(run)
        self._missing = sum(watched.due != 0 for watched in self._watched.values())

    def end(self) -> None:
        """Note that the pass is over: calls from here on are not part of it."""
        # A checkpointed module is run again in the backward pass.
        self._recording = False
        self._calls = {
            place: max(watched.count, self._run.known_calls(place) if self._run else 0)
            for place, watched in self._watched.items()
        }
        self._known_functions = self._run.functions() if self._run else []
        self._run = None

    def discard(self) -> None:
        """Drop what a pass that failed has left."""
        for watched in self._watched.values():
            watched.begin(None)
        self._calls = None

    def records(self) -> Iterator[tuple[Place, int, Record]]:
        """Yield what was captured: place, call, record."""
        for watched in self._watched.values():
            for call, record in watched.records.items():
                yield watched.place, call, record

    @property
    def watches_functions(self) -> bool:
        """Whether rectifiers that are called as functions are among what is captured."""
        return bool(self._functions)

    def note_function(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        """Be told of a rectifier called as a function; return what takes the place of its output, if anything."""
        return self._functions[name](None, args, kwargs, output) if name in self._functions else None

    def _root_begins(self, module: nn.Module, arguments: Any) -> None:
        if self.listens() and self._run is None:
            self.begin(None)

    def _root_ends(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if self.listens() and self._run is None:
            self.end()

    def _recorder(self, watched: WatchedLayer) -> Any:
        def record(module: nn.Module | None, arguments: Any, options: Any, output: Any) -> Any:
            if not (self._recording and self.listens()):
                return None
            if self._run is not None and self._run.stopped:
                raise ForwardStopped  # something swallowed the first one
            call, watched.count = watched.count, watched.count + 1
            if watched.calls is not None and call not in watched.calls:
                return None
            if watched.due is not None:
                watched.due -= 1
                self._missing -= watched.due == 0
            return self._take(watched, call, output, (*arguments, *options.values()))

        return record

    def _take(self, watched: WatchedLayer, call: int, output: Any, given: Any) -> Any:
        """Keep what the layer returned; return what takes its place in the module, if anything does."""
        run, in_graph = self._run, self._with_gradients
        if run is None:  # the bare module: nothing is known, and there is no second try
            stop, copied = False, not in_graph
        else:
            stop = run.may_stop()
            copied = not stop and run.must_copy(watched.place, call, in_graph)
        if in_graph:
            value, successor = kept_in_graph(output, list(tensors_in(given)), copied)
            self._collect_gradients(watched, call, value)
        else:
            value, successor = detached(output), None
            value = map_tensors(value, Tensor.clone) if copied else value
        watched.records[call] = Record(value, copied or stop)
        if run is not None and stop:
            run.stopped = True
            raise ForwardStopped
        return successor

    def _collect_gradients(self, watched: WatchedLayer, call: int, value: Any) -> None:
        # The hook may not know the tensor it hangs on: in such a circle memory is given back late.
        arrived: dict[int, Tensor] = {}
        watched.gradients[call] = arrived
        for index, tensor in enumerate(tensors_in(value)):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient, index=index: arrived.update({index: gradient.detach()}))

    def find(self, key: LayerKey) -> tuple[WatchedLayer, int]:
        """Return where the value of a layer is, or say why there is none."""
        name, call = split_key(key)
        place = find_place(self._network.core, name)
        watched = self._watched.get(place)
        if watched is None:
            raise LayerNotFoundError(
                f"layer {name!r} was not captured; name it in cv.capture(net, [..., {name!r}])"
            )
        if self._calls is None:
            raise LayerNotFoundError(
                f"layer {name!r} holds nothing yet; run net(x) inside the with block first"
            )
        if is_function(name) and not self._calls[place]:
            raise never_called(name, self._known_functions)
        call = check_call(name, call, self._calls[place])
        if call not in watched.records:
            raise LayerNotFoundError(
                f"call {call} of layer {name!r} was not captured; ask for ({name!r}, {call})"
            )
        return watched, call

    def __getitem__(self, key: LayerKey) -> Any:
        watched, call = self.find(key)
        record = watched.records[call]
        if record.is_overwritten():
            raise LayerNotFoundError(
                f"the value of layer {watched.name!r} was overwritten by an in-place operation after it; "
                "run net(x) inside the with block, which keeps it, instead of the module itself"
            )
        return record.value

    def is_channels_last(self, key: LayerKey) -> bool:
        """Return whether a layer's maps come with their channels at the end; unknown of a bare module's."""
        watched, call = self.find(key)
        return self._survey is not None and (watched.place, call) in self._survey.channels_last

    def keys_of(self, key: LayerKey) -> list[LayerKey]:
        """Return the keys of what a layer returned: one for each call, for a bare name of several calls."""
        name, call = split_key(key)
        watched = self._watched.get(find_place(self._network.core, name))
        if call is None and watched is not None and self._calls and self._calls[watched.place] > 1:
            return [(name, each) for each in range(self._calls[watched.place])]
        self.find(key)
        return [key]

    def __iter__(self) -> Iterator[LayerKey]:
        for watched in self._watched.values():
            for call in sorted(watched.records):
                single = watched.calls is None and watched.count == 1
                yield watched.name if single else (watched.name, call)

    def __len__(self) -> int:
        return sum(len(watched.records) for watched in self._watched.values())

    def __repr__(self) -> str:
        return f"<capture of {', '.join(repr(watched.name) for watched in self._watched.values())}>"


@contextmanager
def apart(net: Network) -> Iterator[None]:
    """Run the engine's own passes inside: what the captures that are open now hold stays as it is."""
    with ExitStack() as stack:
        for each in net.captures:
            if each.listens():
                stack.enter_context(each.suspended())
        yield


def maps_in(seen: Mapping[LayerKey, Any], key: LayerKey) -> Tensor:
    """Return the tensor that counts in what a layer returned; maps with their channels in front, [N, C, H, W].

    Where they come with their channels at the end, what is returned is another view of the captured tensor.
    """
    tensor = main_tensor(seen[key])
    is_last = isinstance(seen, Capture) and seen.is_channels_last(key)
    return tensor.movedim(-1, 1) if is_last else tensor


def value_in(seen: Capture, key: LayerKey) -> Any:
    """Return what a layer returned; maps that come with their channels at the end are turned as by `maps_in`."""
    return maps_in(seen, key) if seen.is_channels_last(key) else seen[key]


def check_channels_first(seen: Capture, key: LayerKey) -> None:
    """Refuse maps that come with their channels at the end, where their positions would be mistaken.

    Raises
    ------
    OutputError
        They do; with what to do.
    """
    if seen.is_channels_last(key):
        raise OutputError(
            f"layer {key!r} returns maps with their channels at the end (images, rows, columns, channels), "
            f"{describe(main_tensor(seen[key]))}; which window of the image its units see is worked out only where the "
            "channels come first: take a layer that puts them there, such as a convolution or the permutation before "
            "or after it"
        )


class _Gradients(_Live):
    """The gradients of a `Capture`."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def __getitem__(self, key: LayerKey) -> Any:
        if not self._capture.with_gradients:
            raise LayerNotFoundError(
                "no gradients were kept; open the capture with cv.capture(net, layers, gradients=True)"
            )
        watched, call = self._capture.find(key)
        arrived = watched.gradients[call]
        if not arrived:
            raise LayerNotFoundError(
                f"no gradient has reached layer {watched.name!r}; "
                "call .backward() on a value that depends on it (layers that run without gradients get none)"
            )
        index = count()
        return map_tensors(watched.records[call].value, lambda _: arrived.get(next(index)))

    def __iter__(self) -> Iterator[LayerKey]:
        return (key for key in self._capture if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def capture(
    net: Network,
    layers: Iterable[LayerKey] | None = None,
    *,
    gradients: bool = False,
    stop: bool | None = None,
) -> Capture:
    """See exactly what layers return: values as they left the layer, whatever overwrites them later.

    Use it as a context; inside, run ``net(x)``. The forward pass ends at the deepest layer asked for, so
    ``net(x)`` returns ``None`` (see ``stop``).

    Parameters
    ----------
    net
        The network.
    layers
        Names, or ``(name, call)`` for one call of a layer that is used more than once. A bare name captures
        every call. ``None`` captures all layers. A rectifier that is called as a function has the name of the
        module in whose ``forward`` that is and its own, with parentheses: ``"block.relu()"``, or ``"relu()"``
        in the network's own.
    gradients
        Keep the graph, so that ``.backward()`` fills ``seen.gradients``. Gradients flow to the input and to
        the captured values, never to the parameters. A module that checkpoints its activations runs again in
        the backward pass, in the mode it is in by then: put it in evaluation mode before.
    stop
        End the pass at the deepest layer. Default: yes, unless all layers are captured or gradients are kept
        (they usually come from the network's output). The first pass of a kind (shape of the batch, with or
        without gradients) runs to its end, to learn how often each layer is called.

    Returns
    -------
    Capture
        A context that is a mapping from layer to what it returned: a tensor [N, ...] on the network's
        device, or the tuple or dict that the layer returns, with the axes as the layer has them.

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
    check_network(net, "capture")
    if stop is None:
        stop = not gradients and layers is not None
    return Capture(net, layers, gradients, stop)
