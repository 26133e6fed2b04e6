"""Record how a network changes while it trains: its kernels, its activations, and the sizes of its steps."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from cnnviz_widgets.engine.errors import RecorderError
from cnnviz_widgets.engine.inputs import Images
from cnnviz_widgets.engine.layers import LayerKey
from cnnviz_widgets.engine.network import Network
from cnnviz_widgets.engine.noted_loss import Loss, NotedLoss, checked_loss
from cnnviz_widgets.engine.notifier import Notifier
from cnnviz_widgets.engine.step_hooks import StepHooks
from cnnviz_widgets.engine.training_history import (
    TrainingHistory,
    header_of,
    history_of,
    take_record,
)
from cnnviz_widgets.engine.training_log import TrainingLog
from cnnviz_widgets.engine.training_probe import TrainingProbe
from cnnviz_widgets.engine.whole_numbers import checked_whole

__all__ = ["TrainingHistory", "TrainingRecorder"]

_MEGABYTE = 1024**2
# So many records with maps fit into the budget, however large the layers are.
_RECORDS_AT_LEAST = 100


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
        dead channels are recorded, and the module is never run. The more there are, the more a record costs:
        with 16, recording `fashion_cnn` at the default settings takes less than 3 percent of the time.
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
        and images, the recording goes on at its last step: load that step's weights first. One recorder at a
        time may write to it. A record takes 4 bytes for each weight of the kernels kept, 2 for each value of the
        maps kept, and some kilobytes: with ``images`` 130 KB of `fashion_cnn` at the default settings, so 2.6 MB
        for 1,000 steps; without, 5 KB. The file is not held to ``byte_budget``.
    first_step
        How many steps were taken before now, where that is not the last step in the file (or 0): say so where
        the training goes on from a checkpoint older or newer than that. Records of later steps are cut off the
        file, with a warning that counts them: the training was taken back to an earlier moment. Where the file has
        a record of this step, the network must have the weights recorded then.

    Raises
    ------
    RecorderError
        (a ValueError) A recorder is attached to the optimizer already; the optimizer moves other parameters;
        the file is of another network, another recorder is writing to it, or its record of ``first_step`` (its
        last one, where that is left out) has other weights than the network has now; it has later steps only;
        the budget is too small; layers without images.
    ResultFileError
        ``path`` is a file of another kind, or damaged.
    LayerNotFoundError, AmbiguousLayerError, OutputError, WeightsError, InputError
        Layers and images that can't be used.

    Notes
    -----
    An error while recording, such as a full disk, is raised in the training loop by the step that was to be
    recorded (the step itself is complete). With a `torch.amp.GradScaler`, skipped steps do not count, also
    where a fused optimizer skips them.

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
        every = checked_whole("every", every)
        options = {
            "every": every,
            "map_images": checked_whole("map_images", map_images),
            "byte_budget": checked_whole("byte_budget", byte_budget),
        }
        first_step = None if first_step is None else checked_whole("first_step", first_step, least=0)
        self._probe = TrainingProbe(
            net,
            images,
            layers,
            kernels_layer,
            map_images=map_images,
            map_bytes=byte_budget // _RECORDS_AT_LEAST,
        )
        first = take_record(self._probe, 0)
        self._recording = threading.RLock()
        self._notifier = Notifier(self)
        self._loss = NotedLoss()
        self._before: dict[str, Tensor] | None = None
        self._closed = False
        # Attached before the file is touched, so that what is refused leaves no trace.
        self._hooks: StepHooks | None = None
        if optimizer is not None:
            self._hooks = StepHooks(optimizer, net.core, self._before_step, self._after_step)
        log: TrainingLog | None = None
        try:
            self._log = log = TrainingLog(
                header_of(self._probe, first, options),
                self._probe.pictures,
                byte_budget=byte_budget,
                present=first,
                unit=None if optimizer is None else every,
                path=path,
                first_step=first_step,
            )
            self._every = every
            self._step = self._log.first_step
            if optimizer is not None and self._log.last_step != self._step:
                self._log.add(first | {"step": np.array(self._step)})
        except BaseException:
            self._detach()
            if log is not None:
                log.close()
            raise

    @property
    def history(self) -> TrainingHistory:
        """What was recorded by now, as a copy; from any thread, also while the training runs."""
        return history_of(self._log.header, self._probe.pictures, self._log.records())

    @property
    def step(self) -> int:
        """Steps taken by now; without an optimizer, that of the last record."""
        return self._step

    @property
    def is_closed(self) -> bool:
        """Whether the recorder was closed."""
        return self._closed

    def note_loss(self, loss: Loss) -> None:
        """Note the loss of the coming step, before the optimizer takes it (in a closure, if it takes one).

        Cheap: the value of a tensor is read only if the step is recorded, and what is not recorded is forgotten.
        Of several notes before one step the last counts: where gradients are accumulated, note the loss of the
        whole batch.

        Raises
        ------
        RecorderError
            The recorder is closed, or the loss comes after the step whose it is. Of the latter only a tensor with
            its graph can tell; a bare number, or a detached tensor, counts for the coming step, with a warning
            where it looks like the last one's.
        """
        self._check_open()
        self._loss.note(loss)

    def record(self, step: int | None = None, loss: Loss | None = None) -> None:
        """Record the network as it is now.

        Parameters
        ----------
        step
            Steps taken by now, more than at the record before; left out, one more, from 0 on. With an
            optimizer its steps are counted, so leave it out; a step that is recorded already stays as it is.
        loss
            The loss; left out, what `note_loss` was told for this step.

        Raises
        ------
        RecorderError
            The recorder is closed, or steps go back.
        """
        with self._recording:
            self._check_open()
            last = self._log.last_step
            if loss is not None:
                if self._hooks is not None and last == self._step:
                    raise RecorderError(
                        f"step {last} is recorded already, and a loss can't be added; call note_loss(loss) before "
                        "optimizer.step()"
                    )
                if self._hooks is not None:
                    self._loss.taken = checked_loss(loss)
                else:
                    self._loss.coming = checked_loss(loss)
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
            step = checked_whole("step", step, least=0)
            if last is not None and step <= last:
                raise RecorderError(
                    f"step {step} can't follow step {last}, which is recorded already: steps rise"
                )
            self._step = step
            self._loss.take()
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

    def _check_open(self) -> None:
        if self._closed:
            raise RecorderError("this recorder is closed; make a new one, with the same path to go on")

    def _is_due(self, step: int) -> bool:
        return (step - self._log.first_step) % max(self._every, self._log.spacing) == 0

    def _before_step(self) -> None:
        """Keep the weights before a step whose size is to be recorded."""
        self._before = None
        if self._hooks is not None and self._is_due(self._step + 1):
            self._before = self._hooks.weights()

    def _after_step(self) -> None:
        with self._recording:
            self._step += 1
            self._loss.step()
            try:
                if self._is_due(self._step):
                    self._keep(self._step, gradients=True)
            finally:
                self._before = None

    def _keep(self, step: int, *, gradients: bool) -> None:
        record = take_record(
            self._probe, step, loss=self._loss.taken, before=self._before, gradients=gradients
        )
        self._log.add(record)
        self._notifier.notify()
