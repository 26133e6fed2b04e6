"""Know, in the middle of a forward pass, which module is being called."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from cnnviz_widgets.engine.state import engine_lock


@contextmanager
def module_stack(root: nn.Module) -> Iterator[list[tuple[str, nn.Module]]]:
    """Yield a list that holds, at any time of a pass on this thread, the modules being called, outermost first.

    Each comes with its dotted name. Enter it before a `capture`, which may end the pass early.
    """
    stack: list[tuple[str, nn.Module]] = []
    thread = threading.get_ident()
    names = {module: name for name, module in root.named_modules()}

    def begin(module: nn.Module, arguments: Any) -> None:
        if threading.get_ident() == thread:
            stack.append((names[module], module))

    def end(module: nn.Module, arguments: Any, output: Any) -> None:
        if threading.get_ident() == thread and stack:
            stack.pop()

    # Not while a pass runs on another thread: the end of it would take the hooks away, or bring them back.
    with engine_lock:
        handles = [each.register_forward_pre_hook(begin) for each in names]
        handles += [each.register_forward_hook(end, always_call=True) for each in names]
    try:
        yield stack
    finally:
        with engine_lock:
            for handle in handles:
                handle.remove()
