"""How a network changes while it trains: its kernels, its activations, and the sizes of its steps."""

from __future__ import annotations

import html
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnviz_widgets.engine.checkpoints import load_checkpoint
from cnnviz_widgets.engine.errors import RecorderError
from cnnviz_widgets.engine.history_file import Arrays, HistoryHeader, schema_of
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.notifier import Notifier
from cnnviz_widgets.engine.results import Result
from cnnviz_widgets.engine.step_hooks import StepHooks
from cnnviz_widgets.engine.targets import whole_number
from cnnviz_widgets.engine.training_log import TrainingLog, read_log
from cnnviz_widgets.engine.training_probe import TrainingProbe, norms

FloatArray = NDArray[np.float64]

_MEGABYTE = 1024**2
# So many records with maps fit into the budget, however large the layers are.
_RECORDS_AT_LEAST = 100


@dataclass(frozen=True, eq=False)
class TrainingHistory(Result):
    """What became of a network while it trained: S records, one for each of ``steps``, in their order.

    A record shows the network after so many steps of the optimizer: 0 is the start. Layers are named as
    everywhere: by dotted name, or ``(name, call)`` where a module is called more than once.

    Attributes
    ----------
    steps
        Steps taken by the time of each record [S], int64, rising.
    loss
        The loss that was noted for each of them [S], float64; NaN where none was.
    kernels
        Those of ``kernels_layer`` [S, O, I, kH, kW], float32; [S, 0, 0, 0, 0] where there is no such layer.
        They may hold NaN or infinity: a training that diverges is recorded as it is.
    roughness
        Of each kernel [S, O], float64, 0 is flat: `cnnviz_widgets.engine.roughness.roughness`. NaN for 1x1
        kernels and for those of zeros, NaN or infinity.
    activations
        For each layer the maps of ``images`` [S, N, C, H, W], float16 (clipped to its range); H and W are 1
        for layers without maps. Of large layers the first channels alone are kept, so C may be smaller than
        the layer's. Empty where no images were given.
    sparsity
        For each layer the share of its values that are exactly zero [S], float64, in [0, 1], over all
        ``image_count`` images. NaN where the layer returned a NaN.
    dead
        For each layer the share of its channels that are nowhere above zero on any of the ``image_count``
        images [S], float64, in [0, 1]. Such a channel may still answer to other images. NaN as above.
    weight_norms, gradient_norms, update_norms
        For each parameter, by name, L2 norms [S], float64: of its values, of its gradient as the optimizer
        used it, and of what this one step has changed. Gradients and updates are NaN at the start, at the
        end (unless that step was to be recorded anyway), for checkpoints, and for parameters that are not
        trained; a record made by hand has the gradient there is at that moment, but no update.
    images
        The pictures whose maps are kept, as the network sees them, uint8 [N, H, W, 3].
    image_count
        How many images ``sparsity`` and ``dead`` are about: at least N.
    kernels_layer
        Name of the convolution whose kernels are kept, ``None`` where there is none.
    parameters
        The options used.
    """

    steps: NDArray[np.int64]
    loss: FloatArray
    kernels: NDArray[np.float32]
    roughness: FloatArray
    activations: dict[LayerKey, NDArray[np.float16]]
    sparsity: dict[LayerKey, FloatArray]
    dead: dict[LayerKey, FloatArray]
    weight_norms: dict[str, FloatArray]
    gradient_norms: dict[str, FloatArray]
    update_norms: dict[str, FloatArray]
    images: NDArray[np.uint8]
    image_count: int
    kernels_layer: str | None
    parameters: dict[str, Any]

    @property
    def layers(self) -> tuple[LayerKey, ...]:
        """The layers whose activations were recorded."""
        return tuple(self.sparsity)

    def __len__(self) -> int:
        return len(self.steps)

    def __str__(self) -> str:
        if not len(self):
            return "TrainingHistory(no records yet)"
        parts = [f"{len(self)} records of steps {self.steps[0]} to {self.steps[-1]}"]
        if self.kernels_layer is not None:
            count, channels, height, width = self.kernels.shape[1:]
            parts.append(f"{count} kernels of {channels}x{height}x{width} of {self.kernels_layer!r}")
        if self.layers:
            shown = ", ".join(map(repr, self.layers[:4])) + (" ..." if len(self.layers) > 4 else "")
            parts.append(
                f"{len(self.layers)} layers on {self.image_count} images, {len(self.images)} with maps: {shown}"
            )
        noted = self.loss[~np.isnan(self.loss)]
        parts.append(f"loss {noted[0]:.3g} to {noted[-1]:.3g}" if len(noted) else "no loss noted")
        return f"TrainingHistory({'; '.join(parts)})"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows for the bare result; names are text, whatever is in them."""
        return f"<pre>{html.escape(str(self))}</pre>"


class TrainingRecorder:
    """Record how a network changes while it trains, from one line beside any training loop.

    Attached to an optimizer it counts that one's steps, and records the start (step 0), every ``every`` steps
    and, on `close`, the end. Without one, call `record` in the loop. Recording changes nothing: the training
    ends in the same weights, buffers, optimizer state, modes and random states, bit for bit, as without.
    What it costs is one forward pass of ``images`` in evaluation mode and copies of the weights in each
    recorded step; between these, next to nothing.

    Parameters
    ----------
    net
        The network whose module is trained, in whatever mode it is.
    optimizer
        Any `torch.optim.Optimizer` that moves its parameters: the recorder uses its own step hooks.
    every
        Steps between records.
    layers
        Whose activations to measure; left out, all rectifiers, also those called as functions (``"relu()"``,
        see `capture`), call by call. Needs ``images``.
    images
        A few fixed images, in any form that `InputSpec.prepare` takes. Left out, no activations, zeros or
        dead channels are recorded, and the module is never run.
    map_images
        Of how many of them, the first ones, to keep maps. Fewer where all layers' maps of a record would take
        more than a hundredth of ``byte_budget``, and if one image alone would, the first channels only.
    kernels_layer
        Whose kernels to keep; left out, those of the first convolution, if there is one.
    byte_budget
        Bytes that all records in memory may take. When it is used up, every second record goes, and from
        then on ``every`` counts double; the first and the last always stay. A `history` is a copy: as much
        again while it is kept.
    path
        A file to append each record to. It can be read meanwhile (`load_history`), and when the process is
        killed it holds all but at most the last one. If it is there already and of the same network, layers
        and images, the recording goes on at its last step. One recorder at a time may write to it.
    first_step
        How many steps were taken before now, where that is not the last step in the file (or 0). Records of
        later steps are cut off the file: the training was taken back to an earlier moment.

    Raises
    ------
    RecorderError
        (a ValueError) A recorder is attached to the optimizer already; the optimizer moves other parameters;
        the file is of another network; the budget is too small; layers without images.
    ResultFileError
        ``path`` is a file of another kind, or damaged.
    LayerNotFoundError, AmbiguousLayerError, OutputError, WeightsError, InputError
        Layers and images that can't be used.

    Notes
    -----
    An error while recording, such as a full disk, is raised in the training loop by the step that was to be
    recorded (the step itself is complete). With a `torch.amp.GradScaler`, skipped steps do not count.

    Examples
    --------
    >>> import torch, cnnviz_widgets as cv
    >>> module = cv.samples.fashion_cnn_module().train()
    >>> net = cv.Network(module, input=cv.samples.fashion_input())
    >>> images, labels = cv.samples.fashion_mnist("train")
    >>> optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    >>> with cv.TrainingRecorder(net, optimizer, every=2, images=images[:8]) as recorder:
    ...     for start in range(0, 75, 25):
    ...         scores = module(net.prepare(images[start : start + 25]))
    ...         loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels[start : start + 25]))
    ...         optimizer.zero_grad()
    ...         loss.backward()
    ...         recorder.note_loss(loss)
    ...         optimizer.step()
    >>> recorder.history.steps.tolist(), recorder.history.kernels.shape
    ([0, 2, 3], (3, 16, 1, 7, 7))
    """

    def __init__(
        self,
        net: Network,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        every: int = 50,
        layers: Iterable[LayerKey] | None = None,
        images: Images | None = None,
        map_images: int = 4,
        kernels_layer: str | None = None,
        byte_budget: int = 64 * _MEGABYTE,
        path: str | os.PathLike[str] | None = None,
        first_step: int | None = None,
    ) -> None:
        every = _whole("every", every)
        options = {
            "every": every,
            "map_images": _whole("map_images", map_images),
            "byte_budget": _whole("byte_budget", byte_budget),
        }
        first_step = None if first_step is None else _whole("first_step", first_step, least=0)
        self._probe = TrainingProbe(
            net,
            images,
            layers,
            kernels_layer,
            map_images=map_images,
            map_bytes=byte_budget // _RECORDS_AT_LEAST,
        )
        first = _record(self._probe, 0)
        self._recording = threading.RLock()
        self._notifier = Notifier(self)
        self._loss: float | Tensor = float("nan")
        self._before: dict[str, Tensor] | None = None
        self._closed = False
        # Attached before the file is touched, so that what is refused leaves no trace.
        self._hooks: StepHooks | None = None
        if optimizer is not None:
            self._hooks = StepHooks(optimizer, net.core, self._before_step, self._after_step)
        try:
            self._log = TrainingLog(
                _header(self._probe, first, options),
                self._probe.pictures,
                byte_budget=byte_budget,
                unit=every,
                path=path,
                first_step=first_step,
            )
            self._every = every
            self._step = self._log.first_step
            if optimizer is not None and self._log.last_step != self._step:
                self._log.add(first | {"step": np.array(self._step)})
        except BaseException:
            self._detach()
            raise

    @property
    def history(self) -> TrainingHistory:
        """What was recorded by now, as a copy; from any thread, also while the training runs."""
        return _history(self._log.header, self._probe.pictures, self._log.records())

    @property
    def step(self) -> int:
        """Steps taken by now; without an optimizer, that of the last record."""
        return self._step

    @property
    def is_closed(self) -> bool:
        """Whether the recorder was closed."""
        return self._closed

    def note_loss(self, loss: float | Tensor) -> None:
        """Note the loss of the present step, before the optimizer takes it.

        Cheap: the value of a tensor is read only if the step is recorded, and what is not recorded is forgotten.
        """
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise ValueError(
                    f"a loss is one number, got a tensor of shape {tuple(loss.shape)}; take its mean"
                )
            loss = loss.detach()
        elif not isinstance(loss, int | float | np.integer | np.floating):
            raise TypeError(f"a loss is a number or a tensor with one, got {type(loss).__name__}")
        self._loss = loss

    def record(self, step: int | None = None, loss: float | Tensor | None = None) -> None:
        """Record the network as it is now.

        Parameters
        ----------
        step
            Steps taken by now, more than at the record before; left out, one more, from 0 on. With an
            optimizer its steps are counted, so leave it out; a step that is recorded already stays as it is.
        loss
            The loss; left out, what `note_loss` was told last.

        Raises
        ------
        RecorderError
            The recorder is closed, or steps go back.
        """
        with self._recording:
            if self._closed:
                raise RecorderError("this recorder is closed; make a new one, with the same path to go on")
            if loss is not None:
                self.note_loss(loss)
            last = self._log.last_step
            if self._hooks is not None:
                if step is not None:
                    raise RecorderError(
                        f"the optimizer's steps are counted, so step={step!r} can't be set; leave it out"
                    )
                if last != self._step:
                    self._keep(self._step, gradients=True)
                return
            if step is None:
                step = self._log.first_step if last is None else last + 1
            step = _whole("step", step, least=0)
            if last is not None and step <= last:
                raise RecorderError(
                    f"step {step} can't follow step {last}, which is recorded already: steps rise"
                )
            self._step = step
            self._keep(step, gradients=True)

    def observe(self, callback: Callable[[TrainingRecorder], object]) -> None:
        """Call ``callback(recorder)`` soon after each record, and once it is closed.

        On a thread of the recorder's own: the training is not held up. What is recorded while a callback runs
        is told once, afterwards. A callback that raises is called no more, and its error is logged.
        """
        self._notifier.observe(callback)

    def unobserve(self, callback: Callable[[TrainingRecorder], object]) -> None:
        """Call it no more; nothing happens if it did not observe."""
        self._notifier.unobserve(callback)

    def close(self) -> None:
        """Record the end, let go of the optimizer, and close the file. The history stays; twice is once."""
        with self._recording:
            if self._closed:
                return
            try:
                if self._hooks is not None and self._log.last_step != self._step:
                    # Gradients may have been set to zero since the step, or be the next one's.
                    self._keep(self._step, gradients=False)
            finally:
                self._closed = True
                self._detach()
                self._log.close()
                self._notifier.notify()

    def __enter__(self) -> TrainingRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "attached" if self._hooks is not None else "by hand"
        return f"TrainingRecorder({state}, step {self._step}, {len(self._log.records())} records)"

    def _detach(self) -> None:
        if self._hooks is not None:
            self._hooks.remove()

    def _is_due(self, step: int) -> bool:
        return (step - self._log.first_step) % max(self._every, self._log.spacing) == 0

    def _before_step(self) -> None:
        """Keep the weights before a step whose size is to be recorded."""
        self._before = None
        if self._hooks is not None and self._is_due(self._step + 1):
            moved = self._hooks.moved()
            named = self._probe.net.core.named_parameters()
            self._before = {name: each.detach().clone() for name, each in named if id(each) in moved}

    def _after_step(self) -> None:
        with self._recording:
            self._step += 1
            if self._is_due(self._step):
                self._keep(self._step, gradients=True)
            self._loss, self._before = float("nan"), None

    def _keep(self, step: int, *, gradients: bool) -> None:
        record = _record(self._probe, step, loss=self._loss, before=self._before, gradients=gradients)
        self._loss = float("nan")
        self._log.add(record)
        self._notifier.notify()


def load_history(path: str | os.PathLike[str], *, byte_budget: int = 1024 * _MEGABYTE) -> TrainingHistory:
    """See what a `TrainingRecorder` has written to a file by now, also while it goes on writing.

    A last record that is not whole, since it is just being written or its writer was killed, is left out.

    Parameters
    ----------
    path
        The file.
    byte_budget
        How many bytes the records may take; if there are more, they are thinned out evenly.

    Returns
    -------
    TrainingHistory

    Raises
    ------
    ResultFileError
        (a ValueError) Not such a file, cut short before its first record, or damaged.
    RecorderError
        The budget has no room for three records.
    OSError
        There is no such file, or it may not be read.
    """
    return _history(*read_log(path, byte_budget=_whole("byte_budget", byte_budget)))


def history_from_checkpoints(
    build: Callable[[], Network | nn.Module],
    paths: Iterable[str | os.PathLike[str]],
    *,
    steps: Sequence[int] | None = None,
    images: Images | None = None,
    layers: Iterable[LayerKey] | None = None,
    map_images: int = 4,
    kernels_layer: str | None = None,
) -> TrainingHistory:
    """See how a network changed from checkpoint to checkpoint, of a training that is long over.

    Parameters
    ----------
    build
        Returns a new network, or module, for the weights to be loaded into: all of them, and no others.
    paths
        The checkpoints in the order of their steps: ``.npz``, or what `torch.save` wrote of a state dict, by
        itself or under ``"state_dict"`` or ``"model"``. Nothing is unpickled but tensors.
    steps
        Steps taken by each, rising; left out, 0, 1, 2 ...
    images, layers, map_images, kernels_layer
        As for `TrainingRecorder`.

    Returns
    -------
    TrainingHistory
        All checkpoints, whatever they take. Losses, and norms of gradients and updates, are NaN.

    Raises
    ------
    CheckpointError
        (a ValueError) A file that is no checkpoint, or whose weights are those of another network.
    ValueError
        No paths, or steps that do not fit them.

    Examples
    --------
    >>> import cnnviz_widgets as cv
    >>> checkpoints = cv.samples.fashion_cnn_checkpoints()
    >>> history = cv.history_from_checkpoints(
    ...     cv.samples.fashion_cnn, [each.path for each in checkpoints], steps=[each.step for each in checkpoints]
    ... )
    >>> history.kernels.shape, history.steps.tolist()[:3]
    ((13, 16, 1, 7, 7), [0, 20, 60])
    """
    files = [os.fspath(each) for each in paths]
    moments = (
        list(range(len(files))) if steps is None else [_whole("each step", each, least=0) for each in steps]
    )
    if not files or len(moments) != len(files):
        raise ValueError(f"each checkpoint has a step; got {len(files)} paths and {len(moments)} steps")
    if any(later <= earlier for earlier, later in pairwise(moments)):
        raise ValueError(f"steps must rise from checkpoint to checkpoint, got {moments}")
    built = build()
    net = built if isinstance(built, Network) else Network(built)
    load_checkpoint(net.core, files[0])
    options = {"map_images": _whole("map_images", map_images), "checkpoints": list(map(str, files))}
    map_bytes = 64 * _MEGABYTE // _RECORDS_AT_LEAST
    probe = TrainingProbe(net, images, layers, kernels_layer, map_images=map_images, map_bytes=map_bytes)
    records = []
    for path, step in zip(files, moments, strict=True):
        load_checkpoint(net.core, path)
        records.append(_record(probe, step))
    return _history(_header(probe, records[0], options), probe.pictures, records)


def _record(
    probe: TrainingProbe,
    step: int,
    *,
    loss: float | Tensor = float("nan"),
    before: dict[str, Tensor] | None = None,
    gradients: bool = False,
) -> Arrays:
    """Return one record; the weights before the step give the size of the update."""
    named = dict(probe.net.core.named_parameters())
    earlier = before or {}
    with torch.no_grad():
        updates = [each - earlier[name] if name in earlier else None for name, each in named.items()]
        sizes = norms(updates)
    return {
        "step": np.array(step, np.int64),
        "loss": np.array(float(loss), np.float64),
        "gradient_norms": norms([each.grad if gradients else None for each in named.values()]),
        "update_norms": sizes,
        **probe.measure(),
    }


def _header(probe: TrainingProbe, record: Arrays, options: dict[str, Any]) -> HistoryHeader:
    named = probe.net.core.named_parameters()
    return HistoryHeader(
        module=type(probe.net.core).__name__,
        shapes={name: list(each.shape) for name, each in named},
        layers=list(probe.layers),
        kernels_layer=probe.kernels_layer,
        image_count=probe.image_count,
        digest=probe.digest,
        pictures=(probe.pictures.dtype.str, probe.pictures.shape),
        schema=schema_of(record),
        options=options,
    )


def _history(header: HistoryHeader, pictures: NDArray[np.uint8], records: list[Arrays]) -> TrainingHistory:
    """Return the records side by side."""

    def all_of(name: str) -> NDArray[Any]:
        kind, shape = header.schema[name]
        found = np.empty((len(records), *shape), kind)
        for index, record in enumerate(records):
            found[index] = record[name]
        return found

    def by_parameter(name: str) -> dict[str, FloatArray]:
        return dict(zip(header.shapes, np.ascontiguousarray(all_of(name).T), strict=True))

    def by_layer(name: str) -> dict[LayerKey, FloatArray]:
        values = np.ascontiguousarray(all_of(name).T) if header.layers else ()
        return dict(zip(header.layers, values, strict=True))

    return TrainingHistory(
        steps=all_of("step"),
        loss=all_of("loss"),
        kernels=all_of("kernels"),
        roughness=all_of("roughness"),
        activations={key: all_of(f"maps{index}") for index, key in enumerate(header.layers)},
        sparsity=by_layer("sparsity"),
        dead=by_layer("dead"),
        weight_norms=by_parameter("weight_norms"),
        gradient_norms=by_parameter("gradient_norms"),
        update_norms=by_parameter("update_norms"),
        images=pictures,
        image_count=header.image_count,
        kernels_layer=header.kernels_layer,
        parameters=dict(header.options),
    )


def _whole(name: str, value: object, *, least: int = 1) -> int:
    number = whole_number(value)
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
    return number
